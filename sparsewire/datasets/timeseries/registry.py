"""Which registered time-series data set does a name mean? Look-up over the tables beside.

``panels`` lists collections of labelled series, ``series`` single series to forecast or to find
change points in. As in the registry of tables, nothing is read or searched here. No file is part of
the package: some may not be redistributed in any changed form, for others no licence is stated.
"""

from collections.abc import Iterator

from sparsewire.datasets.errors import DatasetError, DatasetKindError
from sparsewire.datasets.registry import SPECS, key_of, unknown
from sparsewire.datasets.timeseries.panels import PANELS
from sparsewire.datasets.timeseries.series import CHANGE_POINTS, SERIES
from sparsewire.datasets.timeseries.spec import TimeSeriesKind, TimeSeriesSpec

TIME_SERIES_SPECS: tuple[TimeSeriesSpec, ...] = (*PANELS, *SERIES, *CHANGE_POINTS)

_LOADERS = {
    "table": "load",
    "panel": "load_panel",
    "series": "load_series",
    "change_points": "load_change_points",
}


def find_time_series(name: str, kind: TimeSeriesKind) -> TimeSeriesSpec:
    """Return the entry of a name; case, ``-``, ``_`` and spaces do not matter.

    Parameters
    ----------
    name : str
        For example ``"gunpoint"``, ``"GunPoint"`` or ``"ETTh1"``.
    kind : {"panel", "series", "change_points"}
        Its kind.

    Returns
    -------
    TimeSeriesSpec
        The registry entry.

    Raises
    ------
    UnknownDatasetError
        If no entry of any kind has that name.
    DatasetKindError
        If it names data of another kind.
    DatasetError
        If there is no such kind.

    Examples
    --------
    >>> find_time_series("exchange_rate", "series").name
    'exchange'
    """
    reject_other_kind(name, kind)
    specs = [spec for spec in TIME_SERIES_SPECS if spec.kind == kind]
    for spec in specs:
        if key_of(name) in map(key_of, (spec.name, *spec.aliases)):
            return spec
    raise unknown(name, (spec.name for spec in specs))


def reject_other_kind(name: str, kind: str) -> None:
    """Raise if a name belongs to a data set of another kind, and say what loads that.

    Parameters
    ----------
    name : str
        A name as typed; one that is not known at all passes.
    kind : {"table", "panel", "series", "change_points"}
        The kind asked for.

    Raises
    ------
    DatasetKindError
        If the name is known, but not of this kind.
    DatasetError
        If there is no such kind.

    Examples
    --------
    >>> reject_other_kind("gunpoint", "panel")
    """
    if kind not in _LOADERS:
        raise DatasetError(
            f"kind={kind!r} is no kind of data set; choose one of {', '.join(map(repr, _LOADERS))}."
        )
    for known, actual in _kinds():
        if key_of(known) == key_of(name) and actual != kind:
            raise DatasetKindError(
                f"Data set {name!r} is not of the kind {kind!r} but {actual!r}: load it with "
                f"sparsewire.datasets.{_LOADERS[actual]}({known!r}); "
                f"info({known!r}, kind={actual!r}) describes it."
            )


def _kinds() -> Iterator[tuple[str, str]]:
    """Yield every accepted name with its kind."""
    for table in SPECS:
        yield table.name, "table"
    for spec in TIME_SERIES_SPECS:
        for name in (spec.name, *spec.aliases):
            yield name, spec.kind
