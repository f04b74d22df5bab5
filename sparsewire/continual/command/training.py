"""How does one run go? Through Avalanche, task by task, with an evaluation after each.

All randomness of a task (order of the examples, Avalanche's own draws) comes from torch's global
generator, which is seeded from the run's seed and the number of the task and put back afterwards.
What a task learns therefore depends on nothing that happened before but on the state of network,
optimizer and method, and a run that is interrupted and continued equals one that was not, bit for
bit.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsewire.continual import avalanche as plugins
from sparsewire.continual.command import checkpoints
from sparsewire.continual.command.baselines import make_baselines
from sparsewire.continual.command.benchmarks import find_benchmark
from sparsewire.continual.command.evaluating import evaluate
from sparsewire.continual.command.methods import find_method
from sparsewire.continual.command.networks import dense_flops, make_network
from sparsewire.continual.command.runs import Results, Run
from sparsewire.continual.command.settings import Settings
from sparsewire.continual.command.streams import Images, Stream, load_images, make_stream
from sparsewire.continual.dst_masks import DSTMasks
from sparsewire.continual.subnetwork_method import SubnetworkMethod
from sparsewire.core.errors import TrainingDivergedError
from sparsewire.core.network import seeded_generator

# isort: split
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from avalanche.training.supervised import Naive

_REHEARSED = 256
"""Examples that a rehearsal shows to a method which looks at data before it allocates."""

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "nesterov": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


class Learner:
    """Network, optimizer, method and Avalanche's strategy of one run.

    Parameters
    ----------
    settings : Settings
        What to make.
    stream : Stream
        What is learnt.
    after_epoch : callable
        Called without arguments after each epoch.

    Attributes
    ----------
    model : nn.Module
        The network.
    strategy : Naive
        Avalanche's, with all plugins.
    """

    def __init__(
        self, settings: Settings, stream: Stream, after_epoch: Callable[[], object] = lambda: None
    ) -> None:
        self.settings = settings
        self.stream = stream
        self.experiences = stream.experiences()
        training = settings.training
        self.model = new_network(settings, stream)
        self._plugin = _sparse_plugin(settings, stream)
        self._baselines = make_baselines(
            settings.method, settings.options, replay=settings.replay, seed=settings.seed
        )
        # A sparse plugin asks how long a task is, which replay decides.
        used = [baseline.plugin for baseline in self._baselines]
        used += [] if self._plugin is None else [self._plugin]
        self.strategy = Naive(
            model=self.model,
            optimizer=new_optimizer(settings, self.model),
            train_mb_size=training["batch_size"],
            train_epochs=training["epochs"],
            eval_mb_size=1000,
            evaluator=_no_metrics,
            plugins=[*used, _AfterEpoch(after_epoch)],
        )

    @property
    def method(self) -> Any:
        """The sparse method; None for a baseline."""
        return None if self._plugin is None else self._plugin.method

    def train(self, task: int) -> None:
        """Learn a task.

        Raises
        ------
        TrainingDivergedError
            If it leaves weights that are not finite.
        """
        with _randomness_of(self.settings.seed, task):
            self.strategy.train(self.experiences[task], eval_streams=[])
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise TrainingDivergedError(
                f"task {task} of {self.settings.name} left weights that are not finite; lower "
                f"{' or '.join(['learning_rate', *_strength(self.settings)])} with --set."
            )

    def evaluate(self, n_learnt: int) -> dict[str, list[float | None]]:
        """Return the accuracies on the tasks learnt so far."""
        return evaluate(self.model, self.method, self.stream, n_learnt)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training has changed."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.strategy.optimizer.state_dict(),
            "method": None if self._plugin is None else self._plugin.state_dict(),
            "baselines": [baseline.state() for baseline in self._baselines],
        }

    def load_state_dict(self, state: Mapping[str, Any], n_learnt: int) -> None:
        """Continue after some finished tasks.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned then.
        n_learnt : int
            Tasks learnt by then.
        """
        strategy = self.strategy
        strategy.make_optimizer(reset_optimizer_state=True)  # as the first task would have done
        if self._plugin is not None:
            self._plugin.build(self.model, strategy.optimizer)
        self.model.load_state_dict(state["model"])
        strategy.optimizer.load_state_dict(state["optimizer"])
        if self._plugin is not None:
            self._plugin.load_state_dict(state["method"])
        strategy.clock.train_exp_counter = n_learnt
        past = self.experiences[:n_learnt]
        for baseline, content in zip(self._baselines, state["baselines"], strict=True):
            baseline.resume(content, strategy, past)


def _strength(settings: Settings) -> list[str]:
    """Return the settings that weigh a penalty, which can be too strong for a learning rate."""
    return [key for key in settings.options if key.endswith("_lambda")]


def new_network(settings: Settings, stream: Stream) -> nn.Module:
    """Return the network of a run, untrained."""
    return make_network(
        find_benchmark(settings.benchmark).network, stream.shape, settings.training["hidden"],
        stream.n_classes, seed=settings.seed,
    )  # fmt: skip


def new_optimizer(settings: Settings, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a run."""
    training = settings.training
    name = training["optimizer"]
    own = {} if name == "adam" else {"momentum": training["momentum"], "nesterov": name != "sgd"}
    return _OPTIMIZERS[name](
        model.parameters(), lr=training["learning_rate"], weight_decay=training["weight_decay"],
        **own,
    )  # fmt: skip


def new_stream(settings: Settings, images: Images | None = None) -> Stream:
    """Return the tasks of a run, of images that are loaded if they are not given."""
    benchmark = find_benchmark(settings.benchmark)
    return make_stream(
        load_images(benchmark.dataset) if images is None else images,
        settings.training["class_order"], settings.training["n_tasks"],
        permuted=benchmark.permuted, seed=settings.seed,
    )  # fmt: skip


