"""The surrogate loss and its baselines: exact by enumeration, and worked by hand."""

import copy
import itertools

import pytest
import torch

from hardmem import access as access_module
from hardmem.access import sampled
from hardmem.baselines import MovingAverage, make_baseline
from hardmem.estimators import cost_to_go, surrogate
from hardmem.models import NTM
from hardmem.models.ntm import ORDERS
from tests.estimator_cases import PLAIN_BASELINES

T, B = 3, 4


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def judge(name: str, group_size: int = 2):
    torch.manual_seed(0)
    return make_baseline(name, num_features=5, group_size=group_size).double()


class Enumeration:
    """All sequences of addresses of a small hard machine on one problem, as one batch.

    Two cells, one head, T steps: 2**T sequences; `log_prob` (T, B), `cost` (T, B), `features` (T, B, 5).
    """

    def __init__(self, monkeypatch, order: str, steps: int) -> None:
        torch.manual_seed(0)
        self.ntm = NTM(
            2, 3, num_cells=2, cell_width=2, hidden_size=4, addressing="absolute", access="scripted",
            heads=("read-write",), order=order, memory_init=0.1,
        ).double()  # fmt: skip
        with torch.no_grad():
            for parameter in self.ntm.parameters():
                parameter.mul_(3)  # so that it matters where the head is
            self.ntm.scheme.following.zero_()  # and so that no way is nearly sure
        script = torch.tensor(list(itertools.product(range(2), repeat=steps))).T.unsqueeze(-1)  # (T, B, H)
        inputs = 3 * randn(steps, 1, 2, seed=1).expand(steps, script.shape[1], 2)
        turn = iter(script)
        monkeypatch.setitem(
            access_module.ACCESS, "scripted", lambda distribution, *_: access_module.hard(distribution, next(turn))
        )
        outputs, _, record = self.ntm.trace(inputs)
        assert torch.equal(record.index, script)
        self.log_prob = record.log_prob.squeeze(-1)
        self.cost = (outputs - randn(3, seed=2)).square().sum(dim=-1)
        self.features = randn(steps, 1, 5, seed=3).expand(steps, script.shape[1], 5)
        self.prob = self.log_prob.sum(dim=0).exp()

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        gradients = torch.autograd.grad(loss, list(self.ntm.parameters()), retain_graph=True, materialize_grads=True)
        return torch.cat([gradient.flatten() for gradient in gradients])

    def exact(self) -> torch.Tensor:
        """Of the expected cost, where both probabilities and costs depend on the parameters."""
        return self.gradient((self.prob * self.cost.sum(dim=0)).sum())


@pytest.fixture(params=ORDERS)
def enumeration(request, monkeypatch):
    """Three steps, eight sequences."""
    monkeypatch.setitem(access_module.ACCESS, "scripted", sampled)  # so that the name is known from the start
    return lambda steps: Enumeration(monkeypatch, request.param, steps)


def test_gradient_equals_the_enumerated_one(enumeration):
    """Each sequence weighted by its probability: the exact gradient, pathwise term included, with no sampling."""
    all_sequences = enumeration(3)
    torch.testing.assert_close(all_sequences.prob.sum().item(), 1.0)
    losses = torch.stack(
        [surrogate(all_sequences.log_prob[:, [b]], all_sequences.cost[:, [b]]) for b in range(8)]
    )  # (B,)
    expected = all_sequences.gradient((all_sequences.prob.detach() * losses).sum())
    exact = all_sequences.exact()
    torch.testing.assert_close(expected, exact, rtol=0, atol=1e-12)

    # Neither term alone is the gradient, so the equality above needs both.
    cost = all_sequences.cost
    score = torch.stack([surrogate(all_sequences.log_prob[:, [b]], cost[:, [b]].detach()) for b in range(8)])
    for part in (score, cost.sum(dim=0)):
        assert (all_sequences.gradient((all_sequences.prob.detach() * part).sum()) - exact).norm() > 0.01 * exact.norm()


@pytest.mark.parametrize("name", PLAIN_BASELINES)
def test_no_baseline_changes_the_expected_gradient(name, enumeration):
    """Groups of two sequences of one problem, all 16 pairs weighted by their probability: still exact."""
    all_sequences, baseline, K = enumeration(2), judge(name), 2
    baseline(5 + randn(2, 4, seed=4).abs(), randn(2, 4, 5, seed=5), torch.ones(2, 4))  # an average to start from
    expected = 0
    for group in itertools.product(range(4), repeat=K):
        columns = list(group)
        log_prob, cost = all_sequences.log_prob[:, columns], all_sequences.cost[:, columns]
        value = copy.deepcopy(baseline)(
            cost_to_go(cost.detach()), all_sequences.features[:, columns], torch.ones(2, K)
        ).value
        probability = all_sequences.prob[columns].prod().detach()
        expected = expected + probability * surrogate(log_prob, cost, baseline=value)
    torch.testing.assert_close(all_sequences.gradient(expected), all_sequences.exact(), rtol=0, atol=1e-12)


