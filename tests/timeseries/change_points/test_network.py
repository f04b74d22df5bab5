"""Do the auto-encoders compute what they should? A slow twin in torch, differentiated by it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparsewire.timeseries.change_points import kernels
from sparsewire.timeseries.change_points.network import Ensemble, Floats, Shape, draw

SHAPE = Shape(n_channels=2, window=6, gap=4, n_lags=5, n_units=7, skips=(1, 3, 7))


def samples(n: int, shape: Shape = SHAPE) -> Floats:
    return np.random.default_rng(1).normal(size=(n, shape.n_channels))


def twin_cell(p: dict[str, Tensor], cell: str, skip: int, inputs: Tensor) -> Tensor:
    units = p[f"{cell}.skip"].shape[0]
    past: list[Tensor] = []
    state = torch.zeros(units, dtype=torch.float64)
    for t, x in enumerate(inputs):
        before = past[t - 1] if t else torch.zeros(units, dtype=torch.float64)
        back = past[t - skip] if t >= skip else torch.zeros(units, dtype=torch.float64)
        z = x @ p[f"{cell}.input"] + before @ p[f"{cell}.recurrent"] + p[f"{cell}.bias"]
        i, f, g, o = torch.split(z, units)
        i, f, o = (torch.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        state = f * state + i * torch.tanh(g)
        look = torch.sigmoid(back @ p[f"{cell}.skip"] + p[f"{cell}.skip_bias"])
        mix = p[f"{cell}.mix"]
        past.append(mix * o * torch.tanh(state) + (1 - mix) * look)
    return torch.stack(past)


def twin_loss(flat: Tensor, shape: Shape, skip: int, observed: Tensor, lags: Tensor) -> Tensor:
    sizes = [int(np.prod(dims)) for _, dims in shape.blocks()]
    pieces = zip(shape.blocks(), torch.split(flat, sizes), strict=True)
    p = {name: piece.view(dims) for (name, dims), piece in pieces}
    code = twin_cell(p, "encoder", skip, observed)[-1]
    decoded = twin_cell(p, "decoder", skip, code.expand(shape.window, -1))
    output = (decoded.flatten() @ p["output"] + p["output_bias"]).view(shape.window, -1)
    output = output + torch.einsum("ij,ijk->ik", p["lags"], lags) + p["lags_bias"][:, None]
    return F.mse_loss(output, observed)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_losses_and_gradients_are_those_of_a_slow_twin(scale: float) -> None:
    ensemble = Ensemble(SHAPE, seed=3)
    # Away from their first values, biases and mixes matter too; large weights cut gates off.
    ensemble.members += scale * np.random.default_rng(0).normal(size=ensemble.members.shape) / 3
    observed, lags = ensemble.windows(samples(SHAPE.span + 2))
    found = ensemble.losses(observed, lags)
    assert found.shape == (3, 3)
    skips = np.array(SHAPE.skips)
    for n in range(3):
        slopes = kernels.gradients(ensemble.members, skips, SHAPE.n_units, observed[n], lags[n])
        for k, skip in enumerate(SHAPE.skips):
            flat = torch.tensor(ensemble.members[k], requires_grad=True)
            loss = twin_loss(flat, SHAPE, skip, torch.tensor(observed[n]), torch.tensor(lags[n]))
            loss.backward()  # type: ignore[no-untyped-call]
            assert flat.grad is not None
            np.testing.assert_allclose(found[k, n], loss.item(), rtol=1e-12)
            np.testing.assert_allclose(slopes[k], flat.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_training_makes_plain_steps_of_gradient_descent_in_the_given_order() -> None:
    ensemble = Ensemble(SHAPE, seed=3)
    expected, skips = ensemble.members.copy(), np.array(SHAPE.skips)
    observed, lags = ensemble.windows(samples(SHAPE.span + 2))
    order = np.array([2, 0, 0, 1])
    for n in order:
        slope = kernels.gradients(expected, skips, SHAPE.n_units, observed[n], lags[n])
        expected -= 0.01 * slope
    ensemble.train(observed, lags, order, 0.01)
    np.testing.assert_allclose(ensemble.members, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [1e2, 1e6])
def test_training_on_enormous_samples_converges_instead_of_overflowing(size: float) -> None:
    ensemble = Ensemble(SHAPE, seed=0)
    observed, lags = ensemble.windows(size * samples(SHAPE.span))
    before = ensemble.losses(observed, lags)
    ensemble.train(observed, lags, np.zeros(200, dtype=np.int64), 0.001)
    assert (ensemble.losses(observed, lags) < 1e-3 * before).all()


def test_aligned_lags_end_a_gap_before_their_sample() -> None:
    time = np.repeat(np.arange(20.0)[:, np.newaxis], 2, axis=1)
    observed, lags = Ensemble(SHAPE, seed=0).windows(time)
    assert len(observed) == len(lags) == 20 - SHAPE.span + 1
    np.testing.assert_array_equal(observed[-1, :, 0], np.arange(14.0, 20.0))
    np.testing.assert_array_equal(lags[..., -1, :], observed - SHAPE.gap)
    np.testing.assert_array_equal(np.diff(lags, axis=2), 1.0)


def test_the_reference_pairs_the_oldest_sample_with_lags_that_contain_it() -> None:
    shape = Shape(n_channels=1, window=6, gap=4, n_lags=6, n_units=2, skips=(1,), aligned=False)
    observed, lags = Ensemble(shape, seed=0).windows(np.arange(15.0)[:, np.newaxis])
    assert observed[0, 0, 0] == 9.0
    assert lags[0, 0, :, 0].tolist() == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    assert lags[0, 5, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_initial_parameters_are_orthogonal_glorot_and_biased_to_remember() -> None:
    flat, at = draw(SHAPE, np.random.default_rng(0)), 0
    blocks = {}
    for name, dims in SHAPE.blocks():
        blocks[name] = flat[at : at + int(np.prod(dims))].reshape(dims)
        at += blocks[name].size
    assert at == len(flat) == SHAPE.n_parameters
    gates = blocks["encoder.recurrent"]
    np.testing.assert_allclose(gates @ gates.T, np.eye(7), atol=1e-12)
    assert np.abs(blocks["decoder.input"]).max() < np.sqrt(6 / 35)
    assert blocks["encoder.bias"].tolist() == [0.0] * 7 + [1.0] * 7 + [0.0] * 14
    assert blocks["encoder.mix"].tolist() == [0.5]
    assert not blocks["output_bias"].any()


def test_members_start_from_different_weights_and_a_seed_repeats_them() -> None:
    first, again, other = (Ensemble(SHAPE, seed=s).members for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first[0], first[1]).all()
    assert not np.isclose(first, other).all()
