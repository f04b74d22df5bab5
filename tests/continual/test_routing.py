"""Routing chooses a cell from logits; every choice here is worked out by hand or by a slow loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsewire.continual.routing import (
    ROUTINGS,
    check_routing,
    max_softmax,
    min_entropy,
    route,
    routed,
)
from sparsewire.core.errors import InvalidArgumentError

# Two cells, three inputs, three classes; probabilities up to a common factor.
SHARES = [
    [[8.0, 1.0, 1.0], [1.0, 1.0, 1.0], [6.0, 3.0, 1.0]],
    [[7.0, 3.0, 1e-9], [1.0, 2.0, 1.0], [1.0, 1.0, 8.0]],
]
LOGITS = torch.tensor(SHARES).log()


def test_max_softmax_takes_the_most_confident_cell() -> None:
    # 0.8 against 0.7; 1/3 against 1/2; 0.6 against 0.8.
    assert max_softmax(LOGITS).tolist() == [0, 1, 1]


def test_entropy_takes_the_cell_with_the_least_of_it() -> None:
    # 0.639 against 0.611, although 0.8 is more confident than 0.7; log 3 against 1.04; 0.898
    # against 0.639.
    assert min_entropy(LOGITS).tolist() == [1, 1, 1]


def test_adding_a_constant_to_all_logits_of_a_cell_changes_nothing() -> None:
    shifted = LOGITS + torch.tensor([100.0, -3.0])[:, None, None]
    assert max_softmax(shifted).tolist() == max_softmax(LOGITS).tolist()
    assert min_entropy(shifted).tolist() == min_entropy(LOGITS).tolist()


def test_confidences_that_both_round_to_1_are_told_apart() -> None:
    logits = torch.tensor([[[30.0, 0.0]], [[40.0, 0.0]]])
    assert logits.softmax(2).max(2).values.tolist() == [[1.0], [1.0]]
    assert max_softmax(logits).tolist() == [1]


def test_equal_cells_are_answered_by_the_first() -> None:
    logits = torch.zeros(3, 2, 4)
    assert max_softmax(logits).tolist() == min_entropy(logits).tolist() == [0, 0]


def test_classes_at_minus_10000_count_for_nothing() -> None:
    out = -1e4
    logits = torch.tensor([[[1.0, 0.0, out]], [[out, 0.9, 0.0]]])
    assert max_softmax(logits).tolist() == min_entropy(logits).tolist() == [0]


def slow(logits: Tensor, routing: str) -> list[int]:
    """The definitions, number by number."""
    chosen = []
    for i in range(logits.shape[1]):
        merits = []
        for cell in logits[:, i].tolist():
            top = max(cell)
            weights = [math.exp(z - top) for z in cell]
            shares = [w / sum(weights) for w in weights]
            entropy = -sum(p * math.log(p) for p in shares if p > 0)
            merits.append(max(shares) if routing == "max_softmax" else -entropy)
        chosen.append(merits.index(max(merits)))
    return chosen


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 6))
def test_routing_equals_its_definition(seed: int, cells: int, classes: int) -> None:
    logits = torch.randn(
        cells, 7, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    for routing in ("max_softmax", "entropy"):
        assert route(logits, routing).tolist() == slow(logits, routing)


def test_an_oracle_is_believed() -> None:
    assert route(LOGITS, "oracle", task=0).tolist() == [0, 0, 0]
    assert route(LOGITS, "oracle", task=torch.tensor([1, 0, 1])).tolist() == [1, 0, 1]


def test_routed_takes_each_row_from_its_cell() -> None:
    rows = routed(LOGITS, torch.tensor([1, 0, 1]))
    assert torch.equal(rows, torch.stack([LOGITS[1, 0], LOGITS[0, 1], LOGITS[1, 2]]))


def test_an_oracle_without_a_task_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"oracle.*task=.*max_softmax or entropy"):
        route(LOGITS, "oracle")


@pytest.mark.parametrize("routing", [r for r in ROUTINGS if r != "oracle"])
def test_a_task_given_to_a_blind_routing_is_refused(routing: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"leave task out, or pass routing='oracle'"):
        check_routing(routing, 0)


@pytest.mark.parametrize("routing", ["", "softmax", "max-softmax", None, "Oracle"])
def test_an_unknown_routing_is_refused(routing: str) -> None:
    with pytest.raises(InvalidArgumentError, match="oracle, max_softmax, entropy"):
        route(LOGITS, routing)


@pytest.mark.parametrize("task", [2, -1, torch.tensor([0, 1, 2])])
def test_a_task_without_a_cell_is_refused(task: int | Tensor) -> None:
    with pytest.raises(InvalidArgumentError, match="cells 0 to 1"):
        route(LOGITS, "oracle", task=task)


@pytest.mark.parametrize("task", [torch.tensor([0, 1]), torch.tensor([0.0, 1.0, 0.0]), True])
def test_a_task_that_is_no_integer_per_input_is_refused(task: int | Tensor) -> None:
    with pytest.raises(InvalidArgumentError, match="a tensor of 3 integers"):
        route(LOGITS, "oracle", task=task)