def test_value_is_the_mean_cost():
    """Whatever the log-probabilities, the baseline and the discount; (T, B, H) is summed over H."""
    log_prob, cost = randn(T, B, 2).requires_grad_(), randn(T, B, seed=1)
    mean_cost = cost.sum(dim=0).mean()
    torch.testing.assert_close(surrogate(log_prob, cost), mean_cost)
    torch.testing.assert_close(surrogate(log_prob, cost, baseline=randn(T, B, seed=2), discount=0.5), mean_cost)
    per_head, summed = (
        torch.autograd.grad(surrogate(choices, cost), log_prob)[0] for choices in (log_prob, log_prob.sum(dim=-1))
    )
    torch.testing.assert_close(per_head, summed)


def test_gradient_by_hand():
    """Two sequences of two steps, costs to go (5, 4) and (2, 2), baseline 1: half of (4, 3) and (1, 1)."""
    log_prob = torch.zeros(2, 2, requires_grad=True)
    cost = torch.tensor([[1.0, 0.0], [4.0, 2.0]], requires_grad=True)
    baseline = torch.ones((), requires_grad=True)
    surrogate(log_prob, cost, baseline=baseline).backward()
    assert log_prob.grad.tolist() == [[2.0, 0.5], [1.5, 0.5]]
    assert cost.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]], "the pathwise term alone"
    assert baseline.grad is None


@pytest.mark.parametrize(
    ("discount", "expected"),
    [
        (1.0, [[7, 70], [6, 60], [4, 40]]),
        (0.5, [[3, 30], [4, 40], [4, 40]]),
        (0.0, [[1, 10], [2, 20], [4, 40]]),
    ],
)
def test_cost_to_go_by_hand(discount, expected):
    """1, 2, 4: undiscounted 7, 6, 4; halved per step 1 + 1 + 1, 2 + 2, 4; at 0 each step's own."""
    cost = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    torch.testing.assert_close(cost_to_go(cost, discount), torch.tensor(expected, dtype=torch.float32))


def test_discount_weighs_later_costs():
    """The score of step 0 meets cost 1 + 0.5 * 2, that of step 1 its own cost."""
    log_prob = torch.zeros(2, 1, requires_grad=True)
    surrogate(log_prob, torch.tensor([[1.0], [2.0]]), discount=0.5).backward()
    assert log_prob.grad.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("log_prob", "cost"), [((3, 4), (4, 3)), ((3,), (3,)), ((3, 4, 2, 1), (3, 4)), ((3, 4, 2), (3, 4, 2))]
)
def test_shapes_must_fit(log_prob, cost):
    """The message holds both shapes."""
    shown = [str(shape).replace("(", r"\(").replace(")", r"\)") for shape in (cost, log_prob)]
    with pytest.raises(ValueError, match=f"cost is {shown[0]}, log_prob is {shown[1]}"):
        surrogate(torch.zeros(log_prob), torch.zeros(cost))


@pytest.mark.parametrize("log_prob", [(3, 4), (3, 4, 2)])
@pytest.mark.parametrize("baseline", [(3, 4, 1), (1, 3, 4), (3, 4, 3), (4, 3), (3,), (1, 3, 4, 2)])
def test_a_baseline_of_another_shape_is_an_error(log_prob, baseline):
    """Also one that torch would broadcast."""
    with pytest.raises(ValueError, match="baseline must be"):
        surrogate(torch.zeros(log_prob), torch.zeros(3, 4), baseline=torch.zeros(baseline))


@pytest.mark.parametrize("baseline", [(), (1,), (4,), (3, 1), (1, 4), (3, 4), (3, 4, 2)])
def test_a_baseline_may_be_what_expands(baseline):
    """The same gradient as its expansion; (T, B, H) judges heads apart."""
    value = torch.randn(baseline, generator=torch.Generator().manual_seed(0))
    whole = value if value.dim() == 3 else value.expand(3, 4).unsqueeze(-1).expand(3, 4, 2)
    log_prob = torch.zeros(3, 4, 2, requires_grad=True)
    surrogate(log_prob, torch.ones(3, 4), baseline=value).backward()
    going = torch.tensor([3.0, 2.0, 1.0])[:, None, None]
    torch.testing.assert_close(log_prob.grad, (going - whole) / 4)


