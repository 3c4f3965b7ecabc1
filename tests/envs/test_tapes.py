"""Classic tapes: episodes replayed against the rules written out as a loop, the oracle, promotion, citizenship."""

from __future__ import annotations

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from hardmem.envs import TAPE_ENVIRONMENTS, TAPES
from hardmem.envs.arrays import as_numpy
from hardmem.envs.tape_adapters import MAX_STEPS, make_tape

IDS = sorted(TAPE_ENVIRONMENTS)


class Loop:
    """One episode as a loop over lists, after the published rules and nothing of the package."""

    def __init__(self, name, given):
        self.given, self.grid = given, "addition" in name
        self.base = {"reverse": 2}.get(name, 3 if self.grid else 5)
        if name == "copy":
            self.target = list(given)
        elif name == "duplicated-input":
            self.target = given[::2]
        elif name == "repeat-copy":
            self.target = given + given[::-1] + given
        elif name == "reverse":
            self.target = given[::-1]
        else:
            number = sum(digit * 3**place for place, column in enumerate(given) for digit in column)
            self.target = []
            while len(self.target) < len(given) or number:
                self.target.append(number % 3)
                number //= 3
        self.limit = len(given) + len(self.target) + 4
        if self.grid:
            self.limit = (3 if name == "addition-3" else 2) * len(given) + 4
        self.x = self.y = self.time = self.written = 0

    def look(self):
        if self.x < 0 or self.x >= len(self.given):
            return self.base
        if not self.grid:
            return self.given[self.x]
        column = self.given[self.x]
        return column[self.y] if 0 <= self.y < len(column) else self.base

    def step(self, action):
        move, write, symbol = action
        self.time += 1
        reward, done = 0.0, False
        if write:
            if symbol == self.target[self.written]:
                reward = 1.0
            else:
                reward, done = -0.5, True
            self.written += 1
            if self.written == len(self.target):
                done = True
        if move == 0:
            self.x -= 1
        elif move == 1:
            self.x += 1
        elif move == 2:
            self.y -= 1
        else:
            self.y += 1
        if self.time > self.limit:
            reward, done = -1.0, True
        return self.look(), reward, done


def given_input(name, width, random):
    task = TAPES[name]()
    shape = (width,) if task.rows == 1 else (width, task.rows)
    return random.integers(task.base, size=shape).tolist()


def action_for(loop, style, num_moves, random):
    """Random, mostly right, or idle until the limit; `style` says how often a right symbol is written, or anything."""
    symbol = loop.target[loop.written] if random.random() < 0.97 else int(random.integers(loop.base))
    return int(random.integers(num_moves)), int(random.random() < style), symbol


@pytest.mark.parametrize("name", TAPES)
def test_episodes_are_those_of_the_loop(name):
    """Observation, reward and end of every step, over inputs of all widths; faults, limits and full targets occur."""
    random = np.random.default_rng(0)
    env = gym.make(f"hardmem/{env_name(name)}").unwrapped
    last_rewards = set()
    for episode in range(120):
        given = given_input(name, 1 + episode % 12, random)
        loop = Loop(name, given)
        observation, _ = env.reset(options={"input": given})
        assert observation == loop.look()
        style, done = (0.0, 0.2, 0.9)[episode % 3], False
        while not done:
            action = action_for(loop, style, env.action_space.nvec[0], random)
            expected, reward, done = loop.step(action)
            seen = env.step(np.array(action))
            assert seen[:4] == (expected, reward, done, False)
        last_rewards.add(reward)
    assert last_rewards == {-1.0, -0.5, 1.0}


def env_name(name):
    return next(key for key, (task, _) in TAPE_ENVIRONMENTS.items() if task == name).removeprefix("hardmem/")


@pytest.mark.parametrize("name", TAPES)
def test_a_batch_on_tensors_is_the_loop(name):
    """Drawn problems, all at once, on tensors and on arrays alike; the target is the loop's."""
    random, batch = np.random.default_rng(1), 64
    dynamics = make_tape(name)
    tape = dynamics.draw(torch.full((batch,), 4), torch.Generator().manual_seed(0))
    state = dynamics.begin(tape)
    arrays = as_numpy(state)._replace(tape=as_numpy(tape))
    widths, loops = tape.width.tolist(), []
    assert set(widths) == ({4, 6} if name == "duplicated-input" else {4, 5, 6})
    for place in range(batch):
        symbols = tape.symbols[place, : widths[place]].tolist()
        loops.append(Loop(name, symbols if dynamics.task.rows > 1 else [row[0] for row in symbols]))
        assert tape.target[place, : len(loops[-1].target)].tolist() == loops[-1].target
        assert tape.num_targets[place] == len(loops[-1].target)
        assert tape.limit[place] == loops[-1].limit
        if name == "duplicated-input":
            assert loops[-1].given[::2] == loops[-1].given[1::2]
    running = set(range(batch))
    while running:
        actions = [[0, 0, 0]] * batch
        for place in running:
            actions[place] = action_for(loops[place], 0.5, dynamics.num_actions[0], random)
        state, reward, done = dynamics.advance(state, torch.tensor(actions))
        arrays, its_reward, its_done = dynamics.advance(arrays, np.array(actions))
        seen, its_seen = dynamics.observe(state), dynamics.observe(arrays)
        for place in list(running):
            expected = loops[place].step(actions[place])
            assert (seen[place].item(), reward[place].item(), done[place].item()) == expected
            assert (its_seen[place], its_reward[place], its_done[place]) == expected
            if expected[2]:
                running.remove(place)