def _no_metrics() -> Any:
    """Return Avalanche's evaluation without metrics: they are measured here."""
    return EvaluationPlugin(loggers=[BaseLogger()])


def _sparse_plugin(settings: Settings, stream: Stream) -> Any:
    kind = find_method(settings.method)
    if not kind.is_sparse:
        return None
    options: dict[str, Any] = {**settings.options, **kind.fixed, "seed": settings.seed}
    if "routing" in options:
        # Accuracies for all routings are measured here; this one would ask for task labels.
        options |= {"routing": "max_softmax", "n_classes": stream.n_classes}
    return getattr(plugins, kind.plugin)(**options)


class _AfterEpoch(SupervisedPlugin):
    """Tells somebody that an epoch is over."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self._tell()


@contextmanager
def _randomness_of(seed: int, task: int) -> Iterator[None]:
    """Seed the global generators, from which Avalanche draws, and put them back afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    generator = seeded_generator(seed, "examples", task)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(1)  # sums do not depend on the machine; nets this small lose none
            torch.set_rng_state(generator.get_state())
            random.seed(generator.initial_seed())
            np.random.seed(generator.initial_seed() % 2**32)  # noqa: NPY002
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def run_once(settings: Settings, logs: Path, *, command: str = "", progress: bool = False) -> Run:
    """Do a run, continue one that was interrupted, or find that it is finished.

    Parameters
    ----------
    settings : Settings
        The run.
    logs : pathlib.Path
        Folder of all runs.
    command : str, default=""
        Command line, to be kept with the settings.
    progress : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    Run
        Finished.

    Raises
    ------
    CheckpointError
        If the folder of the run holds one with other settings, or is damaged.
    InvalidArgumentError
        If data are missing or a setting is out of range.
    """
    run = Run.of(settings, logs)
    run.check()
    results = run.read_results()
    if results is not None and results.finished:
        return run
    from tqdm import tqdm

    stream = new_stream(settings)
    epochs = settings.training["epochs"]
    title = f"{settings.name}, seed {settings.seed}"
    with tqdm(total=epochs * len(stream.tasks), desc=title, disable=not progress) as bar:
        learner = Learner(settings, stream, bar.update)
        results = checkpoints.load(run, learner) or Results([list(task) for task in stream.tasks])
        bar.update(epochs * len(results.cpu_seconds))
        run.prepare(command)
        for task in range(len(results.cpu_seconds), len(stream.tasks)):
            _learn(learner, task, results)
            _keep(run, learner, results)
    return run


def _learn(learner: Learner, task: int, results: Results) -> None:
    """Learn one task and note how that went."""
    cpu, wall = time.process_time(), time.perf_counter()
    learner.train(task)
    results.cpu_seconds.append(time.process_time() - cpu)
    results.wall_seconds.append(time.perf_counter() - wall)
    rows = learner.evaluate(task + 1)
    results.task_il.append(rows.pop("task_il"))
    for routing, row in rows.items():
        if routing != "class_il":
            results.routings.setdefault(routing, []).append(row)
    results.class_il.append(rows[learner.settings.options.get("routing", "class_il")])


def _keep(run: Run, learner: Learner, results: Results) -> None:
    """Write down what there is: a checkpoint, or the end of the run."""
    _measure(learner, results)
    results.finished = len(results.cpu_seconds) == len(results.tasks)
    if not results.finished:
        checkpoints.save(run, learner, results)
    elif learner.method is not None:
        owners = learner.method.owners()
        run.write_owners({name: owner.cpu().numpy() for name, owner in owners.items()})
    run.write_results(results)
    if results.finished:
        run.checkpoint_file.unlink(missing_ok=True)


def _measure(learner: Learner, results: Results) -> None:
    """Note what the network costs."""
    method, model = learner.method, learner.model
    example = learner.stream.images.test[0][:1]
    results.dense_flops = float(dense_flops(model, example))
    results.flops = results.dense_flops
    results.dense_weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    if method is not None:
        results.connections = method.connections()
        results.memory = asdict(method.memory())
        learnt = range(len(results.cpu_seconds))
        if isinstance(method, SubnetworkMethod):  # a routing has to run every one of them
            results.flops = sum(method.flops(example, task) for task in learnt)
        else:
            results.flops = method.flops(example)
    options = learner.settings.options
    results.examples_stored = learner.settings.replay + options.get("mem_size", 0)


def rehearse(settings: Settings) -> None:
    """Allocate all tasks of a run without training, so that what cannot work is refused at once.

    Parameters
    ----------
    settings : Settings
        The run.

    Raises
    ------
    InvalidArgumentError
        If data are missing, a setting is out of range, or the network is too small for a task.
    UnsupportedError
        If the method cannot drive the network or the optimizer.

    Examples
    --------
    >>> from sparsewire.continual.command.settings import resolve
    >>> rehearse(resolve("split-digits", "spacenet", seed=0, changes={"select": 0.5}))
    Traceback (most recent call last):
    ...
    sparsewire.core.errors.InfeasibleDensityError: task 2 needs 100 free units in fc1, but only 0...
    """
    stream = new_stream(settings)
    plugin = _sparse_plugin(settings, stream)
    model = new_network(settings, stream)
    if plugin is None:
        return
    method = plugin.build(model, new_optimizer(settings, model))
    length = {"steps": 1} if isinstance(method, DSTMasks) else {}
    for task, classes in enumerate(stream.tasks):
        x, y = stream.examples(task, test=False)
        method.begin_task(classes, data=[(x[:_REHEARSED], y[:_REHEARSED])], **length)
        method.end_task()
