"""Which samples may a kernel of a dynamic sparse network look at, and how is that convolved?

The output channels of a layer fall into groups; the kernels of group i have i thirds (for three
groups) of the full length, their *region*, inside which single taps are active or not. Each region
is a convolution of its own length: the reference masks kernels of full length instead, which costs
half as much again for weights that can never be active.

References
----------
Xiao et al. (2022). Dynamic sparse network for time series classification: learning what to "see".
NeurIPS 2022.
"""

import math
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["centre", "right", "same"]
PadValue = Literal["zero", "replicate"]

SHORTEST_SPARSE = 5
"""Kernels with fewer taps stay dense, as in the reference."""


def region_lengths(kernel_size: int, n_groups: int) -> tuple[int, ...]:
    """Return the number of taps in the region of each group.

    Parameters
    ----------
    kernel_size : int
        Length of the longest kernels.
    n_groups : int
        Groups of output channels.

    Returns
    -------
    tuple of int
        ``kernel_size // n_groups`` times 1, 2, ...; the full length for every group if the kernel
        is too short to be sparse.

    Examples
    --------
    >>> region_lengths(39, 3), region_lengths(3, 3)
    ((13, 26, 39), (3, 3, 3))
    """
    if not can_be_sparse(kernel_size, n_groups):
        return (kernel_size,) * n_groups
    return tuple(kernel_size // n_groups * (i + 1) for i in range(n_groups))


def can_be_sparse(kernel_size: int, n_groups: int) -> bool:
    """Tell whether kernels are long enough to have regions and inactive taps.

    Examples
    --------
    >>> can_be_sparse(39, 3), can_be_sparse(4, 1), can_be_sparse(6, 7)
    (True, False, False)
    """
    return kernel_size >= max(SHORTEST_SPARSE, n_groups)


def active_taps(n_out: int, n_in: int, length: int, density: float) -> int:
    """Return the number of active taps of a group: the density is relative to its region.

    Examples
    --------
    >>> [active_taps(47, 1, r, 0.2) for r in (13, 26, 39)]
    [122, 244, 366]
    """
    exact = Fraction(repr(float(density))) * (n_out * n_in * length)
    return max(1, math.floor(exact))


def left_reach(length: int, kernel_size: int, padding: Padding) -> int:
    """Return how many samples before the present one the first tap of a region lies.

    Parameters
    ----------
    length : int
        Taps of the region.
    kernel_size : int
        Taps of the longest kernels.
    padding : {"centre", "right", "same"}
        "centre" puts the middle of each region on the present sample, "right" the first tap, and
        "same" the middle of the full kernel, at whose left end all regions begin.

    Examples
    --------
    >>> [left_reach(13, 39, padding) for padding in ("centre", "right", "same")]
    [6, 0, 19]
    """
    if padding == "right":
        return 0
    return ((length if padding == "centre" else kernel_size) - 1) // 2


class FoldedConv(nn.Conv2d):
    """Convolution with long kernels, which are cut into rows that lie below one another.

    The products and sums are those of ``nn.Conv2d``, but oneDNN is slow with long kernels of one
    row: without this, a training step of the paper's network takes a tenth longer.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    length : int
        Taps.
    rows : int
        Rows; divides the length.

    Examples
    --------
    >>> conv = FoldedConv(2, 3, 26, rows=2)
    >>> conv.weight.shape, conv(torch.zeros(5, 2, 1, 40)).shape
    (torch.Size([3, 2, 1, 26]), torch.Size([5, 3, 1, 15]))
    """

    def __init__(self, n_in: int, n_out: int, length: int, rows: int) -> None:
        super().__init__(n_in, n_out, (1, length), bias=False)
        self.rows = rows

    def forward(self, input: Tensor) -> Tensor:
        """Convolve, without padding."""
        n_out, n_in, _, length = self.weight.shape
        if n_in == 1:  # a matrix product over windows is faster still
            windows = input[:, 0].unfold(2, length, 1)
            return F.linear(windows, self.weight.flatten(1)).permute(0, 3, 1, 2)
        if self.rows == 1:
            return F.conv2d(input, self.weight)
        taps = length // self.rows
        steps = input.permute(0, 2, 3, 1)
        width = steps.shape[2] - length + taps
        begins = range(0, length, taps)
        image = torch.cat([steps[:, :, begin : begin + width] for begin in begins], dim=1)
        kernels = self.weight.permute(0, 2, 3, 1).reshape(n_out, self.rows, taps, n_in)
        return F.conv2d(image.permute(0, 3, 1, 2), kernels.permute(0, 3, 1, 2))


class RegionConv(nn.Module):
    """Convolution that keeps the length, with kernels of a length for each group of outputs.

    Activations are four-dimensional, (batch, channels, 1, time), because torch has a channels-last
    memory format, in which long kernels are almost twice as fast on a CPU, for images only.

    Parameters
    ----------
    n_in, n_out : int
        Input channels, and output channels of each group.
    kernel_size, n_groups : int
        Length of the longest kernels, and number of groups.
    padding, pad_value
        Where regions lie, and what lies beyond the ends of a series.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int,
        n_groups: int,
        padding: Padding,
        pad_value: PadValue,
    ) -> None:
        super().__init__()
        self.pad_value = pad_value
        lengths = region_lengths(kernel_size, n_groups)
        self.lefts = tuple(left_reach(length, kernel_size, padding) for length in lengths)
        self.groups = nn.ModuleList(
            FoldedConv(n_in, n_out, length, rows=length // lengths[0]) for length in lengths
        )

    def forward(self, x: Tensor, ends: Tensor | None) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor, shape (batch, n_in, 1, time)
            Zero beyond the end of a series.
        ends : Tensor of int64, shape (batch,), or None
            Lengths of the series; None if all are as long as `x`.

        Returns
        -------
        Tensor, shape (batch, n_groups * n_out, 1, time)
        """
        if self.pad_value == "replicate" and ends is not None:
            x = _hold_last(x, ends)
        outputs = []
        for conv, left in zip(self.groups, self.lefts, strict=True):
            assert isinstance(conv, FoldedConv)
            # Padding beforehand: inside oneDNN's convolution it costs more than twice the time.
            outputs.append(conv(self._extended(x, left, conv.kernel_size[1] - 1 - left)))
        return torch.cat(outputs, dim=1)

    def _extended(self, x: Tensor, left: int, right: int) -> Tensor:
        """Return x with more samples on both sides; fewer if `right` is negative."""
        time = x.shape[3]
        if self.pad_value == "replicate":
            places = torch.arange(-left, time + right, device=x.device).clamp_(0, time - 1)
            return x.index_select(3, places)
        wide = F.pad(x, (left, max(0, right)))
        return wide[..., : time + left + right].contiguous(memory_format=torch.channels_last)


def _hold_last(x: Tensor, ends: Tensor) -> Tensor:
    """Return x with the last sample of each series in place of what follows it."""
    time = torch.arange(x.shape[3], device=x.device)
    places = torch.minimum(time, ends[:, None] - 1)
    return x.gather(3, places[:, None, None, :].expand_as(x))
