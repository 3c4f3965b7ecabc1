"""Analysis: the optimal baseline against brute force, the running variance against the plain one."""

import pytest
import torch

from hardmem.estimators.analysis import GradientVariance, optimal_baseline


def scores() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All outcomes of one choice among four: score by the logits, cost, probability."""
    probability = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    return torch.eye(4, dtype=torch.float64) - probability, torch.tensor([1.0, 5.0, 2.0, 3.0]).double(), probability


def test_no_baseline_varies_less_in_any_coordinate() -> None:
    score, cost, probability = scores()
    best = optimal_baseline(score, cost, probability)

    def variance(baseline: torch.Tensor) -> torch.Tensor:
        estimate = score * (cost.unsqueeze(1) - baseline)
        mean = probability @ estimate
        return probability @ (estimate - mean).square()

    for step in (-0.1, 0.1):
        assert (variance(best) < variance(best + step)).all()


def test_samples_and_probabilities_agree() -> None:
    score, cost, probability = scores()
    counts = (probability * 10).round().long()
    sampled = optimal_baseline(score.repeat_interleave(counts, 0), cost.repeat_interleave(counts))
    torch.testing.assert_close(sampled, optimal_baseline(score, cost, probability))


def test_a_coordinate_without_score_gets_zero() -> None:
    assert optimal_baseline(torch.zeros(3, 2), torch.ones(3)).tolist() == [0.0, 0.0]


def test_wrong_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"score is \(3, 2\), cost is \(2,\)"):
        optimal_baseline(torch.zeros(3, 2), torch.zeros(2))


def test_running_variance_of_known_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.zeros(30, requires_grad=True), torch.zeros(20, requires_grad=True)]
    follower = GradientVariance(parameters, decay=0.98)
    for _ in range(300):
        parameters[0].grad = 1 + 2 * torch.randn(30, generator=generator)
        follower.update()  # the second has no gradient: it counts as zero
    assert follower.variance().item() == pytest.approx(30 * 4, rel=0.15)
    # the mean of about 99 gradients: 30 of signal, and 30 * 4 / 99 of noise left
    assert follower.signal_to_noise().item() == pytest.approx(30 / 120, rel=0.3)
    assert list(follower.parameters()) == []


def test_constant_gradients_have_no_variance() -> None:
    parameter = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    follower = GradientVariance([parameter], decay=0.9)
    for _ in range(5):
        parameter.grad = torch.full((4,), 3.0, dtype=torch.float64)
        follower.update()
    assert follower.variance().item() == pytest.approx(0, abs=1e-10)
