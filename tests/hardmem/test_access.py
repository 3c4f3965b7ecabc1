"""Access: what each one makes of a distribution, and what it records of its choice."""

import pytest
import torch

from hardmem.access import ACCESS, AccessRecord, make_access
from hardmem.addressing import AddressDistribution, dense
from hardmem.memory import HardAddress, SoftAddress, as_weights, read


def head_distribution(B: int = 3, H: int = 2, N: int = 7, S: int = 3) -> AddressDistribution:
    """S of N cells for every head, no cell twice, with random weights that want gradients."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(B, H, N, generator=generator).argsort(dim=-1)[..., :S]
    logits = torch.randn(B, H, S, generator=generator, dtype=torch.float64).requires_grad_()
    return AddressDistribution(cells, logits.log_softmax(dim=-1))


@pytest.mark.parametrize("S", [1, 3, 7])
@pytest.mark.parametrize("name", ACCESS)
def test_address_lies_among_the_candidates(name, S):
    """Weights on candidates alone that sum to 1, or an index that is one of them; also where S = N, out of order."""
    distribution = head_distribution(S=S)
    address, _ = make_access(name)(distribution, 7, torch.Generator().manual_seed(0))
    weights = as_weights(address, 7, torch.float64)
    assert weights.shape == (3, 2, 7)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, dtype=torch.float64))
    on_candidates = weights.gather(-1, distribution.candidates)
    torch.testing.assert_close(on_candidates.sum(dim=-1), torch.ones(3, 2, dtype=torch.float64))
    if isinstance(address, SoftAddress):
        torch.testing.assert_close(on_candidates, distribution.log_weights.exp())
    else:
        assert address.index.dtype == torch.int64


@pytest.mark.parametrize("name", ACCESS)
def test_record_says_what_was_chosen(name):
    """Index, its log-probability under the distribution and the entropy, all (B, H); no record without a choice."""
    distribution = head_distribution()
    address, record = make_access(name)(distribution, 7, torch.Generator().manual_seed(0))
    if record is None:
        assert isinstance(address, SoftAddress)
        return
    assert isinstance(address, HardAddress)
    assert torch.equal(record.index, address.index)
    for b in range(3):
        for h in range(2):
            (choice,) = (distribution.candidates[b, h] == record.index[b, h]).nonzero().flatten().tolist()
            assert record.log_prob[b, h] == distribution.log_weights[b, h, choice]
            categorical = torch.distributions.Categorical(logits=distribution.log_weights[b, h])
            torch.testing.assert_close(record.entropy[b, h], categorical.entropy())
    torch.testing.assert_close(record.joint_log_prob, record.log_prob[:, 0] + record.log_prob[:, 1])


@pytest.mark.parametrize("name", ACCESS)
def test_gradient_reaches_the_distribution(name):
    """Through the weights where soft, through log-probability and entropy where a cell is chosen."""
    logits = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    address, record = make_access(name)(dense(logits.log_softmax(dim=-1)), 4, torch.Generator().manual_seed(0))
    if record is None:
        (address.weights * torch.arange(4.0)).sum().backward()
        assert logits.grad.abs().min() > 0
        return
    record.log_prob.sum().backward()
    expected = as_weights(address, 4) - logits.detach().softmax(dim=-1)  # the score function of a softmax
    torch.testing.assert_close(logits.grad, expected)
    assert record.entropy.requires_grad


@pytest.mark.parametrize("name", ACCESS)
def test_a_certain_distribution_is_accessed_alike_by_all(name):
    """One-hot: soft, drawn or likeliest, the same cell is read."""
    memory = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    log_weights = torch.tensor([[[0, 0, 1, 0], [1, 0, 0, 0]], [[0, 1, 0, 0], [0, 0, 0, 1.0]]]).log()
    address, _ = make_access(name)(dense(log_weights), 4, torch.Generator().manual_seed(0))
    expected = memory.gather(1, torch.tensor([[2, 0], [1, 3]]).unsqueeze(-1).expand(2, 2, 3))
    torch.testing.assert_close(read(memory, address), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(ACCESS) - {"sampled"}))
def test_batch_equals_batches_of_one(name):
    """Where nothing is drawn, a sequence is accessed the same alone."""
    distribution = head_distribution()
    together, _ = make_access(name)(distribution, 7, None)
    for b in range(3):
        one = AddressDistribution(distribution.candidates[b : b + 1], distribution.log_weights[b : b + 1])
        torch.testing.assert_close(together[0][b : b + 1], make_access(name)(one, 7, None)[0][0])


def test_sampled_cells_follow_their_weights():
    """Each candidate cell of each head as often as its weight says, within 5 standard deviations."""
    draws, distribution = 40_000, head_distribution(B=1)
    many = AddressDistribution(
        distribution.candidates.expand(draws, -1, -1), distribution.log_weights.expand(draws, -1, -1)
    )
    address, _ = ACCESS["sampled"](many, 7, torch.Generator().manual_seed(0))
    weights = ACCESS["soft"](distribution, 7, None)[0].weights[0]
    for head in range(2):
        counts = torch.bincount(address.index[:, head], minlength=7)
        for count, p in zip(counts.tolist(), weights[head].tolist(), strict=True):
            assert abs(count - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5


def test_argmax_takes_the_likeliest():
    """The cell number of the candidate with the greatest weight, not its place among the candidates."""
    distribution = AddressDistribution(torch.tensor([[[6, 2, 4]]]), torch.tensor([[[0.2, 0.3, 0.5]]]).log())
    assert ACCESS["argmax"](distribution, 7, None)[0].index.tolist() == [[4]]


def test_joint_log_prob_sums_over_heads():
    """Over the last dimension, whatever stands before it."""
    record = AccessRecord(torch.zeros(2, 3, 2), torch.arange(12.0).reshape(2, 3, 2), torch.zeros(2, 3, 2))
    assert record.joint_log_prob.tolist() == [[1, 5, 9], [13, 17, 21]]


def test_unknown_access_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown access 'hard'; choose one of \['argmax'.*'sampled', 'soft'"):
        make_access("hard")
