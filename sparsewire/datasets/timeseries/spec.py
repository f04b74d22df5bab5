"""What is recorded about a named time-series data set? The type of a registry entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TimeSeriesKind = Literal["panel", "series", "change_points"]
"""Labelled series to classify, a series to forecast, a series with annotated change points."""

Format = Literal["ts", "ucr", "arff", "npz", "npz_channels_last", "ltsf", "tcpd"]
"""Which reader a file needs."""


@dataclass(frozen=True, kw_only=True)
class TimeSeriesSpec:
    """One registry entry.

    Parameters
    ----------
    name, title : str
        Canonical name, lower case with underscores, and the name in the literature.
    kind : {"panel", "series", "change_points"}
        What it is for; decides which function loads it.
    format : str
        Which reader its files need.
    n_channels : int
        Series per case of a panel, or columns.
    length : int or tuple of (int, int)
        Steps; smallest and largest number where cases differ.
    files : mapping of str to str
        Path below the folder ``timeseries`` to SHA-256. Two files of a panel are its training and
        its test split, in this order; of change points, the series and the annotations.
    description, licence, source : str
        What it is, under which terms, and where it comes from.
    n_train, n_test, n_classes : int or None, default=None
        Cases of the default split and classes of a panel.
    target : str or None, default=None
        Column to forecast.
    aliases : tuple of str, default=()
        Other names in the literature, which the look-up accepts too.

    Examples
    --------
    >>> from sparsewire.datasets.timeseries.registry import find_time_series
    >>> find_time_series("GunPoint", "panel").n_train
    50
    """

    name: str
    title: str
    kind: TimeSeriesKind
    format: Format
    n_channels: int
    length: int | tuple[int, int]
    files: Mapping[str, str]
    description: str
    licence: str
    source: str
    n_train: int | None = None
    n_test: int | None = None
    n_classes: int | None = None
    target: str | None = None
    aliases: tuple[str, ...] = ()
