"""The oracle: the best action from the full state, an upper bound for tests and plots, never an observation.

It foresees nothing. It keeps what may be asked for, whether it will be or not, in the next cell in turn, and sets out
for the cell of an answer when an agent that remembers everything could: at the step that shows the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.envs.interfaces import Tape

if TYPE_CHECKING:
    from hardmem.envs.dynamics import Dynamics
from hardmem.envs.state import State


def best_action(rules: Dynamics, state: State) -> Tensor:
    """Head 0 does what is to be done, other heads rest. Returns (B, A), one column per factor.

    What has to be kept goes where the head is, or where it moves to, as the order of a step has it. Where nothing is
    due, the head goes to the next empty cell. The return tells whether these cells and moves suffice.

    Where a head writes before it moves and the input does not wait, two heads share the work: head 0 reads, and stays
    where nothing is to be read; head 1 writes, and waits at the next empty cell. On a tape that pays only where
    questions come in between: the one that reads may be left far behind.
    """
    shared = rules.num_heads > 1 and not rules.moves_first and not rules.self_paced
    shared &= rules.task.asks_between or not isinstance(rules.interface, Tape)
    head, now = state.head[:, :1], state.clock.unsqueeze(1)  # (B, 1) twice
    shown = rules.contents.decode(state.script.shown)  # (B, T + 1, C)
    step = torch.arange(shown.shape[1], device=rules.device)  # (T + 1,)
    kept = rules.task.kept(shown.transpose(0, 1)).T  # (B, T + 1)
    slot, free = _slots(rules, shown, kept)
    visit = _visits(state.script.source, slot) if rules.task.shows_answers else torch.full_like(slot, -1)
    told = (shown > 0).any(dim=-1)
    told[:, 1:] &= (shown[:, 1:] != shown[:, :-1]).any(dim=-1)
    question = torch.where(told, step, -1).cummax(dim=1).values  # (B, T + 1): the last step that shows something new
    if rules.moves_first and rules.emit == "read":  # what is read is where the head goes, not where it is
        visit, question = F.pad(visit, (1, -1), value=-1), F.pad(question, (1, -1), value=-1)

    storing, cell = kept.gather(1, now), slot.gather(1, now)  # (B, 1): what to do now, and where
    empty = free.gather(1, now if rules.moves_first else (now + 1).clamp(max=len(step) - 1))
    known = (visit >= 0) & (step > now) & (question <= now)
    goal = visit.gather(1, known.int().argmax(dim=1, keepdim=True))
    goal = torch.where(known.any(dim=1, keepdim=True), goal, head if shared else empty)
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
        writer = state.head[:, 1:2] if shared else head
        here = torch.arange(rules.num_cells, device=rules.device).unsqueeze(1) == writer.T  # (N, B)
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
    goals = torch.cat([empty, rest[:, 1:]], dim=1) if shared else rest
    writes = torch.zeros_like(state.head)
    writes[:, int(shared)] = (storing * ~late * content)[:, 0]
    columns = [address, rules.interface.towards(rest, goals, memory), writes]
    if rules.self_paced:
        columns.append((~late).long())
    if rules.emit == "symbol":
        answer = rules.contents.symbol(state.under[:, :1], channel) - 1
        if rules.task.computed:
            answer = _worked_out(state, now)
        elif not rules.task.shows_answers:
            answer = _predicted(rules, state, kept, slot)
        columns.append(answer.clamp(0, rules.task.num_answers - 1))
    return torch.cat(columns, dim=1)


def _worked_out(state: State, now: Tensor) -> Tensor:
    """The answer due now, (B, 1), to who reads the last of its sources now; the first there is to who does not."""
    last = state.script.source[..., -1].gather(1, now)
    read = (last >= 0) & (state.script.shown.gather(1, last.clamp(min=0)) == state.under[:, :1])
    return torch.where(read, state.due.unsqueeze(1), 0)


def _predicted(rules: Dynamics, state: State, kept: Tensor, slot: Tensor) -> Tensor:
    """The likeliest answer, (B, 1), to who has kept all that was shown before; the first there is to who has not."""
    shown, now = state.script.shown, state.clock.unsqueeze(1)
    likely = rules.task.predictive(rules.contents.decode(shown).transpose(0, 1)).argmax(dim=-1).T  # (B, T + 1)
    before = kept & (torch.arange(shown.shape[1], device=shown.device) < now)
    held = ((state.memory.codes().gather(1, slot) == shown) | ~before).all(dim=1, keepdim=True)
    return torch.where(held, likely.gather(1, now), 0)


def _slots(rules: Dynamics, shown: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The cell for the content of each step, and for something new if it came then, (B, T + 1) each.

    Cells are taken as the task has it; too many for them end up in the last. Where the head can choose its cell once it
    sees a key, a key seen before gets its old one.
    """

    def places(new: Tensor) -> Tensor:
        return rules.task.place(shown.transpose(0, 1), new.T).T.clamp(0, rules.num_cells - 1)

    keys = rules.task.key_channels
    chooses = rules.moves_first or rules.self_paced
    if not chooses or not keys or rules.task.answer_channel in keys:
        free = places(kept)
        return free, free
    key = shown[..., keys[0] : keys[-1] + 1]  # (B, T + 1, K)
    same = (key.unsqueeze(1) == key.unsqueeze(2)).all(dim=-1) & kept.unsqueeze(1)
    first = same.int().argmax(dim=-1)  # (B, T + 1): the first step with this key
    free = places(kept & (first == torch.arange(shown.shape[1], device=shown.device)))
    return free.gather(1, first), free


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
