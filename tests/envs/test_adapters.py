"""Gymnasium citizenship: ids and their JSON, one number for an action, seeds, autoreset by hand, given inputs."""

from __future__ import annotations

import importlib
import json
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from hardmem.envs import ENVIRONMENTS, FLAT_ENVIRONMENTS, episodes, make_dynamics
from hardmem.envs.formats import Format

IDS = sorted(ENVIRONMENTS)
FLAT_IDS = sorted(FLAT_ENVIRONMENTS)


def make_vec(env_id, num_envs, **kwargs):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


@pytest.mark.parametrize("env_id", IDS + FLAT_IDS)
def test_the_id_alone_is_enough(env_id):
    """The module's name in front of the id registers it, and what its JSON makes is the same environment."""
    env = gym.make(f"hardmem.envs:{env_id}")
    assert env.spec.id == env_id
    again = gym.make(EnvSpec.from_json(json.dumps(json.loads(env.spec.to_json()))))
    assert again.spec.kwargs == env.spec.kwargs
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)


@pytest.mark.parametrize("env_id", IDS)
def test_a_flat_id_takes_one_number(env_id):
    """A flat Box and a plain Discrete, single and batched; everything else is that of the id it stands beside."""
    flat, plain = gym.make(env_id.replace("-v0", "Flat-v0")), gym.make(env_id)
    assert flat.observation_space == plain.observation_space
    assert (len(flat.observation_space.shape), flat.observation_space.dtype) == (1, np.float32)
    assert flat.action_space == gym.spaces.Discrete(int(np.prod(plain.action_space.nvec)))
    assert flat.spec.max_episode_steps == plain.spec.max_episode_steps
    assert flat.spec.reward_threshold == plain.spec.reward_threshold
    vector = make_vec(env_id.replace("-v0", "Flat-v0"), 3)
    assert vector.action_space == gym.spaces.MultiDiscrete([flat.action_space.n] * 3)


@pytest.mark.parametrize("env_id", IDS)
def test_every_number_is_one_action(env_id):
    """All products of factors, each once, the last counting fastest; the masks are numbered alike."""
    rules = make_dynamics(**ENVIRONMENTS[env_id])
    flat = Format(rules, 1, action="discrete")
    n = flat.single_action_space.n
    expected = np.stack([axis.ravel() for axis in np.indices(rules.num_actions)], axis=1)
    factors = np.concatenate([flat.factors(np.array([number])) for number in range(n)])
    np.testing.assert_array_equal(factors, expected)
    legal = [np.arange(choices)[None] % 3 != 1 for choices in rules.num_actions]
    both = np.all([mask[0, column] for mask, column in zip(legal, expected.T, strict=True)], axis=0)
    np.testing.assert_array_equal(flat.flat_masks(legal), both[None])


def test_same_seed_same_episodes():
    """And other seeds, or no seed, other ones."""

    def inputs(seed):
        env = gym.make("hardmem/Copy-v0", min_length=10)
        observations = [env.reset(seed=seed)[0]]
        observations += [env.step(np.array([2, 0, 0]))[0] for _ in range(10)]
        return np.stack(observations)

    np.testing.assert_array_equal(inputs(5), inputs(5))
    assert (inputs(5) != inputs(6)).any()
    assert (inputs(None) != inputs(None)).any()


def test_next_step_autoreset():
    """The step after an end ignores its action, earns nothing and shows a new episode; the neighbour plays on."""
    env = make_vec("hardmem/Copy-v0", 2, max_length=1)
    assert env.metadata["autoreset_mode"] is env.autoreset_mode is AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    for _ in range(2):
        _, _, terminated, _, _ = env.step(env.oracle())
        assert not terminated.any()
    observation, reward, terminated, truncated, info = env.step(env.oracle())
    assert reward.tolist() == [1.0, 1.0]
    assert terminated.tolist() == [True, True]
    assert not truncated.any()
    assert info == {}
    observation, reward, terminated, _, _ = env.step(np.array([[3, 1, 7], [2, 1, 5]]))
    assert (reward.tolist(), terminated.tolist()) == ([0.0, 0.0], [False, False])
    assert observation[:, 1:9].any(axis=1).all()  # a symbol is shown: the new episode's first
    _, reward, _, _, _ = env.step(env.oracle())
    env.step(env.oracle())
    assert env.step(env.oracle())[1].tolist() == [1.0, 1.0]


