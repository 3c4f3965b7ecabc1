"""Addressing: from the numbers a head emits to a distribution over the cells it may touch next.

Stateless and batched. `sample_index` and `gumbel_noise` are the random functions; they draw from the generator they are
given. What is then done with a distribution, averaging over it or touching one cell, is `hardmem.access`.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.memory import Address, HardAddress, as_weights

HOME = "home"
"""The move that goes to cell 0 from anywhere."""

FARTHEST = 2**62
"""Offsets of moves are smaller, so that a cell's number and one of them add up to an int64."""

Move = int | str


class MoveTable(NamedTuple):
    """M moves of a head, as the names given and as tensors on the device of the heads (built once, outside any loop).

    Attributes:
        moves: offsets around the tape, or `HOME`.
        offset: (M,), int64; 0 for `HOME`.
        stays: (M,), int64; 0 for `HOME`, 1 for an offset.
    """

    moves: tuple[Move, ...]
    offset: Tensor
    stays: Tensor

    def targets(self, index: Tensor, num_cells: int) -> Tensor:
        """The cell each move leads to on a circular tape of N cells: index (...) -> int64 (..., M)."""
        return (index.unsqueeze(-1) + self.offset) % num_cells * self.stays


def move_table(moves: Sequence[Move], device: torch.device | str = "cpu") -> MoveTable:
    """Build the table of a set of moves.

    Raises:
        ValueError: if there are none, one stands twice, or one is neither an integer nor `HOME`, or too large.
    """
    known = tuple(HOME if isinstance(move, str) else int(move) for move in moves if _is_move(move))
    if not known or len(set(known)) != len(moves):
        raise ValueError(f"moves must be distinct integers or {HOME!r}, at least one, got {list(moves)}")
    offsets = [0 if isinstance(move, str) else move for move in known]
    if max(map(abs, offsets)) >= FARTHEST:
        raise ValueError(f"moves must lie within 2 ** {FARTHEST.bit_length() - 1} of 0, got {list(moves)}")
    stays = torch.tensor([int(move != HOME) for move in known], device=device)
    return MoveTable(known, torch.tensor(offsets, device=device), stays)


def _is_move(move: object) -> bool:
    """Whether it is `HOME` or a whole number of any type; True and False are none."""
    return move == HOME if isinstance(move, str) else isinstance(move, Integral) and not isinstance(move, bool)


class AddressDistribution(NamedTuple):
    """Candidate cells and how likely each is. A cell stands among the candidates of a head at most once with weight.

    Attributes:
        candidates: cell numbers, (B, H, S), int64.
        log_weights: their log-probabilities, (B, H, S); exp sums to 1 over S.
        all_cells: whether the candidates are all N cells in order; S = N alone does not say so.
    """

    candidates: Tensor
    log_weights: Tensor
    all_cells: bool = False


def dense(log_weights: Tensor) -> AddressDistribution:
    """The distribution whose candidates are all cells in order: log-weights (B, H, N), so S = N."""
    cells = torch.arange(log_weights.shape[-1], device=log_weights.device)
    return AddressDistribution(cells.expand_as(log_weights), log_weights, all_cells=True)


