"""REINFORCE in any Gymnasium environment with Discrete or MultiDiscrete actions that shows a Box."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import SyncVectorEnv
from torch import Tensor

from hardmem.access import AccessRecord
from hardmem.agents.config import AgentConfig
from hardmem.agents.learner import Batch, Generators, Score, Stage
from hardmem.agents.policies import Policy, choose
from hardmem.agents.reinforce import PolicyLearner
from hardmem.baselines import make_baseline
from hardmem.envs import ENVIRONMENTS

MAX_STEPS = 1000
"""Episodes are cut after so many steps where an environment names no time limit of its own."""


class GymnasiumLearner(PolicyLearner):
    """A policy in environments that Gymnasium steps on the CPU, one after the other.

    The copies of a problem are environments reset with the same seed. An episode counts from its reset to its end or
    to the time limit, and what would have come after is worth nothing. Masks in `info["action_mask"]` are obeyed:
    one bool or int8 per choice, of several factors a tuple or one after the other.

    Args:
        config: what to train; lengths, `num_symbols` and `preset` belong to this package's tasks and change nothing.
        device: of the policy.

    Raises:
        ValueError: if there is no such environment, or its spaces are of another kind.
    """

    draws = True
    has_task = False

    def __init__(self, config: AgentConfig, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config: AgentConfig = config
        try:
            envs = gym.make_vec(config.env, config.num_envs, vectorization_mode="sync")
        except (gym.error.Error, ImportError) as error:
            raise ValueError(
                f"unknown environment {config.env!r}; choose one of {sorted(ENVIRONMENTS)} or another that Gymnasium "
                f"can make, which says: {error}"
            ) from error
        assert isinstance(envs, SyncVectorEnv)
        self.envs = envs
        observation, action = envs.single_observation_space, self.envs.single_action_space
        if not isinstance(observation, Box):
            raise ValueError(f"{config.env!r} must have observations in a Box, got {observation}")
        if isinstance(action, Discrete):
            self._sizes, self._first = np.array([action.n]), np.array([action.start])
        elif isinstance(action, MultiDiscrete) and action.nvec.ndim == 1:
            self._sizes, self._first = action.nvec, action.start
        else:
            raise ValueError(f"{config.env!r} must have Discrete or flat MultiDiscrete actions, got {action}")
        size, sizes = int(np.prod(observation.shape)), [int(number) for number in self._sizes]
        self.policy = Policy(size, sizes, config.policy, config.hidden_size, gated=config.gated)
        self.baseline = make_baseline(
            config.baseline, num_features=config.hidden_size, group_size=config.group_size, offers=("state",)
        )
        self.to(device)
        spec = self.envs.spec
        self.max_steps = MAX_STEPS if spec is None or spec.max_episode_steps is None else spec.max_episode_steps
        self.threshold = None if spec is None else spec.reward_threshold

    def batch(self, stage: Stage, generators: Generators) -> Batch:
        group = self.config.group_size
        record, reward, features, mask = self.play(generators.problems, generators.choices, group_size=group)
        return self.learn(record, reward, features, mask, stage, steps=int(mask.sum()))

    def score(
        self,
        num_problems: int,
        generator: torch.Generator,
        *,
        max_length: int,
        min_length: int = 1,
        greedy: bool = True,
    ) -> Score | None:
        """Share of episodes that earn the environment's `reward_threshold`: 0 where it names none.

        An episode is the one answer there is, so the accuracy is the same. Episodes have no lengths: `max_length` must
        be the configuration's.
        """
        if max_length != self.config.max_length:
            return None
        if self.threshold is None:
            return Score(0.0, 0.0)
        returns: list[Tensor] = []
        with torch.no_grad():
            while sum(map(len, returns)) < num_problems:
                returns.append(self.play(generator, generator, greedy=greedy)[1].sum(dim=0))
        share = float((torch.cat(returns)[:num_problems] >= self.threshold).double().mean())
        return Score(share, share)

    def play(
        self, problems: torch.Generator, choices: torch.Generator | None, *, group_size: int = 1, greedy: bool = False
    ) -> tuple[AccessRecord, Tensor, Tensor, Tensor]:
        """Play fresh episodes to their ends: record (T, B, A), reward (T, B), features (T, B, D), mask (T, B)."""
        num_envs, device = self.envs.num_envs, self.policy.head.weight.device
        seeds = torch.randint(2**31, (num_envs // group_size,), generator=problems, device=problems.device)
        observation, info = self.envs.reset(seed=seeds.repeat_interleave(group_size).tolist())
        hidden, running = self.policy.initial_hidden(num_envs), np.ones(num_envs, dtype=np.bool_)
        records: list[AccessRecord] = []
        rewards: list[Tensor] = []
        features: list[Tensor] = []
        masks: list[Tensor] = []
        while running.any() and len(rewards) < self.max_steps:
            seen = torch.as_tensor(observation.reshape(num_envs, -1), dtype=torch.float32, device=device)
            log_probs, body_features, hidden = self.policy(seen, hidden)
            record = choose(self._legal(log_probs, info), choices, greedy=greedy)
            action = record.index.cpu().numpy() + self._first
            single = isinstance(self.envs.single_action_space, Discrete)
            observation, reward, terminated, truncated, info = self.envs.step(action[:, 0] if single else action)
            # An environment that has ended starts anew while the others play on: that is masked out.
            now = torch.as_tensor(running, dtype=torch.float32, device=device)
            records.append(AccessRecord(record.index, record.log_prob * now[:, None], record.entropy * now[:, None]))
            rewards.append(torch.as_tensor(reward, dtype=torch.float32, device=device) * now)
            features.append(body_features)
            masks.append(now)
            running &= ~(terminated | truncated)
        index, log_prob, entropy = (torch.stack(field) for field in zip(*records, strict=True))
        return AccessRecord(index, log_prob, entropy), torch.stack(rewards), torch.stack(features), torch.stack(masks)

    def _legal(self, log_probs: list[Tensor], info: dict[str, Any]) -> list[Tensor]:
        """Log-probabilities among the legal choices alone, where the environment says which those are."""
        if "action_mask" not in info:
            return log_probs
        rows = [_flat(row) for row in info["action_mask"]]
        given = info.get("_action_mask", np.ones(len(rows), dtype=np.bool_))  # not by those that have just ended
        everything = np.ones(int(self._sizes.sum()), dtype=np.bool_)
        masks = np.stack([row if said else everything for row, said in zip(rows, given, strict=True)])
        legal = torch.as_tensor(masks, device=log_probs[0].device).split([len(f[0]) for f in log_probs], dim=-1)
        least = torch.finfo(log_probs[0].dtype).min
        return [
            factor.masked_fill(~allowed, least).log_softmax(dim=-1)
            for factor, allowed in zip(log_probs, legal, strict=True)
        ]


def _flat(mask: Any) -> npt.NDArray[np.bool_]:
    """The mask of one environment: its factors one after the other."""
    parts = mask if isinstance(mask, tuple) else (mask,)
    return np.concatenate([np.ravel(part).astype(np.bool_) for part in parts])
