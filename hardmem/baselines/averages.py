"""Baselines that average costs: over nothing, over past batches, over the other sequences of this one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardmem.baselines.base import Baseline, Judgement


class NoBaseline(Baseline):
    """Nothing is subtracted: plain REINFORCE (Williams 1992)."""

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        zero = cost_to_go.new_zeros(())
        return Judgement(zero, zero)


class Constant(Baseline):
    """One learned number for all steps, fitted by least squares as the optimiser goes (Williams 1992)."""

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__(num_features, group_size)
        self.constant = nn.Parameter(torch.zeros(()))

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        loss = ((self.constant - cost_to_go).square() * mask).sum() / mask.sum()
        return Judgement(self.constant.detach(), loss)


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


class StepAverage(Baseline):
    """The mean cost-to-go, at the same step, of all other sequences of the batch that are still running there.

    The own sequence is left out, so the estimate stays unbiased. A sequence that runs alone is judged by zero.
    """

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        running = cost_to_go * mask
        others = running.sum(dim=1, keepdim=True) - running
        count = mask.sum(dim=1, keepdim=True) - mask
        return Judgement(others / count.clamp(min=1), cost_to_go.new_zeros(()))
