"""Recorder: what a training leaves in its run folder while it goes on, and at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from hardmem.agents.checkpoints import save_checkpoint
from hardmem.agents.config import TrainConfig, to_json
from hardmem.agents.progress import Progress
from hardmem.agents.runs import RESULTS, RunError, write_json


class Recorder:
    """Writes TensorBoard events, checkpoints and results of one training into its folder.

    Args:
        folder: of the run; the caller owns its lock.
        config: what is trained.
        since: where a resumed training stands; its curves go on from there, what was drawn beyond is forgotten.
    """

    def __init__(self, folder: Path, config: TrainConfig, since: Progress) -> None:
        self.folder = folder
        resumed = since.update > 0
        self.writer = SummaryWriter(str(folder), purge_step=since.steps + 1 if resumed else None)
        if not resumed:
            self.writer.add_text("config", f"```json\n{to_json(config)}\n```")

    def log(self, progress: Progress) -> None:
        """Add one point to every curve, over transitions (an environment's steps, or a sequence's)."""
        scalars = {"validation/exact": progress.exact, "curriculum/length": progress.length}
        scalars |= {"throughput/steps_per_second": progress.steps / progress.seconds}
        scalars |= {f"train/{name}": value for name, value in progress.metrics.items()}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, progress.steps)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the events of everything before it are on the disk first, so that no curve has a gap."""
        self.writer.flush()
        save_checkpoint(self.folder, state)

    def finish(self, results: dict[str, Any]) -> None:
        """Write the results of a finished training."""
        write_json(self.folder / RESULTS, results)


@contextmanager
def recording(folder: Path, config: TrainConfig, since: Progress) -> Iterator[Recorder]:
    """A recorder, closed at the end, whatever that is.

    Raises:
        RunError: if the folder cannot be written to, at the beginning or later (a full disk).
    """
    before, threading.excepthook = threading.excepthook, _leave_to_writer
    try:
        recorder = Recorder(folder, config, since)
        try:
            yield recorder
        finally:
            recorder.writer.close()
    except OSError as error:
        raise RunError(
            f"cannot write into the run folder {str(folder)!r}: {error.strerror}; the last good checkpoint is kept"
        ) from error
    finally:
        threading.excepthook = before


def _leave_to_writer(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, and raises what failed there again at its next call: one message is enough."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
