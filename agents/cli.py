"""The command line. Every command is a thin layer over a function; `hardmem --help` is the manual."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from hardmem.agents.compare import LENGTHS, plan_of, slug
from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.config_files import read_toml
from hardmem.agents.distributed import main_process
from hardmem.agents.doctor import devices, self_test, versions
from hardmem.agents.evaluation import evaluate, over_seeds
from hardmem.agents.figures import COLORS, address_maps, learning_curves
from hardmem.agents.learner import Generators, Learner
from hardmem.agents.listings import environments, estimators, models
from hardmem.agents.plans import PLAN, TABLE, begin, by_task, carry_out, check_pool, read_plan
from hardmem.agents.progress import Progress
from hardmem.agents.report import comparison_table, live_comparison, overall_table, ranked, sweep_table
from hardmem.agents.runs import RESULTS, load, read_config
from hardmem.agents.sequence import SequenceLearner
from hardmem.agents.signals import Interrupted
from hardmem.agents.sweep import sweep_plan
from hardmem.agents.training import NonFiniteError, Outcome, resume, train
from hardmem.agents.watch import animation, can_film, play_one, watch

MANUAL = """Hard and soft attention over an external memory: train, watch, compare.

Begin
  hardmem compare copy                    five methods side by side: a table, two pictures
  hardmem compare copy reverse --methods hard-ntm hard-ntm,access=reinmax    any methods on any tasks
  hardmem train agent                     REINFORCE in hardmem/Copy-v0
  hardmem train sequence --access soft    a Neural Turing Machine; --access sampled is the hard one
  hardmem train --config mine.toml        the same from a file: kind = "agent", learning_rate = 3e-3, ...
  hardmem eval runs/train-1 --lengths 10 100 1000
  hardmem watch runs/train-1              inputs, heads, cells and answers, step by step; --gif or --mp4 FILE
  hardmem sweep --vary learning_rate=1e-3,1e-2 group_size=4,8 agent --max-updates 300
  tensorboard --logdir runs

Runs
  A training has a folder of its own, runs/train-1, runs/train-2, ...: config.json, TensorBoard events, the last two
  checkpoints, and at its end results.json. Nothing that exists is written over. Ctrl-C or SIGTERM finishes the update
  and writes a checkpoint; `hardmem resume RUN` goes on, after a kill too, and ends as if nothing had happened.

Scale
  torchrun --nproc-per-node 2 -m hardmem train agent --num-envs 8192 shares one training's batch among processes;
  docs/scaling.md says when that pays.

Python
  hardmem.agents.train(config, folder) is `hardmem train`; resume, load and compare are there as well.

Exit codes
  0 done, 1 a failed self-test, 2 bad input or a training that had to stop, 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

Config = (
    Annotated[AgentConfig, tyro.conf.subcommand("agent", description=AgentConfig.__doc__)]
    | Annotated[SequenceConfig, tyro.conf.subcommand("sequence", description=SequenceConfig.__doc__)]
)


