"""Choice estimators beside the proof: their draws, values worked by hand, their limits, their errors."""

import pytest
import torch

from hardmem.estimators import (
    Control,
    Rebar,
    Relax,
    TabularWalk,
    all_choices,
    draw_sum_and_sample,
    draw_without_replacement,
    extend_beams,
    relaxed,
    relaxed_surrogate,
    set_weights,
    start_beams,
    stratified_index,
    sum_and_sample,
    sum_and_sample_surrogate,
    unordered_set,
    unordered_set_surrogate,
    vimco,
    vimco_surrogate,
)
from hardmem.estimators.relaxed import conditional_gumbel

COST = torch.tensor([1.0, 4.0, 2.0, 8.0], dtype=torch.float64)


def leaf(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def exact(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    expected = (logits.softmax(dim=-1) * COST[: logits.shape[1]]).sum(dim=-1).mean()
    return expected, torch.autograd.grad(expected, logits)[0]


@pytest.mark.parametrize("estimator", [unordered_set, sum_and_sample])
def test_evaluating_all_choices_is_exact(estimator) -> None:
    logits = leaf([0.3, -1.0, 2.0, 0.0], [5.0, 0.0, 0.0, -5.0])
    loss = estimator(logits, lambda index: COST[index], 4, torch.Generator().manual_seed(0))
    value, gradient = exact(logits)
    torch.testing.assert_close(loss, value)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], gradient)


