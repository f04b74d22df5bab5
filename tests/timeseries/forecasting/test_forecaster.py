"""The forecaster as an estimator: what it learns, keeps, refuses and resumes."""

import json
import math
import pickle
import pickletools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from sparsewire.core import CheckpointError, InvalidArgumentError, TrainingDivergedError
from sparsewire.datasets import load_series
from sparsewire.timeseries.forecasting import SparseForecaster, training
from sparsewire.timeseries.metrics import mae, mse
from sparsewire.timeseries.protocols import ltsf_borders

Array = npt.NDArray[np.float64]
SMALL: dict[str, Any] = {"input_size": 24, "horizon": 6, "max_epochs": 6, "random_state": 0}
TINY: dict[str, Any] = {"d_model": 8, "n_heads": 2, "d_ff": 8, "projector_sizes": (8,)}


def waves(n: int = 300, channels: int = 2, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    time = np.arange(n)[:, None]
    rates = np.linspace(0.3, 0.5, channels)
    noise = 0.05 * rng.normal(size=(n, channels))
    level: Array = 100 * np.arange(1, channels + 1) + 10 * (np.sin(rates * time) + noise)
    return level


def frame(n: int = 300) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=n, freq="h")
    return pd.DataFrame(waves(n), index=index, columns=["a", "b"])


@pytest.fixture(scope="module")
def fitted() -> SparseForecaster:
    forecaster: SparseForecaster = SparseForecaster(**SMALL).fit(waves())
    return forecaster


# Learning


@pytest.mark.parametrize("model", ["dlinear", "nlinear"])
@pytest.mark.parametrize("sparsity", ["pals", "static", "dynamic", "granet", None])
def test_forecasts_are_in_the_units_of_the_series(model: str, sparsity: Any) -> None:
    y = waves(420)
    arguments = SMALL | {"learning_rate": 0.02}
    forecaster = SparseForecaster(model, sparsity=sparsity, density=0.5, **arguments).fit(y[:414])
    assert forecaster.predict().shape == (6, 2)
    assert mae(y[414:], forecaster.predict()) < 2.5  # of amplitudes of 10


@pytest.mark.parametrize("model", ["transformer", "nstransformer"])
def test_transformers_learn_with_and_without_times(model: str) -> None:
    arguments = SMALL | TINY | {"max_epochs": 3}
    for y in (waves(200), frame(200)):
        forecaster = SparseForecaster(model, **arguments).fit(y)
        assert np.isfinite(forecaster.predict()).all().all()
        assert forecaster.sparsity_ > 0.1
        losses = forecaster.history_["loss"]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("model", ["lstm", "gru"])
@pytest.mark.parametrize("sparsity", ["pals", "static", "dynamic", "granet", None])
def test_recurrent_networks_learn_whatever_the_sparsity(model: str, sparsity: Any) -> None:
    arguments = SMALL | {"batch_size": 8, "d_model": 15, "n_encoder_layers": 1}
    forecaster = SparseForecaster(model, sparsity=sparsity, density=0.4, **arguments).fit(waves())
    assert forecaster.predict().shape == (6, 2)
    losses = forecaster.history_["validation_loss"]
    assert losses[-1] < 0.8 * losses[0]
    expected = {"pals": None, None: 0.0}.get(sparsity, 0.6)
    assert forecaster.sparsity_ > 0.2 or expected == 0.0
    if expected is not None:
        assert forecaster.sparsity_ == pytest.approx(expected, abs=0.01)
    for name, mask in forecaster.network_.named_buffers():
        assert not forecaster.network_.get_parameter(name.removesuffix("_mask"))[~mask].any()


def test_connections_of_a_recurrent_network_move_between_gates_only_if_dynamic() -> None:
    counts = {}
    for sparsity in ("dynamic", "static"):
        arguments = SMALL | {"model": "lstm", "sparsity": sparsity, "d_model": 12}
        network = SparseForecaster(**arguments).fit(waves()).network_
        for name in ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1"):
            mask = network.get_buffer(f"backbone.rnn.{name}_mask")
            gates = [int(gate.sum()) for gate in mask.chunk(4)]
            counts[sparsity, name] = (max(gates) - min(gates) > 1, int(mask.sum()))
    for (sparsity, name), (differ, total) in counts.items():
        assert differ == (sparsity == "dynamic")
        assert total == counts["static", name][1]


