"""The rules, over every registered environment: oracles, floors, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardmem.envs import ENVIRONMENTS, make_dynamics
from hardmem.envs.arrays import as_numpy
from hardmem.tasks import TASKS
from hardmem.tasks.dealing import Dealt
from tests import device_guard


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def play(dynamics, state, choose):
    """Play all episodes to their end; returns the total reward (B,) summed in time order, and all steps."""
    total, steps = torch.zeros(len(state.clock)), []
    while bool(state.running.any()):
        state, step = dynamics.step(state, choose(state))
        total += step.reward
        steps.append(step)
    return total, steps


def leaves(state):
    """All tensors or arrays of a state."""
    return [leaf for field in state for leaf in (field if isinstance(field, tuple) else [field])]


def uniform_actions(dynamics, num_envs, random):
    columns = [torch.randint(n, (num_envs,), generator=random) for n in dynamics.num_actions]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("env", sorted(ENVIRONMENTS))
@pytest.mark.parametrize("options", [{}, {"num_heads": 2, "observable": True}])
def test_numpy_plays_by_the_same_rules(env, options):
    """State, observation, reward, end and legal actions on arrays are those on tensors, to the last bit."""
    dynamics = make_dynamics(**{**ENVIRONMENTS[env], "max_length": 4, **options})
    twin, random = dynamics.numpy(), generator(2)
    script = dynamics.script(dynamics.task.draw(5, generator=generator()))
    state, array_state = dynamics.begin(script), as_numpy(dynamics.begin(type(script)(*(f.clone() for f in script))))
    fresh, which = dynamics.script(dynamics.task.draw(2, generator=generator(1))), torch.tensor([0, 3])
    for turn in range(2 * dynamics.task.num_steps):
        if turn == 5:
            state = dynamics.replace(state, which, fresh)
            array_state = twin.replace(array_state, which.numpy(), as_numpy(fresh))
        action = uniform_actions(dynamics, 5, random)
        state, step = dynamics.step(state, action)
        array_state, array_step = twin.step(array_state, action.numpy())
        ours = [*step, *leaves(state), *dynamics.legal(state)]
        theirs = [*array_step, *leaves(array_state), *twin.legal(array_state)]
        for tensor, array in zip(ours, theirs, strict=True):
            assert isinstance(array, np.ndarray)
            assert array.flags.c_contiguous or array.ndim < 2  # reshape must not copy what is written to
            assert torch.equal(tensor, torch.from_numpy(array))


def test_an_episode_by_hand():
    """Copy of [3, 1] on a tape: what is seen, earned, and where the head goes, step by step."""
    dynamics = make_dynamics("copy", "tape", num_symbols=3, max_length=2)  # 4 cells
    state, observation = dynamics.start(dynamics.task.problem([3, 1]))
    blank, delimiter = 0, 4

    def seen(observation):
        return observation[0, :5].argmax().item(), observation[0, 5:].argmax().item()

    left, right, home = 0, 2, 3
    assert observation.shape == (1, 10)
    assert observation.sum() == 2
    assert seen(observation) == (3, 0)
    script = [  # move, write, answer -> next (shown, under the head), reward, terminated
        ([right, 1, 0], (1, 0), 0.0, False),
        ([right, 1, 0], (delimiter, 0), 0.0, False),
        ([home, 0, 0], (blank, 3), 0.0, False),
        ([right, 0, 2], (blank, 1), 0.5, False),
        ([left, 0, 2], (blank, 3), 0.0, True),  # a wrong answer, and back
    ]
    for action, expected, reward, terminated in script:
        state, step = dynamics.step(state, torch.tensor([action]))
        assert seen(step.observation) == expected
        assert (step.reward.item(), step.terminated.item()) == (reward, terminated)
    assert state.head.tolist() == [[0]]
    state, step = dynamics.step(state, torch.tensor([[left, 0, 2]]))  # past the end: nothing is earned
    assert step.reward.item() == 0.0
    assert step.terminated.item()
    assert state.head.tolist() == [[3]]  # the tape is circular


def test_what_was_not_shown_cannot_be_written():
    """A write stores the symbol shown at that step, and only where the head is."""
    dynamics = make_dynamics("copy", "random-access", num_symbols=8, max_length=3, num_heads=2)
    state, _ = dynamics.start(dynamics.task.problem([5, 6, 7]))
    state, _ = dynamics.step(state, torch.tensor([[2, 4, 1, 0, 0]]))  # head 0 writes 5 at cell 0, heads go to 2 and 4
    state, _ = dynamics.step(state, torch.tensor([[1, 1, 0, 1, 0]]))  # head 1 writes 6 at cell 4
    assert state.memory.codes()[0].tolist() == [5, 0, 0, 0, 6]


def test_copies_of_a_problem_stand_side_by_side():
    """Problem-major groups of K, as leave-one-out takes them."""
    dynamics = make_dynamics("copy")
    state, _ = dynamics.reset(12, generator(), group_size=4)
    groups = state.script.shown.unflatten(0, (3, 4))
    assert (groups == groups[:, :1]).all()
    assert not (groups[0] == groups[1]).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("num_problems", [2, 100])
def test_problems_are_those_of_the_task(task, num_problems):
    """However they are laid out for play, and by a task that only draws as well."""
    dynamics = make_dynamics(task)
    drawn = dynamics.script(dynamics.task.draw(num_problems, generator=generator()))
    for ours, theirs in zip(dynamics.draw(num_problems, generator()), drawn, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    dynamics.task = DrawsOnly(dynamics.task)
    for ours, theirs in zip(dynamics.draw(num_problems, generator()), drawn, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


DEALT = sorted(env for env, arguments in ENVIRONMENTS.items() if issubclass(TASKS[arguments["task"]], Dealt))


@pytest.mark.parametrize("env", DEALT)
def test_a_hand_is_played_as_its_script(env):
    """Every observation, reward and end of dealt problems is that of the same ones step by step, replaced ones too."""
    dynamics = make_dynamics(**ENVIRONMENTS[env], preset="easiest")
    hand, fresh, random = dynamics.deal(4, generator()), dynamics.deal(2, generator(1)), generator(2)
    scripted, dealt = dynamics.begin(dynamics.spell_out(hand)), dynamics.begin(hand)
    assert torch.equal(dynamics.observe(dealt), dynamics.observe(scripted))
    which = torch.tensor([0, 3])
    for turn in range(2 * dynamics.task.num_steps):
        if turn == 3:
            dealt = dynamics.replace(dealt, which, fresh)
            scripted = dynamics.replace(scripted, which, dynamics.spell_out(fresh))
        action = uniform_actions(dynamics, 4, random)
        (dealt, ours), (scripted, theirs) = dynamics.step(dealt, action), dynamics.step(scripted, action)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


class DrawsOnly:
    """A task that deals nothing."""

    def __init__(self, task):
        self.draw = task.draw


def test_replacing_episodes_leaves_the_others_untouched():
    """Fresh episodes in places 1 and 3 of 5; the neighbours play on as if nothing had happened."""
    dynamics = make_dynamics("copy", max_length=4)
    actions = [uniform_actions(dynamics, 5, generator(step)) for step in range(9)]
    state, _ = dynamics.reset(5, generator())
    alone, _ = dynamics.reset(5, generator())
    fresh, observation = dynamics.reset(2, generator(1))
    which, kept = torch.tensor([1, 3]), torch.tensor([0, 2, 4])
    for action in actions[:4]:
        state, _ = dynamics.step(state, action)
        alone, _ = dynamics.step(alone, action)
    state = dynamics.replace(state, which, fresh.script)
    torch.testing.assert_close(dynamics.observe(state)[which], observation)
    assert state.memory.codes()[which].sum() == 0
    for action in actions[4:]:
        state, mixed = dynamics.step(state, action)
        alone, old = dynamics.step(alone, action)
        fresh, new = dynamics.step(fresh, action[which])
        for ours, untouched, started in zip(mixed, old, new, strict=True):
            torch.testing.assert_close(ours[kept], untouched[kept], rtol=0, atol=0)
            torch.testing.assert_close(ours[which], started, rtol=0, atol=0)
    assert state.memory.codes()[kept].any()


@pytest.mark.parametrize("interface", ["tape", "random-access"])
def test_devices(interface):
    """Reset, step and observation stay on one device and never read from it."""
    with device_guard.fake_device() as device:
        dynamics = make_dynamics("copy", interface, device=device)
        state, observation = dynamics.start(dynamics.task.draw(4, device=device))
        action = torch.zeros(4, len(dynamics.num_actions), dtype=torch.int64, device=device)
        state, step = dynamics.step(state, action)
        assert observation.device == step.reward.device == state.memory.cells.device == torch.device(device)
    dynamics = make_dynamics("copy", interface)
    actions = uniform_actions(dynamics, 4, generator())
    with device_guard.no_host_reads():
        state, _ = dynamics.reset(4, generator())
        dynamics.step(state, actions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cpoy"}, "unknown task 'cpoy'; choose one of"),
        ({"task": "copy", "interface": "tap"}, "unknown interface 'tap'; choose one of"),
        ({"task": "copy", "num_cells": 0}, "num_cells must be at least 1, got 0"),
        ({"task": "copy", "num_symbols": -1}, "num_symbols must be at least 1, got -1"),
        ({"task": "copy", "max_length": 0}, "max_length=0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """One sentence: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make_dynamics(**arguments)


@pytest.mark.parametrize(
    ("num_envs", "group_size", "message"),
    [
        (4, 0, "group_size must be at least 1, got 0"),
        (4, -2, "group_size must be at least 1, got -2"),
        (4, 2.0, "group_size must be a whole number, got 2.0"),
        ("4", 1, "num_envs must be a whole number, got '4'"),
        (0, 1, "num_envs must be at least 1, got 0"),
    ],
)
def test_bad_batches_are_named(num_envs, group_size, message):
    """One sentence: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make_dynamics("copy").reset(num_envs, generator(), group_size=group_size)


def test_groups_must_divide_the_batch():
    """A broken group would compare sequences of different problems."""
    with pytest.raises(ValueError, match="multiple of group_size=4, got 6"):
        make_dynamics("copy").reset(6, generator(), group_size=4)
