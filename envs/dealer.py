"""Dealer: the problems that a task deals, made ready for play in as few numbers as will do."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.envs.contents import Contents
from hardmem.envs.state import Hand, Script
from hardmem.tasks.dealing import Dealt


class Places(NamedTuple):
    """Where things stand in a hand at each step of all K cases; there is one step more than the task has, a blank.

    Attributes:
        row: what is shown and what is due, numbers of a hand's row side by side, (K (T + 1), 2).
        source: the sources of what is due, (K (T + 1),).
        num_steps: when an episode ends, (K,).
        num_answers: answers asked for, (K,), float.
    """

    row: Tensor
    source: Tensor
    num_steps: Tensor
    num_answers: Tensor


class Dealer:
    """Deals hands. One begins with the answers of the rows that may be due, and goes on with the codes of those shown.

    Where a row may be both, its code and its answer stand side by side. `opening` is where those of the first step are.

    Args:
        task: what deals the problems.
        contents: what makes symbols codes.
        device: where all tensors live.
    """

    def __init__(self, task: Dealt, contents: Contents, device: torch.device | str = "cpu") -> None:
        self.task, self.contents = task, contents
        self.num_steps = task.num_steps
        layout = task.layout(torch.arange(task.num_cases, device=device))
        shown, due = (F.pad(number, (0, 1)).flatten() for number in layout)
        if task.due_rows is None:
            source, row = due, torch.stack([2 * shown, 2 * due + 1], dim=1)
        else:
            first, stop = task.due_rows
            source = (due - first + 1).clamp(min=0)
            row = torch.stack([stop - first + 1 + shown - (shown >= stop) * (stop - first), source], dim=1)
        self.places = Places(row, source, layout.num_steps(), layout.num_answers().float())
        self.opening = row[0]  # (2,): all cases begin alike
        largest = max(contents.num_codes, task.num_steps)
        self.small = torch.int16 if largest <= torch.iinfo(torch.int16).max else torch.int32  # the less, the faster

    def deal(self, num_problems: int, generator: torch.Generator | None, device: torch.device | str) -> Hand:
        """Fresh problems."""
        case, rows, source = self.task.deal(num_problems, generator=generator, device=device)
        if self.task.due_rows is None:
            answers = rows[..., self.task.answer_channel].to(self.small) - 1
            row = torch.stack([self._codes(rows), answers], dim=2).flatten(1)
            source = source.transpose(1, 2).to(self.small)
        else:
            symbols, source = rows.permute(1, 0, 2), source.permute(1, 2, 0)  # row by row: (R, B, C), (R, S, B)
            answers = symbols[..., self.task.answer_channel]
            first, stop = self.task.due_rows
            due = torch.cat([answers[:1], answers[first:stop]]).to(self.small) - 1
            row = _turned(torch.cat([due, self._codes(symbols[:first]), self._codes(symbols[stop:])]))
            source = torch.cat([source[:1], source[first:stop]]).permute(2, 1, 0).to(self.small)
        num_steps, num_answers = (of_case.index_select(0, case) for of_case in self.places[2:])
        return Hand(row, source, case * (self.num_steps + 1), num_steps, num_answers)

    def spell_out(self, hand: Hand) -> Script:
        """The problems of hands step by step."""
        step = hand.first.unsqueeze(1) + torch.arange(self.num_steps + 1, device=hand.first.device)  # (B, T + 1)
        rows = hand.row.gather(1, self.places.row[step].flatten(1)).unflatten(1, (-1, 2)).transpose(1, 2)
        due = self.places.source[step].unsqueeze(1).expand(-1, hand.source.shape[1], -1)
        rows = torch.cat([rows, hand.source.gather(2, due)], dim=1)
        return Script(rows.int(), hand.num_steps, hand.num_answers)

    def _codes(self, symbols: Tensor) -> Tensor:
        return self.contents.encode(symbols.to(self.small))


def _turned(places: Tensor) -> Tensor:
    """Place by place, (P, B), to problem by problem, (B, P)."""
    if places.device.type != "cpu":
        return places.T.contiguous()
    turned = places.new_empty(places.T.shape)
    turned.numpy()[...] = places.numpy().T  # a third of torch's time
    return turned
