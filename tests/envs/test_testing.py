"""The contract finds what is wrong with a task: each fault by the test that is for it, in a sentence that names it."""

from __future__ import annotations

import pytest
import torch

from hardmem.envs.testing import EnvironmentContract
from hardmem.tasks import TASKS, Copy


class Deaf(Copy):
    """Draws by torch's own random numbers."""

    def deal(self, num_problems, *, generator=None, device="cpu"):
        return super().deal(num_problems, device=device)


class Stuck(Copy):
    """Draws the same problems for ever."""

    def deal(self, num_problems, *, generator=None, device="cpu"):
        return super().deal(num_problems, generator=torch.Generator().manual_seed(0), device=device)


class Once(Copy):
    """Cannot be replayed."""

    def problem(self, symbols, *, device="cpu"):
        raise NotImplementedError


class Other(Copy):
    """Replays something else."""

    def problem(self, symbols, *, device="cpu"):
        return super().problem(symbols[::-1], device=device)


class Hungry(Copy):
    """Says that it needs more than there is."""

    num_stored = 10**6


class Wasteful(Copy):
    """Says that it needs more than anybody has use for."""

    @property
    def num_stored(self):
        return self.max_length + 1


class Unplain(Copy):
    """Dials that no file can hold."""

    dials = {"num_symbols": {8}}  # noqa: RUF012 - read only


class Lenient(Copy):
    """A floor that is none."""

    memoryless = 0.9


class Strict(Copy):
    """A floor that guessing is above."""

    memoryless = 0.0


class Foreseeing(Copy):
    """Keeps nothing where there is but one symbol."""

    def kept(self, inputs):
        kept = super().kept(inputs)
        return kept & (kept.sum(dim=0) > 1)


FAULTS = [
    (Deaf, "a_seed_says_which_problems", "torch's own random numbers"),
    (Stuck, "a_seed_says_which_problems", "another seed drew the same problems"),
    (Once, "an_input_can_be_played_again", r"`Task.problem` refused \[.*NotImplementedError"),
    (Other, "an_input_can_be_played_again", r"has other shown: \["),
    (Hungry, "the_dials_are_what_is_played", "num_stored is 1000000, and there are 5 cells"),
    (Wasteful, "the_dials_are_what_is_played", "num_stored is 4, and the oracle never has more than 3 cells full"),
    (Unplain, "the_dials_are_what_is_played", "dials are not plain data"),
    (Lenient, "the_floor_is_what_the_best_answer_earns", r"`memoryless` is 0.9, and the best answer earns 0\.1"),
    (Strict, "without_cells_the_floor_is_left", r"with wiped cells it earned 0\.1.*, and `memoryless` is 0"),
    (Foreseeing, "the_oracle_foresees_nothing", "at step 0, after equal observations, of .*`Task.kept` leave out"),
]


@pytest.mark.parametrize(("task", "test", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_found(task, test, message, monkeypatch):
    """Of a task that is otherwise Copy."""
    monkeypatch.setitem(TASKS, "faulty", task)

    class TestFaulty(EnvironmentContract):
        arguments = {"task": "faulty", "interface": "tape"}  # noqa: RUF012 - a class variable

        def input_of(self, rules, problem):
            return problem.inputs[: int(problem.mask.sum()), 0, 0].tolist()

    with pytest.raises(AssertionError, match=message):
        getattr(TestFaulty(), f"test_{test}")()
    monkeypatch.setitem(TASKS, "faulty", Copy)
    getattr(TestFaulty(), f"test_{test}")()
