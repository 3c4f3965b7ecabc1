"""Baselines that compare a sequence with others of the same problem: sampled copies of it, or its greedy one."""

from __future__ import annotations

import torch
from torch import Tensor

from hardmem.baselines.base import Baseline, Judgement, check_group_size, one_feature


class LeaveOneOut(Baseline):
    """The mean cost-to-go, at the same step, of the other K - 1 sequences of the same problem.

    Given the whole return at every step it is the whole-return form, the paper's. Kool, van Hoof & Welling 2019, "Buy
    4 REINFORCE Samples, Get a Baseline for Free!".

    Raises:
        ValueError: if group_size is below 2: there would be no other sequence to compare with.
    """

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        check_group_size("leave-one-out", group_size)

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        groups = self.groups(cost_to_go)
        others = (groups.sum(dim=2, keepdim=True) - groups) / (self.group_size - 1)
        return Judgement(others.flatten(1), cost_to_go.new_zeros(()))


class GroupMean(Baseline):
    """The mean cost-to-go, at the same step, of all K sequences of the problem, the judged one included.

    Biased: the own sample cancels 1/K of itself, and the score-function gradient comes out 1 - 1/K of what it should
    be. Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300, section 4.1, without its division by the deviation.

    Raises:
        ValueError: if group_size is below 2: every advantage would be zero.
    """

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        check_group_size("group-mean", group_size)

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        groups = self.groups(cost_to_go)
        mean = groups.mean(dim=2, keepdim=True).expand_as(groups)
        return Judgement(mean.flatten(1), cost_to_go.new_zeros(()))


class OptimalScalar(Baseline):
    """The mean of the other K - 1 costs-to-go, each weighted by its squared score: the scalar of least variance.

    Greensmith, Bartlett & Baxter 2004, "Variance Reduction Techniques for Gradient Estimates in Reinforcement
    Learning"; *Deep Learning* eq. 20.68 with one number for all coordinates. The expectations are estimated from the
    other sequences, so the own one does not enter. The features are `squared_score`, (T, B, 1).

    Raises:
        ValueError: if group_size is below 2, or in `forward` the features are more than one.
    """

    judges_by = "score"

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        check_group_size("optimal-scalar", group_size)

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        weight = self.groups(one_feature("optimal-scalar", "the squared score", features) * mask)
        # The others are summed without the own, not all minus the own: rounding would let the own one back in.
        others = 1 - torch.eye(self.group_size, dtype=weight.dtype, device=weight.device)
        weighted, total = (weight * self.groups(cost_to_go)) @ others, weight @ others
        value = weighted / total.clamp(min=torch.finfo(total.dtype).tiny)
        return Judgement(value.flatten(1), cost_to_go.new_zeros(()))


class SelfCritical(Baseline):
    """The cost-to-go of the greedy sequence of the same problem, as it is played at test time.

    Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", arXiv:1612.00563. The features
    are that cost-to-go, (T, B, 1): one more evaluation per problem.

    Raises:
        ValueError: in `forward`, if the features are more than one.
    """

    judges_by = "greedy"

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        greedy = one_feature("self-critical", "the cost-to-go of the greedy sequence", features)
        return Judgement(greedy, cost_to_go.new_zeros(()))


def squared_score(log_weights: Tensor, index: Tensor) -> Tensor:
    """Squared length of the gradient of a choice's log-probability with respect to its logits.

    |onehot - p|^2 = 1 - 2 p_chosen + sum p^2, in [0, 2]: 0 for a choice that was certain.

    Args:
        log_weights: log-probabilities, (..., S).
        index: what was chosen, (...).

    Returns:
        (...); sum over heads that choose at once.
    """
    weights = log_weights.detach().exp()
    chosen = weights.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    return 1 - 2 * chosen + weights.square().sum(dim=-1)
