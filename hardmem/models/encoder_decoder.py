"""An encoder, and a decoder that looks at what was encoded through any attention, softly or at one cell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.addressing import entropy, sample_index
from hardmem.models.attention import Source, make_attention

DECODER_ACCESS = ("soft", "sampled", "argmax", "exact")


class DecoderState(NamedTuple):
    """What a decoder carries from one step to the next.

    Attributes:
        source: what was encoded.
        hidden: the decoder's own state, (B, D).
        alignment: the attention's state.
        context: what was read last, (B, W).
    """

    source: Source
    hidden: Tensor
    alignment: Tensor
    context: Tensor


class EncoderDecoder(nn.Module):
    """A bidirectional GRU writes one cell per input; a GRU reads them through an attention and answers.

    The decoder is shown the answer before (zeros at first) and, with `feeding`, what it read before; then it looks,
    and answers from its state and what it read. Called like `torch.nn.LSTM`: `decode(previous, state)` gives outputs
    and the next state; `forward` encodes first.

    Access "soft" averages the cells. "sampled" reads one, drawn with the weights as probabilities, and gives the record
    that REINFORCE needs; "argmax" reads the likeliest. "exact" reads one too, but sums over which: the output is the
    log of the expected probability (Wu, Shapiro & Cotterell 2018, "Hard Non-Monotonic Attention for Character-Level
    Transduction", arXiv:1808.10024, section 3). It needs choices that do not depend on one another, so no feeding.

    Args:
        input_size: width of an input, I.
        output_size: width of an output, O, and of the answer before that the decoder is shown.
        attention: a name from `ATTENTIONS`.
        access: "soft", "sampled", "argmax" or "exact"; an attribute, to be changed between training and testing.
        hidden_size: the decoder's width D; a cell has 2 D.
        feeding: whether what was read is shown to the decoder at the next step.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...).

    Raises:
        ValueError: if a name is unknown, or the attention does not go with the access.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        attention: str = "additive",
        access: str = "soft",
        hidden_size: int = 32,
        feeding: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size, self.hidden_size = input_size, output_size, hidden_size
        self.feeding, self.batch_first = feeding, batch_first
        cell_width = 2 * hidden_size
        self.encoder = nn.GRU(input_size, hidden_size, bidirectional=True)
        self.decoder = nn.GRUCell(output_size + feeding * cell_width, hidden_size)
        self.attention = make_attention(attention, hidden_size, cell_width, hidden_size)
        self.output_layer = nn.Linear(hidden_size + cell_width, output_size)
        self.access = access
        self._check_access()
        self.to(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for part in (self.encoder, self.decoder, self.output_layer, *self.attention.modules()):
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()

    def extra_repr(self) -> str:
        return f"access={self.access!r}, feeding={self.feeding}"

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> DecoderState:
        """Read the source: inputs (S, B, I), and where there is one, mask (S, B); by default everywhere.

        Raises:
            ValueError: if the inputs do not fit.
        """
        if inputs.dim() != 3 or inputs.shape[-1] != self.input_size:
            layout = "(B, S, I)" if self.batch_first else "(S, B, I)"
            raise ValueError(f"inputs must be {layout} with I = {self.input_size}, got {tuple(inputs.shape)}")
        time_first = inputs.transpose(0, 1) if self.batch_first else inputs
        cells = self.encoder(time_first)[0].transpose(0, 1)  # (B, S, W)
        if mask is None:
            present = torch.ones(cells.shape[:2], dtype=torch.bool, device=cells.device)
        else:
            present = mask if self.batch_first else mask.transpose(0, 1)
        source = self.attention.prepare(cells, present)
        hidden = cells.new_zeros((cells.shape[0], self.hidden_size))
        return DecoderState(source, hidden, self.attention.initial_state(source), torch.zeros_like(cells[:, 0]))

    def forward(
        self,
        inputs: Tensor,
        previous: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, DecoderState]:
        """Source (S, B, I) and the answers before, (T, B, O) -> log-probabilities (T, B, O) and the last state."""
        return self.decode(previous, self.encode(inputs, mask), generator)

    def decode(
        self, previous: Tensor, state: DecoderState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, DecoderState]:
        """The answers before, (T, B, O) -> log-probabilities (T, B, O) and the next state."""
        outputs, state, _ = self.trace(previous, state, generator)
        return outputs, state

    def trace(
        self,
        previous: Tensor,
        state: DecoderState,
        generator: torch.Generator | None = None,
        choices: Tensor | None = None,
    ) -> tuple[Tensor, DecoderState, AccessRecord | None]:
        """`decode`, and what was chosen on the way: fields (T, B, 1), None where nothing is.

        Args:
            previous: the answers before, (T, B, O); zeros at first.
            state: where to go on from.
            generator: for what is drawn.
            choices: cells to take instead of drawing them, (T, B, 1), int64 in [0, S]; S is no cell at all.
        """
        self._check_access()
        outputs, records = [], []
        for step, shown in enumerate(previous.transpose(0, 1) if self.batch_first else previous):
            chosen = None if choices is None else choices[step]
            output, state, record = self.step(shown, state, generator, chosen)
            outputs.append(output)
            if record is not None:
                records.append(record)
        dim = 1 if self.batch_first else 0
        record = (
            AccessRecord(*(torch.stack(field, dim=dim) for field in zip(*records, strict=True))) if records else None
        )
        return torch.stack(outputs, dim=dim), state, record

    def step(
        self,
        previous: Tensor,
        state: DecoderState,
        generator: torch.Generator | None = None,
        choice: Tensor | None = None,
    ) -> tuple[Tensor, DecoderState, AccessRecord | None]:
        """One answer: the one before, (B, O) -> log-probabilities (B, O), the next state and the record, (B, 1)."""
        source = state.source
        shown = torch.cat([previous, state.context], dim=-1) if self.feeding else previous
        hidden = self.decoder(shown, state.hidden)
        weights, alignment = self.attention(hidden, source, state.alignment, generator)
        if self.access == "exact":
            features = hidden.unsqueeze(1).expand(-1, weights.shape[1], -1)
            given = self.output_layer(torch.cat([features, source.cells], dim=-1)).log_softmax(dim=-1)  # (B, S, O)
            tiny = torch.finfo(weights.dtype).tiny
            output = torch.logsumexp(weights.clamp(min=tiny).log().unsqueeze(-1) + given, dim=1)
            return output, DecoderState(source, hidden, alignment, state.context), None
        record = None
        if self.access == "soft":
            context = (weights.unsqueeze(1) @ source.cells).squeeze(1)
        else:
            taken, record = self._choose(weights, generator, choice)
            context = (taken.unsqueeze(1) @ source.cells).squeeze(1)
            if self.attention.follows:
                alignment = taken
        output = self.output_layer(torch.cat([hidden, context], dim=-1)).log_softmax(dim=-1)
        return output, DecoderState(source, hidden, alignment, context), record

    @torch.no_grad()
    def generate(
        self, inputs: Tensor, num_steps: int, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Answer on its own: the likeliest symbol of each step, shown to the next. (T, B), int64, in 0 to O - 1."""
        state = self.encode(inputs, mask)
        symbols: list[Tensor] = []
        previous = state.hidden.new_zeros((state.hidden.shape[0], self.output_size))
        eye = torch.eye(self.output_size, device=previous.device, dtype=previous.dtype)
        for _ in range(num_steps):
            output, state, _ = self.step(previous, state, generator)
            symbols.append(output.argmax(dim=-1))
            previous = eye[symbols[-1]]
        return torch.stack(symbols, dim=1 if self.batch_first else 0)

    def _choose(
        self, weights: Tensor, generator: torch.Generator | None, choice: Tensor | None
    ) -> tuple[Tensor, AccessRecord]:
        """One cell, or none with what is missing to 1: one-hot (B, S), zeros for none; and the record, (B, 1)."""
        nothing = (1 - weights.sum(dim=-1, keepdim=True)).clamp(min=0)
        outcomes = torch.cat([weights, nothing], dim=-1)
        floor = torch.finfo(outcomes.dtype).tiny
        log_weights = outcomes.clamp(min=floor).log().masked_fill(outcomes <= floor, -torch.inf)
        if choice is None and self.access == "sampled":
            choice = sample_index(log_weights.unsqueeze(1), generator)
        elif choice is None:
            choice = log_weights.argmax(dim=-1, keepdim=True)
        taken = choice == torch.arange(weights.shape[1], device=weights.device)
        log_prob = log_weights.gather(-1, choice)
        return taken.to(weights.dtype), AccessRecord(choice, log_prob, entropy(log_weights).unsqueeze(-1))

    def _check_access(self) -> None:
        if self.access not in DECODER_ACCESS:
            raise ValueError(f"unknown access {self.access!r}; choose one of {list(DECODER_ACCESS)}")
        if self.access != "soft" and not self.attention.normalised:
            raise ValueError(
                f"the weights of {type(self.attention).__name__} are no probabilities: access must be soft"
            )
        if self.access == "exact" and (self.feeding or self.attention.follows):
            raise ValueError("exact access needs choices that do not depend on one another: additive, feeding=False")
