"""Schemes: every one yields a distribution over cells, and each does what its equations say."""

import pytest
import torch
import torch.nn.functional as F

from hardmem.access import soft
from hardmem.addressing import HOME
from hardmem.bank import Bank
from hardmem.memory import HardAddress, SoftAddress, as_weights
from hardmem.models import NTM
from hardmem.schemes import SCHEMES, AbsoluteIndex, ContentLocation, HeadMoves, make_scheme

B, H, N, W = 3, 2, 5, 4
HARD = HardAddress(torch.tensor([[0, 4], [2, 2], [1, 0]]))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def previous_address(kind: str) -> HardAddress | SoftAddress:
    return {
        "hard": HARD,
        "one-hot": SoftAddress(as_weights(HARD, N, torch.float64)),
        "soft": SoftAddress(randn(B, H, N, seed=9).softmax(dim=-1)),
    }[kind]


def weights_of(scheme, raw, previous, memory):
    """The distribution as weights over all N cells."""
    return soft(scheme(raw, previous, memory), memory.shape[1])[0].weights


@pytest.mark.parametrize("kind", ["hard", "one-hot", "soft"])
@pytest.mark.parametrize("name", SCHEMES)
def test_distribution_over_cells(name, kind):
    """Candidates are cells, none stands twice with weight, and weights sum to 1; also for extreme raw numbers."""
    scheme = make_scheme(name, N, W)
    for scale in (0.0, 1.0, 1e4):
        raw = scale * randn(B, H, scheme.num_outputs)
        candidates, log_weights, *_ = scheme(raw, previous_address(kind), randn(B, N, W, seed=1))
        assert candidates.dtype == torch.int64
        assert candidates.shape == log_weights.shape
        assert candidates.shape[:2] == (B, H)
        assert (candidates >= 0).all()
        assert (candidates < N).all()
        torch.testing.assert_close(log_weights.exp().sum(dim=-1), torch.ones(B, H, dtype=torch.float64))
        same = (candidates.unsqueeze(-1) == candidates.unsqueeze(-2)) & (log_weights.exp() > 1e-300).unsqueeze(-2)
        assert (same.sum(dim=-1) <= 1).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_one_hot_and_hard_previous_addresses_are_the_same(name):
    """Where a head was, told as one cell or as one-hot weights, leads to the same weights."""
    scheme = make_scheme(name, N, W)
    raw, memory = randn(B, H, scheme.num_outputs), randn(B, N, W, seed=1)
    hard, one_hot = (weights_of(scheme, raw, previous_address(kind), memory) for kind in ("hard", "one-hot"))
    torch.testing.assert_close(hard, one_hot, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", SCHEMES)
def test_heads_and_sequences_are_independent(name, kind):
    """A head alone, in a batch of one, gets what it gets among the others."""
    scheme, previous = make_scheme(name, N, W), previous_address(kind)
    raw, memory = randn(B, H, scheme.num_outputs), randn(B, N, W, seed=1)
    together = weights_of(scheme, raw, previous, memory)
    for b in range(B):
        for h in range(H):
            one = type(previous)(previous[0][b : b + 1, h : h + 1])
            alone = weights_of(scheme, raw[b : b + 1, h : h + 1], one, memory[b : b + 1])
            torch.testing.assert_close(together[b : b + 1, h : h + 1], alone)


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", SCHEMES)
def test_gradients_against_finite_differences(name, kind):
    """With respect to the raw numbers and the memory."""
    scheme, previous = make_scheme(name, N, W), previous_address(kind)
    raw, memory = randn(B, H, scheme.num_outputs).requires_grad_(), randn(B, N, W, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw, memory: weights_of(scheme, raw, previous, memory), (raw, memory))


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.any_size])
@pytest.mark.parametrize("cells", [1, 2, 9])
def test_memories_of_another_size(name, cells):
    """All but absolute addresses run on any number of cells, whatever they were built for."""
    scheme = make_scheme(name, N, W)
    index = HardAddress(torch.tensor([[0, cells - 1]] * B))
    weights = weights_of(scheme, randn(B, H, scheme.num_outputs), index, randn(B, cells, W, seed=1))
    assert weights.shape == (B, H, cells)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, H, dtype=torch.float64))


def test_absolute_addresses_refuse_another_size():
    """The message holds both numbers."""
    with pytest.raises(ValueError, match="tied to N = 5 cells, the memory has 6"):
        AbsoluteIndex(5, W)(torch.zeros(1, 1, 6), HARD, torch.zeros(1, 6, W))


