"""Where may a command write? Into a folder of its own, and not over what is there, unasked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparsewire.core.errors import InvalidArgumentError


def check_files(
    folder: Path, files: Iterable[Path], *, inputs: Iterable[Path], force: bool
) -> None:
    """Refuse to replace an input or, unless forced, any file.

    Parameters
    ----------
    folder : pathlib.Path
        The folder to write into, ``--output``.
    files : iterable of pathlib.Path
        What will be written.
    inputs : iterable of pathlib.Path
        What will be read.
    force : bool
        Whether existing files may be replaced, ``--force``.

    Raises
    ------
    InvalidArgumentError
        Names the files and the way out.

    Examples
    --------
    >>> check_files(Path("out"), [Path("out/a.csv")], inputs=[Path("out/a.csv")], force=True)
    Traceback (most recent call last):
        ...
    sparsewire.core.errors.InvalidArgumentError: the output would replace the input out/a.csv; ...
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"--output {folder} is a file; name a folder.")
    files = list(files)
    places = {path.resolve() for path in files}
    for source in inputs:
        if source.resolve() in places:
            raise InvalidArgumentError(
                f"the output would replace the input {source}; choose another --output folder."
            )
    if folders := [str(path) for path in files if path.is_dir()]:
        raise InvalidArgumentError(
            f"a folder is in the way of a file: {', '.join(folders)}; choose another --output."
        )
    existing = [str(path) for path in files if path.is_file()]
    if existing and not force:
        raise InvalidArgumentError(
            f"output exists already: {', '.join(existing)}; add --force to replace it."
        )


@contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Make a folder for what the block writes; if it fails, leave no empty folder behind.

    Parameters
    ----------
    path : pathlib.Path
        The folder; it may exist.

    Yields
    ------
    None
        The folder exists and can be written into.

    Raises
    ------
    OSError
        If it cannot be made or written into.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with suppress(KeyboardInterrupt), output_folder(Path(folder, "a", "b")):
    ...         raise KeyboardInterrupt
    ...     list(Path(folder).iterdir())
    []
    """
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass  # a folder without write permission shows here, not after the training
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):  # it holds something by now, or was never made
                folder.rmdir()
        raise
