"""Figures: learning curves of a comparison, and where heads read and wrote over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from hardmem.agents.sequence import SequenceLearner
from hardmem.bank import snapshot
from hardmem.memory import as_weights, select_heads
from hardmem.models import NTM
from hardmem.tasks import Problem, bit_inputs

COLORS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
)  # Paul Tol's bright scheme: colour-blind safe
AXES = {"rollouts": "sequences played (rollouts)", "seconds": "seconds on one core"}


def learning_curves(results: Mapping[str, Any], path: Path) -> None:
    """Draw every method's validation score over rollouts and over seconds: mean of the seeds, band from worst to best.

    Args:
        results: as `compare` returns them.
        path: where the picture goes, PNG.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (unit, label) in zip(panels, AXES.items(), strict=True):
        for color, (method, entry) in zip(COLORS, results["methods"].items(), strict=False):
            grid, low, mean, high = _band([seed["curve"] for seed in entry["seeds"]], unit)
            panel.fill_between(grid, low, high, color=color, alpha=0.15, linewidth=0)
            panel.plot(grid, mean, color=color, linewidth=2, label=method)
        panel.set(xscale="log", xlabel=label, ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    longest = next(iter(results["methods"].values()))["config"]["max_length"]
    panels[0].set_ylabel(f"exact sequences, lengths 1 to {longest}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=140)


def _band(curves: Sequence[Sequence[Mapping[str, float]]], unit: str) -> tuple[NDArray[np.float64], ...]:
    """Curves of several seeds on one grid: (grid, lowest, mean, highest). One that ended keeps its last value."""
    last = max(curve[-1][unit] for curve in curves)
    first = max(curve[0][unit] for curve in curves)
    grid = np.geomspace(first, max(last, first * 1.01), 200)
    values = np.stack(
        [np.interp(grid, [point[unit] for point in curve], [point["exact"] for point in curve]) for curve in curves]
    )
    return grid, values.min(axis=0), values.mean(axis=0), values.max(axis=0)


def record_addresses(learner: SequenceLearner, problem: Problem) -> tuple[Tensor, Tensor]:
    """Run one problem, (T, 1), greedily: where the heads read, (T, N), and how much each cell was changed, (T, N).

    Args:
        learner: an NTM's.
        problem: of the task the learner was trained on.

    Raises:
        ValueError: if the model has no cells.
    """
    model = learner.model
    if not isinstance(model, NTM):
        raise ValueError(f"only a model with cells has addresses to show, got {type(model).__name__}")
    inputs = bit_inputs(problem.inputs[..., 0], learner.task.num_symbols)
    num_cells = max(learner.task.num_cells, problem.inputs.shape[0] // 2 + 2)
    read, written = [], []
    with torch.no_grad(), learner.greedy():
        state = model.initial_state(1, num_cells)
        for step_inputs in inputs:
            before, address = snapshot(state.memory), state.address
            _, state, _ = model.step(step_inputs, state)
            in_use = address if model.order == "read-write-move" else state.address
            read.append(as_weights(select_heads(in_use, model.reading), num_cells)[0].sum(dim=0))
            written.append((snapshot(state.memory) - before).norm(dim=-1)[0])
    changes = torch.stack(written)
    return torch.stack(read), changes / changes.max().clamp(min=1e-9)


def address_maps(learners: Mapping[str, SequenceLearner], problem: Problem, path: Path) -> None:
    """Draw where each model reads (above) and what it writes (below), cells over time, models side by side.

    Args:
        learners: by title.
        problem: the one problem, (T, 1), shown to all of them.
        path: where the picture goes, PNG.
    """
    figure = Figure(figsize=(4.6 * len(learners), 6.4), layout="constrained")
    panels = figure.subplots(2, len(learners), sharex=True, sharey=True, squeeze=False)
    delimiter = int(problem.mask[:, 0].int().argmax()) - 0.5
    for column, (title, learner) in enumerate(learners.items()):
        for row, (name, values) in enumerate(
            zip(("read from", "change of"), record_addresses(learner, problem), strict=True)
        ):
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
