"""Search order, checksums and errors of time series, and the real files against the registry."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest

from sparsewire import datasets
from sparsewire.datasets.timeseries.registry import TIME_SERIES_SPECS, find_time_series
from sparsewire.datasets.timeseries.spec import TimeSeriesSpec

SMALL = find_time_series("unittest", "panel")
TRAIN, TEST = SMALL.files


def of_kind(kind: str) -> pytest.MarkDecorator:
    specs = [spec for spec in TIME_SERIES_SPECS if spec.kind == kind]
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.name)


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no data at all; returns a folder to put some into."""
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.delenv("SPARSEWIRE_DATA", raising=False)
    return tmp_path


def put_copies(data_dir: Path, folder: Path) -> Path:
    for filename in SMALL.files:
        target = folder / filename
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data_dir / "timeseries" / filename, target)
    return folder


@of_kind("panel")
def test_every_panel_holds_what_the_registry_says(spec: TimeSeriesSpec, data_dir: Path) -> None:
    panel = datasets.load_panel(spec.name)
    assert (len(panel.X_train), len(panel.X_test)) == (spec.n_train, spec.n_test)
    assert (len(panel.y_train), len(panel.y_test)) == (spec.n_train, spec.n_test)
    # Every class is in both splits: nothing was cut off, and labels are spelled alike.
    assert len(set(panel.y_train)) == len(set(panel.y_test)) == spec.n_classes
    assert set(panel.y_train) == set(panel.y_test)
    cases = [*panel.X_train, *panel.X_test]
    assert {len(case) for case in cases} == {spec.n_channels}
    lengths = {case.shape[1] for case in cases}
    if isinstance(spec.length, int):
        assert lengths == {spec.length}
        assert isinstance(panel.X_train, np.ndarray)
        assert isinstance(panel.X_test, np.ndarray)
    else:
        assert (min(lengths), max(lengths)) == spec.length
        assert isinstance(panel.X_train, list)
        assert isinstance(panel.X_test, list)
    assert all(np.isfinite(case).all() for case in cases)
    assert panel.info == datasets.info(spec.name, kind="panel")
    assert panel.info.available


@of_kind("series")
def test_every_series_holds_what_the_registry_says(spec: TimeSeriesSpec, data_dir: Path) -> None:
    series = datasets.load_series(spec.name)
    assert series.values.shape == (spec.length, spec.n_channels)
    assert np.isfinite(series.values).all()
    assert series.times.shape == (spec.length,)
    assert (np.diff(series.times) > np.timedelta64(0)).all()
    assert series.target == series.columns[-1] == spec.target
    assert series.info == datasets.info(spec.name, kind="series")


@of_kind("change_points")
def test_every_annotated_series_holds_what_the_registry_says(
    spec: TimeSeriesSpec, data_dir: Path
) -> None:
    series = datasets.load_change_points(spec.name)
    assert series.values.shape == (spec.length, spec.n_channels)
    assert np.isfinite(series.values).all()
    assert len(series.annotations) == 5
    for points in series.annotations.values():
        assert points == sorted(points)
        assert all(0 <= point < len(series.values) for point in points)
    assert series.info == datasets.info(spec.name, kind="change_points")


def test_values_are_those_of_the_files_first_and_last_lines(data_dir: Path) -> None:
    gunpoint = datasets.load_panel("gunpoint")
    assert gunpoint.X_train[0][0, :2].tolist() == [-0.6478854, -0.64199155]
    assert gunpoint.X_test[0][0, 0] == -1.1250133
    etth1 = datasets.load_series("etth1")
    assert etth1.values[0, [0, -1]].tolist() == [5.827000141143799, 30.5310001373291]
    assert str(etth1.times[-1]) == "2018-06-26T19:00:00"
    trace = datasets.load_panel("trace")
    with np.load(data_dir / "timeseries" / "classification" / "Trace" / "Trace.npz") as archive:
        np.testing.assert_array_equal(trace.X_train[3][0], archive["X_train"][3, :, 0])
    run_log = datasets.load_change_points("run_log")
    assert run_log.columns == ("Pace", "Distance")
    assert run_log.annotations["6"] == [60, 96, 114, 174, 204, 240, 258, 317]


