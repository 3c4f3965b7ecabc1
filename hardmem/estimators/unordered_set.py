"""The unordered-set estimator: k different choices evaluated, each counted with the probability it stands for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hardmem.addressing import gumbel_noise
from hardmem.estimators.checks import check_evaluations


def draw_without_replacement(logits: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw k different choices, the next always from what is left: logits (B, S) -> int64 (B, k), in order drawn.

    The k largest of the logits plus Gumbel noise: Kool, van Hoof & Welling 2019, "Stochastic Beams and Where to Find
    Them", arXiv:1903.06059. There must be at least k choices that are possible.
    """
    return (logits.detach() + gumbel_noise(logits, generator)).topk(samples, dim=-1).indices


def unordered_set_surrogate(log_weights: Tensor, index: Tensor, cost: Tensor) -> Tensor:
    """The expected cost of one choice, from k different ones, with the baseline built from the same k.

    Kool, van Hoof & Welling 2020, "Estimating Gradients for Discrete Random Variables by Sampling without Replacement",
    arXiv:2002.06043: the unordered set policy gradient with its baseline. As k reaches S the estimate becomes exact.
    Exact in the k! orders, at a cost of 2^k k: meant for k up to about 8.

    Args:
        log_weights: log-probabilities, (B, S).
        index: the k different choices drawn, (B, k), from `draw_without_replacement`; their order does not matter.
        cost: of each, (B, k), attached where it depends on parameters.

    Returns:
        A scalar: the estimated expected cost, averaged over the batch.

    Raises:
        ValueError: if k is below 2, or the shapes do not match.
    """
    check_evaluations("index", index, cost)
    weights = log_weights.gather(-1, index).exp()
    with torch.no_grad():
        fixed = weights.detach()
        outside = log_weights.exp().scatter(-1, index, 0.0).sum(dim=-1)  # summed, not 1 - ...: nothing cancels
        ratio, pair_ratio = _leave_one_out_ratios(fixed, outside)
        baseline = (pair_ratio * (fixed * cost).unsqueeze(1)).sum(dim=-1)
        slope = ratio * (cost - baseline)
    return (fixed * ratio * cost + (weights - fixed) * slope).sum(dim=-1).mean()


def set_weights(log_prob: Tensor) -> Tensor:
    """How much each of k different outcomes stands for, (B, k), detached: their weighted sum is unbiased.

    p(s) R(S, s) of Kool et al. 2020. For rollouts drawn without replacement: multiply costs and masks by k times these,
    judge by returns that are not multiplied, and a surrogate is as unbiased as over independent rollouts.

    Args:
        log_prob: of the different outcomes drawn, (B, k). What was not drawn has the rest of the probability, computed
            as 1 minus theirs: in float32 it is rounded at 1e-7.
    """
    weights = log_prob.detach().exp()
    outside = (1 - weights.sum(dim=-1)).clamp(min=0)
    return weights * _leave_one_out_ratios(weights, outside)[0]


def unordered_set(
    logits: Tensor,
    f: Callable[[Tensor], Tensor],
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw k different choices, evaluate f at them and build the loss.

    Args:
        logits: (B, S).
        f: cost of choices: int64 (B, k) -> (B, k).
        samples: k, at least 2.
        generator: of the draw.
    """
    index = draw_without_replacement(logits, samples, generator)
    return unordered_set_surrogate(logits.log_softmax(dim=-1), index, f(index))


def _leave_one_out_ratios(weights: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """The leave-one-out ratios R(S, s), (B, k), and R without s (S, s'), (B, k, k), ones on the diagonal.

    `weights` (B, k) are the probabilities of those drawn, `outside` (B,) that of all others. completion[C] is the
    probability that the drawing, having drawn C, goes on to complete exactly the set.
    """
    k, tiny = weights.shape[1], torch.finfo(weights.dtype).tiny
    members = weights.unbind(dim=-1)
    full = 2**k - 1
    completion = {full: torch.ones_like(outside)}
    for drawn in range(full - 1, -1, -1):
        left = [member for member in range(k) if not drawn >> member & 1]
        rest = outside + torch.stack([members[member] for member in left]).sum(dim=0)
        onward = torch.stack([members[member] * completion[drawn | 1 << member] for member in left]).sum(dim=0)
        completion[drawn] = onward / rest.clamp(min=tiny)
    alone = torch.stack([completion[1 << s] for s in range(k)], dim=-1)
    pairs = torch.stack([completion[1 << s | 1 << other] for s in range(k) for other in range(k)], dim=-1)
    pair_ratio = pairs.unflatten(-1, (k, k)) / alone.unsqueeze(-1).clamp(min=tiny)
    return alone / completion[0].unsqueeze(-1).clamp(min=tiny), pair_ratio