def sample_index(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one candidate per head by inverse CDF: logits (..., S) -> int64 (...). One uniform each, no hidden checks.

    A candidate of probability zero is never drawn; logits need not be normalised.
    """
    uniform = torch.rand(logits.shape[:-1], generator=generator, device=logits.device, dtype=logits.dtype)
    return invert_cdf(logits, uniform)


def pick(access: str, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One candidate per head, "sampled" or else the likeliest: logits (..., S) -> int64 (...)."""
    return sample_index(logits, generator) if access == "sampled" else logits.argmax(dim=-1)


def invert_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """The candidate at which the cumulative probability passes a number in [0, 1): logits (..., S), uniform (...)."""
    cdf = logits.detach().softmax(dim=-1).cumsum(dim=-1)
    # Scaled by the sum as it was computed, not by 1: the product stays below it, so the last candidate is not passed.
    found = torch.searchsorted(cdf, uniform.unsqueeze(-1) * cdf[..., -1:], right=True)
    return found.clamp_(max=logits.shape[-1] - 1).squeeze(-1)  # what is not a number passes all of them


def gumbel_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel noise, shaped as `like`: added to logits, the largest sum is a draw from their softmax."""
    uniform = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return -(-uniform.clamp(min=torch.finfo(like.dtype).tiny).log()).log()


def entropy(log_weights: Tensor) -> Tensor:
    """Exact entropy in nats, (..., S) -> (...); candidates of log-weight -inf add nothing, forward or backward."""
    finite = log_weights.clamp(min=torch.finfo(log_weights.dtype).min)
    return -(log_weights.exp() * finite).sum(dim=-1)


def evenness(log_weights: Tensor) -> Tensor:
    """Mean log-probability of the candidates that have any, in nats, (..., S) -> (...); the others are of weight -inf.

    Minus log S where all S are alike, and lower without end as one is given up. As a bonus it pulls as the entropy does
    while a choice is open, but the entropy's pull fades with the probability of what is given up, and this one stays:
    what is drawn hardly ever can still be found to pay.
    """
    possible = log_weights > -torch.inf
    return torch.where(possible, log_weights, 0.0).sum(dim=-1) / possible.sum(dim=-1)


def usage_entropy(uses: Tensor) -> Tensor:
    """Entropy in nats of how often each cell is used, (..., N) -> (...): 0 for one cell alone, log N for all alike.

    Of weights summed over a sequence it says over how many cells the sequence spreads. A bonus for it drives apart
    what would share a cell, and leaves every single choice as sure as it likes to be; a bonus for the entropy of the
    single choices does neither.

    Args:
        uses: >= 0, of any sum > 0.
    """
    share = uses / uses.sum(dim=-1, keepdim=True)
    return -(share * share.clamp(min=torch.finfo(uses.dtype).tiny).log()).sum(dim=-1)


def content_weights(memory: Tensor, key: Tensor, beta: Tensor) -> Tensor:
    """Weight every cell by its cosine similarity to each head's key.

    Graves, Wayne & Danihelka 2014, "Neural Turing Machines", arXiv:1410.5401, eqs. 5-6.

    Args:
        memory: cell contents, (B, N, W).
        key: what each head looks for, (B, H, W).
        beta: key strength, (B, H), >= 0. At 0 the weights are uniform; as it grows they approach one-hot.

    Returns:
        Weights, (B, H, N): non-negative, summing to 1 over cells. An all-zero key or cell has similarity 0.

    Raises:
        ValueError: if key and memory differ in width.
    """
    return torch.softmax(content_scores(memory, key, beta), dim=-1)  # eq. 5


def content_scores(memory: Tensor, key: Tensor, beta: Tensor) -> Tensor:
    """The logits of `content_weights`: cosine similarity times the strength, (B, H, N)."""
    if key.shape[-1] != memory.shape[-1]:
        raise ValueError(
            f"key and memory must have the same width W: key is (B, H, W) = {tuple(key.shape)}, "
            f"memory is (B, N, W) = {tuple(memory.shape)}"
        )
    # A larger floor under the norms than torch's 1e-12: a key of all zeros must not get a gradient of 1e12.
    unit_key, unit_memory = F.normalize(key, dim=-1, eps=1e-6), F.normalize(memory, dim=-1, eps=1e-6)
    similarity = unit_key @ unit_memory.transpose(1, 2)  # (B, H, N), eq. 6
    return beta.unsqueeze(-1) * similarity


def interpolate(weights: Tensor, previous: Tensor, gate: Tensor) -> Tensor:
    """Mix weights (B, H, N) with the previous ones: gate (B, H) in [0, 1]; 0 keeps the previous, 1 drops them.

    Graves, Wayne & Danihelka 2014, eq. 7.
    """
    return torch.lerp(previous, weights, gate.unsqueeze(-1))


def shift_weights(weights: Tensor, shift: Tensor, offsets: Sequence[int]) -> Tensor:
    """Rotate weights (B, H, N) by a distribution over offsets: shift (B, H, S), one probability per offset.

    Graves, Wayne & Danihelka 2014, eq. 8: a circular convolution, so cell N - 1 moved on by 1 is cell 0.

    Raises:
        ValueError: if shift does not have one probability per offset.
    """
    if shift.shape[-1] != len(offsets):
        raise ValueError(f"shift must be (B, H, {len(offsets)}), one per offset of {offsets}, got {tuple(shift.shape)}")
    rolled = torch.stack([weights.roll(offset, dims=-1) for offset in offsets], dim=-1)  # (B, H, N, S)
    return (rolled @ shift.unsqueeze(-1)).squeeze(-1)


def sharpen(weights: Tensor, sharpening: Tensor | float) -> Tensor:
    """Raise weights (..., S) to a power and normalise; returns *log*-weights.

    Graves, Wayne & Danihelka 2014, eq. 9, as softmax(sharpening * log w): safe for one-hots and underflow.

    Args:
        weights: non-negative, (..., S).
        sharpening: exponent, (...) or a number, >= 1. At 1 the weights stay; as it grows they approach one-hot.

    Returns:
        Log-weights, (..., S); -inf where the weight is zero.
    """
    exponent = sharpening.unsqueeze(-1) if isinstance(sharpening, Tensor) else sharpening
    log_weights = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()  # finite, so that no gradient is NaN
    return torch.log_softmax(exponent * log_weights, dim=-1).masked_fill(weights == 0, -torch.inf)


def head_moves(
    previous: Address, probs: Tensor, table: MoveTable, num_cells: int, sharpening: Tensor | float = 1.0
) -> AddressDistribution:
    """Move each head from where it is: by an offset around the circular tape, or `HOME` to cell 0.

    The head of Zaremba & Sutskever 2015, "Reinforcement Learning Neural Turing Machines", arXiv:1505.00521;
    softly, eq. 8 of Graves, Wayne & Danihelka 2014 with the jump added.

    Args:
        previous: where the heads are. From a hard address the candidates are the S = M cells that the moves lead to,
            at a cost that does not grow with N; from a soft one all S = N cells.
        probs: probability of each move, (B, H, M).
        table: the M moves.
        num_cells: N.
        sharpening: as in `sharpen`, applied after the move.

    Raises:
        ValueError: if probs does not have one entry per move.
    """
    moves = table.moves
    if probs.shape[-1] != len(moves):
        raise ValueError(f"probs must be (B, H, {len(moves)}), one per move of {list(moves)}, got {tuple(probs.shape)}")
    if isinstance(previous, HardAddress):
        candidates = table.targets(previous.index, num_cells)  # (B, H, M)
        # Two moves that lead to one cell (home and stay, at cell 0) are one candidate: the first takes both shares.
        same = candidates.unsqueeze(-1) == candidates.unsqueeze(-2)  # (B, H, M, M)
        first = ~same.tril(diagonal=-1).any(dim=-1)
        merged = (same * probs.unsqueeze(-2)).sum(dim=-1) * first
        return AddressDistribution(candidates, sharpen(merged, sharpening))
    # Every cell takes a share of each cell that a move leads from. Two more stand behind the N: what the jump takes to
    # cell 0, all there is, and what it takes to the others, nothing.
    cells = torch.arange(num_cells, device=probs.device).unsqueeze(-1)
    home = num_cells + (cells > 0).long()  # (N, 1)
    sources = torch.where(table.stays > 0, (cells - table.offset).remainder(num_cells), home)  # (N, M)
    ends = torch.arange(2, dtype=previous.weights.dtype, device=probs.device).flip(0).expand(*probs.shape[:-1], 2)
    taken = torch.cat([previous.weights, ends], dim=-1).index_select(-1, sources.flatten()).unflatten(-1, sources.shape)
    weights = (taken * probs.unsqueeze(-2)).sum(dim=-1)
    return dense(sharpen(weights, sharpening))


def location_weights(
    memory: Tensor, previous: Address, key: Tensor, beta: Tensor, gate: Tensor, shift: Tensor, offsets: Sequence[int]
) -> Tensor:
    """Content, then location: look for a key, mix with where the head was, rotate. Weights (B, H, N) before sharpening.

    Graves, Wayne & Danihelka 2014, section 3.3 and fig. 2, eqs. 5-8. Arguments as in `content_weights`, `interpolate`
    and `shift_weights`.
    """
    content = content_weights(memory, key, beta)
    gated = interpolate(content, as_weights(previous, memory.shape[1], memory.dtype), gate)
    return shift_weights(gated, shift, offsets)
