"""Environments in which memory access is the action. Importing this module registers them with Gymnasium.

`gym.make("hardmem.envs:hardmem/Copy-v0")` works anywhere. A new task becomes an environment by one line in
`ENVIRONMENTS`, once its oracle earns 1.0 under the interface named there.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from hardmem.envs.adapters import TaskEnv, TaskVectorEnv, make_dynamics
from hardmem.envs.dynamics import Dynamics, State, Step
from hardmem.envs.interfaces import INTERFACES, Interface

ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "hardmem/Copy-v0": {"task": "copy", "interface": "tape"},
    "hardmem/CopyRandomAccess-v0": {"task": "copy", "interface": "random-access"},
}
"""Ids and the plain-data arguments of `make_dynamics` behind them."""

for _id, _kwargs in ENVIRONMENTS.items():
    gym.register(
        id=_id,
        entry_point="hardmem.envs.adapters:TaskEnv",
        vector_entry_point="hardmem.envs.adapters:TaskVectorEnv",
        kwargs=_kwargs,
    )

__all__ = ["ENVIRONMENTS", "INTERFACES", "Dynamics", "Interface", "State", "Step", "TaskEnv", "TaskVectorEnv"]
__all__ += ["make_dynamics"]
