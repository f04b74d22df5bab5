"""The summary: counts from masks, FLOPs against hand calculation, reasons, exploration."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import sparsewire
from sparsewire.core.analysis import Summary
from sparsewire.core.masked import MaskedParameter
from sparsewire.core.methods import GMP, ITOP, SET, Method, RigL, Static


def sparsified(
    model: nn.Module, density: float = 0.5, method: str | Method = "static", **options: Any
) -> tuple[sparsewire.SparsityHandle, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    handle = sparsewire.sparsify(model, optimizer, density=density, method=method, **options)
    return handle, optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *shape: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Tensor = model(torch.randn(shape)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 20), nn.LayerNorm(20), nn.ReLU(), nn.Linear(20, 5))


# Counts


def test_the_summary_counts_weights_connections_and_parameters() -> None:
    handle, _ = sparsified(mlp(), 0.25, allocation="uniform")
    summary = handle.summary()
    assert [(s.name, s.shape, s.weights, s.active) for s in summary.layers] == [
        ("0.weight", (20, 12), 240, 60),
        ("3.weight", (5, 20), 100, 25),
    ]
    assert [s.density for s in summary.layers] == [0.25, 0.25]
    assert summary.density == handle.density() == 0.25
    assert summary.n_small == 20 + 40 + 5
    assert summary.dense_parameters == 340 + 65
    assert summary.parameters == 85 + 65
    assert (summary.step, summary.updates, summary.left_dense) == (0, 0, ())


def test_counts_come_from_the_mask_and_not_from_the_values() -> None:
    model = mlp()
    handle, _ = sparsified(model, 0.5)
    with torch.no_grad():
        model.get_parameter("0.weight").zero_()
    assert int(model.get_parameter("0.weight").count_nonzero()) == 0
    layer = handle.summary().layers[0]
    assert layer.active == int(handle.masks()["0.weight"].sum()) > 0


def test_connections_grown_at_zero_are_counted() -> None:
    model = mlp()
    handle, optimizer = sparsified(model, 0.5, SET(update_interval=1))
    train(model, optimizer, 1, 8, 12)
    summary = handle.summary()
    nonzero = [int(model.get_parameter(s.name).count_nonzero()) for s in summary.layers]
    assert sum(nonzero) < sum(s.active for s in summary.layers) == 170


def test_drops_and_growths_are_added_up_over_the_updates() -> None:
    model = nn.Linear(20, 10)
    handle, optimizer = sparsified(model, 0.5, SET(update_interval=2, drop="magnitude"))
    for update in range(1, 4):
        train(model, optimizer, 2, 8, 20)
        layer = handle.summary().layers[0]
        assert (layer.dropped, layer.grown) == (30 * update, 30 * update)
    assert (handle.summary().step, handle.summary().updates) == (6, 3)


def test_pruning_drops_without_growth() -> None:
    model = nn.Linear(20, 10)
    handle, optimizer = sparsified(model, 0.1, GMP(end=6, update_interval=1))
    assert handle.summary().layers[0].active == 200
    train(model, optimizer, 6, 8, 20)
    layer = handle.summary().layers[0]
    assert (layer.active, layer.dropped, layer.grown, layer.explored) == (20, 180, 0, 1.0)


def test_layers_left_dense_are_listed_with_shape_and_reason() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(2, 3))
    model[3].weight.requires_grad_(False)
    handle, _ = sparsified(model, 0.5, exclude="2")
    assert handle.summary().left_dense == (
        ("0.weight", (9, 4), "embedding: name it in include to sparsify it"),
        ("2.weight", (2, 6), "excluded by name"),
        ("3.weight", (3, 2), "frozen (requires_grad=False)"),
    )


def test_a_matrix_of_an_unknown_module_is_listed_and_not_taken_for_a_bias() -> None:
    normalised = nn.utils.parametrizations.weight_norm(nn.Linear(6, 8))
    handle, _ = sparsified(nn.Sequential(normalised, nn.Linear(8, 2)), 0.5)
    summary = handle.summary()
    direction = "0.parametrizations.weight.original1"
    assert direction in [name for name, _, _ in summary.left_dense]
    assert summary.n_small < 48


def test_the_printed_table_shows_layers_reasons_and_totals() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    handle, _ = sparsified(model, 0.5, exclude="3")
    text = str(handle.summary())
    assert text.startswith("Static(), step 0, 0 topology updates")
    assert "1.weight  masked   6x4    12      0.5000   0        0      50.0%     24" in text
    assert "  0.weight 9x4: embedding: name it in include to sparsify it" in text
    assert "  3.weight 2x6: excluded by name" in text
    assert "parameters: 80 of 92 dense (87.0%), of which 20 in biases and normalisation" in text
    assert "inference FLOPs: 48 of 72 dense (66.7%)" in text
    assert "training FLOPs per step: 144 of 216 dense (66.7%)" in text
    assert text.endswith("FLOPs are theoretical: masks on dense tensors save no time.")


def test_unknown_flops_are_said_to_need_an_example() -> None:
    handle, _ = sparsified(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4)))
    summary = handle.summary()
    assert summary.flops is summary.dense_flops is summary.training_flops is None
    assert [layer.flops is None for layer in summary.layers] == [True, False]
    assert "inference FLOPs: unknown" in str(summary)
    assert "summary(example_input=...)" in str(summary)


# FLOPs by hand: two per weight and use


def dense_flops(model: nn.Module, example: Any, **options: Any) -> Summary:
    """Return the summary of the model at density 1 and check that its FLOPs add up."""
    handle, _ = sparsified(model, 1.0, **options)
    summary = handle.summary(example)
    assert summary.flops == summary.dense_flops
    return summary


def test_a_linear_layer_costs_two_flops_per_weight_and_row() -> None:
    assert dense_flops(nn.Linear(7, 5), torch.zeros(3, 7)).flops == 2 * 7 * 5 * 3
    assert dense_flops(nn.Linear(7, 5), torch.zeros(3, 4, 7)).flops == 2 * 7 * 5 * 12
    assert dense_flops(nn.Linear(7, 5), None).flops == 2 * 7 * 5


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    # weights x positions of the output x batch
    "1d": (lambda: nn.Conv1d(3, 4, 5), (2, 3, 9), 4 * 3 * 5 * 5 * 2),
    "2d padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 6), 4 * 3 * 9 * 48 * 2),
    "2d strided": (lambda: nn.Conv2d(3, 4, 3, stride=2), (1, 3, 9, 9), 4 * 3 * 9 * 16),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), (1, 3, 5, 5), 4 * 3 * 25),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 6 * 9 * 9),
    "3d": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 3 * 2 * 8 * 8),
    # weights x positions of the input x batch
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 5, 5), 3 * 4 * 9 * 25 * 2),
    "transposed strided": (
        lambda: nn.ConvTranspose2d(3, 4, 2, stride=2),
        (1, 3, 5, 4),
        3 * 4 * 4 * 20,
    ),
    "transposed grouped": (
        lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
        (1, 4, 5),
        4 * 3 * 3 * 5,
    ),
}


@pytest.mark.parametrize("case", list(CONVOLUTIONS))
def test_a_convolution_costs_two_flops_per_weight_and_position(case: str) -> None:
    make, shape, products = CONVOLUTIONS[case]
    assert dense_flops(make(), torch.zeros(shape)).flops == 2 * products


class Recurrent(nn.Module):
    """Drops the states that a recurrent layer returns beside its output."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)[0]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_layer_costs_every_gate_at_every_token(
    kind: Callable[..., nn.Module], gates: int, batch_first: bool
) -> None:
    model = Recurrent(kind(3, 5, batch_first=batch_first))
    flops = dense_flops(model, torch.zeros(4, 6, 3)).flops
    assert flops == 2 * gates * 5 * (3 + 5) * 24


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_deep_bidirectional_projected_lstm_costs_all_its_matrices() -> None:
    model = Recurrent(nn.LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=2))
    first, second, projection = 4 * 6 * (3 + 2), 4 * 6 * (4 + 2), 2 * 6
    flops = dense_flops(model, torch.zeros(7, 2, 3)).flops
    assert flops == 2 * 14 * 2 * (first + second + 2 * projection)


