"""Dealing: problems as a shuffled hand of rows and one of a few layouts, which is all that is random about them."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, Task


class Layout(NamedTuple):
    """Which row stands where in K cases, by number; 0 is the blank.

    Attributes:
        shown: the row shown at each step, (K, T).
        due: the row that shows the answer due at each step, (K, T); 0 where none is due.
    """

    shown: Tensor
    due: Tensor

    def num_steps(self) -> Tensor:
        """Steps until the last answer of each case, (K,)."""
        step = torch.arange(1, self.due.shape[1] + 1, device=self.due.device)
        return ((self.due > 0) * step).amax(dim=1)

    def num_answers(self) -> Tensor:
        """Answers that each case asks for, (K,)."""
        return (self.due > 0).sum(dim=1)


class Deal(NamedTuple):
    """B problems before they are laid out.

    Attributes:
        case: by which layout, (B,).
        rows: what may be shown or due, (B, R, C), one symbol per channel, any integers; row 0 is blank.
        source: the steps whose content answers where a row is due, (B, R, S), as in `Problem`; any integers.
    """

    case: Tensor
    rows: Tensor
    source: Tensor


class Dealt(Task):
    """A task whose problems are dealt: what stands where depends on little more than a length.

    So each of `num_cases` is laid out once, and looked up for each problem; an environment, which needs problems by the
    thousand, looks up what it steps through in a form of its own.
    """

    @property
    def num_cases(self) -> int:
        """K, the number of layouts."""
        return self.max_length + 1 - self.min_length

    @property
    def due_rows(self) -> tuple[int, int] | None:
        """First and stop of the rows that may be due, none of which is shown, if that is so: there is less to keep."""
        return None

    @abstractmethod
    def layout(self, case: Tensor) -> Layout:
        """The layouts of cases (K,), each in 0 to `num_cases` - 1. All begin with the same row, whatever it shows."""

    @abstractmethod
    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        """Deal independent problems, on `device` (the generator's own)."""

    def draw(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Problem:
        return self.lay_out(*self.layouts(self.deal(num_problems, generator=generator, device=device)))

    def layouts(self, deal: Deal) -> tuple[Deal, Layout]:
        """The deal and the layouts that its cases number: all there are, or each problem's own if these are fewer."""
        if len(deal.case) <= self.num_cases:
            layout = self.layout(deal.case)
            return deal._replace(case=torch.arange(len(deal.case), device=deal.case.device)), layout
        return deal, self.layout(torch.arange(self.num_cases, device=deal.case.device))

    def lay_out(self, deal: Deal, layout: Layout) -> Problem:
        """The problems of a deal, its cases those of the layout."""
        shown, due = (table.index_select(0, deal.case) for table in layout)
        inputs, source = pick(deal.rows, shown), pick(deal.source, due)
        answer = deal.rows[..., self.answer_channel].gather(1, due)
        return Problem(inputs.transpose(0, 1).long(), answer.T.long(), (due > 0).T, source.transpose(0, 1).long())


def pick(rows: Tensor, number: Tensor) -> Tensor:
    """Rows by number, problem by problem: rows (B, R, C), number (B, T) in 0 to R - 1 -> (B, T, C)."""
    if rows.shape[2] == 1:  # the usual case, at a third of the cost
        return rows[..., 0].gather(1, number).unsqueeze(-1)
    first = torch.arange(len(rows), device=rows.device).unsqueeze(1) * rows.shape[1]
    picked: Tensor = rows.flatten(0, 1).index_select(0, (first + number).flatten()).unflatten(0, number.shape)
    return picked
