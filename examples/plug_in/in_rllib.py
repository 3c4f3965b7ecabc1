"""RLlib, in ten lines: on its new API stack, with as many environments together as a runner asks for."""

from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import register_env

from hardmem.envs.rllib import environment

register_env("copy", environment("hardmem/Copy-v0", preset="easiest"))
config = PPOConfig().environment("copy").training(train_batch_size_per_learner=2_048, num_epochs=1)
config.env_runners(num_env_runners=0, num_envs_per_env_runner=64, gym_env_vectorize_mode="vector_entry_point")
print(config.build_algo().train()["env_runners"]["episode_return_mean"])
