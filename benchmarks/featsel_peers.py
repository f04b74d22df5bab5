"""Feature selectors of others, LassoNet and BorutaPy, in one table with ours.

    pip install lassonet boruta
    SPARSEWIRE_DATA=... python benchmarks/featsel_peers.py --datasets coil20,madelon \
        --methods quickselection,wast,neurofs,attribution,lassonet,boruta,f_classif,random \
        -k 50,madelon=20 --seeds 0..4 --jobs 1 --output peers

It is ``sparsewire bench featsel`` with two more methods: the same splits, judges, measurements,
options, files and resumption. Both run with their own defaults unless `--param` says otherwise, and
both are given what their documentation asks for: LassoNet standardised columns and labels from 0
on, BorutaPy a random forest of depth 5.
"""

import importlib
import importlib.util
import sys
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import typer
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import LabelEncoder, StandardScaler

from sparsewire.featsel.benchmark.cli import register_bench

NEEDED = ("lassonet", "boruta")


class LassoNet(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """The features that stay longest on LassoNet's path, from a dense network to none."""

    def __init__(
        self,
        k: int,
        seed: int,
        hidden_dims: tuple[int, ...] = (100,),
        batch_size: int | None = None,
        path_multiplier: float = 1.02,
        n_iters: tuple[int, int] = (1000, 100),
        patience: tuple[int, int] = (100, 10),
    ) -> None:
        self.k = k
        self.seed = seed
        self.hidden_dims = hidden_dims
        self.batch_size = batch_size
        self.path_multiplier = path_multiplier
        self.n_iters = n_iters
        self.patience = patience

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Follow the whole path."""
        network = importlib.import_module("lassonet").LassoNetClassifier(
            hidden_dims=self.hidden_dims,
            batch_size=self.batch_size,
            path_multiplier=self.path_multiplier,
            n_iters=self.n_iters,
            patience=self.patience,
            device="cpu",
            verbose=0,
            random_state=self.seed,
            torch_seed=self.seed,
        )
        network.fit(StandardScaler().fit_transform(X), LabelEncoder().fit_transform(y))
        order = np.argsort(-network.feature_importances_.numpy(), kind="stable")
        self.support_ = np.isin(np.arange(X.shape[1]), order[: self.k])
        return self

    def get_support(self) -> npt.NDArray[np.bool_]:
        """Return the mask of the features that were kept."""
        return self.support_


class Boruta(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """The best of BorutaPy's ranking; where it ties, mean importance in its forests decides."""

    def __init__(self, k: int, seed: int, max_iter: int = 100, max_depth: int = 5) -> None:
        self.k = k
        self.seed = seed
        self.max_iter = max_iter
        self.max_depth = max_depth

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> Self:
        """Compare the features with shuffled ones in many forests."""
        forest = RandomForestClassifier(max_depth=self.max_depth, class_weight="balanced")
        boruta = (
            importlib.import_module("boruta")
            .BorutaPy(forest, n_estimators="auto", max_iter=self.max_iter, random_state=self.seed)
            .fit(X, y)
        )
        importance = np.nan_to_num(boruta.importance_history_).mean(axis=0)
        order = np.lexsort((-importance, boruta.ranking_))
        self.support_ = np.isin(np.arange(X.shape[1]), order[: self.k])
        return self

    def get_support(self) -> npt.NDArray[np.bool_]:
        """Return the mask of the features that were kept."""
        return self.support_


def lassonet(*, k: int, seed: int, dataset: str, **parameters: Any) -> LassoNet:
    """Return an unfitted LassoNet."""
    return LassoNet(k, seed, **parameters)


def boruta(*, k: int, seed: int, dataset: str, **parameters: Any) -> Boruta:
    """Return an unfitted BorutaPy."""
    return Boruta(k, seed, **parameters)


def main() -> None:
    """Run from the command line."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"error: {' and '.join(missing)} not installed: pip install lassonet boruta")
        sys.exit(2)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register_bench(app)
    app(obj={"lassonet": lassonet, "boruta": boruta})


if __name__ == "__main__":
    main()
