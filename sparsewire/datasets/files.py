"""Where is a registered file on this machine, and is it the right one? Search and verification.

A file is looked for in

1. the directory named by the environment variable ``SPARSEWIRE_DATA``,
2. the user's cache (``~/.cache/sparsewire`` on Linux, the platform's own place elsewhere),

in each of them first in the folders of its kind, then directly. The first file found is the one
that counts. Nothing is downloaded: for none of the registered files is a stable public address of
these very bytes known, so the error names the directory to fill, the files, their checksums and the
origin of the data.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparsewire.datasets.errors import DatasetCorruptedError, DatasetNotFoundError

_ENVIRONMENT_VARIABLE = "SPARSEWIRE_DATA"


def locate(filename: str, folders: Sequence[str]) -> Path | None:
    """Find a file in the searched directories.

    Parameters
    ----------
    filename : str
        Name, or relative path, of the file.
    folders : sequence of str
        Folders to look into inside each searched directory, before the directory itself.

    Returns
    -------
    Path or None
        The first place that holds the file.

    Examples
    --------
    >>> locate("nowhere.npz", ["featsel"]) is None
    True
    """
    for root in _roots():
        for folder in (*folders, "."):
            path = root / folder / filename
            if path.is_file():
                return path
    return None


def read_verified(path: Path, sha256: str, *, name: str, source: str) -> bytes:
    """Read a file whole and compare its checksum with the registered one.

    One read serves both the checksum and the arrays: what was verified is what is returned.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        Its registered SHA-256 in hexadecimal digits.
    name, source : str
        Name and origin of the data set, for the message.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    DatasetCorruptedError
        If the checksum is another one.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetCorruptedError(
            f"{path} is not the registered file of data set {name!r}: its SHA-256 is {found}, "
            f"expected {sha256}. Replace or remove the file; the data come from {source}."
        )
    return content


def not_found(
    name: str, sha256_of: Mapping[str, str], folders: Sequence[str], *, source: str, licence: str
) -> DatasetNotFoundError:
    """Build the error that says which files to put where.

    Parameters
    ----------
    name : str
        Name of the data set.
    sha256_of : mapping of str to str
        The missing files and their checksums.
    folders : sequence of str
        Folders that were looked into, as in :func:`locate`.
    source, licence : str
        Where the data come from, and under which terms.

    Returns
    -------
    DatasetNotFoundError
        To be raised by the caller.

    Examples
    --------
    >>> error = not_found("x", {"x.ts": "0f"}, ["timeseries"], source="a site", licence="MIT")
    >>> "Put x.ts (SHA-256 0f) into" in str(error)
    True
    """
    searched = ", ".join(str(root) for root in _roots())
    variable = os.environ.get(_ENVIRONMENT_VARIABLE)
    state = f"is {variable!r}" if variable else "is not set"
    files = " and ".join(f"{file} (SHA-256 {sha256})" for file, sha256 in sha256_of.items())
    return DatasetNotFoundError(
        f"Data set {name!r} is not on this machine: no {' and no '.join(sha256_of)} in {searched} "
        f"(nor in a folder {' or '.join(folders)} of them; {_ENVIRONMENT_VARIABLE} {state}). "
        f"It is not downloaded automatically. Put {files} into one of these directories or point "
        f"{_ENVIRONMENT_VARIABLE} at one that holds it. The data come from {source} "
        f"(licence: {licence})."
    )


def _roots() -> Iterator[Path]:
    configured = os.environ.get(_ENVIRONMENT_VARIABLE)
    if configured:
        yield Path(configured).expanduser()
    # Imported here so that a machine without pooch can still use embedded and configured data.
    import pooch

    yield Path(pooch.os_cache("sparsewire"))
