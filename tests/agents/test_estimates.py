"""Estimates by name: each trains, each that claims to be unbiased is, and what does not go together is refused."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from hardmem.access import ACCESS
from hardmem.agents import AgentConfig, SequenceConfig, train
from hardmem.agents.estimates import ESTIMATES, Played
from hardmem.agents.learner import Generators, Stage
from hardmem.agents.policies import POLICIES, Policy
from hardmem.agents.reinforce import collect
from hardmem.agents.training import Training, make_learner
from hardmem.baselines import BASELINES
from hardmem.estimators import ESTIMATORS, Replay, check_gradient
from tests import device_guard

AGENT = AgentConfig(max_length=2, start_length=2, num_symbols=3, num_envs=16, eval_problems=4, group_size=4)
SEQUENCE = SequenceConfig(max_length=2, start_length=2, num_symbols=4, eval_problems=4, group_size=4)
SELF_PACED = {"env": "hardmem/Overwrite-v0", "preset": "easiest"}
OF_MODELS = ("whole-return", "whole-return-leave-one-out", "discounted", "gae", "variance-scale")
"""Estimators that a sequence model can be trained by, beside the default one."""
FITTING = {"gae": "value", "all-action": "none", "stratified": "value"}
"""The baseline that goes with an estimator where the default one does not."""


def fitting(estimator: str) -> str:
    return next((FITTING[name] for name in estimator.split("+") if name in FITTING), "leave-one-out")


MIXED = [
    "all-action+settled-returns+stratified",
    "expected-read+all-action+settled-returns",
    "whole-return+variance-scale",
    "gae+stratified+expected-read",
]


def of_agents(**changes):
    return dataclasses.replace(AGENT, **changes)


CONFIGS = (
    [of_agents(estimator=name, baseline=fitting(name)) for name in [*ESTIMATES, *MIXED]]
    + [of_agents(baseline=name) for name in BASELINES]
    + [of_agents(baseline=name, **SELF_PACED) for name in ("privileged", "self-critical")]
    + [of_agents(estimator="expected-read", **SELF_PACED)]
    + [of_agents(policy=name, mask_actions=True) for name in POLICIES]
    + [of_agents(env="CartPole-v1", estimator=name, baseline=fitting(name)) for name in ("all-action", "stratified")]
    + [of_agents(env="CartPole-v1", baseline=name, policy="ntm") for name in ("self-critical", "value")]
    + [
        dataclasses.replace(SEQUENCE, estimator=name, baseline=fitting(name))
        for name in (*OF_MODELS, "whole-return+variance-scale")
    ]
    + [
        dataclasses.replace(SEQUENCE, baseline=name)
        for name, kind in BASELINES.items()
        if kind.judges_by in ("nothing", "state", "problem", "greedy")
    ]
)


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: "-".join([type(config).__name__, config.estimator, config.baseline])
)
def test_every_name_trains(config):
    """One update: everything that learns has a finite gradient, and weights change."""
    training = Training(dataclasses.replace(config, max_updates=1))
    before = [parameter.clone() for parameter in training.actor]
    training.update()
    assert any((new - old).abs().max() > 0 for new, old in zip(training.actor, before, strict=True))
    assert all(parameter.isfinite().all() for parameter in training.learner.parameters())
    assert all(parameter.grad is not None for parameter in training.critic)


@pytest.mark.parametrize(
    "config", [config for config in CONFIGS if config.max_length == 2 and "Cart" not in str(config)]
)
def test_no_name_waits_for_the_device(config):
    """No host read in an update, whatever it is judged by."""
    learner, streams = make_learner(config), Generators.seeded(0, torch.device("cpu"))
    learner.batch(Stage(2), streams)  # rules of a new length are tables, built once
    with device_guard.no_host_reads():
        learner.batch(Stage(2), streams).loss.backward()


def every_episode(learner, monkeypatch):
    """All episodes of Copy of one symbol, side by side, as a replay, and what features there are."""
    learner.double()
    forward, sizes = Policy.forward, learner.policy.num_actions
    monkeypatch.setattr(
        Policy, "forward", lambda self, seen, *rest, **options: forward(self, seen.double(), *rest, **options)
    )
    own = learner.config.policy == "ntm"
    drawn = ([2] if own else []) + sizes  # of the NTM's two cells first, then the action
    dynamics = learner.dynamics(1)
    steps = dynamics.max_steps
    script = torch.tensor(list(itertools.product(*[range(size) for size in drawn * steps])))
    feed = iter(script.T)
    monkeypatch.setattr("hardmem.agents.policies.sample_index", lambda logits, generator: next(feed))
    monkeypatch.setattr("hardmem.access.sample_index", lambda logits, generator: next(feed).unsqueeze(-1))
    start = dynamics.start(dynamics.task.problem([2]).repeat(len(script)))
    rollout = collect(dynamics, learner.policy, start, None, keep=not own)
    answers = None if own else -rollout.answers.double()
    choices = rollout.record.index
    running = torch.ones_like(rollout.mask).double()
    replay = Replay(choices, rollout.record.log_prob, -rollout.reward.double(), running, rollout.log_weights, answers)
    return replay, rollout, dynamics


UNBIASED = [
    ("cost-to-go", "none"),
    ("cost-to-go", "value"),
    ("cost-to-go", "input-dependent"),
    ("cost-to-go", "privileged"),
    ("cost-to-go", "self-critical"),
    ("cost-to-go", "action-dependent"),
    ("whole-return", "value"),
    ("settled-returns", "value"),
    ("all-action", "none"),
    ("all-action+settled-returns", "none"),
    ("expected-read", "value"),
    ("expected-read", "action-dependent"),
    ("expected-read+settled-returns", "none"),
    ("expected-read+all-action+settled-returns", "none"),
]


@pytest.mark.parametrize(("estimator", "baseline", "policy"), [(*pair, "gru") for pair in UNBIASED] + [
    ("cost-to-go", "value", "ntm"), ("whole-return", "none", "ntm")
])  # fmt: skip
def test_assembled_they_are_unbiased(estimator, baseline, policy, monkeypatch):
    """All episodes of a small problem, each weighted by its probability: the exact gradient, whatever a critic says.

    With an NTM as body, its own choices of address count among the choices.
    """
    config = AgentConfig(
        max_length=1, start_length=1, num_symbols=2, num_envs=4, group_size=2, hidden_size=5, policy=policy,
        estimator=estimator, baseline=baseline, num_cells=2, cell_width=3, addressing="absolute",
    )  # fmt: skip
    learner = make_learner(config)
    torch.manual_seed(0)
    for parameter in learner.policy.parameters():
        torch.nn.init.normal_(parameter)
    replay, rollout, dynamics = every_episode(learner, monkeypatch)

    def features(kind):
        if kind == "problem":
            return learner._problem_features(dynamics, rollout).double()
        if kind == "greedy":
            return torch.full_like(replay.cost, -0.7).unsqueeze(-1)  # any number will do
        return rollout.features.detach()

    def loss(batch):
        record = rollout.record._replace(index=batch.choices, log_prob=batch.log_prob)
        played = Played(record, batch.cost, batch.mask, batch.log_weights, batch.candidate_cost)
        return learner.estimate(played, learner.baseline, features).loss

    check = check_gradient(replay, list(learner.policy.parameters()), loss)
    assert max(exact.abs().max() for exact in check.exact) > 1e-3
    assert check.error < 1e-12


def test_copies_drawn_together_are_spread():
    """Of eight copies of a uniform policy four write, at every step."""
    learner = make_learner(of_agents(estimator="stratified", baseline="value", group_size=8))
    dynamics, streams = learner.dynamics(2), Generators.seeded(0, torch.device("cpu"))
    rollout = learner._play(dynamics, dynamics.reset(16, streams.problems, group_size=8), streams.choices)
    writes = rollout.record.index[..., 1].view(-1, 2, 8).sum(dim=-1)
    assert (writes == 4).all()


def test_masked_actions_leave_nothing_to_choose_where_no_answer_is_due():
    """The answer then is the first, with probability 1 and entropy 0; where one is due, it is uniform at first."""
    learner = make_learner(of_agents(mask_actions=True))
    dynamics, streams = learner.dynamics(2, 2), Generators.seeded(0, torch.device("cpu"))
    rollout = learner._play(dynamics, dynamics.reset(8, streams.problems), streams.choices)
    due = rollout.state.script.due[:, : len(rollout.mask)].T >= 0
    answer, entropy = rollout.record.index[..., -1], rollout.record.entropy[..., -1]
    assert (answer[~due] == 0).all()
    assert (entropy[~due] == 0).all()
    torch.testing.assert_close(entropy[due], torch.full_like(entropy[due], 3.0).log())


def test_a_policy_with_cells_of_its_own_remembers():
    """Where the environment's cells are wiped at every step, a policy without memory guesses; one with cells copies."""
    for policy in ("ntm", "feed-forward"):
        config = AgentConfig(policy=policy, max_length=2, start_length=2, num_symbols=2, num_envs=128, num_cells=4)
        learner = make_learner(config)
        learner._at_lengths = ((1, 2), learner.dynamics(2, wiped=True))
        optimizer, streams = torch.optim.Adam(learner.parameters(), lr=1e-2), Generators.seeded(0, torch.device("cpu"))
        for update in range(100 if policy == "ntm" else 30):
            optimizer.zero_grad()
            learner.batch(Stage(2, update), streams).loss.backward()
            optimizer.step()
        accuracy = learner.score(200, streams.test, max_length=2, wiped=True).accuracy
        assert accuracy > 0.8 if policy == "ntm" else accuracy < 0.65, policy


