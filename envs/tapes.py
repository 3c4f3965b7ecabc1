"""Classic tapes: the algorithmic environments of OpenAI Gym 0.17.3, batched. The input stays readable here.

A head moves over a tape, or a grid, of symbols and what it reads is written to an output tape that only grows. There
are no cells: these are for comparison with the literature. `advance` and `observe` take tensors and arrays alike, as
in `hardmem.envs.arrays`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.envs.arrays import count, take, where
from hardmem.envs.options import known_device
from hardmem.tasks.base import at_least

LONGEST_START = 30
"""The shortest length is promoted up to here."""

SPREAD = 3
"""Lengths are uniform over so many, from the shortest one."""

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Columns and rows that a head moves by: left, right and, on a grid, up, down."""


class Tape(NamedTuple):
    """B problems, batch-first.

    Attributes:
        symbols: the input by columns, (B, W, R); `base`, the blank, after its end.
        width: columns that count, (B,).
        target: what is to be written, (B, L); -1 after its end.
        num_targets: how much of it counts, (B,).
        needed: how many cells have to be read, column by column and the blank after the last included, before an agent
            knows each target symbol, (B, L).
        limit: steps that may be taken, (B,).
    """

    symbols: Tensor
    width: Tensor
    target: Tensor
    num_targets: Tensor
    needed: Tensor
    limit: Tensor


class TapeState(NamedTuple):
    """B episodes under way. `advance` returns a new one and leaves the old as it was.

    Attributes:
        tape: the problems.
        time: steps played, (B,).
        column: where the head is, (B,); anywhere, also before 0.
        row: where the head is, (B,).
        num_written: symbols written, (B,).
        num_read: cells read so far of those in reading order, (B,): what a perfect memory knows.
        earned: the return so far, (B,), float.
    """

    tape: Tape
    time: Tensor
    column: Tensor
    row: Tensor
    num_written: Tensor
    num_read: Tensor
    earned: Tensor


@dataclasses.dataclass(frozen=True)
class TapeTask(ABC):
    """What stands on the input tape, and what has to be written.

    Attributes:
        min_length: the least shortest length, at which a curriculum starts.
        base: symbols, 0 to base - 1.
        rows: R; 1 is a tape, more are a grid.
        streak: faultless episodes in a row after which the shortest length goes up by 1.
    """

    min_length: int = 2
    base: int = 5
    rows: int = 1
    streak: int = 10

    def __post_init__(self) -> None:
        at_least(1, min_length=self.min_length)

    @abstractmethod
    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is to be written, how much of it counts and what it needs: as in `Tape`, but not blanked after its end.

        Args:
            symbols: (B, W, R); 0 after the end.
            width: (B,).
        """

    def limit(self, width: Tensor, num_targets: Tensor) -> Tensor:
        """Steps that may be taken, (B,)."""
        return width + num_targets + 4

    def draw(self, length: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random inputs of the given lengths (B,): symbols (B, W, R) and width (B,)."""
        shape = (len(length), int(length.max()), self.rows)
        return torch.randint(self.base, shape, generator=generator, device=length.device), length


@dataclasses.dataclass(frozen=True)
class TapeCopy(TapeTask):
    """Write what stands on the tape.

    Input `1 4 2`, target `1 4 2`; head moves `> > >`, each after a write, earn 3.0 in 3 steps.
    """

    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(symbols.shape[1], device=width.device).expand(len(width), -1)
        return symbols[..., 0], width, place + 1


