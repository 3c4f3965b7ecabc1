"""Learner: what the training loop trains. It draws a batch, says what it cost, and can be examined at any length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hardmem.agents.config import TrainConfig
from hardmem.agents.estimates import Estimate
from hardmem.baselines import Baseline
from hardmem.estimators.schedules import geometric


class Generators(NamedTuple):
    """Separate streams of random numbers, so that one never disturbs another. A checkpoint holds them all."""

    problems: torch.Generator
    choices: torch.Generator
    validation: torch.Generator
    test: torch.Generator

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> Generators:
        """Independent streams from one seed."""
        seeds = np.random.SeedSequence(seed).generate_state(len(cls._fields))
        return cls(*(torch.Generator(device).manual_seed(int(stream)) for stream in seeds))


class Stage(NamedTuple):
    """Where a training stands.

    Attributes:
        length: longest problem to draw.
        update: number of the update, from 0.
        exploration: share of the entropy bonus still paid: 1 until the task is solved, falling to 0 in the first half
            of the last updates.
        shortest: problem to draw, unless the configuration's is longer still.
        second: whether the attempt goes a learner's second way; attempts take turns.
        turn: how often both ways were tried before, from 0.
    """

    length: int
    update: int = 0
    exploration: float = 1.0
    shortest: int = 1
    second: bool = False
    turn: int = 0

    def lengths(self, min_length: int) -> tuple[int, int]:
        """Shortest and longest problem to draw where the configuration asks for so many symbols at least."""
        return max(self.shortest, min(min_length, self.length)), self.length


class Batch(NamedTuple):
    """What one update learns from.

    Attributes:
        loss: to be minimised, a scalar.
        metrics: scalars to log, left on the device.
        steps: transitions of the environments, or time steps of the sequences, over the whole batch.
        problems: distinct problems drawn.
        rollouts: sequences played.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    steps: int
    problems: int
    rollouts: int


class Score(NamedTuple):
    """How a learner does on fresh problems: the share of sequences without a fault, and of single answers right."""

    exact: float
    accuracy: float


class Learner(nn.Module, ABC):
    """A policy or model with its baseline: everything the optimiser sees."""

    config: TrainConfig
    baseline: Baseline
    estimate: Estimate
    draws: bool
    """Whether it makes random choices; if not, there is nothing to be greedy about."""
    has_task: bool = True
    """Whether it learns problems of one of this package's tasks, of growing length, and can be traced at them."""
    soft_after: int = 0
    """Updates after which an attempt that has learned nothing gives way to a soft one; 0 where none is soft."""

    def entropy_weight(self, stage: Stage) -> float:
        """What the entropy bonus weighs at this stage."""
        config = self.config
        weight = geometric(config.entropy_coef, config.entropy_final, stage.update, config.entropy_updates)
        return weight * stage.exploration

    @abstractmethod
    def cool(self, factor: float) -> None:
        """Multiply the logits of all random choices, if any, in place: surer above 1, and greedily as they were."""

    @abstractmethod
    def batch(self, stage: Stage, generators: Generators) -> Batch:
        """Draw the problems of this stage, play them, and return the loss."""

    @abstractmethod
    def score(
        self,
        num_problems: int,
        generator: torch.Generator,
        *,
        max_length: int,
        min_length: int = 1,
        greedy: bool = True,
    ) -> Score | None:
        """Play fresh problems of the given lengths without learning; None where the learner cannot be run at them."""


def explained_variance(value: Tensor, cost_to_go: Tensor, mask: Tensor) -> Tensor:
    """How much of the spread of the costs-to-go a baseline foresees, a scalar on the device.

    1 where it foresees all of it, 0 where it is as good as their mean, less where it is worse (cut off at -1).

    Args:
        value: what the baseline said, broadcastable to (T, B).
        cost_to_go: what came, (T, B).
        mask: where a choice was made, (T, B).
    """
    weight = mask / mask.sum()
    error = cost_to_go - value
    spreads = [((x - (x * weight).sum()).square() * weight).sum() for x in (error, cost_to_go)]
    return (1 - spreads[0] / spreads[1].clamp(min=torch.finfo(error.dtype).tiny)).clamp(min=-1)
