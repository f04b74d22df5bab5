"""Which parameters get a mask, under which names, cut into which parts, and for what reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import sparsewire
from sparsewire.core.errors import (
    InvalidArgumentError,
    NoMaskableLayersError,
    StateError,
    UnknownLayerError,
)
from sparsewire.core.selection import Decision, packed_parts, select


def decide(
    model: nn.Module, include: Any = None, exclude: Any = (), held: list[Tensor] | None = None
) -> dict[str, Decision]:
    parameters = list(model.parameters()) if held is None else held
    decisions = select(model, parameters, include, exclude)
    assert [d.name for d in decisions] == [name for name, _ in model.named_parameters()]
    for decision in decisions:
        assert decision.parameter is model.get_parameter(decision.name)
    return {d.name: d for d in decisions}


def included(model: nn.Module, include: Any = None, exclude: Any = ()) -> set[str]:
    return {name for name, d in decide(model, include, exclude).items() if d.included}


class Net(nn.Module):
    """An encoder, a recurrent layer, an embedding, normalisation and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.encoder = nn.Sequential(nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8), nn.Conv1d(8, 8, 1))
        self.lstm = nn.LSTM(8, 5)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 3)
        self.head2 = nn.Linear(5, 3)


WEIGHTS = {
    "encoder.0.weight",
    "encoder.2.weight",
    "lstm.weight_ih_l0",
    "lstm.weight_hh_l0",
    "head.weight",
    "head2.weight",
}


def test_all_weight_matrices_but_embeddings_are_taken_by_default() -> None:
    assert included(Net()) == WEIGHTS


def test_biases_and_normalisation_are_never_taken_even_when_asked_for() -> None:
    assert included(Net(), include="*") == WEIGHTS | {"embedding.weight"}
    with pytest.raises(NoMaskableLayersError, match="bias or not a layer's weight matrix"):
        select(Net(), list(Net().parameters()), include=nn.LayerNorm)


def test_an_embedding_says_how_to_take_it() -> None:
    reason = decide(Net())["embedding.weight"].reason
    assert reason == "embedding: name it in include to sparsify it"


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ("head", {"head.weight"}),
        ("head.weight", {"head.weight"}),
        ("head*", {"head.weight", "head2.weight"}),
        ("encoder", {"encoder.0.weight", "encoder.2.weight"}),
        ("encoder.0", {"encoder.0.weight"}),
        ("*.weight_hh_*", {"lstm.weight_hh_l0"}),
        (nn.LSTM, {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}),
        (nn.Sequential, {"encoder.0.weight", "encoder.2.weight"}),
        (nn.Embedding, {"embedding.weight"}),
        ([nn.Linear, "encoder.2"], {"head.weight", "head2.weight", "encoder.2.weight"}),
        (lambda name, module: name.endswith("2"), {"encoder.2.weight", "head2.weight"}),
        (lambda name, module: isinstance(module, nn.Linear), {"head.weight", "head2.weight"}),
    ],
)
def test_include_takes_names_globs_types_and_callables(include: Any, expected: set[str]) -> None:
    assert included(Net(), include=include) == expected
    assert included(Net(), exclude=include) == WEIGHTS - expected


def test_the_type_of_the_whole_model_matches_all_of_it() -> None:
    assert included(Net(), include=Net) == WEIGHTS | {"embedding.weight"}


def test_exclude_wins_over_include() -> None:
    assert included(Net(), include=["encoder", "head"], exclude="encoder.0") == {
        "encoder.2.weight",
        "head.weight",
    }


def test_a_callable_is_asked_about_the_owner_of_a_weight_alone() -> None:
    # Asked about enclosing modules too, a negation would always match the whole model.
    linear_only = included(Net(), exclude=lambda name, module: not isinstance(module, nn.Linear))
    assert linear_only == {"head.weight", "head2.weight"}
    assert included(Net(), exclude=lambda name, module: name == "encoder") == WEIGHTS


