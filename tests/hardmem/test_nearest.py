"""The nearest cells: exactly those a full comparison finds, in any blocks, and no memory kept for the rest."""

import pytest
import torch

from hardmem.addressing import content_weights
from hardmem.bank import Bank
from hardmem.models import NTM
from hardmem.nearest import nearest_cells, nearest_content

F64 = torch.float64


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 10, 100])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_blocks_do_not_matter(k, block):
    """Against sorting all similarities; a cell of zeros is as far as one at a right angle."""
    memory, key = rand(2, 10, 4), rand(2, 3, 4, seed=1)
    memory[:, 4] = 0
    expected = torch.nn.functional.cosine_similarity(key.unsqueeze(2), memory.unsqueeze(1), dim=-1).sort(
        descending=True
    )
    assert torch.equal(nearest_cells(memory, key, k, block), expected.indices[..., :k])


def test_with_all_cells_it_is_content_addressing():
    """The weights, by cell, and every gradient."""
    parts = [rand(2, 6, 4).requires_grad_(), rand(2, 3, 4, seed=1).requires_grad_(), rand(2, 3, seed=2).exp()]
    parts[2].requires_grad_()
    memory, key, beta = parts
    distribution = nearest_content(memory, key, beta, k=6, block=4)
    weights = torch.zeros(2, 3, 6, dtype=F64).scatter(-1, distribution.candidates, distribution.log_weights.exp())
    expected = content_weights(memory, key, beta)
    torch.testing.assert_close(weights, expected)
    weight = rand(2, 3, 6, seed=3)
    slopes, others = (torch.autograd.grad((part * weight).sum(), parts) for part in (weights, expected))
    torch.testing.assert_close(slopes, others)


def test_gradcheck():
    """Through the cells found, the key and its strength."""
    parts = [rand(1, 6, 3).requires_grad_(), rand(1, 2, 3, seed=1).requires_grad_(), torch.rand(1, 2, dtype=F64) + 1]
    parts[2].requires_grad_()
    assert torch.autograd.gradcheck(lambda m, q, b: nearest_content(m, q, b, k=2, block=4).log_weights, parts)


def test_on_a_bank():
    """The same candidates, weights and gradients as in a tensor."""
    cells, key, beta = (
        rand(2, 9, 4).requires_grad_(),
        rand(2, 3, 4, seed=1).requires_grad_(),
        torch.ones(2, 3, dtype=F64),
    )
    bank, results = Bank(2, 9, 4, dtype=F64), []
    for memory in (cells, bank.begin(cells)):
        distribution = nearest_content(memory, key, beta, k=3, block=4)
        loss = (distribution.log_weights * rand(2, 3, 3, seed=5)).sum()
        results.append((distribution.candidates, distribution.log_weights, *torch.autograd.grad(loss, [cells, key])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_kept_memory_does_not_grow_with_the_cells():
    """A hard machine that addresses by content on a bank: bytes kept of a sequence."""
    kept = []
    for num_cells in (16, 2048):
        ntm, total = NTM(2, 1, num_cells=num_cells, addressing="nearest-content", access="sampled"), 0

        def pack(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        bank = ntm.bank(2)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs, _, record = ntm.trace(torch.randn(4, 2, 2), ntm.initial_state(2, bank=bank))
        (outputs.sum() + record.log_prob.sum()).backward()
        kept.append(total)
    assert kept[0] == kept[1]


def test_what_does_not_fit_is_refused():
    """The message names what was expected and what came."""
    with pytest.raises(ValueError, match="k must be in 1 to N = 5, got 6"):
        nearest_cells(rand(1, 5, 2), rand(1, 1, 2), 6)
    with pytest.raises(ValueError, match=r"key must be \(B, H, W\) = \(1, H, 2\), got \(1, 1, 3\)"):
        nearest_cells(rand(1, 5, 2), rand(1, 1, 3), 1)