def test_disabled_autoreset_restarts_what_the_mask_says():
    """And stepping an episode that has ended is refused."""
    env = make_vec("hardmem/Copy-v0", 2, max_length=1, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(3):
        last, _, terminated, _, _ = env.step(env.oracle())
    assert terminated.all()
    with pytest.raises(RuntimeError, match=r"episodes \[0, 1\] have ended"):
        env.step(np.zeros((2, 3), dtype=np.int64))
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert observation[0, 1:9].any()
    np.testing.assert_array_equal(observation[1], last[1])
    with pytest.raises(RuntimeError, match=r"episodes \[1\] have ended"):
        env.step(np.zeros((2, 3), dtype=np.int64))


def test_a_given_input_is_played():
    """`options["input"]` names the symbols; the oracle gives them back."""
    env = gym.make("hardmem/Copy-v0").unwrapped
    observation, _ = env.reset(options={"input": [3, 1, 2]})
    shown = [int(observation[:10].argmax())]
    for _ in range(3):
        observation, *_ = env.step(env.oracle())
        shown.append(int(observation[:10].argmax()))
    assert shown == [3, 1, 2, 9]
    assert [_answer(env) for _ in range(3)] == [3, 1, 2]


def _answer(env):
    env.step(env.oracle())
    return int(env.oracle()[-1]) + 1


def test_observations_are_fresh():
    """A caller who keeps them does not see them change."""
    env = make_vec("hardmem/Copy-v0", 3)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    for _ in range(3):
        env.step(env.action_space.sample())
    np.testing.assert_array_equal(first, kept)


def test_bad_calls_are_named():
    """One sentence each."""
    env = gym.make("hardmem/Copy-v0").unwrapped
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(np.array([0, 0, 0]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"must lie in MultiDiscrete\(\[4 2 8\]\), got \[4, 0, 0\] as number 0"):
        env.step(np.array([4, 0, 0]))
    with pytest.raises(ValueError, match=r"unknown reset option \['inputs'\]"):
        env.reset(options={"inputs": [1]})
    with pytest.raises(ValueError, match="1 to 8"):
        env.reset(options={"input": [9]})
    for options in (5, "input", [("input", [1])]):
        with pytest.raises(ValueError, match="the options of a reset must be a dict, got"):
            env.reset(options=options)
    for symbols in (5, "abc", [1.5]):
        with pytest.raises(ValueError, match="the input must be a list of whole numbers, got"):
            env.reset(options={"input": symbols})
    vector = make_vec("hardmem/Copy-v0", 2)
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"got \[0, -2, 0\] as number 1"):
        vector.step(np.array([[0, 0, 0], [0, -2, 0]]))
    with pytest.raises(ValueError, match=r"got int64 of shape \(3,\) where integers of shape \(2, 3\)"):
        vector.step(np.array([0, 0, 0]))
    with pytest.raises(ValueError, match=r"bool array of shape \(2,\)"):
        vector.reset(options={"reset_mask": [1, 0, 1]})
    with pytest.raises(ValueError, match="a reset takes an input, for all episodes, or a reset_mask, for fresh ones"):
        vector.reset(options={"reset_mask": np.array([True, False]), "input": [1]})
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_vec("hardmem/Copy-v0", 0)
    with pytest.raises(ValueError, match="num_envs must be a whole number, got True"):
        make_vec("hardmem/Copy-v0", True)


def test_without_stable_baselines3_one_sentence_says_what_to_install(monkeypatch):
    """Whether it is installed or not."""
    monkeypatch.delitem(sys.modules, "hardmem.envs.sb3", raising=False)
    for module in ("stable_baselines3", "stable_baselines3.common.monitor"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'needs Stable-Baselines3: pip install "hardmem\[sb3\]"'):
        importlib.import_module("hardmem.envs.sb3")


def test_a_vector_of_any_size_gets_the_same_problems(monkeypatch):
    """In order, across the borders of what is drawn at once: five together are the first five of one after another."""
    dynamics = make_dynamics("copy")
    monkeypatch.setattr(episodes, "STEPS_AHEAD", 3 * dynamics.task.num_steps)
    many, one = episodes.Episodes(dynamics, 5), episodes.Episodes(dynamics, 1)
    for player in (many, one):
        player.seed(np.random.default_rng(0))
    many.start()
    for place in range(5):
        one.start()
        for together, alone in zip(many.state.script, one.state.script, strict=True):
            np.testing.assert_array_equal(together[place], alone[0])
    many.restart(np.array([4, 1]))
    one.restart(np.array([0]))
    np.testing.assert_array_equal(many.state.script.row[4], one.state.script.row[0])


def test_eras_start_again_unseen(monkeypatch):
    """What cells hold is the same whether eras go on or start from 0 at every restart."""

    def observations():
        env = make_vec("hardmem/FactRecallRandomAccess-v0", 3, preset="easiest")
        seen = [env.reset(seed=0)[0]]
        env.action_space.seed(0)
        seen += [env.step(env.action_space.sample())[0] for _ in range(40)]
        return np.stack(seen), int(env.unwrapped._episodes.state.memory.era.max())

    plain, era = observations()
    monkeypatch.setattr(episodes, "LARGEST_ERA", 1)
    renewed, none = observations()
    np.testing.assert_array_equal(plain, renewed)
    assert era > none == 0


def test_as_many_symbols_as_an_int32_can_tell_apart():
    """The oracle earns everything, in one problem after another, where one symbol more is refused."""
    arguments = {"num_keys": 2**10 - 1, "max_length": 1, "distractors": 1, "num_cells": 4, "autoreset_mode": "SameStep"}
    env = make_vec("hardmem/FactRecallRandomAccess-v0", 2, num_symbols=2**11 - 2, **arguments)
    env.reset(seed=0)
    assert sum(env.step(env.unwrapped.oracle())[1] for _ in range(3 * 4)).tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match=r"fewer than 2 \*\* 31 things, got 1024 \* 1024 \* 2048: the symbols of each"):
        make_vec("hardmem/FactRecallRandomAccess-v0", 2, num_symbols=2**11 - 1, **arguments)


