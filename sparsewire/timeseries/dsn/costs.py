"""What does one forward pass of a dynamic sparse network cost, in theory?

Multiply-accumulates of the convolutions per time step, as the literature counts them; normalisation
and the head, which are negligible, are left out. Masks alone save no time: only what the region
convolutions leave out is saved on today's hardware.
"""

from dataclasses import dataclass

from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork


@dataclass(frozen=True)
class Flops:
    """Cost of one series, two FLOPs to a multiply-accumulate.

    Attributes
    ----------
    sparse : int
        Of the active taps.
    regions : int
        Of all taps inside the regions, which is what is computed.
    dense : int
        Of kernels of full length in every group, which the reference computes.
    length : int
        Time steps of the series.
    """

    sparse: int
    regions: int
    dense: int
    length: int

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of the active taps per time step."""
        return self.sparse // (2 * self.length)


def count_flops(network: DSNNetwork, length: int) -> Flops:
    """Count the cost of a network.

    Parameters
    ----------
    network : DSNNetwork
        Sparsified; its masks tell which taps are active.
    length : int
        Time steps of a series.

    Returns
    -------
    Flops
        The cost of one series of that length.
    """
    shape = network.shape
    reductions = reduction_macs(shape)
    active = within = full = 0
    for _, conv in network.region_convs:
        mask = conv.get_buffer("weight_mask")
        active += int(mask.sum())
        within += mask.numel()
        full += mask.shape[0] * mask.shape[1] * shape.kernel_size
    cost = 2 * length
    return Flops(
        sparse=cost * (active + reductions),
        regions=cost * (within + reductions),
        dense=cost * (full + reductions),
        length=length,
    )


def reduction_macs(shape: Architecture) -> int:
    """Return the multiply-accumulates of all 1x1 reductions per time step.

    Examples
    --------
    >>> reduction_macs(Architecture(1, 2, 47, 4, 39, 3, "centre", "zero"))
    19881
    """
    first = shape.n_channels * shape.n_filters if shape.n_channels > 1 else 0
    return first + (shape.depth - 1) * shape.width * shape.n_filters
