"""The whole training step: the networks compared are of equal size and really train."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from sparsewire.bench import mlp, networks
from sparsewire.core.csr import SparseLinear

LAYERS = (30, 40, 5)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return mlp.measure(LAYERS, epsilon=4, batch=16, steps=7, threads=1)


def test_there_is_a_row_for_every_kind_of_step(found: dict[str, Any]) -> None:
    kinds = [mlp.Kind(row["what"], row["optimizer"], row["storage"]) for row in found["rows"]]
    assert tuple(kinds) == mlp.KINDS
    assert len(set(kinds)) == 8
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_sparse_and_masked_networks_have_the_same_connections(found: dict[str, Any]) -> None:
    expected = {"csr": 280 + 180, "masked": 280 + 180, "dense": 1200 + 200}
    assert all(row["connections"] == expected[row["storage"]] for row in found["rows"])


def test_ratios_are_to_the_csr_row_of_the_same_kind(found: dict[str, Any]) -> None:
    medians = {tuple(row[k] for k in mlp.Kind._fields): row["median_ms"] for row in found["rows"]}
    for row in found["rows"]:
        csr = medians[row["what"], row["optimizer"], "csr"]
        assert row["ratio"] == pytest.approx(row["median_ms"] / csr)


def test_state_is_counted_to_the_byte(found: dict[str, Any]) -> None:
    dense, biases, mask = 4 * 1400, 4 * 45, 1400
    adam_steps = 4 * 4  # one float32 counter for each of four parameters
    sizes = {
        (row["optimizer"], row["storage"]): row["state_bytes"]
        for row in found["rows"]
        if row["what"] == mlp.PLAIN
    }
    assert sizes["SGD", "dense"] == 3 * (dense + biases)
    assert sizes["SGD", "masked"] == sizes["SGD", "dense"] + mask
    assert sizes["Adam", "dense"] == 4 * (dense + biases) + adam_steps
    index = 8 * (31 + 41) + 4 * 460 + 2 * 16  # the shape, too, is a tensor
    other_side = 8 * (41 + 6) + 8 * 460
    assert sizes["SGD", "csr"] == 3 * (4 * 460 + biases) + index + other_side


@pytest.mark.parametrize("kind", mlp.KINDS, ids=", ".join)
def test_steps_lower_the_loss_of_a_repeated_batch(kind: mlp.Kind) -> None:
    step = mlp.training_step(kind, LAYERS, 4, networks.random_batches(30, 5, 16)[:1]).step
    losses = [step() for _ in range(30)]
    assert losses[-1] < losses[0]  # type: ignore[operator]


def test_an_update_moves_connections_in_every_step() -> None:
    model = networks.perceptron(LAYERS, 4, "csr")
    layer = model[0]
    assert isinstance(layer, SparseLinear)
    batches = networks.random_batches(30, 5, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp, "perceptron", lambda *arguments: model)
        step = mlp.training_step(mlp.Kind(mlp.WITH_UPDATE, "SGD", "csr"), LAYERS, 4, batches).step
    for _ in range(3):
        before = layer.positions()
        step()
        assert not torch.equal(layer.positions(), before)


def test_building_leaves_global_randomness_alone() -> None:
    state = torch.get_rng_state()
    networks.perceptron(LAYERS, 4, "csr")
    networks.perceptron(LAYERS, 4, "dense")
    networks.random_batches(30, 5, 16)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_pool_is_too_large_to_memorise_but_bounded() -> None:
    assert len(networks.random_batches(10, 3, 8)) == 64
    wide = networks.random_batches(20_000, 3, 256)
    assert sum(x.numel() for x, _ in wide) <= 2**26


def test_connections_of_each_kind_of_layer() -> None:
    layer = nn.Linear(4, 3)
    assert networks.connections(layer) == 12
    layer.register_buffer("weight_mask", torch.eye(3, 4).bool())
    assert networks.connections(layer) == 3
    assert networks.connections(SparseLinear(4, 3, n_connections=5)) == 5
