"""Variance of the trajectory estimators at 4 sequences each, relative to plain REINFORCE, and their bias.

    python benchmarks/variance_walk.py      # prints; benchmarks/variance.py puts it into the docs

A walk of 3 steps over 4 cells, costs standard normal. Nothing exact is given to the practical estimators: critics are
networks fitted to earlier rollouts of the same policy, 6,400 or 640.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from measured import Measured, Spread, by_policy, options_of, spread, summed_up, table
from torch import Tensor

from hardmem.addressing import sample_index
from hardmem.baselines import Baseline, make_baseline, squared_score
from hardmem.estimators import (
    ActionValue,
    Replay,
    TabularWalk,
    VarianceScale,
    all_action_surrogate,
    all_choices,
    cost_to_go,
    draw_sum_and_sample,
    draw_without_replacement,
    exact_gradient,
    expected_read_surrogate,
    extend_beams,
    lambda_returns,
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
DISCOUNT, TRACE_DECAY = 0.9, 0.9
FITTED = ("constant", "value", "input-dependent", "privileged")
"""Baselines with parameters. One walk is one problem: of it, the last two are told the step and nothing else."""
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
        self.action_value = ActionValue(width, CELLS).double()
        self.weighted_value = make_baseline("value", num_features=width).double()
        self.fitted = {name: make_baseline(name, num_features=width).double() for name in FITTED}
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

    def features(self, name: str, replay: Replay) -> Tensor:
        """What a fitted baseline judges by, (T, B, F)."""
        state = self.state(replay)
        if name in ("input-dependent", "privileged"):
            return F.one_hot(torch.arange(STEPS), state.shape[-1]).double().unsqueeze(1).expand_as(state)
        return state

    def fit_critics(self, num_batches: int) -> None:
        """200 updates, whatever the number of batches of 64 rollouts they go over."""
        learners = [self.action_value, self.weighted_value, *self.fitted.values()]
        parameters = [parameter for learner in learners for parameter in learner.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=2e-2)
        for update in range(200):
            if update * num_batches // 200 != (update - 1) * num_batches // 200:
                replay = self.draw(num=64)
                going, score = cost_to_go(replay.cost.detach()), squared_score(replay.log_weights, replay.choices)
            loss = self.action_value(going, self.state(replay), replay.mask, replay.choices[..., 0]).loss
            loss = loss + self.weighted_value(going, self.state(replay), score[..., 0]).loss
            for name, critic in self.fitted.items():
                loss = loss + critic(going, self.features(name, replay), replay.mask).loss
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


def judged(bench: Bench, replay: Replay, critic: Baseline, features: Tensor) -> dict:
    """By a baseline on the cost-to-go."""
    return {"baseline": critic(cost_to_go(replay.cost.detach()), features, replay.mask).value}


def baseline(name: str) -> Callable[[Bench, Replay], dict]:
    """By name; those that need training are the bench's own."""

    def make(bench: Bench, replay: Replay) -> dict:
        if name in FITTED:
            return judged(bench, replay, bench.fitted[name], bench.features(name, replay))
        features = bench.state(replay)
        if name == "optimal-scalar":
            features = squared_score(replay.log_weights, replay.choices)
        made = make_baseline(name, num_features=1, group_size=EVALUATIONS).double()
        if name == "moving-average":
            for _ in range(50):
                past = bench.draw(num=64)
                made(cost_to_go(past.cost.detach()), features, past.mask)
        return judged(bench, replay, made, features)

    return make


def weighted_value(bench: Bench, replay: Replay) -> dict:
    """A state value fitted by squared score."""
    return judged(bench, replay, bench.weighted_value, bench.state(replay))


def whole_leave_one_out(bench: Bench, replay: Replay) -> dict:
    """The paper's form: whole returns, compared with those of the other three."""
    whole = whole_cost(replay.cost.detach())
    made = make_baseline("leave-one-out", num_features=1, group_size=EVALUATIONS)
    return {"returns": whole, "baseline": made(whole, bench.state(replay), replay.mask).value}


def gae(bench: Bench, replay: Replay) -> dict:
    """With the learned value."""
    cost = replay.cost.detach()
    value = baseline("value")(bench, replay)["baseline"]
    returns = lambda_returns(cost, value, discount=1.0, trace_decay=TRACE_DECAY)
    return {"returns": returns, "baseline": value}


def settled(bench: Bench, replay: Replay) -> dict:
    """Judged by costs-to-go without the later draws' luck, minus the policy's mean of the learned Q."""
    cost, index, weights = replay.cost.detach(), replay.choices[..., 0], replay.log_weights[:, :, 0].detach()
    value = bench.action_value(cost_to_go(cost), bench.state(replay), replay.mask, index).value
    mean = (weights.exp() * value).sum(dim=-1)
    return {"returns": settled_returns(cost, luck(value, weights, index, replay.mask)), "baseline": mean}