def test_padding_in_a_packed_sequence_costs_nothing() -> None:
    packed = pack_padded_sequence(torch.zeros(5, 2, 3), torch.tensor([5, 2]))
    model = Recurrent(nn.GRU(3, 4))
    # Seven tokens; the tuple holds the one argument of the forward pass.
    assert dense_flops(model, (packed,)).flops == 2 * 3 * 4 * (3 + 4) * 7


def test_a_recurrent_cell_costs_its_matrices_at_each_call() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for row in x:
                state = self.cell(row, state)
            assert state is not None
            hidden: Tensor = state[0]
            return hidden

    assert dense_flops(Loop(), torch.zeros(6, 2, 3)).flops == 2 * 20 * (3 + 5) * 12


def test_self_attention_costs_four_projections_at_every_token() -> None:
    x = torch.zeros(7, 2, 8)
    assert dense_flops(nn.MultiheadAttention(8, 2), (x, x, x)).flops == 2 * 4 * 64 * 14


def test_cross_attention_costs_keys_and_values_at_their_own_tokens() -> None:
    query, memory = torch.zeros(3, 2, 8), torch.zeros(7, 2, 8)
    flops = dense_flops(nn.MultiheadAttention(8, 2), (query, memory, memory)).flops
    assert flops == 2 * 64 * (6 + 14 + 14 + 6)


