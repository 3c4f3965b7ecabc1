"""What each estimator of the catalogue does with rollouts, and what its expected gradient should be."""

from collections.abc import Callable
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.baselines import BASELINES, make_baseline, other_choices, squared_score
from hardmem.estimators import (
    ESTIMATORS,
    Replay,
    TabularWalk,
    VarianceScale,
    all_action_surrogate,
    all_choices,
    cost_to_go,
    exact_gradient,
    expected_read_surrogate,
    lambda_returns,
    luck,
    set_weights,
    settled_returns,
    surrogate,
    whole_cost,
)
from hardmem.estimators.enumeration import log_probability, push_through

WALKS = {
    # Trajectories.
    "addresses": {"num_choices": 3},
    "heads": {"num_heads": 2, "num_choices": 2},
    "masked": {"num_choices": 3, "masked": True},
    "lengths": {"num_steps": 3, "num_choices": 2, "stops": True},
    # One choice, or two made together: the choice estimators.
    "four-cells": {"num_steps": 1, "num_choices": 4},
    "two-cells": {"num_steps": 1, "num_choices": 2},
    "three-cells": {"num_steps": 1, "num_choices": 3},
    "two-heads": {"num_steps": 1, "num_heads": 2, "num_choices": 2},
    "masked-choice": {"num_steps": 1, "num_choices": 4, "masked": True},
}
PLAIN_BASELINES = [
    name
    for name, kind in BASELINES.items()
    if ESTIMATORS[name].unbiased and kind.judges_by in ("nothing", "state", "problem")
]
"""Unbiased, and judged by features of the shape (T, B, F): what generic tests of baselines can call."""
SHARPNESS = {"early": 0.1, "late": 2.0, "peaked": 6.0}
DISCOUNT, TRACE_DECAY, SCALE = 0.7, 0.6, 0.25


@cache
def make_walk(kind: str, policy: str) -> TabularWalk:
    return TabularWalk(sharpness=SHARPNESS[policy], generator=torch.Generator().manual_seed(3), **WALKS[kind])


def parameters(walk: TabularWalk) -> list[Tensor]:
    return [walk.logits, walk.costs]


def replay_all(walk: TabularWalk, context: int) -> Replay:
    return walk.replay(all_choices(walk.num_steps, walk.num_heads, walk.num_choices), context)


def state_features(walk: TabularWalk, choices: Tensor, context: int) -> Tensor:
    """One-hot of step and previous cells, and the context: (T, N, F)."""
    time = torch.arange(walk.num_steps).unsqueeze(1).expand(choices.shape[:2])
    state = F.one_hot(time * walk.num_states + walk.previous(choices), walk.num_steps * walk.num_states)
    return torch.cat([state, torch.full((*choices.shape[:2], 1), context)], dim=-1).double()


