"""External memory for any environment: the action gains memory moves, the observation what is read.

`ExternalMemory(env, "tape", num_cells=8)` wraps one environment, `VectorExternalMemory` a vector of them. What the
memory is and does is in `hardmem.envs.memory_modules`; here it is put beside an environment, and emptied in time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from hardmem.envs.flat_spaces import FlatSpace
from hardmem.envs.formats import Format, ScoreFormat
from hardmem.envs.memory_modules import make_memory_module
from hardmem.envs.options import reset_options

if TYPE_CHECKING:
    AnyVectorWrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    AnyVectorWrapper = VectorWrapper  # Gymnasium 1.2's takes no type parameters

Array = NDArray[Any]


class AugmentedRules:
    """What becomes of the spaces of B environments with a memory each, and the memories. `Format` plays by these.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        num_envs: B.
        memory, num_cells, action, arguments: as `ExternalMemory` takes them.

    Raises:
        ValueError: if a space is of a kind that cannot be played, or the memory cannot be built.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        memory: str,
        num_cells: int,
        action: str,
        arguments: dict[str, Any],
    ) -> None:
        if not isinstance(action_space, Box | Discrete | MultiBinary | MultiDiscrete):
            raise ValueError(
                f"an external memory needs Box, Discrete, MultiBinary or MultiDiscrete actions, got {action_space}"
            )
        self.num_envs = num_envs
        self._own = action_space
        self.flat, own = FlatSpace(observation_space), FlatSpace(action_space)
        self.module = make_memory_module(memory, self.flat, own, num_envs, num_cells, **arguments)
        self.num_actions = (*self.module.num_actions, *_choices(action_space))
        self.parts = {"observation": slice(0, self.flat.width), "memory": slice(self.flat.width, None)}
        low, high = np.append(self.flat.low, self.module.low), np.append(self.flat.high, self.module.high)
        self.observation_space: gym.Space[Any] = Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        self._seen = np.zeros((num_envs, self.flat.width), dtype=np.float32)
        self.format: Format | ScoreFormat
        if isinstance(action_space, Box):
            if action != "multi-discrete":
                raise ValueError(f"actions of numbers stay numbers: leave {action=} out for {action_space}")
            self.format = ScoreFormat(self, own, num_envs)
        else:
            self.action_space: gym.Space[Any] = MultiDiscrete(list(self.num_actions))
            self.format = Format(self, num_envs, action=action)

    def split(self, actions: Any, single: bool = False) -> tuple[Array, Array]:
        """Actions in the format -> those of the memories, (B, M), and those of the environments, (B, ...).

        Args:
            actions: of B environments; or of the one there is, by itself.
            single: whether it is by itself.

        Raises:
            ValueError: if their shape, type or range is wrong.
        """
        memory = len(self.module.num_actions)
        if isinstance(self.format, ScoreFormat):
            factors, own = self.format.split(actions, single)
        else:
            both = self.format.factors(actions, single)
            factors, own = both[:, :memory], both[:, memory:]
        own = own.reshape(self.num_envs, *(self._own.shape or ()))
        return factors, (own + getattr(self._own, "start", 0)).astype(self._own.dtype)

    def start(self, observation: Any, which: Array) -> Array:
        """Empty the memories of the episodes that a mask (B,) names; returns what the agents see, (B, O)."""
        self.module.empty(which)
        return self.look(observation)

    def advance(self, action: Array, taken: Array) -> None:
        """Let the memories change by their actions (B, M), and those of the environments, chosen at the last look."""
        self.module.advance(action, self._seen, taken)

    def look(self, observation: Any) -> Array:
        """What the agents see, (B, O); the environments' own part of it is what they can store next."""
        self._seen = self.flat.rows(observation, self.num_envs)
        return np.concatenate([self._seen, self.module.show()], axis=1)

    def masked(self, mask: Any) -> Any:
        """The mask of one environment's own action -> that of the whole; the memory's are all legal."""
        if isinstance(self.format, ScoreFormat):
            return mask
        own = mask if isinstance(mask, tuple) else (mask,)
        if isinstance(self._own, MultiBinary):  # 0 and 1 there say which a bit must be, 2 either
            own = tuple(np.array([bit != 1, bit != 0]) for bit in np.reshape(mask, -1))
        memory = [np.ones(choices, dtype=np.bool_) for choices in self.module.num_actions]
        return self.format.masks([np.asarray(factor, dtype=np.bool_)[None] for factor in (*memory, *own)])[0]


def _choices(space: gym.Space[Any]) -> tuple[int, ...]:
    """Of each factor of an action; none where it is of numbers."""
    if isinstance(space, Box):
        return ()
    if isinstance(space, MultiBinary):
        return (2,) * int(np.prod(space.shape))
    sizes = space.n if isinstance(space, Discrete) else getattr(space, "nvec", ())
    return tuple(int(size) for size in np.reshape(sizes, -1))


