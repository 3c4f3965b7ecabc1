"""PPO in a single file, in the manner of CleanRL: Gymnasium, torch, nothing hidden.

    python examples/single_file_ppo.py --env-id hardmem.envs:hardmem/Copy-v0 --preset easiest

It takes any environment id, MultiDiscrete or Discrete, and some ten seconds on one core. Sources: Schulman et al. 2017,
arXiv:1707.06347, eq. 7 (the clipped objective); Schulman et al. 2016, arXiv:1506.02438, eq. 16 (the advantages).
"""

from __future__ import annotations

import argparse
import time

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical


class Agent(nn.Module):
    """Two networks: one for the logits of all factors of the action, one for the value."""

    def __init__(self, observation_size: int, num_actions: list[int], width: int = 64) -> None:
        super().__init__()
        self.num_actions = num_actions
        self.actor = nn.Sequential(nn.Linear(observation_size, width), nn.Tanh(), nn.Linear(width, sum(num_actions)))
        self.critic = nn.Sequential(nn.Linear(observation_size, width), nn.Tanh(), nn.Linear(width, 1))
        with torch.no_grad():
            self.actor[-1].weight *= 0.01  # nearly uniform at first

    def value(self, observation: Tensor) -> Tensor:
        """(..., O) -> (...)."""
        return self.critic(observation).squeeze(-1)

    def act(self, observation: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """An action (..., A), drawn where none is given, its log-probability and the entropy, (...) each."""
        factors = [Categorical(logits=logits) for logits in self.actor(observation).split(self.num_actions, dim=-1)]
        if action is None:
            action = torch.stack([factor.sample() for factor in factors], dim=-1)
        chosen = zip(factors, action.unbind(-1), strict=True)
        log_prob = torch.stack([factor.log_prob(choice) for factor, choice in chosen]).sum(0)
        return action, log_prob, torch.stack([factor.entropy() for factor in factors]).sum(0)


def main() -> None:
    """Train, printing the mean return of the episodes that ended, and last that of greedy play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", default="hardmem.envs:hardmem/Copy-v0")
    parser.add_argument("--preset", default="easiest")
    parser.add_argument("--steps", type=int, default=300_000, help="of all environments together")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--num-steps", type=int, default=32, help="of each environment before an update")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--discount", type=float, default=0.95)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--entropy", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    envs = gym.make_vec(
        args.env_id,
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        preset=args.preset,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,  # an ended episode starts anew within the same step
    )
    space = envs.single_action_space
    num_actions = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else space.nvec.tolist()
    agent = Agent(envs.single_observation_space.shape[0], num_actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    observations = torch.zeros(*shape, *envs.single_observation_space.shape)
    actions = torch.zeros(*shape, len(num_actions), dtype=torch.int64)
    log_probs, rewards, values, dones = (torch.zeros(shape) for _ in range(4))

    def step(action: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray, dict]:
        observation, *rest = envs.step(action.reshape(envs.action_space.shape).numpy())
        return torch.from_numpy(observation), *rest

    observation = torch.from_numpy(envs.reset(seed=args.seed)[0])
    running, finished, start = np.zeros(args.num_envs), [], time.perf_counter()
    num_updates = max(1, args.steps // (args.num_steps * args.num_envs))
    for update in range(1, num_updates + 1):
        for t in range(args.num_steps):
            observations[t] = observation
            with torch.no_grad():
                actions[t], log_probs[t], _ = agent.act(observation)
                values[t] = agent.value(observation)
            observation, reward, terminated, truncated, info = step(actions[t])
            ended = terminated | truncated
            running += reward
            finished.extend(running[ended])
            running[ended] = 0.0
            for place in np.flatnonzero(truncated):  # cut off, not over: what was still to come is estimated
                with torch.no_grad():
                    reward[place] += args.discount * float(agent.value(torch.from_numpy(info["final_obs"][place])))
            rewards[t], dones[t] = torch.from_numpy(reward), torch.from_numpy(ended)

        with torch.no_grad():
            advantages, advantage, next_value = torch.zeros(shape), torch.zeros(args.num_envs), agent.value(observation)
            for t in reversed(range(args.num_steps)):
                goes_on = args.discount * (1 - dones[t])
                error = rewards[t] + goes_on * next_value - values[t]
                advantage = error + goes_on * args.gae_lambda * advantage
                advantages[t], next_value = advantage, values[t]
            returns = advantages + values

        batch = [field.flatten(0, 1) for field in (observations, actions, log_probs, advantages, returns)]
        for _ in range(args.epochs):
            for part in torch.randperm(args.num_steps * args.num_envs).chunk(args.minibatches):
                seen, chosen, old_log_prob, advantage, target = (field[part] for field in batch)
                _, log_prob, entropy = agent.act(seen, chosen)
                ratio = (log_prob - old_log_prob).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                gain = torch.minimum(ratio * advantage, clipped * advantage).mean()
                value_loss = 0.5 * (agent.value(seen) - target).square().mean()
                loss = value_loss - gain - args.entropy * entropy.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()

        if update % 20 == 0 or update == num_updates:
            rate = update * args.num_steps * args.num_envs / (time.perf_counter() - start)
            print(f"update {update}: mean return {np.mean(finished[-500:]):.3f}, {rate:,.0f} steps/s")

    observation = torch.from_numpy(envs.reset(seed=10**6 + args.seed)[0])
    running, played, finished = np.zeros(args.num_envs), np.zeros(args.num_envs), []
    while played.min() < 16:  # the first of each environment: counting whichever end first would favour short ones
        logits = agent.actor(observation).split(num_actions, dim=-1)
        observation, reward, terminated, truncated, _ = step(torch.stack([part.argmax(-1) for part in logits], dim=-1))
        ended = terminated | truncated
        running += reward
        finished.extend(running[ended & (played < 16)])
        played += ended
        running[ended] = 0.0
    floor = 1 / envs.unwrapped.dynamics.task.num_answers
    print(f"greedy in {args.env_id}: {np.mean(finished):.3f} of the answers right, {floor:.3f} by guessing")


if __name__ == "__main__":
    main()