def test_reasons_tell_the_cases_apart() -> None:
    decisions = decide(Net(), include=["head", "lstm"], exclude="lstm")
    assert decisions["head.weight"].reason == "Linear"
    assert decisions["head2.weight"].reason == "not in include"
    assert decisions["lstm.weight_ih_l0"].reason == "excluded by name"
    assert decisions["head.bias"].reason == "bias or not a layer's weight matrix"


@pytest.mark.parametrize("role", ["include", "exclude"])
@pytest.mark.parametrize("name", ["haed", "head.wieght", "encoder.9", "*.3"])
def test_a_name_that_matches_nothing_is_refused(role: str, name: str) -> None:
    model = Net()
    with pytest.raises(UnknownLayerError, match=f"{role} names '.*', which matches no module"):
        select(model, list(model.parameters()), **{role: name})  # type: ignore[arg-type]


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownLayerError, match="Did you mean 'head'"):
        decide(Net(), exclude="haed")


@pytest.mark.parametrize("selector", [3, [3], nn.Linear(2, 2), [nn.Linear(2, 2)], [None]])
@pytest.mark.parametrize("role", ["include", "exclude"])
def test_a_selector_of_another_kind_is_refused(role: str, selector: Any) -> None:
    model = Net()
    with pytest.raises(InvalidArgumentError, match=f"{role} takes names, globs"):
        select(model, list(model.parameters()), **{role: selector})


def test_excluding_everything_lists_the_reasons() -> None:
    with pytest.raises(NoMaskableLayersError, match=r"head\.weight: excluded by name"):
        decide(nn.ModuleDict({"head": nn.Linear(5, 3)}), exclude="*")


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(NoMaskableLayersError, match="has no parameters"):
        decide(nn.Sequential(nn.ReLU()))


def test_a_bare_layer_is_a_model() -> None:
    assert included(nn.Linear(3, 2)) == {"weight"}
    assert included(nn.Linear(3, 2), include="weight") == {"weight"}
    assert included(nn.Linear(3, 2), include=lambda name, module: name == "") == {"weight"}


# Obstacles


def test_a_frozen_weight_is_left_out() -> None:
    model = Net()
    model.head.weight.requires_grad_(False)
    assert decide(model)["head.weight"].reason == "frozen (requires_grad=False)"


def test_a_weight_the_optimizer_does_not_hold_is_left_out() -> None:
    model = Net()
    decision = decide(model, held=list(model.encoder.parameters()))["head.weight"]
    assert (decision.included, decision.reason) == (False, "not in the optimizer")


def test_an_embedding_with_sparse_gradients_is_left_out_even_when_asked_for() -> None:
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 2))
    decision = decide(model, include="*")["0.weight"]
    assert (decision.included, decision.reason) == (False, "sparse gradients (sparse=True)")


def test_a_complex_weight_is_left_out_with_its_type() -> None:
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.complex64), nn.Linear(3, 3))
    assert decide(model)["0.weight"].reason == "dtype torch.complex64"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_weights_are_taken(dtype: torch.dtype) -> None:
    assert included(nn.Linear(3, 3, dtype=dtype)) == {"weight"}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_weight_is_left_out() -> None:
    model = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 3))
    assert decide(model)["0.weight"].reason == "empty"


@pytest.mark.parametrize("attribute", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_a_parametrized_weight_is_left_out_and_says_so(
    attribute: Callable[[nn.Module], nn.Module],
) -> None:
    model = nn.Sequential(attribute(nn.Linear(4, 4)), nn.Linear(4, 2))
    decisions = decide(model)
    assert {name for name, d in decisions.items() if d.included} == {"1.weight"}
    inner = [d for name, d in decisions.items() if "parametrizations" in name]
    assert inner
    assert all("parametriz" in d.reason for d in inner)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_the_factors_of_a_weight_normalised_lstm_are_left_out() -> None:
    lstm = nn.utils.weight_norm(nn.LSTM(4, 5), "weight_hh_l0")
    assert included(lstm) == {"weight_ih_l0"}


def test_a_parameter_that_a_recurrent_subclass_adds_is_left_out() -> None:
    class ScaledLSTM(nn.LSTM):
        def __init__(self) -> None:
            super().__init__(3, 5)
            self.weight_scale = nn.Parameter(torch.ones(6))

    assert included(ScaledLSTM()) == {"weight_ih_l0", "weight_hh_l0"}


def test_lazy_layers_have_to_be_initialised_first() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3))
    with pytest.raises(StateError, match="run one batch through it"):
        decide(model)
    model(torch.zeros(1, 4))
    assert included(model) == {"0.weight", "1.weight"}


