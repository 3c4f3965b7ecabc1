"""Training: agents in environments, sequence models, their runs and comparisons."""

from __future__ import annotations

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import AgentConfig, SequenceConfig
from hardmem.agents.progress import Progress
from hardmem.agents.runs import load
from hardmem.agents.signals import Interrupted
from hardmem.agents.training import NonFiniteError, Outcome, resume, train

__all__ = ["AgentConfig", "Interrupted", "NonFiniteError", "Outcome", "Progress", "RunError", "SequenceConfig"]
__all__ += ["load", "resume", "train"]
