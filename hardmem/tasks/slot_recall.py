"""SlotRecall: files shown once, asked for by their number. "The lyrics of the song in file 347": by location."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from hardmem.tasks.facts import Facts


@dataclasses.dataclass(frozen=True)
class SlotRecall(Facts):
    """Files of a number and a content; a cue shows the number and asks for the content.

    One episode of 2 questions and 1 distractor; `.` is the blank, `t` counts steps:

        t         0  1  2  3  4  5  6
        number    5  2  9  9  .  5  .
        content   4  4  6  .  .  .  .
        targets   .  .  .  .  6  .  4
        source    -  -  -  -  2  -  0

    The number can be used as the address of a cell: there are as many cells as numbers.
    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. Arguments as in
    `Facts`.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "distractors": 1, "num_keys": 2},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "distractors": 10, "num_keys": 32, "lag": 10},
        "longest": {"min_length": 50, "max_length": 50, "distractors": 50, "num_keys": 128, "lag": 100},
    }
