"""Trajectory surrogates: losses over rollouts whose gradient is that of the expected cost.

A surrogate is an ordinary scalar to call `backward` on. Its value is the mean cost itself; what is special is its
gradient, in which the pathwise term (the cost's own dependence on parameters) and the score-function term (how the
choices should change) stand side by side.
"""

from __future__ import annotations

from torch import Tensor

from hardmem.estimators.returns import cost_to_go


def surrogate(
    log_prob: Tensor,
    cost: Tensor,
    *,
    baseline: Tensor | None = None,
    discount: float = 1.0,
    returns: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """A loss whose gradient is that of the expected cost of sequences of random choices.

    REINFORCE with reward-to-go (Williams 1992) for the choices, back-propagation for the rest (Schulman et al. 2015,
    "Gradient Estimation Using Stochastic Computation Graphs", arXiv:1506.05254).

    Args:
        log_prob: log-probability of the choices made at each step, (T, B), or (T, B, H) for H choices made at once.
            Zero where a sequence has ended.
        cost: cost of each step (minus the reward), (T, B), zero where a sequence has ended. The choices of step t may
            influence the cost of steps t and later, not of earlier ones. Where it depends on parameters, keep it
            attached: the pathwise gradient is part of the result.
        baseline: subtracted from the returns, (T, B), or what expands to it: a scalar, (B,), (T, 1); or (T, B, H) to
            judge heads apart. No gradient passes through it. It must not depend on the choice it judges.
        discount: weight of later costs in the score-function term, in [0, 1]; below 1 the gradient is biased.
        returns: what the choices of each step are judged by instead of the discounted cost-to-go, (T, B); see
            `hardmem.estimators.returns`. No gradient passes through it.
        scale: multiplies the score-function term, a scalar > 0, as `VarianceScale` gives it. Other than 1 it is a
            declared bias: the score-function gradient is that many times what it should be.

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
    advantage = cost_to_go(cost.detach(), discount) if returns is None else returns.detach()
    if advantage.shape != cost.shape:
        raise ValueError(f"returns must be shaped as cost, (T, B) = {tuple(cost.shape)}, got {tuple(advantage.shape)}")
    heads_apart = baseline is not None and baseline.dim() == 3
    if baseline is not None:
        _check_baseline(baseline, log_prob, heads_apart)
        advantage = (advantage.unsqueeze(-1) if heads_apart else advantage) - baseline.detach()
    if scale is not None:
        advantage = advantage * scale
    score = log_prob.sum(dim=-1) if log_prob.dim() == 3 and not heads_apart else log_prob
    # score - score.detach() is zero in value: the loss stays the cost, only the gradient gains a term.
    term = (score - score.detach()) * advantage
    return (cost + (term.sum(dim=-1) if heads_apart else term)).sum(dim=0).mean()


def _check_baseline(baseline: Tensor, log_prob: Tensor, heads_apart: bool) -> None:
    """Refuse what would broadcast to something nobody meant: (T, B, 1), or (1, T, B) judging T heads."""
    wanted = tuple(log_prob.shape if heads_apart else log_prob.shape[:2])
    sizes = zip(reversed(baseline.shape), reversed(wanted), strict=False)
    if baseline.shape != wanted if heads_apart else any(size not in (1, whole) for size, whole in sizes):
        raise ValueError(
            f"baseline must be (T, B), or expand to it, or be (T, B, H) as log_prob: baseline is "
            f"{tuple(baseline.shape)}, log_prob is {tuple(log_prob.shape)}"
        )


def expected_read_surrogate(
    log_prob: Tensor, log_weights: Tensor, candidate_cost: Tensor, *, mask: Tensor, baseline: Tensor | None = None
) -> Tensor:
    """The immediate cost averaged exactly over all candidate cells, REINFORCE only for what a choice does later.

    A Rao-Blackwellised read: where the cost of a step can be computed for every cell that might have been read (run
    the output layer on each), its expectation over the address needs no sampling, neither in the step's own gradient
    nor where an earlier choice is judged by it. What is left for REINFORCE is where the choice leads.

    Args:
        log_prob: log-probability of the address drawn, (T, B).
        log_weights: log-probabilities of the S candidates, (T, B, S); -inf for a candidate that cannot be.
        candidate_cost: cost of the step had each candidate been read, (T, B, S), finite; attached, for the pathwise
            term.
        mask: 1 where a choice was made, 0 once a sequence has ended, (T, B).
        baseline: as in `surrogate`; it judges the cost from the *next* step on.

    Returns:
        A scalar: the expected cost of the steps of a sequence, averaged over the batch.
    """
    expected = (log_weights.exp() * candidate_cost).sum(dim=-1) * mask
    later = cost_to_go(expected.detach()) - expected.detach()
    return surrogate(log_prob * mask, expected, baseline=baseline, returns=later)


def all_action_surrogate(
    log_weights: Tensor,
    index: Tensor,
    cost: Tensor,
    action_value: Tensor,
    *,
    mask: Tensor,
    returns: Tensor | None = None,
) -> Tensor:
    """The gradient over all actions that a learned action value gives, and the correction that keeps it unbiased.

    The policy gradient summed over actions (Sutton et al. 2000, theorem 1) trusts the critic; REINFORCE on what the
    critic got wrong repairs it (Gu et al. 2017, "Q-Prop", arXiv:1611.02247, for discrete actions). With an exact critic
    and `settled_returns` in a deterministic world the correction is zero.

    Args:
        log_weights: log-probabilities of the S choices, (T, B, S), or (T, B, H, S) for H made at once.
        index: what was chosen, int64, (T, B) or (T, B, H).
        cost: cost of each step, (T, B), zero where a sequence has ended; attached where it depends on parameters.
        action_value: the critic's cost-to-go of every choice, shaped as log_weights, finite; no gradient passes. For
            head h it may depend on what the other heads chose, never on what h chose.
        mask: 1 where a choice was made, 0 once a sequence has ended, (T, B).
        returns: as in `surrogate`.

    Returns:
        A scalar equal to the total cost of a sequence, averaged over the batch.

    Raises:
        ValueError: if the shapes do not match.
    """
    if action_value.shape != log_weights.shape or index.shape != log_weights.shape[:-1]:
        raise ValueError(
            f"action_value must be shaped as log_weights, index as its leading dimensions: log_weights is "
            f"{tuple(log_weights.shape)}, action_value is {tuple(action_value.shape)}, index is {tuple(index.shape)}"
        )
    value, heads_mask = action_value.detach(), mask if index.dim() == 2 else mask.unsqueeze(-1)
    exact = (log_weights.exp() * value).sum(dim=-1) * heads_mask
    chosen = index.unsqueeze(-1)
    log_prob = log_weights.gather(-1, chosen).squeeze(-1) * heads_mask
    loss = surrogate(log_prob, cost, baseline=value.gather(-1, chosen).squeeze(-1), returns=returns)
    per_step = exact.sum(dim=-1) if exact.dim() == 3 else exact
    return loss + (per_step - per_step.detach()).sum(dim=0).mean()
