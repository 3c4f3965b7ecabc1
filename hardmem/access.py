"""Access: what is done with an address distribution. Average over it, draw one cell, or take the likeliest.

An access consumes the distribution and nothing else, so a soft model and a hard one differ in its name alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.addressing import AddressDistribution, entropy, sample_index
from hardmem.memory import Address, HardAddress, SoftAddress


class AccessRecord(NamedTuple):
    """A discrete choice as estimators see it: addresses of a model, or the factors of a policy's action.

    Attributes:
        index: what was chosen, (..., H), int64.
        log_prob: its log-probability, (..., H), differentiable.
        entropy: of the distribution it was drawn from, (..., H), in nats, differentiable.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, a name nobody needs here
    log_prob: Tensor
    entropy: Tensor

    @property
    def joint_log_prob(self) -> Tensor:
        """Log-probability of all heads' choices together, (...)."""
        return self.log_prob.sum(dim=-1)


Access = Callable[[AddressDistribution, int, torch.Generator | None], tuple[Address, AccessRecord | None]]
"""(distribution, num_cells, generator) -> the address, and the record of what was chosen, if anything was."""


def soft(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, None]:
    """Weights over all N cells, (B, H, N): nothing is chosen, so there is no record."""
    weights = distribution.log_weights.exp()
    if not distribution.all_cells:
        cells = weights.new_zeros((*weights.shape[:-1], num_cells))
        weights = cells.scatter_add(-1, distribution.candidates, weights)
    return SoftAddress(weights), None


def sampled(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, AccessRecord]:
    """One cell per head, drawn with the weights as probabilities."""
    return _hard(distribution, sample_index(distribution.log_weights, generator))


def argmax(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, AccessRecord]:
    """The likeliest cell of each head: how a sampled model is read at test time."""
    return _hard(distribution, distribution.log_weights.argmax(dim=-1))


ACCESS: dict[str, Access] = {"soft": soft, "sampled": sampled, "argmax": argmax}


def make_access(name: str) -> Access:
    """The access of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in ACCESS:
        raise ValueError(f"unknown access {name!r}; choose one of {sorted(ACCESS)}")
    return ACCESS[name]


def _hard(distribution: AddressDistribution, choice: Tensor) -> tuple[Address, AccessRecord]:
    index = distribution.candidates.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
    log_prob = distribution.log_weights.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
    return HardAddress(index), AccessRecord(index, log_prob, entropy(distribution.log_weights))
