"""Tasks by name. A new task is one file beside `copy.py` and one line in `TASKS`."""

from __future__ import annotations

import dataclasses
from typing import Any

from hardmem.tasks.associative_recall import AssociativeRecall
from hardmem.tasks.base import Problem, Task
from hardmem.tasks.copy import Copy
from hardmem.tasks.delay import Delay
from hardmem.tasks.duplicated_input import DuplicatedInput
from hardmem.tasks.encoding import bit_inputs, num_bits, one_hot, symbols_to_bits
from hardmem.tasks.fact_recall import FactRecall
from hardmem.tasks.multi_hop import MultiHop
from hardmem.tasks.overwrite import Overwrite
from hardmem.tasks.repeat_copy import RepeatCopy
from hardmem.tasks.reverse import Reverse
from hardmem.tasks.slot_recall import SlotRecall
from hardmem.tasks.sort import Sort

TASKS: dict[str, type[Task]] = {
    "associative-recall": AssociativeRecall,
    "copy": Copy,
    "delay": Delay,
    "duplicated-input": DuplicatedInput,
    "fact-recall": FactRecall,
    "multi-hop": MultiHop,
    "overwrite": Overwrite,
    "repeat-copy": RepeatCopy,
    "reverse": Reverse,
    "slot-recall": SlotRecall,
    "sort": Sort,
}

__all__ = [
    "TASKS",
    "AssociativeRecall",
    "Copy",
    "Delay",
    "DuplicatedInput",
    "FactRecall",
    "MultiHop",
    "Overwrite",
    "Problem",
]
__all__ += ["RepeatCopy", "Reverse", "SlotRecall", "Sort", "Task"]
__all__ += ["bit_inputs", "make_task", "num_bits", "one_hot", "symbols_to_bits"]


def make_task(name: str, preset: str = "default", **difficulty: Any) -> Task:
    """Build a task by name, at one of its `presets`; `difficulty` goes to its constructor and wins over the preset.

    Raises:
        ValueError: if there is no task, preset or difficulty of that name, or one is out of range.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; choose one of {sorted(TASKS)}")
    presets = TASKS[name].presets
    if preset not in presets:
        raise ValueError(f"unknown preset {preset!r} of {name}; choose one of {list(presets)}")
    known = [field.name for field in dataclasses.fields(TASKS[name])]
    unknown = sorted(set(difficulty) - set(known))
    if unknown:
        raise ValueError(f"unknown argument {unknown} for {name}; its difficulty is made of {known}")
    return TASKS[name](**{**presets[preset], **difficulty})
