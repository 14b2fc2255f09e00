"""How far a run is, in a small file beside it, for whoever started the run: the process of a batch job."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from anodeflow.files import write_atomically
from anodeflow.workflows.local.runner import Listener

# A calculation may make many steps a second.
_SHORTEST_S = 2.0


@dataclass
class _Noted:
    """What the file holds: labels of what is done, and of each calculation the first and the last step of this run."""

    done: list[str] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class NotedProgress:
    """A listener that also writes what it is told into a file; a disk that is full does not stop the run.

    Parameters
    ----------
    file
        Where it is written.
    listener
        Who is told as well.
    """

    def __init__(self, file: Path, listener: Listener) -> None:
        self._file, self._listener = file, listener
        self._noted, self._at = _Noted(), 0.0
        self._write()

    def running(self, label: str) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._listener.running(label)

    def step(self, label: str, step: int, energy_ev: float, max_force: float) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._noted.first.setdefault(label, step)
        self._noted.reached[label] = max(step, self._noted.reached.get(label, step))
        if time.monotonic() - self._at > _SHORTEST_S:
            self._write()
        self._listener.step(label, step, energy_ev, max_force)

    def done(self, label: str, reused: bool) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._noted.done.append(label)
        self._write()
        self._listener.done(label, reused)

    def failed(self, label: str, reason: str) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._noted.failed[label] = reason
        self._write()
        self._listener.failed(label, reason)

    def close(self) -> None:
        """Write the last steps, too."""
        self._write()

    def _write(self) -> None:
        self._at = time.monotonic()
        with suppress(OSError):
            write_atomically(self._file, json.dumps(asdict(self._noted)), sync=False)
