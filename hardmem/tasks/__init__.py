"""Tasks by name. A new task is one file beside `copy.py` and one line in `TASKS`."""

from __future__ import annotations

from typing import Any

from hardmem.tasks.base import Problem, Task
from hardmem.tasks.copy import Copy
from hardmem.tasks.encoding import bit_inputs, num_bits, one_hot, symbols_to_bits

TASKS: dict[str, type[Task]] = {
    "copy": Copy,
}

__all__ = ["TASKS", "Copy", "Problem", "Task", "bit_inputs", "make_task", "num_bits", "one_hot", "symbols_to_bits"]


def make_task(name: str, **difficulty: Any) -> Task:
    """Build a task by name; `difficulty` goes to its constructor.

    Raises:
        ValueError: if there is no task of that name, or a difficulty is out of range.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; choose one of {sorted(TASKS)}")
    return TASKS[name](**difficulty)
