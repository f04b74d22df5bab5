"""Search order, checksums, errors, and the real files against the registry."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest
import sklearn.datasets

from sparsewire import datasets
from sparsewire.datasets.registry import SPECS, DatasetSpec, find

FILES = tuple(spec for spec in SPECS if spec.filename is not None)
SMALL = find("pcmac")


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no data at all; returns a folder to put some into."""
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.delenv("SPARSEWIRE_DATA", raising=False)
    return tmp_path


def find_file(data_dir: Path, spec: DatasetSpec) -> Path:
    return next(data_dir.rglob(str(spec.filename)))


def put_copy(data_dir: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(find_file(data_dir, SMALL), folder / str(SMALL.filename)))


def test_names_are_those_of_the_registry_with_embedded_sets_first() -> None:
    assert datasets.names()[:2] == ("digits", "breast_cancer")
    assert sorted(datasets.names()) == sorted(spec.name for spec in SPECS)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_embedded_sets_are_scikit_learns_arrays(name: str, empty_machine: Path) -> None:
    loaded = datasets.load(name)
    reference = getattr(sklearn.datasets, f"load_{name}")()
    np.testing.assert_array_equal(loaded.X, reference.data)
    np.testing.assert_array_equal(loaded.y, reference.target)
    assert loaded.feature_names == tuple(reference.feature_names)
    assert loaded.X.shape == find(name).shape
    assert loaded.X.dtype == find(name).dtype
    assert len(np.unique(loaded.y)) == find(name).n_classes
    assert datasets.info(name).available
    assert datasets.info(name).path is None


@pytest.mark.parametrize("spec", FILES, ids=lambda spec: spec.name)
def test_every_file_holds_what_the_registry_says(spec: DatasetSpec, data_dir: Path) -> None:
    loaded = datasets.load(spec.name)
    assert loaded.X.shape == spec.shape
    assert loaded.X.dtype == spec.dtype
    assert loaded.y.shape == spec.shape[:1]
    assert len(np.unique(loaded.y)) == spec.n_classes
    assert loaded.n_train == spec.n_train
    with np.load(find_file(data_dir, spec), allow_pickle=False) as archive:
        assert ("n_train" in archive) == (spec.n_train is not None)
        assert spec.n_train is None or archive["n_train"] == spec.n_train


def test_train_and_test_are_the_leading_and_the_remaining_rows(data_dir: Path) -> None:
    madelon = datasets.load("madelon")
    X_train, y_train = madelon.train()
    X_test, y_test = madelon.test()
    assert X_train.shape == (2000, 500)
    assert X_test.shape == (600, 500)
    np.testing.assert_array_equal(np.vstack([X_train, X_test]), madelon.X)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), madelon.y)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_set_without_canonical_split_has_no_train_and_test_rows(part: str) -> None:
    with pytest.raises(datasets.DatasetError, match="'digits' has no canonical"):
        getattr(datasets.load("digits"), part)()


def test_a_data_set_cannot_be_rebound_but_its_arrays_are_fresh() -> None:
    first = datasets.load("digits")
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.n_train = 1000  # type: ignore[misc]
    first.X[:] = -1.0
    assert datasets.load("digits").X.min() == 0.0


@pytest.mark.parametrize("layout", ["featsel", "."])
@pytest.mark.parametrize("place", ["environment", "cache"])
def test_a_file_is_found_in_both_layouts_of_both_places(
    layout: str, place: str, data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = empty_machine / "data"
    if place == "environment":
        monkeypatch.setenv("SPARSEWIRE_DATA", str(root))
    else:
        root = Path(pooch.os_cache("sparsewire"))
    assert not datasets.info("pcmac").available
    path = put_copy(data_dir, root / layout)
    assert datasets.info("pcmac").path == path
    assert datasets.info("pcmac").available
    assert datasets.load("pcmac").X.shape == SMALL.shape


def test_the_environment_variable_goes_before_the_cache(
    data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = put_copy(data_dir, Path(pooch.os_cache("sparsewire")))
    assert datasets.info("pcmac").path == cached
    configured = put_copy(data_dir, empty_machine / "data" / "featsel")
    monkeypatch.setenv("SPARSEWIRE_DATA", str(empty_machine / "data"))
    assert datasets.info("pcmac").path == configured


def test_load_says_what_to_put_where_when_a_file_is_missing(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEWIRE_DATA", str(empty_machine / "typo"))
    with pytest.raises(datasets.DatasetNotFoundError) as caught:
        datasets.load("madelon")
    spec = find("madelon")
    places = (str(empty_machine / "typo"), pooch.os_cache("sparsewire"))
    for fact in (*places, spec.filename, spec.sha256, spec.source, spec.licence):
        assert str(fact) in str(caught.value)
    assert not datasets.info("madelon").available


def test_load_says_that_the_environment_variable_is_not_set(empty_machine: Path) -> None:
    with pytest.raises(datasets.DatasetNotFoundError, match="SPARSEWIRE_DATA is not set"):
        datasets.load("madelon")


@pytest.mark.parametrize("damage", ["one flipped bit", "cut short", "another archive"])
def test_load_rejects_a_file_with_another_checksum(
    damage: str, data_dir: Path, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_copy(data_dir, empty_machine / "data")
    content = bytearray(path.read_bytes())
    if damage == "one flipped bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut short":
        path.write_bytes(content[:-1])
    else:
        np.savez_compressed(path, X=np.zeros((3, 2)), y=np.arange(3))
    monkeypatch.setenv("SPARSEWIRE_DATA", str(empty_machine / "data"))
    with pytest.raises(datasets.DatasetCorruptedError, match=rf"PCMAC\.npz.*{SMALL.sha256}"):
        datasets.load("pcmac")


def test_load_and_info_reject_an_unknown_name() -> None:
    for function in (datasets.load, datasets.info):
        with pytest.raises(datasets.UnknownDatasetError, match="Did you mean 'madelon'"):
            function("madelonn")


def test_printed_info_shows_shape_classes_split_licence_and_origin(empty_machine: Path) -> None:
    text = str(datasets.info("madelon"))
    assert "2600 x 500 uint16, 2 classes" in text
    assert "first 2000 rows train" in text
    assert "not found here" in text
    assert find("madelon").licence in text
    assert find("madelon").source in text
    assert "part of scikit-learn" in str(datasets.info("digits"))


def test_import_and_listing_need_neither_scikit_learn_nor_pooch() -> None:
    code = (
        "import sys\n"
        "for name in ('sklearn', 'pooch', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "from sparsewire.datasets import names, with_noise_features\n"
        "print(len(names()), with_noise_features([[0.0], [1.0]], 2, seed=0)[0].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(SPECS)} (2, 3)"
