"""Sort: repeat what was shown in the order of the symbols."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.recitation import Recitation


@dataclasses.dataclass(frozen=True)
class Sort(Recitation):
    """L symbols, a delimiter, then L blanks at which the symbols are asked for, the least first.

    One episode of length 3; `.` is the blank, `|` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5  6
        inputs    4  7  1  |  .  .  .
        targets   .  .  .  .  1  4  7
        source    -  -  -  -  2  0  1

    Of equal symbols the one shown first is needed first. A cell is needed in no order that was shown, so its address
    has to be chosen from what was stored, or the symbols be put into cells of their own.

    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. One that only counts
    the steps does better: the first answer is seldom a large symbol. Arguments as in `Recitation`.
    """

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn

    def _deal(self, symbols: Tensor, lengths: Tensor, repeats: Tensor) -> Deal:
        """The rows of a recitation, and after them the answers in order."""
        deal = super()._deal(symbols, lengths, repeats)
        counts = torch.arange(self.max_length, device=symbols.device) < lengths.unsqueeze(1)
        symbols = symbols[:, : self.max_length]
        order = torch.where(counts, symbols, self.num_symbols + 1).argsort(dim=1, stable=True)  # (B, max_length)
        answers = symbols.gather(1, order)
        rows = torch.cat([deal.rows, answers.unsqueeze(-1)], dim=1)
        source = self._after_void(order * self.pace, lengths).unsqueeze(-1)
        return Deal(deal.case, rows, torch.cat([deal.source, source], dim=1))

    def layout(self, case: Tensor) -> Layout:
        shown, due = super().layout(case)
        return Layout(shown, torch.where(due > 0, due + self.max_length + self.num_others, 0))
