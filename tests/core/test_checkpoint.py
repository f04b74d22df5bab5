"""Does a run that was saved and loaded go on bit for bit, and is a bad file always refused?"""

import copy
import io
import itertools
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparsewire.core import (
    GMP,
    SET,
    CheckpointError,
    InvalidArgumentError,
    Method,
    RigL,
    SparsityHandle,
    checkpoint,
    sparsify,
)
from tests.core.helpers import (
    INTERVAL,
    METHODS,
    MLP,
    OPTIMIZERS,
    OptimizerCase,
    assert_same_run,
    assert_sparse,
    build,
    differences,
    each_method,
    each_optimizer,
    layer_counts,
    snapshot,
    train,
)

CASES = {case.name: case for case in OPTIMIZERS}
ADAM, MOMENTUM = CASES["adam"], CASES["sgd-momentum"]
RIGL = RigL(update_interval=INTERVAL)
ORDERS = list(itertools.permutations(("model", "optimizer", "handle")))


def restore(handle: SparsityHandle, saved: dict[str, Any], order: Sequence[str]) -> None:
    target: dict[str, Any] = {
        "model": handle.model,
        "optimizer": handle.optimizer,
        "handle": handle,
    }
    copied = copy.deepcopy(saved)  # an optimizer goes on working on the very tensors it loads
    for part in order:
        target[part].load_state_dict(copied[part])


def strange_weights(handle: SparsityHandle) -> None:
    """Give a new run other dense weights, as another process would."""
    with torch.no_grad():
        for parameter in handle.model.parameters():
            parameter.mul_(1.5)


@each_method
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_run_loaded_between_updates_goes_on_bit_for_bit_in_every_order(
    method: Method, order: Sequence[str]
) -> None:
    handle = train(build(method, ADAM), 2 * INTERVAL + 2)
    saved = snapshot(handle)
    other = build(method, ADAM)
    strange_weights(other)
    restore(other, saved, order)
    assert_same_run(handle, other)
    for _ in range(2 * INTERVAL):
        assert_same_run(train(handle, 1), train(other, 1))
        assert handle.exploration_rate() == other.exploration_rate()
        assert str(handle.summary()) == str(other.summary())
    assert_sparse(other)


@each_optimizer
@pytest.mark.parametrize("name", ["static", "set", "rigl", "gmp"])
def test_run_loaded_from_a_file_goes_on_bit_for_bit_with_every_optimizer(
    name: str, optimizer_case: OptimizerCase, tmp_path: Path
) -> None:
    handle = train(build(METHODS[name], optimizer_case), INTERVAL + 3)
    checkpoint.save(tmp_path / "run.pt", handle, epoch=3, losses=[0.5, 0.25])
    other = build(METHODS[name], optimizer_case)
    strange_weights(other)
    extra = checkpoint.load(tmp_path / "run.pt", other)
    assert extra == {"epoch": 3, "losses": [0.5, 0.25]}
    assert_same_run(train(handle, INTERVAL), train(other, INTERVAL))
    assert os.listdir(tmp_path) == ["run.pt"]  # noqa: PTH208


@each_method
def test_loading_right_at_and_right_before_an_update_loses_nothing(method: Method) -> None:
    handle = build(method, MOMENTUM)
    for step in range(12):
        saved = snapshot(handle)
        other = build(method, MOMENTUM)
        restore(other, saved, ORDERS[0])
        assert_same_run(train(other, 3), train(_copy(method, saved), 3))
        train(handle, 1)
        assert handle.step == step + 1


def _copy(method: Method, saved: dict[str, Any]) -> SparsityHandle:
    handle = build(method, MOMENTUM)
    restore(handle, saved, ORDERS[-1])
    return handle


def test_going_back_to_an_earlier_checkpoint_repeats_the_run() -> None:
    handle = train(build(RIGL, ADAM), 7)
    saved = snapshot(handle)
    train(handle, 9)
    end = snapshot(handle)
    restore(handle, saved, ORDERS[0])
    assert differences(snapshot(train(handle, 9)), end) == []


