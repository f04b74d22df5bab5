"""What does a fit cost? Time, the peak of its memory, and energy where there is a meter.

The peak is that of the process while it fits, minus what the process held before. On Linux the
kernel's high-water mark is set back at the start, so a higher peak before, such as that of reading
the data, hides nothing, and neither does the size of the parent, which a child's ``ru_maxrss``
starts from. Elsewhere it is the growth of ``ru_maxrss``, which is too small if there was such a
peak. Memory that was freed but not given back to the system counts as held before.

Energy is that of all processor packages (RAPL), so whatever else runs meanwhile is in it. Without
a readable meter it is unknown; it is never estimated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

METERS = Path("/sys/class/powercap")


@dataclass
class Cost:
    """What something took.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Wall time, and CPU time of all threads of the process.
    peak_bytes : int or None
        Highest memory above that at the start; None where it cannot be known.
    joules : float or None
        Energy; None without a meter.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None
    joules: float | None = None


@contextmanager
def measured(meters: Path | None = METERS) -> Iterator[Cost]:
    """Measure a block; the numbers are there when it has ended.

    Parameters
    ----------
    meters : pathlib.Path or None, default=METERS
        Folder of the kernel's energy meters; None leaves the energy out.

    Yields
    ------
    Cost
        To be read after the block.

    Examples
    --------
    >>> with measured() as cost:
    ...     _ = bytearray(50_000_000)
    >>> cost.peak_bytes is None or cost.peak_bytes > 40_000_000
    True
    """
    cost = Cost()
    energy = read_meters(meters) if meters else {}
    peak = _peak_counter()
    before = _resident() if peak is _high_water_mark else peak()
    cpu, wall = time.process_time(), time.perf_counter()
    yield cost
    cost.seconds, cost.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if before is not None and (highest := peak()) is not None:
        cost.peak_bytes = max(0, highest - before)
    if meters and energy:
        cost.joules = joules(energy, read_meters(meters))


def read_meters(folder: Path) -> dict[str, tuple[int, int]]:
    """Return microjoules so far, and where the count wraps, of every processor package.

    Parameters
    ----------
    folder : pathlib.Path
        Normally ``/sys/class/powercap``.

    Returns
    -------
    dict of str to (int, int)
        By zone; empty if there is none or one of them cannot be read. Sub-zones are parts of a
        package, and ``psys`` holds more than the processor; both are left out.

    Examples
    --------
    >>> read_meters(Path("/nowhere"))
    {}
    """
    found = {}
    try:
        for zone in sorted(folder.glob("intel-rapl:*")):
            if zone.name.count(":") > 1 or not _text(zone / "name").startswith("package"):
                continue
            counts = (int(_text(zone / name)) for name in ("energy_uj", "max_energy_range_uj"))
            found[zone.name] = (next(counts), next(counts))
    except (OSError, ValueError):
        return {}
    return found


def joules(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> float | None:
    """Return the energy between two readings; a count may have wrapped once.

    Parameters
    ----------
    before, after : dict
        From `read_meters`.

    Returns
    -------
    float or None
        None if the readings are not of the same zones.

    Examples
    --------
    >>> joules({"intel-rapl:0": (90, 100)}, {"intel-rapl:0": (2_000_090, 10_000_000)})
    2.0
    """
    if not before or before.keys() != after.keys():
        return None
    spent = [
        (count - before[zone][0]) % wrap if count < before[zone][0] else count - before[zone][0]
        for zone, (count, wrap) in after.items()
    ]
    return sum(spent) / 1e6


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _peak_counter() -> Callable[[], int | None]:
    """Set the kernel's high-water mark back if that is possible, and return what reads a peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _max_rss
    return _high_water_mark


def _high_water_mark() -> int | None:
    return _status("VmHWM")


def _resident() -> int | None:
    return _status("VmRSS")


def _status(name: str) -> int | None:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else None


def _max_rss() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
