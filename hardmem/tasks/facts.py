"""Facts: what the tasks that show facts first and ask for them afterwards have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least, shuffled
from hardmem.tasks.dealing import Deal, Dealt, Layout


@dataclasses.dataclass(frozen=True)
class Facts(Dealt):
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

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = self._draw_lengths(num_problems, generator, device)
        keys = self._draw_keys(lengths.repeat(len(self.key_channels)), generator).split(num_problems)
        values = torch.randint(1, self.num_symbols + 1, keys[0].shape, generator=generator, device=device)
        facts = torch.stack([part.T.int() for part in (*keys, values)])  # (C, F, B): so is all that follows made
        asked = self._draw_asked(lengths, generator)
        kind = torch.randint(0, len(keys), asked.shape, generator=generator, device=device)
        answers = facts.gather(1, asked.T.expand(len(facts), -1, -1))
        cues = answers * (torch.arange(len(facts), device=device)[:, None, None] == kind.T)
        facts, answers, cues = (part.permute(2, 1, 0) for part in (facts, answers, cues))
        return self._deal(lengths - self.min_length, facts, answers, cues, asked.unsqueeze(-1))

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

        def padded(rows: list[list[int]], number: int) -> Tensor:
            return torch.tensor([rows + [[0] * len(rows[0])] * (number - len(rows))], device=device)

        deal = self._deal(
            case=torch.zeros(1, dtype=torch.int64, device=device),
            facts=padded(facts, self.max_facts),
            answers=padded([facts[numbers[-1]] for numbers in needed], self.max_questions),
            cues=padded(cues, self.max_questions),
            source=padded([[-1] * missing + numbers for numbers in needed], self.max_questions),
        )
        counts = torch.tensor([[len(facts)], [len(cues)], [len(needed[0])]], device=device)
        return self.lay_out(deal, self._layout(*counts))

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
        count, size = torch.full_like(lengths, self.num_keys), self.max_length + self.distractors
        return shuffled(count, size, generator, most=self.num_keys) + 1

    def _draw_asked(self, lengths: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which facts are asked for, by number, (B, max_length); those beyond the lengths (B,) are of no account."""
        return shuffled(lengths + self.distractors, self.max_length, generator, most=self.max_facts)

    def _counts(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Facts, cues and hops of problems of these lengths, (B,) each."""
        return lengths + self.distractors, lengths, torch.ones_like(lengths)

    def layout(self, case: Tensor) -> Layout:
        return self._layout(*self._counts(case + self.min_length))

    def _layout(self, num_facts: Tensor, num_cues: Tensor, hops: Tensor) -> Layout:
        """So many of the facts and cues (K,) stand in the problem; an answer is due `hops` steps after its cue."""
        step = torch.arange(self.num_steps, device=hops.device)
        position = step - (num_facts + self.lag).unsqueeze(1)  # (K, T), counted from the first cue
        pace = 1 + hops.unsqueeze(1)
        question, phase = position.div(pace, rounding_mode="floor"), position.remainder(pace)
        asking = (position >= 0) & (question < num_cues.unsqueeze(1))
        answer = 1 + self.max_facts + question
        cue = answer + self.max_questions
        shown = torch.where(step < num_facts.unsqueeze(1), step + 1, cue * (asking & (phase == 0)))
        return Layout(shown, answer * (asking & (phase == pace - 1)))

    def _deal(self, case: Tensor, facts: Tensor, answers: Tensor, cues: Tensor, source: Tensor) -> Deal:
        """The rows: blank, facts (B, F, C), answers and cues (B, Q, C); source (B, Q, S) are the facts by number."""
        parts = torch.zeros_like(facts[:, :1]), facts, answers, cues
        rows = torch.cat([part.transpose(0, 2) for part in parts], dim=1)  # (C, R, B): what is worked on together
        shown = torch.full((source.shape[2], *rows.shape[1:]), -1, device=facts.device)
        shown[:, 1 + self.max_facts : 1 + self.max_facts + source.shape[1]] = source.transpose(0, 2)
        return Deal(case, rows.transpose(0, 2), shown.transpose(0, 2))
