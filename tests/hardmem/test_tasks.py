"""Tasks: problems drawn at the edges of their range, the invariants every task keeps, and Copy worked by hand."""

import dataclasses

import pytest
import torch

from hardmem.tasks import TASKS, Copy, Problem, make_task
from hardmem.tasks.base import answers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("name", TASKS)
def test_problems_are_consistent(name, length):
    """Shapes, types and ranges; an answer is due exactly where there is a target, and has sources not in the future."""
    task = make_task(name, max_length=length)
    problem = task.draw(64, generator=generator())
    T, B = task.num_steps, 64
    assert problem.mask.shape == (T, B)
    assert problem.inputs.shape == (T, B, len(task.input_sizes))
    assert problem.targets.shape == (T, B)
    assert problem.source.shape[:2] == (T, B)
    assert problem.mask.dtype == torch.bool
    assert {field.dtype for field in (problem.inputs, problem.targets, problem.source)} == {torch.int64}
    assert (problem.inputs >= 0).all()
    assert (problem.inputs <= torch.tensor(task.input_sizes)).all()
    assert (problem.targets <= task.num_answers).all()
    torch.testing.assert_close(problem.mask, problem.targets > 0)
    torch.testing.assert_close((problem.source >= 0).any(dim=-1), problem.mask)
    assert (problem.source >= -1).all()
    assert (problem.source <= torch.arange(T)[:, None, None]).all()
    assert problem.mask.any(dim=0).all(), "every problem asks something"
    for column in range(B):
        assert problem.source[:, column].unique().numel() - 1 <= task.num_cells, "the cells suffice for what is asked"


@pytest.mark.parametrize("name", TASKS)
def test_same_seed_draws_the_same_problems(name):
    """A generator of the same seed draws the same problems, one of another seed draws others."""
    task = make_task(name)
    first, again, other = (task.draw(32, generator=generator(seed)) for seed in (3, 3, 4))
    for field in range(len(first)):
        torch.testing.assert_close(first[field], again[field], rtol=0, atol=0)
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize("name", TASKS)
def test_at_length_changes_the_lengths_and_nothing_else(name):
    """A curriculum goes through `at_length`: the shortest length follows downwards, other difficulty stays."""
    task = make_task(name, num_symbols=5, min_length=4, max_length=6)
    shorter = task.at_length(2)
    assert (shorter.min_length, shorter.max_length, shorter.num_symbols) == (2, 2, 5)
    longer = task.at_length(9)
    assert (longer.min_length, longer.max_length) == (4, 9)
    fixed = task.at_length(9, min_length=9)
    assert (fixed.min_length, fixed.max_length) == (9, 9)
    assert type(fixed) is type(task)
    assert (task.min_length, task.max_length) == (4, 6)


@pytest.mark.parametrize("name", TASKS)
def test_repeat_puts_copies_side_by_side(name):
    """Problem-major: columns p * K to p * K + K - 1 are the same problem."""
    problem = make_task(name).draw(3, generator=generator())
    copies = problem.repeat(4)
    for column in range(12):
        for field, original in zip(copies, problem, strict=True):
            torch.testing.assert_close(field[:, column], original[:, column // 4], rtol=0, atol=0)


@pytest.mark.parametrize("name", TASKS)
def test_num_steps_ends_with_the_last_answer(name):
    """An episode ends with the last answer: its step is due, no later one is."""
    problem = make_task(name, max_length=6).draw(32, generator=generator())
    for column, steps in enumerate(problem.num_steps().tolist()):
        assert problem.mask[steps - 1, column]
        assert not problem.mask[steps:, column].any()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("difficulty", "message"),
    [
        ({"num_symbols": 0}, "num_symbols must be at least 1, got 0"),
        ({"min_length": 0}, "min_length=0"),
        ({"min_length": 5, "max_length": 4}, "1 <= min_length <= max_length, got min_length=5 and max_length=4"),
    ],
)
def test_difficulty_out_of_range_is_refused(name, difficulty, message):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=message):
        make_task(name, **difficulty)


def test_unknown_task_lists_the_known_ones():
    """A wrong name is answered with the right ones."""
    with pytest.raises(ValueError, match=r"unknown task 'cpoy'; choose one of \['copy'"):
        make_task("cpoy")


def test_num_steps_by_hand():
    """The last answer at t = 2 and t = 0: three steps and one."""
    mask = torch.tensor([[True, True], [False, False], [True, False], [False, False]])
    assert Problem(mask, mask, mask, mask).num_steps().tolist() == [3, 1]


def test_answers_by_hand():
    """Gathered from the channel asked for, and 0 where the source is -1, even though step 0 shows something."""
    inputs = torch.tensor([[[1, 5]], [[2, 6]], [[3, 7]]])  # (T, B, C)
    source = torch.tensor([[-1], [2], [0]])
    assert answers(inputs, source, channel=1).squeeze(1).tolist() == [0, 7, 5]


def test_copy_worked_by_hand():
    """The episode of the docstring, in a task whose longest problem is one longer."""
    problem = Copy(num_symbols=8, max_length=4).problem([4, 1, 7])
    assert problem.inputs[:, 0, 0].tolist() == [4, 1, 7, 9, 0, 0, 0, 0, 0]
    assert problem.targets[:, 0].tolist() == [0, 0, 0, 0, 4, 1, 7, 0, 0]
    assert problem.mask[:, 0].tolist() == [False] * 4 + [True] * 3 + [False] * 2
    assert problem.source[:, 0, 0].tolist() == [-1, -1, -1, -1, 0, 1, 2, -1, -1]
    assert problem.num_steps().tolist() == [7]


def test_copy_draws_what_it_builds_from_symbols():
    """Every column drawn is the problem of the symbols it shows: batch of B equals B problems of one."""
    task = Copy(num_symbols=3, min_length=1, max_length=5)
    problem = task.draw(50, generator=generator())
    for column in range(50):
        shown = problem.inputs[:, column, 0]
        single = task.problem(shown[(shown > 0) & (shown <= 3)].tolist())
        for field, one in zip(problem, single, strict=True):
            torch.testing.assert_close(field[:, column : column + 1], one, rtol=0, atol=0)


def test_copy_is_uniform_over_lengths_and_symbols():
    """Both ends of both ranges are drawn, each value as often as any other (5 standard deviations)."""
    draws = 20_000
    problem = Copy(num_symbols=3, min_length=2, max_length=5).draw(draws, generator=generator())
    lengths = problem.mask.sum(dim=0)
    assert torch.bincount(lengths).nonzero().flatten().tolist() == [2, 3, 4, 5]
    for length in range(2, 6):
        assert abs((lengths == length).sum() - draws / 4) < 5 * (draws * 1 / 4 * 3 / 4) ** 0.5
    first = problem.inputs[0, :, 0]
    for symbol in range(1, 4):
        assert abs((first == symbol).sum() - draws / 3) < 5 * (draws * 1 / 3 * 2 / 3) ** 0.5


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([], "1 to 4 symbols, got 0"),
        ([1] * 5, "1 to 4 symbols, got 5"),
        ([1, 9], r"1 to 8, got \[1, 9\]"),
        ([0], r"1 to 8, got \[0\]"),
    ],
)
def test_copy_refuses_symbols_out_of_range(symbols, message):
    """The message names the range and what came."""
    with pytest.raises(ValueError, match=message):
        Copy(num_symbols=8, max_length=4).problem(symbols)


def test_tasks_are_values():
    """Equal difficulty, equal task; nothing can be changed after checking."""
    assert Copy(max_length=3) == Copy(max_length=3) != Copy(max_length=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Copy().max_length = 0
