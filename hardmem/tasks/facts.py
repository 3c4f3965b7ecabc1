"""Facts: what the tasks that show facts first and ask for them afterwards have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.tasks.base import Problem, Task, at_least, looked_up, pick, shuffled, time_first


@dataclasses.dataclass(frozen=True)
class Facts(Task):
    """Facts, each a row of keys and a value, shown once in random order; then L questions, each a cue and its answer.

    A fact has something in every channel. A cue has no value, and asks for the value of the fact it matches: that is
    due at the next step, which is blank. No two facts share a key, unless the task says so.

    Args:
        num_symbols: values.
        min_length: fewest questions.
        max_length: most questions; never two about one fact.
        num_keys: keys of each kind, at least as many as there are facts.
        distractors: facts beyond those that are asked for, >= 0. Nothing tells them from the others.
        lag: blank steps between the last fact and the first question, >= 0.
    """

    max_length: int = 5
    num_keys: int = 16
    distractors: int = 3
    lag: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, distractors=self.distractors, lag=self.lag)
        if self.num_keys < self.max_length + self.distractors:
            raise ValueError(
                f"num_keys must be at least max_length + distractors = {self.max_length + self.distractors}, "
                f"got {self.num_keys}"
            )

    @property
    def key_channels(self) -> tuple[int, ...]:
        return (0,)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (*[self.num_keys] * len(self.key_channels), self.num_symbols)

    @property
    def num_answers(self) -> int:
        return self.num_symbols

    @property
    def answer_channel(self) -> int:
        return len(self.input_sizes) - 1

    @property
    def max_facts(self) -> int:
        """Facts shown in the longest problem."""
        return self.max_length + self.distractors

    @property
    def max_questions(self) -> int:
        """Questions asked in the longest problem."""
        return self.max_length

    @property
    def max_hops(self) -> int:
        """Most facts that an answer needs."""
        return 1

    @property
    def num_steps(self) -> int:
        return self.max_facts + self.lag + self.max_questions * (1 + self.max_hops)

    @property
    def num_stored(self) -> int:
        return self.max_length + self.distractors

    @property
    def num_cells(self) -> int:
        return self.num_keys  # a cell for each key, so that a key can serve as an address

    def draw(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Problem:
        lengths = self._draw_lengths(num_problems, generator, device)
        keys = self._draw_keys(lengths.repeat(len(self.key_channels)), generator).split(num_problems)
        values = torch.randint(1, self.num_symbols + 1, keys[0].shape, generator=generator, device=device)
        asked = shuffled(lengths + self.distractors, self.max_length, generator)
        kind = torch.randint(0, len(keys), asked.shape, generator=generator, device=device)
        cues = [key.gather(1, asked) * (kind == channel) for channel, key in enumerate(keys)]
        return self._build(
            facts=torch.stack([*keys, values], dim=-1),
            cues=torch.stack([*cues, torch.zeros_like(asked)], dim=-1),
            source=asked.unsqueeze(-1),
            layout=self._layout(lengths),
        )

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given rows: facts, then cues, each as it is shown, one symbol per channel.

        Raises:
            ValueError: if the rows are incomplete, out of range or order, too many, or a cue matches no fact.
        """
        width = len(self.input_sizes)
        rows = [list(symbols[start : start + width]) for start in range(0, len(symbols), width)]
        facts = [row for row in rows if all(row)]
        cues = rows[len(facts) :]
        if not rows or len(rows[-1]) != width:
            raise ValueError(f"the input must be rows of {width} symbols, got {len(symbols)} symbols")
        if not all(0 <= symbol <= size for row in rows for symbol, size in zip(row, self.input_sizes, strict=True)):
            raise ValueError(f"the symbols of a row must lie in 0 to {self.input_sizes}, got {rows}")
        if any(row[-1] or not any(row) for row in cues):
            raise ValueError(f"facts, with all symbols, must come before cues, without the last, got {rows}")
        if not (1 <= len(facts) <= self.max_facts and 1 <= len(cues) <= self.max_questions):
            raise ValueError(
                f"the input must have 1 to {self.max_facts} facts and 1 to {self.max_questions} cues, "
                f"got {len(facts)} and {len(cues)}"
            )
        needed = [self._find(facts, cue) for cue in cues]
        missing = self.max_hops - len(needed[0])
        count = torch.tensor([[len(facts), len(cues), len(needed[0])]], device=device)
        return self._build(
            facts=torch.tensor([facts], device=device),
            cues=torch.tensor([cues], device=device),
            source=torch.tensor([[[-1] * missing + numbers for numbers in needed]], device=device),
            layout=self._lay_out(*count.T),
        )

    def _find(self, facts: list[list[int]], cue: list[int]) -> list[int]:
        """The numbers of the facts that answer a cue, in the order they are needed: the latest that matches."""
        matches = [
            number
            for number, fact in enumerate(facts)
            if all(key in (0, fact[channel]) for channel, key in enumerate(cue[:-1]))
        ]
        if not matches:
            raise ValueError(f"the cue {cue} must match a fact, got the facts {facts}")
        return matches[-1:]

    def _draw_lengths(self, num_problems: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
        """Lengths, (B,), uniform."""
        return torch.randint(self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device)

    def _draw_keys(self, lengths: Tensor, generator: torch.Generator | None) -> Tensor:
        """Distinct keys, (B, max_length + distractors)."""
        return shuffled(torch.full_like(lengths, self.num_keys), self.max_length + self.distractors, generator) + 1

    def _counts(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Facts, cues and hops of problems of these lengths, (B,) each."""
        return lengths + self.distractors, lengths, torch.ones_like(lengths)

    def _layout(self, lengths: Tensor) -> tuple[Tensor, ...]:
        """`_lay_out` for the lengths (B,) of drawn problems."""
        num_cases = self.max_length + 1 - self.min_length
        return looked_up(
            lambda case: self._lay_out(*self._counts(case + self.min_length)), lengths - self.min_length, num_cases
        )

    def _lay_out(self, num_facts: Tensor, num_cues: Tensor, hops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which fact, which cue and which answer stand at each step, numbered from 0, -1 for none: (B,) -> (B, T).

        An answer is due `hops` steps after its cue.
        """
        step = torch.arange(self.num_steps, device=hops.device)
        position = step - (num_facts + self.lag).unsqueeze(1)  # (B, T), counted from the first cue
        pace = 1 + hops.unsqueeze(1)
        question = torch.where(position < num_cues.unsqueeze(1) * pace, position.div(pace, rounding_mode="floor"), -1)
        asking = question >= 0
        fact = torch.where(step < num_facts.unsqueeze(1), step, -1)
        cue = torch.where(asking & (position % pace == 0), question, -1)
        return fact, cue, torch.where(asking & (position % pace == pace - 1), question, -1)

    def _build(self, *, facts: Tensor, cues: Tensor, source: Tensor, layout: tuple[Tensor, ...]) -> Problem:
        """Show facts (B, F, C) and cues (B, Q, C) as laid out; source (B, Q, S) are the facts of each answer."""
        fact, cue, due = layout
        blank = torch.zeros_like(facts[:, :1])
        rows = torch.cat([blank, facts, cues], dim=1)
        inputs = pick(rows, torch.where(cue >= 0, cue + facts.shape[1], fact) + 1)
        needed = pick(F.pad(source, (0, 0, 1, 0), value=-1), due + 1)  # a fact is shown at the step of its number
        return time_first(inputs, rows[..., -1].gather(1, needed[..., -1] + 1), needed)
