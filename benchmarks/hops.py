"""Memory networks: updates and CPU seconds until the answers are right, per access and supervision.

    OMP_NUM_THREADS=1 python benchmarks/hops.py

FactRecall (one hop), MultiHop with chains of 2 facts and, its default, of 2 to 4. Every 50 updates 500 fresh problems
are answered, by the likeliest facts where they are drawn; a run ends when 99 % are right or its time is over.

Chains of 2 to 4 are learned by hops that share what they have (layer-wise tying): first chains of 2 with two hops, and
one fact and one hop more each time 95 % of the answers are right. From the last of these on the step size falls tenfold
over 800 updates. A soft network starts linear, until 80 % are right or 500 updates are over.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from hardmem.baselines import make_baseline
from hardmem.models import MemoryNetwork, as_questions
from hardmem.tasks import make_task

ARMS = (("soft", "none"), ("sampled", "none"), ("sampled", "partial"), ("sampled", "full"))
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "FactRecall": ("fact-recall", {}),
    "MultiHop, 2": ("multi-hop", {"min_length": 2, "max_length": 2}),
    "MultiHop, 2 to 4": ("multi-hop", {}),
}
GROWING = ("MultiHop, 2 to 4",)
COPIES, LEARNING_RATE, GROWN_AT, FALLS_OVER = 4, 1e-2, 0.95, 800


def train(label: str, access: str, supervision: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """Updates, CPU seconds and the last share of right answers."""
    torch.manual_seed(seed)
    (name, difficulty), growing = TASKS[label], label in GROWING
    task, generator = make_task(name, **difficulty), torch.Generator().manual_seed(seed)
    recipe = {"tying": "layer-wise", "margin": 1.0} if growing else {}
    network = MemoryNetwork(
        task.input_sizes, task.answer_channel, num_hops=task.max_hops, max_facts=task.max_facts,
        access=access, supervision=supervision, **recipe,
    )  # fmt: skip
    copies = COPIES if access == "sampled" and supervision != "full" else 1
    baseline = make_baseline("leave-one-out", num_features=1, group_size=copies) if copies > 1 else None
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

    def draw(count: int, repeats: int) -> Any:
        shown = task.at_length(length) if growing else task
        problem = shown.draw(count, generator=generator).repeat(repeats)
        return as_questions(
            problem, max_facts=shown.max_facts, max_questions=shown.max_questions, num_hops=network.num_hops
        )

    start, updates, share, whole = time.process_time(), 0, 0.0, 0
    length = task.shortest if growing else task.max_length
    network.linear = growing and access == "soft"
    while True:
        network.num_hops = length if growing else task.max_hops
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.1 ** (min(1.0, (updates - whole) / FALLS_OVER) if growing and whole else 0)
        for _ in range(50):
            drawn = draw(32, copies)
            loss = network.loss(
                drawn.questions, drawn.targets, network.store(drawn.facts, drawn.facts_mask),
                support=drawn.support, mask=drawn.mask, baseline=baseline, generator=generator,
            )  # fmt: skip
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        updates += 50
        drawn = draw(500, 1)
        network.access = "argmax" if access == "sampled" else access
        with torch.no_grad():
            logits, _ = network(drawn.questions, network.store(drawn.facts, drawn.facts_mask))
        network.access = access
        share = float(((logits.argmax(dim=-1) + 1 == drawn.targets) & drawn.mask).sum() / drawn.mask.sum())
        network.linear = network.linear and share < 0.8 and updates < 500
        spent, hardest = time.process_time() - start, length == task.max_length
        if (hardest and share >= 0.99) or spent >= seconds:
            return updates, spent, share if hardest else 0.0
        if not hardest and share >= GROWN_AT:
            length += 1
            whole = updates


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU-seconds for each run")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | access | supervision | solved | updates, mean (worst) | CPU s, mean (worst) | right, worst % |")
    print("|---|---|---|---:|---:|---:|---:|")
    for label in args.tasks:
        for access, supervision in ARMS:
            runs = [train(label, access, supervision, seed, args.seconds) for seed in args.seeds]
            updates, seconds, shares = zip(*runs, strict=True)
            print(
                f"| {label} | {access} | {supervision} | {sum(share >= 0.99 for share in shares)}/{len(runs)} "
                f"| {statistics.mean(updates):,.0f} ({max(updates):,}) "
                f"| {statistics.mean(seconds):.1f} ({max(seconds):.1f}) | {100 * min(shares):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
