"""The command line: `hardmem train | eval | compare | envs`. Every command is a thin layer over a function."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from hardmem.agents.compare import LENGTHS, compare, jobs_of, slug
from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.evaluation import evaluate
from hardmem.agents.figures import address_maps, learning_curves
from hardmem.agents.learner import Generators, Learner
from hardmem.agents.progress import Progress
from hardmem.agents.report import comparison_table, live_comparison
from hardmem.agents.runs import RESULTS, load, read_config
from hardmem.agents.sequence import SequenceLearner
from hardmem.agents.signals import Interrupted
from hardmem.agents.training import NonFiniteError, Outcome, resume, train
from hardmem.envs import ENVIRONMENTS, TaskEnv

Config = (
    Annotated[AgentConfig, tyro.conf.subcommand("agent", description=AgentConfig.__doc__)]
    | Annotated[SequenceConfig, tyro.conf.subcommand("sequence", description=SequenceConfig.__doc__)]
)


def train_command(
    config: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Config]],
    name: str | None = None,
    runs: Path = Path("runs"),
) -> None:
    """Train an agent in an environment, or a sequence model on a task, into a run folder of its own.

    Args:
        config: what to train: `agent` or `sequence`, each with its own flags.
        name: folder inside `runs`; by default the first free of train-1, train-2, ... It must not exist yet.
        runs: folder that holds the runs.
    """
    folder = _folder(runs, name, "train")
    _follow(config, folder, lambda show: train(config, folder, show))


def resume_command(run: tyro.conf.Positional[Path], max_updates: int | None = None) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint, as if nothing had happened.

    Args:
        run: the run's folder.
        max_updates: another budget than it was begun with.
    """
    config = read_config(run)
    if max_updates is not None:
        config = dataclasses.replace(config, max_updates=max_updates)
    _follow(config, run, lambda show: resume(run, show, max_updates=max_updates))


def _follow(
    config: TrainConfig, folder: Path, work: Callable[[Callable[[Progress], None]], tuple[Learner, Outcome]]
) -> None:
    """Show a training's progress, and at its end what it came to."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=config.max_updates)

        def show(progress: Progress) -> None:
            rate = progress.steps / progress.seconds
            text = f"length {progress.length}, exact {progress.exact:.0%}, loss {progress.metrics['loss']:.3f}"
            bar.update(task, completed=progress.update, description=f"{text}, {rate:,.0f} steps/s")

        _, outcome = work(show)
    if outcome.solved is None:
        console.print(f"not solved within {config.max_updates} updates: {outcome.curve[-1].exact:.1%} exact")
    else:
        at = outcome.solved
        console.print(f"solved after {at.update} updates, {at.rollouts:,} rollouts, {at.seconds:.1f} s")
    console.print(_evaluation_table(json.loads((folder / RESULTS).read_text())["evaluation"]))
    _say_where(console, folder)


def eval_command(
    run: tyro.conf.Positional[Path],
    lengths: tuple[int, ...] = LENGTHS,
    problems: int = 500,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Play fresh problems with what a run has trained, at any length, without further training.

    Args:
        run: the run's folder.
        lengths: problem lengths; the training length stands for all lengths up to it.
        problems: problems per length (fewer where a soft memory makes every step cost all cells; the table says).
        seed: draws the problems; training never uses the same ones.
        device: "auto" (CUDA where there is one), "cpu", "cuda".
    """
    if problems < 1 or min(lengths, default=0) < 1:
        raise ValueError(f"problems and lengths must be at least 1, got {problems} and {list(lengths)}")
    learner, _ = load(run, device)
    test = Generators.seeded(seed, resolve_device(device)).test
    Console().print(_evaluation_table(evaluate(learner, lengths, problems, test)))


