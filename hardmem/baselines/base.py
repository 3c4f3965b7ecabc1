"""What a baseline is: a module that judges a batch and says what it learns from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Judgement(NamedTuple):
    """What a baseline says of a batch.

    Attributes:
        value: the expected cost-to-go, broadcastable to (T, B), or (T, B, H) from a baseline that judges heads apart;
            detached.
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

    judges_by: ClassVar[str] = "nothing"
    """What its features are: "nothing" (they are ignored), "state" (known before the choice of each step), "problem"
    (inputs and targets, nothing that was chosen), "greedy", "score" or "state and other heads"; see each class."""

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size

    @abstractmethod
    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor) -> Judgement:
        """Judge a batch.

        Args:
            cost_to_go: what the choices are judged by, (T, B), detached: the cost-to-go, or the whole return repeated
                over time.
            features: what `judges_by` says, (T, B, F).
            mask: 1 where a choice was made, 0 once a sequence has ended, (T, B). It weights what a critic learns.
        """

    def groups(self, values: Tensor) -> Tensor:
        """Values (T, B) by problem: (T, P, K).

        Raises:
            ValueError: if the batch is not a whole number of groups.
        """
        if values.shape[1] % self.group_size:
            raise ValueError(
                f"the sequences of a problem stand side by side, group_size = {self.group_size} of them: B must be a "
                f"multiple of {self.group_size}, got (T, B) = {tuple(values.shape)}"
            )
        groups: Tensor = values.unflatten(1, (-1, self.group_size))
        return groups


def check_group_size(name: str, group_size: int) -> None:
    """Refuse groups in which a sequence would have nothing but itself to compare with.

    Raises:
        ValueError: if group_size is below 2.
    """
    if group_size < 2:
        raise ValueError(f"{name} compares sequences of one problem: group_size must be at least 2, got {group_size}")


def one_feature(name: str, what: str, features: Tensor) -> Tensor:
    """The only feature of a baseline that is given what it says rather than learning it: (T, B, 1) -> (T, B).

    Raises:
        ValueError: if there are more.
    """
    if features.shape[-1] != 1:
        raise ValueError(f"{name} is given {what} as its only feature, (T, B, 1), got {tuple(features.shape)}")
    return features.detach().squeeze(-1)
