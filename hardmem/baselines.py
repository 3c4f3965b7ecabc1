"""Baselines: what is subtracted from a cost-to-go so that its gradient estimate varies less.

None of them depends on the choice it judges, so none changes the expected gradient. All are modules: their parameters
go to the optimiser, their buffers into the checkpoint. A new baseline is one class here and one line in `BASELINES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Judgement(NamedTuple):
    """What a baseline says of a batch.

    Attributes:
        value: the expected cost-to-go, broadcastable to (T, B), detached.
        loss: what the baseline itself is trained on, a scalar; zero where nothing is learned.
    """

    value: Tensor
    loss: Tensor


class Baseline(nn.Module, ABC):
    """Predicts the cost-to-go of a batch.

    Args:
        num_features: width F of the features a learned baseline judges by.
        group_size: K, sequences side by side that share a problem (problem-major), for those that compare them.
    """

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size

    @abstractmethod
    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        """Judge a batch.

        Args:
            cost_to_go: (T, B), detached.
            features: what was known before the choice of each step, (T, B, F).
            mask: 1 where a choice was made, 0 once a sequence has ended, (T, B).
        """


class NoBaseline(Baseline):
    """Nothing is subtracted: plain REINFORCE (Williams 1992)."""

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        zero = cost_to_go.new_zeros(())
        return Judgement(zero, zero)


class MovingAverage(Baseline):
    """The average of past costs-to-go, one number for all steps, decaying by `DECAY` per batch (Williams 1992).

    The old value judges the batch and is updated afterwards, so that no cost judges itself.
    """

    DECAY = 0.9
    average: Tensor
    batches: Tensor

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        # Divided by 1 - DECAY^n, the weight the zero start has lost: the first batches are not judged by the zero.
        seen = (1 - self.DECAY**self.batches).clamp(min=1 - self.DECAY)
        value = self.average / seen
        with torch.no_grad():
            mean = (cost_to_go * mask).sum() / mask.sum()
            self.average.lerp_(mean.to(self.average.dtype), 1 - self.DECAY)
            self.batches += 1
        return Judgement(value.to(cost_to_go.dtype), cost_to_go.new_zeros(()))


class Value(Baseline):
    """A learned state value: a small network predicts the cost-to-go from the features, by least squares.

    Sutton, McAllester, Singh & Mansour 2000, "Policy Gradient Methods for Reinforcement Learning with Function
    Approximation".
    """

    HIDDEN = 64

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        self.network = nn.Sequential(nn.Linear(num_features, self.HIDDEN), nn.Tanh(), nn.Linear(self.HIDDEN, 1))

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        value = self.network(features.detach()).squeeze(-1)
        loss = ((value - cost_to_go).square() * mask).sum() / mask.sum()
        return Judgement(value.detach(), loss)


class LeaveOneOut(Baseline):
    """The mean cost-to-go, at the same step, of the other K - 1 sequences of the same problem.

    Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!".

    Raises:
        ValueError: if group_size is below 2: there would be no other sequence to compare with.
    """

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        if group_size < 2:
            raise ValueError(
                f"leave-one-out compares sequences of one problem: group_size must be at least 2, got {group_size}"
            )

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        groups = cost_to_go.unflatten(1, (-1, self.group_size))  # (T, P, K)
        others = (groups.sum(dim=2, keepdim=True) - groups) / (self.group_size - 1)
        return Judgement(others.flatten(1), cost_to_go.new_zeros(()))


BASELINES: dict[str, type[Baseline]] = {
    "none": NoBaseline,
    "moving-average": MovingAverage,
    "value": Value,
    "leave-one-out": LeaveOneOut,
}


def make_baseline(name: str, *, num_features: int, group_size: int = 1) -> Baseline:
    """Build a baseline by name.

    Raises:
        ValueError: if there is no baseline of that name, or it cannot work with the group size.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; choose one of {sorted(BASELINES)}")
    return BASELINES[name](num_features, group_size)
