"""Flags: a configuration from the command line, over a file or over the preset of an environment or task."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import gymnasium as gym
import tyro

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig
from hardmem.agents.config_files import read_toml
from hardmem.agents.presets import preset_fields


class Flags(NamedTuple):
    """How a command reads a configuration.

    Attributes:
        kind: the type of its argument, for tyro: a choice between `agent` and `sequence`, whose fields are flags.
        default: what a file says; `tyro.MISSING` where there is none, so that one of the two must be chosen.
        preset: the fields that flags start from where they are not the defaults.
    """

    kind: Any
    default: Any
    preset: dict[str, Any]

    def apply(self, command: Any) -> Any:
        """The command, with its argument `what` of that type."""
        command.__annotations__["what"] = self.kind
        return command

    def told(self, config: TrainConfig) -> str:
        """What of a configuration comes from its preset, in words; nothing where that is nothing."""
        assert isinstance(config, AgentConfig | SequenceConfig)
        name = config.env if isinstance(config, AgentConfig) else config.task
        if isinstance(config, AgentConfig) and name not in gym.registry:  # there may be none; a training will say so
            return ""
        defaults = dataclasses.asdict(type(config)())
        kept = {
            field: value for field, value in self.preset.items() if defaults[field] != value == getattr(config, field)
        }
        flags = ", ".join(f"{field}={' '.join(v) if isinstance(v, tuple) else v}" for field, v in kept.items())
        return f"preset of {name}: {flags}" if flags else ""


def flags_for(arguments: Sequence[str]) -> Flags:
    """What the flags of `train` and `sweep` stand for in a command line, read ahead for what they start from.

    Raises:
        ValueError: if a file cannot be read or there is no difficulty of that name.
    """
    agent, sequence, default = AgentConfig(), SequenceConfig(), tyro.MISSING
    preset: dict[str, Any] = {}
    if {"train", "sweep"} & set(arguments[:1]):
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name in ("--config", "--env", "--task", "--preset"):
            parser.add_argument(name)
        parser.add_argument("--max-length", "--max_length", type=lambda text: int(text) if text.isdigit() else None)
        said = parser.parse_known_args(arguments)[0]
        if said.config is not None:
            default = read_toml(Path(said.config))
        elif "sequence" in arguments:
            task = said.task or sequence.task
            preset = preset_fields(SequenceConfig, task, said.preset, said.max_length)
            sequence = SequenceConfig(task=task, **preset)
        else:
            env = said.env or agent.env
            preset = preset_fields(AgentConfig, env, said.preset, said.max_length)
            agent = AgentConfig(env=env, **preset)
    choice: Any = (
        Annotated[AgentConfig, tyro.conf.subcommand("agent", default=agent, description=AgentConfig.__doc__)]
        | Annotated[
            SequenceConfig, tyro.conf.subcommand("sequence", default=sequence, description=SequenceConfig.__doc__)
        ]
    )
    return Flags(Annotated[choice, tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes], default, preset)
