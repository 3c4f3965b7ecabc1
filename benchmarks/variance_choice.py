"""Variance of the choice estimators at equal evaluations of the cost, relative to REINFORCE.

    python benchmarks/variance_choice.py --docs docs

One choice among 8, its cost re-evaluable at 4 points, also at weights between the corners (REBAR). The controls of
REBAR and RELAX are trained for 300 batches of 64 on the same policy. Figures are scaled to 4 evaluations: REBAR takes 3
per draw, RELAX 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from variance import POLICIES, show, table

from hardmem.addressing import sample_index
from hardmem.baselines import make_baseline
from hardmem.estimators import Rebar, Relax, relaxed, sum_and_sample, surrogate, unordered_set

CHOICES, ESTIMATES, PROBLEMS = 8, 4000, 6


class Choice:
    """Logits and a cost, standard normal at the corners and bent between them."""

    def __init__(self, sharpness: float, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        options = {"generator": self.generator, "dtype": torch.float64}
        self.logits = sharpness * torch.randn(CHOICES, **options)
        self.costs = torch.randn(CHOICES, **options)
        self.bend = torch.randn(CHOICES, CHOICES, **options) / CHOICES
        weights = self.logits.softmax(dim=0)
        self.exact = weights * (self.costs - weights @ self.costs)

    def at_weights(self, weights: Tensor) -> Tensor:
        return weights @ self.costs + torch.tanh(weights @ self.bend).square().sum(-1) * (1 - weights.square().sum(-1))

    def gradient(self, arm: str, num: int = ESTIMATES) -> Tensor:
        """Estimates of the logits' gradient, (num, S)."""
        per_estimate = 4 if arm in ("REINFORCE", "leave-one-out") else 1
        leaf = self.logits.expand(num * per_estimate, CHOICES).clone().requires_grad_()
        if arm == "unordered-set":
            loss = unordered_set(leaf, lambda index: self.costs[index], 4, self.generator)
        elif arm == "sum-and-sample":
            loss = sum_and_sample(leaf, lambda index: self.costs[index], 4, self.generator)
        elif arm in ("rebar", "relax"):
            loss = relaxed(leaf, self.at_weights, self.control[arm], self.generator).loss
        else:
            log_weights = leaf.log_softmax(dim=-1)
            index = sample_index(log_weights, self.generator)
            cost, mask = self.costs[index].unsqueeze(0), torch.ones(1, len(index))
            baseline = make_baseline("none" if arm == "REINFORCE" else arm, num_features=1, group_size=4)
            log_prob = log_weights.gather(1, index.unsqueeze(1)).T
            loss = surrogate(log_prob, cost, baseline=baseline(cost, cost.unsqueeze(-1), mask).value)
        (slope,) = torch.autograd.grad(loss * len(leaf), leaf)
        return slope.unflatten(0, (num, per_estimate)).mean(dim=1)

    def train_controls(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.control = {"rebar": Rebar().double(), "relax": Relax(CHOICES).double()}
        for control in self.control.values():
            optimizer = torch.optim.Adam(control.parameters(), lr=2e-2)
            for _ in range(300):
                batch = self.logits.expand(64, CHOICES)
                variance = relaxed(batch, self.at_weights, control, self.generator).variance
                optimizer.zero_grad()
                variance.backward()
                optimizer.step()


DRAWS = {
    "REINFORCE": 1.0,
    "leave-one-out": 1.0,
    "sum-and-sample": 1.0,
    "unordered-set": 1.0,
    "rebar": 3 / 4,
    "relax": 1 / 4,
}
"""By what the variance of one estimate is multiplied, so that all stand for 4 evaluations."""


def measure() -> dict[str, dict[str, tuple[float, float]]]:
    """As in variance.py."""
    result: dict[str, dict[str, tuple[float, float]]] = {arm: {} for arm in DRAWS}
    for policy, sharpness in POLICIES.items():
        variances, biases = torch.zeros(len(DRAWS), PROBLEMS), torch.zeros(len(DRAWS), PROBLEMS)
        for seed in range(PROBLEMS):
            choice = Choice(sharpness, seed)
            choice.train_controls(seed)
            for row, (arm, factor) in enumerate(DRAWS.items()):
                gradient = choice.gradient(arm)
                spread = gradient.var(dim=0).sum()
                variances[row, seed] = spread * factor
                biases[row, seed] = (gradient.mean(dim=0) - choice.exact).norm() / (spread / ESTIMATES).sqrt()
        relative = (variances / variances[0]).log().mean(dim=1).exp()
        for row, arm in enumerate(DRAWS):
            result[arm][policy] = (relative[row].item(), biases[row].mean().item())
    return result


if __name__ == "__main__":
    show(__doc__, "variance-choice", lambda: table(measure(), "estimator of one choice"))
