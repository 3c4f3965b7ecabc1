"""Commands that look at what a run has learned: eval, watch."""

from __future__ import annotations

from pathlib import Path

import tyro
from rich.console import Console

from hardmem.agents.compare import LENGTHS
from hardmem.agents.config import resolve_device
from hardmem.agents.evaluation import evaluate, over_seeds
from hardmem.agents.learner import Generators
from hardmem.agents.report import evaluation_table
from hardmem.agents.runs import load
from hardmem.agents.watch import animation, can_film, play_one, watch

FILMED = 100
"""Longest problem of which `hardmem eval --videos` makes a film."""


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
    console.print(evaluation_table(over_seeds([evaluate(learner, lengths, problems, test) for test in tests])))
    if not videos:
        return
    suffix = ".mp4" if can_film() else ".gif"
    for length in [length for length in lengths if length <= FILMED]:
        path = run / "videos" / f"length-{length}-seed-{seed}{suffix}"
        animation(play_one(run, length, seed, device), path)
        console.print(f"video:       {path}", highlight=False)


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