def random_critic(walk: TabularWalk, choices: Tensor, context: int, width: int) -> Tensor:
    """Any function of the state: (T, N, width)."""
    features = state_features(walk, choices, context)
    weight = torch.randn(features.shape[-1], width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return features @ weight


def greedy_cost_to_go(walk: TabularWalk, context: int) -> Tensor:
    """(T, 1, 1)."""
    choices = torch.zeros(walk.num_steps, 1, walk.num_heads, dtype=torch.int64)
    for step in range(walk.num_steps):
        choices[step] = walk.replay(choices, context).log_weights[step].argmax(dim=-1)
    return cost_to_go(walk.replay(choices, context).cost.detach()).unsqueeze(-1)


def baseline_features(walk: TabularWalk, replay: Replay, context: int, kind: str) -> Tensor:
    state = state_features(walk, replay.choices, context)
    if kind == "greedy":
        return greedy_cost_to_go(walk, context).expand(*replay.cost.shape, 1)
    if kind == "score":
        return squared_score(replay.log_weights, replay.choices).sum(dim=-1, keepdim=True)
    if kind == "state and other heads":
        return other_choices(state, replay.choices, walk.num_choices)
    if kind == "problem":
        inputs = torch.eye(walk.num_steps, dtype=torch.float64).unsqueeze(1)
        return torch.cat([inputs, torch.full_like(inputs[..., :1], context)], dim=-1).expand(-1, state.shape[1], -1)
    return state


# --- what each name does with a batch of replays ---


def with_baseline(name: str, group_size: int, whole: bool = False) -> Callable[[TabularWalk, int, Replay], Tensor]:
    def loss(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
        features = baseline_features(walk, replay, context, BASELINES[name].judges_by)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            baseline = make_baseline(name, num_features=features.shape[-1], group_size=group_size).double()
        if name == "moving-average":
            baseline(torch.full_like(replay.cost, 1.7), features, replay.mask)
        if name == "constant":
            torch.nn.init.constant_(baseline.constant, 1.7)
        returns = whole_cost(replay.cost) if whole else cost_to_go(replay.cost)
        value = baseline(returns.detach(), features, replay.mask).value
        return surrogate(replay.log_prob, replay.cost, returns=returns, baseline=value)

    return loss


def group_by_group(loss: Callable[[TabularWalk, int, Replay], Tensor], group_size: int):
    """For what compares with the whole batch: each group is a batch of its own."""

    def split(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
        fields = [field.split(group_size, dim=1) for field in replay]
        return torch.stack([loss(walk, context, Replay(*batch)) for batch in zip(*fields, strict=True)]).mean()

    return split


def gae(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
    value = random_critic(walk, replay.choices, context, 1).squeeze(-1) * replay.mask
    returns = lambda_returns(replay.cost, value, discount=DISCOUNT, trace_decay=TRACE_DECAY)
    return surrogate(replay.log_prob, replay.cost, returns=returns, baseline=value)


def settled(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
    action_value = random_critic(walk, replay.choices, context, walk.num_choices)
    lucky = luck(action_value, replay.log_weights[:, :, 0], replay.choices[..., 0], replay.mask)
    return surrogate(replay.log_prob, replay.cost, returns=settled_returns(replay.cost, lucky))


def all_action(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
    features = other_choices(state_features(walk, replay.choices, context), replay.choices, walk.num_choices)
    weight = torch.randn(features.shape[-1], walk.num_choices, generator=torch.Generator().manual_seed(9)).double()
    return all_action_surrogate(replay.log_weights, replay.choices, replay.cost, features @ weight, mask=replay.mask)


def expected_read(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
    # All heads together are one choice among S^H.
    digits = all_choices(1, walk.num_heads, walk.num_choices)[0]
    digits = digits[walk.joint(digits.unsqueeze(0))[0].argsort()]  # (S^H, H), in the order of `joint`
    joint = torch.stack([replay.log_weights[:, :, h, digits[:, h]] for h in range(walk.num_heads)]).sum(dim=0)
    baseline = random_critic(walk, replay.choices, context, 1).squeeze(-1)
    return expected_read_surrogate(
        replay.log_prob.sum(dim=-1), joint, replay.candidate_cost, mask=replay.mask, baseline=baseline
    )


def variance_scale(walk: TabularWalk, context: int, replay: Replay) -> Tensor:
    scale = VarianceScale().double()
    scale.variance.fill_(SCALE**-2)
    return surrogate(replay.log_prob, replay.cost, scale=scale(cost_to_go(replay.cost.detach()), replay.mask))


# --- what the expected gradient should be ---


def unbiased(walk: TabularWalk, context: int) -> list[Tensor]:
    return exact_gradient(replay_all(walk, context), parameters(walk))


def scaled_score(factor: float) -> Callable[[TabularWalk, int], list[Tensor]]:
    def target(walk: TabularWalk, context: int) -> list[Tensor]:
        replay = replay_all(walk, context)
        whole = exact_gradient(replay, parameters(walk))
        score = exact_gradient(replay._replace(cost=replay.cost.detach()), parameters(walk))
        return [w - (1 - factor) * s for w, s in zip(whole, score, strict=True)]

    return target


def discounted_target(walk: TabularWalk, context: int) -> list[Tensor]:
    """The table of step t minimises its own objective: costs before it gone, those k steps later times discount^k."""
    replay = replay_all(walk, context)
    gradient, costs = torch.zeros_like(walk.logits), unbiased(walk, context)[1]
    for step in range(walk.num_steps):
        powers = [DISCOUNT ** (k - step) if k >= step else 0.0 for k in range(walk.num_steps)]
        weight = torch.tensor(powers, dtype=torch.float64).unsqueeze(1)
        own = replay._replace(cost=replay.cost.detach() * weight)
        gradient[:, step] = exact_gradient(own, parameters(walk))[0][:, step]
    return [gradient, costs]


def gae_target(walk: TabularWalk, context: int) -> list[Tensor]:
    """Equation 16 of the paper, term by term."""
    replay = replay_all(walk, context)
    cost, last = replay.cost.detach(), walk.num_steps
    value = random_critic(walk, replay.choices, context, 1).squeeze(-1) * replay.mask
    value = torch.cat([value, torch.zeros_like(value[:1])])
    rows = []
    for t in range(last):
        terms = [
            (DISCOUNT * TRACE_DECAY) ** (k - t) * (cost[k] + DISCOUNT * value[k + 1] - value[k]) for k in range(t, last)
        ]
        rows.append(torch.stack(terms).sum(dim=0))
    score = log_probability(replay).detach().exp() * torch.stack(rows)
    return [
        push_through(replay, {"log_prob": score.unsqueeze(-1).expand_as(replay.log_prob)}, parameters(walk))[0],
        unbiased(walk, context)[1],
    ]


class Case(NamedTuple):
    loss: Callable[[TabularWalk, int, Replay], Tensor]
    group_size: int = 1
    target: Callable[[TabularWalk, int], list[Tensor]] = unbiased


GROUPED = {"leave-one-out": 3, "optimal-scalar": 3, "group-mean": 3}
TRAJECTORY = {name: Case(with_baseline(name, GROUPED.get(name, 1)), GROUPED.get(name, 1)) for name in BASELINES} | {
    "step-average": Case(group_by_group(with_baseline("step-average", 2), 2), 2),
    "group-mean": Case(with_baseline("group-mean", 3), 3, scaled_score(1 - 1 / 3)),
    "whole-return": Case(with_baseline("none", 1, whole=True)),
    "cost-to-go": Case(lambda walk, context, replay: surrogate(replay.log_prob, replay.cost)),
    "discounted": Case(
        lambda walk, context, replay: surrogate(replay.log_prob, replay.cost, discount=DISCOUNT), 1, discounted_target
    ),
    "gae": Case(gae, 1, gae_target),
    "whole-return-leave-one-out": Case(with_baseline("leave-one-out", 3, whole=True), 3),
    "settled-returns": Case(settled),
    "all-action": Case(all_action),
    "expected-read": Case(expected_read),
    "variance-scale": Case(variance_scale, 1, scaled_score(SCALE)),
}


def stratified_coefficients(walk: TabularWalk, replay: Replay, group_size: int = 2) -> dict[str, Tensor]:
    """Plain REINFORCE on copies drawn by `stratified_index`: how often each sequence comes, from the joint draw."""
    cdf = replay.log_weights.detach().exp().cumsum(dim=-1)
    high = cdf.gather(-1, replay.choices.unsqueeze(-1)).squeeze(-1)
    low = high - replay.log_weights.detach().gather(-1, replay.choices.unsqueeze(-1)).squeeze(-1).exp()
    running = replay.mask.unsqueeze(-1) > 0
    low, high = torch.where(running, low, 0.0), torch.where(running, high, 1.0)
    idle = (running | (replay.choices == 0)).all(dim=0).all(dim=-1).double()  # after the end only 0 counts
    orders, joint = list(permutations(range(group_size))), None
    for order in orders:
        # Copy k draws choice a where (order[k] + u) / K lies in a's part of [0, 1): an interval of u.
        lows = [(low * group_size - place).clamp(min=0) for place in order]
        highs = [(high * group_size - place).clamp(max=1) for place in order]
        both = torch.minimum(highs[0].unsqueeze(2), highs[1].unsqueeze(1)) - torch.maximum(
            lows[0].unsqueeze(2), lows[1].unsqueeze(1)
        )
        joint = both.clamp(min=0) if joint is None else joint + both.clamp(min=0)  # (T, N, N, H)
    pairs = (joint / len(orders)).prod(dim=0).prod(dim=-1) * idle.unsqueeze(1) * idle
    return weighted_coefficients(replay, (pairs.sum(dim=0) + pairs.sum(dim=1)) / 2)


def weighted_set_coefficients(replay: Replay, size: int = 2) -> dict[str, Tensor]:
    """Plain REINFORCE on different sequences: how much each counts on average over all sets of them."""
    log_prob = log_probability(replay).detach()
    counts = torch.zeros_like(log_prob)
    for drawn in combinations(range(len(log_prob)), size):
        chance = sequential_probability(log_prob.exp(), drawn)
        counts = counts.index_add(0, torch.tensor(drawn), chance * set_weights(log_prob[list(drawn)].unsqueeze(0))[0])
    return weighted_coefficients(replay, counts)


def weighted_coefficients(replay: Replay, counts: Tensor) -> dict[str, Tensor]:
    """What REINFORCE does where each sequence counts so much on average, (N,)."""
    score = (counts * cost_to_go(replay.cost.detach())).unsqueeze(-1)
    return {"log_prob": score.expand_as(replay.log_prob), "cost": counts.expand_as(replay.cost)}


def sequential_probability(weights: Tensor, drawn: tuple[int, ...]) -> Tensor:
    """Of drawing exactly this set without replacement, summed over its orders."""
    total = torch.zeros((), dtype=weights.dtype)
    for order in permutations(drawn):
        left, chance = torch.ones_like(weights), torch.ones_like(total)
        for cell in order:
            rest = (weights * left).sum()
            chance = chance * (weights[cell] / rest if rest > 0 else 0.0)
            left[cell] = 0
        total = total + chance
    return total
