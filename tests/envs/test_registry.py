"""Every registered environment keeps the contract; limits and thresholds; the oracle away from the defaults."""

from __future__ import annotations

import re
from functools import partial

import gymnasium as gym
import pytest
import torch

from hardmem.envs import ENVIRONMENTS, FLAT_ENVIRONMENTS, TaskEnv, TaskVectorEnv, make_dynamics, register
from hardmem.envs.contents import Memory
from hardmem.envs.testing import EnvironmentContract, play
from hardmem.tasks import TASKS
from hardmem.tasks.rewriting import Rewritable

IDS = sorted(ENVIRONMENTS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def asked(rows):
    """The symbol that is shown with a question mark."""
    return rows[rows[:, 1] == 1, 0].unique().item()


SHOWN = {  # the input that `problem` takes, from what a column (T, C) shows, where that is not all of it
    "copy": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "delay": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "sort": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "duplicated-input": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "reverse": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "repeat-copy": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols + task.max_repeats],
    "forward-reverse": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "addition": lambda task, rows: rows[rows[:, 1] > 0].flatten().tolist(),
    "counting": lambda task, rows: [*rows[(rows[:, 0] > 0) & (rows[:, 1] == 0), 0].tolist(), asked(rows)],
    "stack": lambda task, rows: rows[rows[:, 0] > 0, 0].tolist(),
    "queue": lambda task, rows: rows[rows[:, 0] > 0, 0].tolist(),
    "maze": lambda task, rows: rows[rows.any(dim=1) & (rows[:, 0] <= task.num_keys)].flatten().tolist(),
    "associative-recall": lambda task, rows: [s for s in rows[:, 0].tolist() if 1 <= s <= task.num_symbols],
    "dynamic-ngrams": lambda task, rows: [s for s in rows[:, 0].tolist() if s],
    "priority-sort": lambda task, rows: rows[rows[:, 0] > 0].flatten().tolist(),
}


class TestEveryEnvironment(EnvironmentContract):
    """The contract, over the whole registry."""

    @pytest.fixture(params=IDS, autouse=True)
    def _environment(self, request):
        self.arguments = ENVIRONMENTS[request.param]
        if not TASKS[self.arguments["task"]].shows_answers:
            self.presets = self.presets[:2]  # at every step its oracle goes through the whole problem

    def input_of(self, rules, problem):
        if self.arguments["task"] not in SHOWN:
            return super().input_of(rules, problem)
        symbols = SHOWN[self.arguments["task"]](rules.task, problem.inputs[:, 0])
        return symbols if rules.task.shows_answers else [*symbols, problem.targets[problem.mask][-1].item()]


class TestPresentationsInVain(TestEveryEnvironment):
    """The contract with one presentation that is void before the one that counts, which nobody foresees."""

    presets = ("easiest",)

    @pytest.fixture(
        params=[name for name in IDS if issubclass(TASKS[ENVIRONMENTS[name]["task"]], Rewritable)], autouse=True
    )
    def _environment(self, request):
        self.arguments = {**ENVIRONMENTS[request.param], "rewrites": 1}


@pytest.mark.parametrize("env_id", IDS)
def test_the_spec_states_limit_and_threshold(env_id):
    """The limit is that of the hardest preset: neither a preset nor anything shorter is cut off.

    The threshold lies between what is earned without memory and what optimal play earns, so that it can be reached.
    """
    spec = gym.spec(env_id)
    steps = {
        preset: make_dynamics(**spec.kwargs, preset=preset).max_steps for preset in TASKS[spec.kwargs["task"]].presets
    }
    assert spec.max_episode_steps == max(steps.values()) == steps["longest"]
    task = make_dynamics(**spec.kwargs).task
    assert task.memoryless < spec.reward_threshold < task.optimum
    assert spec.reward_threshold == 0.99 * task.optimum
    flat = gym.spec(env_id.replace("-v0", "Flat-v0"))
    assert (flat.max_episode_steps, flat.reward_threshold) == (spec.max_episode_steps, spec.reward_threshold)
    assert set(gym.make(env_id).metadata["dials"]) > {"num_symbols", "max_length", "cells", "bits"}


