"""Delay: one symbol, shown long ago, with distractors between it and the question."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least
from hardmem.tasks.dealing import Deal, Dealt, Layout


@dataclasses.dataclass(frozen=True)
class Delay(Dealt):
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
    """

    lag: int = 0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2},
        "default": {},
        "longer": {"min_length": 50, "max_length": 50},
        "longest": {"min_length": 500, "max_length": 500},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, lag=self.lag)

    @property
    def dials(self) -> dict[str, Any]:
        return {**super().dials, "distractors": self.max_length}

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + 1,)

    @property
    def num_steps(self) -> int:
        return self.max_length + self.lag + 3

    @property
    def num_stored(self) -> int:
        return 1

    @property
    def num_cells(self) -> int:
        return 2  # a second one, so that the head can leave the first

    def kept(self, inputs: Tensor) -> Tensor:
        step = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
        return (step == 0).expand(inputs.shape[:2])

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (self.max_length + 1, num_problems)
        symbols = torch.randint(1, self.num_symbols + 1, shape, generator=generator, device=device)
        return self._deal(symbols.T, lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), that shows the given symbols: the cue, then the distractors.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range.
        """
        if not self.min_length < len(symbols) <= self.max_length + 1:
            raise ValueError(
                f"the input must have {self.min_length + 1} to {self.max_length + 1} symbols, a cue and its "
                f"distractors, got {len(symbols)}"
            )
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        padded = [*symbols, *[1] * (self.max_length + 1 - len(symbols))]
        length = torch.tensor([len(symbols) - 1], device=device)
        return self.lay_out(*self.layouts(self._deal(torch.tensor([padded], device=device), length)))

    def _deal(self, symbols: Tensor, lengths: Tensor) -> Deal:
        """The rows: blank, symbols (B, max_length + 1), of which a cue and `lengths` (B,) count, and the delimiter."""
        blank = torch.zeros_like(symbols[:, :1])
        rows = torch.cat([blank, symbols, blank + self.num_symbols + 1], dim=1).unsqueeze(-1)
        source = torch.arange(rows.shape[1], device=symbols.device) - 1  # the symbol in row r is shown at step r - 1
        return Deal(lengths - self.min_length, rows, source.unsqueeze(-1).expand_as(rows))

    def layout(self, case: Tensor) -> Layout:
        step, lengths = torch.arange(self.num_steps, device=case.device), (case + self.min_length).unsqueeze(1)
        opening = lengths + self.lag + 1  # when the delimiter is shown
        shown = torch.where(step <= lengths, step + 1, (self.max_length + 2) * (step == opening))
        return Layout(shown, (step == opening + 1).long())  # the cue is row 1
