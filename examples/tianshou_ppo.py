"""Train Tianshou's PPO to use an external memory.

    pip install hardmem tianshou
    python examples/tianshou_ppo.py --env-id hardmem/Copy-v0

Tianshou batches single environments itself and resets what has ended by number, so it is given `gym.make`, and no
autoreset mode is asked for. The policy sees the symbol shown and the cell under its head, nothing more: without writing
things down and finding them again, it earns the floor.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from hardmem.envs import mean_return

NUM_STEPS = 32


class Network(nn.Module):
    """One hidden layer. Tianshou gives an actor a state to pass on, too; `pass_on` says that this is one."""

    def __init__(self, num_inputs: int, num_outputs: int, pass_on: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_inputs, 64), nn.Tanh(), nn.Linear(64, num_outputs))
        self.pass_on = pass_on

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> Any:
        outputs = self.layers(torch.as_tensor(obs, dtype=torch.float32))
        return (outputs, state) if self.pass_on else outputs


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
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 - Tianshou draws its minibatches from it

    def make() -> gym.Env:
        return gym.make(options.env_id, preset=options.preset)

    env = DummyVectorEnv([make] * options.num_envs)
    env.seed(options.seed)
    single = make()
    (observation_size,), space = single.observation_space.shape, single.action_space
    num_actions = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else space.nvec.tolist()

    def choices(logits: Tensor) -> Distribution:
        """One choice per factor: logits (B, sum of choices), an action (B, A), or (B,) for one."""
        parts = logits.split(num_actions, dim=-1)
        if len(parts) == 1:
            return Categorical(logits=logits)
        padded = [nn.functional.pad(part, (0, max(num_actions) - part.shape[-1]), value=-1e9) for part in parts]
        return Independent(Categorical(logits=torch.stack(padded, dim=-2)), 1)

    policy = ProbabilisticActorPolicy(
        actor=Network(observation_size, sum(num_actions), pass_on=True),
        dist_fn=choices,
        action_space=space,
        action_scaling=False,
        action_bound_method=None,
    )
    algorithm = PPO(
        policy=policy,
        critic=Network(observation_size, 1, pass_on=False),
        optim=AdamOptimizerFactory(lr=3e-3),
        gamma=0.95,
        gae_lambda=0.95,
        ent_coef=0.01,
        max_grad_norm=0.5,
        max_batchsize=NUM_STEPS * options.num_envs,
    )
    batch_size = NUM_STEPS * options.num_envs
    num_batches = max(1, options.steps // batch_size)
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(algorithm, env, VectorReplayBuffer(batch_size, options.num_envs)),
            max_epochs=1,
            epoch_num_steps=num_batches * batch_size,
            collection_step_num_env_steps=batch_size,
            update_step_num_repetitions=4,
            batch_size=batch_size // 4,
            verbose=False,
            show_progress=False,
        )
    )

    @torch.no_grad()
    def greedy(observation: Any) -> Any:
        logits, _ = policy.actor(observation)
        return choices(logits).mode.numpy()

    fresh = gym.make_vec(
        options.env_id, 256, vectorization_mode="vector_entry_point", preset=options.preset, autoreset_mode="SameStep"
    )
    success = mean_return(fresh, greedy, episodes=4, seed=10**6 + options.seed)
    floor = 1 / fresh.unwrapped.dynamics.task.num_answers
    print(f"Tianshou's PPO in {options.env_id}: {success:.3f} of the answers right, {floor:.3f} by guessing")


if __name__ == "__main__":
    main()
