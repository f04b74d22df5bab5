"""Can one network learn ten digits, two at a time? SpaceNet, a dense network, and one with EWC.

Each task brings two digits that are never seen again. Printed are the accuracy among all digits so
far (ACC), how much of it was lost since each task was learnt (BWT), and both for a network that is
told the task (task-IL); written are pictures of the accuracies and of who owns which connection.
The data are part of scikit-learn. The same from a shell::

    sparsewire cl compare --benchmark split-digits --methods spacenet,naive,ewc --seeds 0-2
"""

import argparse
import tempfile
from pathlib import Path

from sparsewire.continual.command import results
from sparsewire.continual.command.comparing import run_all
from sparsewire.continual.command.settings import resolve_all
from sparsewire.reporting.terminal import print_table

METHODS = ("spacenet", "naive", "ewc")
PICTURES = ("accuracy", "matrix_spacenet", "ownership_spacenet")


def main() -> None:
    """Train all methods with all seeds, print the table, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each task")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    options = parser.parse_args()
    wanted = resolve_all(
        "split-digits", METHODS, range(options.seeds), changes={"epochs": options.epochs}
    )
    # Runs kept in a folder of their own would not be repeated; a demonstration begins anew.
    with tempfile.TemporaryDirectory() as logs:
        outcomes = run_all(wanted, Path(logs), progress=True)
        failures = [outcome.error for outcome in outcomes if outcome.run is None]
        if failures:
            raise SystemExit("\n".join(failures))
        entries = results.collect([outcome.run for outcome in outcomes if outcome.run])
        title = "five tasks of two digits, test rows, percent where there is no unit"
        print_table(title, results.HEADER, results.table_rows(entries))
        figures = results.figures_of(entries)
    chosen = {f"split_digits_{name}": figures[name] for name in PICTURES}
    for path in results.write_figures(options.output, chosen):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
