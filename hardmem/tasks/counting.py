"""Counting: how often was a symbol seen?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least, shuffled
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.reckoning import Reckoning


@dataclasses.dataclass(frozen=True)
class Counting(Reckoning):
    """L symbols, then one of all symbols with a question mark, for L + 1 steps; last a blank: how often was it seen?

    One episode of length 3; `.` is the blank, `t` counts steps, and answer n says n - 1 times:

        t         0  1  2  3  4  5  6  7
        symbol    4  1  4  4  4  4  4  .
        asked     .  .  .  1  1  1  1  .
        targets   .  .  .  .  .  .  .  3
        source    -  -  -  -  -  -  - 0,1,2

    Which symbol is asked for is known when all have been seen, so all have to be kept, or a count of each. The question
    stays for as long as it takes to read what was shown, cell by cell, and compare. The answer is nowhere shown, but
    worked out: the agent has to count, in a state of its own or by moving a second head, whose place is the count.

    The count is uniform from 0 to L or `max_count`, the other symbols shown are uniform, and their order is random.
    Optimal play earns 1.0. A policy without memory does best to say 0 always: the mean of 1 / (L + 1), or of what
    `max_count` makes of it, is `memoryless`. Uniform actions earn 1 / (max_count + 1).

    Args:
        num_symbols: symbols shown, >= 2.
        min_length: fewest symbols in a problem.
        max_length: most symbols in a problem.
        lag: blank steps between the last symbol and the question, >= 0.
        max_count: the highest count that is asked for, >= 1; there are `max_count + 1` answers.
    """

    max_count: int = 5

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"num_symbols": 2, "max_length": 1, "max_count": 1},
        "default": {},
        "longer": {"min_length": 20, "max_length": 20, "max_count": 20},
        "longest": {"min_length": 100, "max_length": 100, "lag": 100, "max_count": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, max_count=self.max_count)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols, 1)

    @property
    def num_answers(self) -> int:
        return self.max_count + 1

    @property
    def answer_channel(self) -> int:
        return 0

    @property
    def memoryless(self) -> float:
        lengths = range(self.min_length, self.max_length + 1)
        return sum(1 / (min(length, self.max_count) + 1) for length in lengths) / len(lengths)

    def kept(self, inputs: Tensor) -> Tensor:
        return (inputs[..., 0] > 0) & (inputs[..., 1] == 0)

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (num_problems, self.max_length)
        asked = torch.randint(1, self.num_symbols + 1, (num_problems,), generator=generator, device=device)
        counts = lengths.clamp(max=self.max_count) + 1  # that are possible
        times = (torch.rand((num_problems,), generator=generator, device=device) * counts).long()
        other = torch.randint(1, self.num_symbols, shape, generator=generator, device=device)
        other = other + (other >= asked.unsqueeze(1))
        order = shuffled(lengths, self.max_length, generator)  # of the places, those asked for first
        symbols = torch.where(order < times.unsqueeze(1), asked.unsqueeze(1), other)
        return self._deal(symbols, lengths, asked)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given symbols: those shown, then the one asked for.

        Raises:
            ValueError: if a symbol, the number of symbols or the count is out of range.
        """
        *shown, asked = symbols or [0]
        if not self.min_length <= len(shown) <= self.max_length:
            raise ValueError(
                f"the input must have {self.min_length} to {self.max_length} symbols and the one asked for, "
                f"got {len(symbols)}"
            )
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        if shown.count(asked) > self.max_count:
            raise ValueError(f"symbol {asked} must be shown at most max_count = {self.max_count} times, got {shown}")
        padded = torch.tensor([[*shown, *[1] * (self.max_length - len(shown))]], device=device)
        length, one = torch.tensor([len(shown)], device=device), torch.tensor([asked], device=device)
        return self.lay_out(*self.layouts(self._deal(padded, length, one)))

    def _deal(self, symbols: Tensor, lengths: Tensor, asked: Tensor) -> Deal:
        """The rows: blank, symbols (B, max_length), of which the first `lengths` (B,) count, question and answer."""
        step = torch.arange(self.max_length, device=symbols.device)
        counts = step < lengths.unsqueeze(1)
        times = ((symbols == asked.unsqueeze(1)) & counts).sum(dim=1)
        symbol = torch.cat([torch.zeros_like(symbols[:, :1]), symbols, torch.stack([asked, times + 1], dim=1)], dim=1)
        mark = torch.zeros_like(symbol)
        mark[:, self.max_length + 1] = 1
        source = torch.full((*symbol.shape, self.max_length), -1, device=symbols.device)
        place = step - (self.max_length - lengths).unsqueeze(1)  # all that was shown, in order, at the end
        source[:, self.max_length + 2] = place.clamp(min=-1)
        return Deal(lengths - self.min_length, torch.stack([symbol, mark], dim=-1), source)

    def layout(self, case: Tensor) -> Layout:
        lengths = (case + self.min_length).unsqueeze(1)
        step = torch.arange(self.num_steps, device=case.device)
        opening, last = lengths + self.lag, 2 * lengths + self.lag + 1  # when the question and the blank are shown
        shown = torch.where(step < lengths, step + 1, 0)
        shown = torch.where((step >= opening) & (step < last), self.max_length + 1, shown)
        return Layout(shown, (self.max_length + 2) * (step == last))
