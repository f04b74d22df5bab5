"""Sub-networks per task in Avalanche: which one answers, and who is told what."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sparsewire.continual.avalanche import (
    ConceptCellsPlugin,
    DSTMasksPlugin,
    IncrementalAccuracy,
)
from sparsewire.continual.drift import DriftDetector
from sparsewire.core.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from tests.continual.avalanche.helpers import (
    CLASSES,
    MultiHead,
    arrays,
    benchmark,
    mlp,
    strategy,
)

from avalanche.benchmarks.scenarios.online import split_online_stream  # isort: skip
from avalanche.training.plugins import SupervisedPlugin  # isort: skip

KINDS: dict[str, Any] = {
    "DSTMasks": lambda **s: DSTMasksPlugin(n_classes=CLASSES, update_interval=3, **s),
    "ConceptCells": lambda **s: ConceptCellsPlugin(n_classes=CLASSES, density=0.3, **s),
}


class Answers(SupervisedPlugin):
    """Keeps what evaluation sees: inputs, and the scores among all classes so far."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Tensor, Tensor, int]] = []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        plugin = strategy.plugins[0]
        number = strategy.experience.current_experience
        self.pairs.append((strategy.mb_x, plugin.class_scores, number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("routing", ["oracle", "max_softmax", "entropy"])
def test_the_routing_that_is_named_chooses_who_answers(kind: str, routing: str) -> None:
    answers = Answers()
    trained = strategy([KINDS[kind](routing=routing), answers], optimizer="sgd")
    bench = benchmark(task_labels=True)
    for experience in bench.train_stream:
        trained.train(experience)
    trained.eval(bench.test_stream)
    method: Any = trained.plugins[0].method
    assert len(answers.pairs) == 6
    for x, scores, number in answers.pairs:
        task = number if routing == "oracle" else None
        expected = method.class_scores(method.scores(x, routing, task))
        assert torch.equal(scores, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_oracle_nothing_is_forgotten(kind: str) -> None:
    metric = IncrementalAccuracy()
    trained = strategy([KINDS[kind](routing="oracle")], metrics=[metric], optimizer="adam")
    bench = benchmark(task_labels=True)
    for experience in bench.train_stream:
        trained.train(experience)
        trained.eval(bench.test_stream)
    assert metric.summary()["task_il"]["BWT"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("routing", ["oracle", "entropy"])
def test_evaluation_within_a_task_leaves_it_as_it_is(kind: str, routing: str) -> None:
    class Look(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            before = {n: v.clone() for n, v in strategy.model.state_dict().items()}
            strategy.eval(bench.test_stream)
            after = strategy.model.state_dict()
            assert all(torch.equal(after[name], value) for name, value in before.items())
            looks.append(strategy.plugins[0].method.current is not None)

    looks: list[bool] = []
    bench = benchmark(task_labels=True)
    trained = strategy([KINDS[kind](routing=routing), Look()], train_mb_size=20, train_epochs=1)
    for experience in bench.train_stream:
        trained.train(experience)
    assert looks == [True] * 6


def test_the_steps_of_a_task_are_batches_times_epochs() -> None:
    plugin = DSTMasksPlugin(routing="max_softmax", n_classes=CLASSES)
    trained = strategy([plugin], train_mb_size=8, train_epochs=3)
    trained.train(benchmark().train_stream[0])
    method: Any = plugin.method
    assert (method._step, method._steps) == (15, 15)


def test_an_online_task_has_the_steps_of_all_its_parts() -> None:
    plugin = DSTMasksPlugin(routing="max_softmax", n_classes=CLASSES)
    trained = strategy([plugin], train_mb_size=8, train_epochs=1)
    bench = benchmark()
    known = split_online_stream(bench.train_stream[:1], 8, access_task_boundaries=True, seed=0)
    trained.train(known)
    method: Any = plugin.method
    assert (method._step, method._steps) == (5, 5)
    hidden = split_online_stream(bench.train_stream[1:], 8, access_task_boundaries=False, seed=0)
    with pytest.raises(UnsupportedError, match="whose length this online stream does not tell"):
        trained.train(hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_an_oracle_without_labels_is_refused_before_a_task_is_lost(kind: str) -> None:
    trained = strategy([KINDS[kind](routing="oracle")])
    bench = benchmark(task_labels=False)
    trained.train(bench.train_stream[0])
    with pytest.raises(InvalidArgumentError, match=r"task 1 has \[0\]; build the benchmark with"):
        trained.train(bench.train_stream[1])
    assert trained.plugins[0].method.current is None


def test_heads_per_task_go_with_an_oracle_only() -> None:
    bench = benchmark(task_labels=True)
    with pytest.raises(UnsupportedError, match="MultiHead is told the task to choose its head"):
        strategy([KINDS["DSTMasks"](routing="entropy")], MultiHead()).train(bench.train_stream[0])
    metric = IncrementalAccuracy()
    trained = strategy([KINDS["DSTMasks"](routing="oracle")], MultiHead(), metrics=[metric])
    for experience in bench.train_stream:
        trained.train(experience)
        trained.eval(bench.test_stream)
    assert metric.summary()["task_il"]["BWT"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_routing_has_to_be_named_and_known(kind: str) -> None:
    with pytest.raises(TypeError, match="routing"):
        KINDS[kind]()
    with pytest.raises(InvalidArgumentError, match="routing must be one of oracle, max_softmax"):
        KINDS[kind](routing="best")


def swapping() -> tuple[Any, Any]:
    """Return a stream of one experience in whose second half labels have changed places."""
    X, y = arrays(600)
    y[300:] = (y[300:] + 3) % CLASSES
    return X, y


def test_a_detector_begins_a_cell_where_the_labels_change() -> None:
    torch.manual_seed(0)
    detector = DriftDetector(window=5)
    plugin = KINDS["ConceptCells"](routing="max_softmax", detector=detector)
    trained = strategy([plugin], train_epochs=1, train_mb_size=10)
    X, y = swapping()
    bench = benchmark(1)
    batches: list[int] = []

    class Watch(SupervisedPlugin):
        def after_forward(self, strategy: Any, **kwargs: Any) -> None:
            batches.append(len(strategy.plugins[0].method.tasks))

        def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            rows = zip(X.reshape(60, 10, -1), y.reshape(60, 10), strict=True)
            labels = torch.zeros(10, dtype=torch.int64)
            strategy.dataloader = [
                [torch.as_tensor(a), torch.as_tensor(b), labels] for a, b in rows
            ]

    trained.plugins.insert(1, Watch())
    trained.train(bench.train_stream[0])
    cells = plugin.method
    assert 30 <= batches.index(1) <= 35
    assert cells.tasks == [tuple(range(CLASSES))] * len(cells.tasks)
    assert cells.current == tuple(range(CLASSES))
    trained.train(bench.train_stream[0])  # a boundary that nobody looks at
    trained.eval(bench.test_stream)
    assert plugin.task_labels == [[]] * (len(cells.tasks) + 1)


def test_a_detector_and_an_oracle_exclude_each_other() -> None:
    with pytest.raises(InvalidArgumentError, match="no labels for concepts that a detector finds"):
        KINDS["ConceptCells"](routing="oracle", detector=DriftDetector())


def test_the_state_of_a_detector_goes_with_that_of_its_plugin() -> None:
    def trained_plugin(detector: DriftDetector | None) -> Any:
        plugin = KINDS["ConceptCells"](routing="entropy", detector=detector)
        strategy([plugin], mlp()).train(benchmark().train_stream[0])
        return plugin

    saved = trained_plugin(DriftDetector()).state_dict()
    fresh = trained_plugin(DriftDetector())
    fresh.load_state_dict(saved)
    assert fresh.detector.state_dict() == saved["detector"]
    assert saved["detector"] != DriftDetector().state_dict()  # it has seen batches
    with pytest.raises(CheckpointError, match="drift detector"):
        trained_plugin(None).load_state_dict(saved)
