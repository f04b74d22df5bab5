"""How numbers become a table, and a table becomes Markdown."""

import math

from sparsewire.timeseries.benchmark.table import Table, mean, mean_text, number_text


def test_every_row_of_markdown_has_as_many_cells_as_the_header() -> None:
    lines = Table("T", ["a", "b", "c"], [["x", "1", "2"], ["y|z", "3", "4"]]).markdown().split("\n")
    assert [line.replace("\\|", "").count("|") for line in lines] == [4] * 4


def test_notes_are_a_list_below() -> None:
    text = Table("T", ["a"], [["x"]], ["One.", "Two."]).markdown()
    assert text.endswith("| x |\n\n- One.\n- Two.")


def test_deviations_are_those_of_all_seeds() -> None:
    assert mean_text([1.0, 2.0, 3.0], 3) == "2.000 ± 0.816"
    assert mean_text([1.0], 3) == "1.000"


def test_what_is_unknown_is_a_dash() -> None:
    assert math.isnan(mean([]))
    assert (mean_text([], 2), number_text(math.nan, 2)) == ("–", "–")
