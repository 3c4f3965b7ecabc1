"""Access: what each one makes of a distribution, and what it records of its choice."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from hardmem.access import (
    ACCESS,
    DRAWN,
    HARD,
    AccessRecord,
    gumbel,
    make_access,
    reinmax_weights,
    straight_through_weights,
    top_k,
)
from hardmem.addressing import AddressDistribution, dense
from hardmem.estimators import ESTIMATORS
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
    assert isinstance(address, HardAddress if name in HARD else SoftAddress)
    if name == "soft":
        torch.testing.assert_close(on_candidates, distribution.log_weights.exp())
    if name in HARD:
        assert address.index.dtype == torch.int64


@pytest.mark.parametrize("name", ACCESS)
def test_record_says_what_was_chosen(name):
    """Index, its log-probability under the distribution and the entropy, all (B, H); no record without a choice."""
    distribution = head_distribution()
    address, record = make_access(name)(distribution, 7, torch.Generator().manual_seed(0))
    assert (record is None) == (name not in HARD)
    if record is None:
        return
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


@pytest.mark.parametrize("name", sorted(set(ACCESS) - DRAWN))
def test_batch_equals_batches_of_one(name):
    """Where nothing is drawn, a sequence is accessed the same alone."""
    distribution = head_distribution()
    together, _ = make_access(name)(distribution, 7, None)
    for b in range(3):
        one = AddressDistribution(distribution.candidates[b : b + 1], distribution.log_weights[b : b + 1])
        torch.testing.assert_close(together[0][b : b + 1], make_access(name)(one, 7, None)[0][0])


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_drawn_cells_follow_their_weights(name):
    """Each candidate cell of each head heaviest as often as its weight says, within 5 standard deviations."""
    draws, distribution = 40_000, head_distribution(B=1)
    many = AddressDistribution(
        distribution.candidates.expand(draws, -1, -1), distribution.log_weights.expand(draws, -1, -1)
    )
    address, _ = ACCESS[name](many, 7, torch.Generator().manual_seed(0))
    heaviest = as_weights(address, 7, torch.float64).argmax(dim=-1)
    weights = ACCESS["soft"](distribution, 7, None)[0].weights[0]
    for head in range(2):
        counts = torch.bincount(heaviest[:, head], minlength=7)
        for count, p in zip(counts.tolist(), weights[head].tolist(), strict=True):
            assert abs(count - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5


def test_argmax_takes_the_likeliest():
    """The cell number of the candidate with the greatest weight, not its place among the candidates."""
    distribution = AddressDistribution(torch.tensor([[[6, 2, 4]]]), torch.tensor([[[0.2, 0.3, 0.5]]]).log())
    assert ACCESS["argmax"](distribution, 7, None)[0].index.tolist() == [[4]]


# --- the relaxations: their expected gradient by the logits, every draw enumerated, against the exact one ---

Cost = Callable[[Tensor], Tensor]
"""From weights over the candidates, (..., S), to a cost, (...)."""

LOGITS = torch.tensor([0.3, -1.1, 0.8, 0.1], dtype=torch.float64)


def polynomial(degree: int) -> Cost:
    """A cost of that degree in the weights, with random coefficients on all monomials below it."""
    generator = torch.Generator().manual_seed(5)
    shapes = [torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(degree)]

    def cost(weights: Tensor) -> Tensor:
        terms = [(weights @ shape).pow(power + 1).sum(dim=-1) for power, shape in enumerate(shapes)]
        return torch.stack(terms).sum(dim=0)

    return cost


def exact_gradient(cost: Cost, logits: Tensor) -> Tensor:
    """Of the expected cost over one-hot draws."""
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(leaf.softmax(dim=0) @ cost(torch.eye(4, dtype=torch.float64)), leaf)[0]


def expected_gradient(relaxation: Callable[[Tensor, Tensor], Tensor], cost: Cost, logits: Tensor) -> Tensor:
    """All draws side by side, each with its probability."""
    leaf = logits.clone().requires_grad_()
    weights = relaxation(leaf.log_softmax(dim=0).expand(4, 4), torch.arange(4))
    return torch.autograd.grad(logits.softmax(dim=0) @ cost(weights), leaf)[0]


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(
    ("relaxation", "order"), [(straight_through_weights, 1), (reinmax_weights, 2)], ids=["straight-through", "reinmax"]
)
def test_a_relaxation_is_exact_up_to_its_order_and_not_beyond(relaxation, order, sharpness):
    """Straight-through for linear costs, ReinMax for quadratic ones too; one degree more, and both are biased."""
    logits = sharpness * LOGITS
    for degree in (1, 2, 3):
        cost = polynomial(degree)
        error = (expected_gradient(relaxation, cost, logits) - exact_gradient(cost, logits)).abs().max()
        assert error < 1e-12 if degree <= order else error > 1e-3, degree


def test_straight_through_and_reinmax_by_hand():
    """Two cells, p = (3/4, 1/4), the first drawn, slope s = (1, 0): p q s, and 2 (7/8)(1/8) - p q / 2."""
    log_weights = torch.tensor([[3 / 4, 1 / 4]], dtype=torch.float64).log()
    for relaxation, slope in ((straight_through_weights, 3 / 16), (reinmax_weights, 7 / 32 - 3 / 32)):
        leaf = log_weights.clone().requires_grad_()
        weights = relaxation(leaf.log_softmax(dim=-1), torch.tensor([0]))
        assert weights.tolist() == [[1.0, 0.0]]
        (gradient,) = torch.autograd.grad(weights[0, 0], leaf)
        assert gradient[0].tolist() == pytest.approx([slope, -slope], abs=1e-15)


@pytest.mark.parametrize("name", ["straight-through", "reinmax"])
def test_the_access_is_the_relaxation_of_its_draw(name):
    """Weights exactly one-hot, and by the generator's draw the gradient the enumeration has been through."""
    relaxation = {"straight-through": straight_through_weights, "reinmax": reinmax_weights}[name]
    leaf = LOGITS.expand(6, 1, 4).clone().requires_grad_()
    cost = polynomial(3)
    weights = ACCESS[name](dense(leaf.log_softmax(dim=-1)), 4, torch.Generator().manual_seed(0))[0].weights
    assert set(weights.flatten().tolist()) == {0.0, 1.0}
    again = relaxation(leaf.log_softmax(dim=-1), weights.argmax(dim=-1))
    (gradient,) = torch.autograd.grad(cost(weights).sum(), leaf)
    (expected,) = torch.autograd.grad(cost(again).sum(), leaf)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_gumbel_bias_shrinks_with_temperature(monkeypatch):
    """Two cells: the noise enters by its difference, logistic, integrated on a grid; the cost is cubic."""
    logits, cost = torch.tensor([0.4, -0.3], dtype=torch.float64), polynomial(3)
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    noise = torch.stack([uniform.logit(), torch.zeros_like(uniform)], dim=-1)  # (N, S)
    monkeypatch.setattr("hardmem.access.gumbel_noise", lambda like, generator: noise.unsqueeze(1))
    padded = torch.nn.functional.pad

    def gradient(temperature: float | None) -> Tensor:
        leaf = logits.clone().requires_grad_()
        if temperature is None:
            expected = leaf.softmax(dim=0) @ cost(padded(torch.eye(2, dtype=torch.float64), (0, 2)))
        else:
            distribution = dense(leaf.log_softmax(dim=0).expand(len(noise), 1, 2))
            weights = gumbel(distribution, 2, None, temperature=temperature)[0].weights
            expected = cost(padded(weights, (0, 2))).mean()
        return torch.autograd.grad(expected, leaf)[0]

    exact = gradient(None)
    errors = [(gradient(temperature) - exact).norm() / exact.norm() for temperature in (2.0, 1.0, 0.5, 0.1, 0.02)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert errors[-1] < 0.03


def test_gumbel_by_hand(monkeypatch):
    """Weights softmax((log p + g) / 2), and their slope w0 w1 / 2 by either logit."""
    noise = torch.tensor([[[1.0, -0.5]]], dtype=torch.float64)
    monkeypatch.setattr("hardmem.access.gumbel_noise", lambda like, generator: noise)
    leaf = torch.tensor([[[0.2, 0.1]]], dtype=torch.float64, requires_grad=True)
    weights = gumbel(dense(leaf.log_softmax(dim=-1)), 2, None, temperature=2.0)[0].weights
    first = 1 / (1 + torch.tensor(-(0.1 + 1.5) / 2, dtype=torch.float64).exp())
    torch.testing.assert_close(weights[0, 0, 0], first)
    (gradient,) = torch.autograd.grad(weights[0, 0, 0], leaf)
    torch.testing.assert_close(gradient[0, 0, 0], first * (1 - first) / 2)


def test_top_k_keeps_the_likeliest_and_scales_them():
    """.5 and .3 of five candidates become 5/8 and 3/8; of one nothing but a one-hot is left; k = S is soft."""
    weights = torch.tensor([[[0.05, 0.5, 0.1, 0.3, 0.05]]], dtype=torch.float64)
    distribution = AddressDistribution(torch.tensor([[[6, 2, 4, 0, 1]]]), weights.log())
    assert top_k(distribution, 7, k=2)[0].weights[0, 0].tolist() == pytest.approx([3 / 8, 0, 5 / 8, 0, 0, 0, 0])
    assert top_k(distribution, 7, k=1)[0].weights[0, 0].tolist() == pytest.approx([0, 0, 1, 0, 0, 0, 0])
    expected = ACCESS["soft"](distribution, 7, None)[0].weights
    torch.testing.assert_close(top_k(distribution, 7, k=9)[0].weights, expected)


@pytest.mark.parametrize("access", [*(ACCESS[name] for name in ACCESS), partial(top_k, k=2)])
def test_impossible_candidates_get_neither_weight_nor_a_broken_gradient(access):
    """Two of four candidates at -inf: no weight there, and every gradient is a number."""
    leaf = torch.tensor([0.3, 0.0, -0.2, 0.0], dtype=torch.float64).expand(50, 1, 4).clone().requires_grad_()
    allowed = torch.tensor([True, False, True, False])
    distribution = dense(leaf.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1))
    address, record = access(distribution, 4, torch.Generator().manual_seed(0))
    weights = as_weights(address, 4, torch.float64)
    assert not weights[..., ~allowed].any()
    loss = weights.square().sum() if record is None else record.log_prob.sum() + record.entropy.sum()
    loss.backward()
    assert leaf.grad.isfinite().all()
    assert not leaf.grad[..., ~allowed].any()


def test_every_relaxation_of_the_catalogue_is_an_access():
    """The estimators' table lists them by reference."""
    listed = {name for name, record in ESTIMATORS.items() if record.family == "relaxation"}
    assert listed == set(ACCESS) - HARD - {"soft"}


def test_joint_log_prob_sums_over_heads():
    """Over the last dimension, whatever stands before it."""
    record = AccessRecord(torch.zeros(2, 3, 2), torch.arange(12.0).reshape(2, 3, 2), torch.zeros(2, 3, 2))
    assert record.joint_log_prob.tolist() == [[1, 5, 9], [13, 17, 21]]


def test_unknown_access_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown access 'hard'; choose one of \['argmax'.*'sampled', 'soft'"):
        make_access("hard")
