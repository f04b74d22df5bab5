"""How does ``sparsewire ts detect -`` follow a stream? Line by line, each event told at once.

A first line without any number is a header. The first samples warm the detector up; from then on
every sample is judged when its line arrives, and the memory needed does not grow. At the end, on
Ctrl-C and on a line that cannot be read, the detector is saved if a file was named.
"""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import typer

from sparsewire.core._validation import check_integer
from sparsewire.core.errors import InvalidArgumentError
from sparsewire.reporting.terminal import say
from sparsewire.timeseries.change_points import ALACPD, ChangeEvent
from sparsewire.timeseries.command.arguments import refusals
from sparsewire.timeseries.command.detect import Request, describe_event, new_detector
from sparsewire.timeseries.command.tables import check_header, time_column, to_number, to_times

_TIMES_KEPT = 1000
"""Samples whose times are remembered: a change is reported a few samples after it happened."""


def run(request: Request) -> None:
    """Follow standard input to its end.

    Parameters
    ----------
    request : Request
        What was asked for.

    Raises
    ------
    SparsewireError
        If an option or a line is unusable, or the stream ends while the detector warms up.
    OSError
        If the state cannot be read or written.
    typer.Exit
        With code 130 after an interrupt.
    """
    loaded = request.load_state is not None
    detector = ALACPD.load(request.load_state) if request.load_state else new_detector(request)
    n_init = detector.n_seen_ if loaded else warm_up_length(detector)
    follower = Follower(detector, n_init, fitted=loaded)
    try:
        for line, time, sample in read_lines(request):
            with refusals(f"standard input, line {line}"), uninterrupted():
                for event in follower.take(time, sample):
                    typer.echo(json.dumps(event, allow_nan=False, ensure_ascii=False))
                    sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted.")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Nobody reads on; without this, Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        _end(request, follower)
    follower.check_warm()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, so that no sample is taken in by half.

    Raises
    ------
    KeyboardInterrupt
        After the block, if Ctrl-C was pressed meanwhile.

    Examples
    --------
    >>> with uninterrupted():
    ...     pass
    """
    # Elsewhere than in the main thread, or where the signal is ignored, there is nothing to defer.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def warm_up_length(detector: Any) -> int:
    """Return how many samples of a stream warm the detector up.

    Parameters
    ----------
    detector : ALACPD
        Its `n_init` says; None takes twice what one judgement needs, as for a short series.

    Raises
    ------
    InvalidArgumentError
        If `n_init` is a share, nobody knowing how long a stream is, or fewer than a detector needs.

    Examples
    --------
    >>> warm_up_length(ALACPD()), warm_up_length(ALACPD(n_init=200))
    (30, 200)
    """
    asked = detector.n_init
    if isinstance(asked, float):
        raise InvalidArgumentError(
            f"n_init={asked} is a share of a series, but a stream has no length; give a number of "
            "samples, such as --param n_init:200."
        )
    stream = detector._new_stream(1, 0)
    if asked is not None:
        return check_integer("n_init", asked, minimum=int(stream.n_needed))
    return max(2 * int(stream.shape.span), int(stream.n_needed))


class Follower:
    """A detector with what it still has to wait for.

    Parameters
    ----------
    detector : ALACPD
        Fitted, or to be fitted.
    n_init : int
        Samples to fit it on.
    fitted : bool, default False
        Whether it is fitted.

    Examples
    --------
    >>> follower = Follower(ALACPD(random_state=0), 30)
    >>> [follower.take(None, [float(n % 2)]) for n in range(31)][-1], follower.fitted
    ([], True)
    """

    def __init__(self, detector: Any, n_init: int, *, fitted: bool = False) -> None:
        self.detector = detector
        self.n_init = n_init
        self.fitted = fitted
        self.waiting: list[Sequence[float]] = []
        self._times: deque[tuple[int, str | None]] = deque(maxlen=_TIMES_KEPT)
        self._n_seen = detector.n_seen_ if self.fitted else 0

    def take(self, time: str | None, sample: Sequence[float]) -> list[dict[str, Any]]:
        """Take in the next sample and return the events that it completes."""
        if not self.fitted:
            self.waiting.append(sample)
            if len(self.waiting) == self.n_init:
                self.detector.fit(np.array(self.waiting))
                self.fitted, self.waiting = True, []
            events: list[ChangeEvent] = []
        else:
            events = self.detector.update(np.array([sample]))
        self._times.append((self._n_seen, time))
        self._n_seen += 1
        when = dict(self._times) if events else {}
        return [describe_event(event, when.get(event.index)) for event in events]

    def check_warm(self) -> None:
        """Raise `InvalidArgumentError` if the stream ended too early."""
        if not self.fitted:
            raise InvalidArgumentError(
                f"standard input ended after {len(self.waiting)} samples, but the detector needs "
                f"{self.n_init} to warm up; give more, or set --param n_init:N."
            )


def read_lines(request: Request) -> Iterator[tuple[int, str | None, list[float]]]:
    """Yield number, time and sample of every line as it arrives.

    Parameters
    ----------
    request : Request
        Which columns to take.

    Yields
    ------
    tuple of (int, str or None, list of float)
        Lines are counted from 1; a missing value is NaN.

    Raises
    ------
    InvalidArgumentError
        If a column does not exist, a line is no UTF-8 or has another number of fields, a field is
        no number, or a time is not after the one before.
    """
    choice: _Choice | None = None
    # Bytes, so that a wrong one does not take the lines before it away.
    stdin = typer.get_binary_stream("stdin")
    # Not "for line in stdin", which may read ahead of what has arrived.
    for number, line in enumerate(iter(stdin.readline, b""), start=1):
        where = f"standard input, line {number}"
        fields = _fields(line, where, first=number == 1)
        if not fields:
            continue
        if choice is None:
            header = _is_header(fields)
            choice = _Choice(request, fields, where, header=header)
            if header:
                continue
        yield number, *choice.take(fields, where)


def _fields(line: bytes, where: str, *, first: bool) -> list[str]:
    try:
        text = line.decode("utf-8-sig" if first else "utf-8")
        return [field.strip() for field in next(csv.reader([text], strict=True), [])]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{where} is not readable CSV in UTF-8: {error}") from error


def _is_header(fields: list[str]) -> bool:
    numbers = [to_number(field) for field in fields]
    if any(number is not None and not math.isnan(number) for number in numbers):
        return False
    # A date whose values are all missing is a sample.
    dated = numbers[0] is None and time_column(fields, fields, None) is not None
    return None in numbers[1:] or (numbers[0] is None and not dated)


class _Choice:
    """Which fields of a line are time and values."""

    def __init__(self, request: Request, first: list[str], where: str, *, header: bool) -> None:
        self._n_fields = len(first)
        self._decided = request.time is not None
        self._time: int | None = None
        self._last: tuple[str, str] | None = None
        names = first if header else [f"column {n}" for n in range(1, len(first) + 1)]
        if header:
            check_header(first, where)
        elif request.columns is not None or request.time not in (None, "none"):
            raise InvalidArgumentError(
                f"{where}: this is no header, so --time and --columns have nothing to name."
            )
        self._names = names
        self._columns = request.columns
        wanted = [*(request.columns or []), *([request.time] if request.time else [])]
        for name in wanted:
            if name not in names and name != "none":
                raise InvalidArgumentError(
                    f"{where} has no column {name!r}; it has {', '.join(names)}."
                )
        if request.time in names:
            self._time = names.index(str(request.time))

    def take(self, fields: list[str], where: str) -> tuple[str | None, list[float]]:
        if len(fields) != self._n_fields:
            raise InvalidArgumentError(f"{where}: {len(fields)} fields instead of "
                                       f"{self._n_fields}.")  # fmt: skip
        if not self._decided:  # the first sample shows whether it begins with a date
            name = time_column(self._names, fields, None)
            self._time, self._decided = None if name is None else self._names.index(name), True
        sample = []
        for place, (name, field) in enumerate(zip(self._names, fields, strict=True)):
            if place == self._time or (self._columns is not None and name not in self._columns):
                continue
            value = to_number(field)
            if value is None:
                raise InvalidArgumentError(f"{where}: {name!r} is {field!r}, no finite number.")
            sample.append(value)
        if not sample:
            raise InvalidArgumentError(f"{where}: there is no column of values beside the times.")
        return None if self._time is None else self._next_time(fields[self._time], where), sample

    def _next_time(self, text: str, where: str) -> str:
        """Return a time, after checking that it is one and follows the last."""
        assert self._time is not None
        pair = [(text, where)] if self._last is None else [self._last, (text, where)]
        with refusals(where):
            to_times([t for t, _ in pair], self._names[self._time], [place for _, place in pair])
        self._last = text, where
        return text


def _end(request: Request, follower: Follower) -> None:
    """Save the detector if wanted, and say how far it came."""
    if not follower.fitted:
        return
    detector = follower.detector
    if request.save_state is not None:
        detector.save(request.save_state)
    if not request.common.quiet:
        where = f"; its state is in {request.save_state}" if request.save_state else ""
        say(f"{detector.n_seen_} samples seen, {detector.n_changes_} changes{where}")
