"""RepeatCopy: repeat what was shown several times over (Graves, Wayne & Danihelka 2014, section 4.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem
from hardmem.tasks.recitation import Recitation


@dataclasses.dataclass(frozen=True)
class RepeatCopy(Recitation):
    """L symbols, a delimiter that says how often, then the symbols are asked for in order, so many times.

    One episode of 2 symbols repeated twice; `.` is the blank, `2` the delimiter of two repeats, `t` counts steps:

        t         0  1  2  3  4  5  6  7
        inputs    4  1  2  .  .  .  .  .
        targets   .  .  .  4  1  .  4  1
        source    -  -  -  0  1  -  0  1

    A pause stands between two recitals, in which the head, on the cell after the last symbol, can go back. Nothing in
    the input tells the pause from the recital: the memory does. (Graves asks for an end marker too, and for no pause.)

    Optimal play earns 1.0. Everything shown has to be kept, so a policy without memory can only guess, as a random one
    does: 1 / num_symbols.

    Args:
        num_symbols: symbols shown and asked for.
        min_length: fewest symbols in a problem.
        max_length: most symbols in a problem.
        lag: steps between the last symbol and the delimiter, >= 0.
        max_repeats: most recitals, >= 1; their number is uniform from 1. Delimiter r is symbol `num_symbols + r`.
    """

    max_length: int = 5
    max_repeats: int = 3

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2, "max_repeats": 2},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "max_repeats": 10},
        "longest": {"min_length": 20, "max_length": 20, "max_repeats": 20, "lag": 100},
    }

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), that shows the given symbols, the last of them the delimiter `num_symbols + r`.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range, or the delimiter is missing.
        """
        repeats = symbols[-1] - self.num_symbols if len(symbols) else 0
        if not 1 <= repeats <= self.max_repeats:
            raise ValueError(
                f"the input must end with a delimiter in {self.num_symbols + 1} to "
                f"{self.num_symbols + self.max_repeats}, got {list(symbols)}"
            )
        return self._recite(symbols[:-1], repeats, device)

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn
