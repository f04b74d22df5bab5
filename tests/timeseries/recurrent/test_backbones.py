"""Do the backbones have the promised shapes, refuse the rest, and learn while they are sparse?"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparsewire
from sparsewire.core import InvalidArgumentError
from sparsewire.timeseries.recurrent import SNTASGD, SelfishRNN, SparseGRU, SparseLSTM


@pytest.mark.parametrize("kind", [SparseLSTM, SparseGRU])
@pytest.mark.parametrize(("horizon", "shape"), [(None, (5, 3)), (1, (5, 1, 3)), (7, (5, 7, 3))])
def test_outputs_have_the_promised_shape(
    kind: Any, horizon: int | None, shape: tuple[int, ...]
) -> None:
    for length in (1, 9):
        model = kind(2, 4, 3, n_layers=2, horizon=horizon)
        assert model(torch.randn(5, length, 2)).shape == shape


def test_the_output_depends_on_the_last_hidden_state_alone() -> None:
    model = SparseLSTM(2, 4, 3).eval()
    x = torch.randn(5, 9, 2)
    hidden, _ = model.rnn(x)
    torch.testing.assert_close(model(x), model.head(hidden[:, -1]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_inputs", 0),
        ("n_units", 0),
        ("n_outputs", 0),
        ("n_layers", 0),
        ("horizon", 0),
        ("dropout", 1.1),
    ],
)
def test_a_wrong_size_is_named(name: str, value: Any) -> None:
    sizes = {"n_inputs": 2, "n_units": 3, "n_outputs": 2} | {name: value}
    with pytest.raises(InvalidArgumentError, match=name):
        SparseLSTM(**sizes)


@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3), (5, 0, 2)])
def test_a_wrong_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\(batch, length, 2\)"):
        SparseGRU(2, 3, 2)(torch.zeros(shape))


def waves(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    speed, phase = np.where(y == 1, 0.6, 0.3)[:, None], rng.uniform(0, 6, (n, 1))
    x = np.sin(speed * np.arange(24) + phase) + 0.1 * rng.normal(size=(n, 24))
    return torch.tensor(x[..., None], dtype=torch.float32), torch.tensor(y)


def signs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the easier task for plain descent: is the last sample positive?"""
    x, _ = waves(n, seed)
    return x, (x[:, -1, 0] > 0).long()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, task: Any) -> None:
    x, y = task(200, 0)
    for _ in range(epochs):
        for rows in torch.split(torch.arange(200), 20):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def accuracy(model: nn.Module, task: Any) -> float:
    x, y = task(400, 1)
    with torch.no_grad():
        return float((model(x).argmax(dim=1) == y).float().mean())


@pytest.mark.parametrize("kind", [SparseLSTM, SparseGRU])
def test_a_sparse_network_learns_to_tell_slow_from_fast(kind: Any) -> None:
    model = kind(1, 20, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    method = SelfishRNN(model, update_interval=10, end=200)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.33, method=method, allocation="uniform"
    )
    train(model, optimizer, 30, waves)
    assert accuracy(model, waves) >= 0.95
    assert handle.updates == 19
    assert handle.density() == pytest.approx(0.33, abs=0.001)


def test_the_average_of_a_sparse_network_is_sparse_and_has_learned_too() -> None:
    model = SparseLSTM(1, 20, 2)
    optimizer = SNTASGD(model.parameters(), lr=1.0, n_checks=1)
    method = SelfishRNN(model, update_interval=10, end=200)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.33, method=method, allocation="uniform"
    )
    train(model, optimizer, 20, signs)
    for loss in (1.0, 2.0, 3.0):
        optimizer.check(loss)
    train(model, optimizer, 5, signs)
    assert optimizer.averaging
    with optimizer.averaged():
        handle.verify()
        averaged = accuracy(model, signs)
    handle.verify()
    assert averaged >= 0.95
