"""Plugins in Avalanche's loop: what stays, what composes, where tasks begin and end."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsewire.continual.avalanche import (
    AFAFPlugin,
    AFAFStrategy,
    ConceptCellsStrategy,
    DSTMasksStrategy,
    SpaceNetPlugin,
    SpaceNetStrategy,
    SparsePlugin,
    find_plugin,
)
from sparsewire.continual.avalanche._experiences import Batches
from sparsewire.core.errors import (
    InfeasibleDensityError,
    InvalidArgumentError,
    StateError,
    UnsupportedError,
)
from tests.continual.avalanche.helpers import (
    CLASSES,
    Convolutional,
    Growing,
    MultiHead,
    arrays,
    benchmark,
    mlp,
    owned_weights,
    same_where_owned,
    strategy,
)

from avalanche.benchmarks import class_incremental_benchmark  # isort: skip
from avalanche.benchmarks.scenarios.online import split_online_stream  # isort: skip
from avalanche.benchmarks.utils import as_classification_dataset  # isort: skip
from avalanche.training.plugins import (  # isort: skip
    EWCPlugin,
    GDumbPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
    SupervisedPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.supervised import JointTraining  # isort: skip

PARTNERS: dict[str, Callable[[], Any]] = {
    "Replay": lambda: ReplayPlugin(mem_size=20),
    "EWC": lambda: EWCPlugin(ewc_lambda=1.0),
    "SI": lambda: SynapticIntelligencePlugin(si_lambda=1.0),
    "LwF": lambda: LwFPlugin(alpha=1.0, temperature=2.0),
    "MAS": lambda: MASPlugin(),
}


class Vandal(SupervisedPlugin):
    """Writes into all parameters at one place of the loop, and into their gradients."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self._hook = hook

    def _break(self, strategy: Any) -> None:
        with torch.no_grad():
            for parameter in strategy.model.parameters():
                parameter.add_(1.0)
                if parameter.grad is not None:
                    parameter.grad.add_(1.0)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self._hook == "after_backward":
            self._break(strategy)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        if self._hook == "after_update":
            self._break(strategy)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self._hook == "after_training_iteration":
            self._break(strategy)


def train_and_check_frozen(bench: Any, trained: Any) -> SparsePlugin:
    """Train on all tasks and check after each that what earlier ones own has not changed."""
    kept: list[dict[str, Tensor]] = []
    for experience in bench.train_stream:
        trained.train(experience)
        trained.eval(bench.test_stream)
        plugin = find_plugin(trained, SparsePlugin)
        for tasks, before in enumerate(kept, start=1):
            assert same_where_owned(before, plugin, tasks)
        kept.append(owned_weights(plugin))
    classes = [tuple(sorted(e.classes_in_this_experience)) for e in bench.train_stream]
    assert plugin.method.tasks == classes
    return plugin


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("strict", [True, False])
def test_frozen_weights_keep_every_bit(optimizer: str, strict: bool) -> None:
    trained = strategy([SpaceNetPlugin(strict=strict)], optimizer=optimizer)
    train_and_check_frozen(benchmark(), trained)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context")  # SI, with numpy 2
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("first", [True, False])
def test_frozen_weights_keep_every_bit_beside_other_plugins(partner: str, first: bool) -> None:
    plugins = [SpaceNetPlugin(), PARTNERS[partner]()]
    trained = strategy(plugins if first else plugins[::-1], optimizer="adam")
    train_and_check_frozen(benchmark(), trained)


@pytest.mark.parametrize("hook", ["after_backward", "after_update", "after_training_iteration"])
@pytest.mark.parametrize("first", [True, False])
def test_frozen_weights_survive_a_plugin_that_writes_into_them(hook: str, first: bool) -> None:
    plugins = [SpaceNetPlugin(), Vandal(hook)]
    trained = strategy(plugins if first else plugins[::-1])
    plugin = train_and_check_frozen(benchmark(), trained)
    for name, owner in plugin.method.owners().items():
        weight = plugin.method.model.get_parameter(f"{name}.weight")
        assert not bool(weight[owner == 0].any())


