"""Rollouts a hard NTM needs to solve Copy without a curriculum, by baseline, each in its own best layout.

    python benchmarks/estimators_learning.py --seeds 10 --out results.jsonl     # again: continues where it stopped
    python benchmarks/estimators_learning.py --out results.jsonl --report --docs docs   # the table, into the docs

One process per core: give each process some of the arms or seeds (`--arms`, `--first-seed`) and the same file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from variance import write_section

from hardmem import NTM, make_baseline, surrogate
from hardmem.estimators import cost_to_go
from hardmem.tasks import Problem, Task, bit_inputs, make_task, symbols_to_bits

ROLLOUTS = 64  # per update
LENGTH, SYMBOLS = 5, 256
COPIES = {
    "none": 1,
    "moving-average": 1,
    "step-average": 1,
    "value": 1,
    "privileged": 1,
    "leave-one-out": 8,
}  # K, where more only hurts


def costs(ntm: NTM, problem: Problem, generator: torch.Generator | None = None):
    """Cost of each step, (T, B), whether all bits of each answer are right, (T, B), and the record of addresses."""
    outputs, _, record = ntm.trace(bit_inputs(problem.inputs[..., 0], SYMBOLS), None, generator)
    bits = symbols_to_bits(problem.targets, SYMBOLS)
    cost = F.binary_cross_entropy_with_logits(outputs, bits, reduction="none").mean(dim=-1) * problem.mask
    right = ((outputs > 0) == (bits > 0)).all(dim=-1) | ~problem.mask
    return cost, right, record


def features(problem: Problem, index: torch.Tensor, num_cells: int) -> torch.Tensor:
    """What a critic may know before each choice: the input, the step, and where the head is. (T, B, F)."""
    steps, batch = problem.mask.shape
    before = torch.cat([torch.zeros_like(index[:1]), index[:-1]])[..., 0]
    step = torch.eye(steps).unsqueeze(1).expand(-1, batch, -1)
    return torch.cat([bit_inputs(problem.inputs[..., 0], SYMBOLS), step, F.one_hot(before, num_cells)], dim=-1)


def whole_problem(problem: Problem) -> torch.Tensor:
    """What a privileged critic may know: inputs and targets, and where an answer is due. (T, B, F)."""
    shown, due = bit_inputs(problem.inputs[..., 0], SYMBOLS), symbols_to_bits(problem.targets, SYMBOLS)
    return torch.cat([shown, due, problem.mask.unsqueeze(-1)], dim=-1)


def run(arm: str, seed: int, max_rollouts: int) -> dict[str, object]:
    """Train until every one of 256 held-out problems is right, greedily; report when."""
    torch.manual_seed(seed)  # initial weights: torch.nn takes no generator
    generator, held_out = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(10_000)
    task: Task = make_task("copy", num_symbols=SYMBOLS, max_length=LENGTH)
    inputs = bit_inputs(torch.zeros(1, dtype=torch.int64), SYMBOLS).shape[-1]
    ntm = NTM(
        inputs, 8, num_cells=task.num_cells, addressing="head-moves", access="sampled", heads=("read-write",),
        order="read-write-move", bypass=False,
    )  # fmt: skip
    copies, privileged = COPIES[arm], arm == "privileged"
    width = inputs + (8 + 1 if privileged else task.num_steps + task.num_cells)
    baseline = make_baseline(arm, num_features=width, group_size=copies)
    optimizer = torch.optim.Adam([*ntm.parameters(), *baseline.parameters()], lr=1e-2)
    test, start, greedy, sampled = task.draw(256, generator=held_out), time.process_time(), 0.0, 0.0
    rollouts = 0
    while greedy < 1 and rollouts < max_rollouts:
        for _ in range(10):
            problem = task.draw(ROLLOUTS // copies, generator=generator).repeat(copies)
            cost, _, record = costs(ntm, problem, generator)
            choosing = torch.ones_like(cost)
            known = whole_problem(problem) if privileged else features(problem, record.index, task.num_cells)
            judgement = baseline(cost_to_go(cost.detach()), known, choosing)
            loss = surrogate(record.log_prob, cost, baseline=judgement.value) / LENGTH
            loss = loss + judgement.loss - 0.01 * record.entropy.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(ntm.parameters(), 1.0)
            optimizer.step()
        rollouts += 10 * ROLLOUTS
        with torch.no_grad():
            sampled = costs(ntm, test, held_out)[1].all(dim=0).float().mean().item()
            ntm.access = "argmax"
            greedy = costs(ntm, test)[1].all(dim=0).float().mean().item()
            ntm.access = "sampled"
    seconds = round(time.process_time() - start, 2)
    return {"arm": arm, "seed": seed, "rollouts": rollouts, "solved": greedy == 1, "greedy": greedy,
            "sampled": sampled, "seconds": seconds, "problems": rollouts // copies}  # fmt: skip


def report(rows: list[dict]) -> str:
    """One line per arm. An unsolved run counts with the rollouts it was given: a lower bound."""
    lines = ["| baseline | copies K | solved | rollouts, median (range) | CPU s, median |", "|---|---|---|---|---|"]
    for arm, copies in COPIES.items():
        mine = [row for row in rows if row["arm"] == arm]
        if mine:
            counts = sorted(row["rollouts"] for row in mine)
            middle = torch.tensor(counts).double().quantile(0.5).item()
            seconds = torch.tensor([row["seconds"] for row in mine]).quantile(0.5).item()
            solved = f"{sum(row['solved'] for row in mine)}/{len(mine)}"
            lines.append(
                f"| {arm} | {copies} | {solved} | {middle:,.0f} ({counts[0]:,}-{counts[-1]:,}) | {seconds:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what the file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(COPIES), choices=list(COPIES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--max-rollouts", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=Path("estimators_learning.jsonl"))
    parser.add_argument("--report", action="store_true", help="print the table and stop")
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if not options.report:
        done = {(row["arm"], row["seed"]) for row in rows}
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for arm in options.arms:
                if (arm, seed) not in done:
                    rows.append(run(arm, seed, options.max_rollouts))
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(report(rows))
    if options.docs:
        write_section(options.docs / "estimators.md", "learning", report(rows))


if __name__ == "__main__":
    main()
