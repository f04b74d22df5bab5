"""Is every mistake answered by an error that names the value, the allowed range and the fix?"""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparsewire.core import (
    GMP,
    SET,
    InfeasibleDensityError,
    InvalidArgumentError,
    NoMaskableLayersError,
    NonFiniteError,
    RigL,
    SetEpsilon,
    SparsewireError,
    SparsityHandle,
    StateError,
    UnknownLayerError,
    UnknownMethodError,
    UnsupportedError,
    sparsify,
)
from tests.core.helpers import differences, mlp


def attempt(model: nn.Module | None = None, **options: Any) -> SparsityHandle:
    """Sparsify a small network with density 0.3 and the given options."""
    network = mlp() if model is None else model
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(network.parameters(), lr=0.1)
    return sparsify(network, optimizer, **{"density": 0.3, **options})


def refused(error: type[SparsewireError], *parts: str, model: nn.Module, **options: Any) -> None:
    """Assert that sparsify refuses, says all of `parts`, and leaves the model as it was."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error) as caught:
        attempt(model, **options)
    for part in parts:
        assert part in str(caught.value)
    assert differences(model.state_dict(), before) == []


@pytest.mark.parametrize(
    "density",
    [0, 0.0, -0.1, 1.0001, 2, float("nan"), float("inf"), -float("inf"), True, "0.1", 1j, [0.1]],
    ids=repr,
)
@pytest.mark.parametrize("budget", ["maskable", "model"])
def test_density_outside_its_range_is_refused(density: Any, budget: str) -> None:
    refused(
        InvalidArgumentError,
        "density must be a number in (0, 1]",
        f"got {density!r}",
        model=mlp(),
        density=density,
        budget=budget,
    )


@pytest.mark.parametrize("density", [1, 1.0, np.float32(0.5), np.float64(0.5), 1 / 3], ids=repr)
def test_every_number_inside_the_range_is_a_density(density: Any) -> None:
    handle = attempt(density=density)
    assert sum(int(m.sum()) for m in handle.masks().values()) == round(float(density) * 512)


def test_missing_density_is_refused_unless_the_allocation_fixes_the_counts() -> None:
    refused(InvalidArgumentError, "density", "(0, 1]", "got None", model=mlp(), density=None)
    assert attempt(density=None, allocation=SetEpsilon(2)).density() > 0


@pytest.mark.parametrize(
    ("budget", "density", "parts"),
    [
        ("maskable", 0.001, ("density 0.001", "leaves 1 connections for 3 layers", "1]")),
        (
            "model",
            0.05,
            ("density 0.05", "beside 36 dense parameters", "choose a density in", "1]"),
        ),
    ],
)
@pytest.mark.parametrize("allocation", ["uniform", "er", "erk"])
def test_budget_too_small_for_the_layers_is_refused_with_the_attainable_range(
    budget: str, density: float, parts: tuple[str, ...], allocation: str
) -> None:
    refused(
        InfeasibleDensityError,
        *parts,
        model=mlp(),
        density=density,
        budget=budget,
        allocation=allocation,
    )


@pytest.mark.parametrize("budget", ["maskable", "model"])
def test_smallest_density_the_error_names_is_attainable(budget: str) -> None:
    with pytest.raises(InfeasibleDensityError) as caught:
        attempt(density=0.0001, budget=budget)
    found = re.search(r"density in \[([0-9.e-]+), 1\]", str(caught.value))
    assert found is not None
    handle = attempt(density=float(found[1]), budget=budget)
    assert all(int(mask.sum()) >= 1 for mask in handle.masks().values())


@pytest.mark.parametrize("budget", ["", "all", None, 0.1])
def test_unknown_budget_is_refused(budget: Any) -> None:
    parts = ("'maskable' or 'model'", repr(budget))
    refused(InvalidArgumentError, *parts, model=mlp(), budget=budget)


@pytest.mark.parametrize("method", ["rigel", "", None, 3, RigL, ["rigl"]], ids=str)
def test_unknown_method_is_refused_with_the_known_ones(method: Any) -> None:
    parts = (f"unknown method {method!r}", "static, set, set-magnitude, rigl")
    refused(UnknownMethodError, *parts, model=mlp(), method=method)


def test_misspelt_names_come_with_a_suggestion() -> None:
    refused(UnknownMethodError, "Did you mean 'rigl'", model=mlp(), method="rigel")
    refused(UnknownMethodError, "Did you mean 'uniform'", model=mlp(), allocation="unifrom")
    refused(UnknownLayerError, "Did you mean", "0.weight", model=mlp(), exclude="0.wieght")


def test_gradual_pruning_by_name_explains_what_it_needs() -> None:
    refused(InvalidArgumentError, "GMP(end=", model=mlp(), method="gmp")


@pytest.mark.parametrize("allocation", ["ekr", "", None, 3, SetEpsilon], ids=str)
def test_unknown_allocation_is_refused_with_the_known_ones(allocation: Any) -> None:
    parts = (f"unknown allocation {allocation!r}", "uniform, er, erk")
    refused(UnknownMethodError, *parts, model=mlp(), allocation=allocation)


@pytest.mark.parametrize("role", ["include", "exclude"])
@pytest.mark.parametrize("name", ["head", "layer.*", "7"])
def test_unknown_layer_name_is_refused(role: str, name: str) -> None:
    parts = (f"{role} names {name!r}", "matches no module or parameter")
    refused(UnknownLayerError, *parts, model=mlp(), **{role: name})


def test_allocation_that_names_an_unknown_layer_is_refused() -> None:
    parts = ("'head'", "0.weight, 2.weight, 4.weight")
    refused(UnknownLayerError, *parts, model=mlp(), allocation={"head": 0.5})


@pytest.mark.parametrize("density", [0, 1.5, float("nan"), True, "0.1"], ids=repr)
def test_wrong_density_of_one_layer_is_refused(density: Any) -> None:
    parts = ("'0'", "(0, 1]", repr(density))
    refused(InvalidArgumentError, *parts, model=mlp(), allocation={"0": density})


@pytest.mark.parametrize("selector", [3, None, nn.Linear(2, 2)], ids=str)
def test_selector_of_a_wrong_kind_is_refused(selector: Any) -> None:
    refused(InvalidArgumentError, "exclude takes names, globs", model=mlp(), exclude=[selector])


NOTHING: dict[str, Callable[[], tuple[nn.Module, dict[str, Any]]]] = {
    "no layer": lambda: (nn.Sequential(nn.LayerNorm(4), nn.BatchNorm1d(4)), {}),
    "all excluded": lambda: (mlp(), {"exclude": "*"}),
    "all frozen": lambda: (mlp().requires_grad_(False), {}),
    "embedding only": lambda: (nn.Sequential(nn.Embedding(5, 4)), {}),
}


@pytest.mark.parametrize("case", NOTHING.values(), ids=NOTHING)
def test_model_without_anything_to_sparsify_is_refused_with_the_reasons(
    case: Callable[[], tuple[nn.Module, dict[str, Any]]],
) -> None:
    model, options = case()
    parts = ("can be sparsified", "check include and exclude")
    refused(NoMaskableLayersError, *parts, model=model, **options)


def test_model_without_parameters_is_refused() -> None:
    optimizer = torch.optim.SGD(mlp().parameters(), lr=0.1)
    refused(NoMaskableLayersError, "no parameters", model=nn.ReLU(), optimizer=optimizer)


def test_optimizer_of_another_model_is_refused() -> None:
    optimizer = torch.optim.SGD(mlp().parameters(), lr=0.1)
    refused(NoMaskableLayersError, "not in the optimizer", model=mlp(), optimizer=optimizer)


@pytest.mark.parametrize("wrong", ["sgd", 0.1, torch.optim.SGD, range(3)], ids=repr)
def test_something_else_than_an_optimizer_is_refused(wrong: Any) -> None:
    parts = ("torch.optim.Optimizer", f"got {type(wrong).__name__}")
    refused(UnsupportedError, *parts, model=mlp(), optimizer=wrong)


@pytest.mark.parametrize("wrong", [None, "model", nn.Linear, [nn.Linear(2, 2)]], ids=repr)
def test_something_else_than_a_model_is_refused(wrong: Any) -> None:
    optimizer = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(UnsupportedError, match=r"torch\.nn\.Module, got "):
        sparsify(wrong, optimizer, density=0.3)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True], ids=repr)
def test_wrong_seed_is_refused(seed: Any) -> None:
    parts = ("seed must be an integer >= 0", f"got {seed!r}")
    refused(InvalidArgumentError, *parts, model=mlp(), seed=seed)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_model_with_non_finite_weights_is_refused(bad: float) -> None:
    model = mlp()
    with torch.no_grad():
        model.get_parameter("2.weight")[3, 5] = bad
    with pytest.raises(NonFiniteError, match=r"2\.weight contains NaN or infinity; repair"):
        attempt(model)
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())


def test_non_finite_numbers_in_a_dense_layer_are_none_of_our_business() -> None:
    model = mlp()
    with torch.no_grad():
        model.get_parameter("2.weight").fill_(float("nan"))
    assert set(attempt(model, exclude="2").masks()) == {"0.weight", "4.weight"}


def test_model_with_lazy_layers_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3))
    with pytest.raises(StateError, match="run one batch"):
        attempt(model)


def test_model_on_the_meta_device_is_refused() -> None:
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(SparsewireError, match="meta"):
        attempt(model)


def test_attribute_of_the_name_a_mask_needs_is_refused_before_anything_changes() -> None:
    model = mlp()
    model.get_submodule("2").weight_mask = "mine"  # type: ignore[assignment]
    refused(StateError, "weight_mask", model=model)


@pytest.mark.parametrize("interval", [0, -1, 1.5, "5", None, True], ids=repr)
@pytest.mark.parametrize("method", [SET, RigL, lambda n: GMP(end=1000, update_interval=n)])
def test_wrong_update_interval_is_refused(method: Callable[[Any], object], interval: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"update_interval must be an integer >= 1"):
        method(interval)


def test_errors_are_also_the_builtin_errors_a_reader_expects() -> None:
    with pytest.raises(ValueError, match="density"):
        attempt(density=2)
    with pytest.raises(TypeError, match="optimizer"):
        attempt(optimizer="sgd")
    handle = attempt()
    with pytest.raises(RuntimeError, match="sparsified already"):
        attempt(handle.model)
