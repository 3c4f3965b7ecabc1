"""Formats: how observations, actions and masks look to a library. The plain ones are what most of them take."""

from __future__ import annotations

import math
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hardmem.envs.flat_spaces import FlatSpace

Array = NDArray[Any]

OBSERVATIONS = ("box", "dict")
ACTIONS = ("multi-discrete", "discrete")


class Rules(Protocol):
    """What a format asks of rules: the parts of an observation and the choices of an action."""

    parts: dict[str, slice]
    num_actions: tuple[int, ...]

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Of one environment, the parts side by side."""

    @property
    def action_space(self) -> gym.Space[Any]:
        """Of one environment, a number for each factor."""


class Format:
    """Translates between the arrays of the rules and the spaces of an environment.

    Args:
        dynamics: the rules.
        num_envs: B.
        observation: "box", one vector; or "dict", its parts by name: "shown", "under" and, where they are observed,
            "position" and "memory".
        action: "multi-discrete", one number per factor; or "discrete", one number for all of them, the last factor
            counting fastest.

    Raises:
        ValueError: if a name is unknown, or one number cannot stand for all factors.
    """

    def __init__(
        self, dynamics: Rules, num_envs: int, observation: str = "box", action: str = "multi-discrete"
    ) -> None:
        if observation not in OBSERVATIONS:
            raise ValueError(f"unknown observation {observation!r}; choose one of {sorted(OBSERVATIONS)}")
        if action not in ACTIONS:
            raise ValueError(f"unknown action {action!r}; choose one of {sorted(ACTIONS)}")
        self.parts = dynamics.parts if observation == "dict" else None
        self.num_actions = dynamics.num_actions
        self.is_product = action == "discrete"

        self.single_observation_space: gym.Space[Any] = dynamics.observation_space
        if self.parts is not None:
            spaces: dict[str, gym.Space[Any]] = {
                name: gym.spaces.Box(0.0, 1.0, (part.stop - part.start,), np.float32)
                for name, part in self.parts.items()
            }
            self.single_observation_space = gym.spaces.Dict(spaces)
        self.single_action_space: gym.Space[Any] = dynamics.action_space
        if self.is_product:
            product = math.prod(self.num_actions)
            if product > np.iinfo(np.int64).max:
                raise ValueError(
                    f'action="discrete" needs fewer than 2 ** 63 actions, got 2 ** {math.log2(product):.1f} of '
                    f'{len(self.num_actions)} factors: take action="multi-discrete"'
                )
            self.single_action_space = gym.spaces.Discrete(product)
        self.observation_space: gym.Space[Any] = batch_space(self.single_observation_space, num_envs)
        self.action_space: gym.Space[Any] = batch_space(self.single_action_space, num_envs)

        self._shape = (num_envs,) if self.is_product else (num_envs, len(self.num_actions))
        choices = math.prod(self.num_actions) if self.is_product else self.num_actions
        self._choices = np.asarray(choices, dtype=np.uint64)

    def observation(self, array: Array) -> Any:
        """Observations (B, O), or one of them (O,), in the format."""
        if self.parts is None:
            return array
        return {name: array[..., part] for name, part in self.parts.items()}

    def factors(self, actions: Any, single: bool = False) -> Array:
        """Actions in the format -> (B, A), checked, each factor's numbers side by side in memory.

        Args:
            actions: of B environments; or of the one there is, by itself.
            single: whether it is by itself.

        Raises:
            ValueError: if their shape, type or range is wrong.
        """
        given = _array(actions, single)
        if given is None:
            came = f"{actions!r}"
        elif given.shape != self._shape or given.dtype.kind not in "iu":
            shape, due = given.shape[single:], self._shape[single:]
            came = f"{given.dtype} of shape {shape} where integers of shape {due} are due"
        else:
            array = given.T.astype(np.int64, order="C")
            if (array.view(np.uint64).max(axis=-1) < self._choices).all():  # what is negative is large without a sign
                return np.stack(np.unravel_index(array, self.num_actions)).T if self.is_product else array.T
            legal = (given >= 0) & (given < self._choices)
            first = int(np.argwhere(~legal)[0, 0])
            came = f"{given[first].tolist()} as number {first}"
        raise ValueError(f"every action must lie in {self.single_action_space}, got {came}")

    def flat_masks(self, legal: list[Array]) -> Array:
        """Legal choices -> (B, sum of choices) bool, factor after factor; (B, their product) for one number."""
        if not self.is_product:
            return np.concatenate(legal, axis=1)
        product = legal[0]
        for factor in legal[1:]:
            product = (product[:, :, None] & factor[:, None]).reshape(len(product), -1)
        return product

    def masks(self, legal: list[Array]) -> tuple[Any, ...]:
        """Legal choices -> for each of the B episodes what `sample` of the single action space takes, int8.

        A batch of Discrete takes all of them; a batch of MultiDiscrete is a Box, whose `sample` takes no mask.
        """
        flat = self.flat_masks(legal).astype(np.int8)
        if self.is_product:
            return tuple(flat)
        ends = np.cumsum(self.num_actions)[:-1]
        return tuple(tuple(np.split(row, ends)) for row in flat)


class ScoreFormat:
    """Actions of numbers alone: scores in [-1, 1] of the choices of the first factors, then other numbers.

    Of each factor the choice with the highest score is taken, the first of equal ones, so that a library for continuous
    actions can make discrete choices, too.

    Args:
        rules: their parts and the choices of the first factors.
        own: the other numbers.
        num_envs: B.
    """

    is_product = False

    def __init__(self, rules: Any, own: FlatSpace, num_envs: int) -> None:
        self._ends = np.cumsum(rules.num_actions).tolist()
        self._num_scores = sum(rules.num_actions)
        scores = np.ones(self._num_scores)
        low, high = np.append(-scores, own.low), np.append(scores, own.high)
        self.single_observation_space: gym.Space[Any] = rules.observation_space
        self.single_action_space: gym.Space[Any] = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self.observation_space: gym.Space[Any] = batch_space(self.single_observation_space, num_envs)
        self.action_space: gym.Space[Any] = batch_space(self.single_action_space, num_envs)

    def split(self, actions: Any, single: bool = False) -> tuple[Array, Array]:
        """Actions -> the choices (B, factors) and the other numbers (B, own); `single` as in `Format.factors`.

        Raises:
            ValueError: if they have another shape.
        """
        given = _array(actions, single)
        shape = self.action_space.shape or ()
        if given is None or given.shape != shape:
            came = f"{actions!r}" if given is None else f"{given.shape[single:]}"
            raise ValueError(f"actions must have shape {shape[single:]}, got {came}")
        parts = np.split(given[:, : self._num_scores], self._ends[:-1], axis=1) if self._ends else []
        choices = [part.argmax(axis=1) for part in parts]
        taken = np.stack(choices, axis=1) if choices else np.zeros((len(given), 0), dtype=np.int64)
        return taken, given[:, self._num_scores :]


def _array(actions: Any, single: bool) -> Array | None:
    """Actions of B environments as an array, or that of a single one as those of a batch of one; None if ragged."""
    try:
        given = np.asarray(actions)
    except ValueError:
        return None
    return given[None] if single else given
