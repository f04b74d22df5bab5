"""Which time steps decided, and where do the learned kernels look?

Pooling, the last convolution and batch normalisation are all affine, so a logit is exactly a sum of
contributions of single time steps plus a constant: the class activation map needs no approximation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsewire.timeseries.classification.preparation import Series
from sparsewire.timeseries.classification.training import OUTPUT_BATCH, to_batch
from sparsewire.timeseries.dsn.network import DSNNetwork, pooling

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Activation:
    """Class activation map.

    Attributes
    ----------
    contributions : ndarray of shape (n_series, n_classes, longest), float32
        What each time step adds to the logit of each class; NaN beyond the end of a series.
    intercepts : ndarray of shape (n_classes,), float32
        The rest: logits are ``np.nansum(contributions, axis=2) + intercepts``.
    """

    contributions: Floats
    intercepts: Floats


@dataclass(frozen=True)
class LearnedKernels:
    """Where the active taps of one group of kernels lie.

    Attributes
    ----------
    block, group : int
        Which group, both counted from 0.
    offsets : ndarray of int64, shape (n_taps,)
        Time of each tap relative to the present sample.
    active : ndarray of shape (n_taps,)
        Share of the kernels whose tap is active.
    strength : ndarray of shape (n_taps,)
        Mean absolute weight of each tap over all kernels.
    spans : ndarray of int64, shape (n_kernels,)
        Samples from the first to the last active tap of each kernel; 0 if it has none.
    """

    block: int
    group: int
    offsets: npt.NDArray[np.int64]
    active: Floats
    strength: Floats
    spans: npt.NDArray[np.int64]


@torch.no_grad()
def class_activation(network: DSNNetwork, series: Series) -> Activation:
    """Return the contributions of all time steps of some series.

    Parameters
    ----------
    network : DSNNetwork
        In eval mode, on the CPU.
    series : Series
        As `Preparation.apply` returns them.
    """
    gain, intercepts = _affine(network)
    weights = gain[:, None] * network.head.weight
    maps = np.full((len(series), len(gain), series.values.shape[2]), np.nan, dtype=np.float32)
    for begin in range(0, len(series), OUTPUT_BATCH):
        rows = np.arange(begin, min(begin + OUTPUT_BATCH, len(series)))
        x, ends = to_batch(series, rows, torch.device("cpu"))
        shares = pooling(x, ends).mean(dim=-1).expand(len(rows), -1)
        features = network.features(x, ends).squeeze(2)
        found = torch.einsum("kc,bct,bt->bkt", weights, features, shares).numpy()
        for row, contribution in zip(rows, found, strict=True):
            end = series.lengths[row]
            maps[row, :, :end] = contribution[:, :end]
    return Activation(maps, intercepts.numpy())


def _affine(network: DSNNetwork) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the head's batch normalisation in eval mode."""
    norm: Any = network.head_norm
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - gain * norm.running_mean


@torch.no_grad()
def learned_kernels(network: DSNNetwork) -> list[LearnedKernels]:
    """Return where active taps lie, group by group of each block."""
    found = []
    for b, block in enumerate(network.blocks):
        regions: Any = block.regions
        for g, (conv, left) in enumerate(zip(regions.groups, regions.lefts, strict=True)):
            mask = conv.weight_mask.flatten(0, 2).numpy()
            taps = np.arange(mask.shape[1])
            first = np.where(mask, taps, mask.shape[1]).min(axis=1)
            last = np.where(mask, taps, -1).max(axis=1)
            found.append(
                LearnedKernels(
                    block=b,
                    group=g,
                    offsets=taps - left,
                    active=mask.mean(axis=0, dtype=np.float32),
                    strength=conv.weight.abs().mean(dim=(0, 1, 2)).numpy(),
                    spans=np.maximum(0, last - first + 1),
                )
            )
    return found
