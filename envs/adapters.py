"""Gymnasium adapters: the rules of `Dynamics` as a `gymnasium.Env` and as a native `VectorEnv`. They hold no rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hardmem.envs.dynamics import Dynamics, State
from hardmem.tasks import Problem, make_task

Observation = NDArray[np.float32]
Action = NDArray[np.int64]


def make_dynamics(
    task: str,
    interface: str = "tape",
    num_cells: int | None = None,
    num_heads: int = 1,
    wiped: bool = False,
    device: torch.device | str = "cpu",
    **difficulty: Any,
) -> Dynamics:
    """The rules of a task by name; `difficulty` goes to the task's constructor, the rest to `Dynamics`.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        TypeError: if the task has no such difficulty.
    """
    return Dynamics(
        make_task(task, **difficulty),
        interface,
        num_cells=num_cells,
        num_heads=num_heads,
        wiped=wiped,
        device=device,
    )


class TaskEnv(gym.Env[Observation, Action]):
    """One episode at a time. `gym.make("hardmem.envs:hardmem/Copy-v0", max_length=5)`; see `Dynamics` for the rules.

    `reset(options={"input": [3, 1, 2]})` plays the given symbols instead of drawing a problem.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]  # gymnasium lacks ClassVar

    def __init__(self, task: str = "copy", **kwargs: Any) -> None:
        self.dynamics = make_dynamics(task, **kwargs)
        self.observation_space = self.dynamics.observation_space
        self.action_space = self.dynamics.action_space
        self._generator = torch.Generator()
        self._seeded = False
        self._state: State | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            _seed_from(self.np_random, self._generator)
            self._seeded = True
        problem = _fixed_problem(self.dynamics, options)
        if problem is None:
            problem = self.dynamics.task.draw(1, generator=self._generator)
        self._state, observation = self.dynamics.start(problem)
        return observation[0].numpy(), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if self._state is None:
            raise RuntimeError("step was called before reset: call reset first")
        if not self.action_space.contains(np.asarray(action)):
            raise ValueError(f"action must lie in {self.action_space}, got {action!r}")
        self._state, step = self.dynamics.step(self._state, torch.as_tensor(action, dtype=torch.int64)[None])
        return step.observation[0].numpy(), float(step.reward[0]), bool(step.terminated[0]), False, {}

    def oracle(self) -> Action:
        """The best action in the present state; for tests and pictures."""
        if self._state is None:
            raise RuntimeError("oracle was called before reset: call reset first")
        best: Action = self.dynamics.oracle(self._state)[0].numpy()
        return best


class TaskVectorEnv(VectorEnv[Observation, Action, NDArray[Any]]):
    """B episodes stepped together, natively: `gym.make_vec(id, num_envs=64, vectorization_mode="vector_entry_point")`.

    Args:
        num_envs: B.
        task: a name from `TASKS`.
        autoreset_mode: what happens to an episode that has ended. NEXT_STEP (the default): the next step ignores its
            action and returns the first observation of a new one. SAME_STEP: the new one starts at once and the last
            observation is in `info["final_obs"]`. DISABLED: `reset(options={"reset_mask": mask})` starts new ones.
        kwargs: as `make_dynamics` takes them.
    """

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "copy",
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **kwargs: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.dynamics = make_dynamics(task, **kwargs)
        self.single_observation_space = self.dynamics.observation_space
        self.single_action_space = self.dynamics.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._num_actions = np.array(self.dynamics.num_actions)
        self._generator = torch.Generator()
        self._seeded = False
        self._state: State | None = None
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            _seed_from(self.np_random, self._generator)
            self._seeded = True
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            return self._reset_some(np.asarray(mask)), {}
        problem = _fixed_problem(self.dynamics, options)
        if problem is None:
            problem = self.dynamics.task.draw(self.num_envs, generator=self._generator)
        else:
            problem = problem.repeat(self.num_envs)
        self._state, observation = self.dynamics.start(problem)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        return observation.numpy(), {}

    def step(self, actions: Action) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        if self._state is None:
            raise RuntimeError("step was called before reset: call reset first")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or (actions < 0).any() or (actions >= self._num_actions).any():
            raise ValueError(
                f"actions must be {self.action_space.shape} with columns in 0 to {self._num_actions - 1}, "
                f"got shape {actions.shape}: {actions.tolist()}"
            )
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            ended = np.flatnonzero(self._ended).tolist()
            raise RuntimeError(
                f"episodes {ended} have ended: start new ones with reset(options={{'reset_mask': mask}})"
            )
        restarted = self._ended  # under NEXT_STEP: those whose action is ignored now
        self._state, step = self.dynamics.step(self._state, torch.as_tensor(actions, dtype=torch.int64))
        reward, terminated = step.reward.double().numpy(), step.terminated.numpy()
        observation, info = step.observation.numpy(), dict[str, Any]()
        if restarted.any():
            reward, terminated = reward * ~restarted, terminated & ~restarted
            observation = self._start_new(restarted)
        self._ended = terminated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and terminated.any():
            info = {"final_obs": observation, "_final_obs": terminated.copy()}
            info |= {"final_info": {}, "_final_info": terminated.copy()}
            observation = self._start_new(terminated)
            self._ended = np.zeros(self.num_envs, dtype=bool)
        return observation, reward, terminated.copy(), np.zeros(self.num_envs, dtype=bool), info

    def oracle(self) -> Action:
        """The best actions in the present state, (B, A); for tests and pictures."""
        if self._state is None:
            raise RuntimeError("oracle was called before reset: call reset first")
        best: Action = self.dynamics.oracle(self._state).numpy()
        return best

    def _reset_some(self, mask: NDArray[Any]) -> Observation:
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), got {mask!r}")
        if self._state is None:
            raise RuntimeError("reset_mask was given before the first reset: reset without it first")
        self._ended = self._ended & ~mask
        return self._start_new(mask)

    def _start_new(self, mask: NDArray[Any]) -> Observation:
        """Start new episodes where the mask says so; returns the observation of all."""
        assert self._state is not None
        which = torch.from_numpy(np.flatnonzero(mask))
        if len(which):
            problem = self.dynamics.task.draw(len(which), generator=self._generator)
            self._state = self.dynamics.replace(self._state, which, self.dynamics.start(problem)[0])
        observation: Observation = self.dynamics.observe(self._state).numpy()
        return observation


def _seed_from(np_random: np.random.Generator, generator: torch.Generator) -> None:
    """Derive torch's generator from Gymnasium's, so that `reset(seed=)` fixes both."""
    generator.manual_seed(int(np_random.integers(2**63 - 1)))


def _fixed_problem(dynamics: Dynamics, options: dict[str, Any] | None) -> Problem | None:
    """The problem named by `options["input"]`, if there is one."""
    unknown = set(options or {}) - {"input", "reset_mask"}
    if unknown:
        raise ValueError(f"unknown reset option {sorted(unknown)}; choose from ['input', 'reset_mask']")
    symbols: Sequence[int] | None = (options or {}).get("input")
    return None if symbols is None else dynamics.task.problem(list(symbols))
