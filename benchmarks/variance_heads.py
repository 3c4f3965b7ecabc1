"""Variance with heads that choose at once: a baseline per head against one for all, by enumeration.

    python benchmarks/variance_heads.py --docs docs

A walk of 2 steps, 3 heads, 2 cells each; costs standard normal, one for every combination of the heads' choices, or the
sum of one for each head. "mean" is the exact mean cost-to-go given what the baseline may see, "weighted" the mean by
squared score, "learned" a network fitted to 6,400 rollouts by least squares, weighted or not. The variance is that of
one sequence, over all sequences, relative to REINFORCE with the whole return.
"""

from __future__ import annotations

import torch
from measured import POLICIES, options_of, write_section
from torch import Tensor

from hardmem.addressing import sample_index
from hardmem.baselines import Baseline, make_baseline, other_choices, squared_score
from hardmem.estimators import Replay, TabularWalk, all_choices, cost_to_go, whole_cost
from hardmem.estimators.enumeration import log_probability

STEPS, HEADS, CELLS, WALKS = 2, 3, 2, 10
BATCHES, ROLLOUTS, PASSES = 100, 64, 4  # a critic's 6,400 rollouts, and how often it is updated on each batch


def make_walk(sharpness: float, seed: int, separate: bool) -> TabularWalk:
    """Of cost tables with an entry for every combination, or the sum of one table per head, of the same variance."""
    generator = torch.Generator().manual_seed(seed)
    walk = TabularWalk(
        num_contexts=1, num_steps=STEPS, num_heads=HEADS, num_choices=CELLS, sharpness=sharpness, generator=generator
    )
    if separate:
        shape = (STEPS, walk.num_states, HEADS, CELLS)
        own = torch.randn(shape, generator=generator, dtype=torch.float64) / HEADS**0.5
        digits = all_choices(1, HEADS, CELLS)  # (1, S^H, H)
        with torch.no_grad():
            walk.costs.zero_()
            for head in range(HEADS):
                walk.costs[0][..., walk.joint(digits)[0]] += own[:, :, head, digits[0, :, head]]
    return walk


def conditional_mean(values: Tensor, chance: Tensor, known: Tensor) -> Tensor:
    """Mean of values (N,) over the sequences, N, that agree in what is known, (N,) int64."""
    size = int(known.max()) + 1
    total = torch.zeros(size, dtype=values.dtype).index_add(0, known, chance * values)
    weight = torch.zeros(size, dtype=values.dtype).index_add(0, known, chance)
    return (total / weight.clamp(min=1e-300))[known]


def variance(walk: TabularWalk, replay: Replay, advantage: Tensor) -> Tensor:
    """Of the gradient by the table of logits, summed over coordinates: advantage (T, N, H)."""
    chance = log_probability(replay).detach().exp()
    weights = replay.log_weights.detach().exp()
    chosen = torch.eye(CELLS, dtype=weights.dtype)[replay.choices]
    slope = (chosen - weights) * advantage.unsqueeze(-1)  # (T, N, H, S)
    state = torch.eye(walk.num_states, dtype=weights.dtype)[walk.previous(replay.choices)]
    gradient = torch.einsum("tnhs,tnp->ntphs", slope, state).flatten(1)
    mean = chance @ gradient
    return chance @ (gradient - mean).square().sum(dim=1)


def state_features(walk: TabularWalk, replay: Replay) -> Tensor:
    """One-hot of step and cells before, (T, N, F)."""
    number = torch.arange(STEPS).unsqueeze(1) * walk.num_states + walk.previous(replay.choices)
    return torch.eye(STEPS * walk.num_states, dtype=torch.float64)[number]


def judge(critic: Baseline, walk: TabularWalk, replay: Replay, weighted: bool) -> tuple[Tensor, Tensor]:
    """What a critic says, (T, N) or (T, N, H), and what it is to be trained on."""
    features, weights = state_features(walk, replay), replay.mask
    score = squared_score(replay.log_weights, replay.choices)
    if critic.judges_by == "state and other heads":
        features = other_choices(features, replay.choices, CELLS)
        weights = score if weighted else weights
    elif weighted:
        weights = score.sum(dim=-1)
    judgement = critic(cost_to_go(replay.cost.detach()), features, weights)
    return judgement.value, judgement.loss


