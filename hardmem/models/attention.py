"""Attention: where a decoder looks in a source, as weights over its cells; four ways to choose them.

All take a query, the source and their own state, and give weights (B, S), >= 0, and the next state. What is then done
with the weights, averaging or choosing one cell, is the decoder's `access`, as for every other memory here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Source(NamedTuple):
    """What is looked at.

    Attributes:
        cells: (B, S, W).
        projected: the attention's own view of them, computed once, (B, S, A).
        mask: whether there is a cell, (B, S), bool; what lies beyond the end of a source gets no weight.
    """

    cells: Tensor
    projected: Tensor
    mask: Tensor


class Attention(nn.Module, ABC):
    """Weights over the cells of a source.

    Args:
        query_size: width of a query, D.
        cell_width: W.
        hidden_size: width of the comparison, A.
    """

    normalised: bool
    """Whether the weights are probabilities: they sum to 1, or to less where there may be nothing to look at."""
    follows: bool
    """Whether the state is where the decoder looked last: under hard access, the one cell it chose."""

    def __init__(self, query_size: int, cell_width: int, hidden_size: int) -> None:
        super().__init__()
        self.project_query = nn.Linear(query_size, hidden_size)
        self.project_cells = nn.Linear(cell_width, hidden_size, bias=False)

    def prepare(self, cells: Tensor, mask: Tensor) -> Source:
        """Cells (B, S, W) and which of them there are, (B, S) -> the source."""
        return Source(cells, self.project_cells(cells), mask)

    def initial_state(self, source: Source) -> Tensor:
        """Before the first look; empty where nothing is carried."""
        return source.cells.new_zeros((source.cells.shape[0], 0))

    @abstractmethod
    def forward(
        self, query: Tensor, source: Source, state: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Query (B, D), the source and the state -> weights (B, S) and the next state."""


class Additive(Attention):
    """A small network compares the query with every cell; it may jump anywhere.

    Bahdanau, Cho & Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
    arXiv:1409.0473, section 3.1, eqs. 5-6, and appendix A.1.2: softmax over v . tanh(W s + U h).
    """

    normalised, follows = True, False

    def __init__(self, query_size: int, cell_width: int, hidden_size: int) -> None:
        super().__init__(query_size, cell_width, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(
        self, query: Tensor, source: Source, state: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        compared = (self.project_query(query).unsqueeze(1) + source.projected).tanh()
        scores = self.score(compared).squeeze(-1).masked_fill(~source.mask, -torch.inf)  # a(s, h) of A.1.2
        return scores.softmax(dim=-1), state  # eq. 6


class Window(Attention):
    """A mixture of bumps that only move forward along the positions; it never compares contents.

    Graves 2013, "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, section 5.1, eqs. 46-51: each
    bump has a height, a sharpness and a place, and each step adds exp(.) > 0 to the place. Weights do not sum to 1.

    Args:
        query_size, cell_width, hidden_size: as in `Attention`; only the first is used.
        num_bumps: K.
    """

    normalised, follows = False, False

    def __init__(self, query_size: int, cell_width: int, hidden_size: int, num_bumps: int = 3) -> None:
        nn.Module.__init__(self)
        self.bumps = nn.Linear(query_size, 3 * num_bumps)

    def prepare(self, cells: Tensor, mask: Tensor) -> Source:
        return Source(cells, cells.new_zeros((*cells.shape[:2], 0)), mask)

    def initial_state(self, source: Source) -> Tensor:
        """The places, (B, K): before the first cell."""
        return source.cells.new_zeros((source.cells.shape[0], self.bumps.out_features // 3))

    def forward(
        self, query: Tensor, source: Source, state: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        height, sharpness, step = self.bumps(query).exp().chunk(3, dim=-1)  # (B, K) each, eqs. 48-50
        place = state + step  # eq. 51
        position = torch.arange(1, source.mask.shape[1] + 1, device=query.device, dtype=query.dtype)
        distance = place.unsqueeze(-1) - position  # (B, K, S)
        bumps = height.unsqueeze(-1) * torch.exp(-sharpness.unsqueeze(-1) * distance.square())
        return bumps.sum(dim=1) * source.mask, place  # eq. 46


class Monotonic(Attention):
    """From where it looked last, go on cell by cell and decide at each whether to stop there; nothing is passed twice.

    Raffel et al. 2017, "Online and Linear-Time Attention by Enforcing Monotonic Alignments", arXiv:1704.00784, eqs.
    9-14: the weights are the probabilities of stopping, given where the last look was, or how likely it was to be
    anywhere. What is missing to 1 is the probability of running off the end, after which there is nothing to look at.

    Args:
        query_size, cell_width, hidden_size: as in `Attention`.
        noise: standard deviation of what is added to the energies in training, so that decisions become sure.
    """

    normalised, follows = True, True

    def __init__(self, query_size: int, cell_width: int, hidden_size: int, noise: float = 1.0) -> None:
        super().__init__(query_size, cell_width, hidden_size)
        self.noise = noise
        self.direction = nn.Parameter(torch.empty(hidden_size))
        self.gain, self.offset = nn.Parameter(torch.empty(())), nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Its own parameters, as the paper starts them; the offset says to stop at about one cell in four."""
        nn.init.normal_(self.direction)
        nn.init.constant_(self.gain, len(self.direction) ** -0.5)
        nn.init.constant_(self.offset, -1.0)

    def initial_state(self, source: Source) -> Tensor:
        """Where it looked last, (B, S): at the first cell, which it may still choose."""
        first = torch.zeros_like(source.cells[..., 0])
        first[:, 0] = 1
        return first

    def forward(
        self, query: Tensor, source: Source, state: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        compared = (self.project_query(query).unsqueeze(1) + source.projected).tanh()
        energy = compared @ (self.gain * F.normalize(self.direction, dim=0)) + self.offset  # (B, S), eq. 11
        if self.training and self.noise:
            drawn = torch.randn(energy.shape, generator=generator, device=energy.device, dtype=energy.dtype)
            energy = energy + self.noise * drawn
        stop = energy.sigmoid() * source.mask  # eq. 12
        # How likely it is to go from cell k to cell j without stopping on the way: log-probabilities summed from k to
        # j - 1, so that no product of small numbers is ever divided by.
        passed = F.logsigmoid(-energy) * source.mask
        before = passed.cumsum(dim=-1) - passed  # (B, S)
        onward = (before.unsqueeze(2) - before.unsqueeze(1)).tril().exp().tril()  # (B, j, k)
        weights = stop * (onward @ state.unsqueeze(-1)).squeeze(-1)  # eq. 9
        return weights, weights


ATTENTIONS: dict[str, type[Additive | Window | Monotonic]] = {
    "additive": Additive,
    "window": Window,
    "monotonic": Monotonic,
}


def make_attention(name: str, query_size: int, cell_width: int, hidden_size: int) -> Attention:
    """Build an attention by name.

    Raises:
        ValueError: if there is none.
    """
    if name not in ATTENTIONS:
        raise ValueError(f"unknown attention {name!r}; choose one of {sorted(ATTENTIONS)}")
    return ATTENTIONS[name](query_size, cell_width, hidden_size)
