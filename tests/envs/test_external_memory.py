"""External memory: oracles that need it, hand-made cases, one as many, ends that touch nobody else."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.toy_text.blackjack import BlackjackEnv
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from hardmem.envs import MEMORY_MODULES, ExternalMemory, VectorExternalMemory
from hardmem.envs.flat_spaces import FlatSpace
from hardmem.envs.memory_modules import make_memory_module

MOVE = {-1: 0, 0: 1, 1: 2, "home": 3}
LENGTH, SYMBOLS = 3, 4


class Recite(gym.Env):
    """Three symbols are shown, then blanks, at which they have to be said again: 1/3 each; 1/12 without memory."""

    observation_space = gym.spaces.Discrete(SYMBOLS + 1)
    action_space = gym.spaces.Discrete(SYMBOLS, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.symbols, self.clock = self.np_random.integers(1, SYMBOLS + 1, LENGTH).tolist(), 0
        return self.symbols[0], {}

    def step(self, action):
        assert action in self.action_space
        right = self.clock >= LENGTH and action == self.symbols[self.clock - LENGTH]
        self.clock += 1
        observation = self.symbols[self.clock] if self.clock < LENGTH else 0
        return observation, float(right), self.clock == 2 * LENGTH, False, {}


class Facts(gym.Env):
    """Two facts are shown, key and value; then a key; then nothing, when the value of that key has to be said."""

    observation_space = gym.spaces.MultiDiscrete([4, 4])
    action_space = gym.spaces.MultiDiscrete([4])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        keys, self.values = self.np_random.permutation(3)[:2] + 1, self.np_random.integers(1, 4, 2)
        self.asked, self.clock = int(self.np_random.integers(2)), 0
        self.shown = [[keys[0], self.values[0]], [keys[1], self.values[1]], [keys[self.asked], 0], [0, 0], [0, 0]]
        return np.array(self.shown[0]), {}

    def step(self, action):
        self.clock += 1
        done = self.clock == 4
        return np.array(self.shown[self.clock]), float(done and action[0] == self.values[self.asked]), done, False, {}


class Wander(gym.Env):
    """Ends or is cut off after 1 to 6 steps; shows numbers, pays what is done, and says which actions are legal."""

    observation_space = gym.spaces.Dict({"x": gym.spaces.Box(-1, 1, (2,), np.float32), "n": gym.spaces.Discrete(2)})
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def _look(self):
        mask = tuple(self.np_random.integers(0, 2, n, dtype=np.int8) for n in (2, 3))
        return {"x": self.np_random.uniform(-1, 1, 2).astype(np.float32), "n": self.left % 2}, {"action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 7))
        return self._look()

    def step(self, action):
        self.left -= 1
        ended, cut = self.left == 0, bool(self.np_random.integers(2))
        observation, info = self._look()
        return observation, float(action.sum()), ended and not cut, ended and cut, info


class Levers(Wander):
    """The same with bits to be set, some of which are ruled out or have to be."""

    action_space = gym.spaces.MultiBinary(3)

    def _look(self):
        return super()._look()[0], {"action_mask": self.np_random.integers(0, 3, 3, dtype=np.int8)}


class Push(Wander):
    """The same with numbers to be chosen."""

    action_space = gym.spaces.Box(np.float32([[-2, 0]]), np.float32([[2, 1]]))

    def _look(self):
        return super()._look()[0], {}


def one_hot(symbol, size):
    return np.eye(size, dtype=np.float32)[symbol].tolist()


def earned(env, choose, episodes=20):
    """The returns of episodes played by a rule that sees observations only."""
    total = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        reward, done = 0.0, False
        while not done:
            observation, gained, terminated, truncated, _ = env.step(choose(observation))
            reward, done = reward + gained, terminated or truncated
        total.append(reward)
    return total


def recite(observation, *, position=False):
    """Write what is shown and move on, around a ring of three cells; at a blank say what is read."""
    shown, read = int(observation[:5].argmax()), int(observation[5:10].argmax())
    address = (int(observation[11:].argmax()) + 1) % LENGTH if position else MOVE[1]
    return [address, int(shown > 0), max(read, 1) - 1]


def test_the_oracle_on_a_tape():
    """A reader of its own cells says everything, and nothing of that sort can be done with the cells left empty."""
    env = ExternalMemory(Recite(), "tape", num_cells=LENGTH)
    assert env.action_space == gym.spaces.MultiDiscrete([4, 2, SYMBOLS])
    assert earned(env, recite) == [3.0] * 20
    assert np.mean(earned(env, lambda seen: [*recite(seen)[:1], 0, *recite(seen)[2:]], 200)) < 1.2


def test_the_oracle_by_cell_number():
    """The same, naming the cell after the one it is shown to be on."""
    env = ExternalMemory(Recite(), "random-access", num_cells=LENGTH)
    assert env.observation_space.shape == (5 + 5 + 1 + LENGTH,)
    assert earned(env, lambda seen: recite(seen, position=True)) == [3.0] * 20


def test_the_oracle_by_content():
    """Facts go to empty cells, and a key leads back to its own."""
    env = ExternalMemory(Facts(), "associative", num_cells=2, order="move-answer-write")
    assert env.num_actions == (10, 2, 4)  # the blank, two channels of four symbols, the next cell; write; answer

    def choose(seen):
        key, value, read = (int(part.argmax()) for part in (seen[:4], seen[4:8], seen[12:16]))
        return [1 + key, int(value > 0), read]  # key 0 stands for the symbol 1 of the channel

    assert earned(env, choose) == [1.0] * 20


def test_the_oracle_with_a_frame_stack():
    """Three observations back, whatever is done: the oldest of the buffer."""
    env = ExternalMemory(Recite(), "Kk", num_cells=LENGTH)
    assert env.action_space == gym.spaces.MultiDiscrete([SYMBOLS])
    assert earned(env, lambda seen: [max(int(seen[5:10].argmax()), 1) - 1]) == [3.0] * 20


OWN = FlatSpace(gym.spaces.MultiDiscrete([2, 2]))


def module(name, num_cells, num_envs=1, **arguments):
    return make_memory_module(name, FlatSpace(gym.spaces.Discrete(3)), OWN, num_envs, num_cells, **arguments)


ROWS = np.eye(3, dtype=np.float32)


def test_scores_by_hand():
    """Among numbers the memory's choices are those with the highest scores: back, and write; the rest is passed on."""
    env = ExternalMemory(Push(), "tape", num_cells=3)
    assert env.action_space.low.tolist() == [-1] * 6 + [-2, 0]
    assert env.action_space.high.tolist() == [1] * 6 + [2, 1]
    seen, _ = env.reset(seed=4)
    assert env.unwrapped.left > 2
    _, reward, *_ = env.step(np.array([0.3, -1, 0.2, 0, -0.5, 0.1, 1.5, 0.25], dtype=np.float32))
    assert reward == 1.75
    back, *_ = env.step(np.array([0, 0, 1, 0, 0, 0, 0, 0], dtype=np.float32))  # on, to where it was written
    assert back[4:].tolist() == [*seen[:4].tolist(), 1]


