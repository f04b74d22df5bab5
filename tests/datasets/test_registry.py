"""The registry's own consistency and the tolerance of its look-up."""

import re

import pytest

from sparsewire.datasets.errors import DatasetError, UnknownDatasetError
from sparsewire.datasets.registry import SPECS, DatasetSpec, find

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def test_names_are_distinct_lower_case_words() -> None:
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in names)


@every_spec
def test_every_entry_is_either_embedded_or_a_file_with_a_checksum(spec: DatasetSpec) -> None:
    assert (spec.embedded is None) != (spec.filename is None)
    assert (spec.sha256 is None) == (spec.filename is None)
    if spec.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{64}", spec.sha256)


@every_spec
def test_every_entry_states_licence_source_and_description(spec: DatasetSpec) -> None:
    assert all((spec.licence, spec.source, spec.description))


@every_spec
def test_an_image_has_as_many_pixels_as_the_data_have_columns(spec: DatasetSpec) -> None:
    height, width = spec.image_shape or (1, spec.shape[1])
    assert height * width == spec.shape[1]


@every_spec
def test_no_entry_has_a_url_while_nothing_can_download_it(spec: DatasetSpec) -> None:
    assert spec.url is None


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("coil20", "coil20"),
        ("COIL-20", "coil20"),
        ("FashionMNIST", "fashion_mnist"),
        ("fashion-mnist", "fashion_mnist"),
        (" Breast Cancer ", "breast_cancer"),
        ("isolet_1560", "isolet1560"),
    ],
)
def test_find_ignores_case_dashes_underscores_and_spaces(spelling: str, name: str) -> None:
    assert find(spelling).name == name


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("madelone", "madelon"), ("coil-2", "coil20"), ("isolet", "isolet1560"), ("minst", "mnist")],
)
def test_find_suggests_close_matches_for_an_unknown_name(wrong: str, meant: str) -> None:
    with pytest.raises(UnknownDatasetError, match=f"{wrong}.*Did you mean.*'{meant}'"):
        find(wrong)


def test_find_lists_all_names_when_nothing_is_close() -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        find("zzzzzz")
    assert "Did you mean" not in str(caught.value)
    assert all(spec.name in str(caught.value) for spec in SPECS)
    assert isinstance(caught.value, DatasetError)
    assert isinstance(caught.value, ValueError)
