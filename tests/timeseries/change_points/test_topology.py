"""Do sparse ensembles keep their numbers of connections, and nothing where there is none?"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsewire.core import CheckpointError, InfeasibleDensityError, NonFiniteError
from sparsewire.core.allocation import ER
from sparsewire.core.budget import LayerShape
from sparsewire.core.criteria import drop_count
from sparsewire.datasets import load_change_points
from sparsewire.timeseries.change_points import ALACPD
from sparsewire.timeseries.change_points.network import Ensemble, Floats, Shape
from sparsewire.timeseries.change_points.topology import Topology
from sparsewire.timeseries.metrics import f1_score_with_margin
from tests.timeseries.change_points.helpers import REFERENCE, shifted, small, two_shifts


def shape(density: float | None, n_units: int = 6) -> Shape:
    return Shape(
        n_channels=2, window=5, gap=2, n_lags=3, n_units=n_units, skips=(1, 3), density=density
    )


def gate_weights(flat: npt.NDArray[Any], sizes: Shape) -> dict[str, npt.NDArray[Any]]:
    """Cut the gates out by hand: rows are inputs, and each gate has `n_units` columns."""
    found, at, units = {}, 0, sizes.n_units
    for name, dims in sizes.blocks():
        block = flat[at : at + int(np.prod(dims))].reshape(dims)
        at += block.size
        if name in ("encoder.input", "encoder.recurrent", "decoder.input", "decoder.recurrent"):
            for k, gate in enumerate("ifgo"):
                found[f"{name}[{gate}]"] = block[:, k * units : (k + 1) * units]
    return found


def topology(detector: ALACPD) -> Topology:
    found = detector._stream.ensemble.topology
    assert found is not None
    return found


def inactive(detector: ALACPD) -> Floats:
    weights: Floats = detector._stream.ensemble.members[~topology(detector).active]
    return weights


def test_every_gate_gets_its_erdos_renyi_number_of_connections() -> None:
    sizes = shape(0.3)
    ensemble = Ensemble(sizes, seed=0)
    layers = [LayerShape(f"{n} {g}", (6, n)) for n in (2, 6, 6, 6) for g in "ifgo"]
    layers = [LayerShape(f"{k} {layer.name}", layer.shape) for k, layer in enumerate(layers)]
    weights = 4 * 6 * (2 + 6 + 6 + 6)
    expected = list(ER().counts(layers, round(0.3 * weights)).values())
    assert ensemble.topology is not None
    assert ensemble.topology.counts() == 2 * expected
    for member, active in zip(ensemble.members, ensemble.topology.active, strict=True):
        masks = gate_weights(active, sizes)
        assert [int(mask.sum()) for mask in masks.values()] == expected
        for name, block in gate_weights(member, sizes).items():
            assert not block[~masks[name]].any()
            assert block[masks[name]].all()


def test_only_gates_are_sparse_and_active_weights_begin_as_in_a_dense_ensemble() -> None:
    sparse, dense = Ensemble(shape(0.3), seed=4), Ensemble(shape(None), seed=4)
    assert sparse.topology is not None
    assert dense.topology is None
    active = sparse.topology.active
    np.testing.assert_array_equal(sparse.members, np.where(active, dense.members, 0.0))
    in_gates = sum(block.size for block in gate_weights(dense.members[0], shape(None)).values())
    assert (~active).sum() == 2 * (in_gates - round(0.3 * in_gates))


@given(
    density=st.floats(0.25, 1.0),
    n_units=st.integers(2, 7),
    seed=st.integers(0, 2**31 - 1),
    rounds=st.integers(1, 4),
)
@settings(max_examples=15)
def test_updates_and_training_keep_numbers_and_exact_zeros(
    density: float, n_units: int, seed: int, rounds: int
) -> None:
    ensemble = Ensemble(shape(density, n_units), seed)
    assert ensemble.topology is not None
    counts = ensemble.topology.counts()
    samples = np.random.default_rng(seed).normal(size=(15, 2))
    observed, lags = ensemble.windows(samples)
    for _ in range(rounds):
        ensemble.rewire()
        for n in range(len(observed)):  # after every single step
            ensemble.train(observed, lags, np.array([n]), 0.1)
            assert not ensemble.members[~ensemble.topology.active].any()
        assert ensemble.topology.counts() == counts


def test_an_update_drops_the_weights_nearest_to_zero_and_grows_zeros() -> None:
    sizes = shape(0.5)
    ensemble = Ensemble(sizes, seed=0)
    assert ensemble.topology is not None
    members, active = ensemble.members.copy(), ensemble.topology.active.copy()
    ensemble.rewire()
    assert ensemble.topology.n_updates == 1
    for k in range(2):
        before, after = (gate_weights(m[k], sizes) for m in (members, ensemble.members))
        was, now = (gate_weights(a[k], sizes) for a in (active, ensemble.topology.active))
        for name, weights in before.items():
            dropped = set()
            for side in (weights < 0, weights > 0):
                values = weights[side & was[name]]
                order = np.argsort(np.abs(values))[: drop_count(len(values), 0.3)]
                dropped |= {float(value) for value in values[order]}
            kept = was[name] & ~np.isin(weights, list(dropped))
            np.testing.assert_array_equal(after[name][kept], weights[kept])
            assert now[name][kept].all()
            assert not after[name][~kept].any()
            assert now[name].sum() == was[name].sum()
    outside = np.ones(sizes.n_parameters, dtype=bool)
    for block in gate_weights(outside, sizes).values():
        block[:] = False
    np.testing.assert_array_equal(ensemble.members[:, outside], members[:, outside])


def test_weights_that_are_not_finite_stop_an_update_before_it_changes_anything() -> None:
    ensemble = Ensemble(shape(0.5), seed=0)
    assert ensemble.topology is not None
    last = gate_weights(ensemble.members[1], shape(0.5))["decoder.recurrent[o]"]
    mask = gate_weights(ensemble.topology.active[1], shape(0.5))["decoder.recurrent[o]"]
    last[mask] = np.nan
    members, active = ensemble.members.copy(), ensemble.topology.active.copy()
    with pytest.raises(NonFiniteError):
        ensemble.rewire()
    np.testing.assert_array_equal(ensemble.members, members)
    np.testing.assert_array_equal(ensemble.topology.active, active)


@pytest.mark.parametrize("mode", [{}, REFERENCE])
def test_inactive_weights_are_zero_after_every_sample_of_a_stream(mode: dict[str, Any]) -> None:
    X = two_shifts()
    detector = small(density=0.3, **mode).fit(X[:60])
    counts = topology(detector).counts()
    assert topology(detector).n_updates == 9  # between ten passes
    for x in X[60:]:
        detector.update(x)
        assert not inactive(detector).any()
        assert topology(detector).counts() == counts
    assert detector.n_changes_ >= 2
    assert topology(detector).n_updates == 9 + detector.n_changes_  # and once after each


def test_density_one_equals_no_density_bit_for_bit() -> None:
    full, dense = small(density=1.0).detect(two_shifts()), small().detect(two_shifts())
    np.testing.assert_array_equal(full.scores, dense.scores)
    assert full.events == dense.events


def test_one_by_one_and_chunks_agree_when_sparse() -> None:
    X = two_shifts()
    whole = small(density=0.3)
    found = whole.detect(X)
    assert len(found.events) == 2
    singly, chunked = (small(density=0.3).fit(X[: found.n_init]) for _ in range(2))
    rest = X[found.n_init :]
    assert [e for x in rest for e in singly.update(x)] == found.events
    assert [e for part in np.split(rest, [1, 40, 55, 113]) for e in chunked.update(part)]
    for other in (singly, chunked):
        for name, value in whole._stream.arrays().items():
            np.testing.assert_array_equal(other._stream.arrays()[name], value, err_msg=name)


def test_a_seed_decides_the_connections_and_members_have_their_own() -> None:
    first, again, other = (
        topology(small(density=0.3, random_state=s).fit(shifted())).active for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


def test_the_warm_up_rehearsal_does_not_touch_the_connections() -> None:
    X = shifted()[:60]
    auto, fixed = (small(density=0.3, threshold_low=low).fit(X) for low in ("auto", 1.4))
    np.testing.assert_array_equal(topology(auto).active, topology(fixed).active)
    np.testing.assert_array_equal(auto._stream.ensemble.members, fixed._stream.ensemble.members)


def test_a_density_below_one_connection_a_gate_is_refused() -> None:
    with pytest.raises(InfeasibleDensityError, match=r"16 layers; choose a density in"):
        ALACPD(density=0.001).fit(shifted())


def test_what_is_saved_of_a_dense_detector_has_no_connections(tmp_path: Path) -> None:
    dense, sparse = small().fit(shifted()), small(density=0.3).fit(shifted())
    only_sparse = sparse._stream.arrays().keys() - dense._stream.arrays().keys()
    assert only_sparse == {"active", "kept_active", "topology"}
    assert (
        sparse.memory_bytes_ - dense.memory_bytes_ == 2 * sparse._stream.ensemble.members.size + 16
    )


@pytest.mark.parametrize(
    "damage", ["one more", "elsewhere", "dense bias", "missing", "wrong kind", "shape"]
)
def test_connections_that_do_not_fit_are_refused(damage: str, tmp_path: Path) -> None:
    detector = small(density=0.3).fit(shifted())
    detector.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as stored:
        arrays = dict(stored)
    active = arrays["active"]
    free = np.flatnonzero(~active[0])
    if damage == "one more":
        active[0, free[0]] = True
    elif damage == "elsewhere":  # the same number, but the weights stay where they were
        arrays["active"] = active[::-1].copy()
    elif damage == "dense bias":
        active[0, -1] = False
    elif damage == "missing":
        del arrays["active"]
    elif damage == "wrong kind":
        arrays["active"] = active.astype(np.int8)
    else:
        arrays["topology"] = np.zeros(3, dtype=np.int64)
    np.savez(tmp_path / "bad.npz", allow_pickle=False, **arrays)
    with pytest.raises(CheckpointError):
        ALACPD.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_a_sparse_detector_finds_changes_of_run_log(data_dir: Path, density: float) -> None:
    series = load_change_points("run_log")
    found = ALACPD(random_state=0, density=density).predict(series.values)
    assert f1_score_with_margin(series.annotations, found) >= 0.6
