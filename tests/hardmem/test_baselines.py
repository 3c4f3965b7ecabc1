"""Baselines worked by hand: what each says of a batch small enough to see."""

import pytest
import torch

from hardmem.baselines import BASELINES, make_baseline, other_choices, squared_score

COST_TO_GO = torch.tensor([[3.0, 1.0, 2.0, 6.0], [1.0, 0.0, 2.0, 4.0]])  # (T = 2, B = 4)
MASK = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]])


def judge(name: str, features: torch.Tensor | None = None, group_size: int = 2) -> torch.Tensor:
    features = torch.zeros(2, 4, 1) if features is None else features
    baseline = make_baseline(name, num_features=features.shape[-1], group_size=group_size)
    return baseline(COST_TO_GO, features, MASK).value


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    assert judge("leave-one-out").tolist() == [[1.0, 3.0, 6.0, 2.0], [0.0, 1.0, 4.0, 2.0]]
    assert judge("leave-one-out", group_size=4)[0].tolist() == [3.0, pytest.approx(11 / 3), pytest.approx(10 / 3), 2.0]


def test_group_mean_includes_the_own() -> None:
    assert judge("group-mean").tolist() == [[2.0, 2.0, 4.0, 4.0], [0.5, 0.5, 3.0, 3.0]]


def test_step_average_counts_only_those_still_running() -> None:
    assert judge("step-average")[1].tolist() == pytest.approx([3.0, 7 / 3, 2.5, 1.5])


def test_step_average_of_a_sequence_alone_is_zero() -> None:
    baseline = make_baseline("step-average", num_features=1)
    assert baseline(torch.ones(2, 1), torch.zeros(2, 1, 1), torch.ones(2, 1)).value.tolist() == [[0.0], [0.0]]


def test_optimal_scalar_weighs_the_others_by_their_squared_score() -> None:
    score = torch.tensor([1.0, 3.0, 1.0, 0.0]).expand(2, 4).unsqueeze(-1)
    value = judge("optimal-scalar", score, group_size=4)
    assert value[0, 0].item() == pytest.approx((3 * 1 + 1 * 2 + 0 * 6) / 4)


def test_self_critical_is_the_greedy_cost_to_go() -> None:
    greedy = torch.tensor([[2.0], [1.0]]).expand(2, 4).unsqueeze(-1)
    assert torch.equal(judge("self-critical", greedy), greedy.squeeze(-1))


def test_moving_average_judges_before_it_learns() -> None:
    baseline = make_baseline("moving-average", num_features=1)
    first = baseline(COST_TO_GO, torch.zeros(2, 4, 1), MASK).value
    second = baseline(COST_TO_GO * 100, torch.zeros(2, 4, 1), MASK).value
    assert first == 0
    assert second.item() == pytest.approx((COST_TO_GO * MASK).sum().item() / 7)


@pytest.mark.parametrize("name", ["constant", "value", "input-dependent", "privileged"])
def test_learned_baselines_fit_the_cost_to_go(name: str) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    baseline = make_baseline(name, num_features=3)
    optimizer = torch.optim.Adam(baseline.parameters(), lr=0.05)
    losses = []
    for _ in range(150):
        judgement = baseline(COST_TO_GO, features, MASK)
        optimizer.zero_grad()
        judgement.loss.backward()
        optimizer.step()
        losses.append(judgement.loss.item())
    assert not judgement.value.requires_grad
    spread = COST_TO_GO[MASK > 0].var(correction=0).item()
    assert losses[-1] < (1.1 * spread if name == "constant" else 0.1 * spread)


def test_action_dependent_judges_heads_apart_and_never_by_their_own_choice() -> None:
    state, index = torch.randn(2, 4, 3), torch.randint(0, 5, (2, 4, 2))
    changed = index.clone()
    changed[..., 0] = (index[..., 0] + 1) % 5
    before, after = (other_choices(state, choice, 5) for choice in (index, changed))
    assert before.shape == (2, 4, 2, 3 + 2 * 5 + 2)
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert not torch.equal(before[:, :, 1], after[:, :, 1])
    assert judge("action-dependent", before).shape == (2, 4, 2)


