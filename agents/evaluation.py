"""Evaluation: a trained learner on fresh problems, at lengths it has and has not seen, without further training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hardmem.agents.learner import Learner
from hardmem.agents.sequence import SequenceLearner

CELL_BUDGET = 20_000
"""Cells touched at once (problems x cells) by a model that touches all of them at every step."""


def problems_at(learner: Learner, length: int, num_problems: int) -> int:
    """How many problems to play at a length: fewer where a soft memory makes each step cost N cells."""
    if isinstance(learner, SequenceLearner) and learner.dense:
        return max(1, min(num_problems, CELL_BUDGET // learner.task.at_length(length).num_cells))
    return num_problems


def evaluate(
    learner: Learner, lengths: Sequence[int], num_problems: int, generator: torch.Generator
) -> dict[str, dict[str, Any] | None]:
    """Play fresh problems, greedily and with drawn choices.

    Args:
        learner: what to examine; it is not changed.
        lengths: problem lengths. The training length stands for all lengths that were trained on.
        num_problems: problems per length; a soft memory plays fewer where it is large, and the result says how many.
        generator: draws problems and choices.

    Returns:
        By length: {"problems", "greedy": {"exact", "accuracy"}, "sampled": the same}, or None where the learner cannot
        be run at that length (absolute addresses beyond the cells it knows). Where nothing is drawn, "sampled" repeats
        "greedy".
    """
    results: dict[str, dict[str, Any] | None] = {}
    for length in lengths:
        count = problems_at(learner, length, num_problems)
        shortest = learner.config.min_length if length == learner.config.max_length else length
        greedy = learner.score(count, generator, max_length=length, min_length=shortest)
        if greedy is None:
            results[str(length)] = None
            continue
        sampled = greedy
        if learner.draws:
            drawn = learner.score(count, generator, max_length=length, min_length=shortest, greedy=False)
            assert drawn is not None, "what can be run greedily can be run with draws"
            sampled = drawn
        results[str(length)] = {"problems": count, "greedy": greedy._asdict(), "sampled": sampled._asdict()}
    return results


def over_seeds(results: Sequence[dict[str, dict[str, Any] | None]]) -> dict[str, dict[str, Any] | None]:
    """Several examinations of one learner as one, in the form of `evaluate`: means, and under "spread" the extremes.

    Args:
        results: of `evaluate`, at the same lengths, with problems from different seeds.
    """
    merged: dict[str, dict[str, Any] | None] = {}
    for length, first in results[0].items():
        several = [result[length] for result in results]
        if first is None:
            merged[length] = None
            continue
        together: dict[str, Any] = {"problems": sum(one["problems"] for one in several if one is not None)}
        for kind in ("greedy", "sampled"):
            scores = [one[kind] for one in several if one is not None]
            exact = [score["exact"] for score in scores]
            together[kind] = {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
            together[kind]["spread"] = (min(exact), max(exact))
        merged[length] = together
    return merged
