"""Which arrays stand behind a benchmark's name? Named data sets with fixed checksums.

    from sparsewire import datasets

    digits = datasets.load("digits")
    datasets.names()
    print(datasets.info("madelon"))

Time series have loaders of their own, one per kind::

    gunpoint = datasets.load_panel("gunpoint")      # labelled series in their default split
    etth1 = datasets.load_series("etth1")           # one series to forecast
    nile = datasets.load_change_points("nile")      # one series and its annotated changes
    datasets.names("panel"), datasets.info("gunpoint", kind="panel")

``registry`` is the one table of names, shapes, licences, origins and checksums; ``files`` finds
and verifies a file, ``loader`` makes arrays of it. ``timeseries`` does the same for series and
reads their file formats. ``noise`` appends irrelevant columns for demonstrations. Nothing is
downloaded (``files`` says why), scaled or split at random here.
"""

from sparsewire.datasets.errors import (
    DatasetCorruptedError,
    DatasetError,
    DatasetKindError,
    DatasetNotFoundError,
    MalformedFileError,
    UnknownDatasetError,
)
from sparsewire.datasets.loader import Dataset, DatasetInfo, info, load, names
from sparsewire.datasets.noise import with_noise_features
from sparsewire.datasets.timeseries import (
    ChangePointDataset,
    PanelDataset,
    SeriesDataset,
    TimeSeriesInfo,
    load_change_points,
    load_panel,
    load_series,
    read_annotations,
    read_arff,
    read_ltsf_csv,
    read_panel_npz,
    read_tcpd,
    read_ts,
    read_ucr,
)

__all__ = [
    "ChangePointDataset",
    "Dataset",
    "DatasetCorruptedError",
    "DatasetError",
    "DatasetInfo",
    "DatasetKindError",
    "DatasetNotFoundError",
    "MalformedFileError",
    "PanelDataset",
    "SeriesDataset",
    "TimeSeriesInfo",
    "UnknownDatasetError",
    "info",
    "load",
    "load_change_points",
    "load_panel",
    "load_series",
    "names",
    "read_annotations",
    "read_arff",
    "read_ltsf_csv",
    "read_panel_npz",
    "read_tcpd",
    "read_ts",
    "read_ucr",
    "with_noise_features",
]
