"""A run: one folder with its configuration, TensorBoard events, checkpoints, results and figures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from hardmem.agents.config import TrainConfig, from_json, resolve_device, to_json
from hardmem.agents.learner import Learner

CONFIG, CHECKPOINT, RESULTS = "config.json", "checkpoint.pt", "results.json"


class RunError(ValueError):
    """A folder that cannot be used as asked, or a damaged file in it."""


def create_folder(folder: Path) -> Path:
    """Make a new folder for a run; nothing that exists is ever written over.

    Raises:
        RunError: if it exists, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise RunError(f"the run folder {str(folder)!r} exists already: choose another --name, or remove it") from None
    except OSError as error:
        raise RunError(f"cannot create the run folder {str(folder)!r}: {error.strerror}") from error
    return folder


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part: temporary file, sync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
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


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write the run's checkpoint, atomically."""
    temporary = folder / (CHECKPOINT + ".tmp")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / CHECKPOINT)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a run's checkpoint; it can hold tensors and plain data only, so a stranger's file cannot run code.

    Raises:
        RunError: if there is none or it is damaged.
    """
    path = folder / CHECKPOINT
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{str(folder)!r} has no {CHECKPOINT}: was it stopped before the first one?") from None
    except Exception as error:  # torch.load raises whatever the damage leads it into
        raise RunError(f"cannot read the checkpoint {str(path)!r}: it is damaged or not one of ours") from error
    return content


def load(folder: str | Path, device: str = "auto") -> tuple[Learner, TrainConfig]:
    """Get back what a run has trained: the learner (its `policy` or `model` inside) and its configuration.

    Raises:
        RunError: if the folder is no run, or its files are damaged.
    """
    from hardmem.agents.training import make_learner

    where = resolve_device(device)
    config = read_config(Path(folder))
    learner = make_learner(config, where)
    try:
        learner.load_state_dict(load_checkpoint(Path(folder), where)["learner"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"the checkpoint in {str(folder)!r} does not fit its {CONFIG}: {error}") from error
    return learner.eval(), config
