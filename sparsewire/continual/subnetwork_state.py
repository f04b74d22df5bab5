"""How is a store of sub-networks written to a checkpoint and read back?

As tensors in plain containers, without what is in the model already. Whether they fit the model is
checked before anything changes.
"""

from collections.abc import Mapping
from typing import Any

import torch

from sparsewire.continual.subnetworks import Subnetwork, Subnetworks
from sparsewire.continual.tensors import check_like, copied, like
from sparsewire.core.errors import CheckpointError


def pack(shared: Subnetworks) -> dict[str, Any]:
    """Return everything that is not in the model.

    Raises
    ------
    StateError
        If a finished sub-network stands in the model in place of the one being trained.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    >>> shared = Subnetworks(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> state = pack(shared)
    >>> check(state, shared)
    >>> unpack(state, shared)
    """
    topology = {}
    if shared.training:
        shared.check_training()
        topology = {layer: shared.store(layer).fingerprint() for layer in shared.weights}
    return {
        "weights": copied(shared.weights),
        "owner": copied(shared.owner),
        "initial": copied(shared.initial),
        "finished": [
            {"masks": copied(part.masks), "private": copied(part.private)}
            for part in shared.finished
        ],
        "topology": topology,
    }


def check(state: object, shared: Subnetworks) -> None:
    """Raise `CheckpointError` unless a state fits the store and, inside a task, the model."""
    keys = {"weights", "owner", "initial", "finished", "topology"}
    if not isinstance(state, Mapping) or not keys <= state.keys():
        raise CheckpointError("the state of the sub-networks is damaged or foreign.")
    finished, parts = state["finished"], {"masks", "private"}
    if not isinstance(finished, list) or not all(
        isinstance(part, Mapping) and part.keys() == parts for part in finished
    ):
        raise CheckpointError("the checkpoint's finished sub-networks are damaged.")
    masks = shared.masks()
    check_like("weights", state["weights"], shared.weights)
    check_like("owner", state["owner"], shared.owner)
    check_like("initial", state["initial"], shared.initial)
    for part in finished:
        check_like("masks", part["masks"], masks, partly=True)
        check_like("private", part["private"], shared.initial, partly=True)
    for layer in masks if state["topology"] else ():
        store = shared.store(layer)
        owned = store.mask & (state["owner"][layer].to(store.mask.device) > 0)
        stored = state["weights"][layer].to(store.weight)
        if (
            store.fingerprint() != state["topology"].get(layer)
            or store.has_stray_weights()
            or not torch.equal(store.weight[owned], stored[owned])
        ):
            raise CheckpointError(
                f"the weights of {layer} are not those of the checkpoint; load "
                "model.state_dict() of the same moment first."
            )


def unpack(state: Mapping[str, Any], shared: Subnetworks) -> None:
    """Take over a checked state."""
    masks = shared.masks()
    shared.weights = like(state["weights"], shared.weights)
    shared.owner = like(state["owner"], shared.owner)
    shared.initial = like(state["initial"], shared.initial)
    shared.finished = [
        Subnetwork(like(part["masks"], masks), like(part["private"], shared.initial))
        for part in state["finished"]
    ]
    shared.resume(training=bool(state["topology"]))
