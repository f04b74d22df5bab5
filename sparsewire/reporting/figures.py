"""How does every figure begin and end? With a common look, and as the same bytes for the same data.

matplotlib is imported when a figure is made, not before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sparsewire.core._files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: distinguishable with every common colour vision deficiency."""

DPI = 120


def require_matplotlib() -> None:
    """Raise an ImportError that says how to install matplotlib, if it is missing.

    Raises
    ------
    ImportError
        If matplotlib cannot be imported.

    Examples
    --------
    >>> require_matplotlib()
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed: pip install "sparsewire[plot]"'
        ) from error


def new_figure(width: float, height: float, n_panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure with frame lines only where they carry a scale.

    Parameters
    ----------
    width, height : float
        Size of a panel in inches.
    n_panels : int, default 1
        Panels, at most two in a row.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure.
    panels : list of matplotlib.axes.Axes
        Its panels, row by row.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> figure, panels = new_figure(6.4, 3.8, n_panels=3)
    >>> len(panels), figure.get_size_inches().tolist()
    (3, [12.8, 7.6])
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = min(n_panels, 2)
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = [figure.add_subplot(rows, columns, index + 1) for index in range(n_panels)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, 120 dots per inch, in one step.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : str or path-like
        File ending in ``.png``, replaced if it exists.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "empty.png")
    ...     save(new_figure(2, 1)[0], path)
    ...     path.read_bytes()[1:4]
    b'PNG'
    """
    with replacing(path) as temporary:
        # No date or version in the file: the same data give the same bytes.
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
