"""Stable-Baselines3: its `VecEnv` over batched environments. `pip install "hardmem[sb3]"` brings SB3.

from hardmem.envs.sb3 import SB3VecEnv
from stable_baselines3 import PPO

PPO("MlpPolicy", SB3VecEnv("hardmem/Copy-v0", num_envs=64)).learn(100_000)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from hardmem.envs.adapters import METHODS

try:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as missing:
    raise ImportError('hardmem.envs.sb3 needs Stable-Baselines3: pip install "hardmem[sb3]"') from missing

Array = NDArray[Any]
Indices = int | Sequence[int] | None


class SB3VecEnv(VecEnv):
    """B environments stepped together, as Stable-Baselines3 and sb3-contrib take them.

        SB3VecEnv("hardmem/Copy-v0", num_envs=64)

        atari = gym.make_vec(id, 64, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
        SB3VecEnv(VectorExternalMemory(atari, "tape", num_cells=8))

    It behaves as a `DummyVecEnv` of monitored environments does: an episode that has ended starts anew at once; its
    last observation is `info["terminal_observation"]`, its return, length and time are `info["episode"]`, and
    `info["TimeLimit.truncated"]` says whether it was cut off. What differs: `seed(s)` seeds all of them by s together,
    options set for the next reset must be the same for all, and what else an environment says in its info is passed
    on at the end of an episode alone.

    Args:
        env: a registered id of this package, or a vector environment of any kind whose autoreset mode is SAME_STEP.
        num_envs: B; of a vector environment its own.
        kwargs: as `TaskVectorEnv` takes them, but the autoreset mode is SB3's, and masks come from `action_masks`.
            None with a vector environment.

    Raises:
        ValueError: if an argument is unknown or out of range, or the environment is neither.
    """

    def __init__(self, env: str | VectorEnv[Any, Any, Any], num_envs: int | None = None, **kwargs: Any) -> None:
        self.env: Any = _made(env, num_envs, kwargs) if isinstance(env, str) else _checked(env, num_envs, kwargs)
        num_envs = self.env.num_envs
        super().__init__(num_envs, self.env.single_observation_space, self.env.single_action_space)
        self.metadata = self.env.metadata
        self._actions: Any = None
        self._began = time.time()
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)

    def reset(self) -> Any:
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"options must be the same for all environments, got {self._options}")
        observation, _ = self.env.reset(seed=self._seeds[0], options=self._options[0])
        self._reset_seeds()  # both hold for one reset only
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, final = self.env.step(self._actions)
        reward, done = reward.astype(np.float32), terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        elapsed, said = round(time.time() - self._began, 6), final.get("final_info", {})
        for place in np.flatnonzero(done).tolist():
            infos[place] = {
                "TimeLimit.truncated": bool(truncated[place]),
                "terminal_observation": final["final_obs"][place],
                **{name: found[place] for name, found in said.items() if _tells(said, name, place)},
                "episode": {"r": float(self._returns[place]), "l": int(self._lengths[place]), "t": elapsed},
            }
        self._returns[done], self._lengths[done] = 0.0, 0
        return observation, reward, done, infos

    def close(self) -> None:
        self.env.close()

    def get_images(self) -> list[Array | None]:
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else [np.asarray(frame) for frame in frames]

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        single = f"single_{attr_name}" if attr_name in ("observation_space", "action_space") else attr_name
        return [getattr(self.env, single)] * len(self._places(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        raise AttributeError(f"cannot set {attr_name!r}: the environments are one; make another SB3VecEnv instead")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        if method_name not in METHODS:
            raise AttributeError(f"env_method can call one of {list(METHODS)} here, got {method_name!r}")
        method: Callable[..., Any] = getattr(self.env, method_name)
        results = method(*method_args, **method_kwargs)
        return [results[place] for place in self._places(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Whether they behave as wrapped: as in a `Monitor`, since they report their episodes, and in nothing else."""
        return [issubclass(Monitor, wrapper_class)] * len(self._places(indices))

    def _places(self, indices: Indices) -> list[int]:
        return list(self._get_indices(indices))


def _made(env_id: str, num_envs: int | None, kwargs: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    """A vector of this package by its id."""
    for name, reason in (("autoreset_mode", "SB3 has one of its own"), ("mask_info", "call action_masks instead")):
        if name in kwargs:
            raise ValueError(f"SB3VecEnv takes no {name}: {reason}")
    kwargs = {**kwargs, "vectorization_mode": "vector_entry_point", "autoreset_mode": "SameStep"}
    try:
        return gym.make_vec(env_id, 1 if num_envs is None else num_envs, **kwargs)
    except TypeError as refused:
        if "unexpected keyword argument 'autoreset_mode'" not in str(refused):
            raise
        raise ValueError(
            f"SB3VecEnv makes environments of this package by id, got {env_id!r}: pass it a vector of others, made by "
            "gym.make_vec"
        ) from None


def _checked(env: VectorEnv[Any, Any, Any], num_envs: int | None, kwargs: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    """The vector itself, if it can be played by."""
    if not isinstance(env, VectorEnv):
        raise ValueError(f"SB3VecEnv takes the id of an environment, or a vector of them, got {env!r}")
    if num_envs not in (None, env.num_envs) or kwargs:
        raise ValueError(
            f"a vector environment has its own num_envs and arguments, got {num_envs=} and {sorted(kwargs)}"
        )
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(f"SB3VecEnv needs a vector environment of autoreset_mode SAME_STEP, got {mode}")
    return env


def _tells(info: dict[str, Any], name: str, place: int) -> bool:
    """Whether a vector's info has an entry of that name for the environment in that place."""
    return f"_{name}" in info and bool(info[f"_{name}"][place])