def test_state_round_trips_through_torch_save_without_code() -> None:
    handle = train(build(RIGL, ADAM), 7)
    file = io.BytesIO()
    torch.save(handle.state_dict(), file)
    file.seek(0)
    assert differences(torch.load(file, weights_only=True), handle.state_dict()) == []


def test_state_is_a_copy() -> None:
    handle = build(RIGL, ADAM)
    saved = handle.state_dict()
    explored = {name: mask.clone() for name, mask in saved["explored"].items()}
    train(handle, 12)
    assert saved["step"] == saved["updates"] == 0
    assert differences(saved["explored"], explored) == []


@pytest.mark.parametrize("seed", [3, np.int64(3)], ids=["int", "numpy"])
def test_any_integer_seed_can_be_saved_and_loaded(seed: int, tmp_path: Path) -> None:
    handle = train(build(RIGL, ADAM, seed=seed), 6)
    checkpoint.save(tmp_path / "run.pt", handle)
    other = build(RIGL, ADAM, seed=3)
    checkpoint.load(tmp_path / "run.pt", other)
    assert_same_run(train(handle, 5), train(other, 5))


@pytest.mark.parametrize(
    "kind",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 6]),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=40),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    ],
    ids=["multistep", "onecycle", "plateau", "cosine", "lambda"],
)
def test_scheduler_state_travels_as_an_extra(kind: Callable[..., Any], tmp_path: Path) -> None:
    handle = train(build(RIGL, MOMENTUM), 2)
    scheduler = kind(handle.optimizer)
    checkpoint.save(tmp_path / "run.pt", handle, scheduler=scheduler.state_dict())
    extra = checkpoint.load(tmp_path / "run.pt", handle)
    scheduler.load_state_dict(extra["scheduler"])


# Files that must be refused


def save(path: Path, handle: SparsityHandle) -> bytes:
    checkpoint.save(path, handle)
    return path.read_bytes()


def refuse(path: Path, handle: SparsityHandle, match: str | None = None) -> None:
    before = snapshot(handle)
    with pytest.raises(CheckpointError, match=match):
        checkpoint.load(path, handle)
    assert differences(snapshot(handle), before) == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused_and_changes_nothing(share: float, tmp_path: Path) -> None:
    content = save(tmp_path / "run.pt", train(build(RIGL, ADAM), 7))
    (tmp_path / "run.pt").write_bytes(content[: int(share * len(content))])
    refuse(tmp_path / "run.pt", train(build(RIGL, ADAM), 2), "not a readable checkpoint")


