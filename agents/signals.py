"""Signals: SIGINT and SIGTERM ask a training to stop after its update; the second one stops it where it is."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A training that was asked to stop and did, after a checkpoint.

    Attributes:
        exit_code: what a shell expects of a process that a signal ended, 128 + its number.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)  # both, so that it can be sent from process to process
        self.message, self.exit_code = message, exit_code

    def __str__(self) -> str:
        """The message alone."""
        return self.message


class StopRequest:
    """While this lasts, the first SIGINT or SIGTERM is noted instead of obeyed; what comes after it is obeyed.

    Signals reach a program's main thread only, so elsewhere this does nothing; one that is ignored stays ignored.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