def _train_command(default: Any) -> Callable[..., None]:
    """The command `train` with another default than none: what a file says."""

    def train_command(
        what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Config]] = default,
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
        folder = _folder(runs, name, "train")
        _follow(what, folder, lambda show: train(what, folder, show), quiet)

    return train_command


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
        _follow_plan(run, None, "pool", quiet)
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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=config.max_updates)

        def show(progress: Progress) -> None:
            rate = progress.steps / progress.seconds
            earned = "return" if "return" in progress.metrics else "loss"  # what an agent earns says more
            number = f"{earned} {progress.metrics[earned]:.3f}"
            text = f"length {progress.length}, exact {progress.exact:.0%}, {number}"
            bar.update(task, completed=progress.update, description=f"{text}, {rate:,.0f} steps/s")

        _, outcome = work(show)
    if quiet:
        return
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
    seeds: int = 1,
    videos: bool = False,
    device: str = "auto",
) -> None:
    """Play fresh problems with what a run has trained, at any length, without further training.

    Args:
        run: the run's folder.
        lengths: problem lengths; the training length stands for all lengths up to it.
        problems: problems per length (fewer where a soft memory makes every step cost all cells; the table says).
        seed: draws the problems; training never uses the same ones.
        seeds: how many times to draw them, from `seed` on; the table has means, and of exact ones lowest and highest.
        videos: film one problem of each length up to 100 as well, into RUN/videos: an .mp4 where moviepy is installed
            (pip install 'hardmem[video]'), else a .gif.
        device: "auto" (CUDA where there is one), "cpu", "cuda".
    """
    if min(problems, seeds) < 1 or min(lengths, default=0) < 1:
        raise ValueError(f"problems, seeds and lengths must be at least 1, got {problems}, {seeds} and {list(lengths)}")
    learner, _ = load(run, device)
    tests = [Generators.seeded(number, resolve_device(device)).test for number in range(seed, seed + seeds)]
    console = Console()
    console.print(_evaluation_table(over_seeds([evaluate(learner, lengths, problems, test) for test in tests])))
    if not videos:
        return
    suffix = ".mp4" if can_film() else ".gif"
    for length in [length for length in lengths if length <= FILMED]:
        path = run / "videos" / f"length-{length}-seed-{seed}{suffix}"
        animation(play_one(run, length, seed, device), path)
        console.print(f"video:       {path}", highlight=False)


def compare_command(
    tasks: tyro.conf.Positional[tuple[str, ...]] = ("copy",),
    methods: tuple[str, ...] = (),
    name: str | None = None,
    runs: Path = Path("runs"),
    seeds: int = 5,
    lengths: tuple[int, ...] = (),
    problems: int = 500,
    device: str = "auto",
    workers: int | None = None,
    quiet: bool = False,
) -> None:
    """Train any methods on any tasks with several seeds: tables with intervals, curves with bands, one folder.

    For example: hardmem compare copy reverse --methods hard-ntm soft-twin agent,baseline=value mine.toml

    Args:
        tasks: names of tasks, or ids of environments.
        methods: reinforce-agent, hard-ntm, soft-twin, paper-ntm, lstm (all five by default), or agent, sequence or a
            TOML file of your own; changes follow after commas: hard-ntm,access=reinmax,learning_rate=3e-3.
        name: folder inside `runs`; by default the first free of TASK-1, TASK-2, ... It must not exist yet.
        runs: folder that holds the runs.
        seeds: trainings per method and task; fewer than five say little.
        lengths: problem lengths in the final examination; by default the longest trained on and twice that.
        problems: fresh problems per length in the final examination.
        device: "auto" (CUDA where there is one), "cpu", "cuda".
        workers: processes at a time; by default one per core, and one on a GPU.
        quiet: print nothing but errors.
    """
    folder = _folder(runs, name, slug("-".join(tasks)))
    check_pool(workers, "pool")
    plan = plan_of(
        tasks,
        folder,
        methods=methods or None,
        seeds=seeds,
        problems=problems,
        lengths=lengths or None,
        device=device,
    )
    begin(folder, plan)
    _follow_plan(folder, workers, "pool", quiet)


def watch_command(
    run: tyro.conf.Positional[Path],
    length: int | None = None,
    seed: int = 0,
    rate: float = 4.0,
    problems: int | None = None,
    gif: Path | None = None,
    mp4: Path | None = None,
    device: str = "cpu",
) -> None:
    """Watch what a run has learned so far play, step by step: inputs, heads, cells, answers.

    A problem at a time, each by the newest checkpoint, until Ctrl-C; training may be going on.

    Args:
        run: the run's folder.
        length: of the problems; by default the longest trained on.
        seed: draws the problems.
        rate: steps per second.
        problems: how many to play; by default no end on a terminal, and one elsewhere.
        gif: write one problem to this file as an animation instead.
        mp4: the same as a film (pip install 'hardmem[video]').
        device: "cpu", "cuda", or "auto".
    """
    console = Console()
    if length is not None and length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if not rate > 0 or (problems is not None and problems < 1):
        raise ValueError(f"rate must be positive and problems at least 1, got {rate} and {problems}")
    for path, suffix in ((gif, ".gif"), (mp4, ".mp4")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"expected a file name that ends in {suffix}, got {str(path)!r}")
    written = [path for path in (gif, mp4) if path is not None]
    for path in written:
        animation(play_one(run, length, seed, device), path, rate)
        console.print(f"animation:   {path}", highlight=False)
    if written:
        return
    if problems is None and not console.is_terminal:
        problems = 1
    watch(run, console, length=length, seed=seed, rate=rate, problems=problems, device=device)