@pytest.mark.parametrize("make", [mlp, Convolutional])
def test_strict_logits_of_old_classes_keep_every_bit(make: Callable[[], nn.Module]) -> None:
    model, x = make(), torch.as_tensor(arrays()[0])
    trained = strategy([EWCPlugin(1.0), SpaceNetPlugin(), ReplayPlugin(20)], model)
    before: list[Tensor] = []
    bench = benchmark()
    for task, experience in enumerate(bench.train_stream):
        trained.train(experience)
        trained.eval(bench.test_stream)
        logits = model.eval()(x).detach()
        for old, known in enumerate(before):
            assert torch.equal(logits[:, 2 * old : 2 * old + 2], known[:, 2 * old : 2 * old + 2])
        before.append(logits)
        assert len(before) == task + 1


@pytest.mark.parametrize("make", [mlp, Growing])
def test_benchmarks_without_task_labels_and_with_sets_of_classes_work(
    make: Callable[[], nn.Module],
) -> None:
    X, y = arrays()
    data = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    data.targets = y.tolist()  # type: ignore[attr-defined]
    sets = {name: as_classification_dataset(data) for name in ("train", "test")}
    bench = class_incremental_benchmark(sets, num_experiences=3)
    train_and_check_frozen(bench, strategy([SpaceNetPlugin()], make()))


def test_a_classifier_that_grows_during_evaluation_keeps_its_owners() -> None:
    model = Growing()
    trained = strategy([SpaceNetPlugin()], model)
    bench = benchmark()
    trained.train(bench.train_stream[0])
    before = trained.plugins[0].method.connections()
    assert model.classifier.classifier.out_features == 2
    trained.eval(bench.test_stream)
    assert model.classifier.classifier.out_features == CLASSES
    trained.train(bench.train_stream[1])
    owner = trained.plugins[0].method.owners()["classifier.classifier"]
    assert owner.shape == (CLASSES, 30)
    assert int((owner == 1).sum()) == before["classifier.classifier"]


@pytest.mark.parametrize("partner", ["EWC", "MAS"])
def test_heads_of_other_tasks_keep_every_bit(partner: str) -> None:
    model = MultiHead()
    trained = strategy([SpaceNetPlugin(), PARTNERS[partner]()], model)
    bench = benchmark(task_labels=True)
    known: dict[str, Tensor] = {}
    for task, experience in enumerate(bench.train_stream):
        trained.train(experience)
        heads = {n: p.detach().clone() for n, p in model.classifier.classifiers.named_parameters()}
        for name, value in known.items():
            assert torch.equal(heads[name], value)
        known |= {n: p for n, p in heads.items() if n.startswith(f"{task}.")}
    assert {name.partition(".")[0] for name in known} == {"0", "1", "2"}
    assert sorted(trained.plugins[0].method.connections()) == ["features.0"]


def test_the_topology_is_rewired_between_epochs_only() -> None:
    for epochs in (1, 2, 4):
        trained = strategy([SpaceNetPlugin()], train_epochs=epochs)
        trained.train(benchmark().train_stream[0])
        assert trained.plugins[0].method.rewirings == epochs - 1


def test_no_rewiring_follows_an_early_stop() -> None:
    class Stop(SupervisedPlugin):
        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_epochs == 1:
                strategy.stop_training()

    for plugins in ([Stop(), SpaceNetPlugin()], [SpaceNetPlugin(), Stop()]):
        trained = strategy(plugins, train_epochs=5)
        trained.train(benchmark().train_stream[0])
        method: Any = find_plugin(trained, SpaceNetPlugin).method
        assert method.rewirings == 1
        assert method.tasks == [(0, 1)]


@pytest.mark.parametrize("size", [8, 7, 10])  # 40 examples per task: with and without a remainder
def test_online_parts_of_an_experience_are_one_task(size: int) -> None:
    bench = benchmark()
    trained = strategy([SpaceNetPlugin()], train_epochs=1)
    method, ends = None, 0
    stream = split_online_stream(bench.train_stream, size, access_task_boundaries=True, seed=0)
    for experience in stream:
        trained.train(experience)
        trained.eval(bench.test_stream)
        method = trained.plugins[0].method
        ends += method.current is None
        assert len(method.tasks) == ends
    assert method is not None
    assert method.tasks == [(0, 1), (2, 3), (4, 5)]
    assert ends == 3


