"""The cells of a benchmark: which there are, and what the papers decide about them."""

import pytest

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.benchmark.planning import plan


@pytest.mark.parametrize(
    ("protocol", "scalers"),
    [
        ("clean", [None, None, None, None]),
        ("wast", [None, None, None, None]),
        ("neurofs", ["standard", None, None, None]),
        ("quickselection", [None, "minmax", None, None]),
    ],
)
def test_canonical_splits_and_exceptional_scalers_are_those_of_the_papers(
    protocol: str, scalers: list[str | None]
) -> None:
    names = ["madelon", "pcmac", "usps", "mnist"]
    cells = [task.cell for task in plan(names, ["variance"], k=5, seeds=[0], protocol=protocol)]
    assert [cell.n_train for cell in cells] == [2000, None, None, 60000]
    assert [cell.scaler for cell in cells] == scalers


def test_numbers_of_features_may_depend_on_the_data_set() -> None:
    counts: dict[str, int | list[int]] = {"digits": [5, 9], "breast_cancer": 7}
    tasks = plan(list(counts), ["extra_trees", "all"], k=counts, seeds=[4, 3])
    assert [(t.cell.dataset, t.cell.method, t.cell.k, t.cell.seed) for t in tasks] == [
        ("digits", "extra_trees", 5, 4), ("digits", "extra_trees", 5, 3), ("digits", "all", 64, 0),
        ("digits", "extra_trees", 9, 4), ("digits", "extra_trees", 9, 3),
        ("breast_cancer", "extra_trees", 7, 4), ("breast_cancer", "extra_trees", 7, 3),
        ("breast_cancer", "all", 30, 0),
    ]  # fmt: skip


def test_a_cell_knows_every_parameter_of_its_selector_and_not_only_the_given_ones() -> None:
    parameters = {"quickselection": {"epochs": 2}}
    (task,) = plan(["madelon"], ["quickselection"], k=5, seeds=[0], parameters=parameters)
    assert task.changes == {"epochs": 2}
    found = task.cell.parameters
    assert (found["epochs"], found["output_activation"], found["epsilon"]) == (2, "tanh", 13)


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "k must be an integer >= 1"),
        (True, "k must be an integer"),
        ([], "at least one number"),
        ({"usps": 5}, "k names no number for digits"),
        (65, r"choose a number in \[1, 64\]"),
    ],
)
def test_impossible_numbers_of_features_are_refused(k: object, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        plan(["digits"], ["variance"], k=k, seeds=[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_seeds_are_whole_numbers_from_0_on(seed: object) -> None:
    with pytest.raises(InvalidArgumentError, match="seed must be"):
        plan(["digits"], ["extra_trees"], k=5, seeds=[seed])  # type: ignore[list-item]
