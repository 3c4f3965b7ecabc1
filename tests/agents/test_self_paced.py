"""Agents where the input waits: they begin by going on, the bonus holds them to it, and no step is played in vain."""

from __future__ import annotations

import math

import pytest
import torch

from hardmem.agents import AgentConfig, train
from hardmem.agents.learner import Generators, Stage
from hardmem.agents.policies import GOES_ON, entropy_beside_going_on
from hardmem.agents.reinforce import AgentLearner, collect
from hardmem.agents.training import make_learner
from hardmem.envs import ENVIRONMENTS
from hardmem.envs.state import Script

SMALL = AgentConfig(env="hardmem/SlotRecall-v0", max_length=3, start_length=3, num_symbols=3, num_envs=64)


def generators():
    return Generators.seeded(0, torch.device("cpu"))


def test_a_policy_begins_by_going_on_where_the_input_waits():
    """With the stated probability; every other choice begins even, and all do where nothing waits."""
    learner = make_learner(SMALL)
    assert isinstance(learner, AgentLearner)
    dynamics = learner.dynamics(3)
    _, observation = dynamics.reset(5, generators().problems)
    log_probs, _, _ = learner.policy(observation, learner.policy.initial_hidden(5))
    for name, factor in zip(dynamics.factors, log_probs, strict=True):
        even = torch.full_like(factor, 1 / factor.shape[-1])
        expected = torch.tensor([1 - GOES_ON, GOES_ON]).expand(5, 2) if name == "pace" else even
        torch.testing.assert_close(factor.exp(), expected)
    clocked = make_learner(AgentConfig(max_length=3, start_length=3))
    assert isinstance(clocked, AgentLearner)
    assert not clocked.policy.head.bias.any()


def test_the_pace_is_held_to_where_it_begins():
    """By hand: minus the divergence from .9, and so 0 and without a slope there; the bonus has it for the entropy."""
    logits = torch.tensor([[0.1, 0.9], [0.5, 0.5], [1.0, 1.0]]).log().requires_grad_()
    value = entropy_beside_going_on(logits.log_softmax(dim=-1))
    expected = [0.0, math.log(2) + 0.5 * math.log(0.1 * 0.9)]
    torch.testing.assert_close(value, torch.tensor([*expected, expected[1]]))
    value.sum().backward()
    torch.testing.assert_close(logits.grad[0], torch.zeros(2))
    assert logits.grad[1, 1] > 0 > logits.grad[1, 0]

    learner = make_learner(SMALL)
    assert isinstance(learner, AgentLearner)
    dynamics, streams = learner.dynamics(3), generators()
    record = collect(dynamics, learner.policy, dynamics.reset(8, streams.problems), streams.choices).record
    entropies = record.entropy[0, 0].tolist()
    assert entropies[:2] == pytest.approx([math.log(4), math.log(2)])
    assert entropies[2] == pytest.approx(0, abs=1e-6)


def test_a_rollout_ends_with_its_last_episode():
    """Not after all the steps an episode may take; and it is as long as that where somebody waits for good."""
    learner, streams = make_learner(SMALL), generators()
    assert isinstance(learner, AgentLearner)
    dynamics = learner.dynamics(3)
    rollout = collect(dynamics, learner.policy, dynamics.reset(8, streams.problems), streams.choices)
    assert len(rollout.mask) < dynamics.max_steps / 2
    assert rollout.mask[-1].any()
    assert not rollout.state.running.any()
    with torch.no_grad():
        learner.policy.head.bias.neg_()  # waits
        waiting = collect(dynamics, learner.policy, dynamics.reset(8, streams.problems), None, greedy=True)
    assert len(waiting.mask) == dynamics.max_steps
    assert learner.batch(Stage(3), streams).steps > 64 * len(rollout.mask)


def test_greedy_play_is_compared_with_step_by_step_however_long_it_takes():
    """Its cost-to-go has the steps of what is judged, whichever of the two is longer."""
    learner = make_learner(AgentConfig(**{**vars(SMALL), "baseline": "self-critical"}))
    assert isinstance(learner, AgentLearner)
    dynamics, streams = learner.dynamics(3), generators()
    state, observation = dynamics.reset(64, streams.problems, group_size=8)
    script = Script(*(field.clone() for field in state.script))
    rollout = collect(dynamics, learner.policy, (state, observation), streams.choices)
    greedy = dynamics.begin(script)
    played = collect(dynamics, learner.policy, (greedy, dynamics.observe(greedy)), None, greedy=True)
    assert len(played.mask) < len(rollout.mask)
    for steps in (len(rollout.mask), len(played.mask) - 1):
        cost = learner._greedy_cost_to_go(dynamics, rollout._replace(mask=rollout.mask[:steps]))
        assert cost.shape == (steps, 64, 1)
        torch.testing.assert_close(cost[0, :, 0], -played.state.earned)
    assert torch.isfinite(learner.batch(Stage(3), streams).loss)


def test_a_waiting_input_is_copied(monkeypatch):
    """Copy in an environment that waits, as it is learned elsewhere: within seconds, and greedily without waiting."""
    monkeypatch.setitem(ENVIRONMENTS, "tests/Waiting-v0", {"task": "copy", "interface": "tape", "self_paced": True})
    config = AgentConfig(env="tests/Waiting-v0", max_length=3, start_length=3, num_symbols=3, num_envs=128)
    learner, outcome = train(AgentConfig(**{**vars(config), "max_updates": 150, "finish_updates": 10}))
    assert outcome.solved is not None
    assert learner.score(200, generators().test, max_length=3).exact >= 0.97
