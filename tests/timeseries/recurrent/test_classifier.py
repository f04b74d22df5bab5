"""Is the recurrent classifier well-behaved, exact about the ends of series, and resumable?"""

import copy
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.nn import functional as F

from sparsewire.core import CheckpointError, InvalidArgumentError, TrainingDivergedError
from sparsewire.timeseries.classification.training import Trainer
from sparsewire.timeseries.dsn import DSNClassifier
from sparsewire.timeseries.recurrent import (
    SparseGRU,
    SparseLSTM,
    SparseRNNClassifier,
    gate_densities,
)
from sparsewire.timeseries.recurrent.network import (
    RecurrentNetwork,
    RecurrentShape,
    costs,
    make_sparse,
    mask_densities,
)
from tests.timeseries.dsn.helpers import waves

CELLS = ["lstm", "gru"]


def small(**parameters: Any) -> SparseRNNClassifier:
    """Return a classifier that trains in a fraction of a second."""
    return SparseRNNClassifier(**{"n_units": 8, "n_epochs": 4, "random_state": 0} | parameters)


def ragged() -> tuple[list[Any], Any]:
    X, y = waves(channels=2)
    return [x[:, : 30 - i] for i, x in enumerate(X)], y


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SparseRNNClassifier(n_units=12, n_epochs=10, learning_rate=0.05, batch_size=64)]
)
def test_scikit_learn_s_checks_pass(
    estimator: SparseRNNClassifier, check: Callable[[SparseRNNClassifier], None]
) -> None:
    check(estimator)


@pytest.mark.parametrize(("cell", "n_layers"), [("lstm", 1), ("lstm", 2), ("gru", 1)])
def test_it_learns_to_tell_slow_from_fast(cell: Any, n_layers: int) -> None:
    X, y = waves(n=60)
    fitted = small(cell=cell, n_layers=n_layers, n_units=20, n_epochs=30, learning_rate=0.02)
    assert fitted.fit(X[:40], y[:40]).score(X[40:], y[40:]) >= 0.9
    assert fitted.sparsity_ == pytest.approx(0.8, abs=0.01)


# Ends of series


@pytest.mark.parametrize("cell", CELLS)
def test_a_series_is_classified_by_the_hidden_state_at_its_own_end(cell: Any) -> None:
    series, y = ragged()
    fitted = small(cell=cell, n_layers=2).fit(series, y)
    backbone = fitted.network_.backbone
    for x, found in zip(series, fitted.predict_proba(series), strict=True):
        alone = torch.tensor(x.T[None], dtype=torch.float32)
        with torch.no_grad():
            hidden, _ = backbone.rnn(alone)
            expected = F.softmax(backbone.head(hidden[0, -1]), dim=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [SparseLSTM, SparseGRU])
def test_what_comes_after_the_end_has_no_influence_and_no_gradient(kind: Any) -> None:
    model = kind(2, 4, 3, n_layers=2).eval()
    ends = torch.tensor([5, 9, 1])
    x = torch.randn(3, 9, 2, requires_grad=True)
    outputs = model(x, ends)
    torch.autograd.backward(outputs.square().sum())
    after = torch.arange(9) >= ends[:, None]
    assert x.grad is not None
    assert not x.grad[after].any()
    assert bool(x.grad[~after].any(dim=-1).all())
    other = torch.where(after[..., None], torch.full_like(x, 1e6), x)
    assert torch.equal(model(other, ends), outputs)


def test_padding_a_panel_changes_neither_training_nor_predictions() -> None:
    X, y = waves()
    wide = np.concatenate([X, np.full((20, 1, 9), np.nan)], axis=2)
    one, other = small().fit(X, y), small().fit(wide, y)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(wide))
    series, y = ragged()
    fitted = small().fit(series, y)
    alone = np.concatenate([fitted.predict_proba([x]) for x in series])
    np.testing.assert_allclose(fitted.predict_proba(series), alone, atol=1e-7)


def test_zero_padding_is_read_only_if_asked_for() -> None:
    series, y = ragged()
    filled = np.stack([np.pad(x, ((0, 0), (0, 30 - x.shape[1]))) for x in series])
    padded = small(unequal="pad").fit(series, y).predict_proba(series)
    np.testing.assert_array_equal(padded, small().fit(filled, y).predict_proba(filled))
    assert not np.allclose(padded, small().fit(series, y).predict_proba(series))
    with pytest.raises(InvalidArgumentError, match="series 1 has length 29"):
        small(unequal="raise").fit(series, y)


