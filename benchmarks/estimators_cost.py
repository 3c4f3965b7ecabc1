"""Time and memory of an update, per estimator, beside four hand-written lines.

    python benchmarks/estimators_cost.py      # prints; benchmarks/variance.py puts it into the docs

256 sequences of 8 steps over 8 choices, one thread; from log-weights that require gradients to their gradient, draws
not counted except by the relaxations, which are nothing else. Memory is what autograd keeps for the backward pass. The
choice estimators take one choice in each of 256 rows, evaluated 4 times. Time is that of the processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from measured import options_of
from torch import Tensor

from hardmem.access import ACCESS, HARD
from hardmem.addressing import dense, sample_index
from hardmem.baselines import BASELINES, make_baseline, other_choices, squared_score
from hardmem.estimators import (
    ActionValue,
    Rebar,
    Relax,
    VarianceScale,
    all_action_surrogate,
    cost_to_go,
    draw_sum_and_sample,
    draw_without_replacement,
    expected_read_surrogate,
    lambda_returns,
    luck,
    relaxed_surrogate,
    set_weights,
    settled_returns,
    sum_and_sample_surrogate,
    surrogate,
    unordered_set_surrogate,
    vimco_surrogate,
    whole_cost,
)

STEPS, BATCH, CHOICES, COPIES, FEATURES = 8, 256, 8, 4, 16
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(STEPS, BATCH, CHOICES, generator=GENERATOR)
INDEX = sample_index(LOGITS, GENERATOR)
COST = torch.rand(STEPS, BATCH, generator=GENERATOR)
MASK, STATE = torch.ones(STEPS, BATCH), torch.randn(STEPS, BATCH, FEATURES, generator=GENERATOR)
CRITIC, VALUE = ActionValue(FEATURES, CHOICES), make_baseline("value", num_features=FEATURES)
CANDIDATE_COST, SCALE = torch.rand(STEPS, BATCH, CHOICES, generator=GENERATOR), VarianceScale()


def by_hand(log_weights: Tensor) -> Tensor:
    """Leave-one-out as anyone would write it."""
    log_prob = log_weights.gather(-1, INDEX.unsqueeze(-1)).squeeze(-1)
    groups = COST.flip(0).cumsum(0).flip(0).view(STEPS, -1, COPIES)
    advantage = groups - (groups.sum(2, keepdim=True) - groups) / (COPIES - 1)
    return COST.sum(0).mean() + ((log_prob - log_prob.detach()) * advantage.view(STEPS, BATCH)).sum(0).mean()


def chosen(log_weights: Tensor) -> Tensor:
    """Log-probability of what was chosen, (T, B)."""
    return log_weights.gather(-1, INDEX.unsqueeze(-1)).squeeze(-1)


def with_baseline(name: str, whole: bool = False) -> Callable[[Tensor], Tensor]:
    """The surrogate with a baseline by name, its own loss included."""
    width = {"optimal-scalar": 1, "self-critical": 1, "action-dependent": FEATURES + CHOICES + 1}.get(name, FEATURES)
    baseline = make_baseline(name, num_features=width, group_size=COPIES)

    def loss(log_weights: Tensor) -> Tensor:
        log_prob, returns = chosen(log_weights), whole_cost(COST) if whole else cost_to_go(COST)
        features = STATE
        if name == "optimal-scalar":
            features = squared_score(log_weights, INDEX).unsqueeze(-1)
        elif name == "self-critical":
            features = returns.unsqueeze(-1)
        elif name == "action-dependent":
            features, log_prob = other_choices(STATE, INDEX.unsqueeze(-1), CHOICES), log_prob.unsqueeze(-1)
        judgement = baseline(returns, features, MASK)
        return surrogate(log_prob, COST, baseline=judgement.value, returns=returns) + judgement.loss

    return loss


def gae(log_weights: Tensor) -> Tensor:
    """With a value fitted beside it."""
    judgement = VALUE(cost_to_go(COST), STATE, MASK)
    returns = lambda_returns(COST, judgement.value, discount=1.0, trace_decay=0.9)
    return surrogate(chosen(log_weights), COST, baseline=judgement.value, returns=returns) + judgement.loss


def settled(log_weights: Tensor) -> Tensor:
    """By a learned Q, its own loss included."""
    judgement = CRITIC(cost_to_go(COST), STATE, MASK, INDEX)
    returns = settled_returns(COST, luck(judgement.value, log_weights, INDEX, MASK))
    return surrogate(chosen(log_weights), COST, returns=returns) + judgement.loss


def weighted_set(log_weights: Tensor) -> Tensor:
    """The weights of four different sequences, and the surrogate."""
    log_prob = chosen(log_weights)
    counts = set_weights((log_prob.sum(dim=0) - 20).view(-1, COPIES)).flatten() * COPIES
    return surrogate(log_prob * counts, COST * counts, returns=cost_to_go(COST))


def expected_read(log_weights: Tensor) -> Tensor:
    """The cost of every candidate given."""
    return expected_read_surrogate(chosen(log_weights), log_weights, CANDIDATE_COST, mask=MASK)


def scaled(log_weights: Tensor) -> Tensor:
    """By the variance of past batches."""
    return surrogate(chosen(log_weights), COST, scale=SCALE(cost_to_go(COST), MASK))


def all_action(settle: bool) -> Callable[[Tensor], Tensor]:
    """With a learned Q, its own loss included."""

    def loss(log_weights: Tensor) -> Tensor:
        judgement = CRITIC(cost_to_go(COST), STATE, MASK, INDEX)
        value = judgement.value
        returns = settled_returns(COST, luck(value, log_weights, INDEX, MASK)) if settle else None
        return all_action_surrogate(log_weights, INDEX, COST, value, mask=MASK, returns=returns) + judgement.loss

    return loss


def of_one_choice(make: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """On the first step alone."""
    return lambda log_weights: make(log_weights[0])


SET, SUM = draw_without_replacement(LOGITS[0], 4, GENERATOR), draw_sum_and_sample(LOGITS[0], 4, GENERATOR)
DRAWS = sample_index(LOGITS[0].unsqueeze(1).expand(-1, 4, -1), GENERATOR)
NOISE = tuple(torch.rand(2, BATCH, CHOICES, generator=GENERATOR).clamp(min=1e-6).unbind(0))
CORNERS = torch.rand(CHOICES, generator=GENERATOR)


def of_relaxed(control: Rebar | Relax) -> Callable[[Tensor], Tensor]:
    """One draw, the fit of the control included."""

    def loss(log_weights: Tensor) -> Tensor:
        found = relaxed_surrogate(log_weights[0], INDEX[0], NOISE, lambda weights: weights @ CORNERS, control)
        return found.loss + found.variance

    return loss


def of_access(name: str) -> Callable[[Tensor], Tensor]:
    """What a relaxation hands on, weighed with a cost per candidate."""

    def loss(log_weights: Tensor) -> Tensor:
        address, _ = ACCESS[name](dense(log_weights.flatten(0, 1).unsqueeze(1)), CHOICES, GENERATOR)
        return (address.weights * CORNERS).sum() / BATCH

    return loss


BY_HAND = "four lines by hand (leave-one-out, K = 4)"
UNJUDGED = {
    "whole-return": lambda log_weights: surrogate(chosen(log_weights), COST, returns=whole_cost(COST)),
    "cost-to-go": lambda log_weights: surrogate(chosen(log_weights), COST),
    "discounted": lambda log_weights: surrogate(chosen(log_weights), COST, discount=0.9),
}
ARMS: dict[str, Callable[[Tensor], Tensor]] = {
    BY_HAND: by_hand,
    **UNJUDGED,
    "gae": gae,
    **{name: with_baseline(name) for name in BASELINES},
    "whole-return-leave-one-out": with_baseline("leave-one-out", whole=True),
    "settled-returns": settled,
    "all-action": all_action(settle=False),
    "expected-read": expected_read,
    "stratified": UNJUDGED["cost-to-go"],  # it differs in the draw
    "weighted-set": weighted_set,
    "variance-scale": scaled,
    "all-action + settled": all_action(settle=True),
    "unordered-set": of_one_choice(lambda row: unordered_set_surrogate(row, SET, CORNERS[SET])),
    "sum-and-sample": of_one_choice(lambda row: sum_and_sample_surrogate(row, SUM, CORNERS[SUM])),
    "vimco": of_one_choice(lambda row: vimco_surrogate(row.gather(1, DRAWS), CORNERS[DRAWS])),
    "rebar": of_relaxed(Rebar()),
    "relax": of_relaxed(Relax(CHOICES)),
    **{name: of_access(name) for name in ACCESS if name not in HARD | {"soft"}},
}


def seconds(loss: Callable[[Tensor], Tensor], log_weights: Tensor, repeats: int = 50) -> float:
    """Of one forward and backward pass; the processor's, so that other work on the machine does not count."""
    start = time.process_time()
    for _ in range(repeats):
        loss(log_weights).backward()
        log_weights.grad = None
    return (time.process_time() - start) / repeats


