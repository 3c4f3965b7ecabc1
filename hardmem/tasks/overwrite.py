"""Overwrite: a fact changes after it was shown, and the stale one must not be answered."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from hardmem.tasks.facts import Facts


@dataclasses.dataclass(frozen=True)
class Overwrite(Facts):
    """Facts of a key and a value, some of them shown again with another value; a cue asks for the latest value.

    One episode of 2 questions, no distractor and 2 rewrites; `.` is the blank, `t` counts steps:

        t         0  1  2  3  4  5  6  7
        key       5  2  5  5  2  .  5  .
        value     4  4  6  3  .  .  .  .
        targets   .  .  .  .  .  4  .  3
        source    -  -  -  -  -  1  -  3

    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols. Always answering
    the first value of a key earns 1 for each key never rewritten. Arguments as in `Facts`.
    """

    distractors: int = 0
    rewrites: int = 4

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "rewrites": 1, "num_keys": 2},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "distractors": 10, "num_keys": 32, "rewrites": 20, "lag": 10},
        "longest": {"min_length": 30, "max_length": 30, "distractors": 30, "num_keys": 64, "rewrites": 60, "lag": 100},
    }
