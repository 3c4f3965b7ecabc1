"""What several commands say alike, and where."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console


def wide() -> Console:
    """The terminal, or lines of 120 columns where there is none and nobody says otherwise."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=120)


def free_folder(runs: Path, name: str | None, stem: str) -> Path:
    """The named folder, or the first free one of a numbered row."""
    if name is not None:
        return runs / name
    number = 1
    while (runs / f"{stem}-{number}").exists():
        number += 1
    return runs / f"{stem}-{number}"


def say_where(console: Console, folder: Path) -> None:
    """The last lines of a training: where its files are, and how to see its curves."""
    console.print(f"everything:  {folder}", highlight=False)
    console.print(f"TensorBoard: tensorboard --logdir {folder}", highlight=False)
