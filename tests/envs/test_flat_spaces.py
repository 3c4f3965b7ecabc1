"""Flat spaces: rows are what Gymnasium's own `flatten` makes, one or many at a time."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from hardmem.envs.flat_spaces import FlatSpace

SPACES = [
    Discrete(3),
    Discrete(3, start=-1),
    MultiDiscrete([2, 4], start=[0, 7]),
    MultiDiscrete([[2, 3], [4, 2]]),
    MultiBinary([2, 2]),
    Box(-1, 2, (2, 3), np.float32),
    Box(0, 255, (2, 2), np.uint8),
    Tuple((Discrete(2), Box(0, 1, (2,), np.float32), Tuple((Discrete(4),)))),
    Dict({"b": Discrete(2), "a": MultiDiscrete([3, 3])}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rows_are_gymnasiums(space):
    """Value by value, of one observation and of five that a vector environment stacked."""
    flat = FlatSpace(space)
    space.seed(0)
    samples = [space.sample() for _ in range(5)]
    expected = np.stack([gym.spaces.flatten(space, sample) for sample in samples]).astype(np.float32)
    stacked = concatenate(space, samples, create_empty_array(space, n=5))
    assert stacked in batch_space(space, 5)
    rows = flat.rows(stacked, 5)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)
    for sample, row in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(flat.rows(sample, 1), row[None])
        assert (flat.low <= row).all()
        assert (row <= flat.high).all()
    assert flat.width == len(flat.low) == len(flat.high)


def test_symbols_can_be_had_back():
    """Counted from 1, channel by channel; numbers have none."""
    flat = FlatSpace(Tuple((Discrete(3, start=5), MultiDiscrete([2, 4]))))
    assert flat.input_sizes == (3, 2, 4)
    assert flat.key_channels == (0, 1, 2)
    rows = flat.rows((np.array([5, 7]), np.array([[0, 3], [1, 0]])), 2)
    assert flat.symbols(rows).tolist() == [[1, 1, 4], [3, 2, 1]]
    assert FlatSpace(Tuple((Discrete(3), Box(0, 1, (1,))))).key_channels == ()


def test_other_spaces_are_refused():
    """Also where one lies inside another."""
    with pytest.raises(ValueError, match="made of Box, MultiBinary, Discrete and MultiDiscrete, got Text"):
        FlatSpace(Tuple((Discrete(2), Text(5))))
