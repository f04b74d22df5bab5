"""Pinned entries come back bit for bit, whatever was written over them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.continual.pinned import Pinned

WILD = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-40, -1.5, 3e38])
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**31))
def test_pinned_entries_come_back_and_free_ones_stay(seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (WILD[torch.randint(8, (4, 5), generator=generator)].to(dtype) for _ in "ab")
    free = torch.rand(4, 5, generator=generator) < 0.5
    pinned, weight = Pinned(first, free), second.clone()
    pinned.restore_(weight)
    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16}[dtype.itemsize]
    expected = torch.where(free, second.view(bits), first.view(bits))
    assert torch.equal(weight.view(bits), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_gradients_of_pinned_entries_become_exactly_zero(dtype: torch.dtype) -> None:
    gradient = WILD.to(dtype)
    free = torch.tensor([True] * 3 + [False] * 5)
    Pinned(torch.ones(8, dtype=dtype), free).mask_(gradient)
    assert gradient[3:].tolist() == [0.0] * 5
    assert not bool(torch.signbit(gradient[3:]).any())
    assert torch.equal(gradient[:3], WILD.to(dtype)[:3])


def test_layers_in_another_memory_format_are_pinned_too() -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    free = torch.rand(4, 3, 2, 2) < 0.5
    before = weight.clone()
    pinned = Pinned(weight, free)
    weight += 1
    pinned.restore_(weight)
    assert torch.equal(weight, torch.where(free, before + 1, before))
