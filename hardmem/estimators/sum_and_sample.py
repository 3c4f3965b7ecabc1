"""Sum and sample: the likeliest choices summed exactly, one of the others drawn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hardmem.addressing import sample_index
from hardmem.estimators.checks import check_evaluations


def draw_sum_and_sample(logits: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """The k - 1 likeliest choices and one drawn from the rest: logits (B, S) -> int64 (B, k), the drawn one last."""
    top = logits.detach().topk(samples - 1, dim=-1).indices
    drawn = sample_index(logits.detach().scatter(-1, top, -torch.inf), generator)
    return torch.cat([top, drawn.unsqueeze(-1)], dim=-1)


def sum_and_sample_surrogate(log_weights: Tensor, index: Tensor, cost: Tensor) -> Tensor:
    """The expected cost of one choice: a sum over the likeliest k - 1, and one draw for the mass that is left.

    Liu et al. 2019, "Rao-Blackwellized Stochastic Gradients for Discrete Distributions", arXiv:1810.04777. The mean
    cost over the summed ones serves as baseline: which they are is not random.

    Args:
        log_weights: log-probabilities, (B, S).
        index: from `draw_sum_and_sample`, (B, k).
        cost: of each, (B, k), attached where it depends on parameters.

    Returns:
        A scalar: the estimated expected cost, averaged over the batch.

    Raises:
        ValueError: if k is below 2, or the shapes do not match.
    """
    check_evaluations("index", index, cost)
    weights = log_weights.gather(-1, index).exp()
    fixed = weights.detach()
    summed, drawn = fixed[:, :-1], fixed[:, -1:]
    rest = log_weights.detach().exp().scatter(-1, index[:, :-1], 0.0).sum(dim=-1, keepdim=True)
    # How many times each choice counts: the summed ones once, the drawn one for all that might have been drawn.
    times = torch.cat([torch.ones_like(summed), rest / drawn.clamp(min=torch.finfo(drawn.dtype).tiny)], dim=-1)
    baseline = (summed * cost[:, :-1].detach()).sum(dim=-1, keepdim=True) / summed.sum(dim=-1, keepdim=True)
    slope = times * (cost.detach() - baseline)
    return (fixed * times * cost + (weights - fixed) * slope).sum(dim=-1).mean()


def sum_and_sample(
    logits: Tensor,
    f: Callable[[Tensor], Tensor],
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw, evaluate f and build the loss.

    Args:
        logits: (B, S).
        f: cost of choices: int64 (B, k) -> (B, k).
        samples: k, at least 2 and at most the number of choices that are possible.
        generator: of the draw.
    """
    index = draw_sum_and_sample(logits, samples, generator)
    return sum_and_sample_surrogate(logits.log_softmax(dim=-1), index, f(index))