def test_a_recurrent_forecast_moves_with_the_level_of_the_series() -> None:
    y = waves(200)
    arguments = SMALL | {"model": "gru", "max_epochs": 2, "d_model": 6, "scale": "none"}
    forecaster = SparseForecaster(**arguments).fit(y)
    np.testing.assert_allclose(
        forecaster.predict(y + 1000), forecaster.predict(y) + 1000, atol=0.01
    )


@pytest.mark.parametrize("sparsity", ["dynamic", "granet"])
def test_a_run_too_short_for_an_update_is_refused_in_the_user_s_terms(sparsity: Any) -> None:
    arguments = SMALL | {"sparsity": sparsity, "max_epochs": 1, "batch_size": 1000}
    with pytest.raises(InvalidArgumentError, match="raise max_epochs or lower batch_size"):
        SparseForecaster(**arguments).fit(waves())


def test_times_reach_a_transformer_and_follow_the_forecast() -> None:
    y = frame(200)
    forecaster = SparseForecaster("transformer", **(SMALL | TINY | {"max_epochs": 2})).fit(y)
    out = forecaster.predict()
    assert list(out.columns) == ["a", "b"]
    assert list(out.index) == list(pd.date_range(y.index[-1], periods=7, freq="h")[1:])
    moved = y.set_axis(y.index + pd.Timedelta("5h"))
    assert not np.allclose(forecaster.predict(moved), out)
    with pytest.raises(InvalidArgumentError, match="index of times"):
        forecaster.predict(y.to_numpy())


def test_a_forecast_needs_the_last_known_values_only(fitted: SparseForecaster) -> None:
    y = waves()
    assert np.array_equal(fitted.predict(), fitted.predict(y))
    assert np.array_equal(fitted.predict(y[-24:]), fitted.predict(y))
    assert not np.array_equal(fitted.predict(y[:-1]), fitted.predict(y))


def test_a_flat_series_gives_a_flat_forecast() -> None:
    y = waves(200, 1)[:, 0]
    assert SparseForecaster(**SMALL).fit(y).predict().shape == (6,)
    index = pd.period_range("2000-01", periods=200, freq="M")
    out = SparseForecaster(**SMALL).fit(pd.Series(y, index, name="load")).predict()
    assert out.name == "load"
    assert str(out.index[0]) == "2016-09"


