"""Memory modules: what is put beside an environment, the actions that change it, and what is shown of it.

Toro Icarte, Valenzano, Klassen, Christoffersen, Farahmand & McIlraith 2020, "The act of remembering: a study in
partially observable reinforcement learning", arXiv:2010.01753, definition 4.1: memory states, memory actions and how
these change them, given what was observed and done. Here everything is batched: B episodes, each with a memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardmem.addressing import Move
from hardmem.envs.arrays import as_numpy, numpy_twin
from hardmem.envs.contents import Contents, Memory
from hardmem.envs.dynamics import ORDERS
from hardmem.envs.flat_spaces import FlatSpace
from hardmem.envs.interfaces import Associative, make_interface
from hardmem.tasks.base import at_least, known_arguments

Array = NDArray[Any]


class MemoryModule(ABC):
    """The memories of B episodes, empty at first.

    Args:
        observation: what can be stored, W numbers.
        own: what the environment itself can be told to do.
        num_envs: B.
        num_cells: their size: cells, places or bits.

    Raises:
        ValueError: if there are no cells.
    """

    num_actions: tuple[int, ...]
    """Choices of each factor of the memory action; none if there is nothing to decide."""
    low: Array
    """Bounds of what is shown, (V,)."""
    high: Array

    def __init__(self, observation: FlatSpace, own: FlatSpace, num_envs: int, num_cells: int) -> None:
        at_least(1, num_envs=num_envs, num_cells=num_cells)
        self.observation, self.own, self.num_envs, self.num_cells = observation, own, num_envs, num_cells

    @abstractmethod
    def empty(self, which: Array) -> None:
        """Empty the memories of the episodes that a mask (B,) names."""

    @abstractmethod
    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        """Let every memory change.

        Args:
            action: the memory action, (B, M) for M factors.
            observed: what the agent saw when it chose, (B, W).
            taken: what it did in the environment, (B, ...), as a space of the environment's has it.
        """

    @abstractmethod
    def show(self) -> Array:
        """What the agent sees of its memory, (B, V) float32, in an array of its own."""


class Cells(MemoryModule):
    """N cells and H heads, as the environments of this package have them: where a head goes is the action.

    Each head sees the cell it is on: what was stored there, and a 1, or nothing but zeros if it is empty; then come the
    heads' positions, one-hot, where the interface addresses by number. The action's factors are H addresses, then H
    writes, 0 or 1. A write stores what was observed when the action was chosen: what was never seen cannot be stored.
    In the order "answer-write-move", the default, heads write, then move, and then see; in "move-answer-write" they
    write where they have moved to. Of several heads that write to one cell, the last does.

    Args:
        observation: as `MemoryModule` takes it, and what follows.
        own: the same.
        num_envs: the same.
        num_cells: the same.
        interface: how heads are moved: "tape", "random-access", or "associative", which needs observations of symbols
            and goes to the cell that holds a named one.
        num_heads: H.
        order: of a step.
        moves: those of a tape, offsets or "home".

    Raises:
        ValueError: if a name is unknown, a number is below 1, or the interface fits neither observations nor moves.
    """

    def __init__(
        self,
        observation: FlatSpace,
        own: FlatSpace,
        num_envs: int,
        num_cells: int,
        *,
        interface: str,
        num_heads: int = 1,
        order: str = "answer-write-move",
        moves: Sequence[Move] | None = None,
    ) -> None:
        super().__init__(observation, own, num_envs, num_cells)
        at_least(1, num_heads=num_heads)
        if order not in ORDERS:
            raise ValueError(f"unknown order {order!r}; choose one of {list(ORDERS)}")
        built = make_interface(interface, observation, num_cells, moves=moves)
        self.interface: Any = numpy_twin(built)  # typed for tensors, here on arrays
        self.num_heads, self.moves_first = num_heads, order == "move-answer-write"
        self.num_actions = (built.num_actions,) * num_heads + (2,) * num_heads
        # What a cell holds is in `_rows`; its code says that it holds something and, by content, which symbols.
        self._contents: Any = None
        if isinstance(built, Associative):
            self._contents = numpy_twin(Contents([size + 1 for size in observation.input_sizes]))
        self._num_codes = 2 if self._contents is None else self._contents.num_codes
        self._emptied, self._most_eras = 0, np.iinfo(np.int64).max // self._num_codes
        empty = torch.zeros((num_cells, num_envs), dtype=torch.int64)
        self._memory: Any = as_numpy(Memory(cells=empty, era=empty[0].clone()))
        self._rows = np.zeros((num_cells, num_envs, observation.width), dtype=np.float32)
        self._head = np.zeros((num_envs, num_heads), dtype=np.int64)
        self._episodes = np.arange(num_envs)[:, None]  # (B, 1)
        places = num_cells * num_heads if built.shows_position else 0
        zeros, ones = np.zeros(places, dtype=np.float32), np.ones(places, dtype=np.float32)
        low, high = np.append(np.minimum(observation.low, 0), 0), np.append(np.maximum(observation.high, 0), 1)
        self.low, self.high = np.append(np.tile(low, num_heads), zeros), np.append(np.tile(high, num_heads), ones)

    def empty(self, which: Array) -> None:
        if not which.any():
            return
        self._memory.era[which] += self._num_codes
        self._head[which] = 0
        self._emptied += 1
        if self._emptied >= self._most_eras:  # there may be no room for a code beside the era
            self._memory, self._emptied = self._memory.renewed(), 0

    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        address, writes = action[:, : self.num_heads], action[:, self.num_heads :]
        if self.moves_first:
            self._head = self.interface.move(self._head, address, self._memory)
        code = np.ones(self.num_envs, dtype=np.int64)
        if self._contents is not None:
            code = self._contents.encode(self.observation.symbols(observed))
        for h in range(self.num_heads):
            writing = np.flatnonzero(writes[:, h])
            cell = self._head[writing, h]
            self._memory.cells[cell, writing] = code[writing] + self._memory.era[writing]
            self._rows[cell, writing] = observed[writing]
        if not self.moves_first:
            self._head = self.interface.move(self._head, address, self._memory)

    def show(self) -> Array:
        full = self._memory.cells[self._head, self._episodes] > self._memory.era[:, None]  # (B, H)
        found = self._rows[self._head, self._episodes] * full[:, :, None]  # (B, H, W)
        shown = np.concatenate([found, full[:, :, None]], axis=2, dtype=np.float32).reshape(self.num_envs, -1)
        if not self.interface.shows_position:
            return shown
        position = np.arange(self.num_cells) == self._head[:, :, None]  # (B, H, N)
        return np.concatenate([shown, position.reshape(self.num_envs, -1)], axis=1, dtype=np.float32)


class Bk(MemoryModule):
    """k bits, all of them written freely at every step: definition 4.3.

    The action's factors are the k new bits, so there are 2^k actions; the bits are 0 at first. What they say need never
    have been seen, and agents learn worse with them than with stored observations (figures 2 and 6).
    """

    def __init__(self, observation: FlatSpace, own: FlatSpace, num_envs: int, num_cells: int) -> None:
        super().__init__(observation, own, num_envs, num_cells)
        self.num_actions = (2,) * num_cells
        self.low, self.high = np.zeros(num_cells, dtype=np.float32), np.ones(num_cells, dtype=np.float32)
        self._bits = np.zeros((num_envs, num_cells), dtype=np.float32)

    def empty(self, which: Array) -> None:
        self._bits[which] = 0.0

    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        self._bits = action.astype(np.float32)

    def show(self) -> Array:
        return self._bits.copy()


class Buffer(MemoryModule, ABC):
    """The last k rows that were pushed, oldest first, and after each a 1; zeros where nothing was pushed yet."""

    def __init__(self, observation: FlatSpace, own: FlatSpace, num_envs: int, num_cells: int) -> None:
        super().__init__(observation, own, num_envs, num_cells)
        low, high = self._bounds()
        self.low, self.high = np.tile(np.append(low, 0), num_cells), np.tile(np.append(high, 1), num_cells)
        self._rows = np.zeros((num_envs, num_cells, len(low) + 1), dtype=np.float32)

    def empty(self, which: Array) -> None:
        self._rows[which] = 0.0

    def show(self) -> Array:
        return self._rows.reshape(self.num_envs, -1).copy()

    def _bounds(self) -> tuple[Array, Array]:
        """The least and the largest numbers of a row, or the 0 of its absence."""
        return np.minimum(self.observation.low, 0), np.maximum(self.observation.high, 0)

    def _push(self, rows: Array, which: Array) -> None:
        """Push rows (B, R) into the buffers that a mask (B,) names."""
        self._rows[which, :-1] = self._rows[which, 1:]
        self._rows[which, -1, :-1] = rows[which]
        self._rows[which, -1, -1] = 1.0


class Kk(Buffer):
    """The last k observations before the present one, whatever the agent does: section 4.1, appendix A.3.

    A k-order memory, or frame stack; there is no memory action.
    """

    num_actions = ()

    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        self._push(observed, np.ones(self.num_envs, dtype=np.bool_))


class Ok(Buffer):
    """The last k observations that the agent chose to keep: definition 4.4.

    The action is 1 to push what was observed when it was chosen, 0 to leave the buffer as it is.
    """

    num_actions = (2,)

    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        self._push(observed, action[:, 0] > 0)


class OAk(Buffer):
    """The last k observations that the agent chose to keep, each with what it did then: section 4.1, appendix A.3.

    As `Ok`, but the environment's own action is pushed behind the observation, choices one-hot, numbers as they are.
    """

    num_actions = (2,)

    def advance(self, action: Array, observed: Array, taken: Array) -> None:
        self._push(np.concatenate([observed, self.own.rows(taken, self.num_envs)], axis=1), action[:, 0] > 0)

    def _bounds(self) -> tuple[Array, Array]:
        low, high = super()._bounds()
        return np.append(low, np.minimum(self.own.low, 0)), np.append(high, np.maximum(self.own.high, 0))


# A ring is a tape on which a head goes one cell on at each step, by itself: there is no address to choose. On a shuttle
# it goes on or back and never stays: an address is one bit.
MEMORY_MODULES: dict[str, Callable[..., MemoryModule]] = {
    "tape": partial(Cells, interface="tape"),
    "random-access": partial(Cells, interface="random-access"),
    "associative": partial(Cells, interface="associative"),
    "ring": partial(Cells, interface="tape", moves=(1,)),
    "shuttle": partial(Cells, interface="tape", moves=(-1, 1)),
    "Bk": Bk,
    "Kk": Kk,
    "Ok": Ok,
    "OAk": OAk,
}


def make_memory_module(
    name: str, observation: FlatSpace, own: FlatSpace, num_envs: int, num_cells: int, **arguments: Any
) -> MemoryModule:
    """Build a memory module by name.

    Args:
        name: from `MEMORY_MODULES`.
        observation: as `MemoryModule` takes it, and what follows.
        own: the same.
        num_envs: the same.
        num_cells: the same.
        arguments: of `Cells`: `num_heads`, `order`, `moves`.

    Raises:
        ValueError: if there is no such module, or it takes no such argument; of `Cells` an `UnknownArgumentError`.
    """
    if name not in list(MEMORY_MODULES):
        raise ValueError(f"unknown memory {name!r}; choose one of {sorted(MEMORY_MODULES)}")
    made = MEMORY_MODULES[name]
    if not isinstance(made, partial) and arguments:
        raise ValueError(f"memory {name!r} takes num_cells and nothing else, got {sorted(arguments)}")
    known_arguments(f"memory {name!r}", arguments, ["num_heads", "order", "moves"])
    return made(observation, own, num_envs, num_cells, **arguments)
