"""Methods: what a comparison trains, by name or made up on the spot, and the same on any task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardmem.agents.config import KINDS, AgentConfig, SequenceConfig, TrainConfig
from hardmem.agents.config_files import read_toml
from hardmem.agents.presets import sized_for
from hardmem.agents.sweep import parse_axis
from hardmem.envs import ENVIRONMENTS
from hardmem.tasks import TASKS


def slug(method: str) -> str:
    """A method's name as a folder's: "hard NTM" -> "hard-ntm"."""
    return method.lower().replace(" ", "-").replace("/", "-")


def read_methods(texts: Sequence[str], known: Mapping[str, TrainConfig]) -> dict[str, TrainConfig]:
    """Methods as a user writes them, by title.

    Args:
        texts: each a known name or its slug ("hard-ntm"), a kind of training ("agent", "sequence") or a file
            ("mine.toml"), with changes after it: "hard-ntm,access=reinmax,learning_rate=3e-3".
        known: by name.

    Raises:
        ValueError: if a name or a field is unknown, a value does not fit it, or two are the same.
        RunError: if a file cannot be read.
    """
    methods: dict[str, TrainConfig] = {}
    for text in texts:
        base, *changes = text.split(",")
        title = next((name for name in known if base in (name, slug(name))), base)
        if title in known:
            config = known[title]
        elif base in KINDS:
            config = KINDS[base]()
        elif base.endswith(".toml"):
            config = read_toml(Path(base))
        else:
            names = sorted([*map(slug, known), *KINDS])
            raise ValueError(f"unknown method {base!r}; choose one of {names} or a file of your own, mine.toml")
        fields: dict[str, object] = {}
        for change in changes:
            axis = parse_axis(config, change)
            if axis.between:
                raise ValueError(f"expected one value for {axis.field}, got {change!r}")
            fields[axis.field] = axis.values[0]
        title = ", ".join([title, *changes])
        if title in methods:
            raise ValueError(f"expected every method once, got {title!r} twice")
        methods[title] = dataclasses.replace(config, **fields)  # type: ignore[arg-type]
    return methods


def on_task(config: TrainConfig, task: str) -> TrainConfig:
    """The same method on another task, at the sizes of the task's preset where it says nothing of its own.

    Args:
        config: the method.
        task: a name from `TASKS`, for an agent the first environment of it; or an environment's id, for a sequence
            model the task in it.

    Raises:
        ValueError: if there is no such task.
    """
    config = sized_for(config, task)
    known = {str(arguments["task"]) for arguments in ENVIRONMENTS.values()}
    if isinstance(config, AgentConfig):
        if task in known:
            task = next(name for name, arguments in ENVIRONMENTS.items() if arguments["task"] == task)
        elif task in TASKS:
            raise ValueError(f"task {task!r} has no environment: an agent cannot be compared on it")
        return dataclasses.replace(config, env=task)  # whether there is one, its learner says
    assert isinstance(config, SequenceConfig)
    if task in ENVIRONMENTS:
        task = str(ENVIRONMENTS[task]["task"])
    return dataclasses.replace(config, task=task)
