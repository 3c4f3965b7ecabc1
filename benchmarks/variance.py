"""Variance of every estimator at equal evaluations of the cost, relative to plain REINFORCE; bias, time, memory.

    python benchmarks/variance.py --docs docs      # rewrites the measured tables and the figure of docs/estimators.md

A walk of 3 steps over 4 cells, costs standard normal; each estimate may evaluate 4 sequences. The policy is early, late
or peaked. Nothing exact is given to the practical estimators: critics are networks fitted to 6,400 earlier rollouts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.addressing import sample_index
from hardmem.baselines import make_baseline, squared_score
from hardmem.baselines.critics import Value
from hardmem.estimators import (
    ActionValue,
    Replay,
    TabularWalk,
    all_action_surrogate,
    all_choices,
    cost_to_go,
    draw_sum_and_sample,
    draw_without_replacement,
    exact_gradient,
    extend_beams,
    luck,
    set_weights,
    settled_returns,
    start_beams,
    stratified_index,
    sum_and_sample_surrogate,
    surrogate,
    unordered_set_surrogate,
    whole_cost,
)

STEPS, CELLS, EVALUATIONS, ESTIMATES, WALKS = 3, 4, 4, 4000, 6
POLICIES = {"early": 0.1, "late": 2.0, "peaked": 6.0}
Estimate = Callable[["Bench"], tuple[Replay, Tensor]]
"""Draw sequences and return them with the derivative of the loss by their log-weights, (T, G * 4, S)."""


class Bench:
    """One walk under one policy, with what a practical estimator may have learned of it before."""

    def __init__(self, sharpness: float, seed: int, critic_rollouts: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.walk = TabularWalk(
            num_contexts=1, num_steps=STEPS, num_choices=CELLS, sharpness=sharpness, generator=self.generator
        )
        self.everything = self.walk.replay(all_choices(STEPS, 1, CELLS), 0)
        self.exact = exact_gradient(self.everything, [self.walk.logits])[0].flatten()
        torch.manual_seed(seed)  # initial weights of the critics
        width = STEPS * CELLS
        self.value, self.action_value = Value(width, 1).double(), ActionValue(width, CELLS).double()
        self.fit_critics(critic_rollouts // 64)

    def draw(self, group_size: int = 0, num: int = ESTIMATES * EVALUATIONS) -> Replay:
        """Independent rollouts, or stratified ones in groups."""
        choices = torch.zeros(STEPS, num, 1, dtype=torch.int64)
        for t in range(STEPS):
            previous = choices[t - 1, :, 0] if t else choices[0, :, 0]
            weights = self.walk.log_weights(torch.full((num,), t), previous, 0).detach()
            choices[t] = (
                stratified_index(weights, group_size, self.generator)
                if group_size
                else sample_index(weights, self.generator)
            )
        return self.walk.replay(choices, 0)

    def state(self, replay: Replay) -> Tensor:
        """One-hot of step and cell before, (T, B, F)."""
        time_step = torch.arange(STEPS).unsqueeze(1)
        return F.one_hot(time_step * CELLS + self.walk.previous(replay.choices), STEPS * CELLS).double()

    def fit_critics(self, num_batches: int) -> None:
        """200 updates, whatever the number of batches of 64 rollouts they go over."""
        optimizer = torch.optim.Adam([*self.value.parameters(), *self.action_value.parameters()], lr=2e-2)
        for update in range(200):
            if update * num_batches // 200 != (update - 1) * num_batches // 200:
                replay = self.draw(num=64)
                known = cost_to_go(replay.cost.detach()), self.state(replay), replay.mask
            loss = self.value(*known).loss + self.action_value(*known, replay.choices[..., 0]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= 0.985

    def exact_action_value(self, replay: Replay) -> Tensor:
        """By backward induction: (T, B, S)."""
        after, rows = torch.zeros(CELLS, dtype=torch.float64), []
        for t in reversed(range(STEPS)):
            rows.append(self.walk.costs.detach()[0, t] + after)  # (cell before, cell now)
            weights = self.walk.log_weights(torch.full((CELLS,), t), torch.arange(CELLS), 0)[:, 0].detach().exp()
            after = (weights * rows[-1]).sum(dim=-1)
        table = torch.stack(rows[::-1])
        return table[torch.arange(STEPS).unsqueeze(1), self.walk.previous(replay.choices)]

    def gradients(self, replay: Replay, slope: Tensor, group: int = EVALUATIONS) -> Tensor:
        """Each estimate's gradient by the logits' table, (G, D): slope by log-weights pushed through the softmax."""
        weights = replay.log_weights[:, :, 0].detach().exp()
        logits = slope - weights * slope.sum(dim=-1, keepdim=True)
        rows = (torch.arange(STEPS).unsqueeze(1) * CELLS + self.walk.previous(replay.choices)).transpose(0, 1)
        table = torch.zeros(rows.shape[0], STEPS * CELLS, CELLS, dtype=torch.float64)
        table = table.scatter_add(1, rows.unsqueeze(-1).expand(-1, -1, CELLS), logits.transpose(0, 1))
        return table.flatten(1).unflatten(0, (-1, group)).sum(dim=1)


def of_surrogate(make: Callable[[Bench, Replay], dict], group_size: int = 0, sequences: int = EVALUATIONS) -> Estimate:
    """From keyword arguments of `surrogate` to an estimate."""

    def estimate(bench: Bench) -> tuple[Replay, Tensor]:
        replay = bench.draw(group_size, ESTIMATES * sequences)
        leaf = replay.log_weights[:, :, 0].detach().requires_grad_()
        log_prob = leaf.gather(-1, replay.choices).squeeze(-1)
        loss = surrogate(log_prob, replay.cost.detach(), **make(bench, replay)) * ESTIMATES
        return replay, torch.autograd.grad(loss, leaf)[0]

    return estimate


def baseline(name: str) -> Callable[[Bench, Replay], dict]:
    """By name; those that need training are the bench's own."""

    def make(bench: Bench, replay: Replay) -> dict:
        features = bench.state(replay)
        if name == "optimal-scalar":
            features = squared_score(replay.log_weights, replay.choices)
        made = bench.value if name == "value" else make_baseline(name, num_features=1, group_size=EVALUATIONS)
        made = made.double()
        if name == "moving-average":
            for _ in range(50):
                past = bench.draw(num=64)
                made(cost_to_go(past.cost.detach()), features, past.mask)
        return {"baseline": made(cost_to_go(replay.cost.detach()), features, replay.mask).value}

    return make


