"""The networks: what they compute, compared with slow and obvious versions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsewire.timeseries.forecasting.models import DLinear, NLinear, NSTransformer, Transformer
from sparsewire.timeseries.forecasting.models.layers import (
    Attention,
    Embedding,
    FeedForward,
    Stationarity,
    positions,
)
from sparsewire.timeseries.forecasting.models.linear import moving_average
from sparsewire.timeseries.forecasting.models.nstransformer import Projector

SMALL: dict[str, Any] = {"d_model": 8, "n_heads": 2, "d_ff": 16, "dropout": 0.0}


def windows(n: int = 3, length: int = 30, channels: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, length, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 5, 12, 40])
def test_the_moving_average_repeats_the_ends(length: int) -> None:
    x = torch.randn(2, 3, length, dtype=torch.float64)
    expected = np.zeros(x.shape)
    for i in range(length):
        taps = [min(max(j, 0), length - 1) for j in range(i - 12, i + 13)]
        expected[..., i] = x[..., taps].mean(-1)
    np.testing.assert_allclose(moving_average(x).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_dlinear_maps_trend_and_remainder_apart() -> None:
    torch.manual_seed(0)
    model, x = DLinear(30, 7, 2), windows()
    assert [tuple(p.shape) for p in model.parameters()] == [(7, 30), (7,)] * 2
    for channel in range(2):
        series = x[:, :, channel]
        trend = moving_average(series[:, None])[:, 0]
        seasonal_map, trend_map = model.seasonal.maps[0], model.trend.maps[0]
        expected = seasonal_map(series - trend) + trend_map(trend)
        torch.testing.assert_close(model(x)[:, :, channel], expected)


def test_individual_maps_see_their_own_channel_only() -> None:
    torch.manual_seed(0)
    model, x = DLinear(30, 7, 2, individual=True), windows()
    changed = x.clone()
    changed[:, :, 1] += 1
    before, after = model(x), model(changed)
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert not torch.equal(before[:, :, 1], after[:, :, 1])
    assert sum(p.numel() for p in model.parameters()) == 2 * 2 * (7 * 30 + 7)


def test_nlinear_follows_a_shift_of_level() -> None:
    torch.manual_seed(0)
    model, x = NLinear(30, 7, 2).double(), windows().double()
    shift = torch.tensor([100.0, -3.0], dtype=torch.float64)
    torch.testing.assert_close(model(x + shift), model(x) + shift)


def test_positions_are_sines_and_cosines_of_falling_rates() -> None:
    code = positions(9, 6)
    for step in range(9):
        for pair in range(3):
            angle = step / 10000 ** (2 * pair / 6)
            assert code[step, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-5)
            assert code[step, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def test_attention_computes_the_scaled_and_shifted_scores() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2).double()
    x, memory = windows(3, 5, 8, 1).double(), windows(3, 6, 8, 2).double()
    tau, delta = torch.rand(3, 1).double() + 0.5, torch.randn(3, 6).double()
    found = attention(x, memory, tau=tau, delta=delta)
    q, k, v = attention.query(x), attention.key(memory), attention.value(memory)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = torch.einsum("bld,bsd->bls", q[..., head], k[..., head])
        weights = ((scores * tau[:, :, None] + delta[:, None]) / 2).softmax(-1)
        heads.append(weights @ v[..., head])
    torch.testing.assert_close(found, attention.out(torch.cat(heads, -1)))


def test_causal_attention_sees_nothing_later() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x = windows(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = attention(x, x, causal=True), attention(changed, changed, causal=True)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_the_value_embedding_wraps_around() -> None:
    torch.manual_seed(0)
    embedding = Embedding(2, 0, 8, 30, 0.0)
    x = windows()
    embedded = embedding(x, None) - embedding.positions
    weight = embedding.value.weight
    for step in (0, 13, 29):
        near = torch.stack([x[:, (step + j) % 30] for j in (-1, 0, 1)], dim=2)
        expected = torch.einsum("ncj,dcj->nd", near, weight)
        torch.testing.assert_close(embedded[:, step], expected)


def test_the_feed_forward_net_works_step_by_step() -> None:
    torch.manual_seed(0)
    net, x = FeedForward(8, 16, 0.0), windows(2, 5, 8)
    hidden = F.gelu(x @ net.inner.weight.T + net.inner.bias)
    torch.testing.assert_close(net(x), hidden @ net.outer.weight.T + net.outer.bias)


@pytest.mark.parametrize("kind", [Transformer, NSTransformer])
@pytest.mark.parametrize("n_time_features", [0, 4])
def test_transformers_map_windows_to_forecasts(kind: type[nn.Module], n_time_features: int) -> None:
    model = kind(30, 7, 2, n_time_features=n_time_features, **SMALL)
    marks = windows(3, 37, n_time_features) if n_time_features else None
    out = model(windows(), marks)
    assert out.shape == (3, 7, 2)
    torch.autograd.backward(out.square().mean())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_transformer_depends_on_the_times_to_forecast() -> None:
    torch.manual_seed(0)
    model = Transformer(30, 7, 2, n_time_features=4, **SMALL).eval()
    x, marks = windows(), windows(3, 37, 4)
    later = marks.clone()
    later[:, -1] += 1
    before, after = model(x, marks), model(x, later)
    # The decoder is causal: only the last step may change.
    torch.testing.assert_close(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_the_decoder_sees_half_of_the_window_by_default() -> None:
    assert Transformer(96, 24, 1, **SMALL).label_size == 48
    assert Transformer(36, 24, 1, **SMALL).label_size == 18


def test_a_stationary_transformer_without_factors_follows_level_and_scale() -> None:
    torch.manual_seed(0)
    model = NSTransformer(30, 7, 2, **SMALL).eval().double()
    for projector in (model.tau, model.delta):  # tau 1 and delta 0: plain attention
        last = projector.perceptron[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
    x = windows().double() * 50
    shifted = model(3 * x + 1000)
    torch.testing.assert_close(shifted, 3 * model(x) + 1000, rtol=1e-4, atol=1e-2)
    plain = Stationarity(torch.ones(3, 1).double(), torch.zeros(3, 30).double())
    mean, scale = x.mean(1, keepdim=True), (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    inner = model.transformer.translate((x - mean) / scale, None, plain)
    torch.testing.assert_close(model(x), inner * scale + mean)


def test_the_projector_sees_window_and_statistic() -> None:
    torch.manual_seed(0)
    projector = Projector(30, 2, [8, 4], 5)
    x, statistic = windows(), torch.randn(3, 1, 2)
    assert projector(x, statistic).shape == (3, 5)
    assert not torch.allclose(projector(x, statistic), projector(x, statistic + 1))
    assert not torch.allclose(projector(x, statistic), projector(x + 1, statistic))


def test_a_constant_window_gives_a_finite_forecast() -> None:
    model = NSTransformer(30, 7, 2, **SMALL).eval()
    assert model(torch.full((3, 30, 2), 5.0)).isfinite().all()
