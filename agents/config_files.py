"""Configurations written by hand: a TOML file with the fields of one kind of training."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import KINDS, AgentConfig, SequenceConfig, TrainConfig, from_json
from hardmem.agents.presets import preset_fields


def read_toml(path: Path) -> TrainConfig:
    """Read a configuration: `kind = "agent"` or `kind = "sequence"`, and any field of it; the rest is as in the preset.

    Raises:
        RunError: if there is no such file, or a line of it is not understood.
    """
    try:
        fields = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {str(path)!r}: {error}") from error
    try:
        for field in dataclasses.fields(KINDS.get(fields.get("kind", ""), TrainConfig)):
            _check_type(field, fields.get(field.name, field.default))
        kind = KINDS.get(fields.get("kind", ""))
        asked = fields.get("preset"), fields.get("max_length")
        preset = {} if kind is None else preset_fields(kind, fields.get(*_named(kind)), *asked)
        return from_json(json.dumps({**preset, **fields}))
    except (TypeError, ValueError) as error:
        raise RunError(f"{str(path)!r}: {error}") from error


def _named(kind: type[TrainConfig]) -> tuple[str, str]:
    """The field that says what is learned, and its default."""
    return ("env", AgentConfig.env) if kind is AgentConfig else ("task", SequenceConfig.task)


def _check_type(field: dataclasses.Field[object], value: object) -> None:
    """Refuse a value of another type than the default; a whole number will do for a real one."""
    wanted = type(field.default)
    if wanted is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value)
    elif wanted is float:
        fits = type(value) in (int, float)
    else:
        fits = type(value) is wanted
    if not fits:
        raise TypeError(f"{field.name} must be of type {wanted.__name__}, got {value!r}")
