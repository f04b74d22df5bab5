"""How much faster does a dynamic sparse network train with region kernels than with masks?

Two networks of the same function class take turns on the same batches: ours, with a convolution for
each region, and the reference's, with masked kernels of full length in torch's usual layout. A
third has the masked kernels in our memory layout and tells the two effects apart. Ratios are taken
of neighbouring measurements in CPU time, so that other load on the machine falls on both alike.

    OMP_NUM_THREADS=1 python benchmarks/dsn.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparsewire
from sparsewire.core import Static
from sparsewire.timeseries.dsn.network import Architecture, DSNNetwork
from sparsewire.timeseries.dsn.topology import Exploration, make_sparse

KERNEL, GROUPS, DEPTH, CLASSES, DENSITY = 39, 3, 4, 3, 0.2


class MaskedNetwork(nn.Module):
    """The reference's network: kernels of full length whose regions are a matter of masks."""

    def __init__(self, n_filters: int, *, channels_last: bool) -> None:
        super().__init__()
        width = GROUPS * n_filters
        self.channels_last = channels_last
        self.reductions = nn.ModuleList(
            nn.Conv2d(width, n_filters, 1, bias=False) for _ in range(DEPTH - 1)
        )
        sizes = [1] + [n_filters] * (DEPTH - 1)
        kind: type[nn.Conv1d | nn.Conv2d] = nn.Conv2d if channels_last else nn.Conv1d
        kernel: int | tuple[int, int] = (1, KERNEL) if channels_last else KERNEL
        self.convs = nn.ModuleList(
            kind(n, width, kernel, bias=False)  # type: ignore[arg-type]
            for n in sizes
        )
        norm: type[nn.Module] = nn.BatchNorm2d if channels_last else nn.BatchNorm1d
        self.norms = nn.ModuleList(norm(width) for _ in sizes)
        self.head = nn.Conv1d(width, CLASSES, 1, bias=False)
        self.head_norm = nn.BatchNorm1d(CLASSES)
        if not channels_last:
            self.reductions = nn.ModuleList(
                nn.Conv1d(width, n_filters, 1, bias=False) for _ in range(DEPTH - 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        if self.channels_last:
            x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i:
                x = self.reductions[i - 1](x)
            x = F.relu(norm(conv(F.pad(x, (KERNEL // 2, KERNEL // 2)))))
        if self.channels_last:
            x = x.squeeze(2)
        outputs: Tensor = self.head_norm(self.head(F.adaptive_avg_pool1d(x, 50))).mean(dim=2)
        return outputs


def step_of(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: int, length: int
) -> Callable[[], None]:
    """Return a function that makes one training step."""
    x, y = torch.randn(batch, 1, length), torch.arange(batch) % CLASSES

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def region_step(n_filters: int, batch: int, length: int) -> Callable[[], None]:
    """Return a step of our network."""
    shape = Architecture(1, CLASSES, n_filters, DEPTH, KERNEL, GROUPS, "centre", "zero")
    network = DSNNetwork(shape)
    network.draw_(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4, fused=True)
    make_sparse(
        network,
        optimizer,
        density=DENSITY,
        topology="static",
        init="random",
        exploration=Exploration(1, 1),
        seed=0,
    )
    return step_of(network, optimizer, batch, length)


def masked_step(
    n_filters: int, batch: int, length: int, *, channels_last: bool
) -> Callable[[], None]:
    """Return a step of the reference's network."""
    network = MaskedNetwork(n_filters, channels_last=channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4, fused=True)
    sparsewire.sparsify(
        network,
        optimizer,
        density=DENSITY * (GROUPS + 1) / (2 * GROUPS),
        allocation="uniform",
        method=Static(),
        include="convs.*",
    )
    return step_of(network, optimizer, batch, length)


def cpu_seconds(step: Callable[[], None], repeats: int) -> float:
    """Return CPU seconds per step."""
    started = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started) / repeats


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each network")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("width batch length  region ms  masked ms  ratio (quartiles)     ratio, our layout")
    for n_filters, batch, length in ((47, 5, 150), (47, 16, 96), (32, 10, 96), (16, 6, 150)):
        steps = [
            region_step(n_filters, batch, length),
            masked_step(n_filters, batch, length, channels_last=False),
            masked_step(n_filters, batch, length, channels_last=True),
        ]
        for step in steps:
            cpu_seconds(step, 3)
        table = [[cpu_seconds(step, 5) for step in steps] for _ in range(rounds)]
        region, masked, _ = (statistics.median(column) * 1e3 for column in zip(*table, strict=True))
        low, middle, high = statistics.quantiles([b / a for a, b, _ in table], n=4)
        same = statistics.median(c / a for a, _, c in table)
        print(
            f"{n_filters:5} {batch:5} {length:6} {region:10.2f} {masked:10.2f}  "
            f"{middle:.2f} ({low:.2f} to {high:.2f})  {same:18.2f}"
        )


if __name__ == "__main__":
    main()
