"""What a spectator sees: by hand as text, the same size throughout as a picture, through Gymnasium's wrappers."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from hardmem.envs import ENVIRONMENTS
from hardmem.envs.rendering import FULL, HEAD, RIGHT, WRONG

SAMPLE = ["hardmem/Copy-v0", "hardmem/SlotRecallRandomAccess-v0", "hardmem/MultiHop-v0"]
SAMPLE += ["hardmem/FactRecallAssociative-v0"]


def texts(env_id, symbols, actions, **arguments):
    env = gym.make(env_id, render_mode="ansi", **arguments).unwrapped
    env.reset(options={"input": symbols})
    frames = [env.render()]
    for action in actions:
        env.step(np.array(action))
        frames.append(env.render())
    return frames


def test_a_tape_by_hand():
    """Copy of [3, 1]: written, gone home, answered wrong; before the first action it says where the head starts."""
    actions = [[2, 1, 0], [2, 1, 0], [3, 0, 0], [1, 0, 4]]
    first, *_, home, last = texts("hardmem/Copy-v0", [3, 1], actions, num_cells=4)
    assert first == "step 0 of 5, earned 0.00\nshown 3\nanswered -\nhead 0: starts at cell 0\ncells [.] .  .  .\n"
    assert (
        home == "step 3 of 5, earned 0.00, an answer is due\nshown .\nanswered -\nhead 0: go home\ncells [3] 1  .  .\n"
    )
    assert last.splitlines()[2:4] == ["answered 5 (wrong)", "head 0: stay"]


def test_two_heads_by_number():
    """A line for each head, in the order of a step; both cells are marked."""
    (frame,) = texts("hardmem/SlotRecallRandomAccess-v0", [2, 4, 2, 0], [[5, 3, 1, 0, 0]], num_heads=2)[1:]
    assert frame.splitlines()[3:5] == ["head 0: go to cell 5, then write", "head 1: go to cell 3"]
    cells = frame.splitlines()[-1].removeprefix("cells ")
    assert cells.startswith(" .  .  . [.] . [2,4] . ")


def test_names_in_words():
    """The actions of the associative interface: empty, by the first key, by the second, next; and the pace."""
    actions = [[0, 1, 0], [2, 0, 0], [4, 0, 0], [5, 0, 0]]
    frames = texts("hardmem/FactRecallAssociative-v0", [2, 1, 4, 1, 2, 7, 0, 2, 0], actions, preset="easiest")[1:]
    lines = [frame.splitlines()[3] for frame in frames]
    found = ["head 0: find an empty cell, then write", "head 0: find 2 . .", "head 0: find . 2 ."]
    assert lines == [*found, "head 0: find the next cell"]
    frames = texts("hardmem/SlotRecall-v0", [2, 4, 2, 0], [[1, 1, 1, 0], [1, 0, 0, 0]], preset="easiest")[1:]
    assert [frame.splitlines()[4] for frame in frames] == ["the input goes on", "the input waits"]


def test_what_is_done_before_the_input_goes_on_is_shown():
    """The first step of an episode may take several actions; and a level of an endless one begins as any problem."""
    frames = texts("hardmem/SlotRecall-v0", [2, 4, 2, 0], [[2, 1, 0, 0]], preset="easiest")
    assert [frame.splitlines()[3:5] for frame in frames] == [
        ["head 0: starts at cell 0", "the input begins"],
        ["head 0: write, then move +1", "the input waits"],
    ]
    env = gym.make("hardmem/Copy-v0", endless=True, render_mode="ansi")
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.unwrapped.oracle())
    assert env.unwrapped.span == 1
    assert env.render().splitlines()[2:4] == ["answered -", "head 0: starts at cell 0"]


def test_a_written_symbol_is_named():
    """Where a write says what is written, so does the text."""
    (frame,) = texts("hardmem/Copy-v0", [3, 1], [[2, 5, 0]], write="symbol")[1:]
    assert frame.splitlines()[3] == "head 0: write 5, then move +1"


def test_only_an_answer_that_was_judged_is_shown():
    """Not one given while the input waits, nor, after an episode has started anew, that of the one before."""
    wait, answer = [1, 0, 0, 2], [1, 0, 1, 2]
    frames = texts("hardmem/Copy-v0", [3, 1], [*[answer] * 4, wait], self_paced=True)
    assert [frame.splitlines()[2] for frame in frames] == ["answered -"] * 4 + ["answered 3 (right)", "answered -"]
    vector = gym.make_vec("hardmem/Copy-v0", 2, max_length=1, autoreset_mode="SameStep", render_mode="ansi")
    vector.reset(seed=0)
    for _ in range(3):
        vector.step(vector.unwrapped.oracle())
    assert [frame.splitlines()[2:4] for frame in vector.render()] == [["answered -", "head 0: starts at cell 0"]] * 2


@pytest.mark.parametrize("env_id", SAMPLE)
@pytest.mark.parametrize("arguments", [{}, {"num_heads": 2, "num_cells": 30}])
def test_pictures_make_a_video(env_id, arguments):
    """uint8 RGB of one even size from the first frame to the last, all drawn anew, and the cells fill up."""
    env = gym.make(env_id, render_mode="rgb_array", **arguments)
    env.reset(seed=0)
    frames, terminated = [env.render()], False
    while not terminated:
        terminated = env.step(env.unwrapped.oracle())[2]
        frames.append(env.render())
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert all(size % 2 == 0 for size in frames[0].shape[:2])
    assert all(frame.dtype == np.uint8 and frame.flags.writeable for frame in frames)
    assert not any(np.shares_memory(*pair) for pair in itertools.pairwise(frames))
    assert pixels(frames[0], FULL) == 0 < pixels(frames[-1], FULL)
    assert all(pixels(frame, HEAD) for frame in frames)
    assert pixels(frames[-1], RIGHT) > 0 == pixels(frames[-1], WRONG)


def pixels(frame, colour):
    return int((frame == np.array(colour, np.uint8)).all(axis=-1).sum())


def test_every_environment_is_drawn():
    """Text and picture of the first and the second step of each id, single and batched."""
    for env_id in ENVIRONMENTS:
        for mode in ("ansi", "rgb_array"):
            vector = gym.make_vec(env_id, 2, vectorization_mode="vector_entry_point", render_mode=mode)
            vector.reset(seed=0)
            before = vector.render()
            vector.step(vector.unwrapped.oracle())
            after = vector.render()
            assert len(before) == len(after) == 2
            assert all(np.not_equal(one, other).any() for one, other in zip(before, after, strict=True))


def test_frames_are_collected():
    """Gymnasium's RenderCollection gets a frame per step, in both modes."""
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        env = gym.wrappers.RenderCollection(gym.make("hardmem/Copy-v0", render_mode=mode))
        env.reset(seed=0)
        for _ in range(3):
            env.step(np.array([2, 1, 0]))
        frames = env.render()
        assert len(frames) == 4
        assert all(isinstance(frame, kind) for frame in frames)


@pytest.mark.ecosystem
def test_a_video_is_recorded(tmp_path):
    """Gymnasium's RecordVideo writes a file."""
    pytest.importorskip("moviepy")
    env = gym.wrappers.RecordVideo(gym.make("hardmem/Copy-v0", render_mode="rgb_array"), str(tmp_path / "videos"))
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([2, 1, 0]))
    env.close()
    assert [file.suffix for file in (tmp_path / "videos").iterdir()] == [".mp4"]


def test_no_mode_no_frame():
    """Gymnasium's way: a warning, and None."""
    for env in (gym.make("hardmem/Copy-v0").unwrapped, gym.make_vec("hardmem/Copy-v0", 2)):
        env.reset(seed=0)
        with pytest.warns(UserWarning, match="render was called without a render mode"):
            assert env.render() is None