@pytest.mark.parametrize("prefix", [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04.", b"PK\x05\x06"])
@pytest.mark.filterwarnings("default")
def test_random_bytes_are_refused_and_change_nothing(prefix: bytes, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    handle = train(build(RIGL, ADAM), 2)
    for size in (1, 3, 16, 200, 5000):
        for _ in range(4):
            (tmp_path / "run.pt").write_bytes(prefix + generator.bytes(size))
            refuse(tmp_path / "run.pt", handle)


def test_flipped_bits_are_refused_or_harmless(tmp_path: Path) -> None:
    source = train(build(RIGL, ADAM), 7)
    content = save(tmp_path / "run.pt", source)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        (tmp_path / "run.pt").write_bytes(damaged)
        handle = build(RIGL, ADAM)
        before = snapshot(handle)
        try:
            checkpoint.load(tmp_path / "run.pt", handle)
        except CheckpointError:
            refused += 1
            assert differences(snapshot(handle), before) == []
        else:
            assert_same_run(handle, source)
    assert refused > 30


def test_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "nowhere.pt", build(RIGL, ADAM))


class Malicious:
    """Executes code when unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("how", ["pickle", "torch.save", "inside"])
@pytest.mark.filterwarnings("default")
def test_code_in_a_file_is_not_executed(how: str, tmp_path: Path) -> None:
    path, victim = tmp_path / "run.pt", tmp_path / "executed"
    handle = train(build(RIGL, ADAM), 7)
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious(victim)))
    elif how == "torch.save":
        torch.save(Malicious(victim), path)
    else:
        torch.save({**snapshot(handle), "extra": Malicious(victim)}, path)
    refuse(path, handle, "not a readable checkpoint")
    assert not victim.exists()


FOREIGN: dict[str, Callable[[SparsityHandle], object]] = {
    "model state": lambda handle: handle.model.state_dict(),
    "handle state": lambda handle: handle.state_dict(),
    "list": lambda _: [1, 2],
    "tensor": lambda _: torch.zeros(3),
    "nothing": lambda _: None,
    "empty": lambda _: {},
    "all keys, no content": lambda _: dict.fromkeys(("model", "optimizer", "handle")),
    "no optimizer": lambda handle: {k: v for k, v in snapshot(handle).items() if k[0] != "o"},
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_file_is_refused_and_changes_nothing(
    content: Callable[[SparsityHandle], object], tmp_path: Path
) -> None:
    torch.save(content(train(build(RIGL, ADAM), 7)), tmp_path / "run.pt")
    refuse(tmp_path / "run.pt", train(build(RIGL, ADAM), 2))


def wide() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 18), nn.Tanh(), nn.Linear(18, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def renamed() -> nn.Module:
    return nn.ModuleDict({"a": nn.Linear(12, 16), "b": nn.Linear(16, 4)})


def _other_model(model: nn.Module) -> SparsityHandle:
    return sparsify(model, ADAM(model.parameters()), density=0.3, method=RIGL)


OTHERS: dict[str, tuple[Callable[[], SparsityHandle], str]] = {
    "seed": (lambda: build(RIGL, ADAM, seed=1), "has seed 0, this handle has 1.*same arguments"),
    "method": (lambda: build(SET(INTERVAL), ADAM), r"has method RigL.*this handle has SET"),
    "interval": (lambda: build(RigL(7), ADAM), r"update_interval=5.*update_interval=7"),
    "density": (lambda: build(RIGL, ADAM, density=0.4), r"allocates .* connections to 0\.weight"),
    "width": (lambda: _other_model(wide()), r"allocates .* connections|shape"),
    "names": (lambda: _other_model(renamed()), r"layers .*0\.weight.*this model has .*a\.weight"),
}


@pytest.mark.parametrize(("other", "match"), OTHERS.values(), ids=OTHERS)
def test_checkpoint_of_another_run_is_refused_and_changes_nothing(
    other: Callable[[], SparsityHandle], match: str, tmp_path: Path
) -> None:
    source = train(build(RIGL, ADAM), 7)
    save(tmp_path / "run.pt", source)
    handle = other()
    refuse(tmp_path / "run.pt", handle, match)
    before = snapshot(handle)
    with pytest.raises(CheckpointError):
        handle.load_state_dict(source.state_dict())
    assert differences(snapshot(handle), before) == []


@pytest.mark.parametrize("kind", [CASES["sgd-momentum"], CASES["rmsprop"]], ids=str)
def test_checkpoint_of_another_optimizer_is_refused_and_changes_nothing(
    kind: OptimizerCase, tmp_path: Path
) -> None:
    save(tmp_path / "run.pt", train(build(RIGL, ADAM), 7))
    refuse(tmp_path / "run.pt", train(build(RIGL, kind), 2), "optimizer")


# Damage inside a readable file: (path of the entry, replacement); DELETE removes it.

DELETE = object()
DAMAGE: list[tuple[tuple[Any, ...], Any]] = [
    *((("handle", key), DELETE) for key in ("format", "version", "step", "updates", "layers")),
    *((("handle", key), DELETE) for key in ("explored", "seed", "method")),
    *((("handle", key), None) for key in ("step", "updates", "layers", "explored", "seed")),
    (("handle", "step"), -1),
    (("handle", "step"), 1.5),
    (("handle", "seed"), torch.zeros(3)),
    (("handle", "version"), 99),
    (("handle", "format"), "other"),
    (("handle", "layers", "0.weight"), DELETE),
    (("handle", "layers", "0.weight"), 5),
    (("handle", "layers", "0.weight"), None),
    (("handle", "layers", "0.weight"), [1, 2]),
    (("handle", "layers", "0.weight", 1), -3),
    (("handle", "layers", "0.weight", 1), "many"),
    (("handle", "explored", "0.weight"), DELETE),
    (("handle", "explored", "0.weight"), None),
    (("handle", "explored", "0.weight"), torch.zeros(3, dtype=torch.bool)),
    (("handle", "explored", "0.weight"), torch.zeros(16, 12)),
    (("model",), 7),
    (("model", "0.weight"), DELETE),
    (("model", "0.weight"), 7),
    (("model", "0.weight"), None),
    (("model", "0.weight"), torch.zeros(3, 3)),
    (("model", "0.weight_mask"), DELETE),
    (("model", "0.weight_mask"), torch.zeros(16, 12, dtype=torch.bool)),
    (("model", "2.bias"), torch.zeros(17)),
    (("optimizer",), 7),
    (("optimizer", "state"), DELETE),
    (("optimizer", "state"), 7),
    (("optimizer", "param_groups"), []),
    (("optimizer", "param_groups"), None),
    (("optimizer", "param_groups", 0, "betas"), DELETE),
    (("optimizer", "param_groups", 0), 7),
    (("optimizer", "state", 0), 7),
    (("optimizer", "state", 99), {}),
    (("optimizer", "state", "zero"), {}),
    (("optimizer", "state", 0, "exp_avg"), torch.zeros(3, 3)),
]


def _label(damage: tuple[tuple[Any, ...], Any]) -> str:
    where, value = damage
    what = "deleted" if value is DELETE else f"is {type(value).__name__}"
    return f"{'/'.join(map(str, where))} {what}"


@pytest.mark.parametrize("damage", DAMAGE, ids=_label)
def test_damaged_entry_is_refused_and_changes_nothing(
    damage: tuple[tuple[Any, ...], Any], tmp_path: Path
) -> None:
    where, value = damage
    content: Any = snapshot(train(build(RIGL, ADAM), 7))
    entry = content
    for key in where[:-1]:
        entry = entry[key]
    if value is DELETE:
        del entry[where[-1]]
    else:
        entry[where[-1]] = value
    torch.save(content, tmp_path / "run.pt")
    handle = train(build(RIGL, ADAM), 2)
    refuse(tmp_path / "run.pt", handle)
    if where[0] == "handle":
        before = snapshot(handle)
        with pytest.raises(CheckpointError):
            handle.load_state_dict(content["handle"])
        assert differences(snapshot(handle), before) == []


# Forgotten parts


@pytest.mark.parametrize("name", ["set", "rigl", "itop", "gmp"])
def test_forgetting_to_load_the_model_is_noticed_at_the_next_step(name: str) -> None:
    saved = snapshot(train(build(METHODS[name], ADAM), 2 * INTERVAL + 2))
    handle = build(METHODS[name], ADAM)
    restore(handle, saved, ("optimizer", "handle"))
    before = snapshot(handle)["model"]
    with pytest.raises(CheckpointError, match=r"load model\.state_dict\(\)"):
        train(handle, 1)
    assert differences(snapshot(handle)["model"], before) == []
    handle.model.load_state_dict(saved["model"])
    train(handle, 1)
    assert_sparse(handle)


@pytest.mark.parametrize("name", ["set", "rigl", "itop", "gmp"])
def test_loading_the_model_of_another_moment_is_noticed_at_the_next_step(name: str) -> None:
    source = train(build(METHODS[name], ADAM), INTERVAL + 2)
    early = snapshot(source)
    late = snapshot(train(source, INTERVAL))
    handle = build(METHODS[name], ADAM)
    restore(handle, {**late, "model": early["model"]}, ORDERS[0])
    with pytest.raises(CheckpointError, match=r"load model\.state_dict\(\)"):
        train(handle, 1)


def test_dense_weights_under_a_loaded_handle_are_noticed_at_the_next_step() -> None:
    handle = train(build(RIGL, ADAM), 7)
    handle.load_state_dict(handle.state_dict())
    with torch.no_grad():
        handle.model.get_parameter("2.weight").add_(1.0)
    with pytest.raises(CheckpointError, match=r"2\.weight has weights outside its mask.*apply_mas"):
        train(handle, 1)


def test_verify_passes_during_a_healthy_run() -> None:
    for method in METHODS.values():
        handle = build(method, ADAM)
        for _ in range(7):
            train(handle, 1)
            handle.verify()
            assert_sparse(handle)


def test_model_state_loads_strictly_into_another_sparsified_model() -> None:
    handle = train(build(RIGL, ADAM), 12)
    other = build(RIGL, ADAM)
    other.model.load_state_dict(handle.model.state_dict(), strict=True)
    assert differences(other.masks(), handle.masks()) == []


def test_masks_of_another_moment_without_the_handle_state_are_noticed_at_the_next_update() -> None:
    handle = train(build(GMP(update_interval=INTERVAL, end=26), ADAM), 12)
    other = build(GMP(update_interval=INTERVAL, end=26), ADAM)
    other.model.load_state_dict(handle.model.state_dict())
    with pytest.raises(Exception, match="active connections instead of"):
        train(other, INTERVAL)


# Writing


def test_crash_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    handle = train(build(RIGL, ADAM), 3)
    content = save(tmp_path / "run.pt", handle)
    train(handle, 1)
    handle.optimizer.param_groups[0]["callback"] = lambda: None  # pickling stops half-way
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        checkpoint.save(tmp_path / "run.pt", handle)
    assert (tmp_path / "run.pt").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.parametrize(
    "extra",
    [Path("a"), np.float64(0.5), {"best": np.float32(1)}, {1, 2}, GMP(900), lambda: None],
    ids=["path", "numpy", "nested numpy", "set", "method", "function"],
)
def test_extra_that_load_would_refuse_is_refused_by_save(extra: object, tmp_path: Path) -> None:
    handle = build(RIGL, ADAM)
    content = save(tmp_path / "run.pt", handle)
    try:
        checkpoint.save(tmp_path / "run.pt", handle, best=extra)
    except (InvalidArgumentError, CheckpointError) as error:
        assert "best" in str(error)  # noqa: PT017
        assert (tmp_path / "run.pt").read_bytes() == content
    else:
        assert checkpoint.load(tmp_path / "run.pt", handle) == {"best": extra}


@pytest.mark.parametrize("name", ["model", "optimizer"])
def test_extra_that_would_be_lost_is_refused_by_save(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        checkpoint.save(tmp_path / "run.pt", build(RIGL, ADAM), **{name: 3})


def test_saved_file_is_as_readable_as_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save(tmp_path / "run.pt", build(RIGL, ADAM))
    assert (tmp_path / "run.pt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_disturbs_nothing(tmp_path: Path) -> None:
    handle, plain = train(build(RIGL, ADAM), 7), train(build(RIGL, ADAM), 7)
    counts = layer_counts(handle)
    save(tmp_path / "run.pt", handle)
    assert layer_counts(handle) == counts
    assert_same_run(train(handle, 5), train(plain, 5))


def test_path_may_be_a_string(tmp_path: Path) -> None:
    handle = train(build(RIGL, ADAM, MLP), 3)
    checkpoint.save(str(tmp_path / "run.pt"), handle)
    assert checkpoint.load(str(tmp_path / "run.pt"), handle) == {}
