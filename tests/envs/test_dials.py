"""The dials of difficulty: stated for every id, and each turns what its name says and nothing else."""

from __future__ import annotations

import dataclasses
import json

import gymnasium as gym
import pytest
import torch

from hardmem.envs import ENVIRONMENTS, make_dynamics
from hardmem.envs.testing import play
from hardmem.tasks import TASKS
from hardmem.tasks.rewriting import Rewritable

DIALS = ("lag", "rewrites", "distractors", "cells", "bits", "num_cells")
TURNED = [  # every id under every dial that its task takes
    (env_id, dial)
    for env_id, arguments in ENVIRONMENTS.items()
    for dial in ("lag", "rewrites", "distractors", "max_length", "num_symbols", "num_cells")
    if dial == "num_cells" or dial in {field.name for field in dataclasses.fields(TASKS[arguments["task"]])}
]
SMALL = {"min_length": 2, "max_length": 3}
NUM_EPISODES = 64


def small(env_id, **changes):
    arguments = {**SMALL, **changes}
    if TASKS[ENVIRONMENTS[env_id]["task"]].shortest > 2:
        arguments["min_length"] = 3
    return make_dynamics(**{**ENVIRONMENTS[env_id], **arguments})


def turned(rules, dial):
    """One notch up."""
    now = rules.num_cells if dial == "num_cells" else getattr(rules.task, dial)
    return {dial: now + 2}


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_every_id_states_its_dials(env_id):
    """Lag, rewrites, distractors, capacity in cells and bits and the cells there are: numbers, in the metadata."""
    single = gym.make(env_id)
    many = gym.make_vec(env_id, num_envs=2, vectorization_mode="vector_entry_point")
    dials = single.metadata["dials"]
    assert dials == many.metadata["dials"] == json.loads(json.dumps(dials))
    assert {type(dials[dial]) for dial in DIALS} <= {int, float}
    task = single.unwrapped.dynamics.task
    for field in dataclasses.fields(task):
        assert dials[field.name] == getattr(task, field.name), f"{field.name} is not stated as it is"
    assert dials["cells"] == task.num_stored
    assert dials["num_cells"] == single.unwrapped.dynamics.num_cells


@pytest.mark.parametrize(("env_id", "dial"), TURNED, ids=lambda value: value.removeprefix("hardmem/"))
def test_a_dial_turns_what_it_says(env_id, dial):
    """What it is called, in the dials that are stated and in the problems; the oracle goes on to earn everything."""
    before = small(env_id)
    after = small(env_id, **turned(before, dial))
    changed = {name for name in before.dials if before.dials[name] != after.dials[name]}
    assert dial in changed
    follows = {
        "lag": set(),
        "rewrites": set(),
        "distractors": {"cells", "bits", "num_cells"} if before.task.key_channels else set(),
        "max_length": {"cells", "bits", "num_cells", "distractors"},  # Delay counts its distractors
        "num_symbols": {"bits"},
        "num_cells": set(),
    }[dial]
    assert changed - {dial} <= follows
    assert (after.task.num_steps > before.task.num_steps) == (dial in ("lag", "rewrites", "distractors", "max_length"))
    assert (after.num_cells > before.num_cells) == (dial == "num_cells" or "num_cells" in changed)

    state, _ = after.reset(NUM_EPISODES, torch.Generator().manual_seed(0))
    total, steps = play(after, state, after.oracle)
    assert steps[-1].terminated.all()
    if after.task.shows_answers:
        assert total.tolist() == [1.0] * NUM_EPISODES


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_without_cells_the_floor_is_left_whatever_the_dials(env_id):
    """Lag, rewrites and distractors, all at once, give nothing away to who remembers nothing."""
    dials = {dial for name, dial in TURNED if name == env_id} & {"lag", "rewrites", "distractors"}
    rules = small(env_id, wiped=True, **dict.fromkeys(dials, 2))
    state, _ = rules.reset(1000, torch.Generator().manual_seed(0))
    total, _ = play(rules, state, rules.oracle)
    assert total.mean() <= rules.task.memoryless + 5 * float(total.std()) / 1000**0.5


REWRITABLE = [env_id for env_id, arguments in ENVIRONMENTS.items() if issubclass(TASKS[arguments["task"]], Rewritable)]


@pytest.mark.parametrize("pace", [{}, {"self_paced": True}], ids=str)
@pytest.mark.parametrize("rewrites", [1, 3])
@pytest.mark.parametrize("env_id", REWRITABLE)
def test_what_is_void_is_written_over(env_id, rewrites, pace):
    """By the oracle, in no more cells than without, alone and beside lag and distractors; dealt is as drawn."""
    dials = {dial for name, dial in TURNED if name == env_id} & {"lag", "distractors"}
    for others in ({}, dict.fromkeys(dials, 1), dict.fromkeys(dials, 2)):
        rules = small(env_id, rewrites=rewrites, min_length=1, **pace, **others)
        script = rules.draw(32, torch.Generator().manual_seed(0))
        drawn = rules.script(rules.task.draw(32, generator=torch.Generator().manual_seed(0)))
        assert all(torch.equal(dealt, one) for dealt, one in zip(script, drawn, strict=True))
        total, steps = play(rules, rules.begin(script), rules.oracle)
        assert steps[-1].terminated.all()
        assert total.tolist() == [1.0] * 32, f"with {others}"


@pytest.mark.parametrize("env_id", REWRITABLE)
def test_who_keeps_the_first_presentation_guesses(env_id):
    """The oracle, once it writes no more after the first marker."""
    rules = small(env_id, rewrites=2)
    state, _ = rules.reset(1000, torch.Generator().manual_seed(0))
    writes = slice(rules.num_heads, 2 * rules.num_heads)
    over = torch.zeros(1000, 1, dtype=torch.bool)

    def choose(state):
        over.logical_or_(rules.contents.symbol(state.shown, rules.task.answer_channel)[:, None] == rules.task.anew)
        action = rules.oracle(state)
        action[:, writes] *= ~over
        return action

    total, _ = play(rules, state, choose)
    floor = rules.task.memoryless
    if ENVIRONMENTS[env_id]["task"] == "associative-recall":  # no item follows itself: one less to choose from
        floor = 1 / (rules.task.num_symbols - 1)
    assert over.all()
    assert total.mean() <= floor + 5 * float(total.std()) / 1000**0.5