def oracle_returns(name, width, batch=64):
    """What the oracle earns with inputs of one width, less the full target, and the steps it takes."""
    dynamics = make_tape(name)
    random = np.random.default_rng(width)
    short = []
    for _ in range(batch):
        state = dynamics.begin(dynamics.problem(given_input(name, width, random)))
        done = False
        while not done:
            state, _, done = dynamics.advance(state, dynamics.oracle(state))
        short.append((state.earned - state.tape.num_targets).item())
    return short


@pytest.mark.parametrize("name", sorted(set(TAPES) - {"reversed-addition-3"}))
def test_the_oracle_writes_the_whole_target(name):
    """At the shortest and at the longest inputs; `TapeReversedAddition3` cannot be read in time."""
    for width in (1, 2, 9, 32):
        assert oracle_returns(name, width, batch=16) == [0.0] * 16


def test_three_rows_cannot_be_read_in_gyms_time():
    """With 3 columns a reader always succeeds, with 4 unless there is a carry, with 5 never."""
    short = {width: np.array(oracle_returns("reversed-addition-3", width)) for width in (3, 4, 5)}
    assert (short[3] == 0).all()
    assert 0 < (short[4] == 0).mean() < 1
    assert (short[5] < 0).all()


@pytest.mark.parametrize("name", TAPES)
def test_the_oracle_foresees_nothing(name):
    """Where all observations so far are the same, so is its action."""
    dynamics = make_tape(name, 1)
    tape = dynamics.draw(torch.full((400,), 1), torch.Generator().manual_seed(0))
    state = dynamics.begin(tape)
    seen, chosen, compared = [()] * 400, {}, 0
    running = torch.ones(400, dtype=torch.bool)
    for _ in range(int(tape.limit.max())):
        action, observation = dynamics.oracle(state), dynamics.observe(state)
        for place in running.nonzero().flatten().tolist():
            seen[place] += (observation[place].item(),)
            compared += seen[place] in chosen
            assert chosen.setdefault(seen[place], action[place].tolist()) == action[place].tolist()
        state, _, done = dynamics.advance(state, action)
        running &= ~done
    assert compared > 100


def play(env, succeed=True):
    """One episode, by the oracle or by a wrong first symbol; returns the observation of the next."""
    done = False
    while not done:
        action = env.unwrapped.oracle()
        if not succeed and action[1]:
            action[2] = (action[2] + 1) % env.action_space.nvec[2]
        *_, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
    env.reset()


@pytest.mark.parametrize(("env_id", "streak", "start"), [("TapeCopy", 10, 2), ("TapeReverse", 50, 1)])
def test_promotion(env_id, streak, start):
    """After so many faultless episodes in a row, at the reset, and then the count starts afresh."""
    env = gym.make(f"hardmem/{env_id}-v0")
    env.reset(seed=0)

    def lengths(successes):
        before = env.unwrapped.min_length
        for success in successes:
            assert env.unwrapped.min_length == before
            play(env, success)
        return env.unwrapped.min_length

    assert lengths([True] * (streak - 1) + [False]) == start
    assert lengths([True] * (streak - 1)) == start
    assert lengths([True]) == start + 1
    assert lengths([True] * (streak - 1)) == start + 1
    env.reset()  # nothing written: an episode given up
    assert lengths([True] * (streak - 1)) == start + 1
    assert lengths([True]) == start + 2


def test_promotion_ends_at_30():
    """Drawn lengths then are 30 to 32."""
    env = gym.make("hardmem/TapeCopy-v0", min_length=29)
    env.reset(seed=0)
    for _ in range(25):
        play(env)
    assert env.unwrapped.min_length == 30


def test_a_vector_promotes_only_if_asked_and_each_place_alone():
    """The first place succeeds, the second does not."""
    for curriculum, expected in ((None, [2, 2]), (True, [4, 2])):
        arguments = {} if curriculum is None else {"curriculum": curriculum}
        env = make_vec("hardmem/TapeCopy-v0", 2, autoreset_mode="SameStep", **arguments)
        env.reset(seed=0)
        episodes = 0
        while episodes < 20:
            action = env.oracle()
            action[1, 1:] = 1, (action[1, 2] + 1) % 5
            episodes += int(env.step(action)[2][0])
        assert env.min_length.tolist() == expected


def make_vec(env_id, num_envs, **kwargs):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


