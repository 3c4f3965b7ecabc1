"""Delay: one symbol, shown long ago, with distractors between it and the question."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.rewriting import Rewritable, shown_in_vain


@dataclasses.dataclass(frozen=True)
class Delay(Rewritable):
    """A symbol, L distractors that look like it, a delimiter, and a blank at which the first symbol is asked for.

    One episode of length 3; `.` is the blank, `|` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5
        inputs    4  1  7  1  |  .
        targets   .  .  .  .  .  4
        source    -  -  -  -  -  0

    The distractors are what the length counts; one cell has to be kept, and nothing written over it.
    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols.

    Args:
        num_symbols: symbols the cue and the distractors are drawn from.
        min_length: fewest distractors.
        max_length: most distractors.
        lag: blank steps between the last distractor and the delimiter, >= 0.
        rewrites: cues shown before this one in vain, >= 0. After each stands a marker, the symbol `anew`.
    """

    lag: int = 0
    rewrites: int = 0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2},
        "default": {},
        "longer": {"min_length": 50, "max_length": 50},
        "longest": {"min_length": 500, "max_length": 500},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, lag=self.lag, rewrites=self.rewrites)

    @property
    def dials(self) -> dict[str, Any]:
        return {**super().dials, "distractors": self.max_length}

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + 1 + (self.rewrites > 0),)

    @property
    def anew(self) -> int:
        return self.num_symbols + 2

    @property
    def num_steps(self) -> int:
        return 2 * self.rewrites + self.max_length + self.lag + 3

    @property
    def num_stored(self) -> int:
        return 1

    @property
    def num_cells(self) -> int:
        return 2  # a second one, so that the head can leave the first

    def kept(self, inputs: Tensor) -> Tensor:
        return (self.since(inputs) == 0).expand(inputs.shape[:2])

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (self.max_length + 1 + self.rewrites, num_problems)
        symbols = torch.randint(1, self.num_symbols + 1, shape, generator=generator, device=device)
        return self._deal(symbols.T, lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), that shows the given symbols: cues in vain, the cue, then the distractors.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range.
        """
        num_cues = 1 + self.rewrites
        length = len(symbols) - num_cues
        if not self.min_length <= length <= self.max_length:
            cues = "a cue and its" if num_cues == 1 else f"{num_cues} cues and their"
            raise ValueError(
                f"the input must have {self.min_length + num_cues} to {self.max_length + num_cues} symbols, {cues} "
                f"distractors, got {len(symbols)}"
            )
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        padded = [*symbols[self.rewrites :], *[1] * (self.max_length - length), *symbols[: self.rewrites]]
        lengths = torch.tensor([length], device=device)
        return self.lay_out(*self.layouts(self._deal(torch.tensor([padded], device=device), lengths)))

    def _deal(self, symbols: Tensor, lengths: Tensor) -> Deal:
        """The rows: blank, symbols (B, max_length + 1 + rewrites), the delimiter, and `anew` if it is ever shown.

        Of the symbols a cue and `lengths` (B,) count; after all max_length + 1 come the void cues.
        """
        blank = torch.zeros_like(symbols[:, :1])
        markers = [blank + self.num_symbols + 1]
        if self.rewrites:
            markers.append(blank + self.anew)
        rows = torch.cat([blank, symbols, *markers], dim=1).unsqueeze(-1)
        source = torch.arange(rows.shape[1], device=symbols.device) - 1  # the symbol in row r is shown at step r - 1
        if self.rewrites:
            source[1:] += 2 * self.rewrites  # after the void cues and their markers
        return Deal(lengths - self.min_length, rows, source.unsqueeze(-1).expand_as(rows))

    def layout(self, case: Tensor) -> Layout:
        step, lengths = torch.arange(self.num_steps, device=case.device), (case + self.min_length).unsqueeze(1)
        opening = lengths + self.lag + 1  # when the delimiter is shown
        void, delimiter = self.max_length + 2, self.max_length + 2 + self.rewrites  # rows; that of the cue is 1
        shown = torch.where(step <= lengths, step + 1, delimiter * (step == opening))
        layout = Layout(shown, (step == opening + 1).long())
        return shown_in_vain(layout, torch.ones_like(case), self.rewrites, 1, void, marker=delimiter + 1)
