"""TorchRL, in ten lines: a vector is one batched environment, reset by mask."""

import gymnasium as gym
from torchrl.envs import GymWrapper

import hardmem.envs  # noqa: F401 - registers the ids

make = {"vectorization_mode": "vector_entry_point", "autoreset_mode": "Disabled", "preset": "easiest"}
env = GymWrapper(gym.make_vec("hardmem/Copy-v0", 64, **make), categorical_action_encoding=True)
batch = env.rollout(32, break_when_any_done=False)
print(batch["next", "reward"].shape)  # (64, 32, 1)
