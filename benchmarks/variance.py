"""Variance, bias, time and memory of every estimator in the catalogue: the table and the figure of docs/estimators.md.

    python benchmarks/variance.py --docs docs      # some minutes; rewrites both

Puts together what variance_walk.py (trajectories, from 4 sequences), variance_heads.py (parallel heads),
variance_choice.py (one choice, from 4 evaluations) and estimators_cost.py measure, a row for each record.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import estimators_cost
import matplotlib.pyplot as plt
import variance_choice
import variance_heads
import variance_walk
from estimators_cost import Cost
from measured import POLICIES, Measured, options_of, write_section

from hardmem.estimators import ESTIMATORS

HEADS_ARM = "separate costs: action-dependent, learned by squared score"


class Row(NamedTuple):
    """What is known of one name.

    Attributes:
        name: of the catalogue, or a combination.
        where: the problem it was measured on: "walk", "heads" or "choice".
        variance: per policy; empty where it has an objective of its own.
        few: the same with critics fitted to a tenth of the rollouts; empty where there is no critic.
        bias: in words.
        cost: of an update; None where it is that of its parts.
    """

    name: str
    where: str
    variance: list[float]
    few: list[float]
    bias: str
    cost: Cost | None


def measure() -> list[Row]:
    """Every record of the catalogue, then the combinations."""
    walk, few = variance_walk.measure(6400), variance_walk.measure(640, variance_walk.NEEDS_CRITIC)
    choice, heads, costs = variance_choice.measure(), variance_heads.measure(), estimators_cost.measure()
    rows = []
    for name in [*ESTIMATORS, *(arm for arm in walk if arm not in ESTIMATORS)]:
        where = "walk" if name in walk else "choice"
        found = walk.get(name) or choice.get(name) or []
        variance, bias = [one.variance for one in found], in_words(name, found)
        if name == "action-dependent":
            where, variance, bias = "heads", heads[HEADS_ARM], "none"
        starved = [one.variance for one in few[name]] if name in variance_walk.NEEDS_CRITIC else []
        rows.append(Row(name, where, variance, starved, bias, costs.get(name)))
    return rows


def in_words(name: str, found: list[Measured]) -> str:
    """In standard errors where the catalogue says there is none, else relative to the exact gradient."""
    if not found:
        return "own objective"
    if name in ESTIMATORS and not ESTIMATORS[name].unbiased:
        noise = ", within noise" if max(one.errors for one in found) < 2 else ""
        return " / ".join(f"{100 * one.bias:.0f}" for one in found) + f" %{noise}"
    return "none (" + " / ".join(f"{one.errors:.1f}" for one in found) + ")"


def triple(values: list[float]) -> str:
    """Early / late / peaked."""
    return " / ".join(f"{value:.3f}" for value in values)


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        f"| estimator | measured on | variance {' / '.join(POLICIES)} | critic from a tenth | bias | µs | kB kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cost = f"{row.cost.microseconds:.0f} | {row.cost.kept / 1000:.0f}" if row.cost else " | "
        lines.append(f"| {row.name} | {row.where} | {triple(row.variance)} | {triple(row.few)} | {row.bias} | {cost} |")
    return "\n".join(lines)


def figure(rows: list[Row], path: Path) -> None:
    """A row of dots per name, by variance at the late policy; beside it what an update costs."""
    shown = sorted((row for row in rows if row.variance), key=lambda row: row.variance[1])
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 8), sharey=True, width_ratios=(2, 1))
    for number, (policy, marker) in enumerate(zip(POLICIES, "osD", strict=True)):
        dots = [max(row.variance[number], 1e-4) for row in shown]
        left.plot(dots, range(len(shown)), marker, label=f"{policy} policy", markersize=5)
    left.set(xscale="log", xlabel="variance at 4 evaluations, relative to REINFORCE")
    left.set_yticks(range(len(shown)), [f"{row.name}{' *' if '%' in row.bias else ''}" for row in shown], fontsize=8)
    left.axvline(1, color="grey", linewidth=0.8)
    left.legend(fontsize=8, loc="upper left")
    for number, row in enumerate(shown):
        if row.cost:
            right.plot(row.cost.microseconds, number, "o", color="grey", markersize=5)
    right.set(xscale="log", xlabel="µs per update (* biased)")
    for axes in (left, right):
        axes.grid(axis="both", alpha=0.3)
    fig.tight_layout()
    fig.savefig(path, dpi=100)


def main() -> None:
    """Measure, print, and write the docs if asked to."""
    options = options_of(__doc__)
    rows = measure()
    print(table(rows))
    if options.docs:
        write_section(options.docs / "estimators.md", "variance", table(rows))
        figure(rows, options.docs / "images" / "estimators-variance.png")


if __name__ == "__main__":
    main()
