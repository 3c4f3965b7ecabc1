"""Interfaces: how an action moves a head over N cells. The address is the action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hardmem.addressing import HOME, Move, MoveTable, move_table
from hardmem.envs.arrays import take
from hardmem.envs.contents import Contents, Memory
from hardmem.schemes import DEFAULT_MOVES


class Stored(Protocol):
    """What an interface has to know of what is stored: a task says it, or an observation space of symbols."""

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Symbols in each channel, blank excluded."""

    @property
    def key_channels(self) -> tuple[int, ...]:
        """The channels whose content names a cell."""


class Interface(ABC):
    """What the address part of an action means. Actions and heads are (B, H), int64.

    Args:
        task: what is stored.
        num_cells: N.
        device: where actions, heads and memory live.
    """

    num_actions: int
    """Addresses or moves each head can choose from."""
    shows_position: bool
    """Whether the observation has to say where the heads are."""

    def __init__(self, task: Stored, num_cells: int, device: torch.device | str = "cpu") -> None:
        self.num_cells = num_cells

    @abstractmethod
    def move(self, head: Tensor, action: Tensor, memory: Memory) -> Tensor:
        """Where the heads are after their action; on tensors and on arrays alike, see `hardmem.envs.arrays`."""

    @abstractmethod
    def towards(self, head: Tensor, goal: Tensor, memory: Memory) -> Tensor:
        """The action that brings each head closest to its goal: the oracle's."""


class Tape(Interface):
    """Heads move by small steps along a circular tape, or jump home to cell 0, as an NTM's head does.

    Args:
        task: not used.
        num_cells: N; cell N - 1 and cell 0 are neighbours.
        device: where actions and heads live.
        moves: the moves to choose from, offsets or "home".
    """

    shows_position = False

    def __init__(
        self,
        task: Stored,
        num_cells: int,
        device: torch.device | str = "cpu",
        moves: Sequence[Move] = DEFAULT_MOVES,
    ) -> None:
        super().__init__(task, num_cells, device)
        self.table: MoveTable = move_table(moves, device)
        self.num_actions = len(self.table.moves)
        cells = torch.arange(num_cells, device=device).unsqueeze(1)  # (N, 1)
        self._next = self.table.targets(cells, num_cells).flatten()  # (N M): one look-up a step
        self._distance: Tensor | None = None

    def move(self, head: Tensor, action: Tensor, memory: Memory) -> Tensor:
        moved: Tensor = take(self._next, head * self.num_actions + action)
        return moved

    def towards(self, head: Tensor, goal: Tensor, memory: Memory) -> Tensor:
        if self._distance is None:
            self._distance = self._moves_by_offsets().to(head.device)
        reached = self.table.targets(head, self.num_cells)  # (B, H, M)
        distance = self._distance[(goal.unsqueeze(-1) - reached) % self.num_cells]
        if HOME in self.table.moves:
            distance = torch.minimum(distance, 1 + self._distance[goal].unsqueeze(-1))
        return distance.argmin(dim=-1)

    def _moves_by_offsets(self) -> Tensor:
        """Fewest offset moves to get d cells further, (N,): breadth first from 0; unreachable is large."""
        offsets = [move for move in self.table.moves if isinstance(move, int)]
        distance = {0: 0}
        frontier = [0]
        while frontier:
            reached = {(cell + offset) % self.num_cells: distance[cell] + 1 for cell in frontier for offset in offsets}
            frontier = [cell for cell in reached if cell not in distance]
            distance |= {cell: reached[cell] for cell in frontier}
        return torch.tensor([distance.get(cell, 10 * self.num_cells) for cell in range(self.num_cells)])


class RandomAccess(Interface):
    """Each head names the cell it looks at next by number: an absolute address. The observation shows where it is."""

    shows_position = True

    def __init__(self, task: Stored, num_cells: int, device: torch.device | str = "cpu") -> None:
        super().__init__(task, num_cells, device)
        self.num_actions = num_cells

    def move(self, head: Tensor, action: Tensor, memory: Memory) -> Tensor:
        return action + 0  # not the caller's own array, which may change

    def towards(self, head: Tensor, goal: Tensor, memory: Memory) -> Tensor:
        return goal


