"""What the estimator benchmarks share: the policies, the figures, and where they stand in the docs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

POLICIES = {"early": 0.1, "late": 2.0, "peaked": 6.0}
"""Deviation of the logits."""


class Measured(NamedTuple):
    """What an estimator does at one policy.

    Attributes:
        variance: sum over coordinates, relative to plain REINFORCE at as many evaluations.
        errors: distance of the mean estimate from the exact gradient, in standard errors; about 1 if unbiased.
        bias: the same distance, relative to the exact gradient's length.
    """

    variance: float
    errors: float
    bias: float


class Spread(NamedTuple):
    """What is summed up as `Measured`, one problem after the other: variance, errors and bias of one estimator."""

    variance: Tensor
    errors: Tensor
    bias: Tensor


def spread(gradient: Tensor, exact: Tensor, factor: float = 1.0) -> Spread:
    """Of estimates (G, D): their variance times a factor, and how far their mean is from the exact gradient."""
    variance = gradient.var(dim=0).sum()
    off = (gradient.mean(dim=0) - exact).norm()
    return Spread(variance * factor, off / (variance / len(gradient)).sqrt().clamp(min=1e-9), off / exact.norm())


def summed_up(arms: Mapping[str, list[Spread]], reference: str) -> dict[str, Measured]:
    """Over problems: the geometric mean of variance ratios, the means of errors and of bias."""
    base = torch.stack([found.variance for found in arms[reference]])
    return {
        arm: Measured(
            (torch.stack([found.variance for found in rows]) / base).log().mean().exp().item(),
            torch.stack([found.errors for found in rows]).mean().item(),
            torch.stack([found.bias for found in rows]).mean().item(),
        )
        for arm, rows in arms.items()
    }


def by_policy(of_policy: Callable[[float], dict[str, Measured]]) -> dict[str, list[Measured]]:
    """Per arm, one figure for each of `POLICIES`: what `of_policy` measures at each sharpness."""
    columns = [of_policy(sharpness) for sharpness in POLICIES.values()]
    return {arm: [column[arm] for column in columns] for arm in columns[0]}


def table(result: Mapping[str, list[Measured]], first: str) -> str:
    """Markdown: variance per policy, and in brackets the bias in standard errors."""
    lines = [f"| {first} | " + " | ".join(POLICIES) + " |", "|---|" + "---|" * len(POLICIES)]
    for arm, row in result.items():
        lines.append(f"| {arm} | " + " | ".join(f"{found.variance:.3f} ({found.errors:.1f})" for found in row) + " |")
    return "\n".join(lines)


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `<!-- name -->` and `<!-- /name -->` of a page."""
    before, rest = page.read_text().split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}")


def options_of(about: str | None) -> argparse.Namespace:
    """The command line of a benchmark: --docs, a folder with the page to rewrite. One thread."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    torch.set_num_threads(1)
    return parser.parse_args()
