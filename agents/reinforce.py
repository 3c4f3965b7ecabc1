"""REINFORCE in an environment: whole episodes, played on the device, from fresh problems at every update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.access import AccessRecord
from hardmem.agents.config import AgentConfig
from hardmem.agents.learner import Batch, Generators, Learner, Score, Stage, explained_variance
from hardmem.agents.policies import Policy, choose
from hardmem.baselines import make_baseline
from hardmem.envs import ENVIRONMENTS, Dynamics, State, make_dynamics
from hardmem.estimators import cost_to_go, surrogate


class Rollout(NamedTuple):
    """B episodes played side by side for T steps; `mask` is 1 until each has ended, and the rest is 0 from there.

    Attributes:
        record: what was chosen, fields (T, B, A).
        reward: (T, B).
        features: what the policy's body made of each observation, (T, B, D).
        mask: (T, B), float.
        state: of the environment at the end.
    """

    record: AccessRecord
    reward: Tensor
    features: Tensor
    mask: Tensor
    state: State


def collect(
    dynamics: Dynamics,
    policy: Policy,
    num_envs: int,
    problems: torch.Generator,
    choices: torch.Generator | None,
    *,
    group_size: int = 1,
    greedy: bool = False,
) -> Rollout:
    """Play fresh episodes from start to end; the choices keep their gradients unless they are off."""
    state, observation = dynamics.reset(num_envs, problems, group_size=group_size)
    hidden = policy.initial_hidden(num_envs)
    records, rewards, features, masks = [], [], [], []
    for _ in range(dynamics.max_steps):
        log_probs, body_features, hidden = policy(observation, hidden)
        record = choose(log_probs, choices, greedy=greedy)
        masks.append(state.running)
        state, step = dynamics.step(state, record.index)
        observation = step.observation
        records.append(record)
        rewards.append(step.reward)
        features.append(body_features)
    mask = torch.stack(masks).float()
    index, log_prob, entropy = (torch.stack(field) for field in zip(*records, strict=True))
    record = AccessRecord(index, log_prob * mask.unsqueeze(-1), entropy * mask.unsqueeze(-1))
    return Rollout(record, torch.stack(rewards), torch.stack(features), mask, state)


class PolicyLearner(Learner):
    """A policy trained by REINFORCE with a baseline and an entropy bonus, wherever its episodes were played."""

    config: AgentConfig
    policy: Policy

    def learn(
        self, record: AccessRecord, reward: Tensor, features: Tensor, mask: Tensor, stage: Stage, *, steps: int
    ) -> Batch:
        """The loss of B episodes; fields of the record (T, B, A), zero where the mask is, and the rest as in `Rollout`.

        Args:
            record: what was chosen.
            reward: (T, B).
            features: (T, B, D).
            mask: (T, B).
            stage: where the training stands.
            steps: transitions that were played.
        """
        config, cost = self.config, -reward
        to_go = cost_to_go(cost)
        baseline = self.baseline(to_go, features.detach(), mask)
        entropy = record.entropy.mean(dim=-1).sum() / mask.sum()  # nats per choice
        loss = surrogate(record.log_prob, cost, baseline=baseline.value)
        metrics = {"return": reward.sum(dim=0).mean(), "loss": loss, "entropy": entropy, "baseline_loss": baseline.loss}
        metrics["explained_variance"] = explained_variance(baseline.value, to_go, mask)
        return Batch(
            loss=loss - self.entropy_weight(stage) * entropy + baseline.loss,
            metrics={name: value.detach() for name, value in metrics.items()},
            steps=steps,
            problems=config.num_envs // config.group_size,
            rollouts=config.num_envs,
        )


class AgentLearner(PolicyLearner):
    """A policy that plays one of this package's environments, on the device.

    Args:
        config: what to train.
        device: where.

    Raises:
        ValueError: if a name in the configuration is unknown, or its sizes do not fit.
    """

    draws = True

    def __init__(self, config: AgentConfig, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config: AgentConfig = config
        dynamics = self.dynamics(config.max_length, config.min_length, device=device)
        self.policy = Policy(
            dynamics.observation_size, dynamics.num_actions, config.policy, config.hidden_size, gated=config.gated
        )
        self.baseline = make_baseline(
            config.baseline, num_features=config.hidden_size, group_size=config.group_size, offers=("state",)
        )
        self.to(device)
        self._at_lengths: tuple[tuple[int, int], Dynamics] = ((config.min_length, config.max_length), dynamics)

    def dynamics(
        self, max_length: int, min_length: int = 1, *, wiped: bool = False, device: torch.device | str | None = None
    ) -> Dynamics:
        """The environment's rules with problems of the given lengths, on as many cells as the longest of them needs.

        Lengths below the task's `shortest` are raised to it.

        Raises:
            ValueError: if the environment is unknown.
        """
        config = self.config
        if config.env not in ENVIRONMENTS:
            raise ValueError(f"unknown environment {config.env!r}; choose one of {sorted(ENVIRONMENTS)}")
        arguments = {**ENVIRONMENTS[config.env], "preset": config.preset, "num_symbols": config.num_symbols}
        longest = make_dynamics(**arguments, min_length=1, max_length=max(max_length, config.max_length))
        shortest = longest.task.shortest
        return make_dynamics(
            **arguments,
            min_length=max(min_length, shortest),
            max_length=max(max_length, shortest),
            num_cells=longest.num_cells,
            wiped=wiped,
            device=self.policy.head.weight.device if device is None else device,
        )

    def batch(self, stage: Stage, generators: Generators) -> Batch:
        lengths = stage.lengths(self.config.min_length)
        if self._at_lengths[0] != lengths:
            self._at_lengths = (lengths, self.dynamics(lengths[1], lengths[0]))
        config, dynamics = self.config, self._at_lengths[1]
        rollout = collect(
            dynamics,
            self.policy,
            config.num_envs,
            generators.problems,
            generators.choices,
            group_size=config.group_size,
        )
        return self.learn(
            rollout.record,
            rollout.reward,
            rollout.features,
            rollout.mask,
            stage,
            steps=config.num_envs * dynamics.max_steps,
        )

    def score(
        self,
        num_problems: int,
        generator: torch.Generator,
        *,
        max_length: int,
        min_length: int = 1,
        greedy: bool = True,
        wiped: bool = False,
    ) -> Score | None:
        dynamics = self.dynamics(max_length, min_length, wiped=wiped)
        if list(dynamics.num_actions) != self.policy.num_actions:
            return None  # absolute addresses: the policy knows no cell beyond those it was trained with
        with torch.no_grad():
            state = collect(dynamics, self.policy, num_problems, generator, generator, greedy=greedy).state
        return Score(exact=float((state.earned == 1).double().mean()), accuracy=float(state.earned.double().mean()))