def test_learned_addresses_by_hand():
    """Two cells with nothing in them: the key (0, 1) for the address finds the second one's, and content moves it."""
    scheme = make_scheme("learned-address", 2, 1)
    with torch.no_grad():
        scheme.addresses.zero_()
        scheme.addresses[0, 0] = scheme.addresses[1, 1] = 1
    raw = torch.zeros(1, 1, scheme.num_outputs)
    raw[..., 1], raw[..., -1] = 100, 100  # the key is (0, 1, 0, ...), its strength 100
    previous = HardAddress(torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(weights_of(scheme, raw, previous, torch.zeros(1, 2, 1)), torch.tensor([[[0.0, 1.0]]]))
    raw[..., 8], raw[..., 1] = 100, 0  # now the key is for the content
    memory = torch.tensor([[[9.0], [0.0]]])
    torch.testing.assert_close(weights_of(scheme, raw, previous, memory), torch.tensor([[[1.0, 0.0]]]))
    with pytest.raises(ValueError, match="tied to N = 2 cells, the memory has 3"):
        scheme(raw, previous, torch.zeros(1, 3, 1))
    with pytest.raises(ValueError, match="keep the memory in a tensor"):
        scheme(raw, previous, Bank(1, 2, 1).begin())


def test_absolute_by_hand():
    """A softmax over cells, wherever the head was; the last number sharpens, softplus(log(e - 1)) = 1: a square."""
    raw = torch.tensor([[[0.1, 0.2, 0.7, 1.0]]]).log() + 5
    raw[..., -1] = torch.tensor(1.0).expm1().log()
    scheme = AbsoluteIndex(3, W)
    scheme.following.data.zero_()
    weights = weights_of(scheme, raw, HardAddress(torch.tensor([[2]])), torch.zeros(1, 3, W))
    torch.testing.assert_close(weights, torch.tensor([[[0.01, 0.04, 0.49]]]) / 0.54)


def test_absolute_addresses_know_where_the_head_was():
    """By hand: to all logits alike the row of the cell it was on is added, or the mixture of rows of a soft address."""
    scheme, memory = AbsoluteIndex(3, W), torch.zeros(1, 3, W)
    scheme.following.data = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 5.0], [5.0, 0.0, 0.0]])  # on to the next
    raw = torch.zeros(1, 1, 4)
    raw[..., -1] = -100  # as it is, not sharpened
    for cell in range(3):
        weights = weights_of(scheme, raw, HardAddress(torch.tensor([[cell]])), memory)
        assert weights.argmax().item() == (cell + 1) % 3
    mixed = weights_of(scheme, raw, SoftAddress(torch.tensor([[[0.5, 0.5, 0.0]]])), memory)
    torch.testing.assert_close(mixed[0, 0], torch.tensor([0.0, 2.5, 2.5]).softmax(dim=-1))


@pytest.mark.parametrize("cells", [1, 2, 12])
def test_absolute_addresses_start_on_a_way_around_all_cells(cells):
    """Nine times in ten on to a cell that was not there yet, until all were; another way after a reset."""
    scheme, memory, raw = AbsoluteIndex(cells, W), torch.zeros(1, cells, W), torch.zeros(1, 1, cells + 1)
    for _ in range(3):
        scheme.reset_parameters()
        at, seen = 0, []
        for _ in range(cells):
            weights = weights_of(scheme, raw, HardAddress(torch.tensor([[at]])), memory)[0, 0]
            at = weights.argmax().item()
            assert weights[at].item() == pytest.approx(1.0 if cells == 1 else 0.9, abs=1e-6)
            seen.append(at)
        assert sorted(seen) == list(range(cells))


def test_head_moves_by_hand():
    """Softmax over moves, the last number sharpens: softplus(log(e - 1)) = 1, so the exponent is 2."""
    scheme = HeadMoves(N, W, moves=(1, HOME))
    raw = torch.tensor([[[0.75, 0.25, 0.0]]]).log()
    raw[..., -1] = torch.tensor(1.0).expm1().log()
    candidates, log_weights, *_ = scheme(raw, HardAddress(torch.tensor([[4]])), torch.zeros(1, 6, W))
    assert candidates.tolist() == [[[5, 0]]]
    torch.testing.assert_close(log_weights.exp(), torch.tensor([[[0.9, 0.1]]]))


def test_content_location_equals_the_paper_in_loops():
    """Eqs. 5-9 from raw numbers in the order key, strength, gate, shifts, sharpening."""
    scheme, previous = ContentLocation(N, W), previous_address("soft")
    raw, memory = randn(B, H, W + 6), randn(B, N, W, seed=1)
    weights = weights_of(scheme, raw, previous, memory)
    for b in range(B):
        for h in range(H):
            numbers = raw[b, h]
            key, beta, gate = numbers[:W].tanh(), F.softplus(numbers[W]), numbers[W + 1].sigmoid()
            shift, exponent = numbers[W + 2 : W + 5].softmax(dim=0), 1 + F.softplus(numbers[W + 5])
            scores = [(beta * (key @ cell) / (key.norm() * cell.norm())).exp() for cell in memory[b]]
            gated = [gate * s / sum(scores) + (1 - gate) * previous.weights[b, h, n] for n, s in enumerate(scores)]
            rotated = [
                shift[0] * gated[(n + 1) % N] + shift[1] * gated[n] + shift[2] * gated[(n - 1) % N] for n in range(N)
            ]
            powers = [r**exponent for r in rotated]
            torch.testing.assert_close(weights[b, h], torch.stack(powers) / sum(powers))