class Associative(Interface):
    """Each head names what it looks for, a symbol in a key channel, and goes to the cell that holds it.

    Action 0 names the blank: it leads to an empty cell. The following ones name the symbols of the first key channel
    from 1, then those of the next. Of several cells that match, a head goes to the lowest; if none does, to the lowest
    empty one, where the thing can be put; if there is none either, nowhere. The last action leads to the next cell,
    wherever the head is: what follows a thing is found by finding the thing.

    Raises:
        ValueError: if there are no key channels.
    """

    shows_position = False
    names: list[tuple[int, int]]
    """The channel and the symbol that each action names, but the last."""

    def __init__(self, task: Stored, num_cells: int, device: torch.device | str = "cpu") -> None:
        super().__init__(task, num_cells, device)
        if not task.key_channels:
            raise ValueError(f"an associative interface needs keys to name a cell by, got {task}")
        self._contents = Contents([size + 1 for size in task.input_sizes], device)
        self._first_key = task.key_channels[0]
        self.names = [(self._first_key, 0)]
        self.names += [
            (channel, symbol) for channel in task.key_channels for symbol in range(1, task.input_sizes[channel] + 1)
        ]
        self.num_actions = len(self.names) + 1
        steps_on = (self._first_key, 0)  # the last action, which names nothing
        channel, self._symbol = torch.tensor([*self.names, steps_on], device=device).T
        self._stride = torch.tensor(self._contents.strides, device=device)[channel]
        self._size = torch.tensor(self._contents.sizes, device=device)[channel]
        self._rank = torch.arange(num_cells, 0, -1, device=device)  # the lowest cell first

    def move(self, head: Tensor, action: Tensor, memory: Memory) -> Tensor:
        codes = memory.codes()[:, None]  # (B, 1, N)
        stride, size, symbol = (
            take(numbers, action)[:, :, None] for numbers in (self._stride, self._size, self._symbol)
        )
        matches = codes // stride % size == symbol  # (B, H, N)
        empty = self._contents.symbol(codes, self._first_key) == 0
        score = matches * self.num_cells + (matches | empty) * self._rank
        found = head + (score > 0).any(-1) * (score.argmax(-1) - head)
        steps = action == self.num_actions - 1
        moved: Tensor = found + steps * ((head + 1) % self.num_cells - found)
        return moved

    def towards(self, head: Tensor, goal: Tensor, memory: Memory) -> Tensor:
        actions = torch.arange(self.num_actions, device=head.device).expand(len(head), -1)  # (B, A)
        leads = [
            self.move(here.unsqueeze(1).expand_as(actions), actions, memory) == there.unsqueeze(1)
            for here, there in zip(head.unbind(1), goal.unbind(1), strict=True)
        ]
        return torch.stack([lead.int().argmax(dim=1) for lead in leads], dim=1) if leads else goal


INTERFACES: dict[str, type[Tape | RandomAccess | Associative]] = {
    "tape": Tape,
    "random-access": RandomAccess,
    "associative": Associative,
}


def make_interface(
    name: str,
    task: Stored,
    num_cells: int,
    device: torch.device | str = "cpu",
    moves: Sequence[Move] | None = None,
) -> Interface:
    """Build an interface by name; `moves` are those of a tape, by default its own.

    Raises:
        ValueError: if there is no interface of that name, or it does not fit the task or the moves.
    """
    if name not in list(INTERFACES):
        raise ValueError(f"unknown interface {name!r}; choose one of {sorted(INTERFACES)}")
    if moves is None:
        return INTERFACES[name](task, num_cells, device)
    if isinstance(moves, str) or not isinstance(moves, Sequence):
        raise ValueError(f"moves must be a list of distinct integers or 'home', got {moves!r}")
    if name != "tape":
        raise ValueError(f"moves are those of a tape: leave them out for {name!r}, got {list(moves)}")
    return Tape(task, num_cells, device, moves)