def _sweep_command(default: Any) -> Callable[..., None]:
    """The command `sweep` with another default than none: what a file says."""

    def sweep_command(
        what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Config]] = default,
        vary: tuple[str, ...] = (),
        seeds: int = 5,
        random: int | None = None,
        config: Path | None = None,
        name: str | None = None,
        runs: Path = Path("runs"),
        problems: int = 500,
        workers: int | None = None,
        backend: str = "pool",
        quiet: bool = False,
    ) -> None:
        """Train many settings with several seeds each, side by side: every combination, or random draws.

        For example: hardmem sweep --vary learning_rate=1e-3,1e-2 baseline=none,leave-one-out agent --max-updates 300

        Args:
            what: what they have in common: `agent` or `sequence`, each with its own flags.
            vary: fields and their values, field=value,value,...; with --random also field=low..high.
            seeds: trainings per setting; fewer than five say little.
            random: so many settings, drawn at random, instead of every combination.
            config: TOML file that says what they have in common, as for `train`.
            name: folder inside `runs`; by default the first free of sweep-1, sweep-2, ... It must not exist yet.
            runs: folder that holds the runs.
            problems: fresh problems per length in the final examination.
            workers: processes at a time; by default one per core, and one on a GPU.
            backend: "pool", processes on this machine; "ray", a Ray cluster (pip install 'hardmem[ray]').
            quiet: print nothing but errors.
        """
        folder = _folder(runs, name, "sweep")
        check_pool(workers, backend)
        begin(folder, sweep_plan(what, vary, folder, seeds=seeds, random=random, problems=problems))
        _follow_plan(folder, workers, backend, quiet)

    return sweep_command


def _follow_plan(folder: Path, workers: int | None, backend: str, quiet: bool) -> None:
    """Carry out what is left of a plan, show it, and leave pictures of it."""
    plan = read_plan(folder)
    console = Console(quiet=quiet)
    with live_comparison(plan.jobs, console) as on_report:
        results = carry_out(folder, workers=workers, backend=backend, on_report=on_report)
    parts = by_task(results)
    for task, part in parts.items():
        few = len(part["methods"]) <= len(COLORS)
        if not quiet:
            _wide().print(comparison_table(part) if few else sweep_table(part))
        best = dict(ranked(part)[: len(COLORS)])
        picture = folder / ("learning_curves.png" if len(parts) == 1 else f"learning_curves-{slug(task)}.png")
        learning_curves(part if few else {**part, "methods": best}, picture)
        console.print(f"curves:      {picture}", highlight=False)
    if len(parts) > 1 and results["overall"] and not quiet:
        _wide().print(overall_table(results))
    pictured = [folder / f"{slug(method)}-seed0" for method in _PICTURED.values()]
    if results["task"] == "copy" and all(run.exists() for run in pictured):
        learners = dict(zip(_PICTURED, (load(run)[0] for run in pictured), strict=True))
        shown = {title: learner for title, learner in learners.items() if isinstance(learner, SequenceLearner)}
        longest = next(iter(shown.values())).config.max_length
        symbols = [(37 * step) % 256 + 1 for step in range(longest)]
        address_maps(shown, next(iter(shown.values())).task.problem(symbols), folder / "addresses.png")
        console.print(f"addresses:   {folder / 'addresses.png'}", highlight=False)
    console.print(f"table:       {folder / RESULTS}, {folder / TABLE}", highlight=False)
    _say_where(console, folder)