def test_masked_bits_by_hand():
    """A bit that must be 0, one that must be 1 and one that may be either, after a memory of which all is legal."""

    class Fixed(Levers):
        def _look(self):
            return super()._look()[0], {"action_mask": np.array([0, 1, 2], dtype=np.int8)}

    mask = ExternalMemory(Fixed(), "Ok", num_cells=2).reset(seed=0)[1]["action_mask"]
    assert [factor.tolist() for factor in mask] == [[1, 1], [1, 0], [0, 1], [1, 1]]


def test_numbers_done_are_kept_by_hand():
    """OAk keeps what was done as it is; nothing is 0."""
    memory = make_memory_module(
        "OAk", FlatSpace(gym.spaces.Discrete(3)), FlatSpace(Push.action_space), num_envs=1, num_cells=1
    )
    assert (memory.low.tolist(), memory.high.tolist()) == ([0, 0, 0, -2, 0, 0], [1, 1, 1, 2, 1, 1])
    memory.advance(np.array([[1]]), ROWS[[1]], np.array([[[-1.5, 0.25]]]))
    assert memory.show().tolist() == [[0, 1, 0, -1.5, 0.25, 1]]


def test_heads_by_hand():
    """Two heads on three cells: they write, the later one last, then move, then see; empty cells are zeros."""
    memory = module("tape", 3, num_heads=2)
    assert memory.num_actions == (4, 4, 2, 2)
    assert memory.show().tolist() == [[0] * 8]
    memory.advance(np.array([[MOVE[0], MOVE[-1], 1, 0]]), ROWS[[2]], np.array([[0, 0]]))
    assert memory.show().tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]]  # the second head went to cell 2, around the end
    memory.advance(np.array([[MOVE[-1], MOVE[1], 0, 1]]), ROWS[[0]], np.array([[0, 0]]))
    assert memory.show().tolist() == [[1, 0, 0, 1, 0, 0, 1, 1]]
    memory.advance(np.array([[MOVE["home"], MOVE[0], 0, 1]]), ROWS[[1]], np.array([[0, 0]]))
    assert memory.show().tolist() == [[0, 1, 0, 1, 0, 1, 0, 1]]
    memory.empty(np.array([True]))
    assert memory.show().tolist() == [[0] * 8]


