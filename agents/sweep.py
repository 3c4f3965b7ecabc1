"""Sweeps: one configuration in many variations, every combination of some values or random draws, several seeds."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hardmem.agents.config import TrainConfig
from hardmem.agents.plans import Job, Plan


class Axis(NamedTuple):
    """A field and what it may be: one of some values, or anything between two numbers."""

    field: str
    values: tuple[Any, ...]
    between: bool


def sweep_plan(
    config: TrainConfig,
    vary: Sequence[str],
    folder: Path,
    *,
    seeds: int = 5,
    random: int | None = None,
    problems: int = 500,
) -> Plan:
    """The trainings of a sweep. `hardmem.agents.plans.begin` and `carry_out` do them.

    Args:
        config: what all have in common.
        vary: "field=value,value", or with `random` also "field=low..high": uniform, and uniform in the logarithm where
            both ends are positive real numbers.
        folder: of the sweep; each training has a folder of its own inside.
        seeds: trainings per setting: seeds `config.seed`, and those after it.
        random: how many settings to draw, from `config.seed`; by default every combination is one.
        problems: fresh problems per length in the examination.

    Raises:
        ValueError: if a field is unknown, a value does not fit it, or a number is out of range.
    """
    if seeds < 1 or (random is not None and random < 1):
        raise ValueError(f"seeds and random must be at least 1, got {seeds} and {random}")
    axes = [parse_axis(config, text) for text in vary]
    if len({axis.field for axis in axes}) < len(axes):
        raise ValueError(f"expected every field once, got {[axis.field for axis in axes]}")
    jobs = []
    for setting in settings(axes, random, config.seed):
        title = ", ".join(f"{name}={value}" for name, value in setting.items()) or "as it is"
        stem = title.replace(", ", ",").replace("/", "-").replace(" ", "-")
        for seed in range(config.seed, config.seed + seeds):
            changed = dataclasses.replace(config, **setting, seed=seed)
            jobs.append(Job(title, changed, folder / f"{stem}-seed{seed}"))
    return Plan("sweep", tuple(jobs), (config.max_length, 2 * config.max_length), problems)


def settings(axes: Sequence[Axis], random: int | None, seed: int) -> list[dict[str, Any]]:
    """Every combination of the axes' values, or so many random draws, without repetition.

    Raises:
        ValueError: if an axis is a range and nothing is drawn.
    """
    if random is None:
        for axis in axes:
            if axis.between:
                low, high = axis.values
                raise ValueError(f"{axis.field}={low}..{high} is a range: say how many to draw, --random N")
        combinations = itertools.product(*(axis.values for axis in axes))
        return [{axis.field: value for axis, value in zip(axes, values, strict=True)} for values in combinations]
    generator = np.random.default_rng(seed)
    drawn = [{axis.field: _draw(axis, generator) for axis in axes} for _ in range(random)]
    return [setting for number, setting in enumerate(drawn) if setting not in drawn[:number]]


def _draw(axis: Axis, generator: np.random.Generator) -> Any:
    if not axis.between:
        return axis.values[generator.integers(len(axis.values))]
    low, high = axis.values
    if isinstance(low, int):
        return int(generator.integers(low, high + 1))
    share = generator.random()
    value = math.exp(math.log(low) + share * math.log(high / low)) if low > 0 else low + share * (high - low)
    return float(f"{value:.4g}")  # what the folder's name says is what is trained


def parse_axis(config: TrainConfig, text: str) -> Axis:
    """Read "field=value,value" or "field=low..high"; values are of the type that the field has.

    Raises:
        ValueError: naming what was not understood.
    """
    name, equals, values = text.partition("=")
    name = name.replace("-", "_")
    fields = [field.name for field in dataclasses.fields(config)]
    if not equals or not values:
        raise ValueError(f"expected field=value,value or field=low..high, got {text!r}")
    if name not in fields or name == "seed":
        raise ValueError(f"unknown field {name!r}; choose one of {sorted(set(fields) - {'seed'})}")
    default = getattr(config, name)
    if ".." in values:
        low, high = (_value(name, part, default) for part in values.split("..", 1))
        if isinstance(default, bool) or not isinstance(default, int | float) or low >= high:
            raise ValueError(f"expected two numbers, the smaller first, for the range of {name}, got {values!r}")
        return Axis(name, (low, high), True)
    return Axis(name, tuple(_value(name, part, default) for part in values.split(",")), False)


def _value(name: str, text: str, default: Any) -> Any:
    """One value of a field, of the type of its default."""
    truths = {"true": True, "false": False}
    try:
        if isinstance(default, bool):
            return truths[text.lower()]
        if isinstance(default, int | float | str):
            return type(default)(text)
    except (KeyError, ValueError):
        raise ValueError(f"{name} must be of type {type(default).__name__}, got {text!r}") from None
    raise ValueError(f"{name} cannot be varied: it is a {type(default).__name__}")
