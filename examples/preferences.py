"""How does one teach an agent by comparing behaviour? A pendulum among noise, no reward function.

A scripted teacher says which of two clips of behaviour is better; a sparse reward model learns from
that, and SAC, sparse too, learns from the model (PEBBLE with the reward model of R2N). Run
``python examples/preferences.py``; it takes about five minutes on an idle core, no download.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sparsewire.rl import PreferenceLearner, SparseSAC


def learn(preset: str | None, options: argparse.Namespace) -> None:
    """Train an agent on learned rewards, and print what it earned and what the model looks at."""
    env = gym.make("NoisyPendulum-v1", noise_fraction=options.noise)
    learner = PreferenceLearner(
        env,
        feedback=options.feedback,
        feedback_per_session=max(1, options.feedback // 5),
        feedback_every=max(1, options.steps // 10),
        warmup_steps=options.steps // 10,
        segment_length=5,
        preset=preset,
        reward_kwargs={"net_arch": [128, 128]},
        seed=options.seed,
        verbose=1,
    )
    agent = SparseSAC(
        "MlpPolicy",
        learner.env,
        preset="anf",
        sparse_kwargs={"update_interval": 200},
        learning_rate=1e-3,
        learning_starts=options.steps // 20,
        buffer_size=options.steps,
        seed=options.seed,
    )
    agent.learn(options.steps, callback=learner)
    judge = Monitor(gym.make("NoisyPendulum-v1", noise_fraction=options.noise))
    judge.reset(seed=options.seed + 10_000)
    mean, std = evaluate_policy(agent, judge, n_eval_episodes=10)
    print(f"{preset or 'dense'} reward model: true return {mean:.0f} ± {std:.0f} (10 episodes)")
    for focus in learner.focus():
        print(f"  {focus.network}: {focus.real:.1f} connections of a real feature, "
              f"{focus.noise:.1f} of a noise feature")  # fmt: skip


def main() -> None:
    """Compare a sparse with a dense reward model; one seed shows how, not which is better."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="steps of each agent")
    parser.add_argument("--feedback", type=int, default=1000, help="preferences in all")
    parser.add_argument("--noise", type=float, default=0.95, help="share of noise features")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for preset in ("anf", None):
        learn(preset, options)


if __name__ == "__main__":
    main()
