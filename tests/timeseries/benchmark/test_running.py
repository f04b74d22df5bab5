"""A benchmark whose runs a test controls: what is run, when, and what is kept."""

from pathlib import Path

import pytest

from sparsewire.core.errors import CheckpointError
from sparsewire.timeseries.benchmark import BenchResult, run_bench
from sparsewire.timeseries.benchmark.cells import Cell, Result, RowFile
from sparsewire.timeseries.benchmark.running import BaseBench, Outcomes
from sparsewire.timeseries.benchmark.table import Table


class Doubling(BaseBench):
    """Two first cells; what a second one doubles is what a first one found."""

    task = "doubling"

    def __init__(self, broken: frozenset[str] = frozenset()) -> None:
        self.broken = broken
        self.measured: list[str] = []

    def plan(self, outcomes: Outcomes) -> list[Cell]:
        first = [Cell(task=self.task, data=data, method="first") for data in ("a", "b")]
        second = [
            Cell(task=self.task, data=cell.data, method="second", settings={"x": found["x"]})
            for cell in first
            if (found := outcomes.get(cell.key)) is not None
        ]
        return [*first, *second, *first]

    def measure(self, cell: Cell) -> Result:
        if cell.data in self.broken:
            raise RuntimeError("no luck")
        self.measured.append(cell.title)
        return {"x": 2 * cell.settings["x"] if cell.settings else len(self.measured)}

    def headline(self, cell: Cell, result: Result) -> str:
        return f"x = {result['x']}"

    def table(self, outcomes: Outcomes) -> Table:
        found = [outcomes.get(cell.key) for cell in self.plan(outcomes)]
        return Table("Doubling", ["x"], [[str(one["x"])] for one in found if one])


def run(path: Path, bench: Doubling) -> tuple[BenchResult, list[str]]:
    lines: list[str] = []
    return run_bench(bench, path, say=lines.append), lines


def test_later_cells_follow_from_the_results_of_earlier_ones(tmp_path: Path) -> None:
    bench = Doubling()
    result, lines = run(tmp_path / "rows.jsonl", bench)
    assert bench.measured == [
        *("a, first, seed 0", "b, first, seed 0"),
        *("a, second, seed 0", "b, second, seed 0"),
    ]
    assert lines[-1] == "b, second, seed 0: x = 4"
    assert (result.reused, result.failed) == (0, [])
    assert [row[0] for row in result.table.rows][:4] == ["1", "2", "2", "4"]


def test_what_is_in_the_file_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first, _ = run(path, Doubling())
    before = path.read_text("utf-8")
    bench = Doubling()
    second, lines = run(path, bench)
    assert (bench.measured, lines, second.reused) == ([], [], 4)
    assert second.outcomes == first.outcomes
    assert second.table == first.table
    assert path.read_text("utf-8") == before


def test_a_failing_cell_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    result, _ = run(path, Doubling(broken=frozenset({"a"})))
    assert result.failed == ["a, first, seed 0: RuntimeError: no luck"]
    assert result.table.notes == [f"Failed, and not in the means: {result.failed[0]}."]
    assert len(RowFile(path).read()) == 2
    bench = Doubling()
    again, _ = run(path, bench)
    assert bench.measured == ["a, first, seed 0", "a, second, seed 0"]
    assert (again.reused, again.failed, again.table.notes) == (2, [], [])


def test_a_stopped_run_keeps_what_was_finished(tmp_path: Path) -> None:
    class Stopped(Doubling):
        def measure(self, cell: Cell) -> Result:
            if cell.data == "b":
                raise KeyboardInterrupt
            return super().measure(cell)

    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, Stopped())
    assert [result["x"] for result in RowFile(path).read().values()] == [1]


def test_nothing_is_run_beside_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n", encoding="utf-8")
    bench = Doubling()
    with pytest.raises(CheckpointError):
        run(path, bench)
    assert bench.measured == []