def test_longer_problems_are_not_cut_off():
    """A length between the presets ends by itself under `gym.make`."""
    env = gym.make("hardmem/Copy-v0", min_length=60, max_length=60)
    env.reset(seed=0)
    for step in range(121):
        *_, terminated, truncated, _ = env.step(env.unwrapped.oracle())
        assert not truncated
        assert terminated == (step == 120)


MAKERS = {
    "single": gym.make,
    "native": partial(gym.make_vec, num_envs=2, vectorization_mode="vector_entry_point"),
    "sync": partial(gym.make_vec, num_envs=2, vectorization_mode="sync"),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "longest"),
    [({"max_length": 200}, 401), ({"max_length": 50, "endless": True}, 2600)],
    ids=["longer", "endless"],
)
@pytest.mark.filterwarnings("error")
def test_a_limit_that_may_cut_an_episode_off_is_named(maker, arguments, longest):
    """The one in force, registered or given, and what to pass; who passes it, or what is enough, hears nothing."""
    for limit in (None, longest - 1):
        given = {} if limit is None else {"max_episode_steps": limit}
        env = MAKERS[maker]("hardmem/Copy-v0", **arguments, **given)
        told = f"may take {longest} steps and is cut off after {limit or 301}: pass max_episode_steps={longest} unless"
        with pytest.warns(UserWarning, match=told) as heard:
            env.reset(seed=0)
        assert len(heard) == (2 if maker == "sync" else 1)
        env.reset()  # said once
    for limit in (longest, 3000):
        MAKERS[maker]("hardmem/Copy-v0", **arguments, max_episode_steps=limit).reset(seed=0)


@pytest.mark.filterwarnings("error")
def test_no_limit_no_warning():
    """Where nothing cuts an episode off, nothing is said; where one's own wrapper does, it is."""
    TaskEnv("copy", max_length=200).reset(seed=0)
    gym.make("hardmem/Copy-v0", max_length=200).unwrapped.reset(seed=0)
    TaskVectorEnv(2, "copy", max_length=200).reset(seed=0)
    with pytest.warns(UserWarning, match="cut off after 20:"):
        gym.wrappers.TimeLimit(gym.make("hardmem/Copy-v0"), 20).reset(seed=0)


@pytest.fixture
def other_ids():
    """What is registered during a test is forgotten after it."""
    registries = (gym.registry, ENVIRONMENTS, FLAT_ENVIRONMENTS)
    before = [set(registry) for registry in registries]
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            del registry[name]


@pytest.mark.usefixtures("other_ids")
def test_an_environment_of_ones_own_is_registered_as_all_are():
    """One call: the id and its twin, single and vectorised, with limit, threshold and plain data as of the package."""
    register("mine/Backwards-v3", task="dynamic-ngrams", interface="tape", self_paced=True)
    known = gym.spec("hardmem/DynamicNGrams-v0")
    for env_id, format_arguments in (("mine/Backwards-v3", {}), ("mine/BackwardsFlat-v3", {"action": "discrete"})):
        spec = gym.spec(env_id)
        assert (spec.max_episode_steps, spec.reward_threshold) == (known.max_episode_steps, known.reward_threshold)
        assert spec.kwargs == {**known.kwargs, **format_arguments}
        gym.make(env_id).reset(seed=0)
        assert type(gym.make_vec(env_id, num_envs=2).unwrapped) is TaskVectorEnv
    assert ENVIRONMENTS["mine/Backwards-v3"] == FLAT_ENVIRONMENTS["mine/BackwardsFlat-v3"] == known.kwargs


