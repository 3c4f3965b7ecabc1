"""Checkpoints: two generations on disk, each written whole or not at all, checked before it is believed.

A checkpoint is a file of `torch.save` and one line after it: the format's number and a checksum of all that stands
before. `torch.load(path, weights_only=True)` reads it, too. It can hold tensors and plain data alone, so that a
stranger's file cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "checkpoint-previous.pt", "checkpoint-damaged.pt"
FORMAT = 1
"""Of what a checkpoint holds; a reader knows its own number only."""
_SEAL = re.compile(rb"hardmem checkpoint (\d{6}) ([0-9a-f]{64})\n")
_SEAL_SIZE = len("hardmem checkpoint 000000 ") + 64 + 1


class RunError(ValueError):
    """A folder that cannot be used as asked, or a damaged file in it."""


class NoCheckpointError(RunError):
    """A run that was stopped before its first checkpoint."""


class DamageWarning(UserWarning):
    """A checkpoint that cannot be used, where an older one can."""


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write the run's checkpoint; the one before it stays as the previous generation.

    A process killed at any instant leaves at least one good checkpoint: the new file is complete and synced before it
    takes its name.

    Raises:
        RunError: if it cannot be written. What was there is then still there.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    temporary = folder / (CHECKPOINT + ".tmp")
    try:
        write_synced(temporary, data + _seal(data))
        if (folder / CHECKPOINT).exists():
            os.replace(folder / CHECKPOINT, folder / PREVIOUS)
        os.replace(temporary, folder / CHECKPOINT)
        sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()  # on a full disk it is the first thing to go
        raise RunError(
            f"cannot write the checkpoint into {str(folder)!r}: {error.strerror}; the last good one is kept"
        ) from error


def load_checkpoint(
    folder: Path, *, set_aside: bool = False, check: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Read the newest checkpoint of a run that is whole, onto the CPU; a `DamageWarning` names one that is not.

    Args:
        folder: of the run.
        set_aside: rename a newest one that is not whole, so that the next to be saved does not push out the good one
            before it.
        check: is given what a whole one holds, and raises RunError if it belongs elsewhere.

    Raises:
        NoCheckpointError: if there is none.
        RunError: if none can be used.
    """
    problems = []
    for name in (CHECKPOINT, PREVIOUS):
        path = folder / name
        try:
            content = _read(path)
            if check is not None:
                check(content)
        except FileNotFoundError:
            continue
        except (OSError, RunError) as error:
            problems.append(f"cannot use the checkpoint {str(path)!r}: {error}")
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from {name} instead", DamageWarning, stacklevel=2)
            if set_aside:
                os.replace(folder / CHECKPOINT, folder / DAMAGED)
        return content
    if problems:
        raise RunError("; ".join(problems))
    raise NoCheckpointError(f"{str(folder)!r} has no {CHECKPOINT}: was it stopped before the first one?")


def _read(path: Path) -> dict[str, Any]:
    """One checkpoint, its checksum verified.

    Raises:
        RunError: saying what is wrong with it.
    """
    whole = path.read_bytes()
    data, seal = whole[:-_SEAL_SIZE], _SEAL.fullmatch(whole[-_SEAL_SIZE:])
    if seal is None:
        raise RunError("it was cut short, or it is not one of ours")
    if int(seal[1]) != FORMAT:
        raise RunError(f"it is of format {int(seal[1])}, and this version of hardmem reads format {FORMAT}")
    if hashlib.sha256(data).hexdigest().encode() != seal[2]:
        raise RunError("its checksum does not match: it is damaged")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the content leads it into
        raise RunError("it holds more than tensors and plain data: refused") from error
    return content


def _seal(data: bytes) -> bytes:
    return f"hardmem checkpoint {FORMAT:06d} {hashlib.sha256(data).hexdigest()}\n".encode()


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; where a folder cannot be opened (Windows) nothing is needed."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