def test_arrays_are_fresh_at_every_load(data_dir: Path) -> None:
    first = datasets.load_panel("unittest")
    value = first.X_train[0][0, 0]
    first.X_train[0][:] = -1.0
    assert datasets.load_panel("unittest").X_train[0][0, 0] == value


@pytest.mark.parametrize("folder", ["timeseries", "."])
@pytest.mark.parametrize("place", ["environment", "cache"])
def test_files_are_found_in_both_layouts_of_both_places(
    folder: str, place: str, data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = empty_machine / "data"
    if place == "environment":
        monkeypatch.setenv("SPARSEWIRE_DATA", str(root))
    else:
        root = Path(pooch.os_cache("sparsewire"))
    assert not datasets.info("unittest", kind="panel").available
    put_copies(data_dir, root / folder)
    info = datasets.info("unittest", kind="panel")
    assert info.paths == (root / folder / TRAIN, root / folder / TEST)
    assert info.available
    assert len(datasets.load_panel("unittest").X_train) == 20


def test_the_folder_of_time_series_goes_before_the_directory_itself(
    data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_copies(data_dir, empty_machine / "data")
    put_copies(data_dir, root / "timeseries")
    monkeypatch.setenv("SPARSEWIRE_DATA", str(root))
    info = datasets.info("unittest", kind="panel")
    assert info.paths == (root / "timeseries" / TRAIN, root / "timeseries" / TEST)


def test_load_panel_names_only_the_missing_file(
    data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_copies(data_dir, empty_machine / "data")
    (root / TEST).unlink()
    monkeypatch.setenv("SPARSEWIRE_DATA", str(root))
    assert not datasets.info("unittest", kind="panel").available
    with pytest.raises(datasets.DatasetNotFoundError) as caught:
        datasets.load_panel("unittest")
    for fact in (TEST, SMALL.files[TEST], SMALL.source, SMALL.licence, str(root)):
        assert fact in str(caught.value)
    assert TRAIN not in str(caught.value)


def test_loaders_say_what_to_put_where_when_files_are_missing(empty_machine: Path) -> None:
    with pytest.raises(datasets.DatasetNotFoundError, match="SPARSEWIRE_DATA is not set"):
        datasets.load_series("etth1")
    with pytest.raises(datasets.DatasetNotFoundError) as caught:
        datasets.load_change_points("nile")
    for filename, sha256 in find_time_series("nile", "change_points").files.items():
        assert filename in str(caught.value)
        assert sha256 in str(caught.value)


@pytest.mark.parametrize("damaged", [TRAIN, TEST])
def test_load_panel_rejects_a_file_with_another_checksum(
    damaged: str, data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_copies(data_dir, empty_machine / "data")
    content = bytearray((root / damaged).read_bytes())
    content[-10] ^= 1
    (root / damaged).write_bytes(content)
    monkeypatch.setenv("SPARSEWIRE_DATA", str(root))
    with pytest.raises(datasets.DatasetCorruptedError, match=SMALL.files[damaged]) as caught:
        datasets.load_panel("unittest")
    assert damaged in str(caught.value)


def test_printed_info_shows_shape_licence_and_origin(empty_machine: Path) -> None:
    text = str(datasets.info("japanesevowels", kind="panel"))
    assert "270 train and 370 test cases, 12 channels x 7 to 29 steps, 9 classes" in text
    assert "not found here" in text
    text = str(datasets.info("etth1", kind="series"))
    assert "17420 steps x 7 columns" in text
    assert "CC BY-ND 4.0" in text
    assert "zhouhaoyi/ETDataset" in text


def test_reading_time_series_needs_neither_scikit_learn_nor_pandas() -> None:
    code = (
        "import sys\n"
        "for name in ('sklearn', 'pandas', 'pooch'):\n"
        "    sys.modules[name] = None\n"
        "from sparsewire.datasets import names\n"
        "from sparsewire.datasets.timeseries.ts import parse_ts\n"
        "print(len(names('panel')), parse_ts('x', b'@classLabel false\\n@data\\n1,2')[0].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n_panels = sum(spec.kind == "panel" for spec in TIME_SERIES_SPECS)
    assert done.stdout.strip() == f"{n_panels} (1, 1, 2)"
