"""Recorder: what a training leaves in its run folder while it goes on, and at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from hardmem.agents.config import TrainConfig, to_json
from hardmem.agents.progress import Progress
from hardmem.agents.runs import create_folder, save_checkpoint, write_config


class Recorder:
    """Writes configuration, TensorBoard events and the checkpoint of one training.

    Args:
        folder: where; it must not exist yet.
        config: what is trained.

    Raises:
        RunError: if the folder exists or cannot be made.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        self.folder = create_folder(folder)
        write_config(folder, config)
        self.writer = SummaryWriter(str(folder))
        self.writer.add_text("config", f"```json\n{to_json(config)}\n```")

    def log(self, progress: Progress) -> None:
        """Add one point to every curve, over transitions (an environment's steps, or a sequence's)."""
        scalars = {"validation/exact": progress.exact, "curriculum/length": progress.length}
        scalars |= {"throughput/steps_per_second": progress.steps / progress.seconds}
        scalars |= {f"train/{name}": value for name, value in progress.metrics.items()}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, progress.steps)

    def close(self, state: dict[str, Any]) -> None:
        """Write the checkpoint and close the events."""
        save_checkpoint(self.folder, state)
        self.writer.close()
