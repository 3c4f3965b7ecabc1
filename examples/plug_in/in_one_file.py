"""A script of one file, in ten lines: Gymnasium, and nothing else of ours than the id."""

import gymnasium as gym

make = {"vectorization_mode": "vector_entry_point", "autoreset_mode": "SameStep", "preset": "easiest"}
envs = gym.make_vec("hardmem.envs:hardmem/Copy-v0", 64, **make)
observation, _ = envs.reset(seed=0)
for _ in range(32):
    observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    ended = terminated | truncated  # where so, info["final_obs"] has the last observation