def test_the_registry_is_of_the_catalogue():
    """Names mean one thing, and of the estimators of whole trajectories only one asks for a loop of one's own."""
    assert set(ESTIMATES) <= set(ESTIMATORS)
    families = {"returns": set(ESTIMATES), "baseline": set(BASELINES), "relaxation": set(ACCESS)}
    families["trajectory"] = {*ESTIMATES, "weighted-set"}
    for name, record in ESTIMATORS.items():
        assert record.family == "choice" or name in families[record.family]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (of_agents(estimator="ppo"), "unknown estimator 'ppo'; choose among"),
        (of_agents(estimator="gae+discounted"), "'gae' and 'discounted' play the same part"),
        (of_agents(estimator="whole-return-leave-one-out", baseline="value"), "'leave-one-out', got 'value'"),
        (of_agents(estimator="gae"), "needs the critic of baseline='value', got 'leave-one-out'"),
        (of_agents(estimator="all-action"), "goes with baseline='none'"),
        (of_agents(estimator="stratified"), "no baseline may take them for independent"),
        (of_agents(estimator="stratified", baseline="none", group_size=1), "group_size >= 2"),
        (of_agents(estimator="settled-returns", policy="ntm"), "which only agents without an NTM body keep"),
        (of_agents(estimator="expected-read", env="CartPole-v1"), "one of hardmem's environments, no NTM"),
        (of_agents(baseline="privileged", env="CartPole-v1"), "'privileged' judges by 'problem'"),
        (of_agents(baseline="optimal-scalar", policy="ntm"), "'optimal-scalar' judges by 'score'"),
        (dataclasses.replace(SEQUENCE, estimator="stratified", baseline="none"), "needs an agent"),
        (dataclasses.replace(SEQUENCE, baseline="action-dependent"), "judges by 'state and other heads'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(config, message):
    """Saying what would."""
    with pytest.raises(ValueError, match=message):
        train(config)


def test_factors_in_their_ranges():
    """Discount and lambda are shares."""
    for name in ("discount", "trace_decay"):
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\], got 1.5"):
            dataclasses.replace(AGENT, **{name: 1.5})
