"""Training: agents in environments, sequence models, their runs and comparisons."""

from __future__ import annotations

from hardmem.agents.config import AgentConfig, SequenceConfig
from hardmem.agents.progress import Progress
from hardmem.agents.runs import load
from hardmem.agents.training import Outcome, train

__all__ = ["AgentConfig", "Outcome", "Progress", "SequenceConfig", "load", "train"]
