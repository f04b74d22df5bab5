"""Fresh processes: one result each, and none survives."""

import multiprocessing
import operator
import os
import signal
import threading
import time

import pytest

from sparsewire.featsel.benchmark.processes import (
    ChildError,
    FreshProcesses,
    StoppedError,
    one_thread_each,
)


def test_every_call_has_a_process_of_its_own() -> None:
    with FreshProcesses() as processes:
        found = {processes.call(os.getpid) for _ in range(2)}
    assert len(found) == 2
    assert os.getpid() not in found


def test_errors_and_deaths_are_told_as_text() -> None:
    with FreshProcesses() as processes:
        with pytest.raises(ChildError, match="ZeroDivisionError: "):
            processes.call(operator.truediv, 1, 0)
        with pytest.raises(ChildError, match=r"killed by SIGKILL; perhaps the memory"):
            processes.call(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(ChildError, match="exit code 3"):
            processes.call(os._exit, 3)


def test_stopping_ends_what_runs_and_what_would_run() -> None:
    caught: list[BaseException] = []

    def wait(processes: FreshProcesses) -> None:
        try:
            processes.call(time.sleep, 100)
        except StoppedError as error:
            caught.append(error)

    with FreshProcesses() as processes:
        thread = threading.Thread(target=wait, args=(processes,))
        thread.start()
        while not multiprocessing.active_children():
            time.sleep(0.01)
        processes.stop()
        thread.join(30)
        assert not thread.is_alive()
        assert len(caught) == 1
        with pytest.raises(StoppedError):
            processes.call(os.getpid)


def test_children_get_one_thread_and_the_environment_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with FreshProcesses() as processes, one_thread_each():
        found = [processes.call(os.getenv, f"{name}_NUM_THREADS") for name in ("OMP", "NUMBA")]
    assert found == ["1", "1"]
    assert dict(os.environ) == before