@dataclasses.dataclass(frozen=True)
class TapeDuplicatedInput(TapeTask):
    """Write every second symbol: each stands there twice, so that a drawn odd length is rounded down.

    Input `1 1 4 4`, target `1 4`.
    """

    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept = symbols[:, ::2, 0]
        place = torch.arange(kept.shape[1], device=width.device).expand(len(width), -1)
        return kept, (width + 1) // 2, 2 * place + 1

    def draw(self, length: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        pairs = (length // 2).clamp(min=1)
        symbols, _ = super().draw(pairs, generator)
        return symbols.repeat_interleave(2, dim=1), 2 * pairs


@dataclasses.dataclass(frozen=True)
class TapeRepeatCopy(TapeTask):
    """Write what stands on the tape, then backwards, then forwards again.

    Input `1 4`, target `1 4 4 1 1 4`. The last two thirds need the blank after the input: only there does it end.
    """

    streak: int = 50

    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turn = torch.arange(3 * symbols.shape[1], device=width.device).expand(len(width), -1)
        end = width.unsqueeze(1)
        place = torch.where(turn < end, turn, torch.where(turn < 2 * end, 2 * end - 1 - turn, turn - 2 * end))
        needed = torch.where(turn < end, turn, end) + 1
        return symbols[..., 0].gather(1, place.clamp(0, symbols.shape[1] - 1)), 3 * width, needed


@dataclasses.dataclass(frozen=True)
class TapeReverse(TapeTask):
    """Write what stands on the tape backwards.

    Input `1 0 0`, target `0 0 1`.
    """

    min_length: int = 1
    base: int = 2
    streak: int = 50

    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        end = width.unsqueeze(1)
        place = end - 1 - torch.arange(symbols.shape[1], device=width.device)
        return symbols[..., 0].gather(1, place.clamp(min=0)), width, (end + 1).expand_as(place)


@dataclasses.dataclass(frozen=True)
class TapeReversedAddition(TapeTask):
    """Add the rows of a grid in base 3, the least digit first; a carry is written at the end only if there is one.

    Columns `21 02` add 2 + 0 * 3 and 1 + 2 * 3; target `0 0 1`.
    """

    base: int = 3
    rows: int = 2

    def target(self, symbols: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        carry, digits, carries = torch.zeros_like(width), [], []
        for column in symbols.unbind(1):  # (B, R) each
            total = column.sum(dim=1) + carry
            carry = total // self.base
            digits.append(total % self.base)
            carries.append(carry)
        # After the last column the zeros add up to nothing but its carry.
        digits.append(carry)
        num_targets = width + (torch.stack(carries, dim=1).gather(1, width.unsqueeze(1) - 1)[:, 0] > 0)
        place, end = torch.arange(len(digits), device=width.device), width.unsqueeze(1)
        needed = torch.where(place < end, self.rows * (place + 1), self.rows * end + 1)
        return torch.stack(digits, dim=1), num_targets, needed

    def limit(self, width: Tensor, num_targets: Tensor) -> Tensor:
        return 2 * width + 4


@dataclasses.dataclass(frozen=True)
class TapeReversedAddition3(TapeReversedAddition):
    """The same with three rows, and no more time: beyond 4 columns, or 3 and a carry, nobody can read them all."""

    rows: int = 3


@dataclasses.dataclass(frozen=True)
class TapeAddition3(TapeReversedAddition3):
    """The same with three rows and the time to read them. It was not in Gym."""

    def limit(self, width: Tensor, num_targets: Tensor) -> Tensor:
        return self.rows * width + 4


TAPES: dict[str, type[TapeTask]] = {
    "copy": TapeCopy,
    "duplicated-input": TapeDuplicatedInput,
    "repeat-copy": TapeRepeatCopy,
    "reverse": TapeReverse,
    "reversed-addition": TapeReversedAddition,
    "reversed-addition-3": TapeReversedAddition3,
    "addition-3": TapeAddition3,
}


class TapeDynamics:
    """The rules of the classic tapes.

    The observation is the symbol under the head, `base` outside the input. An action (B, 3) is a move, whether to write
    and which symbol. In a step a right symbol earns 1 and a wrong one -0.5, which ends the episode, as does the last
    symbol of the target; then the head moves; if more steps than the limit were taken then, the reward is -1 instead,
    and the episode ends.

    Args:
        task: what stands on the tape.
        device: where problems live.
    """

    def __init__(self, task: TapeTask, device: torch.device | str = "cpu") -> None:
        self.task, self.device = task, known_device(device)
        self.num_actions: tuple[int, ...] = (2 if task.rows == 1 else 4, 2, task.base)
        self.parts: dict[str, slice] = {}
        self.observation_space = gym.spaces.Discrete(task.base + 1)
        self.action_space = gym.spaces.MultiDiscrete(list(self.num_actions))

    @property
    def max_length(self) -> int:
        """The longest input that is ever drawn."""
        return max(self.task.min_length, LONGEST_START) + SPREAD - 1

    def draw(self, min_length: Tensor, generator: torch.Generator | None = None, size: int | None = None) -> Tape:
        """Fresh problems, the shortest length of each given: (B,); room for `size` columns, or for the longest."""
        spread = torch.randint(SPREAD, min_length.shape, generator=generator, device=self.device)
        return self._tape(*self.task.draw(min_length + spread, generator), size=size or self.max_length)

    def problem(self, symbols: Sequence[Any], num_problems: int = 1) -> Tape:
        """The problem that shows the given symbols, so many times; for a grid they are columns.

        Raises:
            ValueError: if there is no symbol, one is out of range, or a column has the wrong number.
        """
        base, rows = self.task.base, self.task.rows
        try:
            grid = np.asarray(symbols)
        except ValueError:  # columns of several lengths
            grid = np.empty(0)
        shape = (grid.size,) if rows == 1 else (grid.size // rows, rows)
        if not grid.size or grid.dtype.kind not in "iu" or grid.shape != shape or grid.min() < 0 or grid.max() >= base:
            kind = "symbols" if rows == 1 else f"columns of {rows} symbols"
            raise ValueError(f"the input must be one or more {kind} in 0 to {base - 1}, got {symbols!r}")
        columns = torch.tensor(grid.reshape(1, -1, rows), dtype=torch.int64, device=self.device)
        width = torch.full((num_problems,), len(grid), device=self.device)
        return self._tape(columns.expand(num_problems, -1, -1), width, size=max(len(grid), self.max_length))

    def begin(self, tape: Tape) -> TapeState:
        """The head at the first symbol, nothing written."""
        time, column, row, num_written = torch.zeros((4, len(tape.width)), dtype=torch.int64, device=self.device)
        num_read = torch.ones_like(time)
        return TapeState(tape, time, column, row, num_written, num_read, torch.zeros(len(time), device=self.device))

    def advance(self, state: TapeState, action: Tensor) -> tuple[TapeState, Tensor, Tensor]:
        """Play one step of every episode: actions (B, 3) -> state, reward (B,), whether it has ended (B,).

        An episode that has ended finds any symbol wrong.
        """
        tape, writes = state.tape, action[:, 1] == 1
        right = action[:, 2] == self._pick(tape.target, state.num_written, -1)
        num_written, time = state.num_written + writes, state.time + 1
        column, row = state.column, state.row
        for number, (across, down) in enumerate(MOVES[: self.num_actions[0]]):
            moves = action[:, 0] == number
            column, row = column + across * moves, row + down * moves

        late = time > tape.limit
        reward = where(late, -1.0, writes * (1.5 * right - 0.5))
        done = late | (writes & ~right) | (num_written >= tape.num_targets)
        goal_column, goal_row = self._in_order(state.num_read)
        num_read = state.num_read + ((column == goal_column) & (row == goal_row))
        after = TapeState(tape, time, column, row, num_written, num_read, state.earned + reward)
        return after, reward, done

    def observe(self, state: TapeState) -> Tensor:
        """The symbol under each head, (B,)."""
        symbols, rows = state.tape.symbols, self.task.rows
        inside = (state.column >= 0) & (state.row >= 0) & (state.row < rows)
        flat = symbols.reshape(len(symbols), -1)
        seen: Tensor = where(inside, self._pick(flat, state.column * rows + state.row, self.task.base), self.task.base)
        return seen

    def oracle(self, state: TapeState) -> Tensor:
        """The best action, (B, 3), of who remembers all that was read: it reads on, and writes what it knows by then.

        A grid is read like a plough goes, one column down and the next one up.
        """
        column, row = self._in_order(state.num_read)
        move = where(column > state.column, 1, 0)
        if self.task.rows > 1:
            move = where(column == state.column, where(row > state.row, 3, 2), move)
        known = self._pick(state.tape.needed, state.num_written, 0) <= state.num_read
        symbol = self._pick(state.tape.target, state.num_written, 0).clamp(min=0)  # past the end any will do
        return torch.stack([move, known.long(), symbol * known], dim=1)

    def replace(self, state: TapeState, which: Tensor, fresh: TapeState) -> TapeState:
        """Start the K new episodes in the places `which` (K,) of `state`, which is written into; room for as much."""
        for old, new in zip((*state.tape, *state[1:]), (*fresh.tape, *fresh[1:]), strict=True):
            old[which] = new
        return state

    def _tape(self, symbols: Tensor, width: Tensor, size: int) -> Tape:
        """The problem of each input, (B, W, R), of which `width` columns (B,) count; room for `size` of them."""
        symbols = F.pad(symbols, (0, 0, 0, size - symbols.shape[1]))
        column = torch.arange(size, device=width.device)
        counts = (column < width.unsqueeze(1)).unsqueeze(-1)  # (B, size, 1)
        target, num_targets, needed = self.task.target(symbols * counts, width)
        turn = torch.arange(target.shape[1], device=width.device)
        target = torch.where(turn < num_targets.unsqueeze(1), target, -1)
        blanked = torch.where(counts, symbols, self.task.base)
        limit = self.task.limit(width, num_targets)
        fields = (blanked, width, target, num_targets, needed, limit)
        return Tape(*(field.clone() for field in fields))  # each its own: `replace` writes into them

    def _in_order(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """The column and row of the cell that comes so many-th when reading, (B,) each."""
        column, row = number // self.task.rows, number % self.task.rows
        return column, where(column % 2 == 0, row, self.task.rows - 1 - row)

    def _pick(self, rows: Tensor, place: Tensor, otherwise: int) -> Tensor:
        """From each row (B, L) the number in its place (B,); `otherwise` where there is no such place."""
        length = rows.shape[1]
        inside = (place >= 0) & (place < length)
        first = count(len(rows), like=rows) * length
        picked: Tensor = where(inside, take(rows.reshape(-1), first + where(inside, place, 0)), otherwise)
        return picked
