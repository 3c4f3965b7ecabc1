"""Encodings: symbols as the vectors a network reads and writes."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(symbols: Tensor, num_symbols: int) -> Tensor:
    """Symbols (...) in 0 to num_symbols -> float32 one-hot rows (..., num_symbols + 1); entry 0 is the blank."""
    return torch.eye(num_symbols + 1, device=symbols.device)[symbols]


def num_bits(num_symbols: int) -> int:
    """Bits that number `num_symbols` symbols: 1 for 2, 8 for 256."""
    return max(1, (num_symbols - 1).bit_length())


def symbols_to_bits(symbols: Tensor, num_symbols: int) -> Tensor:
    """Symbols (...) -> their bits (..., num_bits), least significant first: symbol s shows the bits of s - 1.

    What is not one of the symbols, the blank 0 and markers above num_symbols, shows all zeros, as symbol 1 does.
    """
    shifts = torch.arange(num_bits(num_symbols), device=symbols.device)
    is_symbol = (symbols > 0) & (symbols <= num_symbols)
    return (((symbols - 1) * is_symbol).unsqueeze(-1) >> shifts & 1).float()


def bit_inputs(symbols: Tensor, num_symbols: int, num_markers: int = 1) -> Tensor:
    """What a sequence model is shown: symbols (...) -> (..., num_bits + 1 + num_markers): signs, and flags.

    The flags are 1 for the blank and for each marker, the symbols above num_symbols; the last stands for any beyond it.

    Signs put every symbol at the same distance from what is no symbol, whose bits are zeros. With bits as 0 and 1, some
    symbol near zero is the last to be told from it.
    """
    is_symbol = ((symbols > 0) & (symbols <= num_symbols)).unsqueeze(-1)
    signs = (2 * symbols_to_bits(symbols, num_symbols) - 1) * is_symbol
    markers = [symbols == num_symbols + number for number in range(1, num_markers)]
    markers += [symbols >= num_symbols + num_markers] * (num_markers > 0)
    flags = torch.stack([symbols == 0, *markers], dim=-1)
    return torch.cat([signs, flags.float()], dim=-1)
