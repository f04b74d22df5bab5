"""Which arrays stand behind a benchmark's name? Named data sets with fixed checksums.

    from sparsewire import datasets

    digits = datasets.load("digits")
    datasets.names()
    print(datasets.info("madelon"))

``registry`` is the one table of names, shapes, licences, origins and checksums; ``loader``
finds and verifies the file; ``noise`` appends irrelevant columns for demonstrations. Nothing is
downloaded (``loader`` says why), scaled or split at random here.
"""

from sparsewire.datasets.errors import (
    DatasetCorruptedError,
    DatasetError,
    DatasetNotFoundError,
    UnknownDatasetError,
)
from sparsewire.datasets.loader import Dataset, DatasetInfo, info, load, names
from sparsewire.datasets.noise import with_noise_features

__all__ = [
    "Dataset",
    "DatasetCorruptedError",
    "DatasetError",
    "DatasetInfo",
    "DatasetNotFoundError",
    "UnknownDatasetError",
    "info",
    "load",
    "names",
    "with_noise_features",
]
