"""The command `sparsewire select`: what it writes, and what it refuses before any training."""

import importlib
import json
import signal
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
from sparsewire.featsel.command.methods import METHODS
from sparsewire.featsel.command.request import Request, parse_parameters
from sparsewire.featsel.command.results import Selection, write_results

N_FEATURES = 12
SUPERVISED = ("neurofs", "attribution")
FILTERS = ("laplacian", "random")


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


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
        run("select", data, "--target", "label", "-k", 4, "--epochs", 2, "--explain",
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


def test_explain_writes_bars_and_with_an_image_shape_a_heat_map(data: Path) -> None:
    result = select(data, "--target", "label", "--explain")
    assert result.exit_code == 0, result.stderr
    assert names_in(data.parent / "out") == ["importances.png", "selected.csv", "selection.json"]
    message = refusal(
        select(data, "--target", "label", "--explain", "--image-shape", "3x4", "--quiet")
    )
    assert "importances.png" in message
    result = select(
        data, "--target", "label", "--explain", "--image-shape", "3x4", "--force", "--quiet"
    )
    assert result.exit_code == 0, result.stderr
    assert names_in(data.parent / "out") == [
        "heatmap.png", "importances.png", "selected.csv", "selection.json",
    ]  # fmt: skip


@pytest.mark.parametrize(("n_features", "draws"), [(64, True), (49, False), (63, False)])
def test_explain_takes_a_square_of_eight_or_more_for_an_image(
    tmp_path: Path, n_features: int, draws: bool
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, X=np.random.default_rng(0).normal(size=(20, n_features)))
    assert select(path, "--explain").exit_code == 0
    assert ("heatmap.png" in names_in(tmp_path / "out")) == draws


def test_names_of_columns_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["price in $", r"$\frac{", "a_b^c", "long " * 60]
    pd.DataFrame(matrix()[:, :4], columns=names).to_csv(tmp_path / "data.csv", index=False)
    result = select(tmp_path / "data.csv", "--explain", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_heat_map_in_the_way_is_found_before_training(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, X=np.random.default_rng(0).normal(size=(20, 64)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "heatmap.png").write_bytes(b"mine")
    assert "heatmap.png" in refusal(select(path, "--explain"))
    assert (tmp_path / "out" / "heatmap.png").read_bytes() == b"mine"


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
        (["--target", "label", "--image-shape", "3x4"], ["--explain"]),
        (["--target", "label", "--explain", "--image-shape", "3*4"], ["28x28"]),
        (["--target", "label", "--explain", "--image-shape", "5x5"], ["25 pixels", "12 features"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    data: Path, options: Sequence[str], words: Sequence[str]
) -> None:
    message = refusal(select(data, *options))
    assert [word for word in words if word not in message] == []
    assert list(data.parent.iterdir()) == [data]


@pytest.mark.parametrize(("value", "advice"), [(None, "SimpleImputer"), (np.inf, "replace")])
def test_missing_or_infinite_values_are_refused(
    data: Path, value: float | None, advice: str
) -> None:
    table = frame()
    table.loc[[1, 2], "f7"] = value
    table.to_csv(data, index=False)
    message = refusal(select(data, "--target", "label"))
    assert "'f7' (2)" in message
    assert advice in message
    assert list(data.parent.iterdir()) == [data]


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


SMALL = {
    "quickselection": ["hidden_size=20"],
    "wast": ["hidden_size=20"],
    "neurofs": ["hidden_layer_sizes=(20, 20)"],
    "attribution": ["hidden_layer_sizes=(20, 10)"],
    "laplacian": ["n_neighbors=3"],
    "random": [],
}
"""Parameters that make every method quick."""


def parameters_of(method: str) -> list[str]:
    return [text for pair in SMALL[method] for text in ("--param", pair)]


def make_directly(method: str, **parameters: Any) -> Any:
    module, _, name = METHODS[method].partition(":")
    return getattr(importlib.import_module(module), name)(**parameters)


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.filterwarnings("ignore:no feature is more important:UserWarning")
def test_every_method_gives_what_its_estimator_gives(data: Path, method: str) -> None:
    training = [] if method in FILTERS else ["--epochs", 4]
    result = run(
        "select", data, "--target", "label", "-k", 3, "--method", method, "--seed", 2,
        "--output", data.parent / "out", "--quiet", *training, *parameters_of(method),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    parameters = parse_parameters(SMALL[method])
    if "hidden_layer_sizes" in parameters:
        parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
    selector = make_directly(
        method, n_features_to_select=3, random_state=2, **parameters,
        **({} if method in FILTERS else {"epochs": 4}),
    )  # fmt: skip
    selector.fit(matrix(), frame()["label"].to_numpy(str))
    content = strict_json(data.parent / "out" / "selection.json")
    assert content["method"] == method
    assert content["selected_indices"] == np.flatnonzero(selector.support_).tolist()
    assert [f["importance"] for f in content["features"]] == selector.feature_importances_.tolist()
    network = {"density", "n_connections", "epochs_run"}
    assert network & set(content) == (set() if method in FILTERS else network)


@pytest.mark.parametrize("method", SUPERVISED)
def test_a_supervised_method_needs_a_target(tmp_path: Path, method: str) -> None:
    frame().drop(columns="label").to_csv(tmp_path / "data.csv", index=False)
    message = refusal(select(tmp_path / "data.csv", "--method", method))
    assert f"--method {method} learns from a target" in message
    assert "--target" in message
    np.savez(tmp_path / "data.npz", X=matrix())
    message = refusal(select(tmp_path / "data.npz", "--method", method))
    assert "no array 'y'" in message
    assert names_in(tmp_path) == ["data.csv", "data.npz"]


def test_an_npz_file_brings_the_target_of_a_supervised_method(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=matrix(), y=np.arange(40) % 2)
    result = select(tmp_path / "data.npz", "--method", "neurofs", *parameters_of("neurofs"))
    assert result.exit_code == 0, result.stderr


def test_numbers_that_are_whole_are_classes_and_others_only_a_target_of_regression(
    data: Path,
) -> None:
    options = ("--target", "label", "--method", "neurofs", "--quiet", *parameters_of("neurofs"))
    frame().assign(label=[1.0, 2.0] * 20).to_csv(data, index=False)
    assert select(data, *options).exit_code == 0
    frame().assign(label=np.linspace(0, 1, 40)).to_csv(data, index=False)
    assert "label type" in refusal(select(data, *options, "--force"))
    result = select(data, *options, "--param", "task=regression", "--force")
    assert result.exit_code == 0, result.stderr


def test_a_target_of_one_class_or_with_gaps_is_refused(data: Path) -> None:
    options = ("--target", "label", "--method", "neurofs", *parameters_of("neurofs"))
    frame().assign(label="same").to_csv(data, index=False)
    assert "1 class" in refusal(select(data, *options))
    frame().assign(label=["a", ""] * 20).to_csv(data, index=False)
    assert "missing in 20 rows" in refusal(select(data, *options))


@pytest.mark.filterwarnings("ignore:no feature is more important:UserWarning")
def test_a_k_of_probe_lets_the_shadows_decide(data: Path) -> None:
    result = select(data, "--target", "label", "-k", "probe", "--quiet")
    assert result.exit_code == 0, result.stderr
    content = strict_json(data.parent / "out" / "selection.json")
    above = [f["importance"] > content["shadow_importance"] for f in content["features"]]
    assert content["n_features_selected"] == max(1, sum(above))


def test_redundancy_and_parameters_reach_the_selector(data: Path) -> None:
    result = select(
        data, "--target", "label", "--redundancy", 0.5, "--param", "scale=minmax",
        "--param", "noise=0", "--param", "learning_rate=0.02",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    parameters = strict_json(data.parent / "out" / "selection.json")["parameters"]
    assert parameters["redundancy"] == 0.5
    assert (parameters["scale"], parameters["noise"]) == ("minmax", 0)
    assert parameters["learning_rate"] == 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--param", "hidden_sizes=5"], ["hidden_sizes", "quickselection", "'hidden_size'"]),
        (["--param", "hidden_size"], ["name=value"]),
        (["--param", "hidden_size=many"], ["hidden_size", "'many'"]),
        (["--param", "hidden_size=True"], ["hidden_size", "bool"]),
        (["--param", "hidden_size=0"], ["hidden_size", "Got 0"]),
        (["--param", "noise=1", "--param", "noise=2"], ["noise", "twice"]),
        (["--param", "noise=__import__('os')"], ["--param noise", "literal"]),
        (["--param", "random_state=1"], ["random_state", "--seed"]),
        (["--param", "n_features_to_select=1"], ["-k"]),
        (["--param", "epochs=3"], ["--epochs", "give one"]),
        (["--method", "laplacian"], ["--epochs", "laplacian"]),
        (["--method", "neurofs", "-k", "probe"], ["NeuroFS", "probe"]),
        (["--chunk-rows", 10], ["--chunk-rows", "Parquet", "data.csv"]),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_written(
    data: Path, options: Sequence[object], words: Sequence[str]
) -> None:
    message = refusal(select(data, "--target", "label", *options))
    assert [word for word in words if word not in message] == []
    assert list(data.parent.iterdir()) == [data]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("existing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupt_during_training_leaves_everything_as_it_was(
    data: Path, existing: bool
) -> None:
    output = data.parent / "out"
    if existing:
        assert select(data, "--target", "label", "--explain").exit_code == 0
    before = {path.name: path.read_bytes() for path in output.glob("*")}
    epochs = 10**6
    options = ("--target", "label", "-k", "4", "--epochs", str(epochs), "--explain", "--force")
    # A shell lets what it starts in the background ignore the signal, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from sparsewire.cli import main; main()"
    command = [sys.executable, "-c", code, "select"]
    with subprocess.Popen(
        [*command, str(data), "--output", str(output), *options], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        while f"/{epochs}".encode() not in said:  # the progress bar: training has begun
            said += (byte := process.stderr.read(1))
            assert byte, said
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in rest
    assert {path.name: path.read_bytes() for path in output.glob("*")} == before
    assert output.exists() == existing


def test_a_folder_in_the_way_of_a_file_is_found_before_training(data: Path) -> None:
    (data.parent / "out" / "selection.json").mkdir(parents=True)
    assert "selection.json" in refusal(select(data, "--target", "label", "--force"))


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_files_and_no_other(
    tmp_path: Path, failure: BaseException
) -> None:
    old = tmp_path / "selection.json"
    old.write_text("old")

    def fail(_: np.ndarray[Any, Any], path: Path) -> None:
        path.write_text("half of the t")
        raise failure

    request = Request(data=tmp_path / "data.csv", output=tmp_path, explain=True, force=True)
    result = Selection(
        selector=QuickSelection(4, epochs=1).fit(matrix()),
        names=tuple("abcdefghijkl"),
        target=None,
        n_samples=40,
        n_epochs=1,
        seconds=1.0,
        write_table=fail,
    )
    with pytest.raises(type(failure)):
        write_results(request, result)
    assert old.read_text() == "old"
    assert names_in(tmp_path) == ["selection.json"]


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