def test_returns_of_another_shape_are_an_error():
    """Also (T, 1), which torch would broadcast."""
    with pytest.raises(ValueError, match=r"\(T, B\) = \(3, 4\), got \(3, 1\)"):
        surrogate(torch.zeros(3, 4), torch.zeros(3, 4), returns=torch.zeros(3, 1))


@pytest.mark.parametrize("name", PLAIN_BASELINES)
def test_value_fits_the_batch_and_carries_no_gradient(name):
    """Broadcastable to (T, B); the loss is a scalar, with gradients only where something is learned."""
    baseline = judge(name)
    value, loss = baseline(randn(T, B), randn(T, B, 5, seed=1).requires_grad_(), torch.ones(T, B))
    assert torch.broadcast_to(value, (T, B)).shape == (T, B)
    assert not value.requires_grad
    assert loss.shape == ()
    assert loss.requires_grad == bool(list(baseline.parameters()))


@pytest.mark.parametrize("name", PLAIN_BASELINES)
def test_no_sequence_judges_itself(name):
    """Another cost in one column, of one step, leaves what is subtracted from that column as it was."""
    cost, features, mask = randn(T, B), randn(T, B, 5, seed=1), torch.ones(T, B)
    value = judge(name)(cost, features, mask).value.broadcast_to(T, B)
    for t in range(T):
        for b in range(B):
            other = cost.clone()
            other[t, b] += 100
            changed = judge(name)(other, features, mask).value.broadcast_to(T, B)
            torch.testing.assert_close(changed[:, b], value[:, b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PLAIN_BASELINES)
def test_saved_and_loaded_it_judges_the_same(tmp_path, name):
    """Averages and parameters are in the state dict."""
    baseline, batch = judge(name), (randn(T, B), randn(T, B, 5, seed=1), torch.ones(T, B))
    baseline(*batch)
    torch.save(baseline.state_dict(), tmp_path / "baseline.pt")
    other = make_baseline(name, num_features=5, group_size=2).double()
    other.load_state_dict(torch.load(tmp_path / "baseline.pt", weights_only=True))
    for field, same in zip(baseline(*batch), other(*batch), strict=True):
        torch.testing.assert_close(field, same, rtol=0, atol=0)


def test_leave_one_out_by_hand():
    """K = 3: each is judged by the mean of the two others of its problem, at the same step."""
    cost = torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 60.0], [0.0, 0.0, 6.0, 0.0, 0.0, 0.0]])
    value = make_baseline("leave-one-out", num_features=1, group_size=3)(cost, torch.zeros(2, 6, 1), cost).value
    assert value.tolist() == [[2.5, 2.0, 1.5, 40.0, 35.0, 15.0], [3.0, 3.0, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("group_size", [1, 0])
def test_leave_one_out_needs_a_group(group_size):
    """There would be nothing to compare with; the message names what came."""
    with pytest.raises(ValueError, match=f"group_size must be at least 2, got {group_size}"):
        make_baseline("leave-one-out", num_features=1, group_size=group_size)


def test_moving_average_judges_by_the_past():
    """Nothing, then the first batch's mean, then both weighted .09 : .1; masked steps do not count."""
    baseline = make_baseline("moving-average", num_features=1)
    mask, none = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.zeros(2, 2, 1)
    values = []
    for mean in (6.0, 2.0, 100.0):
        cost = torch.tensor([[mean - 1, mean], [mean + 1, 1e6]])
        values.append(baseline(cost, none, mask).value.item())
    assert values == pytest.approx([0.0, 6.0, (0.09 * 6 + 0.1 * 2) / 0.19], rel=1e-5)
    assert MovingAverage.DECAY == 0.9


def test_value_learns_by_least_squares():
    """The loss is the mean squared error over steps that count; features get no gradient, the network does."""
    baseline = judge("value")
    cost, features, mask = randn(2, 2), randn(2, 2, 5, seed=1).requires_grad_(), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    value, loss = baseline(cost, features, mask)
    torch.testing.assert_close(value, baseline.network(features).squeeze(-1).detach())
    errors = [(value[t, b] - cost[t, b]) ** 2 for t, b in ((0, 0), (0, 1), (1, 0))]
    torch.testing.assert_close(loss.detach(), sum(errors) / 3)
    loss.backward()
    assert features.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in baseline.parameters())


def test_unknown_baseline_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown baseline 'critic'; choose one of \[.*'leave-one-out', 'moving-av"):
        make_baseline("critic", num_features=1)
