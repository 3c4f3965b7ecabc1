"""Precision: what autocast may make cheaper, and what it may not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def as_given(device: torch.device) -> AbstractContextManager[None]:
    """No autocast in here: addresses and cells stay in the precision they come in.

    A weight rounded to eight bits no longer sums to 1, and a cell that is written a little many times is not.
    """
    return torch.autocast(device.type, enabled=False) if is_autocast(device) else nullcontext()


def is_autocast(device: torch.device) -> bool:
    """Whether there is autocast now."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
