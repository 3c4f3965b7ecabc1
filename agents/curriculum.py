"""Curriculum: problems grow by one symbol whenever the learner answers most of the present ones without a fault."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Curriculum:
    """The length reached so far.

    Args:
        length: longest problem drawn at present.
        max_length: where it ends.
        promote_at: share of exact greedy answers at which the length grows, in (0, 1].
    """

    length: int
    max_length: int
    promote_at: float

    def record(self, exact: float) -> None:
        """Take note of a validation at the present length."""
        if exact >= self.promote_at and self.length < self.max_length:
            self.length += 1