def test_evaluation_is_over_all_windows_one_by_one(
    fitted: SparseForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = waves(80, seed=1)
    scaled = fitted.standardisation_.transform(y)
    truth, found = [], []
    for start in range(80 - 30 + 1):
        known = y[start : start + 24]
        found.append(fitted.standardisation_.transform(fitted.predict(known)))
        truth.append(scaled[start + 24 : start + 30])
    errors = fitted.evaluate(y)
    assert errors.count == 51 * 6 * 2
    assert errors.mse == pytest.approx(mse(np.array(truth), np.array(found)), rel=1e-5)
    assert errors.mae == pytest.approx(mae(np.array(truth), np.array(found)), rel=1e-5)
    for size in (1, 32, 1000):
        monkeypatch.setattr(training, "OUTPUT_BATCH", size)
        assert fitted.evaluate(y).mse == pytest.approx(errors.mse, rel=1e-6)


def test_the_validation_rows_do_not_change_scale_or_training(fitted: SparseForecaster) -> None:
    y = waves()
    other = y.copy()
    other[240:] = other[240:] * 3 + 50
    again = SparseForecaster(**SMALL).fit(other)
    assert np.array_equal(again.standardisation_.mean, y[:240].mean(axis=0))
    assert np.array_equal(again.standardisation_.mean, fitted.standardisation_.mean)
    dense = SMALL | {"sparsity": None, "patience": None}
    one, two = SparseForecaster(**dense).fit(y), SparseForecaster(**dense).fit(other)
    assert one.history_["loss"] == two.history_["loss"]


def test_the_rate_stays_for_two_epochs_and_is_then_halved() -> None:
    arguments = SMALL | {"learning_rate": 0.01, "patience": None}
    rates = SparseForecaster(sparsity=None, **arguments).fit(waves()).history_["learning_rate"]
    assert rates == [0.01, 0.01, 0.005, 0.0025, 0.00125, 0.000625]


@pytest.mark.parametrize(
    ("sparsity", "last_update"),
    [("pals", 28), ("granet", 29)],  # of 42 steps, 7 in each epoch
)
def test_the_rate_stays_while_density_falls_and_ends_as_low_as_ever(
    sparsity: Any, last_update: int
) -> None:
    arguments = SMALL | {"learning_rate": 0.01, "patience": None}
    rates = SparseForecaster(sparsity=sparsity, **arguments).fit(waves()).history_["learning_rate"]
    falling = math.ceil(last_update / 7)
    assert rates[:falling] == [0.01] * falling
    assert rates[-1] == 0.000625
    ratios = [late / early for early, late in pairwise([0.01, *rates[falling:]])]
    assert ratios == pytest.approx([0.5 ** (4 / len(ratios))] * len(ratios))


def test_the_reference_mode_halves_the_rate_from_the_beginning() -> None:
    arguments = SMALL | {"learning_rate": 0.01, "patience": None}
    forecaster = SparseForecaster(pals_options={"mode": "reference"}, **arguments).fit(waves())
    assert forecaster.history_["learning_rate"] == [0.01, 0.01, 0.005, 0.0025, 0.00125, 0.000625]


# Which network is kept


def test_only_epochs_of_final_topology_count(fitted: SparseForecaster) -> None:
    sparsity = fitted.history_["sparsity"]
    assert fitted.sparsity_ == sparsity[-1] == sparsity[fitted.best_epoch_ - 1]
    assert fitted.decisions_ is not None
    steps = fitted.decisions_["step"]
    per_epoch = -(-(240 - 30 + 1) // 32)
    assert fitted.best_epoch_ * per_epoch >= steps[-1]
    assert steps[-1] <= 0.7 * 6 * per_epoch


def test_reference_mode_counts_every_epoch() -> None:
    arguments = SMALL | {"pals_options": {"mode": "reference"}, "learning_rate": 0.05}
    forecaster = SparseForecaster(**arguments).fit(waves())
    losses = forecaster.history_["validation_loss"]
    assert forecaster.best_epoch_ == 1 + int(np.argmin(losses))


def test_the_kept_network_has_the_lowest_loss_of_those_that_count(
    fitted: SparseForecaster,
) -> None:
    y = waves()
    assert fitted.evaluate(y[240 - 24 :]).mse == pytest.approx(
        fitted.best_validation_loss_, rel=1e-5
    )


def test_training_stops_when_nothing_improves() -> None:
    arguments = SMALL | {"max_epochs": 50, "patience": 2, "learning_rate": 0.05, "sparsity": None}
    forecaster = SparseForecaster(**arguments).fit(waves())
    assert forecaster.n_epochs_ == forecaster.best_epoch_ + 2 < 50


@pytest.mark.parametrize("sparsity", ["static", "dynamic", "granet"])
def test_other_methods_end_at_the_density_asked_for(sparsity: Any) -> None:
    forecaster = SparseForecaster(sparsity=sparsity, density=0.25, **SMALL).fit(waves())
    assert forecaster.sparsity_ == pytest.approx(0.75, abs=1e-3)
    assert forecaster.decisions_ is None


def test_counts_and_costs_follow_the_masks(fitted: SparseForecaster) -> None:
    masks = [b for name, b in fitted.network_.named_buffers() if name.endswith("_mask")]
    active = sum(int(mask.sum()) for mask in masks)
    assert fitted.n_dense_parameters_ == 2 * (24 * 6 + 6)
    assert fitted.n_parameters_ == active + 12
    assert fitted.sparsity_ == pytest.approx(1 - active / 288)
    assert fitted.flops_ == 2 * 2 * active  # two channels share the maps
    assert fitted.dense_flops_ == 2 * 2 * 288


# Being an estimator


def test_the_same_seed_gives_the_same_forecaster_and_another_another() -> None:
    y = waves()
    arguments = SMALL | TINY | {"model": "transformer", "max_epochs": 1, "dropout": 0.3}
    one, two = (SparseForecaster(**arguments).fit(y) for _ in range(2))
    other = clone(one).set_params(random_state=1).fit(y)
    assert np.array_equal(one.predict(), two.predict())
    assert not np.array_equal(one.predict(), other.predict())


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(5)
    before, ours = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    arguments = SMALL | TINY | {"model": "transformer", "max_epochs": 1}
    SparseForecaster(**arguments).fit(waves(200))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(ours, np.random.get_state(), strict=True):  # noqa: NPY002
        assert np.array_equal(a, b)


@pytest.mark.parametrize("model", ["dlinear", "nstransformer", "lstm"])
def test_a_pickle_forecasts_the_same_and_holds_no_tensor(model: str) -> None:
    y = frame(200)
    forecaster = SparseForecaster(model, **(SMALL | TINY | {"max_epochs": 2})).fit(y)
    data = pickle.dumps(forecaster)
    names = {arg for op, arg, _ in pickletools.genops(data) if isinstance(arg, str)}
    assert not any(name.startswith("torch") for name in names)
    pd.testing.assert_frame_equal(pickle.loads(data).predict(), forecaster.predict())


@pytest.mark.parametrize("kind", ["array", "hours", "months", "zone", "numbers"])
def test_a_saved_forecaster_forecasts_the_same(kind: str, tmp_path: Path) -> None:
    values = waves(120)
    index: dict[str, Any] = {
        "hours": pd.date_range("2024-01-01", periods=120, freq="h"),
        "months": pd.period_range("2000-01", periods=120, freq="M"),
        "zone": pd.date_range("2024-03-30", periods=120, freq="h", tz="Europe/Amsterdam"),
        "numbers": np.arange(0, 240, 2),
    }
    y: Any = values if kind == "array" else pd.DataFrame(values, index[kind], columns=["a", "b"])
    forecaster = SparseForecaster(**(SMALL | {"max_epochs": 2})).fit(y)
    forecaster.save(tmp_path / "model.npz")
    again = SparseForecaster.load(tmp_path / "model.npz")
    assert again.get_params() == forecaster.get_params()
    one, two = forecaster.predict(), again.predict()
    assert np.array_equal(one, two)
    if kind != "array":
        assert list(one.index) == list(two.index)
    assert again.history_ == forecaster.history_
    assert np.array_equal(again.predict_interval()[0], forecaster.predict_interval()[0])
    assert again.evaluate(y) == forecaster.evaluate(y)


def test_a_saved_recurrent_forecaster_forecasts_the_same(tmp_path: Path) -> None:
    arguments = SMALL | {"model": "gru", "sparsity": "dynamic", "max_epochs": 2, "d_model": 7}
    forecaster = SparseForecaster(**arguments).fit(frame(150))
    forecaster.save(tmp_path / "model.npz")
    again = SparseForecaster.load(tmp_path / "model.npz")
    pd.testing.assert_frame_equal(again.predict(), forecaster.predict())
    assert again.flops_ == forecaster.flops_ < again.dense_flops_


def test_a_damaged_file_is_refused(fitted: SparseForecaster, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    fitted.save(path)
    data = path.read_bytes()
    for broken in (b"", b"text", data[: len(data) // 2]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError):
            SparseForecaster.load(path)
    np.savez(path, description=np.array("{}"))
    with pytest.raises(CheckpointError, match="was not written by"):
        SparseForecaster.load(path)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "unknown parameter": (lambda t, a: t["parameters"].update(speed=1), "speed"),
    "unknown model": (lambda t, a: t["parameters"].update(model="nope"), "model"),
    "list of parameters": (lambda t, a: t.update(parameters=[1]), "parameters"),
    "no parameters": (lambda t, a: t.update(parameters=None), "parameters"),
    "number as fitted": (lambda t, a: t.update(fitted=5), "fitted is 5"),
    "nothing fitted": (lambda t, a: t.update(fitted={}), "fitted lacks"),
    "sparsity": (lambda t, a: t["fitted"].update(sparsity_="x"), "sparsity_"),
    "preparation": (lambda t, a: t["preparation"].update(input_size=23), "input_size"),
    "end": (lambda t, a: t.update(last=None), "damaged"),
    "kind of index": (lambda t, a: t["last"].update(kind="numbers", index=[1, 2]), "rows"),
    "more columns": (lambda t, a: t["last"].update(columns=["a", "b", "c"]), "last"),
    "short end": (lambda t, a: a.update(last=a["last"][:3]), "3 rows"),
    "one mean": (lambda t, a: a.update(mean=np.zeros(1)), "mean"),
    "text as scale": (lambda t, a: a.update(scale=np.array(["x", "y"])), "scale"),
    "flat residuals": (lambda t, a: a.update(residuals=np.zeros(3)), "residuals"),
    "no residuals": (lambda t, a: a.pop("residuals"), "residuals"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_file_with_other_content_is_refused_with_its_name(
    fitted: SparseForecaster, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "model.npz"
    fitted.save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    text = json.loads(str(arrays.pop("description")))
    change, message = DAMAGES[damage]
    change(text, arrays)
    np.savez(path, description=np.array(json.dumps(text)), **arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        SparseForecaster.load(path)
    assert "model.npz" in str(caught.value)


def test_nothing_is_forecast_before_fit() -> None:
    with pytest.raises(NotFittedError):
        SparseForecaster().predict()


def test_parameters_are_stored_as_given() -> None:
    sizes = (3, 4)
    forecaster = SparseForecaster(projector_sizes=sizes)
    assert forecaster.get_params()["projector_sizes"] is sizes
    assert clone(forecaster).projector_sizes == sizes


# One's own models


class Mean(nn.Module):
    def __init__(self, input_size: int, horizon: int, n_channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(input_size, horizon)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.map(x.transpose(1, 2)).transpose(1, 2)
        return out


@pytest.mark.parametrize("model", [Mean, Mean(24, 6, 2)])
def test_a_model_of_ones_own_is_trained_and_left_alone(model: Any, tmp_path: Path) -> None:
    before = pickle.dumps(model)
    forecaster = SparseForecaster(model, **SMALL).fit(waves())
    assert pickle.dumps(model) == before
    assert forecaster.sparsity_ > 0.2
    again = pickle.loads(pickle.dumps(forecaster))
    assert np.array_equal(again.predict(), forecaster.predict())
    with pytest.raises(InvalidArgumentError, match="without code"):
        forecaster.save(tmp_path / "model.npz")


def test_a_model_of_the_wrong_shape_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgumentError, match=r"\(1, 5, 2\) instead of \(1, 6, 2\)"):
        SparseForecaster(Mean(24, 5, 2), **SMALL).fit(waves())


# Intervals


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    y = waves(900)
    forecaster = SparseForecaster(**(SMALL | {"validation_size": 300})).fit(y[:600])
    hits = []
    for stop in range(600, 890, 7):
        lower, upper = forecaster.predict_interval(y[:stop], level=0.8)
        middle = forecaster.predict(y[:stop])
        assert (lower <= middle).all()
        assert (middle <= upper).all()
        hits.append((lower <= y[stop : stop + 6]) & (y[stop : stop + 6] <= upper))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.08)


# Refusals

BAD_DATA: dict[str, Any] = {
    "one row": np.zeros((1, 2)),
    "shorter than a window": waves(29),
    "nan": np.where(np.arange(300) == 7, np.nan, 1.0),
    "constant": np.ones(300),
    "constant column": np.stack([np.arange(300.0), np.ones(300)], axis=1),
    "three dimensions": np.zeros((30, 3, 2)),
    "text": ["a"] * 300,
    "unsorted": frame().iloc[::-1],
    "duplicated": pd.concat([frame(), frame().tail(1)]),
}


@pytest.mark.parametrize("case", list(BAD_DATA))
def test_unusable_data_are_refused(case: str) -> None:
    with pytest.raises(InvalidArgumentError):
        SparseForecaster(**SMALL).fit(BAD_DATA[case])


def test_a_horizon_longer_than_the_series_is_refused_with_numbers() -> None:
    with pytest.raises(InvalidArgumentError, match=r"300 rows.* input_size \+ horizon = 424"):
        SparseForecaster(input_size=24, horizon=400).fit(waves())


def test_a_later_series_of_other_form_is_refused(fitted: SparseForecaster) -> None:
    with pytest.raises(InvalidArgumentError, match="3 columns"):
        fitted.predict(waves(50, 3))
    with pytest.raises(InvalidArgumentError, match="23 rows"):
        fitted.predict(waves(23))
    with pytest.raises(InvalidArgumentError, match="29 rows hold no window"):
        fitted.evaluate(waves(29))


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "rnn"},
        {"input_size": 0},
        {"horizon": 2.5},
        {"sparsity": "adaptive"},
        {"density": 0.0},
        {"prune_factor": 0.9},
        {"loss": "mape"},
        {"model": "transformer", "d_model": 9},
        {"model": "nstransformer", "d_model": 8, "n_heads": 3},
        {"projector_sizes": ()},
        {"projector_sizes": (0,)},
        {"validation_size": 0},
        {"validation_size": 1.5},
        {"pals_options": {"speed": 1}},
        {"pals_options": {"max_sparsity": 1.5}},
        {"checkpoint": "run.pt", "random_state": None},
    ],
)
def test_a_parameter_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|argument|needs"):
        SparseForecaster(**(SMALL | arguments)).fit(waves())


def test_divergence_is_reported_with_the_rate() -> None:
    with pytest.raises(TrainingDivergedError, match=r"learning_rate=1e\+30"):
        SparseForecaster(**(SMALL | {"learning_rate": 1e30})).fit(waves())


# Resuming


class StopError(Exception):
    pass


@pytest.mark.parametrize("sparsity", ["pals", "dynamic", None])
@pytest.mark.parametrize("model", ["dlinear", "transformer", "lstm"])
def test_a_stopped_run_resumes_without_loss(
    model: str, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = frame(150)
    arguments = SMALL | TINY | {"model": model, "sparsity": sparsity, "dropout": 0.2}
    whole = SparseForecaster(**arguments).fit(y)
    file = tmp_path / "run.pt"
    run_epoch = training.Trainer.run_epoch

    def interrupted(trainer: training.Trainer) -> dict[str, float]:
        if trainer.epoch == 4:
            raise StopError
        return run_epoch(trainer)

    monkeypatch.setattr(training.Trainer, "run_epoch", interrupted)
    with pytest.raises(StopError):
        SparseForecaster(checkpoint=file, **arguments).fit(y)
    monkeypatch.setattr(training.Trainer, "run_epoch", run_epoch)
    resumed = SparseForecaster(checkpoint=file, **arguments).fit(y)
    for key in ("loss", "validation_loss", "sparsity"):
        assert resumed.history_[key] == whole.history_[key]
    assert resumed.decisions_ == whole.decisions_
    pd.testing.assert_frame_equal(resumed.predict(), whole.predict())
    again = SparseForecaster(checkpoint=file, **arguments).fit(y)  # of a finished run
    pd.testing.assert_frame_equal(again.predict(), whole.predict())


@pytest.mark.parametrize("change", [{"learning_rate": 0.1}, {"loss_freedom": 1.2}])
def test_the_file_of_another_run_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    y = waves(100)
    arguments = SMALL | {"checkpoint": tmp_path / "run.pt", "max_epochs": 2}
    SparseForecaster(**arguments).fit(y)
    with pytest.raises(CheckpointError, match="cannot be continued"):
        SparseForecaster(**(arguments | change)).fit(y)
    with pytest.raises(CheckpointError, match="data"):
        SparseForecaster(**arguments).fit(y + 1)


# On benchmark data


def test_repeating_the_last_value_has_the_published_error_on_exchange(data_dir: Path) -> None:
    class Repeat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x[:, -1:].expand(-1, 96, -1) + 0 * self.unused.weight

    series, borders = load_series("exchange"), ltsf_borders("exchange", 96)
    known = series.values[: borders.validation[1]]
    forecaster = SparseForecaster(
        Repeat(), sparsity=None, max_epochs=1, validation_size=len(known) - borders.train[1]
    ).fit(known)
    errors = forecaster.evaluate(series.values[slice(*borders.test)])
    assert (round(errors.mse, 3), round(errors.mae, 3)) == (0.081, 0.196)
    assert errors.count == 1422 * 96 * 8


@pytest.mark.slow
def test_dlinear_with_pals_reaches_the_specified_error_on_etth1(data_dir: Path) -> None:
    series, borders = load_series("etth1"), ltsf_borders("etth1", 96)
    forecaster = SparseForecaster(
        validation_size=borders.validation[1] - borders.train[1], random_state=0
    ).fit(series.values[: borders.validation[1]])
    assert 0.375 <= forecaster.evaluate(series.values[slice(*borders.test)]).mse <= 0.395
    assert forecaster.sparsity_ >= 0.6
