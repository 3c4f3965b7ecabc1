"""Copy: repeat what was shown, in the order it was shown (Graves, Wayne & Danihelka 2014, section 4.1)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from hardmem.tasks.recitation import Recitation


@dataclasses.dataclass(frozen=True)
class Copy(Recitation):
    """L symbols, a delimiter, then L blanks at which the symbols are asked for in order.

    One episode of length 3; `.` is the blank, `|` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5  6
        inputs    4  1  7  |  .  .  .
        targets   .  .  .  .  4  1  7
        source    -  -  -  -  0  1  2

    With `rewrites=1` as many other symbols come before, void once the marker `!` is shown:

        t         0  1  2  3  4  5  6  7  8  9 10
        inputs    5  2  6  !  4  1  7  |  .  .  .
        targets   .  .  .  .  .  .  .  .  4  1  7
        source    -  -  -  -  -  -  -  -  4  5  6

    Optimal play earns 1.0. Everything shown has to be kept, so a policy without memory can only guess, as a random one
    does: 1 / num_symbols. Arguments as in `Recitation`.
    """

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn
