"""Heads that touch one cell, as `hardmem.models.unrolled` runs them and `hardmem.models.rollout` plays them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardmem.access import AccessRecord, hard
from hardmem.bank import Contents, Memory, kept
from hardmem.host import on_host, sigmoid
from hardmem.memory import Address, HardAddress, write
from hardmem.models.unrolled import Heads
from hardmem.schemes import Scheme


class HardHeads(Heads):
    """One cell per head, chosen without a look at the cells; these are changed in place.

    Args:
        scheme: a `blind` one.
        access: "sampled" or "argmax".
        memory: cells in a tensor, which are changed where there are no gradients, or on a bank.
        index: where the heads are, (B, H).
        reading, writing: the heads that do.
        reads_first: as in `Heads`.
        generator: for what is drawn.
        keep: whether to remember what was chosen.
    """

    def __init__(
        self,
        scheme: Scheme,
        access: str,
        memory: Memory,
        index: Tensor,
        reading: list[int],
        writing: list[int],
        reads_first: bool,
        generator: torch.Generator | None,
        *,
        keep: bool = True,
    ) -> None:
        self.keep_choices = keep
        self.scheme, self.access, self.generator, self.reads_first = scheme, access, generator, reads_first
        self.given, self.bank = memory, memory.many() if isinstance(memory, Contents) else None
        self.reading, self.writing = reading, writing
        self.split = index.shape[1] * scheme.num_outputs
        self.sizes = [self.split, len(writing) * 2 * memory.shape[2]]
        self.same = reads_first and reading == writing  # what is read is what will be overwritten
        self.at = index.unsqueeze(-1)  # (B, H, 1)
        self.index = [self.at]
        self.moves: list[Tensor] = []
        self.choices: list[Tensor] = []
        self.old: list[Any] = []  # tensors or arrays, as are the next
        self.erase: list[Any] = []

    def begin(self) -> list[Tensor]:
        with_gradients = self.with_gradients = torch.is_grad_enabled()
        if self.bank is not None:
            self.bank.begin(with_gradients)
            self.cells, given = self.bank.cells, self.bank.order
        else:
            assert isinstance(self.given, Tensor)
            given = self.given
            self.cells = given.detach().clone() if with_gradients else given
        del self.given
        return [given]

    def read(self) -> Tensor:
        self.found = self.cells.gather(1, self._rows(_of(self.at, self.reading)))
        return self.found.flatten(1)

    def step(self, raw: Tensor) -> None:
        moves, written = raw.split_with_sizes(self.sizes, dim=-1)
        if self.reads_first:
            self.write(written)
            self.move(moves)
        else:
            self.move(moves)
            self.write(written)

    def move(self, raw: Tensor) -> None:
        """By the numbers that address."""
        moves = raw.view(len(raw), -1, self.scheme.num_outputs)
        choice, self.at = self.scheme.take(moves, self.at, self.cells, self.access, self.generator)
        if self.keep_choices:
            self.index.append(self.at)
            self.moves.append(moves)
            self.choices.append(choice)

    def write(self, raw: Tensor) -> None:
        """By the numbers of the heads that write."""
        at = _of(self.at, self.writing)
        erase, add = raw.view(len(raw), -1, 2, self.cells.shape[2]).unbind(dim=2)
        erase, rows = erase.sigmoid(), self._rows(at)
        old = self.found if self.same else self.cells.gather(1, rows)
        if len(self.writing) == 1:
            self.cells.scatter_(1, rows, torch.addcmul(old + add, old, erase, value=-1))
        else:
            write(self.cells, HardAddress(at.squeeze(-1)), erase, add, inplace=True)
        if self.with_gradients:
            self.old.append(old)
            self.erase.append(erase)
        if self.bank is not None:
            self.bank.log(at.squeeze(-1), old)

    def _rows(self, at: Tensor) -> Tensor:
        return at.expand(-1, -1, self.cells.shape[2])

    def go_on(self) -> None:
        """Between two steps of a rollout: whether the bank still holds what these heads left."""
        if self.bank is not None:
            self.bank.begin(False)

    def now(self) -> tuple[Memory, Address]:
        """What a rollout has come to."""
        memory = self.cells if self.bank is None else self.bank.end(self.bank.order)
        return memory, HardAddress(self.at.squeeze(-1))

    def record(self) -> AccessRecord:
        """Of the choices of a rollout, (T, B, H)."""
        return self._record(torch.stack(self.moves))

    def end(self) -> tuple[list[Tensor], list[Tensor]]:
        end = [self.cells if self.bank is None else self.cells.new_empty(0), torch.stack(self.moves)]
        saved = []
        if self.with_gradients:
            saved = [torch.stack(self.index), self._stacked(self.old), self._stacked(self.erase)]
        self.cells = self.cells.new_empty(()).expand(self.cells.shape)  # the result will refer to these heads
        del self.moves, self.old, self.erase
        return end, saved

    def _stacked(self, rows: list[Any]) -> Tensor:
        """Of all steps, (T, B, H, W)."""
        return torch.stack(rows)

    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor], of_raw: Tensor) -> None:
        of_memory, of_moves = of_end
        of_raw[..., : self.split] = 0 if of_moves is None else of_moves.flatten(2)
        self.of_write = of_raw[..., self.split :].unflatten(-1, (len(self.writing), 2, -1))
        index, old, erase = saved
        before, after = index[:-1], index[1:]
        read, written = (before, before) if self.reads_first else (after, after)
        read, written = _of(read, self.reading), _of(written, self.writing)
        if self.bank is not None:
            self.total = self.bank.turn(read.squeeze(-1).transpose(0, 1).flatten(1))
        else:
            self.total = self.cells.new_zeros(self.cells.shape) if of_memory is None else of_memory.clone()
        self.where = read, written
        keep, others = kept(erase.flatten(0, 1), written.squeeze(-1).flatten(0, 1))
        self.keep = keep.unflatten(0, erase.shape[:2])
        slope = old * erase * (erase - 1)  # of what is left, by the number before the sigmoid
        self.slope = slope if others is None else slope * others.unflatten(0, erase.shape[:2])
        self._ready()

    def _ready(self) -> None:
        """All steps at once, before `back_read` and `back_step`."""
        self.read_rows, self.written_rows = (
            self._rows(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in self.where
        )

    def back_read(self, t: int, of_read: Tensor) -> None:
        rows = self.read_rows[t]
        self.total.scatter_add_(1, rows, of_read.view(rows.shape))

    def back_step(self, t: int) -> None:
        rows, of_write = self.written_rows[t], self.of_write[t]
        gradient = self.total.gather(1, rows)  # of each head's cell after the write
        self.total.scatter_(1, rows, gradient * self.keep[t])
        torch.mul(gradient, self.slope[t], out=of_write[:, :, 0])
        of_write[:, :, 1] = gradient

    def start(self) -> list[Tensor | None]:
        if self.bank is None:
            return [self.total]
        self.bank.back()
        return [None]

    def result(self, end: Sequence[Tensor]) -> tuple[Memory, Address, AccessRecord | None]:
        memory = end[0] if self.bank is None else self.bank.end(end[0])
        return memory, HardAddress(self.at.squeeze(-1)), self._record(end[1])

    def _record(self, moves: Tensor) -> AccessRecord:
        """Of all choices, (T, B, H): through the numbers that led to them, (T, B, H, P), for autograd."""
        before, choice = torch.stack(self.index[:-1]).squeeze(-1), torch.stack(self.choices).squeeze(-1)
        distribution = self.scheme(moves.flatten(0, 1), HardAddress(before.flatten(0, 1)), self.cells)
        record = hard(distribution, choice.flatten(0, 1))[1]
        return AccessRecord(*(field.unflatten(0, choice.shape[:2]) for field in record))


class HostHeads(HardHeads):
    """The same by `hardmem.host`: on the CPU, by one head that reads and one that writes, or one that does both."""

    @classmethod
    def fits(cls, memory: Memory, scheme: Scheme, reading: list[int], writing: list[int]) -> bool:
        """Whether these are such heads and such cells."""
        if not len(reading) == len(writing) == 1:
            return False
        cells = memory if isinstance(memory, Tensor) else memory.many().cells
        batch, _, width = cells.shape
        return on_host(cells, batch * (2 * width + 2 * scheme.num_outputs))

    def begin(self) -> list[Tensor]:
        given = super().begin()
        batch, num_cells, self.width = self.cells.shape
        self.array, self.which = self.cells.numpy(), np.arange(batch)
        self.place = self.at.squeeze(-1).numpy().copy()  # (B, H)
        self.take = self.scheme.on_host(num_cells, self.place.size)
        drawn = self.cells.new_empty(self.place.size)
        self.draw = drawn, drawn.numpy()
        return given

    def read(self) -> Tensor:
        self.row = self.array[self.which, self.place[:, self.reading[0]]]  # (B, W)
        return torch.from_numpy(self.row)

    def move(self, raw: Tensor) -> None:
        if self.take is None:
            super().move(raw)
            self.place = self.at.squeeze(-1).numpy()
            return
        uniform = None
        if self.access == "sampled":
            drawn, uniform = self.draw
            drawn.uniform_(generator=self.generator)
        heads = self.place.shape[1]
        choice, place = self.take(raw.numpy().reshape(self.place.size, -1), self.place.ravel(), uniform)
        self.place = place.reshape(-1, heads)
        if self.keep_choices:
            self.index.append(torch.from_numpy(place).view(-1, heads, 1))
            self.moves.append(raw.view(len(raw), heads, -1))
            self.choices.append(torch.from_numpy(choice).view(-1, heads, 1))

    def write(self, raw: Tensor) -> None:
        place, numbers = self.place[:, self.writing[0]], raw.numpy()
        old = self.row if self.same else self.array[self.which, place]
        erase = sigmoid(numbers[:, : self.width])
        self.array[self.which, place] = old + numbers[:, self.width :] - old * erase
        if self.with_gradients:
            self.old.append(old)
            self.erase.append(erase)
        if self.bank is not None:
            held = torch.from_numpy(old).unsqueeze(1) if self.with_gradients else None
            self.bank.log(torch.from_numpy(place).unsqueeze(1), held)

    def now(self) -> tuple[Memory, Address]:
        self.at = torch.from_numpy(self.place).unsqueeze(-1)
        return super().now()

    def end(self) -> tuple[list[Tensor], list[Tensor]]:
        self.at = torch.from_numpy(self.place).unsqueeze(-1)
        del self.array
        return super().end()

    def _stacked(self, rows: list[Any]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).unsqueeze(2)

    def _ready(self) -> None:
        self.read_place, self.written_place = (part[..., 0, 0].numpy() for part in self.where)
        self.slopes, self.keeps = self.slope[:, :, 0].numpy(), self.keep[:, :, 0].numpy()
        self.array, self.which = self.total.numpy(), np.arange(len(self.total))
        self.of_erase, self.of_add = (part[:, :, 0].numpy() for part in self.of_write.unbind(dim=3))

    def back_read(self, t: int, of_read: Tensor) -> None:
        self.array[self.which, self.read_place[t]] += of_read.numpy()

    def back_step(self, t: int) -> None:
        rows = self.which, self.written_place[t]
        gradient = self.array[rows]
        self.array[rows] = gradient * self.keeps[t]
        np.multiply(gradient, self.slopes[t], out=self.of_erase[t])
        self.of_add[t] = gradient


def _of(at: Tensor, heads: list[int]) -> Tensor:
    """Of (..., H, 1), those of some heads."""
    first, last = heads[0], heads[-1]
    if len(heads) == at.shape[-2] and heads == list(range(len(heads))):
        return at
    if heads == list(range(first, last + 1)):
        return at[..., first : last + 1, :]
    return torch.stack([at[..., head, :] for head in heads], dim=-2)