def test_each_part_of_cross_attention_is_charged_for_its_own_tokens() -> None:
    query, memory = torch.zeros(3, 2, 8), torch.zeros(7, 2, 8)
    layers = dense_flops(nn.MultiheadAttention(8, 2), (query, memory, memory)).layers
    assert {s.name: s.flops for s in layers} == {
        "in_proj_weight[q]": 2 * 64 * 6,
        "in_proj_weight[k]": 2 * 64 * 14,
        "in_proj_weight[v]": 2 * 64 * 14,
        "out_proj.weight": 2 * 64 * 6,
    }


def test_attention_over_other_widths_costs_its_separate_projections() -> None:
    model = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True)
    example = (torch.zeros(2, 3, 8), torch.zeros(2, 7, 4), torch.zeros(2, 7, 6))
    assert dense_flops(model, example).flops == 2 * (64 * 6 + 32 * 14 + 48 * 14 + 64 * 6)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_transformer_encoder_costs_all_its_matrices(frozen: bool) -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True), num_layers=2
    )
    encoder.requires_grad_(not frozen)
    model = nn.Sequential(encoder, nn.Linear(8, 3))
    flops = dense_flops(model, torch.zeros(2, 5, 8)).flops
    assert flops == 2 * 10 * (2 * (4 * 64 + 2 * 128) + 24)


def test_an_embedding_costs_nothing() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
    tokens = torch.zeros(3, 5, dtype=torch.int64)
    assert dense_flops(model, tokens, include="*").flops == 2 * 8 * 15


def test_a_layer_used_twice_costs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(self.layer(x))
            return y

    assert dense_flops(Twice(), torch.zeros(3, 4)).flops == 2 * 16 * 6


def test_a_layer_that_is_not_used_costs_nothing() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 9)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.used(x)
            return y

    assert dense_flops(Idle(), torch.zeros(3, 4)).flops == 2 * 16 * 3


