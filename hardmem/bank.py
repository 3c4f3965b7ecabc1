"""A bank: memory whose reads and writes cost what they touch, however many cells there are.

Where addresses are hard a read needs one row and a write changes one, but `hardmem.memory.write` returns a new tensor
of all N. A bank changes its rows in place, logs what they held, and back-propagation takes the writes back one by one,
as in Rae et al. 2016, "Scaling Memory-Augmented Neural Networks with Sparse Reads and Writes", arXiv:1610.09027,
section 3.4.

    bank = Bank(16, 1_000_000, 20)      # the owner of the storage: built once, used for one sequence after the other
    memory = bank.begin()
    memory = memory.write(address, erase, add)
    rows = memory.read(address)
    rows.sum().backward()               # the bank is as it was
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hardmem.memory import Address, HardAddress, check_write
from hardmem.memory import read as read_cells
from hardmem.memory import write as write_cells


class Bank:
    """N cells of width W for each of B sequences, changed in place; one batch of sequences at a time.

    Storage of the cells, and with gradients as much again for theirs, is filled when it is made and kept from then on:
    a fresh page costs far more than a row, and must not be met inside a sequence.

    Args:
        batch_size: B.
        num_cells: N.
        cell_width: W.
        fill: what every cell holds at first, unless `begin` is told otherwise.
        device, dtype: of the cells.

    Raises:
        ValueError: if a size is below 1.
    """

    def __init__(
        self,
        batch_size: int,
        num_cells: int,
        cell_width: int,
        *,
        fill: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        for name, size in {"batch_size": batch_size, "num_cells": num_cells, "cell_width": cell_width}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.fill = fill
        self._storage = _Storage(torch.full((batch_size, num_cells, cell_width), fill, device=device, dtype=dtype))
        self._sequence: _Sequence | None = None

    @property
    def cells(self) -> Tensor:
        """What the cells hold now, (B, N, W): to be looked at, not to be changed or kept."""
        return self._storage.cells

    def __repr__(self) -> str:
        batch_size, num_cells, cell_width = self.cells.shape
        return f"Bank({batch_size}, {num_cells}, {cell_width}, fill={self.fill})"

    def begin(self, contents: Tensor | None = None) -> Contents:
        """Start a sequence: take back what the one before it wrote, at the price of the rows it touched.

        Whatever is left of the sequence before, its contents and its graph, can be used no more.

        Args:
            contents: what the cells hold at first, (B, N, W) or what expands to it; may require a gradient. Copied, at
                a price that grows with N. By default every cell holds `fill`.

        Raises:
            ValueError: if contents do not fit.
        """
        refill = self._sequence is not None and self._sequence.end(self.fill)
        if contents is not None:
            try:
                contents = contents.expand_as(self.cells)
            except RuntimeError:
                raise ValueError(
                    f"contents must expand to (B, N, W) = {tuple(self.cells.shape)}, got {tuple(contents.shape)}"
                ) from None
            self.cells.copy_(contents.detach())
        elif refill:
            self.cells.fill_(self.fill)
        self._sequence = _Sequence(self._storage, own_contents=contents is not None)
        if contents is not None and contents.requires_grad and torch.is_grad_enabled():
            order: Tensor = _Begin.apply(contents, self._sequence)  # type: ignore[no-untyped-call]
        else:
            order = self.cells.new_empty(0, requires_grad=True)
        return Contents(self._sequence, order, 0)


class Contents:
    """What a bank holds between two writes; `write` returns what it holds from then on, and this is used up.

    Reads and writes are joined by an order token, an empty tensor that each takes from the one before: without it
    autograd would be free to go back through a write before a later read of the same cell.
    """

    def __init__(self, sequence: _Sequence, order: Tensor, writes: int) -> None:
        self._sequence, self._order, self._writes = sequence, order, writes

    def __repr__(self) -> str:
        return f"Contents(shape={tuple(self.shape)}, writes={self._writes})"

    @property
    def shape(self) -> torch.Size:
        """(B, N, W)."""
        return self._sequence.cells.shape

    @property
    def cells(self) -> Tensor:
        """A copy of all cells, (B, N, W), through which no gradient passes.

        Raises:
            RuntimeError: if these contents are gone.
        """
        return self.now().clone()

    def now(self) -> Tensor:
        """All cells themselves, (B, N, W): to be looked at before the next write, not to be changed or kept.

        Raises:
            RuntimeError: if these contents are gone.
        """
        self._sequence.check(self._writes)
        return self._sequence.cells

    def read(self, address: Address) -> Tensor:
        """One cell per head, (B, H, W), as `hardmem.memory.read`.

        Raises:
            ValueError: if the address is soft or does not fit.
            RuntimeError: if these contents are gone: written to since, back-propagated, or of an earlier sequence.
        """
        self._sequence.check(self._writes)
        hard = _hard(address)
        if not torch.is_grad_enabled() or (self._writes and not self._sequence.with_gradients):
            return read_cells(self._sequence.cells, hard)
        rows: Tensor
        rows, self._order = _Read.apply(self._order, hard.index, self._sequence)  # type: ignore[no-untyped-call]
        return rows

    def write(self, address: Address, erase: Tensor, add: Tensor) -> Contents:
        """Erase and add with every head, as `hardmem.memory.write`: the contents from now on.

        Raises:
            ValueError: if the address is soft, or something does not fit.
            RuntimeError: if these contents are gone, or writes with gradients would follow others without, or the
                other way round.
        """
        sequence, hard = self._sequence, _hard(address)
        with_gradients = torch.is_grad_enabled()
        sequence.enter_forward(self._writes, with_gradients)
        check_write(sequence.cells, hard, erase, add)
        order = self._order
        if with_gradients:
            order = _Write.apply(order, erase, add, hard.index, sequence)  # type: ignore[no-untyped-call]
        else:
            sequence.write(hard, erase, add)
        return Contents(sequence, order, self._writes + 1)

    def many(self) -> Many:
        """Many reads and writes at once, by a caller with a backward pass of its own."""
        return Many(self._sequence, self._order, self._writes)


class Many:
    """The cells of a bank while a caller reads and writes them; it says which, and takes the place of autograd.

    Attributes:
        cells: (B, N, W), to be changed in place after `begin`, and logged.
        order: the token that the caller's `autograd.Function` takes from what came before it.
    """

    def __init__(self, sequence: _Sequence, order: Tensor, writes: int) -> None:
        self.cells, self.order = sequence.cells, order
        self._sequence, self._first, self._last = sequence, writes, writes

    def begin(self, with_gradients: bool) -> None:
        """Before the first write, and before others if something else may have used the bank since the last.

        Raises:
            RuntimeError: as `Contents.write`.
        """
        self._sequence.enter_forward(self._last, with_gradients)

    def log(self, index: Tensor, old: Tensor | None) -> None:
        """A write to these cells, (B, H); with gradients, and what they held before it, (B, H, W)."""
        self._sequence.log(index, old)
        self._last += 1

    def end(self, order: Tensor) -> Contents:
        """After the last write, with the token that the caller's function gives to what comes after it."""
        return Contents(self._sequence, order, self._last)

    def turn(self, read: Tensor) -> Tensor:
        """Before the backward pass, which will read these cells' gradients, (B, R): the gradient of all cells.

        To be changed in place.

        Raises:
            RuntimeError: if there has been a backward pass, or the bank has begun another sequence.
        """
        total = self._sequence.enter_backward(self._last)
        self._sequence.marked.append(read)
        return total

    def back(self) -> None:
        """After the backward pass: takes the writes back."""
        self._sequence.enter_backward(self._first)


