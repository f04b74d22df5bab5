"""Do masks sit correctly on every kind of layer, in every number format, and in every copy?"""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from sparsewire.core import GMP, SET, GraNet, Method, RigL, SparsityHandle, apply_masks_, sparsify
from sparsewire.core.criteria import DenseGradient
from sparsewire.core.masked import MaskedParameter, masked_parameters
from tests.core.helpers import (
    INTERVAL,
    OPTIMIZERS,
    TASKS,
    Task,
    assert_sparse,
    build,
    differences,
    each_method,
    each_task,
    gaussian,
    layer_counts,
    mlp,
    train,
)

CASES = {case.name: case for case in OPTIMIZERS}
ADAM, MOMENTUM = CASES["adam"], CASES["sgd-momentum"]
TASK = {task.name: task for task in TASKS}
EMA = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@each_task
@each_method
def test_every_kind_of_layer_keeps_its_counts_and_exact_zeros(method: Method, task: Task) -> None:
    handle = build(method, ADAM, task)
    counts = layer_counts(handle)
    for _ in range(16):
        train(handle, 1, task=task)
        assert_sparse(handle)
    after = layer_counts(handle)
    if isinstance(method, (GMP, GraNet)):
        assert sum(after.values()) < sum(counts.values())
    else:
        assert after == counts


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lstm", {f"recurrent.weight_hh_l1[{gate}]" for gate in "ifgo"}),
        ("lstm", {"recurrent.weight_hr_l0"}),
        ("gru", {f"recurrent.weight_ih_l0_reverse[{gate}]" for gate in "rzn"}),
        ("rnn", {"recurrent.weight_ih_l0"}),
        ("attention", {f"1.self_attn.in_proj_weight[{part}]" for part in "qkv"}),
        ("attention", {"1.self_attn.out_proj.weight", "1.linear1.weight"}),
        ("conv", {"3.weight", "6.weight"}),
        ("embedding", {"0.weight"}),
        ("tied", {"embedding.weight"}),
    ],
)
def test_layers_of_packed_and_tied_weights_have_names_of_their_own(
    name: str, layers: set[str]
) -> None:
    counts = layer_counts(build(RigL(), task=TASK[name]))
    assert layers <= counts.keys()
    assert all(counts[layer] > 0 for layer in layers)


def test_tied_weight_is_masked_once_and_stays_tied() -> None:
    handle = build(RigL(update_interval=INTERVAL), ADAM, TASK["tied"])
    train(handle, 12, task=TASK["tied"])
    model = handle.model
    assert set(handle.masks()) == {"embedding.weight", "mixer.weight"}
    assert model.get_parameter("decoder.weight") is model.get_parameter("embedding.weight")
    buffers = [name for name, _ in model.named_buffers() if name.endswith("_mask")]
    assert sorted(buffers) == ["embedding.weight_mask", "mixer.weight_mask"]


@pytest.mark.parametrize("method", ["static", RigL(update_interval=5), SET(update_interval=5)])
def test_padding_row_of_an_embedding_stays_zero(method: str | Method) -> None:
    handle = build(method, ADAM, TASK["embedding"])
    train(handle, 16, task=TASK["embedding"])
    assert int(torch.count_nonzero(handle.model.get_parameter("0.weight")[0])) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", [SET(update_interval=5), RigL(update_interval=5)])
def test_low_and_high_precision_models_train_with_exact_counts(
    dtype: torch.dtype, method: Method
) -> None:
    task = Task("mlp", mlp, lambda generator: torch.randn(8, 12, generator=generator).to(dtype))
    handle = build(method, MOMENTUM, task, dtype=dtype)
    counts = layer_counts(handle)
    for _ in range(17):
        train(handle, 1, task=task)
        assert_sparse(handle)
        assert layer_counts(handle) == counts
    assert handle.updates == 3
    assert all(weight.dtype == dtype for weight in handle.model.parameters())


@pytest.mark.parametrize("method", ["static", "set", "rigl"])
def test_initial_masks_do_not_depend_on_dtype(method: str) -> None:
    masks = [
        build(method, dtype=dtype).masks()
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ]
    assert differences(masks[0], masks[1]) == differences(masks[0], masks[2]) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_changing_dtype_in_the_middle_of_training_keeps_the_masks(dtype: torch.dtype) -> None:
    def batch(generator: torch.Generator) -> Tensor:
        return torch.randn(8, 12, generator=generator).to(next(handle.model.parameters()).dtype)

    task = Task("mlp", mlp, batch)
    handle = build(SET(update_interval=INTERVAL), CASES["sgd"])
    train(handle, 7, task=task)
    masks = handle.masks()
    handle.model.to(dtype)
    assert differences(handle.masks(), masks) == []
    counts = layer_counts(handle)
    train(handle, 7, task=task)
    assert_sparse(handle)
    assert layer_counts(handle) == counts
    assert handle.updates == 2


