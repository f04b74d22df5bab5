"""How does ``sparsewire ts detect`` run over a whole series? Check everything, detect, write.

Nothing is written before all is done. A stream is the business of ``stream``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.datasets.timeseries import (
    ChangePointDataset,
    load_change_points,
    read_annotations,
    read_tcpd,
)
from sparsewire.reporting.outputs import output_folder
from sparsewire.reporting.terminal import say
from sparsewire.timeseries.change_points import ALACPD, Detection
from sparsewire.timeseries.command.arguments import make_estimator, refusals
from sparsewire.timeseries.command.output import (
    Common,
    Writer,
    check_output,
    csv_writer,
    describe_files,
    describe_run,
    json_writer,
    write_files,
)
from sparsewire.timeseries.command.tables import plain_time, read_csv
from sparsewire.timeseries.metrics import covering, f1_score_with_margin

_OPTIONS = {"random_state": "--seed", "verbose": "--quiet"}
MARGIN = 5
"""Samples by which a change point may be missed, TCPD's."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call.

    Attributes
    ----------
    common : Common
        Those that all commands have.
    data : str
        ``.csv`` or TCPD ``.json`` file, name of a series, or ``-`` for lines from standard input.
    time : str or None
        Column of times; see `read_csv`.
    columns : list of str or None
        Columns of the series; None for all.
    annotations : pathlib.Path or None
        TCPD's file of what people marked.
    save_state, load_state : pathlib.Path or None
        Where to write the detector at the end, and one to continue.
    """

    common: Common
    data: str
    time: str | None = None
    columns: list[str] | None = None
    annotations: Path | None = None
    save_state: Path | None = None
    load_state: Path | None = None

    def __post_init__(self) -> None:
        streams = self.data == "-"
        if streams and (self.common.output or self.common.plots or self.annotations):
            raise InvalidArgumentError(
                "a stream, DATA -, is reported line by line on standard output; --output, --plots "
                "and --annotations are for whole series."
            )
        if self.load_state is not None and not streams:
            raise InvalidArgumentError(
                "--load-state continues a stream, which is read from standard input: DATA -."
            )
        if self.load_state is not None and (self.common.parameters or self.common.seed):
            raise InvalidArgumentError(
                "--param and --seed set up a new detector; leave them out with --load-state."
            )
        if self.save_state is not None:
            self._check_state_file(self.save_state)

    def _check_state_file(self, path: Path) -> None:
        if path.is_dir() or not path.parent.is_dir():
            raise InvalidArgumentError(f"--save-state {path} must be a file in an existing folder.")
        # A detector that is continued may be written where it came from.
        if path.exists() and path != self.load_state and not self.common.force:
            raise InvalidArgumentError(f"{path} exists already; add --force to replace it.")

    @property
    def files(self) -> list[str]:
        """Names of the files to write."""
        return ["scores.csv", *(["changes.png"] if self.common.plots else []), "changes.json"]


def run(request: Request) -> None:
    """Find the change points of a whole series.

    Parameters
    ----------
    request : Request
        What was asked for.

    Raises
    ------
    SparsewireError
        If an option, the data or the output is unusable.
    OSError
        If a file cannot be read or written.
    ImportError
        If a picture was asked for and matplotlib is missing.
    """
    common = request.common
    detector = new_detector(request)
    named = [Path(request.data)] + ([request.annotations] if request.annotations else [])
    check_output(common, request.files, [path for path in named if path.is_file()])
    series, files = _read(request)
    with output_folder(common.folder):
        start = time.perf_counter()
        try:
            with refusals(request.data):
                found = detector.detect(series.values)
        except KeyboardInterrupt:
            say("interrupted; nothing was written.")
            raise typer.Exit(130) from None
        seconds = time.perf_counter() - start
        content = describe_run(detector, common, _describe(request, series, files))
        content |= _results(detector, series, found, seconds)
        writers: dict[str, Writer] = {"scores.csv": _scores_writer(series, found)}
        if common.plots:
            writers["changes.png"] = _picture(detector, series, found)
        write_files(common, writers | {"changes.json": json_writer(content)})
        if request.save_state is not None:
            detector.save(request.save_state)
    if not common.quiet:
        typer.echo(_summary(content))


def new_detector(request: Request) -> Any:
    """Return a detector with checked parameters."""
    streams = request.data == "-"
    verbose = 0 if request.common.quiet or streams else 1
    detector = make_estimator(
        ALACPD,
        request.common.parameters,
        _OPTIONS,
        random_state=request.common.seed,
        verbose=verbose,
    )
    detector._new_stream(1, 0)  # refuses wrong parameters, before anything is read
    return detector


def _read(request: Request) -> tuple[ChangePointDataset, list[Path]]:
    path = Path(request.data)
    if path.suffix.lower() == ".json":
        if request.time is not None:
            raise InvalidArgumentError("--time names a column of a .csv file; leave it out.")
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        with refusals():
            series, files = read_tcpd(path), [path]
    elif path.is_file() or path.suffix:
        table = read_csv(path, time=request.time, columns=request.columns)
        numbered = table.time == "row"
        series = ChangePointDataset(
            values=table.frame.to_numpy(),
            annotations={},
            columns=tuple(map(str, table.frame.columns)),
            times=None if numbered else tuple(str(plain_time(t)) for t in table.frame.index),
        )
        files = [path]
    else:
        if request.time is not None:
            raise InvalidArgumentError(f"--time names a column of a file; {path} is none.")
        with refusals():
            series = load_change_points(request.data)
        files = [] if series.info is None else list(series.info.paths)
    return _chosen(request, _annotated(request, series)), files


def _chosen(request: Request, series: ChangePointDataset) -> ChangePointDataset:
    if request.columns is None:
        return series
    unknown = [name for name in request.columns if name not in series.columns]
    if unknown:
        raise InvalidArgumentError(
            f"{request.data} has no column {unknown[0]!r}; it has {', '.join(series.columns)}."
        )
    places = [series.columns.index(name) for name in request.columns]
    return ChangePointDataset(
        values=series.values[:, places],
        annotations=series.annotations,
        columns=tuple(request.columns),
        times=series.times,
    )


def _annotated(request: Request, series: ChangePointDataset) -> ChangePointDataset:
    """Add what `--annotations` says: the entry named like the data, or the only one."""
    if request.annotations is None:
        return series
    with refusals():
        entries = read_annotations(request.annotations)
    name = Path(request.data).stem
    if name not in entries and len(entries) != 1:
        raise InvalidArgumentError(
            f"{request.annotations} has no entry {name!r}; it has {', '.join(entries) or 'none'}."
        )
    marked = entries.get(name) or next(iter(entries.values()))
    with refusals(str(request.annotations)):
        covering(marked, [], len(series.values))  # refuses indices beyond the end
    return ChangePointDataset(
        values=series.values, annotations=marked, columns=series.columns, times=series.times
    )


def _describe(request: Request, series: ChangePointDataset, files: list[Path]) -> dict[str, Any]:
    return {
        "source": request.data,
        "files": describe_files(files),
        "columns": list(series.columns),
        "n_samples": len(series.values),
        "annotations": series.annotations,
    }


def _results(
    detector: Any, series: ChangePointDataset, found: Detection, seconds: float
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "n_init": found.n_init,
        "threshold_high": float(detector.threshold_high),
        "threshold_low": float(detector.threshold_low_),
        "memory_bytes": int(detector.memory_bytes_),
        "seconds": round(seconds, 3),
    }
    if series.annotations:
        points = found.change_points
        content["f1"] = f1_score_with_margin(series.annotations, points, margin=MARGIN)
        content["margin"] = MARGIN
        content["covering"] = covering(series.annotations, points, len(series.values))
    times = series.times
    content["changes"] = [
        describe_event(event, None if times is None else times[event.index])
        for event in found.events
    ]
    return content


def describe_event(event: Any, when: Any) -> dict[str, Any]:
    """Return an event as plain values, with the time of the change if there are times.

    Examples
    --------
    >>> from sparsewire.timeseries import ChangeEvent
    >>> describe_event(ChangeEvent(index=7, detected_at=10, score=5.0, member_votes=3), "1899")
    {'index': 7, 'time': '1899', 'detected_at': 10, 'delay': 3, 'score': 5.0, 'member_votes': 3}
    """
    values = asdict(event)
    return {
        "index": values.pop("index"),
        "time": when,
        "detected_at": values.pop("detected_at"),
        "delay": event.delay,
        **values,
    }


def _scores_writer(series: ChangePointDataset, found: Detection) -> Writer:
    header = ["index", *([] if series.times is None else ["time"]), "score", "change"]
    times: Any = [()] * len(found.scores) if series.times is None else zip(series.times)
    changes = np.zeros(len(found.scores), dtype=np.int64)
    changes[found.change_points] = 1
    rows = zip(times, found.scores.tolist(), changes.tolist(), strict=True)
    return csv_writer(
        header, ((n, *when, score, change) for n, (when, score, change) in enumerate(rows))
    )


def _picture(detector: Any, series: ChangePointDataset, found: Detection) -> Writer:
    from sparsewire.reporting.figures import save
    from sparsewire.timeseries.change_points.plots import change_points_figure

    figure = change_points_figure(
        series.values,
        found,
        threshold=detector.threshold_low_,
        annotations=series.annotations or None,
        columns=series.columns,
    )
    return lambda path: save(figure, path)


def _summary(content: dict[str, Any]) -> str:
    points = [change["index"] for change in content["changes"]]
    text = f"{len(points)} change points" + (f" at {', '.join(map(str, points))}" if points else "")
    if "f1" in content:
        text += f"; F1 {content['f1']:.3f}, covering {content['covering']:.3f}"
    return f"{text}; {content['seconds']:.1f} s"
