"""The environments by id: which task under which interface, as plain data, and their registration with Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from hardmem.envs.adapters import make_dynamics
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

FLAT_ENVIRONMENTS: dict[str, dict[str, Any]] = {
    env_id.replace("-v0", "Flat-v0"): arguments for env_id, arguments in ENVIRONMENTS.items()
}
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
"""The mean return at which an environment counts as solved."""


def _register(env_id: str, arguments: dict[str, Any], **format_arguments: str) -> None:
    """Register with the step limit of the hardest preset; the format's arguments are those of `TaskEnv`.

    Episodes end by themselves, after at most the `max_steps` of their `Dynamics`. Gymnasium knows one limit for every
    difficulty, and it must not cut off what a user makes longer; beyond the hardest preset a warning names the limit.
    """
    *_, hardest = TASKS[arguments["task"]].presets
    gym.register(
        id=env_id,
        entry_point="hardmem.envs.adapters:TaskEnv",
        vector_entry_point="hardmem.envs.adapters:TaskVectorEnv",
        max_episode_steps=make_dynamics(**arguments, preset=hardest).max_steps,
        reward_threshold=REWARD_THRESHOLD,
        kwargs={**arguments, **format_arguments},
    )


for _id, _arguments in ENVIRONMENTS.items():
    _register(_id, _arguments)
for _id, _arguments in FLAT_ENVIRONMENTS.items():
    _register(_id, _arguments, action="discrete")
for _id, (_task, _threshold) in TAPE_ENVIRONMENTS.items():
    for _name, _format in ((_id, {}), (_id.replace("-v0", "Flat-v0"), {"action": "discrete"})):
        gym.register(
            id=_name,
            entry_point="hardmem.envs.tape_adapters:TapeEnv",
            vector_entry_point="hardmem.envs.tape_adapters:TapeVectorEnv",
            max_episode_steps=MAX_STEPS,
            reward_threshold=_threshold,
            kwargs={"task": _task, **_format},
        )
