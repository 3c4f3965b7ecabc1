"""Commands for one training: train, resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from hardmem.agents.commands_many import follow_plan
from hardmem.agents.config import TrainConfig
from hardmem.agents.config_flags import Flags
from hardmem.agents.distributed import main_process
from hardmem.agents.learner import Learner
from hardmem.agents.plans import PLAN
from hardmem.agents.progress import Progress
from hardmem.agents.report import evaluation_table, per_second
from hardmem.agents.runner import Outcome, resume, train
from hardmem.agents.runs import RESULTS, read_config
from hardmem.agents.terminal import free_folder, say_where


def train_with(flags: Flags) -> Callable[..., None]:
    """The command `train`, whose flags start from a preset or a file."""

    def train_command(
        what: Any = flags.default,
        config: Path | None = None,
        name: str | None = None,
        runs: Path = Path("runs"),
        quiet: bool = False,
    ) -> None:
        """Train an agent in an environment, or a sequence model on a task, into a run folder of its own.

        Args:
            what: what to train: `agent` or `sequence`, each with its own flags.
            config: TOML file that says what to train, `kind` and any field; no `agent` or `sequence` is given then, and
                flags win over the file.
            name: folder inside `runs`; by default the first free of train-1, train-2, ... It must not exist yet.
            runs: folder that holds the runs.
            quiet: print nothing but errors.
        """
        folder = free_folder(runs, name, "train")
        if flags.told(what) and main_process() and not quiet:
            Console().print(flags.told(what), highlight=False)
        _follow(what, folder, lambda show: train(what, folder, show), quiet)

    return flags.apply(train_command)  # type: ignore[no-any-return]


def resume_command(run: tyro.conf.Positional[Path], max_updates: int | None = None, quiet: bool = False) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint, as if nothing had happened.

    A comparison or a sweep goes on, too: with the trainings under way and those that were not begun.

    Args:
        run: the run's folder, or that of a comparison or sweep.
        max_updates: another budget than it was begun with; of a single run.
        quiet: print nothing but errors.
    """
    if (run / PLAN).exists():
        if max_updates is not None:
            raise ValueError(f"{str(run)!r} holds many runs: --max-updates is for one of them")
        follow_plan(run, None, "pool", quiet)
        return
    config = read_config(run)
    if max_updates is not None:
        config = dataclasses.replace(config, max_updates=max_updates)
    _follow(config, run, lambda show: resume(run, show, max_updates=max_updates), quiet)


def _follow(
    config: TrainConfig,
    folder: Path,
    work: Callable[[Callable[[Progress], None]], tuple[Learner, Outcome]],
    quiet: bool,
) -> None:
    """Show a training's progress, and at its end what it came to; of several processes one speaks."""
    quiet = quiet or not main_process()
    console = Console(quiet=quiet)
    with progress_bar(console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=config.max_updates)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.update, description=in_short(progress))

        _, outcome = work(show)
    if quiet:
        return
    if outcome.solved is None:
        last = outcome.curve[-1]
        kept = f"{last.exact:.1%} exact" if last.attempt == 1 else f"the best of {last.attempt} attempts is kept"
        console.print(f"not solved within {config.max_updates} updates: {kept}")
    else:
        at = outcome.solved
        console.print(f"solved after {at.update} updates, {at.rollouts:,} rollouts, {at.seconds:.1f} s")
    console.print(evaluation_table(json.loads((folder / RESULTS).read_text())["evaluation"]))
    say_where(console, folder)


def progress_bar(console: Console, *, disable: bool = False) -> Bar:
    """Where a training is, how much is done, and how much time that took and will take: a line of 80 columns."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bar(*columns, TimeRemainingColumn(), console=console, disable=disable)


def in_short(progress: Progress) -> str:
    """The three numbers that matter, and steps per second."""
    speed = per_second(progress.steps / progress.seconds)
    earned = "return" if "return" in progress.metrics else "loss"  # what an agent earns says more
    return f"length {progress.length}, exact {progress.exact:.0%}, {earned} {progress.metrics[earned]:.3f}, {speed}"
