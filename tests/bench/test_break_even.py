"""Break-even densities: found by measurement, looked up by the nearest shape."""

import json
import math
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.bench.break_even import Case, crossing, measure
from sparsewire.core.csr.break_even import Row, break_even, lookup, table
from sparsewire.core.errors import InvalidArgumentError


def row(n_out: int, n_in: int, batch: int, threads: int, density: float) -> Row:
    return Row(n_out=n_out, n_in=n_in, batch=batch, threads=threads, density=density)


ROWS = (
    row(100, 100, 32, 1, 0.5),
    row(100, 100, 128, 1, 0.4),
    row(100, 10_000, 32, 1, 0.9),
    row(10_000, 100, 32, 1, 0.8),
    row(100, 100, 32, 4, 0.3),
)


@pytest.mark.parametrize(
    ("n_out", "n_in", "threads", "expected"),
    [
        (100, 100, 1, 0.4),
        (90, 120, 1, 0.4),
        (1, 1, 1, 0.4),
        (100, 2000, 1, 0.9),
        (100, 900, 1, 0.4),  # nearer to 100 than to 10 000 in the logarithm
        (5000, 300, 1, 0.8),
        (100, 100, 3, 0.3),
        (100, 10_000, 64, 0.3),  # the number of threads comes first
    ],
)
def test_the_nearest_row_counts(n_out: int, n_in: int, threads: int, expected: float) -> None:
    assert lookup(ROWS, n_out, n_in, threads) == expected


@given(st.permutations(ROWS), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 64))
def test_the_order_of_rows_does_not_matter(
    rows: list[Row], n_out: int, n_in: int, threads: int
) -> None:
    assert lookup(tuple(rows), n_out, n_in, threads) == lookup(ROWS, n_out, n_in, threads)


def test_the_stored_table_has_the_documented_fields() -> None:
    text = resources.files("sparsewire.core.csr").joinpath("break_even.json").read_text("utf-8")
    content = json.loads(text)
    assert set(content) == {"machine", "date", "versions", "rows"}
    assert set(content["machine"]) == {"cpu", "cores", "threads", "load", "kernels"}
    for measured in content["rows"]:
        assert set(measured) == set(Row.__annotations__)
        assert 0 <= measured["density"] <= 1
    keys = [tuple(measured[k] for k in measured if k != "density") for measured in content["rows"]]
    assert len(set(keys)) == len(keys)


def test_what_was_measured_is_found_again() -> None:
    for measured in table():
        shape = measured["n_out"], measured["n_in"]
        same = [
            other["density"]
            for other in table()
            if (other["n_out"], other["n_in"]) == shape and other["threads"] == measured["threads"]
        ]
        assert break_even(*shape, measured["threads"]) == min(same)


@pytest.mark.parametrize("arguments", [(0, 5, 1), (5, -1, 1), (5, 5, 0), (5, 5, 1.5)])
def test_impossible_sizes_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidArgumentError, match="must be an integer >= 1"):
        break_even(*arguments)


@given(st.floats(0.0, 0.5), st.floats(1.5, 3.0))
def test_a_linear_cost_is_solved_by_two_measurements(fixed: float, slope: float) -> None:
    exact = (1 - fixed) / slope
    found = crossing({d: fixed + slope * d for d in (exact / 2, exact * 1.5)})
    assert math.isclose(found, exact, rel_tol=1e-9)


@given(st.dictionaries(st.floats(0.001, 1.0), st.floats(1e-6, 1e6), min_size=1, max_size=6))
def test_a_crossing_is_a_density(ratios: dict[float, float]) -> None:
    assert 0.001 <= crossing(ratios) <= 1


def test_noise_with_two_crossings_gives_the_lower_one() -> None:
    assert crossing({0.1: 0.5, 0.2: 1.5, 0.3: 0.5, 0.4: 1.5}) == pytest.approx(0.15)


def test_repeated_trials_approach_the_break_even_of_a_bent_cost() -> None:
    def cost(density: float) -> float:
        return 0.1 + 0.5 * density + 2 * density**2

    ratios: dict[float, float] = {}
    density = 0.4
    for _ in range(4):
        ratios[density] = cost(density)
        density = crossing(ratios)
    assert cost(density) == pytest.approx(1, abs=0.02)


def test_a_measured_table_has_a_row_for_every_case() -> None:
    cases = [Case(12, 20, 16, 1), Case(20, 12, 5, 1)]
    seen: list[Case] = []
    found = measure(cases, 0.001, seen.append)
    assert seen == cases
    assert [tuple(found_row[k] for k in Case._fields) for found_row in found["rows"]] == cases
    assert all(0 <= found_row["density"] <= 1 for found_row in found["rows"])
    assert {"machine", "date", "versions", "rows"} == set(found)
