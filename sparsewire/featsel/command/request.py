"""What was asked for? The options of one ``sparsewire select``, checked as far as text alone goes.

Texts become values here; whether they suit the method is asked in ``methods``, whether they suit
the table in ``select``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.featsel.columns import counted
from sparsewire.reporting.arguments import parse_pairs

_SMALLEST_IMAGE = 8
"""Side of the smallest square that is taken for an image without being told so."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call.

    Attributes
    ----------
    data : pathlib.Path
        Table to read.
    output : pathlib.Path
        Folder to write into.
    target : str or None
        Column that is no feature.
    k : int, float or "probe"
        Features to keep.
    method : str
        Name of the selector.
    epochs : int or None
        Passes over the rows; None for the method's own.
    redundancy : float
        Weight of the redundancy among chosen features.
    parameters : dict
        Other parameters of the selector by name.
    chunk_rows : int or None
        Rows held in memory at a time; None for all.
    seed : int
        Of everything random.
    explain : bool
        Whether to draw the importances.
    image_shape : tuple of int or None
        Height and width, if the features are pixels.
    quiet, force : bool
        Whether to be silent, and to replace existing files.
    """

    data: Path
    output: Path
    target: str | None = None
    k: int | float | str = 1
    method: str = "quickselection"
    epochs: int | None = None
    redundancy: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)
    chunk_rows: int | None = None
    seed: int = 0
    explain: bool = False
    image_shape: tuple[int, int] | None = None
    quiet: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.image_shape is not None and not self.explain:
            raise InvalidArgumentError(
                "--image-shape only has an effect together with --explain; add it."
            )
        if self.chunk_rows is not None and self.data.suffix.lower() != ".parquet":
            raise InvalidArgumentError(
                f"--chunk-rows reads Parquet files piece by piece, and {self.data} is none; leave "
                "it out, or convert the table to Parquet."
            )

    @property
    def table_file(self) -> Path:
        """The reduced table, in the format of the input."""
        return self.output / f"selected{self.data.suffix.lower()}"

    @property
    def json_file(self) -> Path:
        """The description of the run and the score of every feature."""
        return self.output / "selection.json"

    def picture_files(self, n_features: int | None) -> dict[str, Path]:
        """Return the pictures to draw by name; without a number of features, no heat map."""
        names = ["importances"] if self.explain else []
        if self.explain and n_features is not None and self.pixels(n_features):
            names.append("heatmap")
        return {name: self.output / f"{name}.png" for name in names}

    def pixels(self, n_features: int) -> tuple[int, int] | None:
        """Return height and width if the features are pixels, else None.

        Parameters
        ----------
        n_features : int
            Features of the table.

        Returns
        -------
        tuple of int or None
            What ``--image-shape`` says, or a square of at least 8 pixels a side.

        Raises
        ------
        InvalidArgumentError
            If ``--image-shape`` stands for another number of pixels.

        Examples
        --------
        >>> request = Request(data=Path("digits.csv"), output=Path("out"))
        >>> request.pixels(784), request.pixels(100), request.pixels(99)
        ((28, 28), (10, 10), None)
        """
        if self.image_shape is not None:
            height, width = self.image_shape
            if height * width != n_features:
                raise InvalidArgumentError(
                    f"--image-shape {height}x{width} stands for {height * width} pixels, but "
                    f"{self.data} has {counted(n_features, 'feature')}."
                )
            return self.image_shape
        side = round(n_features**0.5)
        return (side, side) if side >= _SMALLEST_IMAGE and side * side == n_features else None


def parse_k(text: str) -> int | float | str:
    """Read a number of features, a share of them if it is written with a point, or ``probe``.

    Parameters
    ----------
    text : str
        What was typed.

    Returns
    -------
    int, float or "probe"
        What a selector takes as ``n_features_to_select``.

    Raises
    ------
    InvalidArgumentError
        If it is none of them.

    Examples
    --------
    >>> parse_k("50"), parse_k("0.1"), parse_k("probe")
    (50, 0.1, 'probe')
    """
    if text == "probe":
        return text
    try:
        number = float(text) if "." in text else int(text)
    except ValueError:
        number = 0
    if number < 1 if isinstance(number, int) else not 0 < number <= 1:
        raise InvalidArgumentError(
            f"-k {text} is neither a whole number of at least 1, such as 50, nor a share in (0, 1] "
            "written with a point, such as 0.1, nor the word probe."
        )
    return number


def parse_shape(text: str | None) -> tuple[int, int] | None:
    """Read height and width of an image, such as ``28x28``.

    Parameters
    ----------
    text : str or None
        What was typed.

    Returns
    -------
    tuple of int or None
        Height and width.

    Raises
    ------
    InvalidArgumentError
        If it has another form.

    Examples
    --------
    >>> parse_shape("28x20")
    (28, 20)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InvalidArgumentError(f"--image-shape {text} must look like 28x28 (height x width).")
    return int(match[1]), int(match[2])


def parse_parameters(texts: Iterable[str]) -> dict[str, Any]:
    """Read parameters such as ``hidden_size=500``.

    Parameters
    ----------
    texts : iterable of str
        One parameter each. A value is a Python literal, or one plain word, which stands for itself.

    Returns
    -------
    dict
        Values by name.

    Raises
    ------
    InvalidArgumentError
        If a text is no such pair, or a name occurs twice.

    Examples
    --------
    >>> parse_parameters(["hidden_size=500", "scale=minmax"])
    {'hidden_size': 500, 'scale': 'minmax'}
    """
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidArgumentError(
                f"--param {text} must look like name=value, such as hidden_size=500."
            )
        pairs.append(f"{name}:{value}")
    return parse_pairs("--param", pairs)
