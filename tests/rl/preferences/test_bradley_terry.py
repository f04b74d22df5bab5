import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from sparsewire.rl.preferences.bradley_terry import count_correct, preference_loss

RETURNS = st.lists(
    st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=9,
)


def columns(rows: list[tuple[float, float, float]]) -> list[torch.Tensor]:
    return [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]


@given(RETURNS)
def test_the_loss_is_the_cross_entropy_of_exponentiated_returns(
    rows: list[tuple[float, float, float]],
) -> None:
    total = 0.0
    for first, second, label in rows:
        # log1p, as the logarithm of a probability near 1 would lose digits.
        minus_log_first = np.log1p(np.exp(second - first))
        minus_log_second = np.log1p(np.exp(first - second))
        total += label * minus_log_second + (1 - label) * minus_log_first
    loss = float(preference_loss(*columns(rows)))
    # torch adds the difference of returns, at most 100 here, and rounds to its precision.
    np.testing.assert_allclose(loss, total / len(rows), rtol=1e-9, atol=100 * np.finfo(float).eps)


@given(RETURNS)
def test_the_gradient_is_probability_minus_label(rows: list[tuple[float, float, float]]) -> None:
    first, second, labels = columns(rows)
    second.requires_grad_(True)
    preference_loss(first, second, labels).backward()  # type: ignore[no-untyped-call]
    expected = (torch.sigmoid(second.detach() - first) - labels) / len(rows)
    torch.testing.assert_close(second.grad, expected)


def test_the_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 1, 0.5, 1, 0, 0.5], dtype=torch.float64)
    first.requires_grad_(True)
    second.requires_grad_(True)
    assert gradcheck(lambda a, b: preference_loss(a, b, labels), (first, second))


def test_returns_too_far_apart_for_exp_give_a_finite_loss() -> None:
    far = torch.tensor([1e6])
    assert float(preference_loss(far, -far, torch.ones(1))) == 2e6


@given(RETURNS)
def test_counting_agrees_with_a_loop(rows: list[tuple[float, float, float]]) -> None:
    decided = [row for row in rows if row[2] != 0.5]
    right = [row for row in decided if (row[1] > row[0] if row[2] else row[1] < row[0])]
    assert count_correct(*columns(rows)) == (len(right), len(decided))