@pytest.mark.parametrize(
    ("env_id", "arguments", "message"),
    [
        ("mine/Backwards", {"task": "reverse"}, "must end in its version, as in 'mine/First-v0', got 'mine/Backwards'"),
        ("mine/Backwards-v0", {"task": "revers"}, "unknown task 'revers'; choose one of"),
        ("mine/Backwards-v0", {"task": "reverse", "interface": "associative"}, "needs keys to name a cell by"),
    ],
)
def test_what_cannot_be_registered_is_named(env_id, arguments, message):
    """In one sentence, and nothing of it stays."""
    with pytest.raises(ValueError, match=message):
        register(env_id, **arguments)
    assert env_id not in gym.registry
    assert env_id not in ENVIRONMENTS


def test_a_self_paced_episode_is_cut_off_after_its_limit():
    """An agent that never goes on is truncated, not terminated, after N steps for each one shown."""
    for make in (gym.make, gym.make_vec):
        env = make("hardmem/SlotRecall-v0", preset="easiest")
        env.reset(seed=0)
        limit = env.unwrapped.dynamics.max_steps
        action = env.action_space.sample()
        action[..., -2] = 0  # the pace
        ends = [env.step(action)[2:4] for _ in range(limit)]
        assert [tuple(map(bool, end)) for end in ends] == [(False, False)] * (limit - 1) + [(False, True)]


RULES = [
    ("copy", {"interface": "tape", "order": "move-answer-write"}),
    ("copy", {"interface": "tape", "moves": (-1, 0, 1), "self_paced": True}),
    ("copy", {"interface": "tape", "write": "symbol"}),
    ("copy", {"interface": "tape", "emit": "read"}),
    ("copy", {"interface": "random-access", "num_heads": 2}),
    ("reverse", {"interface": "random-access", "emit": "read", "order": "move-answer-write"}),
    ("repeat-copy", {"interface": "tape", "self_paced": True}),
    ("fact-recall", {"interface": "associative", "emit": "read"}),
    ("fact-recall", {"interface": "associative", "emit": "read", "order": "move-answer-write"}),
    ("fact-recall", {"interface": "associative", "write": "symbol", "order": "move-answer-write", "num_heads": 2}),
    ("overwrite", {"interface": "tape", "self_paced": True, "order": "move-answer-write"}),
    ("overwrite", {"interface": "tape", "self_paced": True, "order": "move-answer-write", "emit": "read"}),
    ("multi-hop", {"interface": "random-access", "emit": "read"}),
    ("associative-recall", {"interface": "random-access", "order": "move-answer-write"}),
]


@pytest.mark.parametrize(("task", "rules"), RULES, ids=str)
def test_the_oracle_plays_by_any_rules(task, rules):
    """Order of a step, set of moves, what is written and emitted, pace, heads: the oracle earns 1.0 under them."""
    dynamics = make_dynamics(task, **rules)
    state, _ = dynamics.reset(64, generator())
    total, _ = play(dynamics, state, dynamics.oracle)
    assert total.tolist() == [1.0] * 64


PAIRS = [
    ("copy", {"interface": "tape"}),
    ("reverse", {"interface": "tape"}),
    ("slot-recall", {"interface": "tape", "self_paced": True}),
    ("copy", {"interface": "random-access"}),
    ("fact-recall", {"interface": "random-access"}),
    ("fact-recall", {"interface": "associative"}),
]


@pytest.mark.parametrize("num_heads", [1, 2, 3])
@pytest.mark.parametrize("emit", ["symbol", "read"])
@pytest.mark.parametrize("order", ["answer-write-move", "move-answer-write"])
@pytest.mark.parametrize(("task", "interface"), PAIRS, ids=str)
def test_any_number_of_heads_answers_either_way(task, interface, order, emit, num_heads):
    """On every interface one head or several earn 1.0, by a symbol or by the cell they read."""
    dynamics = make_dynamics(task, **interface, order=order, emit=emit, num_heads=num_heads, max_length=3)
    assert ("answer" in dynamics.factors) == (emit == "symbol")
    assert [f"address {head}" for head in range(num_heads)] == list(dynamics.factors[:num_heads])
    state, _ = dynamics.reset(32, generator())
    total, _ = play(dynamics, state, dynamics.oracle)
    assert total.tolist() == [1.0] * 32


