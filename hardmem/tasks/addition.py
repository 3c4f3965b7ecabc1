"""Addition: two numbers are shown and their sum is asked for, the lowest digit first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.tasks.base import Problem
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.reckoning import Reckoning


@dataclasses.dataclass(frozen=True)
class Addition(Reckoning):
    """Two numbers of L digits, side by side, from the highest; then the L + 1 digits of the sum, from the lowest.

    The base is `num_symbols`; digit d is symbol d + 1. One episode in base 10, 47 + 85 = 132, drawn with digits instead
    of symbols; `.` is the blank, `=` the delimiter, `t` counts steps:

        t         0  1  2  3  4  5
        first     4  7  =  .  .  .
        second    8  5  .  .  .  .
        targets   .  .  .  2  3  1
        source    -  -  -  1  0  0

    A cell takes both digits of a step. They come in the wrong order for adding, so they have to be kept, and are added
    on the way back. What is answered is nowhere shown, but worked out: from the two digits under the head and the carry
    of the answer before. That carry is one bit which is in no cell: the agent has to remember it, in a state of its own
    or by where it leaves a second head. The last answer is the last carry, 0 or 1; its source is the column before it.

    Optimal play earns 1.0. All digits but the last are uniform, whatever the others; with the last, a policy without
    memory does best to say 0 always: `memoryless`. Uniform actions earn 1 / num_symbols.

    Args:
        num_symbols: the base, >= 2.
        min_length: fewest digits of each number.
        max_length: most digits.
        lag: blank steps between the last digits and the delimiter, >= 0.
        last_carry: whether the last carry is asked for. If not, sums have as many digits as the numbers, as where a
            machine adds words of a fixed width: L answers, each as likely as any other.
    """

    last_carry: bool = True

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"num_symbols": 2, "max_length": 2, "last_carry": False},
        "default": {},
        "longer": {"num_symbols": 10, "min_length": 20, "max_length": 20},
        "longest": {"num_symbols": 10, "min_length": 100, "max_length": 100, "lag": 100},
    }

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + 1, self.num_symbols)

    @property
    def num_steps(self) -> int:
        return super().num_steps - (not self.last_carry)

    @property
    def memoryless(self) -> float:
        if not self.last_carry:
            return 1 / self.num_symbols
        shares = []
        for length in range(self.min_length, self.max_length + 1):
            no_carry = (1 + float(self.num_symbols) ** -length) / 2  # as likely as a carry, but for the sums in between
            shares.append((length / self.num_symbols + no_carry) / (length + 1))
        return sum(shares) / len(shares)

    @property
    def dials(self) -> dict[str, Any]:
        dials = super().dials
        return {**dials, "bits": 2 * dials["bits"]}  # two digits in a cell

    def kept(self, inputs: Tensor) -> Tensor:
        return inputs[..., 1] > 0

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (self.max_length, num_problems, 2)
        digits = torch.randint(0, self.num_symbols, shape, generator=generator, device=device)
        return self._deal(digits.transpose(0, 1), lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given symbols, two for each step, the highest digits first: digit d is d + 1.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range.
        """
        least, most = 2 * self.min_length, 2 * self.max_length
        if len(symbols) % 2 or not least <= len(symbols) <= most:
            raise ValueError(f"the input must have {least} to {most} symbols, two for each step, got {len(symbols)}")
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        digits = torch.tensor([*symbols, *[1] * (most - len(symbols))], device=device).reshape(1, -1, 2) - 1
        return self.lay_out(*self.layouts(self._deal(digits, torch.tensor([len(symbols) // 2], device=device))))

    def _deal(self, digits: Tensor, lengths: Tensor) -> Deal:
        """The rows: blank, digits (B, max_length, 2), of which the first `lengths` (B,) count, delimiter, answers."""
        column = torch.arange(self.max_length, device=digits.device)
        total = (digits.sum(dim=2) * (column < lengths.unsqueeze(1))).flip(1)  # (B, max_length)
        carry, answers = torch.zeros_like(lengths), []
        for column_total in total.unbind(1):  # those that do not count come first and carry nothing
            answers.append((column_total + carry) % self.num_symbols)
            carry = (column_total + carry) // self.num_symbols
        turn = torch.arange(self.max_length + 1, device=digits.device)  # which answer, from the lowest digit
        unused = (self.max_length - lengths).unsqueeze(1)
        place = (turn + unused).clamp(max=self.max_length)
        answer = torch.stack([*answers, carry], dim=1).gather(1, place) + 1  # (B, max_length + 1)
        source = (lengths.unsqueeze(1) - 1 - turn).clamp(min=0)

        both = F.pad(answer.unsqueeze(-1), (1, 0))  # in the answer channel
        rows = torch.cat([torch.zeros_like(digits[:, :1]), digits + 1, torch.zeros_like(digits[:, :1]), both], dim=1)
        rows[:, self.max_length + 1, 0] = self.num_symbols + 1
        nowhere = torch.full_like(rows[:, : self.max_length + 2, 0], -1)
        return Deal(lengths - self.min_length, rows, torch.cat([nowhere, source], dim=1).unsqueeze(-1))

    def layout(self, case: Tensor) -> Layout:
        lengths = (case + self.min_length).unsqueeze(1)
        step = torch.arange(self.num_steps, device=case.device)
        opening = lengths + self.lag  # when the delimiter is shown
        shown = torch.where(step < lengths, step + 1, (self.max_length + 1) * (step == opening))
        turn = step - opening - 1
        return Layout(
            shown, torch.where((turn >= 0) & (turn < lengths + self.last_carry), self.max_length + 2 + turn, 0)
        )
