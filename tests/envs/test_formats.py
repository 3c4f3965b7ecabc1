"""How observations, actions, masks and infos look to a library: nothing lost, nothing live, nothing told."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from hardmem.envs import ENVIRONMENTS, TapeVectorEnv, TaskEnv, TaskVectorEnv, make_dynamics
from hardmem.envs.formats import Format

IDS = sorted(ENVIRONMENTS)
ACTIONS = ("multi-discrete", "discrete")


def make_vec(env_id, num_envs, **arguments):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **arguments)


@pytest.mark.parametrize("env_id", IDS)
def test_a_dict_observation_is_the_box_in_parts(env_id):
    """Single and batched, through the last observation too: the parts by name, each in its space, make up the box."""
    arguments = {"max_length": 2, "observable": True, "autoreset_mode": "SameStep"}
    box, parts = make_vec(env_id, 3, **arguments), make_vec(env_id, 3, observation="dict", **arguments)
    names = ["memory", "position", "shown", "under"]
    assert isinstance(parts.single_observation_space, gym.spaces.Dict)
    assert list(parts.single_observation_space) == names
    (one, _), (other, _) = box.reset(seed=0), parts.reset(seed=0)
    order = list(box.unwrapped.dynamics.parts)
    assert sorted(order) == names
    ended = 0
    while ended < 4:
        assert other in parts.observation_space
        np.testing.assert_array_equal(one, np.concatenate([other[name] for name in order], axis=1))
        action = box.unwrapped.oracle()
        one, *_, info = box.step(action)
        other, *_, parts_info = parts.step(action)
        for place in np.flatnonzero(info.get("_final_obs", [])):
            final = parts_info["final_obs"][place]
            assert final in parts.single_observation_space
            np.testing.assert_array_equal(info["final_obs"][place], np.concatenate([final[name] for name in order]))
            ended += 1
    assert list(gym.make(env_id, observation="dict").reset(seed=0)[0]) == list(
        make_dynamics(**ENVIRONMENTS[env_id]).parts
    )


@pytest.mark.parametrize("interface", ["Copy-v0", "CopyRandomAccess-v0", "FactRecallAssociative-v0"])
@pytest.mark.filterwarnings("error")
def test_check_env_is_clean_with_options(interface):
    """Dict observations, flat actions, masks, several heads, the fully observed twin: the checker finds nothing."""
    for arguments in (
        {"observation": "dict", "action": "discrete"},
        {"mask_info": True, "num_heads": 2},
        {"observable": True, "self_paced": True, "write": "symbol"},
        {"emit": "read", "observation": "dict", "mask_info": True},
    ):
        check_env(gym.make(f"hardmem/{interface}", **arguments).unwrapped)


@pytest.mark.parametrize("action", ACTIONS)
def test_masks_are_what_sample_takes(action):
    """Tuples of int8, single and batched: samples under them are legal, and no legal choice is left out."""
    env = gym.make("hardmem/Copy-v0", max_length=1, action=action, mask_info=True).unwrapped
    _, info = env.reset(seed=0)
    env.action_space.seed(0)
    for due in (False, False, True):
        mask = info["action_mask"]
        leaves = mask if action == "multi-discrete" else (mask,)
        assert isinstance(mask, tuple if action == "multi-discrete" else np.ndarray)
        assert all(leaf.dtype == np.int8 for leaf in leaves)
        np.testing.assert_array_equal(np.concatenate(leaves).astype(bool), env.action_masks())
        answers = {int(np.atleast_1d(env.action_space.sample(mask=mask))[-1]) % 8 for _ in range(300)}
        assert answers == (set(range(8)) if due else {0})
        *_, info = env.step(env.action_space.sample())


@pytest.mark.parametrize("action", ACTIONS)
def test_masks_of_a_vector_are_its_episodes(action):
    """One for each episode, as the space of a single one takes it; a batch of MultiDiscrete is a Box and takes none."""
    env = make_vec("hardmem/Copy-v0", 3, min_length=1, max_length=2, action=action, mask_info=True)
    _, info = env.reset(seed=0)
    env.single_action_space.seed(0)
    legal_counts = set()
    for _ in range(12):
        assert len(info["action_mask"]) == 3
        flat = env.unwrapped.action_masks()
        assert flat.dtype == np.bool_
        for mask, row in zip(info["action_mask"], flat, strict=True):
            leaves = mask if action == "multi-discrete" else (mask,)
            assert all(leaf.dtype == np.int8 for leaf in leaves)
            np.testing.assert_array_equal(np.concatenate(leaves).astype(bool), row)
        sample = np.array([env.single_action_space.sample(mask=mask) for mask in info["action_mask"]])
        factors = env.unwrapped.format.factors(sample)
        ends = np.cumsum([0, *env.unwrapped.dynamics.num_actions[:-1]])
        if action == "multi-discrete":
            assert np.take_along_axis(flat, factors + ends, axis=1).all()
        else:
            assert flat[np.arange(3), sample].all()
        legal_counts.add(int(flat.sum()))
        *_, info = env.step(sample)
    assert len(legal_counts) > 1


def test_masks_are_off_unless_asked_for():
    """By default an info is empty: neither masks nor answers."""
    env = gym.make("hardmem/Copy-v0")
    assert env.reset(seed=0)[1] == {}
    assert env.step(env.action_space.sample())[-1] == {}


@pytest.mark.parametrize("env_id", IDS)
def test_infos_tell_nothing_more(env_id):
    """The keys are those of masks and of Gymnasium's final observations, whatever happens."""
    for mode in AutoresetMode:
        env = make_vec(env_id, 4, preset="easiest", mask_info=True, autoreset_mode=mode)
        _, info = env.reset(seed=0)
        keys = set(info)
        for _ in range(12):
            *_, terminated, truncated, info = env.step(env.unwrapped.oracle())
            keys |= set(info)
            if mode is AutoresetMode.DISABLED:
                _, info = env.reset(options={"reset_mask": terminated | truncated})
                keys |= set(info)
        final = {"final_obs", "_final_obs", "final_info", "_final_info"}
        assert keys == {"action_mask"} | (final if mode is AutoresetMode.SAME_STEP else set())
        assert info.get("final_info", {}) == {}


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("observation", ["box", "dict"])
def test_nothing_returned_is_live(mode, observation):
    """Every array of a step or reset stays as it was, whatever comes later, and shares no memory with it."""
    env = make_vec(
        "hardmem/Copy-v0",
        3,
        max_length=1,
        mask_info=True,
        observation=observation,
        autoreset_mode=mode,
        self_paced=True,
    )
    outputs = [env.reset(seed=0)]
    for _ in range(10):
        outputs.append(env.step(env.unwrapped.oracle()))
        if mode is AutoresetMode.DISABLED:
            outputs.append(env.reset(options={"reset_mask": outputs[-1][2] | outputs[-1][3]}))
    leaves = [list(arrays(output)) for output in outputs]
    kept = [[array.copy() for array in step] for step in leaves]
    for _ in range(5):
        env.reset()
        env.step(env.action_space.sample())
    for step, copies in zip(leaves, kept, strict=True):
        for array, copy in zip(step, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
    inside = [*arrays(tuple(env.unwrapped._episodes.state.script)), env.unwrapped._episodes.state.earned]
    for number, step in enumerate(leaves):
        others = [array for other in leaves[number + 1 :] for array in other] + inside
        assert not any(np.may_share_memory(array, other) for array in step for other in others)


def arrays(tree):
    """The NumPy arrays of numbers in nested tuples, dicts and arrays of objects."""
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        yield tree
    elif isinstance(tree, tuple | list | np.ndarray):
        for branch in tree:
            yield from arrays(branch)
    elif isinstance(tree, dict):
        yield from arrays(tuple(tree.values()))


def test_a_single_environment_returns_nothing_live():
    """Neither observation nor mask changes when the next one comes."""
    env = gym.make("hardmem/Copy-v0", mask_info=True, max_length=1)
    outputs = [env.reset(seed=0)] + [env.step(env.action_space.sample()) for _ in range(3)]
    kept = [[array.copy() for array in arrays(output)] for output in outputs]
    env.reset()
    env.step(env.action_space.sample())
    for output, copies in zip(outputs, kept, strict=True):
        for array, copy in zip(arrays(output), copies, strict=True):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_gymnasium(mode):
    """Copies of the single environment, in turn or in processes, each seeded by its number: the same episodes."""
    singles = [gym.make("hardmem/FactRecallAssociativeFlat-v0", preset="easiest") for _ in range(2)]
    env = gym.make_vec("hardmem.envs:hardmem/FactRecallAssociativeFlat-v0", 2, mode, preset="easiest")
    observation, _ = env.reset(seed=5)
    alone = [single.reset(seed=5 + number)[0] for number, single in enumerate(singles)]
    env.action_space.seed(0)
    for _ in range(4):
        np.testing.assert_array_equal(observation, np.stack(alone))
        action = env.action_space.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        steps = [single.step(int(choice)) for single, choice in zip(singles, action, strict=True)]
        alone = [step[0] for step in steps]
        assert [reward.tolist(), terminated.tolist(), truncated.tolist()] == [[s[i] for s in steps] for i in (1, 2, 3)]
        if terminated.any():
            break
    env.close()


@pytest.mark.filterwarnings("ignore:The environment ")  # their wrapped environments say that it is one of `unwrapped`
def test_what_each_environment_has_is_said_as_gymnasium_says_it():
    """`call` and `get_attr` return what a vector of copies returns: of spaces, attributes and methods."""
    ours = make_vec("hardmem/Copy-v0", 2, render_mode="ansi")
    theirs = gym.make_vec("hardmem/Copy-v0", 2, "sync", render_mode="ansi")
    for env in (ours, theirs):
        env.reset(options={"input": [3, 1, 2]})
    for name in ("observation_space", "action_space", "render_mode", "render", "action_masks", "oracle"):
        for one, other in zip(ours.call(name), theirs.unwrapped.call(name), strict=True):
            np.testing.assert_equal(one, other)
    assert ours.get_attr("render_mode") == ("ansi", "ansi")
    assert TaskVectorEnv(2, "copy").get_attr("render_mode") == (None, None)
    with pytest.raises(AttributeError, match="has no attribute 'color'"):
        ours.get_attr("color")
    with pytest.raises(AttributeError, match=r"of the methods, each environment has one of .*got 'step'"):
        ours.call("step", 0)


@pytest.mark.filterwarnings("ignore:.*is cut off after")
def test_truncation_is_not_termination():
    """Cut off after a limit below the problem's end: truncated, single and batched; the end itself is a termination."""
    for limit, expected in ((4, (False, True)), (5, (True, False))):
        vector = make_vec("hardmem/Copy-v0", 2, min_length=2, max_length=2, max_episode_steps=limit)
        vector.reset(seed=0)
        for _ in range(limit - 1):
            _, _, terminated, truncated, _ = vector.step(vector.unwrapped.oracle())
            assert not (terminated | truncated).any()
        _, _, terminated, truncated, _ = vector.step(vector.unwrapped.oracle())
        assert [(bool(a), bool(b)) for a, b in zip(terminated, truncated, strict=True)] == [expected] * 2
    vector = make_vec("hardmem/Copy-v0", 2, max_length=2, max_episode_steps=3)
    vector.reset(options={"input": [5]})
    for _ in range(3):
        _, _, terminated, truncated, _ = vector.step(vector.unwrapped.oracle())
    assert (terminated.tolist(), truncated.tolist()) == ([True, True], [False, False])  # over just when time is up
    single = gym.make("hardmem/Copy-v0", min_length=2, max_length=2, max_episode_steps=4)
    single.reset(seed=0)
    ends = [single.step(single.unwrapped.oracle())[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_mode_is_said_twice(mode):
    """As an attribute and in the metadata, whether given by name or as a member."""
    for given in (mode, mode.value):
        env = make_vec("hardmem/Copy-v0", 2, autoreset_mode=given)
        assert env.metadata["autoreset_mode"] is env.unwrapped.autoreset_mode is mode


@pytest.mark.parametrize("kind", [TaskVectorEnv, TapeVectorEnv])
def test_a_vector_derives_directly_from_gymnasium(kind):
    """By the names of the bases alone, not of theirs, libraries such as skrl tell what to wrap it with."""
    assert any(base.__module__.startswith("gymnasium.") for base in kind.__bases__)


def test_same_step_autoreset_ends_one_and_plays_the_others_on():
    """`final_obs` is there for those that ended, None for the rest, and equals what NEXT_STEP shows at the end."""
    same = make_vec("hardmem/Copy-v0", 16, max_length=3, autoreset_mode="SameStep")
    following = make_vec("hardmem/Copy-v0", 16, max_length=3)
    same.reset(seed=0)
    following.reset(seed=0)
    for _ in range(3):
        action = same.unwrapped.oracle()
        observation, _, terminated, _, info = same.step(action)
        last, _, also, _, _ = following.step(action)
        np.testing.assert_array_equal(terminated, also)
    assert 0 < terminated.sum() < 16  # those of length 1
    np.testing.assert_array_equal(info["_final_obs"], terminated)
    for place, ended in enumerate(terminated):
        if ended:
            np.testing.assert_array_equal(info["final_obs"][place], last[place])
            assert observation[place, 1:9].any()  # a symbol is shown: the new episode's first
        else:
            assert info["final_obs"][place] is None
            np.testing.assert_array_equal(observation[place], last[place])


def test_a_reset_mask_restarts_one_under_way():
    """Ended or not, and leaves the others as they are, to the end of their episodes; an empty mask changes nothing."""
    env = make_vec("hardmem/Copy-v0", 3, min_length=3, max_length=3, autoreset_mode="Disabled")
    twin = make_vec("hardmem/Copy-v0", 3, min_length=3, max_length=3, autoreset_mode="Disabled")
    env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(2):
        env.step(env.unwrapped.oracle())
        before, *_ = twin.step(twin.unwrapped.oracle())
    np.testing.assert_array_equal(env.reset(options={"reset_mask": np.zeros(3, bool)})[0], before)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    for _ in range(5):
        ours, reward, terminated, _, _ = env.step(env.unwrapped.oracle())
        theirs, expected, ends, _, _ = twin.step(twin.unwrapped.oracle())
        np.testing.assert_array_equal(ours[[0, 2]], theirs[[0, 2]])
        np.testing.assert_array_equal(reward[[0, 2]], expected[[0, 2]])
    assert terminated.tolist() == [True, False, True]
    assert ends.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "tuple"}, r"unknown observation 'tuple'; choose one of \['box', 'dict'\]"),
        ({"action": "product"}, r"unknown action 'product'; choose one of \['discrete', 'multi-discrete'\]"),
        ({"render_mode": "human"}, r"unknown render_mode 'human'; choose one of \['ansi', 'rgb_array'\]"),
        ({"autoreset_mode": "never"}, "unknown autoreset_mode 'never'; choose one of"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """One sentence: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        TaskVectorEnv(2, "copy", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"render_mode": 1}, r"unknown render_mode 1; choose one of \['ansi', 'rgb_array'\]"),
        ({"render_mode": ["ansi"]}, r"unknown render_mode \['ansi'\]; choose one of"),
        ({"mask_info": "yes"}, "mask_info must be True or False, got 'yes'"),
        ({"endless": 1}, "endless must be True or False, got 1"),
        ({"device": "gpu"}, "no device 'gpu' here; choose cpu or a CUDA device that exists"),
        ({"device": 1.5}, "no device 1.5 here"),
        ({"device": "meta"}, "are played on the CPU: leave the device out, or .* got device='meta'"),
        ({"action": "discrete", "num_heads": 40}, r"fewer than 2 \*\* 63 actions, got 2 \*\* 123.0 of 81 factors"),
        ({"interface": ["tape"]}, r"unknown interface \['tape'\]; choose one of"),
        ({"preset": ["easiest"]}, r"unknown preset \['easiest'\] of copy; choose one of"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [gym.make, lambda env_id, **kwargs: gym.make_vec(env_id, 2, vectorization_mode="vector_entry_point", **kwargs)],
    ids=["single", "vector"],
)
def test_bad_arguments_of_any_type_are_named_by_gymnasium_too(make, arguments, message):
    """By `gym.make` as by `gym.make_vec`: a value of another type gets the same one sentence as a wrong name."""
    with pytest.raises(ValueError, match=message):
        make("hardmem/Copy-v0", **arguments)


@pytest.mark.parametrize(
    ("action", "bad", "message"),
    [
        ("discrete", [64, 0], r"must lie in Discrete\(64\), got 64 as number 0"),
        ("discrete", [0, -1], "got -1 as number 1"),
        ("discrete", [[0, 1, 2]] * 2, r"got int64 of shape \(2, 3\) where integers of shape \(2,\) are due"),
        ("multi-discrete", [[0.0, 1.0, 2.0]] * 2, r"got float64 of shape \(2, 3\) where integers"),
        ("multi-discrete", [[0, 2, 0]] * 2, r"got \[0, 2, 0\] as number 0"),
        ("multi-discrete", [[True, True, True]] * 2, r"got bool of shape"),
        ("multi-discrete", [[0, 1, 2], [0, 1]], r"in MultiDiscrete\(\[4 2 8\]\), got \[\[0, 1, 2\], \[0, 1\]\]"),
    ],
)
def test_bad_actions_are_named(action, bad, message):
    """One sentence, and the episodes are where they were."""
    env = TaskVectorEnv(2, "copy", action=action)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(bad)
    assert env._episodes.state.clock.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("action", "bad", "message"),
    [
        ("multi-discrete", [0, 0], r"got int64 of shape \(2,\) where integers of shape \(3,\) are due"),
        ("multi-discrete", [0, [0, 1], 2], r"must lie in MultiDiscrete\(\[4 2 8\]\), got \[0, \[0, 1\], 2\]"),
        ("discrete", [0], r"got int64 of shape \(1,\) where integers of shape \(\) are due"),
    ],
)
def test_bad_actions_of_a_single_environment_are_named_by_their_own_shape(action, bad, message):
    """Not by that of a batch of one, which nobody gave."""
    env = TaskEnv("copy", action=action)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(bad)


def test_bad_resets_are_named():
    """A mask of numbers, of another size, or before there is anything to reset; an option nobody knows."""
    env = TaskVectorEnv(2, "copy")
    with pytest.raises(RuntimeError, match="reset_mask was given before the first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    for mask in (np.array([1, 0]), np.array([True]), [[True, False]]):
        with pytest.raises(ValueError, match=r"reset_mask must be a bool array of shape \(2,\), got"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match=r"unknown reset option \['mask'\]; choose from \['input', 'reset_mask'\]"):
        env.reset(options={"mask": None})
    for method in (env.action_masks, env.oracle):
        assert len(method()) == 2
        fresh = getattr(TaskVectorEnv(2, "copy"), method.__name__)
        with pytest.raises(RuntimeError, match="nothing is under way yet: call reset first"):
            fresh()


@pytest.mark.parametrize("action", ["multi-discrete", "discrete"])
def test_large_numbers_are_not_cut_off(action):
    """A number that is legal in its last 32 bits alone is not, and a product of more than 2 ** 31 choices is."""
    rules = make_dynamics("copy", "random-access", num_cells=300, num_heads=4)
    both = Format(rules, 1, action=action)
    last = [n - 1 for n in rules.num_actions]
    legal = [last] if action == "multi-discrete" else [both.single_action_space.n - 1]
    assert both.factors(np.array(legal)).tolist() == [last]
    with pytest.raises(ValueError, match="as number 0"):
        both.factors(np.array(legal) + 2**48)