FILMED = 100
"""Longest problem of which `hardmem eval --videos` makes a film."""

_PICTURED = {"soft: an average over cells": "soft twin", "hard: one cell": "hard NTM"}


def envs_command() -> None:
    """List the environments: id, observation and action; docs/environments.md says what each is."""
    Console().print(environments())


def estimators_command() -> None:
    """List the gradient estimators and baselines: what each needs, whether it is unbiased, its source."""
    _wide().print(estimators())


def models_command() -> None:
    """List what sequence models and policies are built from: models, accesses, addressing schemes, controllers."""
    _wide().print(models())


def doctor_command(device: str = "auto") -> None:
    """Say what is installed and what there is to compute on, and try the main paths: some ten seconds.

    Args:
        device: where to try them: "auto" (CUDA where there is one), "cpu", "cuda".
    """
    console = Console(highlight=False)
    resolve_device(device)
    for title, found in (("versions", versions()), ("devices", devices())):
        console.print(f"{title}:")
        for name, detail in found.items():
            console.print(f"  {name:<12} {detail}", markup=False)
    console.print("self-test:")
    fine = True
    for finding in self_test(device):
        mark = "ok    " if finding.fine else "FAILED"
        console.print(f"  {mark} {finding.name}: {finding.detail} ({finding.seconds:.1f} s)", markup=False)
        fine = fine and finding.fine
    if not fine:
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A bad input is one sentence on the standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    warnings.formatwarning = _one_sentence
    try:
        default = _from_file(arguments)
        commands: dict[str, Any] = {
            "train": _train_command(tyro.MISSING if default is None else default),
            "resume": resume_command,
            "eval": eval_command,
            "watch": watch_command,
            "compare": compare_command,
            "sweep": _sweep_command(tyro.MISSING if default is None else default),
            "envs": envs_command,
            "estimators": estimators_command,
            "models": models_command,
            "doctor": doctor_command,
        }
        # What a file decides is no longer a choice between subcommands.
        markers = (tyro.conf.CascadeSubcommandArgs, *(() if default is None else (tyro.conf.AvoidSubcommands,)))
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="hardmem", description=MANUAL, args=arguments, config=markers
        )
    except (ValueError, NonFiniteError) as error:
        print(f"hardmem: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that went away: wherever no better sentence was found
        print(f"hardmem: {error.strerror or error}: {error.filename or 'no file'}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interrupted:
        if main_process():
            print(f"hardmem: {interrupted}", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        print("hardmem: stopped", file=sys.stderr)
        sys.exit(130)


def _from_file(arguments: Sequence[str]) -> TrainConfig | None:
    """The configuration in the file that `--config` names, if one does: flags are read with it as default."""
    if not {"train", "sweep"} & set(arguments[:1]):
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    path = parser.parse_known_args(arguments)[0].config
    return None if path is None else read_toml(path)


def _one_sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a user wants to read it, without the line of code that gave it."""
    return f"hardmem: {message}\n"


def _wide() -> Console:
    """The terminal, or lines of 120 columns where there is none: a file has no edge to stop at."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


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
        shares = []
        for kind in ("greedy", "sampled"):
            low, high = result[kind].get("spread", (0.0, 0.0))
            spread = f" \\[{100 * low:.1f}, {100 * high:.1f}]" if low < high else ""
            shares += [f"{result[kind]['exact']:.2%}{spread}", f"{result[kind]['accuracy']:.2%}"]
        table.add_row(length, str(result["problems"]), *shares)
    return table


def _say_where(console: Console, folder: Path) -> None:
    console.print(f"everything:  {folder}", highlight=False)
    console.print(f"TensorBoard: tensorboard --logdir {folder}", highlight=False)
