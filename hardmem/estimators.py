"""Gradient estimators: losses whose gradient is that of an expected cost over random choices.

A surrogate is an ordinary scalar to call `backward` on. Its value is the mean cost itself; what is special is its
gradient, in which the pathwise term (the cost's own dependence on parameters) and the score-function term (how the
choices should change) stand side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cost_to_go(cost: Tensor, discount: float = 1.0) -> Tensor:
    """Sum of the costs from each step on: (T, B) -> (T, B), step t + k weighted by discount^k.

    Args:
        cost: cost of each step, zero where a sequence has ended.
        discount: in [0, 1]. At 1 plain sums; at 0 each step's own cost.
    """
    if discount == 1.0:
        return cost.flip(0).cumsum(0).flip(0)
    total = torch.zeros_like(cost[0])
    rows = []
    for step_cost in reversed(cost.unbind(0)):
        total = step_cost + discount * total
        rows.append(total)
    return torch.stack(rows[::-1])


def surrogate(log_prob: Tensor, cost: Tensor, *, baseline: Tensor | None = None, discount: float = 1.0) -> Tensor:
    """A loss whose gradient is that of the expected cost of sequences of random choices.

    REINFORCE with reward-to-go (Williams 1992) for the choices, back-propagation for the rest (Schulman et al. 2015,
    "Gradient Estimation Using Stochastic Computation Graphs", arXiv:1506.05254, theorem 1).

    Args:
        log_prob: log-probability of the choices made at each step, (T, B), or (T, B, H) to be summed over H choices
            made at once. Zero where a sequence has ended.
        cost: cost of each step (minus the reward), (T, B), zero where a sequence has ended. The choices of step t may
            influence the cost of steps t and later, not of earlier ones. Where it depends on parameters, keep it
            attached: the pathwise gradient is part of the result.
        baseline: subtracted from the cost-to-go, broadcastable to (T, B); no gradient passes through it. It must not
            depend on the choice it judges.
        discount: weight of later costs in the score-function term, in [0, 1]; below 1 the gradient is biased.

    Returns:
        A scalar equal to the total cost of a sequence, averaged over the batch.

    Raises:
        ValueError: if the shapes do not match.
    """
    if cost.dim() != 2 or log_prob.shape[:2] != cost.shape or log_prob.dim() > 3:
        raise ValueError(
            f"cost must be (T, B) and log_prob (T, B) or (T, B, H): cost is {tuple(cost.shape)}, "
            f"log_prob is {tuple(log_prob.shape)}"
        )
    advantage = cost_to_go(cost.detach(), discount)
    if baseline is not None:
        advantage = advantage - baseline.detach()
    score = log_prob.sum(dim=-1) if log_prob.dim() == 3 else log_prob
    # score - score.detach() is zero in value: the loss stays the cost, only the gradient gains a term.
    return (cost + (score - score.detach()) * advantage).sum(dim=0).mean()
