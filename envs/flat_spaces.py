"""Flat spaces: observations of any kind as rows of numbers, for a network to see and for cells to hold."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray

Array = NDArray[Any]


class FlatSpace:
    """Translates a space into rows (B, W) of float32: numbers as they are, symbols one-hot, parts side by side.

    Args:
        space: Box, MultiBinary, Discrete or MultiDiscrete, or a Tuple or Dict of such.

    Raises:
        ValueError: if the space is, or holds, one of another kind.
    """

    low: Array
    """Bounds, (W,); infinite where there are none."""
    high: Array
    input_sizes: tuple[int, ...]
    """Symbols of each channel, if there is nothing but symbols; else none."""

    def __init__(self, space: gym.Space[Any]) -> None:
        self.space = space
        leaves = list(_leaves(space))
        bounds = [_bounds(leaf) for leaf in leaves]
        self.low, self.high = (np.concatenate(side).astype(np.float32) for side in zip(*bounds, strict=True))
        self.width = len(self.low)
        only_symbols = all(isinstance(leaf, Discrete | MultiDiscrete) for leaf in leaves)
        self.input_sizes = tuple(int(size) for leaf in leaves for size in _sizes(leaf)) if only_symbols else ()

    @property
    def key_channels(self) -> tuple[int, ...]:
        """The channels whose symbols can name a cell: all there are."""
        return tuple(range(len(self.input_sizes)))

    def rows(self, observation: Any, num_envs: int) -> Array:
        """One observation (B = 1), or B of them as a vector environment stacks them, -> rows (B, W), a fresh array."""
        rows = np.empty((num_envs, self.width), dtype=np.float32)
        start = 0
        for leaf, values in _values(self.space, observation):
            flat = np.asarray(values).reshape(num_envs, -1)
            if isinstance(leaf, Discrete | MultiDiscrete):
                sizes = _sizes(leaf)
                firsts = start + np.cumsum(sizes) - sizes
                width = int(sizes.sum())
                rows[:, start : start + width] = 0.0
                rows[np.arange(num_envs)[:, None], firsts + flat - np.reshape(leaf.start, -1)] = 1.0
            else:
                width = flat.shape[1]
                rows[:, start : start + width] = flat
            start += width
        return rows

    def symbols(self, rows: Array) -> Array:
        """The symbols that rows (B, W) show, (B, C), from 1; there must be nothing but symbols."""
        ends = np.cumsum(self.input_sizes)[:-1]
        return np.stack([part.argmax(axis=1) for part in np.split(rows, ends, axis=1)], axis=1) + 1

    def __repr__(self) -> str:
        """The space it stands for."""
        return f"observations in {self.space}"


def _leaves(space: gym.Space[Any]) -> list[gym.Space[Any]]:
    """The plain spaces of which one is made."""
    if isinstance(space, Tuple | Dict):
        parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return [leaf for part in parts for leaf in _leaves(part)]
    if not isinstance(space, Box | MultiBinary | Discrete | MultiDiscrete):
        raise ValueError(f"observations must be made of Box, MultiBinary, Discrete and MultiDiscrete, got {space}")
    return [space]


def _values(space: gym.Space[Any], observation: Any) -> list[tuple[gym.Space[Any], Any]]:
    """The plain spaces of which one is made, each with its part of an observation."""
    if isinstance(space, Dict):
        return [pair for name, part in space.spaces.items() for pair in _values(part, observation[name])]
    if isinstance(space, Tuple):
        return [pair for part, seen in zip(space.spaces, observation, strict=True) for pair in _values(part, seen)]
    return [(space, observation)]


def _sizes(space: gym.Space[Any]) -> Array:
    """How many symbols each channel has."""
    return np.reshape(space.n if isinstance(space, Discrete) else getattr(space, "nvec", ()), -1)


def _bounds(space: gym.Space[Any]) -> tuple[Array, Array]:
    """The least and the largest numbers of a plain space's rows."""
    if isinstance(space, Box):
        return space.low.reshape(-1), space.high.reshape(-1)
    width = int(_sizes(space).sum()) if isinstance(space, Discrete | MultiDiscrete) else int(np.prod(space.shape or ()))
    return np.zeros(width), np.ones(width)
