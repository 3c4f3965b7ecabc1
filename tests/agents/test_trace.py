"""What is seen inside: traces by hand, what they say in numbers, and pictures of every kind of learner."""

from __future__ import annotations

import math

import pytest
import torch

from hardmem.agents import AgentConfig, SequenceConfig
from hardmem.agents.figures import pixels, trace_figures
from hardmem.agents.learner import explained_variance
from hardmem.agents.trace import Trace, diagnose, trace, trace_agent
from hardmem.agents.training import make_learner
from hardmem.envs import ENVIRONMENTS

SMALL = {"max_length": 3, "start_length": 3, "num_symbols": 4}
CONFIGS = {
    "agent": AgentConfig(**SMALL),
    "content agent": AgentConfig(env="hardmem/FactRecallAssociative-v0", **SMALL),
    "self-paced agent": AgentConfig(env="hardmem/SlotRecall-v0", **SMALL),
    "hard": SequenceConfig(heads=("read", "write"), **SMALL),
    "soft": SequenceConfig(access="soft", addressing="content-location", order="move-write-read", **SMALL),
    "lstm": SequenceConfig(model="lstm", **SMALL),
}


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_learner_can_be_looked_into(name):
    """Shapes, weights that sum to one, recall equal to the score, a picture; and the learner is as before."""
    learner = make_learner(CONFIGS[name])
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    record = trace(learner, 20, generator(), max_length=3)
    steps, batch = record.mask.shape
    assert batch == 20
    assert record.shown.shape[:2] == record.answer.shape == record.target.shape == record.lag.shape == (steps, 20)
    assert (record.lag[record.mask] >= 1).all()
    if record.heads:
        assert record.weights.shape[:3] == (steps, 20, len(record.heads))
        torch.testing.assert_close(record.weights.sum(dim=-1), torch.ones(steps, 20, len(record.heads)))
        assert record.memory.shape[:2] == (steps + 1, record.weights.shape[-1])
        assert record.entropy.shape == (steps, 20, len(record.factors))
    diagnosis = diagnose(record)
    right = ((record.answer == record.target) & record.mask).sum(dim=0) / record.mask.sum(dim=0).clamp(min=1)
    score = learner.score(20, generator(), max_length=3)
    assert float(right.double().mean()) == pytest.approx(score.accuracy)
    assert set(diagnosis.entropy) == set(record.factors)
    figures = trace_figures(record)
    assert len(figures) == len(record.heads) + 1
    for figure in figures.values():
        image = pixels(figure)
        assert image.ndim == 3
        assert image.std() > 10  # something was drawn
    for key, value in learner.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_trace_of_an_oracle(monkeypatch):
    """Copy of (3, 1, 2), played by its oracle: heads, cells, answers and lags as the environment's page draws them."""
    learner = make_learner(AgentConfig(**SMALL))
    dynamics = learner.dynamics(3)
    state, _ = dynamics.start(dynamics.task.problem([3, 1, 2]))
    actions = []
    while bool(state.running.all()):
        actions.append(dynamics.oracle(state))
        state, _ = dynamics.step(state, actions[-1])
    feed = iter(actions)

    def forced(log_probs, *, greedy):
        index = next(feed)
        return record._replace(index=index)

    from hardmem.agents.policies import choose

    record = choose([torch.zeros(1, count).log_softmax(-1) for count in learner.policy.num_actions], greedy=True)
    monkeypatch.setattr("hardmem.agents.trace.choose", forced)
    played = trace_agent(learner, dynamics.task.problem([3, 1, 2]), 3)
    assert played.answer[played.mask].tolist() == played.target[played.mask].tolist() == [3, 1, 2]
    assert played.lag[played.mask].tolist() == [4, 4, 4]
    assert played.memory[4, :3, 0].tolist() == [3, 1, 2]
    assert played.weights[:3, 0, 0].argmax(dim=-1).tolist() == [0, 1, 2]
    assert played.weights[4:, 0, 0].argmax(dim=-1).tolist() == [0, 1, 2]
    diagnosis = diagnose(played)
    assert diagnosis.recall == {4: 1.0}
    assert diagnosis.entropy["answer"] == pytest.approx(torch.tensor(4.0).log().item())


def test_numbers_of_a_trace_by_hand():
    """Two problems, one head, two cells of four used evenly up to the last answer; what comes later does not count."""
    weights = torch.zeros(3, 2, 1, 4)
    weights[0, :, 0, 0] = weights[1, :, 0, 1] = weights[2, :, 0, 3] = 1
    mask = torch.tensor([[False, False], [True, True], [False, False]])
    record = Trace(
        shown=torch.zeros(3, 2, 1),
        answer=torch.tensor([[0, 0], [5, 6], [0, 0]]),
        target=torch.tensor([[0, 0], [5, 5], [0, 0]]),
        mask=mask,
        running=torch.tensor([[True, True], [True, True], [False, False]]),
        lag=torch.ones(3, 2, dtype=torch.long),
        heads=["head 0"],
        weights=weights,
        memory=torch.zeros(4, 4, 1),
        factors=["move"],
        entropy=torch.tensor([1.0, 2.0, 100.0]).reshape(3, 1, 1).expand(3, 2, 1),
    )
    diagnosis = diagnose(record)
    assert diagnosis.recall == {1: 0.5}
    assert diagnosis.entropy == {"move": pytest.approx(1.5)}
    assert diagnosis.use == {"cells_touched": pytest.approx(0.5), "evenness": pytest.approx(0.5)}


def test_explained_variance():
    """1 for a baseline that knows, 0 for the mean, half of the spread left: by hand; what is masked does not count."""
    to_go = torch.tensor([[1.0, 3.0, 99.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    assert explained_variance(to_go, to_go, mask) == pytest.approx(1)
    assert explained_variance(torch.tensor(2.0), to_go, mask) == pytest.approx(0)
    assert explained_variance(torch.tensor([[1.0, 2.0, 0.0]]), to_go, mask) == pytest.approx(0.75)
    assert explained_variance(-9 * to_go, to_go, mask) == pytest.approx(-1)


def test_all_environments_can_be_traced():
    """A line in the registry is enough."""
    for env in ENVIRONMENTS:
        learner = make_learner(AgentConfig(env=env, max_length=2, start_length=2, num_symbols=3))
        diagnosis = diagnose(trace(learner, 4, generator(), max_length=2))
        assert all(math.isfinite(nats) for nats in diagnosis.entropy.values())
        assert 0 < diagnosis.use["evenness"] <= 1.0001