def self_critical(bench: Bench, replay: Replay) -> dict:
    """The greedy sequence as baseline: one of the four evaluations."""
    greedy = torch.zeros(STEPS, 1, 1, dtype=torch.int64)
    for t in range(STEPS):
        greedy[t] = bench.walk.replay(greedy, 0).log_weights[t].argmax(dim=-1)
    return {"baseline": cost_to_go(bench.walk.replay(greedy, 0).cost.detach())}


def of_all_action(exact: bool = False, settle: bool = False, group_size: int = 0) -> Estimate:
    """The all-action gradient, with a learned or the exact Q."""

    def estimate(bench: Bench) -> tuple[Replay, Tensor]:
        replay = bench.draw(group_size)
        cost, index = replay.cost.detach(), replay.choices[..., 0]
        leaf = replay.log_weights[:, :, 0].detach().requires_grad_()
        if exact:
            value = bench.exact_action_value(replay)
            returns = value.gather(-1, replay.choices).squeeze(-1)  # no correction: nothing to correct
        else:
            value = bench.action_value(cost_to_go(cost), bench.state(replay), replay.mask, index).value
            returns = settled_returns(cost, luck(value, leaf, index, replay.mask)) if settle else None
        loss = all_action_surrogate(leaf, index, cost, value, mask=replay.mask, returns=returns) * ESTIMATES
        return replay, torch.autograd.grad(loss, leaf)[0]

    return estimate


def of_set(draw: Callable[..., Tensor], loss: Callable[..., Tensor]) -> Estimate:
    """A choice estimator over whole sequences: all S^T of them as one choice."""

    def estimate(bench: Bench) -> tuple[Replay, Tensor]:
        sequences = bench.everything.log_prob[..., 0].sum(dim=0).detach()
        leaf = sequences.expand(ESTIMATES, -1).clone().requires_grad_()
        index = draw(leaf, EVALUATIONS, bench.generator)
        cost = bench.everything.cost.detach().sum(dim=0)[index]
        slope = torch.autograd.grad(loss(leaf, index, cost) * ESTIMATES, leaf)[0].gather(1, index).flatten()
        replay = bench.walk.replay(bench.everything.choices[:, index.flatten()], 0)
        chosen = F.one_hot(replay.choices[..., 0], CELLS)
        return replay, chosen * slope.unsqueeze(-1)

    return estimate


def all_action_set(bench: Bench) -> tuple[Replay, Tensor]:
    """Four different sequences, each counted with the probability it stands for, judged by the learned Q."""
    beams = start_beams(ESTIMATES, EVALUATIONS, bench.exact)
    choices = torch.zeros(STEPS, ESTIMATES, EVALUATIONS, dtype=torch.int64)
    for t in range(STEPS):
        previous = choices[t - 1] if t else choices[0]
        weights = bench.walk.log_weights(torch.full_like(previous, t), previous, 0)[:, :, 0].detach()
        parent, choice, beams = extend_beams(beams, weights, bench.generator)
        choices = choices.gather(2, parent.expand(STEPS, -1, -1))
        choices[t] = choice
    counts = set_weights(beams.log_prob).flatten() * EVALUATIONS
    replay = bench.walk.replay(choices.flatten(1).unsqueeze(-1), 0)
    cost, index = replay.cost.detach(), replay.choices[..., 0]
    leaf = replay.log_weights[:, :, 0].detach().requires_grad_()
    value = bench.action_value(cost_to_go(cost), bench.state(replay), replay.mask, index).value
    returns = settled_returns(cost, luck(value, leaf, index, replay.mask))
    loss = all_action_surrogate(leaf, index, cost * counts, value, mask=replay.mask * counts, returns=returns)
    return replay, torch.autograd.grad(loss * ESTIMATES, leaf)[0]


