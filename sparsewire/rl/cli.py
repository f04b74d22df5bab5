"""How does one train agents from a shell? The command group ``sparsewire rl``.

Options are spelt as in the RL Zoo, whose users need not learn anything new: ``train``, ``enjoy``
and ``plot`` like its scripts, ``eval``, ``bench``, ``report`` and ``envs`` besides. A mistake is
one line on stderr, ``error: ...``, and exit code 2, before anything is trained or written; a bench
in which a run failed ends with exit code 1. Heavy modules are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsewire.reporting.terminal import (
    SeveralValues,
    check_confidence,
    checked_output,
    command_line,
    one_line_errors,
    print_table,
    say,
)

if TYPE_CHECKING:
    from sparsewire.rl.command.benching import Outcome
    from sparsewire.rl.command.curves import Table
    from sparsewire.rl.command.runs import Run


class _SeveralValues(SeveralValues):
    """A command in which ``-params a:1 b:2`` means ``-params a:1 -params b:2``, as in the Zoo."""

    several = ("-params", "--hyperparams", "--env-kwargs", "--algos", "--envs")


_Algo = Annotated[str | None, typer.Option(help="Such as td3, sac, anf-td3, ds-sac, static-td3.")]
_Env = Annotated[str | None, typer.Option(help="Id of the environment.")]
_EnvKwargs = Annotated[
    list[str] | None, typer.Option(metavar="KEY:VALUE...", help="Arguments of the environment.")
]
_Steps = Annotated[
    int | None, typer.Option("-n", "--n-timesteps", min=1, help="Environment steps of the run.")
]
_Seed = Annotated[int | None, typer.Option(help="Seed of all randomness; default 0.")]
_EvalFreq = Annotated[
    int | None, typer.Option(min=0, help="Steps between evaluations, 0 for none; default 5000.")
]
_EvalEpisodes = Annotated[int | None, typer.Option(min=1, help="Their episodes; default 10.")]
_SaveFreq = Annotated[
    int | None, typer.Option(min=0, help="Steps between checkpoints; default 0: one at the end.")
]
_SaveBuffer = Annotated[
    bool, typer.Option("--save-replay-buffer", help="Keep the buffer for an exact resumption.")
]
_TensorBoard = Annotated[
    str | None, typer.Option("-tb", "--tensorboard-log", help="Folder for TensorBoard.")
]
_Logs = Annotated[Path, typer.Option("-f", "--log-folder", help="Folder of all runs.")]
_Progress = Annotated[bool, typer.Option("-P", "--progress", help="Show a progress bar.")]
_Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda; default auto.")]
_Threads = Annotated[int | None, typer.Option(min=1, help="Threads of torch; default 1.")]
_Params = Annotated[
    list[str] | None,
    typer.Option(
        "-params", "--hyperparams", metavar="KEY:VALUE...",
        help="Hyperparameters to replace: Python literals, read without executing anything.",
    ),
]  # fmt: skip
_Resume = Annotated[
    Path | None, typer.Option("-i", "--trained-agent", help="Folder of a run to continue.")
]
_Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
_Best = Annotated[bool, typer.Option("--load-best", help="The best model, not the last one.")]
_ExpId = Annotated[int, typer.Option(min=0, help="The k of <env>_<k>; 0 is the latest.")]
_Confidence = Annotated[float, typer.Option("--ci", help="Level of the intervals.")]


def register(app: typer.Typer) -> None:
    """Add the group ``rl`` to the command line.

    Parameters
    ----------
    app : typer.Typer
        The application to extend; it is changed in place.

    Examples
    --------
    >>> app = typer.Typer()
    >>> register(app)
    >>> [command.name for command in app.registered_groups[0].typer_instance.registered_commands]
    ['train', 'enjoy', 'eval', 'bench', 'plot', 'report', 'envs']
    """
    group = typer.Typer(help="Train sparse agents with stable-baselines3.", no_args_is_help=True)
    group.command("train", cls=_SeveralValues, help="Train an agent, or go on with one.")(_train)
    group.command("enjoy", help="Watch a trained agent, or record a video.")(_enjoy)
    group.command("eval", help="Evaluate a trained agent in new episodes.")(_eval)
    group.command("bench", cls=_SeveralValues, help="Compare algorithms over seeds.")(_bench)
    group.command("plot", help="Draw all complete runs of a folder.")(_plot)
    group.command("report", help="Show size and focus of a trained agent.")(_report)
    group.command("envs", help="List environments with noise features.")(_envs)
    app.add_typer(group, name="rl")


def _train(
    algo: _Algo = None,
    env: _Env = None,
    env_kwargs: _EnvKwargs = None,
    n_timesteps: _Steps = None,
    seed: _Seed = None,
    eval_freq: _EvalFreq = None,
    eval_episodes: _EvalEpisodes = None,
    save_freq: _SaveFreq = None,
    save_replay_buffer: _SaveBuffer = False,
    tensorboard_log: _TensorBoard = None,
    logs: _Logs = Path("logs"),
    progress: _Progress = False,
    device: _Device = None,
    num_threads: _Threads = None,
    params: _Params = None,
    trained_agent: _Resume = None,
) -> None:
    with one_line_errors("rl"):
        from sparsewire.reporting.arguments import parse_pairs

        given = _given(
            algo=algo, env=env, n_timesteps=n_timesteps, seed=seed, eval_freq=eval_freq,
            eval_episodes=eval_episodes, save_freq=save_freq, tensorboard_log=tensorboard_log,
            save_replay_buffer=save_replay_buffer or None, device=device, num_threads=num_threads,
            env_kwargs=parse_pairs("--env-kwargs", env_kwargs) if env_kwargs else None,
            params=parse_pairs("-params", params) if params else None,
        )  # fmt: skip
        run = _start(given, logs, trained_agent, progress)
        result = run.result
        typer.echo(f"{result['timesteps']} steps, {result['steps_per_second']:g} steps / s")
        typer.echo(f"wrote {run.path}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _start(given: dict[str, Any], logs: Path, trained_agent: Path | None, progress: bool) -> Run:
    """Train a new run, or continue one."""
    from sparsewire.core.errors import InvalidArgumentError
    from sparsewire.rl.command.settings import Settings
    from sparsewire.rl.command.training import resume, train

    if trained_agent is None and not {"algo", "env"} <= given.keys():
        raise InvalidArgumentError("--algo and --env are needed, or -i RUN to continue one.")
    if trained_agent is None:
        settings = Settings(**given)
        return train(settings, logs, command=command_line(), progress=progress, say=say)
    _check_resumption(trained_agent, given)
    return resume(trained_agent, changes=given, command=command_line(), progress=progress, say=say)


def _check_resumption(path: Path, given: dict[str, Any]) -> None:
    """Refuse to change what a run is; how long it takes and what it saves may change."""
    from sparsewire.core.errors import InvalidArgumentError
    from sparsewire.rl.command.runs import open_run

    settings = open_run(path).settings.as_plain()
    for name in ("algo", "env", "env_kwargs", "seed", "params", "eval_freq", "eval_episodes"):
        if name in given and given[name] != settings[name]:
            raise InvalidArgumentError(
                f"the run in {path} has {name} {settings[name]}, not {given[name]}; leave it out "
                "with -i, or start a new run without -i."
            )


def _enjoy(
    algo: Annotated[str, typer.Option(help="Algorithm of the run.")],
    env: Annotated[str, typer.Option(help="Environment of the run.")],
    logs: _Logs = Path("logs"),
    exp_id: _ExpId = 0,
    n_timesteps: Annotated[int, typer.Option("-n", "--n-timesteps", min=1)] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    load_best: _Best = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a video, .mp4 or .gif.")
    ] = None,
    no_render: Annotated[bool, typer.Option("--no-render", help="Open no window.")] = False,
) -> None:
    with one_line_errors("rl"):
        from sparsewire.rl.command.evaluating import enjoy
        from sparsewire.rl.command.runs import latest_run

        run = latest_run(logs, algo, env, exp_id)
        found = enjoy(
            run, steps=n_timesteps, seed=seed, best=load_best, device=device, record=record,
            render=not no_render,
        )  # fmt: skip
        for number, (value, length) in enumerate(zip(found.returns, found.lengths, strict=True)):
            typer.echo(f"episode {number}: return {value:.2f}, {length} steps")
        if record is not None:
            typer.echo(f"wrote {record}")


def _eval(
    run: _Run,
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes.")] = 1000,
    load_best: _Best = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    with one_line_errors("rl"):
        from sparsewire.rl.command.evaluating import evaluate
        from sparsewire.rl.command.runs import open_run
        from sparsewire.rl.command.statistics import aggregate

        found = evaluate(open_run(run), episodes=episodes, seed=seed, best=load_best, device=device)
        lengths = found.lengths
        rows = [
            ["return, mean", str(aggregate([found.returns], "mean"))],
            ["return, interquartile mean", str(aggregate([found.returns], "iqm"))],
            ["return, standard deviation", f"{found.returns.std():.4g}"],
            ["return, lowest and highest", f"{found.returns.min():.4g}, {found.returns.max():.4g}"],
            ["steps, mean", f"{lengths.mean():.4g}"],
        ]
        title = f"{episodes} episodes, seed {seed}; brackets: 95 % bootstrap intervals"
        print_table(title, ("", "value"), rows)


def _bench(
    algos: Annotated[list[str], typer.Option(metavar="ALGO...", help="Algorithms to compare.")],
    envs: Annotated[list[str], typer.Option(metavar="ENV...", help="Environments.")],
    n_timesteps: Annotated[int, typer.Option("-n", "--n-timesteps", min=1)],
    seeds: Annotated[str, typer.Option(help="Such as 0-4 or 0,3,7.")] = "0-4",
    jobs: Annotated[int, typer.Option(help="Runs at the same time; -1: all cores.")] = 1,
    env_kwargs: _EnvKwargs = None,
    eval_freq: Annotated[int, typer.Option(min=1)] = 5000,
    eval_episodes: Annotated[int, typer.Option(min=1)] = 10,
    logs: _Logs = Path("logs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Page; default <logs>/bench.html.")
    ] = None,
    progress: _Progress = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    num_threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    params: _Params = None,
    confidence: _Confidence = 0.95,
) -> None:
    with one_line_errors("rl"):
        from sparsewire.reporting.arguments import parse_pairs, parse_seeds
        from sparsewire.reporting.figures import require_matplotlib
        from sparsewire.rl.command.benching import run_bench

        require_matplotlib()
        check_confidence(confidence)
        page = checked_output(output or logs / "bench.html", ".html")
        outcomes = run_bench(
            algos, envs, parse_seeds(seeds), logs=logs, jobs=jobs, command=command_line(),
            verbose=10 if progress else 0, n_timesteps=n_timesteps, eval_freq=eval_freq,
            eval_episodes=eval_episodes, device=device, num_threads=num_threads,
            env_kwargs=parse_pairs("--env-kwargs", env_kwargs or ()),
            params=parse_pairs("-params", params or ()),
        )  # fmt: skip
        _finish_bench(outcomes, page, confidence)


def _finish_bench(outcomes: list[Outcome], page: Path, confidence: float) -> None:
    from sparsewire.rl.command import results
    from sparsewire.rl.command.curves import collect

    failed = [outcome for outcome in outcomes if outcome.run is None]
    for outcome in failed:
        settings = outcome.settings
        name = f"{settings.algo} in {settings.env}, seed {settings.seed}"
        typer.echo(f"failed: {name}: {' '.join(outcome.error.split())}", err=True)
    runs = [outcome.run for outcome in outcomes if outcome.run is not None]
    if runs:
        table = collect(runs)
        _print_scores(table, confidence)
        results.bench_page(table, outcomes, command=command_line(), confidence=confidence).write(
            page
        )
        typer.echo(f"wrote {page}")
    if failed:
        raise typer.Exit(1)


def _print_scores(table: Table, confidence: float) -> None:
    from sparsewire.rl.command import results

    for env in table:
        print_table(env, results.SCORES, results.score_rows(table, env, confidence=confidence))
    baseline, rows = results.comparison_rows(table, confidence=confidence)
    if rows:
        print_table(f"against {baseline}", results.COMPARISONS, rows)


def _plot(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Logs, or one run.")],
    metric: Annotated[str, typer.Option(help="return, lca, focus or size.")] = "return",
    iqm: Annotated[bool, typer.Option("--iqm", help="Interquartile mean, not mean.")] = False,
    confidence: _Confidence = 0.95,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")] = Path("out.png"),
) -> None:
    with one_line_errors("rl"):
        from sparsewire.reporting import figures
        from sparsewire.rl.command.curves import collect
        from sparsewire.rl.command.results import figure_of
        from sparsewire.rl.command.runs import find_runs

        figures.require_matplotlib()
        check_confidence(confidence)
        path = checked_output(output, ".png")
        table = collect(find_runs(folder))
        kind: Any = "iqm" if iqm else "mean"
        figures.save(figure_of(metric, table, kind, confidence=confidence), path)
        typer.echo(f"wrote {path}")


def _report(run: _Run) -> None:
    with one_line_errors("rl"):
        from sparsewire.rl.command.results import FOCUS, focus_rows
        from sparsewire.rl.command.runs import open_run

        found = open_run(run)
        report = _report_of(found)
        typer.echo(str(report))
        if found.focus_file.exists():
            from sparsewire.rl.command.focus import Record

            record = Record.read(found.focus_file)
            title = (
                f"mean connections of an input, from step {record.steps[0]} to {record.steps[-1]}"
            )
            print_table(title, FOCUS, focus_rows(record))


def _report_of(run: Run) -> Any:
    """Count a complete run's agent; one that is still training has not been counted yet."""
    from sparsewire.core.errors import CheckpointError
    from sparsewire.rl.command.results import size_of_run

    try:
        return size_of_run(run)
    except FileNotFoundError:
        raise CheckpointError(
            f"{run.path} is not complete; continue it with `sparsewire rl train -i {run.path}`."
        ) from None


def _envs() -> None:
    with one_line_errors("rl"):
        from sparsewire.rl.command.listing import COLUMNS, environment_rows

        print_table("environments with noise features", COLUMNS, environment_rows())
