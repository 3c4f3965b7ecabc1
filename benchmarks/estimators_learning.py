"""Rollouts a hard NTM needs to solve Copy without a curriculum, by baseline, each in its own best layout.

    python benchmarks/estimators_learning.py --tune --out layouts.jsonl         # what LAYOUTS was chosen by
    python benchmarks/estimators_learning.py --seeds 10 --out results.jsonl     # again: continues where it stopped
    python benchmarks/estimators_learning.py --out results.jsonl --report --docs docs   # into the docs

One process per core: give each process some of the arms or seeds (`--arms`, `--first-seed`) and the same file. Layouts
are tuned on seeds of their own, 1,000 and up.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from measured import write_section
from torch import Tensor

from hardmem import NTM, make_baseline, surrogate
from hardmem.access import AccessRecord
from hardmem.estimators import cost_to_go
from hardmem.tasks import Problem, Task, bit_inputs, make_task, symbols_to_bits

LENGTH, SYMBOLS = 5, 256
CHECK_EVERY = 640  # rollouts; every layout's update divides it
TUNING_SEEDS, TUNING_ROLLOUTS = range(1000, 1003), 25_600


class Layout(NamedTuple):
    """How an arm spends its rollouts: how many an update, in how many copies of each problem, at what learning rate."""

    rollouts: int
    copies: int
    learning_rate: float


LAYOUTS = {
    "none": Layout(16, 1, 1e-2),
    "moving-average": Layout(16, 1, 1e-2),
    "step-average": Layout(32, 1, 1e-2),
    "value": Layout(16, 1, 1e-2),
    "input-dependent": Layout(32, 1, 2e-2),
    "privileged": Layout(16, 1, 1e-2),
    "self-critical": Layout(32, 1, 2e-2),
    "leave-one-out": Layout(16, 4, 1e-2),
}
"""The best of `candidates` for each arm, on the tuning seeds."""


RATES = {16: (1e-2,), 32: (3e-3, 1e-2, 2e-2), 64: (3e-3, 1e-2, 2e-2), 128: (3e-3, 1e-2)}
"""Learning rates tried, by rollouts per update."""


def candidates(arm: str) -> list[Layout]:
    """What an arm may choose from. Copies of a problem only take variety from what does not compare them."""
    copies = (4, 8, 16) if arm == "leave-one-out" else (1,)
    return [Layout(size, number, rate) for size, rates in RATES.items() for number in copies for rate in rates]


def costs(ntm: NTM, problem: Problem, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, AccessRecord]:
    """Cost of each step, (T, B), whether all bits of each answer are right, (T, B), and the record of addresses."""
    outputs, _, record = ntm.trace(bit_inputs(problem.inputs[..., 0], SYMBOLS), None, generator)
    bits = symbols_to_bits(problem.targets, SYMBOLS)
    cost = F.binary_cross_entropy_with_logits(outputs, bits, reduction="none").mean(dim=-1) * problem.mask
    right = ((outputs > 0) == (bits > 0)).all(dim=-1) | ~problem.mask
    return cost, right, record


def features(problem: Problem, index: Tensor, num_cells: int) -> Tensor:
    """What a critic may know before each choice: the input, the step, and where the head is. (T, B, F)."""
    steps, batch = problem.mask.shape
    before = torch.cat([torch.zeros_like(index[:1]), index[:-1]])[..., 0]
    step = torch.eye(steps).unsqueeze(1).expand(-1, batch, -1)
    return torch.cat([bit_inputs(problem.inputs[..., 0], SYMBOLS), step, F.one_hot(before, num_cells)], dim=-1)


def whole_problem(problem: Problem) -> Tensor:
    """What a privileged critic may know: inputs and targets, and where an answer is due. (T, B, F)."""
    shown, due = bit_inputs(problem.inputs[..., 0], SYMBOLS), symbols_to_bits(problem.targets, SYMBOLS)
    return torch.cat([shown, due, problem.mask.unsqueeze(-1)], dim=-1)


def greedily(ntm: NTM, problem: Problem) -> tuple[Tensor, Tensor]:
    """Cost and correctness of each step, (T, B), where every head takes its likeliest cell."""
    ntm.access = "argmax"
    with torch.no_grad():
        cost, right, _ = costs(ntm, problem)
    ntm.access = "sampled"
    return cost, right


def known(arm: str, ntm: NTM, problem: Problem, index: Tensor) -> Tensor:
    """What the arm's baseline judges by, (T, B, F)."""
    if arm == "privileged":
        return whole_problem(problem)
    if arm == "input-dependent":
        return bit_inputs(problem.inputs[..., 0], SYMBOLS)
    if arm == "self-critical":
        return cost_to_go(greedily(ntm, problem)[0]).unsqueeze(-1)
    return features(problem, index, ntm.num_cells)


