"""Episodes are counted right under every autoreset mode, where Gymnasium's own wrapper is and where it is not."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from hardmem.envs import EpisodeStatistics, mean_return

VERSION = tuple(int(number) for number in gym.__version__.split(".")[:2])


class Rewarded(gym.Env):
    """Three steps, a reward of 1 at each."""

    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return 0, {}

    def step(self, action):
        self.clock += 1
        return self.clock, 1.0, self.clock == 3, False, {}


def reports(env, num_steps, act):
    """Every episode that the wrapper reports, as (place, return, length), in order."""
    found = []
    env.reset(seed=0)
    for _ in range(num_steps):
        *_, terminated, truncated, info = env.step(act(env))
        ended = terminated | truncated
        assert ("episode" in info) == ("_episode" in info) == ended.any()
        if ended.any():
            np.testing.assert_array_equal(info["_episode"], ended)
            assert not any(values[~ended].any() for values in info["episode"].values())
            found += [(place, *(info["episode"][key][place] for key in "rl")) for place in np.flatnonzero(ended)]
            if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
                env.reset(options={"reset_mask": ended})
    return found


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("wrapper", [EpisodeStatistics, RecordEpisodeStatistics])
def test_an_episode_by_hand(mode, wrapper):
    """Three steps, 3.0. Gymnasium's wrapper, before 1.4, misses a step of all but the first under SAME_STEP."""
    env = wrapper(SyncVectorEnv([Rewarded] * 2, autoreset_mode=mode))
    counted = reports(env, 12, lambda env: np.zeros(2, dtype=np.int64))
    expected = [(place, 3.0, 3) for _ in range(3 if mode is AutoresetMode.NEXT_STEP else 4) for place in (0, 1)]
    if wrapper is RecordEpisodeStatistics and mode is AutoresetMode.SAME_STEP and VERSION < (1, 4):
        expected[2:] = [(place, 2.0, 2) for place, _, _ in expected[2:]]
    assert counted == expected


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_native_vector(mode):
    """Episodes of different lengths, each its own: the oracle's return is exactly 1.0 after 2 n + 1 steps."""
    env = EpisodeStatistics(
        gym.make_vec("hardmem/Copy-v0", 16, vectorization_mode="vector_entry_point", max_length=3, autoreset_mode=mode)
    )
    counted = reports(env, 40, lambda env: env.unwrapped.oracle())
    assert {earned for _, earned, _ in counted} == {1.0}
    assert {length for _, _, length in counted} == {3, 5, 7}
    steps = np.zeros(16)
    for place, _, length in counted:
        steps[place] += length + (mode is AutoresetMode.NEXT_STEP)  # the one whose action counts for nothing
    assert (steps >= 40 - 7).all()
    assert (steps <= 40 + 1).all()


@pytest.mark.parametrize(("wrapper", "expected"), [(EpisodeStatistics, 3), (RecordEpisodeStatistics, 2)])
def test_a_reset_begins_afresh(wrapper, expected):
    """Of those the mask names, or of all. Gymnasium's wrapper, as of 1.4, forgets the others, too: 2 of 3 steps."""
    env = wrapper(SyncVectorEnv([Rewarded] * 2, autoreset_mode=AutoresetMode.DISABLED))
    action = np.zeros(2, dtype=np.int64)
    env.reset(seed=0)
    env.step(action)
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step(action)
    *_, info = env.step(action)
    assert info["_episode"].tolist() == [False, True]
    assert (info["episode"]["r"].tolist(), info["episode"]["l"].tolist()) == ([0.0, expected], [0, expected])
    env.reset()
    assert [env.step(action)[-1] for _ in range(2)] == [{}, {}]
    assert env.step(action)[-1]["episode"]["l"].tolist() == [3, 3]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_mean_return_is_not_that_of_the_short_episodes(mode):
    """The first of each environment count. Answering the first turn only earns 1/n at length n: short ones more."""

    def act(observation):
        action = env.unwrapped.oracle()
        action[env.unwrapped._episodes.state.earned > 0, -1] = 0  # right by chance only if the symbol is 1
        return action

    env = gym.make_vec(
        "hardmem/Copy-v0", 64, vectorization_mode="vector_entry_point", num_symbols=1000, autoreset_mode=mode
    )
    expected = np.mean([1 / n for n in range(1, 11)])
    earned = mean_return(env, act, episodes=8, seed=0)
    assert abs(earned - expected) < 5 * np.std([1 / n for n in range(1, 11)]) / (64 * 8) ** 0.5
    assert mean_return(env, act, episodes=8, seed=0) == earned
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        mean_return(env, act, episodes=0)


def test_a_vector_must_state_its_mode():
    """One sentence."""
    env = SyncVectorEnv([Rewarded])
    env.metadata = {}
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\] of .* must be an AutoresetMode, got None"):
        EpisodeStatistics(env)