def fit(name: str, walk: TabularWalk, weighted: bool, seed: int) -> Baseline:
    """A critic trained on rollouts of this policy."""
    torch.manual_seed(seed)  # its initial weights
    generator = torch.Generator().manual_seed(seed)
    width = STEPS * walk.num_states + (HEADS * CELLS + HEADS if name == "action-dependent" else 0)
    critic = make_baseline(name, num_features=width).double()
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-2)
    for _ in range(BATCHES):
        choices = torch.zeros(STEPS, ROLLOUTS, HEADS, dtype=torch.int64)
        for t in range(STEPS):
            previous = walk.joint(choices[t - 1 : t])[0] if t else torch.zeros(ROLLOUTS, dtype=torch.int64)
            choices[t] = sample_index(walk.log_weights(torch.full((ROLLOUTS,), t), previous, 0), generator)
        replay = walk.replay(choices, 0)
        for _ in range(PASSES):
            loss = judge(critic, walk, replay, weighted)[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.97
    return critic


def advantages(walk: TabularWalk, replay: Replay, seed: int) -> dict[str, Tensor]:
    """Per baseline, (T, N, H)."""
    chance, going = log_probability(replay).detach().exp(), cost_to_go(replay.cost.detach())
    state, score = walk.previous(replay.choices), squared_score(replay.log_weights, replay.choices)
    spread = going.unsqueeze(-1).expand(-1, -1, HEADS)
    result = {"REINFORCE, whole return": whole_cost(replay.cost.detach()).unsqueeze(-1).expand(-1, -1, HEADS)}
    result["cost-to-go"] = spread
    for kind, weighted in (("mean", False), ("weighted", True)):
        rows, for_all = [], score.sum(dim=-1) if weighted else torch.ones_like(going)
        for t in range(STEPS):
            per_head = []
            for head in range(HEADS):
                others = walk.joint(replay.choices * (torch.arange(HEADS) != head))[t]  # the own choice struck out
                counts = score[t, :, head] if weighted else torch.ones_like(going[t])
                per_head.append(conditional_mean(going[t], chance * counts, state[t] * CELLS**HEADS + others))
            rows.append(torch.stack(per_head, dim=-1))
        value = torch.stack([conditional_mean(going[t], chance * for_all[t], state[t]) for t in range(STEPS)])
        result[f"value, {kind}"] = spread - value.unsqueeze(-1)
        result[f"action-dependent, {kind}"] = spread - torch.stack(rows)
    for weighted in (False, True):
        critic = fit("action-dependent", walk, weighted, seed)
        name = "action-dependent, learned" + (" by squared score" if weighted else "")
        result[name] = spread - judge(critic, walk, replay, weighted)[0]
    return result


def measure() -> dict[str, list[float]]:
    """Per baseline, the geometric mean over walks relative to REINFORCE, at each policy."""
    result: dict[str, list[float]] = {}
    for separate in (False, True):
        for sharpness in POLICIES.values():
            logs: dict[str, list[Tensor]] = {}
            for seed in range(WALKS):
                walk = make_walk(sharpness, seed, separate)
                replay = walk.replay(all_choices(STEPS, HEADS, CELLS), 0)
                found = {
                    name: variance(walk, replay, advantage)
                    for name, advantage in advantages(walk, replay, seed).items()
                }
                for name, value in found.items():
                    logs.setdefault(name, []).append((value / found["REINFORCE, whole return"]).log())
            for name, values in logs.items():
                arm = f"{'separate' if separate else 'joint'} costs: {name}"
                result.setdefault(arm, []).append(torch.stack(values).mean().exp().item())
    return result


def main() -> None:
    """Measure, print, and write the docs if asked to."""
    options = options_of(__doc__)
    lines = ["| baseline on the cost-to-go | " + " | ".join(POLICIES) + " |", "|---|---|---|---|"]
    lines += [f"| {arm} | " + " | ".join(f"{value:.3f}" for value in row) + " |" for arm, row in measure().items()]
    print("\n".join(lines))
    if options.docs:
        write_section(options.docs / "estimators.md", "variance-heads", "\n".join(lines))


if __name__ == "__main__":
    main()
