"""Watch: one problem played step by step, in the terminal or as an animation: inputs, heads, cells, answers."""

from __future__ import annotations

import importlib.util
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hardmem.agents.checkpoints import RunError, load_checkpoint
from hardmem.agents.config import resolve_device
from hardmem.agents.figures import FEW, label_symbols, pixels
from hardmem.agents.runs import load
from hardmem.agents.trace import Cells, Trace, trace

ROWS = 24
"""Cells that are shown at once; of more, those around the heads."""
LEVELS = " ░▒▓█"
MOVING = (".gif", ".mp4")


def play_one(run: Path, length: int | None, seed: int, device: str = "cpu") -> Trace:
    """Play one fresh problem of a length, by default the longest trained on, with a run's newest checkpoint.

    Raises:
        RunError: if the folder is no run, has no checkpoint, or its learner cannot be run at that length.
    """
    learner, config = load(run, device)
    where = resolve_device(device)
    longest = config.max_length if length is None else length
    generator = torch.Generator(where).manual_seed(seed)
    if learner.score(1, torch.Generator(where).manual_seed(seed), max_length=longest, min_length=longest) is None:
        raise RunError(
            f"{str(run)!r} cannot be run at length {longest}: it knows no cell beyond those it was trained with"
        )
    return trace(learner, 1, generator, max_length=longest, min_length=longest)


def watch(
    run: Path,
    console: Console,
    *,
    length: int | None = None,
    seed: int = 0,
    rate: float = 4.0,
    problems: int | None = None,
    device: str = "cpu",
) -> None:
    """Show problem after problem, each played by the newest checkpoint; off a terminal, the last step of each.

    Raises:
        RunError: as `play_one`.
    """
    for number in itertools.count() if problems is None else range(problems):
        record = play_one(run, length, seed + number, device)
        progress = load_checkpoint(run)["progress"]
        title = f"{run}: update {progress['update']:,}, {progress['exact']:.0%} exact at validation"
        steps = int(record.running[:, 0].sum())
        if not console.is_terminal:
            console.print(view(record, steps - 1, title))
            continue
        with Live(console=console, auto_refresh=False) as live:
            for step in range(steps):
                live.update(view(record, step, title), refresh=True)
                time.sleep(1 / rate)


def view(record: Trace, step: int, title: str) -> Group:
    """One step for a terminal: what is shown, what was answered so far, and every cell with the heads on it."""
    shown = " ".join(str(int(symbol)) for symbol in record.shown[step, 0])
    answers = Text("answers  ")
    for now in range(step + 1):
        if record.mask[now, 0]:
            right = bool(record.answer[now, 0] == record.target[now, 0])
            answers.append(f"{int(record.answer[now, 0])} ", style="green" if right else "bold red")
    lines = [Text(title, style="bold"), Text(f"step {step + 1} of {int(record.running[:, 0].sum())}   shown {shown}")]
    tables = [_table(cells, name, step) for name, cells in record.memories().items()]
    return Group(*lines, answers, *tables)


def _table(cells: Cells, name: str, step: int) -> Table:
    """A memory after a step: every cell with the heads on it."""
    table = Table(box=None, pad_edge=False)
    table.add_column(name.removesuffix("s"), justify="right")
    for head in cells.heads:
        table.add_column(head)
    table.add_column("holds")
    weights, memory, most = cells.weights[step, 0].cpu(), cells.memory[step + 1].cpu(), float(cells.memory.abs().max())
    for cell in _window(weights):
        marks = [f"{'█' * round(8 * float(weight)):<8}" for weight in weights[:, cell]]
        table.add_row(str(cell), *marks, _contents(memory[cell], most))
    return table


