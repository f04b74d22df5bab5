"""The command `sparsewire ts classify`: what it writes, and what it refuses before training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from sparsewire.timeseries import DSNClassifier
from tests.timeseries.command.helpers import (
    SMALL_DSN,
    json_of,
    names_in,
    refusal,
    rows_of,
    run,
    succeed,
    wave_frame,
    waves,
)

SMALL: dict[str, Any] = {"n_filters": 2, "depth": 1, "kernel_size": 5, "n_epochs": 2}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    wave_frame().to_csv(tmp_path / "train.csv", index=False)
    wave_frame(seed=1).to_csv(tmp_path / "test.csv", index=False)
    return tmp_path


def classify(data: Path, *options: object) -> tuple[object, ...]:
    fixed = ("--target", "kind", "-o", data / "out", *SMALL_DSN)
    return ("classify", data / "train.csv", *fixed, *options)


def test_the_result_equals_that_of_the_estimator(data: Path) -> None:
    result = succeed(*classify(data, "--test", data / "test.csv", "--seed", 3))
    expected = DSNClassifier(**SMALL, random_state=3).fit(*waves())
    X, truth = waves(seed=1)
    found = rows_of(data / "out" / "predictions.csv")
    columns = [f"probability_{label}" for label in expected.classes_]
    written = np.array([[float(row[name]) for name in columns] for row in found])
    np.testing.assert_allclose(written, expected.predict_proba(X), rtol=1e-8)
    assert [row["predicted"] for row in found] == expected.predict(X).tolist()
    assert [row["label"] for row in found] == truth
    assert {row["set"] for row in found} == {"test"}
    content = json_of(data / "out" / "metrics.json")
    predicted = expected.predict(X)
    assert content["test"]["accuracy"] == float(np.mean(predicted == np.array(truth)))
    assert content["test"]["confusion"] == {
        "labels": ["fast", "slow"],
        "matrix": confusion_matrix(truth, predicted, labels=["fast", "slow"]).tolist(),
    }
    assert content["flops"]["sparse"] == expected.flops_.sparse
    assert f"accuracy {content['test']['accuracy']:.4f}" in result.stdout


def test_the_json_describes_the_run(data: Path) -> None:
    succeed(*classify(data, "--predict", data / "test.csv", "--quiet"))
    content = json_of(data / "out" / "metrics.json")
    assert content["estimator"] == "DSNClassifier"
    assert SMALL.items() <= content["parameters"].items()
    train = content["data"]["train"]
    assert (train["n_series"], train["n_channels"], train["length"]) == (24, 1, [20, 20])
    assert len(train["files"][0]["sha256"]) == 64
    assert (content["epochs_run"], content["classes"]) == (2, ["fast", "slow"])
    network = DSNClassifier.load(data / "out" / "model.zip").network_
    masks = [conv.get_buffer("weight_mask") for _, conv in network.region_convs]
    active, taps = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    assert (content["n_active_taps"], content["density"]) == (active, active / taps)
    assert "test" not in content
    history = pd.read_csv(data / "out" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert history["loss"].notna().all()
    assert content["command"].split()[0] == "sparsewire"


def test_without_labels_predictions_have_an_empty_label(data: Path) -> None:
    wave_frame(seed=2).drop(columns="kind").to_csv(data / "new.csv", index=False)
    succeed(*classify(data, "--predict", data / "new.csv"))
    rows = rows_of(data / "out" / "predictions.csv")
    assert {(row["set"], row["label"]) for row in rows} == {("predict", "")}
    assert [int(row["series"]) for row in rows] == list(range(24))


def test_a_model_that_was_written_predicts_the_same_later(data: Path) -> None:
    succeed(*classify(data, "--test", data / "test.csv"))
    model = ("--model", data / "out" / "model.zip", "--target", "kind")
    succeed("classify", *model, "--test", data / "test.csv", "-o", data / "later")
    assert names_in(data / "later") == ["metrics.json", "predictions.csv"]
    first, second = (data / folder / "predictions.csv" for folder in ("out", "later"))
    assert first.read_bytes() == second.read_bytes()
    tests = [json_of(path.with_name("metrics.json"))["test"] for path in (first, second)]
    assert tests[0] == tests[1]
    assert DSNClassifier.load(data / "out" / "model.zip").checkpoint is None


def write_ts(path: Path) -> None:
    X, labels = waves()
    lines = [f"{','.join(map(str, x))}:{label}" for x, label in zip(X, labels, strict=True)]
    path.write_text("@classLabel true slow fast\n@data\n" + "\n".join(lines) + "\n")


def write_tsv(path: Path) -> None:
    X, labels = waves()
    codes = [1 if label == "fast" else 2 for label in labels]
    np.savetxt(path, np.column_stack([codes, X]), delimiter="\t")


def write_arff(path: Path) -> None:
    X, labels = waves()
    head = [f"@attribute t{step} numeric" for step in range(X.shape[1])]
    rows = [f"{','.join(map(str, x))},{label}" for x, label in zip(X, labels, strict=True)]
    path.write_text("\n".join([*head, "@attribute y {slow,fast}", "@data", *rows]) + "\n")


def write_npz(path: Path) -> None:
    X, labels = waves()
    np.savez(path, X=X, y=np.array(labels))


@pytest.mark.parametrize("write", [write_ts, write_tsv, write_arff, write_npz])
def test_every_format_gives_the_same_losses(data: Path, write: Callable[[Path], None]) -> None:
    path = data / f"data.{write.__name__.removeprefix('write_')}"
    write(path)
    succeed("classify", path, "-o", data / "own", *SMALL_DSN)
    succeed(*classify(data))
    losses = [pd.read_csv(data / out / "history.csv")["loss"] for out in ("own", "out")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_an_archive_of_both_splits_is_tested_on_its_own(tmp_path: Path) -> None:
    X, y = waves()
    np.savez(
        tmp_path / "both.npz", X_train=X[:, np.newaxis], y_train=y, X_test=X[:6, np.newaxis],
        y_test=y[:6],
    )  # fmt: skip
    succeed("classify", tmp_path / "both.npz", "-o", tmp_path / "out", *SMALL_DSN)
    assert json_of(tmp_path / "out" / "metrics.json")["test"]["n_series"] == 6


def test_a_registered_name_brings_its_test_cases(data_dir: Path, tmp_path: Path) -> None:
    succeed("classify", "UnitTest", "-o", tmp_path / "out", *SMALL_DSN)
    content = json_of(tmp_path / "out" / "metrics.json")
    assert content["data"]["test"]["files"][0]["file"].endswith("UnitTest_TEST.ts")
    assert content["test"]["n_series"] == content["data"]["test"]["n_series"]


def test_pictures_are_drawn_on_demand_and_the_same_for_the_same_seed(data: Path) -> None:
    pytest.importorskip("matplotlib")
    contents = []
    for out in ("one", "two"):
        succeed(*classify(data, "--plots", "-o", data / out))
        contents.append([
            (data / out / f"{name}.png").read_bytes() for name in ("kernels", "class_activation")
        ])  # fmt: skip
    assert contents[0] == contents[1]
    assert names_in(data / "one") == [
        "class_activation.png", "history.csv", "kernels.png", "metrics.json", "model.zip",
    ]  # fmt: skip


def test_quiet_is_silent_and_otherwise_progress_goes_to_stderr(data: Path) -> None:
    loud = succeed(*classify(data))
    assert "DSNClassifier" in loud.stderr
    assert "wrote" in loud.stdout
    silent = succeed(*classify(data, "--quiet", "--force"))
    assert (silent.stdout, silent.stderr) == ("", "")


def test_existing_output_is_refused_and_with_force_replaced(data: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "history.csv").write_text("mine")
    message = refusal(run(*classify(data)))
    assert "history.csv" in message
    assert "--force" in message
    assert (data / "out" / "history.csv").read_text() == "mine"
    assert names_in(data / "out") == ["history.csv"]
    succeed(*classify(data, "--force"))
    assert (data / "out" / "history.csv").read_text() != "mine"
    assert "run.pt" not in names_in(data / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--test", "missing.ts"], ["no such file", "missing.ts"]),
        (["--test", "gunpint"], ["gunpint", "gunpoint"]),
        (["--param", "n_epochs:2"], ["n_epochs", "twice"]),
        (["--param", "filters:3"], ["filters", "n_filters"]),
        (["--param", "random_state:3"], ["--seed"]),
        (["--param", "density:2.0"], ["density"]),
        (["--param", "depth"], ["key:value"]),
        (["--model", "m.zip"], ["--model", "TRAIN"]),
        (["--target", "sort"], ["'kind'", "'slow'", "--target"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    data: Path, options: list[str], words: list[str]
) -> None:
    message = refusal(run(*classify(data, *options)))
    assert [word for word in words if word not in message] == []
    assert names_in(data) == ["test.csv", "train.csv"]


def broken(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    changed = frame.astype({"t4": object})
    if how == "text":
        changed.loc[3, "t4"] = "abc"
    elif how == "one class":
        changed["kind"] = "slow"
    elif how == "no label":
        changed.loc[5, "kind"] = ""
    elif how == "infinite":
        changed.loc[3, "t4"] = "inf"
    elif how == "same names":
        changed = changed.rename(columns={"t4": "t5"})
    return changed


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("text", ["line 5", "'t4'", "'abc'"]),
        ("one class", ["one class", "slow"]),
        ("no label", ["line 7", "label"]),
        ("infinite", ["line 5", "'t4'", "'inf'"]),
        ("same names", ["repeated", "t5"]),
    ],
)
def test_unusable_training_series_are_refused(data: Path, how: str, words: list[str]) -> None:
    broken(wave_frame(), how).to_csv(data / "train.csv", index=False)
    message = refusal(run(*classify(data)))
    assert [word for word in words if word not in message] == []
    assert not (data / "out").exists()


def test_a_label_unseen_at_fit_is_refused_before_training(data: Path) -> None:
    test = wave_frame(seed=1)
    test.loc[4, "kind"] = "sideways"
    test.to_csv(data / "test.csv", index=False)
    message = refusal(run(*classify(data, "--test", data / "test.csv")))
    assert "sideways" in message
    assert "fast, slow" in message
    assert not (data / "out").exists()


def test_test_series_of_another_kind_are_refused_before_training(data: Path) -> None:
    wave_frame(seed=1).rename(columns={"t7": "u7"}).to_csv(data / "test.csv", index=False)
    assert "t7, u7" in refusal(run(*classify(data, "--test", data / "test.csv")))
    X, y = waves()
    np.savez(data / "two.npz", X=np.stack([X, X], axis=1), y=y)
    assert "2 channels" in refusal(run(*classify(data, "--test", data / "two.npz")))
    np.savez(data / "none.npz", X=X)
    assert "no labels" in refusal(run(*classify(data, "--test", data / "none.npz")))
    X[2, 3] = np.nan
    np.savez(data / "gap.npz", X=X, y=y)
    refused = refusal(run(*classify(data, "--test", data / "gap.npz", "--param", "missing:raise")))
    assert "missing values" in refused
    assert not (data / "out").exists()


def test_a_target_without_csv_and_a_regression_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.ts"
    write_ts(path)
    message = refusal(run("classify", path, "--target", "kind", "-o", tmp_path / "out"))
    assert "--target" in message
    path.write_text("@targetLabel true\n@data\n1,2,3:0.5\n2,3,4:1.5\n")
    assert "regression" in refusal(run("classify", path, "-o", tmp_path / "out"))


def test_the_output_never_replaces_an_input(data: Path) -> None:
    (data / "out").mkdir()
    wave_frame().to_csv(data / "out" / "predictions.csv", index=False)
    predict = ("--predict", data / "out" / "predictions.csv", "--force")
    assert "replace the input" in refusal(run(*classify(data, *predict)))


def test_without_resume_no_run_is_kept(data: Path) -> None:
    (data / "out").mkdir()
    (data / "out" / "run.pt").write_bytes(b"not a run")
    assert "run.pt cannot be continued" in refusal(run(*classify(data, "--quiet")))
    succeed(*classify(data, "--no-resume"))
    assert (data / "out" / "run.pt").read_bytes() == b"not a run"


def test_predicting_leaves_the_run_of_another_training_alone(data: Path) -> None:
    DSNClassifier(**SMALL, random_state=0).fit(*waves()).save(data / "model.zip")
    (data / "out").mkdir()
    (data / "out" / "run.pt").write_bytes(b"a run")
    model = ("--model", data / "model.zip", "--target", "kind", "--test", data / "test.csv")
    succeed("classify", *model, "-o", data / "out")
    assert (data / "out" / "run.pt").read_bytes() == b"a run"


def test_a_model_of_labels_that_are_numbers_judges_labels_from_files(data: Path) -> None:
    X, kinds = waves()
    numbers = np.where(np.array(kinds) == "slow", 10, 9)
    model = DSNClassifier(**SMALL, random_state=0).fit(X, numbers)
    model.save(data / "model.zip")
    frame = wave_frame(seed=1)
    truth = np.where(frame["kind"] == "slow", 10, 9)
    frame.assign(kind=truth).to_csv(data / "test.csv", index=False)
    fixed = ("classify", "--model", data / "model.zip", "--target", "kind")
    succeed(*fixed, "--test", data / "test.csv", "-o", data / "out")
    content = json_of(data / "out" / "metrics.json")
    X, _ = waves(seed=1)
    predicted = model.predict(X)
    assert content["test"]["accuracy"] == float(np.mean(predicted == truth))
    assert content["test"]["confusion"]["labels"] == ["9", "10"]
    matrix = confusion_matrix(truth, predicted, labels=[9, 10]).tolist()
    assert content["test"]["confusion"]["matrix"] == matrix
    rows = rows_of(data / "out" / "predictions.csv")
    assert [row["predicted"] for row in rows] == [str(label) for label in predicted]
    frame.assign(kind=11).to_csv(data / "test.csv", index=False)
    message = refusal(run(*fixed, "--test", data / "test.csv", "-o", data / "other"))
    assert "11" in message
    assert "9, 10" in message


@pytest.mark.parametrize("option", ["--test", "--predict"])
def test_series_that_the_treatment_refuses_are_refused_before_training(
    data: Path, option: str
) -> None:
    X, y = waves()
    np.savez(data / "short.npz", X=X[:, :15], y=y)
    unequal = ("--param", "unequal:raise")
    message = refusal(run(*classify(data, option, data / "short.npz", *unequal)))
    assert "short.npz" in message
    assert "length 15" in message
    X[2, 3] = 1e39
    np.savez(data / "large.npz", X=X, y=y)
    plain = ("--param", "normalise:'none'")
    message = refusal(run(*classify(data, option, data / "large.npz", *plain)))
    assert "large.npz" in message
    assert "float32" in message
    assert not (data / "out").exists()


def test_labels_that_are_numbers_are_not_taken_for_a_time_step(data: Path) -> None:
    DSNClassifier(**SMALL, random_state=0).fit(*waves()).save(data / "model.zip")
    frame = wave_frame(seed=1).drop(columns="kind").assign(kind=1)
    frame.to_csv(data / "test.csv", index=False)
    fixed = ("classify", "--model", data / "model.zip", "--predict", data / "test.csv")
    message = refusal(run(*fixed, "-o", data / "out"))
    assert "21 columns" in message
    assert "20 steps" in message
    assert "--target" in message
    assert not (data / "out").exists()
    succeed(*fixed, "--target", "kind", "-o", data / "out")


@pytest.mark.parametrize("option", [("--seed", 7), ("--no-resume",)])
def test_options_of_a_training_are_refused_for_a_model(
    data: Path, option: tuple[object, ...]
) -> None:
    fixed = ("classify", "--model", data / "m.zip", "--predict", data / "test.csv")
    assert str(option[0]) in refusal(run(*fixed, "-o", data / "out", *option))
