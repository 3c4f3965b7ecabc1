"""REINFORCE in an environment: whole episodes, played on the device, from fresh problems at every update."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.access import AccessRecord
from hardmem.addressing import usage_entropy
from hardmem.agents.config import AgentConfig
from hardmem.agents.estimates import Estimate, Played
from hardmem.agents.first_cells import first_cells
from hardmem.agents.learner import Batch, Generators, Learner, Score, Stage, explained_variance
from hardmem.agents.policies import (
    Policy,
    among_legal,
    choose,
    entropy_beside_going_on,
    joined,
    make_policy,
    side_by_side,
)
from hardmem.envs import ENVIRONMENTS, Dynamics, State, make_dynamics
from hardmem.envs.interfaces import RandomAccess, Tape
from hardmem.envs.state import Script
from hardmem.estimators import cost_to_go


class Rollout(NamedTuple):
    """B episodes played side by side for T steps; `mask` is 1 until each has ended, and the rest is 0 from there.

    T is the rules' `max_steps`, or less where the input waits and all have ended before: on a CPU, a GPU is not asked.

    Attributes:
        record: what was chosen, fields (T, B, A).
        reward: (T, B).
        features: what the policy's body made of each observation, (T, B, D).
        mask: (T, B), float.
        spread: over how many cells an episode spreads its addresses, nats, (B, H): their `usage_entropy`.
            None where heads move and do not name a cell.
        state: of the environment at the end.
        filled: how many empty cells were written to, (T, B) float; None where it was not asked for.
    """

    record: AccessRecord
    reward: Tensor
    features: Tensor
    mask: Tensor
    spread: Tensor | None
    state: State
    log_weights: Tensor | None = None
    answers: Tensor | None = None
    filled: Tensor | None = None


def collect(
    dynamics: Dynamics,
    policy: Policy,
    start: tuple[State, Tensor],
    choices: torch.Generator | None,
    *,
    greedy: bool = False,
    masked: bool = False,
    strata: int = 1,
    keep: bool = False,
    fills: bool = False,
) -> Rollout:
    """Play episodes from start to end; the choices keep their gradients unless they are off.

    Args:
        dynamics: the rules.
        policy: who plays.
        start: of `dynamics.reset`: fresh episodes and their first observation.
        choices: draws them.
        greedy: whether to take the likeliest instead.
        masked: whether to choose among what the rules call worth choosing, `dynamics.legal`, alone.
        strata: K, to draw the copies of a problem from different parts of every distribution.
        keep: whether to keep the probabilities of all choices, and what each answer would have earned.
        fills: whether to count the empty cells that are written to.
    """
    state, observation = start
    occupied, filled = occupied_cells(state), []
    hidden = policy.initial_hidden(len(state.clock))
    records, rewards, features, masks, log_weights, answers = [], [], [], [], [], []
    by_number, uses = isinstance(dynamics.interface, RandomAccess), observation.new_zeros(())
    pace = pace_factor(dynamics)
    for _ in range(dynamics.max_steps):
        log_probs, body_features, hidden = policy(observation, hidden, choices, greedy=greedy)
        if masked:
            log_probs = among_legal(log_probs, dynamics.legal(state))
        record = choose(log_probs, choices, greedy=greedy, strata=strata)
        if pace is not None:
            record.entropy[:, pace] = entropy_beside_going_on(log_probs[pace])
        masks.append(state.running)
        if keep:
            log_weights.append(side_by_side(log_probs))
            answers.append(answer_rewards(dynamics, state, record.index))
        if by_number:
            weights = torch.stack(log_probs[: dynamics.num_heads], dim=1).exp()  # (B, H, N)
            uses = uses + weights * state.running[:, None, None]
        clock = state.clock
        state, step = dynamics.step(state, record.index)
        observation = step.observation
        if fills:
            before, occupied = occupied, occupied_cells(state)
            filled.append((occupied - before).clamp(min=0) * (state.clock > clock))
        records.append(joined(record, policy.own_choices(hidden)))
        rewards.append(step.reward)
        features.append(body_features)
        if pace is not None and state.clock.device.type == "cpu" and not state.running.numpy().any():
            break  # a GPU is never asked
    mask = torch.stack(masks).float()
    index, log_prob, entropy = (torch.stack(field) for field in zip(*records, strict=True))
    record = AccessRecord(index, log_prob * mask.unsqueeze(-1), entropy * mask.unsqueeze(-1))
    spread = usage_entropy(uses) if by_number else None
    return Rollout(
        record,
        torch.stack(rewards),
        torch.stack(features),
        mask,
        spread,
        state,
        log_weights=torch.stack(log_weights) if keep else None,
        answers=torch.stack(answers) if keep else None,
        filled=torch.stack(filled).float() if fills else None,
    )


def pace_factor(dynamics: Dynamics) -> int | None:
    """Which factor of the action says whether to go on with the input; None where it does not wait."""
    return dynamics.factors.index("pace") if dynamics.self_paced else None


def occupied_cells(state: State) -> Tensor:
    """How many cells hold something, (B,)."""
    occupied: Tensor = (state.memory.codes() > 0).sum(dim=1)
    return occupied


def answer_rewards(dynamics: Dynamics, state: State, action: Tensor) -> Tensor:
    """What each answer would earn in this step, the rest of the action (B, A) being as it is: (B, V)."""
    answers = torch.arange(dynamics.task.num_answers, device=state.due.device)
    right = (answers == state.due.unsqueeze(-1)) & state.running.unsqueeze(-1)
    if dynamics.self_paced:
        right = right & (action[:, 2 * dynamics.num_heads, None] > 0)
    return right / state.script.num_answers.unsqueeze(-1)


class PolicyLearner(Learner):
    """A policy trained by REINFORCE with a baseline and an entropy bonus, wherever its episodes were played."""

    config: AgentConfig
    policy: Policy

    def cool(self, factor: float) -> None:
        self.policy.cool(factor)

    def learn(
        self,
        played: Played,
        features: Callable[[str], Tensor],
        stage: Stage,
        *,
        steps: int,
        greedy_rollouts: int = 0,
        spread: Tensor | None = None,
    ) -> Batch:
        """The loss of B episodes.

        Args:
            played: what was done; the cost is minus the reward.
            features: gives those that a baseline asks for.
            stage: where the training stands.
            steps: transitions that were played.
            greedy_rollouts: episodes that were played beside, for a baseline to compare with.
            spread: as in `Rollout`.
        """
        config, mask = self.config, played.mask
        judged = self.estimate(played, self.baseline, features)
        entropy = played.record.entropy.mean(dim=-1).sum() / mask.sum()  # nats per choice
        metrics = {"return": -played.cost.sum(dim=0).mean(), "loss": judged.loss, "entropy": entropy}
        metrics["baseline_loss"] = judged.critic_loss
        metrics["explained_variance"] = explained_variance(judged.value, judged.returns, mask)
        objective = judged.loss - self.entropy_weight(stage) * entropy + judged.critic_loss
        if spread is not None:
            metrics["spread"] = spread.mean()
            objective = objective - config.spread_coef * stage.exploration * metrics["spread"]
        return Batch(
            loss=objective,
            metrics={name: value.detach() for name, value in metrics.items()},
            steps=steps,
            problems=config.num_envs // config.group_size,
            rollouts=config.num_envs + greedy_rollouts,
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
        self.policy = make_policy(
            config,
            dynamics.observation_size,
            dynamics.num_actions,
            answer_apart=isinstance(dynamics.interface, RandomAccess) and dynamics.emit == "symbol",
            first_cells=first_cells(dynamics),
            pace=pace_factor(dynamics),
        )
        own_cells = config.policy == "ntm"
        self.estimate = Estimate(
            config,
            group_size=config.group_size,
            features={
                "state": config.hidden_size,
                "problem": dynamics.contents.width + (config.baseline == "privileged") * dynamics.task.num_answers,
                "greedy": 1,
            },
            num_choices=() if own_cells else dynamics.num_actions,
            answers_known=dynamics.emit == "symbol",
            spread_draws=True,
        )
        self.baseline = self.estimate.make_baseline(config.group_size)
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
        start = dynamics.reset(config.num_envs, generators.problems, group_size=config.group_size)
        keep = self.estimate.needs_log_weights
        fills = isinstance(dynamics.interface, Tape) and config.spread_coef > 0 and stage.exploration > 0
        rollout = self._play(dynamics, start, generators.choices, keep=keep, fills=fills)
        compared = self.baseline.judges_by == "greedy"
        problems = config.num_envs // config.group_size

        def features(kind: str) -> Tensor:
            if kind == "problem":
                return self._problem_features(dynamics, rollout)
            return self._greedy_cost_to_go(dynamics, rollout) if kind == "greedy" else rollout.features.detach()

        cost, answers = -rollout.reward, None if rollout.answers is None else -rollout.answers
        if rollout.filled is not None:
            bonus = config.spread_coef * stage.exploration * rollout.filled / rollout.state.script.num_answers
            cost, answers = cost - bonus, None if answers is None else answers - bonus.unsqueeze(-1)
        batch = self.learn(
            Played(rollout.record, cost, rollout.mask, rollout.log_weights, answers),
            features,
            stage,
            steps=config.num_envs * len(rollout.mask) + problems * compared * dynamics.max_steps,
            greedy_rollouts=problems * compared,
            spread=rollout.spread,
        )
        batch.metrics["return"] = rollout.reward.sum(dim=0).mean()  # of the task alone
        return batch

    def _play(
        self,
        dynamics: Dynamics,
        start: tuple[State, Tensor],
        choices: torch.Generator | None,
        *,
        greedy: bool = False,
        keep: bool = False,
        fills: bool = False,
    ) -> Rollout:
        masked, strata = self.config.mask_actions, 1 if greedy else self.estimate.strata
        return collect(
            dynamics, self.policy, start, choices,
            greedy=greedy, masked=masked, strata=strata, keep=keep, fills=fills,
        )  # fmt: skip

    def _problem_features(self, dynamics: Dynamics, rollout: Rollout) -> Tensor:
        """What is shown at each step, and for a privileged critic the answer due, one-hot: (T, B, P)."""
        script = rollout.state.script
        last = script.rows.shape[2] - 1
        step = torch.arange(len(rollout.mask), device=script.rows.device).clamp(max=last)  # beyond it nothing is shown
        codes = script.shown[:, step].T
        shown: Tensor = dynamics.contents.one_hot(codes.reshape(-1, 1)).unflatten(0, codes.shape)
        if self.config.baseline != "privileged":
            return shown
        answers = torch.arange(dynamics.task.num_answers, device=step.device)
        due = (script.due[:, step].T.unsqueeze(-1) == answers).float()
        return torch.cat([shown, due], dim=-1)

    def _greedy_cost_to_go(self, dynamics: Dynamics, rollout: Rollout) -> Tensor:
        """Of the same problems played greedily, once each: (T, B, 1)."""
        group_size = self.config.group_size
        state = dynamics.begin(Script(*(field[::group_size].clone() for field in rollout.state.script)))
        with torch.no_grad():
            played = self._play(dynamics, (state, dynamics.observe(state)), None, greedy=True)
        steps = len(rollout.mask)
        cost = cost_to_go(F.pad(-played.reward, (0, 0, 0, dynamics.max_steps - len(played.reward))))[:steps]
        return cost.repeat_interleave(group_size, dim=1).unsqueeze(-1)

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
            state = self._play(dynamics, dynamics.reset(num_problems, generator), generator, greedy=greedy).state
        return Score(exact=float((state.earned == 1).double().mean()), accuracy=float(state.earned.double().mean()))
