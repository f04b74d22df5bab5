"""Which recurrent networks classify or forecast a series?

A stack of LSTM or GRU layers and a linear head on the last hidden state. They are ordinary modules;
`sparsewire.sparsify` makes them sparse, with a topology for every gate. Biases stay dense.

References
----------
Liu, Mocanu, Pei & Pechenizkiy (2021). Selfish sparse RNN training. ICML 2021; arXiv:2101.09048.
Liu, Mocanu & Pechenizkiy (2019). Intrinsically sparse long short-term memory networks;
arXiv:1901.09208.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sparsewire.core._validation import check_fraction, check_integer
from sparsewire.core.errors import InvalidArgumentError


class BaseRecurrent(nn.Module, ABC):
    """A recurrent stack with a linear head."""

    rnn: nn.LSTM | nn.GRU

    def __init__(
        self,
        n_inputs: int,
        n_units: int,
        n_outputs: int,
        *,
        n_layers: int = 1,
        horizon: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        n_outputs = check_integer("n_outputs", n_outputs, minimum=1)
        self.n_inputs = check_integer("n_inputs", n_inputs, minimum=1)
        n_units = check_integer("n_units", n_units, minimum=1)
        n_layers = check_integer("n_layers", n_layers, minimum=1)
        steps = 1 if horizon is None else check_integer("horizon", horizon, minimum=1)
        dropout = check_fraction("dropout", dropout)
        self.shape = (n_outputs,) if horizon is None else (steps, n_outputs)
        between = dropout if n_layers > 1 else 0.0  # torch warns of dropout after the only layer
        self.rnn = self._stack(n_units, n_layers, between)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_units, steps * n_outputs)

    @abstractmethod
    def _stack(self, n_units: int, n_layers: int, dropout: float) -> nn.LSTM | nn.GRU: ...

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Map series to scores of classes or to a forecast.

        Parameters
        ----------
        x : Tensor, shape (batch, length, n_inputs)
            Series, the oldest sample first.
        ends : Tensor of int64, shape (batch,), or None, default None
            Lengths of the series; what comes after them has no influence. None if all are as long
            as `x`.

        Returns
        -------
        Tensor, shape (batch, n_outputs) or (batch, horizon, n_outputs)

        Raises
        ------
        InvalidArgumentError
            If `x` has another shape, or a length is not in [1, length].
        """
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != self.n_inputs:
            raise InvalidArgumentError(
                f"x must have shape (batch, length, {self.n_inputs}) with length >= 1, got "
                f"{tuple(x.shape)}."
            )
        hidden, _ = self.rnn(x)
        # A layer that runs forward in time knows nothing of what comes later.
        last = hidden[:, -1] if ends is None else hidden[_rows(x), _checked(ends, x) - 1]
        outputs: Tensor = self.head(self.dropout(last))
        return outputs.view(len(x), *self.shape)


def _rows(x: Tensor) -> Tensor:
    return torch.arange(len(x), device=x.device)


def _checked(ends: Tensor, x: Tensor) -> Tensor:
    if ends.shape != x.shape[:1] or int(ends.min()) < 1 or int(ends.max()) > x.shape[1]:
        raise InvalidArgumentError(
            f"ends must be {len(x)} lengths from 1 to {x.shape[1]}, got {ends.tolist()}."
        )
    return ends


class SparseLSTM(BaseRecurrent):
    """LSTM layers and a linear head, to be made sparse by `sparsewire.sparsify`.

    Parameters
    ----------
    n_inputs : int
        Channels of the series.
    n_units : int
        Hidden units of every layer.
    n_outputs : int
        Classes, or channels to forecast.
    n_layers : int, default 1
        Layers; the papers use 1 for sentiment and 2 for language.
    horizon : int or None, default None
        Steps to forecast, all at once; None makes one output, such as scores of classes.
    dropout : float, default 0.0
        Share of hidden values dropped between layers and before the head in training.

    Raises
    ------
    InvalidArgumentError
        If a size is below 1, or `dropout` not in [0, 1].

    Examples
    --------
    >>> import torch, sparsewire
    >>> from sparsewire.timeseries.recurrent import SelfishRNN
    >>> model = SparseLSTM(n_inputs=3, n_units=16, n_outputs=2, horizon=5)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = SelfishRNN(model, update_interval=10)
    >>> handle = sparsewire.sparsify(
    ...     model, optimizer, density=0.33, method=method, allocation="uniform"
    ... )
    >>> model(torch.zeros(4, 20, 3)).shape, handle.masks()["rnn.weight_hh_l0"].shape
    (torch.Size([4, 5, 2]), torch.Size([64, 16]))
    """

    def _stack(self, n_units: int, n_layers: int, dropout: float) -> nn.LSTM:
        return nn.LSTM(self.n_inputs, n_units, n_layers, batch_first=True, dropout=dropout)


class SparseGRU(BaseRecurrent):
    """GRU layers and a linear head, to be made sparse by `sparsewire.sparsify`.

    Parameters
    ----------
    n_inputs, n_units, n_outputs, n_layers, horizon, dropout
        As in `SparseLSTM`.

    Raises
    ------
    InvalidArgumentError
        If a size is below 1, or `dropout` not in [0, 1].

    Examples
    --------
    >>> import torch
    >>> SparseGRU(n_inputs=3, n_units=16, n_outputs=4)(torch.zeros(2, 20, 3)).shape
    torch.Size([2, 4])
    """

    def _stack(self, n_units: int, n_layers: int, dropout: float) -> nn.GRU:
        return nn.GRU(self.n_inputs, n_units, n_layers, batch_first=True, dropout=dropout)


CELLS: dict[str, type[BaseRecurrent]] = {"lstm": SparseLSTM, "gru": SparseGRU}
"""Backbones by the name of their cell."""
