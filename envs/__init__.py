"""Environments in which memory access is the action. Importing this module registers them with Gymnasium.

`gym.make("hardmem.envs:hardmem/Copy-v0")` works anywhere. A new task becomes an environment by `register`, one of the
package by one line in `ENVIRONMENTS`, once its oracle earns 1.0 under the interface named there.
"""

from __future__ import annotations

from hardmem.envs.adapters import TaskEnv, TaskVectorEnv
from hardmem.envs.dynamics import Dynamics
from hardmem.envs.external_memory import ExternalMemory, VectorExternalMemory
from hardmem.envs.interfaces import INTERFACES, Interface
from hardmem.envs.making import make_dynamics
from hardmem.envs.memory_modules import MEMORY_MODULES
from hardmem.envs.registry import ENVIRONMENTS, FLAT_ENVIRONMENTS, TAPE_ENVIRONMENTS, register
from hardmem.envs.state import State, Step
from hardmem.envs.statistics import EpisodeStatistics, mean_return
from hardmem.envs.tape_adapters import TapeEnv, TapeVectorEnv
from hardmem.envs.tapes import TAPES, TapeDynamics

__all__ = ["ENVIRONMENTS", "FLAT_ENVIRONMENTS", "INTERFACES", "Dynamics", "Interface", "State", "Step", "TaskEnv"]
__all__ += ["TAPES", "TAPE_ENVIRONMENTS", "TapeDynamics", "TapeEnv", "TapeVectorEnv", "TaskVectorEnv", "make_dynamics"]
__all__ += ["EpisodeStatistics", "mean_return", "register"]
__all__ += ["MEMORY_MODULES", "ExternalMemory", "VectorExternalMemory"]
