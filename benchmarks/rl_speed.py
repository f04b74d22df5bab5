"""How fast do sparse agents learn, as a ratio to stock Stable-Baselines3 in the same run?

    OMP_NUM_THREADS=1 python benchmarks/rl_speed.py                   # every preset, 17 features
    OMP_NUM_THREADS=1 python benchmarks/rl_speed.py --noise 0.98 --presets anf --storages masked csr

TD3 and SAC with 2×256 hidden units on HalfCheetah, one gradient step per environment step, one
thread. Agents take turns in blocks of 1000 steps, so that a block holds one topology update of the
presets that update every 1000 steps; a block is timed in seconds of CPU, and the ratio of a block
is the time of the stock block next to it over its own. The table gives medians over all blocks.
With ``--noise`` observations get noise features, and their input layer is wide enough for truly
sparse storage.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

import sparsewire.rl
from sparsewire.rl import paper_settings, resolve_algorithm

BLOCK = 1000
PRESETS = ("ds", "anf", "static", "rigl", "rlx2", "gmp")


def make_env(noise: float) -> gym.Env:
    """Return HalfCheetah, with noise features if asked for."""
    if noise:
        return gym.make("NoisyHalfCheetah-v5", noise_fraction=noise)
    return gym.make("HalfCheetah-v5")


def make_agent(
    algorithm: str, preset: str | None, storage: str, arguments: argparse.Namespace
) -> OffPolicyAlgorithm:
    """Return an untrained agent; one without a preset is of the stock class."""
    env = make_env(arguments.noise)
    settings = paper_settings(algorithm, env, like="anf") | {
        "batch_size": arguments.batch,
        "learning_starts": 100,
        "buffer_size": 10_000,
        "seed": 0,
    }
    stock: dict[str, type[OffPolicyAlgorithm]] = {"td3": TD3, "sac": SAC}
    if preset is None:
        return stock[algorithm]("MlpPolicy", env, **settings)
    changes: dict[str, Any] = {"storage": storage}
    if preset == "gmp":
        changes["total_steps"] = 5 * BLOCK  # so that its ramp falls into the measured steps
    kind: Any = resolve_algorithm(algorithm).model_class
    agent: OffPolicyAlgorithm = kind(
        "MlpPolicy", env, preset=preset, sparse_kwargs=changes, **settings
    )
    return agent


def seconds(agent: OffPolicyAlgorithm, steps: int) -> float:
    """Return the CPU time of some steps of learning."""
    started = time.process_time()
    agent.learn(steps, reset_num_timesteps=False)
    return time.process_time() - started


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Work in a temporary folder: MuJoCo leaves a log file in the present one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", nargs="+", default=["td3", "sac"])
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--storages", nargs="+", default=["masked"])
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [(preset, storage) for preset in arguments.presets for storage in arguments.storages]
    print(f"torch {torch.__version__}, 1 thread, batch {arguments.batch}", flush=True)
    print("| algorithm | preset | storage | steps/s | stock | ratio |\n|---|---|---|---|---|---|")
    with scratch():
        for algorithm in arguments.algorithms:
            agents = {row: make_agent(algorithm, *row, arguments) for row in rows}
            stock = make_agent(algorithm, None, "", arguments)
            for agent in (stock, *agents.values()):
                seconds(agent, 300)
            times = measure(stock, agents, arguments.blocks)
            for (preset, storage), pairs in times.items():
                own = BLOCK / statistics.median(mine for mine, _ in pairs)
                dense = BLOCK / statistics.median(theirs for _, theirs in pairs)
                ratio = statistics.median(theirs / mine for mine, theirs in pairs)
                print(
                    f"| {algorithm} | {preset} | {storage} | {own:.0f} | {dense:.0f} "
                    f"| {ratio:.3f} |",
                    flush=True,
                )


def measure(
    stock: OffPolicyAlgorithm, agents: dict[tuple[str, str], OffPolicyAlgorithm], blocks: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return for every agent the times of its blocks, each with that of a stock block beside it."""
    times: dict[tuple[str, str], list[tuple[float, float]]] = {row: [] for row in agents}
    for _ in range(blocks):
        before = seconds(stock, BLOCK)
        for i, (row, agent) in enumerate(agents.items()):
            own = seconds(agent, BLOCK)
            if i % 2:  # a stock block between every two
                before, after = seconds(stock, BLOCK), before
                times[row].append((own, (before + after) / 2))
            else:
                times[row].append((own, before))
    return times


if __name__ == "__main__":
    assert sparsewire.rl.__doc__  # its import registers the environments
    main()
