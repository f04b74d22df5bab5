"""How well does one agent learn HalfCheetah, with or without noise features?

    python benchmarks/rl_curves.py td3                   # dense, 17 real features
    python benchmarks/rl_curves.py ds                    # half of the connections
    python benchmarks/rl_curves.py td3 --noise 0.98      # dense, 850 features
    python benchmarks/rl_curves.py anf --noise 0.98      # truly sparse input layers

TD3 with ANF's other hyperparameters and 2×256 hidden units, one thread, evaluated by 5 episodes
every 5000 steps. Each line gives step, mean return, seconds of CPU so far and, with noise, the
density of the actor's and the critic's connections to real and to noise features.
"""

import argparse
import statistics
import time

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise

import sparsewire.rl
from sparsewire.rl import SparseTD3

REAL = 17


def make_env(noise: float, seed: int) -> Monitor:
    """Return a seeded environment."""
    if noise:
        env = Monitor(gym.make("NoisyHalfCheetah-v5", noise_fraction=noise))
    else:
        env = Monitor(gym.make("HalfCheetah-v5"))
    env.reset(seed=seed)
    env.action_space.seed(seed)
    return env


def make_agent(preset: str, noise: float, steps: int, seed: int) -> SparseTD3:
    """Return an untrained agent."""
    env = make_env(noise, seed)
    actions = np.zeros(gym.spaces.flatdim(env.action_space))
    sparse = {"update_interval": 1000, "storage": "csr" if noise else "masked"}
    return SparseTD3(
        "MlpPolicy",
        env,
        preset=None if preset == "td3" else preset,
        sparse_kwargs=None if preset == "td3" else sparse,
        seed=seed,
        learning_rate=1e-3,
        batch_size=100,
        learning_starts=10_000,
        buffer_size=steps,
        action_noise=NormalActionNoise(actions, 0.1 + actions),
        policy_kwargs={"net_arch": [256, 256], "optimizer_kwargs": {"weight_decay": 2e-4}},
    )


def evaluate(agent: SparseTD3, env: Monitor) -> float:
    """Return the mean return of 5 episodes."""
    returns = []
    for _ in range(5):
        observation, _ = env.reset()
        total, done = 0.0, False
        while not done:
            action, _ = agent.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    return statistics.mean(returns)


def focus(agent: SparseTD3, noise: float) -> str:
    """Return the density of connections to real and to noise features."""
    if not noise or agent.topology is None:
        return ""
    parts = []
    for name, layer in (("actor", "mu.0.weight"), ("critic", "qf0.0.weight")):
        mask = agent.topology.handles[name].masks()[layer].float()
        features = gym.spaces.flatdim(agent.observation_space)
        real, rest = mask[:, :REAL].mean(), mask[:, REAL:features].mean()
        parts.append(f"{name} {real:.3f} {rest:.3f}")
    return "  ".join(parts)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", choices=("td3", "ds", "anf", "static", "rigl", "rlx2", "gmp"))
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    noise, seed = arguments.noise, arguments.seed
    agent = make_agent(arguments.preset, noise, arguments.steps, seed)
    evaluation, used = make_env(noise, seed + 10_000), 0.0
    while agent.num_timesteps < arguments.steps:
        started = time.process_time()
        agent.learn(5000, reset_num_timesteps=False)
        used += time.process_time() - started
        mean = evaluate(agent, evaluation)
        print(
            f"{agent.num_timesteps:7d} {mean:9.1f} {used:7.0f} s  {focus(agent, noise)}", flush=True
        )


if __name__ == "__main__":
    assert sparsewire.rl.__doc__  # its import registers the environments
    main()
