"""How a running calculation tells its surroundings where it is, and is asked to stop."""

from __future__ import annotations

from collections.abc import Callable

# (label, step, energy eV, largest force eV/angstrom); may raise StopRequested.
_StepListener = Callable[[str, int, float, float], None]

_listener: _StepListener | None = None
_pulse: Callable[[], None] | None = None
_reuse: Callable[[], None] | None = None


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The run is to stop between two steps; nothing of the calculation is kept."""


def listen(
    listener: _StepListener | None, pulse: Callable[[], None] | None = None, reuse: Callable[[], None] | None = None
) -> None:
    """Set who is told what in this process.

    Parameters
    ----------
    listener
        Told of every step.
    pulse
        Asked between steps; may raise to stop.
    reuse
        Told when a stored result is handed out in place of a calculation.
    """
    global _listener, _pulse, _reuse  # one listener a process: the worker loop
    _listener, _pulse, _reuse = listener, pulse, reuse


def pulse() -> None:
    """Stop here if a stop was asked for: a step may take hours, and a report comes only after it."""
    if _pulse is not None:
        _pulse()


def report(label: str, step: int, energy_ev: float, max_force: float) -> None:
    """Tell the listener of one step."""
    if _listener is not None:
        _listener(label, step, energy_ev, max_force)


def handed_out() -> None:
    """Tell that a stored result was handed out: nothing was computed."""
    if _reuse is not None:
        _reuse()
