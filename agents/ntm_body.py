"""A hard NTM as the body of a policy: an agent with a memory of its own, beside whatever its environment has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.memory import HardAddress, as_weights
from hardmem.models import NTM
from hardmem.models.controllers import Hidden
from hardmem.models.ntm import NTMState


class NTMBody(nn.Module):
    """Observations to features by way of cells; where its head goes next is drawn like an action, and learned like one.

    Zaremba & Sutskever 2015, arXiv:1505.00521, put both into one REINFORCE loss; so does the trainer here: the record
    of the body's choices stands beside that of the environment's. *What* is written is learned by back-propagation
    through the log-probabilities of later choices. A step reads where the head is, writes there and moves, so features
    of a step do not depend on the address drawn in it, and a critic may judge by them.

    Args:
        input_size: width of an observation, O.
        hidden_size: width of the controller and of the features, D.
        num_cells: N.
        cell_width: W.
        addressing: a name from `SCHEMES`.
    """

    def __init__(self, input_size: int, hidden_size: int, *, num_cells: int, cell_width: int, addressing: str) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.ntm = NTM(
            input_size,
            hidden_size,
            num_cells=num_cells,
            cell_width=cell_width,
            hidden_size=hidden_size,
            addressing=addressing,
            access="sampled",
            heads=("read-write",),
            order="read-write-move",
            gated=False,
        )

    def initial_hidden(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Hidden:
        """Cells, address, what was read, and the record of the last choice (none yet)."""
        state = self.ntm.initial_state(batch_size)
        nothing = torch.zeros(batch_size, self.ntm.num_heads, device=device, dtype=dtype)
        return self._pack(state, AccessRecord(torch.zeros_like(nothing, dtype=torch.int64), nothing, nothing))

    def forward(
        self, inputs: Tensor, hidden: Hidden, generator: torch.Generator | None = None, *, greedy: bool = False
    ) -> tuple[Tensor, Hidden]:
        """Inputs (B, O) -> features (B, D) and the next state, the record of what was chosen in it."""
        memory, index, read = hidden[:3]
        state = NTMState(memory, HardAddress(index), read, hidden[5:])
        self.ntm.access = "argmax" if greedy else "sampled"
        outputs, state, record = self.ntm.step(inputs, state, generator)
        assert record is not None, "a hard access records what it chose"
        return outputs.tanh(), self._pack(state, record)

    @staticmethod
    def record(hidden: Hidden) -> AccessRecord:
        """What was chosen in the step that led here, fields (B, H)."""
        return AccessRecord(hidden[1], hidden[3], hidden[4])

    @staticmethod
    def cells(hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Where its heads are, (B, H, N), one-hot, and what its cells hold, (B, N, W)."""
        memory, index = hidden[:2]
        return as_weights(HardAddress(index), memory.shape[1]), memory

    @staticmethod
    def _pack(state: NTMState, record: AccessRecord) -> Hidden:
        assert isinstance(state.memory, Tensor)
        assert isinstance(state.address, HardAddress)
        return (state.memory, state.address.index, state.read, record.log_prob, record.entropy, *state.hidden)
