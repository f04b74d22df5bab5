"""What happens while a model learns? Evaluations, checkpoints, records of the focus, a bar.

None of it changes the training: evaluation has its own environment and a deterministic policy, and
no callback draws from a generator that training uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, sync_envs_normalization
from tqdm import tqdm

from sparsewire.core._files import replacing
from sparsewire.rl.command import arrays, checkpoints, focus, normalization
from sparsewire.rl.command.environments import episodes_of
from sparsewire.rl.command.models import save_model
from sparsewire.rl.command.runs import Run
from sparsewire.rl.envs.noisy import relevant_mask
from sparsewire.rl.sparsity_report import report_on


class Evaluation(BaseCallback):
    """Evaluate the untrained model, and then the learning one at regular intervals.

    Every evaluation has new episodes, numbered on, so that a resumed run has the same ones.

    Parameters
    ----------
    run : Run
        Receives ``evaluations.npz`` after each evaluation, ``best_model.zip`` after a record.
    env : VecEnv
        The evaluation environment.
    say : callable
        Told the result of each evaluation, in words.
    """

    def __init__(self, run: Run, env: VecEnv, say: Callable[[str], None]) -> None:
        super().__init__()
        self.run, self.env, self.say = run, env, say
        self.steps: list[int] = []
        self.returns: list[list[float]] = []
        self.lengths: list[list[int]] = []
        self.phases: list[int] = []

    def _on_training_start(self) -> None:
        """Take up the evaluations before the checkpoint; those after it will be repeated."""
        if self.num_timesteps == 0:
            self._evaluate()
        elif self.run.evaluations_file.exists():
            stored = arrays.read(self.run.evaluations_file)
            keep = stored["timesteps"] <= self.num_timesteps
            self.steps = stored["timesteps"][keep].tolist()
            self.returns = stored["results"][keep].tolist()
            self.lengths = stored["ep_lengths"][keep].tolist()
            self.phases = stored["phases"][keep].tolist()

    def _on_step(self) -> bool:
        if self.num_timesteps % self.run.settings.eval_freq < self.training_env.num_envs:
            self._evaluate()
        return True

    def _evaluate(self) -> None:
        n_episodes = self.run.settings.eval_episodes
        if isinstance(self.env, VecNormalize):
            sync_envs_normalization(self.training_env, self.env)
        episodes_of(self.env).next_episode = len(self.steps) * n_episodes
        returns, lengths = evaluate_policy(
            self.model, self.env, n_episodes, deterministic=True, return_episode_rewards=True
        )
        assert isinstance(returns, list)
        assert isinstance(lengths, list)
        is_best = not self.returns or np.mean(returns) > max(np.mean(self.returns, axis=1))
        self.steps.append(self.num_timesteps)
        self.returns.append(returns)
        self.lengths.append(lengths)
        noisy = relevant_mask(self.env) is not None
        self.phases.append(self.env.get_attr("phase")[0] if noisy else 0)
        self._write(is_best)
        mean, deviation = float(np.mean(returns)), float(np.std(returns))
        self.logger.record("eval/mean_reward", mean)
        self.logger.record("eval/mean_ep_length", float(np.mean(lengths)))
        self.logger.dump(self.num_timesteps)
        self.say(f"{self.num_timesteps} steps: return {mean:.1f} ± {deviation:.1f}")

    def _write(self, is_best: bool) -> None:
        with replacing(self.run.evaluations_file) as temporary:
            np.savez(
                temporary,
                timesteps=self.steps,
                results=self.returns,
                ep_lengths=self.lengths,
                phases=self.phases,
            )
        if is_best:
            save_model(self.model, self.run.best_model_file)
            if isinstance(self.env, VecNormalize):
                normalization.save(self.env, self.run.normalization_file(best=True))


class Checkpointing(BaseCallback):
    """Write a checkpoint at regular intervals, between two rollouts.

    Parameters
    ----------
    run : Run
        Receives the checkpoints.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self._last = 0

    def _on_training_start(self) -> None:
        self._last = self.num_timesteps

    def _on_rollout_start(self) -> None:
        """Save if a multiple of the interval has been passed; now no transition is half stored."""
        interval = self.run.settings.save_freq
        if self.num_timesteps // interval > self._last // interval:
            self._last = self.num_timesteps
            with_buffer = self.run.settings.save_replay_buffer
            checkpoints.save(self.model, self.run.checkpoints, with_replay_buffer=with_buffer)

    def _on_step(self) -> bool:
        return True


class FocusRecord(BaseCallback):
    """Record how many connections the real and the noise inputs have.

    Parameters
    ----------
    run : Run
        Receives ``focus.npz``.
    interval : int
        Environment steps between two records.
    """

    def __init__(self, run: Run, interval: int) -> None:
        super().__init__()
        self.run, self.interval = run, interval
        self.record = focus.Record()

    def _on_training_start(self) -> None:
        if self.num_timesteps and self.run.focus_file.exists():
            self.record = focus.Record.read(self.run.focus_file).until(self.num_timesteps)

    def _on_rollout_start(self) -> None:
        """Record before the first step and after every multiple of the interval."""
        last = self.record.steps[-1] if self.record.steps else -1
        if self.num_timesteps // self.interval > last // self.interval:
            self._add()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self.record.steps[-1] != self.num_timesteps:
            self._add()

    def _add(self) -> None:
        assert isinstance(self.model, OffPolicyAlgorithm)
        found = {entry.network: (entry.real, entry.noise) for entry in report_on(self.model).focus}
        self.record.add(self.num_timesteps, found)
        self.record.write(self.run.focus_file)


def above_bar(text: str) -> None:
    """Print a line to stderr without breaking the progress bar."""
    tqdm.write(text, file=sys.stderr)


class ProgressBar(BaseCallback):
    """Show on a terminal how far the training is.

    Parameters
    ----------
    total : int
        Environment steps of the whole run.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self._bar: tqdm[Any] | None = None

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self.total, initial=self.num_timesteps, unit="step")

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._bar.update(self.training_env.num_envs)
        return True

    def _on_training_end(self) -> None:
        if self._bar is not None:
            self._bar.close()
