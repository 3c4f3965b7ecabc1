"""Rewrites: what is to be remembered is shown several times before in vain, by other symbols that have to go again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.tasks.dealing import Dealt, Layout


class Rewritable(Dealt):
    """A task whose problems begin with a presentation: all that is to be remembered, before anything is asked.

    It may come `rewrites` times before: presentations as long as the last, of other symbols, drawn as its own are. Each
    of them ends with a marker that makes it void. Which presentation is the last, nobody can foresee: all are kept, and
    each in the cells of the one before, so that there need be no more of them.
    """

    rewrites: int
    """Presentations before the one that counts."""

    @property
    @abstractmethod
    def anew(self) -> int:
        """The marker that ends a void presentation: a symbol of the answer channel, there only if there are any."""

    def since(self, inputs: Tensor) -> Tensor:
        """Steps since the latest presentation began: (T, B, C) -> (T, B), or (T, 1) where there is only one.

        What is shown at a step or later does not matter to it.
        """
        step = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
        if not self.rewrites:
            return step
        anew = inputs[..., self.answer_channel] == self.anew
        after = torch.where(anew, step + 1, 0).cummax(dim=0).values
        return step - F.pad(after[:-1], (0, 0, 1, 0))

    def place(self, inputs: Tensor, new: Tensor) -> Tensor:
        """Cells are taken in turn, by each presentation from the first on."""
        place = super().place(inputs, new)
        if not self.rewrites:
            return place
        begun = torch.arange(len(inputs), device=inputs.device).unsqueeze(1) - self.since(inputs)
        return place - place.gather(0, begun)


def shown_in_vain(layout: Layout, until: Tensor, rewrites: int, num_rows: int, first: int, marker: int) -> Layout:
    """The same layouts with their first steps shown so many times before, by other rows; a marker stands after each.

    Args:
        layout: without any, (K, T), where T leaves room for them.
        until: how many first steps, (K,).
        rewrites: how many times.
        num_rows: rows 1 to num_rows are the ones for which others stand; what else is shown is shown again.
        first: the row that stands for row 1 the first time; the others follow, time after time.
        marker: the row of the marker.
    """
    if not rewrites:
        return layout
    step, period = torch.arange(layout.shown.shape[1], device=until.device), until.unsqueeze(1) + 1
    in_vain = step < rewrites * period
    time, place = step // period, step % period
    before = torch.where(in_vain, place, step - rewrites * period)  # which step this was
    shown, due = (rows.gather(1, before) for rows in layout)
    stale = in_vain & (shown >= 1) & (shown <= num_rows)
    shown = torch.where(stale, first + time * num_rows + shown - 1, shown)
    shown = torch.where(in_vain & (place == period - 1), marker, shown)
    return Layout(shown, torch.where(in_vain, 0, due))


def presentations(symbols: Sequence[int], rewrites: int) -> list[list[int]]:
    """The symbols of a given problem cut into presentations: the last first, then those before it in order.

    Raises:
        ValueError: if they are not all of one length.
    """
    number = rewrites + 1
    if len(symbols) % number:
        raise ValueError(f"the input must be {number} presentations of one length, got {len(symbols)} symbols")
    length = len(symbols) // number
    cut = [list(symbols[time * length : (time + 1) * length]) for time in range(number)]
    return [cut[-1], *cut[:-1]]
