"""Recitation: what Copy, RepeatCopy and Reverse have in common. Symbols are shown, then all of them are asked for."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.distractors import draw_distractors, spread_out
from hardmem.tasks.rewriting import Rewritable, presentations, shown_in_vain


@dataclasses.dataclass(frozen=True)
class Recitation(Rewritable):
    """L symbols, `lag` steps of waiting, a delimiter, then blanks at which the symbols are asked for.

    Nothing is asked at the delimiter, symbol `num_symbols + 1`: it is time for a head to find its way back. (Were it a
    blank like those after it, a head that waits at its only symbol there would learn to wait at every symbol.) For the
    same reason a step of waiting shows a symbol of its own, the largest.

    Args:
        num_symbols: symbols shown and asked for.
        min_length: fewest symbols in a problem.
        max_length: most symbols in a problem.
        lag: steps between the last symbol and the delimiter, >= 0.
        distractors: symbols of another kind after each symbol shown, as many to choose from, never asked for, >= 0. In
            a problem that is given, each is the first of them.
        rewrites: how often as many other symbols are shown before these in vain, >= 0. After each time stands a marker,
            the symbol `anew`; distractors are the same each time.
    """

    lag: int = 0
    distractors: int = 0
    rewrites: int = 0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 3},
        "default": {},
        "longer": {"min_length": 20, "max_length": 20},
        "longest": {"min_length": 100, "max_length": 100, "lag": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, lag=self.lag, distractors=self.distractors, rewrites=self.rewrites)
        at_least(1, max_repeats=self.max_repeats)

    @property
    def max_repeats(self) -> int:
        """How often the symbols may be asked for; a delimiter of its own announces each number."""
        return 1

    @property
    def pauses(self) -> bool:
        """Whether a blank step stands between two recitals."""
        return True

    @property
    def end_marker(self) -> bool:
        """Whether the delimiter is asked for at the end."""
        return False

    @abstractmethod
    def _place(self, turn: Tensor, lengths: Tensor) -> Tensor:
        """Which symbol, from 0, is asked for at the given turn of a recital: (K, T), lengths (K, 1) -> (K, T)."""

    @property
    def num_delimiters(self) -> int:
        """Delimiters, symbols `num_symbols + 1` and those after it."""
        return self.max_repeats

    @property
    def num_markers(self) -> int:
        """Symbols that are never asked for: the delimiters, that of waiting and `anew` where there is any."""
        return self.num_delimiters + (self.lag > 0) + (self.rewrites > 0)

    @property
    def anew(self) -> int:
        return self.num_symbols + self.num_markers

    @property
    def num_presented(self) -> int:
        """Steps that show a symbol to be kept, in one presentation of the longest problem."""
        return self.max_length

    @property
    def pace(self) -> int:
        """Steps from one symbol to the next."""
        return self.num_presented // self.max_length * (1 + self.distractors)

    @property
    def num_others(self) -> int:
        """Rows of a deal beside the blank and the symbols that count: markers, void symbols, distractors."""
        return self.num_markers + self.rewrites * self.max_length + self.distractors * self.num_presented

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + self.num_markers + (self.distractors > 0) * self.num_symbols,)

    @property
    def num_steps(self) -> int:
        presented = self.max_length * self.pace
        in_vain = self.rewrites * (presented + 1)
        return in_vain + presented + self.lag + self.max_repeats * (self.max_length + 1)

    @property
    def num_stored(self) -> int:
        return self.max_length

    @property
    def num_cells(self) -> int:
        # Two spare cells: one that stays empty after the last symbol, and one so that moving on around a circular
        # tape does not lead straight back to the first symbol.
        return self.max_length + 2

    @property
    def num_cases(self) -> int:
        return super().num_cases * self.max_repeats

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = ((1 + self.rewrites) * self.max_length, num_problems)
        symbols = torch.randint(1, self.num_symbols + 1, shape, generator=generator, device=device)
        repeats = torch.ones_like(lengths)
        if self.max_repeats > 1:
            repeats = torch.randint(1, self.max_repeats + 1, (num_problems,), generator=generator, device=device)
        symbols = symbols.T
        if self.distractors:
            number, first = self.distractors * self.num_presented, self.num_symbols + self.num_markers + 1
            distractors = draw_distractors(number, first, self.num_symbols, lengths, generator)
            symbols = torch.cat([symbols, distractors], dim=1)
        return self._deal(symbols, lengths, repeats)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        return self._recite(symbols, 1, device)

    def _recite(self, symbols: Sequence[int], repeats: int, device: torch.device | str) -> Problem:
        """The one problem, (T, 1), that shows these symbols and asks for them so often."""
        return self.lay_out(*self.layouts(self._dealt(symbols, repeats, device)))

    def _dealt(self, symbols: Sequence[int], repeats: int, device: torch.device | str) -> Deal:
        """A deal of the one problem that shows these symbols and asks for them so often."""
        shown = presentations(symbols, self.rewrites)
        length = len(shown[0])
        if not self.min_length <= length <= self.max_length:
            part = "each presentation" if self.rewrites else "the input"
            raise ValueError(f"{part} must have {self.min_length} to {self.max_length} symbols, got {length}")
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        padded = [symbol for part in shown for symbol in [*part, *[1] * (self.max_length - length)]]
        padded += [self.num_symbols + self.num_markers + 1] * (self.distractors * self.num_presented)
        lengths, times = torch.tensor([length], device=device), torch.tensor([repeats], device=device)
        return self._deal(torch.tensor([padded], device=device), lengths, times)

    def _deal(self, symbols: Tensor, lengths: Tensor, repeats: Tensor) -> Deal:
        """The rows: blank, symbols (B, max_length), of which the first `lengths` (B,) count, all markers, and others.

        The others stand after the symbols in what is given: void ones, as many each time, then the distractors.
        """
        blank = torch.zeros_like(symbols[:, :1])
        markers = self.num_symbols + 1 + torch.arange(self.num_markers, device=symbols.device)
        markers = markers.unsqueeze(1).expand(-1, len(symbols))
        symbols, others = symbols.T[: self.max_length], symbols.T[self.max_length :]
        rows = torch.cat([blank.T, symbols, markers, others]).T.unsqueeze(-1)
        source = torch.arange(rows.shape[1], device=rows.device) - 1  # the symbol in row r is the r-th shown
        source = self._after_void((source * self.pace).clamp(min=-1), lengths)
        case = (lengths - self.min_length) * self.max_repeats + repeats - 1
        return Deal(case, rows, source.unsqueeze(-1).expand_as(rows))

    def layout(self, case: Tensor) -> Layout:
        lengths, repeats = (case // self.max_repeats + self.min_length)[:, None], (case % self.max_repeats + 1)[:, None]
        step = torch.arange(self.num_steps, device=case.device)
        opening = lengths + self.lag  # when the delimiter is shown
        shown = torch.where(step < lengths, step + 1, 0)
        shown = torch.where(step == opening, self.max_length + repeats, shown)
        shown = torch.where((step >= lengths) & (step < opening), self.max_length + self.max_repeats + 1, shown)

        position = step - opening - 1
        period = lengths + self.pauses
        turn = position.remainder(period)  # the last turn of each recital is a pause
        asking = (position >= 0) & (position < repeats * period) & (turn < lengths)
        due = torch.where(asking, self._place(turn, lengths) + 1, 0)
        ending = position == repeats * period - int(self.pauses)
        layout = Layout(shown, torch.where(ending & self.end_marker, self.max_length + repeats, due))
        return self._presented(layout, lengths)

    def _presented(self, layout: Layout, until: Tensor) -> Layout:
        """The layouts with distractors after each of the first `until` (K, 1) steps, and all that in vain before."""
        steps, marker = until.squeeze(1), self.max_length + self.num_markers
        layout = spread_out(layout, steps, self.distractors, marker + 1 + self.rewrites * self.max_length)
        steps = steps * (1 + self.distractors)
        return shown_in_vain(layout, steps, self.rewrites, self.max_length, marker + 1, marker)

    def _after_void(self, step: Tensor, lengths: Tensor) -> Tensor:
        """Steps (S,) or (B, S) of what counts as those of problems of lengths (B,), presentations in vain first.

        What is no step, -1, stays that.
        """
        if not self.rewrites:
            return step
        start = self.rewrites * (lengths.unsqueeze(1) * self.pace + 1)
        return torch.where(step >= 0, step + start, step)
