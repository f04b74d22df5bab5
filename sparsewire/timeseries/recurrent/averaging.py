"""When and how are the weights of a sparse network averaged over training?

SNT-ASGD: sparse, non-monotonically triggered, averaged stochastic gradient descent. Plain descent
until the validation loss has not improved for some checks; from then on the average of the weights
is kept, which evaluation uses while training goes on from the weights themselves. Every weight has
a counter of its own, so that the average of a connection that is grown anew starts anew.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
Merity, Keskar & Socher (2018). Regularizing and optimizing LSTM language models; arXiv:1708.02182:
the trigger.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from sparsewire.core._validation import check_integer, check_positive
from sparsewire.core.errors import InvalidArgumentError, StateError


class SNTASGD(Optimizer):
    """Stochastic gradient descent that begins to average when validation stops to improve.

    Parameters
    ----------
    params : iterable
        Parameters or parameter groups, as of every torch optimizer.
    lr : float
        Learning rate (paper: 40 for language, after clipping the norm of the gradient at 0.25).
    weight_decay : float, default 0.0
        L2 penalty (paper: 1.2e-6).
    n_checks : int, default 5
        Averaging begins at the first loss that is worse than the best of all but the latest
        `n_checks` before it (paper).

    Raises
    ------
    InvalidArgumentError
        If a number is out of range.

    Notes
    -----
    The average of a weight whose counter is ``c`` moves by ``1 / max(1, c - 1)`` towards it: it is
    the mean of its values from the second step on. Counters and averages are optimizer state of the
    shape of the parameter, which `sparsewire.sparsify` sets to zero wherever a connection is
    dropped or grown, and keeps at zero where there is none. Without sparsity it is NT-ASGD.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = SNTASGD([weight], lr=1.0, n_checks=1)
    >>> [optimizer.check(loss) for loss in (3.0, 2.0, 4.0)]  # 4 is worse than 3
    [False, False, True]
    >>> for _ in range(3):  # the weight is -1, -2, -3
    ...     weight.grad = torch.ones(1)
    ...     _ = optimizer.step()
    >>> with optimizer.averaged():
    ...     weight.item()
    -2.5
    >>> weight.item()
    -3.0
    """

    def __init__(
        self, params: ParamsT, lr: float, *, weight_decay: float = 0.0, n_checks: int = 5
    ) -> None:
        defaults = {
            "lr": check_positive("lr", lr),
            "weight_decay": check_positive("weight_decay", weight_decay, or_zero=True),
            "n_checks": check_integer("n_checks", n_checks, minimum=1),
            "averaging": False,
            "losses": (),
        }
        super().__init__(params, defaults)
        self._swapped = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; a loaded optimizer holds the weights themselves."""
        super().__setstate__(state)
        self._swapped = False

    @property
    def averaging(self) -> bool:
        """Whether averaging has begun."""
        return bool(self.param_groups[0]["averaging"])

    def check(self, validation_loss: float) -> bool:
        """Take note of a validation loss, and begin to average if it no longer improves.

        Parameters
        ----------
        validation_loss : float
            Of the weights, or, once averaging has begun, of anything: it is not looked at then.

        Returns
        -------
        bool
            Whether averaging has begun.

        Raises
        ------
        InvalidArgumentError
            If the loss is not a number.
        """
        loss = float(validation_loss)
        if math.isnan(loss):
            raise InvalidArgumentError(
                "validation_loss is NaN; the training has diverged, lower the learning rate."
            )
        first = self.param_groups[0]
        if not first["averaging"]:
            earlier: tuple[float, ...] = first["losses"]
            begin = loss > min(earlier[: -first["n_checks"]], default=math.inf)
            for group in self.param_groups:
                group["averaging"], group["losses"] = begin, (*earlier, loss)
        return self.averaging

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Make one step, and move the averages if averaging has begun.

        Parameters
        ----------
        closure : callable or None, default None
            Computes the gradients and returns the loss.

        Returns
        -------
        float or None
            What the closure returned.

        Raises
        ------
        StateError
            Inside `averaged`.
        """
        if self._swapped:
            raise StateError("the weights are replaced by their averages; step after `averaged`.")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                slope = parameter.grad
                if group["weight_decay"]:
                    slope = slope.add(parameter, alpha=group["weight_decay"])
                parameter.add_(slope, alpha=-group["lr"])
                if self.averaging:
                    self._average(parameter)
        return loss

    def _average(self, parameter: Tensor) -> None:
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
            state["steps"] = torch.zeros_like(parameter)
        steps = state["steps"].add_(1)
        state["average"].lerp_(parameter, (steps - 1).clamp_(min=1).reciprocal_())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the weights by their averages, for evaluation, and put them back.

        Parameters that have no average yet stay as they are.

        Raises
        ------
        StateError
            Inside itself.
        """
        if self._swapped:
            raise StateError("the weights are replaced by their averages already.")
        pairs = [
            (parameter, self.state[parameter]["average"], parameter.detach().clone())
            for group in self.param_groups
            for parameter in group["params"]
            if "average" in self.state.get(parameter, {})
        ]
        self._swapped = True
        try:
            with torch.no_grad():
                for parameter, average, _ in pairs:
                    parameter.copy_(average)
            yield
        finally:
            with torch.no_grad():
                for parameter, _, weight in pairs:
                    parameter.copy_(weight)
            self._swapped = False
