"""Variance and bias of the choice estimators and the relaxations at equal evaluations of the cost, beside REINFORCE.

    python benchmarks/variance_choice.py      # prints; benchmarks/variance.py puts it into the docs

One choice among 8, its cost re-evaluable at 4 points, also at weights between the corners, where it bends (REBAR and
the relaxations). The controls of REBAR and RELAX are trained for 300 batches of 64 on the same policy. Figures are
scaled to 4 evaluations: REBAR takes 3 per draw, RELAX and the relaxations 1.
"""

from __future__ import annotations

import torch
from measured import Measured, Spread, by_policy, options_of, spread, summed_up, table
from torch import Tensor

from hardmem.access import ACCESS
from hardmem.addressing import dense, sample_index
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
        elif arm in ACCESS:
            address, _ = ACCESS[arm](dense(leaf.unsqueeze(1).log_softmax(dim=-1)), CHOICES, self.generator)
            loss = self.at_weights(address.weights).mean()
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
    "straight-through": 1 / 4,
    "reinmax": 1 / 4,
    "gumbel": 1 / 4,
    "top-k": 1 / 4,
}
"""By what the variance of one estimate is multiplied, so that all stand for 4 evaluations."""


def measure() -> dict[str, list[Measured]]:
    """Per arm, what it does at each policy."""

    def at_policy(sharpness: float) -> dict[str, Measured]:
        found: dict[str, list[Spread]] = {}
        for seed in range(PROBLEMS):
            choice = Choice(sharpness, seed)
            choice.train_controls(seed)
            for arm, factor in DRAWS.items():
                found.setdefault(arm, []).append(spread(choice.gradient(arm), choice.exact, factor))
        return summed_up(found, "REINFORCE")

    return by_policy(at_policy)


if __name__ == "__main__":
    options_of(__doc__)
    print(table(measure(), "estimator of one choice"))
