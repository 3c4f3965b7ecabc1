"""Addressing schemes: how a model's head says where it wants to look next.

A scheme knows how many numbers it needs from the controller and turns them, with the previous address and the memory,
into an `AddressDistribution`. A new scheme is one class here and one line in `SCHEMES`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardmem.addressing import (
    HOME,
    AddressDistribution,
    Move,
    MoveTable,
    content_scores,
    dense,
    head_moves,
    location_weights,
    move_table,
    pick,
    sharpen,
)
from hardmem.bank import Contents, Memory
from hardmem.host import Moves
from hardmem.memory import Address, HardAddress
from hardmem.nearest import nearest_content

DEFAULT_MOVES: tuple[Move, ...] = (-1, 0, 1, HOME)
GOES_ON = 0.9
"""Probability with which a head that names cells by number starts out going on to a next cell."""


class Scheme(nn.Module, ABC):
    """How one kind of head addresses N cells of width W."""

    num_outputs: int
    """Numbers a head needs from the controller."""
    num_logits: int = 0
    """How many of these, the first ones, are logits of where to look; 0 where a scheme compares keys with cells."""
    any_size: ClassVar[bool] = True
    """Whether the memory may have any number of cells, whatever the scheme was built for."""
    blind: ClassVar[bool] = False
    """Whether of the memory it only looks at the number of cells: what they hold makes no difference."""

    @abstractmethod
    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        """Raw controller outputs (B, H, num_outputs), the address before, memory -> where to look now."""

    def look(
        self, raw: Tensor, previous: Address, memory: Memory, past: Tensor | None
    ) -> tuple[AddressDistribution, Tensor | None]:
        """`forward` for a scheme that remembers more than the address before.

        Takes what it returned at the step before, None at first; the machine keeps it in between. Most have no use for
        it.
        """
        return self(raw, previous, memory), None

    def cool(self, factor: float) -> None:
        """Multiply the logits that are the scheme's own parameters; most have none."""

    def on_host(self, num_cells: int, heads: int) -> Moves | None:
        """`take` for so many heads in NumPy; None where there is no such way."""
        return None

    def take(
        self, raw: Tensor, at: Tensor, memory: Memory, access: str, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """`forward` from cells (B, H, 1) and what a hard access makes of it: the candidate's place and its cell.

        For steps that nothing is differentiated through; both are (B, H, 1), int64, the place among the S candidates.
        """
        distribution = self(raw, HardAddress(at.squeeze(-1)), memory)
        choice = pick(access, distribution.log_weights, generator).unsqueeze(-1)
        return choice, distribution.candidates.gather(-1, choice)


class HeadMoves(Scheme):
    """A head that moves along a circular tape, or jumps home: `hardmem.addressing.head_moves`.

    Args:
        num_cells, cell_width: not used; the tape may be of any length.
        moves: the moves to choose from.
    """

    blind = True

    offset: Tensor
    stays: Tensor
    passed: Tensor

    def __init__(self, num_cells: int, cell_width: int, moves: Sequence[Move] = DEFAULT_MOVES) -> None:
        super().__init__()
        table = move_table(moves)
        self.moves = table.moves
        self.register_buffer("offset", table.offset, persistent=False)
        self.register_buffer("stays", table.stays, persistent=False)
        self.num_logits = len(self.moves)
        self.num_outputs = self.num_logits + 1
        passed = torch.eye(len(self.moves))  # row k: what move k gains, and the last loses, if both lead to one cell
        passed[:, -1] -= 1
        self.register_buffer("passed", passed, persistent=False)

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        table = MoveTable(self.moves, self.offset, self.stays)
        sharpening = 1 + F.softplus(raw[..., -1])
        return head_moves(previous, raw[..., :-1].softmax(dim=-1), table, memory.shape[1], sharpening)

    def take(
        self, raw: Tensor, at: Tensor, memory: Memory, access: str, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """As every scheme's, in half as many operations where no two moves but the last, `HOME`, can meet."""
        num_cells, home = memory.shape[1], self.moves[-1] == HOME
        if not self._apart(num_cells):
            return super().take(raw, at, memory, access, generator)
        cells = (at + self.offset).remainder_(num_cells)
        moves, sharpening = raw.split_with_sizes([len(self.moves), 1], dim=-1)
        probs = moves.softmax(dim=-1)
        if home:
            cells *= self.stays
            meets = (cells == 0).to(probs.dtype)  # the last row of `passed` is zero: it always meets itself
            probs = torch.addcmul(probs, meets @ self.passed.to(probs.dtype), probs[..., -1:])
        choice = pick(access, probs.log_().mul_(F.softplus(sharpening).add_(1)), generator).unsqueeze(-1)
        return choice, cells.gather(-1, choice)

    def _apart(self, num_cells: int) -> bool:
        """Whether no two moves but the last, `HOME`, can meet."""
        offsets = [move % num_cells for move in self.moves if isinstance(move, int)]
        return len(set(offsets)) == len(self.moves) - (self.moves[-1] == HOME)

    def on_host(self, num_cells: int, heads: int) -> Moves | None:
        """`take` for so many heads in NumPy, where no two moves but the last can meet."""
        if not self._apart(num_cells):
            return None
        offsets = [move for move in self.moves if isinstance(move, int)]
        return Moves(offsets, len(offsets) < len(self.moves), num_cells, heads)


class AbsoluteIndex(Scheme):
    """A head that names its cell by number and knows the one it was on: one logit per cell, so N is fixed.

    The last of its numbers sharpens: the logits are multiplied by 1 + softplus(.), so that all choices become sure
    together and not each alone. To the controller's logits it adds a learned row for the cell it was on (where
    addresses are soft, the mixture of the rows). Without it only a controller that counts could go from cell to cell.
    At the start the rows lead once around all cells, in random order and with probability `GOES_ON` where the
    controller says nothing: a head that drew its cells evenly would meet what it wrote once in N times, too rarely for
    a slope. These rows are N x N numbers: a scheme for few cells.
    """

    any_size = False
    blind = True

    def __init__(self, num_cells: int, cell_width: int) -> None:
        super().__init__()
        self.num_logits = num_cells
        self.num_outputs = num_cells + 1
        self.following = nn.Parameter(torch.empty(num_cells, num_cells))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw another way around: every cell leads to one other, and comes again after all the rest."""
        cells = len(self.following)
        order = torch.randperm(cells, device=self.following.device)
        odds = math.log(GOES_ON / (1 - GOES_ON) * max(cells - 1, 1))
        self.following.zero_()[order, order.roll(-1)] = odds / (1 + math.log(2))  # softplus(0) is log 2

    @torch.no_grad()
    def cool(self, factor: float) -> None:
        self.following.mul_(factor)

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        cells = len(self.following)
        if memory.shape[1] != cells:
            raise ValueError(f"absolute addresses are tied to N = {cells} cells, the memory has {memory.shape[1]}")
        logits, sharpening = raw.split([cells, 1], dim=-1)
        if isinstance(previous, HardAddress):
            following = self.following[previous.index]
        else:
            following = previous.weights @ self.following.to(previous.weights.dtype)
        return dense(((1 + F.softplus(sharpening)) * (logits + following)).log_softmax(dim=-1))


class ContentLocation(Scheme):
    """The addressing of the Neural Turing Machine: content, interpolation, shift, sharpening.

    Graves, Wayne & Danihelka 2014, section 3.3, eqs. 5-9. Per head: key (W), strength, gate, shifts, sharpening.

    Args:
        num_cells: not used; the memory may have any number of cells.
        cell_width: W, the width of a key.
        offsets: the shifts allowed.
    """

    def __init__(self, num_cells: int, cell_width: int, offsets: Sequence[int] = (-1, 0, 1)) -> None:
        super().__init__()
        self.offsets = tuple(offsets)
        self.sizes = [cell_width, 1, 1, len(self.offsets), 1]
        self.num_outputs = sum(self.sizes)

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        if isinstance(memory, Contents):
            raise ValueError(
                "content addressing compares the key with every cell: keep the memory in a tensor, or "
                "address the nearest cells alone: nearest-content"
            )
        key, beta, gate, shift, sharpening = raw.split(self.sizes, dim=-1)
        weights = location_weights(
            memory,
            previous,
            key=key.tanh(),
            beta=F.softplus(beta.squeeze(-1)),
            gate=gate.squeeze(-1).sigmoid(),
            shift=shift.softmax(dim=-1),
            offsets=self.offsets,
        )
        return dense(sharpen(weights, 1 + F.softplus(sharpening.squeeze(-1))))  # eq. 9


class LearnedAddress(Scheme):
    """A head that looks for a key in what a cell holds and in a learned address beside it, which no write changes.

    Gulcehre, Chandar, Cho & Bengio 2016, "Dynamic Neural Turing Machine with Soft and Hard Addressing Schemes",
    arXiv:1607.00036, the memory M = [A; C] and its addressing: z = beta * cosine(key, [address; content]), beta =
    1 + softplus(.), weights softmax(z). Cells can be told apart before anything is written, by content and by place at
    once. The cell that stands for doing nothing is an argument of the machine, `NTM(no_op=True)`.

    Args:
        num_cells: N, to which the addresses tie the memory.
        cell_width: W.
        address_width: numbers in an address; a key has so many more.
    """

    any_size = False

    def __init__(self, num_cells: int, cell_width: int, address_width: int = 8) -> None:
        super().__init__()
        self.sizes = [address_width + cell_width, 1]
        self.num_outputs = sum(self.sizes)
        self.addresses = nn.Parameter(torch.empty(num_cells, address_width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal numbers: directions far from one another."""
        nn.init.normal_(self.addresses)

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        key, beta = raw.split(self.sizes, dim=-1)
        return dense(self.scores(memory, key, beta).log_softmax(dim=-1))

    def scores(self, memory: Memory, key: Tensor, beta: Tensor) -> Tensor:
        """How well a key (B, H, A + W) of raw strength (B, H, 1) matches each cell, (B, H, N)."""
        if isinstance(memory, Contents):
            raise ValueError("learned addresses are compared with every cell: keep the memory in a tensor")
        if memory.shape[1] != len(self.addresses):
            raise ValueError(
                f"learned addresses are tied to N = {len(self.addresses)} cells, the memory has {memory.shape[1]}"
            )
        cells = torch.cat([self.addresses.expand(len(memory), -1, -1), memory], dim=-1)
        return content_scores(cells, key, 1 + F.softplus(beta.squeeze(-1)))


class LeastRecentlyUsed(LearnedAddress):
    """Learned addresses, and a leaning of the head's own making towards the cells it has not looked for of late.

    Gulcehre et al. 2016, dynamic least-recently-used addressing: v = 0.1 v + 0.9 z, a moving average of the scores
    through which nothing is back-propagated; weights softmax(z - gamma v) with the v of before and gamma =
    sigmoid(.). At gamma = 0 it is `LearnedAddress`.

    Args:
        num_cells, cell_width, address_width: as in `LearnedAddress`.
    """

    keep = 0.1
    """What is left of the average after a step."""

    def __init__(self, num_cells: int, cell_width: int, address_width: int = 8) -> None:
        super().__init__(num_cells, cell_width, address_width)
        self.sizes = [*self.sizes, 1]
        self.num_outputs += 1

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        """As at the first step, when nothing was looked for before."""
        return self.look(raw, previous, memory, None)[0]

    def look(
        self, raw: Tensor, previous: Address, memory: Memory, past: Tensor | None
    ) -> tuple[AddressDistribution, Tensor | None]:
        """With the average before, (B, H, N), or None for zeros -> and the average after."""
        key, beta, gamma = raw.split(self.sizes, dim=-1)
        scores = self.scores(memory, key, beta)
        average = torch.zeros_like(scores) if past is None else past
        distribution = dense((scores - gamma.sigmoid() * average).log_softmax(dim=-1))
        return distribution, torch.lerp(scores.detach(), average, self.keep)


class NearestContent(Scheme):
    """A head that looks for a key and considers the k cells most similar to it: `hardmem.nearest`.

    Where addresses are hard a step takes O(N) time, for the comparison, but keeps O(k) memory, also on a bank.

    Args:
        num_cells: not used; the memory may have any number of cells.
        cell_width: W, the width of a key.
        k: candidates of each head, or all cells where there are fewer.
    """

    def __init__(self, num_cells: int, cell_width: int, k: int = 8) -> None:
        super().__init__()
        self.k = k
        self.sizes = [cell_width, 1]
        self.num_outputs = cell_width + 1

    def forward(self, raw: Tensor, previous: Address, memory: Memory) -> AddressDistribution:
        key, beta = raw.split(self.sizes, dim=-1)
        return nearest_content(memory, key.tanh(), F.softplus(beta.squeeze(-1)), min(self.k, memory.shape[1]))


SCHEMES: dict[str, type[Scheme]] = {
    "head-moves": HeadMoves,
    "absolute": AbsoluteIndex,
    "content-location": ContentLocation,
    "learned-address": LearnedAddress,
    "least-recently-used": LeastRecentlyUsed,
    "nearest-content": NearestContent,
}


def make_scheme(name: str, num_cells: int, cell_width: int) -> Scheme:
    """Build a scheme by name for memories of N cells of width W.

    Raises:
        ValueError: if there is no scheme of that name.
    """
    if name not in SCHEMES:
        raise ValueError(f"unknown addressing {name!r}; choose one of {sorted(SCHEMES)}")
    return SCHEMES[name](num_cells, cell_width)
