"""Commands for many trainings: compare, sweep, and going on with either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from hardmem.agents.compare import plan_of, slug
from hardmem.agents.config_flags import Flags
from hardmem.agents.figures import COLORS, address_maps, learning_curves
from hardmem.agents.plans import TABLE, begin, by_task, carry_out, check_pool, read_plan
from hardmem.agents.report import comparison_table, live_comparison, overall_table, ranked, sweep_table
from hardmem.agents.runs import RESULTS, load
from hardmem.agents.sequence import SequenceLearner
from hardmem.agents.sweep import sweep_plan
from hardmem.agents.terminal import free_folder, say_where, wide


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
    folder = free_folder(runs, name, slug("-".join(tasks)))
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
    follow_plan(folder, workers, "pool", quiet)


def sweep_with(flags: Flags) -> Callable[..., None]:
    """The command `sweep`, whose flags start from a preset or a file."""

    def sweep_command(
        what: Any = flags.default,
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
        folder = free_folder(runs, name, "sweep")
        check_pool(workers, backend)
        begin(folder, sweep_plan(what, vary, folder, seeds=seeds, random=random, problems=problems))
        follow_plan(folder, workers, backend, quiet)

    return flags.apply(sweep_command)  # type: ignore[no-any-return]


def follow_plan(folder: Path, workers: int | None, backend: str, quiet: bool) -> None:
    """Carry out what is left of a plan, show it, and leave pictures of it."""
    plan = read_plan(folder)
    console = Console(quiet=quiet)
    with live_comparison(plan.jobs, console) as on_report:
        results = carry_out(folder, workers=workers, backend=backend, on_report=on_report)
    parts = by_task(results)
    for task, part in parts.items():
        few = len(part["methods"]) <= len(COLORS)
        if not quiet:
            tables = wide()
            tables.print(comparison_table(part, tables) if few else sweep_table(part))
        best = dict(ranked(part)[: len(COLORS)])
        picture = folder / ("learning_curves.png" if len(parts) == 1 else f"learning_curves-{slug(task)}.png")
        learning_curves(part if few else {**part, "methods": best}, picture)
        console.print(f"curves:      {picture}", highlight=False)
    if len(parts) > 1 and results["overall"] and not quiet:
        wide().print(overall_table(results))
    pictured = [folder / f"{slug(method)}-seed0" for method in _PICTURED.values()]
    if results["task"] == "copy" and all(run.exists() for run in pictured):
        learners = dict(zip(_PICTURED, (load(run)[0] for run in pictured), strict=True))
        shown = {title: learner for title, learner in learners.items() if isinstance(learner, SequenceLearner)}
        longest = next(iter(shown.values())).config.max_length
        symbols = [(37 * step) % 256 + 1 for step in range(longest)]
        address_maps(shown, next(iter(shown.values())).task.problem(symbols), folder / "addresses.png")
        console.print(f"addresses:   {folder / 'addresses.png'}", highlight=False)
    console.print(f"table:       {folder / RESULTS}, {folder / TABLE}", highlight=False)
    say_where(console, folder)


_PICTURED = {"soft: an average over cells": "soft twin", "hard: one cell": "hard NTM"}
