"""How a running calculation tells its surroundings where it is, and is asked to stop."""

from __future__ import annotations

from collections.abc import Callable

# (label, step, energy eV, largest force eV/angstrom); may raise StopRequested.
StepListener = Callable[[str, int, float, float], None]

_listener: StepListener | None = None
_pulse: Callable[[], None] | None = None


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The run is to stop between two steps; nothing of the calculation is kept."""


def listen(listener: StepListener | None, pulse: Callable[[], None] | None = None) -> None:
    """Set who is told of every step in this process, and who is asked between steps; the latter may raise to stop."""
    global _listener, _pulse  # one listener a process: the worker loop
    _listener, _pulse = listener, pulse


def pulse() -> None:
    """Stop here if a stop was asked for: a step may take hours, and a report comes only after it."""
    if _pulse is not None:
        _pulse()


def report(label: str, step: int, energy_ev: float, max_force: float) -> None:
    """Tell the listener of one step."""
    if _listener is not None:
        _listener(label, step, energy_ev, max_force)
