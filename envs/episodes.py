"""Episodes: B of them under way on NumPy arrays, with their own supply of problems. What all adapters play on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hardmem.envs.arrays import as_numpy, as_torch
from hardmem.envs.dynamics import Dynamics
from hardmem.envs.state import Hand, Script, State
from hardmem.tasks.base import at_least

Array = NDArray[Any]

STEPS_AHEAD = 2**16
"""Steps of problems drawn at once: enough that drawing is paid once for many episodes, little enough to stay cached."""

LARGEST_ERA = 2**30
"""Where eras start from 0 again: see `Memory`."""


class Play(Protocol):
    """What the adapters ask of B episodes; `Episodes` says more."""

    num_envs: int
    started: bool
    max_steps: int | None

    @property
    def longest(self) -> int:
        """Steps that an episode may take, unless it is cut off after `max_steps`."""

    def seed(self, np_random: np.random.Generator) -> None:
        """Draw from here on as it says."""

    def start(self, symbols: Any = None) -> None:
        """Start all episodes, with fresh problems or with the one of the given symbols."""

    def restart(self, which: Array) -> None:
        """Start fresh problems in the places (K,)."""

    def advance(self, action: Array) -> tuple[Array, Array, Array]:
        """Play one step with actions (B, A); returns reward, terminated and truncated, (B,) each."""

    def observe(self) -> Array:
        """The observations (B, ...), in an array of their own."""

    def legal(self) -> list[Array]:
        """Which choices are worth taking, (B, choices) for each factor."""

    def oracle(self) -> Array:
        """The best actions (B, A)."""


class Supply:
    """Problems of one kind, drawn many at once and handed out in order: a vector of any size gets the same ones.

    Args:
        draw: draws so many, as tensors.
        block: how many at once.
    """

    def __init__(self, draw: Callable[[int, torch.Generator], Script | Hand], block: int) -> None:
        self._draw, self._block = draw, max(1, block)
        self._generator = torch.Generator()
        self._ahead: Any = None
        self._taken = 0

    def seed(self, np_random: np.random.Generator) -> None:
        """Derive torch's generator from Gymnasium's, so that `reset(seed=)` fixes both."""
        self._generator.manual_seed(int(np_random.integers(2**63 - 1)))
        self._ahead = None

    def take(self, count: int) -> Any:
        """The next problems, drawn as they are, as arrays: views, to be copied."""
        pieces: list[Any] = []
        while count:
            if self._ahead is None or self._taken == self._block:
                self._ahead, self._taken = as_numpy(self._draw(self._block, self._generator)), 0
            first, self._taken = self._taken, min(self._taken + count, self._block)
            pieces.append([field[first : self._taken] for field in self._ahead])
            count -= self._taken - first
        return type(self._ahead)(*(pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))))


class Episodes:
    """B episodes that an adapter steps, restarts one by one and looks at.

    Args:
        dynamics: the rules.
        num_envs: B.
        max_steps: after how many steps an episode is cut off; never if None, but a self-paced one after its own limit.

    Raises:
        ValueError: if a number is not whole or below 1, or the rules are not on the CPU.
    """

    state: State
    """Of NumPy arrays."""
    action: Array | None
    """The last one, (B, A); none since the start."""

    def __init__(self, dynamics: Dynamics, num_envs: int, max_steps: int | None = None) -> None:
        at_least(1, num_envs=num_envs, max_episode_steps=1 if max_steps is None else max_steps)
        if dynamics.device.type != "cpu":
            raise ValueError(
                f"environments of Gymnasium are played on the CPU: leave the device out, or play the rules of "
                f"`make_dynamics` there, got device={str(dynamics.device)!r}"
            )
        self.dynamics = dynamics
        self.num_envs = num_envs
        if dynamics.self_paced:
            max_steps = min(self.longest, max_steps or self.longest)
        elif max_steps is not None and max_steps >= self.longest:
            max_steps = None  # it ends by itself before
        self.max_steps = max_steps
        self.started = False
        self._rules: Any = dynamics.numpy()  # typed for tensors, here on arrays
        self._supply = Supply(
            dynamics.deal if dynamics.is_dealt else dynamics.draw, STEPS_AHEAD // dynamics.task.num_steps
        )
        self._restarts = 0  # since eras began at 0
        self._played, self._cut_before = 0, 0  # steps, and until when no episode can be too old
        self._born = np.zeros(num_envs, dtype=np.int64)  # when they began, counted in these steps
        self._never = np.zeros(num_envs, dtype=np.bool_)

    @property
    def longest(self) -> int:
        """Steps that an episode may take, unless it is cut off."""
        return self.dynamics.max_steps

    def seed(self, np_random: np.random.Generator) -> None:
        """Draw problems from here on as it says."""
        self._supply.seed(np_random)

    def start(self, symbols: list[int] | None = None) -> None:
        """Start all episodes, with fresh problems or all with the one that shows the given symbols.

        Raises:
            ValueError: if the task has no such problem.
        """
        if symbols is None:
            self._begin(as_torch(self._supply.take(self.num_envs)))
        else:
            try:
                numbers = [operator.index(symbol) for symbol in symbols]
            except TypeError:
                raise ValueError(f"the input must be a list of whole numbers, got {symbols!r}") from None
            self._begin(self.dynamics.script(self.dynamics.task.problem(numbers).repeat(self.num_envs)))
        self._born[:] = self._played

    def restart(self, which: Array) -> None:
        """Start fresh problems in the places `which` (K,)."""
        if len(which):
            self._replace(which, self._supply.take(len(which)))
            self._born[which] = self._played

    def advance(self, action: Array) -> tuple[Array, Array, Array]:
        """Play one step with actions (B, A); returns reward, terminated and truncated, (B,) each."""
        self.state, reward, terminated = self._rules.advance(self.state, action)
        self.action = action
        self._played += 1
        return reward, terminated, self._cut_off(terminated)

    def observe(self) -> Array:
        """The observations (B, O), in an array of their own."""
        observation: Array = self._rules.observe(self.state)
        return observation

    def symbols(self, codes: Any) -> list[Any]:
        """What is shown or stored, as symbols: codes (...) -> nested lists (..., C)."""
        symbols: list[Any] = self._rules.contents.decode(codes).tolist()
        return symbols

    def legal(self) -> list[Array]:
        """Which choices are worth taking, (B, choices) for each factor."""
        legal: list[Array] = self._rules.legal(self.state)
        return legal

    def oracle(self) -> Array:
        """The best actions (B, A), from the full state."""
        return self.dynamics.oracle(as_torch(self.state)._replace(script=self.script)).numpy()

    @property
    def age(self) -> Array:
        """Steps that the episodes have been played, (B,)."""
        return self._played - self._born

    @property
    def script(self) -> Script:
        """The problems step by step, as tensors."""
        script: Any = as_torch(self.state.script)
        spelled: Script = self.dynamics.spell_out(script) if isinstance(script, Hand) else script
        return spelled

    def _begin(self, problems: Any) -> None:
        """Start all episodes with a copy of these problems, tensors."""
        own = (field.clone(memory_format=torch.contiguous_format) for field in problems)
        self.state = as_numpy(self.dynamics.begin(type(problems)(*own)))
        self.action, self.started, self._restarts = None, True, 0

    def _replace(self, which: Array, fresh: Any) -> None:
        """Start these problems, arrays, in the places `which`; step by step if those under way are."""
        if isinstance(fresh, Hand) and type(self.state.script) is Script:
            fresh = as_numpy(self.dynamics.spell_out(as_torch(fresh)))
        self.state, self._restarts = self._rules.replace(self.state, which, fresh), self._restarts + 1
        if self._restarts >= LARGEST_ERA // self.dynamics.contents.num_codes:
            self.state, self._restarts = self.state._replace(memory=self.state.memory.renewed()), 0

    def _cut_off(self, terminated: Array) -> Array:
        """Which episodes are over without having ended, (B,)."""
        if self.max_steps is None or self._played < self._cut_before:
            return self._never.copy()
        cut_off: Array = (self.age >= self.max_steps) & ~terminated
        self._cut_before = int(self._born.min()) + self.max_steps
        return cut_off