@pytest.mark.parametrize("ends", [[0, 3], [3, 10], [3]])
def test_impossible_ends_are_refused(ends: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="from 1 to 9"):
        SparseLSTM(2, 4, 3)(torch.zeros(2, 9, 2), torch.tensor(ends))


# Sparsity


def network(topology: Any = "dynamic", **sizes: Any) -> tuple[RecurrentNetwork, Any]:
    chosen: dict[str, Any] = {
        "n_channels": 3,
        "n_classes": 2,
        "cell": "lstm",
        "n_units": 8,
        "n_layers": 2,
    }
    made = RecurrentNetwork(RecurrentShape(**chosen | sizes, dropout=0.0))
    handle = make_sparse(
        made,
        torch.optim.Adam(made.parameters(), lr=0.01),
        density=0.25,
        topology=topology,
        drop_fraction=0.8,
        steps_per_epoch=3,
        n_epochs=10,
        seed=0,
    )
    return made, handle


def test_an_update_follows_the_first_step_of_every_epoch_but_the_first() -> None:
    made, handle = network()
    changed = []
    for step in range(1, 31):
        before = handle.updates
        handle.optimizer.zero_grad()
        torch.autograd.backward(made(torch.randn(4, 3, 6)).square().sum())
        handle.optimizer.step()
        changed += [step] * (handle.updates - before)
        handle.verify()
    assert changed == [4, 7, 10, 13, 16, 19, 22, 25, 28]
    assert handle.density() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("topology", ["dynamic", "static", "dense"])
def test_costs_and_gate_densities_are_those_of_the_engine(cell: Any, topology: Any) -> None:
    made, handle = network(topology, cell=cell)
    found = costs(made, 20)
    summary = handle.summary(torch.zeros(1, 3, 20))
    assert (found.sparse, found.dense) == (summary.flops, summary.dense_flops)
    assert found.sparsity == pytest.approx(1 - summary.density)
    engine = gate_densities(handle)
    ours = mask_densities(made)
    assert engine.keys() == ours.keys()
    for name in engine:
        assert ours[name] == pytest.approx(engine[name])
    assert "backbone.head.weight" not in handle.masks()


def test_connections_move_between_gates_only_if_they_may() -> None:
    X, y = waves(channels=2)
    counts = {}
    for topology in ("dynamic", "static"):
        fitted = small(topology=topology, n_epochs=8).fit(X, y)
        counts[topology] = set(fitted.gate_densities_["backbone.rnn.weight_hh_l0"].values())
        masks = dict(fitted.network_.named_buffers())
        for name, mask in masks.items():
            weight = fitted.network_.get_parameter(name.removesuffix("_mask"))
            assert not weight[~mask].any()
    assert len(counts["dynamic"]) > 1
    assert len(counts["static"]) == 1
    dense = small(topology="dense").fit(X, y)
    assert (dense.sparsity_, dense.flops_) == (0.0, dense.dense_flops_)


def test_a_single_step_is_a_run_too() -> None:
    X, y = waves(n=4)
    assert small(n_epochs=1, batch_size=4).fit(X, y).sparsity_ == pytest.approx(0.8, abs=0.02)


# Being an estimator


