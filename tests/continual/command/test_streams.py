"""Images and tasks: scaled, split and permuted as promised, and seen alike by both sides."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsewire.continual.command.benchmarks import BENCHMARKS
from sparsewire.continual.command.methods import METHODS, find_method
from sparsewire.continual.command.networks import dense_flops, make_network
from sparsewire.continual.command.settings import resolve
from sparsewire.continual.command.streams import Images, load_images, make_stream
from sparsewire.core.errors import InvalidArgumentError


def toy() -> tuple[Images, list[int]]:
    x = torch.arange(24.0).reshape(6, 1, 2, 2)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    return Images((x, y), (x + 100, y)), [2, 0, 1]


def test_digits_keep_a_fifth_of_each_class_for_testing() -> None:
    images = load_images("digits")
    train, test = (np.bincount(part[1]) for part in (images.train, images.test))
    assert (test == (train + test) // 5).all()
    assert abs(float(images.train[0].mean())) < 1e-6
    assert float(images.train[0].std()) == pytest.approx(1)


def test_mnist_is_scaled_as_customary(data_dir: Path) -> None:
    images = load_images("mnist")
    assert images.train[0].shape == (60000, 1, 28, 28)
    background = float(images.train[0].min())
    assert background == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


def test_tasks_follow_the_order_of_classes() -> None:
    images, order = toy()
    stream = make_stream(images, order, 3)
    assert stream.tasks == [(2,), (0,), (1,)]
    x, y = stream.examples(0)
    assert y.tolist() == [2, 2]
    assert x[0].flatten().tolist() == [108, 109, 110, 111]
    assert stream.examples(0, test=False)[0][0, 0, 0, 0] == 8


@pytest.mark.parametrize("permuted", [False, True])
def test_avalanche_trains_on_the_same_examples(permuted: bool) -> None:
    images, order = toy()
    stream = make_stream(images, range(3) if permuted else order, 3, permuted=permuted, seed=1)
    for task, experience in enumerate(stream.experiences()):
        x, y = stream.examples(task, test=False)
        assert sorted(experience.classes_in_this_experience) == sorted(stream.tasks[task])
        ours = sorted((int(label), pixels.tolist()) for pixels, label in zip(x, y, strict=True))
        assert sorted((label, pixels.tolist()) for pixels, label, _ in experience.dataset) == ours


def test_permuted_tasks_have_their_own_pixels_and_labels() -> None:
    images, _ = toy()
    stream = make_stream(images, range(3), 4, permuted=True, seed=0)
    assert stream.tasks == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    assert stream.n_classes == 12
    for task in range(4):
        x, y = stream.examples(task)
        assert y.tolist() == [3 * task + label for label in (0, 1, 2, 0, 1, 2)]
        assert torch.equal(x.flatten(1).sort(dim=1).values, images.test[0].flatten(1))
    seeded = [make_stream(images, range(3), 4, permuted=True, seed=s) for s in (0, 1)]
    assert torch.equal(seeded[0].examples(3)[0], stream.examples(3)[0])
    assert not all(torch.equal(seeded[1].examples(t)[0], stream.examples(t)[0]) for t in range(4))


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("method", METHODS)
def test_settings_of_every_benchmark_are_settings_of_its_methods(
    benchmark: str, method: str
) -> None:
    settings = resolve(benchmark, method, seed=0)
    assert settings.options.keys() == find_method(method).settings().keys()
    assert not settings.differences(settings.as_plain())


def test_spacenet_on_mnist_has_the_budget_of_the_released_script() -> None:
    settings = resolve("split-mnist", "spacenet", seed=0)
    positions = (784 * 80, 80 * 80, 80 * 2)
    counts = [round(d * n) for d, n in zip(settings.options["density"], positions, strict=True)]
    assert counts == [10_000, 1_640, 80]


def test_networks_have_the_shapes_of_the_specification() -> None:
    cnn = make_network("cnn", (3, 32, 32), [64, 128, 256, 2048, 2048], 10)
    assert sum(p.numel() for p in cnn.parameters() if p.ndim > 1) == 23_459_520
    assert dense_flops(cnn, torch.zeros(2, 3, 32, 32)) / 2 == pytest.approx(124.9e6, rel=1e-3)
    mlp = make_network("mlp", (1, 28, 28), [400, 400], 10)
    assert dense_flops(mlp, torch.zeros(2, 1, 28, 28)) == 2 * 477_600


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    nets = [make_network("mlp", (1, 8, 8), [5], 10, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (next(net.parameters()).detach() for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert float(first.abs().max()) <= (6 / (64 + 5)) ** 0.5


def test_a_network_refuses_widths_that_do_not_fit() -> None:
    with pytest.raises(InvalidArgumentError, match="five numbers"):
        make_network("cnn", (3, 32, 32), [4, 4], 10)
