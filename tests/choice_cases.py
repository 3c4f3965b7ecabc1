"""Choice estimators on a walk of one step: all its outcomes are the choices, all draws are enumerated or integrated."""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from hardmem.estimators import (
    Rebar,
    Relax,
    Replay,
    TabularWalk,
    relaxed_surrogate,
    sum_and_sample_surrogate,
    unordered_set_surrogate,
    vimco_surrogate,
)
from tests.estimator_cases import parameters, replay_all, sequential_probability

NODES = 52


def draws_of(name: str, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What an estimator may draw, (G, k), and how probable each is, (G,)."""
    cells = range(len(weights))
    if name == "unordered-set":
        sets = list(combinations(cells, 3))
        return torch.tensor(sets), torch.stack([sequential_probability(weights, drawn) for drawn in sets])
    if name == "sum-and-sample":
        top = weights.topk(2).indices
        rest = weights.scatter(0, top, 0.0)
        return torch.cat([top.expand(len(weights), 2), torch.arange(len(weights)).unsqueeze(1)], 1), rest / rest.sum()
    index = torch.cartesian_prod(*[torch.arange(len(weights))] * 3)
    return index, weights[index].prod(dim=1)


CHOICE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "unordered-set": unordered_set_surrogate,
    "sum-and-sample": sum_and_sample_surrogate,
    "vimco": lambda log_weights, index, cost: vimco_surrogate(log_weights.gather(1, index), cost),
}


def choice_coefficients(name: str, replay: Replay) -> dict[str, Tensor]:
    options = replay.log_prob[0].sum(dim=-1).detach()
    index, chance = draws_of(name, options.exp())
    log_weights = options.expand(len(index), -1).clone().requires_grad_()
    cost = replay.cost[0].detach()[index].requires_grad_()
    on_weights, on_cost = torch.autograd.grad(CHOICE[name](log_weights, index, cost), [log_weights, cost])
    weight = (chance * len(index)).unsqueeze(1)
    slope = torch.zeros_like(options).index_add(0, index.flatten(), (on_cost * weight).flatten())
    return {
        "log_prob": (on_weights * weight).sum(dim=0).unsqueeze(-1).expand_as(replay.log_prob),
        "cost": slope.unsqueeze(0),
    }


def tanh_sinh(num: int, reach: float = 3.6) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a quadrature on (0, 1) that bears singular ends (Takahashi & Mori 1974)."""
    t = torch.linspace(-reach, reach, num, dtype=torch.float64)
    odd = torch.pi / 2 * t.sinh()
    nodes, weights = torch.sigmoid(2 * odd), torch.pi / 4 * t.cosh() / odd.cosh().square() * 2 * reach / (num - 1)
    inside = nodes < 1
    return nodes[inside], weights[inside]


def relaxed_coefficients(name: str, replay: Replay) -> dict[str, Tensor]:
    """The noise integrated numerically, the choice summed exactly.

    Each of the two noises enters by a term of its own, so one integral with both equal stands for both.
    """
    options, cost = replay.log_prob[0].sum(dim=-1).detach(), replay.cost[0].detach().requires_grad_()
    nodes, weights = tanh_sinh(NODES)
    uniform = torch.cartesian_prod(*[nodes] * len(options))
    measure = torch.cartesian_prod(*[weights] * len(options)).prod(dim=1)
    torch.manual_seed(0)
    control = Rebar(temperature=0.7).double() if name == "rebar" else Relax(len(options)).double()

    def f(cells: Tensor) -> Tensor:
        return cells @ cost + (1 - cells.square().sum(dim=-1))  # more than linear between the corners

    on_options, on_cost = torch.zeros_like(options), torch.zeros_like(cost)
    for cell, chance in enumerate(options.exp()):
        log_weights = options.expand(len(uniform), -1).clone().requires_grad_()
        index = torch.full((len(uniform),), cell)
        loss = relaxed_surrogate(log_weights, index, (uniform, uniform), f, control).loss
        slope, slope_cost = torch.autograd.grad(loss, [log_weights, cost])
        on_options += chance * len(uniform) * (slope * measure.unsqueeze(1)).sum(dim=0)
        on_cost += chance * slope_cost
    return {"log_prob": on_options.unsqueeze(-1).expand_as(replay.log_prob), "cost": on_cost.unsqueeze(0)}


def bound_target(walk: TabularWalk, context: int) -> list[Tensor]:
    """VIMCO's own objective, over all triples."""
    replay = replay_all(walk, context)
    log_weights, cost = replay.log_prob[0].sum(dim=-1), replay.cost[0]
    index = torch.cartesian_prod(*[torch.arange(len(cost))] * 3)
    bound = torch.tensor(3.0).double().log() - (-cost[index]).logsumexp(dim=1)
    return list(torch.autograd.grad((log_weights[index].sum(dim=1).exp() * bound).sum(), parameters(walk)))
