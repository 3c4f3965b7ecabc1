"""DuplicatedInput: every symbol is shown several times in a row and asked for once (Zaremba & Sutskever 2015)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least
from hardmem.tasks.dealing import Layout
from hardmem.tasks.recitation import Recitation


@dataclasses.dataclass(frozen=True)
class DuplicatedInput(Recitation):
    """L symbols, each shown `copies` times in a row, a delimiter, then L blanks at which each is asked for once.

    One episode of length 3, shown twice each; `.` is the blank, `|` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8  9
        inputs    4  4  1  1  1  1  |  .  .  .
        targets   .  .  .  .  .  .  .  4  1  1
        source    -  -  -  -  -  -  -  0  2  4

    A neighbour may be the same symbol, so the copies have to be counted, not compared.
    Optimal play earns 1.0. Everything shown has to be kept, so a policy without memory can only guess, as a random one
    does: 1 / num_symbols.

    Args:
        num_symbols: symbols shown and asked for.
        min_length: fewest symbols in a problem, copies not counted.
        max_length: most symbols in a problem.
        lag: steps between the last copy and the delimiter, >= 0.
        distractors: as in `Recitation`, after each copy.
        rewrites: as in `Recitation`.
        copies: how often each symbol is shown, >= 1.
    """

    copies: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, copies=self.copies)

    @property
    def num_presented(self) -> int:
        return self.copies * self.max_length

    def kept(self, inputs: Tensor) -> Tensor:
        return super().kept(inputs) & (self.since(inputs) % self.pace == 0)  # the first of its copies

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), that shows the given symbols, copies included.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range, or a copy is missing.
        """
        once = list(symbols[:: self.copies])
        if [symbol for symbol in once for _ in range(self.copies)] != list(symbols):
            raise ValueError(f"the input must show every symbol {self.copies} times in a row, got {list(symbols)}")
        return self._recite(once, 1, device)

    def layout(self, case: Tensor) -> Layout:
        lengths = (case + self.min_length)[:, None]
        step = torch.arange(self.num_steps, device=case.device)
        last, opening = self.copies * lengths, self.copies * lengths + self.lag  # the delimiter is shown at the latter
        shown = torch.where(step < last, step // self.copies + 1, 0)
        shown = torch.where(step == opening, self.max_length + 1, shown)
        shown = torch.where((step >= last) & (step < opening), self.max_length + 2, shown)
        turn = step - opening - 1
        asking = (turn >= 0) & (turn < lengths)
        layout = Layout(shown, torch.where(asking, self._place(turn, lengths) + 1, 0))
        return self._presented(layout, last)

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn
