"""Estimators and baselines where reading a number on the host, or mixing devices, raises."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hardmem.baselines import BASELINES, make_baseline, other_choices, squared_score
from hardmem.estimators import (
    CHOICE_ESTIMATORS,
    ActionValue,
    Rebar,
    Relax,
    VarianceScale,
    all_action_surrogate,
    cost_to_go,
    expected_read_surrogate,
    extend_beams,
    lambda_returns,
    luck,
    relaxed,
    set_weights,
    settled_returns,
    start_beams,
    stratified_index,
    surrogate,
    whole_cost,
)
from hardmem.estimators.analysis import GradientVariance, optimal_baseline
from tests import device_guard

T, B, H, S = 3, 4, 2, 5


def under_both_guards(step: Callable[[torch.device | str], Callable[[], object]]) -> None:
    """`step(device)` builds, outside; what it returns is run under the guard."""
    run = step("cpu")
    with device_guard.no_host_reads():
        run()
    with device_guard.fake_device() as device:
        step(device)()


def rollout(device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits = torch.randn(T, B, H, S, device=device, requires_grad=True)
    index = torch.randint(0, S, (T, B, H), device=device)
    return logits, index, torch.rand(T, B, device=device), torch.ones(T, B, device=device)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name: str) -> None:
    def step(device: torch.device | str) -> Callable[[], object]:
        logits, index, cost, mask = rollout(device)
        kind = BASELINES[name].judges_by
        width = {"greedy": 1, "score": 1, "state and other heads": 4 + H * S + H}.get(kind, 4)
        baseline = make_baseline(name, num_features=width, group_size=2).to(device)
        features = torch.rand(T, B, 1 if width == 1 else 4, device=device)

        def run() -> None:
            log_weights = logits.log_softmax(dim=-1)
            seen = features
            if kind == "score":
                seen = squared_score(log_weights, index).sum(dim=-1, keepdim=True)
            if kind == "state and other heads":
                seen = other_choices(features, index, S)
            judgement = baseline(cost_to_go(cost), seen, mask)
            log_prob = log_weights.gather(-1, index.unsqueeze(-1)).squeeze(-1)
            (surrogate(log_prob, cost, baseline=judgement.value) + judgement.loss).backward()

        return run

    under_both_guards(step)


def test_trajectory_estimators() -> None:
    def step(device: torch.device | str) -> Callable[[], object]:
        logits, index, cost, mask = rollout(device)
        critic, scale = ActionValue(4, S).to(device), VarianceScale().to(device)
        features, follower = torch.rand(T, B, 4, device=device), GradientVariance([logits])

        def run() -> None:
            log_weights = logits.log_softmax(dim=-1)[:, :, 0]
            log_prob = log_weights.gather(-1, index[..., :1]).squeeze(-1)
            value = critic(cost_to_go(cost), features, mask, index[..., 0]).value
            returns = settled_returns(cost, luck(value, log_weights, index[..., 0], mask))
            loss = all_action_surrogate(log_weights, index[..., 0], cost, value, mask=mask, returns=returns)
            loss = loss + expected_read_surrogate(log_prob, log_weights, value, mask=mask)
            loss = loss + surrogate(log_prob, cost, returns=lambda_returns(cost, cost, trace_decay=0.9))
            loss = loss + surrogate(log_prob, cost, returns=whole_cost(cost), scale=scale(cost, mask))
            loss.backward()
            follower.update()
            follower.signal_to_noise()

        return run

    under_both_guards(step)


@pytest.mark.parametrize("name", [*CHOICE_ESTIMATORS, "rebar", "relax"])
def test_choice_estimators(name: str) -> None:
    def step(device: torch.device | str) -> Callable[[], object]:
        logits, cost = torch.randn(B, S, device=device, requires_grad=True), torch.rand(S, device=device)
        control = (Rebar() if name == "rebar" else Relax(S)).to(device)

        def run() -> None:
            if name in CHOICE_ESTIMATORS:
                CHOICE_ESTIMATORS[name](logits, lambda index: cost[index], 3, None).backward()
            else:
                found = relaxed(logits, lambda weights: weights @ cost, control)
                (found.loss + found.variance).backward()

        return run

    under_both_guards(step)


def test_draws_and_analysis() -> None:
    def step(device: torch.device | str) -> Callable[[], object]:
        logits, score = torch.randn(4, 2, S, device=device), torch.randn(6, 3, device=device)

        def run() -> None:
            stratified_index(logits, 2)
            beams = start_beams(4, 2, logits)
            set_weights(extend_beams(beams, logits.log_softmax(dim=-1))[2].log_prob)
            optimal_baseline(score, score[:, 0])

        return run

    under_both_guards(step)