def _window(weights: torch.Tensor) -> range:
    """The cells to show: all, or ROWS of them around the first head."""
    cells = weights.shape[-1]
    if cells <= ROWS:
        return range(cells)
    start = min(max(0, int(weights[0].argmax()) - ROWS // 2), cells - ROWS)
    return range(start, start + ROWS)


def _contents(cell: torch.Tensor, most: float) -> Text:
    """Symbols as numbers, where there are few; vectors as shades, red above zero and blue below."""
    if (cell == cell.round()).all() and len(cell) <= FEW:
        return Text(" ".join(f"{int(value):>3}" if value else "  ." for value in cell))
    text = Text()
    for value in cell.tolist():
        level = LEVELS[round(abs(value) / max(most, 1e-9) * (len(LEVELS) - 1))]
        text.append(level * 2, style="red" if value > 0 else "blue")
    return text


def animation(record: Trace, path: Path, rate: float = 4.0) -> None:
    """Write the first problem of a trace as an animation, a frame per step: a .gif, or with moviepy an .mp4.

    Raises:
        RunError: if the file cannot be written, is of another kind, or moviepy is missing.
    """
    kind = path.suffix.lower()
    if kind not in MOVING:
        raise RunError(f"expected a file name that ends in {' or '.join(MOVING)}, got {str(path)!r}")
    if kind == ".mp4" and not can_film():
        raise RunError("an .mp4 needs moviepy: pip install 'hardmem[video]'; a .gif needs nothing")
    steps = int(record.running[:, 0].sum())
    frames = [pixels(_frame(record, step)) for step in range(steps)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".mp4":
            _write_mp4(frames, path, rate)
        else:
            first, *others = (Image.fromarray(frame) for frame in frames)
            first.save(path, save_all=True, append_images=others, duration=int(1000 / rate), loop=0)
    except OSError as error:
        raise RunError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def can_film() -> bool:
    """Whether moviepy is here, which writes .mp4."""
    return importlib.util.find_spec("moviepy") is not None


def _write_mp4(frames: list[NDArray[np.uint8]], path: Path, rate: float) -> None:
    from moviepy.video.io.ImageSequenceClip import ImageSequenceClip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moviepy's own
        ImageSequenceClip(frames, fps=rate).write_videofile(str(path), codec="libx264", logger=None)


def _frame(record: Trace, step: int) -> Figure:
    """Inputs and answers as tapes above; below, where the heads are and what the cells hold after the step."""
    memories = record.memories()
    rows = len(memories)
    figure = Figure(figsize=(6.4, 1.8 + 3 * rows), layout="constrained", dpi=80)
    grid = figure.add_gridspec(1 + rows, 2, height_ratios=(1, *[3] * rows), width_ratios=(1, 3))
    steps = int(record.running[:, 0].sum())
    tape = figure.add_subplot(grid[0, :])
    tape.set(xlim=(-0.5, steps - 0.5), ylim=(-0.5, 1.5), yticks=(0, 1), yticklabels=("answer", "shown"))
    tape.set_title(f"step {step + 1} of {steps}")
    tape.axvspan(step - 0.5, step + 0.5, color="#ccbb44", alpha=0.4, linewidth=0)
    for now in range(step + 1):
        symbols = "\n".join(str(int(symbol)) for symbol in record.shown[now, 0] if symbol)
        tape.text(now, 1, symbols, ha="center", va="center", fontsize=7)
        if record.mask[now, 0]:
            right = bool(record.answer[now, 0] == record.target[now, 0])
            color = "#228833" if right else "#ee6677"
            tape.text(now, 0, str(int(record.answer[now, 0])), ha="center", va="center", fontsize=7, color=color)
    tape.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row, (name, cells) in enumerate(memories.items(), start=1):
        where = figure.add_subplot(grid[row, 0])
        weights = cells.weights[step, 0].T.cpu().numpy()
        where.imshow(weights, cmap="viridis", vmin=0, vmax=1, aspect="auto", origin="lower")
        where.set(title=name.replace("cells", "heads"), ylabel="cell", xticks=range(len(cells.heads)))
        holds = figure.add_subplot(grid[row, 1])
        memory = cells.memory.cpu().numpy()
        most = float(np.abs(memory).max()) or 1.0
        image = holds.imshow(memory[step + 1], cmap="coolwarm", vmin=-most, vmax=most, aspect="auto", origin="lower")
        holds.set(title=name, xlabel="position in the cell")
        figure.colorbar(image, ax=holds)
        label_symbols(holds, memory[step + 1])
        holds.xaxis.set_major_locator(MaxNLocator(integer=True))
        if memory.shape[-1] == 1:
            holds.set_xticks([0])
    return figure
