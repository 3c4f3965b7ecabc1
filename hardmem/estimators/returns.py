"""Returns: what the choice of each step is judged by, from the costs of all steps."""

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


def whole_cost(cost: Tensor) -> Tensor:
    """The cost of the whole sequence at every step, (T, B) -> (T, B): REINFORCE as Williams 1992 has it.

    Also right where a step's cost may depend on later choices.
    """
    return cost.sum(dim=0).expand_as(cost)


def lambda_returns(cost: Tensor, state_value: Tensor, *, discount: float = 1.0, trace_decay: float) -> Tensor:
    """Costs-to-go that rely on a critic for what lies far ahead, (T, B).

    Minus the critic, as baseline, they are GAE: Schulman et al. 2016, "High-Dimensional Continuous Control Using
    Generalized Advantage Estimation", arXiv:1506.02438, eq. 16.

    Args:
        cost: cost of each step, zero where a sequence has ended, (T, B).
        state_value: the critic's cost-to-go before the choice of each step, zero where a sequence has ended, (T, B).
        discount: in [0, 1].
        trace_decay: lambda, in [0, 1]. At 1 the plain cost-to-go, unbiased whatever the critic says; at 0 one step and
            the critic. Below 1 the gradient is unbiased only if the critic is exact.

    Raises:
        ValueError: if the shapes differ.
    """
    if cost.shape != state_value.shape:
        raise ValueError(
            f"cost and state_value must both be (T, B): cost is {tuple(cost.shape)}, "
            f"state_value is {tuple(state_value.shape)}"
        )
    following = torch.cat([state_value[1:], torch.zeros_like(state_value[:1])])
    surprise = cost + discount * following - state_value
    return cost_to_go(surprise, discount * trace_decay) + state_value


def settled_returns(cost: Tensor, luck: Tensor) -> Tensor:
    """Costs-to-go without the luck of the later draws, (T, B).

    A choice is judged by what followed, and what followed depends on later choices that happened to be good or bad.
    A critic that knows how good each choice was, beside the mean over that step's choices, takes the difference out:
    cost-to-go minus the sum of the luck of all later steps. The luck of a step has mean zero given all before it, so
    the gradient is unbiased whatever the critic says. Cheng, Yan & Boots 2019, "Trajectory-wise Control Variates for
    Variance Reduction in Policy Gradient Methods", arXiv:1908.03263.

    Args:
        cost: cost of each step, zero where a sequence has ended, (T, B).
        luck: critic's value of what was chosen minus its mean over the policy, zero where a sequence has ended, (T, B).
    """
    return cost_to_go(cost - luck) + luck
