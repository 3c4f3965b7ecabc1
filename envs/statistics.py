"""Episodes counted: what each of a vector's episodes earned, and what a policy earns in a fair sample of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

Array = NDArray[Any]


class EpisodeStatistics(VectorWrapper):
    """A vector that reports episodes that end in `info["episode"]`; `info["_episode"]` says which of B it speaks of.

    The episode's return is "r", its length "l" and its seconds "t", (B,) each, 0 where none has ended; both keys are
    there only if one has. So does `gymnasium.wrappers.vector.RecordEpisodeStatistics`, but up to Gymnasium 1.3 it is
    wrong under SAME_STEP (from the second episode of each environment on, it leaves out the first step), and as of 1.4
    under DISABLED over Gymnasium's own vectors (a reset of some makes it forget what it has counted of the others).

    Args:
        env: any vector that states its `autoreset_mode` in its metadata.

    Raises:
        ValueError: if it does not.
    """

    def __init__(self, env: VectorEnv[Any, Any, Array]) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"metadata['autoreset_mode'] of {env} must be an AutoresetMode, got {mode!r}")
        self._counts_every_step = mode is not AutoresetMode.NEXT_STEP
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._began = np.zeros(self.num_envs)
        self._over = np.ones(self.num_envs, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        which = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        options = None if options is None else dict(options)  # Gymnasium's vectors take the mask out of what they get
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin(which)
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(actions)
        counts = np.ones(self.num_envs, dtype=np.bool_) if self._counts_every_step else ~self._over
        self._begin(self._over)
        self._returns += np.where(counts, reward, 0.0)
        self._lengths += counts
        self._over = np.asarray(terminated | truncated)
        if self._over.any():
            seconds = np.round(time.perf_counter() - self._began, 6)
            told = {"r": self._returns, "l": self._lengths, "t": seconds}
            info = {**info, "episode": {name: np.where(self._over, value, 0) for name, value in told.items()}}
            info["_episode"] = self._over.copy()
        return observation, reward, terminated, truncated, info

    def _begin(self, which: Array) -> None:
        """Count afresh where (B,) bool says so."""
        if which.any():
            self._returns[which], self._lengths[which], self._began[which] = 0.0, 0, time.perf_counter()
            self._over = self._over & ~which


def mean_return(
    env: VectorEnv[Any, Any, Array], act: Callable[[Any], Any], *, episodes: int = 16, seed: int | None = None
) -> float:
    """What a policy earns: the mean return of the first `episodes` of each environment.

    To take whichever end first would favour short ones. Works under every autoreset mode.

    Args:
        env: any vector that states its `autoreset_mode` in its metadata.
        act: observations (B, ...), as `env` gives them -> actions.
        episodes: how many of each environment count, >= 1.
        seed: of the problems.

    Raises:
        ValueError: if the mode is not stated, or `episodes` is below 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    counted = EpisodeStatistics(env)
    played, returns = np.zeros(counted.num_envs, dtype=np.int64), []
    observation, _ = counted.reset(seed=seed)
    while played.min() < episodes:
        observation, _, terminated, truncated, info = counted.step(act(observation))
        ended = np.asarray(terminated | truncated)
        if not ended.any():
            continue
        returns.append(info["episode"]["r"][ended & (played < episodes)])
        played += ended
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            observation, _ = counted.reset(options={"reset_mask": ended})
    return float(np.concatenate(returns).mean())
