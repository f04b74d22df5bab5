"""What does a dynamic sparse network compute?

Blocks of a 1x1 convolution that reduces the channels, a region convolution, batch normalisation and
ReLU; then average pooling into bins, a 1x1 convolution to the classes, batch normalisation and the
mean over the bins. Series of unequal length are exact: statistics, pooling and padding see their
own samples alone, so that trailing padding changes nothing.

References
----------
Xiao et al. (2022). Dynamic sparse network for time series classification: learning what to "see".
NeurIPS 2022.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsewire.core.network import seeded_generator
from sparsewire.timeseries.classification.training import BaseSeriesNetwork
from sparsewire.timeseries.dsn.regions import Padding, PadValue, RegionConv

POOL_BINS = 50
"""Bins of the average pooling before the head (reference)."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network.

    Attributes
    ----------
    n_channels, n_classes : int
        Channels of the series, and classes.
    n_filters, depth, kernel_size, n_groups : int
        Output channels of a group, blocks, longest kernel, and groups.
    padding, pad_value
        See `sparsewire.timeseries.dsn.regions`.
    """

    n_channels: int
    n_classes: int
    n_filters: int
    depth: int
    kernel_size: int
    n_groups: int
    padding: Padding
    pad_value: PadValue

    @property
    def width(self) -> int:
        """Output channels of a block."""
        return self.n_groups * self.n_filters


class OwnStepsNorm(nn.BatchNorm2d):
    """Batch normalisation and ReLU over those time steps that belong to a series."""

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Normalise; `inside`, shape (batch, 1, time), tells which steps count, None all."""
        if inside is None:
            return F.relu_(super().forward(x))
        rows = x.permute(0, 2, 3, 1)
        normal = F.batch_norm(
            rows[inside],
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )
        return torch.zeros_like(rows).index_put((inside,), F.relu_(normal)).permute(0, 3, 1, 2)


def _each_step(linear: nn.Linear, x: Tensor) -> Tensor:
    """Convolve with kernels of one tap; in channels-last format a matrix product without a copy."""
    outputs: Tensor = linear(x.permute(0, 2, 3, 1))
    return outputs.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Reduction, region convolution, normalisation."""

    def __init__(self, n_in: int, shape: Architecture) -> None:
        super().__init__()
        c = shape.n_filters
        self.reduction = nn.Linear(n_in, c, bias=False) if n_in > 1 else None
        self.regions = RegionConv(
            c if n_in > 1 else 1,
            c,
            shape.kernel_size,
            shape.n_groups,
            shape.padding,
            shape.pad_value,
        )
        self.norm = OwnStepsNorm(shape.width)

    def forward(self, x: Tensor, ends: Tensor | None, inside: Tensor | None) -> Tensor:
        """Return the block's features, zero beyond the end of a series."""
        if self.reduction is not None:
            x = _each_step(self.reduction, x)
        features: Tensor = self.norm(self.regions(x, ends), inside)
        return features


class DSNNetwork(BaseSeriesNetwork):
    """A dynamic sparse network; its parameters are not initialised.

    Parameters
    ----------
    shape : Architecture
        Its sizes.

    Examples
    --------
    >>> shape = Architecture(2, 3, 4, 2, 9, 3, "centre", "zero")
    >>> network = DSNNetwork(shape)
    >>> network.draw_(seed=0)
    >>> network(torch.zeros(5, 2, 30)).shape
    torch.Size([5, 3])
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.shape = shape
        with torch.device("meta"):  # so that nothing is drawn from the global generator
            sizes = [shape.n_channels] + [shape.width] * (shape.depth - 1)
            self.blocks = nn.ModuleList(Block(n_in, shape) for n_in in sizes)
            self.head = nn.Linear(shape.width, shape.n_classes, bias=False)
            self.head_norm = nn.BatchNorm1d(shape.n_classes)
        self.to_empty(device="cpu")
        for _, conv in self.region_convs:  # as activations are, which spares copies
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)

    @property
    def region_convs(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Name of the weight and convolution of every group of every block, in order."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and ".groups." in name:
                yield f"{name}.weight", module

    def draw_(self, seed: int) -> None:
        """Draw initial weights uniformly, within one over the root of the fan-in either way.

        Those of the region convolutions are set when they become sparse.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                generator = seeded_generator(seed, f"{name}.weight", "weights")
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            elif isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.weight)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_parameters()

    def features(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Return the last feature map.

        Parameters
        ----------
        x : Tensor, shape (batch, n_channels, time)
            Series, zero beyond their ends.
        ends : Tensor of int64, shape (batch,), or None
            Their lengths; None if all are equally long.

        Returns
        -------
        Tensor, shape (batch, width, 1, time)
        """
        inside = None
        if ends is not None:
            inside = (torch.arange(x.shape[2], device=x.device) < ends[:, None])[:, None, :]
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, ends, inside)
        return x

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Return the logits, shape (batch, n_classes); for the arguments see `features`."""
        scores = _each_step(self.head, self.features(x, ends)).squeeze(2)
        binned = scores @ pooling(x, ends)
        normal: Tensor = self.head_norm(binned)
        return normal.mean(dim=2)


def pooling(x: Tensor, ends: Tensor | None) -> Tensor:
    """Return the matrix that averages the time steps of each series into bins.

    Parameters
    ----------
    x : Tensor, shape (batch, n_channels, time)
        Only its size and device are looked at.
    ends : Tensor of int64, shape (batch,), or None
        Lengths.

    Returns
    -------
    Tensor, shape (time, bins) or, of unequal series, (batch, time, bins)
        Bins overlap where there are fewer time steps than bins, as in adaptive pooling.
    """
    time = x.shape[2]
    if ends is None:
        return _pooling(time).to(x.device)
    matrix = x.new_zeros((len(x), time, POOL_BINS))
    for row, end in zip(matrix, ends.tolist(), strict=True):
        row[:end] = _pooling(end)
    return matrix


@lru_cache(maxsize=256)
def _pooling(length: int) -> Tensor:
    starts = torch.arange(POOL_BINS) * length // POOL_BINS
    stops = -(-(torch.arange(POOL_BINS) + 1) * length // POOL_BINS)
    steps = torch.arange(length)[:, None]
    inside = (steps >= starts) & (steps < stops)
    return inside.float() / (stops - starts)
