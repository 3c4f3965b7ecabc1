"""Stack: symbols are pushed and popped, the last in is the first out."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from hardmem.tasks.commands import Commands


@dataclasses.dataclass(frozen=True)
class Stack(Commands):
    """L symbols pushed and as many pops, in any order that never pops from nothing; a pop asks for what is on top.

    One episode of length 3; `.` is the blank, `^` the command to pop, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8
        inputs    4  1  ^  .  7  ^  .  ^  .
        targets   .  .  .  1  .  .  7  .  4
        source    -  -  -  1  -  -  4  -  0

    On a tape the head is the stack's pointer: a push writes and goes on, a pop goes back, and what is read there may be
    written over by the next push.

    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. Arguments as in
    `Commands`.
    """

    def place(self, inputs: Tensor, new: Tensor) -> Tensor:
        change = new.long() - (inputs[..., 0] == self.num_symbols + 1).long()
        return change.cumsum(dim=0) - change

    def _next_in(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        return num_in - num_out

    def _next_out(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        return num_in - num_out - 1
