"""Classic tapes as environments: `hardmem/TapeCopy-v0` and its like, single and natively vectorised."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from hardmem.envs.adapters import NativeVectorEnv, SingleEnv
from hardmem.envs.arrays import as_numpy, as_torch
from hardmem.envs.formats import Format
from hardmem.envs.making import parameter_names
from hardmem.envs.options import RenderModes
from hardmem.envs.rendering import Frame
from hardmem.envs.tapes import LONGEST_START, TAPES, TapeDynamics, TapeState
from hardmem.tasks.base import at_least, known_arguments, true_or_false

Array = NDArray[Any]

MAX_STEPS = 200
"""The step limit that Gym registered; what is drawn never needs so many."""


class TapeEpisodes:
    """B episodes on tapes that an adapter steps, restarts and looks at.

    With a curriculum each of the B places has a shortest length of its own: when an episode is replaced and the last
    `streak` of its place all earned their full target, it goes up by 1, to 30 at most, and the count starts afresh.
    (Gym also lets pass, but in RepeatCopy and Reverse, an episode that was given up with one symbol left to write.)

    Args:
        dynamics: the rules.
        num_envs: B.
        curriculum: whether lengths grow.
        max_steps: after how many steps an episode is cut off; never if None.

    Raises:
        ValueError: if a number is not whole or below 1, or the flag is neither True nor False.
    """

    state: TapeState
    """Of NumPy arrays."""
    action: Array | None
    """The last one, (B, 3); none since the start."""
    min_length: Array
    """The shortest length of each place, (B,)."""

    def __init__(
        self, dynamics: TapeDynamics, num_envs: int, curriculum: bool = False, max_steps: int | None = None
    ) -> None:
        at_least(1, num_envs=num_envs, max_episode_steps=1 if max_steps is None else max_steps)
        true_or_false(curriculum=curriculum)
        self.dynamics, self.num_envs, self.curriculum, self.max_steps = dynamics, num_envs, curriculum, max_steps
        self.started = False
        self.min_length = np.full(num_envs, dynamics.task.min_length)
        self._streak = np.zeros(num_envs, dtype=np.int64)  # faultless episodes since the last promotion or fault
        self._rules: Any = dynamics  # typed for tensors, here on arrays
        self._generator = torch.Generator()

    @property
    def longest(self) -> int:
        """Steps that an episode of a drawn input may take; one of a given input may take more."""
        width = torch.tensor([self.dynamics.max_length])
        _, num_targets, _ = self.dynamics.task.target(width.new_zeros(1, int(width), self.dynamics.task.rows), width)
        return int(self.dynamics.task.limit(width, num_targets)) + 1

    def seed(self, np_random: np.random.Generator) -> None:
        """Derive torch's generator from Gymnasium's, so that `reset(seed=)` fixes both."""
        self._generator.manual_seed(int(np_random.integers(2**63 - 1)))

    def start(self, symbols: Any = None) -> None:
        """Start all episodes, with fresh problems or all with the given input.

        Raises:
            ValueError: if an input is not one of the task's.
        """
        if symbols is None:
            self._promote(np.arange(self.num_envs))
            tape = self.dynamics.draw(torch.from_numpy(self.min_length), self._generator)
        else:
            tape = self.dynamics.problem(symbols, self.num_envs)
            self._promote(np.arange(self.num_envs))
        state: Any = self.dynamics.begin(tape)
        self.state = as_numpy(state)._replace(tape=as_numpy(tape))
        self.action = None
        self.started = True

    def restart(self, which: Array) -> None:
        """Start fresh problems in the places `which` (K,)."""
        if len(which):
            self._promote(which)
            size = self.state.tape.symbols.shape[1]
            tape = self.dynamics.draw(torch.from_numpy(self.min_length[which]), self._generator, size)
            self.state = self._rules.replace(self.state, which, as_numpy(self.dynamics.begin(tape)))

    def advance(self, action: Array) -> tuple[Array, Array, Array]:
        """Play one step with actions (B, 3); returns reward, terminated and truncated, (B,) each."""
        self.state, reward, terminated = self._rules.advance(self.state, action)
        self.action = action
        cut = np.full(self.num_envs, self.max_steps is not None)
        return reward, terminated, cut & (np.asarray(self.state.time) >= (self.max_steps or 0)) & ~terminated

    def observe(self) -> Array:
        """The symbols under the heads, (B,), in an array of their own."""
        observation: Array = self._rules.observe(self.state)
        return observation

    def legal(self) -> list[Array]:
        """Every choice of each factor, (B, choices): what is written counts only if it is, and nothing is ruled out."""
        return [np.ones((self.num_envs, choices), dtype=np.bool_) for choices in self.dynamics.num_actions]

    def oracle(self) -> Array:
        """The best actions (B, 3), from the full state."""
        return self.dynamics.oracle(as_torch(self.state)).numpy()

    def _promote(self, which: Array) -> None:
        """Count the episodes that are about to be replaced."""
        if not (self.curriculum and self.started):
            return
        earned, full = np.asarray(self.state.earned), np.asarray(self.state.tape.num_targets)
        self._streak[which] = np.where(earned[which] == full[which], self._streak[which] + 1, 0)
        promoted = which[(self._streak[which] >= self.dynamics.task.streak) & (self.min_length[which] < LONGEST_START)]
        self.min_length[promoted] += 1
        self._streak[promoted] = 0


def make_tape(task: str, min_length: int | None = None) -> TapeDynamics:
    """The rules of a classic tape by name.

    Args:
        task: a name from `TAPES`.
        min_length: the shortest length to start from; by default Gym's.

    Raises:
        ValueError: if the name is unknown or the length below 1.
    """
    if task not in list(TAPES):
        raise ValueError(f"unknown tape {task!r}; choose one of {sorted(TAPES)}")
    return TapeDynamics(TAPES[task]() if min_length is None else TAPES[task](min_length))


class TapeEnv(SingleEnv):
    """One episode at a time of a classic tape. `gym.make("hardmem.envs:hardmem/TapeCopy-v0")`; see `TapeDynamics`.

    `reset(options={"input": [3, 1, 2]})` plays a given input; for a grid it is a list of columns.

    Args:
        task: a name from `TAPES`.
        min_length: the shortest length to start from, >= 1; by default Gym's, 2, but 1 for "reverse".
        curriculum: whether the shortest length grows while the agent succeeds, as in Gym.
        action: "multi-discrete" or "discrete": one number for the whole action, the symbol counting fastest.
        render_mode: "ansi".
        kwargs: none; what does not exist is refused.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        UnknownArgumentError: if an argument is.
    """

    metadata: dict[str, Any] = {"render_modes": RenderModes(["ansi"]), "render_fps": 4}  # noqa: RUF012 - replaced, never changed

    def __init__(
        self,
        task: str = "copy",
        *,
        min_length: int | None = None,
        curriculum: bool = True,
        action: str = "multi-discrete",
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        known_arguments("a classic tape", kwargs, parameter_names(TapeEnv))
        self.dynamics = make_tape(task, min_length)
        self.metadata = {**self.metadata, "dials": _dials(self.dynamics, curriculum)}
        self._tapes = TapeEpisodes(self.dynamics, 1, curriculum)
        super().__init__(
            self._tapes,
            Format(self.dynamics, 1, action=action),
            partial(render_tape, self._tapes),
            mask_info=False,
            render_mode=render_mode,
        )

    @property
    def min_length(self) -> int:
        """The shortest length that is drawn now."""
        return int(self._tapes.min_length[0])


class TapeVectorEnv(NativeVectorEnv, VectorEnv[Any, Any, Array]):  # directly: skrl knows it by its bases
    """B episodes of a classic tape stepped together, natively.

    Args:
        num_envs: B.
        task: a name from `TAPES`.
        autoreset_mode: as `TaskVectorEnv` takes it.
        max_episode_steps: after how many steps an episode is truncated; never by default.
        curriculum: whether each of the B shortest lengths grows while its own episodes succeed; not by default.
        min_length, action, render_mode, kwargs: as `TapeEnv` takes them.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        UnknownArgumentError: if an argument is.
    """

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "copy",
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        min_length: int | None = None,
        curriculum: bool = False,
        action: str = "multi-discrete",
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        known_arguments("a classic tape", kwargs, parameter_names(TapeVectorEnv))
        self.dynamics = make_tape(task, min_length)
        self.metadata = {**TapeEnv.metadata, "dials": _dials(self.dynamics, curriculum)}
        self._tapes = TapeEpisodes(self.dynamics, num_envs, curriculum, max_episode_steps)
        super().__init__(
            self._tapes,
            Format(self.dynamics, num_envs, action=action),
            partial(render_tape, self._tapes),
            autoreset_mode=autoreset_mode,
            mask_info=False,
            render_mode=render_mode,
        )

    @property
    def min_length(self) -> Array:
        """The shortest lengths that are drawn now, (B,)."""
        return self._tapes.min_length.copy()


def render_tape(episodes: TapeEpisodes, place: int, mode: str) -> Frame:
    """Episode number `place` as text: the input with the head in brackets, what is to be written, how much of it is."""
    state, rows = episodes.state, episodes.dynamics.task.rows
    width, column, row = (int(field[place]) for field in (state.tape.width, state.column, state.row))
    first, last = min(column, 0), max(column, width)
    top, bottom = min(row, 0), max(row, rows - 1)
    lines = [f"step {int(state.time[place])} of {int(state.tape.limit[place])}, earned {float(state.earned[place]):g}"]
    for y in range(top, bottom + 1):
        cells = ""
        for x in range(first, last + 1):
            inside = 0 <= x < width and 0 <= y < rows
            symbol = str(int(state.tape.symbols[place, x, y])) if inside else "."
            cells += f"[{symbol}]" if (x, y) == (column, row) else f" {symbol} "
        lines.append(f"input  {cells}".rstrip())
    target = [str(symbol) for symbol in state.tape.target[place, : int(state.tape.num_targets[place])].tolist()]
    written = int(state.num_written[place])
    lines.append(f"target  {'  '.join(target)}")
    lines.append(f"written {written} of {len(target)}")
    if episodes.action is not None and int(state.time[place]) > 0:
        move, writes, symbol = episodes.action[place].tolist()
        lines.append(f"{f'write {symbol}, ' if writes else ''}move {('left', 'right', 'up', 'down')[move]}")
    return "\n".join(lines) + "\n"


def _dials(dynamics: TapeDynamics, curriculum: bool) -> dict[str, Any]:
    """The difficulty as plain data."""
    return {**dataclasses.asdict(dynamics.task), "curriculum": curriculum}
