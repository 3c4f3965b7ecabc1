"""The environments by id: which task under which interface, as plain data, and their registration with Gymnasium."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym

from hardmem.envs.making import make_dynamics
from hardmem.envs.tape_adapters import MAX_STEPS
from hardmem.tasks import TASKS

SEARCH: dict[str, Any] = {"interface": "tape", "self_paced": True}
"""Along a tape a cell takes time to find, so the input waits: the agent says when it goes on."""
RANDOM_ACCESS: dict[str, Any] = {"interface": "random-access", "order": "move-answer-write"}
ASSOCIATIVE: dict[str, Any] = {"interface": "associative", "order": "move-answer-write"}
"""Where facts have keys, a head first goes where the key shown says, and then writes what is shown."""
TWO_HEADS: dict[str, Any] = {"interface": "random-access", "num_heads": 2}
"""What has to be remembered and is in no cell, a second head can remember: the observation shows where it is."""

ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "hardmem/Copy-v0": {"task": "copy", "interface": "tape"},
    "hardmem/CopyRandomAccess-v0": {"task": "copy", "interface": "random-access"},
    "hardmem/RepeatCopy-v0": {"task": "repeat-copy", "interface": "tape"},
    "hardmem/RepeatCopyRandomAccess-v0": {"task": "repeat-copy", "interface": "random-access"},
    "hardmem/Reverse-v0": {"task": "reverse", "interface": "tape"},
    "hardmem/ReverseRandomAccess-v0": {"task": "reverse", "interface": "random-access"},
    "hardmem/ForwardReverse-v0": {"task": "forward-reverse", "interface": "tape"},
    "hardmem/ForwardReverseRandomAccess-v0": {"task": "forward-reverse", **TWO_HEADS},
    "hardmem/SortRandomAccess-v0": {"task": "sort", "interface": "random-access"},
    "hardmem/PrioritySortRandomAccess-v0": {"task": "priority-sort", "interface": "random-access"},
    "hardmem/PrioritySortAssociative-v0": {"task": "priority-sort", **ASSOCIATIVE},
    "hardmem/Delay-v0": {"task": "delay", "interface": "tape"},
    "hardmem/DelayRandomAccess-v0": {"task": "delay", "interface": "random-access"},
    "hardmem/DuplicatedInput-v0": {"task": "duplicated-input", "interface": "tape"},
    "hardmem/DuplicatedInputRandomAccess-v0": {"task": "duplicated-input", "interface": "random-access"},
    "hardmem/Stack-v0": {"task": "stack", "interface": "tape"},
    "hardmem/StackRandomAccess-v0": {"task": "stack", "interface": "random-access"},
    "hardmem/Queue-v0": {"task": "queue", "interface": "tape", "num_heads": 2},
    "hardmem/QueueRandomAccess-v0": {"task": "queue", **TWO_HEADS},
    "hardmem/Addition-v0": {"task": "addition", "interface": "tape"},
    "hardmem/AdditionRandomAccess-v0": {"task": "addition", **TWO_HEADS},
    "hardmem/Counting-v0": {"task": "counting", "interface": "tape"},
    "hardmem/CountingRandomAccess-v0": {"task": "counting", **TWO_HEADS},
    "hardmem/DynamicNGrams-v0": {"task": "dynamic-ngrams", **SEARCH},
    "hardmem/DynamicNGramsRandomAccess-v0": {
        "task": "dynamic-ngrams",
        "interface": "random-access",
        "self_paced": True,
    },
    "hardmem/FactRecall-v0": {"task": "fact-recall", **SEARCH},
    "hardmem/FactRecallRandomAccess-v0": {"task": "fact-recall", **RANDOM_ACCESS},
    "hardmem/FactRecallAssociative-v0": {"task": "fact-recall", **ASSOCIATIVE},
    "hardmem/SlotRecall-v0": {"task": "slot-recall", **SEARCH},
    "hardmem/SlotRecallRandomAccess-v0": {"task": "slot-recall", **RANDOM_ACCESS},
    "hardmem/SlotRecallAssociative-v0": {"task": "slot-recall", **ASSOCIATIVE},
    "hardmem/Maze-v0": {"task": "maze", **SEARCH},
    "hardmem/MazeRandomAccess-v0": {"task": "maze", **RANDOM_ACCESS},
    "hardmem/MazeAssociative-v0": {"task": "maze", **ASSOCIATIVE},
    "hardmem/Overwrite-v0": {"task": "overwrite", **SEARCH},
    "hardmem/OverwriteRandomAccess-v0": {"task": "overwrite", **RANDOM_ACCESS},
    "hardmem/OverwriteAssociative-v0": {"task": "overwrite", **ASSOCIATIVE},
    "hardmem/MultiHop-v0": {"task": "multi-hop", **SEARCH},
    "hardmem/MultiHopRandomAccess-v0": {"task": "multi-hop", **RANDOM_ACCESS},
    "hardmem/MultiHopAssociative-v0": {"task": "multi-hop", **ASSOCIATIVE},
    "hardmem/AssociativeRecall-v0": {"task": "associative-recall", **SEARCH},
    "hardmem/AssociativeRecallRandomAccess-v0": {"task": "associative-recall", "interface": "random-access"},
    # A name leads to one cell, so items are of one symbol here: longer ones may share a symbol.
    "hardmem/AssociativeRecallAssociative-v0": {
        "task": "associative-recall",
        "interface": "associative",
        "item_length": 1,
    },
}
"""Ids and the plain-data arguments of `make_dynamics` behind them. Each oracle earns its task's optimum, 1.0."""

