"""FactRecall: facts shown once, asked for by a part of them. "The song with this line in its chorus": by content."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from hardmem.tasks.facts import Facts


@dataclasses.dataclass(frozen=True)
class FactRecall(Facts):
    """Facts of two keys and a value; a cue shows one of the two keys, either one, and asks for the value.

    One episode of 2 questions and 1 distractor; `.` is the blank, `t` counts steps:

        t         0  1  2  3  4  5  6
        key       5  2  9  .  .  5  .
        key       1  7  3  3  .  .  .
        value     4  4  6  .  .  .  .
        targets   .  .  .  .  6  .  4
        source    -  -  -  -  2  -  0

    A cell that holds a fact has to be found by a part of its content: two cues that look different lead to one cell.
    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. Arguments as in
    `Facts`.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "distractors": 1, "num_keys": 2},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "distractors": 10, "num_keys": 32, "lag": 10},
        "longest": {"min_length": 50, "max_length": 50, "distractors": 50, "num_keys": 128, "lag": 100},
    }

    @property
    def key_channels(self) -> tuple[int, ...]:
        return (0, 1)
