"""The consistency of the tables of time series, and the tolerance of their look-up."""

import re
from typing import get_args

import pytest

from sparsewire import datasets
from sparsewire.datasets.registry import SPECS, key_of
from sparsewire.datasets.timeseries.registry import TIME_SERIES_SPECS, find_time_series
from sparsewire.datasets.timeseries.spec import TimeSeriesKind, TimeSeriesSpec

KINDS: tuple[TimeSeriesKind, ...] = get_args(TimeSeriesKind)
LOADERS = {
    "panel": datasets.load_panel,
    "series": datasets.load_series,
    "change_points": datasets.load_change_points,
}
every_spec = pytest.mark.parametrize("spec", TIME_SERIES_SPECS, ids=lambda spec: spec.name)


def test_no_two_data_sets_of_any_kind_share_a_name() -> None:
    names = [spec.name for spec in SPECS]
    names += [name for spec in TIME_SERIES_SPECS for name in (spec.name, *spec.aliases)]
    assert len({key_of(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in names)


@every_spec
def test_every_entry_states_what_it_is_its_licence_and_its_source(spec: TimeSeriesSpec) -> None:
    assert all((spec.title, spec.description, spec.licence, spec.source))


@every_spec
def test_every_file_has_a_checksum(spec: TimeSeriesSpec) -> None:
    assert spec.files
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in spec.files.values())


@every_spec
def test_only_panels_have_splits_and_classes_and_only_series_have_targets(
    spec: TimeSeriesSpec,
) -> None:
    is_panel = spec.kind == "panel"
    for fact in (spec.n_train, spec.n_test, spec.n_classes):
        assert (fact is not None) == is_panel
    assert (spec.target is not None) == (spec.kind == "series")
    assert is_panel or isinstance(spec.length, int)


def test_names_are_listed_by_kind_and_tables_by_default() -> None:
    for kind in KINDS:
        assert datasets.names(kind) == tuple(s.name for s in TIME_SERIES_SPECS if s.kind == kind)
    assert datasets.names("table") == datasets.names() == tuple(spec.name for spec in SPECS)
    with pytest.raises(datasets.DatasetError, match="kind='pannel' is no kind"):
        datasets.names("pannel")  # type: ignore[arg-type]
    with pytest.raises(datasets.DatasetError, match="kind='pannel' is no kind"):
        datasets.info("gunpoint", kind="pannel")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("spelling", "kind", "name"),
    [
        ("GunPoint", "panel", "gunpoint"),
        ("basic-motions", "panel", "basicmotions"),
        ("ETTh1", "series", "etth1"),
        ("exchange_rate", "series", "exchange"),
        ("ILI", "series", "illness"),
        ("Run Log", "change_points", "run_log"),
    ],
)
def test_look_up_ignores_case_and_dashes_and_knows_other_names(
    spelling: str, kind: TimeSeriesKind, name: str
) -> None:
    assert find_time_series(spelling, kind).name == name
    assert datasets.info(spelling, kind=kind).name == name


@pytest.mark.parametrize(
    ("wrong", "kind", "meant"),
    [
        ("gunpoints", "panel", "gunpoint"),
        ("etth3", "series", "etth1"),
        ("well_logg", "change_points", "well_log"),
    ],
)
def test_an_unknown_name_gets_close_matches_of_its_kind(wrong: str, kind: str, meant: str) -> None:
    with pytest.raises(datasets.UnknownDatasetError, match=f"{wrong}.*Did you mean.*'{meant}'"):
        LOADERS[kind](wrong)


@pytest.mark.parametrize("asked", LOADERS)
@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("GunPoint", r"load_panel\('gunpoint'\)"),
        ("ili", r"load_series\('ili'\)"),
        ("nile", r"load_change_points\('nile'\)"),
        ("COIL-20", r"load\('coil20'\)"),
    ],
)
def test_every_loader_says_what_loads_data_of_another_kind(
    asked: str, name: str, loader: str
) -> None:
    if loader.startswith(LOADERS[asked].__name__ + r"\("):
        return
    with pytest.raises(datasets.DatasetKindError, match=rf"sparsewire\.datasets\.{loader}"):
        LOADERS[asked](name)


def test_load_and_info_of_tables_say_what_loads_a_time_series() -> None:
    for function in (datasets.load, datasets.info):
        with pytest.raises(datasets.DatasetKindError, match=r"load_panel\('gunpoint'\)"):
            function("gunpoint")
    with pytest.raises(datasets.DatasetKindError, match=r"datasets\.load\('digits'\)"):
        datasets.info("digits", kind="panel")
