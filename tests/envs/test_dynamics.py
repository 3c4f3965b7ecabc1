"""The rules, over every registered environment: oracles, floors, batches."""

from __future__ import annotations

import pytest
import torch

from hardmem.envs import ENVIRONMENTS, make_dynamics
from tests import device_guard


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def play(dynamics, state, choose):
    """Play all episodes to their end; returns the total reward (B,) summed in time order, and all steps."""
    total, steps = torch.zeros(len(state.clock)), []
    while not bool((state.clock >= state.num_steps).all()):
        state, step = dynamics.step(state, choose(state))
        total += step.reward
        steps.append(step)
    return total, steps


def uniform_actions(dynamics, num_envs, random):
    columns = [torch.randint(n, (num_envs,), generator=random) for n in dynamics.num_actions]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("env", sorted(ENVIRONMENTS))
@pytest.mark.parametrize("max_length", [1, 2, 10, 37])
def test_the_oracle_earns_exactly_one(env, max_length):
    """Not nearly: the float32 rewards of a faultless episode add up to 1.0 at every length."""
    dynamics = make_dynamics(**ENVIRONMENTS[env], max_length=max_length)
    state, _ = dynamics.reset(256, generator())
    total, _ = play(dynamics, state, dynamics.oracle)
    assert total.tolist() == [1.0] * 256


@pytest.mark.parametrize("env", sorted(ENVIRONMENTS))
def test_the_oracle_needs_its_cells(env):
    """With the cells wiped the oracle answers from empty cells: it reads, it does not cheat."""
    dynamics = make_dynamics(**ENVIRONMENTS[env], wiped=True)
    state, _ = dynamics.reset(512, generator())
    total, _ = play(dynamics, state, dynamics.oracle)
    assert total.mean() < 0.2  # it then always answers the first symbol: 1 / 8


@pytest.mark.parametrize("env", sorted(ENVIRONMENTS))
def test_random_actions_earn_the_floor(env):
    """Uniform answers are right one time in eight, whatever else is done (5 standard errors)."""
    dynamics = make_dynamics(**ENVIRONMENTS[env])
    state, _ = dynamics.reset(4000, generator())
    random = generator(1)
    total, _ = play(dynamics, state, lambda state: uniform_actions(dynamics, 4000, random))
    assert abs(total.mean() - 1 / 8) < 5 * total.std() / 4000**0.5


@pytest.mark.parametrize("env", sorted(ENVIRONMENTS))
def test_a_batch_equals_batches_of_one(env):
    """Every observation, reward and end of B episodes is that of the same problem played alone."""
    dynamics = make_dynamics(**ENVIRONMENTS[env], max_length=5)
    problem = dynamics.task.draw(6, generator=generator())
    actions = [uniform_actions(dynamics, 6, generator(step)) for step in range(dynamics.task.num_steps)]
    state, together = dynamics.start(problem)
    singles = [dynamics.start(type(problem)(*(field[:, b : b + 1] for field in problem))) for b in range(6)]
    for b in range(6):
        torch.testing.assert_close(together[b], singles[b][1][0], rtol=0, atol=0)
    alone = [single[0] for single in singles]
    for action in actions:
        state, step = dynamics.step(state, action)
        for b in range(6):
            alone[b], one = dynamics.step(alone[b], action[b : b + 1])
            for field, single in zip(step, one, strict=True):
                torch.testing.assert_close(field[b], single[0], rtol=0, atol=0)


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
    assert state.memory[0, :, 0].tolist() == [5, 0, 0, 0, 6]


def test_copies_of_a_problem_stand_side_by_side():
    """Problem-major groups of K, as leave-one-out takes them."""
    dynamics = make_dynamics("copy")
    state, _ = dynamics.reset(12, generator(), group_size=4)
    groups = state.script.unflatten(1, (3, 4))
    assert (groups == groups[:, :, :1]).all()
    assert not (groups[:, 0] == groups[:, 1]).all()


def test_replacing_episodes_leaves_the_others_untouched():
    """Fresh episodes in places 1 and 3 of 5; the neighbours play on as if nothing had happened."""
    dynamics = make_dynamics("copy", max_length=4)
    state, _ = dynamics.reset(5, generator())
    action = uniform_actions(dynamics, 5, generator(7))
    state, _ = dynamics.step(state, action)
    fresh, _ = dynamics.reset(2, generator(1))
    mixed = dynamics.replace(state, torch.tensor([1, 3]), fresh)
    for name, field in mixed._asdict().items():
        dim = 1 if name == "script" else 0
        kept = torch.tensor([0, 2, 4])
        torch.testing.assert_close(field.index_select(dim, kept), getattr(state, name).index_select(dim, kept))
        torch.testing.assert_close(field.index_select(dim, torch.tensor([1, 3])), getattr(fresh, name))


@pytest.mark.parametrize("interface", ["tape", "random-access"])
def test_devices(interface):
    """Reset, step and observation stay on one device and never read from it."""
    with device_guard.fake_device() as device:
        dynamics = make_dynamics("copy", interface, device=device)
        state, observation = dynamics.start(dynamics.task.draw(4, device=device))
        action = torch.zeros(4, len(dynamics.num_actions), dtype=torch.int64, device=device)
        state, step = dynamics.step(state, action)
        assert observation.device == step.reward.device == state.memory.device == torch.device(device)
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
        ({"task": "copy", "num_cells": 0}, "at least 1, got 0 and 1"),
        ({"task": "copy", "num_symbols": -1}, "num_symbols must be at least 1, got -1"),
        ({"task": "copy", "max_length": 0}, "max_length=0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """One sentence: what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make_dynamics(**arguments)


def test_groups_must_divide_the_batch():
    """A broken group would compare sequences of different problems."""
    with pytest.raises(ValueError, match="multiple of group_size=4, got 6"):
        make_dynamics("copy").reset(6, generator(), group_size=4)
