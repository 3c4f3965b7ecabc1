"""Learned baselines: networks fitted to the cost-to-go by least squares. They differ in what they may look at.

Fitted so, a critic becomes the mean cost-to-go. The baseline of least variance is another: the mean weighted by the
squared score (Greensmith et al. 2004; *Deep Learning*, eq. 20.68). They are far apart where a policy is peaked, and the
rare choices matter most. Multiply the mask by `squared_score` and a critic is fitted to that one. (Any weights will do:
a critic sees nothing of the choice it judges, however it was trained on earlier ones.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardmem.baselines.base import Baseline, Judgement

HIDDEN = 64


class Value(Baseline):
    """A learned state value: a small network predicts the cost-to-go from what was known before the choice.

    Sutton, McAllester, Singh & Mansour 2000, "Policy Gradient Methods for Reinforcement Learning with Function
    Approximation".
    """

    judges_by = "state"

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        self.network = nn.Sequential(nn.Linear(num_features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        value = self.network(features.detach()).squeeze(-1)
        return Judgement(value.detach(), _least_squares(value, cost_to_go, mask))


class ActionDependent(Value):
    """A value per head that also sees what the other heads chose at the same step, never the head's own choice.

    Heads that choose at once, independently given the state, are judged apart: (T, B, H). Wu et al. 2018, "Variance
    Reduction for Policy Gradient with Action-Dependent Factorized Baselines", arXiv:1803.07246. The
    features are (T, B, H, F), as `other_choices` builds them; the mask may be by head, (T, B, H), too.

    Raises:
        ValueError: in `forward`, if the features are not by head.
    """

    judges_by = "state and other heads"

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        if features.dim() != 4:
            raise ValueError(f"action-dependent judges by (T, B, H, F), features by head, got {tuple(features.shape)}")
        value = self.network(features.detach()).squeeze(-1)  # (T, B, H)
        weights = mask.unsqueeze(-1).expand_as(value) if mask.dim() == 2 else mask
        loss = _least_squares(value, cost_to_go.unsqueeze(-1), weights)
        return Judgement(value.detach(), loss)


class _OverProblem(Baseline):
    """A recurrent network over the problem alone, so that it may look at any step: nothing there was chosen."""

    judges_by = "problem"
    BOTH_WAYS = False

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        self.network = nn.GRU(num_features, HIDDEN, bidirectional=self.BOTH_WAYS)
        self.readout = nn.Linear(2 * HIDDEN if self.BOTH_WAYS else HIDDEN, 1)

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        value = self.readout(self.network(features.detach())[0]).squeeze(-1)
        return Judgement(value.detach(), _least_squares(value, cost_to_go, mask))


class InputDependent(_OverProblem):
    """Predicts the cost-to-go from the inputs shown up to each step and from nothing that was chosen.

    Mnih & Gregor 2014, "Neural Variational Inference and Learning in Belief Networks" (NVIL), arXiv:1402.0030,
    section 2.3.1, C(x). The features are the problem's inputs.
    """


class Privileged(_OverProblem):
    """A critic that sees the whole problem at every step: later inputs and the targets too. Used in training only.

    The offline baseline of Zaremba & Sutskever 2015, "Reinforcement Learning Neural Turing Machines",
    arXiv:1505.00521. The features are the problem's inputs and targets.
    """

    BOTH_WAYS = True


def other_choices(features: Tensor, index: Tensor, num_choices: int) -> Tensor:
    """What `ActionDependent` judges each head by: the state, the other heads' choices, and which head it is.

    Args:
        features: of the state, (T, B, F).
        index: what each of H heads chose, int64 in [0, num_choices), (T, B, H).
        num_choices: S.

    Returns:
        (T, B, H, F + H * S + H); in the row of head h the block of its own choice is zero.
    """
    heads = index.shape[-1]
    head = torch.eye(heads, dtype=features.dtype, device=features.device)
    chosen = torch.eye(num_choices, dtype=features.dtype, device=features.device)[index]  # (T, B, H, S)
    others = chosen.unsqueeze(-3) * (1 - head).unsqueeze(-1)  # (T, B, H, H, S)
    state = features.unsqueeze(-2).expand(*index.shape, features.shape[-1])
    return torch.cat([state, others.flatten(-2), head.expand(*index.shape, heads)], dim=-1)


def _least_squares(value: Tensor, cost_to_go: Tensor, mask: Tensor) -> Tensor:
    total = mask.sum().clamp(min=torch.finfo(mask.dtype).tiny)  # squared scores are all 0 where nothing is in doubt
    return ((value - cost_to_go).square() * mask).sum() / total
