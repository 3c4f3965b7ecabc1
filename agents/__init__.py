"""Training: agents in environments, sequence models, their runs and comparisons."""

from __future__ import annotations

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import AgentConfig, SequenceConfig
from hardmem.agents.presets import preset_of
from hardmem.agents.progress import Progress
from hardmem.agents.runner import Outcome, resume, train
from hardmem.agents.runs import load
from hardmem.agents.signals import Interrupted
from hardmem.agents.training import NonFiniteError

__all__ = ["AgentConfig", "Interrupted", "NonFiniteError", "Outcome", "Progress", "RunError", "SequenceConfig"]
__all__ += ["load", "preset_of", "resume", "train"]
