"""MultiHop: an answer that needs a chain of facts, each naming the next."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import shuffled_rows
from hardmem.tasks.dealing import Deal
from hardmem.tasks.facts import Facts


@dataclasses.dataclass(frozen=True)
class MultiHop(Facts):
    """Facts of a key, a link to another fact's key, and a value; the question is a key and a number of facts, L.

    It asks for the value of the last fact of the chain that starts at the key, due L steps later: time to read the L
    facts one after another. One episode of 2 hops and 1 distractor; `.` is the blank, `t` counts steps:

        t         0  1  2  3  4  5
        key       5  2  9  9  .  .
        link      2  9  5  2  .  .
        value     4  4  6  .  .  .
        targets   .  .  .  .  .  4
        source    -  -  -  -  - 2,0

    The links of all facts form one ring, so nothing in a fact tells whether it lies on the chain.
    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols.

    Args:
        num_symbols: values.
        min_length: shortest chain.
        max_length: longest chain.
        num_keys: keys, at least as many as there are facts.
        distractors: facts beyond those of the chain, >= 0.
        lag: blank steps between the last fact and the question, >= 0.
        rewrites: facts shown again with another value, >= 0; the latest counts.
    """

    min_length: int = 2
    max_length: int = 4

    shortest: ClassVar[int] = 2  # a chain of one fact is no chain
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2, "distractors": 0, "num_keys": 2},
        "default": {},
        "longer": {"min_length": 8, "max_length": 8, "distractors": 8, "num_keys": 32, "lag": 10},
        "longest": {"min_length": 32, "max_length": 32, "distractors": 32, "num_keys": 128, "lag": 100},
    }

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_keys, self.num_keys, self.num_symbols)

    @property
    def max_questions(self) -> int:
        return 1

    @property
    def max_hops(self) -> int:
        return self.max_length

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = self._draw_lengths(num_problems, generator, device)
        keys = self._draw_keys(lengths, generator)[:, 0]  # (S, B), around the ring; the chain starts at the first
        place = shuffled_rows(lengths + self.distractors, tuple(keys.shape), generator).long()  # of each fact, there
        if self.rewrites:
            which, values = self._draw_rewrites(lengths, generator)
            place = place.gather(0, which)  # (F, B)
        else:
            values = torch.randint(1, self.num_symbols + 1, keys.shape, generator=generator, device=device)
        links = keys.gather(0, (place + 1) % (lengths + self.distractors))
        hop = torch.arange(self.max_hops, device=device).unsqueeze(1) - (self.max_hops - lengths)  # below 0: none
        source = torch.where(hop >= 0, self._latest(hop, place, lengths), -1)  # (max_hops, B)
        facts = torch.stack([keys.gather(0, place), links, values], dim=1)  # (F, C, B)
        answers = facts.gather(0, source[-1:].unsqueeze(1).expand(-1, 3, -1))
        cues = torch.stack([keys[0].long(), lengths, torch.zeros_like(lengths)]).unsqueeze(0)
        facts, answers, cues = (part.permute(2, 0, 1) for part in (facts, answers, cues))
        return self._deal(lengths - self.min_length, facts, answers, cues, source.T.unsqueeze(1))

    def _counts(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return lengths + self.distractors + self.rewrites, torch.ones_like(lengths), lengths

    def _find(self, facts: list[list[int]], cue: list[int]) -> list[int]:
        key, hops, _ = cue
        if not self.min_length <= hops <= self.max_length:
            raise ValueError(f"a chain must have {self.min_length} to {self.max_length} facts, got {hops}")
        number_of = {fact[0]: number for number, fact in enumerate(facts)}
        chain = []
        for _ in range(hops):
            if key not in number_of:
                raise ValueError(f"the chain from {cue[0]} must find a fact with key {key}, got the facts {facts}")
            chain.append(number_of[key])
            key = facts[chain[-1]][1]
        return chain
