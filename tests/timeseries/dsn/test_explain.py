"""Do explanations add up to what the network computes, and figures show what they are given?"""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from sparsewire.reporting.figures import save
from sparsewire.timeseries.dsn.explain import LearnedKernels
from sparsewire.timeseries.dsn.plots import class_activation_figure, receptive_field_figure
from tests.timeseries.dsn.helpers import small, waves


@pytest.mark.parametrize("unequal", [False, True])
def test_contributions_of_time_steps_add_up_to_the_logits(unequal: bool) -> None:
    X, y = waves(length=60, channels=2)
    series = [x[:, : 60 - i * unequal] for i, x in enumerate(X)]
    fitted = small().fit(series, y)
    found = fitted.class_activation(series)
    assert found.contributions.shape == (20, 2, 60)
    logits = np.nansum(found.contributions, axis=2) + found.intercepts
    np.testing.assert_allclose(softmax(logits, axis=1), fitted.predict_proba(series), atol=1e-5)
    lengths = (~np.isnan(found.contributions[:, 0])).sum(axis=1)
    assert lengths.tolist() == [one.shape[1] for one in series]


def test_learned_kernels_lie_where_the_masks_are() -> None:
    X, y = waves()
    fitted = small(n_epochs=12, density=0.3).fit(X, y)
    groups = fitted.receptive_field()
    assert [(g.block, g.group) for g in groups] == [(b, g) for b in range(2) for g in range(3)]
    assert groups[0].offsets.tolist() == [-1, 0, 1]
    assert groups[2].offsets.tolist() == list(range(-4, 5))
    masks = [conv.get_buffer("weight_mask") for _, conv in fitted.network_.region_convs]
    for group, mask in zip(groups, masks, strict=True):
        kernels = mask.flatten(0, 2).numpy()
        assert group.active.sum() * len(kernels) == pytest.approx(kernels.sum())
        for span, taps in zip(group.spans, kernels, strict=True):
            where = np.flatnonzero(taps)
            assert span == (where[-1] - where[0] + 1 if len(where) else 0)


def test_the_activation_figure_shows_every_channel_without_the_padding() -> None:
    series = np.random.default_rng(0).normal(size=(3, 20))
    contribution = np.append(np.linspace(-1, 2, 15), [np.nan] * 5)
    axes = class_activation_figure(series, contribution, label="a").axes[0]
    assert len(axes.lines) == len(axes.collections) == 3
    assert all(len(line.get_xdata()) == 15 for line in axes.lines)  # type: ignore[arg-type]
    assert axes.collections[0].get_clim() == (-2, 2)


def test_the_receptive_field_figure_has_a_panel_per_block_and_a_line_per_group(
    tmp_path: Path,
) -> None:
    X, y = waves()
    figure = receptive_field_figure(small().fit(X, y).receptive_field())
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]  # three groups and the zero
    save(figure, tmp_path / "field.png")
    assert (tmp_path / "field.png").read_bytes()[1:4] == b"PNG"


def test_kernels_without_an_active_tap_do_not_count_in_the_median() -> None:
    share = np.ones(3, dtype=np.float32)
    group = LearnedKernels(0, 0, np.arange(3), share, share, np.array([0, 0, 0, 3]))
    legend = receptive_field_figure([group]).axes[0].get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "3 taps, median span 3"
