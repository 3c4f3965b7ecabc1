"""Policies written by hand that look at the present observation only: cells and heads remember all that is needed."""

from __future__ import annotations

import pytest
import torch

from hardmem.envs import ENVIRONMENTS, make_dynamics
from hardmem.envs.testing import play

STAY, ON, BACK = 1, 2, 0  # the moves of a tape


def looking(rules, policy):
    """The policy of a state that is given nothing but its observation, taken apart.

    `policy` maps the symbols shown (B, C), those under the heads (B, H, C) and where the heads are (B, H) to the
    factors of the action, (B,) each.
    """
    sizes, heads = rules.contents.sizes, rules.num_heads

    def decode(columns):
        parts = columns.unflatten(1, (-1, sum(sizes))).split(sizes, dim=-1)
        return torch.stack([part.argmax(dim=-1) for part in parts], dim=-1)  # (B, K, C)

    def choose(state):
        seen = rules.observe(state)
        place = seen[:, rules.parts["position"]].unflatten(1, (heads, -1)).argmax(-1) if rules.shows_position else None
        columns = policy(
            rules, decode(seen[:, rules.parts["shown"]])[:, 0], decode(seen[:, rules.parts["under"]]), place
        )
        return torch.stack(torch.broadcast_tensors(*map(torch.as_tensor, columns)), dim=1)

    return choose


def stack(rules, shown, under, _):
    push, pop = (shown[:, 0] > 0) & (shown[:, 0] <= 8), shown[:, 0] == 9
    return torch.where(push, ON, torch.where(pop, BACK, STAY)), push.long(), (under[:, 0, 0] - 1).clamp(0, 7)


def queue(rules, shown, under, _):
    push, answer = (shown[:, 0] > 0) & (shown[:, 0] <= 8), shown[:, 0] == 0
    moves = torch.where(answer, ON, STAY), torch.where(push, ON, STAY)
    return *moves, torch.tensor(0), push.long(), (under[:, 0, 0] - 1).clamp(0, 7)


def forward_reverse(rules, shown, under, place):
    """The second head stands on cell 1 on the way back."""
    symbol, (reader, flag) = shown[:, 0], place.T
    back = (symbol == 10) | (flag == 1)
    reader = torch.where(back, reader - 1, reader + 1) % rules.num_cells
    reader = torch.where(symbol == 9, 0, reader)
    writes = (symbol > 0) & (symbol <= 8)
    return reader, back.long(), writes.long(), torch.tensor(0), (under[:, 0, 0] - 1).clamp(0, 7)


def addition(rules, shown, under, place):
    """The second head stands on the cell whose number is the carry."""
    base, (reader, carry) = rules.task.num_symbols, place.T
    writes = shown[:, 1] > 0
    digits = (under[:, 0] - 1).clamp(min=0).sum(dim=1) + carry
    answering = shown[:, 0] == 0
    reader = torch.where(writes, reader + 1, reader - 1) % rules.num_cells
    return reader, torch.where(answering, digits // base, 0), writes.long(), torch.tensor(0), digits % base


def counting(rules, shown, under, place):
    """The second head stands on the cell whose number is the count."""
    (symbol, asked), (reader, count) = shown.T, place.T
    writes = (symbol > 0) & (asked == 0)
    count_after = count + ((asked == 1) & (under[:, 0, 0] == symbol))
    reader = torch.where((asked == 1) & (under[:, 0, 0] == 0), 0, reader + 1) % rules.num_cells
    return reader, count_after, writes.long(), torch.tensor(0), count.clamp(max=rules.task.max_count)


POLICIES = {
    "hardmem/Stack-v0": stack,
    "hardmem/Queue-v0": queue,
    "hardmem/ForwardReverseRandomAccess-v0": forward_reverse,
    "hardmem/AdditionRandomAccess-v0": addition,
    "hardmem/CountingRandomAccess-v0": counting,
}


@pytest.mark.parametrize("env_id", POLICIES)
@pytest.mark.parametrize("wiped", [False, True])
def test_the_observation_is_enough(env_id, wiped):
    """Each earns exactly 1.0 at the default preset, and with wiped cells no more than is stated without memory."""
    rules = make_dynamics(**ENVIRONMENTS[env_id], wiped=wiped)
    state, _ = rules.reset(500, torch.Generator().manual_seed(0))
    total, _ = play(rules, state, looking(rules, POLICIES[env_id]))
    if wiped:
        assert total.mean() <= rules.task.memoryless + 5 * total.std() / 500**0.5
    else:
        assert total.tolist() == [1.0] * 500