Memory = Tensor | Contents
"""Cells (B, N, W): in a tensor, which every write copies, or in a bank."""


def blocks(memory: Memory, size: int) -> Iterator[tuple[int, Tensor]]:
    """The cells in blocks of at most `size`: the number of the first and the block, without gradients or copies."""
    cells = memory.now() if isinstance(memory, Contents) else memory.detach()
    for start in range(0, cells.shape[1], size):
        yield start, cells[:, start : start + size]


def snapshot(memory: Memory) -> Tensor:
    """A copy of all cells, (B, N, W), through which no gradient passes."""
    return memory.cells if isinstance(memory, Contents) else memory.detach().clone()


class _Storage:
    """The cells and, from the first use of gradients on, their gradient: zero outside of a backward pass."""

    def __init__(self, cells: Tensor) -> None:
        self.cells = cells
        self._gradient: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        if self._gradient is None:
            self._gradient = torch.zeros_like(self.cells)
        return self._gradient


class _Sequence:
    """The log of one batch of sequences: what a bank needs to go back, and to notice that it cannot."""

    def __init__(self, storage: _Storage, own_contents: bool) -> None:
        self.storage, self.cells = storage, storage.cells
        self.own_contents = own_contents
        self.with_gradients = False
        self.writes = 0
        self.written: list[Tensor] = []  # the cells of each write, by number
        self.old: list[Tensor] = []  # with gradients: what they held before it
        self.forgotten = False  # more was written than there are cells, so that filling them all is the cheaper way
        self.marked: list[Tensor] = []  # cells whose gradient may not be zero
        self.backward: int | None = None  # the backward pass that goes through this sequence
        self.ended = False

    def check(self, writes: int) -> None:
        """Whether contents after so many writes are those of now."""
        if self.ended:
            raise RuntimeError("the bank has begun another sequence: contents from before `begin` are gone")
        if self.backward is not None:
            raise RuntimeError(
                "this sequence has been back-propagated, which took its writes back: call `begin` for the next one"
            )
        if writes != self.writes:
            raise RuntimeError(
                f"these contents, after {writes} writes, are gone: the bank is {self.writes} writes on and keeps its "
                "newest contents alone. Go on from what the last `write` returned, or keep the memory in a tensor"
            )

    def enter_forward(self, writes: int, with_gradients: bool) -> None:
        """Whether a write may follow after so many."""
        self.check(writes)
        if self.writes and with_gradients != self.with_gradients:
            raise RuntimeError(
                "the writes of one sequence must all be made with gradients or all without: "
                f"those before this one were made with{'' if self.with_gradients else 'out'}"
            )
        self.with_gradients = with_gradients

    def write(self, address: HardAddress, erase: Tensor, add: Tensor) -> None:
        """Change the rows in place, and log it."""
        old = read_cells(self.cells, address) if self.with_gradients else None
        write_cells(self.cells, address, erase, add, inplace=True)
        self.log(address.index, old)

    def log(self, index: Tensor, old: Tensor | None) -> None:
        """A write; with gradients, and what the cells held before it."""
        self.writes += 1
        if self.with_gradients and old is not None:
            self.old.append(old)
        if not self.forgotten:
            self.written.append(index)
            self.forgotten = not self.with_gradients and self.writes * index.shape[1] > self.cells.shape[1]
            if self.forgotten:
                self.written = []

    def enter_backward(self, writes: int) -> Tensor:
        """Go back to where so many writes had been made; returns the gradient of what the cells held then."""
        if self.ended:
            raise RuntimeError(
                "the bank has begun another sequence since this graph was built: back-propagate before `begin`"
            )
        if torch.is_grad_enabled():
            raise RuntimeError("there are no second derivatives through a bank: call backward without create_graph")
        current = torch._C._current_graph_task_id()
        if self.backward is None:
            self.backward = current
        if self.backward != current:
            raise RuntimeError(
                "a bank's sequence can be back-propagated once, in one call: its writes are already taken back. Add "
                "the losses up and call `backward` once, without retain_graph; after a failed call, `begin` anew"
            )
        while len(self.old) > writes:
            old = self.old.pop()
            self.cells.scatter_(1, _rows(self.written[len(self.old)], self.cells), old)
        return self.storage.gradient

    def end(self, fill: float) -> bool:
        """Leave the cells as they were at the beginning and the gradient zero; whether the cells need filling."""
        self.ended = True
        if self.marked:
            self.storage.gradient.scatter_(1, _rows(torch.cat(self.marked, dim=1), self.cells), 0.0)
        refill = self.forgotten or self.own_contents
        if self.written and not refill:
            self.cells.scatter_(1, _rows(torch.cat(self.written, dim=1), self.cells), fill)
        self.written, self.old, self.marked = [], [], []
        return refill


