"""Tables, files and pictures: numbers as computed by hand, pictures that show something."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from sparsewire.continual.command import plots, results
from sparsewire.continual.command.runs import Results, Run
from sparsewire.core.errors import CheckpointError
from sparsewire.reporting.figures import COLOURS
from tests.continual.command.helpers import small

TWO_TASKS: dict[str, Any] = {
    "tasks": [[0, 1], [2, 3]],
    "task_il": [[1.0, None], [0.75, 1.0]],
    "cpu_seconds": [1.0, 2.0],
    "wall_seconds": [1.0, 2.0],
    "dense_flops": 100.0,
    "dense_weights": 50,
    "finished": True,
}


def write(logs: Path, method: str, last: float, **more: Any) -> Run:
    settings = small(method)
    run = Run.of(settings, logs)
    run.prepare("sparsewire cl run")
    content = TWO_TASKS | more
    run.write_results(Results(class_il=[[1.0, None], [last, 0.5]], flops=20.0, **content))
    return run


def memory(weights: int) -> dict[str, int]:
    return {
        "weights": weights, "biases": 2, "value_bytes": 4 * (weights + 2),
        "index_bytes": 4 * weights, "bitmap_bytes": 7, "dense_weights": 50,
    }  # fmt: skip


def picture(figure: Figure) -> Any:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    content.seek(0)
    return imread(content)


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = write(tmp_path, "naive", 0.25)
    assert run.read_results() == Results(
        class_il=[[1.0, None], [0.25, 0.5]], flops=20.0, **TWO_TASKS
    )
    owners = {"fc1": np.array([[0, 1], [2, 0]], np.int16)}
    run.write_owners(owners)
    np.testing.assert_array_equal(run.read_owners()["fc1"], owners["fc1"])
    assert run.command() == "sparsewire cl run"


@pytest.mark.parametrize("content", ["", "[]", '{"tasks": []}', "\xff"])
def test_damaged_results_are_refused(content: str, tmp_path: Path) -> None:
    run = write(tmp_path, "naive", 0.25)
    (run.path / "results.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match="damaged"):
        run.read_results()


def test_damaged_owners_are_refused(tmp_path: Path) -> None:
    run = write(tmp_path, "naive", 0.25)
    assert run.read_owners() == {}
    (run.path / "owners.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CheckpointError, match="damaged"):
        run.read_owners()


def test_an_unfinished_run_has_no_place_in_a_table(tmp_path: Path) -> None:
    run = write(tmp_path, "naive", 0.25, finished=False)
    with pytest.raises(CheckpointError, match="no finished run"):
        results.collect([run])


def test_the_table_holds_what_a_calculation_by_hand_gives(tmp_path: Path) -> None:
    sparse = write(tmp_path, "spacenet", 0.25, memory=memory(10), connections={"fc1": 10})
    (entry,) = results.collect([sparse])
    found = {name: float(value[0]) for name, value in results.numbers(entry).items()}
    assert found == {
        "ACC": 37.5, "BWT": -75.0, "task-IL ACC": 87.5, "task-IL BWT": -25.0, "weights": 20.0,
        "FLOPs": 20.0, "memory, MB": (48 + 7) / 1e6, "replay": 0.0, "CPU, s": 3.0,
    }  # fmt: skip
    (row,) = results.table_rows([entry])
    assert row[:6] == ["spacenet", "1", "37.50", "-75", "87.50", "-25"]


def test_mean_and_deviation_are_those_of_the_seeds(tmp_path: Path) -> None:
    runs = [write(tmp_path / str(number), "naive", last) for number, last in enumerate((0.1, 0.5))]
    (row,) = results.table_rows(results.collect(runs))
    assert row[2] == "40.00 ± 14.14"  # 30 and 50
    results.write_csv(tmp_path / "a.csv", results.collect(runs))
    header, line = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith('method,seeds,"ACC, mean","ACC, std"')
    assert line.startswith("naive,0 0,40,14.14213562")


def test_every_routing_has_a_row_of_its_own(tmp_path: Path) -> None:
    routings = {"oracle": TWO_TASKS["task_il"], "max_softmax": [[1.0, None], [0.2, 0.4]]}
    run = write(tmp_path, "concept-cells", 0.2, routings=routings)
    entries = results.collect([run])
    assert [entry.name for entry in entries] == [
        "concept-cells [oracle]", "concept-cells [max_softmax]",
    ]  # fmt: skip
    accuracies = [float(results.numbers(entry)["ACC"][0]) for entry in entries]
    assert accuracies == pytest.approx([87.5, 30.0])
    flops = [float(results.numbers(entry)["FLOPs"][0]) for entry in entries]
    assert flops == [10.0, 20.0]  # one of two sub-networks, both


def test_pictures_are_not_empty() -> None:
    matrices = np.array([[[1.0, np.nan], [0.5, 0.9]], [[0.9, np.nan], [0.4, 1.0]]])
    owners = {"fc1": np.array([[0, 1, 1], [2, 0, 0]], np.int16), "fc2": np.eye(2, dtype=np.int16)}
    for figure in (
        plots.accuracy_over_tasks({"spacenet": (matrices, matrices)}),
        plots.accuracy_matrices(matrices, matrices),
        plots.ownership_maps(owners, 2),
    ):
        assert len(np.unique(picture(figure).reshape(-1, 4), axis=0)) > 50


def test_a_map_shows_each_connection_in_the_colour_of_its_owner() -> None:
    owner = np.array([[0, 1], [2, 0], [0, 0]], np.int16)
    figure = plots.ownership_maps({"fc1": owner, "fc2": np.zeros((1, 3), np.int16)}, 2)
    image: Any = figure.axes[0].get_images()[0].get_array()
    first, second = (tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in COLOURS[:2])
    assert image.shape == (3, 2, 3)
    np.testing.assert_allclose(image[0, 1], first)
    np.testing.assert_allclose(image[1, 0], second)
    np.testing.assert_allclose(image[[0, 1, 2, 2], [0, 1, 0, 1]], 1)


def test_units_of_a_map_stand_by_their_first_task() -> None:
    owner = np.array([[2, 2], [0, 0], [1, 2], [0, 0]], np.int16)
    behind = np.array([[0, 1, 0, 0]], np.int16)
    inputs, hidden, classes = plots._orders([owner, behind])
    assert (inputs.tolist(), hidden.tolist(), classes.tolist()) == ([0, 1], [1, 2, 0, 3], [0])


@pytest.mark.parametrize("shape", [(3, 5), (400, 401), (1000, 7)])
def test_coarse_maps_keep_the_share_of_marked_connections(shape: tuple[int, int]) -> None:
    marked = np.random.default_rng(0).random(shape) < 0.3
    coarse = plots._coarse(marked)
    assert max(coarse.shape) <= 400
    assert coarse.max() <= 1
    if max(shape) <= 400:
        np.testing.assert_array_equal(coarse, marked)
    else:
        sizes = [-(-n // 400) for n in shape]
        rows, columns = (np.arange(0, n, s) for n, s in zip(shape, sizes, strict=True))
        cell = marked[: sizes[0], : sizes[1]]
        assert coarse.shape == (len(rows), len(columns))
        assert coarse[0, 0] == pytest.approx(cell.mean())


def test_many_tasks_have_as_many_colours() -> None:
    owner = np.arange(1, 13, dtype=np.int16).reshape(3, 4)
    figure = plots.ownership_maps({"fc1": owner}, 12)
    image: Any = figure.axes[0].get_images()[0].get_array()
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 12
