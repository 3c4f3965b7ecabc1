"""Enumeration as a user meets it: on a model of their own, and on the hard NTM of this library."""

import pytest
import torch
import torch.nn.functional as F

from hardmem import NTM, access, make_baseline, surrogate
from hardmem.estimators import GradientCheck, Replay, TabularWalk, all_choices, check_gradient, cost_to_go
from hardmem.estimators.enumeration import expected_cost, log_probability
from hardmem.memory import HardAddress


def test_all_choices_are_all_different() -> None:
    choices = all_choices(num_steps=2, num_heads=2, num_choices=3)
    assert choices.shape == (2, 81, 2)
    assert choices.transpose(0, 1).flatten(1).unique(dim=0).shape[0] == 81


def test_a_two_cell_case_by_hand() -> None:
    """One choice, p = (3/4, 1/4), costs 1 and 4: expected 7/4, slope p q (1 - 4) by the first logit."""
    logits = torch.tensor([3.0, 1.0], dtype=torch.float64).log().requires_grad_()
    cost = torch.tensor([[1.0, 4.0]], dtype=torch.float64)
    log_prob = logits.log_softmax(dim=0).unsqueeze(0)
    replay = Replay(all_choices(1, 1, 2), log_prob, cost, torch.ones_like(cost))
    assert expected_cost(replay).item() == pytest.approx(1.75)
    check = check_gradient(replay, [logits], lambda r: surrogate(r.log_prob, r.cost))
    assert check.exact[0].tolist() == pytest.approx([-0.5625, 0.5625])
    assert check.error < 1e-15


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"stops": True, "num_steps": 3}, {"num_heads": 2}])
def test_probabilities_of_all_sequences_sum_to_one(options: dict) -> None:
    walk = TabularWalk(num_choices=3, generator=torch.Generator().manual_seed(0), **options)
    replay = walk.replay(all_choices(walk.num_steps, walk.num_heads, 3), context=1)
    assert log_probability(replay).exp().sum().item() == pytest.approx(1.0)


def ntm_check(monkeypatch: pytest.MonkeyPatch, estimator, order: str, group_size: int = 1) -> GradientCheck:
    """Force every sequence of moves on a small hard NTM, two heads, in float64."""
    steps, cells, heads = 3, 3, ("read", "write")
    torch.manual_seed(0)
    choices = all_choices(steps, len(heads), cells)
    forced = list(choices)

    def replay_choices(distribution, num_cells, generator=None):
        index = forced.pop(0)
        log_prob = distribution.log_weights.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return HardAddress(index), access.AccessRecord(index, log_prob, torch.zeros_like(log_prob))

    monkeypatch.setitem(access.ACCESS, "replay-choices", replay_choices)
    ntm = NTM(
        2, 1, num_cells=cells, cell_width=2, hidden_size=4, addressing="absolute", access="replay-choices",
        heads=heads, order=order, memory_init=0.3,
    ).double()  # fmt: skip
    inputs = torch.randn(steps, 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs, _, record = ntm.trace(inputs.expand(-1, choices.shape[1], -1))
    cost = F.softplus(outputs.squeeze(-1))
    replay = Replay(choices, record.log_prob, cost, torch.ones_like(cost))
    return check_gradient(replay, list(ntm.parameters()), estimator, group_size)


@pytest.mark.parametrize("order", ["read-write-move", "move-write-read"])
def test_the_surrogate_is_exact_for_every_parameter_of_a_hard_ntm(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    check = ntm_check(monkeypatch, lambda r: surrogate(r.log_prob, r.cost), order)
    assert check.error < 1e-12
    assert max(gradient.abs().max() for gradient in check.exact) > 1e-3


def test_a_dropped_pathwise_term_shows_on_the_ntm(monkeypatch: pytest.MonkeyPatch) -> None:
    check = ntm_check(monkeypatch, lambda r: surrogate(r.log_prob, r.cost.detach()), "move-write-read")
    assert check.error > 1e-3


def test_a_group_mean_is_caught_where_leave_one_out_passes() -> None:
    """The leak of the own sample as it really happens: the same baseline, with and without it."""
    walk = TabularWalk(generator=torch.Generator().manual_seed(0))
    replay = walk.replay(all_choices(2, 1, 3), context=0)
    errors = {}
    for name in ("leave-one-out", "group-mean"):
        baseline = make_baseline(name, num_features=1, group_size=3)

        def estimator(r: Replay, baseline=baseline) -> torch.Tensor:
            value = baseline(cost_to_go(r.cost.detach()), r.cost.unsqueeze(-1), r.mask).value
            return surrogate(r.log_prob, r.cost, baseline=value)

        errors[name] = check_gradient(replay, [walk.logits, walk.costs], estimator, group_size=3).error
    assert errors["leave-one-out"] < 1e-12
    assert errors["group-mean"] > 1e-2
