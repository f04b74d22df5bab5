"""Which benchmarks does the command know, and with which network and training?

Settings of split MNIST are those of SpaceNet's released script (Sokar et al., 2021, Neurocomputing
439, arXiv:2007.07617) for SpaceNet and of SERENA's code (Gurbuz et al., 2025, CoLLAs, PMLR 330,
arXiv:2403.14684) for concept cells; everything marked "suite" below was chosen here, because no
code with it is public. Names of methods are those of `sparsewire.continual.command.methods`; what
a stream of tasks is made of is in `sparsewire.continual.command.streams`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A named sequence of tasks with the settings that belong to it.

    Attributes
    ----------
    name : str
        Name on the command line.
    dataset : str
        Name in `sparsewire.datasets`.
    permuted : bool
        Whether each task has all classes of the data set and its own order of pixels, rather than
        its own classes.
    network : {"mlp", "cnn"}
        Kind of network.
    training : mapping
        Settings of network and training for every method.
    methods : mapping of str to mapping
        What a method has differently: settings of the training and of the method.
    origin : str
        Where the settings come from.
    """

    name: str
    dataset: str
    permuted: bool = False
    network: str = "mlp"
    training: Values
    methods: Mapping[str, Values] = field(default_factory=dict)
    origin: str

    def settings_for(self, method: str) -> dict[str, Any]:
        """Return the settings of training and method, as far as they are the benchmark's."""
        return {**self.training, **self.methods.get(method, {})}


_SGD: dict[str, Any] = {
    "n_tasks": 5, "hidden": [400, 400], "epochs": 4, "batch_size": 128, "optimizer": "sgd",
    "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0,
}  # fmt: skip
"""SpaceNet's released script for split MNIST."""

_ONLINE: dict[str, Any] = {
    "epochs": 1, "batch_size": 10, "optimizer": "nesterov", "learning_rate": 0.01, "momentum": 0.9,
    "weight_decay": 5e-4,
}  # fmt: skip
"""SERENA's, except for the learning rate: its code has 5e-4, with which cells stay undertrained."""

_ADAM: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 64}
"""CL-with-DST's, except for the epochs, which are the benchmark's (suite)."""

# 10,000, 1,640 and 80 connections per task out of 784 x 80, 80 x 80 and 80 x 2.
_SPACENET_MNIST: dict[str, Any] = {
    "select": 0.2, "reserve": 0.5, "density": [10_000 / 62_720, 1_640 / 6_400, 0.5],
}  # fmt: skip
_MNIST: dict[str, Values] = {
    "spacenet": _SPACENET_MNIST,
    "spacenet-reference": _SPACENET_MNIST,
    "afaf": {"reuse_from": 2},
    "dst-masks": _ADAM,
    "concept-cells": _ONLINE,
}

# The digits are 8 x 8 pixels and 36 times fewer: more epochs, and larger steps (suite).
_DIGITS: dict[str, Any] = {
    **_SGD, "hidden": [200, 200], "epochs": 20, "batch_size": 32, "learning_rate": 0.05,
}  # fmt: skip

# A quarter of AFAF's widths, since a twelfth of its images is at hand (suite).
_CNN: dict[str, Any] = {
    **_SGD, "hidden": [16, 32, 64, 512, 512], "epochs": 40, "batch_size": 64, "learning_rate": 0.1,
}  # fmt: skip

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="split-digits", dataset="digits", training=_DIGITS,
            methods={
                "ewc": {"ewc_lambda": 1e4},  # of powers of ten the largest that does not diverge
                "dst-masks": _ADAM | {"batch_size": 32},
                "concept-cells": _ONLINE | {"epochs": 10},
            },
            origin="suite defaults; part of scikit-learn, so always there",
        ),
        Benchmark(
            name="split-mnist", dataset="mnist", training=_SGD, methods=_MNIST,
            origin="SpaceNet's released script; AFAF and DST masks: suite defaults",
        ),
        Benchmark(
            name="split-fashion-mnist", dataset="fashion_mnist", training=_SGD, methods=_MNIST,
            origin="suite default: as split-mnist, because no code with settings is public",
        ),
        Benchmark(
            name="split-cifar10", dataset="cifar10_subset", network="cnn", training=_CNN,
            origin="AFAF's released code with a quarter of its widths, on 4000 images",
        ),
        Benchmark(
            name="permuted-mnist", dataset="mnist", permuted=True,
            training={**_SGD, "epochs": 2, "learning_rate": 0.1}, methods=_MNIST,
            origin="suite default: the classes of task t are 10 t to 10 t + 9",
        ),
    )
}  # fmt: skip
DEFAULT = "split-digits"


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.

    Returns
    -------
    Benchmark
        The benchmark.

    Raises
    ------
    InvalidArgumentError
        If there is none of that name; the message lists all.

    Examples
    --------
    >>> find_benchmark("split-mnist").settings_for("concept-cells")["batch_size"]
    10
    """
    if name not in BENCHMARKS:
        raise InvalidArgumentError(
            f"unknown benchmark {name!r}; available: {', '.join(BENCHMARKS)}."
            f"{suggest(name, BENCHMARKS)}"
        )
    return BENCHMARKS[name]
