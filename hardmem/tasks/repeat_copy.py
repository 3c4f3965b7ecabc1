"""RepeatCopy: repeat what was shown several times over (Graves, Wayne & Danihelka 2014, section 4.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem
from hardmem.tasks.dealing import Deal
from hardmem.tasks.encoding import bit_inputs, symbols_to_bits
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
    the input tells the pause from the recital: the memory does. In the paper's form, `pauses=False, end_marker=True`,
    recitals follow one another, and after the last the delimiter itself is asked for: the repeats have to be counted.

    Optimal play earns 1.0. Everything shown has to be kept, so a policy without memory can only guess, as a random one
    does: 1 / num_symbols.

    Args:
        num_symbols: symbols shown and asked for.
        min_length: fewest symbols in a problem.
        max_length: most symbols in a problem.
        lag: steps between the last symbol and the delimiter, >= 0.
        distractors: as in `Recitation`.
        rewrites: as in `Recitation`.
        max_repeats: most recitals, >= 1; their number is uniform from 1. Delimiter r is symbol `num_symbols + r`.
        pauses: whether a blank step stands between two recitals.
        end_marker: whether the delimiter is asked for at the end.
    """

    max_length: int = 5
    max_repeats: int = 3
    pauses: bool = True
    end_marker: bool = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2, "max_repeats": 2},
        "default": {},
        "paper": {"max_length": 10, "max_repeats": 10, "pauses": False, "end_marker": True},
        "longer": {"min_length": 10, "max_length": 10, "max_repeats": 10},
        "longest": {"min_length": 20, "max_length": 20, "max_repeats": 20, "lag": 100},
    }

    @property
    def num_answers(self) -> int:
        return self.num_symbols + self.max_repeats * self.end_marker

    @property
    def num_stored(self) -> int:
        return super().num_stored + self.end_marker

    @property
    def num_cells(self) -> int:
        return super().num_cells + self.end_marker

    @property
    def num_steps(self) -> int:
        return super().num_steps - (self.max_repeats - 1) * (not self.pauses) + self.end_marker

    def shown_as_bits(self, inputs: Tensor) -> Tensor:
        """As usual, but one flag for all delimiters, and where the end is asked for, their number beside it.

        It is normalised to mean 0 and variance 1 over the numbers drawn, as in section 4.2 of the paper. That a
        presentation was void has a flag of its own.
        """
        symbols = inputs[..., 0]
        shown = bit_inputs(symbols, self.num_symbols)
        if self.rewrites:
            shown = torch.cat([shown, (symbols == self.anew).unsqueeze(-1).float()], dim=-1)
        if not self.end_marker:
            return shown
        repeats = symbols - self.num_symbols
        spread = max(1.0, ((self.max_repeats**2 - 1) / 12) ** 0.5)
        number = (repeats - (self.max_repeats + 1) / 2) / spread
        counts = (repeats > 0) & (repeats <= self.max_repeats)
        return torch.cat([shown, torch.where(counts, number, 0.0).unsqueeze(-1)], dim=-1)

    def asked_as_bits(self, targets: Tensor) -> Tensor:
        """The bits of a symbol, and where the end is asked for, a flag for it."""
        bits = symbols_to_bits(targets, self.num_symbols)
        return (
            torch.cat([bits, (targets > self.num_symbols).unsqueeze(-1).float()], dim=-1) if self.end_marker else bits
        )

    def _deal(self, symbols: Tensor, lengths: Tensor, repeats: Tensor) -> Deal:
        deal = super()._deal(symbols, lengths, repeats)
        opening = lengths.unsqueeze(1) * self.pace + self.lag  # when the delimiter is shown
        opening = self._after_void(opening, lengths).unsqueeze(2)
        number = torch.arange(deal.rows.shape[1], device=symbols.device)[:, None]
        return deal._replace(source=torch.where(number > self.max_length, opening, deal.source))

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