def test_scheme_moves_with_its_module():
    """Its tables follow `.to`, and are not saved: a checkpoint does not depend on the moves."""
    scheme = HeadMoves(N, W)
    assert not scheme.state_dict()
    assert {buffer.device.type for buffer in scheme.to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("heads", [("read-write",), ("read", "write")])
@pytest.mark.parametrize("name", [*SCHEMES])
def test_cooling_multiplies_logits_and_nothing_else(name, heads):
    """Heads by moves or numbers are surer of a cell, by twice the logits; those that compare keys are as before."""
    torch.manual_seed(0)
    model = NTM(3, 3, num_cells=5, cell_width=4, addressing=name, access="argmax", heads=heads, dtype=torch.float64)
    features, memory = torch.randn(7, model.controller.hidden_size, dtype=torch.float64), model.initial_state(7).memory
    previous = HardAddress(torch.full((7, len(heads)), 3))

    def look():
        raw = model.address_layer(features).unflatten(-1, (len(heads), -1))
        return raw, model.scheme(raw, previous, memory).log_weights

    (raw, before), _, (colder, after) = look(), model.cool(2.0), look()
    count = model.scheme.num_logits
    assert torch.equal(colder[..., count:], raw[..., count:])
    assert torch.allclose(colder[..., :count], 2 * raw[..., :count])
    assert torch.allclose(after, (2 * before).log_softmax(dim=-1) if count else before)
    assert bool(count) == (name in {"head-moves", "absolute"})


def test_unknown_scheme_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown addressing 'relative'; choose one of \['absolute', 'content-loc"):
        make_scheme("relative", N, W)


@pytest.mark.parametrize("name", ["learned-address", "least-recently-used"])
def test_learned_addresses_equal_the_paper_in_loops(name):
    """Gulcehre et al. 2016 over four steps: scores, their moving average, and what the term takes off the weights."""
    torch.manual_seed(0)
    scheme, memory = make_scheme(name, N, W).double(), randn(B, N, W, seed=1)
    previous, past = previous_address("soft"), None
    average = torch.zeros(B, H, N, dtype=torch.float64)  # v
    A = scheme.addresses.shape[1]
    for t in range(4):
        raw = 2 * randn(B, H, scheme.num_outputs, seed=t)
        distribution, past = scheme.look(raw, previous, memory, past)
        weights = soft(distribution, N)[0].weights
        for b in range(B):
            for h in range(H):
                key, beta = raw[b, h, : A + W], 1 + F.softplus(raw[b, h, A + W])
                cells = [torch.cat([scheme.addresses[n], memory[b, n]]) for n in range(N)]  # M = [A; C]
                z = torch.stack([beta * (key @ cell) / (key.norm() * cell.norm()) for cell in cells])
                gamma = raw[b, h, -1].sigmoid() if name == "least-recently-used" else 0.0
                scores = [(z[n] - gamma * average[b, h, n]).exp() for n in range(N)]
                torch.testing.assert_close(weights[b, h], torch.stack(scores) / sum(scores))
                average[b, h] = 0.1 * average[b, h] + 0.9 * z.detach()
        memory = memory + 0.1 * randn(B, N, W, seed=10 + t)
    assert name == "learned-address" or not past.requires_grad


def test_least_recently_used_by_hand():
    """One key twice: what the first look was sure of has lost its lead at the second, if the head wants that."""
    scheme = make_scheme("least-recently-used", 2, 1)
    with torch.no_grad():
        scheme.addresses.zero_()
        scheme.addresses[0, 0] = scheme.addresses[1, 1] = 1
    raw = torch.zeros(1, 1, scheme.num_outputs)
    raw[..., 0], raw[..., -2], raw[..., -1] = 1, 9, 100  # the first cell's address, beta = 10, gamma = 1
    previous, memory = HardAddress(torch.zeros(1, 1, dtype=torch.int64)), torch.zeros(1, 2, 1)
    first, past = scheme.look(raw, previous, memory, None)
    second, _ = scheme.look(raw, previous, memory, past)
    lead = [-at.log_weights[0, 0].diff().item() for at in (first, second)]
    assert lead[0] == pytest.approx(10, abs=1e-3)
    assert lead[1] == pytest.approx(10 - 9, abs=1e-3)
    raw[..., -1] = -100
    second, _ = scheme.look(raw, previous, memory, past)
    torch.testing.assert_close(second.log_weights, first.log_weights)
