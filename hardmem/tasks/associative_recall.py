"""AssociativeRecall: shown an item again, give the one that followed it (Graves et al. 2014, section 4.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.tasks.base import Problem, at_least, shuffled
from hardmem.tasks.dealing import Deal, Layout
from hardmem.tasks.distractors import draw_distractors, spread_out
from hardmem.tasks.rewriting import Rewritable, presentations, shown_in_vain

MAX_ITEMS = 2**18
"""Distinct items a task may draw from: far more than it shows, and few enough to draw them from a float32."""


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(Rewritable):
    """L + 1 distinct items of W symbols, each after a delimiter; then one of the first L: which item followed it?

    One episode of length 2 with items of 2 symbols; `.` is the blank, `|` the delimiter of an item, `?` that of the
    question, `t` counts steps:

        t         0  1  2  3  4  5  6  7  8  9 10 11 12 13 14
        inputs    |  4  1  |  7  7  |  1  4  ?  7  7  .  .  .
        targets   .  .  .  .  .  .  .  .  .  .  .  .  .  1  4
        source    -  -  -  -  -  -  -  -  -  -  -  -  - 5,7 7,8

    The answer stands where the item asked about ends: an answer's first source is the symbol before it. Nothing is due
    at the blank after the question: it is time to go from the one to the other.
    Optimal play earns 1.0; a policy without memory guesses, as a random one does: 1 / num_symbols.

    Args:
        num_symbols: symbols that items are made of.
        min_length: fewest items that may be asked about.
        max_length: most items that may be asked about; one more is shown.
        item_length: W, symbols in an item, >= 1; 3 in the paper.
        lag: blank steps between the last item and the question, >= 0.
        distractors: symbols of another kind after each step that shows the items, as many to choose from, never asked
            for, >= 0. In a problem that is given, each is the first of them.
        rewrites: how often as many other items are shown before these in vain, >= 0. After each time stands a marker,
            the symbol `anew`; distractors are the same each time.
    """

    max_length: int = 5
    item_length: int = 3
    lag: int = 0
    distractors: int = 0
    rewrites: int = 0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "easiest": {"max_length": 1, "item_length": 1},
        "default": {},
        "longer": {"num_symbols": 16, "min_length": 10, "max_length": 10, "lag": 10},
        "longest": {"num_symbols": 32, "min_length": 30, "max_length": 30, "lag": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, item_length=self.item_length)
        at_least(0, lag=self.lag, distractors=self.distractors, rewrites=self.rewrites)
        if not self.max_length < self.num_symbols**self.item_length <= MAX_ITEMS:
            raise ValueError(
                f"num_symbols ** item_length must be more than max_length={self.max_length} and at most {MAX_ITEMS}, "
                f"got {self.num_symbols} ** {self.item_length}"
            )

    @property
    def key_channels(self) -> tuple[int, ...]:
        return (0,)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return (self.num_symbols + self.num_markers + (self.distractors > 0) * self.num_symbols,)

    @property
    def num_markers(self) -> int:
        """Symbols that are part of no item: both delimiters, and `anew` where there is any."""
        return 2 + (self.rewrites > 0)

    @property
    def anew(self) -> int:
        return self.num_symbols + 3

    @property
    def pace(self) -> int:
        """Steps from one item to the next."""
        return (self.item_length + 1) * (1 + self.distractors)

    @property
    def num_distractors(self) -> int:
        """Distractors in one presentation of the longest problem."""
        return self.distractors * (self.max_length + 1) * (self.item_length + 1)

    @property
    def num_steps(self) -> int:
        presented = (self.max_length + 1) * self.pace
        in_vain = self.rewrites * (presented + 1)
        return in_vain + presented + self.lag + 2 * (self.item_length + 1)

    @property
    def num_stored(self) -> int:
        return (self.max_length + 1) * self.item_length

    @property
    def num_cells(self) -> int:
        return self.num_stored + 1  # one that stays empty after the last symbol

    def kept(self, inputs: Tensor) -> Tensor:
        asking = (inputs[..., 0] == self.num_symbols + 2).cumsum(dim=0) > 0
        return super().kept(inputs) & ~asking

    def place(self, inputs: Tensor, new: Tensor) -> Tensor:
        place = super().place(inputs, new)
        if not self.rewrites:
            return place
        # Between symbols a head stays where it is: by the name of a void symbol in the next cell it might come to
        # another cell, which was given that symbol since.
        step = self.since(inputs)
        stays = (step % self.pace < 1 + self.distractors) | (step % (1 + self.distractors) > 0)
        return (place - stays.long()).clamp(min=0)

    @property
    def num_cases(self) -> int:
        return super().num_cases * self.max_length  # each with the item that is asked about

    def deal(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Deal:
        lengths = torch.randint(
            self.min_length, self.max_length + 1, (num_problems,), generator=generator, device=device
        )
        num_codes = self.num_symbols**self.item_length
        counts = lengths.new_full(((1 + self.rewrites) * num_problems,), num_codes)
        codes = shuffled(counts, self.max_length + 1, generator)
        place = self.num_symbols ** torch.arange(self.item_length, device=device)
        items = codes.unsqueeze(2) // place % self.num_symbols + 1  # ((1 + rewrites) B, L + 1, W)
        asked = (torch.rand((num_problems,), generator=generator, device=device) * lengths).long()
        symbols = torch.cat(items.flatten(1).split(num_problems), dim=1) if self.rewrites else items.flatten(1)
        if self.distractors:
            first = self.num_symbols + self.num_markers + 1
            distractors = draw_distractors(self.num_distractors, first, self.num_symbols, lengths, generator)
            symbols = torch.cat([symbols, distractors], dim=1)
        return self._deal(symbols, lengths, asked)

    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), of the given symbols: all items in a row, then the item asked about once more.

        Items in vain come first, as many each time.

        Raises:
            ValueError: if a symbol or the number of items is out of range, an item stands twice, or the last one is
                not among those that another follows.
        """
        width = self.item_length
        if not all(1 <= symbol <= self.num_symbols for symbol in symbols):
            raise ValueError(f"symbols must lie in 1 to {self.num_symbols}, got {list(symbols)}")
        times = 1 + self.rewrites
        if len(symbols) % width or not self.min_length <= (len(symbols) // width - 1) / times - 1 <= self.max_length:
            again = f" for each of {times} presentations" if self.rewrites else ""
            raise ValueError(
                f"the input must have {self.min_length + 1} to {self.max_length + 1} items{again} and the one asked "
                f"about, of {width} symbols each, got {len(symbols)} symbols"
            )
        shown, cue = presentations(symbols[:-width], self.rewrites), tuple(symbols[-width:])
        items, *void = [[tuple(part[at : at + width]) for at in range(0, len(part), width)] for part in shown]
        if any(len(set(part)) < len(part) for part in (items, *void)) or cue not in items[:-1]:
            got = f"{[*void, items] if void else items} and {cue}"
            raise ValueError(f"items must be distinct and one but the last asked about, got {got}")
        unused = [1] * (self.num_stored - len(shown[0]))
        noise = [self.num_symbols + self.num_markers + 1] * self.num_distractors
        padded = torch.tensor([symbol for part in shown for symbol in part + unused] + noise, device=device)
        length, asked = torch.tensor([len(items) - 1], device=device), torch.tensor([items.index(cue)], device=device)
        return self.lay_out(*self.layouts(self._deal(padded.unsqueeze(0), length, asked)))

    def _deal(self, symbols: Tensor, lengths: Tensor, asked: Tensor) -> Deal:
        """The rows: blank, symbols (B, num_stored), of which those of `lengths` + 1 items count, markers and others.

        Markers are the delimiters and, if it is ever shown, `anew`. The others stand after the symbols in what is
        given: void ones, as many each time, then the distractors.
        """
        blank = torch.zeros_like(symbols[:, :1])
        symbols, others = symbols[:, : self.num_stored], symbols[:, self.num_stored :]
        markers = [blank + self.num_symbols + 1 + number for number in range(self.num_markers)]
        rows = torch.cat([blank, symbols, *markers, others], dim=1)
        number = torch.arange(rows.shape[1], device=symbols.device) - 1
        place = number % self.item_length
        shown = number + number // self.item_length + 1  # after the delimiters so far
        before = torch.where(place == 0, shown - 2, shown - 1)  # over the delimiter
        source = torch.stack([before, shown], dim=-1) * (1 + self.distractors)
        if self.rewrites:
            source = source + (self.rewrites * ((lengths + 1) * self.pace + 1))[:, None, None]
        source = torch.where(number[:, None] >= 0, source, -1)
        return Deal(
            (lengths - self.min_length) * self.max_length + asked, rows.unsqueeze(-1), source.expand(len(rows), -1, -1)
        )

    def layout(self, case: Tensor) -> Layout:
        lengths = (case // self.max_length + self.min_length).unsqueeze(1)
        asked = (case % self.max_length).unsqueeze(1)
        width, period = self.item_length, self.item_length + 1
        step = torch.arange(self.num_steps, device=case.device)
        item, place = step // period, step % period - 1  # place -1 is the delimiter
        question = step - (lengths + 1) * period - self.lag  # counted from its delimiter
        shown = torch.where(place >= 0, item * width + place + 1, self.num_stored + 1) * (item <= lengths)
        shown = torch.where((question > 0) & (question <= width), asked * width + question, shown)
        shown = torch.where(question == 0, self.num_stored + 2, shown)
        due = question - width - 2  # which symbol of the answer
        layout = Layout(shown, torch.where((due >= 0) & (due < width), (asked + 1) * width + due + 1, 0))
        until, marker = (lengths.squeeze(1) + 1) * period, self.num_stored + self.num_markers
        layout = spread_out(layout, until, self.distractors, marker + 1 + self.rewrites * self.num_stored)
        until = until * (1 + self.distractors)
        return shown_in_vain(layout, until, self.rewrites, self.num_stored, marker + 1, marker)
