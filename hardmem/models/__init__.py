"""Models: networks with a memory, and those without that they are compared with."""

from __future__ import annotations

from hardmem.models.controllers import CONTROLLERS, Controller, make_controller
from hardmem.models.ntm import NTM, NTMState
from hardmem.models.recurrent import Recurrent

__all__ = ["CONTROLLERS", "NTM", "Controller", "NTMState", "Recurrent", "make_controller"]
