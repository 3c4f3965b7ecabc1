"""Tianshou sees the transitions that there were and learns from them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # it has warnings of its own
pytest.importorskip("tianshou")

from tianshou.algorithm.algorithm_base import Policy  # noqa: E402
from tianshou.data import Batch, Collector, VectorReplayBuffer  # noqa: E402
from tianshou.env import DummyVectorEnv  # noqa: E402

import hardmem.envs  # noqa: E402, F401
from tests.ecosystem.conftest import assert_bits, each_action, each_space, make_bits  # noqa: E402

LIBRARY, DISTRIBUTIONS = "tianshou", ("tianshou",)


def batched(num_envs=4, env_id="hardmem/Copy-v0", **arguments):
    env = DummyVectorEnv([lambda: gym.make(env_id, max_length=2, **arguments)] * num_envs)
    env.seed(3)
    return env


class Uniform(Policy):
    """Draws actions from the space of the environment."""

    def forward(self, batch, state=None, **_):
        return Batch(act=np.array([self.action_space.sample() for _ in batch.obs]))


def collected(env, num_steps, action_space=None):
    """What Tianshou's own collector puts into its buffer, environment by environment."""
    action_space = action_space or env.action_space[0]
    action_space.seed(0)
    buffer = VectorReplayBuffer(num_steps, len(env))
    collector = Collector(Uniform(action_space=action_space), env, buffer)
    collector.reset()
    collector.collect(n_step=num_steps)
    return buffer.buffers


def test_transitions():
    """Observation, reward, end and next observation are those of the same environments played by hand."""
    ended = 0
    for place, buffer in enumerate(collected(batched(), 160)):
        single = gym.make("hardmem/Copy-v0", max_length=2)
        single.reset(seed=3 + place)  # as `seed` does, and the collector once more
        observation, _ = single.reset()
        for number in range(40):
            told = buffer[number]
            np.testing.assert_array_equal(told.obs, observation)
            observation, reward, terminated, truncated, _ = single.step(told.act)
            np.testing.assert_array_equal(told.obs_next, observation)
            assert (told.rew, told.terminated, told.truncated) == (pytest.approx(reward), terminated, truncated)
            if terminated:
                observation, _ = single.reset()
                ended += 1
    assert ended > 20


@each_space
def test_spaces(feature, env_id, arguments, memo):
    """Its collector keeps what they show and takes what they act by."""
    (buffer, *_) = collected(batched(env_id=env_id, **arguments), 40)
    observation = gym.make(env_id, max_length=2, **arguments).observation_space.sample()
    if isinstance(observation, dict):
        assert set(buffer.obs.keys()) == set(observation)
    else:
        assert buffer.obs.shape[1:] == observation.shape
    memo.works(feature)


def test_external_memory(memo):
    """The bits it sets are seen. Its vector tells the spaces from within all wrappers, so those of one are taken."""
    env = DummyVectorEnv([make_bits] * 4)
    assert env.action_space[0] == gym.make("CartPole-v1").action_space
    for buffer in collected(env, 240, make_bits().action_space):
        assert buffer.done.any()
        assert_bits(buffer.obs_next, buffer.act)
    memo.works("external memory", "yes, its spaces from one")


@each_action
def test_it_learns(env_id, memo):
    """Its PPO."""
    memo.learns("tianshou_ppo.py", env_id, 50_000)
