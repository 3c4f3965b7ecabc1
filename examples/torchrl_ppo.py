"""Train TorchRL's PPO to use an external memory.

    pip install hardmem torchrl
    python examples/torchrl_ppo.py --env-id hardmem/Copy-v0

`GymWrapper` takes a native vector under DISABLED, where it resets by mask what has ended, or under SAME_STEP, where it
puts `final_obs` in its place. It refuses NEXT_STEP. The policy sees the symbol shown and the cell under its head,
nothing more: without writing things down and finding them again, it earns the floor.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import torch
from tensordict.nn import InteractionType, TensorDictModule
from tensordict.nn import ProbabilisticTensorDictModule as Probabilistic
from tensordict.nn import ProbabilisticTensorDictSequential as Sequential
from torch import Tensor, nn
from torch.distributions import Categorical, Independent
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from hardmem.envs import mean_return

NUM_STEPS, EPOCHS, MINIBATCHES = 32, 4, 4


class Factors(Independent):
    """Several choices at once: logits (..., sum of choices), an action (..., A)."""

    def __init__(self, logits: Tensor, num_actions: list[int]) -> None:
        parts = logits.split(num_actions, dim=-1)
        padded = [nn.functional.pad(part, (0, max(num_actions) - part.shape[-1]), value=-1e9) for part in parts]
        super().__init__(Categorical(logits=torch.stack(padded, dim=-2)), 1)


def main() -> None:
    """Train, then play fresh problems and compare with what guessing earns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", default="hardmem/Copy-v0")
    parser.add_argument("--preset", default="easiest", help="how difficult; docs/environments.md lists the presets")
    parser.add_argument("--autoreset-mode", choices=["Disabled", "SameStep"], default="Disabled")
    parser.add_argument("--steps", type=int, default=200_000, help="steps of all environments together")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)

    def make(num_envs: int) -> gym.vector.VectorEnv:
        return gym.make_vec(
            options.env_id,
            num_envs,
            vectorization_mode="vector_entry_point",
            preset=options.preset,
            autoreset_mode=options.autoreset_mode,
        )

    env = GymWrapper(make(options.num_envs), categorical_action_encoding=True)
    env.set_seed(options.seed)
    space, (observation_size,) = env.single_action_space, env.single_observation_space.shape
    is_number = isinstance(space, gym.spaces.Discrete)
    num_actions = [int(space.n)] if is_number else space.nvec.tolist()

    def mlp(num_outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(observation_size, 64), nn.Tanh(), nn.Linear(64, num_outputs))

    network = mlp(sum(num_actions))
    actor = Sequential(
        TensorDictModule(network, in_keys=["observation"], out_keys=["logits"]),
        Probabilistic(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=Categorical if is_number else Factors,
            distribution_kwargs={} if is_number else {"num_actions": num_actions},
            default_interaction_type=InteractionType.RANDOM,
            return_log_prob=True,
        ),
    )
    critic = TensorDictModule(mlp(1), in_keys=["observation"], out_keys=["state_value"])
    advantage = GAE(gamma=0.95, lmbda=0.95, value_network=critic)
    loss_module = ClipPPOLoss(actor, critic, entropy_coeff=0.01, critic_coeff=0.5, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=3e-3)

    batch_size = NUM_STEPS * options.num_envs
    num_batches = max(1, options.steps // batch_size)
    collector = Collector(
        env,
        actor,
        frames_per_batch=batch_size,
        total_frames=num_batches * batch_size,
        auto_register_policy_transforms=False,
    )
    for batch in collector:
        with torch.no_grad():
            advantage(batch)
        transitions = batch.reshape(-1)
        for _ in range(EPOCHS):
            for part in torch.randperm(batch_size).chunk(MINIBATCHES):
                losses = loss_module(transitions[part])
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(loss_module.parameters(), 0.5)
                optimizer.step()
    collector.shutdown()

    @torch.no_grad()
    def greedy(observation: Any) -> Any:
        logits = network(torch.from_numpy(observation))
        return (Categorical(logits=logits) if is_number else Factors(logits, num_actions)).mode.numpy()

    fresh = make(256)
    success = mean_return(fresh, greedy, episodes=4, seed=10**6 + options.seed)
    floor = 1 / fresh.unwrapped.dynamics.task.num_answers
    print(f"TorchRL's PPO in {options.env_id}: {success:.3f} of the answers right, {floor:.3f} by guessing")


if __name__ == "__main__":
    main()
