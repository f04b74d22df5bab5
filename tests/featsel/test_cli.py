"""The command `sparsewire select`: what it writes, and what it refuses before any training."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import sparsewire
from sparsewire.cli import app
from sparsewire.featsel import QuickSelection

N_FEATURES = 12


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def select(data: Path, *options: object) -> Result:
    """Run `sparsewire select` on data, two epochs, into the folder out beside it."""
    fixed = ("-k", 4, "--output", data.parent / "out", "--epochs", 2)
    return run("select", data, *fixed, *options)


def refusal(result: Result) -> str:
    """Return the message of a refused call, after checking its form."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def strict_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    return content


def matrix() -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 3)) @ rng.normal(size=(3, N_FEATURES)) + rng.normal(size=N_FEATURES)


def frame() -> pd.DataFrame:
    table = pd.DataFrame(matrix(), columns=[f"f{index}" for index in range(N_FEATURES)])
    table.insert(5, "label", ["007", "a, b"] * 20)
    return table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    frame().to_csv(path, index=False)
    return path


def test_the_result_equals_that_of_the_estimator(data: Path) -> None:
    result = select(data, "--target", "label", "--seed", 3, "--quiet")
    assert result.exit_code == 0, result.stderr
    expected = QuickSelection(4, epochs=2, random_state=3).fit(
        pd.read_csv(data).drop(columns="label").to_numpy()
    )
    content = strict_json(data.parent / "out" / "selection.json")
    assert content["selected_indices"] == np.flatnonzero(expected.support_).tolist()
    importances = [feature["importance"] for feature in content["features"]]
    assert importances == expected.feature_importances_.tolist()
    assert [f["ranking"] for f in content["features"]] == expected.ranking_.tolist()
    assert content["n_connections"] == sum(layer.nnz for layer in expected.connections_)
    assert content["density"] == expected.density_


