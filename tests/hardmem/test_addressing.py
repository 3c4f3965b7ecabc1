"""Addressing: eqs. 5-9 against loops, head moves soft against hard, and draws against their probabilities."""

import math

import numpy as np
import pytest
import torch

from hardmem import access
from hardmem.addressing import (
    HOME,
    content_weights,
    dense,
    entropy,
    evenness,
    head_moves,
    interpolate,
    location_weights,
    move_table,
    sample_index,
    sharpen,
    shift_weights,
    usage_entropy,
)
from hardmem.memory import HardAddress, SoftAddress, as_weights

INF = float("inf")


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distribution(*shape: int, seed: int = 0) -> torch.Tensor:
    return randn(*shape, seed=seed).softmax(dim=-1)


def content_in_loops(memory, key, beta):
    """Eqs. 5 and 6, one head of one sequence: memory (N, W), key (W,), beta () -> (N,)."""
    similarity = []
    for cell in memory:
        dot = sum(k * m for k, m in zip(key, cell, strict=True))
        similarity.append(dot / (sum(k * k for k in key) ** 0.5 * sum(m * m for m in cell) ** 0.5))
    exps = torch.stack([(beta * s).exp() for s in similarity])
    return exps / exps.sum()


def shift_in_loops(weights, shift, offsets):
    """Eq. 8: sum over j of w(j) s(i - j), indices modulo N."""
    N = len(weights)
    rotated = torch.zeros(N, dtype=weights.dtype)
    for i in range(N):
        for j in range(N):
            for probability, offset in zip(shift, offsets, strict=True):
                if (i - j - offset) % N == 0:
                    rotated[i] += weights[j] * probability
    return rotated


def test_content_by_hand():
    """Cosines 1, 0 and -1, whatever the lengths; beta = log 2 gives 2 : 1 : 1/2."""
    memory = torch.tensor([[[2.0, 0.0], [0.0, 5.0], [-0.1, 0.0]]])
    weights = content_weights(memory, key=torch.tensor([[[3.0, 0.0]]]), beta=torch.tensor([[math.log(2)]]))
    torch.testing.assert_close(weights, torch.tensor([[[4 / 7, 2 / 7, 1 / 7]]]))


def test_content_equals_the_paper_in_loops():
    """Eqs. 5 and 6 for every sequence and head."""
    memory, key, beta = randn(2, 5, 3), randn(2, 4, 3, seed=1), randn(2, 4, seed=2).exp()
    weights = content_weights(memory, key, beta)
    for b in range(2):
        for h in range(4):
            torch.testing.assert_close(weights[b, h], content_in_loops(memory[b], key[b, h], beta[b, h]))


def test_content_at_its_extremes():
    """Strength 0 is uniform, a large one is one-hot; a key or cell of zeros has similarity 0 instead of nan."""
    memory = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    key = torch.tensor([[[1.0, 0.1], [1.0, 0.1], [0.0, 0.0]]])
    weights = content_weights(memory, key, beta=torch.tensor([[0.0, 1000.0, 1000.0]]))
    torch.testing.assert_close(weights[0], torch.tensor([[1 / 3] * 3, [1.0, 0.0, 0.0], [1 / 3] * 3]))


def test_interpolate_by_hand():
    """Gate 0 keeps the previous weights, 1 drops them, 1/4 mixes."""
    weights, previous = torch.tensor([[[0.0, 1.0]] * 3]), torch.tensor([[[1.0, 0.0]] * 3])
    mixed = interpolate(weights, previous, gate=torch.tensor([[0.0, 1.0, 0.25]]))
    assert mixed.tolist() == [[[1.0, 0.0], [0.0, 1.0], [0.75, 0.25]]]


@pytest.mark.parametrize(("offset", "expected"), [(1, [4, 1, 2, 3]), (-1, [2, 3, 4, 1]), (0, [1, 2, 3, 4])])
def test_shift_by_hand(offset, expected):
    """An offset of 1 moves cell 0 to cell 1, and the last cell to the first."""
    weights = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    assert shift_weights(weights, torch.ones(1, 1, 1), [offset]).tolist() == [[expected]]


