"""Does a truly sparse run go on bit for bit from a checkpoint, and is a bad one always refused?"""

import copy
import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsewire.core import (
    GMP,
    SET,
    CheckpointError,
    RigL,
    SetEpsilon,
    SparseLinear,
    SparsityHandle,
    UnsupportedError,
    checkpoint,
    sparsify,
)
from tests.core.csr.engine_helpers import (
    ADAM,
    CASES,
    MLP64,
    MOMENTUM,
    Layout,
    Storage,
    advance,
    assert_agree,
    assert_sound,
    backward,
    both,
    each_layout,
    each_method_name,
    picture,
    sparse_layers,
    start,
    use_layout,
)
from tests.core.helpers import (
    INTERVAL,
    METHODS,
    MLP,
    OPTIMIZERS,
    OptimizerCase,
    assert_same_run,
    differences,
    mlp,
    snapshot,
)

ORDERS = list(itertools.permutations(("model", "optimizer", "handle")))
each_order = pytest.mark.parametrize("order", ORDERS, ids="-".join)
RIGL = METHODS["rigl"]


def restore(handle: SparsityHandle, saved: dict[str, Any], order: Sequence[str]) -> None:
    target: dict[str, Any] = {
        "model": handle.model,
        "optimizer": handle.optimizer,
        "handle": handle,
    }
    copied = copy.deepcopy(saved)  # an optimizer goes on working on the very tensors it loads
    for part in order:
        target[part].load_state_dict(copied[part])


def strange(handle: SparsityHandle) -> SparsityHandle:
    """Give a new run other weights, as another process would."""
    with torch.no_grad():
        for parameter in handle.model.parameters():
            parameter.mul_(1.5)
    return handle


def fresh(name: str, case: OptimizerCase = ADAM, **options: Any) -> SparsityHandle:
    return start("csr", METHODS[name], case, **options)


# Going on


