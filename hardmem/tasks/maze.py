"""Maze of facts: a T-maze with a cue for every junction (after the T-mazes of Bakker 2001 and Toro Icarte 2020)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import at_least
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.facts import Facts


@dataclasses.dataclass(frozen=True)
class Maze(Facts):
    """Cues, each the number of a junction and the turn to take there; then a walk past L junctions, each at a number.

    Before a junction lies a corridor, whose steps show a number of their own. One episode of 2 junctions with corridors
    of 2 steps; `.` is the blank, `+` the corridor, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8  9
        number    5  2  +  +  2  .  +  +  2  .
        turn      1  2  .  .  .  .  .  .  .  .
        targets   .  .  .  .  .  2  .  .  .  2
        source    -  -  -  -  -  1  -  -  -  1

    There are as many cues as junctions on the way and `distractors` more; the walk comes to each of them equally likely
    every time, so it may come to one again and never to another.

    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols.

    Args:
        num_symbols: turns; 2 in a T-maze.
        min_length: fewest junctions on the way.
        max_length: most junctions on the way.
        num_keys: numbers of junctions, at least as many as there are cues.
        distractors: cues beyond as many as there are junctions, >= 0.
        lag: blank steps between the last cue and the walk, >= 0.
        rewrites: cues shown after the first of each number, >= 0, each with another turn; the latest counts.
        corridor: steps before each junction, >= 0.
    """

    num_symbols: int = 2
    distractors: int = 0
    corridor: int = 3

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "num_keys": 2, "corridor": 0},
        "default": {},
        "longer": {"min_length": 10, "max_length": 10, "corridor": 10},
        "longest": {"min_length": 30, "max_length": 30, "num_keys": 64, "distractors": 30, "corridor": 30},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, corridor=self.corridor)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_keys + 1, self.num_symbols)

    @property
    def num_steps(self) -> int:
        return super().num_steps + self.max_length * self.corridor

    def _draw_asked(self, lengths: Tensor, generator: torch.Generator | None) -> Tensor:
        uniform = torch.rand((self.max_length, len(lengths)), generator=generator, device=lengths.device)
        return (uniform * (lengths + self.distractors)).long()

    def _layout(self, num_facts: Tensor, num_cues: Tensor, hops: Tensor) -> Layout:
        step = torch.arange(self.num_steps, device=hops.device)
        position = step - (num_facts + self.lag).unsqueeze(1)  # (K, T), counted from the first corridor
        pace = self.corridor + 2
        junction, phase = position.div(pace, rounding_mode="floor"), position.remainder(pace)
        walking = (position >= 0) & (junction < num_cues.unsqueeze(1))
        answer = 1 + self.max_facts + junction
        cue, corridor = answer + self.max_questions, 1 + self.max_facts + 2 * self.max_questions
        shown = torch.where(phase < self.corridor, corridor, cue * (phase == self.corridor)) * walking
        shown = torch.where(step < num_facts.unsqueeze(1), step + 1, shown)
        return Layout(shown, answer * (walking & (phase == pace - 1)))

    def _deal(self, case: Tensor, facts: Tensor, answers: Tensor, cues: Tensor, source: Tensor) -> Deal:
        """The rows of facts, and after them the corridor."""
        deal = super()._deal(case, facts, answers, cues, source)
        corridor = torch.zeros_like(deal.rows[:, :1])
        corridor[..., 0] = self.num_keys + 1
        nowhere = torch.full_like(deal.source[:, :1], -1)
        return Deal(case, torch.cat([deal.rows, corridor], dim=1), torch.cat([deal.source, nowhere], dim=1))
