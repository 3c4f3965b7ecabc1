"""Tasks: distributions over batched sequence problems, ignorant of actions, cells and networks."""

from __future__ import annotations

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hardmem.tasks.encoding import bit_inputs, symbols_to_bits


class Problem(NamedTuple):
    """A batch of B problems of T steps, time-first. Symbols are int64; 0 is the blank of every channel.

    Attributes:
        inputs: what is shown, (T, B, C), one symbol per channel.
        targets: the answer due at each step, (T, B); 0 where none is due.
        mask: whether an answer is due, (T, B), bool.
        source: the input steps whose content answers step t, (T, B, S), in the order they are needed. The last one
            shows the answer itself, unless it has to be worked out. Where fewer than S are needed, -1 stands in front;
            where none is, everywhere.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    source: Tensor

    def repeat(self, group_size: int) -> Problem:
        """K copies of each problem, side by side (problem-major): the layout leave-one-out needs."""
        return Problem(*(field.repeat_interleave(group_size, dim=1) for field in self))

    def num_steps(self) -> Tensor:
        """Steps until the last answer of each problem, (B,): where its episode ends."""
        step = torch.arange(1, self.mask.shape[0] + 1, device=self.mask.device).unsqueeze(1)  # (T, 1)
        return (self.mask * step).amax(dim=0)


@dataclasses.dataclass(frozen=True)
class Task(ABC):
    """A distribution over problems. Difficulty is its constructor's arguments, so a curriculum is `at_length`.

    Args:
        num_symbols: symbols that can be asked for, numbered 1 to num_symbols; 0 is the blank.
        min_length: shortest problem, >= 1; what is counted is the task's to say.
        max_length: longest problem; lengths are uniform over both ends included.

    Raises:
        ValueError: if a number is not whole or below its least value, or a flag is neither True nor False.
    """

    num_symbols: int = 8
    min_length: int = 1
    max_length: int = 10

    shortest: ClassVar[int] = 1
    """The least length at which the task asks for what it is about: where a curriculum starts."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    """A sweep of difficulties by name, from the easiest to the hardest: arguments that differ from the defaults."""

    computed: ClassVar[bool] = False
    """Whether an answer has to be worked out from what its sources show, rather than being what the last one shows."""

    asks_between: ClassVar[bool] = False
    """Whether questions come while there is still more to be kept."""

    shows_answers: ClassVar[bool] = True
    """Whether what answers a question was shown before. If not, it can only be predicted, and optimal play is Bayes's:
    the source of an answer is then evidence, and may be missing."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if type(field.default) is int:
                whole(**{field.name: getattr(self, field.name)})
            if type(field.default) is bool:
                true_or_false(**{field.name: getattr(self, field.name)})
        at_least(1, num_symbols=self.num_symbols)
        if not 1 <= self.min_length <= self.max_length:
            raise ValueError(
                f"lengths must satisfy 1 <= min_length <= max_length, got min_length={self.min_length} "
                f"and max_length={self.max_length}"
            )

    def at_length(self, max_length: int, min_length: int | None = None) -> Task:
        """The same task at another length; `min_length` defaults to this task's own, lowered if need be."""
        shortest = min(self.min_length, max_length) if min_length is None else min_length
        return dataclasses.replace(self, max_length=max_length, min_length=shortest)

    @property
    @abstractmethod
    def input_sizes(self) -> tuple[int, ...]:
        """Symbols in each of the C input channels, blank excluded."""

    @property
    def num_answers(self) -> int:
        """Possible answers, numbered from 1: by default the symbols."""
        return self.num_symbols

    @property
    def optimum(self) -> float:
        """What optimal play earns: everything, unless answers can only be predicted."""
        return 1.0

    @property
    def memoryless(self) -> float:
        """What the best policy earns that neither remembers nor counts steps: by default that of guessing."""
        return 1 / self.num_answers

    def predictive(self, inputs: Tensor) -> Tensor:
        """The probability of every answer, given what is shown up to each step: (T, B, C) -> (T, B, V).

        For tasks whose answers can only be predicted.
        """
        raise NotImplementedError(f"the answers of {type(self).__name__} are shown, not predicted")

    @property
    def answer_channel(self) -> int:
        """The input channel whose content is the answer: by default the last."""
        return len(self.input_sizes) - 1

    @property
    def key_channels(self) -> tuple[int, ...]:
        """The input channels whose content names a cell, for addressing by content; none by default."""
        return ()

    def kept(self, inputs: Tensor) -> Tensor:
        """Which steps show what may be asked for later, so that it has to be kept: (T, B, C) -> (T, B), bool.

        By default all that show a possible answer.
        """
        content = inputs[..., self.answer_channel]
        return (content >= 1) & (content <= self.num_answers)

    def place(self, inputs: Tensor, new: Tensor) -> Tensor:
        """The cell that what is shown at each step goes to, were it kept: (T, B, C) -> (T, B), by number.

        What is shown at a step or later must not matter to it. By default cells are taken in turn.

        Args:
            inputs: (T, B, C).
            new: which steps take a cell, (T, B), bool.
        """
        return new.cumsum(dim=0) - new.long()

    @property
    def dials(self) -> dict[str, Any]:
        """The difficulty as plain data: every argument, and what has to be kept at most, in cells and in bits.

        Bits are those of what may be asked for; keys and priorities, by which it is found, are not counted.
        "lag", "rewrites" and "distractors" are there for every task: 0 where it has none.
        """
        arguments, cells = dataclasses.asdict(self), self.num_stored
        none = {dial: 0 for dial in ("lag", "rewrites", "distractors") if dial not in arguments}
        return {**arguments, **none, "cells": cells, "bits": round(cells * math.log2(self.num_symbols), 1)}

    def shown_as_bits(self, inputs: Tensor) -> Tensor:
        """What a sequence model is shown: inputs (T, B, C) -> float32 (T, B, I), channel after channel.

        By default the signs of the bits of a symbol, then flags: for the blank, and for each marker among the answers.
        """
        parts = []
        for channel, size in enumerate(self.input_sizes):
            symbols = min(size, self.num_symbols) if channel == self.answer_channel else size
            parts.append(bit_inputs(inputs[..., channel], symbols, size - symbols))
        return torch.cat(parts, dim=-1)

    def asked_as_bits(self, targets: Tensor) -> Tensor:
        """What a sequence model is asked for: targets (T, B) -> bits (T, B, O), 0 or 1."""
        return symbols_to_bits(targets, self.num_answers)

    @property
    @abstractmethod
    def num_stored(self) -> int:
        """Cells that have to be full at once to answer everything the longest problem may ask."""

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """T, the steps of the longest problem."""

    @property
    @abstractmethod
    def num_cells(self) -> int:
        """Cells with which the task can be solved at its longest, one symbol per channel in each."""

    @abstractmethod
    def draw(
        self, num_problems: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Problem:
        """Draw independent problems: `num_problems` columns, `num_steps` rows, on `device` (the generator's own)."""

    @abstractmethod
    def problem(self, symbols: Sequence[int], *, device: torch.device | str = "cpu") -> Problem:
        """The one problem, (T, 1), that shows the given symbols; for replaying a fixed input.

        Raises:
            ValueError: if a symbol or the number of symbols is out of range.
        """


def shuffled(count: Tensor, size: int, generator: torch.Generator | None, most: int | None = None) -> Tensor:
    """The first `size` places of random orders of 0 to count - 1: count (B,) -> (B, size), distinct in each row.

    Where `size` is larger than the count, what follows is of no account. If no count is above `most`, 255 at most, the
    work is done in bytes, which is faster.
    """
    return shuffled_rows(count, (size, len(count)), generator, most).long().T


def shuffled_rows(
    count: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, most: int | None = None
) -> Tensor:
    """`shuffled` as it is worked out: place by place, (size, ...), in bytes or int32; the count broadcasts."""
    size, most = shape[0], max(shape[0], most or 256)
    place = torch.arange(size, dtype=torch.int32, device=count.device).reshape(-1, *[1] * (len(shape) - 1))
    left = (count.int() - place).clamp(min=1)
    if most <= 32:  # 16 random bits each, at a third of the price, are even to one part in 65536 / most
        order = _scaled(random_words(shape, torch.int16, generator, count.device), left)
    else:
        order = torch.rand(shape, generator=generator, device=count.device) * left  # which of those not yet taken
        order = order.to(torch.uint8 if most < 256 else torch.int32)
    code: Any = order.numpy() if order.device.type == "cpu" else order  # the order's Lehmer code, undone in place
    byte: Any = torch.uint8 if code is order else np.uint8  # on the CPU, NumPy takes half of torch's time
    for number in range(size - 2, -1, -1):
        later = code[number + 1 :]
        later += (later >= code[number]).view(byte)
    return order


def _scaled(words: Tensor, left: Tensor) -> Tensor:
    """Random int16 -> bytes in 0 to left - 1, where that is at most 32: what is above 16 bits of the product."""
    if words.device.type != "cpu":
        return (words.int() + 2**15).mul_(left).bitwise_right_shift_(16).to(torch.uint8)
    product = (words.numpy().view(np.uint16) ^ 2**15).astype(np.uint32)  # at once: NumPy mixes types piece by piece
    product *= left.numpy().astype(np.uint32)
    product >>= 16
    scaled = torch.empty(words.shape, dtype=torch.uint8)
    scaled.numpy()[...] = product
    return scaled


def uniform(num: int, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Whole numbers 0 to num - 1, equally likely: bytes where `num` fits, else int32.

    Powers of two are cut from random words, eight at a time, at an eighth of the price.
    """
    if num == 1:
        return torch.zeros(shape, dtype=torch.uint8, device=device)
    if num > 255 or num & (num - 1):
        small = torch.uint8 if num < 256 else torch.int32
        return torch.randint(0, num, shape, generator=generator, device=device, dtype=small)
    return random_words(shape, torch.uint8, generator, device) & (num - 1)


def random_words(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """Random bits as numbers of a type of 8, 16, 32 or 64: all 64 that a draw yields are used."""
    size = math.prod(shape) * dtype.itemsize
    words = torch.empty(-(-size // 8), dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[:size].view(dtype).view(shape)


class UnknownArgumentError(TypeError, ValueError):
    """An argument that does not exist: a `TypeError`, as Python's own, for libraries that try arguments out."""


def known_arguments(taker: str, given: Collection[str], known: Collection[str]) -> None:
    """Check the names of arguments; `taker` is what they are for.

    Raises:
        UnknownArgumentError: naming the first that is not known, the closest that is, and all of these.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        closest = "".join(f", closest to {name!r}" for name in difflib.get_close_matches(unknown[0], known, n=1))
        raise UnknownArgumentError(
            f"{taker} got an unexpected keyword argument {unknown[0]!r}{closest}; it takes {sorted(known)}"
        )


def whole(**numbers: Any) -> None:
    """Check arguments by name; True and False are no numbers.

    Raises:
        ValueError: naming the first that is not a whole number.
    """
    _are(Integral, "a whole number", numbers)


def true_or_false(**flags: Any) -> None:
    """Check arguments by name.

    Raises:
        ValueError: naming the first that is neither True nor False.
    """
    _are(bool, "True or False", flags)


def _are(kind: type, what: str, arguments: dict[str, Any]) -> None:
    for name, argument in arguments.items():
        if not isinstance(argument, kind) or (isinstance(argument, bool) and kind is not bool):
            raise ValueError(f"{name} must be {what}, got {argument!r}")


def at_least(minimum: int, **numbers: int) -> None:
    """Check arguments by name.

    Raises:
        ValueError: naming the first that is not a whole number, or below the minimum.
    """
    whole(**numbers)
    for name, number in numbers.items():
        if number < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {number}")
