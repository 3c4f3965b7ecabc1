"""Tasks by name. A new task is one file beside `copy.py` and one line in `TASKS`."""

from __future__ import annotations

import dataclasses
from typing import Any

from hardmem.tasks.addition import Addition
from hardmem.tasks.associative_recall import AssociativeRecall
from hardmem.tasks.base import Problem, Task, known_arguments
from hardmem.tasks.copy import Copy
from hardmem.tasks.counting import Counting
from hardmem.tasks.delay import Delay
from hardmem.tasks.duplicated_input import DuplicatedInput
from hardmem.tasks.dynamic_ngrams import DynamicNGrams
from hardmem.tasks.encoding import bit_inputs, num_bits, one_hot, symbols_to_bits
from hardmem.tasks.fact_recall import FactRecall
from hardmem.tasks.forward_reverse import ForwardReverse
from hardmem.tasks.maze import Maze
from hardmem.tasks.multi_hop import MultiHop
from hardmem.tasks.overwrite import Overwrite
from hardmem.tasks.priority_sort import PrioritySort
from hardmem.tasks.queue import Queue
from hardmem.tasks.repeat_copy import RepeatCopy
from hardmem.tasks.reverse import Reverse
from hardmem.tasks.slot_recall import SlotRecall
from hardmem.tasks.sort import Sort
from hardmem.tasks.stack import Stack

TASKS: dict[str, type[Task]] = {
    "addition": Addition,
    "associative-recall": AssociativeRecall,
    "copy": Copy,
    "counting": Counting,
    "delay": Delay,
    "duplicated-input": DuplicatedInput,
    "dynamic-ngrams": DynamicNGrams,
    "fact-recall": FactRecall,
    "forward-reverse": ForwardReverse,
    "maze": Maze,
    "multi-hop": MultiHop,
    "overwrite": Overwrite,
    "priority-sort": PrioritySort,
    "queue": Queue,
    "repeat-copy": RepeatCopy,
    "reverse": Reverse,
    "slot-recall": SlotRecall,
    "sort": Sort,
    "stack": Stack,
}

__all__ = [
    "TASKS",
    "Addition",
    "AssociativeRecall",
    "Copy",
    "Counting",
    "Delay",
    "DuplicatedInput",
    "DynamicNGrams",
    "FactRecall",
    "ForwardReverse",
    "Maze",
    "MultiHop",
    "Overwrite",
    "PrioritySort",
    "Problem",
    "Queue",
]
__all__ += ["RepeatCopy", "Reverse", "SlotRecall", "Sort", "Stack", "Task"]
__all__ += ["bit_inputs", "make_task", "num_bits", "one_hot", "symbols_to_bits"]


def difficulty_names(name: str) -> list[str]:
    """Of which arguments the difficulty of a task is made.

    Raises:
        ValueError: if there is no task of that name.
    """
    if name not in list(TASKS):
        raise ValueError(f"unknown task {name!r}; choose one of {sorted(TASKS)}")
    return [field.name for field in dataclasses.fields(TASKS[name])]


def make_task(name: str, preset: str = "default", **difficulty: Any) -> Task:
    """Build a task by name, at one of its `presets`; `difficulty` goes to its constructor and wins over the preset.

    Raises:
        ValueError: if there is no task or preset of that name, or a difficulty is out of range.
        UnknownArgumentError: if there is no difficulty of that name.
    """
    known_arguments(name, difficulty, [*difficulty_names(name), "preset"])
    presets = TASKS[name].presets
    if preset not in list(presets):
        raise ValueError(f"unknown preset {preset!r} of {name}; choose one of {list(presets)}")
    return TASKS[name](**{**presets[preset], **difficulty})
