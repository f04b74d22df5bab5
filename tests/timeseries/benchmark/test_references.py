"""Published numbers: whether all are there, and what can be recomputed."""

import pytest
from torch import nn

from sparsewire import datasets
from sparsewire.timeseries.benchmark.references import (
    DLINEAR_ERRORS,
    DLINEAR_LEARNING_RATE,
    DLINEAR_LOOK_BACK,
    REPEAT_LAST_ERRORS,
    RESNET_ACCURACY,
    counted_windows,
    resnet_macs,
)
from sparsewire.timeseries.protocols import ltsf_protocol


def test_every_panel_of_the_archives_is_listed() -> None:
    # UnitTest is a sample of the file format, not one of the archives' problems.
    assert set(RESNET_ACCURACY) == set(datasets.names("panel")) - {"unittest"}
    assert all(value is None or 0.7 < value <= 1 for value in RESNET_ACCURACY.values())


def test_every_horizon_of_the_protocol_is_listed() -> None:
    for table in (DLINEAR_ERRORS, REPEAT_LAST_ERRORS):
        for data, errors in table.items():
            assert tuple(errors) == ltsf_protocol(data).horizons
    assert set(DLINEAR_ERRORS) == set(DLINEAR_LOOK_BACK) == set(DLINEAR_LEARNING_RATE)


@pytest.mark.parametrize("n_channels", [1, 6])
def test_macs_are_the_weights_of_the_published_convolutions(n_channels: int) -> None:
    widths = [(n_channels, 64), (64, 128), (128, 128)]
    layers = [
        nn.Conv1d(n_in if place == 0 else n_out, n_out, taps, bias=False)
        for n_in, n_out in widths
        for place, taps in enumerate((8, 5, 3))
    ]
    layers += [nn.Conv1d(n_in, n_out, 1, bias=False) for n_in, n_out in widths[:2]]
    assert resnet_macs(n_channels) == sum(layer.weight.numel() for layer in layers)


def test_full_batches_of_windows_are_counted() -> None:
    assert [counted_windows(n, 32) for n in (31, 32, 33, 170)] == [0, 32, 32, 160]
