"""How the scheduler stops a job: a signal ends the calculation, but never a change of the database."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)

_computing = False
_asked: str | None = None


class Stopped(BaseException):
    """The scheduler asked this job to stop."""

    def to_dict(self) -> dict[str, Any]:
        """For FireWorks' record of the launch."""
        return {"error": str(self), "stopped": True}


def _stopped() -> Stopped:
    return Stopped(f"stopped by the scheduler ({_asked}): out of time, preempted or cancelled")


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """End the calculation that runs, or the next one before it starts."""
    global _asked, _computing
    first, _asked = _asked is None, signal.Signals(number).name
    if first and _computing:
        _computing = False
        raise _stopped()


def listen() -> None:
    """Let the scheduler's signals stop this process in its own time."""
    global _asked
    _asked = None
    for number in SIGNALS:
        signal.signal(number, _on_signal)


def asked_to_stop() -> bool:
    """Whether a signal came."""
    return _asked is not None


@contextmanager
def calculation() -> Iterator[None]:
    """The part of a job that a signal may end."""
    global _computing
    if _asked is not None:
        raise _stopped()
    _computing = True
    try:
        yield
    finally:
        _computing = False