ARMS: dict[str, Estimate] = {
    "REINFORCE, whole return": of_surrogate(lambda bench, replay: {"returns": whole_cost(replay.cost)}),
    "cost-to-go": of_surrogate(lambda bench, replay: {}),
    "moving-average": of_surrogate(baseline("moving-average")),
    "step-average": of_surrogate(baseline("step-average")),
    "self-critical (3 + greedy)": of_surrogate(self_critical, sequences=3),
    "leave-one-out": of_surrogate(baseline("leave-one-out")),
    "optimal-scalar": of_surrogate(baseline("optimal-scalar")),
    "value": of_surrogate(baseline("value")),
    "stratified + value": of_surrogate(baseline("value"), group_size=EVALUATIONS),
    "sum-and-sample": of_set(draw_sum_and_sample, sum_and_sample_surrogate),
    "unordered-set": of_set(draw_without_replacement, unordered_set_surrogate),
    "all-action": of_all_action(),
    "all-action + settled": of_all_action(settle=True),
    "all-action + settled + stratified": of_all_action(settle=True, group_size=EVALUATIONS),
    "all-action + settled + set": all_action_set,
    "all-action, exact Q given": of_all_action(exact=True),
}


def measure(critic_rollouts: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Per arm and policy: variance relative to REINFORCE, and the bias in standard errors of its own mean."""
    result: dict[str, dict[str, tuple[float, float]]] = {arm: {} for arm in ARMS}
    for policy, sharpness in POLICIES.items():
        variances, biases = torch.zeros(len(ARMS), WALKS), torch.zeros(len(ARMS), WALKS)
        for seed in range(WALKS):
            bench = Bench(sharpness, seed, critic_rollouts)
            for row, (arm, estimate) in enumerate(ARMS.items()):
                sequences = 3 if "3 +" in arm else EVALUATIONS
                gradient = bench.gradients(*estimate(bench), sequences)
                variances[row, seed] = gradient.var(dim=0).sum()
                off = gradient.mean(dim=0) - bench.exact
                biases[row, seed] = off.norm() / (gradient.var(dim=0).sum() / len(gradient)).sqrt().clamp(min=1e-9)
        relative = (variances / variances[0]).log().mean(dim=1).exp()  # geometric mean over walks
        for row, arm in enumerate(ARMS):
            result[arm][policy] = (relative[row].item(), biases[row].mean().item())
    return result


LABELS = list(POLICIES)


def _cell(variance: float, bias: float | None = None) -> str:
    return f"{variance:.3f}" if bias is None else f"{variance:.3f} ({bias:.1f})"


def table(result: Mapping[str, Mapping[str, tuple[float, ...]]], first: str) -> str:
    """Markdown: variance per policy, the bias in brackets where it was measured."""
    lines = [f"| {first} | " + " | ".join(LABELS) + " |", "|---|" + "---|" * len(LABELS)]
    for arm, row in result.items():
        cells = " | ".join(_cell(*row[policy]) for policy in LABELS)
        lines.append(f"| {arm} | {cells} |")
    return "\n".join(lines)


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `<!-- name -->` and `<!-- /name -->` of a page."""
    before, rest = page.read_text().split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}")


def show(about: str, section: str, measure: Callable[[], str]) -> None:
    """The command line of a benchmark that makes one table: measure, print, and write the docs if asked to."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = measure()
    print(text)
    if options.docs:
        write_section(options.docs / "estimators.md", section, text)


def figure(result: dict[str, dict[str, tuple[float, float]]], path: Path) -> None:
    """One row of dots per arm: variance relative to REINFORCE, logarithmic."""
    arms = sorted(result, key=lambda arm: result[arm]["late"][0])
    fig, axes = plt.subplots(figsize=(7, 4.6))
    for policy, marker in zip(LABELS, "osD", strict=True):
        axes.plot([result[arm][policy][0] for arm in arms], range(len(arms)), marker, label=f"{policy} policy")
    axes.set(xscale="log", xlim=(1e-4, 5), xlabel="variance at 4 sequences, relative to REINFORCE (1)")
    axes.set_yticks(range(len(arms)), arms, fontsize=8)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.grid(axis="both", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, and write the docs if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="folder with estimators.md to rewrite")
    parser.add_argument("--critic-rollouts", type=int, default=6400, help="what critics are fitted to, at most 12,800")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.critic_rollouts)
    print(table(result, "estimator"))
    if options.docs:
        write_section(options.docs / "estimators.md", "variance", table(result, "estimator"))
        figure(result, options.docs / "images" / "estimators-variance.png")


if __name__ == "__main__":
    main()