def test_two_of_two_choices_by_hand() -> None:
    """Of probabilities p = 3/4 and q = 1/4 the gradient by the first logit is p q (f0 - f1)."""
    logits = leaf([torch.tensor(3.0).log().item(), 0.0])
    loss = unordered_set(logits, lambda index: COST[index], 2, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(0.75 * 1 + 0.25 * 4)
    assert torch.autograd.grad(loss, logits)[0][0, 0].item() == pytest.approx(0.75 * 0.25 * (1 - 4))


def test_vimco_is_the_bound() -> None:
    cost = COST[:3].unsqueeze(0)
    found = vimco_surrogate(torch.zeros(1, 3, dtype=torch.float64), cost)
    assert found.item() == pytest.approx(-(-COST[:3]).exp().mean().log().item())
    logits = leaf([0.0, 1.0, 0.0, 0.0])
    vimco(logits, lambda index: COST[index], 3, torch.Generator().manual_seed(0)).backward()
    assert logits.grad.abs().sum() > 0


def test_draws_without_replacement_differ_and_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    index = draw_without_replacement(logits, 2, torch.Generator().manual_seed(0))
    assert (index[:, 0] != index[:, 1]).all()
    first = torch.bincount(index[:, 0], minlength=3) / 20_000
    torch.testing.assert_close(first, torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)
    second = torch.bincount(index[index[:, 0] == 0, 1], minlength=3) / (index[:, 0] == 0).sum()
    torch.testing.assert_close(second, torch.tensor([0.0, 0.6, 0.4]), atol=0.02, rtol=0)


def test_sum_and_sample_takes_the_likeliest_and_one_other() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().expand(3000, 4)
    index = draw_sum_and_sample(logits, 3, torch.Generator().manual_seed(0))
    assert (index[:, :2] == torch.tensor([1, 3])).all()
    share = (index[:, 2] == 2).float().mean().item()
    assert share == pytest.approx(2 / 3, abs=0.03)


def test_set_weights_sum_to_one_when_all_are_drawn() -> None:
    log_prob = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    torch.testing.assert_close(set_weights(log_prob), log_prob.exp())


@pytest.mark.parametrize("sharpness", [0.1, 2.0])
def test_beams_draw_sets_of_sequences_as_often_as_drawing_one_by_one_would(sharpness: float) -> None:
    """All 36 pairs of the 9 sequences of 2 steps over 3 cells; the log-probabilities are those of the sequences."""
    walk = TabularWalk(sharpness=sharpness, generator=torch.Generator().manual_seed(1))
    generator, draws = torch.Generator().manual_seed(0), 40_000
    beams, history = start_beams(draws, 2, walk.logits.detach()), torch.zeros(2, draws, 2, dtype=torch.int64)
    for step in range(2):
        previous = history[0] if step else torch.zeros(draws, 2, dtype=torch.int64)
        log_weights = walk.log_weights(torch.full_like(previous, step), previous, 0)[:, :, 0].detach()
        parent, choice, beams = extend_beams(beams, log_weights, generator)
        history = history.gather(2, parent.expand(2, -1, -1))
        history[step] = choice
    log_prob = walk.replay(history.flatten(1).unsqueeze(-1), 0).log_prob.sum(dim=(0, 2)).view(draws, 2)
    torch.testing.assert_close(log_prob.detach(), beams.log_prob)
    number = (history[0] * 3 + history[1]).sort(dim=1).values
    assert (number[:, 0] < number[:, 1]).all()
    found = torch.bincount(number[:, 0] * 9 + number[:, 1], minlength=81).view(9, 9) / draws
    p = walk.replay(all_choices(2, 1, 3), 0).log_prob.sum(dim=(0, 2)).detach().exp()
    pair = p.unsqueeze(1) * p / (1 - p).unsqueeze(1)
    torch.testing.assert_close(found, (pair + pair.T).triu(diagonal=1).float(), atol=0.01, rtol=0)


@pytest.mark.parametrize("group_size", [1, 2, 4])
def test_stratified_copies_are_spread_and_each_follows_the_policy(group_size: int) -> None:
    probs = torch.tensor([0.5, 0.25, 0.25, 0.0])
    index = stratified_index(probs.log().expand(8000, 1, 4), group_size, torch.Generator().manual_seed(0))
    copies = index.view(-1, group_size)
    for copy in copies.T:
        share = torch.bincount(copy, minlength=4) / len(copy)
        torch.testing.assert_close(share, probs, atol=0.03, rtol=0)
    if group_size == 4:  # exactly 2, 1 and 1 of each, in any order
        assert (copies.sort(dim=1).values == torch.tensor([0, 0, 1, 2])).all()


def test_conditional_gumbel_is_largest_where_told() -> None:
    generator = torch.Generator().manual_seed(0)
    log_weights = torch.randn(500, 5, generator=generator, dtype=torch.float64).log_softmax(dim=-1)
    index = torch.randint(0, 5, (500,), generator=generator)
    noise = torch.rand(500, 5, generator=generator, dtype=torch.float64)
    assert torch.equal(conditional_gumbel(log_weights, index, noise).argmax(dim=-1), index)


@pytest.mark.parametrize("control", [Rebar(), Relax(4)])
def test_the_two_noises_enter_by_terms_of_their_own(control: Control) -> None:
    """What lets the proof integrate both at once: exchanging them between two draws changes nothing in the sum."""
    generator = torch.Generator().manual_seed(0)
    first, second, third, fourth = torch.rand(4, 6, 4, generator=generator, dtype=torch.float64).unbind(0)
    log_weights = torch.randn(6, 4, generator=generator, dtype=torch.float64).log_softmax(dim=-1).requires_grad_()
    index = torch.randint(0, 4, (6,), generator=generator)

    def slope(*noise: torch.Tensor) -> torch.Tensor:
        loss = relaxed_surrogate(log_weights, index, noise, lambda weights: weights @ COST, control.double()).loss
        return torch.autograd.grad(loss, log_weights)[0]

    torch.testing.assert_close(slope(first, second) + slope(third, fourth), slope(first, fourth) + slope(third, second))


def test_a_trained_control_lowers_the_variance() -> None:
    logits, generator = leaf([0.2, -0.3, 0.1, 0.0]).expand(256, 4), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    rebar = Rebar().double()
    torch.nn.init.zeros_(rebar.scale)  # plain REINFORCE
    for control in (rebar, Relax(4).double()):
        optimizer, variances = torch.optim.Adam(control.parameters(), lr=0.03), []
        for _ in range(250):
            variance = relaxed(logits, lambda weights: weights @ COST, control, generator).variance
            optimizer.zero_grad()
            variance.backward()
            optimizer.step()
            variances.append(variance.item())
        assert sum(variances[-20:]) < 0.9 * sum(variances[:20])


def test_the_loss_of_a_relaxed_choice_is_its_cost() -> None:
    logits = leaf([50.0, 0.0, 0.0, -torch.inf])
    found = relaxed(logits, lambda weights: weights @ COST, Rebar().double(), torch.Generator().manual_seed(0))
    assert found.loss.item() == pytest.approx(1.0)
    found.loss.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("estimator", [unordered_set_surrogate, sum_and_sample_surrogate])
def test_one_evaluation_is_an_error(estimator) -> None:
    one = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"index and cost .* K at least 2: index is \(2, 1\)"):
        estimator(torch.zeros(2, 4), one.long(), one)


def test_vimco_with_one_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"K at least 2: log_prob is \(2, 1\), cost is \(2, 1\)"):
        vimco_surrogate(torch.zeros(2, 1), torch.zeros(2, 1))


def test_stratified_groups_must_fill_the_batch() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        stratified_index(torch.zeros(6, 1, 3), 4)
