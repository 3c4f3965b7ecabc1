"""Train skrl's PPO to use an external memory.

    pip install hardmem skrl
    python examples/skrl_ppo.py --env-id hardmem/Copy-v0

`wrap_env` takes a native vector as it is. skrl records every step, so let the episodes that end start anew within the
same one; under NEXT_STEP it would learn from steps whose action counts for nothing. The policy sees the symbol shown
and the cell under its head, nothing more: without writing things down and finding them again, it earns the floor.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import gymnasium as gym
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model, MultiCategoricalMixin
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import Tensor, nn

from hardmem.envs import mean_return

NUM_STEPS = 32


def mlp(num_inputs: int, num_outputs: int) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(num_inputs, 64), nn.Tanh(), nn.Linear(64, num_outputs))


class FactorsPolicy(MultiCategoricalMixin, Model):
    """Logits of all factors of a MultiDiscrete action, side by side."""

    def __init__(self, *spaces: gym.Space, device: torch.device) -> None:
        Model.__init__(self, observation_space=spaces[0], action_space=spaces[1], device=device)
        MultiCategoricalMixin.__init__(self)
        self.network = mlp(self.num_observations, int(sum(spaces[1].nvec)))

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        return self.network(inputs["observations"]), {}


class NumberPolicy(CategoricalMixin, Model):
    """Logits of a Discrete action."""

    def __init__(self, *spaces: gym.Space, device: torch.device) -> None:
        Model.__init__(self, observation_space=spaces[0], action_space=spaces[1], device=device)
        CategoricalMixin.__init__(self)
        self.network = mlp(self.num_observations, int(spaces[1].n))

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        return self.network(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    """The value of an observation."""

    def __init__(self, *spaces: gym.Space, device: torch.device) -> None:
        Model.__init__(self, observation_space=spaces[0], action_space=spaces[1], device=device)
        DeterministicMixin.__init__(self)
        self.network = mlp(self.num_observations, 1)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        return self.network(inputs["observations"]), {}


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
    set_seed(options.seed)

    def make(num_envs: int) -> gym.vector.VectorEnv:
        return gym.make_vec(
            options.env_id,
            num_envs,
            vectorization_mode="vector_entry_point",
            preset=options.preset,
            autoreset_mode="SameStep",
        )

    env = wrap_env(make(options.num_envs))
    spaces = env.observation_space, env.action_space
    is_number = isinstance(env.action_space, gym.spaces.Discrete)
    policy = (NumberPolicy if is_number else FactorsPolicy)(*spaces, device=env.device)
    config = PPO_CFG(
        rollouts=NUM_STEPS,
        learning_epochs=4,
        mini_batches=4,
        discount_factor=0.95,
        gae_lambda=0.95,
        learning_rate=3e-3,
        entropy_loss_scale=0.01,
        value_loss_scale=0.5,
    )
    with tempfile.TemporaryDirectory() as folder:  # no TensorBoard, no checkpoints
        config.experiment.directory = folder
        config.experiment.write_interval = config.experiment.checkpoint_interval = 0
        agent = PPO(
            models={"policy": policy, "value": Value(*spaces, device=env.device)},
            memory=RandomMemory(memory_size=NUM_STEPS, num_envs=env.num_envs, device=env.device),
            observation_space=spaces[0],
            action_space=spaces[1],
            device=env.device,
            cfg=config,
        )
        timesteps = max(NUM_STEPS, options.steps // options.num_envs)
        trainer = {"timesteps": timesteps, "headless": True, "disable_progressbar": True}
        SequentialTrainer(env=env, agents=agent, cfg=trainer).train()

    @torch.no_grad()
    def greedy(observation: Any) -> Any:
        logits = policy.network(torch.from_numpy(observation))
        if is_number:
            return logits.argmax(-1).numpy()
        return torch.stack([part.argmax(-1) for part in logits.split(spaces[1].nvec.tolist(), dim=-1)], dim=-1).numpy()

    fresh = make(256)
    success = mean_return(fresh, greedy, episodes=4, seed=10**6 + options.seed)
    floor = 1 / fresh.unwrapped.dynamics.task.num_answers
    print(f"skrl's PPO in {options.env_id}: {success:.3f} of the answers right, {floor:.3f} by guessing")


if __name__ == "__main__":
    main()
