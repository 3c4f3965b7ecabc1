"""Commands: what Stack and Queue have in common. Symbols are put in and taken out again, in turns of any order."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, Task


@dataclasses.dataclass(frozen=True)
class Commands(Task):
    """L symbols put in, and L times the command to take one out, never from nothing; which one is the task's to say.

    A symbol shown is put in. The command, symbol `num_symbols + 1`, takes one out: that is due at the next step, which
    is blank. All orders of putting in and taking out are equally likely.

    Args:
        num_symbols: symbols put in and taken out.
        min_length: fewest symbols put in.
        max_length: most symbols put in.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 2},
        "default": {},
        "longer": {"min_length": 20, "max_length": 20},
        "longest": {"min_length": 100, "max_length": 100},
    }

    asks_between: ClassVar[bool] = True

    @abstractmethod
    def place(self, inputs: Tensor, new: Tensor) -> Tensor: ...

    @abstractmethod
    def _next_out(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        """The place in `inside` of the symbol to take out, after so many were put in and taken out, (B,) each."""

    @abstractmethod
    def _next_in(self, num_in: Tensor, num_out: Tensor) -> Tensor:
        """The place for the next symbol to put in, likewise: one of `max_length`, or beyond them where all are in."""

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + 1,)

    @property
    def num_steps(self) -> int:
        return 3 * self.max_length

    @property
    def num_stored(self) -> int:
        return self.max_length

    @property
    def num_cells(self) -> int:
        return self.max_length + 2  # an empty one after the last, and one so that a tape is not a ring of full cells

    def draw(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Problem:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        shape = (self.max_length, num_problems)
        symbols = torch.randint(1, self.num_symbols + 1, shape, generator=generator, device=device)
        chance = torch.rand((2 * self.max_length, num_problems), generator=generator, device=device)
        num_in, inside, puts = torch.zeros_like(lengths), torch.zeros_like(lengths), []
        for turn in range(2 * self.max_length):
            # Arnold & Sleep 1980, "Uniform random generation of balanced parenthesis strings": of all ways to go on
            # with `left` commands and `inside` symbols to take out, this share puts one in.
            left = 2 * lengths - turn
            share = (inside + 2) * (left - inside) / (2 * left * (inside + 1)).clamp(min=1)
            put = chance[turn] < share
            num_in, inside = num_in + put, inside + torch.where(put, 1, -1)
            puts.append(put)
        return self._lay_out(symbols, torch.stack(puts), lengths)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given symbols and commands, `num_symbols + 1`, in the order they are shown.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range, one is taken out of nothing, or left in.
        """
        command = self.num_symbols + 1
        if not all(1 <= symbol <= command for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {command}, the command, got {list(symbols)}")
        puts = [symbol != command for symbol in symbols]
        inside = [2 * sum(puts[:end]) - end for end in range(len(puts) + 1)]
        if min(inside) < 0 or inside[-1] or not self.min_length <= sum(puts) <= self.max_length:
            raise ValueError(
                f"the input must have {self.min_length} to {self.max_length} symbols and as many commands {command} "
                f"after them, got {list(symbols)}"
            )
        given = [symbol for symbol in symbols if symbol != command]
        unused = self.max_length - len(given)
        return self._lay_out(
            torch.tensor([given + [1] * unused], device=device).T,
            torch.tensor([puts + [False] * 2 * unused], device=device).T,
            torch.tensor([len(given)], device=device),
        )

    def _lay_out(self, symbols: Tensor, puts: Tensor, lengths: Tensor) -> Problem:
        """The problems of symbols (max_length, B) put in where `puts` (2 max_length, B) says so, L (B,) of them."""
        step, num_in = torch.zeros_like(lengths), torch.zeros_like(lengths)
        shape = (self.num_steps + 3, len(lengths))  # commands that do not count go where they are cut off
        shown, targets = symbols.new_zeros(shape), symbols.new_zeros(shape)
        source = torch.full(shape, -1, device=symbols.device)
        inside, since = symbols.new_zeros((2, self.max_length, len(lengths)))  # which symbols, and when they were shown
        for turn, put in enumerate(puts.unbind(0)):
            column = step.unsqueeze(0)
            number, count = num_in.clamp(max=self.max_length - 1), turn - num_in
            place = torch.where(put, self._next_in(num_in, count), self._next_out(num_in, count))
            place = place.clamp(0, self.max_length - 1).unsqueeze(0)
            new = symbols.gather(0, number.unsqueeze(0))
            held, shown_at = inside.gather(0, place), since.gather(0, place)
            inside.scatter_(0, place, torch.where(put, new, held))
            since.scatter_(0, place, torch.where(put, column, shown_at))
            shown.scatter_(0, column, torch.where(put, new, self.num_symbols + 1))
            targets.scatter_(0, column + 1, torch.where(put, 0, held))
            source.scatter_(0, column + 1, torch.where(put, -1, shown_at))
            counts = turn + 1 < 2 * lengths
            step = torch.where(counts, step + torch.where(put, 1, 2), self.num_steps + 1)
            num_in = num_in + put
        shown, targets, source = (field[: self.num_steps] for field in (shown, targets, source))
        return Problem(shown.unsqueeze(-1), targets, targets > 0, source.unsqueeze(-1))
