"""Figures: learning curves of a comparison, and where heads read and wrote over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from hardmem.agents.sequence import SequenceLearner
from hardmem.agents.statistics import bootstrap
from hardmem.agents.trace import Trace, trace_model
from hardmem.tasks import Problem

COLORS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
)  # Paul Tol's bright scheme: colour-blind safe
FEW = 4
"""Symbols in a cell, at most, that are shown as numbers."""
AXES = {"rollouts": "sequences played (rollouts)", "seconds": "seconds on one core"}


def learning_curves(results: Mapping[str, Any], path: Path) -> None:
    """Draw every method's validation score over rollouts and over seconds: interquartile mean, 95 % bootstrap band.

    Args:
        results: as `compare` returns them.
        path: where the picture goes, PNG.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (unit, label) in zip(panels, AXES.items(), strict=True):
        for color, (method, entry) in zip(COLORS, results["methods"].items(), strict=False):
            grid, low, middle, high = _band([seed["curve"] for seed in entry["seeds"]], unit)
            panel.fill_between(grid, low, high, color=color, alpha=0.15, linewidth=0)
            panel.plot(grid, middle, color=color, linewidth=2, label=method)
        panel.set(xscale="log", xlabel=label, ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    longest = next(iter(results["methods"].values()))["config"]["max_length"]
    panels[0].set_ylabel(f"exact sequences, lengths 1 to {longest}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=140)


def _band(curves: Sequence[Sequence[Mapping[str, float]]], unit: str) -> tuple[NDArray[np.float64], ...]:
    """Curves of several seeds on one grid: (grid, low, middle, high). One that ended keeps its last value."""
    last = max(curve[-1][unit] for curve in curves)
    first = max(curve[0][unit] for curve in curves)
    grid = np.geomspace(first, max(last, first * 1.01), 100)
    values = np.stack(
        [np.interp(grid, [point[unit] for point in curve], [point["exact"] for point in curve]) for curve in curves]
    )
    bands = np.array([bootstrap(column) for column in values.T])  # (grid, 3)
    return grid, bands[:, 1], bands[:, 0], bands[:, 2]


def address_maps(learners: Mapping[str, SequenceLearner], problem: Problem, path: Path) -> None:
    """Draw where each model reads (above) and what it writes (below), cells over time, models side by side.

    Args:
        learners: by title; sequence models with cells.
        problem: the one problem, (T, 1), shown to all of them.
        path: where the picture goes, PNG.
    """
    figure = Figure(figsize=(4.6 * len(learners), 6.4), layout="constrained")
    panels = figure.subplots(2, len(learners), sharex=True, sharey=True, squeeze=False)
    delimiter = int(problem.mask[:, 0].int().argmax()) - 0.5
    for column, (title, learner) in enumerate(learners.items()):
        record = trace_model(learner, problem)
        reading = [head for head, role in enumerate(learner.config.heads) if "read" in role]
        change = record.memory.diff(dim=0).norm(dim=-1)
        maps = (record.weights[:, 0, reading].sum(dim=1), change / change.max().clamp(min=1e-9))
        for row, (name, values) in enumerate(zip(("read from", "change of"), maps, strict=True)):
            panel = panels[row, column]
            image = panel.imshow(values.T.numpy(), aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1)
            panel.axvline(delimiter, color="white", linewidth=1, linestyle=":")
            if row == 0:
                panel.set_title(title)
            else:
                panel.set_xlabel("time step (dotted: answers begin)")
            if column == 0:
                panel.set_ylabel(f"{name} cell")
    figure.colorbar(image, ax=panels, label="read weight; change relative to the largest", shrink=0.8)
    figure.savefig(path, dpi=140)


def trace_figures(record: Trace) -> dict[str, Figure]:
    """Draw the first problem of a trace, a small picture each, by name: TensorBoard shows them side by side.

    Where each head was, cells over time, and what the cells held before the first answer. Of a model without cells:
    what was shown and what was answered.
    """
    first = int(record.mask[:, 0].int().argmax())
    figures: dict[str, Figure] = {}
    for name, cells in record.memories().items():
        for row, head in enumerate(cells.heads):
            figure, panel = _card(head)
            values = cells.weights[:, 0, row].T.cpu().numpy()
            panel.imshow(values, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            panel.axvline(first - 0.5, color="white", linewidth=1, linestyle=":")
            panel.set(xlabel="step (dotted: answers begin)", ylabel="cell")
            figures[head.replace(": ", "_").replace(" ", "_")] = figure
        figures[name.replace(" ", "_")] = _contents(f"{name} before the first answer", cells.memory[first])
    if figures:
        return figures
    figure, panel = _card("shown and answered")
    steps = range(len(record.mask))
    panel.step(steps, record.shown[:, 0, 0].tolist(), where="mid", label="shown")
    panel.step(steps, (record.answer * record.mask)[:, 0].tolist(), where="mid", label="answered")
    panel.set(xlabel="step", ylabel="symbol")
    panel.legend()
    return {"answers": figure}


def _contents(title: str, memory: Tensor) -> Figure:
    """What cells hold, (N, W)."""
    figure, panel = _card(title)
    contents = memory.cpu().numpy()
    most = float(abs(contents).max()) or 1.0
    image = panel.imshow(
        contents, aspect="auto", origin="lower", cmap="coolwarm", vmin=-most, vmax=most, interpolation="nearest"
    )
    panel.set(xlabel="position in the cell", ylabel="cell")
    figure.colorbar(image, ax=panel)
    label_symbols(panel, contents)
    if contents.shape[1] == 1:
        panel.set_xticks([0])
    return figure


def label_symbols(panel: Any, contents: NDArray[Any]) -> None:
    """Write the symbols of cells, (N, W), into the picture of them, where they are symbols and not vectors."""
    if contents.shape[1] > FEW or (contents != contents.round()).any():
        return
    for cell, position in zip(*contents.nonzero(), strict=True):
        text = str(int(contents[cell, position]))
        panel.text(position, cell, text, ha="center", va="center", fontsize=8, bbox={"fc": "white", "lw": 0, "pad": 1})


def _card(title: str) -> tuple[Figure, Any]:
    """A picture that can be read at the size of a card of TensorBoard's page."""
    figure = Figure(figsize=(3.6, 2.9), layout="constrained", dpi=100)
    panel = figure.subplots()
    panel.set_title(title)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return figure, panel


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """A figure as an image, (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
