"""Agents in environments of others: CartPole improves, masks are obeyed, episodes end where they end."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from hardmem.agents import AgentConfig, load, resume, train
from hardmem.agents.gymnasium_learner import GymnasiumLearner
from hardmem.agents.learner import Generators

CARTPOLE = AgentConfig(env="CartPole-v1", num_envs=16, eval_problems=16, max_updates=20, eval_every=20)


class Countdown(gym.Env):
    """Two factors of 3 and 2 choices from 5 and 0 on; pays the first, which may not be 1; ends after 2 to 4 steps."""

    observation_space = gym.spaces.Box(-1, 1, (2, 1), np.float32)
    action_space = gym.spaces.MultiDiscrete([3, 2], start=[5, 0])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 5))
        return np.zeros((2, 1), np.float32), {"action_mask": (np.array([1, 0, 1], np.int8), np.ones(2, np.int8))}

    def step(self, action):
        assert action[0] in (5, 7)
        self.left -= 1
        mask = (np.array([1, 0, 1], np.int8), np.array([0, 1], np.int8))  # from the second step on: only 1
        return np.ones((2, 1), np.float32), float(action[0] - 5), self.left == 0, False, {"action_mask": mask}


class Words(Countdown):
    """Shows as many numbers as it likes."""

    observation_space = gym.spaces.Sequence(gym.spaces.Discrete(3))


@pytest.fixture
def countdown():
    gym.register("Countdown-v0", Countdown)
    yield "Countdown-v0"
    del gym.registry["Countdown-v0"]


def test_cartpole_improves():
    """Chance holds the pole for some 22 steps; twenty updates of 16 episodes at least double that."""
    returns = []
    config = dataclasses.replace(CARTPOLE, max_updates=25, eval_every=1, eval_problems=1)
    train(config, on_progress=lambda progress: returns.append(progress.metrics["return"]))
    assert sum(returns[:3]) / 3 < 40
    assert sum(returns[-3:]) / 3 > 80


def test_a_run_of_it_is_a_run_like_any_other(tmp_path):
    """Stopped after half of the budget and gone on with, it ends as the undisturbed one."""
    config = dataclasses.replace(CARTPOLE, max_updates=4, eval_every=2)
    whole, _ = train(config)
    train(dataclasses.replace(config, max_updates=2), tmp_path / "run", problems=4)
    resume(tmp_path / "run", max_updates=4, problems=4)
    loaded = load(tmp_path / "run", "cpu")[0].state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in whole.state_dict().items())


def test_masks_ends_and_groups(countdown):
    """Choices that are masked are never drawn; what comes after an end counts nothing; copies start alike."""
    learner = GymnasiumLearner(AgentConfig(env=countdown, num_envs=32, group_size=4))
    streams = Generators.seeded(0, torch.device("cpu"))
    played, _ = learner.play(learner._seeds(streams.problems), streams.choices)
    record, reward, mask = played.record, -played.cost, played.mask
    assert record.index.shape == (4, 32, 2)
    lasted = mask.sum(dim=0)
    assert set(lasted.tolist()) == {2, 3, 4}
    assert torch.equal(lasted.view(8, 4), lasted.view(8, 4)[:, :1].expand(8, 4))
    assert set(record.index[..., 0][mask > 0].tolist()) == {0, 2}
    assert (record.index[1, :, 1] == 1).all()
    torch.testing.assert_close(record.log_prob[0], torch.full((32, 2), 0.5).log())  # among the legal ones
    torch.testing.assert_close(record.entropy[1], torch.tensor([[2.0, 1.0]]).log().expand(32, 2))
    assert (reward == record.index[..., 0] * mask).all()
    assert (record.log_prob[mask == 0] == 0).all()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Nonsense-v0", "unknown environment 'Nonsense-v0'"),
        ("nonsense:Nonsense-v0", "unknown environment"),
        ("Pendulum-v1", "actions, got Box"),
        ("Words-v0", "observations that can be flattened to a Box, got Sequence"),
    ],
)
def test_what_cannot_be_played_is_refused(env, message):
    """In one sentence."""
    gym.register("Words-v0", Words)
    try:
        with pytest.raises(ValueError, match=message):
            GymnasiumLearner(AgentConfig(env=env))
    finally:
        del gym.registry["Words-v0"]


@pytest.mark.parametrize(
    ("env", "width"), [("FrozenLake-v1", 16), ("hardmem/TapeCopy-v0", 6), ("hardmem/TapeReverseFlat-v0", 3)]
)
def test_symbols_are_seen_one_hot(env, width):
    """Discrete observations, those of the classic tapes among them: one input per symbol, and an update is made."""
    learner, _ = train(AgentConfig(env=env, num_envs=8, eval_problems=2, max_updates=1))
    assert learner.policy.body.layer.in_features == width
    assert learner.envs.reset(seed=0)[0].sum(axis=-1).tolist() == [1] * 8


def test_the_score_is_the_share_that_reaches_the_threshold(countdown):
    """CartPole asks for 475; the untrained policy never gets there. No threshold: nothing to count."""
    learner = GymnasiumLearner(CARTPOLE)
    generator = torch.Generator().manual_seed(0)
    assert learner.score(20, generator, max_length=10) == (0, 0)
    learner.threshold = 1
    assert learner.score(20, generator, max_length=10) == (1, 1)
    assert learner.score(20, generator, max_length=20) is None
    assert GymnasiumLearner(AgentConfig(env=countdown)).score(4, generator, max_length=10) == (0, 0)


def test_an_external_memory_can_be_put_beside_an_environment(countdown):
    """Its moves are factors before the environment's own; what is read joins what is seen; the run is one like any."""
    config = AgentConfig(
        env="FrozenLake-v1",
        external_memory="tape",
        memory_cells=3,
        num_envs=8,
        group_size=4,
        max_updates=2,
        eval_problems=1,
    )
    learner, _ = train(config)
    assert learner.policy.num_actions == [4, 2, 4]
    assert learner.policy.body.layer.in_features == 16 + 17
    masked = GymnasiumLearner(dataclasses.replace(config, env=countdown, external_memory="Bk"))
    streams = Generators.seeded(0, torch.device("cpu"))
    played, _ = masked.play(masked._seeds(streams.problems), streams.choices)
    assert played.record.index.shape == (4, 8, 5)
    assert set(played.record.index[..., 3][played.mask > 0].tolist()) == {0, 2}  # the environment's masks are obeyed
    with pytest.raises(ValueError, match="unknown memory 'stack'"):
        GymnasiumLearner(dataclasses.replace(config, external_memory="stack"))
