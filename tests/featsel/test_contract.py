"""Is every selector a well-behaved scikit-learn citizen and a polite guest in a process?"""

import io
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparsewire.featsel import NeuroFS
from sparsewire.featsel.base import BaseSelector, BaseSparseSelector, SupervisedSelector
from tests.featsel.fast_selectors import NETWORKS, SELECTORS, Make, maker

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
N_SAMPLES, N_FEATURES = 60, 9

EXTRA_CHECKS = [
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_transformer_get_feature_names_out_pandas,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_set_output_transform_pandas,
    estimator_checks.check_global_output_transform_pandas,
    estimator_checks.check_param_validation,
    estimator_checks.check_dataframe_column_names_consistency,
    estimator_checks.check_get_feature_names_out_error,
    estimator_checks.check_inplace_ensure_writeable,
    estimator_checks.check_n_features_in_after_fitting,
]
SPARSE_CONTAINERS = [
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.coo_matrix,
    sparse.csr_array,
    sparse.csc_array,
    sparse.coo_array,
]


@pytest.fixture(name="small", params=list(SELECTORS))
def _small(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(name="network", params=NETWORKS)
def _network(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(name="X")
def _table() -> Floats:
    """Rows of rank 3 plus noise, a third of the entries exactly zero."""
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(N_SAMPLES, 3)) @ rng.normal(size=(3, N_FEATURES))
    dense += 0.1 * rng.normal(size=dense.shape)
    dense[rng.random(dense.shape) < 1 / 3] = 0.0
    return dense


@pytest.fixture
def y(X: Floats) -> Labels:
    return (X[:, 0] > 0).astype(np.int64)


# ------------------------------------------------------------------ scikit-learn's own checks


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        kind(**{**fast, "epochs": 2} if "epochs" in fast else fast)
        for kind, fast in SELECTORS.values()
    ]
)
def test_a_small_selector_passes_every_scikit_learn_check(
    estimator: BaseSelector, check: Callable[[BaseSelector], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([kind() for kind, _ in SELECTORS.values()])  # type: ignore[untyped-decorator]
def test_the_default_selector_passes_every_scikit_learn_check(
    estimator: BaseSelector, check: Callable[[BaseSelector], None]
) -> None:
    check(estimator)


# Two of the checks mix frames and arrays on purpose, about which scikit-learn itself warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("check", EXTRA_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(SELECTORS))
def test_a_selector_passes_checks_that_check_estimator_leaves_out(
    name: str, check: Callable[[str, BaseSelector], None]
) -> None:
    kind, fast = SELECTORS[name]
    check(name, kind(**fast))


@pytest.mark.skipif(find_spec("polars") is None, reason="polars is not installed")
@pytest.mark.parametrize("name", list(SELECTORS))
def test_a_selector_returns_polars_frames_where_polars_is_installed(name: str) -> None:
    kind, fast = SELECTORS[name]
    estimator_checks.check_set_output_transform_polars(name, kind(**fast))


@pytest.mark.parametrize("base", [BaseSelector, BaseSparseSelector, SupervisedSelector])
def test_a_base_class_cannot_be_instantiated(base: type[BaseSelector]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        base()


# ------------------------------------------------------------------ the selector's interface


def test_transform_returns_the_selected_columns_of_the_original_values(
    X: Floats, small: Make, y: Labels
) -> None:
    selector = small().fit(X, y)
    np.testing.assert_array_equal(selector.transform(X), X[:, selector.support_])
    np.testing.assert_array_equal(selector.fit_transform(X, y), X[:, selector.support_])


def test_get_support_agrees_as_mask_and_as_indices(X: Floats, small: Make, y: Labels) -> None:
    selector = small().fit(X, y)
    mask, indices = selector.get_support(), selector.get_support(indices=True)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, selector.support_)
    np.testing.assert_array_equal(indices, np.flatnonzero(selector.support_))


def test_inverse_transform_puts_zeros_where_features_were_left_out(
    X: Floats, small: Make, y: Labels
) -> None:
    selector = small().fit(X, y)
    restored = selector.inverse_transform(selector.transform(X))
    np.testing.assert_array_equal(restored, np.where(selector.support_, X, 0.0))


def test_get_feature_names_out_names_the_selected_columns_in_their_order(
    X: Floats, small: Make, y: Labels
) -> None:
    names = [f"pixel {index}" for index in range(N_FEATURES)]
    framed = small().fit(pd.DataFrame(X, columns=names), y)
    bare = small().fit(X, y)
    chosen = np.flatnonzero(framed.support_)
    assert framed.get_feature_names_out().tolist() == [names[index] for index in chosen]
    assert bare.get_feature_names_out().tolist() == [f"x{index}" for index in chosen]
    assert framed.feature_names_in_.tolist() == names
    assert not hasattr(bare, "feature_names_in_")


def test_refitting_on_an_array_forgets_the_column_names(X: Floats, small: Make, y: Labels) -> None:
    selector = small().fit(pd.DataFrame(X, columns=list("abcdefghi")), y).fit(X, y)
    assert not hasattr(selector, "feature_names_in_")
    assert set(selector.get_feature_names_out()) <= {f"x{index}" for index in range(N_FEATURES)}


def test_set_output_returns_a_frame_with_the_index_of_the_input(
    X: Floats, small: Make, y: Labels
) -> None:
    frame = pd.DataFrame(X, columns=list("abcdefghi"), index=pd.RangeIndex(100, 100 + N_SAMPLES))
    selector = small().set_output(transform="pandas")
    result = selector.fit_transform(frame, y)
    assert isinstance(result, pd.DataFrame)
    pd.testing.assert_frame_equal(result, frame.loc[:, selector.support_])


def test_a_frame_and_its_array_give_the_same_selection(X: Floats, small: Make, y: Labels) -> None:
    frame = pd.DataFrame(X, columns=list("abcdefghi"))
    np.testing.assert_array_equal(
        small().fit(frame, y).feature_importances_, small().fit(X, y).feature_importances_
    )


@pytest.mark.parametrize("container", SPARSE_CONTAINERS, ids=lambda kind: kind.__name__)
def test_sparse_input_gives_the_same_selection_as_dense_and_csr_out(
    container: Any, X: Floats, small: Make, y: Labels
) -> None:
    sparse_X = container(X)
    selector = small().fit(sparse_X, y)
    dense = small().fit(X, y)
    np.testing.assert_allclose(selector.feature_importances_, dense.feature_importances_, rtol=1e-5)
    np.testing.assert_array_equal(selector.support_, dense.support_)
    result = selector.transform(sparse_X)
    assert sparse.issparse(result)
    assert result.format == "csr"
    np.testing.assert_array_equal(result.toarray(), X[:, selector.support_])


def test_sparse_input_with_repeated_entries_is_understood_and_left_alone(
    X: Floats, small: Make, y: Labels
) -> None:
    csr = sparse.csr_array(X)
    repeated = sparse.csr_array(
        (np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), csr.indptr * 2), shape=csr.shape
    )
    selector = small().fit(repeated, y)
    assert repeated.nnz == 2 * csr.nnz
    np.testing.assert_array_equal(
        selector.feature_importances_, small().fit(csr, y).feature_importances_
    )


def test_sparse_input_with_wide_indices_is_accepted(X: Floats, small: Make, y: Labels) -> None:
    csr = sparse.csr_array(X)
    wide = sparse.csr_array(
        (csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), shape=csr.shape
    )
    np.testing.assert_array_equal(small().fit(wide, y).support_, small().fit(csr, y).support_)


def test_the_selector_works_inside_a_pipeline(X: Floats, y: Labels, small: Make) -> None:
    pipeline = make_pipeline(StandardScaler(), small(3), KNeighborsClassifier(1)).fit(X, y)
    assert pipeline[:-1].transform(X).shape == (N_SAMPLES, 3)
    assert pipeline.score(X, y) == 1.0
    assert len(pipeline[:-1].get_feature_names_out()) == 3


def test_a_grid_search_gives_the_same_scores_on_one_and_two_workers(
    X: Floats, y: Labels, small: Make
) -> None:
    pipeline = Pipeline([("select", small()), ("judge", KNeighborsClassifier(3))])
    grid = {"select__n_features_to_select": [1, 0.5], "select__redundancy": np.linspace(0.0, 2, 2)}
    one, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert one.best_params_ == two.best_params_
    np.testing.assert_array_equal(
        one.best_estimator_["select"].feature_importances_,
        two.best_estimator_["select"].feature_importances_,
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_fits_in_parallel_equal_fits_one_after_the_other(
    backend: str, X: Floats, small: Make, y: Labels
) -> None:
    seeds = range(4)
    alone = [small(random_state=seed).fit(X, y) for seed in seeds]
    together = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(small(random_state=seed).fit)(X, y) for seed in seeds
    )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.feature_importances_, other.feature_importances_)