def test_the_order_of_a_step_by_hand():
    """Moving first, what is written is written there, and seen."""
    memory = module("random-access", 2, order="move-answer-write")
    memory.advance(np.array([[1, 1]]), ROWS[[2]], np.array([[0, 0]]))
    assert memory.show().tolist() == [[0, 0, 1, 1, 0, 1]]
    memory.advance(np.array([[0, 0]]), ROWS[[1]], np.array([[0, 0]]))
    assert memory.show().tolist() == [[0, 0, 0, 0, 1, 0]]


def test_buffers_by_hand():
    """Definition 4.4, and the k-order memory: oldest first, the newest at the end, pushed only when asked to."""
    push, keep = np.array([[1]]), np.array([[0]])
    for name, action in (("Ok", push), ("Kk", np.zeros((1, 0), dtype=np.int64))):
        memory = module(name, 2)
        memory.advance(action, ROWS[[1]], np.array([[0, 1]]))
        assert memory.show().tolist() == [[0, 0, 0, 0, 0, 1, 0, 1]]
        memory.advance(action, ROWS[[2]], np.array([[0, 1]]))
        assert memory.show().tolist() == [[0, 1, 0, 1, 0, 0, 1, 1]]
        memory.advance(action, ROWS[[0]], np.array([[0, 1]]))
        assert memory.show().tolist() == [[0, 0, 1, 1, 1, 0, 0, 1]]
        if name == "Ok":
            memory.advance(keep, ROWS[[1]], np.array([[0, 1]]))
            assert memory.show().tolist() == [[0, 0, 1, 1, 1, 0, 0, 1]]
    memory = module("OAk", 1)
    memory.advance(push, ROWS[[1]], np.array([[0, 1]]))
    assert memory.show().tolist() == [[0, 1, 0, 1, 0, 0, 1, 1]]  # the observation, both factors of the action, and a 1


def test_bits_by_hand():
    """Definition 4.3: all bits are new at every step; 0 at first."""
    memory = module("Bk", 3)
    assert memory.num_actions == (2, 2, 2)
    assert memory.show().tolist() == [[0, 0, 0]]
    memory.advance(np.array([[1, 0, 1]]), ROWS[[1]], np.array([[0, 1]]))
    assert memory.show().tolist() == [[1, 0, 1]]
    memory.advance(np.array([[0, 1, 0]]), ROWS[[1]], np.array([[0, 1]]))
    assert memory.show().tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("name", [name for name in MEMORY_MODULES if name != "Bk"])
