"""Does a detector continue bit for bit after a file, a pickle, a copy, and does it stay small?"""

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsewire.core import CheckpointError
from sparsewire.timeseries.change_points import ALACPD
from tests.timeseries.change_points.helpers import REFERENCE, small, two_shifts


def through_file(detector: ALACPD, folder: Path) -> ALACPD:
    detector.save(folder / "detector.npz")
    return ALACPD.load(folder / "detector.npz")


def through_pickle(detector: ALACPD, folder: Path) -> ALACPD:
    again: ALACPD = pickle.loads(pickle.dumps(detector))
    return again


def through_copy(detector: ALACPD, folder: Path) -> ALACPD:
    return copy.deepcopy(detector)


@pytest.mark.parametrize("way", [through_file, through_pickle, through_copy])
@pytest.mark.parametrize("moment", [60, 82, 83, 84, 141, 150])
@pytest.mark.parametrize("mode", [{}, REFERENCE, {"density": 0.3}])
def test_a_stream_continues_bit_for_bit(
    tmp_path: Path, way: Callable[[ALACPD, Path], ALACPD], moment: int, mode: dict[str, Any]
) -> None:
    X = two_shifts()
    whole, stopped = (small(**mode).fit(X[:60]) for _ in range(2))
    events = whole.update(X[60:])
    before = stopped.update(X[60:moment])
    resumed = way(stopped, tmp_path)
    after = resumed.update(X[moment:])
    assert before + after == events
    assert len(events) >= 2
    assert resumed.get_params() == whole.get_params()
    for name, value in whole._stream.arrays().items():
        found = resumed._stream.arrays()[name]
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value, err_msg=name)


@pytest.mark.parametrize("density", [None, 0.3])
def test_a_stream_may_be_saved_and_loaded_between_all_its_samples(
    tmp_path: Path, density: float | None
) -> None:
    X = two_shifts()
    whole, stopped = (small(density=density).fit(X[:60]) for _ in range(2))
    events = []
    for k, x in enumerate(X[60:]):
        stopped = (through_file, through_pickle, through_copy)[k % 3](stopped, tmp_path)
        events += stopped.update(x)
    assert events == whole.update(X[60:])
    assert len(events) == 2
    for name, value in whole._stream.arrays().items():
        np.testing.assert_array_equal(stopped._stream.arrays()[name], value, err_msg=name)


def test_a_file_of_a_detector_from_before_density_can_be_read(tmp_path: Path) -> None:
    detector = small().fit(two_shifts()[:60])
    detector.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as stored:
        arrays = dict(stored)
    text = str(arrays["description"])
    assert '"density": null, ' in text
    arrays["description"] = np.array(text.replace('"density": null, ', ""))
    np.savez(tmp_path / "old.npz", allow_pickle=False, **arrays)
    old = ALACPD.load(tmp_path / "old.npz")
    assert old.update(two_shifts()[60:]) == detector.update(two_shifts()[60:])


def test_parameters_set_after_fit_do_not_spoil_the_file(tmp_path: Path) -> None:
    X = two_shifts()
    detector = small(skips=[2, 3]).fit(X[:60])
    detector.skips.append(9)  # type: ignore[attr-defined]
    detector.set_params(n_units=8, threshold_high=90.0, density=0.1, missing="hold")
    resumed = through_file(detector, tmp_path)
    assert (resumed.n_units, resumed.skips, resumed.density) == (4, (2, 3), None)
    assert resumed.missing == "hold"  # this one counts at once
    again = through_file(resumed, tmp_path)
    events = detector.update(X[60:])
    assert resumed.update(X[60:]) == again.update(X[60:]) == events
    assert len(events) == 2


_FRESH = """
import hashlib, sys
import numpy as np
from sparsewire.timeseries.change_points import ALACPD
X = np.random.default_rng(0).normal(size=(80, 2))
detector = ALACPD(random_state=0)
scores = detector.score_samples(X)
print(hashlib.sha256(scores.tobytes() + detector._stream.ensemble.members.tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)  # compiles everything anew
def test_the_process_that_compiles_finds_the_same_bits_as_those_that_load(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", _FRESH], env=environment, check=True, capture_output=True
        ).stdout
        for _ in range(2)
    ]
    assert any(tmp_path.rglob("*.nbi"))
    assert found[0] == found[1]


def test_what_was_saved_does_not_change_with_the_stream(tmp_path: Path) -> None:
    X = two_shifts()
    detector = small().fit(X[:60])
    resumed = through_file(detector, tmp_path)
    detector.update(X[60:])
    assert resumed.n_seen_ == 60


def test_a_file_keeps_unusual_parameters(tmp_path: Path) -> None:
    detector = small(skips=[2, np.int64(3)], n_init=np.float64(0.2), threshold_low=1.7)
    again = through_file(detector.fit(two_shifts()), tmp_path)
    assert again.get_params() == detector.get_params() | {"skips": (2, 3), "n_init": 0.2}
    seedless = small(random_state=np.random.RandomState(0)).fit(two_shifts())
    assert through_file(seedless, tmp_path).get_params()["random_state"] is None


def damaged_files(good: Path) -> dict[str, bytes]:
    with np.load(good) as stored:
        arrays = dict(stored)

    def written(**changes: Any) -> bytes:
        file = io.BytesIO()
        kept = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
        np.savez(file, **kept)
        return file.getvalue()

    text = str(arrays["description"])
    return {
        "empty": b"",
        "text": b"not a zip",
        "cut": good.read_bytes()[:-300],
        "array": pickle.dumps(3),
        "other format": written(description=np.array('{"format": "x", "version": 1}')),
        "no description": written(description=None),
        "no parameters": written(description=np.array(text.replace('"parameters"', '"p"'))),
        "unknown parameter": written(description=np.array(text.replace('"gap"', '"gasp"'))),
        "bad parameter": written(description=np.array(text.replace('"gap": 4', '"gap": -4'))),
        "other sizes": written(description=np.array(text.replace('"gap": 4', '"gap": 5'))),
        "no members": written(members=None),
        "no centre": written(centre=None),
        "wrong type": written(counts=np.zeros(6)),
        "objects": written(members=np.array([{}], dtype=object)),
    }


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    small().fit(two_shifts()).save(good)
    for what, content in damaged_files(good).items():
        bad = tmp_path / f"{what}, bad.npz"
        bad.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.npz|state"):
            ALACPD.load(bad)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ALACPD.load(tmp_path / "none.npz")


@pytest.mark.slow
@pytest.mark.parametrize("density", [None, 0.3])
def test_memory_does_not_grow_over_a_hundred_thousand_samples(density: float | None) -> None:
    rng = np.random.default_rng(0)
    detector = small(step_epochs=1, adapt_epochs=10, density=density)
    detector.fit(rng.normal(size=(100, 2)))
    level = np.zeros(2)

    def stream(n_chunks: int) -> int:
        changes = 0
        for _ in range(n_chunks):
            level[:] = rng.normal(size=2) * 5  # changes are part of it
            changes += len(detector.update(level + rng.normal(size=(500, 2))))
        return changes

    stream(2)
    size, file = detector.memory_bytes_, len(pickle.dumps(detector))
    tracemalloc.start()
    try:
        changes = stream(20)
        gc.collect()
        early, _ = tracemalloc.get_traced_memory()
        changes += stream(178)
        gc.collect()
        late, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert detector.n_seen_ == 100_100
    assert changes > 100
    assert detector.memory_bytes_ == size
    assert abs(len(pickle.dumps(detector)) - file) < 100  # integers take more digits
    assert late - early < 4096
