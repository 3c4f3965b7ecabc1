"""Memory: N cells of width W per batch entry, read and written through an address, soft or hard.

Soft access touches every cell a little (the Neural Turing Machine's); hard access touches one. A soft address whose
weights are one-hot does exactly what the hard address of that cell does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SoftAddress(NamedTuple):
    """Weights over all cells, (B, H, N), non-negative and summing to 1 over N."""

    weights: Tensor


class HardAddress(NamedTuple):
    """One cell per head, `index` (B, H), int64 in [0, N)."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, a name nobody needs here


Address = SoftAddress | HardAddress


def as_weights(address: Address, num_cells: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Any address as weights (B, H, N): a hard one becomes one-hot."""
    if isinstance(address, SoftAddress):
        return address.weights
    cells = torch.arange(num_cells, device=address.index.device)
    return (address.index.unsqueeze(-1) == cells).to(dtype)  # F.one_hot would read the largest index on the host


def select_heads(address: Address, heads: list[int]) -> Address:
    """The address of some of the heads, in the order given."""
    first, last = heads[0], heads[-1]
    if heads == list(range(first, last + 1)):
        chosen = address[0][:, first : last + 1]
    else:  # stacked, since a list as an index would be copied to the device at every step
        chosen = torch.stack([address[0][:, head] for head in heads], dim=1)
    return SoftAddress(chosen) if isinstance(address, SoftAddress) else HardAddress(chosen)


def read(memory: Tensor, address: Address) -> Tensor:
    """Read with every head: a weighted average of cells, or one cell.

    Graves, Wayne & Danihelka 2014, eq. 2.

    Args:
        memory: cell contents, (B, N, W), of any dtype where the address is hard.
        address: where each of H heads looks.

    Returns:
        Read vectors, (B, H, W).
    """
    _check_batch(memory, address)
    if isinstance(address, SoftAddress):
        return address.weights @ memory  # eq. 2
    rows = address.index.unsqueeze(-1).expand(-1, -1, memory.shape[2])
    return memory.gather(1, rows)


def write(memory: Tensor, address: Address, erase: Tensor, add: Tensor, *, inplace: bool = False) -> Tensor:
    """Write with every head: all heads erase, then all heads add.

    Graves, Wayne & Danihelka 2014, eqs. 3-4.

    Args:
        memory: cell contents, (B, N, W).
        address: where each of H heads writes.
        erase: what is removed, (B, H, W), in [0, 1]. At 0 nothing is, at 1 the addressed cell is cleared.
        add: what is put in, (B, H, W).
        inplace: with a hard address, change the addressed rows of `memory` itself, at a cost that does not grow with
            N. Only where nothing is to be back-propagated through the old contents.

    Returns:
        The new contents, (B, N, W).

    Raises:
        ValueError: if erase or add is not (B, H, W).
    """
    check_write(memory, address, erase, add)
    expected = add.shape
    if isinstance(address, SoftAddress):
        if expected[1] == 1:
            where = address.weights.transpose(1, 2)  # (B, N, 1)
            return memory * (1 - where * erase) + where * add  # eqs. 3-4
        weights = address.weights.unsqueeze(-1)  # (B, H, N, 1)
        keep = (1 - weights * erase.unsqueeze(2)).prod(dim=1)  # (B, N, W), eq. 3
        return memory * keep + address.weights.transpose(1, 2) @ add  # eq. 4
    rows = address.index.unsqueeze(-1).expand(expected)
    if expected[1] == 1:
        new = memory.gather(1, rows) * (1 - erase) + add  # eqs. 3-4
        return memory.scatter_(1, rows, new) if inplace else memory.scatter(1, rows, new)
    for head in range(expected[1]):  # one after the other, so that two heads in the same cell both erase
        row = rows[:, head : head + 1]
        kept = memory.gather(1, row) * (1 - erase[:, head : head + 1])
        memory = memory.scatter_(1, row, kept) if inplace else memory.scatter(1, row, kept)
    return memory.scatter_add_(1, rows, add) if inplace else memory.scatter_add(1, rows, add)


def check_write(memory: Tensor, address: Address, erase: Tensor, add: Tensor) -> None:
    """Whether the shapes of a write fit together.

    Raises:
        ValueError: naming what was expected and what came.
    """
    _check_batch(memory, address)
    expected = (memory.shape[0], address[0].shape[1], memory.shape[2])
    if erase.shape != expected or add.shape != expected:
        raise ValueError(
            f"erase and add must be (B, H, W) = {expected}: erase is {tuple(erase.shape)}, add is {tuple(add.shape)}"
        )


def _check_batch(memory: Tensor, address: Address) -> None:
    soft = isinstance(address, SoftAddress)
    if (
        memory.dim() != 3
        or address[0].dim() != 2 + soft
        or address[0].shape[0] != memory.shape[0]
        or (soft and address[0].shape[2] != memory.shape[1])
    ):
        layout = "(B, H, N)" if soft else "(B, H)"
        raise ValueError(
            f"memory must be (B, N, W) and the address {layout}: memory is {tuple(memory.shape)}, "
            f"the address is {tuple(address[0].shape)}"
        )