def test_what_was_not_observed_is_never_stored(name):
    """Under random actions, each row that is shown was seen before in the same episode, or is empty."""
    generator = np.random.default_rng(0)
    observation = FlatSpace(gym.spaces.Discrete(50))
    memory = make_memory_module(name, observation, FlatSpace(gym.spaces.Discrete(2)), 1, 5)
    for _ in range(5):
        memory.empty(np.array([True]))
        seen = {tuple(np.zeros(51))}
        for _ in range(20):
            row = np.eye(50, dtype=np.float32)[generator.integers(50, size=1)]
            action = np.array([[generator.integers(choices) for choices in memory.num_actions]], dtype=np.int64)
            memory.advance(action.reshape(1, -1), row, np.array([[1]]))
            seen.add((*row[0], 1.0))
            shown = memory.show()[0]
            width = 53 if name == "OAk" else 51
            for start in range(0, width * (len(shown) // width), width):
                part = np.delete(shown[start : start + width], [50, 51]) if name == "OAk" else shown[start:][:width]
                assert tuple(part) in seen


ENVIRONMENTS = {
    "discrete": Recite,
    "multi-discrete": Facts,
    "dict": Wander,
    "tuple": BlackjackEnv,
    "bits": Levers,
    "numbers": Push,
}
COMBINATIONS = [
    (name, kind)
    for name in MEMORY_MODULES
    for kind in ENVIRONMENTS
    if name != "associative" or not issubclass(ENVIRONMENTS[kind], Wander)  # numbers have no names
]


def test_gymnasiums_checker_is_content(recwarn):
    """Every memory, space and form of action; it says that this is a wrapper, and that numbers are of unequal size."""
    for name, kind in COMBINATIONS:
        for action in ("multi-discrete",) if kind == "numbers" else ("multi-discrete", "discrete"):
            check_env(ExternalMemory(ENVIRONMENTS[kind](), name, num_cells=3, action=action), skip_render_check=True)
    assert {str(warning.message).split("The environment (")[-1].split(")")[-1] for warning in recwarn} != set()
    known = ("is different from the unwrapped version", "recommend using a symmetric and normalized space")
    assert all(any(text in str(warning.message) for text in known) for warning in recwarn)


def same(ours, theirs):
    """Whether two infos or observations are the same, however they are nested."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            same(ours[key], theirs[key])
    elif isinstance(ours, tuple | list) or (isinstance(ours, np.ndarray) and ours.dtype.kind == "O"):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            same(mine, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(("name", "kind"), COMBINATIONS)
def test_a_vector_is_many_single_ones(name, kind, mode):
    """Around five environments, or each of them wrapped by itself: the same, so an end touches nobody else's memory."""
    cls, size, arguments = ENVIRONMENTS[kind], 5, {"memory": name, "num_cells": 3}
    if name == "tape":
        arguments |= {"num_heads": 2} | ({} if kind == "numbers" else {"action": "discrete"})
    around = VectorExternalMemory(SyncVectorEnv([cls] * size, autoreset_mode=mode), **arguments)
    each = SyncVectorEnv([lambda: ExternalMemory(cls(), **arguments)] * size, autoreset_mode=mode)
    assert around.single_observation_space == each.single_observation_space
    assert around.single_action_space == each.single_action_space
    same(around.reset(seed=3), each.reset(seed=3))
    around.action_space.seed(0)
    ends = 0
    for _ in range(30):
        action = around.action_space.sample()
        ours, theirs = around.step(action), each.step(action)
        same(ours, theirs)
        assert ours[0] in around.observation_space
        ended = ours[2] | ours[3]
        ends += int(ended.sum())
        if mode is AutoresetMode.DISABLED and ended.any():
            resets = [env.reset(options={"reset_mask": ended.copy()}) for env in (around, each)]
            same(*resets)
    assert ends >= size


@pytest.mark.parametrize("name", MEMORY_MODULES)
def test_a_vector_of_one_is_the_single_one(name):
    """Seed for seed, until the episode ends."""
    one = VectorExternalMemory(SyncVectorEnv([Recite]), name, num_cells=3)
    single = ExternalMemory(Recite(), name, num_cells=3)
    for seed in range(5):
        observation, _ = one.reset(seed=seed)
        np.testing.assert_array_equal(observation[0], single.reset(seed=seed)[0])
        single.action_space.seed(seed)
        done = False
        while not done:
            action = single.action_space.sample()
            ours, theirs = one.step(action[None]), single.step(action)
            np.testing.assert_array_equal(ours[0][0], theirs[0])
            assert (ours[1][0], ours[2][0]) == theirs[1:3]
            done = theirs[2]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_native_vector_can_be_wrapped(mode):
    """One of this package: it is stepped as if unwrapped, and a reset under NEXT_STEP finds the cells empty."""
    make = {"num_envs": 4, "vectorization_mode": "vector_entry_point", "autoreset_mode": mode, "max_length": 2}
    bare, wrapped = (gym.make_vec("hardmem/Copy-v0", **make) for _ in range(2))
    wrapped = VectorExternalMemory(wrapped, "tape", num_cells=4)
    assert wrapped.single_action_space == gym.spaces.MultiDiscrete([4, 2, *bare.single_action_space.nvec])
    width = bare.single_observation_space.shape[0]
    seen, shown = bare.reset(seed=0)[0], wrapped.reset(seed=0)[0]
    wrapped.action_space.seed(0)
    ended, ends = np.zeros(4, dtype=np.bool_), 0
    for _ in range(12):
        begun = ended if mode is AutoresetMode.NEXT_STEP else np.zeros(4, dtype=np.bool_)
        action = wrapped.action_space.sample()
        action[:, :2] = [MOVE[0], 1]
        (seen, *_), (shown, _, ended, _, info) = bare.step(action[:, 2:]), wrapped.step(action)
        if mode is AutoresetMode.SAME_STEP:
            begun = ended
            assert all(info["final_obs"][place][-1] == 1 for place in np.flatnonzero(ended))
        elif mode is AutoresetMode.DISABLED and ended.any():
            begun = ended.copy()
            seen, shown = (env.reset(options={"reset_mask": begun})[0] for env in (bare, wrapped))
        np.testing.assert_array_equal(shown[:, :width], seen)
        assert (shown[begun, width:] == 0).all()
        assert (shown[~begun, -1] == 1).all()
        ends += int(ended.sum())
    assert ends >= 8


def test_bounds_are_those_of_what_is_seen():
    """Numbers may be absent, so 0 is within; the mark of a full cell and positions lie in [0, 1]."""

    class Far(Recite):
        observation_space = gym.spaces.Box(np.float32([5, -9]), np.float32([7, -8]))

    space = ExternalMemory(Far(), "random-access", num_cells=2).observation_space
    assert space.low.tolist() == [5, -9, 0, -9, 0, 0, 0]
    assert space.high.tolist() == [7, -8, 7, 0, 1, 1, 1]
    assert space.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": "stack"}, "unknown memory 'stack'; choose one of"),
        ({"num_cells": 0}, "num_cells must be at least 1, got 0"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"order": "write"}, "unknown order 'write'"),
        ({"num_head": 2}, "memory 'tape' got an unexpected .* 'num_head', closest to 'num_heads'; it takes"),
        ({"memory": ["tape"]}, r"unknown memory \['tape'\]; choose one of"),
        ({"memory": "Ok", "moves": [1]}, r"memory 'Ok' takes num_cells and nothing else, got \['moves'\]"),
        ({"memory": "random-access", "moves": [1]}, "moves are those of a tape"),
        ({"action": "flat"}, "unknown action 'flat'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """In one sentence, by the single and by the vector one."""
    with pytest.raises(ValueError, match=message):
        ExternalMemory(Recite(), **arguments)
    with pytest.raises(ValueError, match=message):
        VectorExternalMemory(SyncVectorEnv([Recite]), **arguments)


def test_other_spaces_are_refused():
    """Words, and numbers where symbols are to be named."""

    class Words(Recite):
        action_space = gym.spaces.Text(3)

    with pytest.raises(ValueError, match="needs Box, Discrete, MultiBinary or MultiDiscrete actions, got Text"):
        ExternalMemory(Words())
    with pytest.raises(ValueError, match=r"actions of numbers stay numbers: leave action='discrete' out for Box"):
        ExternalMemory(Push(), action="discrete")
    with pytest.raises(ValueError, match=r"actions must have shape \(8,\), got \(2,\)"):
        ExternalMemory(Push(), "tape").step(np.zeros(2))
    with pytest.raises(ValueError, match=r"actions must have shape \(8,\), got \[0, \[1, 2\]\]"):
        ExternalMemory(Push(), "tape").step([0, [1, 2]])
    with pytest.raises(ValueError, match="the options of a reset must be a dict, got 5"):
        VectorExternalMemory(SyncVectorEnv([Recite])).reset(options=5)
    with pytest.raises(ValueError, match="needs keys to name a cell by, got observations in Box"):
        ExternalMemory(gym.make("CartPole-v1"), "associative")
    with pytest.raises(ValueError, match="every action must lie in MultiDiscrete"):
        ExternalMemory(Recite()).step([0, 0, 4])


def test_cells_are_empty_at_every_start_whatever_they_can_hold():
    """Symbols whose codes take 60 bits: an int64 has room for a few eras of them, and there are more episodes."""

    class Many(Recite):
        observation_space = gym.spaces.MultiDiscrete([2**10 - 1] * 6)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed, options=options)
            return self.observation_space.nvec - 1, {}

        def step(self, action):
            return self.observation_space.nvec - 1, 0.0, False, False, {}

    env = ExternalMemory(Many(), "associative", num_cells=2)
    name_shown = env.num_actions[0] - 2  # the last symbol of the last channel
    for _ in range(20):
        assert env.reset()[0][-1] == 0
        assert env.step([name_shown, 1, 0])[0][-1] == 1


def test_a_wrapped_environment_can_be_made_again_from_its_spec():
    """The wrapper records its arguments, as Gymnasium's own do."""
    env = ExternalMemory(gym.make("CartPole-v1"), "random-access", num_cells=3, num_heads=2)
    again = gym.make(env.spec)
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space == gym.spaces.MultiDiscrete([3, 3, 2, 2, 2])
