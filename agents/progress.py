"""Progress: how far a training is, as the loop tells its listeners."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Progress:
    """How far a training is. Counted, not estimated; `seconds` is the only number that two equal runs differ in."""

    update: int = 0
    steps: int = 0
    problems: int = 0
    rollouts: int = 0
    seconds: float = 0.0
    attempt: int = 1
    """Which set of initial weights is being trained: one more at each restart."""
    length: int = 1
    """Longest problem drawn at present."""
    exact: float = 0.0
    """Share of exact greedy sequences at the last validation, at all lengths up to the final one."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """What the learner itself measured, with the greedy accuracy of single answers."""