def run(arm: str, layout: Layout, seed: int, max_rollouts: int) -> dict[str, object]:
    """Train until every one of 256 held-out problems is right, greedily; report when."""
    torch.manual_seed(seed)  # initial weights: torch.nn takes no generator
    generator, held_out = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(10_000)
    task: Task = make_task("copy", num_symbols=SYMBOLS, max_length=LENGTH)
    inputs = bit_inputs(torch.zeros(1, dtype=torch.int64), SYMBOLS).shape[-1]
    ntm = NTM(
        inputs, 8, num_cells=task.num_cells, addressing="head-moves", access="sampled", heads=("read-write",),
        order="read-write-move", bypass=False,
    )  # fmt: skip
    some = task.draw(1, generator=held_out)
    width = known(arm, ntm, some, torch.zeros(*some.mask.shape, 1, dtype=torch.int64)).shape[-1]
    baseline = make_baseline(arm, num_features=width, group_size=layout.copies)
    optimizer = torch.optim.Adam([*ntm.parameters(), *baseline.parameters()], lr=layout.learning_rate)
    test, start, greedy = task.draw(256, generator=held_out), time.process_time(), 0.0
    rollouts, problems = 0, layout.rollouts // layout.copies
    if arm == "self-critical":
        problems //= 2  # the greedy one of each problem is a rollout, too
    while greedy < 1 and rollouts < max_rollouts:
        for _ in range(CHECK_EVERY // layout.rollouts):
            problem = task.draw(problems, generator=generator).repeat(layout.copies)
            cost, _, record = costs(ntm, problem, generator)
            judgement = baseline(
                cost_to_go(cost.detach()), known(arm, ntm, problem, record.index), torch.ones_like(cost)
            )
            loss = surrogate(record.log_prob, cost, baseline=judgement.value) / LENGTH
            loss = loss + judgement.loss - 0.01 * record.entropy.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(ntm.parameters(), 1.0)
            optimizer.step()
        rollouts += CHECK_EVERY
        greedy = greedily(ntm, test)[1].all(dim=0).float().mean().item()
    seconds = round(time.process_time() - start, 2)
    return {"arm": arm, **layout._asdict(), "seed": seed, "spent": rollouts, "solved": greedy == 1, "greedy": greedy,
            "seconds": seconds}  # fmt: skip


def mean_spent(rows: list[dict]) -> float:
    """Rollouts to the solution, or all that were given."""
    return sum(row["spent"] for row in rows) / len(rows)


def layouts_report(rows: list[dict]) -> str:
    """Every layout tried, best first, per arm."""
    lines = []
    for arm in LAYOUTS:
        tried: dict[Layout, list[dict]] = {}
        for row in rows:
            if row["arm"] == arm:
                tried.setdefault(Layout(row["rollouts"], row["copies"], row["learning_rate"]), []).append(row)
        for layout, mine in sorted(tried.items(), key=lambda item: mean_spent(item[1])):
            lines.append(f"{arm:16} {layout} {sum(row['solved'] for row in mine)}/{len(mine)} {mean_spent(mine):,.0f}")
    return "\n".join(lines)


def report(rows: list[dict]) -> str:
    """One line per arm. An unsolved run counts with the rollouts it was given: a lower bound."""
    lines = [
        "| baseline | rollouts an update | copies K | learning rate | solved | rollouts to solve, median (best-worst) "
        "| CPU s, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, layout in LAYOUTS.items():
        mine = [row for row in rows if row["arm"] == arm]
        if mine:
            counts = sorted(row["spent"] for row in mine)
            middle = torch.tensor(counts).double().quantile(0.5).item()
            seconds = torch.tensor([row["seconds"] for row in mine]).quantile(0.5).item()
            solved = f"{sum(row['solved'] for row in mine)}/{len(mine)}"
            lines.append(
                f"| {arm} | {layout.rollouts} | {layout.copies} | {layout.learning_rate:g} | {solved} "
                f"| {middle:,.0f} ({counts[0]:,}-{counts[-1]:,}) | {seconds:.1f} |"
            )
    return "\n".join(lines)


def figure(rows: list[dict], path: Path) -> None:
    """One dot per run, a cross where it was not solved; one row per arm."""
    arms = list(LAYOUTS)[::-1]
    fig, axes = plt.subplots(figsize=(7, 3.2))
    for solved, marker, label in ((True, "o", "solved"), (False, "x", "given up")):
        mine = [row for row in rows if row["solved"] == solved]
        heights = [arms.index(row["arm"]) + 0.06 * (row["seed"] % 5 - 2) for row in mine]  # apart, to be counted
        axes.plot([row["spent"] for row in mine], heights, marker, label=label, markersize=5)
    axes.set(xscale="log", xlabel="rollouts until Copy is solved, no curriculum; one mark per seed")
    axes.set_yticks(range(len(arms)), arms, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    ticks = (2_000, 4_000, 8_000, 16_000, 32_000)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def main() -> None:
    """Run what the file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--max-rollouts", type=int, default=40_960)
    parser.add_argument("--tune", action="store_true", help="try every layout on the tuning seeds instead")
    parser.add_argument("--out", type=Path, default=Path("estimators_learning.jsonl"))
    parser.add_argument("--report", action="store_true", help="print the table and stop")
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if not options.report:
        done = {(row["arm"], row["rollouts"], row["copies"], row["learning_rate"], row["seed"]) for row in rows}
        seeds = TUNING_SEEDS if options.tune else range(options.first_seed, options.first_seed + options.seeds)
        for seed, arm in product(seeds, options.arms):
            for layout in candidates(arm) if options.tune else [LAYOUTS[arm]]:
                if (arm, *layout, seed) not in done:
                    rows.append(run(arm, layout, seed, TUNING_ROLLOUTS if options.tune else options.max_rollouts))
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(layouts_report(rows) if options.tune else report(rows))
    if options.docs:
        write_section(options.docs / "estimators.md", "learning", report(rows))
        figure(rows, options.docs / "images" / "estimators-learning.png")


if __name__ == "__main__":
    main()
