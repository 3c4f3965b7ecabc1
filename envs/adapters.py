"""Gymnasium adapters: `Dynamics` as a `gymnasium.Env` and as a native `VectorEnv`. They hold no rule of a task.

What they have in common with other rules is in `SingleEnv` and `NativeVectorEnv`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from hardmem.envs.endless import EndlessEpisodes
from hardmem.envs.episodes import Episodes, Play
from hardmem.envs.formats import Format
from hardmem.envs.making import argument_names, make_dynamics
from hardmem.envs.options import (
    RenderModes,
    known_autoreset_mode,
    known_render_mode,
    known_reset,
    limit_around,
    require_start,
    warn_if_cut,
)
from hardmem.envs.rendering import RENDER_MODES, Frame, render
from hardmem.tasks.base import at_least, known_arguments, true_or_false

Array = NDArray[Any]

METHODS = ("action_masks", "oracle", "render")
"""What can be called of each environment of a vector: methods whose result has one entry for each."""


class SingleEnv(gym.Env[Any, Any]):
    """One episode at a time: what environments have in common, whatever is played.

    Args:
        episodes: one, under its rules.
        format: how it looks to a library.
        frame: draws an episode, by number and render mode.
        mask_info: put the legal actions into `info["action_mask"]`, as `action_space.sample(mask=...)` takes them.
        render_mode: one of the class's own.

    Raises:
        ValueError: if the render mode is unknown.
    """

    def __init__(
        self,
        episodes: Play,
        format: Format,
        frame: Callable[[int, str], Frame],
        *,
        mask_info: bool,
        render_mode: str | None,
    ) -> None:
        self.render_mode = known_render_mode(render_mode, self.metadata)
        true_or_false(mask_info=mask_info)
        self.mask_info = mask_info
        self.format = format
        self.observation_space = format.single_observation_space
        self.action_space = format.single_action_space
        self._episodes, self._frame = episodes, frame
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if not self._seeded:
            warn_if_cut(limit_around(self), self._episodes.longest)
        if seed is not None or not self._seeded:
            self._episodes.seed(self.np_random)
            self._seeded = True
        self._episodes.start(known_reset(options, "input").get("input"))
        return self._look()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        require_start(self._episodes.started)
        reward, terminated, truncated = self._episodes.advance(self.format.factors(action, single=True))
        observation, info = self._look()
        if terminated[0] or truncated[0]:
            info |= {name: values[0].item() for name, values in self._report().items()}
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def action_masks(self) -> Array:
        """Which actions are legal now, flat bool: factor after factor, as MaskablePPO takes them."""
        require_start(self._episodes.started)
        flat: Array = self.format.flat_masks(self._episodes.legal())[0]
        return flat

    def oracle(self) -> Array:
        """The best action in the present state, by factors; for tests and pictures."""
        require_start(self._episodes.started)
        best: Array = self._episodes.oracle()[0]
        return best

    def render(self) -> Frame | None:
        if self.render_mode is None:
            gym.logger.warn("render was called without a render mode: pass render_mode to gym.make")
            return None
        require_start(self._episodes.started)
        return self._frame(0, self.render_mode)

    def _report(self) -> dict[str, Array]:
        """What is to be said of an episode at its end, by name, (1,) each; nothing by default."""
        return {}

    def _look(self) -> tuple[Any, dict[str, Any]]:
        info = {"action_mask": self.format.masks(self._episodes.legal())[0]} if self.mask_info else {}
        return self.format.observation(self._episodes.observe()[0]), info


class TaskEnv(SingleEnv):
    """One episode at a time. `gym.make("hardmem.envs:hardmem/Copy-v0", max_length=5)`; see `Dynamics` for the rules.

    `reset(options={"input": [3, 1, 2]})` plays the given symbols instead of drawing a problem. Where a step shows
    several, they are rows, one symbol for each channel, in one flat list: `[5, 1, 4, 0, 1, 0]` is a fact and a cue of
    FactRecall.

    Args:
        task: a name from `TASKS`.
        endless: go on to a problem one longer after each that was faultless, from the shortest length to the longest,
            and end with the first that was not. `info["span"]` at the end is the longest solved; see
            `EndlessEpisodes`.
        observation: "box" or "dict"; see `Format`.
        action: "multi-discrete" or "discrete".
        mask_info: put the legal actions into `info["action_mask"]`, as `action_space.sample(mask=...)` takes them.
        render_mode: "ansi" or "rgb_array".
        kwargs: as `make_dynamics` takes them.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        UnknownArgumentError: if an argument is.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - replaced in each environment, never changed
        "render_modes": RenderModes(RENDER_MODES),
        "render_fps": 4,
    }

    def __init__(
        self,
        task: str = "copy",
        *,
        endless: bool = False,
        observation: str = "box",
        action: str = "multi-discrete",
        mask_info: bool = False,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        true_or_false(endless=endless)
        known_arguments(task, kwargs, argument_names(task, TaskEnv, make_dynamics))
        self.dynamics = make_dynamics(task, **kwargs)
        self.metadata = {**self.metadata, "dials": self.dynamics.dials}
        format = Format(self.dynamics, 1, observation, action)
        episodes = (EndlessEpisodes if endless else Episodes)(self.dynamics, 1)
        super().__init__(episodes, format, partial(render, episodes), mask_info=mask_info, render_mode=render_mode)

    @property
    def span(self) -> int:
        """The longest level solved in the endless episode under way; 0 for none."""
        return int(_spans(self._episodes)[0])

    def _report(self) -> dict[str, Array]:
        return {"span": _spans(self._episodes)} if isinstance(self._episodes, EndlessEpisodes) else {}


class NativeVectorEnv(VectorEnv[Any, Any, Array]):
    """B episodes stepped together: what vector environments have in common, whatever is played.

    Args:
        episodes: B of them, under their rules.
        format: how they look to a library.
        frame: draws an episode, by number and render mode.
        autoreset_mode, mask_info, render_mode: as `TaskVectorEnv` takes them.

    Raises:
        ValueError: if a mode is unknown.
    """

    def __init__(
        self,
        episodes: Play,
        format: Format,
        frame: Callable[[int, str], Frame],
        *,
        autoreset_mode: AutoresetMode | str,
        mask_info: bool,
        render_mode: str | None,
    ) -> None:
        self.num_envs = episodes.num_envs
        self.autoreset_mode = known_autoreset_mode(autoreset_mode)
        self.render_mode = known_render_mode(render_mode, self.metadata)
        true_or_false(mask_info=mask_info)
        self.mask_info = mask_info
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.format = format
        self.single_observation_space = format.single_observation_space
        self.single_action_space = format.single_action_space
        self.observation_space = format.observation_space
        self.action_space = format.action_space
        self._episodes, self._frame = episodes, frame
        self._seeded = False
        self._ended = np.zeros(0, dtype=np.int64)  # the numbers of the episodes that wait for a reset

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = known_reset(options, "input", "reset_mask")
        super().reset(seed=seed)
        if not self._seeded:
            warn_if_cut(self._episodes.max_steps, self._episodes.longest)
        if seed is not None or not self._seeded:
            self._episodes.seed(self.np_random)
            self._seeded = True
        if "reset_mask" in options:
            which = self._places(options["reset_mask"])
            self._episodes.restart(which)
            self._ended = np.setdiff1d(self._ended, which)
        else:
            self._episodes.start(options.get("input"))
            self._ended = self._ended[:0]
        return self.format.observation(self._episodes.observe()), self._info()

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        require_start(self._episodes.started)
        waiting = self._ended
        if len(waiting) and self.autoreset_mode is AutoresetMode.DISABLED:
            raise RuntimeError(
                f"episodes {waiting.tolist()} have ended: start new ones with reset(options={{'reset_mask': mask}})"
            )
        reward, terminated, truncated = self._episodes.advance(self.format.factors(actions))
        reward = reward.astype(np.float64)
        if len(waiting):  # under NEXT_STEP their actions counted for nothing
            self._episodes.restart(waiting)
            reward[waiting], terminated[waiting], truncated[waiting] = 0.0, False, False
        self._ended = (terminated | truncated).nonzero()[0]

        final: dict[str, Any] = self._final_report(self._ended) if len(self._ended) else {}
        if len(self._ended) and self.autoreset_mode is AutoresetMode.SAME_STEP:
            final = self._final_info(self._ended, final)
            self._episodes.restart(self._ended)
            self._ended = self._ended[:0]
        observation = self.format.observation(self._episodes.observe())
        return observation, reward, terminated, truncated, {**final, **self._info()}

    def action_masks(self) -> Array:
        """Which actions are legal now, (B, sum of choices) bool: factor after factor, as MaskablePPO takes them."""
        require_start(self._episodes.started)
        return self.format.flat_masks(self._episodes.legal())

    def oracle(self) -> Array:
        """The best actions in the present state, (B, A), by factors; for tests and pictures."""
        require_start(self._episodes.started)
        return self._episodes.oracle()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What each of the B environments has by that name, or returns when called, as Gymnasium's own vectors say it.

        Raises:
            AttributeError: if there is nothing of that name, or a method that is not one of `METHODS`.
        """
        if name in METHODS:
            results = getattr(self, name)(*args, **kwargs)
            return (None,) * self.num_envs if results is None else tuple(results)
        value = getattr(self, f"single_{name}" if name in ("observation_space", "action_space") else name)
        if callable(value):
            raise AttributeError(f"of the methods, each environment has one of {list(METHODS)}, got {name!r}")
        return (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The same as `call`, as Gymnasium's own vectors have it, too."""
        return self.call(name)

    def render(self) -> tuple[Frame, ...] | None:
        if self.render_mode is None:
            gym.logger.warn("render was called without a render mode: pass render_mode to gym.make_vec")
            return None
        require_start(self._episodes.started)
        return tuple(self._frame(place, self.render_mode) for place in range(self.num_envs))

    def _places(self, mask: Any) -> Array:
        """The numbers of the episodes that a reset mask names."""
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), got {mask!r}")
        if not self._episodes.started:
            raise RuntimeError("reset_mask was given before the first reset: reset without it first")
        return np.flatnonzero(mask)

    def _report(self) -> dict[str, Array]:
        """What is to be said of episodes at their end, by name, (B,) each; nothing by default."""
        return {}

    def _final_report(self, which: Array) -> dict[str, Any]:
        """That of the episodes that have just ended, each beside its mask; zeros stand for the others."""
        final: dict[str, Any] = {}
        for name, values in self._report().items():
            ended = np.isin(np.arange(self.num_envs), which)
            final |= {name: values * ended, f"_{name}": ended}
        return final

    def _final_info(self, which: Array, report: dict[str, Any]) -> dict[str, Any]:
        """What is left of the episodes that have just ended, as Gymnasium's own vectors report it."""
        observation, final = self._episodes.observe(), np.full(self.num_envs, None, dtype=object)
        for place in which:
            final[place] = self.format.observation(observation[place].copy())
        ended = np.zeros(self.num_envs, dtype=np.bool_)
        ended[which] = True
        return {"final_obs": final, "_final_obs": ended, "final_info": report, "_final_info": ended.copy()}

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.format.masks(self._episodes.legal())} if self.mask_info else {}


