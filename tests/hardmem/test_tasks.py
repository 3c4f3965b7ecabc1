"""Tasks: problems drawn at the edges of their range, the invariants every task keeps, and each worked by hand."""

import dataclasses
import itertools
import json

import pytest
import torch

from hardmem.tasks import (
    TASKS,
    AssociativeRecall,
    Copy,
    DynamicNGrams,
    Overwrite,
    PrioritySort,
    Problem,
    base,
    make_task,
)
from hardmem.tasks.base import random_words, shuffled, uniform
from hardmem.tasks.dealing import Deal, Dealt, Layout, pick
from hardmem.tasks.rewriting import Rewritable, shown_in_vain

DIALS = ("lag", "rewrites", "distractors")
DIFFICULTIES = [(name, {"preset": preset}) for name, task in TASKS.items() for preset in task.presets]
DIFFICULTIES += [
    (name, {field.name: 2 for field in dataclasses.fields(task) if field.name in DIALS}) for name, task in TASKS.items()
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("name", "difficulty"), DIFFICULTIES, ids=str)
def test_problems_are_consistent(name, difficulty):
    """Shapes, types and ranges; an answer is due exactly where there is a target, which its last source has shown."""
    task = make_task(name, **difficulty)
    problem = task.draw(256, generator=generator())
    T, B = task.num_steps, 256
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
    assert (problem.source >= -1).all()
    assert (problem.source < torch.arange(T)[:, None, None]).all()
    has_source = (problem.source >= 0).any(dim=-1)
    content, last = problem.inputs[..., task.answer_channel], problem.source[..., -1]
    if task.shows_answers:
        torch.testing.assert_close(has_source, problem.mask)
    if task.shows_answers and not task.computed:
        torch.testing.assert_close(content.gather(0, last.clamp(min=0)) * problem.mask, problem.targets)
    assert (has_source <= problem.mask).all()
    assert problem.mask.any(dim=0).all(), "every problem asks something"
    assert problem.num_steps().max() == T, "the longest problem fills its steps"
    kept = task.kept(problem.inputs)
    needed = torch.zeros((T + 1, B), dtype=torch.bool).scatter(0, problem.source.movedim(-1, 0).flatten(0, 1) + 1, True)
    assert (kept | ~needed[1:]).all(), "what may be asked for includes all that is"
    rewrites = task.dials["rewrites"] * (task.num_stored if isinstance(task, Rewritable) else 1)
    assert (kept.sum(dim=0) <= task.num_stored + rewrites).all()
    assert task.num_stored <= task.num_cells


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
    task = make_task(name, num_symbols=15, min_length=4, max_length=6)
    shorter = task.at_length(2)
    assert (shorter.min_length, shorter.max_length, shorter.num_symbols) == (2, 2, 15)
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
    problem = make_task(name).draw(32, generator=generator())
    for column, steps in enumerate(problem.num_steps().tolist()):
        assert problem.mask[steps - 1, column]
        assert not problem.mask[steps:, column].any()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("difficulty", "message"),
    [
        ({"num_symbols": 0}, "num_symbols must be at least 1, got 0"),
        ({"num_symbols": True}, "num_symbols must be a whole number, got True"),
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
    with pytest.raises(
        ValueError, match=r"unknown task 'cpoy'; choose one of \['addition', 'associative-recall', 'copy'"
    ):
        make_task("cpoy")


def test_unknown_difficulty_lists_the_known_ones():
    """The closest first; as a constructor's own `TypeError`."""
    known = r"\['distractors', 'lag', 'max_length', 'min_length', 'num_symbols', 'preset', 'rewrites'\]"
    with pytest.raises(TypeError, match=rf"copy got .* 'max_lenght', closest to 'max_length'; it takes {known}"):
        make_task("copy", max_lenght=3)


def test_num_steps_by_hand():
    """The last answer at t = 2 and t = 0: three steps and one."""
    mask = torch.tensor([[True, True], [False, False], [True, False], [False, False]])
    assert Problem(mask, mask, mask, mask).num_steps().tolist() == [3, 1]


def test_pick_by_hand():
    """Rows by number, problem by problem, of one channel or two."""
    rows = torch.tensor([[1, 2, 3], [5, 6, 7]]).unsqueeze(-1)  # (B, R, 1)
    number = torch.tensor([[0, 2, 1], [2, 2, 0]])
    assert pick(rows, number)[..., 0].tolist() == [[1, 3, 2], [7, 7, 5]]
    assert pick(torch.cat([rows, -rows], dim=-1), number)[1].tolist() == [[7, -7], [7, -7], [5, -5]]


REWRITTEN_TASKS = [
    make_task(name, rewrites=2, **{dial: 2 for dial in ("lag", "distractors") if hasattr(task, dial)})
    for name, task in TASKS.items()
    if issubclass(task, Rewritable)
]


@pytest.mark.parametrize(
    "task", [make_task(name) for name, task in TASKS.items() if issubclass(task, Dealt)] + REWRITTEN_TASKS, ids=str
)
def test_each_case_is_laid_out_once_or_each_problem(task):
    """Both ways to the same problems, whether there are more of them or more cases."""
    deal = task.deal(task.num_cases + 20, generator=generator())
    assert deal.case.min() == 0
    assert deal.case.max() == task.num_cases - 1
    many = task.lay_out(*task.layouts(deal))
    few = task.lay_out(*task.layouts(Deal(*(field[: task.num_cases] for field in deal))))
    for ours, theirs in zip(many, few, strict=True):
        torch.testing.assert_close(ours[:, : task.num_cases], theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    "task",
    [make_task(name, preset) for name, task in TASKS.items() if issubclass(task, Dealt) for preset in task.presets]
    + REWRITTEN_TASKS,
    ids=str,
)
def test_all_cases_begin_with_the_same_row(task):
    """What begins an episode is then known without asking which case it is."""
    layout = task.layout(torch.arange(task.num_cases))
    assert len(layout.shown[:, 0].unique()) == 1
    assert len(layout.due[:, 0].unique()) == 1


def test_shuffled_permutes_what_counts():
    """The first 2, 3 or 4 places hold all the numbers below, and every order comes as often as any other."""
    count = torch.tensor([2, 3, 4]).repeat(4000)
    order = shuffled(count, 4, generator())
    for row, number in enumerate(count[:3].tolist()):
        orders, times = order[row::3, :number].unique(dim=0, return_counts=True)
        assert sorted(orders.tolist()) == [list(one) for one in itertools.permutations(range(number))]
        assert (times / 4000 - 1 / len(orders)).abs().max() < 5 * (0.25 / 4000) ** 0.5


@pytest.mark.parametrize("most", [16, 32, 33, None])
def test_all_orders_are_equally_likely(most):
    """The first two places of 5 among 20 orders, drawn in 16 bits or as fractions: within 5 standard errors."""
    order = shuffled(torch.full((200_000,), 5), 2, generator(), most)
    counts = torch.bincount(5 * order[:, 0] + order[:, 1], minlength=25).reshape(5, 5)
    assert counts.diagonal().sum() == 0
    off_diagonal = counts[~torch.eye(5, dtype=torch.bool)].double()
    assert (off_diagonal - 10_000).abs().max() < 5 * 10_000**0.5


def test_numpy_scales_random_words_as_torch_does():
    """Every word of 16 bits, for every number left that words are used for."""
    words = torch.arange(-(2**15), 2**15, dtype=torch.int16).expand(32, -1).contiguous()
    left = torch.arange(1, 33, dtype=torch.int32).unsqueeze(1)
    expected = ((words.int() + 2**15) * left) >> 16
    assert torch.equal(base._scaled(words, left).int(), expected)


@pytest.mark.parametrize("num", [1, 2, 3, 8, 128, 255, 256, 300])
def test_uniform_numbers_are_equally_likely(num):
    """Whether cut from words or drawn one by one; and one more still fits, as symbols are numbered from 1."""
    numbers = uniform(num, (100, 1000), generator(), "cpu")
    counts = torch.bincount((numbers + 1).flatten().long(), minlength=num + 1)[1:].double()
    assert len(counts) == num
    mean = 100_000 / num
    assert (counts - mean).abs().max() < 5 * mean**0.5


def test_random_words_use_every_bit():
    """Each of the 16 bits of 64,000 numbers is set in half of them, and of 3 x 5 bytes none is left over."""
    words = random_words((64_000,), torch.int16, generator(), "cpu")
    share = torch.stack([(words >> bit & 1).double().mean() for bit in range(16)])
    torch.testing.assert_close(share, torch.full_like(share, 0.5), atol=0.01, rtol=0)
    assert random_words((3, 5), torch.uint8, generator(), "cpu").shape == (3, 5)


def test_shuffled_takes_the_first_places_of_many():
    """Two places of 512 numbers: distinct, and each uniform over all of them."""
    order = shuffled(torch.full((20_000,), 512), 2, generator())
    assert order.shape == (20_000, 2)
    assert (order[:, 0] != order[:, 1]).all()
    for place in order.T:
        assert (place.min(), place.max()) == (0, 511)
        assert abs(place.float().mean() - 255.5) < 5 * 512 / 12**0.5 / 20_000**0.5


@pytest.mark.parametrize("name", TASKS)
def test_presets_are_plain_data_from_easy_to_hard(name):
    """They survive JSON, name the easiest and the default, and ask for more and more steps."""
    presets = TASKS[name].presets
    assert json.loads(json.dumps(presets)) == presets
    assert list(presets)[:2] == ["easiest", "default"]
    steps = [make_task(name, preset).num_steps for preset in presets]
    assert steps == sorted(set(steps))
    dials = make_task(name).dials
    assert json.loads(json.dumps(dials)) == dials


def test_unknown_preset_lists_the_known_ones():
    """And a difficulty given beside a preset wins over it."""
    with pytest.raises(ValueError, match=r"unknown preset 'hard' of copy; choose one of \['easiest', 'default'"):
        make_task("copy", "hard")
    assert make_task("copy", "easiest", max_length=4) == Copy(max_length=4)


DRAWN = {  # the episodes of the docstrings: input, then channels, targets and sources by step; blanks are 0
    "copy": ({}, [4, 1, 7], ["4179..."], "....417", ["----012"]),
    "reverse": ({}, [4, 1, 7], ["4179..."], "....714", ["----210"]),
    "repeat-copy": ({"max_repeats": 2, "num_symbols": 7}, [4, 1, 9], ["419....."], "...41.41", ["---01-01"]),
    "delay": ({}, [4, 1, 7, 1], ["41719."], ".....4", ["-----0"]),
    "sort": ({}, [4, 7, 1], ["4719..."], "....147", ["----201"]),
    "duplicated-input": ({}, [4, 4, 1, 1, 1, 1], ["4411119..."], ".......411", ["-------024"]),
    "forward-reverse": ({}, [4, 1, 7], ["417>...<..."], "....417.714", ["----012-210"]),
    "addition": ({"num_symbols": 10}, [5, 9, 8, 6], ["58=...", "96...."], "...342", ["---100"]),
    "counting": (
        {"max_length": 3},
        [4, 1, 4, 4],
        ["4144444.", "...1111."],
        ".......3",
        ["-------0", "-------1", "-------2"],
    ),
    "stack": ({}, [4, 1, 9, 7, 9, 9], ["419.79.9."], "...1..7.4", ["---1--4-0"]),
    "queue": ({}, [4, 1, 9, 7, 9, 9], ["419.79.9."], "...4..1.7", ["---0--1-4"]),
    "maze": (
        {"corridor": 2, "num_keys": 8, "max_length": 2},
        [5, 1, 2, 2, 2, 0, 2, 0],
        ["52992.992.", "12........"],
        ".....2...2",
        ["-----1---1"],
    ),
    "fact-recall": (
        {"distractors": 1},
        [5, 1, 4, 2, 7, 4, 9, 3, 6, 0, 3, 0, 5, 0, 0],
        ["529..5.", "1733...", "446...."],
        "....6.4",
        ["----2-0"],
    ),
    "slot-recall": (
        {"distractors": 1},
        [5, 4, 2, 4, 9, 6, 9, 0, 5, 0],
        ["5299.5.", "446...."],
        "....6.4",
        ["----2-0"],
    ),
    "overwrite": (
        {"rewrites": 2},
        [5, 4, 2, 4, 5, 6, 5, 3, 2, 0, 5, 0],
        ["52552.5.", "4463...."],
        ".....4.3",
        ["-----1-3"],
    ),
    "multi-hop": (
        {"distractors": 1, "max_length": 2},
        [5, 2, 4, 2, 9, 4, 9, 5, 6, 9, 2, 0],
        ["5299..", "2952..", "446..."],
        ".....4",
        ["-----2", "-----0"],
    ),
    "dynamic-ngrams": ({}, [1, 2, 2, 1, 2, 2], ["12212"], ".2122", ["----2"]),
    "priority-sort": ({}, [2, 4, 9, 7, 5, 1], ["295....", "4719..."], "....714", ["----120"]),
    "associative-recall": (
        {"max_length": 2, "item_length": 2, "num_symbols": 7},
        [4, 1, 7, 7, 1, 4, 7, 7],
        ["841877814977..."],
        ".............14",
        ["-------------57", "-------------78"],
    ),
}

REWRITTEN = {  # with one presentation in vain, as in DRAWN; `!` is the marker
    "copy": ({}, [5, 2, 6, 4, 1, 7], ["526!4179..."], "........417", ["--------456"]),
    "reverse": ({}, [5, 2, 4, 1], ["52!419.."], "......14", ["------43"]),
    "repeat-copy": (
        {"max_repeats": 2, "num_symbols": 7, "end_marker": True},
        [5, 2, 4, 1, 9],
        ["52!419......"],
        "......41.419",
        ["------34-345"],
    ),
    "duplicated-input": ({}, [5, 5, 2, 2, 4, 4, 1, 1], ["5522!44119.."], "..........41", ["----------57"]),
    "forward-reverse": ({}, [5, 2, 4, 1], ["52!41>..<.."], "......41.14", ["------34-43"]),
    "sort": ({}, [5, 2, 7, 4], ["52!749.."], "......47", ["------43"]),
    "priority-sort": (
        {},
        [2, 5, 9, 2, 2, 4, 9, 7],
        ["29.29...", "52!479.."],
        "......74",
        ["------43"],
    ),
    "delay": ({}, [5, 4, 1, 7], ["5!4179."], "......4", ["------2"]),
    "associative-recall": (
        {"max_length": 1, "item_length": 2, "num_symbols": 7},
        [5, 2, 3, 3, 4, 1, 7, 5, 4, 1],
        ["852833!841875941..."],
        ".................75",
        ["-----------------9B", "-----------------BC"],
    ),
}

MARKERS = {  # symbols of two digits, as the drawings have them
    "forward-reverse": {ord(">"): "9", ord("<"): "10"},
    "addition": {ord("="): "11"},
}


@pytest.mark.parametrize("name", TASKS)
def test_the_episode_of_the_docstring(name):
    """What is shown, due and needed at each step, as it is drawn there; nothing is due and blanks follow after it."""
    difficulty, symbols, channels, targets, sources = DRAWN[name]
    problem = make_task(name, **difficulty).problem(symbols)
    steps = len(targets)

    def text(row, blank):
        assert (row[steps:] == blank).all()
        return "".join(
            "-" if number < 0 else str(number) if number or blank else "." for number in row[:steps].tolist()
        )

    drawn = [text(row, 0) for row in problem.inputs[:, 0].T]
    assert drawn == [channel.translate(MARKERS.get(name, {})) for channel in channels]
    assert text(problem.targets[:, 0], 0) == targets
    assert [text(row, -1) for row in problem.source[:, 0].T] == sources
    assert problem.num_steps().tolist() == [steps]


def test_lag_pushes_the_questions_back():
    """Three steps of waiting: shown as the largest symbol where a head has to tell them from the recital."""
    problem = Copy(num_symbols=8, max_length=2, lag=3).problem([4, 1])
    assert problem.inputs[:, 0, 0].tolist() == [4, 1, 10, 10, 10, 9, 0, 0]
    for name in ("fact-recall", "slot-recall", "overwrite", "multi-hop", "associative-recall", "priority-sort"):
        soon, late = make_task(name), make_task(name, lag=3)
        assert late.num_steps == soon.num_steps + 3
        first, later = (task.draw(20, generator=generator()) for task in (soon, late))
        due = [problem.mask.long().argmax(dim=0) for problem in (first, later)]
        assert (due[1] - due[0]).unique().tolist() == [3]
        torch.testing.assert_close(first.targets.sum(dim=0), later.targets.sum(dim=0))


def test_distractors_are_shown_among_what_counts():
    """Symbols beyond the markers after each one shown, or each step of an item; sources are further apart."""
    problem = Copy(num_symbols=8, max_length=2, distractors=1).problem([4, 1])
    assert problem.inputs[:, 0, 0].tolist() == [4, 10, 1, 10, 9, 0, 0]
    assert problem.targets[:, 0].tolist() == [0, 0, 0, 0, 0, 4, 1]
    assert problem.source[:, 0, 0].tolist() == [-1] * 5 + [0, 2]
    problem = AssociativeRecall(num_symbols=8, max_length=1, item_length=1, distractors=2).problem([4, 1, 4])
    assert problem.inputs[:, 0, 0].tolist() == [9, 11, 11, 4, 11, 11, 9, 11, 11, 1, 11, 11, 10, 4, 0, 0]
    assert problem.source[-1, 0].tolist() == [3, 9]
    drawn = Copy(num_symbols=8, min_length=2, max_length=2, distractors=1).draw(4000, generator=generator())
    for step in (1, 3):
        times = torch.bincount(drawn.inputs[step, :, 0], minlength=18) / 4000
        assert not times[:10].any()
        assert (times[10:] - 1 / 8).abs().max() < 5 * (7 / 64 / 4000) ** 0.5


def test_every_task_with_presentations_is_drawn_with_one_in_vain():
    """So that a new one is not forgotten."""
    assert {name for name, task in TASKS.items() if issubclass(task, Rewritable)} == set(REWRITTEN)


@pytest.mark.parametrize("name", REWRITTEN)
def test_only_the_last_presentation_counts(name):
    """Worked by hand: what stands before the marker is void, and every source is a step after it."""
    difficulty, symbols, channels, targets, sources = REWRITTEN[name]
    task = make_task(name, rewrites=1, **difficulty)
    problem = task.problem(symbols)
    marks = {0: ".", task.anew: "!"} | ({9: ">", 10: "<"} if name == "forward-reverse" else {})
    steps = len(targets)
    shown = problem.inputs[:steps, 0].T.tolist()
    assert ["".join(marks.get(symbol, str(symbol)) for symbol in row) for row in shown] == channels
    assert "".join(str(target or ".") for target in problem.targets[:steps, 0].tolist()) == targets
    number = "-0123456789ABC"
    assert ["".join(number[step + 1] for step in row[:steps].tolist()) for row in problem.source[:, 0].T] == sources
    assert problem.num_steps().tolist() == [steps]


@pytest.mark.parametrize("name", REWRITTEN)
def test_presentations_in_vain_say_nothing(name):
    """What stood in the same place of the first is the answer as often as a guess is; the distractors are the same.

    Steps grow by as much; what has to be kept at once does not, and another length leaves the dial alone.
    """
    once, task = (make_task(name, max_length=5, rewrites=rewrites) for rewrites in (0, 3))
    longest = task.draw(1, generator=generator()).inputs.shape[0]
    assert (task.num_stored, task.num_cells, task.dials["bits"]) == (
        once.num_stored,
        once.num_cells,
        once.dials["bits"],
    )
    assert (once.dials["rewrites"], task.dials["rewrites"], task.at_length(7).rewrites) == (0, 3, 3)
    assert longest == task.num_steps
    problem = task.draw(4000, generator=generator())
    content, source = problem.inputs[..., task.answer_channel], problem.source[..., -1]
    anew = content == task.anew
    assert (anew.sum(dim=0) == 3).all()
    period = anew.int().argmax(dim=0) + 1  # (B,)
    assert (anew[:-1].gather(0, 2 * period.unsqueeze(0) - 1)).all()
    assert (source[problem.mask] >= (3 * period).expand_as(source)[problem.mask]).all()
    right = (content.gather(0, (source - 3 * period).clamp(min=0)) == problem.targets) & problem.mask
    share = right.sum(dim=0) / problem.mask.sum(dim=0)
    assert abs(share.mean() - 1 / task.num_symbols) < 5 * share.std() / 4000**0.5
    if name != "delay":
        noisy = make_task(name, max_length=5, rewrites=1, distractors=1, min_length=5).draw(20, generator=generator())
        symbols = noisy.inputs[..., task.answer_channel]
        size = int((symbols[:, 0] == make_task(name, rewrites=1, distractors=1).anew).int().argmax())
        first, last = symbols[:size], symbols[size + 1 : 2 * size + 1]
        torch.testing.assert_close(first[1::2], last[1::2], rtol=0, atol=0)
        assert not torch.equal(first[::2], last[::2])


def test_steps_shown_in_vain_by_hand():
    """Two rows and a third that is always the same, then a question: twice before by rows 4 and 5, 6 and 7."""
    layout = Layout(torch.tensor([[1, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([[0, 0, 0, 0, 2] + [0] * 7]))
    shown, due = shown_in_vain(layout, torch.tensor([3]), rewrites=2, num_rows=2, first=4, marker=9)
    assert shown.tolist() == [[4, 3, 5, 9, 6, 3, 7, 9, 1, 3, 2, 0]]
    assert due.tolist() == [[0] * 12]  # the question comes a step later than there is room for
    assert shown_in_vain(layout, torch.tensor([3]), 0, 2, 4, 9) is layout


def test_rewritten_facts_answer_with_their_latest_value():
    """By either key of a fact, and at any place of a chain; the key and the link stay."""
    given = [5, 1, 4, 2, 7, 4, 5, 1, 6, 0, 1, 0]
    problem = make_task("fact-recall", max_length=2, rewrites=1).problem(given)
    assert (problem.targets.max().item(), problem.source.max().item()) == (6, 2)
    task = make_task("multi-hop", min_length=2, max_length=2, distractors=1, rewrites=3)
    inputs = task.draw(50, generator=generator()).inputs[:6]
    for column in range(50):
        links = dict(inputs[:3, column, :2].tolist())
        values = {key: [value for k, _, value in inputs[:, column].tolist() if k == key] for key in links}
        assert {tuple(pair) for pair in inputs[:, column, :2].tolist()} == set(links.items())
        assert all(new != old for value in values.values() for old, new in itertools.pairwise(value))


def test_every_rewrite_changes_a_value():
    """Two facts of one key in a row differ, and each new value is as likely as any other of the V - 1."""
    task = Overwrite(num_symbols=4, max_length=1, rewrites=1, num_keys=2)
    values = task.draw(6000, generator=generator()).inputs[:2, :, 1]
    change = (values[1] - values[0]) % 4
    assert torch.bincount(change, minlength=4)[0] == 0
    assert (torch.bincount(change, minlength=4)[1:] / 6000 - 1 / 3).abs().max() < 5 * (2 / 9 / 6000) ** 0.5


def test_items_are_distinct():
    """No item stands twice, so the question has one answer; all are drawn from the whole alphabet."""
    task = AssociativeRecall(num_symbols=3, max_length=8, min_length=8, item_length=2)
    inputs = task.draw(200, generator=generator()).inputs[..., 0]
    items = inputs[:27].reshape(9, 3, 200)
    codes = items[:, 1] * 3 + items[:, 2]
    assert codes.sort(dim=0).values.diff(dim=0).min() > 0


def beta_moments(ones: int, zeros: int) -> float:
    """E[p^ones (1 - p)^zeros], p of Beta(1/2, 1/2): p is the squared sine of a uniform angle, and the sum is exact."""
    angles = (torch.arange(64, dtype=torch.float64) + 0.5) * torch.pi / 64
    return float((angles.sin() ** (2 * ones) * angles.cos() ** (2 * zeros)).mean())


def test_ngrams_follow_the_posterior_of_their_table():
    """All sequences of 5 bits after a context of 1: their probability under a table of Beta(1/2, 1/2), integrated.

    The product of the `predictive` of every bit is that integral; and drawn sequences come as often (5 deviations).
    """
    task, draws = DynamicNGrams(context=1, min_length=4, max_length=4), 20_000
    drawn = task.draw(draws, generator=generator())
    sequences = torch.cat([drawn.inputs[..., 0], drawn.targets[-1:]]).T  # (B, 5)
    total = 0.0
    for bits in itertools.product((1, 2), repeat=5):
        pairs = list(itertools.pairwise(bits))
        exact = 0.5  # of the first bit
        for context in (1, 2):
            exact *= beta_moments(pairs.count((context, 2)), pairs.count((context, 1)))
        problem = task.problem(bits)
        chance = task.predictive(problem.inputs).gather(-1, problem.targets.unsqueeze(-1) - 1).prod() / 2
        assert float(chance) == pytest.approx(exact, rel=1e-6)
        share = (sequences == torch.tensor(bits)).all(dim=1).float().mean()
        assert abs(share - exact) < 5 * (exact * (1 - exact) / draws) ** 0.5
        total += exact
    assert total == pytest.approx(1)


def test_the_best_guess_at_ngrams():
    """At the default preset it is right as often as the docstring says."""
    task = DynamicNGrams()
    problem = task.draw(4000, generator=generator())
    likely = task.predictive(problem.inputs).argmax(dim=-1) + 1
    right = (likely == problem.targets) & problem.mask
    assert float(right.sum() / problem.mask.sum()) == pytest.approx(0.7175, abs=0.008)
    assert float((right.sum(dim=0) / problem.mask.sum(dim=0)).mean()) == pytest.approx(0.68, abs=0.015)


def test_repeats_without_pauses_and_the_end_marker():
    """The paper's form, and with pauses: two symbols twice, then the delimiter, which step 2 has shown."""
    task = make_task("repeat-copy", "paper", num_symbols=7, max_length=2, max_repeats=2)
    problem = task.problem([4, 1, 9])
    assert task.num_steps == 8
    assert problem.targets[:, 0].tolist() == [0, 0, 0, 4, 1, 4, 1, 9]
    assert problem.source[3:, 0, 0].tolist() == [0, 1, 0, 1, 2]
    problem = dataclasses.replace(task, pauses=True).problem([4, 1, 9])
    assert problem.targets[:, 0].tolist() == [0, 0, 0, 4, 1, 0, 4, 1, 9]


def test_priorities_of_the_top():
    """The five of the highest priorities are asked for, in their order, whatever the rest is."""
    problem = PrioritySort(top=5, min_length=8, max_length=8).draw(50, generator=generator())
    priorities, symbols = problem.inputs[:8].unbind(-1)
    order = priorities.argsort(dim=0, descending=True)[:5]
    assert (problem.mask.sum(dim=0) == 5).all()
    torch.testing.assert_close(problem.targets[9:14], symbols.gather(0, order), rtol=0, atol=0)
    torch.testing.assert_close(problem.source[9:14, :, 0], order, rtol=0, atol=0)


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
    ("name", "symbols", "message"),
    [
        ("copy", [], "1 to 4 symbols, got 0"),
        ("copy", [1] * 5, "1 to 4 symbols, got 5"),
        ("copy", [1, 9], r"1 to 8, got \[1, 9\]"),
        ("reverse", [0], r"1 to 8, got \[0\]"),
        ("repeat-copy", [1, 2], r"end with a delimiter in 9 to 11, got \[1, 2\]"),
        ("repeat-copy", [], r"end with a delimiter in 9 to 11, got \[\]"),
        ("duplicated-input", [1, 1, 2], r"every symbol 2 times in a row, got \[1, 1, 2\]"),
        ("duplicated-input", [1, 1] * 5, "1 to 4 symbols, got 5"),
        ("forward-reverse", [1] * 5, "1 to 4 symbols, got 5"),
        ("addition", [1, 2, 3], "2 to 8 symbols, two for each step, got 3"),
        ("addition", [1, 9], r"1 to 8, got \[1, 9\]"),
        ("counting", [1], "1 to 4 symbols and the one asked for, got 1"),
        ("counting", [1, 0], r"1 to 8, got \[1, 0\]"),
        ("stack", [1, 9, 9, 1], "1 to 4 symbols and as many commands 9 after them"),
        ("stack", [1, 1, 9], "as many commands 9 after them, got"),
        ("queue", [], "1 to 4 symbols and as many commands 9"),
        ("queue", [1, 10], "1 to 9, the command, got"),
        ("maze", [1, 1, 2, 0], r"cue \[2, 0\] must match a fact"),
        ("delay", [1], "2 to 5 symbols, a cue and its distractors, got 1"),
        ("delay", [1, 9], r"1 to 8, got \[1, 9\]"),
        ("slot-recall", [], "rows of 2 symbols, got 0"),
        ("slot-recall", [1, 2, 1], "rows of 2 symbols, got 3"),
        ("slot-recall", [1, 9, 1, 0], r"0 to \(16, 8\), got \[\[1, 9\]"),
        ("slot-recall", [1, 0, 1, 2], "facts, with all symbols, must come before cues"),
        ("slot-recall", [1, 2], "1 to 7 facts and 1 to 4 cues, got 1 and 0"),
        ("fact-recall", [1, 2, 3, 0, 1, 0], r"cue \[0, 1, 0\] must match a fact"),
        ("multi-hop", [1, 2, 3, 1, 2, 0], "find a fact with key 2"),
        ("multi-hop", [1, 2, 3, 1, 1, 0], "2 to 4 facts, got 1"),
        ("associative-recall", [1, 2, 3, 1], "2 to 5 items and the one asked about, of 3 symbols each, got 4"),
        ("associative-recall", [1, 1, 1, 2, 2, 2, 2, 2, 2], "one but the last asked about"),
        ("associative-recall", [9], "1 to 8"),
        ("dynamic-ngrams", [1, 2], "3 to 6 symbols, the first context included, got 2"),
        ("dynamic-ngrams", [1, 2, 3], r"1 to 2, got \[1, 2, 3\]"),
        ("priority-sort", [1, 2, 3], "pairs of a priority and a symbol, got 3 numbers"),
        ("priority-sort", [33, 2], r"priorities must lie in 1 to 32, got \[33\]"),
        ("priority-sort", [5, 2, 5, 3], r"priorities must be distinct, got \[5, 5\]"),
        ("priority-sort", [5, 9], r"symbols must lie in 1 to 8, got \[9\]"),
    ],
)
def test_inputs_out_of_range_are_refused(name, symbols, message):
    """The message names the range and what came."""
    with pytest.raises(ValueError, match=message):
        make_task(name, max_length=4).problem(symbols)


@pytest.mark.parametrize(
    ("name", "symbols", "message"),
    [
        ("copy", [1, 2, 3], "2 presentations of one length, got 3 symbols"),
        ("copy", [], "each presentation must have 1 to 4 symbols, got 0"),
        ("copy", [1] * 10, "each presentation must have 1 to 4 symbols, got 5"),
        ("copy", [9, 1], r"1 to 8, got \[9, 1\]"),
        ("repeat-copy", [1, 2, 3, 9], "2 presentations of one length, got 3 symbols"),
        ("duplicated-input", [1, 1], "2 presentations of one length, got 1 symbols"),
        ("delay", [1, 2], "3 to 6 symbols, 2 cues and their distractors, got 2"),
        ("priority-sort", [2, 4, 3, 4], r"all presentations must show the same priorities, got \[\[2\], \[3\]\]"),
        (
            "associative-recall",
            [1] * 12,
            "2 to 5 items for each of 2 presentations and the one asked about, of 3 symbols",
        ),
        (
            "associative-recall",
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1],
            r"items must be distinct and one but the last asked about, got \[\[\(1, 1, 1\), \(1, 1, 1\)\]",
        ),
    ],
)
def test_presentations_out_of_range_are_refused(name, symbols, message):
    """As other inputs are."""
    with pytest.raises(ValueError, match=message):
        make_task(name, max_length=4, rewrites=1).problem(symbols)


@pytest.mark.parametrize(
    ("name", "difficulty", "message"),
    [
        ("copy", {"lag": -1}, "lag must be at least 0, got -1"),
        ("copy", {"rewrites": -1}, "rewrites must be at least 0, got -1"),
        ("delay", {"rewrites": -1}, "rewrites must be at least 0, got -1"),
        ("associative-recall", {"rewrites": -1}, "rewrites must be at least 0, got -1"),
        ("repeat-copy", {"max_repeats": 0}, "max_repeats must be at least 1, got 0"),
        ("fact-recall", {"num_keys": 7}, r"at least max_length \+ distractors = 8, got 7"),
        ("slot-recall", {"distractors": -1}, "distractors must be at least 0, got -1"),
        ("overwrite", {"rewrites": -1}, "rewrites must be at least 0, got -1"),
        ("overwrite", {"num_symbols": 1}, "num_symbols must be at least 2, got 1"),
        ("addition", {"num_symbols": 1}, "num_symbols must be at least 2, got 1"),
        ("addition", {"last_carry": "no"}, "last_carry must be True or False, got 'no'"),
        ("counting", {"num_symbols": 1}, "num_symbols must be at least 2, got 1"),
        ("counting", {"max_count": 0}, "max_count must be at least 1, got 0"),
        ("counting", {"lag": -1}, "lag must be at least 0, got -1"),
        ("maze", {"corridor": -1}, "corridor must be at least 0, got -1"),
        ("maze", {"num_keys": 4}, r"at least max_length \+ distractors = 5, got 4"),
        ("associative-recall", {"item_length": 1, "max_length": 8}, "must be more than max_length=8"),
        ("associative-recall", {"item_length": 0}, "item_length must be at least 1, got 0"),
        ("dynamic-ngrams", {"context": 0}, "context must be at least 1, got 0"),
        ("dynamic-ngrams", {"context": 13}, r"must be at most 4096, got 2 \*\* 13"),
        ("priority-sort", {"top": 0}, "top must be at least 1, got 0"),
        ("priority-sort", {"num_priorities": 9}, "num_priorities must be at least max_length = 10, got 9"),
    ],
)
def test_dials_out_of_range_are_refused(name, difficulty, message):
    """The message names the dial, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        make_task(name, **difficulty)


def test_tasks_are_values():
    """Equal difficulty, equal task; nothing can be changed after checking."""
    assert Copy(max_length=3) == Copy(max_length=3) != Copy(max_length=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Copy().max_length = 0


@pytest.mark.parametrize("last_carry", [True, False])
@pytest.mark.parametrize("base", [2, 3, 10])
def test_sums_are_those_of_whole_numbers(base, last_carry):
    """The digits asked for, from the lowest, are those of the sum of the numbers shown, the last carry if asked for."""
    task = make_task("addition", num_symbols=base, max_length=6, last_carry=last_carry)
    problem = task.draw(200, generator=generator())
    assert problem.num_steps().amax() == task.num_steps
    for column in range(200):
        rows = problem.inputs[:, column]
        first, second = (int("".join(str(d - 1) for d in rows[rows[:, 1] > 0, c].tolist()), base) for c in (0, 1))
        digits = [digit - 1 for digit in problem.targets[problem.mask[:, column], column].tolist()]
        length = int((rows[:, 1] > 0).sum())
        total = first + second if last_carry else (first + second) % base**length
        assert sum(digit * base**place for place, digit in enumerate(digits)) == total
        assert len(digits) == length + last_carry


def test_counts_are_uniform():
    """Three symbols are seen 0 to 3 times, each count as often as any other, in any order, beside any other symbols."""
    draws = 20_000
    task = make_task("counting", num_symbols=3, min_length=3, max_length=3)
    problem = task.draw(draws, generator=generator())
    shown, asked_for = problem.inputs[:3, :, 0], problem.inputs[3, :, 0]
    times = (shown == asked_for).sum(dim=0)
    torch.testing.assert_close(problem.targets[-1], times + 1)
    shares = torch.bincount(times, minlength=4) / draws
    assert (shares - 1 / 4).abs().max() < 5 * (3 / 16 / draws) ** 0.5
    first = (shown[0] == asked_for)[times == 1].double().mean()
    assert abs(first - 1 / 3) < 5 * (2 / 9 / (times == 1).sum()) ** 0.5
    other = torch.bincount(shown[shown != asked_for], minlength=4)[1:]
    assert (other / other.sum() - 1 / 3).abs().max() < 5 * (2 / 9 / other.sum()) ** 0.5


def test_counts_end_somewhere():
    """At `max_count`: no more are drawn, and an input that shows more is refused; lengths may go beyond it."""
    task = make_task("counting", num_symbols=3, min_length=6, max_length=6, max_count=2)
    assert (
        task.draw(500, generator=generator()).targets.amax() == task.num_answers == task.at_length(9).num_answers == 3
    )
    with pytest.raises(ValueError, match=r"at most max_count = 2 times, got \[1, 1, 1, 2, 2, 2\]"):
        task.problem([1, 1, 1, 2, 2, 2, 1])


def test_all_orders_of_commands_are_equally_likely():
    """Three pushes and three pops stand in five orders, each a fifth of the time."""
    draws = 20_000
    problem = make_task("stack", min_length=3, max_length=3).draw(draws, generator=generator())
    orders, times = (problem.inputs[..., 0] * (problem.inputs[..., 0] < 9)).sign().unique(dim=1, return_counts=True)
    assert orders.shape[1] == 5
    assert (times / draws - 1 / 5).abs().max() < 5 * (4 / 25 / draws) ** 0.5


@pytest.mark.parametrize(("name", "end"), [("stack", -1), ("queue", 0)])
def test_what_comes_out_is_what_a_list_says(name, end):
    """Every answer is the last of a Python list, or the first, as the commands leave it."""
    problem = make_task(name, max_length=8).draw(100, generator=generator())
    for column in range(100):
        inside, due = [], []
        for symbol in problem.inputs[:, column, 0].tolist():
            if 1 <= symbol <= 8:
                inside.append(symbol)
            elif symbol:
                due.append(inside.pop(end))
        assert problem.targets[problem.mask[:, column], column].tolist() == due
        assert not inside


def test_a_walk_comes_to_every_junction_equally_often():
    """Two junctions on the way and one cue more: each of three cues is asked for a third of the time, every time."""
    draws = 20_000
    task = make_task("maze", min_length=2, max_length=2, distractors=1, corridor=0)
    source = task.draw(draws, generator=generator()).source[..., 0]
    for asked_for in (source[4], source[6]):
        assert (torch.bincount(asked_for, minlength=3) / draws - 1 / 3).abs().max() < 5 * (2 / 9 / draws) ** 0.5