@pytest.mark.parametrize("env_id", IDS)
def test_citizenship(env_id):
    """Gymnasium's checker has nothing to say; the spec is plain data; spaces, limit and threshold are Gym's."""
    env = gym.make(f"hardmem.envs:{env_id}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    again = gym.make(EnvSpec.from_json(json.dumps(json.loads(env.spec.to_json()))))
    assert (again.observation_space, again.action_space) == (env.observation_space, env.action_space)
    task = TAPES[TAPE_ENVIRONMENTS[env_id][0]]()
    assert env.observation_space == gym.spaces.Discrete(task.base + 1)
    assert env.action_space == gym.spaces.MultiDiscrete([2 if task.rows == 1 else 4, 2, task.base])
    assert env.spec.max_episode_steps == MAX_STEPS >= env.unwrapped._episodes.longest


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("curriculum", [False, True])
def test_a_vector_of_one_is_the_single_environment(env_id, curriculum):
    """Seed for seed, over enough episodes to be promoted."""
    single = gym.make(env_id, curriculum=curriculum)
    vector = make_vec(env_id, 1, autoreset_mode="SameStep", curriculum=curriculum)
    observation, _ = single.reset(seed=3)
    assert vector.reset(seed=3)[0].tolist() == [observation]
    for _ in range(200):
        action = single.unwrapped.oracle()
        observation, reward, terminated, truncated, _ = single.step(action)
        both, rewards, ends, cuts, info = vector.step(action[None])
        assert (rewards[0], ends[0], cuts[0]) == (reward, terminated, truncated)
        if terminated:
            assert info["final_obs"][0] == observation
            observation, _ = single.reset()
        assert both[0] == observation


def test_a_long_given_input_is_cut_off_after_200_steps_and_replaced():
    """As in Gym; the room for it stays, and what is drawn next fits into it."""
    env = make_vec("hardmem/TapeCopy-v0", 2)
    env.reset(seed=0, options={"input": [1] * 120})
    for _ in range(MAX_STEPS):
        *_, terminated, truncated, _ = env.step(np.array([[1, 0, 0], [0, 0, 0]]))
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [True, True])
    env.step(env.oracle())
    for _ in range(4):
        _, reward, *_ = env.step(env.oracle())
        if reward.any():
            break
    assert reward.max() == 1.0


def test_text_by_hand():
    """Head, target and last action; outside the input there are dots."""
    env = gym.make("hardmem/TapeReversedAddition-v0", render_mode="ansi")
    env.reset(options={"input": [[2, 0], [1, 2]]})
    env.step(np.array([3, 0, 0]))
    env.step(np.array([3, 1, 2]))
    assert env.render().split("\n") == [
        "step 2 of 8, earned 1",
        "input   2  1  .",
        "input   0  2  .",
        "input  [.] .  .",
        "target  2  0  1",
        "written 1 of 3",
        "write 2, move down",
        "",
    ]


@pytest.mark.parametrize(
    ("env_id", "given", "message"),
    [
        ("TapeCopy", [], r"one or more symbols in 0 to 4, got \[\]"),
        ("TapeCopy", [0, 5], r"one or more symbols in 0 to 4, got \[0, 5\]"),
        ("TapeCopy", "ab", "one or more symbols in 0 to 4, got 'ab'"),
        ("TapeCopy", 3, "one or more symbols in 0 to 4, got 3"),
        ("TapeCopy", {1, 2}, r"one or more symbols in 0 to 4, got \{1, 2\}"),
        ("TapeReversedAddition", 1, "one or more columns of 2 symbols in 0 to 2, got 1"),
        ("TapeReversedAddition", [1, 2], "one or more columns of 2 symbols in 0 to 2"),
        ("TapeReversedAddition", [[1, 2], [0]], "one or more columns of 2 symbols in 0 to 2"),
        ("TapeAddition3", [[1, 2]], "one or more columns of 3 symbols in 0 to 2"),
    ],
)
def test_bad_inputs_are_named(env_id, given, message):
    """And what is under way goes on."""
    env = gym.make(f"hardmem/{env_id}-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.reset(options={"input": given})
    env.step(env.unwrapped.oracle())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_length": 0}, "min_length must be at least 1, got 0"),
        ({"min_length": "a"}, "min_length must be a whole number, got 'a'"),
        ({"min_length": True}, "min_length must be a whole number, got True"),
        ({"curriculum": "no"}, "curriculum must be True or False, got 'no'"),
        ({"curriculum": 3}, "curriculum must be True or False, got 3"),
        ({"task": ["copy"]}, r"unknown tape \['copy'\]; choose one of"),
    ],
)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec], ids=["single", "vector"])
def test_bad_arguments_are_named_by_gymnasium_too(make, arguments, message):
    """By `gym.make` as by `gym.make_vec`: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make("hardmem/TapeCopy-v0", **arguments)


def test_bad_arguments_are_named():
    """One sentence each."""
    with pytest.raises(ValueError, match="unknown tape 'cpoy'; choose one of"):
        make_tape("cpoy")
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        gym.make_vec("hardmem/TapeCopy-v0", 1, max_episode_steps=0)
    with pytest.raises(ValueError, match=r"unknown render_mode 'rgb_array'; choose one of \['ansi'\]"):
        gym.make_vec("hardmem/TapeCopy-v0", 1, render_mode="rgb_array")
    with pytest.raises(ValueError, match=r"unknown render_mode 1; choose one of \['ansi'\]"):
        gym.make("hardmem/TapeCopy-v0", render_mode=1)
