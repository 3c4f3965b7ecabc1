"""Gradient estimators: losses whose gradient is that of an expected cost over random choices.

Trajectory surrogates are for rollouts, choice estimators for one choice whose cost can be evaluated again. The
catalogue says what each needs and whether it is unbiased, and enumeration proves it. No model of the library is needed:
`from hardmem.estimators import surrogate` works on anybody's log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hardmem.estimators.action_value import ActionValue, JointActionValue, luck
from hardmem.estimators.beams import Beams, extend_beams, start_beams
from hardmem.estimators.catalogue import ESTIMATORS, Record
from hardmem.estimators.enumeration import GradientCheck, Replay, all_choices, check_gradient, exact_gradient
from hardmem.estimators.relaxed import Control, Rebar, Relax, RelaxedLoss, relaxed, relaxed_surrogate
from hardmem.estimators.returns import cost_to_go, lambda_returns, settled_returns, whole_cost
from hardmem.estimators.scale import VarianceScale
from hardmem.estimators.stratified import stratified_index
from hardmem.estimators.sum_and_sample import draw_sum_and_sample, sum_and_sample, sum_and_sample_surrogate
from hardmem.estimators.trajectory import all_action_surrogate, expected_read_surrogate, surrogate
from hardmem.estimators.unordered_set import (
    draw_without_replacement,
    set_weights,
    unordered_set,
    unordered_set_surrogate,
)
from hardmem.estimators.vimco import vimco, vimco_surrogate
from hardmem.estimators.walk import TabularWalk

ChoiceEstimator = Callable[[Tensor, Callable[[Tensor], Tensor], int, torch.Generator | None], Tensor]
"""(logits (B, S), cost of choices (B, k) -> (B, k), k, generator) -> a loss."""

CHOICE_ESTIMATORS: dict[str, ChoiceEstimator] = {
    "unordered-set": unordered_set,
    "sum-and-sample": sum_and_sample,
    "vimco": vimco,
}
"""By name; REBAR and RELAX, which bring a control variate, are `relaxed`."""

__all__ = [
    "CHOICE_ESTIMATORS",
    "ESTIMATORS",
    "ActionValue",
    "Beams",
    "Control",
    "GradientCheck",
    "JointActionValue",
    "Rebar",
    "Record",
    "Relax",
    "RelaxedLoss",
    "Replay",
    "TabularWalk",
    "VarianceScale",
    "all_action_surrogate",
    "all_choices",
    "check_gradient",
    "cost_to_go",
    "draw_sum_and_sample",
    "draw_without_replacement",
    "exact_gradient",
    "expected_read_surrogate",
    "extend_beams",
    "lambda_returns",
    "luck",
    "relaxed",
    "relaxed_surrogate",
    "set_weights",
    "settled_returns",
    "start_beams",
    "stratified_index",
    "sum_and_sample",
    "sum_and_sample_surrogate",
    "surrogate",
    "unordered_set",
    "unordered_set_surrogate",
    "vimco",
    "vimco_surrogate",
    "whole_cost",
]