def test_fresh_problems_follow_a_given_one():
    """A vector whose problem was given goes on with drawn ones."""
    env = make_vec("hardmem/Copy-v0", 2, max_length=3, autoreset_mode="SameStep")
    env.reset(seed=0, options={"input": [3, 1]})
    rewards = sum(env.step(env.oracle())[1] for _ in range(5 + 7))
    assert (rewards > 1).all()


def test_each_episode_is_cut_off_at_its_own_age():
    """Three that began at different steps, none of which goes on: each is truncated after five steps of its own."""
    env = make_vec("hardmem/FactRecall-v0", 3, autoreset_mode="Disabled", max_episode_steps=5)
    with pytest.warns(UserWarning, match="cut off after 5"):
        env.reset(seed=0)
    waiting, cut = np.zeros((3, 4), dtype=np.int64), []
    for step in range(1, 12):
        if step in (2, 4):  # the second and the third begin anew before their second and fourth step
            env.reset(options={"reset_mask": np.arange(3) == step // 2})
        *_, terminated, truncated, _ = env.step(waiting)
        assert not terminated.any()
        cut.append(truncated.tolist())
        if truncated.any():
            env.reset(options={"reset_mask": truncated})
    assert [[step for step, row in enumerate(cut, 1) if row[place]] for place in range(3)] == [[5, 10], [6, 11], [8]]
