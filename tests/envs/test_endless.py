"""Endless episodes: levels that grow by one, what ends them, what is reported, in single environments and vectors."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from hardmem.envs import ENVIRONMENTS, make_dynamics
from hardmem.envs.endless import EndlessEpisodes
from hardmem.tasks import TASKS

IDS = [env_id for env_id, arguments in sorted(ENVIRONMENTS.items()) if TASKS[arguments["task"]].shows_answers]
PREDICTED = sorted(set(ENVIRONMENTS) - set(IDS))
MODES = ["NextStep", "SameStep", "Disabled"]


def make_vec(env_id, num_envs, **kwargs):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", endless=True, **kwargs)


@pytest.mark.parametrize("env_id", IDS)
def test_the_oracle_reaches_the_longest(env_id):
    """Every level in turn, each worth exactly 1, in the spaces of the ordinary environment, within the step limit."""
    env, plain = gym.make(env_id, endless=True, max_length=3), gym.make(env_id, max_length=3)
    assert (env.observation_space, env.action_space) == (plain.observation_space, plain.action_space)
    first = env.unwrapped.dynamics.task.min_length
    observation, _ = env.reset(seed=0)
    earned, spans, terminated = 0.0, [], False
    while not terminated:
        assert observation in env.observation_space
        observation, reward, terminated, truncated, info = env.step(env.unwrapped.oracle())
        earned += reward
        if env.unwrapped.span != (spans or [0])[-1]:
            spans.append(env.unwrapped.span)
            assert earned == pytest.approx(len(spans), abs=1e-6)
        assert not truncated
        assert info == ({"span": 3} if terminated else {})
    assert spans == list(range(first, 4))


@pytest.mark.parametrize("env_id", PREDICTED)
@pytest.mark.parametrize("spoils", [False, True])
def test_who_predicts_the_likeliest_reaches_the_longest(env_id, spoils):
    """However often something else comes; who says what is less likely gets no further, even where that comes."""
    env = gym.make(env_id, endless=True, max_length=6, max_episode_steps=10_000)
    assert list(env.unwrapped.dynamics.factors[-2:]) == ["pace", "answer"]
    spans, earned, came = [], [], 0
    for seed in range(20):
        env.reset(seed=seed)
        total, terminated, spoiled = 0.0, False, False
        while not terminated:
            state, action = env.unwrapped._episodes.state, env.unwrapped.oracle()
            likely = env.unwrapped._episodes._likeliest[0, int(state.clock[0])]
            judged = state.due[0] >= 0 and action[-2] == 1
            if judged and likely.sum() == 1:
                assert likely[action[-1]]
                if spoils and env.unwrapped.span == 3 and not spoiled:
                    action[-1], spoiled = 1 - action[-1], True
                    came += action[-1] == state.due[0]
            elif judged:
                action[-1] = seed % 2  # either will do
            _, reward, terminated, truncated, info = env.step(action)
            total += reward
            assert not truncated
        spans.append((spoiled, info["span"]))
        earned.append(total)
    assert set(spans) == {(True, 3)} | {(False, 6)} if spoils else {(False, 6)}
    assert (came > 0) == spoils
    assert 0 < np.mean(earned) < np.mean([span for _, span in spans])


def test_a_fault_ends_it_by_hand():
    """One symbol right, then one of two: the episode ends with the second level, at span 1 and return 1.5."""
    env = gym.make("hardmem/Copy-v0", endless=True)
    env.reset(seed=0)
    rewards, spans, ends = [], [], []
    for step in range(8):  # three steps of the first level, five of the second
        action = env.unwrapped.oracle()
        if step == 7:
            action[-1] = (action[-1] + 1) % 8
        _, reward, terminated, _, info = env.step(action)
        rewards.append(reward)
        spans.append(env.unwrapped.span)
        ends.append(terminated)
    assert rewards == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0]
    assert spans == [0, 0, 1, 1, 1, 1, 1, 1]
    assert ends == [False] * 7 + [True]
    assert info == {"span": 1}
    env.reset()
    assert env.unwrapped.span == 0


def test_a_level_starts_afresh():
    """In the step that ends the one before: its first symbol is seen, cells are empty and the head is at cell 0."""
    env = gym.make("hardmem/CopyRandomAccess-v0", endless=True, observation="dict")
    env.reset(seed=0)
    for _ in range(3):
        observation, *_ = env.step(env.unwrapped.oracle())
    assert observation["shown"][1:9].any()
    assert observation["under"][0] == observation["position"][0] == 1
    assert not env.unwrapped._episodes.state.memory.codes().any()


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_reports_spans(mode):
    """At the ends and nowhere else, beside a mask, and where Gymnasium puts what is said of an episode that ended.

    The first environment answers right up to the longest, of two symbols; the second never does.
    """
    env = make_vec("hardmem/Copy-v0", 2, max_length=2, autoreset_mode=mode)
    env.reset(seed=0)
    reports = []
    for step in range(9):
        if mode == "Disabled" and reports and reports[-1][0] == step - 1:
            _, info = env.reset(options={"reset_mask": np.array(reports[-1][2])})
            assert not info
        actions = env.oracle()
        actions[1, -1] = (actions[1, -1] + 1) % 8
        _, _, terminated, truncated, info = env.step(actions)
        if mode == "SameStep":
            assert set(info) in (set(), {"final_obs", "_final_obs", "final_info", "_final_info"})
            info = info.get("final_info", {})
        assert ("span" in info) == terminated.any()
        if terminated.any():
            assert info["_span"].tolist() == terminated.tolist()
            reports.append((step, info["span"].tolist(), info["_span"].tolist()))
        assert not truncated.any()
    second = [2, 6] if mode == "NextStep" else [2, 5]  # the step after an end counts for nothing
    expected = {step: (step, [0, 0], [False, True]) for step in second}
    expected[7] = (7, [2, 0], [True, False])
    if mode != "NextStep":
        expected[8] = (8, [0, 0], [False, True])
    assert reports == [expected[step] for step in sorted(expected)]


@pytest.mark.parametrize("env_id", ["hardmem/Copy-v0", "hardmem/SlotRecall-v0", "hardmem/CountingFlat-v0"])
def test_a_vector_of_one_is_the_single_environment(env_id):
    """Seed for seed, over several episodes of an agent that mostly knows what to do."""
    single, vector = gym.make(env_id, endless=True), make_vec(env_id, 1, autoreset_mode="SameStep")
    first, _ = single.reset(seed=3)
    both, _ = vector.reset(seed=3)
    np.testing.assert_array_equal(first, both[0])
    single.action_space.seed(0)
    random, episodes, spans = np.random.default_rng(0), 0, []
    while episodes < 5:
        action = single.unwrapped.oracle()
        action[-1] = (action[-1] + (random.random() < 0.1)) % single.unwrapped.dynamics.num_actions[-1]
        if env_id.endswith("Flat-v0"):
            action = np.ravel_multi_index(tuple(action), single.unwrapped.dynamics.num_actions)
        observation, reward, terminated, truncated, said = single.step(action)
        both, rewards, ends, cuts, info = vector.step(np.asarray(action)[None])
        assert (rewards[0], ends[0], cuts[0]) == (reward, terminated, truncated)
        if terminated:
            np.testing.assert_array_equal(observation, info["final_obs"][0])
            assert info["final_info"]["span"][0] == said["span"]
            observation, _ = single.reset()
            episodes, spans = episodes + 1, [*spans, said["span"]]
        np.testing.assert_array_equal(observation, both[0])
    assert len(set(spans)) > 1


def test_the_problems_of_a_length_come_in_order_to_whoever_gets_there():
    """The first of length 2 goes to the first that is there, whatever others have done, and a seed says which."""
    rules = make_dynamics("copy", max_length=3)

    def level_two(num_envs, right):
        episodes = EndlessEpisodes(rules, num_envs)
        episodes.seed(np.random.default_rng(0))
        episodes.start()
        assert (episodes.script.due[:, 3:] == -1).all()  # the first level's three steps, and nothing after them
        for _ in range(3):
            action = episodes.oracle()
            action[:, -1] = np.where(right, action[:, -1], (action[:, -1] + 1) % 8)
            episodes.advance(action)
        return episodes.script.shown[episodes.span == 1].tolist()

    both = level_two(2, [True, True])
    assert both[0] != both[1]
    assert level_two(3, [False, True, False]) == level_two(1, [True]) == both[:1]


@pytest.mark.parametrize(("task", "answers"), [("copy", range(1, 9)), ("delay", [1] * 8)])
def test_guessing_gets_as_far_as_stated(task, answers):
    """Level n is solved by guessing all its answers, n in Copy and one in Delay: spans sum the chances to go on."""
    expected = sum(2.0 ** -sum(answers[: level + 1]) for level in range(8))
    env = make_vec(f"hardmem/{task.title()}-v0", 4000, max_length=8, num_symbols=2, autoreset_mode="SameStep")
    env.reset(seed=0)
    env.action_space.seed(0)
    spans = np.full(4000, -1)  # of the first episode of each
    while (spans < 0).any():
        info = env.step(env.action_space.sample())[-1].get("final_info", {})
        spans = np.where((spans < 0) & info["_span"], info["span"], spans) if info else spans
    error = np.std(spans) / len(spans) ** 0.5
    assert abs(np.mean(spans) - expected) < 5 * error


def test_who_waits_for_ever_is_cut_off():
    """A self-paced episode takes as many steps as all of its levels may; its span is reported then."""
    env = gym.make("hardmem/SlotRecall-v0", endless=True, max_length=2, distractors=0, num_keys=2)
    env.reset(seed=0)
    limit = env.unwrapped._episodes.longest
    assert limit == 2 * ((1 + 2) + (2 + 4))  # cells times the steps of both levels
    action = np.zeros(4, dtype=np.int64)
    for step in range(limit):
        *_, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (False, step == limit - 1)
    assert info == {"span": 0}


def test_bad_calls_are_named():
    """An input cannot be given, and an ordinary episode has no span."""
    env = gym.make("hardmem/Copy-v0", endless=True).unwrapped
    with pytest.raises(ValueError, match=r"draw their problems: expected no input, got \[1\]"):
        env.reset(options={"input": [1]})
    with pytest.raises(AttributeError, match="pass endless=True"):
        _ = gym.make("hardmem/Copy-v0").unwrapped.span
