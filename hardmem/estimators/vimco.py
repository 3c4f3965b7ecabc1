"""VIMCO: the gradient of a bound that K draws share, each draw judged by what it added."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hardmem.addressing import sample_index
from hardmem.estimators.checks import check_evaluations


def vimco_surrogate(log_prob: Tensor, cost: Tensor) -> Tensor:
    """Minimise -log of the mean of exp(-cost) over K draws, in expectation.

    Mnih & Rezende 2016, "Variational Inference for Monte Carlo Objectives", arXiv:1602.06725: each draw is judged by
    the bound minus the bound with its own term replaced by the geometric mean of the others. The objective is the
    K-sample bound, below the expected cost; for K draws it is estimated without bias.

    Args:
        log_prob: of K independent draws, (B, K).
        cost: of each, (B, K), attached where it depends on parameters. For a variational bound it is log q - log p.

    Returns:
        A scalar: the bound, averaged over the batch.

    Raises:
        ValueError: if K is below 2, or the shapes do not match.
    """
    check_evaluations("log_prob", log_prob, cost)
    draws = cost.shape[1]
    bound = math.log(draws) - (-cost).logsumexp(dim=-1)
    with torch.no_grad():
        others_mean = (cost.sum(dim=-1, keepdim=True) - cost) / (draws - 1)
        own = torch.eye(draws, dtype=torch.bool, device=cost.device)
        replaced = torch.where(own, others_mean.unsqueeze(-1), cost.unsqueeze(1))  # (B, K, K): row j without draw j
        without = math.log(draws) - (-replaced).logsumexp(dim=-1)
        advantage = bound.unsqueeze(-1) - without
    return (bound + ((log_prob - log_prob.detach()) * advantage).sum(dim=-1)).mean()


def vimco(
    logits: Tensor,
    f: Callable[[Tensor], Tensor],
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw K choices, evaluate f at them and build the loss.

    Args:
        logits: (B, S).
        f: cost of choices: int64 (B, K) -> (B, K).
        samples: K, at least 2.
        generator: of the draw.
    """
    log_weights = logits.log_softmax(dim=-1)
    index = sample_index(log_weights.unsqueeze(1).expand(-1, samples, -1), generator)
    return vimco_surrogate(log_weights.gather(-1, index), f(index))