@pytest.mark.parametrize("name", ["value", "action-dependent"])
def test_weighted_by_squared_score_a_critic_learns_the_baseline_of_least_variance(name: str) -> None:
    """One head, p = (.9, .1), costs 0 and 1: the mean is .1, the weighted one .9 (weights .9 * .02 and .1 * 1.62)."""
    index = torch.tensor([[0] * 9 + [1]])
    log_weights = torch.tensor([0.9, 0.1]).log().expand(1, 10, 2)
    cost, features = index.float(), torch.ones(1, 10, 1)
    score, mask = squared_score(log_weights, index), torch.ones(1, 10)
    if name == "action-dependent":
        features, score = features.unsqueeze(2), score.unsqueeze(2)
    for weights, expected in ((mask, 0.1), (score, 0.9), (torch.zeros_like(score), None)):
        torch.manual_seed(0)
        critic = make_baseline(name, num_features=1)
        optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
        for _ in range(200):
            judgement = critic(cost, features, weights)
            optimizer.zero_grad()
            judgement.loss.backward()
            optimizer.step()
        assert judgement.loss.isfinite()
        if expected is not None:
            assert judgement.value.flatten().tolist() == pytest.approx([expected] * 10, abs=0.02)


def test_squared_score_is_the_squared_gradient() -> None:
    logits = torch.randn(4, dtype=torch.float64, requires_grad=True)
    log_weights = logits.log_softmax(dim=-1)
    for choice in range(4):
        (gradient,) = torch.autograd.grad(log_weights[choice], logits, retain_graph=True)
        found = squared_score(log_weights, torch.tensor(choice))
        torch.testing.assert_close(found, gradient.square().sum())


@pytest.mark.parametrize("name", ["leave-one-out", "group-mean", "optimal-scalar"])
def test_a_group_of_one_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="group_size must be at least 2, got 1"):
        make_baseline(name, num_features=1, group_size=1)


@pytest.mark.parametrize("name", ["leave-one-out", "group-mean"])
def test_a_batch_of_broken_groups_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"group_size = 3 of them: B must be a multiple of 3, got \(T, B\) = \(2, 4\)"):
        judge(name, group_size=3)


@pytest.mark.parametrize("name", ["self-critical", "optimal-scalar", "action-dependent"])
def test_features_of_another_kind_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"got \(2, 4, 3\)"):
        judge(name, torch.zeros(2, 4, 3))


def test_a_baseline_is_refused_where_its_features_are_not_offered() -> None:
    """A critic of the whole problem, given states, would see the choices it judges."""
    assert make_baseline("value", num_features=3, offers=("state",)).judges_by == "state"
    assert make_baseline("leave-one-out", num_features=3, group_size=2, offers=("state",)).judges_by == "nothing"
    with pytest.raises(ValueError, match=r"'privileged' judges by 'problem', and \['state'\] is all.*'value'"):
        make_baseline("privileged", num_features=3, offers=("state",))


def test_an_unknown_name_lists_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown baseline 'valeu'; choose one of .*leave-one-out"):
        make_baseline("valeu", num_features=1)


@pytest.mark.parametrize("name", BASELINES)
def test_float64_stays_float64(name: str) -> None:
    features = torch.zeros(2, 4, 2, 3) if name == "action-dependent" else torch.zeros(2, 4, 3)
    features = features[..., :1] if BASELINES[name].judges_by in ("greedy", "score") else features
    baseline = make_baseline(name, num_features=features.shape[-1], group_size=2).double()
    judgement = baseline(COST_TO_GO.double(), features.double(), MASK.double())
    assert judgement.value.dtype == judgement.loss.dtype == torch.float64