def test_the_json_describes_the_run(data: Path) -> None:
    select(data, "--target", "label", "--seed", 3)
    content = strict_json(data.parent / "out" / "selection.json")
    assert content["sparsewire_version"] == sparsewire.__version__
    assert (content["method"], content["seed"]) == ("quickselection", 3)
    assert content["input"] == {
        "file": "data.csv", "n_samples": 40, "n_features": N_FEATURES, "target": "label",
    }  # fmt: skip
    parameters = content["parameters"]
    assert parameters == QuickSelection(4, epochs=2, random_state=3, verbose=1).get_params()
    assert list(parameters) == sorted(parameters)
    assert [f["name"] for f in content["features"]] == [f"f{i}" for i in range(N_FEATURES)]
    assert [f["index"] for f in content["features"]] == list(range(N_FEATURES))
    assert content["selected_names"] == [f"f{index}" for index in content["selected_indices"]]
    assert content["n_features_selected"] == 4
    assert content["epochs_run"] == 2
    assert content["fit_seconds"] > 0


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_the_reduced_table_has_the_input_s_format_and_values(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    if suffix == ".csv":
        frame().to_csv(path, index=False)
    elif suffix == ".parquet":
        frame().to_parquet(path)
    else:
        np.savez(path, X=matrix(), label=frame()["label"].to_numpy(str))
    result = select(path, "--target", "label")
    assert result.exit_code == 0, result.stderr
    chosen = strict_json(tmp_path / "out" / "selection.json")["selected_indices"]
    output = tmp_path / "out" / f"selected{suffix}"
    if suffix == ".npz":
        with np.load(output) as reduced:
            np.testing.assert_array_equal(reduced["X"], matrix()[:, chosen])
            assert reduced["label"].tolist() == frame()["label"].tolist()
        return
    columns = [n for n in frame().columns if n == "label" or int(n[1:]) in chosen]
    if suffix == ".csv":
        reduced_frame = pd.read_csv(output, dtype={"label": str})
    else:
        reduced_frame = pd.read_parquet(output)
    pd.testing.assert_frame_equal(reduced_frame, frame()[columns], check_exact=True)


def test_the_same_seed_gives_the_same_files_but_for_the_seconds(data: Path) -> None:
    for folder in ("one", "two"):
        run("select", data, "--target", "label", "-k", 4, "--epochs", 2, "--plot",
            "--output", data.parent / folder)  # fmt: skip
    one, two = data.parent / "one", data.parent / "two"
    for name in ("selected.csv", "importances.png"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    first, second = strict_json(one / "selection.json"), strict_json(two / "selection.json")
    assert list(first) == list(second)
    assert {**first, "fit_seconds": 0} == {**second, "fit_seconds": 0}


def test_a_k_with_a_point_is_a_share_of_the_features(data: Path) -> None:
    result = select(data, "--target", "label", "-k", "0.25")
    assert result.exit_code == 0, result.stderr
    assert strict_json(data.parent / "out" / "selection.json")["n_features_selected"] == 3


def test_plot_writes_bars_and_with_an_image_shape_a_heat_map(data: Path) -> None:
    result = select(data, "--target", "label", "--plot", "--image-shape", "3x4")
    assert result.exit_code == 0, result.stderr
    written = sorted(path.name for path in (data.parent / "out").iterdir())
    assert written == ["heatmap.png", "importances.png", "selected.csv", "selection.json"]


def test_quiet_is_silent_and_otherwise_progress_goes_to_stderr(data: Path) -> None:
    loud = select(data, "--target", "label")
    assert "2/2" in loud.stderr
    assert "kept 4 of 12 features" in loud.stdout
    quiet = select(data, "--target", "label", "--quiet", "--force")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_a_constant_column_is_a_warning_and_not_selected(data: Path) -> None:
    frame().assign(f3=1.0).to_csv(data, index=False)
    result = select(data, "--target", "label", "--quiet")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert "constant" in result.stderr
    assert "f3" not in strict_json(data.parent / "out" / "selection.json")["selected_names"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "lable"], ["'lable'", "Did you mean 'label'"]),
        ([], ["not numeric", "'label'", "OneHotEncoder"]),
        (["--target", "label", "--method", "quickselect"], ["quickselect", "quickselection"]),
        (["--target", "label", "-k", "13"], ["-k 13", "12 features"]),
        (["--target", "label", "-k", "0"], ["-k 0"]),
        (["--target", "label", "-k", "1.5"], ["-k 1.5", "(0, 1]"]),
        (["--target", "label", "-k", "0.0"], ["-k 0.0"]),
        (["--target", "label", "-k", "half"], ["-k half"]),
        (["--target", "label", "--image-shape", "3x4"], ["--plot"]),
        (["--target", "label", "--plot", "--image-shape", "3*4"], ["28x28"]),
        (["--target", "label", "--plot", "--image-shape", "5x5"], ["25 pixels", "12 features"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    data: Path, options: Sequence[str], words: Sequence[str]
) -> None:
    message = refusal(select(data, *options))
    assert [word for word in words if word not in message] == []
    assert list(data.parent.iterdir()) == [data]


@pytest.mark.parametrize("value", [None, np.inf])
def test_missing_or_infinite_values_are_refused(data: Path, value: float | None) -> None:
    table = frame()
    table.loc[[1, 2], "f7"] = value
    table.to_csv(data, index=False)
    message = refusal(select(data, "--target", "label"))
    assert "'f7' (2)" in message
    assert "SimpleImputer" in message


def test_columns_that_are_all_constant_are_refused(data: Path) -> None:
    pd.DataFrame({"a": [1.0] * 5, "b": [2.0] * 5}).to_csv(data, index=False)
    assert "constant" in refusal(select(data, "-k", 1))


@pytest.mark.parametrize("name", ["nowhere.csv", "data.xlsx"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    assert name in refusal(select(tmp_path / name))


def test_existing_output_needs_force(data: Path) -> None:
    assert select(data, "--target", "label").exit_code == 0
    before = (data.parent / "out" / "selection.json").read_bytes()
    message = refusal(select(data, "--target", "label"))
    assert "selected.csv" in message
    assert "--force" in message
    assert (data.parent / "out" / "selection.json").read_bytes() == before
    assert select(data, "--target", "label", "--seed", 1, "--force").exit_code == 0
    assert strict_json(data.parent / "out" / "selection.json")["seed"] == 1


def test_the_input_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "selected.csv"
    frame().to_csv(path, index=False)
    before = path.read_bytes()
    result = select(path, "--target", "label", "--output", tmp_path, "--force")
    assert "replace the input" in refusal(result)
    assert path.read_bytes() == before


@pytest.mark.parametrize("below", [False, True])
def test_an_output_folder_that_is_or_lies_below_a_file_is_refused(data: Path, below: bool) -> None:
    output = data / "out" if below else data
    assert str(data) in refusal(select(data, "--target", "label", "--output", output))


def test_help_lists_the_sub_commands_and_the_version_option_prints_it() -> None:
    assert "select" in run("--help").stdout
    assert run("--version").stdout == f"sparsewire {sparsewire.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from typer.testing import CliRunner
from sparsewire.cli import app
assert CliRunner().invoke(app, ["select", "--help"]).exit_code == 0
print(sorted({"torch", "sklearn", "scipy", "pandas", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
