"""Small operations on the CPU, in NumPy.

What a few heads do in a step are operations on a few hundred numbers: each costs what calling it costs, which in NumPy
is a third of what it is in torch. The arrays are views of the tensors, so nothing is copied, and the draws are those of
the same generator. Nothing here is differentiated through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MOST = 2**15
"""Numbers up to which NumPy does it: of more, torch gives each thread so many."""

FLOATS = (torch.float32, torch.float64)


def on_host(tensor: Tensor, size: int) -> bool:
    """Whether to do in NumPy what touches so many numbers of such a tensor. Not where a dispatch mode is watching."""
    watched = torch._C._len_torch_dispatch_stack() > 0
    return (
        not watched
        and type(tensor) is Tensor
        and tensor.device.type == "cpu"
        and tensor.dtype in FLOATS
        and size <= MOST
    )


def sigmoid(numbers: np.ndarray) -> np.ndarray:
    """Of any number, without overflow."""
    half = np.tanh(0.5 * numbers)
    half *= 0.5
    half += 0.5
    return half


class Moves:
    """`hardmem.addressing.head_moves` and `pick` from hard addresses, where no two moves but the last, home, can meet.

    Args:
        offsets: of the moves, less home.
        home: whether there is a last one, to cell 0.
        num_cells: N.
        heads: how many, K.
    """

    def __init__(self, offsets: Sequence[int], home: bool, num_cells: int, heads: int) -> None:
        self.offsets, self.num_cells = np.array(offsets, dtype=np.int64)[:, None], num_cells
        self.cells = np.zeros((len(offsets) + home, heads), dtype=np.int64)  # that of home stays 0
        self.heads, self.home = np.arange(heads), home

    @np.errstate(invalid="ignore")  # numbers of a controller that has exploded, as in torch
    def __call__(self, raw: np.ndarray, at: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The place and the cell of the move that is taken, (K,), int64 each.

        Args:
            raw: for each head a score of every move, and the sharpening before its softplus, (K, M + 1).
            at: where the heads are, (K,).
            uniform: numbers in [0, 1), (K,), to draw by; None to take the likeliest.
        """
        cells, scores = self.cells, raw[:, :-1].T
        others = cells[:-1] if self.home else cells
        np.add(self.offsets, at, out=others)
        others %= self.num_cells
        if self.home:  # a move that leads to cell 0 is the same candidate: the former takes both shares
            scores, meets = scores.copy(), others == 0
            np.logaddexp(scores[:-1], scores[-1], out=scores[:-1], where=meets)
            scores[-1, np.logical_or.reduce(meets)] = -np.inf
        scores = scores * (1 + np.logaddexp(0, raw[:, -1]))  # eq. 9; a power of what need not sum to 1
        if uniform is None:
            choice = scores.argmax(axis=0)
        else:
            scores -= np.maximum.reduce(scores)
            cdf = np.add.accumulate(np.exp(scores, out=scores))
            choice = np.add.reduce(uniform * cdf[-1] >= cdf, dtype=np.int64)
        return choice, cells[choice, self.heads]
