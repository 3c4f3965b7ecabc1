"""Endless episodes: one problem after another, each a symbol longer, until one is not answered without a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from hardmem.envs.arrays import as_numpy, as_torch
from hardmem.envs.dynamics import Dynamics
from hardmem.envs.episodes import STEPS_AHEAD, Episodes, Supply
from hardmem.envs.state import Script

Array = NDArray[Any]

FEWEST_AHEAD = 16
"""Problems of one length drawn at once, at least."""


class EndlessEpisodes(Episodes):
    """B episodes of levels: a problem of the task's shortest length, then of one more, and so on to its longest.

    Each level starts with empty cells and the heads at cell 0, in the step that ends the one before, and earns what it
    earns by itself. An episode ends with the first level that is not faultless, or after the longest one, so that the
    return is the number of levels solved and the share of right answers in the one that was not.

    Where answers can only be predicted (`Task.shows_answers`) nobody is right all the time. A fault is then to say what
    is less likely than another answer, given all that was shown: luck changes what is earned, not how far one gets.

    The rules, their cells and spaces are those of the longest problem at all levels. The problems of each length are
    drawn on their own and handed out in order, whoever gets to them.

    Args:
        dynamics: the rules.
        num_envs: B.
        max_steps: after how many steps an episode is cut off; never if None, but a self-paced one after its own limit.
    """

    span: Array
    """The length of the longest level solved in the episode under way, (B,); 0 for none."""

    def __init__(self, dynamics: Dynamics, num_envs: int, max_steps: int | None = None) -> None:
        task = dynamics.task
        self.lengths = range(task.min_length, task.max_length + 1)
        self._tasks = [task.at_length(length, length) for length in self.lengths]
        super().__init__(dynamics, num_envs, max_steps)
        block = max(FEWEST_AHEAD, STEPS_AHEAD // (task.num_steps * len(self.lengths)))
        self._supplies = [Supply(self._drawn(level), block) for level in range(len(self.lengths))]
        self._num_sources = self._tasks[-1].draw(1, generator=torch.Generator()).source.shape[2]
        self.span = np.zeros(num_envs, dtype=np.int64)
        self._level = np.zeros(num_envs, dtype=np.int64)
        self._fault = np.zeros(num_envs, dtype=np.bool_)
        # The likeliest answers at each step, where they can only be predicted.
        num_steps = 0 if task.shows_answers else task.num_steps + 1
        self._likeliest = np.zeros((num_envs, num_steps, task.num_answers), dtype=np.bool_)

    @property
    def longest(self) -> int:
        num_steps = sum(task.num_steps for task in self._tasks)
        return num_steps * (self.dynamics.num_cells if self.dynamics.self_paced else 1)

    def seed(self, np_random: np.random.Generator) -> None:
        for supply in self._supplies:
            supply.seed(np_random)

    def start(self, symbols: list[int] | None = None) -> None:
        """Start all episodes at the shortest length.

        Raises:
            ValueError: if symbols are given.
        """
        if symbols is not None:
            raise ValueError(f"endless episodes draw their problems: expected no input, got {symbols}")
        self._begin(as_torch(self._take(0, self.num_envs)))
        self._born[:] = self._played
        for counter in (self.span, self._level):
            counter[:] = 0

    def restart(self, which: Array) -> None:
        if len(which):
            self._replace(which, self._take(0, len(which)))
            self._born[which] = self._played
            for counter in (self.span, self._level):
                counter[which] = 0

    def advance(self, action: Array) -> tuple[Array, Array, Array]:
        predicted = not self.dynamics.task.shows_answers
        if predicted:
            clock, judged = np.asarray(self.state.clock), np.asarray(self.state.due) >= 0
            if self.dynamics.self_paced:
                judged = judged & (action[:, 2 * self.dynamics.num_heads] > 0)
            self._fault |= judged & ~self._likeliest[np.arange(self.num_envs), clock, action[:, -1]]
        reward, over, _ = super().advance(action)
        solved = over & (~self._fault if predicted else np.asarray(self.state.earned) == 1)
        if solved.any():
            self.span[solved] = self._level[solved] + self.lengths[0]
            goes_on = solved & (self._level + 1 < len(self.lengths))
            self._level[goes_on] += 1
            over = over & ~goes_on
            for level in np.unique(self._level[goes_on]).tolist():
                which = np.flatnonzero(goes_on & (self._level == level))
                self._replace(which, self._take(level, len(which)))
        return reward, over, self._cut_off(over)

    def _begin(self, problems: Script) -> None:
        super()._begin(problems)
        self._foresee(np.arange(self.num_envs), problems)

    def _replace(self, which: Array, fresh: Script) -> None:
        super()._replace(which, fresh)
        self._foresee(which, as_torch(fresh))

    def _foresee(self, which: Array, script: Script) -> None:
        """Take note of the likeliest answers to the problems that start in the places `which` (K,)."""
        if self.dynamics.task.shows_answers:
            return
        shown = self.dynamics.contents.decode(script.shown).transpose(0, 1)
        chance = self.dynamics.task.predictive(shown).transpose(0, 1)  # (K, T + 1, V)
        self._likeliest[which] = chance.isclose(chance.amax(dim=2, keepdim=True)).numpy()
        self._fault[which] = False

    def _drawn(self, level: int) -> Callable[[int, torch.Generator], Script]:
        """Draws problems of a level, laid out for play."""
        task, dynamics = self._tasks[level], self.dynamics

        def draw(num_problems: int, generator: torch.Generator) -> Script:
            return dynamics.script(task.draw(num_problems, generator=generator, device=dynamics.device))

        return draw

    def _take(self, level: int, count: int) -> Script:
        """The next problems of a level, with the steps and sources of the longest one."""
        script = as_torch(self._supplies[level].take(count))
        num_steps, missing = script.rows.shape[2], self._num_sources + 2 - script.rows.shape[1]
        rows = F.pad(script.rows, (0, self.dynamics.task.num_steps + 1 - num_steps), value=-1)
        rows[:, 0, num_steps:] = 0
        rows = torch.cat([rows[:, :2], torch.full_like(rows[:, :1], -1).expand(-1, missing, -1), rows[:, 2:]], dim=1)
        padded: Script = as_numpy(script._replace(rows=rows))
        return padded
