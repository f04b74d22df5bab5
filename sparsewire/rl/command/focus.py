"""Does an agent look at what matters? Its connections to real and to noise inputs, over time.

"Focus" is the mean number of connections of a real input against that of a noise input, in each
network. Actions, which a critic also reads, count as neither. What is recorded here over time,
`sparsewire.rl.sparsity_report` counts at one moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparsewire.core._files import replacing
from sparsewire.rl.command import arrays

Pair = tuple[float, float]
"""Mean connections of a real input, and of a noise input."""


@dataclass
class Record:
    """Connectivity at several times.

    Attributes
    ----------
    steps : list of int
        Environment steps.
    networks : dict of str to list of pairs
        Connections to a real and to a noise input at each of `steps`, by network.

    Examples
    --------
    >>> record = Record()
    >>> record.add(0, {"actor": (51.2, 51.2)})
    >>> record.add(1000, {"actor": (70.0, 50.1)})
    >>> record.until(500).networks
    {'actor': [(51.2, 51.2)]}
    """

    steps: list[int] = field(default_factory=list)
    networks: dict[str, list[Pair]] = field(default_factory=dict)

    @property
    def is_sparse(self) -> bool:
        """Whether any input layer was ever sparse: dense ones treat all inputs alike."""
        pairs = [pair for network in self.networks.values() for pair in network]
        return any(real != noise for real, noise in pairs)

    def add(self, steps: int, found: Mapping[str, Pair]) -> None:
        """Append the pair of every network."""
        self.steps.append(steps)
        for name, pair in found.items():
            self.networks.setdefault(name, []).append(pair)

    def until(self, steps: int) -> Record:
        """Return the part up to a time, included."""
        n = sum(step <= steps for step in self.steps)
        return Record(self.steps[:n], {name: pairs[:n] for name, pairs in self.networks.items()})

    def at(self, network: str, steps: Sequence[int]) -> list[Pair]:
        """Return the pairs of a network at some of the recorded steps."""
        found = dict(zip(self.steps, self.networks[network], strict=True))
        return [found[step] for step in steps]

    def write(self, path: Path) -> None:
        """Write ``steps`` and an array of shape (n_steps, 2) per network, in one step."""
        content = {name: np.array(pairs) for name, pairs in self.networks.items()}
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, steps=np.array(self.steps), **content)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read what `write` wrote.

        Raises
        ------
        CheckpointError
            If the file is missing or damaged.
        """
        content = arrays.read(path)
        steps = content.pop("steps").tolist()
        networks = {
            name: [(float(real), float(noise)) for real, noise in pairs]
            for name, pairs in content.items()
        }
        return cls(steps, networks)
