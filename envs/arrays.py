"""Arrays: what lets one rule book play on torch tensors and on NumPy arrays.

The rules index, assign, add, multiply and compare, which both libraries spell alike; dimensions go by position, as in
`x.any(-1)`. What they spell differently is here. NumPy is what a Gymnasium user sees, and for a few dozen numbers an
operator of it costs a third of torch's; torch is for training on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Tree = TypeVar("Tree")


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Float32 zeros from the library of `like`, on its device."""
    if isinstance(like, Tensor):
        return torch.zeros(shape, device=like.device)
    return np.zeros(shape, np.float32)


def as_numpy(tree: Tree) -> Tree:
    """The same tuple, tuple of tuples, or tensor, with NumPy arrays that share the tensors' memory (on the CPU)."""
    arrays: Tree = _convert(tree, lambda leaf: leaf.numpy() if isinstance(leaf, Tensor) else leaf)
    return arrays


def as_torch(tree: Tree) -> Tree:
    """The reverse of `as_numpy`."""
    tensors: Tree = _convert(tree, lambda leaf: torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf)
    return tensors


def _convert(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(tree, tuple):
        parts = [_convert(part, leaf) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return leaf(tree)
