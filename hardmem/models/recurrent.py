"""Recurrent networks without cells: the floor that explicit memory is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardmem.models.controllers import Hidden

KINDS: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """A one-layer LSTM or GRU with a linear output, called as the `NTM` is.

    Args:
        input_size: width of an input, I.
        output_size: width of an output, O (logits).
        kind: "lstm" or "gru".
        hidden_size: width of the state, D.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...).

    Raises:
        ValueError: if the kind is unknown.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        kind: str = "lstm",
        hidden_size: int = 128,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown kind of recurrent network {kind!r}; choose one of {sorted(KINDS)}")
        self.network = KINDS[kind](input_size, hidden_size, batch_first=batch_first, device=device, dtype=dtype)
        self.output_layer = nn.Linear(hidden_size, output_size, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.network.reset_parameters()
        self.output_layer.reset_parameters()

    def forward(
        self, inputs: Tensor, state: Hidden | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Hidden]:
        """Run a sequence: inputs (T, B, I) -> outputs (T, B, O) and the last state. Draws nothing."""
        features, last = self.network(inputs, state)
        return self.output_layer(features), last
