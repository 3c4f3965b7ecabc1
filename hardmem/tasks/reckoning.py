"""Reckoning: what Addition and Counting have in common. The answers were shown nowhere, but have to be worked out."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from hardmem.tasks.base import at_least
from hardmem.tasks.dealing import Dealt


@dataclasses.dataclass(frozen=True)
class Reckoning(Dealt):
    """L steps that show something to keep, `lag` blank ones, one that opens the question, and L + 1 in which it stands.

    Args:
        num_symbols: symbols shown, >= 2.
        min_length: fewest steps that show something.
        max_length: most of them.
        lag: blank steps before the question, >= 0.
    """

    max_length: int = 5
    lag: int = 0

    computed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(2, num_symbols=self.num_symbols)
        at_least(0, lag=self.lag)

    @property
    def num_steps(self) -> int:
        return 2 * self.max_length + self.lag + 2

    @property
    def num_stored(self) -> int:
        return self.max_length

    @property
    def num_cells(self) -> int:
        return self.max_length + 2  # as for a recitation: one empty after the last, one so that it is not a ring
