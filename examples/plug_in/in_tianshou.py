"""Tianshou, in ten lines: it batches single environments itself and resets them by number."""

import gymnasium as gym
from tianshou.env import DummyVectorEnv

import hardmem.envs  # noqa: F401 - registers the ids

env = DummyVectorEnv([lambda: gym.make("hardmem/Copy-v0", preset="easiest")] * 16)
env.seed(0)
observation, _ = env.reset()
actions = [space.sample() for space in env.action_space]
observation, reward, terminated, truncated, _ = env.step(actions)
print(observation.shape)  # (16, 20)
