"""Interfaces: how an action moves a head over N cells. The address is the action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hardmem.addressing import HOME, Move, MoveTable, move_table
from hardmem.schemes import DEFAULT_MOVES


class Interface(ABC):
    """What the address part of an action means. Actions and heads are (B, H), int64.

    Args:
        num_cells: N.
        device: where actions and heads live.
    """

    num_actions: int
    """Addresses or moves each head can choose from."""
    shows_position: bool
    """Whether the observation has to say where the heads are."""

    def __init__(self, num_cells: int, device: torch.device | str = "cpu") -> None:
        self.num_cells = num_cells

    @abstractmethod
    def move(self, head: Tensor, action: Tensor) -> Tensor:
        """Where the heads are after their action."""

    @abstractmethod
    def towards(self, head: Tensor, goal: Tensor) -> Tensor:
        """The action that brings each head closest to its goal: the oracle's."""


class Tape(Interface):
    """Heads move by small steps along a circular tape, or jump home to cell 0, as an NTM's head does.

    Args:
        num_cells: N; cell N - 1 and cell 0 are neighbours.
        device: where actions and heads live.
        moves: the moves to choose from, offsets or "home".
    """

    shows_position = False

    def __init__(
        self, num_cells: int, device: torch.device | str = "cpu", moves: Sequence[Move] = DEFAULT_MOVES
    ) -> None:
        super().__init__(num_cells, device)
        self.table: MoveTable = move_table(moves, device)
        self.num_actions = len(self.table.moves)
        self._distance: Tensor | None = None

    def move(self, head: Tensor, action: Tensor) -> Tensor:
        return (head + self.table.offset[action]) % self.num_cells * self.table.stays[action]

    def towards(self, head: Tensor, goal: Tensor) -> Tensor:
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

    def __init__(self, num_cells: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_cells, device)
        self.num_actions = num_cells

    def move(self, head: Tensor, action: Tensor) -> Tensor:
        return action

    def towards(self, head: Tensor, goal: Tensor) -> Tensor:
        return goal


INTERFACES: dict[str, type[Tape | RandomAccess]] = {
    "tape": Tape,
    "random-access": RandomAccess,
}


def make_interface(name: str, num_cells: int, device: torch.device | str = "cpu") -> Interface:
    """Build an interface by name.

    Raises:
        ValueError: if there is no interface of that name.
    """
    if name not in INTERFACES:
        raise ValueError(f"unknown interface {name!r}; choose one of {sorted(INTERFACES)}")
    return INTERFACES[name](num_cells, device)
