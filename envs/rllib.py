"""RLlib: environments for `ray.tune.register_env`, single or natively batched. Nothing of Ray is imported here.

from hardmem.envs.rllib import environment
from ray.tune import register_env

register_env("copy", environment("hardmem/Copy-v0", preset="easiest"))
config = PPOConfig().environment("copy").env_runners(gym_env_vectorize_mode="vector_entry_point")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

import hardmem.envs.registry  # noqa: F401 - importing this module on a worker registers the ids there


def environment(
    env_id: str, **kwargs: Any
) -> Callable[[Mapping[str, Any]], gym.Env[Any, Any] | VectorEnv[Any, Any, Any]]:
    """What RLlib calls to make environments of one id: one at a time, or as many together as it asks for.

    With `gym_env_vectorize_mode="vector_entry_point"` it asks for `num_envs_per_env_runner` together.

    Args:
        env_id: a registered id.
        kwargs: of the environment, by name; `env_config` of RLlib's `environment()` wins over them.

    Returns:
        A function of RLlib's environment context.

    Raises:
        ValueError: if an autoreset mode but NEXT_STEP is asked for, here or by the context.
    """
    _refuse_other_modes(kwargs)

    def make(context: Mapping[str, Any]) -> gym.Env[Any, Any] | VectorEnv[Any, Any, Any]:
        arguments = {**kwargs, **context}
        _refuse_other_modes(arguments)
        num_envs = arguments.pop("num_envs", None)
        if num_envs is None:
            arguments.pop("autoreset_mode", None)
            return gym.make(env_id, **arguments)
        return gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **arguments)

    return make


def _refuse_other_modes(arguments: Mapping[str, Any]) -> None:
    mode = AutoresetMode(arguments.get("autoreset_mode", AutoresetMode.NEXT_STEP))
    if mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(
            f"RLlib needs autoreset_mode NEXT_STEP, got {mode.name}: it takes the step after an end for a reset, "
            "and would lose the first step of every episode without saying so"
        )
