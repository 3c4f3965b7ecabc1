"""Controllers: the task network that runs the memory (Goodfellow, Bengio & Courville 2016, fig. 10.18).

A recurrent controller can keep short problems in its own state. Trained with hard addresses it does, and the memory
stays unused: no reward ever speaks for it. `Gated` takes that way out at the start and leaves it to be found later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

Hidden = tuple[Tensor, ...]
"""What a controller carries from step to step: nothing, (B, D), or an LSTM's pair of them."""


SLOWNESS = 0.1
"""How fast the gate before a recurrent state opens, relative to everything else."""


class Controller(nn.Module, ABC):
    """One step of a network: inputs (B, I) and its hidden state -> features (B, D) and the next state."""

    hidden_size: int

    @abstractmethod
    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden: ...

    @abstractmethod
    def forward(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]: ...


class FeedForward(Controller):
    """One tanh layer: remembers nothing, so all that is kept is kept in the memory."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.layer = nn.Linear(input_size, hidden_size)

    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden:
        return ()

    def forward(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        return self.layer(inputs).tanh(), hidden


class GRU(Controller):
    """A gated recurrent unit (Cho et al. 2014), starting from zeros."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(input_size, hidden_size)

    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden:
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        cell = self.cell
        features = torch.gru_cell(inputs, hidden[0], cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        return features, (features,)


class LSTM(Controller):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), starting from zeros."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden:
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return (zeros, zeros)

    def forward(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        cell = self.cell
        features, state = torch.lstm_cell(inputs, hidden, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        return features, (features, state)


class Gated(Controller):
    """A recurrent network behind a gate that starts shut: tanh(linear(inputs)) + gate * recurrent(inputs), gate = 0.

    It starts as `FeedForward` and opens its state as that pays: ReZero (Bachlechner et al. 2021, arXiv:2003.04887,
    eq. 1) with a tanh layer in the place of the skip connection. Features and state are of the recurrent network's
    width. The gate is `SLOWNESS` times its parameter: Adam moves every parameter about as far as its learning rate
    says, and while heads still move at random a fast gate would find the state more reliable than the memory.

    Args:
        input_size: width of an input, I.
        recurrent: the network behind the gate, of inputs (B, I).
    """

    def __init__(self, input_size: int, recurrent: Controller) -> None:
        super().__init__()
        self.hidden_size = recurrent.hidden_size
        self.layer = nn.Linear(input_size, recurrent.hidden_size)
        self.recurrent = recurrent
        self.gate = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """The gate shuts again; the layers draw theirs themselves."""
        nn.init.zeros_(self.gate)

    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden:
        return self.recurrent.initial_hidden(batch_size, device=device, dtype=dtype)

    def forward(self, inputs: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        features, hidden = self.recurrent(inputs, hidden)
        return self.layer(inputs).tanh() + SLOWNESS * self.gate * features, hidden


CONTROLLERS: dict[str, type[FeedForward | GRU | LSTM]] = {
    "feed-forward": FeedForward,
    "gru": GRU,
    "lstm": LSTM,
}


def make_controller(name: str, input_size: int, hidden_size: int, *, gated: bool = False) -> Controller:
    """Build a controller by name; with `gated`, what is recurrent stands behind a gate that starts shut.

    Raises:
        ValueError: if there is no controller of that name.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"unknown controller {name!r}; choose one of {sorted(CONTROLLERS)}")
    controller = CONTROLLERS[name](input_size, hidden_size)
    return controller if isinstance(controller, FeedForward) or not gated else Gated(input_size, controller)
