"""The VecEnv behaves as Stable-Baselines3's own does, over the same episodes."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytestmark = pytest.mark.ecosystem
pytest.importorskip("sb3_contrib")

from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported  # noqa: E402
from stable_baselines3.common.env_checker import check_env  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder  # noqa: E402

from hardmem.envs import ENVIRONMENTS, FLAT_ENVIRONMENTS, ExternalMemory, VectorExternalMemory  # noqa: E402
from hardmem.envs.sb3 import SB3VecEnv  # noqa: E402

CASES = [
    ("hardmem/Copy-v0", {"max_length": 3}),
    ("hardmem/CopyFlat-v0", {"max_length": 3}),
    ("hardmem/Copy-v0", {"max_length": 3, "max_episode_steps": 4}),
    ("hardmem/Copy-v0", {"max_length": 3, "observation": "dict"}),
    ("hardmem/SlotRecall-v0", {"preset": "easiest", "max_episode_steps": 10}),
    ("hardmem/FactRecallAssociative-v0", {"preset": "easiest"}),
]


def arrays(observation):
    return observation if isinstance(observation, dict) else {"": observation}


def assert_same(one, other):
    assert arrays(one).keys() == arrays(other).keys()
    for name, array in arrays(one).items():
        assert array.dtype == arrays(other)[name].dtype
        np.testing.assert_array_equal(array, arrays(other)[name])


@pytest.mark.parametrize("env_id", sorted([*ENVIRONMENTS, *FLAT_ENVIRONMENTS]))
@pytest.mark.filterwarnings("error")
def test_check_env_of_stable_baselines3(env_id):
    """Its checker, which asks for other things than Gymnasium's, has nothing to say either."""
    check_env(gym.make(env_id).unwrapped)


