"""What are irrelevant observation features made of? Draws that the state never influences.

The standard is i.i.d. normal noise with standard deviation 1, as in the extremely noisy
environments of Grooten et al. (2023), "Automatic Noise Filtering with Dynamic Sparse Training in
Deep Reinforcement Learning". `FeatureHistogram` gives noise features the marginal distributions of
real ones, so that their range does not give them away. Where the noise goes is `layout`'s question.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparsewire.core._validation import check_integer, check_positive, suggest
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.rl.envs._random import named_generator

Floats = npt.NDArray[np.float32]
# A function of a generator and a size (rows, n_noise) that returns an array of that size, like the
# methods of `numpy.random.Generator`.
Distribution = Callable[[np.random.Generator, tuple[int, int]], npt.ArrayLike]


def _standard_normal(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    return generator.standard_normal(size, dtype=np.float32)


def _standard_uniform(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    unit = generator.random(size, dtype=np.float32)
    return (2 * unit - 1) * np.float32(np.sqrt(3))  # variance 1, as the normal distribution


_NAMED: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": _standard_normal,
    "uniform": _standard_uniform,
}


@dataclass(frozen=True)
class Noise:
    """A checked noise distribution; `NoisyFeatures` builds it from its arguments.

    Parameters
    ----------
    distribution : {"normal", "uniform"} or callable
        See `sparsewire.rl.envs.NoisyFeatures`.
    std : float
        Standard deviation of a named distribution, at least 0; 1 for a callable, whose scale is
        its own.

    Raises
    ------
    InvalidArgumentError
        If the name is unknown, `std` is negative or not finite or given for a callable, or the
        callable cannot be pickled or returns anything but finite numbers of the size asked for.

    Examples
    --------
    >>> Noise("uniform", 2.0).draw(np.random.default_rng(0), rows=3, n_noise=5).shape
    (3, 5)
    """

    distribution: str | Distribution
    std: float

    def __post_init__(self) -> None:
        """Check the arguments, a callable by calling it once with a throw-away generator."""
        check_positive("noise_std", self.std, or_zero=True)
        if not callable(self.distribution):
            _check_name(self.distribution)
            return
        if self.std != 1:
            raise InvalidArgumentError(
                f"noise_std={self.std!r} applies to the distributions 'normal' and 'uniform' only; "
                "scale the values inside the callable and leave noise_std at 1."
            )
        _check_pickles(self.distribution)
        sample = _checked(self.distribution, named_generator("probe"), (2, 3))
        if not np.isfinite(sample).all():
            raise InvalidArgumentError(
                f"distribution={self.distribution!r} returned NaN or infinity; "
                "noise must be finite numbers."
            )

    def draw(self, generator: np.random.Generator, rows: int, n_noise: int) -> Floats:
        """Draw `rows` independent vectors of `n_noise` noise features.

        Parameters
        ----------
        generator : numpy.random.Generator
            The only source of randomness; advanced.
        rows, n_noise : int
            Shape of the result.

        Returns
        -------
        ndarray of float32 of shape (rows, n_noise)
            The noise.

        Raises
        ------
        InvalidArgumentError
            If a callable distribution returns another shape.
        """
        size = (rows, n_noise)
        if callable(self.distribution):
            return _checked(self.distribution, generator, size)
        noise = _NAMED[self.distribution](generator, size)
        if self.std != 1:
            noise *= np.float32(self.std)
        return noise


def _check_name(name: object) -> None:
    if name == "histogram":
        raise InvalidArgumentError(
            "distribution='histogram' needs data: pass "
            "distribution=FeatureHistogram.fit(observations, bins=100) with real observations."
        )
    if not isinstance(name, str) or name not in _NAMED:
        hint = suggest(name, _NAMED) if isinstance(name, str) else ""
        raise InvalidArgumentError(
            f"distribution must be 'normal', 'uniform' or a callable such as a FeatureHistogram, "
            f"got {name!r}.{hint}"
        )


def _check_pickles(distribution: object) -> None:
    # Else saving a replay buffer would fail after the training it was meant to save.
    try:
        pickle.dumps(distribution)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidArgumentError(
            f"distribution={distribution!r} cannot be pickled ({error}), so neither worker "
            "processes nor saved replay buffers could hold it; use a function defined at the top "
            "level of a module instead of a lambda or a local function."
        ) from error


def _checked(
    distribution: Distribution, generator: np.random.Generator, size: tuple[int, int]
) -> Floats:
    noise = np.asarray(distribution(generator, size), dtype=np.float32)
    if noise.shape != size:
        raise InvalidArgumentError(
            f"distribution={distribution!r} returned shape {noise.shape} for size {size}; a "
            "callable takes (generator, size) and returns an array of that size, as in "
            "`def noise(generator, size): return generator.laplace(size=size)`."
        )
    return noise


@dataclass(frozen=True, eq=False)
class FeatureHistogram:
    """Noise with the marginal distributions of real features, for ``NoisyFeatures(distribution=)``.

    Noise feature ``i`` follows the histogram of real feature ``i % n_features``: a bin is drawn
    with probability proportional to its count, then a value uniformly inside the bin. Correlations
    between features and over time are lost, which is the point.

    Parameters
    ----------
    edges : array-like of shape (n_features, n_bins + 1)
        Edges of the bins of each feature, finite and nowhere decreasing. Bins may have width 0.
    counts : array-like of shape (n_features, n_bins)
        Relative frequency of each bin: not negative, and not all zero for any feature. For
        densities, multiply by the widths of the bins first.

    Raises
    ------
    InvalidArgumentError
        If the shapes do not fit or an entry is out of range.

    Examples
    --------
    >>> observations = np.array([[0.0, 5.0], [1.0, 5.0], [0.1, 5.0]])
    >>> histogram = FeatureHistogram.fit(observations, bins=2)
    >>> histogram.counts.tolist()
    [[2.0, 1.0], [0.0, 3.0]]
    >>> noise = histogram(np.random.default_rng(0), (4, 3))
    >>> noise[:, 1].tolist()
    [5.0, 5.0, 5.0, 5.0]
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Copy the arrays, make the copies read-only and check them."""
        for name in ("edges", "counts"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check()

    def _check(self) -> None:
        n_features, n_bins = (*self.counts.shape, 0, 0)[:2]
        shape = (n_features, n_bins + 1)
        if self.counts.ndim != 2 or self.counts.size == 0 or self.edges.shape != shape:
            raise InvalidArgumentError(
                "counts must have shape (n_features, n_bins) and edges (n_features, n_bins + 1), "
                f"none of them 0, got {self.counts.shape} and {self.edges.shape}."
            )
        if not np.isfinite(self.edges).all() or (np.diff(self.edges, axis=1) < 0).any():
            raise InvalidArgumentError("edges must be finite and nowhere decrease along a feature.")
        weights = self.counts.sum(axis=1)
        if not np.isfinite(weights).all() or (self.counts < 0).any() or (weights == 0).any():
            raise InvalidArgumentError(
                "counts must be finite and not negative, with at least one positive per feature."
            )

    @classmethod
    def fit(cls, observations: npt.ArrayLike, bins: int = 100) -> "FeatureHistogram":
        """Count real observations, such as those of a random policy, into bins of equal width.

        Parameters
        ----------
        observations : array-like of shape (n_samples, n_features)
            Finite numbers, at least one sample. Each feature's bins span its own range.
        bins : int, default 100
            Number of bins per feature; 100 as in Grooten et al. (2023).

        Returns
        -------
        FeatureHistogram
            The fitted histogram.

        Raises
        ------
        InvalidArgumentError
            If `observations` is not such an array or `bins` is below 1.
        """
        bins = check_integer("bins", bins, minimum=1)
        data = np.asarray(observations, dtype=np.float64)
        if data.ndim != 2 or data.size == 0 or not np.isfinite(data).all():
            raise InvalidArgumentError(
                "observations must be finite numbers of shape (n_samples, n_features), at least "
                f"one of each, got shape {data.shape}."
            )
        edges = np.linspace(data.min(axis=0), data.max(axis=0), bins + 1, axis=1)
        counts = [np.histogram(x, bins=e)[0] for x, e in zip(data.T, edges, strict=True)]
        return cls(edges, np.array(counts, dtype=np.float64))

    def __call__(
        self, generator: np.random.Generator, size: tuple[int, int]
    ) -> npt.NDArray[np.float64]:
        """Draw noise of shape `size`, (rows, n_noise)."""
        n_features, n_bins = self.counts.shape
        feature = np.arange(size[1]) % n_features
        # The cumulative probabilities of feature j, shifted to [j, j + 1], form one sorted array.
        mass = np.cumsum(self.counts, axis=1)
        limits = (mass / mass[:, -1:] + np.arange(n_features)[:, None]).ravel()
        place = np.searchsorted(limits, feature + generator.random(size), side="right")
        bin_ = np.minimum(place - feature * n_bins, n_bins - 1)
        low, high = self.edges[feature, bin_], self.edges[feature, bin_ + 1]
        noise: npt.NDArray[np.float64] = low + (high - low) * generator.random(size)
        return noise

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureHistogram):
            return NotImplemented
        return np.array_equal(self.edges, other.edges) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.edges.tobytes(), self.counts.tobytes()))

    def __repr__(self) -> str:
        n_features, n_bins = self.counts.shape
        return f"FeatureHistogram(n_features={n_features}, n_bins={n_bins})"
