"""Configurations written by hand: a TOML file with the fields of one kind of training."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import KINDS, TrainConfig, from_json


def read_toml(path: Path) -> TrainConfig:
    """Read a configuration: `kind = "agent"` or `kind = "sequence"`, and any field of it; the rest has its default.

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
        return from_json(json.dumps(fields))
    except (TypeError, ValueError) as error:
        raise RunError(f"{str(path)!r}: {error}") from error


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
