"""Does sparse training find the columns that matter? The main demonstration of the suite.

QuickSelection, which sees no labels, against all columns, those of largest variance, the best of an
F-test (which does see labels) and random ones. Selectors are fitted on training rows only; a
support vector classifier is scored on the test rows; several seeds. Digits come with scikit-learn;
Madelon and MNIST join in where ``SPARSEWIRE_DATA`` has them. Writes ``report.html`` and pictures.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import train_test_split

from sparsewire import datasets
from sparsewire.featsel import QuickSelection, plots
from sparsewire.featsel.evaluation import score_support, split_and_scale
from sparsewire.featsel.report import Section, console_table, write_report

HEADER = ("method", "columns kept", "test accuracy (%)", "noise columns kept")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set and how much of it to use."""

    title: str
    name: str
    k: int
    epochs: int
    seeds: int
    scale: Literal["standard"] | None = "standard"
    n_noise: int = 0
    train_rows: int | None = None
    test_rows: int | None = None


# The digits' pixels share one unit and stay as they are. Standardised, border pixels that are inked
# once in a while outweigh the centre, and QuickSelection does no better than random columns.
DIGITS = Task(title="Digits and 64 noise columns", name="digits", k=20, epochs=100, seeds=5,
              n_noise=64, scale=None)  # fmt: skip
MADELON = Task(title="Madelon", name="madelon", k=20, epochs=100, seeds=3)
MNIST = Task(title="MNIST, 5000 training rows", name="mnist", k=50, epochs=10, seeds=3,
             train_rows=5000, test_rows=2000)  # fmt: skip


def prepare(task: Task, seed: int) -> tuple[Any, Any, int]:
    """Return X and y with the training rows first, and the number of training rows."""
    data = datasets.load(task.name)
    rows, rng, X = np.arange(len(data.y)), np.random.default_rng(seed), data.X
    if data.n_train is None:
        train, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=data.y)
    else:
        train = rng.permutation(rows[: data.n_train])[: task.train_rows]
        test = rng.permutation(rows[data.n_train :])[: task.test_rows]
    if task.n_noise:
        X, _ = datasets.with_noise_features(X, task.n_noise, seed=seed)
    order = np.concatenate([train, test])
    return X[order], data.y[order], len(train)


def select(task: Task, seed: int) -> tuple[dict[str, Any], dict[str, float], QuickSelection]:
    """Fit each selector on the training rows; return kept columns and test accuracy of each."""
    X, y, n_train = prepare(task, seed)
    selector = QuickSelection(task.k, epochs=task.epochs, scale=task.scale, random_state=seed)
    selector.fit(X[:n_train])
    by_variance = np.argsort(-X[:n_train].var(axis=0, dtype=float), kind="stable")
    f_test = SelectKBest(f_classif, k=task.k).fit(X[:n_train], y[:n_train])
    kept = {
        "all columns": np.ones(X.shape[1], dtype=bool),
        "QuickSelection (no labels)": selector.support_,
        "largest variance (no labels)": np.isin(np.arange(X.shape[1]), by_variance[: task.k]),
        "F-test (uses labels)": f_test.get_support(),
        "random columns": np.random.default_rng(seed).permutation(X.shape[1]) < task.k,
    }
    rows = split_and_scale(X, y, n_train=n_train)
    scores = {
        name: score_support(rows, mask, judges=("svc",))["svc"] for name, mask in kept.items()
    }
    return kept, scores, selector


def run(task: Task, folder: Path, console: Console) -> Section:
    """Repeat a task over its seeds and return the table and pictures of what came out."""
    runs = [
        select(task, seed)
        for seed in track(range(task.seeds), description=task.title, console=console)
    ]
    methods, first = list(runs[0][0]), runs[0][2]
    scores = {method: [accuracy[method] for _, accuracy, _ in runs] for method in methods}
    table = []
    for method, values in scores.items():
        masks = np.array([kept[method] for kept, _, _ in runs])
        noise = masks[:, masks.shape[1] - task.n_noise :].sum(axis=1).mean()
        table.append((
            method,
            str(masks[0].sum()),
            f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}",
            f"{noise:.1f} of {task.n_noise}" if task.n_noise else "none added",
        ))  # fmt: skip
    figures = {
        "accuracy": plots.accuracy_bars(scores, title=f"{task.title}: SVC, {task.seeds} seeds"),
        "training": plots.training_curves({"QuickSelection, seed 0": first.history_["loss"]}),
    }
    if shape := datasets.info(task.name).image_shape:
        pixels = slice(shape[0] * shape[1])  # the noise columns have no place in the image
        figures["pixels"] = plots.importance_heatmap(
            first.feature_importances_[pixels], first.support_[pixels], shape
        )
    images = [folder / f"{task.name}_{name}.png" for name in figures]
    for path, figure in zip(images, figures.values(), strict=True):
        plots.save(figure, path)
    text = (
        f"Mean ± standard deviation over {task.seeds} seeds; QuickSelection with "
        f"{task.epochs} epochs and scale={task.scale!r}."
    )
    return Section(heading=task.title, text=text, header=HEADER, rows=table, images=images)


def main() -> None:
    """Run the tasks whose data are on this machine, print their tables, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    parser.add_argument("--quick", action="store_true", help="digits only, two epochs, two seeds")
    arguments = parser.parse_args()
    # Border pixels never change: every method ranks them last, and says so at each fit.
    warnings.filterwarnings("ignore", message="(?is).*constant")
    warnings.filterwarnings("ignore", message="invalid value encountered in divide")
    arguments.output.mkdir(parents=True, exist_ok=True)
    console, sections = Console(), []
    quick = [replace(DIGITS, epochs=2, seeds=2)]
    for task in quick if arguments.quick else (DIGITS, MADELON, MNIST):
        if datasets.info(task.name).available:
            sections.append(run(task, arguments.output, console))
            console.print(console_table(sections[-1]))
    report = arguments.output / "report.html"
    write_report(report, title="sparsewire: feature selection", sections=sections)
    console.print(f"wrote {report} and its pictures")


if __name__ == "__main__":
    main()