def scaled(bench: Bench, replay: Replay) -> dict:
    """The scale that 50 earlier batches leave."""
    scale = VarianceScale().double()
    for _ in range(50):
        past = bench.draw(num=64)
        scale(cost_to_go(past.cost.detach()), past.mask)
    return {"scale": scale(cost_to_go(replay.cost.detach()), replay.mask)}


def expected_read(bench: Bench) -> tuple[Replay, Tensor]:
    """Each step's own cost averaged over all cells; no baseline on what comes later."""
    replay = bench.draw()
    leaf = replay.log_weights[:, :, 0].detach().requires_grad_()
    log_prob = leaf.gather(-1, replay.choices).squeeze(-1)
    loss = expected_read_surrogate(log_prob, leaf, replay.candidate_cost.detach(), mask=replay.mask)
    return replay, torch.autograd.grad(loss * ESTIMATES, leaf)[0]


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


def of_different(all_action: bool) -> Estimate:
    """Four different sequences, each counted with the probability it stands for; judged by cost-to-go or learned Q."""

    def estimate(bench: Bench) -> tuple[Replay, Tensor]:
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
        if all_action:
            value = bench.action_value(cost_to_go(cost), bench.state(replay), replay.mask, index).value
            returns = settled_returns(cost, luck(value, leaf, index, replay.mask))
            loss = all_action_surrogate(leaf, index, cost * counts, value, mask=replay.mask * counts, returns=returns)
        else:
            log_prob = leaf.gather(-1, replay.choices).squeeze(-1) * counts
            loss = surrogate(log_prob, cost * counts, returns=cost_to_go(cost))
        return replay, torch.autograd.grad(loss * ESTIMATES, leaf)[0]

    return estimate


PLAIN = ("none", "constant", "moving-average", "step-average", "value", "input-dependent", "privileged")
ARMS: dict[str, Estimate] = {
    "whole-return": of_surrogate(lambda bench, replay: {"returns": whole_cost(replay.cost)}),
    "cost-to-go": of_surrogate(lambda bench, replay: {}),
    "discounted": of_surrogate(lambda bench, replay: {"discount": DISCOUNT}),
    "gae": of_surrogate(gae),
    **{name: of_surrogate(baseline(name)) for name in (*PLAIN, "leave-one-out", "optimal-scalar", "group-mean")},
    "self-critical": of_surrogate(self_critical, sequences=3),
    "whole-return-leave-one-out": of_surrogate(whole_leave_one_out),
    "settled-returns": of_surrogate(settled),
    "all-action": of_all_action(),
    "expected-read": expected_read,
    "stratified": of_surrogate(lambda bench, replay: {}, group_size=EVALUATIONS),
    "weighted-set": of_different(all_action=False),
    "variance-scale": of_surrogate(scaled),
    "unordered-set": of_set(draw_without_replacement, unordered_set_surrogate),
    "sum-and-sample": of_set(draw_sum_and_sample, sum_and_sample_surrogate),
    "value by squared score": of_surrogate(weighted_value),
    "stratified + value": of_surrogate(baseline("value"), group_size=EVALUATIONS),
    "all-action + settled": of_all_action(settle=True),
    "all-action + settled + stratified": of_all_action(settle=True, group_size=EVALUATIONS),
    "all-action + settled + weighted-set": of_different(all_action=True),
    "all-action, exact Q given": of_all_action(exact=True),
}
"""By the catalogue's name, and combinations. The self-critical baseline plays 3 sequences and the greedy one."""

NEEDS_CRITIC = frozenset(
    arm for arm in ARMS if arm.startswith(("gae", "settled", "all-action", "input", "privileged")) or "value" in arm
) - {"all-action, exact Q given"}


def measure(critic_rollouts: int, arms: frozenset[str] | None = None) -> dict[str, list[Measured]]:
    """Per arm, what it does at each policy; of some arms alone if they are named."""

    def at_policy(sharpness: float) -> dict[str, Measured]:
        found: dict[str, list[Spread]] = {}
        for seed in range(WALKS):
            bench = Bench(sharpness, seed, critic_rollouts)
            for arm, estimate in ARMS.items():
                if arms is None or arm in arms or arm == "whole-return":
                    sequences = 3 if arm == "self-critical" else EVALUATIONS
                    gradient = bench.gradients(*estimate(bench), sequences)
                    found.setdefault(arm, []).append(spread(gradient, bench.exact))
        return summed_up(found, "whole-return")

    return by_policy(at_policy)


if __name__ == "__main__":
    options_of(__doc__)
    for rollouts in (6400, 640):
        print(table(measure(rollouts), f"critics from {rollouts:,} rollouts"))
