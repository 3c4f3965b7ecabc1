"""What Gymnasium and the libraries on it count on, for every id and option: spaces, types, no surprise."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from hardmem.envs import ENVIRONMENTS, FLAT_ENVIRONMENTS, TAPE_ENVIRONMENTS
from hardmem.envs.testing import autoreset_is_as_said

IDS, TAPES = sorted(ENVIRONMENTS), sorted(TAPE_ENVIRONMENTS)
FLAT_TAPES = [env_id.replace("-v0", "Flat-v0") for env_id in TAPES]
INTERFACES = ["hardmem/Copy-v0", "hardmem/CopyRandomAccess-v0", "hardmem/FactRecallAssociative-v0"]
OPTIONS = [
    {"observation": "dict"},
    {"action": "discrete"},
    {"mask_info": True},
    {"mask_info": True, "action": "discrete"},
    {"num_heads": 2},
    {"num_cells": 30},
    {"order": "move-answer-write"},
    {"order": "answer-write-move"},
    {"write": "symbol"},
    {"emit": "read"},
    {"self_paced": True},
    {"observable": True},
    {"wiped": True},
    {"preset": "easiest"},
    {"preset": "longest"},
    {"lag": 3},
]


def make_vec(env_id, num_envs, **arguments):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **arguments)


@pytest.mark.parametrize("env_id", INTERFACES)
@pytest.mark.parametrize("arguments", OPTIONS, ids=str)
@pytest.mark.filterwarnings("error")
def test_check_env_is_clean(env_id, arguments):
    """Every interface under every option, one at a time."""
    check_env(gym.make(env_id, **arguments).unwrapped)


@pytest.mark.filterwarnings("error")
def test_check_env_is_clean_for_any_moves():
    """The set of moves is an option of the tape alone."""
    for moves in ((-1, 0, 1), (0, 1, "home"), (-2, 1)):
        check_env(gym.make("hardmem/Copy-v0", moves=moves).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_the_default_spaces_are_the_plain_ones(env_id):
    """A flat float32 Box from 0 to 1 and a MultiDiscrete that starts at 0, with `Flat` a Discrete that does."""
    env, flat = gym.make(env_id), gym.make(env_id.replace("-v0", "Flat-v0"))
    for space in (env.observation_space, flat.observation_space):
        assert type(space) is spaces.Box
        assert (space.dtype, len(space.shape), space.low.min(), space.high.max()) == (np.float32, 1, 0, 1)
    assert type(env.action_space) is spaces.MultiDiscrete
    assert env.action_space.nvec.ndim == 1
    assert not env.action_space.start.any()
    assert type(flat.action_space) is spaces.Discrete
    assert flat.action_space.start == 0
    parts = gym.make(env_id, observation="dict").observation_space
    assert type(parts) is spaces.Dict
    assert {type(part) for part in parts.values()} == {spaces.Box}
    json.dumps([env.metadata["dials"], env.spec.kwargs])  # plain data


@pytest.mark.parametrize("env_id", FLAT_TAPES)
@pytest.mark.filterwarnings("error")
def test_a_flat_tape_takes_one_number(env_id):
    """Single and batched; everything else is that of the tape it stands beside."""
    flat, plain = gym.make(f"hardmem.envs:{env_id}"), gym.make(env_id.replace("Flat", ""))
    check_env(flat.unwrapped)
    assert flat.observation_space == plain.observation_space
    assert flat.action_space == spaces.Discrete(int(np.prod(plain.action_space.nvec)))
    assert flat.spec.max_episode_steps == plain.spec.max_episode_steps
    assert flat.spec.reward_threshold == plain.spec.reward_threshold
    assert make_vec(env_id, 3).action_space == spaces.MultiDiscrete([flat.action_space.n] * 3)


@pytest.mark.parametrize("env_id", [*IDS, *FLAT_ENVIRONMENTS, *TAPES, *FLAT_TAPES])
def test_what_a_step_returns_is_numpy_and_python(env_id):
    """A single one: the space's arrays, float and bool of Python. A vector: arrays of float64 and bool, (B,)."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    for _ in range(3):
        assert observation in env.observation_space
        assert isinstance(observation, np.ndarray | np.integer)
        assert info == {}
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
        if terminated:
            break
    many = make_vec(env_id, 3)
    many.action_space.seed(0)
    assert many.reset(seed=0)[0] in many.observation_space
    observation, reward, terminated, truncated, _ = many.step(many.action_space.sample())
    assert observation in many.observation_space
    assert [part.dtype for part in (reward, terminated, truncated)] == [np.float64, np.bool_, np.bool_]
    assert {part.shape for part in (reward, terminated, truncated)} == {(3,)}


@pytest.mark.parametrize("env_id", TAPES)
def test_the_vector_of_a_tape_knows_every_mode(env_id):
    """As those of all other environments do, by their contract."""
    autoreset_is_as_said(lambda mode: make_vec(env_id, 4, autoreset_mode=mode).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_the_observable_twin_shows_everything(env_id):
    """The part "memory" is what the cells hold, cell by cell, and "position" is where the heads are."""
    env = gym.make(env_id, observable=True, observation="dict", num_heads=2, preset="easiest").unwrapped
    rules = env.dynamics
    sizes = [size + 1 for size in rules.task.input_sizes]
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    full = 0
    for _ in range(6):
        state = env._episodes.state
        held = np.array(env._episodes.symbols(state.memory.codes()[0]))  # (N, C)
        rows = observation["memory"].reshape(rules.num_cells, sum(sizes))
        ends = np.cumsum(sizes)[:-1]
        shown = np.stack([part.argmax(axis=1) for part in np.split(rows, ends, axis=1)], axis=1)
        np.testing.assert_array_equal(shown, held)
        np.testing.assert_array_equal(observation["position"].reshape(2, -1).argmax(axis=1), state.head[0])
        full += held.any()
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    assert full or rules.task.num_steps < 3
