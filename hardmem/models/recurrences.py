"""Controllers as `hardmem.models.unrolled` runs them: one product per step, then what is done number by number.

The product, sums = given + [read, hidden] by_past', has its numbers from the parameters of a controller as in
`hardmem.models.controllers`, which stays the definition. What is left is here, forward and backward. The slopes of all
activations are taken for the whole sequence at once, before the backward pass, whose steps then have little to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.models.controllers import GRU, LSTM, SLOWNESS, Controller, FeedForward, Gated, Hidden


class Sums(NamedTuple):
    """Where the sums of a controller, G numbers each step, come from.

    Attributes:
        given: by the inputs, (T, B, G).
        by_past: weights of what was read, R numbers, and of the state before, D where there is one: (G, R + D).
    """

    given: Tensor
    by_past: Tensor


class Recurrence(ABC):
    """What a controller does with its sums. A new one for each sequence: it keeps what the backward pass needs."""

    features: Tensor
    """After `turn`: what each step gave, (T, B, D)."""

    @abstractmethod
    def begin(self, sums: Tensor) -> None:
        """Before the first step: where each will find its sums, (T, B, G), which it may change."""

    @abstractmethod
    def step(self, t: int, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """The state -> features (B, D) and the next state."""

    @abstractmethod
    def take(self) -> list[Tensor]:
        """After the last step: what to save, which is then no longer here."""

    @abstractmethod
    def turn(self, saved: Sequence[Tensor], start: Hidden, of_sums: Tensor) -> None:
        """Before the backward pass: all slopes, from what was saved and the state before the first step.

        And where each step is to put the gradient of its sums, (T, B, G).
        """

    @abstractmethod
    def back(self, t: int, of_features: Tensor, of_hidden: Hidden) -> Hidden:
        """Gradients of features and next state -> fills in that of the sums, and gives those of the state.

        Called from the last step to the first. What the state does to the sums is not in its gradients.
        """

    def gate_back(self) -> list[Tensor]:
        """After the backward pass: gradients of what `gate_of` gives."""
        return []


class Tanh(Recurrence):
    """`FeedForward`."""

    def begin(self, sums: Tensor) -> None:
        self.sums, self.each = sums, sums.unbind()

    def step(self, t: int, hidden: Hidden) -> tuple[Tensor, Hidden]:
        return self.each[t].tanh_(), hidden

    def take(self) -> list[Tensor]:
        saved = [self.sums]
        del self.sums, self.each
        return saved

    def turn(self, saved: Sequence[Tensor], start: Hidden, of_sums: Tensor) -> None:
        (self.features,) = saved
        self.slopes, self.of_sums = (1 - self.features.square()).unbind(), of_sums.unbind()

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden) -> Hidden:
        torch.mul(of_features, self.slopes[t], out=self.of_sums[t])
        return of_hidden


class LongShort(Recurrence):
    """`LSTM`: sums of the input, forget, new and output gates; the state is (features, inner)."""

    def begin(self, sums: Tensor) -> None:
        width = sums.shape[-1] // 4
        self.sums, self.inner = sums, sums.new_empty((*sums.shape[:2], width))
        self.inners, self.enter_forget = self.inner.unbind(), sums[..., : 2 * width].unbind()
        self.enter, self.forget, self.new, self.out = (part.unbind() for part in sums.chunk(4, dim=-1))

    def step(self, t: int, hidden: Hidden) -> tuple[Tensor, Hidden]:
        self.enter_forget[t].sigmoid_()
        kept, new = self.forget[t] * hidden[1], self.new[t].tanh_()
        inner = torch.addcmul(kept, self.enter[t], new, out=self.inners[t])
        features = self.out[t].sigmoid_() * inner.tanh()
        return features, (features, inner)

    def take(self) -> list[Tensor]:
        saved = [self.sums, self.inner]
        del self.sums, self.inner, self.inners, self.enter_forget, self.enter, self.forget, self.new, self.out
        return saved

    def turn(self, saved: Sequence[Tensor], start: Hidden, of_sums: Tensor) -> None:
        gates, inner = saved
        before, squashed = torch.cat([start[1].unsqueeze(0), inner[:-1]]), inner.tanh()
        enter, forget, new, out = gates.chunk(4, dim=-1)
        slopes = [new * enter * (1 - enter), before * forget * (1 - forget), enter * (1 - new * new)]
        self.of_gates = torch.stack(slopes, dim=-2).unbind()  # by the inner state, (B, 3, D)
        self.features, self.keeps = out * squashed, forget.unbind()
        self.of_out = (self.features * (1 - out)).unbind()
        self.of_inner = (out * (1 - squashed * squashed)).unbind()
        width = inner.shape[-1]
        self.of_gate_sums = of_sums[..., : 3 * width].unflatten(-1, (3, width)).unbind()
        self.of_out_sums, self.nothing = of_sums[..., 3 * width :].unbind(), inner.new_zeros(())

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden) -> Hidden:
        total = of_features + of_hidden[0]
        inner = torch.addcmul(of_hidden[1], total, self.of_inner[t])
        torch.mul(inner.unsqueeze(1), self.of_gates[t], out=self.of_gate_sums[t])
        torch.mul(total, self.of_out[t], out=self.of_out_sums[t])
        return self.nothing, inner * self.keeps[t]


class Updated(Recurrence):
    """`GRU`: sums of the reset and update gates, and of the new features by input and by state; the state is theirs."""

    def begin(self, sums: Tensor) -> None:
        width = sums.shape[-1] // 4
        self.sums, shape = sums, (*sums.shape[:2], width)
        self.all_new, self.all_features = sums.new_empty(shape), sums.new_empty(shape)
        self.new, self.each, self.gates = (
            self.all_new.unbind(),
            self.all_features.unbind(),
            sums[..., : 2 * width].unbind(),
        )
        self.reset, self.update, self.by_input, self.by_state = (part.unbind() for part in sums.chunk(4, dim=-1))

    def step(self, t: int, hidden: Hidden) -> tuple[Tensor, Hidden]:
        self.gates[t].sigmoid_()
        new = torch.addcmul(self.by_input[t], self.reset[t], self.by_state[t], out=self.new[t]).tanh_()
        features = torch.lerp(new, hidden[0], self.update[t], out=self.each[t])
        return features, (features,)

    def take(self) -> list[Tensor]:
        saved = [self.sums, self.all_new, self.all_features]
        del self.sums, self.all_new, self.all_features, self.new, self.each, self.gates
        del self.reset, self.update, self.by_input, self.by_state
        return saved

    def turn(self, saved: Sequence[Tensor], start: Hidden, of_sums: Tensor) -> None:
        sums, new, self.features = saved
        before = torch.cat([start[0].unsqueeze(0), self.features[:-1]])
        reset, update, _, by_state = sums.chunk(4, dim=-1)
        by_new = (1 - update) * (1 - new * new)
        of_reset = by_new * by_state * reset * (1 - reset)
        of_update = (before - new) * update * (1 - update)
        self.slopes = torch.stack([of_reset, of_update, by_new, by_new * reset], dim=-2).unbind()  # (B, 4, D)
        self.updates, self.of_sums = update.unbind(), of_sums.unflatten(-1, (4, -1)).unbind()

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden) -> Hidden:
        total = of_features + of_hidden[0]
        torch.mul(total.unsqueeze(1), self.slopes[t], out=self.of_sums[t])
        return (total * self.updates[t],)


class BehindGate(Recurrence):
    """`Gated`: sums of the layer, then those of the recurrent network behind the gate, four times as many."""

    def __init__(self, recurrent: Recurrence, gate: Tensor) -> None:
        self.layer, self.recurrent, self.gate = Tanh(), recurrent, SLOWNESS * gate

    def begin(self, sums: Tensor) -> None:
        width = sums.shape[-1] // 5
        self.layer.begin(sums[..., :width])
        self.recurrent.begin(sums[..., width:])

    def step(self, t: int, hidden: Hidden) -> tuple[Tensor, Hidden]:
        plain, _ = self.layer.step(t, ())
        behind, hidden = self.recurrent.step(t, hidden)
        return torch.addcmul(plain, behind, self.gate), hidden

    def take(self) -> list[Tensor]:
        return [*self.layer.take(), *self.recurrent.take()]

    def turn(self, saved: Sequence[Tensor], start: Hidden, of_sums: Tensor) -> None:
        width = of_sums.shape[-1] // 5
        self.layer.turn(saved[:1], (), of_sums[..., :width])
        self.recurrent.turn(saved[1:], start, of_sums[..., width:])
        self.features = torch.addcmul(self.layer.features, self.recurrent.features, self.gate)
        self.of_gate = torch.zeros_like(self.gate)

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden) -> Hidden:
        self.of_gate += SLOWNESS * (of_features * self.recurrent.features[t]).sum()
        self.layer.back(t, of_features, ())
        return self.recurrent.back(t, of_features * self.gate, of_hidden)

    def gate_back(self) -> list[Tensor]:
        return [self.of_gate]


RECURRENCES: dict[type[Controller], type[Tanh | LongShort | Updated]] = {
    FeedForward: Tanh,
    LSTM: LongShort,
    GRU: Updated,
}


def has_recurrence(controller: Controller) -> bool:
    """Whether there is one here; a class of its own, even a child of these, has none."""
    if type(controller) is Gated:
        return type(controller.recurrent) in (LSTM, GRU)
    return type(controller) in RECURRENCES


def recurrence(controller: Controller) -> Recurrence:
    """That of a controller that has one."""
    if isinstance(controller, Gated):
        return BehindGate(recurrence(controller.recurrent), controller.gate.detach())
    return RECURRENCES[type(controller)]()


def gate_of(controller: Controller) -> list[Tensor]:
    """The one parameter that is not in the sums, if there is one."""
    return [controller.gate] if isinstance(controller, Gated) else []


class Weights(NamedTuple):
    """What the sums of a controller are made with, as autograd knows its parameters.

    Attributes:
        by_input: weights of the inputs, (G, I).
        bias: (G,).
        by_past: as in `Sums`.
    """

    by_input: Tensor
    bias: Tensor
    by_past: Tensor


def weights(controller: Controller, input_size: int, read_gate: Tensor | None) -> Weights:
    """Of a controller that has a `recurrence`.

    Args:
        controller: of inputs I + R.
        input_size: I.
        read_gate: what was read is multiplied by it; None is 1.
    """

    def split(weight: Tensor) -> tuple[Tensor, Tensor]:
        by_read = weight[:, input_size:]
        return weight[:, :input_size], by_read if read_gate is None else read_gate * by_read

    if isinstance(controller, Gated):
        by_input, by_read = split(controller.layer.weight)
        behind = weights(controller.recurrent, input_size, read_gate)
        past = F.pad(by_read, (0, behind.by_past.shape[1] - by_read.shape[1]))
        first = Weights(by_input, controller.layer.bias, past)
        return Weights(*(torch.cat(both) for both in zip(first, behind, strict=True)))
    if isinstance(controller, FeedForward):
        by_input, by_read = split(controller.layer.weight)
        return Weights(by_input, controller.layer.bias, by_read)
    assert isinstance(controller, LSTM | GRU)
    cell = controller.cell
    by_input, by_read = split(cell.weight_ih)
    if isinstance(controller, LSTM):
        return Weights(by_input, cell.bias_ih + cell.bias_hh, torch.cat([by_read, cell.weight_hh], dim=1))
    gates = 2 * controller.hidden_size  # those of the new features are two: the reset gate comes in between
    more = (0, 0, 0, controller.hidden_size)
    bias = cell.bias_ih + F.pad(cell.bias_hh[:gates], (0, controller.hidden_size))
    by_hidden = cell.weight_hh
    by_hidden = torch.cat([by_hidden[:gates], torch.zeros_like(by_hidden[gates:]), by_hidden[gates:]])
    by_past = torch.cat([F.pad(by_read, more), by_hidden], dim=1)
    return Weights(F.pad(by_input, more), torch.cat([bias, cell.bias_hh[gates:]]), by_past)


def sums(controller: Controller, inputs: Tensor, read_gate: Tensor | None) -> Sums:
    """The sums of a controller that has a `recurrence`, from inputs (T, B, I); `read_gate` as in `weights`."""
    by_input, bias, by_past = weights(controller, inputs.shape[-1], read_gate)
    return Sums(F.linear(inputs, by_input, bias), by_past)