FLAT_ENVIRONMENTS: dict[str, dict[str, Any]] = {}
"""The same environments with one number for the whole action, for trainers that take an id but no arguments."""

TAPE_ENVIRONMENTS: dict[str, tuple[str, float]] = {
    "hardmem/TapeCopy-v0": ("copy", 25.0),
    "hardmem/TapeDuplicatedInput-v0": ("duplicated-input", 9.0),
    "hardmem/TapeRepeatCopy-v0": ("repeat-copy", 75.0),
    "hardmem/TapeReverse-v0": ("reverse", 25.0),
    "hardmem/TapeReversedAddition-v0": ("reversed-addition", 25.0),
    "hardmem/TapeReversedAddition3-v0": ("reversed-addition-3", 25.0),
    "hardmem/TapeAddition3-v0": ("addition-3", 25.0),
}
"""Classic tapes: ids, names from `TAPES` and Gym's reward thresholds, which a curriculum reaches as lengths grow."""

REWARD_THRESHOLD = 0.99
"""The share of what optimal play earns at which an environment counts as solved."""


def flat_id(env_id: str) -> str:
    """The id of the twin that takes one number for the whole action: `mine/First-v0` -> `mine/FirstFlat-v0`.

    Raises:
        ValueError: if the id does not end in a version.
    """
    flat, found = re.subn(r"(-v\d+)$", r"Flat\1", env_id)
    if not found:
        raise ValueError(f"the id of an environment must end in its version, as in 'mine/First-v0', got {env_id!r}")
    return flat


def register(env_id: str, task: str, interface: str = "tape", **arguments: Any) -> None:
    """Make an environment of a task: `gym.make` knows it from here on, and so does training by id.

    Beside it stands its `Flat` twin, in which one number is the whole action. Episodes end by themselves, after at most
    the `max_steps` of their `Dynamics`. Gymnasium knows one limit for every difficulty, and it must not cut off what a
    user makes longer, so it is that of the hardest preset; beyond that a warning says what to pass. The reward
    threshold is `REWARD_THRESHOLD` of the optimum at the default preset.

    Args:
        env_id: an id with its version, as in `mine/First-v0`.
        task: a name from `TASKS`; put a class of yours there first.
        interface: a name from `INTERFACES`.
        arguments: what else `make_dynamics` takes, plain data, but a preset.

    Raises:
        ValueError: if the id has no version, a name is unknown or a number out of range.
    """
    flat, rules = flat_id(env_id), {"task": task, "interface": interface, **arguments}
    optimum = make_dynamics(**rules).task.optimum
    *_, hardest = TASKS[task].presets
    max_steps = make_dynamics(**rules, preset=hardest).max_steps
    ENVIRONMENTS[env_id] = FLAT_ENVIRONMENTS[flat] = rules
    for name, kwargs in ((env_id, rules), (flat, {**rules, "action": "discrete"})):
        gym.register(
            id=name,
            entry_point="hardmem.envs.adapters:TaskEnv",
            vector_entry_point="hardmem.envs.adapters:TaskVectorEnv",
            max_episode_steps=max_steps,
            reward_threshold=REWARD_THRESHOLD * optimum,
            kwargs=kwargs,
        )


for _id, _arguments in ENVIRONMENTS.items():
    register(_id, **_arguments)
for _id, (_task, _threshold) in TAPE_ENVIRONMENTS.items():
    for _name, _format in ((_id, {}), (flat_id(_id), {"action": "discrete"})):
        gym.register(
            id=_name,
            entry_point="hardmem.envs.tape_adapters:TapeEnv",
            vector_entry_point="hardmem.envs.tape_adapters:TapeVectorEnv",
            max_episode_steps=MAX_STEPS,
            reward_threshold=_threshold,
            kwargs={"task": _task, **_format},
        )