@pytest.mark.parametrize(
    ("task", "rules"),
    [
        ("fact-recall", {}),
        ("overwrite", {"interface": "random-access", "min_length": 5, "num_keys": 5}),
        ("overwrite", {"interface": "associative"}),
    ],
    ids=str,
)
def test_rules_under_which_the_optimum_is_out_of_reach(task, rules):
    """No time to find a cell, or no way to write where the old value is: the oracle fails, so it is not registered."""
    dynamics = make_dynamics(task, **rules)
    state, _ = dynamics.reset(64, generator())
    total, _ = play(dynamics, state, dynamics.oracle)
    assert total.mean() < 0.9


def names(dynamics, channel, symbol):
    return 1 + sum(dynamics.task.input_sizes[c] for c in dynamics.task.key_channels if c < channel) + symbol - 1


def test_naming_by_hand():
    """Found, lowest of several, put where it is empty, next, nowhere to go: the rules of addressing by content."""
    dynamics = make_dynamics("fact-recall", "associative", num_cells=4, num_keys=9)
    facts = torch.tensor([[5, 1, 2], [7, 3, 2], [5, 3, 1], [0, 0, 0], [2, 2, 2]])
    codes, era = dynamics.contents.encode(facts).unsqueeze(1), torch.zeros(1, dtype=torch.int64)  # (5, 1), (1,)
    memory, full = Memory(codes[:4], era), Memory(codes[[0, 1, 2, 4]], era)
    nothing, following = names(dynamics, 0, 9), dynamics.interface.num_actions - 1

    def leads(head, action, memory=memory):
        return dynamics.interface.move(torch.tensor([[head]]), torch.tensor([[action]]), memory).item()

    assert leads(0, names(dynamics, 0, 7)) == 1
    assert leads(3, names(dynamics, 0, 5)) == 0
    assert leads(0, names(dynamics, 1, 3)) == 1
    assert leads(0, names(dynamics, 1, 5)) == 3  # a 5, but in the other channel
    assert [leads(1, 0), leads(1, nothing)] == [3, 3]
    assert [leads(1, 0, full), leads(1, nothing, full)] == [1, 1]
    assert [leads(1, following), leads(3, following)] == [2, 0]


def stored(dynamics, state):
    """What the cells of episode 0 hold, symbol by symbol."""
    return dynamics.contents.decode(state.memory.codes()[0]).tolist()


def test_written_symbols_by_hand():
    """A symbol replaces the answer channel of what is shown; 0 writes nothing; the later of two heads wins."""
    dynamics = make_dynamics("slot-recall", "random-access", write="symbol", num_heads=2)
    state, _ = dynamics.start(dynamics.task.problem([5, 4, 2, 4, 9, 6, 9, 0]))
    state, _ = dynamics.step(state, torch.tensor([[0, 3, 7, 2, 0]]))  # both heads at cell 0: 7, then 2
    assert stored(dynamics, state)[0] == [5, 2]
    state, _ = dynamics.step(state, torch.tensor([[0, 0, 0, 3, 0]]))
    assert stored(dynamics, state)[0] == [5, 2]
    assert stored(dynamics, state)[3] == [2, 3]


@pytest.mark.parametrize(("order", "earned"), [("answer-write-move", 0.5), ("move-answer-write", 1.0)])
def test_what_is_read_is_the_answer(order, earned):
    """Emitted from under head 0, which is at cell 1, still empty, until it has moved to cell 0 at the first answer."""
    dynamics = make_dynamics("copy", "random-access", emit="read", order=order, max_length=2)
    assert dynamics.factors == ("address 0", "write 0")
    state, _ = dynamics.start(dynamics.task.problem([3, 3]))
    total = 0.0
    for action in ([0, 1], [0, 1], [1, 0], [0, 0], [0, 0]):
        state, step = dynamics.step(state, torch.tensor([action]))
        total += step.reward.item()
    assert total == earned


