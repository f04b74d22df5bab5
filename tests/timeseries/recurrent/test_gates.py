"""Do connections move between gates as the joint ranking says, and nowhere else?"""

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sparsewire
from sparsewire.core import InvalidArgumentError
from sparsewire.core.on_demand import update_topology
from sparsewire.timeseries.recurrent import SelfishRNN, SparseGRU, SparseLSTM, gate_densities

Parts = tuple[SparseLSTM | SparseGRU, torch.optim.Optimizer, sparsewire.SparsityHandle]


def sparse(kind: Any = SparseLSTM, density: float = 0.3, seed: int = 0, **options: Any) -> Parts:
    torch.manual_seed(seed)
    model = kind(3, 10, 2, n_layers=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    method = SelfishRNN(model, **{"update_interval": 10**9, **options})
    handle = sparsewire.sparsify(
        model, optimizer, density=density, method=method, allocation="uniform", seed=seed
    )
    return model, optimizer, handle


def step(model: nn.Module, optimizer: torch.optim.Optimizer, n: int = 1) -> None:
    for k in range(n):
        optimizer.zero_grad()
        x = torch.sin(torch.arange(60.0).view(4, 5, 3) + k)
        model(x).square().sum().backward()
        optimizer.step()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@given(
    st.sampled_from([SparseLSTM, SparseGRU]),
    st.floats(0.05, 0.95),
    st.floats(0.0, 1.0),
    st.integers(0, 3),
)
def test_the_smallest_weights_of_all_gates_together_are_dropped(
    kind: Any, density: float, fraction: float, seed: int
) -> None:
    model, _, handle = sparse(kind, density, seed, drop_fraction=fraction)
    before, old = weights(model), handle.masks()
    update_topology(handle)
    new, after = handle.masks(), weights(model)
    for name, mask in old.items():
        count = int(mask.sum())
        n_dropped = int(fraction * count + 1e-9)
        assert int(new[name].sum()) == count
        size = before[name].abs()
        # What was active and keeps its weight are exactly the largest ones.
        cut = size[mask].sort().values
        surviving = mask & (size > (cut[n_dropped - 1] if n_dropped else -1.0))
        torch.testing.assert_close(after[name][surviving], before[name][surviving])
        assert bool(new[name][surviving].all())
        assert not after[name][~surviving].any()
        assert int(surviving.sum()) == count - n_dropped


def test_connections_move_to_the_gate_with_the_large_weights() -> None:
    model, _, handle = sparse(drop_fraction=0.5)
    with torch.no_grad():
        model.get_parameter("rnn.weight_hh_l0")[10:20] *= 100  # the forget gate
    name = "rnn.weight_hh_l0"
    first = gate_densities(handle)[name]
    for _ in range(5):
        update_topology(handle)
    last = gate_densities(handle)[name]
    assert last["f"] > 1.2 * first["f"]
    assert sum(last.values()) == pytest.approx(sum(first.values()))
    assert handle.density() == pytest.approx(0.3, abs=0.001)
    handle.verify()


def test_growth_is_spread_evenly_over_the_gates() -> None:
    _, _, handle = sparse(density=0.1, drop_fraction=1.0)
    totals = dict.fromkeys("ifgo", 0.0)
    for _ in range(100):
        update_topology(handle)
        for gate, share in gate_densities(handle)["rnn.weight_hh_l1"].items():
            totals[gate] += share
    assert max(totals.values()) < 1.2 * min(totals.values())


def test_every_matrix_and_the_head_keep_their_own_number_of_connections() -> None:
    model, optimizer, handle = sparse(update_interval=2)
    before = {name: int(mask.sum()) for name, mask in handle.masks().items()}
    step(model, optimizer, 20)
    assert handle.updates == 10
    assert {name: int(mask.sum()) for name, mask in handle.masks().items()} == before
    summary = {layer.name: layer for layer in handle.summary().layers}
    assert summary["head.weight"].dropped == summary["head.weight"].grown
    moved = [layer for name, layer in summary.items() if "[" in name]
    assert any(layer.dropped != layer.grown for layer in moved)


def test_the_drop_fraction_is_annealed_to_the_published_end() -> None:
    method = SelfishRNN(nn.LSTM(1, 1), update_interval=10, end=101)
    assert method.schedule(0) == 0.8
    assert method.schedule(101) == pytest.approx(0.005)
    assert SelfishRNN(nn.LSTM(1, 1), update_interval=10).schedule(10**6) == 0.8


@pytest.mark.parametrize("way", ["deepcopy", "state"])
def test_a_run_continues_bit_for_bit(way: str) -> None:
    model, optimizer, handle = sparse(update_interval=2)
    step(model, optimizer, 7)
    if way == "deepcopy":
        model2, optimizer2, handle2 = copy.deepcopy((model, optimizer, handle))
        assert isinstance(handle2.method, SelfishRNN)
        assert handle2.method.model is model2
    else:
        file = io.BytesIO()
        torch.save([part.state_dict() for part in (model, optimizer, handle)], file)
        file.seek(0)
        model2, optimizer2, handle2 = sparse(update_interval=2)
        for part, state in zip((model2, optimizer2, handle2), torch.load(file), strict=True):
            part.load_state_dict(state)
    step(model, optimizer, 8)
    step(model2, optimizer2, 8)
    for name, value in weights(model).items():
        torch.testing.assert_close(weights(model2)[name], value, rtol=0, atol=0)
    assert gate_densities(handle) == gate_densities(handle2)


def test_a_module_that_is_the_layer_itself_and_a_cell_work_too() -> None:
    for model in (nn.LSTM(3, 6), nn.GRUCell(3, 6), nn.Linear(6, 6)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        handle = sparsewire.sparsify(
            model, optimizer, density=0.4, method=SelfishRNN(model, update_interval=1)
        )
        update_topology(handle)
        handle.verify()


def test_a_linear_head_without_masks_is_updated_by_itself() -> None:
    model = SparseLSTM(3, 10, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(
        model,
        optimizer,
        density=0.3,
        method=SelfishRNN(model, update_interval=1, drop_fraction=0.5),
        storage="csr",
    )
    step(model, optimizer, 3)
    assert handle.updates == 3
    handle.verify()


def test_projections_of_attention_are_no_gates() -> None:
    model = nn.MultiheadAttention(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = SelfishRNN(model, update_interval=1, drop_fraction=1.0)
    handle = sparsewire.sparsify(model, optimizer, density=0.3, method=method)
    before = {layer.name: layer.active for layer in handle.summary().layers}
    update_topology(handle)
    assert {layer.name: layer.active for layer in handle.summary().layers} == before
    assert gate_densities(handle) == {}


def test_brackets_in_the_name_of_a_module_do_not_confuse() -> None:
    model = nn.ModuleDict({"a[0]": nn.GRU(3, 6), "b[i]": nn.Linear(6, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = SelfishRNN(model, update_interval=1)
    handle = sparsewire.sparsify(model, optimizer, density=0.4, method=method)
    update_topology(handle)
    handle.verify()
    assert set(gate_densities(handle)) == {"a[0].weight_ih_l0", "a[0].weight_hh_l0"}


def test_a_gate_may_lose_all_its_connections_and_gain_some_again() -> None:
    model = nn.LSTM(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = SelfishRNN(model, update_interval=1, drop_fraction=0.5)
    handle = sparsewire.sparsify(model, optimizer, density=0.15, method=method)
    seen = set()
    for _ in range(60):
        update_topology(handle)
        seen.add(gate_densities(handle)["weight_ih_l0"]["f"])
        handle.verify()
    assert 0.0 in seen
    assert len(seen) > 1


def test_layers_without_gates_have_no_gate_densities() -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert gate_densities(sparsewire.sparsify(model, optimizer, density=0.5)) == {}


@pytest.mark.parametrize(
    "options", [{"update_interval": 0}, {"drop_fraction": 1.5}, {"begin": 5, "end": 2}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        SelfishRNN(nn.LSTM(1, 1), **{"update_interval": 1, **options})
