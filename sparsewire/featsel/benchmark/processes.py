"""How is a function run in a fresh process that never outlives the one that wants its result?

Each call starts a new interpreter, so nothing that ran before changes its time or memory, and a
crash of one costs nothing but its own result. Ctrl-C reaches the parent alone, which then ends its
children; a child whose parent is gone, even killed, ends by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

_GRACE = 10.0
"""Seconds for a child to tidy up after its answer."""


class ChildError(Exception):
    """What went wrong in a child, as text."""


class StoppedError(Exception):
    """No result any more: all children were told to end."""


class FreshProcesses:
    """Runs functions in processes of their own, from any thread, until it is stopped.

    Examples
    --------
    >>> with FreshProcesses() as processes:
    ...     processes.call(divmod, 7, 2)
    (3, 1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[BaseProcess] = set()
        self._stopped = False

    def __enter__(self) -> FreshProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function returns in a new process.

        Parameters
        ----------
        function : callable
            It, its arguments and its result are pickled.
        *arguments
            What it is given.

        Returns
        -------
        object
            Its result.

        Raises
        ------
        ChildError
            If it raised an error, or the process died.
        StoppedError
            If `stop` was called.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(theirs, function, arguments), daemon=True)
        with self.unless_stopped():
            process.start()
            self._running.add(process)
        theirs.close()
        try:
            succeeded, answer = ours.recv()
            process.join(_GRACE)
        except EOFError:
            process.join()
            succeeded, answer = False, _cause_of_death(process.exitcode)
        finally:
            ours.close()
            self._end(process)
        with self.unless_stopped():
            if not succeeded:
                raise ChildError(answer)
        result: T = answer
        return result

    @contextmanager
    def unless_stopped(self) -> Iterator[None]:
        """Hold off `stop` for the length of a short block, or raise if it was called before.

        Raises
        ------
        StoppedError
            If `stop` was called.
        """
        with self._lock:
            if self._stopped:
                raise StoppedError
            yield

    def stop(self) -> None:
        """End all children; from now on nothing starts and no block of `unless_stopped` runs."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def _end(self, process: BaseProcess) -> None:
        process.kill()  # if it still runs; nobody waits for its answer any more
        process.join()
        with self._lock:
            self._running.discard(process)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Give processes that start in the block one thread of every numerical library.

    They read environment variables when they start. This process has read them already and is not
    affected; the variables are as before when the block ends.

    Examples
    --------
    >>> with one_thread_each():
    ...     os.environ["OMP_NUM_THREADS"]
    '1'
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, function: Callable[..., Any], arguments: tuple[Any]) -> None:
    """Answer in the child, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = True, function(*arguments)
    except Exception as error:  # whatever it may raise; not all errors can be pickled
        answer = False, " ".join(f"{type(error).__name__}: {error}".split())
    connection.send(answer)
    connection.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cause_of_death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code} and without a result"
    name = signal.Signals(-code).name
    hint = "; perhaps the memory was not enough" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{hint}"
