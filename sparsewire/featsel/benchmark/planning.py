"""Which cells does a benchmark consist of? What is wrong with any is found before one runs.

Cells follow from names, numbers of features and seeds, and from two things the papers decide:
canonical training rows, and scaling for the judges, of single data sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sparsewire import datasets as data
from sparsewire.core._validation import check_integer, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.datasets.errors import DatasetError
from sparsewire.featsel.benchmark.cells import CANONICAL_SPLITS, SCALERS, Cell
from sparsewire.featsel.benchmark.fitting import PROTOCOLS, Task
from sparsewire.featsel.benchmark.methods import (
    Factory,
    Method,
    Parameters,
    build,
    describe,
    find_method,
    known_methods,
)

Counts = int | Sequence[int]


def find_dataset(name: str) -> str:
    """Return the canonical name of a data set that is on this machine.

    Parameters
    ----------
    name : str
        Name; case, ``-`` and ``_`` do not matter.

    Returns
    -------
    str
        Its canonical name.

    Raises
    ------
    InvalidArgumentError
        If it is unknown or its file is not found.

    Examples
    --------
    >>> find_dataset("Breast-Cancer")
    'breast_cancer'
    """
    try:
        info = data.info(name)
        if not info.available:
            data.load(name)  # its error says where the file should be
    except DatasetError as error:
        raise InvalidArgumentError(str(error)) from error
    return info.name


def plan(
    datasets: Iterable[str],
    methods: Iterable[str],
    *,
    k: Counts | Mapping[str, Counts],
    seeds: Iterable[int],
    protocol: str = "clean",
    jobs: int = 1,
    parameters: Mapping[str, Parameters] | None = None,
    extra_methods: Mapping[str, Factory] | None = None,
) -> list[Task]:
    """List all cells by data set, number of features, method and seed.

    Parameters
    ----------
    datasets, methods, k, seeds, protocol, jobs, parameters, extra_methods
        As of `run_bench`; data sets by their canonical names.

    Returns
    -------
    list of Task
        Each cell once.

    Raises
    ------
    InvalidArgumentError
        If a name is unknown or a value wrong.

    Examples
    --------
    >>> tasks = plan(["digits"], ["variance", "extra_trees"], k=5, seeds=[1, 2])
    >>> [(task.cell.method, task.cell.seed) for task in tasks]
    [('variance', 0), ('extra_trees', 1), ('extra_trees', 2)]
    """
    known = known_methods(extra_methods)
    chosen = {name: find_method(name, known) for name in methods}
    names = list(dict.fromkeys(datasets))
    numbers = [check_integer("seed", seed, minimum=0) for seed in dict.fromkeys(seeds)]
    if not (names and chosen and numbers):
        raise InvalidArgumentError("a bench needs at least one data set, method and seed.")
    _check_names(parameters or {}, chosen, protocol)
    tasks: list[Task] = []
    for dataset in names:
        for count in _counts(k, dataset):
            for name, method in chosen.items():
                rules = {"protocol": protocol, "dataset": dataset, "method": name}
                changes = (parameters or {}).get(name, {})
                tasks += _tasks_of(method, rules, count, numbers, changes, jobs)
    # Keeping all features is one cell, however many numbers are asked for.
    return list({task.cell.file_name: task for task in tasks}.values())


def _check_names(
    parameters: Mapping[str, Parameters], chosen: Mapping[str, Method], protocol: str
) -> None:
    if protocol not in PROTOCOLS:
        raise InvalidArgumentError(
            f"unknown protocol {protocol!r}.{suggest(protocol, PROTOCOLS)} "
            f"Available: {', '.join(PROTOCOLS)}."
        )
    for name in parameters:
        if name not in chosen:
            raise InvalidArgumentError(
                f"parameters are given for {name!r}, which is not among the methods "
                f"{', '.join(chosen)}.{suggest(name, chosen)}"
            )


def _tasks_of(
    method: Method,
    rules: dict[str, str],
    k: int,
    seeds: list[int],
    changes: Parameters,
    jobs: int,
) -> list[Task]:
    dataset, protocol = rules["dataset"], rules["protocol"]
    info = data.info(dataset)
    selector = build(
        rules["method"], method.factory, k=k, seed=0, dataset=dataset, parameters=changes
    )
    cells = [
        Cell(
            **rules,
            k=info.shape[1] if method.keeps_all else k,
            seed=seed,
            scaler=SCALERS.get((protocol, dataset)),
            n_train=info.n_train if dataset in CANONICAL_SPLITS else None,
            parameters=describe(selector),
        )
        for seed in (seeds if method.is_random else [0])
    ]
    return [Task(cell=cell, factory=method.factory, changes=changes, jobs=jobs) for cell in cells]


def _counts(k: Counts | Mapping[str, Counts], dataset: str) -> list[int]:
    if isinstance(k, Mapping):
        if dataset not in k:
            raise InvalidArgumentError(f"k names no number for {dataset}, only for {list(k)}.")
        k = k[dataset]
    counts = list(dict.fromkeys([k] if isinstance(k, int) else k))
    if not counts:
        raise InvalidArgumentError(f"k must hold at least one number for {dataset}.")
    n_features = data.info(dataset).shape[1]
    for count in counts:
        if check_integer("k", count, minimum=1) > n_features:
            raise InvalidArgumentError(
                f"k={count} is more than the {n_features} features of {dataset}; choose a number "
                f"in [1, {n_features}]."
            )
    return counts
