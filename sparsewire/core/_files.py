"""How is a file written so that no reader ever sees half of it? Beside, then moved into place.

A temporary file in the same folder, moved into place when it is complete. What is written, and
whether an existing file may be replaced, is the caller's business.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there when the block ends without error.

    Readers of `path` therefore see the old file or the new one, never half of one.

    Parameters
    ----------
    path : str or path-like
        The file to create or replace.

    Yields
    ------
    pathlib.Path
        Where to write; same folder and suffix. It is removed if the block raises.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "note.txt")) as temporary:
    ...         _ = temporary.write_text("done")
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['note.txt']
    """
    final = Path(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = final.with_name(f".{final.stem}.{writer}{final.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave an empty file in place
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