@pytest.mark.parametrize("N", [1, 2, 3, 7])
def test_shift_equals_the_paper_in_loops(N):
    """Eq. 8, also where offsets coincide: on two cells -1 and 1 are the same."""
    offsets = [-1, 0, 1, 2]
    weights, shift = distribution(2, 3, N), distribution(2, 3, 4, seed=1)
    rotated = shift_weights(weights, shift, offsets)
    for b in range(2):
        for h in range(3):
            torch.testing.assert_close(rotated[b, h], shift_in_loops(weights[b, h], shift[b, h], offsets))


def test_sharpen_by_hand():
    """Eq. 9: weights 1/4 and 3/4 squared are 1 : 9; the exponent may be a number or one per head."""
    weights = torch.tensor([[[0.25, 0.75], [0.25, 0.75]]])
    expected = torch.tensor([[[0.1, 0.9], [0.25, 0.75]]])
    torch.testing.assert_close(sharpen(weights, torch.tensor([[2.0, 1.0]])).exp(), expected)
    torch.testing.assert_close(sharpen(weights, 2.0).exp(), expected[:, [0, 0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [1.0, 2.5, 100.0])
def test_sharpen_survives_one_hots_and_underflow(dtype, exponent):
    """Powers of 0 and 1e-30 underflow; weights, log-weights and gradients stay finite, and the sum stays 1."""
    weights = torch.tensor([[0.0, 1.0, 0.0], [1e-30, 1.0, 0.0], [1e-30, 1e-30, 1e-30]], dtype=dtype).requires_grad_()
    sharpening = torch.full((3,), exponent, dtype=dtype, requires_grad=True)
    log_weights = sharpen(weights, sharpening)
    torch.testing.assert_close(log_weights.exp().sum(dim=-1), torch.ones(3, dtype=dtype))
    torch.testing.assert_close(log_weights[0].exp(), weights[0].detach(), rtol=0, atol=1e-30)
    (log_weights.exp() * torch.arange(3)).sum().add(entropy(log_weights).sum() + log_weights[:, 1].sum()).backward()
    assert weights.grad.isfinite().all()
    assert sharpening.grad.isfinite().all()


def test_move_targets_by_hand():
    """Around the circle at both ends, and home from anywhere."""
    table = move_table([-1, 0, 2, HOME])
    assert table.targets(torch.tensor([0, 3, 4]), num_cells=5).tolist() == [[4, 0, 2, 0], [2, 3, 0, 0], [3, 4, 1, 0]]


def test_hard_head_moves_by_hand():
    """From cell 2 of 5: four moves, four cells. From cell 0: home and stay are one candidate with both shares."""
    probs = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]).expand(2, 1, 4)
    moved = head_moves(HardAddress(torch.tensor([[2], [0]])), probs, move_table([-1, 0, 1, HOME]), num_cells=5)
    assert moved.candidates.tolist() == [[[1, 2, 3, 0]], [[4, 0, 1, 0]]]
    torch.testing.assert_close(moved.log_weights.exp(), torch.tensor([[[0.1, 0.2, 0.3, 0.4]], [[0.1, 0.6, 0.3, 0.0]]]))


def test_soft_head_moves_by_hand():
    """Half at cell 0 and half at cell 1 of 3; stay .5, on .25, home .25: home takes a quarter of all weight."""
    previous = SoftAddress(torch.tensor([[[0.5, 0.5, 0.0]]]))
    moved = head_moves(previous, torch.tensor([[[0.5, 0.25, 0.25]]]), move_table([0, 1, HOME]), num_cells=3)
    torch.testing.assert_close(moved.log_weights.exp(), torch.tensor([[[0.5, 0.375, 0.125]]]))
    assert moved.candidates.tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("moves", [(-1, 0, 1, HOME), (0, 1), (HOME, 1), (HOME,), (-2, 3, 0), (1, -1, 6, 0, HOME)])
