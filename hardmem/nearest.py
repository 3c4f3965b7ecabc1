"""Content addressing over a large memory: the k cells most similar to a key, exactly, without keeping the others.

All N cells are compared, block by block and without gradients; back-propagation sees the k cells found and keeps those
alone. For the cells found the numbers are those of `hardmem.addressing.content_weights`, normalised among them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.addressing import AddressDistribution
from hardmem.bank import Contents, Memory, blocks
from hardmem.memory import HardAddress, read

EPS = 1e-6  # the floor under norms, as in `content_weights`


def nearest_cells(memory: Memory, key: Tensor, k: int, block: int = 8192) -> Tensor:
    """The k cells of largest cosine similarity to each head's key, the most similar first: int64 (B, H, k).

    Every cell is compared, in O(N) time; besides the result O(block) is in use at once.

    Args:
        memory: cells (B, N, W), in a tensor or a bank.
        key: (B, H, W).
        k: how many, in 1 to N.
        block: cells compared at once.

    Raises:
        ValueError: if k is out of range or the key of another width.
    """
    batch_size, num_cells, cell_width = memory.shape
    if not 1 <= k <= num_cells:
        raise ValueError(f"k must be in 1 to N = {num_cells}, got {k}")
    if key.shape[0] != batch_size or key.shape[-1] != cell_width:
        raise ValueError(f"key must be (B, H, W) = ({batch_size}, H, {cell_width}), got {tuple(key.shape)}")
    with torch.no_grad():
        unit = F.normalize(key, dim=-1, eps=EPS)
        best: Tensor | None = None
        cells: Tensor | None = None
        for start, part in blocks(memory, block):
            norm = torch.linalg.vector_norm(part, dim=-1).clamp(min=EPS).unsqueeze(1)
            similarity = unit @ part.transpose(1, 2) / norm  # (B, H, block)
            value, place = similarity.topk(min(k, part.shape[1]), dim=-1)
            if best is None or cells is None:
                best, cells = value, place + start
                continue
            both, where = torch.cat([best, value], dim=-1), torch.cat([cells, place + start], dim=-1)
            best, order = both.topk(min(k, both.shape[-1]), dim=-1)
            cells = where.gather(-1, order)
    assert cells is not None
    return cells


def nearest_content(memory: Memory, key: Tensor, beta: Tensor, k: int, block: int = 8192) -> AddressDistribution:
    """Content addressing among the k most similar cells: Graves, Wayne & Danihelka 2014, eqs. 5-6, where S = k.

    With k = N the weights are those of `content_weights`; the cells left out would have had the smallest ones.

    Args:
        memory: cells (B, N, W), in a tensor or a bank.
        key: what each head looks for, (B, H, W).
        beta: key strength, (B, H), >= 0.
        k: candidates of each head.
        block: cells compared at once.

    Raises:
        ValueError: as `nearest_cells`.
    """
    candidates = nearest_cells(memory, key, k, block)
    where = HardAddress(candidates.flatten(1))
    rows = memory.read(where) if isinstance(memory, Contents) else read(memory, where)
    unit_rows = F.normalize(rows.unflatten(1, candidates.shape[1:]), dim=-1, eps=EPS)  # (B, H, k, W)
    similarity = (unit_rows @ F.normalize(key, dim=-1, eps=EPS).unsqueeze(-1)).squeeze(-1)
    return AddressDistribution(candidates, (beta.unsqueeze(-1) * similarity).log_softmax(dim=-1))
