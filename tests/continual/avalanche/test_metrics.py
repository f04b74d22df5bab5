"""Accuracies of both kinds from one evaluation, against hand counts and Avalanche's own metrics."""

from typing import Any

import numpy as np
import pytest
import torch

from sparsewire.continual.avalanche import (
    DSTMasksPlugin,
    IncrementalAccuracy,
    SpaceNetPlugin,
    SparsityMetrics,
)
from sparsewire.continual.measures import average_accuracy, backward_transfer
from sparsewire.core.errors import InvalidArgumentError
from tests.continual.avalanche.helpers import CLASSES, MultiHead, benchmark, mlp, strategy

from avalanche.benchmarks.scenarios.online import split_online_stream  # isort: skip
from avalanche.evaluation.metrics import bwt_metrics, accuracy_metrics  # isort: skip

EXPERIENCE = "{}/eval_phase/test_stream/Task{:03d}/Exp{:03d}"


def counted(model: Any, experience: Any, classes: list[int]) -> float:
    """Return the accuracy among some classes, example by example."""
    hits = []
    model.eval()
    for i in range(len(experience.dataset)):
        x, y = experience.dataset[i][0], experience.dataset[i][1]
        logits = model(x.unsqueeze(0))[0].tolist()
        hits.append(max(classes, key=logits.__getitem__) == int(y))
    return sum(hits) / len(hits)


