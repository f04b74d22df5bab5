"""The contenders compute the same, and who does not or cannot take part is noticed."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from sparsewire.bench import kernels, machine
from sparsewire.bench.contenders import CONTENDERS
from sparsewire.bench.problem import Case, Problem
from sparsewire.bench.timing import clock_for
from sparsewire.core.csr import multiply, vector

CASES = {
    "whole vectors": Case(40, 30, 0.2, 32),
    "padded batch": Case(40, 30, 0.2, 5),
    "single sample": Case(7, 90, 0.5, 1),
    "many inputs": Case(20_000, 20, 0.9, 16),
    "output-major": Case(9, 20_000, 0.01, 16),
    "full": Case(12, 11, 1.0, 16),
    "one connection": Case(12, 11, 1 / 132, 16),
}


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_contender_computes_the_layer(name: str, case: Case) -> None:
    problem = Problem(case)
    W = problem.layer.to_dense().weight.detach().numpy().astype(np.float64)
    X, dY = problem.x.numpy().T.astype(np.float64), problem.dy.numpy().T.astype(np.float64)
    order = problem.index.order()
    dW = (dY @ X.T).flatten()[problem.index.positions()]
    g = np.empty_like(dW)
    g[slice(None) if order is None else order] = dW
    step, read = CONTENDERS[name].build(problem)
    step()
    Y, dX, found = read(step())  # the second step must not depend on the first
    np.testing.assert_allclose(Y, W @ X, atol=1e-4)
    np.testing.assert_allclose(dX, W.T @ dY, atol=1e-4)
    np.testing.assert_allclose(found, g, atol=1e-4)


def test_both_layouts_are_covered() -> None:
    layouts = {Problem(case).index.layout for case in CASES.values()}
    assert layouts == {"csr", "csc"}


def test_the_portable_contender_leaves_the_kernels_as_they_were() -> None:
    before = multiply.backend
    step, _ = CONTENDERS["portable"].build(Problem(CASES["full"]))
    step()
    assert multiply.backend is before
    assert multiply.backend() is vector


@pytest.mark.parametrize("what", [0, 1, 2])
@pytest.mark.parametrize("wrong", [0.5, np.nan])
def test_a_wrong_number_is_an_error_that_names_it(what: int, wrong: float) -> None:
    reference = np.ones((3, 2), np.float32), np.ones((4, 2), np.float32), np.ones(5, np.float32)
    other = [array.copy() for array in reference]
    kernels.check("twin", (other[0], other[1], other[2]), reference)
    other[what].flat[1] = wrong
    with pytest.raises(kernels.DisagreementError, match=f"twin .*{('Y', 'dX', 'dW')[what]}"):
        kernels.check("twin", (other[0], other[1], other[2]), reference)


def test_the_grid_of_the_specification_has_24_cases_per_batch() -> None:
    cases = kernels.grid(kernels.FULL_SHAPES, kernels.FULL_DENSITIES, (32,))
    assert len(cases) == 24
    assert max(case.connections for case in cases) == 42_949_673


def measure(*cases: Case, seconds: float = 0.001) -> dict[str, Any]:
    return kernels.measure(cases, threads=1, seconds=seconds, table_mib=(0.1,))


def test_results_are_complete_and_plain() -> None:
    found = measure(Case(20, 30, 0.5, 16), Case(20, 30, 1.0, 3))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["connections"] for row in found["rows"]] == [300, 600]
    for row in found["rows"]:
        assert list(row["contenders"]) == list(CONTENDERS)
        assert row["skipped"] == {}
        for own in row["contenders"].values():
            assert 0 < own["best_ms"] <= own["median_ms"]
            assert own["peak_bytes"] > 0
    means = found["geometric_means"]
    assert list(means) == ["all"]
    assert means["all"]["kernels"] == 1
    for name in CONTENDERS:
        own, ours = (
            [row["contenders"][n]["median_ms"] for row in found["rows"]] for n in (name, "kernels")
        )
        expected = np.sqrt(own[0] / ours[0] * own[1] / ours[1])
        assert means["all"][name] == pytest.approx(expected)


def test_means_over_large_layers_appear_when_there_are_some() -> None:
    found = measure(Case(10, 10, 1.0, 16), Case(400, 400, 1.0, 16))
    assert list(found["geometric_means"]) == ["all", "from 100,000 connections"]


def test_a_contender_without_memory_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 100_000)
    (row,) = measure(Case(1000, 100, 0.01, 1))["rows"]
    assert row["skipped"] == {"dense": "would need 0.8 MB", "masked": "would need 1.6 MB"}
    assert row["contenders"]["dense"] is None
    assert row["contenders"]["scipy"] is not None


def test_a_slow_contender_is_left_out_by_prediction() -> None:
    speeds = dict.fromkeys(CONTENDERS, 1e-12) | {"scipy": 1.0}
    problem = Problem(Case(20, 20, 1.0, 16))
    steps, skipped = kernels._ready(problem, clock_for(1), speeds)
    assert set(steps) == set(CONTENDERS) - {"scipy"}
    assert skipped == {"scipy": "would take more than 5 s"}


def test_memory_counts_the_second_index_once_a_kernel_has_built_it() -> None:
    problem = Problem(Case(50, 40, 0.1, 16))
    peak = CONTENDERS["kernels"].peak_bytes
    before = peak(problem)
    results = 4 * (90 * 16 + 200)
    assert before == 8 * 51 + 4 * 200 + 4 * 200 + results
    CONTENDERS["kernels"].build(problem)[0]()
    assert peak(problem) == before + 8 * 41 + 4 * 200 + 4 * 200


def test_memory_counts_no_second_index_where_the_kernels_scatter() -> None:
    problem = Problem(CASES["many inputs"])
    peak = CONTENDERS["kernels"].peak_bytes
    before = peak(problem)
    for name in CONTENDERS:
        CONTENDERS[name].build(problem)[0]()
    assert peak(problem) == before


def test_the_machine_is_described_and_its_limits_are_positive() -> None:
    about = machine.describe(3)
    assert about["threads"] == 3
    assert about["versions"]["torch"] == torch.__version__
    limits = machine.limits(clock_for(1), (0.1, 0.5))
    assert limits["matmul_gflops"] > 0
    assert [(row["row_bytes"], row["table_mib"]) for row in limits["gather"]] == [
        (128, 0.1), (128, 0.5), (512, 0.1), (512, 0.5),
    ]  # fmt: skip
    assert all(row["ns_per_row"] > 0 and row["gb_per_s"] > 0 for row in limits["gather"])


def test_problems_are_reproducible_and_leave_global_randomness_alone() -> None:
    state = torch.get_rng_state()
    first, second = Problem(CASES["full"]), Problem(CASES["full"])
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first.w, second.w)
    np.testing.assert_array_equal(first.X, second.X)
