"""First cells: where heads that name cells, by number or by content, go before they have learned anything."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hardmem.envs import Dynamics
from hardmem.envs.interfaces import Associative, RandomAccess

ODDS = 10.0
"""How much likelier a first cell is, or a name, than all others together."""


def first_cells(dynamics: Dynamics) -> Tensor | None:
    """Where what is observed leads, as weights of address logits, (H A, O); None where that is nowhere at first.

    By content, a head that chooses its cell by what is shown (`move-answer-write`) names just that, where it is a key;
    each of several is as likely. From a policy that names all A keys alike, what is shown leads to its cell once in A
    times, when it is stored and when it is asked for.

    By number there are no such names, but a random hash of what is observed to cells. From a policy that names all N
    cells alike, what is shown twice leads to the same cell once in N times, and no reward tells which of two rules is
    the better one. With a hash it does from the first update on, whatever cell that is; what is left to learn is what
    of the observation counts, and who has to give way where two share a cell. Where a head chooses its cell by what is
    shown, every symbol of every channel but the blank has a cell, all cells as often as can be. Where it moves on from
    where it is, every cell has the next one on a random round through all cells.

    All else weighs nothing at first. Drawn from torch's global generator, as all initial weights are.
    """
    if isinstance(dynamics.interface, Associative) and dynamics.moves_first:
        return _named_as_shown(dynamics, dynamics.interface.names)
    if not isinstance(dynamics.interface, RandomAccess):
        return None
    num_heads, num_cells = dynamics.num_heads, dynamics.num_cells
    lead = math.log(ODDS * max(num_cells - 1, 1))  # of a first cell, in logits
    weights = torch.zeros(num_heads, num_cells, dynamics.observation_size)
    for head, mine in enumerate(weights):
        if dynamics.moves_first:
            column = dynamics.parts["shown"].start
            for size in dynamics.contents.sizes:
                symbols = torch.arange(1, size)
                mine[spread_out(size - 1, num_cells), column + symbols] = lead
                column += size
        else:
            here = torch.randperm(num_cells)
            mine[here.roll(-1), dynamics.parts["position"].start + head * num_cells + here] = lead
    return weights.flatten(0, 1)


def spread_out(size: int, num_cells: int) -> Tensor:
    """A cell for each of so many symbols, drawn at random, (size,): no cell has two more than another."""
    rounds = [torch.randperm(num_cells) for _ in range(-(-size // num_cells))]
    return torch.cat(rounds)[:size]


def _named_as_shown(dynamics: Dynamics, names: list[tuple[int, int]]) -> Tensor:
    """Weights by which every head names the key that is shown, (H A, O); each of several is as likely."""
    num_actions = dynamics.interface.num_actions
    weights = torch.zeros(dynamics.num_heads, num_actions, dynamics.observation_size)
    for action, (channel, symbol) in enumerate(names):
        if symbol:  # not the blank
            column = dynamics.parts["shown"].start + sum(dynamics.contents.sizes[:channel]) + symbol
            weights[:, action, column] = math.log(ODDS * (num_actions - 1))
    return weights.flatten(0, 1)
