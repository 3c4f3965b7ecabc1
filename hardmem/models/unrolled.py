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

from hardmem.access import AccessRecord
from hardmem.bank import Memory
from hardmem.fused import NUM_SAVED, SECOND, Layout, backward_step, forward_step
from hardmem.memory import Address, SoftAddress
from hardmem.models.controllers import Controller, Hidden
from hardmem.models.recurrences import Recurrence, Sums, gate_of, recurrence


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
    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor], of_raw: Tensor) -> None:
        """Gradients of what there was at the end, what was saved, and where those of the numbers will go, (T, B, P)."""

    @abstractmethod
    def back_read(self, t: int, of_read: Tensor) -> None:
        """Gradient of what was read, (B, R W)."""

    @abstractmethod
    def back_step(self, t: int) -> None:
        """Fills in the gradient of the numbers of the step."""

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

    def turn(self, of_end: Sequence[Tensor | None], saved: Sequence[Tensor], of_raw: Tensor) -> None:
        self.saved, self.of_raw = list(saved), of_raw
        of_memory, self.of_weights = of_end
        self.of_memory = torch.zeros_like(saved[0]) if of_memory is None else of_memory.clone()

    def back_read(self, t: int, of_read: Tensor) -> None:
        self.of_rows = of_read.unflatten(-1, (len(self.layout.reading), -1))

    def back_step(self, t: int) -> None:
        saved = self.saved[NUM_SAVED * t : NUM_SAVED * (t + 1)]
        self.of_memory, self.of_weights, of_address, of_write = backward_step(
            self.of_memory, self.of_weights, self.of_rows, saved, self.layout
        )
        torch.cat([of_address.flatten(1), of_write.flatten(1)], dim=-1, out=self.of_raw[t])

    def start(self) -> list[Tensor | None]:
        del self.saved, self.of_raw
        return [self.of_memory, self.of_weights]


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
        by_past, by_features = past.t().contiguous(), weight.t().contiguous()  # a step takes a third less time
        all_seen, all_sums = given.new_empty((*given.shape[:2], past.shape[1])), torch.empty_like(given)
        recurrence.begin(all_sums)
        features, reads = list[Tensor](), list[Tensor]()
        for t, (by_input, seen, sums) in enumerate(zip(given, all_seen, all_sums, strict=True)):
            if heads.reads_first:
                read = heads.read()
            torch.cat([read, hidden[0]] if hidden else [read], dim=-1, out=seen)
            torch.addmm(by_input, seen, by_past, out=sums)
            output, hidden = recurrence.step(t, hidden)
            features.append(output)
            heads.step(torch.addmm(bias, output, by_features))
            if not heads.reads_first:
                read = heads.read()
            reads.append(read)
        hidden = tuple(part.clone() for part in hidden)  # what each step gave may lie in what is kept for all
        end, saved = heads.end()
        all_features = torch.stack(features)
        ctx.plan, ctx.num_saved = plan, len(saved)
        ctx.save_for_backward(past, weight, all_features, *first, all_seen, *saved, *recurrence.take())
        return (all_features, torch.stack(reads), *hidden, *end)

    @staticmethod
    def backward(
        ctx: Any, of_features: Tensor | None, of_reads: Tensor | None, *others: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(SECOND)
        recurrence, heads, num_hidden = ctx.plan
        past, weight, features, *rest = ctx.saved_tensors
        first, seen, rest = tuple(rest[:num_hidden]), rest[num_hidden], rest[num_hidden + 1 :]
        steps, batch = features.shape[:2]
        of_raw = features.new_empty((steps, batch, weight.shape[0]))
        heads.turn(others[num_hidden:], rest[: ctx.num_saved], of_raw)
        of_given = features.new_empty((steps, batch, past.shape[0]))
        recurrence.turn(rest[ctx.num_saved :], first, of_given)
        read_size = past.shape[1] - (first[0].shape[1] if first else 0)

        nothing = features.new_zeros(())
        of_features = torch.zeros_like(features) if of_features is None else of_features
        of_hidden = tuple(nothing if part is None else part for part in others[:num_hidden])
        of_seen = nothing  # by the step after
        by_reads = [nothing] * steps if of_reads is None else of_reads.unbind()
        by_features, by_raw, by_given = (part.unbind() for part in (of_features, of_raw, of_given))
        for t in reversed(range(steps)):
            of_read = by_reads[t]
            if not heads.reads_first:
                heads.back_read(t, (of_read + of_seen).expand(batch, read_size))
            heads.back_step(t)
            of_hidden = recurrence.back(t, torch.addmm(by_features[t], by_raw[t], weight), of_hidden)
            by_sums = by_given[t] @ past
            of_seen = by_sums[:, :read_size]
            if of_hidden:
                of_hidden = (of_hidden[0] + by_sums[:, read_size:], *of_hidden[1:])
            if heads.reads_first:
                heads.back_read(t, of_read + of_seen)
        of_start = heads.start()
        of_past = of_given.flatten(0, 1).t() @ seen.flatten(0, 1)
        of_weight, of_bias = of_raw.flatten(0, 1).t() @ features.flatten(0, 1), of_raw.sum(dim=(0, 1))
        of_first = of_seen if not heads.reads_first else None
        return None, of_given, of_past, of_weight, of_bias, of_first, *of_hidden, *recurrence.gate_back(), *of_start