def test_a_model_is_sparsified_once_only() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(model, optimizer, density=0.5, include="head")
    with pytest.raises(StateError, match="sparsified already"):
        decide(model)
    handle.finalize()
    assert included(model) == WEIGHTS


# Kinds of layers


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(4, 6),
        nn.Conv1d(4, 6, 3),
        nn.Conv2d(4, 6, 3),
        nn.Conv3d(4, 6, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 6, 1),
        nn.ConvTranspose1d(4, 6, 3),
        nn.ConvTranspose2d(4, 6, 3),
        nn.ConvTranspose3d(4, 6, 3),
    ],
    ids=repr,
)
def test_every_linear_and_convolutional_layer_gives_one_undivided_weight(layer: nn.Module) -> None:
    decision = decide(layer)["weight"]
    assert (decision.included, decision.parts) == (True, ())
    assert decision.reason == type(layer).__name__


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.PReLU(4)], ids=repr
)
def test_one_dimensional_weights_are_never_taken(layer: nn.Module) -> None:
    assert packed_parts(layer, "weight") is None


@pytest.mark.parametrize("layer", [nn.Embedding(5, 3), nn.EmbeddingBag(5, 3)], ids=repr)
def test_embeddings_are_out_by_default_and_in_when_asked_for(layer: nn.Module) -> None:
    model = nn.ModuleDict({"table": layer, "head": nn.Linear(3, 2)})
    assert included(model) == {"head.weight"}
    assert included(model, include=["table", "head"]) == {"table.weight", "head.weight"}