@pytest.mark.parametrize("prefit", [False, True])
def test_select_from_model_can_use_the_importances(
    prefit: bool, X: Floats, small: Make, y: Labels
) -> None:
    inner = small().fit(X, y)
    meta = SelectFromModel(inner, threshold=-np.inf, max_features=2, prefit=prefit).fit(X, y)
    np.testing.assert_array_equal(meta.get_support(indices=True), np.sort(inner.order_[:2]))


# ------------------------------------------------------------------ copies and pickles


class _TorchRefusing(pickle.Unpickler):
    """Loads a pickle as a machine would that cannot rebuild any torch object."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "torch":
            raise AssertionError(f"the pickle holds {module}.{name}")
        return super().find_class(module, name)


def test_clone_copies_every_parameter_and_no_result(X: Floats, small: Make, y: Labels) -> None:
    selector = small(3, redundancy=0.5, random_state=7).fit(X, y)
    copied = clone(selector)
    assert copied.get_params() == selector.get_params()
    assert not [name for name in vars(copied) if name.endswith("_")]


def test_fit_changes_no_parameter(X: Floats, network: Make, y: Labels) -> None:
    selector = network(0.3, batch_size=10_000)
    before = selector.get_params()
    selector.fit(X, y)
    assert selector.get_params() == before


def test_a_pickle_holds_no_torch_object_and_still_selects(
    X: Floats, small: Make, y: Labels
) -> None:
    selector = small().fit(X, y)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        payload = pickle.dumps(selector, protocol)
        copied = _TorchRefusing(io.BytesIO(payload)).load()
        np.testing.assert_array_equal(copied.transform(X), selector.transform(X))


def test_a_pickled_network_keeps_connections_and_history(
    X: Floats, network: Make, y: Labels
) -> None:
    selector = network().fit(X, y)
    copied = pickle.loads(pickle.dumps(selector))
    for one, other in zip(copied.connections_, selector.connections_, strict=True):
        assert (one != other).nnz == 0
    assert copied.history_ == selector.history_


# ------------------------------------------------------------------ manners in a shared process


def test_read_only_memory_mapped_input_is_accepted_and_unchanged(
    X: Floats, tmp_path: Path, small: Make, y: Labels
) -> None:
    joblib.dump(X, tmp_path / "X.joblib")
    mapped = joblib.load(tmp_path / "X.joblib", mmap_mode="r")
    assert not mapped.flags.writeable
    selector = small().fit(mapped, y)
    np.testing.assert_array_equal(
        selector.feature_importances_, small().fit(X, y).feature_importances_
    )


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_fit_does_not_change_its_input(
    convert: Callable[[Floats], Any], X: Floats, small: Make, y: Labels
) -> None:
    given = convert(X.copy())
    small().fit(given, y)
    dense = given.toarray() if sparse.issparse(given) else given
    np.testing.assert_array_equal(dense, X)


def test_global_random_number_generators_are_left_alone(X: Floats, small: Make, y: Labels) -> None:
    def states() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), kind, list(keys), *rest, random.getstate()

    before = states()
    small().fit(X, y)
    assert states() == before
    small(random_state=np.random.RandomState(0)).fit(X, y)
    assert states() == before


def test_threads_grad_mode_and_default_dtype_of_torch_are_left_alone(
    X: Floats, small: Make, y: Labels
) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.are_deterministic_algorithms_enabled(),
        )

    before = settings()
    small().fit(X, y)
    assert settings() == before


@pytest.fixture
def restore_torch_defaults() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("restore_torch_defaults")
def test_the_global_default_dtype_has_no_effect_on_the_result(
    X: Floats, small: Make, y: Labels
) -> None:
    expected = small().fit(X, y).feature_importances_
    torch.set_default_dtype(torch.float64)
    np.testing.assert_array_equal(small().fit(X, y).feature_importances_, expected)


@pytest.mark.usefixtures("restore_torch_defaults")
def test_the_global_default_device_has_no_effect_on_the_result(
    X: Floats, small: Make, y: Labels
) -> None:
    expected = small().fit(X, y).feature_importances_
    torch.set_default_device("meta")
    np.testing.assert_array_equal(small().fit(X, y).feature_importances_, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fitting_works_where_the_caller_switched_gradients_off(
    mode: Callable[[], Any], X: Floats, small: Make, y: Labels
) -> None:
    expected = small().fit(X, y).feature_importances_
    with mode():
        found = small().fit(X, y).feature_importances_
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_progress_bar_appears_only_if_asked_for_and_only_on_stderr(
    verbose: int, X: Floats, capsys: pytest.CaptureFixture[str], network: Make, y: Labels
) -> None:
    selector = network(verbose=verbose).fit(X, y)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (f"{selector.n_iter_}/{selector.epochs}" in captured.err) == bool(verbose)
    assert bool(captured.err) == bool(verbose)


# ------------------------------------------------------------------ what every network publishes


def test_a_network_publishes_what_it_learned(X: Floats, network: Make, y: Labels) -> None:
    selector = network().fit(X, y)
    assert selector.feature_importances_.dtype == np.float64
    assert (selector.feature_importances_ >= 0).all()
    lengths = {len(values) for values in selector.history_.values()}
    assert lengths == {selector.n_iter_}
    assert set(selector.history_) >= {"loss", "seconds", "n_connections", "n_active_inputs"}
    assert selector.history_["n_connections"][-1] >= sum(c.nnz for c in selector.connections_)
    shapes = [layer.shape for layer in selector.connections_]
    assert shapes[0][0] == N_FEATURES
    assert all(one[1] == other[0] for one, other in pairwise(shapes))
    weights = sum(rows * columns for rows, columns in shapes)
    assert selector.density_ == sum(c.nnz for c in selector.connections_) / weights
    assert selector.device_ == "cpu"


def test_masked_and_csr_storage_select_the_same(X: Floats, network: Make, y: Labels) -> None:
    csr, masked = (
        network(storage=storage, dtype="float64").fit(X, y) for storage in ("csr", "masked")
    )
    np.testing.assert_allclose(
        csr.feature_importances_, masked.feature_importances_, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(csr.history_["loss"], masked.history_["loss"], rtol=1e-6)


def test_ranking_order_and_support_agree(X: Floats, small: Make, y: Labels) -> None:
    selector = small().fit(X, y)
    assert sorted(selector.order_.tolist()) == list(range(N_FEATURES))
    assert set(selector.order_[:4].tolist()) == set(np.flatnonzero(selector.support_).tolist())
    expected = np.maximum(1, np.arange(N_FEATURES) - 4 + 2)
    np.testing.assert_array_equal(selector.ranking_[selector.order_], expected)


def test_probe_is_understood_by_all_but_neurofs(X: Floats, small: Make, y: Labels) -> None:
    selector = small("probe", random_state=3)
    if isinstance(selector, NeuroFS):
        with pytest.raises(ValueError, match="probe"):
            selector.fit(X, y)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no feature is more important")
        selector.fit(X, y)
    kept = selector.feature_importances_ > selector.shadow_importance_
    assert selector.support_.sum() == max(1, kept.sum())


def test_all_but_neurofs_keep_another_number_without_a_new_fit(
    X: Floats, small: Make, y: Labels
) -> None:
    selector = small(3).fit(X, y)
    if isinstance(selector, NeuroFS):
        assert not hasattr(selector, "set_n_features")
        return
    selector.set_n_features(5)
    np.testing.assert_array_equal(selector.support_, small(5).fit(X, y).support_)


def test_redundancy_reorders_without_touching_importances(
    X: Floats, small: Make, y: Labels
) -> None:
    plain, careful = small().fit(X, y), small(redundancy=1.0).fit(X, y)
    np.testing.assert_array_equal(plain.feature_importances_, careful.feature_importances_)
    assert careful.support_.sum() == 4
