"""Stable-Baselines3, in ten lines: its algorithms over the natively batched environments."""

from stable_baselines3 import PPO

from hardmem.envs.sb3 import SB3VecEnv

model = PPO("MlpPolicy", SB3VecEnv("hardmem/Copy-v0", num_envs=64, preset="easiest"), n_steps=32, device="cpu")
model.learn(4_096)
