"""Which parameters does the detector take, and what do they stand for?

They are stored as they are given and checked in `fit`, as scikit-learn wants it. The detector
documents them.
"""

from typing import Any, Literal, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sparsewire.core._validation import check_fraction, check_integer, check_positive
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.change_points.network import Shape
from sparsewire.timeseries.change_points.rule import Thresholds
from sparsewire.timeseries.change_points.samples import Missing
from sparsewire.timeseries.change_points.stream import Learning, Location, Stream


class ALACPDParameters(BaseEstimator):
    """The parameters of the detector."""

    def __init__(
        self,
        *,
        window: int = 6,
        gap: int = 4,
        ar_order: int = 6,
        n_units: int = 20,
        density: float | None = None,
        skips: tuple[int, ...] = (3, 5, 7),
        n_init: int | float | None = None,
        threshold_high: float = 4.0,
        threshold_low: float | Literal["auto"] = "auto",
        settle: int = 7,
        patience: int = 4,
        adapt_samples: int = 3,
        adapt_epochs: int = 100,
        init_epochs: int = 10,
        step_epochs: int = 5,
        learning_rate: float = 1e-3,
        location: Location = "onset",
        afresh: bool = True,
        causal: bool = True,
        prequential: bool = True,
        aligned_ar: bool = True,
        loss_floor: float = 1e-8,
        missing: Missing = "raise",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.window = window
        self.gap = gap
        self.ar_order = ar_order
        self.n_units = n_units
        self.density = density
        self.skips = skips
        self.n_init = n_init
        self.threshold_high = threshold_high
        self.threshold_low = threshold_low
        self.settle = settle
        self.patience = patience
        self.adapt_samples = adapt_samples
        self.adapt_epochs = adapt_epochs
        self.init_epochs = init_epochs
        self.step_epochs = step_epochs
        self.learning_rate = learning_rate
        self.location = location
        self.afresh = afresh
        self.causal = causal
        self.prequential = prequential
        self.aligned_ar = aligned_ar
        self.loss_floor = loss_floor
        self.missing = missing
        self.random_state = random_state
        self.verbose = verbose

    def _new_stream(self, n_channels: int, seed: int) -> Stream:
        """Check the parameters and build what they ask for."""
        one_of("missing", self.missing, get_args(Missing))
        return Stream(self._shape(n_channels), self._learning(), self._thresholds(), seed)

    def _shape(self, n_channels: int) -> Shape:
        skips = self.skips
        if not isinstance(skips, tuple | list | np.ndarray) or not len(skips):
            raise InvalidArgumentError(
                f"skips must be a sequence of one or more integers, got {skips!r}."
            )
        density = self.density
        if density is not None:
            density = check_fraction("density", density, open_low=True)
        return Shape(
            n_channels=n_channels,
            window=check_integer("window", self.window, minimum=1),
            gap=check_integer("gap", self.gap, minimum=1),
            n_lags=check_integer("ar_order", self.ar_order, minimum=1),
            n_units=check_integer("n_units", self.n_units, minimum=1),
            skips=tuple(check_integer("an entry of skips", k, minimum=1) for k in skips),
            aligned=boolean("aligned_ar", self.aligned_ar),
            density=density,
        )

    def _learning(self) -> Learning:
        return Learning(
            init_epochs=check_integer("init_epochs", self.init_epochs, minimum=1),
            step_epochs=check_integer("step_epochs", self.step_epochs, minimum=0),
            adapt_epochs=check_integer("adapt_epochs", self.adapt_epochs, minimum=0),
            adapt_samples=check_integer("adapt_samples", self.adapt_samples, minimum=1),
            rate=check_positive("learning_rate", self.learning_rate),
            afresh=boolean("afresh", self.afresh),
            causal=boolean("causal", self.causal),
            prequential=boolean("prequential", self.prequential),
            location=one_of("location", self.location, get_args(Location)),
        )

    def _thresholds(self) -> Thresholds:
        auto = isinstance(self.threshold_low, str)
        if auto and self.threshold_low != "auto":
            raise InvalidArgumentError(
                f"threshold_low must be a number > 0 or 'auto', got {self.threshold_low!r}."
            )
        return Thresholds(
            high=check_positive("threshold_high", self.threshold_high),
            low=1.0 if auto else check_positive("threshold_low", self.threshold_low),
            settle=check_integer("settle", self.settle, minimum=0),
            patience=check_integer("patience", self.patience, minimum=1),
            floor=check_positive("loss_floor", self.loss_floor),
        )

    def _warm_up_length(self, n_samples: int, stream: Stream) -> int:
        """Return how many samples of a whole series are its warm-up block."""
        asked: object = self.n_init
        if asked is None:
            n_init = max(-(-n_samples // 10), 2 * stream.shape.span, stream.n_needed)
        elif isinstance(asked, float | np.floating):
            n_init = int(n_samples * check_fraction("n_init", asked, open_low=True))
        else:
            n_init = check_integer("n_init", asked, minimum=1)
        if n_init >= n_samples:
            raise InvalidArgumentError(
                f"the series has {n_samples} samples, but {n_init} are needed to warm up and at "
                "least one to be judged; give a longer series, or set n_init."
            )
        return n_init

    def _draw_seed(self) -> int:
        try:
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError as error:
            raise InvalidArgumentError(f"random_state is not usable: {error}.") from error


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """Return `value` if it is allowed, else raise `InvalidArgumentError`.

    Examples
    --------
    >>> one_of("missing", "hold", ("raise", "hold"))
    'hold'
    """
    if not isinstance(value, str) or value not in allowed:
        raise InvalidArgumentError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}."
        )
    return value


def boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool if it is one, else raise `InvalidArgumentError`.

    Examples
    --------
    >>> boolean("causal", np.True_)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise InvalidArgumentError(f"{name} must be True or False, got {value!r}.")
    return bool(value)