class TaskVectorEnv(NativeVectorEnv, VectorEnv[Any, Any, Array]):  # directly: skrl knows it by its bases
    """B episodes stepped together, natively: `gym.make_vec(id, num_envs=64, vectorization_mode="vector_entry_point")`.

    Args:
        num_envs: B.
        task: a name from `TASKS`.
        autoreset_mode: what happens to an episode that has ended. NEXT_STEP (the default): the next step ignores its
            action and returns the first observation of a new one. SAME_STEP: the new one starts at once and the last
            observation is in `info["final_obs"]`. DISABLED: `reset(options={"reset_mask": mask})` starts new ones.
            A mode or its name, as "SameStep"; the name where `spec.to_json()` is to work, which takes plain data.
        max_episode_steps: after how many steps an episode is truncated; never by default.
        endless, observation, action, mask_info, render_mode, kwargs: as `TaskEnv` takes them. What `TaskEnv` says in
            `info` is there, or under SAME_STEP in `info["final_info"]`, as an array beside its mask `"_span"`.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        UnknownArgumentError: if an argument is.
    """

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "copy",
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        endless: bool = False,
        observation: str = "box",
        action: str = "multi-discrete",
        mask_info: bool = False,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        at_least(1, num_envs=num_envs)
        true_or_false(endless=endless)
        known_arguments(task, kwargs, argument_names(task, TaskVectorEnv, make_dynamics))
        self.dynamics = make_dynamics(task, **kwargs)
        self.metadata = {**TaskEnv.metadata, "dials": self.dynamics.dials}
        episodes = (EndlessEpisodes if endless else Episodes)(self.dynamics, num_envs, max_episode_steps)
        super().__init__(
            episodes,
            Format(self.dynamics, num_envs, observation, action),
            partial(render, episodes),
            autoreset_mode=autoreset_mode,
            mask_info=mask_info,
            render_mode=render_mode,
        )

    @property
    def span(self) -> Array:
        """The longest levels solved in the endless episodes under way, (B,); 0 for none."""
        return _spans(self._episodes)

    def _report(self) -> dict[str, Array]:
        return {"span": _spans(self._episodes)} if isinstance(self._episodes, EndlessEpisodes) else {}


def _spans(episodes: Play) -> Array:
    if not isinstance(episodes, EndlessEpisodes):
        raise AttributeError("only endless episodes have a span: pass endless=True")
    return episodes.span.copy()