class Tied(nn.Module):
    """A language model whose output layer shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding(tokens))
        return logits


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, dtype=torch.int64)])
def test_the_output_layer_of_a_tied_embedding_costs_its_flops(example: Tensor | None) -> None:
    rows = 1 if example is None else 3
    summary = dense_flops(Tied(), example)
    assert summary.flops == 2 * 36 * rows
    assert summary.layers[0].flops == 2 * 36 * rows


def test_a_weight_owned_by_another_module_first_can_be_summarised() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.randn(4, 4))
            self.layer = nn.Linear(4, 4, bias=False)
            self.layer.weight = self.matrix

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y

    assert dense_flops(Owner(), torch.zeros(3, 4)).flops == 2 * 16 * 3


def test_sparse_flops_count_connections_only() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    handle, _ = sparsified(model, 0.25)
    summary = handle.summary(torch.zeros(3, 2, 4, 4))
    first, second = summary.layers
    assert (first.dense_flops, second.dense_flops) == (2 * 72 * 12, 2 * 80 * 3)
    assert (first.flops, second.flops) == (2 * first.active * 12, 2 * second.active * 3)
    assert summary.flops == 2 * first.active * 12 + 2 * second.active * 3
    assert summary.dense_flops == 2 * 72 * 12 + 2 * 80 * 3


def test_layers_left_dense_count_in_full() -> None:
    handle, _ = sparsified(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 4)), 0.2, exclude="1")
    summary = handle.summary()
    assert (summary.flops, summary.dense_flops) == (2 * (20 + 40), 2 * (100 + 40))


def test_every_gate_of_an_lstm_is_charged_for_its_own_connections() -> None:
    model = Recurrent(nn.LSTM(4, 5))
    handle, _ = sparsified(model, 0.5, allocation={"layer.weight_ih_l0[f]": 1.0})
    summary = handle.summary(torch.zeros(6, 2, 4))
    assert {s.flops == 2 * s.active * 12 for s in summary.layers} == {True}
    assert summary.flops == sum(s.flops or 0 for s in summary.layers)


@pytest.mark.parametrize(
    ("method", "interval"),
    [
        (RigL(update_interval=100), 100),
        (RigL(update_interval=7, end=1000), 7),
        (ITOP(growth="gradient"), 1500),
        (ITOP(), None),
        (SET(), None),
        (Static(), None),
    ],
    ids=repr,
)
def test_training_costs_three_passes_and_the_dense_gradients_growth_looks_at(
    method: Method, interval: int | None
) -> None:
    handle, _ = sparsified(nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 10)), 0.1, method)
    summary = handle.summary()
    sparse, dense = 2 * 90, 2 * 900
    assert (summary.flops, summary.dense_flops) == (sparse, dense)
    # Of `interval` steps one computes its weight gradient densely: 2 sparse + 1 dense.
    steps = interval or 1
    last = 2 * sparse + (dense if interval else sparse)
    assert summary.training_flops == pytest.approx(((steps - 1) * 3 * sparse + last) / steps)
    assert summary.dense_training_flops == 3 * dense


def test_the_forward_pass_of_the_count_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    handle, _ = sparsified(model, 0.5)
    model[3].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    handle.summary(torch.randn(4, 6, generator=torch.Generator()))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, True, True, False]
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_failing_forward_pass_leaves_no_hooks_and_modes_behind() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2))
    handle, _ = sparsified(model, 0.5)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        handle.summary(torch.zeros(2, 5))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


# Exploration


@pytest.mark.parametrize(
    "method",
    [SET(update_interval=1), RigL(update_interval=1), ITOP(update_interval=1)],
    ids=repr,
)
def test_the_exploration_rate_starts_at_the_density_and_never_falls(method: Method) -> None:
    model = mlp()
    handle, optimizer = sparsified(model, 0.1, method)
    rates = [handle.exploration_rate()]
    assert rates[0] == pytest.approx(handle.density()) == pytest.approx(0.1)
    union = handle.masks()
    for _ in range(25):
        train(model, optimizer, 1, 16, 12)
        union = {name: seen | handle.masks()[name] for name, seen in union.items()}
        rates.append(handle.exploration_rate())
        assert rates[-1] == sum(int(m.sum()) for m in union.values()) / 340
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] <= 1
    explored = {s.name: s.explored for s in handle.summary().layers}
    assert explored == {name: int(m.sum()) / m.numel() for name, m in union.items()}


def test_a_static_topology_never_explores() -> None:
    model = mlp()
    handle, optimizer = sparsified(model, 0.2, "static")
    train(model, optimizer, 5, 8, 12)
    assert handle.exploration_rate() == pytest.approx(0.2)


def test_random_growth_explores_everything_in_the_end() -> None:
    model = nn.Linear(6, 5)
    handle, optimizer = sparsified(model, 0.5, SET(update_interval=1, drop_fraction=0.5))
    train(model, optimizer, 60, 4, 6)
    assert handle.exploration_rate() == 1.0


def test_a_dense_model_is_fully_explored_from_the_start() -> None:
    handle, _ = sparsified(mlp(), 1.0, RigL())
    assert handle.exploration_rate() == 1.0


def test_exploration_that_a_store_does_not_record_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_recorded(store: MaskedParameter, seen: Tensor) -> list[int | None]:
        return [None] * len(store.layers)

    handle, _ = sparsified(mlp())
    monkeypatch.setattr(MaskedParameter, "explored_counts", none_recorded)
    summary = handle.summary()
    assert {layer.explored for layer in summary.layers} == {None}
    assert math.isnan(handle.exploration_rate())
    assert "unknown" in str(summary)
