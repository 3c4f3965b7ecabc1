"""Queue: symbols are pushed and popped, the first in is the first out."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from hardmem.tasks.commands import Commands


@dataclasses.dataclass(frozen=True)
class Queue(Commands):
    """L symbols pushed and as many pops, in any order that never pops from nothing; a pop asks for the oldest.

    One episode of length 3; `.` is the blank, `^` the command to pop, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8
        inputs    4  1  ^  .  7  ^  .  ^  .
        targets   .  .  .  4  .  .  1  .  7
        source    -  -  -  0  -  -  1  -  4

    Symbols go in at one end and come out at the other, which a tape has time for with two heads, one at each end.

    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. Arguments as in
    `Commands`.
    """

    def place(self, inputs: Tensor, new: Tensor) -> Tensor:
        return new.cumsum(dim=0) - new.long()

    def _next_in(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        return num_in

    def _next_out(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        return num_out
