"""How are a benchmark's progress and results shown? On a terminal, as a bar and as tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

_WIDTH = 160
"""Columns where there is no terminal to ask; a narrow table would break its numbers."""


def console() -> Console:
    """Return standard output."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=_WIDTH)


@contextmanager
def progress(total: int) -> Iterator[Callable[[tuple[object, ...]], None]]:
    """Show on a terminal's standard error which case is being measured.

    The bar is drawn between measurements only: a thread that refreshed it would be timed as well.

    Parameters
    ----------
    total : int
        Number of cases.

    Yields
    ------
    callable
        To be called with every case before it is measured.
    """
    terminal = Console(stderr=True)
    with Progress(
        console=terminal, auto_refresh=False, transient=True, disable=not terminal.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)
        started = -1

        def begin(case: tuple[object, ...]) -> None:
            nonlocal started
            started += 1
            bar.update(task, completed=started, description=repr(case), refresh=True)

        yield begin


def machine_line(about: dict[str, Any], clock: str) -> str:
    """Return the machine and what ran on it, in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, load {about['load']}; {about['threads']} "
        f"thread(s), {clock}; {about['kernels']} kernels; {versions}"
    )


def kernel_tables(results: dict[str, Any], out: Console) -> None:
    """Print times, ratios and memory of all contenders, and the machine's limits."""
    rows, names = results["rows"], list(results["rows"][0]["contenders"])
    out.print(machine_line(results["machine"], results["clock"]))
    _contenders(out, rows, names, "forward + backward, median ms", lambda own, _: own["median_ms"])
    ratios = _contenders_table(names, f"the same, over {names[0]}")
    _fill(ratios, rows, names, lambda own, ours: own["median_ms"] / ours["median_ms"])
    ratios.add_section()
    for label, means in results["geometric_means"].items():
        cells = (_number(means[name]) for name in names)
        ratios.add_row("geometric mean", "", "", label, *cells)
    out.print(ratios)
    _contenders(out, rows, names, "memory peak, computed, MB", lambda o, _: o["peak_bytes"] / 1e6)
    for row in rows:
        for name, reason in row["skipped"].items():
            out.print(f"- {_shape(row)} {name}: {reason}", highlight=False)
    rate = results["limits"]["matmul_gflops"]
    out.print(f"limit of a dense float32 matrix product: {rate} GFLOP/s")
    out.print(_limits(results["limits"]))


def mlp_table(results: dict[str, Any], out: Console) -> None:
    """Print one row per network and optimizer."""
    out.print(machine_line(results["machine"], results["clock"]))
    sizes = "-".join(map(str, results["layers"]))
    table = Table(title=f"{sizes}, epsilon {results['epsilon']:g}, batch {results['batch']}")
    for heading in ("", "optimizer", "storage"):
        table.add_column(heading)
    for heading in ("connections", "state, MB", "median ms", "best ms", "over csr"):
        table.add_column(heading, justify="right")
    for row in results["rows"]:
        numbers = (row["state_bytes"] / 1e6, row["median_ms"], row["best_ms"], row["ratio"])
        cells = (row["what"], row["optimizer"], row["storage"], f"{row['connections']:,}")
        table.add_row(*cells, *map(_number, numbers))
    out.print(table)


def break_even_table(results: dict[str, Any], out: Console) -> None:
    """Print one row per shape, one column per batch and number of threads."""
    rows = results["rows"]
    columns = sorted({(row["threads"], row["batch"]) for row in rows})
    found = {
        (row["n_in"], row["n_out"], row["threads"], row["batch"]): row["density"] for row in rows
    }
    table = Table(title="density above which a masked dense layer is faster")
    table.add_column("in x out")
    for threads, batch in columns:
        table.add_column(f"{threads} thread(s), batch {batch}", justify="right")
    for n_in, n_out in dict.fromkeys((row["n_in"], row["n_out"]) for row in rows):
        cells = (f"{found[n_in, n_out, *column]:.3f}" for column in columns)
        table.add_row(f"{n_in}x{n_out}", *cells)
    out.print(table)


Value = Callable[[dict[str, float], dict[str, float]], float]
"""What a cell shows, of a contender's summary and of ours."""


def _contenders(
    out: Console, rows: list[dict[str, Any]], names: list[str], title: str, value: Value
) -> None:
    table = _contenders_table(names, title)
    _fill(table, rows, names, value)
    out.print(table)


def _contenders_table(names: list[str], title: str) -> Table:
    table = Table(title=title)
    for heading in ("in x out", "density", "batch", "connections", *names):
        table.add_column(heading, justify="right")
    return table


def _fill(table: Table, rows: list[dict[str, Any]], names: list[str], value: Value) -> None:
    for row in rows:
        found = row["contenders"]
        ours = found[names[0]]
        cells = [_number(value(found[n], ours) if found[n] and ours else None) for n in names]
        size = f"{row['n_in']}x{row['n_out']}"
        case = size, f"{100 * row['density']:g} %", str(row["batch"]), f"{row['connections']:,}"
        table.add_row(*case, *cells)


def _shape(row: dict[str, Any]) -> str:
    return f"{row['n_in']}x{row['n_out']} {100 * row['density']:g} % batch {row['batch']}"


def _limits(limits: dict[str, Any]) -> Table:
    table = Table(title="limit of fetching a random row, one thread")
    for heading in ("row, bytes", "table, MiB", "ns per row", "GB/s"):
        table.add_column(heading, justify="right")
    for row in limits["gather"]:
        table.add_row(*(f"{value:g}" for value in row.values()))
    return table


def _number(value: float | None) -> str:
    """Return three significant digits, never in powers of ten; "-" for nothing."""
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
