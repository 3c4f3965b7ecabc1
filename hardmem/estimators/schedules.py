"""Soft-to-hard annealing: training starts with soft access and ends with hard, by update number alone.

A schedule gives the softness of an update, 1 at the start, 0 from some update on, so that a run ends with updates of
the kind it is tested with. Use it as a temperature, as a share in a mixed loss, or, through `is_soft`, to make
whole updates soft or hard. Functions of the update number: nothing to store, nothing to restore.
"""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "hard": lambda progress: 0.0,
    "step": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "geometric": lambda progress: 100**-progress,
    "inverse-sqrt": lambda progress: (1 + 99 * progress) ** -0.5,
}
"""Shapes over progress in [0, 1); at 1 every softness is 0. "step" is all soft, then all hard."""

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def softness(name: str, update: int, num_updates: int) -> float:
    """How soft an update is, in [0, 1].

    Args:
        name: of a shape in `SCHEDULES`.
        update: its number, from 0.
        num_updates: updates until softness is 0 and stays so, >= 0.

    Raises:
        ValueError: if there is no such schedule, or a number is negative.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}; choose one of {sorted(SCHEDULES)}")
    if update < 0 or num_updates < 0:
        raise ValueError(f"update and num_updates must not be negative, got {update} and {num_updates}")
    return SCHEDULES[name](update / num_updates) if update < num_updates else 0.0


def is_soft(name: str, update: int, num_updates: int) -> bool:
    """Whether this update is a soft one: the share of soft ones follows the softness, evenly, without a draw.

    Multiples of the golden ratio fall evenly into [0, 1); those below the softness are soft. Arguments as in
    `softness`.
    """
    return in_share(update, softness(name, update, num_updates))


def in_share(update: int, share: float) -> bool:
    """Whether an update belongs to a share of all, spread as evenly as can be: 0 takes none, 1 takes all."""
    return (update + 1) * GOLDEN_RATIO % 1 < share


def geometric(first: float, last: float, update: int, num_updates: int) -> float:
    """From `first` at update 0 to `last` at update `num_updates` and after, by equal ratios.

    For an entropy bonus this is deterministic annealing (Rose 1998, "Deterministic Annealing for Clustering,
    Compression, Classification, Regression, and Related Optimization Problems", section II): a policy held nearly
    uniform commits to each choice at the temperature at which that choice begins to pay, not to whatever paid first.

    Raises:
        ValueError: if one end is 0 and the other is not, or a number is negative.
    """
    if min(first, last, update, num_updates) < 0 or (first == 0) != (last == 0):
        raise ValueError(
            f"a geometric fall needs two positive ends, or two zeros, got {first} and {last} at update {update} of "
            f"{num_updates}"
        )
    if first == 0 or update >= num_updates:
        return last
    return first * math.exp(math.log(last / first) * update / num_updates)
