"""hardmem: memory access is a policy. Tasks, addressing, access, estimators and models, in torch alone.

`import hardmem` registers nothing and needs no Gymnasium; `import hardmem.envs` registers the environments.
"""

from __future__ import annotations

from hardmem.access import ACCESS, AccessRecord
from hardmem.bank import Bank
from hardmem.baselines import BASELINES, make_baseline
from hardmem.estimators import surrogate
from hardmem.memory import HardAddress, SoftAddress
from hardmem.models import CONTROLLERS, NTM, Recurrent
from hardmem.schemes import SCHEMES
from hardmem.tasks import TASKS, make_task

__version__ = "0.1.0"

__all__ = [
    "ACCESS",
    "BASELINES",
    "CONTROLLERS",
    "NTM",
    "SCHEMES",
    "TASKS",
    "AccessRecord",
    "Bank",
    "HardAddress",
    "Recurrent",
    "SoftAddress",
    "make_baseline",
    "make_task",
    "surrogate",
]
