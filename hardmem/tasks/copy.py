"""Copy: repeat what was shown, in the order it was shown (Graves, Wayne & Danihelka 2014, section 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, Task, answers


@dataclasses.dataclass(frozen=True)
class Copy(Task):
    """L symbols, a delimiter, then L blanks at which the symbols are asked for in order.

    One episode of length 3; `.` is the blank, `|` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5  6
        inputs    4  1  7  |  .  .  .
        targets   .  .  .  .  4  1  7
        source    -  -  -  -  0  1  2

    Nothing is asked at the delimiter, symbol `num_symbols + 1`: it is time for a head to find its way back. (Were it a
    blank like those after it, a head that waits at its only symbol there would learn to wait at every symbol.)
    Everything shown has to be kept, so a policy without memory can only guess: it earns 1 / num_symbols of the reward.
    """

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + 1,)

    @property
    def num_answers(self) -> int:
        return self.num_symbols

    @property
    def answer_channel(self) -> int:
        return 0

    @property
    def num_steps(self) -> int:
        return 2 * self.max_length + 1

    @property
    def num_cells(self) -> int:
        # Two spare cells: one that stays empty after the last symbol, and one so that moving on around a circular
        # tape does not lead straight back to the first symbol.
        return self.max_length + 2

    def draw(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Problem:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        symbols = torch.randint(
            1, self.num_symbols + 1, (self.max_length, num_problems), generator=generator, device=device
        )
        return self._build(symbols, lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        if not self.min_length <= len(symbols) <= self.max_length:
            raise ValueError(f"the input must have {self.min_length} to {self.max_length} symbols, got {len(symbols)}")
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        padded = [*symbols, *[1] * (self.max_length - len(symbols))]
        return self._build(
            torch.tensor(padded, device=device).unsqueeze(1), torch.tensor([len(symbols)], device=device)
        )

    def _build(self, symbols: Tensor, lengths: Tensor) -> Problem:
        """Lay out symbols (max_length, B), of which the first `lengths` (B,) of each column count."""
        step = torch.arange(self.num_steps, device=symbols.device).unsqueeze(1)  # (T, 1)
        blanks = symbols.new_zeros((self.num_steps - self.max_length, symbols.shape[1]))
        shown = torch.cat([symbols, blanks]) * (step < lengths)  # (T, B)
        inputs = (shown + (self.num_symbols + 1) * (step == lengths)).unsqueeze(-1)  # (T, B, 1)
        position = step - lengths - 1  # which symbol is due
        mask = (position >= 0) & (position < lengths)
        source = position * mask - (~mask).long()  # position where due, -1 elsewhere
        return Problem(inputs, answers(inputs, source, channel=0), mask, source.unsqueeze(-1))
