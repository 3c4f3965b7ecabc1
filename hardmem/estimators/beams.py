"""Different sequences: K rollouts of a problem drawn without replacement, step by step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.addressing import gumbel_noise


class Beams(NamedTuple):
    """The K beginnings a draw stands at, for each of P problems.

    Attributes:
        log_prob: of each beginning, (P, K); -inf for a place not yet taken.
        perturbed: the largest of log-probability plus Gumbel noise over all sequences that begin so, (P, K).
    """

    log_prob: Tensor
    perturbed: Tensor


def start_beams(num_problems: int, size: int, like: Tensor) -> Beams:
    """One empty beginning per problem, and K - 1 free places; dtype and device as `like`."""
    log_prob = like.new_full((num_problems, size), -torch.inf)
    log_prob[:, 0] = 0
    return Beams(log_prob, log_prob.clone())


@torch.no_grad()
def extend_beams(
    beams: Beams, log_weights: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Beams]:
    """Let every beginning branch into its S continuations and keep K of all: stochastic beam search.

    Kool, van Hoof & Welling 2019, "Stochastic Beams and Where to Find Them", arXiv:1903.06059. After the last
    step the K sequences are a draw without replacement, to be weighted by `set_weights`. There must be at least
    K sequences of positive probability.

    Args:
        beams: where the draw stands.
        log_weights: log-probabilities of the next choice, (P, K, S). A sequence that has ended continues with one
            choice of log-probability 0, the others -inf.
        generator: of the noise.

    Returns:
        Which beginning each of the K new ones continues, (P, K), by which to reorder all state; with what choice,
        (P, K); and the new beams.
    """
    choices = log_weights.shape[-1]
    log_prob = beams.log_prob.unsqueeze(-1) + log_weights  # (P, K, S)
    noisy = log_prob + gumbel_noise(log_prob, generator)
    # Their largest must be that of the beginning they come from: shift the noise, in the numerically stable form.
    bound = beams.perturbed.unsqueeze(-1)
    below = bound - noisy + (-(noisy - noisy.amax(dim=-1, keepdim=True)).expm1()).log()
    truncated = bound - below.clamp(min=0) - (-below.abs()).exp().log1p()
    truncated = torch.where(log_prob == -torch.inf, -torch.inf, truncated)
    perturbed, kept = truncated.flatten(1).topk(beams.log_prob.shape[1], dim=-1)
    return kept // choices, kept % choices, Beams(log_prob.flatten(1).gather(1, kept), perturbed)
