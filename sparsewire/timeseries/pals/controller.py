"""How does one let a network of one's own find its sparsity while one trains it?

`PALS` sits between ``backward`` and the optimizer's step. Every few steps it asks for a validation
loss and decides by `sparsewire.timeseries.pals.rule`; masks, counts, growth by the gradient of the
very batch and the optimizer's state are the business of `sparsewire.core`.

References
----------
Atashgahi et al. (2024). Adaptive sparsity level during training for efficient time series
forecasting with transformers. ECML-PKDD 2024; arXiv:2305.18382.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.errors import CheckpointError, InvalidArgumentError
from sparsewire.core.optimizer import held_parameters
from sparsewire.core.schedule import Cosine
from sparsewire.core.selection import Selectors
from sparsewire.core.sparsify import sparsify
from sparsewire.timeseries.pals.method import Order, PALSMethod
from sparsewire.timeseries.pals.rule import Memory, Rule, State, decide

FORMAT = "sparsewire.timeseries.PALS"


class PALS:
    """Pruning with adaptive sparsity level: trains a network from dense to as sparse as it can be.

    Parameters
    ----------
    model : nn.Module
        Any model, dense.
    optimizer : torch.optim.Optimizer
        The optimizer that trains it.
    total_steps : int
        Optimizer steps of the whole training, over which the drop fraction is annealed.
    prune_factor : float, default 1.1
        Gamma of the paper: how much more is pruned than grown. Of 1.05, 1.1 and 1.2, larger ones
        reach high sparsity sooner.
    loss_freedom : float, default 1.1
        Lambda of the paper: the network shrinks while its validation loss is at most this many
        times the best. Of 1.05, 1.1 and 1.2.
    drop_fraction, final_drop_fraction : float, default 0.5 and 0.005
        Share of each layer's connections pruned per update, annealed by a cosine (paper).
    update_interval : int, default 20
        Optimizer steps between updates (paper; 5 for its smallest data set).
    freeze_at : float, default 0.7
        Share of `total_steps` after which the topology stays (paper, in its 10 epochs).
    min_sparsity, max_sparsity : float, default 0.2 and 0.9
        Below the first the network always shrinks; the second it does not exceed (paper).
    mode : {"robust", "reference"}, default "robust"
        "reference" decides as the paper does. "robust" smooths the loss, never expands below
        `min_sparsity` once that is reached, never shrinks beyond `max_sparsity`, which the paper's
        updates overshoot, and begins second moments of Adam at the mean for new connections.
    denominator : {"maskable", "all"} or None, default None
        What sparsity is a share of: the weights of the sparsified layers, or all parameters that
        are trained, of which the paper counts biases and normalisation as if pruned. None is
        "maskable", and "all" in mode "reference".
    include, exclude : selectors
        Layers, as in `sparsewire.sparsify`; by default all but embeddings, biases, normalisation.
    seed : int, default 0
        Breaks ties. The global random number generators are not touched.

    Attributes
    ----------
    handle : SparsityHandle
        Of core, for masks, summaries with FLOPs, and `sparsewire.core.checkpoint`.
    history : dict of str to list
        Per decision: "step", "loss" (validation), "state", and "sparsity" it was made at.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range, or no update falls into the training.
    UnsupportedError, StateError
        As `sparsewire.sparsify`.

    Notes
    -----
    The validation loss must not be negative. Under ``DistributedDataParallel`` it must be the same
    number in every process. With a ``GradScaler`` call ``pals.decide(validate)`` after ``backward``
    and then ``scaler.step(optimizer)``; a step skipped for infinite gradients keeps the decision.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    >>> y = x[:, :1] - x[:, 1:2]
    >>> model = torch.nn.Linear(8, 1)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    >>> pals = PALS(model, optimizer, total_steps=200, update_interval=10)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     torch.nn.functional.mse_loss(model(x), y).backward()
    ...     state = pals.step(lambda: torch.nn.functional.mse_loss(model(x), y))
    >>> pals.state, pals.sparsity > 0.2
    ('frozen', True)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        total_steps: int,
        prune_factor: float = 1.1,
        loss_freedom: float = 1.1,
        drop_fraction: float = 0.5,
        final_drop_fraction: float = 0.005,
        update_interval: int = 20,
        freeze_at: float = 0.7,
        min_sparsity: float = 0.2,
        max_sparsity: float = 0.9,
        mode: Literal["robust", "reference"] = "robust",
        denominator: Literal["maskable", "all"] | None = None,
        include: Selectors | None = None,
        exclude: Selectors = (),
        seed: int = 0,
    ) -> None:
        if mode not in ("robust", "reference"):
            raise InvalidArgumentError(f"mode must be 'robust' or 'reference', got {mode!r}.")
        if denominator not in ("maskable", "all", None):
            raise InvalidArgumentError(
                f"denominator must be 'maskable', 'all' or None, got {denominator!r}."
            )
        self.mode = mode
        self.rule = (Rule if mode == "robust" else Rule.reference)(
            loss_freedom, min_sparsity, max_sparsity
        )
        total_steps = check_integer("total_steps", total_steps, minimum=1)
        interval = check_integer("update_interval", update_interval, minimum=1)
        method = PALSMethod(
            Cosine(drop_fraction, final_drop_fraction, end=total_steps),
            end=freeze_step(total_steps, interval, freeze_at),
            update_interval=interval,
            prune_factor=prune_factor,
            warm=mode == "robust",
        )
        self.handle = sparsify(
            model,
            optimizer,
            density=1.0,
            method=method,
            include=include,
            exclude=exclude,
            seed=seed,
        )
        self._weights = sum(mask.numel() for mask in self.handle.masks().values())
        everything = (denominator or ("maskable" if mode == "robust" else "all")) == "all"
        trained = sum(p.numel() for p in held_parameters(optimizer) if p.requires_grad)
        self._counted = trained if everything else self._weights
        self._memory = Memory()
        self.history: dict[str, list[Any]] = {"step": [], "loss": [], "state": [], "sparsity": []}

    @property
    def method(self) -> PALSMethod:
        """The method that core runs."""
        method = self.handle.method
        assert isinstance(method, PALSMethod)
        return method

    @property
    def due(self) -> bool:
        """Whether a topology update follows the next optimizer step, and needs a decision."""
        return self.method.when.due(self.handle.step + 1)

    @property
    def n_connections(self) -> int:
        """Connections of all sparsified layers."""
        return round(self.handle.density() * self._weights)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are no connections, of those that `denominator` counts."""
        return (self._counted - self.n_connections) / self._counted

    @property
    def frozen(self) -> bool:
        """Whether all topology updates are over."""
        last = self.method.when.last
        return last is None or self.handle.step >= last

    @property
    def state(self) -> State | Literal["dense", "frozen"]:
        """The last decision; "dense" before the first, "frozen" when updates are over."""
        if self.frozen:
            return "frozen"
        found: State | Literal["dense"] = (self.history["state"] or ["dense"])[-1]
        return found

    def step(self, validate: Callable[[], Any] | float) -> State | None:
        """Decide if an update is due, then step the optimizer.

        Parameters
        ----------
        validate : callable or float
            As in `decide`.

        Returns
        -------
        {"shrink", "stable", "expand"} or None
            The decision; None if none was due.
        """
        state = self.decide(validate)
        self.handle.optimizer.step()
        return state

    def decide(self, validate: Callable[[], Any] | float) -> State | None:
        """Decide, if an update is due, what it will do after the optimizer's next step.

        Parameters
        ----------
        validate : callable or float
            The validation loss, finite and not negative, or a function that returns it. It is
            called only if an update is due, with the model in evaluation mode and no gradients
            recorded; modes are restored.

        Returns
        -------
        {"shrink", "stable", "expand"} or None
            The decision; None if none is due, or if it has been made already.

        Raises
        ------
        NonFiniteError
            If the loss is NaN or infinite.
        InvalidArgumentError
            If it is negative.
        """
        step = self.handle.step + 1
        order = self.method.order
        if not self.due or (order is not None and order.step == step):
            return None
        loss = self._evaluate(validate) if callable(validate) else float(validate)
        sparsity = self.sparsity
        state, self._memory = decide(self.rule, self._memory, loss, sparsity)
        self.method.order = Order(step, state, *self._bounds())
        for key, value in zip(self.history, (step, loss, state, sparsity), strict=True):
            self.history[key].append(value)
        return state

    def _evaluate(self, validate: Callable[[], Any]) -> float:
        model = self.handle.model
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            with torch.no_grad():
                return float(validate())
        finally:
            for module, training in modes.items():
                module.training = training

    def _bounds(self) -> tuple[float, float]:
        """Return the densities of each layer at which shrinking and expanding end."""
        if self.mode == "reference":
            return 0.0, 1.0
        scale = self._counted / self._weights
        most = 1 - self.rule.min_sparsity if self._memory.latched else 1.0
        return scale * (1 - self.rule.max_sparsity), min(1.0, scale * most)

    def finalize(self) -> nn.Module:
        """Remove masks and hooks and return the plain model, zeros baked in."""
        return self.handle.finalize()

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to continue bit for bit, besides model and optimizer.

        Numbers, strings and tensors only. Save it between two steps.
        """
        return {
            "format": FORMAT,
            "rule": self._identity(),
            "memory": asdict(self._memory),
            "history": {key: list(values) for key, values in self.history.items()},
            "handle": self.handle.state_dict(),
        }

    def _identity(self) -> str:
        return f"{self.mode} {self.rule!r}, sparsity of {self._counted} weights"

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; load those of model and optimizer too, in any order.

        Parameters
        ----------
        state : mapping
            From a `PALS` made with the same arguments.

        Raises
        ------
        CheckpointError
            If it is damaged or of another run; nothing has changed then.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise CheckpointError("this is not the state of a PALS; pass what state_dict returned.")
        if state.get("rule") != self._identity():
            raise CheckpointError(
                f"the checkpoint decides by {state.get('rule')}, this run by {self._identity()}."
            )
        try:
            memory = Memory(**state["memory"])
            history = {key: list(state["history"][key]) for key in self.history}
            handle = state["handle"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the state of PALS is damaged: {error!r}.") from error
        self.handle.load_state_dict(handle)
        self._memory, self.history, self.method.order = memory, history, None


def freeze_step(total_steps: int, update_interval: int, freeze_at: float) -> int:
    """Return the step before which updates stop: the last multiple of the interval in the share.

    Raises
    ------
    InvalidArgumentError
        If no update comes before it.

    Examples
    --------
    >>> freeze_step(10 * 264, 20, 0.7)
    1840
    """
    share = check_fraction("freeze_at", freeze_at, open_low=True)
    # A share such as 0.7 of 2640 steps is 1848, though its product in binary is less.
    end = int(share * total_steps + 1e-9) // update_interval * update_interval
    if end <= update_interval:
        longest = int(share * total_steps + 1e-9) // 2
        raise InvalidArgumentError(
            f"no topology update falls into the first {share:g} of {total_steps} steps with "
            f"update_interval={update_interval}; "
            + (f"at most {longest} would do." if longest else "train for more steps.")
        )
    return end
