"""ForwardReverse: repeat what was shown, first forward, then backward."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hardmem.tasks.dealing import Layout
from hardmem.tasks.recitation import Recitation


@dataclasses.dataclass(frozen=True)
class ForwardReverse(Recitation):
    """L symbols, a delimiter, L blanks at which they are asked for in order, another delimiter, L for the way back.

    One episode of length 3; `.` is the blank, `>` and `<` are the delimiters, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8  9 10
        inputs    4  1  7  >  .  .  .  <  .  .  .
        targets   .  .  .  .  4  1  7  .  7  1  4
        source    -  -  -  -  0  1  2  -  2  1  0

    Nothing in a recital tells forward from backward, so an agent has to remember which delimiter came last: one bit of
    its own, or a second head that waits somewhere else on the way back.

    Optimal play earns 1.0. Everything shown has to be kept, so a policy without memory can only guess, as a random one
    does: 1 / num_symbols. Arguments as in `Recitation`.
    """

    @property
    def num_delimiters(self) -> int:
        return 2

    @property
    def num_steps(self) -> int:
        return super().num_steps + 1 + self.max_length

    def layout(self, case: Tensor) -> Layout:
        lengths = (case + self.min_length)[:, None]
        step = torch.arange(self.num_steps, device=case.device)
        forward, backward = lengths + self.lag, 2 * lengths + self.lag + 1  # when the delimiters are shown
        shown = torch.where(step < lengths, step + 1, 0)
        shown = torch.where((step >= lengths) & (step < forward), self.max_length + 3, shown)
        shown = torch.where(step == forward, self.max_length + 1, shown)
        shown = torch.where(step == backward, self.max_length + 2, shown)
        turn = step - forward - 1
        due = torch.where((turn >= 0) & (turn < lengths), turn + 1, 0)
        turn = step - backward - 1
        layout = Layout(shown, torch.where((turn >= 0) & (turn < lengths), lengths - turn, due))
        return self._presented(layout, lengths)

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn
