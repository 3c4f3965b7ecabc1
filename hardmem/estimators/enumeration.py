"""Exact enumeration: every sequence of choices, weighted by its probability. The reference for all estimators.

Give it a function that replays forced choices through your model, and it tells the exact gradient of the expected cost,
pathwise term included, and the exact expectation of what an estimator would return: the check of Zaremba & Sutskever
2015, "Reinforcement Learning Neural Turing Machines", arXiv:1505.00521, made exact for groups. Its price is the number
of sequences, choices^(steps * heads), to the power of the group size: for small problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor


class Replay(NamedTuple):
    """What a model did when its choices were forced.

    Attributes:
        choices: what was forced, (T, N, H), int64.
        log_prob: the log-probability the model gave it, (T, N) or (T, N, H), zero where a sequence has ended; -inf
            for a choice it could not make.
        cost: of each step, (T, N), zero where a sequence has ended.
        mask: 1 where a choice was made, 0 once a sequence has ended, (T, N). Forced choices after the end must be 0
            to count.
        log_weights: log-probabilities of all choices, (T, N, ..., S), for estimators that need them.
        candidate_cost: cost of each step for all choices, (T, N, S), for estimators that need it.
    """

    choices: Tensor
    log_prob: Tensor
    cost: Tensor
    mask: Tensor
    log_weights: Tensor | None = None
    candidate_cost: Tensor | None = None


Estimator = Callable[[Replay], Tensor]
"""From a batch of replays, side by side in groups, to a loss that is a mean over them."""

ATTACHED = ("log_prob", "cost", "log_weights", "candidate_cost")


class GradientCheck(NamedTuple):
    """An estimator against the truth, per parameter.

    Attributes:
        exact: gradient of the expected cost.
        expected: expectation of the estimator's gradient.
        error: largest absolute difference, a scalar.
    """

    exact: list[Tensor]
    expected: list[Tensor]
    error: Tensor


def all_choices(num_steps: int, num_heads: int, num_choices: int) -> Tensor:
    """Every sequence of choices: (T, N, H), int64, with N = S^(T * H)."""
    rows = list(product(range(num_choices), repeat=num_steps * num_heads))
    choices: Tensor = torch.tensor(rows).unflatten(1, (num_steps, num_heads)).transpose(0, 1).contiguous()
    return choices


def log_probability(replay: Replay) -> Tensor:
    """Of whole sequences, (N,), attached; -inf for those that choose anything but 0 after their end."""
    log_prob = replay.log_prob.flatten(2).sum(dim=2) if replay.log_prob.dim() == 3 else replay.log_prob
    idle = ((replay.choices == 0).all(dim=2) | (replay.mask > 0)).all(dim=0)
    return log_prob.sum(dim=0) + torch.where(idle, 0.0, -torch.inf)


def expected_cost(replay: Replay) -> Tensor:
    """The expected total cost, exactly: a scalar whose gradient has the pathwise and the score-function term."""
    return (log_probability(replay).exp() * replay.cost.sum(dim=0)).sum()


def exact_gradient(replay: Replay, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradient of the expected cost, one tensor per parameter."""
    return list(
        torch.autograd.grad(
            expected_cost(replay), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )


def estimator_coefficients(replay: Replay, estimator: Estimator, group_size: int = 1) -> dict[str, Tensor]:
    """Expected derivative of an estimator's loss with respect to what it was given, over all groups of sequences.

    Any estimator acts on a model through the tensors it receives. Their expected derivatives, pushed on through the
    model once, are the expected gradient.

    Args:
        replay: of all sequences.
        estimator: what is examined.
        group_size: K, the sequences drawn independently that it sees side by side. All N^K groups go in one batch.

    Returns:
        By name of the field of `Replay`, shaped as the field.
    """
    sequences = log_probability(replay).detach()
    members = torch.cartesian_prod(*[torch.arange(len(sequences))] * group_size).reshape(-1)  # (N^K * K,)
    probability = sequences[members].unflatten(0, (-1, group_size)).sum(dim=1).exp()  # (N^K,)
    weight = (probability * len(probability)).repeat_interleave(group_size)
    batch = {name: field[:, members].detach() for name, field in replay._asdict().items() if field is not None}
    given = {name: batch[name].requires_grad_() for name in ATTACHED if name in batch}
    slopes = torch.autograd.grad(
        estimator(Replay(**batch)), list(given.values()), allow_unused=True, materialize_grads=True
    )
    result = {}
    for name, slope in zip(given, slopes, strict=True):
        weighted = slope * weight.reshape(-1, *[1] * (slope.dim() - 2))
        field = getattr(replay, name)
        result[name] = torch.zeros_like(field).index_add(1, members, weighted)
    return result


def push_through(replay: Replay, coefficients: dict[str, Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient that derivatives with respect to a replay's fields make, one tensor per parameter."""
    used = {name: slope for name, slope in coefficients.items() if getattr(replay, name).requires_grad}
    fields = [getattr(replay, name) for name in used]
    return list(
        torch.autograd.grad(
            fields, parameters, list(used.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )


def check_gradient(
    replay: Replay, parameters: Sequence[Tensor], estimator: Estimator, group_size: int = 1
) -> GradientCheck:
    """Compare an estimator's expected gradient with the exact one, on a model of your own.

    In float64 an unbiased estimator has an error below 1e-12; a wrong one is off by far more.

    Args:
        replay: what the model does when every sequence of `all_choices` is forced on it, attached to its parameters.
        parameters: what to differentiate by.
        estimator: for instance `lambda r: surrogate(r.log_prob, r.cost)`.
        group_size: K, for estimators that compare K sequences.
    """
    exact = exact_gradient(replay, parameters)
    expected = push_through(replay, estimator_coefficients(replay, estimator, group_size), parameters)
    differences = [(a - b).abs().max() for a, b in zip(exact, expected, strict=True)]
    return GradientCheck(exact, expected, torch.stack(differences).max())