@pytest.mark.parametrize("N", [1, 2, 3, 4, 7])
def test_soft_head_at_one_cell_moves_as_the_hard_head(moves, N):
    """From every cell: the same distribution over cells, duplicates and wraps included, sharpened or not."""
    index = torch.arange(N).repeat(2).reshape(N, 2)  # two heads, apart where N > 1 is odd, together else
    probs = distribution(N, 2, len(moves))
    for sharpening in (1.0, 1 + randn(N, 2, seed=1).exp()):
        hard = head_moves(HardAddress(index), probs, move_table(moves), N, sharpening)
        previous = SoftAddress(as_weights(HardAddress(index), N, torch.float64))
        soft = head_moves(previous, probs, move_table(moves), N, sharpening)
        assert hard.candidates.shape == (N, 2, len(moves))
        assert soft.candidates.shape == (N, 2, N)
        weights = [access.soft(distribution, N)[0].weights for distribution in (hard, soft)]
        torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-12)
        torch.testing.assert_close(weights[0].sum(dim=-1), torch.ones(N, 2, dtype=torch.float64))


def test_a_cell_is_a_candidate_once():
    """Of moves that lead to one cell only the first has weight, so an index has one probability."""
    table = move_table([-1, 1, 0, HOME])
    moved = head_moves(HardAddress(torch.tensor([[0, 1]])), distribution(1, 2, 4), table, num_cells=2)
    assert moved.candidates.tolist() == [[[1, 1, 0, 0], [0, 0, 1, 0]]]
    has_weight = moved.log_weights.exp() > 1e-300
    assert has_weight.tolist() == [[[True, False, True, False], [True, False, True, False]]]


def test_location_weights_equal_the_paper_in_loops():
    """Eqs. 5 to 8 in a row, from a soft and from a hard previous address."""
    B, H, N, W, offsets = 2, 2, 4, 3, [-1, 0, 1]
    memory, key, beta = randn(B, N, W), randn(B, H, W, seed=1), randn(B, H, seed=2).exp()
    gate, shift = randn(B, H, seed=3).sigmoid(), distribution(B, H, 3, seed=4)
    for previous in (SoftAddress(distribution(B, H, N, seed=5)), HardAddress(torch.tensor([[0, 3], [2, 2]]))):
        weights = location_weights(memory, previous, key, beta, gate, shift, offsets)
        before = as_weights(previous, N, torch.float64)
        for b in range(B):
            for h in range(H):
                content = content_in_loops(memory[b], key[b, h], beta[b, h])
                gated = gate[b, h] * content + (1 - gate[b, h]) * before[b, h]  # eq. 7
                torch.testing.assert_close(weights[b, h], shift_in_loops(gated, shift[b, h], offsets))


