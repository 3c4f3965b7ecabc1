"""The soft step of the Neural Turing Machine as one operation with a backward pass of its own.

Addressing by content and location, writing and reading are some sixty small operations; autograd would keep a dozen
arrays of the size of the memory for them. Here one is kept, the memory itself, and the gradient with respect to it is
gathered in place. The numbers are those of `hardmem.addressing` and `hardmem.memory`, which remain the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.precision import as_given

EPS = 1e-6  # the floor under norms, as in `content_weights`
NUM_SAVED = 15
SECOND = (
    "the fused NTM has no second derivatives: call backward without create_graph, or set fused = False on the model"
)


class Layout(NamedTuple):
    """What does not change from step to step.

    Attributes:
        reading, writing: the heads that do, by number.
        offsets: the shifts allowed.
    """

    reading: tuple[int, ...]
    writing: tuple[int, ...]
    offsets: tuple[int, ...]


def move_write_read(
    memory: Tensor, previous: Tensor, raw: Tensor, raw_write: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """Address, write, read: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, eqs. 2-9.

    Args:
        memory: cell contents, (B, N, W).
        previous: where the heads were, weights (B, H, N).
        raw: what the controller says to the heads, (B, H, W + 3 + S), in the order of `ContentLocation`.
        raw_write: what it says to those that write, (B, H', 2, W): erase before its sigmoid, and add.
        layout: which heads read and write, and the S shifts.

    Returns:
        The memory after the write, (B, N, W); the weights, (B, H, N); what was read there, (B, R, W).
    """
    said = raw.to(memory.dtype), raw_write.to(memory.dtype)  # under autocast they may come in less precision
    with as_given(memory.device):
        result: tuple[Tensor, Tensor, Tensor] = _MoveWriteRead.apply(  # type: ignore[no-untyped-call]
            memory, previous, *said, layout
        )
    return result


def _activate(raw: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Key (B, H, W), strength, gate (B, H, 1), shift (B, H, S) and sharpening (B, H, 1)."""
    key, beta, gate, shift, sharpening = raw.split([width, 1, 1, raw.shape[-1] - width - 3, 1], dim=-1)
    return key.tanh(), F.softplus(beta), gate.sigmoid(), shift.softmax(dim=-1), 1 + F.softplus(sharpening)


def _shift(weights: Tensor, shift: Tensor, offsets: Sequence[int]) -> Tensor:
    """Eq. 8."""
    first, *others = shift.split(1, dim=-1)
    total: Tensor = first * _roll(weights, offsets[0])
    for share, offset in zip(others, offsets[1:], strict=True):
        total = torch.addcmul(total, share, _roll(weights, offset))
    return total


def _roll(weights: Tensor, offset: int) -> Tensor:
    return torch.roll(weights, offset, dims=-1) if offset else weights


def _heads(weights: Tensor, heads: tuple[int, ...]) -> Tensor:
    first, last = heads[0], heads[-1]
    if heads == tuple(range(first, last + 1)):
        return weights[:, first : last + 1]
    return torch.stack([weights[:, head] for head in heads], dim=1)


class _MoveWriteRead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, memory: Tensor, previous: Tensor, raw: Tensor, raw_write: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor, Tensor]:
        results, saved = forward_step(memory, previous, raw, raw_write, layout)
        ctx.save_for_backward(*saved)
        ctx.layout = layout
        return results

    @staticmethod
    def backward(
        ctx: Any, grad_new: Tensor, grad_weights: Tensor, grad_read: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(SECOND)
        with as_given(
            grad_new.device
        ):  # the gradient of the memory is cloned: what autograd hands in belongs to others
            return (*backward_step(grad_new.clone(), grad_weights, grad_read, ctx.saved_tensors, ctx.layout), None)


def forward_step(
    memory: Tensor, previous: Tensor, raw: Tensor, raw_write: Tensor, layout: Layout
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """`move_write_read` without autograd: what it gives, and the `NUM_SAVED` tensors that `backward_step` needs."""
    key, beta, gate, shift, sharpening = _activate(raw, memory.shape[2])
    inverse = 1 / torch.linalg.vector_norm(memory, dim=-1).clamp(min=EPS).unsqueeze(1)  # (B, 1, N)
    unit = key / torch.linalg.vector_norm(key, dim=-1, keepdim=True).clamp(min=EPS)
    similarity = torch.bmm(unit, memory.transpose(1, 2)) * inverse  # (B, H, N), eq. 6
    content = (beta * similarity).softmax(dim=-1)  # eq. 5
    shifted = _shift(torch.lerp(previous, content, gate), shift, layout.offsets)  # eqs. 7, 8
    tiny = torch.finfo(shifted.dtype).tiny
    weights = (sharpening * shifted.clamp(min=tiny).log()).softmax(dim=-1) * shifted.sign()  # eq. 9; 0 stays 0

    erase, add = raw_write[:, :, 0].sigmoid(), raw_write[:, :, 1]
    writers = [(weights[:, head].unsqueeze(2), slot) for slot, head in enumerate(layout.writing)]
    new = memory
    for where, slot in writers:
        new = torch.addcmul(new, new, where * erase[:, slot : slot + 1], value=-1)  # eq. 3
    for where, slot in writers:
        new.addcmul_(where, add[:, slot : slot + 1])  # eq. 4
    read = torch.bmm(_heads(weights, layout.reading), new)  # eq. 2
    saved = (memory, previous, inverse, similarity, content, shifted, weights, new)
    return (new, weights, read), (*saved, key, beta, gate, shift, sharpening, erase, add)


def backward_step(
    grad: Tensor, grad_weights: Tensor | None, grad_read: Tensor, saved: Sequence[Tensor], layout: Layout
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From the gradients of what `move_write_read` gives to those of what it takes.

    That of the memory, `grad`, is changed in place and given back; the others are left as they are.
    """
    memory, previous, inverse, similarity, content, shifted, weights, new, *numbers = saved
    key, beta, gate, shift, sharpening, erase, add = numbers

    # Eq. 2, then eqs. 4 and 3.
    for slot, head in enumerate(layout.reading):
        grad.addcmul_(weights[:, head].unsqueeze(2), grad_read[:, slot : slot + 1])
    of_reads = torch.bmm(grad_read, new.transpose(1, 2))  # (B, R, N)
    of_writes = torch.bmm(add, grad.transpose(1, 2))  # (B, H', N)
    of_add = torch.bmm(_heads(weights, layout.writing), grad)
    writers = [(weights[:, head].unsqueeze(2), erase[:, s : s + 1], s) for s, head in enumerate(layout.writing)]
    of_erase = []
    before = grad * memory
    for where, row, slot in writers:
        slope = before
        for elsewhere, other, other_slot in writers:  # what this head erases, the others have left
            if other_slot != slot:
                slope = torch.addcmul(slope, slope, elsewhere * other, value=-1)
        of_writes[:, slot : slot + 1].baddbmm_(row, slope.transpose(1, 2), alpha=-1)
        of_erase.append(torch.bmm(where.transpose(1, 2), slope))
    for where, row, _ in writers:
        grad.addcmul_(grad, torch.mul(where, row, out=before), value=-1)

    of_weights = torch.zeros_like(weights) if grad_weights is None else grad_weights.clone()
    for slot, head in enumerate(layout.reading):
        of_weights[:, head].add_(of_reads[:, slot])
    for slot, head in enumerate(layout.writing):
        of_weights[:, head].add_(of_writes[:, slot])

    tiny = torch.finfo(shifted.dtype).tiny
    floored = shifted.clamp(min=tiny)
    of_powers = weights * (of_weights - (of_weights * weights).sum(dim=-1, keepdim=True))
    of_sharpening = (of_powers * floored.log()).sum(dim=-1, keepdim=True)
    of_shifted = of_powers * sharpening / floored  # eq. 9
    gated = torch.lerp(previous, content, gate)
    of_shift = torch.cat(
        [(of_shifted * _roll(gated, offset)).sum(dim=-1, keepdim=True) for offset in layout.offsets], dim=-1
    )
    of_gated = _shift(of_shifted, shift, [-offset for offset in layout.offsets])  # eq. 8
    of_gate = (of_gated * (content - previous)).sum(dim=-1, keepdim=True)
    of_content = of_gated * gate
    of_previous = of_gated - of_content  # eq. 7
    of_scores = content * (of_content - (of_content * content).sum(dim=-1, keepdim=True))
    of_beta = (of_scores * similarity).sum(dim=-1, keepdim=True)
    of_similarity = of_scores * beta  # eq. 5

    norm = torch.linalg.vector_norm(key, dim=-1, keepdim=True)
    scale = 1 / norm.clamp(min=EPS)
    unit = key * scale
    of_products = of_similarity * inverse
    of_unit = torch.bmm(of_products, memory)
    along = (of_unit * unit).sum(dim=-1, keepdim=True) * (norm > EPS)
    of_key = (of_unit - unit * along) * scale
    grad.baddbmm_(of_products.transpose(1, 2), unit)
    pull = (of_similarity * similarity).sum(dim=1, keepdim=True) * inverse.square() * (inverse < 1 / EPS)
    grad.addcmul_(memory, pull.transpose(1, 2), value=-1)  # eq. 6

    of_raw = torch.cat(
        [
            of_key * (1 - key * key),
            of_beta * (1 - torch.exp(-beta)),  # softplus has the sigmoid for a derivative: 1 - exp(-softplus)
            of_gate * gate * (1 - gate),
            shift * (of_shift - (of_shift * shift).sum(dim=-1, keepdim=True)),
            of_sharpening * (1 - torch.exp(1 - sharpening)),
        ],
        dim=-1,
    )
    of_raw_write = torch.stack([torch.cat(of_erase, dim=1) * erase * (erase - 1), of_add], dim=2)
    return grad, of_previous, of_raw, of_raw_write