@pytest.mark.parametrize(
    ("env_id", "given", "closest"),
    [
        ("hardmem/Copy-v0", "observabel", ", closest to 'observable'"),
        ("hardmem/Copy-v0", "num_head", ", closest to 'num_heads'"),
        ("hardmem/Copy-v0", "obs", ""),
        ("hardmem/TapeCopy-v0", "observation", ""),
        ("hardmem/TapeCopy-v0", "preset", ""),
        ("hardmem/TapeCopy-v0", "mask_info", ""),
    ],
)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec], ids=["single", "vector"])
def test_a_wrong_name_is_answered_with_the_right_ones(make, env_id, given, closest):
    """The closest, and all that this very environment takes: of its adapter's, its rules' and its task's."""
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{given}'{closest}; it takes \[") as refused:
        make(env_id, **{given: 1})
    listed = re.findall(r"'(\w+)'", str(refused.value).split("it takes")[1].split("]")[0])
    expected = {"task", "action", "render_mode", "min_length"}
    expected |= {"curriculum"} if "Tape" in env_id else {"observation", "interface", "preset", "observable", "lag"}
    expected |= {"num_envs", "autoreset_mode"} if make is gym.make_vec else set()
    assert expected <= set(listed)
    assert given not in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interface": "associative"}, r"needs keys to name a cell by, got Copy\("),
        ({"interface": "random-access", "moves": (0, 1)}, r"leave them out for 'random-access', got \[0, 1\]"),
        ({"moves": ()}, "moves must be distinct integers or 'home'"),
        ({"order": "write-move"}, "unknown order 'write-move'; choose one of"),
        ({"write": "all"}, "unknown write 'all'; choose one of"),
        ({"moves": "home"}, "moves must be a list of distinct integers or 'home', got 'home'"),
        ({"moves": 3}, "moves must be a list of distinct integers or 'home', got 3"),
        ({"moves": [[1]]}, r"moves must be distinct integers or 'home', at least one, got \[\[1\]\]"),
        ({"moves": [0, 10**20]}, r"moves must lie within 2 \*\* 62 of 0, got \[0, 100000000000000000000\]"),
        ({"num_cells": 2.5}, "num_cells must be a whole number, got 2.5"),
        ({"num_cells": True}, "num_cells must be a whole number, got True"),
        ({"num_heads": True}, "num_heads must be a whole number, got True"),
        ({"num_heads": "2"}, "num_heads must be a whole number, got '2'"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"self_paced": "yes"}, "self_paced must be True or False, got 'yes'"),
        ({"lag": 1.5}, "lag must be a whole number, got 1.5"),
        ({"lag": True}, "lag must be a whole number, got True"),
        ({"max_length": None}, "max_length must be a whole number, got None"),
        ({"max_length": True}, "max_length must be a whole number, got True"),
        ({"emit": "cell"}, "unknown emit 'cell'; choose one of"),
        ({"preset": "hard"}, "unknown preset 'hard' of copy; choose one of"),
        (
            {"num_sybols": 3},
            r"copy got an unexpected keyword argument 'num_sybols', closest to 'num_symbols'; it takes \[",
        ),
    ],
)
def test_bad_rules_are_named(arguments, message):
    """One sentence: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make_dynamics("copy", **arguments)


def test_an_argument_that_does_not_exist_is_a_type_error():
    """As of any constructor, in these very words: TorchRL tries `frameskip` and goes on without it."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        gym.make("hardmem/Copy-v0", frameskip=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        gym.make("hardmem/TapeCopy-v0", frameskip=1)
