"""Overwrite: a fact changes after it was shown, and the stale one must not be answered."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import at_least, shuffled
from hardmem.tasks.dealing import Deal, pick
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
    the first value of a key earns 1 for each key never rewritten.

    Args:
        num_symbols: values, at least 2: a new value differs from the one before.
        min_length: fewest questions.
        max_length: most questions; never two about one key.
        num_keys: keys, at least as many as are shown.
        distractors: keys beyond those that are asked for, >= 0.
        lag: blank steps between the last fact and the first question, >= 0.
        rewrites: facts shown after the first of each key, >= 0; each changes the value of a key drawn among all shown.
    """

    distractors: int = 0
    rewrites: int = 4

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "rewrites": 1, "num_keys": 2},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "distractors": 10, "num_keys": 32, "rewrites": 20, "lag": 10},
        "longest": {"min_length": 30, "max_length": 30, "distractors": 30, "num_keys": 64, "rewrites": 60, "lag": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, rewrites=self.rewrites)
        at_least(2, num_symbols=self.num_symbols)

    @property
    def max_facts(self) -> int:
        return self.max_length + self.distractors + self.rewrites

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = self._draw_lengths(num_problems, generator, device)
        num_keys = (lengths + self.distractors).unsqueeze(1)
        keys = self._draw_keys(lengths, generator)
        shape = (num_problems, self.max_facts)
        row = torch.arange(self.max_facts, device=device)
        chosen = (torch.rand(shape, generator=generator, device=device) * num_keys).long()
        which = torch.where(row < num_keys, row, chosen)  # (B, F): each key once, then those that are rewritten

        # A key's value goes around the symbols: from anywhere, by at least 1 and less than once around.
        uniform = torch.rand(shape, generator=generator, device=device)
        change = (uniform * self.num_symbols).long()
        change = torch.where(row < num_keys, change, 1 + (uniform * (self.num_symbols - 1)).long())
        same_key = which.unsqueeze(2) == which.unsqueeze(1)  # (B, F, F)
        so_far = same_key & (row >= row.unsqueeze(1)).T
        values = (so_far * change.unsqueeze(1)).sum(dim=2) % self.num_symbols + 1

        asked = shuffled(num_keys.squeeze(1), self.max_length, generator)  # (B, Q)
        shown = (asked.unsqueeze(2) == which.unsqueeze(1)) & (row < num_keys + self.rewrites).unsqueeze(1)  # (B, Q, F)
        source = (shown * row).amax(dim=2).unsqueeze(-1)
        facts = torch.stack([keys.gather(1, which), values], dim=-1)
        cues = keys.gather(1, asked)
        return self._deal(
            case=lengths - self.min_length,
            facts=facts,
            answers=pick(facts, source[..., 0]),
            cues=torch.stack([cues, torch.zeros_like(cues)], dim=-1),
            source=source,
        )

    def _counts(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return lengths + self.distractors + self.rewrites, lengths, torch.ones_like(lengths)
