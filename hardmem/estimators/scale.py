"""Variance normalisation: the learning signal divided by how much it varies. A scale, and declared as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VarianceScale(nn.Module):
    """1 / max(1, deviation of past advantages), one number for a whole batch.

    Mnih & Gregor 2014, "Neural Variational Inference and Learning in Belief Networks" (NVIL), arXiv:1402.0030. The
    old value scales the batch and is updated afterwards, so the score-function gradient is exactly `scale` times the
    unbiased one; dividing by the batch's own deviation would not be.
    """

    DECAY = 0.9
    variance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.ones(()))

    def forward(self, advantage: Tensor, mask: Tensor) -> Tensor:
        """The scale for this batch, a scalar in (0, 1]: advantage and mask (T, B)."""
        scale = self.variance.sqrt().clamp(min=1).reciprocal()
        with torch.no_grad():
            count = mask.sum()
            mean = (advantage * mask).sum() / count
            variance = ((advantage - mean).square() * mask).sum() / count
            self.variance.lerp_(variance.to(self.variance.dtype), 1 - self.DECAY)
        return scale.to(advantage.dtype)
