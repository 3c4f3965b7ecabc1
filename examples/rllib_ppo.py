"""Train RLlib's PPO, on its new API stack, to use an external memory.

    pip install hardmem "ray[rllib]"
    python examples/rllib_ppo.py --env-id hardmem/Copy-v0

RLlib takes the step after an end for a reset, so it needs NEXT_STEP; under the other modes it would learn from wrong
episodes without saying so, and `hardmem.envs.rllib` refuses them. The policy sees the symbol shown and the cell under
its head, nothing more: without writing things down and finding them again, it earns the floor.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune import register_env

from hardmem.envs import mean_return
from hardmem.envs.rllib import environment

NUM_STEPS = 32


def main() -> None:
    """Train, then play fresh problems and compare with what guessing earns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", default="hardmem/Copy-v0")
    parser.add_argument("--preset", default="easiest", help="how difficult; docs/environments.md lists the presets")
    parser.add_argument("--steps", type=int, default=200_000, help="steps of all environments together")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    register_env("memory", environment(options.env_id, preset=options.preset))
    batch_size = NUM_STEPS * options.num_envs
    config = (
        PPOConfig()
        .environment("memory")
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=options.num_envs,
            gym_env_vectorize_mode="vector_entry_point",
        )
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=batch_size,
            minibatch_size=batch_size // 4,
            num_epochs=4,
            lr=3e-3,
            gamma=0.95,
            lambda_=0.95,
            entropy_coeff=0.01,
            clip_param=0.2,
            grad_clip=0.5,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64], fcnet_activation="tanh", vf_share_layers=False))
        .debugging(seed=options.seed, log_level="ERROR")
    )
    algorithm = config.build_algo()
    for _ in range(max(1, options.steps // batch_size)):
        algorithm.train()

    module, space = algorithm.get_module(), gym.spec(options.env_id).make(preset=options.preset).action_space
    num_actions = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else space.nvec.tolist()

    @torch.no_grad()
    def greedy(observation: Any) -> Any:
        logits = module.forward_inference({"obs": torch.from_numpy(observation)})["action_dist_inputs"]
        action = np.stack([part.argmax(-1).numpy() for part in logits.split(num_actions, dim=-1)], axis=-1)
        return action if len(num_actions) > 1 else action[:, 0]

    fresh = environment(options.env_id, preset=options.preset)({"num_envs": 256})
    success = mean_return(fresh, greedy, episodes=4, seed=10**6 + options.seed)
    floor = 1 / fresh.unwrapped.dynamics.task.num_answers
    print(f"RLlib's PPO in {options.env_id}: {success:.3f} of the answers right, {floor:.3f} by guessing")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
