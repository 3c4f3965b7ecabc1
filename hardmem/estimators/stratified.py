"""Stratified draws: the K copies of a problem spread over the choices instead of drawing independently."""

from __future__ import annotations

import torch
from torch import Tensor

from hardmem.addressing import invert_cdf


def strata(num_groups: int, group_size: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One uniform number per sequence, each in its own K-th of [0, 1): (P * K,), problem-major.

    Within a group they are (k + u) / K with one shared u, in random order: systematic sampling. Each alone is uniform.
    """
    shape = (num_groups, group_size + 1)
    noise = torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)
    return ((noise[:, 1:].argsort(dim=1) + noise[:, :1]) / group_size).flatten()


def stratified_index(logits: Tensor, group_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw one candidate per head, the K copies of a problem from different parts of the distribution.

    Each sequence alone follows the policy exactly, so any estimator that judges sequences one by one stays unbiased;
    together the copies repeat each other less. Not to be combined with baselines that compare the copies (leave-one-
    out): they are no longer independent. Systematic sampling: Madow & Madow 1944, "On the Theory of Systematic
    Sampling".

    Args:
        logits: (P * K, H, S), problem-major; -inf for a candidate that cannot be.
        group_size: K. At 1 a plain draw.
        generator: of all draws.

    Returns:
        Indices, (P * K, H), int64.

    Raises:
        ValueError: if the batch is not a whole number of groups.
    """
    batch, heads = logits.shape[:2]
    if batch % group_size:
        raise ValueError(f"a batch of groups of {group_size} must be a multiple of {group_size}, got {batch}")
    columns = [strata(batch // group_size, group_size, logits, generator) for _ in range(heads)]
    return invert_cdf(logits, torch.stack(columns, dim=1))