def test_gradients_against_finite_differences():
    """Content to sharpening in one go, and head moves from a soft and a hard address."""
    table, index = move_table([-1, 0, 1, HOME]), HardAddress(torch.tensor([[0, 2], [1, 1]]))

    def ntm(memory, key, beta, gate, shift, previous, sharpening):
        weights = location_weights(
            memory, SoftAddress(previous.softmax(-1)), key, beta.exp(), gate.sigmoid(), shift.softmax(-1), [-1, 0, 1]
        )
        return sharpen(weights, 1 + sharpening.exp())

    shapes = [(2, 3, 2), (2, 2, 2), (2, 2), (2, 2), (2, 2, 3), (2, 2, 3), (2, 2)]
    parts = [randn(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(ntm, parts)

    def moves_softly(probs, previous, sharpening):
        return head_moves(
            SoftAddress(previous.softmax(-1)), probs.softmax(-1), table, 3, 1 + sharpening.exp()
        ).log_weights

    def moves_hard(probs, sharpening):
        return head_moves(index, probs.softmax(-1), table, 3, 1 + sharpening.exp()).log_weights.exp()

    probs, previous, sharpening = (randn(2, 2, *size).requires_grad_() for size in ((4,), (3,), ()))
    assert torch.autograd.gradcheck(moves_softly, (probs, previous, sharpening))
    assert torch.autograd.gradcheck(moves_hard, (probs, sharpening))


def test_batch_equals_batches_of_one():
    """Content, shift and moves of one sequence do not depend on its neighbours."""
    B, H, N, W = 3, 2, 4, 3
    memory, key, beta, gate = randn(B, N, W), randn(B, H, W), randn(B, H).exp(), randn(B, H).sigmoid()
    shift, index, table = distribution(B, H, 3), torch.tensor([[0, 3], [2, 2], [1, 0]]), move_table([-1, 0, 1])
    together = location_weights(memory, HardAddress(index), key, beta, gate, shift, [-1, 0, 1])
    moved = head_moves(HardAddress(index), shift, table, N)
    for b in range(B):
        one = slice(b, b + 1)
        alone = location_weights(
            memory[one], HardAddress(index[one]), key[one], beta[one], gate[one], shift[one], [-1, 0, 1]
        )
        torch.testing.assert_close(together[one], alone)
        moved_alone = head_moves(HardAddress(index[one]), shift[one], table, N)
        torch.testing.assert_close(moved.candidates[one], moved_alone.candidates)
        torch.testing.assert_close(moved.log_weights[one], moved_alone.log_weights)


def test_dense_lists_all_cells_in_order():
    """S = N, and it says so: a distribution of as many other candidates does not."""
    log_weights = distribution(2, 3, 4).log()
    all_cells = dense(log_weights)
    assert all_cells.candidates.shape == (2, 3, 4)
    assert all_cells.candidates[1, 2].tolist() == [0, 1, 2, 3]
    assert all_cells.log_weights is log_weights
    assert all_cells.all_cells
    table = move_table([-1, 0, 1, HOME])
    assert not head_moves(HardAddress(torch.zeros(2, 3, dtype=torch.int64)), distribution(2, 3, 4), table, 4).all_cells


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_probabilities(dtype):
    """Each candidate as often as its probability says, within 5 standard deviations; logits need no normalising."""
    draws, probs = 100_000, torch.tensor([0.5, 0.0, 0.2, 0.25, 0.05], dtype=dtype)
    logits = (probs.log() + 3).expand(draws, 5)
    counts = torch.bincount(sample_index(logits, torch.Generator().manual_seed(0)), minlength=5)
    for count, p in zip(counts.tolist(), probs.tolist(), strict=True):
        assert abs(count - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5


def test_heads_draw_independently():
    """Two heads of one fair coin each agree half of the time, within 5 standard deviations."""
    index = sample_index(torch.zeros(40_000, 2, 2), torch.Generator().manual_seed(0))
    assert index.shape == (40_000, 2)
    assert abs((index[:, 0] == index[:, 1]).sum() - 20_000) < 5 * 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("uniform", ["zero", "largest"])
@pytest.mark.parametrize("S", [1, 2, 3, 100, 999])
def test_a_candidate_of_probability_zero_is_never_drawn(monkeypatch, dtype, uniform, S):
    """Not first, last or between, and no index out of range, even by the least and the greatest uniform there are."""
    value = 0.0 if uniform == "zero" else 1 - torch.finfo(dtype).eps / 2
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.full(shape, value, dtype=options["dtype"]))
    logits = torch.randn(200, S, generator=torch.Generator().manual_seed(S)).to(dtype)
    impossible = (torch.arange(S) + torch.arange(200).unsqueeze(1)) % 3 != 0
    impossible[:, S // 2] = False
    index = sample_index(logits.masked_fill(impossible, -INF))
    assert (index >= 0).all()
    assert (index < S).all()
    assert not impossible.gather(-1, index.unsqueeze(-1)).any()


def test_draws_come_from_the_given_generator_alone():
    """Same seed, same draws, and the global generator is left where it was."""
    logits = torch.zeros(50, 10)
    state = torch.get_rng_state()
    first, again, other = (sample_index(logits, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_entropy_by_hand():
    """It is log 4 when uniform over four, log 2 over two of four, 0 when certain."""
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(entropy(weights.log()), torch.tensor([math.log(4), math.log(2), 0.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropy_of_impossible_candidates_is_finite(dtype):
    """Forward and backward through a masked softmax: as if the impossible candidates did not stand there."""
    logits = torch.tensor([[0.3, -INF, -0.2], [-INF, 2.0, -INF]], dtype=dtype, requires_grad=True)
    total = entropy(logits.log_softmax(dim=-1))
    total.sum().backward()
    possible = torch.tensor([0.3, -0.2], dtype=dtype, requires_grad=True)
    expected = torch.distributions.Categorical(logits=possible).entropy()
    expected.backward()
    torch.testing.assert_close(total, torch.stack([expected, torch.zeros_like(expected)]))
    torch.testing.assert_close(
        logits.grad[0], torch.stack([possible.grad[0], torch.zeros_like(expected), possible.grad[1]])
    )
    torch.testing.assert_close(logits.grad[1], torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("moves", [(), (1, 1), (0, "hom"), (0.5,), (HOME, HOME), (True,), ([1],), (1, np.int64(1))])
def test_moves_must_be_distinct_integers_or_home(moves):
    """The message holds what came."""
    with pytest.raises(ValueError, match=r"moves must be distinct integers or 'home', at least one, got \["):
        move_table(moves)


def test_moves_of_any_type_of_whole_numbers():
    """They are ints in the table; those that do not fit in with a cell's number are refused."""
    table = move_table([np.int64(-1), np.uint8(2), HOME, 2**62 - 1])
    assert table.moves == (-1, 2, HOME, 2**62 - 1)
    assert [type(move) for move in table.moves] == [int, int, str, int]
    assert table.targets(torch.tensor([1]), num_cells=5).tolist() == [[0, 3, 0, 2**62 % 5]]
    for far in (2**62, -(2**62), 10**20):
        with pytest.raises(ValueError, match=rf"moves must lie within 2 \*\* 62 of 0, got \[0, {far}\]"):
            move_table([0, far])


def test_shapes_must_fit():
    """Key against memory, shift against offsets, probabilities against moves: the message holds both sides."""
    with pytest.raises(ValueError, match=r"same width W: key is .* = \(1, 1, 3\), memory is .* = \(1, 2, 4\)"):
        content_weights(torch.zeros(1, 2, 4), torch.zeros(1, 1, 3), torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"\(B, H, 2\), one per offset of \[0, 1\], got \(1, 1, 3\)"):
        shift_weights(torch.zeros(1, 1, 4), torch.zeros(1, 1, 3), [0, 1])
    for previous in (HardAddress(torch.zeros(1, 1, dtype=torch.int64)), SoftAddress(torch.zeros(1, 1, 4))):
        with pytest.raises(ValueError, match=r"\(B, H, 2\), one per move of \[0, 'home'\], got \(1, 1, 3\)"):
            head_moves(previous, torch.zeros(1, 1, 3), move_table([0, HOME]), num_cells=4)


def test_entropy_of_the_use_of_cells_by_hand():
    """Whatever the sum: one cell alone 0, two of four alike log 2, all alike log N; the gradient is finite."""
    uses = torch.tensor([[3.0, 0, 0, 0], [2, 0, 2, 0], [5, 5, 5, 5]], requires_grad=True)
    torch.testing.assert_close(usage_entropy(uses), torch.tensor([0, math.log(2), math.log(4)]))
    usage_entropy(uses).sum().backward()
    assert uses.grad.isfinite().all()


def test_the_entropy_of_use_lets_single_choices_be_sure():
    """Two steps, each sure of a cell: as spread as two that are uniform over the two, and a shared cell is 0."""
    apart, alike = torch.eye(2), torch.tensor([[1.0, 0], [1, 0]])
    torch.testing.assert_close(usage_entropy(apart.sum(dim=0)), torch.tensor(math.log(2)))
    assert usage_entropy(alike.sum(dim=0)) == 0


def test_evenness_by_hand():
    """The mean over three candidates that can be, not the fourth; its slope at what is hardly likely does not fade."""
    logits = torch.tensor([[0.0, 0.0, 0.0, -INF], [0.0, -50.0, -INF, -INF]], dtype=torch.float64, requires_grad=True)
    log_weights = logits.log_softmax(dim=-1)
    torch.testing.assert_close(evenness(log_weights), torch.tensor([-math.log(3), -25.0], dtype=torch.float64))
    (slope,) = torch.autograd.grad(evenness(log_weights)[1], logits, retain_graph=True)
    torch.testing.assert_close(slope[1], torch.tensor([-0.5, 0.5, 0, 0], dtype=torch.float64))
    (slope,) = torch.autograd.grad(entropy(log_weights)[1], logits)
    assert slope.abs().max() < 1e-15
