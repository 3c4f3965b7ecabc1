"""A sequence of the Neural Turing Machine as one operation with a backward pass of its own.

Step by step, autograd would keep track of a hundred small operations and add up the gradients of the parameters anew at
every step. Here the steps run without it, forward and backward; what can be done for all steps at once, the share of
the inputs in the controller before, the gradients of the parameters after, is one product each. The numbers are those
of `NTM.step`, which remains the definition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hardmem.access import AccessRecord, hard
from hardmem.bank import Contents, Memory, kept
from hardmem.fused import NUM_SAVED, SECOND, Layout, backward_step, forward_step
from hardmem.memory import Address, HardAddress, SoftAddress, write
from hardmem.models.controllers import Controller, Hidden
from hardmem.models.recurrences import Recurrence, Sums, gate_of, recurrence
from hardmem.schemes import Scheme


class Heads(ABC):
    """What the heads do in a sequence, from numbers (B, P): those that address, then erase and add of those that write.

    Forward, `step` for each step, and `read`, before or after it; then `end`. Backward, `turn`, then from the last step
    to the first `back_step` and `back_read` in the opposite order; then `start`.
    """

    reads_first: bool = False
    """Whether a step reads before the controller and moves last."""

    @abstractmethod
    def begin(self) -> list[Tensor]:
        """What gradients may go back to in the end."""

    @abstractmethod
    def read(self) -> Tensor:
        """Where the heads are, (B, R W)."""

    @abstractmethod
    def step(self, raw: Tensor) -> None:
        """Move and write; the other way round where a step reads first."""

    @abstractmethod
    def end(self) -> tuple[list[Tensor], list[Tensor]]:
        """What there is at the end for gradients to come back from, beside what was read; and what to save."""

    @abstractmethod
    def result(self, end: Sequence[Tensor]) -> tuple[Memory, Address, AccessRecord | None]:
        """What there is at the end as autograd knows it -> memory, address, and what was chosen, (T, B, H)."""

    @abstractmethod
    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor]) -> None:
        """Gradients of what there was at the end, and what was saved."""

    @abstractmethod
    def back_read(self, t: int, of_read: Tensor) -> None:
        """Gradient of what was read, (B, R W)."""

    @abstractmethod
    def back_step(self, t: int, of_raw: Tensor) -> None:
        """Fills in the gradient of the numbers of the step, (B, P)."""

    @abstractmethod
    def start(self) -> list[Tensor | None]:
        """Gradients of what `begin` gave."""


class SoftHeads(Heads):
    """`hardmem.fused`, over and over."""

    def __init__(self, memory: Tensor, weights: Tensor, layout: Layout) -> None:
        self.memory, self.weights, self.layout, self.keep = memory, weights, layout, torch.is_grad_enabled()
        self.size = memory.shape[2] + 3 + len(layout.offsets)  # numbers that address
        self.saved: list[Tensor] = []

    def begin(self) -> list[Tensor]:
        return [self.memory, self.weights]

    def read(self) -> Tensor:
        return self.rows

    def step(self, raw: Tensor) -> None:
        heads, width = self.weights.shape[1], self.memory.shape[2]
        raw_write = raw[:, heads * self.size :].unflatten(-1, (-1, 2, width))
        raw = raw[:, : heads * self.size].unflatten(-1, (heads, -1))
        (self.memory, self.weights, rows), saved = forward_step(self.memory, self.weights, raw, raw_write, self.layout)
        self.rows = rows.flatten(1)
        if self.keep:
            self.saved += saved

    def end(self) -> tuple[list[Tensor], list[Tensor]]:
        end, saved = [self.memory, self.weights], self.saved
        del self.memory, self.weights, self.saved  # all of it will refer to these heads, which must not refer to it
        return end, saved

    def result(self, end: Sequence[Tensor]) -> tuple[Memory, Address, AccessRecord | None]:
        return end[0], SoftAddress(end[1]), None

    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor]) -> None:
        self.saved = list(saved)
        of_memory, self.of_weights = of_end
        self.of_memory = torch.zeros_like(saved[0]) if of_memory is None else of_memory.clone()

    def back_read(self, t: int, of_read: Tensor) -> None:
        self.of_rows = of_read.unflatten(-1, (len(self.layout.reading), -1))

    def back_step(self, t: int, of_raw: Tensor) -> None:
        saved = self.saved[NUM_SAVED * t : NUM_SAVED * (t + 1)]
        self.of_memory, self.of_weights, of_address, of_write = backward_step(
            self.of_memory, self.of_weights, self.of_rows, saved, self.layout
        )
        torch.cat([of_address.flatten(1), of_write.flatten(1)], dim=-1, out=of_raw)

    def start(self) -> list[Tensor | None]:
        del self.saved
        return [self.of_memory, self.of_weights]


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
        self.old: list[Tensor] = []
        self.erase: list[Tensor] = []

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
        saved = [torch.stack(part) for part in (self.index, self.old, self.erase)] if self.with_gradients else []
        self.cells = self.cells.new_empty(()).expand(self.cells.shape)  # the result will refer to these heads
        del self.moves, self.old, self.erase
        return end, saved

    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor]) -> None:
        of_memory, self.of_moves = of_end
        index, old, erase = saved
        before, after = index[:-1], index[1:]
        read, written = (before, before) if self.reads_first else (after, after)
        read, written = _of(read, self.reading), _of(written, self.writing)
        if self.bank is not None:
            self.total = self.bank.turn(read.squeeze(-1).transpose(0, 1).flatten(1))
        else:
            self.total = self.cells.new_zeros(self.cells.shape) if of_memory is None else of_memory.clone()
        self.read_rows, self.written_rows = (
            self._rows(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in (read, written)
        )
        keep, others = kept(erase.flatten(0, 1), written.squeeze(-1).flatten(0, 1))
        self.keep = keep.unflatten(0, erase.shape[:2])
        slope = old * erase * (erase - 1)  # of what is left, by the number before the sigmoid
        self.slope = slope if others is None else slope * others.unflatten(0, erase.shape[:2])

    def back_read(self, t: int, of_read: Tensor) -> None:
        rows = self.read_rows[t]
        self.total.scatter_add_(1, rows, of_read.view(rows.shape))

    def back_step(self, t: int, of_raw: Tensor) -> None:
        rows, of_write = self.written_rows[t], of_raw[:, self.split :].view(len(of_raw), len(self.writing), 2, -1)
        gradient = self.total.gather(1, rows)  # of each head's cell after the write
        self.total.scatter_(1, rows, gradient * self.keep[t])
        torch.mul(gradient, self.slope[t], out=of_write[:, :, 0])
        of_write[:, :, 1] = gradient
        if self.of_moves is not None:
            of_raw[:, : self.split] = self.of_moves[t].flatten(1)
        else:
            of_raw[:, : self.split] = 0

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


def _of(at: Tensor, heads: list[int]) -> Tensor:
    """Of (..., H, 1), those of some heads."""
    first, last = heads[0], heads[-1]
    if len(heads) == at.shape[-2] and heads == list(range(len(heads))):
        return at
    if heads == list(range(first, last + 1)):
        return at[..., first : last + 1, :]
    return torch.stack([at[..., head, :] for head in heads], dim=-2)


class Result(NamedTuple):
    """What a sequence gives.

    Attributes:
        features: of the controller, (T, B, D).
        reads: what each step's output is to see, (T, B, R W).
        hidden: the controller's last state.
        memory, address: after the last step.
        record: of what was chosen, fields (T, B, H); None where nothing was.
    """

    features: Tensor
    reads: Tensor
    hidden: Hidden
    memory: Memory
    address: Address
    record: AccessRecord | None


def unroll(
    sums: Sums, controller: Controller, heads: Heads, weight: Tensor, bias: Tensor, read: Tensor, hidden: Hidden
) -> Result:
    """Run a sequence.

    Args:
        sums: of the controller, from the inputs.
        controller: one that `has_recurrence`.
        heads: new ones.
        weight: from features to the numbers of the heads, (P, D).
        bias: theirs, (P,).
        read: what was read before, (B, R W).
        hidden: the controller's state before.
    """
    plan = _Plan(recurrence(controller), heads, len(hidden))
    given = (sums.given, sums.by_past, weight, bias, read, *hidden, *gate_of(controller), *heads.begin())
    features, reads, *rest = _Unrolled.apply(plan, *given)  # type: ignore[no-untyped-call]
    return Result(features, reads, tuple(rest[: len(hidden)]), *heads.result(rest[len(hidden) :]))


class _Plan(NamedTuple):
    recurrence: Recurrence
    heads: Heads
    num_hidden: int


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, given: Tensor, past: Tensor, weight: Tensor, bias: Tensor, read: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        recurrence, heads, num_hidden = plan
        first = hidden = others[:num_hidden]
        by_past, by_features = past.t(), weight.t()
        seen, features, reads = list[Tensor](), list[Tensor](), list[Tensor]()
        for by_input in given:
            if heads.reads_first:
                read = heads.read()
            seen.append(torch.cat([read, hidden[0]], dim=-1) if hidden else read)
            output, hidden = recurrence.step(torch.addmm(by_input, seen[-1], by_past), hidden)
            features.append(output)
            heads.step(torch.addmm(bias, output, by_features))
            if not heads.reads_first:
                read = heads.read()
            reads.append(read)
        end, saved = heads.end()
        all_features = torch.stack(features)
        ctx.plan, ctx.num_seen, ctx.num_saved = plan, len(seen), len(saved)
        ctx.save_for_backward(past, weight, all_features, *first, *seen, *saved, *recurrence.take())
        return (all_features, torch.stack(reads), *hidden, *end)

    @staticmethod
    def backward(
        ctx: Any, of_features: Tensor | None, of_reads: Tensor | None, *others: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(SECOND)
        recurrence, heads, num_hidden = ctx.plan
        past, weight, features, *rest = ctx.saved_tensors
        first, rest = tuple(rest[:num_hidden]), rest[num_hidden:]
        seen, rest = rest[: ctx.num_seen], rest[ctx.num_seen :]
        steps, batch = features.shape[:2]
        heads.turn(others[num_hidden:], rest[: ctx.num_saved])
        recurrence.turn(rest[ctx.num_saved :], first)
        read_size = past.shape[1] - (first[0].shape[1] if first else 0)

        of_given = features.new_empty((steps, batch, past.shape[0]))
        of_raw = features.new_empty((steps, batch, weight.shape[0]))
        nothing = features.new_zeros(())
        of_hidden = tuple(nothing if part is None else part for part in others[:num_hidden])
        of_seen = nothing  # by the step after
        for t in reversed(range(steps)):
            of_read = nothing if of_reads is None else of_reads[t]
            if not heads.reads_first:
                heads.back_read(t, (of_read + of_seen).expand(batch, read_size))
            heads.back_step(t, of_raw[t])
            total = of_raw[t] @ weight if of_features is None else torch.addmm(of_features[t], of_raw[t], weight)
            of_hidden = recurrence.back(t, total, of_hidden, of_given[t])
            by_sums = of_given[t] @ past
            of_seen = by_sums[:, :read_size]
            if of_hidden:
                of_hidden = (of_hidden[0] + by_sums[:, read_size:], *of_hidden[1:])
            if heads.reads_first:
                heads.back_read(t, of_read + of_seen)
        of_start = heads.start()
        of_past = of_given.flatten(0, 1).t() @ torch.cat(seen)
        of_weight, of_bias = of_raw.flatten(0, 1).t() @ features.flatten(0, 1), of_raw.sum(dim=(0, 1))
        of_first = of_seen if not heads.reads_first else None
        return None, of_given, of_past, of_weight, of_bias, of_first, *of_hidden, *recurrence.gate_back(), *of_start
