"""Presets: what a training of an environment or a task starts from where nothing else is said.

They say how large the problems are and what the memory looks like, so that a first run comes to something in about a
minute. How it is learned is the same for all: the defaults of `AgentConfig` and `SequenceConfig`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig
from hardmem.envs import ENVIRONMENTS
from hardmem.tasks import TASKS, Task

EASIEST: dict[str, Any] = {"preset": "easiest"}
CONTENT: dict[str, Any] = {**EASIEST, "access": "soft", "addressing": "content-location", "heads": ("read", "write")}

PRESETS: dict[str, dict[str, Any]] = {
    "hardmem/RepeatCopy-v0": EASIEST,
    "hardmem/RepeatCopyRandomAccess-v0": {**EASIEST, "policy": "gru"},
    "hardmem/Reverse-v0": EASIEST,
    "hardmem/ReverseRandomAccess-v0": EASIEST,
    "hardmem/ForwardReverse-v0": EASIEST,
    "hardmem/ForwardReverseRandomAccess-v0": EASIEST,
    "hardmem/SortRandomAccess-v0": EASIEST,
    "hardmem/PrioritySortRandomAccess-v0": EASIEST,
    "hardmem/PrioritySortAssociative-v0": EASIEST,
    "hardmem/DuplicatedInput-v0": EASIEST,
    "hardmem/DuplicatedInputRandomAccess-v0": EASIEST,
    "hardmem/Stack-v0": EASIEST,
    "hardmem/StackRandomAccess-v0": EASIEST,
    "hardmem/Queue-v0": EASIEST,
    "hardmem/QueueRandomAccess-v0": EASIEST,
    "hardmem/Addition-v0": {**EASIEST, "policy": "gru"},
    "hardmem/AdditionRandomAccess-v0": EASIEST,
    "hardmem/Counting-v0": EASIEST,
    "hardmem/CountingRandomAccess-v0": EASIEST,
    "hardmem/DynamicNGrams-v0": EASIEST,
    "hardmem/DynamicNGramsRandomAccess-v0": EASIEST,
    "hardmem/FactRecall-v0": EASIEST,
    "hardmem/FactRecallRandomAccess-v0": EASIEST,
    "hardmem/FactRecallAssociative-v0": EASIEST,
    "hardmem/SlotRecall-v0": EASIEST,
    "hardmem/SlotRecallRandomAccess-v0": EASIEST,
    "hardmem/SlotRecallAssociative-v0": EASIEST,
    "hardmem/Maze-v0": EASIEST,
    "hardmem/MazeRandomAccess-v0": EASIEST,
    "hardmem/MazeAssociative-v0": EASIEST,
    "hardmem/Overwrite-v0": EASIEST,
    "hardmem/OverwriteRandomAccess-v0": EASIEST,
    "hardmem/OverwriteAssociative-v0": EASIEST,
    "hardmem/MultiHop-v0": EASIEST,
    "hardmem/MultiHopRandomAccess-v0": EASIEST,
    "hardmem/MultiHopAssociative-v0": EASIEST,
    "hardmem/AssociativeRecall-v0": EASIEST,
    "hardmem/AssociativeRecallRandomAccess-v0": EASIEST,
    "hardmem/AssociativeRecallAssociative-v0": EASIEST,
    "addition": {**CONTENT, "controller": "gru"},
    "associative-recall": CONTENT,
    "counting": CONTENT,
    "delay": {"preset": "default"},
    "duplicated-input": {**EASIEST, "controller": "gru"},
    "dynamic-ngrams": EASIEST,
    "fact-recall": CONTENT,
    "forward-reverse": CONTENT,
    "maze": CONTENT,
    "multi-hop": CONTENT,
    "overwrite": CONTENT,
    "priority-sort": {**CONTENT, "controller": "gru"},
    "queue": {"preset": "default", "heads": ("read", "write")},
    "repeat-copy": {**EASIEST, "controller": "gru"},
    "slot-recall": CONTENT,
    "sort": {**CONTENT, "controller": "gru"},
    "stack": EASIEST,
}
"""By environment, for agents, and by task, for sequence models: the fields that differ from the defaults. A difficulty,
the field "preset", brings its lengths and its number of symbols along. What has no line starts from the defaults."""

OTHERS: dict[str, Any] = {"num_envs": 32, "eval_problems": 32}
"""For environments that are not in `ENVIRONMENTS`, which Gymnasium steps one after the other."""

SIZES = ("num_symbols", "min_length", "max_length")


def preset_of(name: str, **changes: Any) -> TrainConfig:
    """The configuration that `hardmem train` starts from: `preset_of("hardmem/Reverse-v0", seed=1)`.

    Args:
        name: an environment's id, for an agent, or a task's name, for a sequence model.
        changes: fields that are to be otherwise. Another difficulty, `preset="longer"`, brings its own lengths, and
            problems longer than those of the preset are of the difficulty "default".

    Raises:
        ValueError: if there is no such difficulty, or a value is out of range.
        TypeError: if a field is unknown.
    """
    kind = SequenceConfig if name in TASKS else AgentConfig
    fields = {**preset_fields(kind, name, changes.get("preset"), changes.get("max_length")), **changes}
    return SequenceConfig(task=name, **fields) if name in TASKS else AgentConfig(env=name, **fields)


def preset_fields(
    kind: type[TrainConfig], name: str, difficulty: str | None = None, max_length: int | None = None
) -> dict[str, Any]:
    """The fields that the preset of an environment or task sets.

    Args:
        kind: of training.
        name: of the environment or task.
        difficulty: another than its own.
        max_length: what is asked for; where it is more than the preset's own difficulty has, that is "default".

    Raises:
        ValueError: if there is no such difficulty.
    """
    if name not in (TASKS if kind is SequenceConfig else ENVIRONMENTS):
        return dict(OTHERS) if kind is AgentConfig else {}
    fields = dict(PRESETS.get(name, {}))
    if difficulty is None and "preset" not in fields:
        return fields
    task = TASKS[name if kind is SequenceConfig else str(ENVIRONMENTS[name]["task"])]
    own = difficulty is None
    sizes = _sizes(task, fields["preset"] if difficulty is None else difficulty, name)
    if own and max_length is not None and max_length > sizes["max_length"]:
        sizes = _sizes(task, "default", name)
    return {**fields, **sizes}


def _sizes(task: type[Task], difficulty: str, name: str) -> dict[str, Any]:
    if difficulty not in task.presets:
        raise ValueError(f"unknown preset {difficulty!r} of {name}; choose one of {list(task.presets)}")
    every = {field.name: field.default for field in dataclasses.fields(task)} | task.presets[difficulty]
    return {"preset": difficulty, **{size: every[size] for size in SIZES}}


def sized_for(config: TrainConfig, name: str) -> TrainConfig:
    """A configuration with the sizes of the preset of an environment or task, where it says nothing of its own.

    Unlike `preset_of` it leaves the memory as it is: a method is compared, at sizes that are the same for all.
    """
    kind = SequenceConfig if name in TASKS else AgentConfig
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    own = {size: getattr(config, size) for size in (*SIZES, "preset") if getattr(config, size) != defaults[size]}
    fields = preset_fields(kind, name, own.get("preset"), own.get("max_length"))
    sizes = {size: value for size, value in fields.items() if size in (*SIZES, "preset") and size not in own}
    return dataclasses.replace(config, **sizes)