def shapes(model: nn.Module, include: Any = None) -> dict[str, tuple[int, ...]]:
    """Shape of every layer of the sparsified model, checked against mask and names."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(
        model, optimizer, density=0.5, include=include, allocation="uniform"
    )
    layers = handle.summary().layers
    masks = handle.masks()
    assert sum(layer.weights for layer in layers) == sum(m.numel() for m in masks.values())
    for layer in layers:
        assert abs(layer.active - layer.weights / 2) <= 1
    return {layer.name: layer.shape for layer in layers}


def test_an_lstm_is_cut_into_its_four_gates() -> None:
    expected = {f"weight_ih_l0[{gate}]": (5, 3) for gate in "ifgo"}
    assert shapes(nn.LSTM(3, 5)) == expected | {f"weight_hh_l0[{gate}]": (5, 5) for gate in "ifgo"}


def test_a_gru_is_cut_into_its_three_gates() -> None:
    expected = {f"weight_ih_l0[{gate}]": (5, 3) for gate in "rzn"}
    assert shapes(nn.GRU(3, 5)) == expected | {f"weight_hh_l0[{gate}]": (5, 5) for gate in "rzn"}


def test_a_plain_recurrent_layer_is_not_cut() -> None:
    assert shapes(nn.RNN(3, 5)) == {"weight_ih_l0": (5, 3), "weight_hh_l0": (5, 5)}


@pytest.mark.parametrize(
    ("cell", "gates"), [(nn.LSTMCell(3, 5), "ifgo"), (nn.GRUCell(3, 5), "rzn")], ids=repr
)
def test_recurrent_cells_are_cut_like_their_layers(cell: nn.Module, gates: str) -> None:
    expected = {f"weight_ih[{gate}]": (5, 3) for gate in gates}
    assert shapes(cell) == expected | {f"weight_hh[{gate}]": (5, 5) for gate in gates}


def test_a_plain_recurrent_cell_is_not_cut() -> None:
    assert shapes(nn.RNNCell(3, 5)) == {"weight_ih": (5, 3), "weight_hh": (5, 5)}


def test_a_deep_bidirectional_projected_lstm_is_cut_gate_by_gate() -> None:
    found = shapes(nn.LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=2))
    assert found["weight_hr_l0"] == found["weight_hr_l1_reverse"] == (2, 6)
    assert found["weight_ih_l0_reverse[g]"] == (6, 3)
    assert found["weight_ih_l1[o]"] == (6, 4)
    assert found["weight_hh_l1_reverse[i]"] == (6, 2)
    assert len(found) == 4 * (4 + 4 + 1)


def test_attention_is_cut_into_query_key_and_value() -> None:
    assert shapes(nn.MultiheadAttention(8, 2)) == {
        "in_proj_weight[q]": (8, 8),
        "in_proj_weight[k]": (8, 8),
        "in_proj_weight[v]": (8, 8),
        "out_proj.weight": (8, 8),
    }


def test_attention_over_other_widths_has_separate_projections() -> None:
    model = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True)
    assert shapes(model) == {
        "q_proj_weight": (8, 8),
        "k_proj_weight": (8, 4),
        "v_proj_weight": (8, 6),
        "out_proj.weight": (8, 8),
    }


def test_including_attention_by_type_takes_its_output_projection_too() -> None:
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    assert included(model, include=nn.MultiheadAttention) == {
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
    }


def test_one_gate_can_be_given_a_density_of_its_own() -> None:
    model = nn.LSTM(4, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(model, optimizer, density=0.5, allocation={"weight_ih_l0[f]": 1.0})
    forget = handle.masks()["weight_ih_l0"][5:10]
    assert bool(forget.all())
    assert round(handle.density(), 3) == 0.5


# Tied weights


class Tied(nn.Module):
    """An embedding whose weight is the output layer's."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4, sparse=sparse)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.embedding(tokens)))
        return logits


def test_a_tied_weight_is_decided_and_masked_once() -> None:
    model = Tied()
    assert included(model) == {"embedding.weight", "body.weight"}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = sparsewire.sparsify(model, optimizer, density=0.5)
    assert set(handle.masks()) == {"embedding.weight", "body.weight"}
    assert sum(name.endswith("_mask") for name, _ in model.named_buffers()) == 2
    assert model.head.weight is model.embedding.weight
    assert handle.summary().dense_parameters == 36 + 16 + 4


def test_a_tied_weight_is_tied_with_its_other_name() -> None:
    reason = decide(Tied())["embedding.weight"].reason
    assert reason == "Linear, tied with head.weight"


@pytest.mark.parametrize("name", ["embedding", "head", nn.Embedding])
def test_excluding_either_owner_of_a_tied_weight_excludes_it(name: Any) -> None:
    decision = decide(Tied(), exclude=name)["embedding.weight"]
    assert (decision.included, decision.reason) == (False, "excluded by name")


@pytest.mark.parametrize("name", ["embedding", "head", "embedding.weight"])
def test_including_either_owner_of_a_tied_weight_includes_it(name: str) -> None:
    assert included(Tied(), include=name) == {"embedding.weight"}


def test_a_tied_weight_can_be_named_by_its_second_parameter_name() -> None:
    assert included(Tied(), include="head.weight") == {"embedding.weight"}
    assert included(Tied(), exclude="head.weight") == {"body.weight"}


def test_a_module_reachable_under_two_names_answers_to_both() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first
            self.third = nn.Linear(4, 4)

    assert included(Shared()) == {"first.weight", "third.weight"}
    assert included(Shared(), exclude="first") == {"third.weight"}
    assert included(Shared(), exclude="second") == {"third.weight"}


def test_a_weight_owned_by_a_module_of_another_kind_first_is_taken_from_its_layer() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.randn(4, 4))
            self.layer = nn.Linear(4, 4)
            self.layer.weight = self.matrix

    assert included(Owner()) == {"matrix"}
