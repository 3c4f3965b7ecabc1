"""Variance with heads that choose at once: a baseline per head against one for all, exactly, by enumeration.

    python benchmarks/variance_heads.py --docs docs

A walk of 2 steps, 3 heads, 2 cells each, costs standard normal. Every baseline is the mean
cost-to-go given what it may see. One sequence per estimate; nothing is drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from variance import POLICIES, table, write_section

from hardmem.estimators import Replay, TabularWalk, all_choices, cost_to_go
from hardmem.estimators.enumeration import log_probability

STEPS, HEADS, CELLS, WALKS = 2, 3, 2, 10


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


def advantages(walk: TabularWalk, replay: Replay) -> dict[str, Tensor]:
    """Per baseline, (T, N, H)."""
    chance, going = log_probability(replay).detach().exp(), cost_to_go(replay.cost.detach())
    state = walk.previous(replay.choices)
    value = torch.stack([conditional_mean(going[t], chance, state[t]) for t in range(STEPS)])
    per_head = []
    for head in range(HEADS):
        others = walk.joint(replay.choices * (torch.arange(HEADS) != head))  # the own choice struck out
        known = state * CELLS**HEADS + others
        per_head.append(torch.stack([conditional_mean(going[t], chance, known[t]) for t in range(STEPS)]))
    spread = going.unsqueeze(-1).expand(-1, -1, HEADS)
    return {
        "none": spread,
        "value, one for all heads": spread - value.unsqueeze(-1),
        "action-dependent, one per head": spread - torch.stack(per_head, dim=-1),
    }


def measure() -> dict[str, dict[str, tuple[float]]]:
    """Geometric mean over walks, relative to no baseline."""
    result: dict[str, dict[str, tuple[float]]] = {}
    for policy, sharpness in POLICIES.items():
        logs: dict[str, list[Tensor]] = {}
        for seed in range(WALKS):
            walk = TabularWalk(
                num_contexts=1, num_steps=STEPS, num_heads=HEADS, num_choices=CELLS, sharpness=sharpness,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
            replay = walk.replay(all_choices(STEPS, HEADS, CELLS), 0)
            found = {name: variance(walk, replay, advantage) for name, advantage in advantages(walk, replay).items()}
            for name, value in found.items():
                logs.setdefault(name, []).append((value / found["none"]).log())
        for name, values in logs.items():
            result.setdefault(name, {})[policy] = (torch.stack(values).mean().exp().item(),)
    return result


def main() -> None:
    """Measure, print, and write the docs if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = table(measure(), "baseline on the cost-to-go")
    print(text)
    if options.docs:
        write_section(options.docs / "estimators.md", "variance-heads", text)


if __name__ == "__main__":
    main()
