"""Making rules: the dynamics of a task by name, and the names of all that can be said of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hardmem.envs.dynamics import Dynamics
from hardmem.tasks import difficulty_names, make_task
from hardmem.tasks.base import known_arguments


def make_dynamics(task: str, interface: str = "tape", preset: str = "default", **arguments: Any) -> Dynamics:
    """The rules of a task by name, at one of its presets.

    Args:
        task: a name from `TASKS`.
        interface: a name from `INTERFACES`.
        preset: a name from the task's `presets`.
        arguments: of `Dynamics` by name; all others are the task's own, and win over the preset.

    Raises:
        ValueError: if a name is unknown or a number out of range.
        UnknownArgumentError: if an argument is.
    """
    known_arguments(task, arguments, argument_names(task, make_dynamics))
    rules = {name: arguments.pop(name) for name in inspect.signature(Dynamics).parameters if name in arguments}
    return Dynamics(make_task(task, preset, **arguments), interface, **rules)


def argument_names(task: str, *takers: Callable[..., Any]) -> list[str]:
    """What all of these take by name, `Dynamics` and the task of that name beside.

    Raises:
        ValueError: if there is no such task.
    """
    return [*parameter_names(*takers, Dynamics), *difficulty_names(task)]


def parameter_names(*takers: Callable[..., Any]) -> list[str]:
    """What all of these take by name."""
    parameters = [parameter for taker in takers for parameter in inspect.signature(taker).parameters.values()]
    return list(dict.fromkeys(each.name for each in parameters if each.kind is not each.VAR_KEYWORD))
