"""Arrays: what lets one rule book play on torch tensors and on NumPy arrays.

The rules index, assign, add, multiply and compare, which both libraries spell alike; dimensions go by position, as in
`x.any(-1)`. What they spell differently is here. NumPy is what a Gymnasium user sees, and for a few dozen numbers an
operator of it costs a third of torch's; torch is for training on a device. It is arrays that are asked after: to ask
whether something is a tensor takes twice as long.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Tree = TypeVar("Tree")
Part = TypeVar("Part")


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Float32 zeros from the library of `like`, on its device."""
    if isinstance(like, np.ndarray):
        return np.zeros(shape, np.float32)
    return torch.zeros(shape, device=like.device)


def count(number: int, like: Any) -> Any:
    """0 to number - 1, from the library of `like`, on its device."""
    return np.arange(number) if isinstance(like, np.ndarray) else torch.arange(number, device=like.device)


def take(rows: Any, index: Any) -> Any:
    """Rows by number: rows (R, ...), index (...) -> (..., ...). NumPy's own spelling of `rows[index]` is far slower."""
    return rows.take(index, 0) if isinstance(rows, np.ndarray) else rows[index]


def positive(numbers: Any) -> Any:
    """The numbers that are, and 0 for all others."""
    return np.maximum(numbers, 0) if isinstance(numbers, np.ndarray) else numbers.clamp(min=0)


def least(numbers: Any, others: Any) -> Any:
    """The lesser of two numbers, pair by pair."""
    return (np if isinstance(numbers, np.ndarray) else torch).minimum(numbers, others)


def int32(numbers: Any) -> Any:
    """The same numbers, as codes are kept."""
    return numbers.astype(np.int32, copy=False) if isinstance(numbers, np.ndarray) else numbers.int()


def float32(flags: Any) -> Any:
    """Flags as the numbers 1 and 0."""
    return flags.astype(np.float32) if isinstance(flags, np.ndarray) else flags.float()


def choose(flag: Any, then: Any, otherwise: Any) -> Any:
    """`then` where the flag is 1, `otherwise` where it is 0. On random flags NumPy adds faster than it branches."""
    if isinstance(flag, np.ndarray):
        return otherwise + (then - otherwise) * flag.astype(otherwise.dtype, copy=False)
    return torch.where(flag > 0, then, otherwise)


def where(condition: Any, then: Any, otherwise: Any) -> Any:
    """One or the other, number by number."""
    return (np if isinstance(condition, np.ndarray) else torch).where(condition, then, otherwise)


def beside(parts: Sequence[Any]) -> Any:
    """Matrices (B, ...) joined side by side; one alone is returned itself."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts, 1) if isinstance(parts[0], np.ndarray) else torch.cat(list(parts), 1)


def pair(one: Any, other: Any) -> Any:
    """Two vectors (B,) as the columns of a matrix (B, 2)."""
    return (np if isinstance(one, np.ndarray) else torch).stack([one, other], 1)


def numbers_beside(column: Any, matrix: Any) -> Any:
    """A column (B,) and a matrix (B, H) of whole numbers, side by side. In NumPy as numbers that rows are taken by."""
    if not isinstance(column, np.ndarray):
        return torch.cat([column[:, None], matrix], 1)
    numbers = np.empty((len(column), 1 + matrix.shape[1]), np.intp)
    numbers[:, 0], numbers[:, 1:] = column, matrix
    return numbers


def as_numpy(tree: Tree) -> Tree:
    """The same tuple, tuple of tuples, or tensor, with NumPy arrays that share the tensors' memory (on the CPU)."""
    arrays: Tree = _convert(tree, lambda leaf: leaf.numpy() if isinstance(leaf, Tensor) else leaf)
    return arrays


def as_torch(tree: Tree) -> Tree:
    """The reverse of `as_numpy`."""
    tensors: Tree = _convert(tree, lambda leaf: torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf)
    return tensors


def numpy_twin(part: Part) -> Part:
    """A copy of an object of the rules whose tensors are NumPy arrays, in the parts that it is made of as well."""
    twin = copy.copy(part)
    for name, value in vars(part).items():
        is_part = type(value).__module__.startswith("hardmem.envs.")
        setattr(twin, name, numpy_twin(value) if is_part and not isinstance(value, tuple) else as_numpy(value))
    return twin


def _convert(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(tree, tuple):
        parts = [_convert(part, leaf) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return leaf(tree)
