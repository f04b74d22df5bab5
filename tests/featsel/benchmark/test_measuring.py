"""Costs: the peak counts what a block adds, and energy comes from a meter or not at all."""

import time
from pathlib import Path

import pytest

from sparsewire.featsel.benchmark.measuring import joules, measured, read_meters

linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux sets its high-water mark back"
)


@linux
def test_the_peak_is_what_the_block_added_even_after_a_higher_one() -> None:
    higher = bytearray(b"x") * 400_000_000
    del higher
    with measured() as cost:
        lower = bytearray(b"x") * 100_000_000
        del lower
    assert cost.peak_bytes is not None
    assert 95e6 < cost.peak_bytes < 130e6


@linux
def test_memory_held_before_is_not_counted() -> None:
    held = bytearray(b"x") * 100_000_000
    with measured() as cost:
        pass
    assert cost.peak_bytes is not None
    assert cost.peak_bytes < 5e6
    assert len(held)


def test_waiting_takes_time_but_no_processor() -> None:
    with measured() as cost:
        time.sleep(0.2)
    assert cost.seconds >= 0.2
    assert cost.cpu_seconds < 0.1


def meter(folder: Path, zone: str, name: str, count: int) -> None:
    (folder / zone).mkdir(exist_ok=True)
    for file, text in {"name": name, "energy_uj": count, "max_energy_range_uj": 10_000_000}.items():
        (folder / zone / file).write_text(f"{text}\n")


def test_energy_is_that_of_all_packages_without_their_parts(tmp_path: Path) -> None:
    def count(first: int, second: int) -> None:
        meter(tmp_path, "intel-rapl:0", "package-0", first)
        meter(tmp_path, "intel-rapl:1", "package-1", second)
        meter(tmp_path, "intel-rapl:0:0", "core", 2 * first)
        meter(tmp_path, "intel-rapl:2", "psys", 3 * first)

    count(1_000_000, 9_500_000)
    with measured(tmp_path) as cost:
        count(3_000_000, 500_000)  # the second one has wrapped
    assert cost.joules == pytest.approx(2.0 + 1.0)
    with measured(None) as unmetered:
        pass
    assert unmetered.joules is None


def test_a_meter_that_cannot_be_read_is_no_meter(tmp_path: Path) -> None:
    meter(tmp_path, "intel-rapl:0", "package-0", 1)
    meter(tmp_path, "intel-rapl:1", "package-1", 1)
    before = read_meters(tmp_path)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert read_meters(tmp_path) == {}
    assert joules(before, read_meters(tmp_path)) is None
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("none")
    with measured(tmp_path) as cost:
        pass
    assert cost.joules is None