class _Begin(torch.autograd.Function):
    """Contents that require a gradient -> the first order token."""

    @staticmethod
    def forward(ctx: Any, contents: Tensor, sequence: _Sequence) -> Tensor:
        ctx.sequence = sequence
        return contents.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.sequence.enter_backward(0).clone(), None


class _Read(torch.autograd.Function):
    """(order, index) -> rows, order."""

    @staticmethod
    def forward(ctx: Any, order: Tensor, index: Tensor, sequence: _Sequence) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.sequence, ctx.writes = sequence, sequence.writes
        ctx.save_for_backward(index)
        return read_cells(sequence.cells, HardAddress(index)), order.new_empty(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> tuple[None, None, None]:
        total = ctx.sequence.enter_backward(ctx.writes)
        if gradient is not None:
            index = ctx.saved_tensors[0]
            ctx.sequence.marked.append(index)
            total.scatter_add_(1, _rows(index, total), gradient)
        return None, None, None


class _Write(torch.autograd.Function):
    """(order, erase, add, index) -> order. Eqs. 3-4 of Graves, Wayne & Danihelka 2014, and their derivatives."""

    @staticmethod
    def forward(ctx: Any, order: Tensor, erase: Tensor, add: Tensor, index: Tensor, sequence: _Sequence) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.sequence, ctx.writes = sequence, sequence.writes
        sequence.write(HardAddress(index), erase, add)
        ctx.save_for_backward(erase, index, sequence.old[-1])
        return order.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[None, Tensor, Tensor, None, None]:
        total = ctx.sequence.enter_backward(ctx.writes)
        erase, index, old = ctx.saved_tensors
        rows = _rows(index, total)
        gradient = total.gather(1, rows)  # of each head's cell after the write, (B, H, W)
        keep, others = kept(erase, index)
        total.scatter_(1, rows, gradient * keep)
        slope = gradient * old
        return None, -slope if others is None else -slope * others, gradient, None, None


def kept(erase: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
    """What all heads together leave of each head's cell, eq. 3, and what the others leave: (B, H, W); None for all."""
    keep = 1 - erase
    if index.shape[1] == 1:
        return keep, None
    same = index.unsqueeze(2) == index.unsqueeze(1)  # (B, H, H)
    apart = ~torch.eye(index.shape[1], dtype=torch.bool, device=index.device)
    by_head = keep.unsqueeze(1).expand(-1, index.shape[1], -1, -1)
    both = [torch.where(mask.unsqueeze(-1), by_head, 1.0).prod(dim=2) for mask in (same, same & apart)]
    return both[0], both[1]


def _rows(index: Tensor, cells: Tensor) -> Tensor:
    return index.unsqueeze(-1).expand(-1, -1, cells.shape[2])


def _hard(address: Address) -> HardAddress:
    if not isinstance(address, HardAddress):
        raise ValueError("a bank is read and written one cell per head: it needs a HardAddress, got a SoftAddress")
    return address