@pytest.mark.parametrize(
    ("layout", "order"), [*(("csc", order) for order in ORDERS), ("csr", ORDERS[0])]
)
@each_method_name
def test_run_loaded_between_updates_goes_on_bit_for_bit_in_every_order(
    name: str, order: Sequence[str], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    handle = advance(fresh(name), 2 * INTERVAL + 2)
    other = strange(fresh(name))
    restore(other, snapshot(handle), order)
    assert_same_run(handle, other)
    for _ in range(2 * INTERVAL):
        assert_same_run(advance(handle, 1), advance(other, 1))
        assert handle.exploration_rate() == other.exploration_rate()
        assert str(handle.summary()) == str(other.summary())
    assert_sound(other)


def grid() -> Iterator[Any]:
    for name in ("set", "rigl", "gmp"):
        for case in OPTIMIZERS:
            marks = () if name == "gmp" or case in (MOMENTUM, ADAM) else (pytest.mark.slow,)
            yield pytest.param(name, case, id=f"{name}-{case}", marks=marks)


@pytest.mark.parametrize(("name", "case"), list(grid()))
def test_run_loaded_from_a_file_goes_on_bit_for_bit_with_every_optimizer(
    name: str, case: OptimizerCase, tmp_path: Path
) -> None:
    # In single precision, because torch turns NAdam's and ASGD's scalars into the weights' type.
    handle = advance(fresh(name, case, model=mlp), INTERVAL + 3, MLP)
    checkpoint.save(tmp_path / "run.pt", handle, epoch=3, losses=[0.5, 0.25])
    other = strange(fresh(name, case, model=mlp))
    assert checkpoint.load(tmp_path / "run.pt", other) == {"epoch": 3, "losses": [0.5, 0.25]}
    assert_same_run(handle, other)
    assert_same_run(advance(handle, 2 * INTERVAL, MLP), advance(other, 2 * INTERVAL, MLP))
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


@each_method_name
def test_loading_at_any_step_loses_nothing(name: str) -> None:
    handle = fresh(name, MOMENTUM)
    for step in range(12):
        saved = snapshot(handle)
        runs = [fresh(name, MOMENTUM), fresh(name, MOMENTUM)]
        for run, order in zip(runs, (ORDERS[0], ORDERS[-1]), strict=True):
            restore(run, saved, order)
            advance(run, 3)
        assert_same_run(*runs)
        advance(handle, 1)
        assert handle.step == step + 1


@pytest.mark.parametrize(
    ("set_to_none", "order"), [(True, ORDERS[0]), *((False, order) for order in ORDERS[::2])]
)
@each_method_name
def test_going_back_to_an_earlier_checkpoint_repeats_the_run(
    name: str, order: Sequence[str], set_to_none: bool
) -> None:
    handle = advance(fresh(name), 7)
    saved = snapshot(handle)
    advance(handle, 17)
    end = snapshot(handle)
    restore(handle, saved, order)
    handle.optimizer.zero_grad(set_to_none=set_to_none)
    backward(MLP64.loss(handle.model, handle.step))
    handle.optimizer.step()
    assert differences(snapshot(advance(handle, 16)), end) == []


def test_going_back_to_a_larger_network_works_while_the_last_loss_is_still_held() -> None:
    handle = advance(fresh("gmp"), 7)
    saved = snapshot(handle)
    advance(handle, 9)
    handle.optimizer.zero_grad()
    loss = MLP64.loss(handle.model, handle.step)  # as the variable of a loop, it stays alive
    backward(loss, retain_graph=True)
    handle.optimizer.step()
    restore(handle, saved, ORDERS[0])
    other = fresh("gmp")
    restore(other, saved, ORDERS[0])
    assert_same_run(advance(handle, 9), advance(other, 9))
    assert loss.isfinite()


def test_gradients_of_the_larger_network_do_not_survive_going_back() -> None:
    handle = advance(fresh("gmp"), 7)
    saved = snapshot(handle)
    advance(handle, 9)
    assert handle.model.get_parameter("0.weight").grad is not None
    restore(handle, saved, ORDERS[0])
    for parameter in handle.model.parameters():
        assert parameter.grad is None or parameter.grad.shape == parameter.shape


def test_what_growth_has_recorded_does_not_survive_going_back() -> None:
    handle = advance(fresh("rigl"), INTERVAL - 1)
    saved = snapshot(handle)
    backward(MLP64.loss(handle.model, 77))
    restore(handle, saved, ORDERS[0])
    assert_same_run(advance(handle, INTERVAL), advance(fresh("rigl"), 2 * INTERVAL - 1))


@each_layout
@pytest.mark.parametrize("order", ORDERS[::2], ids="-".join)
@pytest.mark.parametrize("name", ["static", "set", "rigl"])
def test_pruned_network_is_loaded_into_an_unpruned_one_and_back(
    name: str, order: Sequence[str], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layout(monkeypatch, layout)
    handle = advance(fresh(name), 7)
    full = snapshot(handle)
    assert handle.prune_neurons(0.4) > 0
    advance(handle, 1)
    pruned = snapshot(handle)
    other = strange(fresh(name))
    restore(other, pruned, order)
    assert_same_run(advance(handle, INTERVAL), advance(other, INTERVAL))
    restore(other, full, order)
    plain = advance(fresh(name), 7)
    assert_same_run(advance(plain, INTERVAL), advance(other, INTERVAL))


@pytest.mark.parametrize("name", ["set", "gmp"])
def test_file_of_another_size_is_loaded(name: str, tmp_path: Path) -> None:
    small = advance(fresh(name), 12)
    small.prune_neurons(0.3)
    checkpoint.save(tmp_path / "small.pt", small)
    large = fresh(name)
    checkpoint.save(tmp_path / "large.pt", large)
    checkpoint.load(tmp_path / "small.pt", large)
    assert_same_run(small, large)
    advance(small, 3)
    advance(large, 3)
    assert_same_run(small, large)
    checkpoint.load(tmp_path / "large.pt", large)
    assert_same_run(advance(large, 9), advance(fresh(name), 9))


def test_state_holds_nothing_that_needs_code_to_be_read() -> None:
    handle = advance(fresh("rigl"), 7)
    for state in snapshot(handle).values():
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        assert differences(torch.load(file, weights_only=True), state) == []


def test_state_is_a_copy() -> None:
    handle = advance(fresh("rigl"), 2)
    saved = handle.state_dict()
    kept = copy.deepcopy(saved)
    advance(handle, 12)
    assert differences(saved, kept) == []


def test_saving_disturbs_nothing(tmp_path: Path) -> None:
    handle, plain = advance(fresh("rigl"), 7), advance(fresh("rigl"), 7)
    checkpoint.save(tmp_path / "run.pt", handle)
    handle.verify()
    assert_same_run(advance(handle, 5), advance(plain, 5))


class Own(nn.Module):
    """A layer of the user's own beside one to be converted."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = SparseLinear(12, 16, n_connections=40, generator=generator)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(x).tanh())
        return output


@each_order
@pytest.mark.parametrize("name", ["set", "rigl"])
def test_layers_of_the_users_own_are_saved_and_loaded(name: str, order: Sequence[str]) -> None:
    handle = advance(fresh(name, model=lambda: Own().double()), 7)
    other = strange(fresh(name, model=lambda: Own().double()))
    restore(other, snapshot(handle), order)
    assert_same_run(advance(handle, INTERVAL), advance(other, INTERVAL))


def test_layer_of_the_users_own_takes_over_the_size_in_the_file() -> None:
    def build(count: int) -> SparsityHandle:
        generator = torch.Generator().manual_seed(count)
        model = nn.Sequential(SparseLinear(12, 4, n_connections=count, generator=generator))
        optimizer = ADAM(model.double().parameters())
        return sparsify(model, optimizer, method="static")

    saved = snapshot(build(20))
    with pytest.raises(CheckpointError, match="allocates 20 connections"):
        build(30).load_state_dict(saved["handle"])
    other = build(30)
    other.model.load_state_dict(saved["model"])
    assert other.model[0].n_connections == 20  # type: ignore[index]


# Copies


COPIES = [
    *(("deepcopy", steps) for steps in (0, INTERVAL - 1, INTERVAL, 7)),
    ("pickle", INTERVAL - 1),
    ("torch.save", 7),
]


@pytest.mark.parametrize(("how", "steps"), COPIES)
@each_method_name
def test_copy_goes_on_exactly_like_the_original(name: str, how: str, steps: int) -> None:
    handle = advance(fresh(name), steps)
    whole = (handle.model, handle.optimizer, handle)
    if how == "deepcopy":
        model, optimizer, other = copy.deepcopy(whole)
    elif how == "pickle":
        model, optimizer, other = pickle.loads(pickle.dumps(whole))
    else:
        file = io.BytesIO()
        torch.save(whole, file)
        file.seek(0)
        model, optimizer, other = torch.load(file, weights_only=False)
    assert other.model is model
    assert other.optimizer is optimizer
    before = snapshot(handle)
    advance(other, 2 * INTERVAL)
    assert differences(snapshot(handle), before) == [], "the copy shares something"
    assert_same_run(advance(handle, 2 * INTERVAL), other)
    assert_sound(other)
    other.finalize()
    assert not sparse_layers(model)
    assert sparse_layers(handle.model)


@each_method_name
def test_optimizer_restored_without_its_hooks_is_followed_after_attach(name: str) -> None:
    handle, plain = advance(fresh(name), 7), advance(fresh(name), 7)
    optimizer = ADAM(handle.model.parameters())
    optimizer.load_state_dict(copy.deepcopy(handle.optimizer.state_dict()))
    handle.attach(optimizer)
    assert_same_run(advance(handle, 8), advance(plain, 8))


def test_attach_refuses_an_optimizer_of_the_weights_before_they_were_pruned() -> None:
    handle = advance(fresh("set"), 3)
    optimizer = ADAM(handle.model.parameters())
    assert handle.prune_neurons(0.3) > 0
    with pytest.raises(UnsupportedError, match=r"does not hold 0\.weight, 2\.weight"):
        handle.attach(optimizer)
    assert_sound(advance(handle, INTERVAL))


def test_copy_of_the_model_alone_computes_the_same_and_leaves_no_record() -> None:
    handle = advance(fresh("rigl"), INTERVAL - 1)
    model = copy.deepcopy(handle.model)
    x = torch.randn(5, 12).double()
    assert torch.equal(model(x), handle.model(x))
    backward(model(x).sum())
    assert all(layer.record is None for layer in sparse_layers(model).values())
    assert_same_run(advance(handle, 3), advance(fresh("rigl"), INTERVAL + 2))


# Files that must be refused


def refuse(path: Path, handle: SparsityHandle, match: str | None = None) -> None:
    before, ids = snapshot(handle), [id(p) for p in handle.model.parameters()]
    with pytest.raises(CheckpointError, match=match):
        checkpoint.load(path, handle)
    assert differences(snapshot(handle), before) == []
    assert [id(p) for p in handle.model.parameters()] == ids


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_truncated_file_is_refused_and_changes_nothing(share: float, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, advance(fresh("gmp"), 7))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refuse(path, advance(fresh("gmp"), 2), "not a readable checkpoint")


def test_flipped_bits_are_refused_or_harmless(tmp_path: Path) -> None:
    path, source = tmp_path / "run.pt", advance(fresh("rigl"), 7)
    checkpoint.save(path, source)
    content, generator, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(40):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        handle = fresh("rigl")
        before = snapshot(handle)
        try:
            checkpoint.load(path, handle)
        except CheckpointError:
            refused += 1
            assert differences(snapshot(handle), before) == []
        else:
            assert_same_run(handle, source)
    assert refused > 10


@pytest.mark.parametrize("saved", ["masked", "csr"])
def test_checkpoint_of_the_other_storage_is_refused_and_changes_nothing(
    saved: Storage, tmp_path: Path
) -> None:
    there, here = both(RIGL, ADAM)
    if saved == "csr":
        there, here = here, there
    checkpoint.save(tmp_path / "run.pt", advance(there, 7))
    refuse(tmp_path / "run.pt", advance(here, 2))
    before = snapshot(here)
    with pytest.raises(CheckpointError):
        here.load_state_dict(there.state_dict())
    assert differences(snapshot(here), before) == []


def test_checkpoint_of_the_other_layout_is_loaded_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_layout(monkeypatch, "csr")
    source = advance(fresh("rigl"), 7)
    checkpoint.save(tmp_path / "run.pt", source)
    use_layout(monkeypatch, "csc")
    handle = fresh("rigl")
    before = snapshot(handle)
    try:
        checkpoint.load(tmp_path / "run.pt", handle)
    except CheckpointError:
        assert differences(snapshot(handle), before) == []
    else:
        assert_agree(advance(source, INTERVAL), advance(handle, INTERVAL))


OTHERS: dict[str, tuple[Callable[[], SparsityHandle], str]] = {
    "seed": (lambda: fresh("rigl", seed=1), "has seed 0, this handle has 1"),
    "method": (lambda: start("csr", SET(INTERVAL), ADAM), "has method RigL.*this handle has SET"),
    "interval": (lambda: start("csr", RigL(7), ADAM), "update_interval=5.*update_interval=7"),
    "density": (lambda: fresh("rigl", density=0.4), r"allocates .* connections to 0\.weight"),
    "width": (
        lambda: fresh("rigl", model=lambda: nn.Sequential(nn.Linear(12, 18)).double()),
        "layers|allocates",
    ),
    "optimizer": (lambda: fresh("rigl", MOMENTUM), "optimizer"),
}


@pytest.mark.parametrize(("other", "match"), OTHERS.values(), ids=OTHERS)
def test_checkpoint_of_another_run_is_refused_and_changes_nothing(
    other: Callable[[], SparsityHandle], match: str, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "run.pt", advance(fresh("rigl"), 7))
    refuse(tmp_path / "run.pt", other(), match)


@pytest.mark.parametrize("transposed", [False, True])
def test_checkpoint_of_another_shape_with_as_many_connections_is_refused(
    transposed: bool, tmp_path: Path
) -> None:
    def build(n_in: int, n_out: int) -> SparsityHandle:
        model = nn.Sequential(nn.Linear(n_in, n_out, bias=False))
        optimizer = ADAM(model.parameters())
        return sparsify(model, optimizer, allocation=SetEpsilon(1), method="static", storage="csr")

    checkpoint.save(tmp_path / "run.pt", build(6, 10))
    refuse(tmp_path / "run.pt", build(10, 6) if transposed else build(8, 8))


# Damage inside a readable file: (path of the entry, what becomes of it)

DELETE = object()
Change = Callable[[Any], Any]


def _set(index: int, value: Any) -> Change:
    def change(tensor: Tensor) -> Tensor:
        tensor[index] = value
        return tensor

    return change


def _move(tensor: Tensor) -> Tensor:
    """Let the last connection be another one, in order all the same."""
    tensor[-1] += 1 if tensor[-1] < 15 else -1
    assert tensor[-1] > tensor[-2]
    return tensor


def _swap(tensor: Tensor) -> Tensor:
    """Exchange two entries of one row, which repeat or descend then."""
    tensor[0], tensor[1] = tensor[1].clone(), tensor[0].clone()
    return tensor


DAMAGE: list[tuple[str, tuple[Any, ...], Any]] = [
    ("no pointers", ("model", "0.ccol_indices"), DELETE),
    ("no indices", ("model", "0.row_indices"), DELETE),
    ("no weights", ("model", "0.weight"), DELETE),
    ("indices of floats", ("model", "0.row_indices"), lambda t: t.float()),
    ("indices of int64", ("model", "0.row_indices"), lambda t: t.long()),
    ("pointers of int32", ("model", "0.ccol_indices"), lambda t: t.int()),
    ("indices as a list", ("model", "0.row_indices"), lambda t: t.tolist()),
    ("index below 0", ("model", "0.row_indices"), _set(0, -1)),
    ("index too large", ("model", "0.row_indices"), _set(-1, 16)),
    ("huge index", ("model", "0.row_indices"), _set(3, 2**31 - 1)),
    ("entries swapped", ("model", "0.row_indices"), _swap),
    ("another connection", ("model", "0.row_indices"), _move),
    ("pointer too large", ("model", "0.ccol_indices"), _set(3, 10**6)),
    ("pointer below 0", ("model", "0.ccol_indices"), _set(3, -1)),
    ("first pointer", ("model", "0.ccol_indices"), _set(0, 1)),
    ("last pointer", ("model", "0.ccol_indices"), _set(-1, 1)),
    ("too few pointers", ("model", "0.ccol_indices"), lambda t: t[:-1]),
    ("too many pointers", ("model", "0.ccol_indices"), lambda t: torch.cat([t, t[-1:]])),
    ("too few indices", ("model", "0.row_indices"), lambda t: t[:-1]),
    ("no index at all", ("model", "0.row_indices"), lambda t: t[:0]),
    ("matrix of indices", ("model", "0.row_indices"), lambda t: t[None]),
    ("too few weights", ("model", "0.weight"), lambda t: t[:-1]),
    ("too many weights", ("model", "0.weight"), lambda t: torch.cat([t, t])),
    ("one weight", ("model", "0.weight"), lambda t: t[0]),
    ("dense weights", ("model", "0.weight"), lambda t: torch.zeros(16, 12)),
    ("weights as None", ("model", "0.weight"), lambda t: None),
    ("bias", ("model", "0.bias"), lambda t: t[:-1]),
    ("momentum too short", ("optimizer", "state", 0, "exp_avg"), lambda t: t[:-1]),
    ("momentum too long", ("optimizer", "state", 0, "exp_avg_sq"), lambda t: torch.cat([t, t])),
    ("dense momentum", ("optimizer", "state", 0, "exp_avg"), lambda t: torch.zeros(16, 12)),
    ("other topology", ("handle", "topology", "0.weight"), lambda t: "0" * 16),
    ("no topology", ("handle", "topology"), DELETE),
    ("topology as a number", ("handle", "topology", "0.weight"), lambda t: 3),
    ("counts", ("handle", "layers", "0.weight", 1), lambda t: -1),
    ("bitmap too short", ("handle", "explored", "0.weight"), lambda t: t[:-1]),
    ("bitmap of bools", ("handle", "explored", "0.weight"), lambda t: t.bool()),
    ("no bitmap", ("handle", "explored", "0.weight"), DELETE),
    ("empty bitmap", ("handle", "explored", "0.weight"), lambda t: t[:0]),
]


@pytest.mark.parametrize(("where", "change"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_damaged_entry_is_refused_and_changes_nothing(
    where: tuple[Any, ...], change: Any, tmp_path: Path
) -> None:
    content: Any = snapshot(advance(fresh("rigl"), 7))
    entry = content
    for key in where[:-1]:
        entry = entry[key]
    if change is DELETE:
        del entry[where[-1]]
    else:
        entry[where[-1]] = change(entry[where[-1]])
    torch.save(content, tmp_path / "run.pt")
    refuse(tmp_path / "run.pt", advance(fresh("rigl"), 2))


def test_optimizer_state_of_the_size_before_pruning_is_refused(tmp_path: Path) -> None:
    handle = advance(fresh("set"), 7)
    before = snapshot(handle)["optimizer"]
    handle.prune_neurons(0.4)
    torch.save({**snapshot(handle), "optimizer": before}, tmp_path / "run.pt")
    refuse(tmp_path / "run.pt", advance(fresh("set"), 7), "exp_avg")


# Forgotten parts


@pytest.mark.parametrize("name", ["set", "rigl", "itop", "gmp"])
def test_forgetting_to_load_the_model_is_noticed_at_the_next_step(name: str) -> None:
    saved = snapshot(advance(fresh(name, MOMENTUM), 2 * INTERVAL + 2))
    handle = fresh(name, MOMENTUM)
    restore(handle, saved, ("handle",))
    before = snapshot(handle)["model"]
    with pytest.raises(CheckpointError, match=r"load model\.state_dict\(\)"):
        advance(handle, 1)
    assert differences(snapshot(handle)["model"], before) == []
    restore(handle, saved, ("model", "optimizer"))
    assert_sound(advance(handle, 1))


@pytest.mark.parametrize("name", ["set", "rigl", "itop", "gmp"])
def test_loading_the_model_of_another_moment_is_noticed_at_the_next_step(name: str) -> None:
    source = advance(fresh(name), INTERVAL + 2)
    early = snapshot(source)
    late = snapshot(advance(source, INTERVAL))
    handle = fresh(name)
    restore(handle, {**late, "model": early["model"]}, ORDERS[0])
    with pytest.raises(CheckpointError, match=r"load model\.state_dict\(\)"):
        handle.verify()
    with pytest.raises(CheckpointError, match=r"load model\.state_dict\(\)"):
        advance(handle, 1)


def test_topology_of_another_moment_without_the_handle_state_is_noticed_at_the_next_update() -> (
    None
):
    source = advance(start("csr", GMP(update_interval=INTERVAL, end=26), MOMENTUM), 12)
    other = start("csr", GMP(update_interval=INTERVAL, end=26), MOMENTUM)
    other.model.load_state_dict(source.model.state_dict())
    with pytest.raises(Exception, match="active connections instead of"):
        advance(other, INTERVAL)


@pytest.mark.parametrize("entry", [-1, 16, 2**31 - 1])
def test_verify_reports_a_damaged_index(entry: int) -> None:
    handle = advance(fresh("rigl"), 3)
    handle.verify()
    handle.model.get_buffer("0.row_indices")[-1] = entry
    with pytest.raises(CheckpointError, match=r"0\.weight"):
        handle.verify()


def test_verify_passes_during_a_healthy_run() -> None:
    for name in METHODS:
        handle = fresh(name)
        for _ in range(7):
            advance(handle, 1)
            handle.verify()
        handle.prune_neurons(0.2)
        handle.verify()


def test_model_state_loads_strictly_into_another_sparsified_model() -> None:
    handle = advance(fresh("gmp"), 12)
    other = fresh("gmp")
    other.model.load_state_dict(handle.model.state_dict(), strict=True)
    x = torch.randn(5, 12).double()
    assert torch.equal(other.model(x), handle.model(x))
    assert picture(other.model, ADAM(other.model.parameters())).keys()


def test_dense_model_state_is_refused_by_a_sparse_model() -> None:
    handle = fresh("rigl")
    before = snapshot(handle)
    with pytest.raises(RuntimeError, match=r"Missing key|size mismatch"):
        handle.model.load_state_dict(mlp().double().state_dict())
    weights = {k: v for k, v in before["model"].items() if k.endswith(("indices", "weight"))}
    now = handle.model.state_dict()
    assert differences({k: now[k] for k in weights}, weights) == []


def test_single_precision_runs_are_saved_and_loaded(tmp_path: Path) -> None:
    handle = start("csr", RIGL, CASES["adam-fused"], mlp)
    for step in range(7):
        handle.optimizer.zero_grad()
        backward(handle.model(torch.full((3, 12), float(step))).square().sum())
        handle.optimizer.step()
    checkpoint.save(tmp_path / "run.pt", handle)
    other = start("csr", RIGL, CASES["adam-fused"], mlp)
    checkpoint.load(tmp_path / "run.pt", other)
    assert_same_run(handle, other)