@pytest.mark.parametrize("task_labels", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_both_accuracies_are_what_one_counts_by_hand(sparse: bool, task_labels: bool) -> None:
    metric = IncrementalAccuracy()
    plugins = [SpaceNetPlugin()] if sparse else []
    trained = strategy(plugins, metrics=[metric])
    bench = benchmark(task_labels=task_labels)
    for task, experience in enumerate(bench.train_stream):
        trained.train(experience)
        emitted = trained.eval(bench.test_stream)
        seen = list(range(2 * task + 2))
        for number, test in enumerate(bench.test_stream):
            label = number if task_labels else 0
            name = EXPERIENCE.format("ClassIL_Acc_Exp", label, number)
            assert emitted[name] == counted(trained.model, test, seen)
            assert metric.matrix("class_il")[task, : task + 1] == pytest.approx(
                [counted(trained.model, e, seen) for e in bench.test_stream[: task + 1]]
            )
            if number <= task or not sparse:
                name = EXPERIENCE.format("TaskIL_Acc_Exp", label, number)
                own = test.classes_in_this_experience
                assert emitted[name] == counted(trained.model, test, list(own))
        stream = np.mean([counted(trained.model, e, seen) for e in bench.test_stream])
        assert emitted["ClassIL_Acc_Stream/eval_phase/test_stream"] == pytest.approx(stream)


def test_summaries_agree_with_the_metrics_of_avalanche() -> None:
    metric = IncrementalAccuracy()
    theirs = [*accuracy_metrics(experience=True, stream=True), *bwt_metrics(stream=True)]
    trained = strategy([SpaceNetPlugin()], metrics=[metric, *theirs], train_epochs=4)
    bench = benchmark()
    trained.eval(bench.test_stream)
    for experience in bench.train_stream:
        trained.train(experience)
        emitted = trained.eval(bench.test_stream)
    summary = metric.summary()
    matrix = metric.matrix("class_il")
    for number in range(3):
        name = EXPERIENCE.format("Top1_Acc_Exp", 0, number)
        assert matrix[2, number] == pytest.approx(emitted[name])
    assert summary["class_il"]["ACC"] == pytest.approx(
        emitted["Top1_Acc_Stream/eval_phase/test_stream/Task000"]
    )
    assert summary["class_il"]["BWT"] == pytest.approx(emitted["StreamBWT/eval_phase/test_stream"])
    assert summary["class_il"]["ACC"] == average_accuracy(matrix)
    assert summary["class_il"]["BWT"] == backward_transfer(matrix)
    assert summary["task_il"]["BWT"] == 0.0  # strict isolation
    expected = np.mean([matrix[i, i + 1] - metric.baseline("class_il")[i + 1] for i in range(2)])
    assert summary["class_il"]["FWT"] == pytest.approx(expected)


def test_tasks_that_were_not_evaluated_are_unknown() -> None:
    metric = IncrementalAccuracy()
    trained = strategy([SpaceNetPlugin()], metrics=[metric])
    bench = benchmark()
    for task, experience in enumerate(bench.train_stream):
        trained.train(experience)
        trained.eval(bench.test_stream[: task + 1])
    known = ~np.isnan(metric.matrix("task_il"))
    assert np.array_equal(known, np.tri(3, dtype=bool))
    assert np.isnan(metric.baseline("task_il")).all()
    assert np.isnan(metric.summary()["task_il"]["FWT"])
    with pytest.raises(InvalidArgumentError, match="kind must be one of class_il, task_il"):
        metric.matrix("domain_il")  # type: ignore[arg-type]


def test_the_training_stream_does_not_enter_the_matrix() -> None:
    metric = IncrementalAccuracy()
    trained = strategy([], metrics=[metric])
    bench = benchmark()
    trained.train(bench.train_stream[0])
    trained.eval(bench.train_stream)
    assert np.isnan(metric.matrix("class_il")).all()
    trained.eval(bench.test_stream)
    assert not np.isnan(metric.matrix("class_il")).any()


def test_parts_of_an_online_stream_count_as_one_task() -> None:
    metric = IncrementalAccuracy()
    trained = strategy([SpaceNetPlugin()], metrics=[metric], train_epochs=1)
    bench = benchmark()
    stream = split_online_stream(bench.train_stream, 8, access_task_boundaries=True, seed=0)
    for experience in stream:
        trained.train(experience)
    trained.eval(bench.test_stream)
    assert metric.matrix("class_il").shape == (3, 3)
    assert not np.isnan(metric.matrix("class_il")[2]).any()


def test_an_oracle_has_its_name_in_the_metric() -> None:
    bench = benchmark(task_labels=True)
    plugin = DSTMasksPlugin(routing="oracle", n_classes=CLASSES)
    for trained in (
        strategy([plugin], metrics=[IncrementalAccuracy()]),
        strategy([SpaceNetPlugin()], MultiHead(), metrics=[IncrementalAccuracy()]),
    ):
        trained.train(bench.train_stream[0])
        emitted = trained.eval(bench.test_stream)
        assert "ClassIL_Acc_Stream(oracle)/eval_phase/test_stream" in emitted
        assert "ClassIL_Acc_Stream/eval_phase/test_stream" not in emitted
        assert "TaskIL_Acc_Stream/eval_phase/test_stream" in emitted


def test_ownership_memory_and_flops_are_those_of_the_method() -> None:
    metric = SparsityMetrics()
    plugin = SpaceNetPlugin()
    trained = strategy([plugin], metrics=[metric])
    bench = benchmark()
    for task, experience in enumerate(bench.train_stream):
        emitted = trained.train(experience)
        method = plugin.method
        for layer, owner in method.owners().items():
            counts = [emitted[f"Ownership/{layer}/Task{t:03d}"] for t in range(task + 1)]
            assert counts == [int((owner == t + 1).sum()) for t in range(task + 1)]
            assert emitted[f"Connections/{layer}"] == sum(counts) == method.connections()[layer]
        assert emitted["Memory/weights"] == sum(method.connections().values())
        assert emitted["Memory/dense_weights"] == 12 * 30 + 30 * 30 + 30 * 6
        assert emitted["FLOPs/sparse"] == 2 * sum(method.connections().values())
        assert emitted["FLOPs/dense"] == 2 * emitted["Memory/dense_weights"]
        assert metric.result() == {name: emitted[name] for name in metric.result()}


def test_a_strategy_without_a_sparse_plugin_has_no_sparsity() -> None:
    metric = SparsityMetrics()
    trained = strategy([], mlp(), metrics=[metric])
    assert trained.train(benchmark().train_stream[0]) == {}
    assert metric.result() == {}


def test_a_model_with_heads_reports_no_flops() -> None:
    metric = SparsityMetrics()
    trained = strategy([SpaceNetPlugin()], MultiHead(), metrics=[metric])
    trained.train(benchmark(task_labels=True).train_stream[0])
    assert "Connections/features.0" in metric.result()
    assert not [name for name in metric.result() if name.startswith("FLOPs")]


def test_evaluation_before_training_is_among_all_classes() -> None:
    metric = IncrementalAccuracy()
    trained = strategy([SpaceNetPlugin()], metrics=[metric])
    bench = benchmark()
    trained.eval(bench.test_stream)
    expected = [counted(trained.model, e, list(range(CLASSES))) for e in bench.test_stream]
    torch.manual_seed(1)
    trained.train(bench.train_stream)
    assert metric.baseline("class_il") == pytest.approx(expected)
