"""Is All-ReLU the published function, with its gradient, and does it leave memory as it lies?"""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from sparsewire.core.csr import AllReLU
from sparsewire.core.errors import InvalidArgumentError


def slope(alpha: float, layer: int) -> float:
    return -alpha if layer % 2 == 1 else alpha


@given(
    values=arrays.arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e6, 1e6)),
    alpha=st.floats(0, 10),
    layer=st.integers(1, 9),
)
def test_the_negative_side_folds_up_in_odd_layers_and_leaks_in_even_ones(
    values: Any, alpha: float, layer: int
) -> None:
    expected = [x if x > 0 else slope(alpha, layer) * x for x in values.tolist()]
    assert AllReLU(alpha, layer)(torch.from_numpy(values)).tolist() == expected


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2])
def test_its_gradient_is_one_above_zero_and_the_slope_below(alpha: float, layer: int) -> None:
    x = torch.tensor([-3.0, -1e-30, 1e-30, 4.0], requires_grad=True)
    AllReLU(alpha, layer)(x).backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad is not None
    below = slope(alpha, layer)
    torch.testing.assert_close(x.grad, torch.tensor([below, 2 * below, 3.0, 4.0]))


@pytest.mark.parametrize("layer", [1, 2])
def test_its_gradient_is_that_of_finite_differences_twice_over(layer: int) -> None:
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(AllReLU(0.6, layer), x)
    assert torch.autograd.gradgradcheck(AllReLU(0.6, layer), x)


def test_nan_and_infinity_go_where_the_formula_sends_them() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf])
    assert AllReLU(0.6, 1)(x)[1:].tolist() == [math.inf, math.inf]
    assert AllReLU(0.6, 2)(x)[1:].tolist() == [math.inf, -math.inf]
    assert AllReLU(0.6, 1)(x)[0].isnan()


def feature_major(x: Tensor) -> Tensor:
    return x.t().contiguous().t()


@pytest.mark.parametrize("turn", [feature_major, torch.clone], ids=["features", "batch"])
def test_strides_are_kept_forwards_and_backwards(turn: Any) -> None:
    x = turn(torch.randn(16, 5)).requires_grad_()
    y = AllReLU(0.6, 1)(x)
    assert y.stride() == x.stride()
    gradient = turn(torch.randn(16, 5))
    (dx,) = torch.autograd.grad(y, x, gradient)
    assert dx.stride() == x.stride()


def test_the_input_is_left_as_it_was() -> None:
    x = torch.randn(7)
    before = x.clone()
    AllReLU()(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf, "0.6", None, True])
def test_a_wrong_slope_is_refused(alpha: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="alpha must be a finite number >= 0, got"):
        AllReLU(alpha)


@pytest.mark.parametrize("layer", [0, -1, 1.0, "1", None, True])
def test_a_wrong_layer_is_refused(layer: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="layer must be an integer >= 1, got"):
        AllReLU(0.6, layer)


def test_copies_and_pickles_are_the_same_function() -> None:
    original = AllReLU(0.75, layer=2)
    x = torch.randn(20)
    for twin in (
        copy.deepcopy(original),
        copy.copy(original),
        pickle.loads(pickle.dumps(original)),
    ):
        assert torch.equal(twin(x), original(x))
        assert repr(twin) == repr(original) == "AllReLU(alpha=0.75, layer=2)"
    assert original.state_dict() == {}