def test_in_a_stream_that_hides_its_boundaries_new_labels_begin_a_task() -> None:
    trained = strategy([SpaceNetPlugin()], train_epochs=1)
    stream = split_online_stream(benchmark().train_stream, 10, access_task_boundaries=False, seed=0)
    trained.train(stream)
    method = trained.plugins[0].method
    assert method.tasks == [(0, 1), (2, 3)]
    assert method.current == (4, 5)
    trained.eval(benchmark().test_stream)


def test_examples_are_restricted_to_the_classes_of_their_task_label() -> None:
    class Watch(SupervisedPlugin):
        def __init__(self) -> None:
            super().__init__()
            self.allowed: list[set[int]] = []

        def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
            possible = (strategy.mb_output > -1e4).any(dim=0)
            self.allowed.append({*possible.nonzero().squeeze(1).tolist()})

    for labels, expected in ((True, [{0, 1}, {2, 3}]), (False, [{0, 1, 2, 3}] * 2)):
        watch = Watch()
        bench = benchmark(task_labels=labels)
        trained = strategy([SpaceNetPlugin(), watch], eval_mb_size=100)
        trained.train(bench.train_stream[:2])
        trained.eval(bench.test_stream)
        # The third task's label has not been trained: all classes so far are possible.
        assert watch.allowed == [*expected, {0, 1, 2, 3}]


