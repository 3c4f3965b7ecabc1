"""PrioritySort: repeat what was shown in the order of priorities shown beside it (Graves et al. 2014, section 4.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least, shuffled
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.encoding import bit_inputs
from hardmem.tasks.recitation import Recitation
from hardmem.tasks.rewriting import presentations


@dataclasses.dataclass(frozen=True)
class PrioritySort(Recitation):
    """L symbols, each beside a priority, a delimiter, then blanks: the symbols in order, the highest priority first.

    One episode of length 3; `.` is the blank, `|` the delimiter, `t` counts steps:

        t           0  1  2  3  4  5  6
        priorities  2  9  5  .  .  .  .
        symbols     4  7  1  |  .  .  .
        targets     .  .  .  .  7  1  4
        source      -  -  -  -  1  2  0

    Priorities are numbers, 1 to P, no two alike in a problem. Where P is no larger than the number of cells they can
    serve as addresses; many more, and they have to be compared, as the real numbers of the paper have to be.

    Optimal play earns 1.0. Priorities say nothing about symbols, so a policy without memory can only guess, as a random
    one does: 1 / num_symbols.

    Args:
        num_symbols: symbols shown and asked for.
        min_length: fewest symbols in a problem.
        max_length: most symbols in a problem.
        lag: steps between the last symbol and the delimiter, >= 0.
        distractors: as in `Recitation`.
        rewrites: as in `Recitation`; other symbols are shown beside the same priorities.
        num_priorities: P, at least max_length.
        top: how many are asked for at most, >= 1, those of the highest priorities; 16 of 20 in the paper.
    """

    num_priorities: int = 32
    top: int = 16

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 3, "num_priorities": 8},
        "default": {},
        "longer": {"min_length": 20, "max_length": 20, "num_priorities": 200},
        "longest": {"min_length": 100, "max_length": 100, "num_priorities": 1000, "top": 100, "lag": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, top=self.top)
        if self.num_priorities < self.max_length:
            raise ValueError(
                f"num_priorities must be at least max_length = {self.max_length}, got {self.num_priorities}"
            )

    @property
    def key_channels(self) -> tuple[int, ...]:
        return (0,)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_priorities, *super().input_sizes)

    @property
    def num_steps(self) -> int:
        return super().num_steps - max(0, self.max_length - self.top)

    def shown_as_bits(self, inputs: Tensor) -> Tensor:
        """The priority as one number, evenly from -1 to 1, the paper's range; then the symbol.

        All distractors have one flag.
        """
        num_flags = self.num_markers + (self.distractors > 0)
        priority, symbol = inputs[..., 0], inputs[..., 1]
        level = (2 * priority - self.num_priorities - 1) / max(1, self.num_priorities - 1)
        number = torch.where(priority > 0, level, 0.0).unsqueeze(-1)
        return torch.cat([number, bit_inputs(symbol, self.num_symbols, num_flags)], dim=-1)

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        deal = super().deal(num_problems, generator=generator, device=device)
        count = torch.full_like(deal.case, self.num_priorities)
        return self._ranked(deal, shuffled(count, self.max_length, generator) + 1)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given pairs in a row: a priority, its symbol, the next priority, ...

        Raises:
            ValueError: if a number is out of range, a priority stands twice, or the last pair is incomplete.
        """
        if len(symbols) % 2:
            raise ValueError(f"the input must be pairs of a priority and a symbol, got {len(symbols)} numbers")
        priorities, *again = presentations(symbols[::2], self.rewrites)
        deal = self._dealt(symbols[1::2], 1, device)
        if any(others != priorities for others in again):
            raise ValueError(f"all presentations must show the same priorities, got {[*again, priorities]}")
        if not all(1 <= priority <= self.num_priorities for priority in priorities):
            raise ValueError(f"priorities must lie in 1 to {self.num_priorities}, got {priorities}")
        if len(set(priorities)) < len(priorities):
            raise ValueError(f"priorities must be distinct, got {priorities}")
        padded = [*priorities, *[1] * (self.max_length - len(priorities))]
        return self.lay_out(*self.layouts(self._ranked(deal, torch.tensor([padded], device=device))))

    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        return turn

    def _ranked(self, deal: Deal, priorities: Tensor) -> Deal:
        """The rows of a recitation beside their priorities (B, max_length), and after them the answers in order."""
        number = torch.arange(self.max_length, device=priorities.device)
        lengths = deal.case + self.min_length
        counts = number < lengths.unsqueeze(1)
        order = torch.where(counts, -priorities, 1).argsort(dim=1, stable=True)  # (B, max_length)
        channel = torch.zeros_like(deal.rows)
        channel[:, 1 : self.max_length + 1, 0] = priorities
        if self.rewrites:
            void = self.max_length + self.num_markers + 1
            channel[:, void : void + self.rewrites * self.max_length, 0] = priorities.repeat(1, self.rewrites)
        rows = torch.cat([channel, deal.rows], dim=-1)
        answers = rows.gather(1, (order + 1).unsqueeze(-1).expand(-1, -1, rows.shape[2]))
        source = self._after_void(order * self.pace, lengths).unsqueeze(-1)
        return Deal(deal.case, torch.cat([rows, answers], dim=1), torch.cat([deal.source, source], dim=1))

    def layout(self, case: Tensor) -> Layout:
        shown, due = super().layout(case)
        asked = (due > 0) & (due <= self.top)
        return Layout(shown, torch.where(asked, due + self.max_length + self.num_others, 0))
