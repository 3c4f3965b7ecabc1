"""REINFORCE in any Gymnasium environment with Discrete or MultiDiscrete actions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import FlattenObservation
from torch import Tensor

from hardmem.access import AccessRecord
from hardmem.agents.config import AgentConfig
from hardmem.agents.estimates import Estimate, Played
from hardmem.agents.learner import Batch, Generators, Score, Stage
from hardmem.agents.policies import among_legal, choose, joined, make_policy, side_by_side
from hardmem.agents.reinforce import PolicyLearner
from hardmem.envs import ENVIRONMENTS, VectorExternalMemory
from hardmem.estimators import cost_to_go

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
        envs = _make(config.env, config.num_envs)
        seen = envs.single_observation_space
        if not isinstance(seen, Box) and seen.is_np_flattenable and config.external_memory == "none":
            envs.close()
            envs = _make(config.env, config.num_envs, FlattenObservation)
        self.envs: Any = envs  # takes a list of seeds, as not every vector does
        if config.external_memory != "none":
            self.envs = VectorExternalMemory(envs, config.external_memory, config.memory_cells)
        observation, action = self.envs.single_observation_space, self.envs.single_action_space
        if not isinstance(observation, Box):
            raise ValueError(f"{config.env!r} must have observations that can be flattened to a Box, got {observation}")
        if isinstance(action, Discrete):
            self._sizes, self._first = np.array([action.n]), np.array([action.start])
        elif isinstance(action, MultiDiscrete) and action.nvec.ndim == 1:
            self._sizes, self._first = action.nvec, action.start
        else:
            raise ValueError(f"{config.env!r} must have Discrete or flat MultiDiscrete actions, got {action}")
        size, sizes = int(np.prod(observation.shape)), [int(number) for number in self._sizes]
        self.policy = make_policy(config, size, sizes)
        self.estimate = Estimate(
            config,
            group_size=config.group_size,
            features={"state": config.hidden_size, "greedy": 1},
            num_choices=() if config.policy == "ntm" else sizes,
            spread_draws=True,
        )
        self.baseline = self.estimate.make_baseline(config.group_size)
        self.to(device)
        spec = self.envs.spec
        self.max_steps = MAX_STEPS if spec is None or spec.max_episode_steps is None else spec.max_episode_steps
        self.threshold = None if spec is None else spec.reward_threshold

    def batch(self, stage: Stage, generators: Generators) -> Batch:
        seeds = self._seeds(generators.problems)
        keep = self.estimate.needs_log_weights
        played, features = self.play(seeds, generators.choices, strata=self.estimate.strata, keep=keep)
        steps, compared, greedy = int(played.mask.sum()), 0, features
        if self.baseline.judges_by == "greedy":
            with torch.no_grad():
                other = self.play(seeds, None, greedy=True)[0]
            compared, steps = self.config.num_envs, steps + int(other.mask.sum())
            greedy = _fit(cost_to_go(other.cost), len(played.mask)).unsqueeze(-1)
        given = {"state": features.detach(), "greedy": greedy}
        return self.learn(played, given.__getitem__, stage, steps=steps, greedy_rollouts=compared)

    def _seeds(self, generator: torch.Generator) -> list[int]:
        """One for each environment, the same for the copies of a problem."""
        group_size = self.config.group_size
        seeds = torch.randint(2**31, (self.envs.num_envs // group_size,), generator=generator, device=generator.device)
        numbers: list[int] = seeds.repeat_interleave(group_size).tolist()
        return numbers

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
                seeds = torch.randint(2**31, (self.envs.num_envs,), generator=generator, device=generator.device)
                returns.append(-self.play(seeds.tolist(), generator, greedy=greedy)[0].cost.sum(dim=0))
        share = float((torch.cat(returns)[:num_problems] >= self.threshold).double().mean())
        return Score(share, share)

    def play(
        self,
        seeds: Sequence[int],
        choices: torch.Generator | None,
        *,
        greedy: bool = False,
        strata: int = 1,
        keep: bool = False,
    ) -> tuple[Played, Tensor]:
        """Play episodes, reset with these seeds, to their ends: what was done, and features (T, B, D)."""
        num_envs, device = self.envs.num_envs, self.policy.head.weight.device
        observation, info = self.envs.reset(seed=list(seeds))
        hidden, running = self.policy.initial_hidden(num_envs), np.ones(num_envs, dtype=np.bool_)
        records: list[AccessRecord] = []
        rewards, features, masks, log_weights = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
        while running.any() and len(rewards) < self.max_steps:
            seen = torch.as_tensor(observation.reshape(num_envs, -1), dtype=torch.float32, device=device)
            log_probs, body_features, hidden = self.policy(seen, hidden, choices, greedy=greedy)
            legal = self._legal(log_probs, info)
            record = choose(legal, choices, greedy=greedy, strata=strata)
            action = record.index.cpu().numpy() + self._first
            single = isinstance(self.envs.single_action_space, Discrete)
            observation, reward, terminated, truncated, info = self.envs.step(action[:, 0] if single else action)
            # An environment that has ended starts anew while the others play on: that is masked out.
            now = torch.as_tensor(running, dtype=torch.float32, device=device)
            index, log_prob, entropy = joined(record, self.policy.own_choices(hidden))
            records.append(AccessRecord(index, log_prob * now[:, None], entropy * now[:, None]))
            rewards.append(torch.as_tensor(reward, dtype=torch.float32, device=device) * now)
            features.append(body_features)
            masks.append(now)
            if keep:
                log_weights.append(side_by_side(legal))
            running &= ~(terminated | truncated)
        record = AccessRecord(*(torch.stack(field) for field in zip(*records, strict=True)))
        kept = torch.stack(log_weights) if keep else None
        return Played(record, -torch.stack(rewards), torch.stack(masks), kept), torch.stack(features)

    def _legal(self, log_probs: list[Tensor], info: dict[str, Any]) -> list[Tensor]:
        """Log-probabilities among the legal choices alone, where the environment says which those are."""
        if "action_mask" not in info:
            return log_probs
        rows = [_flat(row) for row in info["action_mask"]]
        given = info.get("_action_mask", np.ones(len(rows), dtype=np.bool_))  # not by those that have just ended
        everything = np.ones(int(self._sizes.sum()), dtype=np.bool_)
        masks = np.stack([row if said else everything for row, said in zip(rows, given, strict=True)])
        legal = torch.as_tensor(masks, device=log_probs[0].device).split([len(f[0]) for f in log_probs], dim=-1)
        return among_legal(log_probs, legal)


def _make(env: str, num_envs: int, *wrappers: Any) -> SyncVectorEnv:
    """So many copies of an environment.

    Raises:
        ValueError: if Gymnasium cannot make it.
    """
    try:
        envs = gym.make_vec(env, num_envs, vectorization_mode="sync", wrappers=wrappers)
    except (gym.error.Error, ImportError) as error:
        like = difflib.get_close_matches(env, ENVIRONMENTS, n=1)
        hint = f"did you mean {like[0]!r}? " if like else ""
        raise ValueError(
            f"unknown environment {env!r}; {hint}`hardmem envs` lists ours, and of others Gymnasium says: {error}"
        ) from error
    assert isinstance(envs, SyncVectorEnv)
    return envs


def _flat(mask: Any) -> npt.NDArray[np.bool_]:
    """The mask of one environment: its factors one after the other."""
    parts = mask if isinstance(mask, tuple) else (mask,)
    return np.concatenate([np.ravel(part).astype(np.bool_) for part in parts])


def _fit(values: Tensor, steps: int) -> Tensor:
    """Values (T', B) cut, or filled with zeros, to T steps: (T, B)."""
    return torch.nn.functional.pad(values, (0, 0, 0, max(0, steps - len(values))))[:steps]
