"""How good are selectors that train nothing? Two references, one strong and one blind.

`LaplacianScore` prefers features that change little between neighbouring rows: cheap, unsupervised,
and on Madelon better than sparse networks. `RandomSelector` draws its ranking; what does not beat
it has learned nothing. Neither looks at a target.

References
----------
He, Cai and Niyogi (2005). Laplacian score for feature selection. Advances in Neural Information
Processing Systems 18.
"""

from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import Interval, StrOptions

from sparsewire.core import InvalidArgumentError
from sparsewire.featsel.base import BaseSelector
from sparsewire.featsel.rows import Floats, RowScaler

Indices = npt.NDArray[np.int64]

# Working memory: rows are handled in blocks of at most so many, with at most so many values.
_BLOCK_ROWS, _BLOCK_VALUES = 512, 2**20


class LaplacianScore(BaseSelector):
    """Select features that respect the neighbourhoods of the rows, without a target.

    Each row is joined with its nearest neighbours, close ones more strongly (heat kernel). The
    score of a feature is the share of its variance that lies between joined rows: a feature that
    follows the shape of the data hardly differs there, noise does as much as anywhere.

    Parameters
    ----------
    n_features_to_select : int, float, "probe" or None, default None
        How many features to keep: a number, a share in (0, 1], those that beat the shuffled copies
        of all features, or None for half of them. With "probe" the copies take part in the
        distances between rows.
    redundancy : float, default 0.0
        Weight of the mean absolute correlation with the features chosen before; 0 ignores it.
    n_neighbors : int, default 5
        Neighbours per row (paper), at most all other rows.
    scale : {"standard", "minmax", "global"} or None, default "minmax"
        Scaling of the columns before distances are taken; `transform` returns the original values.
    max_samples : int, default 4000
        With more rows than this, a random sample of them makes the graph: the time grows with the
        square of their number.
    random_state : int, RandomState or None, default None
        Seed of that sample, and of the shuffled copies.

    Attributes
    ----------
    feature_importances_ : ndarray of shape (n_features,), float64
        One minus half the Laplacian score, in [0, 1], the larger the better; 0 for constant
        features.
    order_ : ndarray of shape (n_features,), int64
        Feature indices, best first.
    ranking_ : ndarray of shape (n_features,), int64
        1 for every selected feature, then 2, 3, ... by falling importance.
    support_ : ndarray of shape (n_features,), bool
        The selected features.
    n_features_to_select_ : int
        How many were selected.
    shadow_importance_ : float
        With "probe", the largest importance of a shuffled copy.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of str
        Their names, if `X` has string column names.

    Notes
    -----
    The width of the kernel is the mean squared distance between a row and its neighbours. Besides
    `X`, memory is that of the graph's n_neighbors edges per row, some numbers per feature and a few
    blocks of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, _ = load_breast_cancer(return_X_y=True)
    >>> LaplacianScore(10).fit(X).transform(X).shape
    (569, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSelector._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "scale": [StrOptions({"standard", "minmax", "global"}), None],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        n_features_to_select: int | float | Literal["probe"] | None = None,
        *,
        redundancy: float = 0.0,
        n_neighbors: int = 5,
        scale: Literal["standard", "minmax", "global"] | None = "minmax",
        max_samples: int = 4000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.n_neighbors = n_neighbors
        self.scale = scale
        self.max_samples = max_samples
        self.random_state = random_state

    def _rows(self, X: Any) -> RowScaler:
        return RowScaler(X, self.scale, "float64")

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        n_samples = rows.shape[0]
        chosen = np.arange(n_samples)
        if n_samples > self.max_samples:
            chosen = np.random.default_rng(seed).choice(n_samples, self.max_samples, replace=False)
        sample = _Sample(rows, np.sort(chosen))
        with np.errstate(over="ignore", invalid="ignore"):
            graph = _heat_graph(sample, min(int(self.n_neighbors), len(chosen) - 1))
        return 1.0 - _laplacian_scores(sample, graph) / 2.0


class RandomSelector(BaseSelector):
    """Select features by lot: the reference that every method has to beat.

    Random pixels of an image say much about it, so the reference is stronger than it looks.

    Parameters
    ----------
    n_features_to_select : int, float, "probe" or None, default None
        How many features to keep: a number, a share in (0, 1], those that draw more than the
        shuffled copies of all features, or None for half of them.
    redundancy : float, default 0.0
        Weight of the mean absolute correlation with the features chosen before; 0 ignores it.
    random_state : int, RandomState or None, default None
        Seed of the draw.

    Attributes
    ----------
    feature_importances_ : ndarray of shape (n_features,), float64
        Uniform in [0, 1); 0 for constant features.
    order_ : ndarray of shape (n_features,), int64
        Feature indices, best first.
    ranking_ : ndarray of shape (n_features,), int64
        1 for every selected feature, then 2, 3, ... by falling importance.
    support_ : ndarray of shape (n_features,), bool
        The selected features.
    n_features_to_select_ : int
        How many were selected.
    shadow_importance_ : float
        With "probe", the largest importance of a shuffled copy.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of str
        Their names, if `X` has string column names.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, _ = load_breast_cancer(return_X_y=True)
    >>> RandomSelector(10, random_state=0).fit(X).transform(X).shape
    (569, 10)
    """

    def __init__(
        self,
        n_features_to_select: int | float | Literal["probe"] | None = None,
        *,
        redundancy: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.redundancy = redundancy
        self.random_state = random_state

    def _train(self, rows: RowScaler, y: npt.NDArray[Any] | None, seed: int) -> Floats:
        return np.random.default_rng(seed).random(rows.shape[1])


class _Sample:
    """The sampled rows, relative to the first of them, in blocks.

    A column that is constant in the sample is exactly 0 this way, and the same large number added
    to all rows costs the distances no digits.
    """

    def __init__(self, rows: RowScaler, chosen: Indices) -> None:
        self._rows = rows
        self._chosen = chosen
        self._origin = rows.rows(chosen[:1])
        self.n_rows, self.n_columns = len(chosen), rows.shape[1]

    def __getitem__(self, places: Indices) -> Floats:
        values: Floats = self._rows.rows(self._chosen[places]) - self._origin
        return values

    def blocks(self, n_items: int) -> Iterator[Indices]:
        """Yield 0, 1, ..., n_items - 1 in pieces, so many rows of which may be in memory."""
        length = min(_BLOCK_ROWS, max(1, _BLOCK_VALUES // self.n_columns))
        for start in range(0, n_items, length):
            yield np.arange(start, min(start + length, n_items))


class _Graph(NamedTuple):
    """Undirected edges between rows `first` and `second`, of the given weights."""

    first: Indices
    second: Indices
    weight: Floats


def _heat_graph(sample: _Sample, n_neighbors: int) -> _Graph:
    """Join each row with its nearest neighbours; the weight falls with the squared distance."""
    neighbours = _neighbours(sample, n_neighbors)
    origin = np.repeat(np.arange(sample.n_rows), n_neighbors)
    pairs = np.sort(np.stack([origin, neighbours.ravel()], axis=1), axis=1)
    (first, second), multiplicity = _distinct(pairs)
    # The products that found the neighbours cancel for close ones, so take differences here.
    squared = np.empty(len(first))
    for edges in sample.blocks(len(first)):
        difference = sample[first[edges]] - sample[second[edges]]
        squared[edges] = np.einsum("ij,ij->i", difference, difference)
    width = float(np.average(squared, weights=multiplicity))
    if not np.isfinite(width):
        raise InvalidArgumentError(
            "rows of X are too far apart for their distances to be computed in double precision; "
            "use scale='minmax' or 'standard'."
        )
    return _Graph(first, second, np.exp(-squared / (width or 1.0)))


def _neighbours(sample: _Sample, n_neighbors: int) -> Indices:
    """Return the nearest other rows of each row, shape (n_rows, n_neighbors), in any order."""
    distance = np.full((sample.n_rows, n_neighbors), np.inf)
    place = np.zeros((sample.n_rows, n_neighbors), dtype=np.int64)
    for block in sample.blocks(sample.n_rows):
        own = sample[block]
        for others in sample.blocks(sample.n_rows):
            if others[0] < block[0]:
                continue  # done with the roles exchanged
            other = own if others[0] == block[0] else sample[others]
            squared = _squared_distances(own, other)
            if others[0] == block[0]:
                np.fill_diagonal(squared, np.inf)
            else:
                _keep_nearest(distance, place, others, block, squared.T)
            _keep_nearest(distance, place, block, others, squared)
    return place


def _squared_distances(own: Floats, other: Floats) -> Floats:
    own_norm, other_norm = (np.einsum("ij,ij->i", rows, rows) for rows in (own, other))
    squared: Floats = own_norm[:, None] + other_norm - 2 * own @ other.T
    return squared


def _keep_nearest(
    distance: Floats, place: Indices, rows: Indices, candidates: Indices, squared: Floats
) -> None:
    """Let candidates replace those neighbours of the rows that are farther away."""
    n_neighbors = distance.shape[1]
    distances = np.hstack([distance[rows], squared])
    places = np.hstack([place[rows], np.broadcast_to(candidates, squared.shape)])
    best = np.argpartition(distances, n_neighbors - 1, axis=1)[:, :n_neighbors]
    distance[rows] = np.take_along_axis(distances, best, axis=1)
    place[rows] = np.take_along_axis(places, best, axis=1)


def _distinct(pairs: Indices) -> tuple[tuple[Indices, Indices], Indices]:
    """Return each pair once, as two arrays, and how often it occurred."""
    code, count = np.unique(pairs[:, 0] * (pairs.max() + 1) + pairs[:, 1], return_counts=True)
    return np.divmod(code, pairs.max() + 1), count


def _laplacian_scores(sample: _Sample, graph: _Graph) -> Floats:
    """Return the score of each column, in [0, 2]; 2 for one that does not vary in the sample."""
    degree = np.bincount(graph.first, graph.weight, sample.n_rows)
    degree += np.bincount(graph.second, graph.weight, sample.n_rows)
    between, total, mean = np.zeros((3, sample.n_columns))
    for edges in sample.blocks(len(graph.first)):
        difference = sample[graph.first[edges]] - sample[graph.second[edges]]
        between += graph.weight[edges] @ difference**2
    for block in sample.blocks(sample.n_rows):
        mean += degree[block] @ sample[block] / degree.sum()
    for block in sample.blocks(sample.n_rows):
        total += degree[block] @ (sample[block] - mean) ** 2
    scores = np.full(sample.n_columns, 2.0)
    np.divide(between, total, out=scores, where=total > 0)
    capped: Floats = np.minimum(scores, 2.0)  # rounding
    return capped