def test_channels_last_makes_no_difference() -> None:
    plain = train(
        build(RigL(update_interval=INTERVAL), ADAM, TASK["conv"], dtype=torch.float64),
        12,
        task=_double("conv"),
    )
    last = train(
        build(RigL(update_interval=INTERVAL), ADAM, TASK["channels-last"], dtype=torch.float64),
        12,
        task=_double("channels-last"),
    )
    assert last.model.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert differences(plain.masks(), last.masks()) == []
    torch.testing.assert_close(
        plain.model.get_parameter("0.weight"),
        last.model.get_parameter("0.weight").contiguous(),
        rtol=1e-8,
        atol=1e-10,
    )


def _double(name: str) -> Task:
    task = TASK[name]
    return Task(name, task.model, lambda generator: task.batch(generator).double())


def test_converting_to_channels_last_after_sparsify_keeps_topology_and_counts() -> None:
    handle = train(build(SET(update_interval=INTERVAL), ADAM, TASK["conv"]), 3, task=TASK["conv"])
    masks = handle.masks()
    handle.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert differences(handle.masks(), masks) == []
    counts = layer_counts(handle)
    train(handle, 9, task=TASK["conv"])
    assert_sparse(handle)
    assert layer_counts(handle) == counts


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), -0.0, -1.0], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeroing_gives_positive_zero_off_mask_and_keeps_every_bit_on_it(
    dtype: torch.dtype, poison: float
) -> None:
    layer = nn.Linear(6, 5).to(dtype)
    masked = MaskedParameter(layer, "weight", "weight")
    masked.mask.copy_(torch.rand(5, 6) < 0.5)
    tensor = torch.full((5, 6), poison, dtype=dtype)
    masked.zero_inactive_(tensor)
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    expected = torch.full((5, 6), poison, dtype=dtype).view(integer)
    assert torch.equal(tensor.view(integer), expected.where(masked.mask, 0))


def test_a_mask_changed_in_place_takes_effect_at_once() -> None:
    layer = nn.Linear(6, 5)
    masked = MaskedParameter(layer, "weight", "weight")
    for _ in range(3):
        masked.mask.copy_(torch.rand(5, 6) < 0.5)
        tensor = torch.ones(5, 6)
        masked.zero_inactive_(tensor)
        assert torch.equal(tensor, masked.mask.float())


# As a store


def gru_store() -> MaskedParameter:
    """Three layers of six weights each."""
    return MaskedParameter(nn.GRU(3, 2), "weight_ih_l0", "gru.weight_ih_l0", tuple("rzn"))


def test_a_store_shows_each_layer_of_a_packed_weight_by_itself() -> None:
    store = gru_store()
    before = store.weight.detach().clone()
    drawn = [torch.tensor([0, 5]), torch.tensor([], dtype=torch.int64), torch.tensor([1, 2, 3])]
    store.draw_(drawn)
    assert store.counts() == [2, 0, 3]
    flat = [*drawn[0].tolist(), *(12 + i for i in drawn[2].tolist())]
    assert store.mask.view(-1).nonzero().squeeze(1).tolist() == flat
    assert torch.equal(store.weight, before * store.mask)
    assert [view.gradient for view in store.views()] == [None] * 3
    store.weight.grad = torch.arange(18.0).view(6, 3)
    store.capture(scale=1.0)
    for i, (view, layer) in enumerate(zip(store.views(), store.layers, strict=True)):
        assert (view.name, view.shape) == (layer.name, layer.shape)
        assert torch.equal(view.active, drawn[i])
        assert torch.equal(view.values, before.view(3, 6)[i, drawn[i]])
        assert isinstance(view.gradient, DenseGradient)
        assert view.gradient.values.tolist() == list(range(6 * i, 6 * i + 6))
    store.forget()
    assert [view.gradient for view in store.views()] == [None] * 3


def test_a_store_draws_a_topology_anew_each_time() -> None:
    store = gru_store()
    for positions in (torch.tensor([0, 5]), torch.tensor([3])):
        store.draw_([positions] * 3)
        assert store.counts() == [positions.numel()] * 3


def test_a_store_notices_weights_outside_its_topology() -> None:
    store = gru_store()
    store.draw_([torch.tensor([0])] * 3)
    assert not store.has_stray_weights()
    with torch.no_grad():
        store.weight.view(-1)[7] = torch.nan
    assert store.has_stray_weights()
    store.zero_inactive_(store.weight)
    assert not store.has_stray_weights()


def test_a_store_remembers_by_layer_what_was_ever_active() -> None:
    store = gru_store()
    store.draw_([torch.tensor([0, 1])] * 3)
    seen = store.explored()
    assert store.explored_counts(seen) == [2, 2, 2]
    store.draw_([torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([4, 5])])
    assert store.explored_counts(store.explore(seen)) == [3, 2, 4]
    assert store.explored_counts(seen) == [2, 2, 2]


