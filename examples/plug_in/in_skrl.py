"""skrl, in ten lines: its wrapper takes a vector as it is."""

import gymnasium as gym
import torch
from skrl.envs.wrappers.torch import wrap_env

import hardmem.envs  # noqa: F401 - registers the ids

make = {"vectorization_mode": "vector_entry_point", "autoreset_mode": "SameStep", "preset": "easiest"}
env = wrap_env(gym.make_vec("hardmem/Copy-v0", 64, **make))
observation, _ = env.reset()
observation, reward, terminated, truncated, _ = env.step(torch.zeros(64, 3, dtype=torch.int64))
print(observation.shape)  # (64, 20)
