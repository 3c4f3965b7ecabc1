"""Curricula: how long the problems of an update are, and when they grow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np


class Curriculum(ABC):
    """A level D, the length reached so far, and a rule that raises it.

    Args:
        length: D at the beginning.
        min_length: shortest problem ever drawn.
        max_length: where it ends.
        promote_at: share of exact greedy answers, in (0, 1], that counts as having learned the present level.
        seed: of those rules that draw their lengths.
    """

    examined: ClassVar[int | None] = None
    """Problems of the present level in an examination; None for as many as any validation has."""

    def __init__(self, length: int, max_length: int, promote_at: float, *, min_length: int = 1, seed: int = 0) -> None:
        self.length, self.min_length, self.max_length = length, min_length, max_length
        self.promote_at, self.seed = promote_at, seed
        self.promoted = 0  # update of the last promotion

    def present(self) -> tuple[int, int]:
        """Shortest and longest problem of the present level: what is examined before it is left."""
        return min(self.min_length, self.length), self.length

    def drawn(self, update: int) -> tuple[int, int]:
        """Shortest and longest problem of an update: a function of its number, so that a resumed run draws the same."""
        return self.present()

    @abstractmethod
    def next_length(self, exact: float, update: int) -> int:
        """The level after an examination of the present one: the same, or a higher one."""

    def record(self, exact: float, update: int = 0) -> None:
        """Take note of an examination at the present level after some update."""
        length = min(self.next_length(exact, update), self.max_length)
        if length > self.length:
            self.length, self.promoted = length, update

    def state_dict(self) -> dict[str, int]:
        """All of it that changes."""
        return {"length": self.length, "promoted": self.promoted}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go back to where a `state_dict` was taken."""
        self.length, self.promoted = state["length"], state["promoted"]


class OneLonger(Curriculum):
    """Lengths up to D; D grows by one at every examination that is passed."""

    def next_length(self, exact: float, update: int) -> int:
        return self.length + (exact >= self.promote_at)


class Doubling(Curriculum):
    """Lengths up to D; D doubles at every examination that is passed."""

    def next_length(self, exact: float, update: int) -> int:
        return self.length * (2 if exact >= self.promote_at else 1)


class OneLength(OneLonger):
    """All problems of an update have one length, uniform up to D; D grows by one at every examination that is passed.

    No step is spent on waiting for the longest: about half of them where lengths differ within an update.
    """

    def drawn(self, update: int) -> tuple[int, int]:
        shortest = min(self.min_length, self.length)
        length = int(np.random.default_rng((self.seed, update)).integers(shortest, self.length + 1))
        return length, length


class Gym(Curriculum):
    """Lengths D, D + 1 and D + 2, alike; D grows by one after ten episodes without a fault.

    The rule of OpenAI Gym's algorithmic environments (`gym/envs/algorithmic/algorithmic_env.py`): none of the last ten
    episodes may fall short of the most that can be earned by more than 1, and a single wrong symbol costs 1.5. There
    they are the last ten played; here ten fresh ones, played greedily at a validation. `promote_at` is not asked.
    """

    examined = 10

    def present(self) -> tuple[int, int]:
        return self.length, min(self.length + 2, self.max_length)

    def next_length(self, exact: float, update: int) -> int:
        return self.length + (exact == 1)


class RLNTM(Curriculum):
    """Looks back and ahead: with probability 10 % all lengths, 25 % those up to D + e, 65 % D + e alone.

    e is geometric, P(e = k) = 2^-(k + 1) for k = 0, 1, ...; D grows by one when an examination is passed, but not
    within 100 updates of the last time. Zaremba & Sutskever 2015, "Reinforcement Learning Neural Turing Machines",
    arXiv:1505.00521; geometric law and refractory period as in the authors' code (github.com/ilyasu123/rlntm,
    `train_curriculum0.lua`). There each sequence of a batch has a draw of its own and an average of the error is
    compared with a threshold; here an update has one draw, and `promote_at` is the threshold.
    """

    refractory = 100
    """Updates after a promotion, and at the beginning, without another."""

    def drawn(self, update: int) -> tuple[int, int]:
        rng = np.random.default_rng((self.seed, update))
        ahead = min(self.length + int(rng.geometric(0.5)) - 1, self.max_length)
        shortest, kind = min(self.min_length, self.length), rng.random()
        if kind < 0.1:
            return shortest, self.max_length
        return (shortest, ahead) if kind < 0.35 else (ahead, ahead)

    def next_length(self, exact: float, update: int) -> int:
        return self.length + (exact >= self.promote_at and update - self.promoted > self.refractory)


CURRICULA: dict[str, type[Curriculum]] = {
    "one-longer": OneLonger,
    "one-length": OneLength,
    "doubling": Doubling,
    "gym": Gym,
    "rl-ntm": RLNTM,
}


def make_curriculum(
    name: str, length: int, max_length: int, promote_at: float, *, min_length: int = 1, seed: int = 0
) -> Curriculum:
    """The curriculum of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in CURRICULA:
        raise ValueError(f"unknown curriculum {name!r}; choose one of {sorted(CURRICULA)}")
    return CURRICULA[name](length, max_length, promote_at, min_length=min_length, seed=seed)
