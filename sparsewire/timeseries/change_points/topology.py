"""Which recurrent connections do the auto-encoders have, and when are they replaced?

The input and recurrent weights of every gate of encoder and decoder are sparse from the start, as
in SET-LSTM: Erdős–Rényi numbers of connections, and from time to time the smallest weights of every
gate make room for new ones at random places. The rules are the engine's; here they meet parameters
that lie in flat arrays. Biases, looks back, the output and the autoregressive path stay dense.

References
----------
Liu, Mocanu & Pechenizkiy (2019). Intrinsically sparse long short-term memory networks;
arXiv:1901.09208.
Mocanu et al. (2018), Nature Communications 9:2383: SET.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsewire.core.allocation import ER
from sparsewire.core.budget import LayerShape, connections
from sparsewire.core.criteria import LayerView
from sparsewire.core.errors import CheckpointError
from sparsewire.core.methods import SET
from sparsewire.core.network import draw_topology, seeded_generator
from sparsewire.core.topology import LayerPlan, check, commit

Arrays = dict[str, npt.NDArray[Any]]
_GATES = "ifgo"


@dataclass(frozen=True)
class Gates:
    """The stacked gates of one matrix in the flat parameters of a member.

    Attributes
    ----------
    name : str
        Such as ``encoder.input``.
    begin, n_in, units : int
        Where the matrix begins, and its sizes: it has a row for every input and `units` columns
        for every gate.

    Examples
    --------
    >>> gates = Gates("encoder.input", begin=1, n_in=1, units=2)
    >>> gates.view(np.arange(10.0)).squeeze(2).tolist()
    [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    """

    name: str
    begin: int
    n_in: int
    units: int

    def view(self, flat: npt.NDArray[Any]) -> Tensor:
        """Return the weights as the engine has them, (4, units, n_in), in the same memory."""
        matrix = flat[self.begin : self.begin + 4 * self.n_in * self.units]
        return torch.from_numpy(matrix.reshape(self.n_in, 4, self.units).transpose(1, 2, 0))

    def layers(self, member: int) -> list[LayerShape]:
        """Return name and shape of every gate."""
        shape = (self.units, self.n_in)
        return [LayerShape(f"{member}.{self.name}[{gate}]", shape) for gate in _GATES]


class Topology:
    """The connections of an ensemble.

    Parameters
    ----------
    gates : sequence of Gates
        What is sparse in every member.
    members : ndarray of shape (n_members, n_parameters)
        All parameters; those without a connection become 0.
    density : float
        Share of the weights of all gates that are connections.
    seed : int
        Seeds every draw, together with the names of member and gate and the number of the update.

    Attributes
    ----------
    active : ndarray of bool of shape (n_members, n_parameters)
        False where there is no connection; True also for everything that is dense.
    n_updates : int
        Rounds of replacement so far.

    Raises
    ------
    InfeasibleDensityError
        If there is less than one connection for each gate.

    Examples
    --------
    >>> members = np.ones((2, 120))
    >>> gates = [Gates("encoder.input", begin=0, n_in=5, units=5)]
    >>> topology = Topology(gates, members, 0.2, seed=0)
    >>> topology.counts(), members.sum(axis=1).tolist()
    ([5, 5, 5, 5, 5, 5, 5, 5], [40.0, 40.0])
    >>> topology.update(members)
    >>> topology.counts(), bool(members[~topology.active].any())
    ([5, 5, 5, 5, 5, 5, 5, 5], False)
    """

    def __init__(
        self, gates: Sequence[Gates], members: npt.NDArray[np.float64], density: float, seed: int
    ) -> None:
        self.gates, self.seed, self.n_updates = tuple(gates), seed, 0
        self.active = np.ones(members.shape, dtype=np.bool_)
        for k in range(len(members)):
            layers = [layer for matrix in gates for layer in matrix.layers(k)]
            counts = ER().counts(layers, connections(layers, density))
            for matrix in gates:
                for mask, layer in zip(matrix.view(self.active[k]), matrix.layers(k), strict=True):
                    drawn = torch.zeros(layer.numel, dtype=torch.bool)
                    drawn[draw_topology(layer, counts[layer.name], seed)] = True
                    mask.copy_(drawn.view(layer.shape))
        members[~self.active] = 0.0

    def counts(self) -> list[int]:
        """Count the connections of every gate, in the order of members and matrices."""
        return _counts(self.gates, self.active)

    def update(self, members: npt.NDArray[np.float64]) -> None:
        """Replace the weakest connections of every gate by new ones, which begin at 0.

        Parameters
        ----------
        members : ndarray of shape (n_members, n_parameters)
            All parameters, changed in place.

        Raises
        ------
        NonFiniteError
            If weights are not finite; nothing has changed then.
        """
        planned = [
            (matrix, k, list(self._plans(matrix, k, members[k])))
            for k in range(len(members))
            for matrix in self.gates
        ]
        for matrix, k, plans in planned:
            offsets = [gate * matrix.units * matrix.n_in for gate in range(len(plans))]
            commit(plans, offsets, matrix.view(members[k]), matrix.view(self.active[k]), ())
        self.n_updates += 1

    def _plans(self, matrix: Gates, k: int, member: npt.NDArray[np.float64]) -> Iterator[LayerPlan]:
        weights, masks = matrix.view(member), matrix.view(self.active[k])
        for layer, weight, mask in zip(matrix.layers(k), weights, masks, strict=True):
            positions = mask.flatten().nonzero().squeeze(1)
            view = LayerView(layer.name, layer.shape, positions, weight.flatten()[positions])
            count = positions.numel()
            generator = seeded_generator(self.seed, layer.name, self.n_updates)
            plan = SET().plan(view, count, self.n_updates, generator)
            check(plan, view, count)
            yield plan

    # State

    def arrays(self) -> Arrays:
        """Return everything that an update changes or depends on, as arrays."""
        return {"active": self.active, "topology": np.array([self.seed, self.n_updates])}

    def check(self, active: npt.NDArray[np.bool_], members: npt.NDArray[np.float64]) -> None:
        """Raise `CheckpointError` unless these are connections of the same gates and density."""
        if _counts(self.gates, active) != self.counts() or members[~active].any():
            raise CheckpointError(
                "the connections of the detector do not fit its parameters; the file is damaged."
            )

    def set_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `arrays` of the same form.

        Raises
        ------
        CheckpointError
            If they are not those of the same gates and density, or the parameters in "members" do
            not fit them; nothing has changed then.
        """
        self.check(arrays["active"], arrays["members"])
        self.active = arrays["active"].copy()
        self.seed, self.n_updates = (int(number) for number in arrays["topology"])


def _counts(gates: Sequence[Gates], active: npt.NDArray[np.bool_]) -> list[int]:
    return [
        int(mask.count_nonzero())
        for member in active
        for matrix in gates
        for mask in matrix.view(member)
    ]
