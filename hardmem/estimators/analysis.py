"""Analysis: the best baseline there could be, and how noisy the gradients of a running training are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def optimal_baseline(score: Tensor, cost: Tensor, probability: Tensor | None = None) -> Tensor:
    """The baseline of least variance for each coordinate of the gradient on its own: (D,).

    E[cost * score^2] / E[score^2]; *Deep Learning*, eq. 20.68. A yardstick: estimated from the samples it would judge
    it leaks them, and is biased as a baseline.

    Args:
        score: gradient of the log-probability of each of M samples, (M, D).
        cost: of each, (M,).
        probability: of each, (M,), where all outcomes were enumerated; equal weights by default.

    Returns:
        0 for a coordinate on which no sample has a score.

    Raises:
        ValueError: if the shapes do not match.
    """
    if score.dim() != 2 or cost.shape != score.shape[:1]:
        raise ValueError(
            f"score must be (M, D) and cost (M,): score is {tuple(score.shape)}, cost is {tuple(cost.shape)}"
        )
    weight = score.square() if probability is None else score.square() * probability.unsqueeze(-1)
    total = weight.sum(dim=0)
    return (weight * cost.unsqueeze(-1)).sum(dim=0) / total.clamp(min=torch.finfo(total.dtype).tiny)


class GradientVariance(nn.Module):
    """The variance of a training's gradients, followed as it runs: feed it after every `backward`.

    Decaying averages of the gradient and of its square, both corrected for their zero start. Valid while the policy
    moves little within 1 / (1 - decay) updates. Tensors only: reading a result as a number is up to the caller.

    Args:
        parameters: whose `.grad` to follow.
        decay: of the averages per update, in (0, 1).
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.99) -> None:
        super().__init__()
        self.followed = tuple(parameters)  # a tuple, so that they do not become parameters of this module
        size = sum(parameter.numel() for parameter in self.followed)
        like = self.followed[0].detach()
        self.decay = decay
        self.register_buffer("mean", like.new_zeros(size))
        self.register_buffer("square", like.new_zeros(size))
        self.register_buffer("updates", like.new_zeros(()))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the gradients as they stand; a parameter without one counts as zero."""
        grads = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in self.followed]
        flat = torch.cat(grads)
        self.mean.lerp_(flat, 1 - self.decay)
        self.square.lerp_(flat.square(), 1 - self.decay)
        self.updates += 1

    def variance(self) -> Tensor:
        """Sum over coordinates of the variance of one update's gradient, a scalar; at least two updates must be in."""
        seen = 1 - self.decay**self.updates
        # Of n equally likely values the mean's own variance is missing; here n is the effective number averaged over.
        effective = (1 + self.decay) / (1 - self.decay) * seen / (1 + self.decay**self.updates)
        spread = (self.square / seen - (self.mean / seen).square()).sum()
        return (spread / (1 - 1 / effective).clamp(min=1e-6)).clamp(min=0)

    def signal_to_noise(self) -> Tensor:
        """Squared length of the mean gradient over the variance, a scalar: how far a single update is to be trusted."""
        signal = (self.mean / (1 - self.decay**self.updates)).square().sum()
        return signal / self.variance().clamp(min=torch.finfo(signal.dtype).tiny)
