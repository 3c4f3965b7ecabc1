"""Distractors: symbols of an alphabet of their own, shown between those that count and never asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from hardmem.tasks.dealing import Layout


def draw_distractors(
    number: int, first: int, num_symbols: int, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """So many for each of the problems that `like` (B,) has, `first` to `first + num_symbols - 1`, (B, number)."""
    shape = (number, len(like))
    return torch.randint(first, first + num_symbols, shape, generator=generator, device=like.device).T


def spread_out(layout: Layout, until: Tensor, distractors: int, row: int) -> Layout:
    """The same layouts with so many distractors after each of their first steps.

    Args:
        layout: without any, (K, T), where T leaves room for them.
        until: how many first steps, (K,).
        distractors: how many after each.
        row: the one that shows the first of them; they follow one another.
    """
    if not distractors:
        return layout
    step, end = torch.arange(layout.shown.shape[1], device=until.device), until.unsqueeze(1)
    period = 1 + distractors
    inside = step < end * period
    before = torch.where(inside, step // period, step - end * distractors)  # which step this was
    is_distractor = inside & (step % period > 0)
    noise = row + step // period * distractors + step % period - 1
    shown, due = (rows.gather(1, before) for rows in layout)
    return Layout(torch.where(is_distractor, noise, shown), torch.where(is_distractor, 0, due))
