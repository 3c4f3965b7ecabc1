"""A run: one folder with its configuration, TensorBoard events, checkpoints, results and figures."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hardmem.agents.checkpoints import CHECKPOINT, NoCheckpointError, RunError, load_checkpoint, write_synced
from hardmem.agents.config import TrainConfig, from_json, resolve_device, to_json
from hardmem.agents.learner import Learner

CONFIG, RESULTS, LOCK = "config.json", "results.json", "lock"

__all__ = ["CHECKPOINT", "CONFIG", "LOCK", "RESULTS", "NoCheckpointError", "RunError", "create_folder", "create_run"]
__all__ += ["load", "locked", "read_config", "write_config", "write_json"]


def create_folder(folder: Path, called: Path | None = None) -> Path:
    """Make a new folder; nothing that exists is ever written over. Errors name it, or what it is to be called.

    Raises:
        RunError: if it exists, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise _exists(folder) from None
    except OSError as error:
        raise RunError(f"cannot create the run folder {str(called or folder)!r}: {error.strerror}") from error
    return folder


def create_run(folder: Path, config: TrainConfig) -> Path:
    """Make a run's folder with its configuration inside, both at once: no moment at which one is there alone.

    Raises:
        RunError: if it exists, or cannot be made.
    """
    if folder.exists():
        raise _exists(folder)
    beside = create_folder(folder.with_name(f".{folder.name}.{os.getpid()}.tmp"), folder)
    try:
        write_config(beside, config)
        os.rename(beside, folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if folder.exists():
            raise _exists(folder) from None
        raise RunError(f"cannot create the run folder {str(folder)!r}: {error.strerror}") from error
    return folder


def _exists(folder: Path) -> RunError:
    return RunError(
        f"the run folder {str(folder)!r} exists already: choose another --name, remove it, or go on with it by "
        f"`hardmem resume {folder}`"
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run's folder for as long as this lasts. The operating system takes the lock back from a dead process.

    Raises:
        RunError: if another process owns it, or the folder cannot be written to.
    """
    try:
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise RunError(f"cannot write into the run folder {str(folder)!r}: {error.strerror}") from error
    with file:
        try:
            _lock(file)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RunError(f"the run {str(folder)!r} is in use by process {owner}: one at a time") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(file: IO[str]) -> None:
    """Take the lock or raise OSError; it ends with the file, or with the process."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(1 << 20)  # a byte beyond the text, which others may want to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part: temporary file, sync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    write_synced(temporary, data)
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_config(folder: Path, config: TrainConfig) -> None:
    """Put the configuration into the run's folder."""
    write_atomically(folder / CONFIG, (to_json(config) + "\n").encode())


def read_config(folder: Path) -> TrainConfig:
    """The configuration of a run.

    Raises:
        RunError: if the folder is no run or its configuration cannot be read.
    """
    try:
        return from_json((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise RunError(f"{str(folder)!r} is not a run: it has no {CONFIG}") from None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"cannot read {str(folder / CONFIG)!r}: {error}") from error


def load(folder: str | Path, device: str = "auto") -> tuple[Learner, TrainConfig]:
    """Get back what a run has trained: the learner (its `policy` or `model` inside) and its configuration.

    Raises:
        RunError: if the folder is no run, or its files are damaged.
    """
    from hardmem.agents.training import make_learner

    config = read_config(Path(folder))
    learner = make_learner(config, resolve_device(device))
    try:
        learner.load_state_dict(load_checkpoint(Path(folder))["learner"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"the checkpoint in {str(folder)!r} does not fit its {CONFIG}: {error}") from error
    return learner.eval(), config
