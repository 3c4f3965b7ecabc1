"""The oracle: the best action from the full state, an upper bound for tests and plots, never an observation.

It foresees nothing. It keeps what may be asked for, whether it will be or not, in the next cell in turn, and sets out
for the cell of an answer when an agent that remembers everything could: at the step that shows the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from hardmem.envs.dynamics import Dynamics, State


def best_action(rules: Dynamics, state: State) -> Tensor:
    """Head 0 does what is to be done, other heads rest. Returns (B, A), one column per factor.

    What has to be kept goes where the head is, or where it moves to, as the order of a step has it. Where nothing is
    due, the head goes to the next empty cell. The return tells whether these cells and moves suffice.
    """
    head, now = state.head[:, :1], state.clock.unsqueeze(1)  # (B, 1) twice
    shown = rules.contents.decode(state.script.shown)  # (B, T + 1, C)
    step = torch.arange(shown.shape[1], device=rules.device)  # (T + 1,)
    kept = rules.task.kept(shown.transpose(0, 1)).T  # (B, T + 1)
    slot, is_new = _slots(rules, shown, kept)
    visit = _visits(state.script.source, slot)
    question = (
        torch.where((shown > 0).any(dim=-1), step, -1).cummax(dim=1).values
    )  # (B, T + 1): the last step not blank
    if rules.moves_first and rules.emit == "read":  # what is read is where the head goes, not where it is
        visit, question = F.pad(visit, (1, -1), value=-1), F.pad(question, (1, -1), value=-1)

    storing, cell = kept.gather(1, now), slot.gather(1, now)  # (B, 1): what to do now, and where
    used = (is_new & (step <= now if not rules.moves_first else step < now)).sum(dim=1, keepdim=True)
    known = (visit >= 0) & (step > now) & (question <= now)
    goal = visit.gather(1, known.int().argmax(dim=1, keepdim=True))
    goal = torch.where(known.any(dim=1, keepdim=True), goal, used.clamp(max=rules.num_cells - 1))
    if rules.moves_first:
        goal = torch.where(storing, cell, goal)

    late = torch.zeros_like(storing)  # not yet where the present step needs the head
    if rules.self_paced:
        hold = torch.full_like(cell, -1) if rules.moves_first and rules.emit == "read" else visit.gather(1, now)
        if not rules.moves_first:
            hold = torch.where(storing, cell, hold)
        late = (hold >= 0) & (head != hold)
        goal = torch.where(late, hold, goal)

    memory = state.memory
    if not rules.moves_first:  # it moves over what it has just written
        here = torch.arange(rules.num_cells, device=rules.device).unsqueeze(1) == head.T  # (N, B)
        stored = torch.where(here & (storing & ~late).T, memory.era + state.shown, memory.cells)
        memory = memory._replace(cells=stored)
    address = rules.interface.towards(head, goal, memory)
    if rules.self_paced and rules.moves_first:
        landing = torch.where(storing, cell, -1)
        if rules.emit == "read":
            after = (now + 1).clamp(max=len(step) - 1)
            landing = torch.where(storing, cell, visit.gather(1, after))
        late = late | ((landing >= 0) & (rules.interface.move(head, address, memory) != landing))

    channel = rules.task.answer_channel
    content = rules.contents.symbol(state.shown, channel).unsqueeze(1) if rules.write == "symbol" else 1
    rest = state.head[:, 1:]
    columns = [address, rules.interface.towards(rest, rest, memory), storing * ~late * content, torch.zeros_like(rest)]
    if rules.self_paced:
        columns.append((~late).long())
    if rules.emit == "symbol":
        answer = rules.contents.symbol(state.under[:, :1], channel) - 1
        columns.append(answer.clamp(0, rules.task.num_answers - 1))
    return torch.cat(columns, dim=1)


def _slots(rules: Dynamics, shown: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The cell for the content of each step, (B, T + 1), and whether the step is the first to need it.

    Cells are taken in turn. Where the head can choose its cell once it sees a key, a key seen before gets its old one.
    """
    is_new = kept
    keys = rules.task.key_channels
    chooses = rules.moves_first or rules.self_paced
    if not chooses or not keys or rules.task.answer_channel in keys:
        return _in_turn(is_new, rules.num_cells), is_new
    key = shown[..., keys[0] : keys[-1] + 1]  # (B, T + 1, K)
    same = (key.unsqueeze(1) == key.unsqueeze(2)).all(dim=-1) & kept.unsqueeze(1)
    first = same.int().argmax(dim=-1)  # (B, T + 1): the first step with this key
    is_new = kept & (first == torch.arange(shown.shape[1], device=shown.device))
    return _in_turn(is_new, rules.num_cells).gather(1, first), is_new


def _in_turn(is_new: Tensor, num_cells: int) -> Tensor:
    """Numbers from 0, one up at each new content, (B, T + 1); too many for the cells end up in the last."""
    return (is_new.cumsum(dim=1) - 1).clamp(0, num_cells - 1)


def _visits(source: Tensor, slot: Tensor) -> Tensor:
    """Where the head has to be when each step is seen, (B, T + 1); -1 where anywhere will do.

    The last of an answer's sources (B, T + 1, S) is needed when the answer is due, those before one step earlier each.
    """
    visit = torch.full_like(slot, -1)
    num_sources = source.shape[-1]
    for place in range(num_sources):
        cell = torch.where(source[..., place] >= 0, slot.gather(1, source[..., place].clamp(min=0)), -1)
        early = num_sources - 1 - place
        cell = F.pad(cell[:, early:], (0, early), value=-1)
        visit = torch.where(cell >= 0, cell, visit)
    return visit
