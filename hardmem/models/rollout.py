"""Steps of the Neural Turing Machine as a policy at work takes them: one after the other, without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.access import AccessRecord
from hardmem.models.controllers import Hidden
from hardmem.models.hard_heads import HardHeads
from hardmem.models.recurrences import recurrence, weights

if TYPE_CHECKING:
    from hardmem.models.ntm import NTM, NTMState


class Rollout:
    """A sequence that is played step by step: `NTM.rollout` makes one.

    The numbers and the draws are those of `NTM.step` without gradients, in less time where the heads are hard and do
    not look into the cells: what is the same at every step is done when the rollout is made. So it plays with the
    parameters as they were then; after an update make another.

    Args:
        ntm: the machine.
        state: where to start. Its memory is not changed, unless it is on a bank.
        generator: for what is drawn.
        keep: whether to keep what was chosen, for `record`.
    """

    def __init__(
        self, ntm: NTM, state: NTMState, generator: torch.Generator | None = None, *, keep: bool = False
    ) -> None:
        self._ntm, self._generator, self._keep = ntm, generator, keep
        self._records, self._steps = list[AccessRecord](), 0
        with torch.no_grad():
            if isinstance(state.memory, Tensor):
                state = state._replace(memory=state.memory.clone())
            heads = ntm.unrolled_heads(state, generator, keep=keep)
            self._heads = heads if isinstance(heads, HardHeads) else None
            if self._heads is not None:
                self._heads.begin()
                self._sizes = self._heads.sizes
                by_input, self._bias_of_sums, by_past = weights(ntm.controller, ntm.input_size, ntm.read_gate)
                self._by_before = torch.cat([by_input, by_past], dim=1).t().contiguous()
                self._sums = by_past.new_empty((len(state.read), len(by_past)))  # one buffer for all steps
                self._recurrence = recurrence(ntm.controller)
                self._recurrence.begin(self._sums.unsqueeze(0))
                weight, self._bias = ntm.head_parameters()
                if self._heads.reads_first:  # then what was read is known, and the output comes of the same product
                    weight, self._bias = self._with_output(weight)
                self._by_seen = weight.t().contiguous()
        self._state = state

    @torch.no_grad()
    def step(self, inputs: Tensor) -> Tensor:
        """Inputs (B, I) -> outputs (B, O).

        Raises:
            RuntimeError: if the bank has begun another sequence, or something else has written to it.
        """
        ntm, heads, state = self._ntm, self._heads, self._state
        self._steps += 1
        if heads is None:
            outputs, self._state, record = ntm.step(inputs, state, self._generator)
            if record is not None and self._keep:
                self._records.append(record)
            return outputs
        heads.go_on()
        if heads.reads_first:
            read = heads.read()
            features, hidden = self._control(inputs, read, state.hidden)
            raw = torch.addmm(self._bias, torch.cat([features, read], dim=-1), self._by_seen)
            moves, written, outputs = raw.split_with_sizes(self._sizes, dim=-1)
            heads.write(written)
            heads.move(moves)
        else:
            features, hidden = self._control(inputs, state.read, state.hidden)
            raw = torch.addmm(self._bias, features, self._by_seen)
            heads.step(raw)
            read = heads.read()
            outputs = ntm.output(features, read)
        self._state = state._replace(read=read, hidden=hidden)
        return outputs

    def _control(self, inputs: Tensor, read: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """`NTM.control` from one product. What it gives is good until the next step."""
        before = torch.cat([inputs, read, *hidden[:1]], dim=-1)
        torch.addmm(self._bias_of_sums, before, self._by_before, out=self._sums)
        return self._recurrence.step(0, hidden)

    def _with_output(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and bias of heads and output from features and what was read, ([P, O], D + R W)."""
        layer, width = self._ntm.output_layer, weight.shape[1]
        read_size = layer.in_features - width * self._ntm.bypass
        by_features = layer.weight[:, :-read_size] if self._ntm.bypass else weight.new_zeros(len(layer.weight), width)
        if self._ntm.bypass_gate is not None:
            by_features = by_features * self._ntm.bypass_gate
        of_output = torch.cat([by_features, layer.weight[:, -read_size:]], dim=1)
        self._sizes = [*self._sizes, len(of_output)]
        return torch.cat([F.pad(weight, (0, read_size)), of_output]), torch.cat([self._bias, layer.bias])

    @property
    def state(self) -> NTMState:
        """What the machine would carry on: for `NTM.step`, or another rollout. To be changed no more by this one."""
        if self._heads is None:
            return self._state
        memory, address = self._heads.now()
        hidden = tuple(part.clone() for part in self._state.hidden)
        return self._state._replace(memory=memory, address=address, hidden=hidden)

    @torch.no_grad()
    def record(self) -> AccessRecord | None:
        """What was chosen up to now, fields (T, B, H); None where the access chooses nothing.

        Raises:
            RuntimeError: if it was not kept, or there has been no step.
        """
        if not self._keep:
            raise RuntimeError("this rollout does not keep what was chosen: make it with keep=True")
        if self._steps == 0:
            raise RuntimeError("there has been no step yet")
        if self._heads is not None:
            return self._heads.record()
        if not self._records:
            return None
        return AccessRecord(*(torch.stack(field) for field in zip(*self._records, strict=True)))
