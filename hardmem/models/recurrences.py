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

    def __init__(self) -> None:
        self.saved: list[Tensor] = []

    def take(self) -> list[Tensor]:
        """After the last step: what to save, which is then no longer here."""
        saved, self.saved = self.saved, []
        return saved

    @abstractmethod
    def step(self, sums: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """Sums (B, G), which may be changed, and the state -> features (B, D) and the next state."""

    @abstractmethod
    def turn(self, saved: Sequence[Tensor], start: Hidden) -> None:
        """Before the backward pass: all slopes, from what was saved and the state before the first step."""

    @abstractmethod
    def back(self, t: int, of_features: Tensor, of_hidden: Hidden, of_sums: Tensor) -> Hidden:
        """Gradients of features and next state -> fills in that of the sums, (B, G), and gives those of the state.

        Called from the last step to the first. What the state does to the sums is not in its gradients.
        """

    def gate_back(self) -> list[Tensor]:
        """After the backward pass: gradients of what `gate_of` gives."""
        return []


class Tanh(Recurrence):
    """`FeedForward`."""

    def step(self, sums: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        features = sums.tanh()
        self.saved.append(features)
        return features, hidden

    def turn(self, saved: Sequence[Tensor], start: Hidden) -> None:
        self.features = torch.stack(list(saved))
        self.slope = 1 - self.features.square()

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden, of_sums: Tensor) -> Hidden:
        torch.mul(of_features, self.slope[t], out=of_sums)
        return of_hidden


class LongShort(Recurrence):
    """`LSTM`: sums of the input, forget, new and output gates; the state is (features, inner)."""

    def step(self, sums: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        width = hidden[1].shape[1]
        enter_forget, new, out = sums.split([2 * width, width, width], dim=-1)
        enter, forget = enter_forget.sigmoid_().chunk(2, dim=-1)
        inner = torch.addcmul(forget * hidden[1], enter, new.tanh_())
        features = out.sigmoid_() * inner.tanh()
        self.saved += [sums, inner]
        return features, (features, inner)

    def turn(self, saved: Sequence[Tensor], start: Hidden) -> None:
        gates, inner = torch.stack(list(saved[::2])), torch.stack(list(saved[1::2]))
        before, squashed = torch.cat([start[1].unsqueeze(0), inner[:-1]]), inner.tanh()
        enter, self.forget, new, out = gates.chunk(4, dim=-1)
        slopes = [new * enter * (1 - enter), before * self.forget * (1 - self.forget), enter * (1 - new * new)]
        self.of_gates = torch.stack(slopes, dim=-2)  # by the inner state, (T, B, 3, D)
        self.features = out * squashed
        self.of_out, self.of_inner = self.features * (1 - out), out * (1 - squashed * squashed)

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden, of_sums: Tensor) -> Hidden:
        width = of_features.shape[1]
        total = of_features + of_hidden[0]
        inner = torch.addcmul(of_hidden[1], total, self.of_inner[t])
        torch.mul(inner.unsqueeze(1), self.of_gates[t], out=of_sums[:, : 3 * width].view(-1, 3, width))
        torch.mul(total, self.of_out[t], out=of_sums[:, 3 * width :])
        return inner.new_zeros(()), inner * self.forget[t]


class Updated(Recurrence):
    """`GRU`: sums of the reset and update gates, and of the new features by input and by state; the state is theirs."""

    def step(self, sums: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        width = hidden[0].shape[1]
        gates, by_input, by_state = sums.split([2 * width, width, width], dim=-1)
        reset, update = gates.sigmoid_().chunk(2, dim=-1)
        new = torch.addcmul(by_input, reset, by_state).tanh_()
        features = torch.lerp(new, hidden[0], update)
        self.saved += [sums, new, features]
        return features, (features,)

    def turn(self, saved: Sequence[Tensor], start: Hidden) -> None:
        sums, new, self.features = (torch.stack(list(saved[part::3])) for part in range(3))
        before = torch.cat([start[0].unsqueeze(0), self.features[:-1]])
        reset, self.update, _, by_state = sums.chunk(4, dim=-1)
        by_new = (1 - self.update) * (1 - new * new)
        of_reset = by_new * by_state * reset * (1 - reset)
        of_update = (before - new) * self.update * (1 - self.update)
        self.slopes = torch.stack([of_reset, of_update, by_new, by_new * reset], dim=-2)  # (T, B, 4, D)

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden, of_sums: Tensor) -> Hidden:
        total = of_features + of_hidden[0]
        torch.mul(total.unsqueeze(1), self.slopes[t], out=of_sums.view(len(total), 4, -1))
        return (total * self.update[t],)


class BehindGate(Recurrence):
    """`Gated`: sums of the layer, then those of the recurrent network behind the gate."""

    def __init__(self, recurrent: Recurrence, gate: Tensor) -> None:
        self.layer, self.recurrent, self.gate = Tanh(), recurrent, SLOWNESS * gate

    def take(self) -> list[Tensor]:
        return [*self.layer.take(), *self.recurrent.take()]

    def step(self, sums: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        width = hidden[0].shape[1]
        plain, _ = self.layer.step(sums[:, :width], ())
        behind, hidden = self.recurrent.step(sums[:, width:], hidden)
        return torch.addcmul(plain, behind, self.gate), hidden

    def turn(self, saved: Sequence[Tensor], start: Hidden) -> None:
        steps = len(saved) // (3 if len(start) == 2 else 4)
        self.layer.turn(saved[:steps], ())
        self.recurrent.turn(saved[steps:], start)
        self.features = torch.addcmul(self.layer.features, self.recurrent.features, self.gate)
        self.of_gate = torch.zeros_like(self.gate)

    def back(self, t: int, of_features: Tensor, of_hidden: Hidden, of_sums: Tensor) -> Hidden:
        width = of_features.shape[1]
        self.of_gate += SLOWNESS * (of_features * self.recurrent.features[t]).sum()
        self.layer.back(t, of_features, (), of_sums[:, :width])
        return self.recurrent.back(t, of_features * self.gate, of_hidden, of_sums[:, width:])

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


def sums(controller: Controller, inputs: Tensor, read_gate: Tensor | None) -> Sums:
    """The sums of a controller that has a `recurrence`; autograd goes on to its parameters from them.

    Args:
        controller: of inputs I + R.
        inputs: (T, B, I).
        read_gate: what was read is multiplied by it; None is 1.
    """
    width = inputs.shape[-1]

    def split(weight: Tensor) -> tuple[Tensor, Tensor]:
        by_read = weight[:, width:]
        return weight[:, :width], by_read if read_gate is None else read_gate * by_read

    if isinstance(controller, Gated):
        by_input, by_read = split(controller.layer.weight)
        layer = F.linear(inputs, by_input, controller.layer.bias)
        behind = sums(controller.recurrent, inputs, read_gate)
        past = F.pad(by_read, (0, behind.by_past.shape[1] - by_read.shape[1]))
        return Sums(torch.cat([layer, behind.given], dim=-1), torch.cat([past, behind.by_past]))
    if isinstance(controller, FeedForward):
        by_input, by_read = split(controller.layer.weight)
        return Sums(F.linear(inputs, by_input, controller.layer.bias), by_read)
    assert isinstance(controller, LSTM | GRU)
    cell = controller.cell
    by_input, by_read = split(cell.weight_ih)
    if isinstance(controller, LSTM):
        given = F.linear(inputs, by_input, cell.bias_ih + cell.bias_hh)
        return Sums(given, torch.cat([by_read, cell.weight_hh], dim=1))
    gates = 2 * controller.hidden_size  # those of the new features are two: the reset gate comes in between
    bias = cell.bias_ih + F.pad(cell.bias_hh[:gates], (0, controller.hidden_size))
    by_state = cell.bias_hh[gates:].expand(*inputs.shape[:-1], -1)
    by_read, by_hidden = F.pad(by_read, (0, 0, 0, controller.hidden_size)), cell.weight_hh
    by_hidden = torch.cat([by_hidden[:gates], torch.zeros_like(by_hidden[gates:]), by_hidden[gates:]])
    given = torch.cat([F.linear(inputs, by_input, bias), by_state], dim=-1)
    return Sums(given, torch.cat([by_read, by_hidden], dim=1))
