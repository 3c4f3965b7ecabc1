"""Train Stable-Baselines3's PPO or A2C, or sb3-contrib's MaskablePPO or RecurrentPPO, to use an external memory.

    pip install "hardmem[sb3]"
    python examples/sb3_train.py --algorithm a2c

Each takes less than half a minute on one core. The policy sees the symbol shown and the cell under its head, nothing
more: without writing things down and finding them again, it earns the floor.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked_policy
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy

from hardmem.envs.sb3 import SB3VecEnv

COMMON: dict[str, Any] = {"learning_rate": 3e-3, "gamma": 0.95, "ent_coef": 0.01, "device": "cpu"}
CLIPPED: dict[str, Any] = {**COMMON, "n_steps": 32, "batch_size": 512, "n_epochs": 4}
SMALL_LSTM: dict[str, Any] = {"lstm_hidden_size": 32, "shared_lstm": True, "enable_critic_lstm": False}

# The algorithm, its policy, the environment it is shown on, and its settings.
ALGORITHMS: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "ppo": (PPO, "MlpPolicy", "hardmem/CopyFlat-v0", CLIPPED),
    "a2c": (A2C, "MlpPolicy", "hardmem/Copy-v0", {**COMMON, "n_steps": 16}),
    # Where no answer is due, all answers but one are masked out.
    "maskable-ppo": (MaskablePPO, "MlpPolicy", "hardmem/SlotRecallAssociative-v0", CLIPPED),
    "recurrent-ppo": (RecurrentPPO, "MlpLstmPolicy", "hardmem/Copy-v0", {**CLIPPED, "policy_kwargs": SMALL_LSTM}),
}


def main() -> None:
    """Train, then play fresh problems and compare with what guessing earns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="ppo")
    parser.add_argument("--env-id", help="another environment than the one the algorithm is shown on")
    parser.add_argument("--preset", default="easiest", help="how difficult; docs/environments.md lists the presets")
    parser.add_argument("--steps", type=int, default=200_000, help="steps of all environments together")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)

    algorithm, policy, env_id, settings = ALGORITHMS[options.algorithm]
    env_id = options.env_id or env_id
    env = SB3VecEnv(env_id, options.num_envs, preset=options.preset)
    model = algorithm(policy, env, seed=options.seed, **settings)
    model.learn(options.steps)

    fresh = SB3VecEnv(env_id, 256, preset=options.preset)
    fresh.seed(10**6 + options.seed)
    evaluate = evaluate_masked_policy if algorithm is MaskablePPO else evaluate_policy
    success, _ = evaluate(model, fresh, n_eval_episodes=1024)
    floor = 1 / env.env.dynamics.task.num_answers
    print(f"{options.algorithm} in {env_id}: {success:.3f} of the answers right, {floor:.3f} by guessing")


if __name__ == "__main__":
    main()
