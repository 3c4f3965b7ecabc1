"""sb3-contrib, in ten lines: masks leave out the actions that change nothing."""

from sb3_contrib import MaskablePPO

from hardmem.envs.sb3 import SB3VecEnv

env = SB3VecEnv("hardmem/SlotRecallAssociative-v0", num_envs=64, preset="easiest")
model = MaskablePPO("MlpPolicy", env, n_steps=32, device="cpu")
model.learn(4_096)
