"""How do Avalanche's own plugins take part in a run that may be interrupted? With plain state.

Avalanche keeps a plugin by pickling it. Here a plugin's state is what cannot be found again:
tensors by name. What depends on finished tasks and the seed alone (the teacher of LwF, the examples
kept for replay) is made anew when a run goes on, from the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import sparsewire.continual.avalanche  # noqa: F401 (before avalanche: it mends torchvision)

# isort: split
from avalanche.training.plugins import (
    EWCPlugin,
    LwFPlugin,
    ReplayPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.storage_policy import ExperienceBalancedBuffer
from avalanche.training.utils import ParamData

from sparsewire.core.network import seeded_generator

Shelf = dict[str, dict[str, Tensor]]
"""Tensors by name of a record and name of a parameter."""


class Baseline:
    """One of Avalanche's plugins and what a checkpoint has to hold of it.

    Parameters
    ----------
    plugin : SupervisedPlugin
        The plugin.
    """

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin

    def state(self) -> Shelf:
        """Return tensors that only training could find again."""
        return {}

    def resume(self, state: Mapping[str, Any], strategy: Any, past: Sequence[Any]) -> None:
        """Bring a new plugin to where an earlier one was.

        Parameters
        ----------
        state : mapping
            What `state` returned.
        strategy : avalanche strategy
            With the model as it was then.
        past : sequence of experience
            Those that were finished then.
        """


class _EWC(Baseline):
    """Importance and values of all parameters after each task."""

    def state(self) -> Shelf:
        records = {"importances": self.plugin.importances, "saved_params": self.plugin.saved_params}
        return {
            f"{record}/{task}": {name: data.data.clone() for name, data in values.items()}
            for record, tasks in records.items()
            for task, values in tasks.items()
        }

    def resume(self, state: Mapping[str, Any], strategy: Any, past: Sequence[Any]) -> None:
        for key, values in state.items():
            record, _, task = key.partition("/")
            getattr(self.plugin, record)[int(task)] = _param_data(values)


class _SI(Baseline):
    """Anchor, importance and the sum of trajectories, which grows with every task."""

    def state(self) -> Shelf:
        anchor, importance = self.plugin.ewc_data
        records = {
            "anchor": anchor,
            "importance": importance,
            "sum": self.plugin.syn_data["cum_trajectory"],
        }
        return {
            record: {name: data.data.clone() for name, data in values.items()}
            for record, values in records.items()
        }

    def resume(self, state: Mapping[str, Any], strategy: Any, past: Sequence[Any]) -> None:
        self.plugin.create_syn_data(
            strategy.model, self.plugin.ewc_data, self.plugin.syn_data, set()
        )
        self.plugin.ewc_data[0].update(_param_data(state["anchor"]))
        self.plugin.ewc_data[1].update(_param_data(state["importance"]))
        self.plugin.syn_data["cum_trajectory"].update(_param_data(state["sum"]))


class _LwF(Baseline):
    """The teacher is the model after the last task, so a checkpoint holds it already."""

    def resume(self, state: Mapping[str, Any], strategy: Any, past: Sequence[Any]) -> None:
        for experience in past:
            self.plugin.lwf.post_adapt(strategy, experience)


class _Replay(Baseline):
    """Which examples are kept follows from the seed and the tasks so far."""

    def resume(self, state: Mapping[str, Any], strategy: Any, past: Sequence[Any]) -> None:
        for experience in past:
            self.plugin.storage_policy.post_adapt(strategy, experience)


class SeededBuffer(ExperienceBalancedBuffer):
    """Avalanche's buffer, equal for all experiences, whose draws depend on seed and task alone.

    Parameters
    ----------
    max_size : int
        Examples kept in all.
    seed : int
        The run's.
    """

    def __init__(self, max_size: int, seed: int) -> None:
        super().__init__(max_size, adaptive_size=True)
        self._seed = seed

    def post_adapt(self, agent: Any, exp: Any) -> None:
        """Take up examples of an experience."""
        with torch.random.fork_rng(devices=[]):
            generator = seeded_generator(self._seed, "replay", self._num_exps)
            torch.set_rng_state(generator.get_state())
            super().post_adapt(agent, exp)


class CopyingSI(SynapticIntelligencePlugin):
    """Synaptic intelligence that remembers values, not views.

    Avalanche 0.6 keeps ``parameter.detach().cpu().flatten()``, which on a CPU is the parameter
    itself: the change of a step is then always 0, no weight ever important, and SI the same as
    no method at all.
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the values the task begins with."""
        super().before_training_exp(strategy, **kwargs)
        _copy_in_place(self.ewc_data[0])

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the values a step begins with."""
        super().before_training_iteration(strategy, **kwargs)
        _copy_in_place(self.syn_data["old_theta"])

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Find which weights were important."""
        with warnings.catch_warnings():
            # It squares tensors by NumPy.
            warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)
            super().after_training_exp(strategy, **kwargs)


class SeededReplay(ReplayPlugin):
    """Replay of examples that a seed decides.

    Parameters
    ----------
    mem_size : int
        Examples kept in all.
    seed : int
        The run's.
    """

    def __init__(self, mem_size: int, seed: int) -> None:
        super().__init__(mem_size, storage_policy=SeededBuffer(mem_size, seed))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep examples of this task as well."""
        self.storage_policy.post_adapt(strategy, strategy.experience)


def _copy_in_place(record: Mapping[str, Any]) -> None:
    for data in record.values():
        data.data = data.data.clone()


def _param_data(values: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: ParamData(name, init_tensor=value.clone()) for name, value in values.items()}


_BASELINES: dict[str, Callable[[Mapping[str, Any], int], Baseline]] = {
    "ewc": lambda options, seed: _EWC(EWCPlugin(**options)),
    "si": lambda options, seed: _SI(CopyingSI(**options)),
    "lwf": lambda options, seed: _LwF(LwFPlugin(**options)),
    "replay": lambda options, seed: _Replay(SeededReplay(options["mem_size"], seed)),
}


def make_baselines(
    method: str, options: Mapping[str, Any], *, replay: int, seed: int
) -> list[Baseline]:
    """Make the plugins of Avalanche that a run has.

    Parameters
    ----------
    method : str
        Name of the method; one that is no baseline has no plugin of Avalanche's.
    options : mapping
        Its settings.
    replay : int
        Examples to replay beside it; 0 for none.
    seed : int
        Decides which.

    Returns
    -------
    list of Baseline
        At most the method's and one for replay.

    Examples
    --------
    >>> made = make_baselines("ewc", {"ewc_lambda": 1.0}, replay=10, seed=0)
    >>> [type(baseline.plugin).__name__ for baseline in made]
    ['EWCPlugin', 'SeededReplay']
    """
    made = [_BASELINES[method](options, seed)] if method in _BASELINES else []
    return [*made, _Replay(SeededReplay(replay, seed))] if replay else made