@pytest.mark.filterwarnings("ignore:.*is cut off after")
@pytest.mark.parametrize(("env_id", "arguments"), CASES, ids=str)
def test_one_environment_is_a_dummy_vec_env_of_one(env_id, arguments, memo_of):
    """Observations, rewards, ends and infos, through many episodes; only the time of an episode differs."""
    theirs = DummyVecEnv([lambda: Monitor(gym.make(env_id, **arguments))])
    ours = SB3VecEnv(env_id, 1, **arguments)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    theirs.seed(3)
    ours.seed(3)
    assert_same(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    ends, cuts = 0, 0
    while ends < 20:
        action = np.array([ours.action_space.sample()])
        (one, *ours_rest), (other, *theirs_rest) = ours.step(action), theirs.step(action)
        assert_same(one, other)
        for a, b in zip(ours_rest[:2], theirs_rest[:2], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        (info,), (their_info,) = ours_rest[2], theirs_rest[2]
        assert info.keys() == their_info.keys()
        assert info["TimeLimit.truncated"] == their_info["TimeLimit.truncated"]
        if theirs_rest[1][0]:
            assert_same(info["terminal_observation"], their_info["terminal_observation"])
            assert info["episode"]["l"] == their_info["episode"]["l"]
            assert info["episode"]["r"] == pytest.approx(their_info["episode"]["r"], abs=1e-6)
            assert type(info["episode"]["r"]) is float
            ends, cuts = ends + 1, cuts + info["TimeLimit.truncated"]
    assert (cuts > 0) == ("max_episode_steps" in arguments)
    if "observation" in arguments:
        memo_of("sb3", "stable-baselines3").works("dict")
        memo_of("sb3-contrib", "stable-baselines3", "sb3-contrib").works("dict")


@pytest.mark.parametrize("env_id", ["Blackjack-v1", "FrozenLake-v1"])
def test_an_external_memory_is_as_in_a_dummy_vec_env(env_id, memo_of):
    """Any vector, under SAME_STEP, here with cells beside it; at its end an episode's own info is told, too."""
    theirs = DummyVecEnv([lambda: Monitor(ExternalMemory(gym.make(env_id), "tape", 3))] * 4)
    vector = gym.make_vec(env_id, 4, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    ours = SB3VecEnv(VectorExternalMemory(vector, "tape", 3))
    assert (ours.num_envs, ours.observation_space, ours.action_space) == (
        4,
        theirs.observation_space,
        theirs.action_space,
    )
    theirs.seed(3)
    ours.seed(3)
    assert_same(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    ends = 0
    while ends < 50:
        action = np.array([ours.action_space.sample() for _ in range(4)])
        (one, reward, done, infos), (other, their_reward, their_done, their_infos) = (
            ours.step(action),
            theirs.step(action),
        )
        assert_same(one, other)
        np.testing.assert_array_equal(reward, their_reward)
        np.testing.assert_array_equal(done, their_done)
        for place in np.flatnonzero(done):
            assert infos[place].keys() == their_infos[place].keys()
            assert_same(infos[place]["terminal_observation"], their_infos[place]["terminal_observation"])
            for name in ("r", "l"):
                assert infos[place]["episode"][name] == their_infos[place]["episode"][name]
        ends += done.sum()
    assert ours.env_is_wrapped(Monitor) == [True] * 4
    memo_of("sb3", "stable-baselines3").works("external memory")
    memo_of("sb3-contrib", "stable-baselines3", "sb3-contrib").works("external memory")


def test_episodes_end_one_by_one():
    """Of 64 episodes of different lengths each reports its own; the oracle's return is exactly 1.0 in every one."""
    env = SB3VecEnv("hardmem/Copy-v0", 64, max_length=4)
    env.seed(0)
    env.reset()
    began, lengths = np.zeros(64, dtype=int), set()
    for step in range(1, 30):
        _, _, done, infos = env.step(np.stack(env.env_method("oracle")))
        for place, info in enumerate(infos):
            assert ("episode" in info) == ("terminal_observation" in info) == done[place]
            if done[place]:
                assert (info["episode"]["r"], info["episode"]["l"]) == (1.0, step - began[place])
                lengths.add(info["episode"]["l"])
                began[place] = step
    assert lengths == {3, 5, 7, 9}


def test_what_it_returns_does_not_change_later():
    """Observations, rewards, ends and infos of one step are not those of the next: a buffer may keep them."""
    env = SB3VecEnv("hardmem/Copy-v0", 2, max_length=1)
    seen = [env.reset()] + [env.step(np.stack(env.env_method("oracle"))) for _ in range(3)]
    kept = [np.array(seen[0])] + [[np.array(part) for part in step[:3]] for step in seen[1:]]
    last = {name: np.array(value) for name, value in seen[-1][3][0].items() if name == "terminal_observation"}
    for _ in range(5):
        env.step(np.stack([env.action_space.sample()] * 2))
    np.testing.assert_array_equal(seen[0], kept[0])
    for step, copies in zip(seen[1:], kept[1:], strict=True):
        for part, copy in zip(step[:3], copies, strict=True):
            np.testing.assert_array_equal(part, copy)
    np.testing.assert_array_equal(seen[-1][3][0]["terminal_observation"], last["terminal_observation"])


@pytest.mark.parametrize("env_id", ["hardmem/SlotRecallAssociative-v0", "hardmem/SlotRecallAssociativeFlat-v0"])
def test_masks_as_maskable_ppo_asks_for_them(env_id):
    """Found by its own test, (B, choices) bool, and those of the environments."""
    env = SB3VecEnv(env_id, 3)
    env.seed(0)
    env.reset()
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    choices = env.action_space.n if hasattr(env.action_space, "n") else env.action_space.nvec.sum()
    assert (masks.shape, masks.dtype) == ((3, choices), np.bool_)
    np.testing.assert_array_equal(masks, env.env.action_masks())
    assert not masks.all()
    assert len(env.env_method("action_masks", indices=[2, 0])) == 2


def test_seeds_and_options_hold_for_one_reset():
    """The same seed, the same problems; then others. Options likewise, and the same for all."""
    env = SB3VecEnv("hardmem/Copy-v0", 50)
    env.seed(7)
    first, second = env.reset(), env.reset()
    env.seed(7)
    np.testing.assert_array_equal(env.reset(), first)
    assert (first != second).any()
    env.set_options({"input": [5]})
    assert (env.reset()[:, :10].argmax(axis=1) == 5).all()
    assert not (env.reset()[:, :10].argmax(axis=1) == 5).all()
    env.set_options([{"input": [5]}, *[{}] * 49])
    with pytest.raises(ValueError, match="options must be the same for all environments"):
        env.reset()


def test_it_is_rendered_and_recorded(tmp_path):
    """Frames side by side, and a video by SB3's own recorder at the speed of the environment."""
    env = SB3VecEnv("hardmem/Copy-v0", 2, render_mode="rgb_array")
    env.reset()
    single = env.get_images()[0]
    assert env.render().shape[0] * env.render().shape[1] == 2 * single.shape[0] * single.shape[1]
    pytest.importorskip("moviepy")
    recorder = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=3)
    assert recorder.frames_per_sec == gym.make("hardmem/Copy-v0").metadata["render_fps"]
    recorder.reset()
    for _ in range(4):
        recorder.step(np.zeros((2, 3), dtype=np.int64))
    recorder.close()
    assert [file.suffix for file in tmp_path.iterdir()] == [".mp4"]


def test_bad_calls_are_named(memo_of):
    """One sentence each."""
    for mode in ("NextStep", "Disabled"):
        with pytest.raises(ValueError, match="SB3VecEnv takes no autoreset_mode: SB3 has one of its own"):
            SB3VecEnv("hardmem/Copy-v0", 2, autoreset_mode=mode)
    with pytest.raises(ValueError, match="SB3VecEnv takes no mask_info: call action_masks instead"):
        SB3VecEnv("hardmem/Copy-v0", 2, mask_info=True)
    with pytest.raises(ValueError, match=r"needs a vector environment of autoreset_mode SAME_STEP, got .*NEXT_STEP"):
        SB3VecEnv(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    with pytest.raises(ValueError, match=r"its own num_envs and arguments, got num_envs=3 and \['preset'\]"):
        SB3VecEnv(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"), 3, preset="easiest")
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        SB3VecEnv("hardmem/Copy-v0", 0)
    with pytest.raises(ValueError, match="environments of this package by id, got 'CartPole-v1': pass it a vector"):
        SB3VecEnv("CartPole-v1", 2)
    for other in (3, gym.make("hardmem/Copy-v0")):
        with pytest.raises(ValueError, match="takes the id of an environment, or a vector of them, got"):
            SB3VecEnv(other, 2)
    env = SB3VecEnv("hardmem/Copy-v0", 2)
    with pytest.raises(AttributeError, match=r"env_method can call one of .*, got 'reset'"):
        env.env_method("reset")
    with pytest.raises(AttributeError, match="cannot set 'max_length'"):
        env.set_attr("max_length", 3)
    assert not env.has_attr("no_such_thing")
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False, False]
    env.reset()
    with pytest.raises(ValueError, match="every action must lie in"):
        env.step(np.array([[9, 0, 0], [0, 0, 0]]))
    for memo in (memo_of("sb3", "stable-baselines3"), memo_of("sb3-contrib", "stable-baselines3", "sb3-contrib")):
        memo.works("NEXT_STEP", "refused")
        memo.works("DISABLED", "refused")
