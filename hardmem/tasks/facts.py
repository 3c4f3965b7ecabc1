"""Facts: what the tasks that show facts first and ask for them afterwards have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least, shuffled_rows, uniform
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
        rewrites: facts shown after the first of each key, >= 0; each gives a key drawn among all shown another value,
            and the latest is the one asked for. Needs two symbols.
    """

    max_length: int = 5
    num_keys: int = 16
    distractors: int = 3
    lag: int = 0
    rewrites: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, distractors=self.distractors, lag=self.lag, rewrites=self.rewrites)
        at_least(1 + (self.rewrites > 0), num_symbols=self.num_symbols)
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
        return self.max_length + self.distractors + self.rewrites

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

    @property
    def due_rows(self) -> tuple[int, int]:
        return 1 + self.max_facts, 1 + self.max_facts + self.max_questions

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        # Place by place and in bytes where numbers fit: an environment needs problems by the thousand.
        lengths, channels = self._draw_lengths(num_problems, generator, device), len(self.key_channels)
        keys = self._draw_keys(lengths, generator)  # (S, C, B)
        asked = source = self._draw_asked(lengths, generator)  # (Q, B)
        if self.rewrites:
            which, values = self._draw_rewrites(lengths, generator)
            keys = keys.gather(0, which.unsqueeze(1).expand(-1, channels, -1))
            source = self._latest(asked, which, lengths)
        else:
            values = uniform(self.num_symbols, (len(keys), num_problems), generator, device) + 1
        facts = torch.cat([keys, values.unsqueeze(1)], dim=1)  # (F, C + 1, B)
        kind = uniform(channels, tuple(asked.shape), generator, device)
        *keys_asked, values_asked = _named(facts, source)
        cues, answers = torch.zeros((2, len(asked), channels + 1, num_problems), dtype=facts.dtype, device=device)
        for channel, key in enumerate(keys_asked):
            cues[:, channel] = key * (kind == channel)
        answers[:, channels] = values_asked
        facts, answers, cues = (part.permute(2, 0, 1) for part in (facts, answers, cues))
        return self._deal(lengths - self.min_length, facts, answers, cues, source.T.unsqueeze(-1))

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
        """Keys, distinct in each of C channels, (max_length + distractors, C, B)."""
        shape = (self.max_length + self.distractors, len(self.key_channels), len(lengths))
        return shuffled_rows(lengths.new_full((), self.num_keys), shape, generator, most=self.num_keys) + 1

    def _draw_asked(self, lengths: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which keys are asked for, by number, (max_length, B); those beyond the lengths (B,) are of no account."""
        most = self.max_length + self.distractors
        return shuffled_rows(lengths + self.distractors, (self.max_length, len(lengths)), generator, most)

    def _draw_rewrites(self, lengths: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Whose key each fact has, by number, and its value, (max_facts, B) each: every key once, then rewrites."""
        shape, device = (self.max_facts, len(lengths)), lengths.device
        row, num_keys = torch.arange(self.max_facts, device=device).unsqueeze(1), lengths + self.distractors
        chosen = (torch.rand(shape, generator=generator, device=device) * num_keys).long()
        which = torch.where(row < num_keys, row, chosen)
        # A key's value goes around the symbols: from anywhere, by at least 1 and less than once around.
        uniform = torch.rand(shape, generator=generator, device=device)
        change = (uniform * self.num_symbols).long()
        change = torch.where(row < num_keys, change, 1 + (uniform * (self.num_symbols - 1)).long())
        so_far = (which.unsqueeze(1) == which) & (row >= row.T).unsqueeze(-1)  # (F, F, B)
        return which, (so_far * change).sum(dim=1) % self.num_symbols + 1

    def _latest(self, asked: Tensor, which: Tensor, lengths: Tensor) -> Tensor:
        """The last facts about the keys asked for, (Q, B) by number -> (Q, B) by row; `which` as it was drawn."""
        row = torch.arange(self.max_facts, device=which.device).unsqueeze(1)
        shown = row < lengths + self.distractors + self.rewrites
        latest: Tensor = ((asked.unsqueeze(1) == which) & shown).mul(row).amax(dim=1)
        return latest

    def _counts(self, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Facts, cues and hops of problems of these lengths, (B,) each."""
        return lengths + self.distractors + self.rewrites, lengths, torch.ones_like(lengths)

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
        rows = torch.cat([part.permute(1, 2, 0) for part in parts])  # (R, C, B): what is worked on together
        small = torch.int16 if self.max_facts < 2**15 else torch.int32
        shown = torch.full((len(rows), source.shape[2], len(case)), -1, dtype=small, device=facts.device)
        shown[1 + self.max_facts : 1 + self.max_facts + source.shape[1]] = source.permute(1, 2, 0)
        return Deal(case, rows.permute(2, 0, 1), shown.permute(2, 0, 1))


def _named(facts: Tensor, number: Tensor) -> list[Tensor]:
    """The facts of these numbers, channel by channel: facts (F, C, B), number (Q, B) -> C times (Q, B)."""
    channels, size = facts.shape[1:]
    if facts.device.type != "cpu":
        return [symbols.gather(0, number.long()) for symbols in facts.unbind(1)]
    first = number.numpy().astype(np.intp)  # NumPy takes half of torch's time
    first *= channels * size
    first += np.arange(size)
    named, flat = [torch.empty_like(number, dtype=facts.dtype) for _ in range(channels)], facts.numpy().reshape(-1)
    for channel, symbols in enumerate(named):
        symbols.numpy()[...] = flat[channel * size :].take(first)
    return named