@pytest.mark.parametrize("make", [mlp, Convolutional])
def test_evaluation_within_a_task_changes_nothing(make: Callable[[], nn.Module]) -> None:
    class Look(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            before = {name: value.clone() for name, value in strategy.model.state_dict().items()}
            strategy.eval(bench.test_stream)
            after = strategy.model.state_dict()
            looks.append(all(torch.equal(after[name], value) for name, value in before.items()))

    looks: list[bool] = []
    bench = benchmark()
    trained = strategy([SpaceNetPlugin(), Look()], make(), train_mb_size=20)
    trained.train(bench.train_stream)
    assert looks == [True] * 12


def test_allocation_depends_on_the_seed_and_not_on_the_order_of_the_data() -> None:
    def owners(torch_seed: int, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(torch_seed)
        trained = strategy([SpaceNetPlugin(seed=seed, rewire_fraction=0.0)])
        for experience in benchmark().train_stream:
            trained.train(experience)
        found: dict[str, Tensor] = trained.plugins[0].method.owners()
        return found

    first, second, other = owners(0, 4), owners(1, 4), owners(0, 5)
    # Which units are reserved depends on what was learnt; the first task's do not.
    for name in first:
        assert torch.equal(first[name] == 1, second[name] == 1)
    assert any(not torch.equal(first[name] == 1, other[name] == 1) for name in first)


def test_the_data_of_a_task_can_be_read_again_and_leave_the_global_generator_alone() -> None:
    experience = benchmark().train_stream[1]
    batches = Batches(experience, 16, torch.device("cpu"))
    state = torch.get_rng_state()
    once = [y for _, y in batches]
    again = [y for _, y in batches]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.cat(once), torch.cat(again))
    assert sorted(torch.cat(once).tolist()) == [2] * 20 + [3] * 20


def test_afaf_reuses_units_from_the_data_of_the_experience() -> None:
    trained = strategy([AFAFPlugin(select=0.3, reserve=0.5, reuse_from=1)])
    train_and_check_frozen(benchmark(), trained)


@pytest.mark.parametrize("replayed", [True, False])
def test_the_loss_sees_old_classes_only_where_they_are_replayed(replayed: bool) -> None:
    live: list[list[bool]] = []

    class Watch(SupervisedPlugin):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            if strategy.clock.train_exp_counter == 1:
                raw = strategy.model(strategy.mb_x)
                live.append((strategy.mb_output == raw).all(dim=0).tolist())

    others = [ReplayPlugin(20)] if replayed else []
    trained = strategy([SpaceNetPlugin(), Watch(), *others])
    trained.train(benchmark().train_stream[:2])
    assert live
    always = [all(column) for column in zip(*live, strict=True)]
    # In a single batch an old class may score its bias alone, by dead units.
    assert (always[0] and always[1]) == replayed
    assert always[2:4] == [True, True]


def test_joint_training_is_one_task_of_all_classes() -> None:
    model = mlp()
    trained = JointTraining(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        plugins=[SpaceNetPlugin(select=0.9)],
    )
    trained.evaluator.loggers = []
    trained.train(benchmark().train_stream)
    assert trained.plugins[0].method.tasks == [(0, 1, 2, 3, 4, 5)]


def test_a_strategy_that_replaces_its_model_is_refused() -> None:
    trained = strategy([GDumbPlugin(mem_size=20), SpaceNetPlugin()])
    bench = benchmark()
    trained.train(bench.train_stream[0])
    with pytest.raises(UnsupportedError, match="another model in the place of the one"):
        trained.train(bench.train_stream[1])


def test_labels_that_no_experience_has_announced_are_refused() -> None:
    class Smuggle(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            strategy.mbatch[1][0] = 5

    trained = strategy([SpaceNetPlugin(), Smuggle()])
    with pytest.raises(InvalidArgumentError, match=r"labels \[5\]"):
        trained.train(benchmark().train_stream[0])


def test_too_many_tasks_are_refused_before_the_network_changes() -> None:
    trained = strategy([SpaceNetPlugin(select=0.5)])
    bench = benchmark()
    trained.train(bench.train_stream[:2])
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    with pytest.raises(InfeasibleDensityError, match="task 2 needs 15 free units"):
        trained.train(bench.train_stream[2])
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_method_exists_from_the_first_experience_on() -> None:
    plugin = SpaceNetPlugin()
    with pytest.raises(StateError, match="train first"):
        _ = plugin.method
    trained = strategy([plugin])
    trained.eval(benchmark().test_stream)  # before training: the plain model
    trained.train(benchmark().train_stream[0])
    assert plugin.method.tasks == [(0, 1)]


def test_unknown_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="no argument 'densty'; its method takes density, select"):
        SpaceNetPlugin(densty=0.1)


def test_find_plugin_wants_exactly_one() -> None:
    plugin = SpaceNetPlugin()
    assert find_plugin(strategy([ReplayPlugin(5), plugin]), SparsePlugin) is plugin
    with pytest.raises(InvalidArgumentError, match="has 0 plugins of class SpaceNetPlugin"):
        find_plugin(strategy([]), SpaceNetPlugin)
    with pytest.raises(InvalidArgumentError, match="has 2 plugins of class SparsePlugin"):
        find_plugin(strategy([plugin, AFAFPlugin()]), SparsePlugin)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SpaceNetStrategy, {"select": 0.3}),
        (AFAFStrategy, {"select": 0.3, "reuse_from": 1}),
        (DSTMasksStrategy, {"routing": "max_softmax", "n_classes": CLASSES}),
        (ConceptCellsStrategy, {"routing": "entropy", "n_classes": CLASSES, "density": 0.3}),
    ],
)
def test_a_strategy_is_the_naive_one_with_its_plugin(kind: Any, settings: dict[str, Any]) -> None:
    def train(build: Any) -> Any:
        torch.manual_seed(0)
        model = mlp()
        trained = build(model, torch.optim.SGD(model.parameters(), lr=0.1))
        trained.evaluator.loggers = []
        for experience in benchmark().train_stream:
            trained.train(experience)
        return trained.model.state_dict()

    common: dict[str, Any] = {"train_mb_size": 8, "train_epochs": 2}
    own = train(lambda m, o: kind(model=m, optimizer=o, **common, **settings))
    plugin = kind.plugin_class(**settings)
    torch.manual_seed(0)
    model = mlp()
    naive = strategy([plugin], model, **common)
    naive.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for experience in benchmark().train_stream:
        naive.train(experience)
    for name, value in naive.model.state_dict().items():
        assert torch.equal(own[name], value)


def test_strategies_take_keywords_only_and_know_their_names() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument: selekt"):
        SpaceNetStrategy(model=model, optimizer=optimizer, selekt=0.1)
    replay = ReplayPlugin(5)
    trained = SpaceNetStrategy(model=model, optimizer=optimizer, plugins=[replay])
    assert trained.plugins[0] is replay
    assert isinstance(trained.plugins[1], SpaceNetPlugin)


def test_a_second_task_of_the_same_classes_is_learnt_beside_the_first() -> None:
    bench = benchmark(1)
    trained = strategy([SpaceNetPlugin(select=0.3)])
    trained.train(bench.train_stream[0])
    before = owned_weights(trained.plugins[0])
    trained.train(bench.train_stream[0])
    assert trained.plugins[0].method.tasks == [(0, 1, 2, 3, 4, 5)] * 2
    assert same_where_owned(before, trained.plugins[0], 1)
