"""Does a run end with the right network, stop in time, and survive a crash or a file?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparsewire.core import CheckpointError, InvalidArgumentError
from sparsewire.timeseries.classification.training import Trainer
from sparsewire.timeseries.dsn import DSNClassifier
from sparsewire.timeseries.panel import to_panel
from tests.timeseries.dsn.helpers import small, waves

LONG = {"n_epochs": 13, "kernel_size": 9}


def weights(fitted: DSNClassifier) -> dict[str, Any]:
    return {name: value.numpy() for name, value in fitted.network_.state_dict().items()}


def assert_same_network(a: DSNClassifier, b: DSNClassifier) -> None:
    for (name, x), y in zip(weights(a).items(), weights(b).values(), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_the_network_of_the_lowest_training_loss_is_kept() -> None:
    X, y = waves()
    fitted = small(n_epochs=12, learning_rate=0.05).fit(X, y)
    losses = fitted.history_["loss"]
    assert len(losses) == len(fitted.history_["seconds"]) == fitted.n_epochs_ == 12
    assert losses[fitted.best_epoch_ - 1] == min(losses)


def test_weights_outside_the_kept_masks_are_zero() -> None:
    X, y = waves()
    kept = weights(small(n_epochs=12).fit(X, y))
    masks = {name: mask for name, mask in kept.items() if name.endswith("_mask")}
    assert len(masks) == 6
    for name, mask in masks.items():
        assert 0 < mask.mean() < 1
        assert not kept[name.removesuffix("_mask")][~mask].any()


def test_patience_ends_a_run_that_no_longer_improves() -> None:
    X, y = waves()
    fitted = small(n_epochs=200, patience=3, learning_rate=0.3, validation_fraction=0.3).fit(X, y)
    assert fitted.n_epochs_ == fitted.best_epoch_ + 3 < 200
    held_out = fitted.history_["validation_loss"]
    assert held_out[fitted.best_epoch_ - 1] == min(held_out)


class CrashError(Exception):
    pass


@pytest.mark.parametrize("crash_after", [3, 6, 12])
@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_run_continued_after_a_crash_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_after: int, growth: str
) -> None:
    X, y = waves()
    options: dict[str, Any] = LONG | {"growth": growth, "validation_fraction": 0.2}
    whole = small(**options).fit(X, y)
    interrupted = small(checkpoint=tmp_path / "run.pt", **options)
    run_epoch = Trainer.run_epoch

    def crashing(self: Trainer) -> dict[str, float]:
        if self.epoch == crash_after:
            raise CrashError
        return run_epoch(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_epoch", crashing)
        with pytest.raises(CrashError):
            interrupted.fit(X, y)
    interrupted.fit(X, y)
    assert_same_network(interrupted, whole)
    assert interrupted.history_["loss"] == whole.history_["loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"density": 0.3}, "density|allocates"), ({"drop_fraction": 0.4}, "method"), (None, "data")],
)
def test_a_file_of_another_run_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    X, y = waves()
    file = tmp_path / "run.pt"
    small(checkpoint=file).fit(X, y)
    other = small(checkpoint=file, **(change or {}))
    with pytest.raises(CheckpointError, match=message):
        other.fit(X if change else X + 1, y)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    X, y = waves()
    first = small(checkpoint=tmp_path / "run.pt").fit(X, y)
    again = small(checkpoint=tmp_path / "run.pt").fit(X, y)
    assert_same_network(first, again)
    assert first.history_ == again.history_


@pytest.mark.parametrize("labels", [["slow", "fast"], [3, -1], [0.0, 2.0]])
def test_a_saved_classifier_predicts_the_same(tmp_path: Path, labels: list[Any]) -> None:
    X, _ = waves(channels=2)
    y = np.array(labels, dtype=object if isinstance(labels[0], str) else None)[np.arange(20) % 2]
    fitted = small(normalise="train", density=0.3).fit(X, y)
    fitted.save(tmp_path / "model.npz")
    loaded = DSNClassifier.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert loaded.flops_ == fitted.flops_
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]


def test_a_table_s_length_is_saved_too(tmp_path: Path) -> None:
    X, y = waves()
    small().fit(X[:, 0], y).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="30 features"):
        DSNClassifier.load(tmp_path / "model.npz").predict(X[:, 0, :20])


@pytest.mark.filterwarnings("error")
def test_the_names_of_a_table_s_columns_are_saved_too(tmp_path: Path) -> None:
    X, y = waves()
    table = pd.DataFrame(X[:, 0]).rename(columns=lambda step: f"t{step}")
    fitted = small().fit(table, y)
    fitted.save(tmp_path / "model.npz")
    loaded = DSNClassifier.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict_proba(table), fitted.predict_proba(table))
    assert loaded.feature_names_in_.dtype == object
    assert loaded.feature_names_in_.tolist() == fitted.feature_names_in_.tolist()
    with pytest.raises(ValueError, match="same order"):
        loaded.predict(table[table.columns[::-1]])


def test_held_out_series_have_no_part_in_mean_and_deviation() -> None:
    X, y = waves(n=40)
    wild = X.copy()
    plain = small(normalise="train", validation_fraction=0.25).fit(X, y)
    rows = plain._labelled(plain._treatment.apply(to_panel(X)), y, plain._draw_seed())
    wild[rows.held_out] += 1000
    fitted = small(normalise="train", validation_fraction=0.25).fit(wild, y)
    seen = X[rows.train]
    np.testing.assert_allclose(fitted._treatment.centre, seen.mean())
    np.testing.assert_allclose(fitted._treatment.scale, seen.std())
    assert fitted.history_["loss"] == plain.history_["loss"]
    assert fitted.history_["validation_loss"] != plain.history_["validation_loss"]


def test_a_held_out_series_may_be_the_longest() -> None:
    X, y = waves(n=40)
    options: dict[str, Any] = {"normalise": "train", "validation_fraction": 0.25}
    plain = small(**options).fit(X, y)
    rows = plain._labelled(plain._treatment.apply(to_panel(X)), y, plain._draw_seed())
    series = [x if i in rows.held_out else x[:, :20] for i, x in enumerate(X)]
    for unequal in ("mask", "pad"):
        fitted = small(unequal=unequal, **options).fit(series, y)
        assert fitted._treatment.length == 30
        longer = np.concatenate([X, X], axis=2)
        assert np.isfinite(fitted.predict_proba(longer)).all()


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def changed(path: Path, change: Change) -> Path:
    """Write a file beside a good one, with something changed in its text or arrays."""
    with np.load(path) as stored:
        arrays = dict(stored)
    text = json.loads(str(arrays.pop("description")))
    change(text, arrays)
    np.savez(path.with_name("changed.npz"), description=np.array(json.dumps(text)), **arrays)
    return path.with_name("changed.npz")


DAMAGES: dict[str, tuple[Change, str]] = {
    "unknown parameter": (lambda t, a: t["parameters"].update(speed=1), "speed"),
    "missing parameter": (lambda t, a: t["parameters"].pop("density"), "density"),
    "impossible parameter": (lambda t, a: t["parameters"].update(depth="x"), "depth"),
    "list of parameters": (lambda t, a: t.update(parameters=[1]), "parameters"),
    "no parameters": (lambda t, a: t.update(parameters=None), "parameters"),
    "number as fitted": (lambda t, a: t.update(fitted=5), "fitted is 5"),
    "nothing fitted": (lambda t, a: t.update(fitted={}), "fitted lacks"),
    "unknown fitted": (lambda t, a: t["fitted"].update(more=1), "more"),
    "history": (lambda t, a: t["fitted"].update(history_=3), "history_"),
    "channels": (lambda t, a: t["fitted"].update(n_channels_in_=7), "channels"),
    "names": (lambda t, a: t["fitted"].update(feature_names_in_=["a"]), "feature_names_in_"),
    "kind of classes": (lambda t, a: t.update(classes="i"), "kind 'i'"),
    "shape": (lambda t, a: t.update(shape=[]), "damaged"),
    "padding": (lambda t, a: t["shape"].update(padding="nope"), "padding"),
    "treatment": (lambda t, a: t["preparation"].update(normalise="nope"), "normalise"),
    "fewer classes": (lambda t, a: a.update(classes=a["classes"][:1]), "2 different labels"),
    "equal classes": (lambda t, a: a.update(classes=a["classes"][[0, 0]]), "2 different labels"),
    "long centre": (lambda t, a: a.update(centre=np.zeros((4, 1))), "centre"),
    "flat scale": (lambda t, a: a.update(scale=np.ones(1)), "scale"),
    "text as scale": (lambda t, a: a.update(scale=np.array([["x"]])), "scale"),
    "no centre": (lambda t, a: a.pop("centre"), "centre"),
    "small mask": (
        lambda t, a: a.update({k: v[:1] for k, v in a.items() if k.endswith("_mask")}),
        "do not fit",
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_file_with_other_content_is_refused_with_its_name(tmp_path: Path, damage: str) -> None:
    X, y = waves()
    small().fit(X[:, 0], y).save(tmp_path / "model.npz")
    assert DSNClassifier.load(changed(tmp_path / "model.npz", lambda t, a: None)).depth == 2
    change, message = DAMAGES[damage]
    with pytest.raises(CheckpointError, match=message) as caught:
        DSNClassifier.load(changed(tmp_path / "model.npz", change))
    assert "changed.npz" in str(caught.value)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    X, y = waves()
    good = tmp_path / "model.npz"
    small().fit(X, y).save(good)
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "text.npz").write_text("no model")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    pickled = np.array([{"code": 1}], dtype=object)
    np.savez(tmp_path / "pickled.npz", description=pickled, allow_pickle=True)
    for name in ("cut", "text", "foreign", "pickled"):
        with pytest.raises(CheckpointError):
            DSNClassifier.load(tmp_path / f"{name}.npz")


def test_labels_that_are_neither_numbers_nor_strings_cannot_be_saved(tmp_path: Path) -> None:
    X, y = waves()
    fitted = small().fit(X, y)
    fitted.classes_ = np.array([None, ()], dtype=object)
    with pytest.raises(InvalidArgumentError, match="NoneType"):
        fitted.save(tmp_path / "model.npz")


def test_a_progress_bar_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = waves()
    small(verbose=1).fit(X, y)
    output = capsys.readouterr()
    assert output.out == ""
    assert "DSNClassifier: 100%" in output.err
    small().fit(X, y)
    assert capsys.readouterr().err == ""