def kept_bytes(loss: Callable[[Tensor], Tensor], log_weights: Tensor) -> int:
    """Of the distinct storages autograd keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(log_weights)
    del value
    return sum(kept.values())


class Cost(NamedTuple):
    """Of an update: microseconds, that over the four lines by hand, and bytes kept for the backward pass."""

    microseconds: float
    ratio: float
    kept: int


def measure() -> dict[str, Cost]:
    """Per arm."""
    log_weights = LOGITS.log_softmax(dim=-1).requires_grad_()
    for loss in ARMS.values():
        seconds(loss, log_weights, 3)
    # Rounds over all arms, best of each: what else the machine does then hits all alike.
    rounds = [{arm: seconds(loss, log_weights, 20) for arm, loss in ARMS.items()} for _ in range(9)]
    best = {arm: min(round_[arm] for round_ in rounds) for arm in ARMS}
    return {
        arm: Cost(best[arm] * 1e6, best[arm] / best[BY_HAND], kept_bytes(loss, log_weights))
        for arm, loss in ARMS.items()
    }


if __name__ == "__main__":
    options_of(__doc__)
    for arm, cost in measure().items():
        print(f"{arm:44} {cost.microseconds:8.0f} us {cost.ratio:6.2f} times {cost.kept / 1000:8.0f} kB")
