"""Does sparse training find the columns that matter? The main demonstration of the suite.

QuickSelection, which sees no labels, against all columns, those of largest variance, the best of an
F-test (which sees labels) and random ones; fitted on training rows, judged by a support vector
classifier on test rows. Madelon and MNIST join in where ``SPARSEWIRE_DATA`` has them.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import train_test_split

from sparsewire import datasets
from sparsewire.featsel import QuickSelection, plots
from sparsewire.featsel.evaluation import score_support, split_and_scale
from sparsewire.featsel.report import Section, console_table, write_report
from sparsewire.reporting.figures import save

# Digits get noise columns. Their pixels share one range, hence "minmax": standardised, a border
# pixel that is inked once in a while would count as much as the centre.
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"k": 20, "epochs": 100, "seeds": 5, "scale": "minmax", "noise": 64},
    "madelon": {"k": 20, "epochs": 100, "seeds": 3, "scale": "standard", "noise": 0},
    "mnist": {"k": 50, "epochs": 10, "seeds": 3, "scale": "standard", "noise": 0},
}
MAX_ROWS = {"train": 5000, "test": 2000}
HEADER = ("method", "columns kept", "test accuracy (%)", "noise columns kept")


def prepare(name: str, noise: int, seed: int) -> tuple[Any, Any, int]:
    """Return X and y with the training rows first, and the number of training rows."""
    data = datasets.load(name)
    rows, X = np.arange(len(data.y)), data.X
    if data.n_train is None:
        train, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=data.y)
    else:
        rng = np.random.default_rng(seed)
        train = rng.permutation(rows[: data.n_train])[: MAX_ROWS["train"]]
        test = rng.permutation(rows[data.n_train :])[: MAX_ROWS["test"]]
    if noise:
        X, _ = datasets.with_noise_features(X, noise, seed=seed)
    order = np.concatenate([train, test])
    return X[order], data.y[order], len(train)


def select(name: str, task: dict[str, Any], seed: int) -> tuple[dict[str, Any], QuickSelection]:
    """Return kept columns and test accuracy of each method, and the fitted QuickSelection."""
    X, y, n_train = prepare(name, task["noise"], seed)
    k, epochs, scale = task["k"], task["epochs"], task["scale"]
    selector = QuickSelection(k, epochs=epochs, scale=scale, random_state=seed).fit(X[:n_train])
    variance = X[:n_train].var(axis=0, dtype=float)
    kept = {
        "all columns": np.ones(X.shape[1], dtype=bool),
        "QuickSelection (no labels)": selector.support_,
        "largest variance (no labels)": variance >= np.sort(variance)[-k],
        "F-test (uses labels)": SelectKBest(f_classif, k=k)
        .fit(X[:n_train], y[:n_train])
        .get_support(),
        "random columns": np.random.default_rng(seed).permutation(X.shape[1]) < k,
    }
    rows = split_and_scale(X, y, n_train=n_train)
    return {
        m: (mask, score_support(rows, mask, judges=("svc",))["svc"]) for m, mask in kept.items()
    }, selector


def run(name: str, task: dict[str, Any], folder: Path, console: Console) -> Section:
    """Repeat a task over its seeds and return the table and pictures of what came out."""
    seeds = track(range(task["seeds"]), description=name, console=console)
    results, selectors = zip(*(select(name, task, seed) for seed in seeds), strict=True)
    scores = {method: [result[method][1] for result in results] for method in results[0]}
    table = []
    for method, values in scores.items():
        masks = np.array([result[method][0] for result in results])
        noise = masks[:, masks.shape[1] - task["noise"] :].sum(axis=1).mean()
        accuracy = f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"
        added = f"{noise:.1f} of {task['noise']}" if task["noise"] else "none added"
        table.append((method, str(masks[0].sum()), accuracy, added))
    first = selectors[0]
    figures = {
        "accuracy": plots.accuracy_bars(scores, title=f"{name}: SVC, {task['seeds']} seeds"),
        "training": plots.training_curves({"QuickSelection, seed 0": first.history_["loss"]}),
    }
    if shape := datasets.info(name).image_shape:
        pixels = slice(shape[0] * shape[1])  # the noise columns have no place in the image
        figures["pixels"] = plots.importance_heatmap(
            first.feature_importances_[pixels], first.support_[pixels], shape
        )
    images = [folder / f"{name}_{figure}.png" for figure in figures]
    for path, figure in zip(images, figures.values(), strict=True):
        save(figure, path)
    text = f"Mean ± standard deviation over seeds. {', '.join(f'{k}={v}' for k, v in task.items())}"
    return Section(heading=name, text=text, header=HEADER, rows=table, images=images)


def main() -> None:
    """Run the tasks whose data are on this machine, print their tables, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    parser.add_argument("--quick", action="store_true", help="digits only, two epochs, two seeds")
    options = parser.parse_args()
    # Border pixels never change: every method ranks them last, and says so at each fit.
    warnings.filterwarnings("ignore", message="(?is).*constant|invalid value encountered in divide")
    options.output.mkdir(parents=True, exist_ok=True)
    console, sections = Console(), []
    quick = {"digits": TASKS["digits"] | {"epochs": 2, "seeds": 2}}
    for name, task in (quick if options.quick else TASKS).items():
        if datasets.info(name).available:
            sections.append(run(name, task, options.output, console))
            console.print(console_table(sections[-1]))
    write_report(
        options.output / "report.html", title="sparsewire: feature selection", sections=sections
    )
    console.print(f"wrote {options.output / 'report.html'} and its pictures")


if __name__ == "__main__":
    main()
