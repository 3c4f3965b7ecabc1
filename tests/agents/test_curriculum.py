"""Curricula by hand: what each draws, when it grows, and that a resumed one goes on as the undisturbed one."""

from __future__ import annotations

import collections
import dataclasses

import pytest
import torch

from hardmem.agents import AgentConfig, SequenceConfig, train
from hardmem.agents.curriculum import CURRICULA, make_curriculum
from hardmem.agents.training import Training

SMALL = AgentConfig(max_length=4, start_length=1, num_symbols=3, num_envs=16, eval_every=1, eval_problems=20)


def test_one_longer_and_doubling():
    """From 3 of 10: at the threshold one longer, or twice as long, never beyond the end; below it nothing."""
    for name, lengths in (("one-longer", [3, 4, 5, 6]), ("doubling", [3, 6, 10, 10])):
        curriculum = make_curriculum(name, 3, 10, 0.9, min_length=2)
        seen = []
        for exact in (0.89, 0.9, 1.0, 1.0):
            curriculum.record(exact)
            seen.append(curriculum.length)
        assert seen == lengths
        assert curriculum.present() == curriculum.drawn(7) == (2, lengths[-1])


def test_no_problem_is_longer_than_the_level_though_the_least_is():
    """Until the level has reached `min_length` it is the only length."""
    assert make_curriculum("one-longer", 2, 10, 0.9, min_length=5).present() == (2, 2)


def test_one_length_draws_them_all_alike():
    """At D = 4 of 9, from 2: one length an update, each a third of the time (5 standard errors); then one longer."""
    curriculum = make_curriculum("one-length", 4, 9, 0.9, min_length=2, seed=1)
    count = collections.Counter(curriculum.drawn(update) for update in range(3000))
    assert set(count) == {(2, 2), (3, 3), (4, 4)}
    for drawn in count.values():
        assert abs(drawn / 3000 - 1 / 3) < 5 * (2 / 9 / 3000) ** 0.5
    assert curriculum.present() == (2, 4)
    curriculum.record(0.9)
    assert curriculum.length == 5


def test_gym_asks_for_ten_without_a_fault():
    """Three lengths from D on; nine of ten are not enough, whatever `promote_at` says."""
    curriculum = make_curriculum("gym", 2, 5, 0.5)
    assert curriculum.examined == 10
    assert curriculum.drawn(0) == (2, 4)
    curriculum.record(0.9)
    assert curriculum.length == 2
    for drawn in ((3, 5), (4, 5), (5, 5), (5, 5)):
        curriculum.record(1.0)
        assert curriculum.drawn(0) == drawn


def test_rl_ntm_draws_ten_twentyfive_sixtyfive():
    """At D = 3 of 20, over 20,000 updates, each share within 5 standard errors of what it is by hand."""
    curriculum = make_curriculum("rl-ntm", 3, 20, 0.9, min_length=1)
    count = collections.Counter(curriculum.drawn(update) for update in range(20_000))
    shares = {(1, 20): 0.1, (1, 3): 0.125, (1, 4): 0.0625, (3, 3): 0.325, (4, 4): 0.1625, (5, 5): 0.08125}
    for lengths, share in shares.items():
        assert abs(count[lengths] / 20_000 - share) < 5 * (share * (1 - share) / 20_000) ** 0.5, lengths
    assert max(longest for _, longest in count) == 20


def test_rl_ntm_waits_a_hundred_updates():
    """101 updates from the beginning, and from each promotion on."""
    curriculum = make_curriculum("rl-ntm", 1, 9, 0.9)
    grown = []
    for update in range(5, 400, 5):
        before = curriculum.length
        curriculum.record(1.0, update)
        if curriculum.length > before:
            grown.append(update)
    assert grown == [105, 210, 315]
    curriculum.record(0.89, 1000)
    assert curriculum.length == 4


def test_an_unknown_name():
    """Lists the right ones."""
    with pytest.raises(ValueError, match=r"unknown curriculum 'steep'; choose one of .*'rl-ntm'"):
        train(dataclasses.replace(SMALL, curriculum="steep"))


@pytest.mark.parametrize(
    "config", [SMALL, SequenceConfig(max_length=4, start_length=1, eval_every=1, eval_problems=20)]
)
@pytest.mark.parametrize("name", sorted(CURRICULA))
def test_a_stopped_training_goes_on_alike(name, config):
    """With a threshold that is always reached, so that levels change: the same weights, bit for bit."""
    config = dataclasses.replace(config, curriculum=name, promote_at=1e-9)
    trainings = [Training(config) for _ in range(3)]
    for training in trainings[:2]:
        training.curriculum.promoted = -98  # a refractory period that ends within the test
        for _ in range(4):
            training.update()
    trainings[2].load_state_dict(trainings[1].state_dict())
    for training in (trainings[0], trainings[2]):
        for _ in range(3):
            training.update()
    assert trainings[0].curriculum.state_dict() == trainings[2].curriculum.state_dict()
    weights = [training.learner.state_dict() for training in (trainings[0], trainings[2])]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
