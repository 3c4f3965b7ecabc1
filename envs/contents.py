"""Contents: what is shown and what cells hold, one symbol per channel, as a single number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.envs.arrays import count, positive, take, zeros

LARGEST_TABLE = 2**20
"""Numbers in a table of all contents as an observation shows them; larger ones are not kept, but worked out."""


class Contents:
    """Contents as numbers, their codes: the symbols of all channels are its digits, the last counting fastest.

    A step then moves one number about, however many channels there are. 0 is blank in every channel. What is said of
    tensors goes for arrays too, in the NumPy twin: see `hardmem.envs.arrays`.

    Args:
        sizes: the symbols of each channel, its blank included.
        device: where the tables live.
        dtype: of whole numbers, in which codes are kept.

    Raises:
        ValueError: if there are more codes than that can tell apart.
    """

    def __init__(
        self, sizes: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.int64
    ) -> None:
        self.sizes = tuple(sizes)
        self.num_codes = math.prod(sizes)
        if self.num_codes > torch.iinfo(dtype).max:
            raise ValueError(
                f"what is shown at once must be one of fewer than 2 ** {torch.iinfo(dtype).bits - 1} things, got "
                f"{' * '.join(map(str, self.sizes))}: the symbols of each channel, its blank included"
            )
        self.width = sum(sizes)
        self.strides = tuple(math.prod(sizes[channel + 1 :]) for channel in range(len(sizes)))
        self._strides, self._sizes = torch.tensor([self.strides, self.sizes], device=device)  # (C,) each
        self._starts = torch.tensor(self.sizes, device=device).cumsum(0) - self._sizes  # (C,)
        self._table: Tensor | None = None  # (num_codes, width)
        if self.num_codes * self.width <= LARGEST_TABLE:
            symbols = self.decode(torch.arange(self.num_codes, device=device)).unbind(1)
            one_hot = [torch.eye(size, device=device) for size in self.sizes]
            self._table = torch.cat([rows[symbol] for rows, symbol in zip(one_hot, symbols, strict=True)], dim=1)

    def encode(self, symbols: Tensor) -> Tensor:
        """Symbols (..., C) -> codes (...)."""
        code = symbols[..., 0]
        for channel in range(1, len(self.sizes)):
            code = code * self.sizes[channel] + symbols[..., channel]
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Codes (...) -> symbols (..., C)."""
        symbols: Tensor = code[..., None] // self._strides % self._sizes
        return symbols

    def symbol(self, code: Tensor, channel: int) -> Tensor:
        """The symbol of one channel: codes (...) -> (...)."""
        if channel:
            whole = code if self.strides[channel] == 1 else code // self.strides[channel]
            return whole - whole // self.sizes[channel] * self.sizes[channel]  # a third of the time of a remainder
        return code if self.strides[0] == 1 else code // self.strides[0]

    def one_hot(self, code: Tensor) -> Tensor:
        """Each symbol one-hot, channel after channel, float32: codes (B, K) -> (B, K * width)."""
        num_rows, num_columns = code.shape[0], code.shape[1] * self.width
        if self._table is not None:
            rows: Tensor = take(self._table, code)
            return rows.reshape(num_rows, num_columns)
        hot: Tensor = zeros((num_rows * num_columns,), like=code)
        first = count(num_rows * code.shape[1], like=code)[:, None] * self.width
        hot[first + self._starts + self.decode(code).reshape(-1, len(self.sizes))] = 1.0
        return hot.reshape(num_rows, num_columns)


class Memory(NamedTuple):
    """The cells of B episodes, emptied at the cost of a number: what was written before an episode's era is void.

    Attributes:
        cells: what was last written to each cell, as its code plus the era then, (N, B). Cells of one number lie
            together: heads of different episodes are often at cells of like numbers, and nearby memory is fast.
        era: of each episode, (B,). The next one is `num_codes` later, until `renewed` starts again from 0.
    """

    cells: Tensor
    era: Tensor

    def codes(self) -> Tensor:
        """What all cells hold, (B, N); 0 is empty."""
        codes: Tensor = positive(self.cells - self.era).T
        return codes

    def renewed(self) -> Memory:
        """The same, with all eras 0: what is due before one is too large for an int32."""
        return Memory(cells=positive(self.cells - self.era), era=self.era * 0)
