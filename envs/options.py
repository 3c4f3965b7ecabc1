"""Options: what users pass to an environment, checked; what is wrong is said in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit


class RenderModes(list[str]):
    """Names of render modes for an environment's metadata, which leave it to `known_render_mode` to refuse no name.

    `gym.make` asks whether a mode is one of them, and takes what is not for text before the environment is made.
    """

    def __contains__(self, mode: object) -> bool:
        return not isinstance(mode, str) or super().__contains__(mode)


def known_render_mode(mode: str | None, metadata: dict[str, Any]) -> str | None:
    """The mode, or None for none.

    Raises:
        ValueError: if it is not in the metadata.
    """
    if mode is not None and mode not in list(metadata["render_modes"]):
        raise ValueError(f"unknown render_mode {mode!r}; choose one of {sorted(metadata['render_modes'])}")
    return mode


def known_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode, by itself or its name.

    Raises:
        ValueError: if there is none of that name.
    """
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [each.value for each in AutoresetMode]
        raise ValueError(f"unknown autoreset_mode {mode!r}; choose one of {known}") from None


def known_device(device: torch.device | str, *others: str) -> torch.device:
    """The device of that name; `others` are names that the caller knows beside.

    Raises:
        ValueError: if there is none here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError):  # AssertionError: a build without CUDA was asked for it
        names = ", ".join([*others, "cpu"])
        raise ValueError(f"no device {device!r} here; choose {names} or a CUDA device that exists") from None
    return found


def reset_options(options: dict[str, Any] | None) -> dict[str, Any]:
    """The options of a reset, whatever they are; None are none.

    Raises:
        ValueError: if they do not go by names.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"the options of a reset must be a dict, got {options!r}")
    return dict(options or {})


def known_reset(options: dict[str, Any] | None, *known: str) -> dict[str, Any]:
    """The options of a reset, checked.

    Raises:
        ValueError: if they are no dict, naming those that are not known, or if two are given that exclude each other.
    """
    options = reset_options(options)
    unknown = sorted(set(options) - set(known), key=str)
    if unknown:
        raise ValueError(f"unknown reset option {unknown}; choose from {sorted(known)}")
    if "reset_mask" in options and options.get("input") is not None:
        raise ValueError("a reset takes an input, for all episodes, or a reset_mask, for fresh ones, got both")
    return options


def limit_around(env: gym.Env[Any, Any]) -> int | None:
    """The lowest step limit wrapped around an environment that is being reset; None where there is none.

    `gym.make` wraps a `TimeLimit` around an environment and tells it nothing, its spec included. But the environment's
    reset is called from that of the wrapper, which is still under way.
    """
    limits, frame = [], inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, TimeLimit) and caller.unwrapped is env:
            limits.append(caller._max_episode_steps)
        frame = frame.f_back
    return min(limits, default=None)


def warn_if_cut(limit: int | None, longest: int) -> None:
    """Warn of a step limit in force below what an episode of this difficulty may need."""
    if limit is not None and longest > limit:
        gym.logger.warn(
            f"an episode may take {longest} steps and is cut off after {limit}: pass "
            f"max_episode_steps={longest} unless that is meant"
        )


def require_start(started: bool) -> None:
    """Refuse to go on with what was never reset.

    Raises:
        RuntimeError: if it was not.
    """
    if not started:
        raise RuntimeError("nothing is under way yet: call reset first")
