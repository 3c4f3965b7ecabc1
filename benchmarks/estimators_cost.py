"""Time and memory of an update, per estimator, beside four hand-written lines.

    python benchmarks/estimators_cost.py --docs docs

256 sequences of 8 steps over 8 choices, one thread; from log-weights that require gradients to their gradient, draws
not counted. Memory is what autograd keeps for the backward pass. The choice estimators take one choice in each
of 256 rows, evaluated 4 times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from variance import write_section

from hardmem.addressing import sample_index
from hardmem.baselines import make_baseline
from hardmem.estimators import (
    ActionValue,
    Rebar,
    Relax,
    all_action_surrogate,
    cost_to_go,
    draw_sum_and_sample,
    draw_without_replacement,
    luck,
    relaxed_surrogate,
    settled_returns,
    sum_and_sample_surrogate,
    surrogate,
    unordered_set_surrogate,
    vimco_surrogate,
)

STEPS, BATCH, CHOICES, COPIES, FEATURES = 8, 256, 8, 4, 16
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(STEPS, BATCH, CHOICES, generator=GENERATOR)
INDEX = sample_index(LOGITS, GENERATOR)
COST = torch.rand(STEPS, BATCH, generator=GENERATOR)
MASK, STATE = torch.ones(STEPS, BATCH), torch.randn(STEPS, BATCH, FEATURES, generator=GENERATOR)
CRITIC = ActionValue(FEATURES, CHOICES)


def by_hand(log_weights: Tensor) -> Tensor:
    """Leave-one-out as anyone would write it."""
    log_prob = log_weights.gather(-1, INDEX.unsqueeze(-1)).squeeze(-1)
    groups = COST.flip(0).cumsum(0).flip(0).view(STEPS, -1, COPIES)
    advantage = groups - (groups.sum(2, keepdim=True) - groups) / (COPIES - 1)
    return COST.sum(0).mean() + ((log_prob - log_prob.detach()) * advantage.view(STEPS, BATCH)).sum(0).mean()


def with_baseline(name: str) -> Callable[[Tensor], Tensor]:
    """The surrogate with a baseline by name, its own loss included."""
    baseline = make_baseline(name, num_features=FEATURES, group_size=COPIES)

    def loss(log_weights: Tensor) -> Tensor:
        log_prob = log_weights.gather(-1, INDEX.unsqueeze(-1)).squeeze(-1)
        judgement = baseline(cost_to_go(COST), STATE, MASK)
        return surrogate(log_prob, COST, baseline=judgement.value) + judgement.loss

    return loss


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


ARMS: dict[str, Callable[[Tensor], Tensor]] = {
    "four lines by hand (leave-one-out, K = 4)": by_hand,
    **{name: with_baseline(name) for name in ("leave-one-out", "none", "moving-average", "step-average", "value")},
    **{name: with_baseline(name) for name in ("input-dependent", "privileged")},
    "all-action": all_action(settle=False),
    "all-action + settled": all_action(settle=True),
    "unordered-set, one choice": of_one_choice(lambda row: unordered_set_surrogate(row, SET, CORNERS[SET])),
    "sum-and-sample, one choice": of_one_choice(lambda row: sum_and_sample_surrogate(row, SUM, CORNERS[SUM])),
    "vimco, one choice": of_one_choice(lambda row: vimco_surrogate(row.gather(1, DRAWS), CORNERS[DRAWS])),
    "rebar, one choice": of_relaxed(Rebar()),
    "relax, one choice": of_relaxed(Relax(CHOICES)),
}


def seconds(loss: Callable[[Tensor], Tensor], log_weights: Tensor, repeats: int = 50) -> float:
    """Of one forward and backward pass."""
    start = time.perf_counter()
    for _ in range(repeats):
        loss(log_weights).backward()
        log_weights.grad = None
    return (time.perf_counter() - start) / repeats


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


def main() -> None:
    """Measure, print, and write the docs if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log_weights = LOGITS.log_softmax(dim=-1).requires_grad_()
    for loss in ARMS.values():
        seconds(loss, log_weights, 10)
    # Rounds over all arms, best of each: what else the machine does then hits all alike.
    rounds = [{arm: seconds(loss, log_weights) for arm, loss in ARMS.items()} for _ in range(9)]
    best = {arm: min(round_[arm] for round_ in rounds) for arm in ARMS}
    reference = best["four lines by hand (leave-one-out, K = 4)"]
    lines = ["| estimator | µs per update | times the four lines | kB kept |", "|---|---|---|---|"]
    for arm, loss in ARMS.items():
        size = kept_bytes(loss, log_weights) / 1000
        lines.append(f"| {arm} | {best[arm] * 1e6:.0f} | {best[arm] / reference:.2f} | {size:.0f} |")
    print("\n".join(lines))
    if options.docs:
        write_section(options.docs / "estimators.md", "cost", "\n".join(lines))


if __name__ == "__main__":
    main()