class ExternalMemory(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An environment with an external memory that the agent has to operate.

    Observations become a flat Box: the environment's own, symbols one-hot, then what is seen of the memory. Actions
    become one number per factor: those of the memory, then the environment's own, each from 0. Where the environment's
    are numbers, a Box, the whole action is one, and has a score in [-1, 1] for each choice of the memory before them:
    the choice with the highest score is taken, the first of equal ones. What the memory stores is what was observed
    when the action was chosen. An episode starts with an empty memory.

        env = ExternalMemory(gym.make("CliffWalking-v1"), "tape", num_cells=8)
        env.action_space  # MultiDiscrete([4 2 4]): move by -1, 0, 1 or home; write?; and CliffWalking's own four

    Args:
        env: with observations in Box, MultiBinary, Discrete, MultiDiscrete, or a Tuple or Dict of them, and with
            actions in one of the first four. `info["action_mask"]`, if it gives one, is widened to the new actions.
        memory: a name from `MEMORY_MODULES`: "tape", "random-access" and "associative" are cells and heads as in the
            other environments of this package, see `Cells`; "Kk", "Bk", "Ok" and "OAk" are those of Toro Icarte et al.
            2020, arXiv:2010.01753.
        num_cells: N; k of the latter.
        action: "multi-discrete", or "discrete": one number for all factors, the last counting fastest. Of no account
            where the environment's own are numbers.
        kwargs: of `Cells`: `num_heads`, `order`, `moves`.

    Raises:
        ValueError: if a space is of another kind, a name is unknown or a number out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        memory: str = "tape",
        num_cells: int = 8,
        *,
        action: str = "multi-discrete",
        **kwargs: Any,
    ) -> None:
        RecordConstructorArgs.__init__(self, memory=memory, num_cells=num_cells, action=action, **kwargs)
        gym.Wrapper.__init__(self, env)
        self._rules = AugmentedRules(env.observation_space, env.action_space, 1, memory, num_cells, action, kwargs)
        self.format = self._rules.format
        self.observation_space = self.format.single_observation_space
        self.action_space = self.format.single_action_space

    @property
    def num_actions(self) -> tuple[int, ...]:
        """Choices of each factor of the action, the memory's first; the memory's alone where the rest are numbers."""
        return self._rules.num_actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._rules.start(observation, np.ones(1, dtype=np.bool_))[0], self._widened(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        memory, own = self._rules.split(action, single=True)
        observation, reward, terminated, truncated, info = self.env.step(own[0])
        self._rules.advance(memory, own)
        return self._rules.look(observation)[0], reward, terminated, truncated, self._widened(info)

    def _widened(self, info: dict[str, Any]) -> dict[str, Any]:
        if "action_mask" in info:
            info = {**info, "action_mask": self._rules.masked(info["action_mask"])}
        return info


class VectorExternalMemory(AnyVectorWrapper, RecordConstructorArgs):
    """The same around a vector environment of B: each has a memory of its own.

    It keeps to the autoreset mode of what it wraps. NEXT_STEP: the memory is emptied when the first observation of the
    next episode arrives. SAME_STEP: `info["final_obs"]` shows what was read at the end, and the next episode starts
    empty. DISABLED: `reset(options={"reset_mask": mask})` empties those it starts anew.

    Args:
        env: B environments with spaces as `ExternalMemory` takes them. Where its metadata names no autoreset mode, it
            is taken to be NEXT_STEP.
        memory, num_cells, action, kwargs: as `ExternalMemory` takes them.

    Raises:
        ValueError: as in `ExternalMemory`.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        memory: str = "tape",
        num_cells: int = 8,
        *,
        action: str = "multi-discrete",
        **kwargs: Any,
    ) -> None:
        RecordConstructorArgs.__init__(self, memory=memory, num_cells=num_cells, action=action, **kwargs)
        VectorWrapper.__init__(self, env)
        self._rules = AugmentedRules(
            env.single_observation_space, env.single_action_space, env.num_envs, memory, num_cells, action, kwargs
        )
        self.format = self._rules.format
        self.single_observation_space = self.format.single_observation_space
        self.single_action_space = self.format.single_action_space
        self.observation_space = self.format.observation_space
        self.action_space = self.format.action_space
        self.autoreset_mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._ended = np.zeros(env.num_envs, dtype=np.bool_)

    @property
    def num_actions(self) -> tuple[int, ...]:
        """Choices of each factor of the action, the memory's first; the memory's alone where the rest are numbers."""
        return self._rules.num_actions

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = np.ones(self.num_envs, dtype=np.bool_)
        given = reset_options(options)
        if "reset_mask" in given:
            mask = np.array(given["reset_mask"], dtype=np.bool_)  # a copy: the environment may take it out
        inner: Any = self.env  # some take a list of seeds
        observation, info = inner.reset(seed=seed, options=options)
        self._ended &= ~mask
        return self._rules.start(observation, mask), self._widened(info)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        memory, own = self._rules.split(actions)
        observation, reward, terminated, truncated, info = self.env.step(own)
        info = self._widened(info)
        begun, self._ended = self._ended, np.asarray(terminated | truncated)
        self._rules.advance(memory, own)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            begun = self._ended
            if begun.any():
                info = {**info, "final_obs": self._final(info["final_obs"], begun)}
        elif self.autoreset_mode is AutoresetMode.DISABLED:
            begun = np.zeros_like(begun)
        return self._rules.start(observation, begun), reward, terminated, truncated, info

    def _final(self, observations: Any, ended: Array) -> Array:
        """The last observations of the episodes that have just ended, with what is seen of their memories."""
        shown, final = self._rules.module.show(), np.full(self.num_envs, None, dtype=object)
        for place in np.flatnonzero(ended):
            final[place] = np.append(self._rules.flat.rows(observations[place], 1)[0], shown[place])
        return final

    def _widened(self, info: dict[str, Any]) -> dict[str, Any]:
        if "final_info" in info:
            info = {**info, "final_info": self._widened(info["final_info"])}
        if "action_mask" not in info:
            return info
        masks = np.full(self.num_envs, None, dtype=object)
        if self.format.is_product:
            masks = np.zeros((self.num_envs, math.prod(self.num_actions)), dtype=np.int8)
        for place in np.flatnonzero(info.get("_action_mask", np.ones(self.num_envs, dtype=np.bool_))):
            masks[place] = self._rules.masked(info["action_mask"][place])
        return {**info, "action_mask": masks}