def compare_command(
    task: tyro.conf.Positional[str] = "copy",
    name: str | None = None,
    runs: Path = Path("runs"),
    seeds: int = 3,
    problems: int = 500,
    device: str = "auto",
    workers: int | None = None,
) -> None:
    """Train hard and soft memory access side by side on one task: one table, two pictures, everything in one folder.

    Args:
        task: what to learn; "copy".
        name: folder inside `runs`; by default the first free of copy-1, copy-2, ... It must not exist yet.
        runs: folder that holds the runs.
        seeds: trainings per method.
        problems: fresh problems per length in the final examination.
        device: "auto" (CUDA where there is one), "cpu", "cuda".
        workers: processes at a time; by default one per core, and one on a GPU.
    """
    console = Console()
    folder = _folder(runs, name, task)
    jobs = jobs_of(task, seeds, folder, device)
    with live_comparison(jobs, console) as on_report:
        results = compare(
            task, folder, seeds=seeds, problems=problems, device=device, workers=workers, on_report=on_report
        )
    wide = console if console.is_terminal else Console(width=120)  # a file has no edge to stop at
    wide.print(comparison_table(results))
    learning_curves(results, folder / "learning_curves.png")
    learners = {title: load(folder / f"{slug(method)}-seed0")[0] for title, method in _PICTURED.items()}
    shown = {title: learner for title, learner in learners.items() if isinstance(learner, SequenceLearner)}
    longest = next(iter(shown.values())).config.max_length
    symbols = [(37 * step) % 256 + 1 for step in range(longest)]
    address_maps(shown, next(iter(shown.values())).task.problem(symbols), folder / "addresses.png")
    console.print(f"curves:      {folder / 'learning_curves.png'}", highlight=False)
    console.print(f"addresses:   {folder / 'addresses.png'}", highlight=False)
    _say_where(console, folder)


_PICTURED = {"soft: an average over cells": "soft twin", "hard: one cell": "hard NTM"}


def envs_command() -> None:
    """List the environments: id, observation and action; docs/environments.md says what each is."""
    table = Table(title='gym.make("hardmem.envs:<id>")')
    for heading in ("id", "observation", "action"):
        table.add_column(heading, no_wrap=heading == "id")
    for env_id in ENVIRONMENTS:
        env = gym.make(env_id).unwrapped
        assert isinstance(env, TaskEnv)
        shape = env.observation_space.shape
        table.add_row(env_id, f"Box{shape}", str(env.action_space))
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A bad input is one sentence on the standard error and exit code 2."""
    commands: dict[str, Any] = {
        "train": train_command,
        "resume": resume_command,
        "eval": eval_command,
        "compare": compare_command,
        "envs": envs_command,
    }
    warnings.formatwarning = _one_sentence
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="hardmem", description="Hard and soft attention over external memory.", args=arguments
        )
    except (ValueError, NonFiniteError) as error:
        print(f"hardmem: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interrupted:
        print(f"hardmem: {interrupted}", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        print("hardmem: stopped", file=sys.stderr)
        sys.exit(130)


def _one_sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a user wants to read it, without the line of code that gave it."""
    return f"hardmem: {message}\n"


def _folder(runs: Path, name: str | None, stem: str) -> Path:
    """The named folder, or the first free one of a numbered row."""
    if name is not None:
        return runs / name
    number = 1
    while (runs / f"{stem}-{number}").exists():
        number += 1
    return runs / f"{stem}-{number}"


def _evaluation_table(evaluation: dict[str, dict[str, Any] | None]) -> Table:
    table = Table(caption="fresh problems, no further training; exact: sequences without a fault, accuracy: answers")
    for heading in ("length", "problems", "greedy exact", "greedy accuracy", "sampled exact", "sampled accuracy"):
        table.add_column(heading, justify="right")
    for length, result in evaluation.items():
        if result is None:
            table.add_row(length, *["-"] * 5)
            continue
        shares = [result[kind][name] for kind in ("greedy", "sampled") for name in ("exact", "accuracy")]
        table.add_row(length, str(result["problems"]), *(f"{share:.2%}" for share in shares))
    return table


def _say_where(console: Console, folder: Path) -> None:
    console.print(f"everything:  {folder}", highlight=False)
    console.print(f"TensorBoard: tensorboard --logdir {folder}", highlight=False)
