"""What RLlib is given, without RLlib: single or batched as it asks, and no autoreset mode but the one it plays by."""

from __future__ import annotations

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode

from hardmem.envs import TaskVectorEnv
from hardmem.envs.rllib import environment


def test_single_or_batched_as_the_context_says():
    """RLlib adds `num_envs` to its context where it wants many; what the context says wins."""
    make = environment("hardmem/CopyFlat-v0", max_length=3)
    single, many = make({}), make({"num_envs": 4, "max_length": 2})
    assert isinstance(single, gym.Env)
    assert isinstance(many, TaskVectorEnv)
    assert (many.num_envs, many.autoreset_mode) == (4, AutoresetMode.NEXT_STEP)
    assert [env.metadata["dials"]["max_length"] for env in (single, many)] == [3, 2]
    assert make({"autoreset_mode": "NextStep", "num_envs": 2}).autoreset_mode is AutoresetMode.NEXT_STEP
    assert isinstance(make({"autoreset_mode": "NextStep"}), gym.Env)


@pytest.mark.parametrize("mode", ["SameStep", AutoresetMode.DISABLED])
def test_other_modes_are_refused(mode):
    """Here or by the context, in one sentence."""
    with pytest.raises(ValueError, match="RLlib needs autoreset_mode NEXT_STEP, got"):
        environment("hardmem/Copy-v0", autoreset_mode=mode)
    with pytest.raises(ValueError, match="would lose the first step of every episode without saying so"):
        environment("hardmem/Copy-v0")({"autoreset_mode": mode, "num_envs": 2})
