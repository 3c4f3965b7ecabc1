"""Access: what is done with an address distribution. Average over it, draw one cell, or take the likeliest; or relax.

An access consumes the distribution and nothing else, so a soft model and a hard one differ in its name alone. The
relaxations draw a cell, or weights near one, and let a gradient through that is not that of the expected cost: biased,
with little variance, and nothing left for REINFORCE. Their strength is a keyword: to use another, register it,
`ACCESS["gumbel-0.5"] = functools.partial(gumbel, temperature=0.5)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.addressing import AddressDistribution, entropy, gumbel_noise, sample_index
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
    return _soft(distribution, distribution.log_weights.exp(), num_cells), None


def sampled(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, AccessRecord]:
    """One cell per head, drawn with the weights as probabilities."""
    return hard(distribution, sample_index(distribution.log_weights, generator))


def argmax(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, AccessRecord]:
    """The likeliest cell of each head: how a sampled model is read at test time."""
    return hard(distribution, distribution.log_weights.argmax(dim=-1))


def hard(distribution: AddressDistribution, choice: Tensor) -> tuple[HardAddress, AccessRecord]:
    """The cell and the record of a chosen candidate, (..., H)."""
    place = choice.unsqueeze(-1)
    index = distribution.candidates.gather(-1, place).squeeze(-1)
    log_prob = distribution.log_weights.gather(-1, place).squeeze(-1)
    return HardAddress(index), AccessRecord(index, log_prob, entropy(distribution.log_weights))


def straight_through(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, None]:
    """One cell per head, drawn; back-propagation takes it for the soft weights.

    Bengio, Leonard & Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
    Computation", arXiv:1308.3432, for a choice among many. Right to first order: exact where the cost is linear in the
    weights, a bias elsewhere that does not fade. A certain distribution has no gradient left.

    Returns:
        Weights (B, H, N), one-hot in value.
    """
    chosen = sample_index(distribution.log_weights, generator)
    return _soft(distribution, straight_through_weights(distribution.log_weights, chosen), num_cells), None


def reinmax(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None
) -> tuple[Address, None]:
    """One cell per head, drawn; a gradient right to second order.

    Liu, Dong, Liu, Yu & Gao 2023, "Bridging Discrete and Backpropagation: Straight-Through and Beyond",
    arXiv:2304.08612, algorithm 2. Exact where the cost is quadratic in the weights.

    Returns:
        Weights (B, H, N), one-hot in value.
    """
    chosen = sample_index(distribution.log_weights, generator)
    return _soft(distribution, reinmax_weights(distribution.log_weights, chosen), num_cells), None


def gumbel(
    distribution: AddressDistribution,
    num_cells: int,
    generator: torch.Generator | None = None,
    *,
    temperature: float = 1.0,
) -> tuple[Address, None]:
    """Noisy soft weights, the largest on each cell as often as sampling draws it.

    Jang, Gu & Poole 2017, "Categorical Reparameterization with Gumbel-Softmax", arXiv:1611.01144; Maddison, Mnih & Teh
    2017, "The Concrete Distribution", arXiv:1611.00712. The gradient is that of the noisy soft model, exactly; as an
    estimate of the hard one's it is biased.

    Args:
        distribution: where to look.
        num_cells: N.
        generator: of the noise.
        temperature: > 0. Near 0 the weights are one-hot, the bias is gone and the variance is endless; as it grows
            they become uniform.

    Returns:
        Weights (B, H, N), positive on every possible candidate.
    """
    noise = gumbel_noise(distribution.log_weights, generator)
    weights = ((distribution.log_weights + noise) / temperature).softmax(dim=-1)
    return _soft(distribution, weights, num_cells), None


def top_k(
    distribution: AddressDistribution, num_cells: int, generator: torch.Generator | None = None, *, k: int = 4
) -> tuple[Address, None]:
    """Weights on the k likeliest cells of each head, scaled to sum to 1; the others get nothing and learn nothing.

    The sparse reads of Rae et al. 2016, "Scaling Memory-Augmented Neural Networks with Sparse Reads and Writes",
    arXiv:1610.09027. Nothing is drawn: a model of its own between argmax (k = 1, where no gradient is left) and soft
    (k = S).

    Args:
        distribution: where to look.
        num_cells: N.
        generator: not used; nothing is drawn.
        k: at least 1; more than S counts as S.

    Returns:
        Weights (B, H, N), at most k of them above 0.
    """
    log_weights, kept = distribution.log_weights.topk(min(k, distribution.log_weights.shape[-1]), dim=-1)
    few = AddressDistribution(distribution.candidates.gather(-1, kept), log_weights.log_softmax(dim=-1))
    return soft(few, num_cells)


def straight_through_weights(log_weights: Tensor, chosen: Tensor) -> Tensor:
    """One-hot at the chosen candidate, with the gradient of the soft weights: (B, H, S) and (B, H) -> (B, H, S)."""
    weights = log_weights.exp()
    return _one_hot(log_weights, chosen) + (weights - weights.detach())  # the brackets are exactly 0 in value


def reinmax_weights(log_weights: Tensor, chosen: Tensor) -> Tensor:
    """One-hot at the chosen candidate, with the gradient of ReinMax: (B, H, S) and (B, H) -> (B, H, S).

    Twice a softmax's Jacobian halfway between the weights and the choice, minus half the one at the weights.
    """
    one_hot, weights = _one_hot(log_weights, chosen), log_weights.detach().exp()
    finite = log_weights.clamp(min=torch.finfo(log_weights.dtype).min)  # 0 * -inf would be NaN
    slope = 2 * _tangent((one_hot + weights) / 2, finite) - _tangent(weights, finite) / 2
    return one_hot + (slope - slope.detach())


ACCESS: dict[str, Access] = {
    "soft": soft,
    "sampled": sampled,
    "argmax": argmax,
    "straight-through": straight_through,
    "reinmax": reinmax,
    "gumbel": gumbel,
    "top-k": top_k,
}

HARD = frozenset({"sampled", "argmax"})
"""Those that touch one cell and record which; all others weigh every cell, and keep no record."""

DRAWN = frozenset({"sampled", "straight-through", "reinmax", "gumbel"})
"""Those in which something is random. At test time their heads take the likeliest cell instead: "argmax"."""


def make_access(name: str) -> Access:
    """The access of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in ACCESS:
        raise ValueError(f"unknown access {name!r}; choose one of {sorted(ACCESS)}")
    return ACCESS[name]


def _soft(distribution: AddressDistribution, weights: Tensor, num_cells: int) -> SoftAddress:
    """Weights of the candidates, (B, H, S), as weights over all cells."""
    if distribution.all_cells:
        return SoftAddress(weights)
    cells = weights.new_zeros((*weights.shape[:-1], num_cells))
    return SoftAddress(cells.scatter_add(-1, distribution.candidates, weights))


def _one_hot(log_weights: Tensor, chosen: Tensor) -> Tensor:
    candidates = torch.arange(log_weights.shape[-1], device=log_weights.device)
    return (chosen.unsqueeze(-1) == candidates).to(log_weights.dtype)


def _tangent(weights: Tensor, logits: Tensor) -> Tensor:
    """Linear in the logits, with the Jacobian a softmax has where it equals the weights: diag(w) - w w^T."""
    return weights * (logits - (weights * logits).sum(dim=-1, keepdim=True))