def test_a_store_finds_its_topology_in_a_saved_model() -> None:
    store = gru_store()
    state = {"gru.weight_ih_l0_mask": store.mask.clone()}
    assert store.saved_fingerprint(state) == store.fingerprint()
    store.draw_([torch.tensor([0])] * 3)
    assert store.saved_fingerprint(state) != store.fingerprint()


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_of_the_model_alone_keeps_masks_and_zeros(how: str) -> None:
    handle = train(build(SET(update_interval=INTERVAL), ADAM), 7)
    model = handle.model
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert differences(other.state_dict(), model.state_dict()) == []
    found = {name: mask for name, _, mask in masked_parameters(other)}
    assert differences(found, handle.masks()) == []
    before = copy.deepcopy(other.state_dict())
    train(handle, 8)
    assert differences(other.state_dict(), before) == []


def averaged(handle: SparsityHandle, average: AveragedModel, steps: int) -> None:
    for _ in range(steps):
        train(handle, 1)
        average.update_parameters(handle.model)


@pytest.mark.parametrize("ema", [False, True])
def test_average_of_weights_is_sparse_after_applying_the_current_masks(ema: bool) -> None:
    handle = build(SET(update_interval=INTERVAL), ADAM)
    average = AveragedModel(handle.model, multi_avg_fn=EMA if ema else None)
    averaged(handle, average, 12)
    remembered = sum(int(p.count_nonzero()) for _, p, _ in masked_parameters(average))
    assert remembered > sum(layer_counts(handle).values())
    apply_masks_(average)
    for name, weight, mask in masked_parameters(average):
        assert torch.equal(mask, handle.masks()[name.removeprefix("module.")])
        assert int(torch.count_nonzero(weight[~mask])) == 0
    assert_sparse(handle)


def test_moving_average_of_buffers_too_remembers_every_mask_and_stays_within_them() -> None:
    handle = build(SET(update_interval=INTERVAL), ADAM)
    average = AveragedModel(handle.model, multi_avg_fn=EMA, use_buffers=True)
    seen = handle.masks()
    for _ in range(12):
        averaged(handle, average, 1)
        seen = {name: mask | seen[name] for name, mask in handle.masks().items()}
    apply_masks_(average)
    for name, weight, mask in masked_parameters(average):
        assert torch.equal(mask, seen[name.removeprefix("module.")])
        assert int(torch.count_nonzero(weight[~mask])) == 0


def test_average_of_a_static_network_is_sparse_without_any_help() -> None:
    handle = build("static", ADAM)
    average = AveragedModel(handle.model)
    averaged(handle, average, 6)
    for _, weight, mask in masked_parameters(average):
        assert int(torch.count_nonzero(weight[~mask])) == 0


def test_batch_normalisation_of_an_average_can_be_re_estimated() -> None:
    task = TASK["conv"]
    handle = build(SET(update_interval=INTERVAL), ADAM, task)
    average = AveragedModel(handle.model)
    for _ in range(8):
        train(handle, 1, task=task)
        average.update_parameters(handle.model)
    apply_masks_(average)
    masks = handle.masks()
    batches = [task.batch(torch.Generator().manual_seed(i)) for i in range(3)]
    before = average.module.get_buffer("1.running_mean").clone()
    update_bn(batches, average)
    assert not torch.equal(average.module.get_buffer("1.running_mean"), before)
    for name, weight, mask in masked_parameters(average):
        assert torch.equal(mask, masks[name.removeprefix("module.")])
        assert int(torch.count_nonzero(weight[~mask])) == 0


def test_masks_are_found_without_the_handle_in_every_kind_of_layer() -> None:
    for task in TASKS:
        handle = build("static", task=task)
        found = {name: mask for name, _, mask in masked_parameters(handle.model)}
        assert differences(found, handle.masks()) == []


@pytest.mark.parametrize("how", ["half", "bfloat16"])
def test_halving_the_model_leaves_bool_masks(how: str) -> None:
    handle = build("static")
    masks = handle.masks()
    getattr(handle.model, how)()
    assert differences(handle.masks(), masks) == []
    for _, weight, mask in masked_parameters(handle.model):
        assert int(torch.count_nonzero(weight[~mask])) == 0


def test_packed_weights_cut_at_the_right_rows() -> None:
    task = Task("gru", lambda: nn.GRU(5, 6), gaussian(3, 4, 5))
    torch.manual_seed(7)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    allocation = {"weight_hh_l0[z]": 0.25, "*": 0.5}
    handle = sparsify(model, optimizer, allocation=allocation, method="static")
    mask = handle.masks()["weight_hh_l0"]
    assert [int(gate.sum()) for gate in mask.view(3, 36)] == [18, 9, 18]
