"""Which agent finds the 3 real features among 150? TD3 on a pendulum seen through 98 % noise.

Dense TD3, one with a static sparse input layer, and ANF, whose input layer rewires itself, all with
the same other hyperparameters. Prints their returns with intervals and writes a page with learning
curves and with the connections that real and noise features have over time.

    python examples/noisy_pendulum.py --seeds 5 --steps 12000 --jobs 2
"""

import argparse
from pathlib import Path
from typing import Any

from sparsewire.reporting.terminal import print_table
from sparsewire.rl.command import run_bench
from sparsewire.rl.command.curves import collect
from sparsewire.rl.command.results import (
    COMPARISONS,
    SCORES,
    bench_page,
    comparison_rows,
    score_rows,
)

ALGORITHMS = ("td3", "static-td3", "anf-td3")
ENVIRONMENT = "NoisyPendulum-v1"


def settings(steps: int) -> dict[str, Any]:
    """Return what all runs share: ANF's hyperparameters, but for the length of so short a run."""
    return {
        "n_timesteps": steps,
        "eval_freq": max(1, steps // 6),
        "env_kwargs": {"noise_fraction": 0.98},
        "params": {"like": "anf", "learning_starts": min(1000, steps // 3), "buffer_size": steps},
    }


def main() -> None:
    """Run the comparison, print it and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write into")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    print(f"training {len(ALGORITHMS) * options.seeds} agents for {options.steps} steps")
    outcomes = []
    for algorithm in ALGORITHMS:
        given = settings(options.steps)
        if algorithm == "anf-td3":
            # The published interval, 1000 steps, would give so short a run 11 topology updates.
            given["params"]["sparse_kwargs"] = {"update_interval": max(1, options.steps // 60)}
        outcomes += run_bench(
            [algorithm], [ENVIRONMENT], range(options.seeds), logs=options.output / "logs",
            jobs=options.jobs, **given,
        )  # fmt: skip
    for outcome in outcomes:
        if outcome.run is None:
            raise SystemExit(f"{outcome.settings.algo} failed: {outcome.error}")
    table = collect([outcome.run for outcome in outcomes if outcome.run is not None])
    for env in table:
        print_table(env, SCORES, score_rows(table, env))
    baseline, rows = comparison_rows(table)
    print_table(f"against {baseline}", COMPARISONS, rows)
    page = options.output / "noisy_pendulum.html"
    bench_page(table, outcomes, command="python examples/noisy_pendulum.py").write(page)
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
