"""Which series stand behind a benchmark's name, or in a file? Readers and named data sets.

``spec``, ``panels``, ``series`` and ``registry`` are the table of names, shapes, licences, origins
and checksums; ``loader`` finds and verifies the files. ``ts``, ``ucr``, ``arff``, ``archive``,
``ltsf`` and ``tcpd`` read one file format each, of registered files and of anyone's own.
"""

from sparsewire.datasets.timeseries.archive import read_panel_npz
from sparsewire.datasets.timeseries.arff import read_arff
from sparsewire.datasets.timeseries.loader import load_change_points, load_panel, load_series
from sparsewire.datasets.timeseries.ltsf import read_ltsf_csv
from sparsewire.datasets.timeseries.records import (
    ChangePointDataset,
    PanelDataset,
    SeriesDataset,
    TimeSeriesInfo,
)
from sparsewire.datasets.timeseries.tcpd import read_annotations, read_tcpd
from sparsewire.datasets.timeseries.ts import read_ts
from sparsewire.datasets.timeseries.ucr import read_ucr

__all__ = [
    "ChangePointDataset",
    "PanelDataset",
    "SeriesDataset",
    "TimeSeriesInfo",
    "load_change_points",
    "load_panel",
    "load_series",
    "read_annotations",
    "read_arff",
    "read_ltsf_csv",
    "read_panel_npz",
    "read_tcpd",
    "read_ts",
    "read_ucr",
]