def test_two_fits_are_equal_and_global_generators_are_left_alone() -> None:
    X, y = waves()
    states: list[Any] = [torch.get_rng_state(), np.random.get_state(), random.getstate()]  # noqa: NPY002
    options = {"dropout": 0.3, "n_layers": 2, "validation_fraction": 0.2}
    found = [small(**options, random_state=s).fit(X, y).predict_proba(X) for s in (3, 3, 4)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), states[0])
    now: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(now[1], states[1][1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_predict_the_same_and_pickles_hold_no_tensor(
    copied: Callable[[SparseRNNClassifier], SparseRNNClassifier],
) -> None:
    series, y = ragged()
    fitted = small(cell="gru").fit(series, y)
    np.testing.assert_array_equal(
        copied(fitted).predict_proba(series), fitted.predict_proba(series)
    )
    assert b"torch" not in pickle.dumps(fitted).replace(b"torch_", b"")


@pytest.mark.parametrize("labels", [["slow", "fast"], [3, -1]])
def test_a_saved_classifier_predicts_the_same_and_is_of_its_own_kind(
    tmp_path: Path, labels: list[Any]
) -> None:
    series, _ = ragged()
    y = np.array(labels)[np.arange(20) % 2]
    fitted = small(cell="gru", n_layers=2, normalise="train").fit(series, y)
    fitted.save(tmp_path / "model.npz")
    loaded = SparseRNNClassifier.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict_proba(series), fitted.predict_proba(series))
    np.testing.assert_array_equal(loaded.predict(series), fitted.predict(series))
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert (loaded.flops_, loaded.gate_densities_) == (fitted.flops_, fitted.gate_densities_)
    with pytest.raises(CheckpointError, match=r"DSNClassifier\.save"):
        DSNClassifier.load(tmp_path / "model.npz")


def test_a_loaded_classifier_knows_the_names_of_columns(tmp_path: Path) -> None:
    X, y = waves()
    table = pd.DataFrame(X[:, 0]).rename(columns=lambda step: f"t{step}")
    fitted = small().fit(table, y)
    fitted.save(tmp_path / "model.npz")
    loaded = SparseRNNClassifier.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict_proba(table), fitted.predict_proba(table))
    with pytest.raises(ValueError, match="same order"):
        loaded.predict(table[table.columns[::-1]])


def test_a_file_with_any_bytes_changed_is_read_right_or_refused(tmp_path: Path) -> None:
    X, y = waves()
    fitted = small(n_units=3, n_epochs=1).fit(X, y)
    path = tmp_path / "model.npz"
    fitted.save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(good), 300):
        broken = bytearray(good)
        broken[place] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        try:
            found = SparseRNNClassifier.load(path).predict_proba(X)
        except CheckpointError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, fitted.predict_proba(X))
    assert refused > 100


class CrashError(Exception):
    pass


@pytest.mark.parametrize("crash_after", [1, 5, 11])
@pytest.mark.parametrize("cell", CELLS)
def test_a_run_continued_after_a_crash_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_after: int, cell: Any
) -> None:
    series, y = ragged()
    options = {"cell": cell, "dropout": 0.3, "n_epochs": 12, "validation_fraction": 0.2}
    whole = small(**options).fit(series, y)
    interrupted = small(checkpoint=tmp_path / "run.pt", **options)
    run_epoch = Trainer.run_epoch

    def crashing(self: Trainer) -> dict[str, float]:
        if self.epoch == crash_after:
            raise CrashError
        return run_epoch(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_epoch", crashing)
        with pytest.raises(CrashError):
            interrupted.fit(series, y)
    interrupted.fit(series, y)
    theirs = whole.network_.state_dict()
    for name, value in interrupted.network_.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert interrupted.history_["loss"] == whole.history_["loss"]


@pytest.mark.parametrize("change", [{"drop_fraction": 0.4}, {"n_units": 9}, {"cell": "gru"}])
def test_a_file_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    X, y = waves()
    file = tmp_path / "run.pt"
    small(checkpoint=file).fit(X, y)
    with pytest.raises(CheckpointError, match="cannot be continued"):
        small(checkpoint=file, **change).fit(X, y)
    with pytest.raises(CheckpointError, match="cannot be continued"):
        DSNClassifier(checkpoint=file, random_state=0, n_filters=2, kernel_size=9).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cell": "rnn"}, "cell"),
        ({"n_units": 0}, "n_units"),
        ({"n_layers": True}, "n_layers"),
        ({"density": 0.0}, "density"),
        ({"density": True}, "density must be a number, got a bool"),
        ({"dropout": 1.0}, "dropout"),
        ({"drop_fraction": 1.1}, "drop_fraction"),
        ({"checkpoint": "x", "random_state": None}, "integer random_state"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    X, y = waves()
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X, y)


def test_divergence_is_reported_with_the_epoch() -> None:
    X, y = waves()
    with pytest.raises(TrainingDivergedError, match="diverged in epoch"):
        small(learning_rate=1e38).fit(X, y)


def test_it_is_cloned_and_cross_validated_and_shows_its_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    X, y = waves(channels=2)
    assert len(cross_val_score(clone(small(n_epochs=1)), X, y, cv=2)) == 2
    assert capsys.readouterr().err == ""
    small(verbose=1).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "SparseRNNClassifier: 100%" in shown.err
