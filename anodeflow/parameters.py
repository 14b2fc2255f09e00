"""Names of parameters in messages: those of Python, or the options of the command line where that is what asked.

A builder of structures says ``named("max_atoms")`` where its message means its own parameter. A caller that calls the
parameter something else says so once, around the call, and gets messages that its user can follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_OPTIONS: ContextVar[Mapping[str, str] | None] = ContextVar("options", default=None)


@contextmanager
def parameters_named(options: Mapping[str, str]) -> Iterator[None]:
    """Call parameters by other names in the messages of this block.

    Parameters
    ----------
    options
        By name of the parameter, the option of the command line.
    """
    token = _OPTIONS.set(options)
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def named(parameter: str) -> str:
    """Return what whoever asked calls a parameter.

    Examples
    --------
    >>> named("max_atoms")
    'max_atoms'
    >>> with parameters_named({"max_atoms": "--max-atoms"}):
    ...     named("max_atoms")
    '--max-atoms'
    """
    return (_OPTIONS.get() or {}).get(parameter, parameter)


def setting(parameter: str, *values: object) -> str:
    """Return a parameter set to a value, or to several, as whoever asked would write it.

    Examples
    --------
    >>> setting("max_atoms", 400), setting("shift", 0.5, 0)
    ('max_atoms=400', 'shift=(0.5, 0)')
    >>> with parameters_named({"shift": "--shift"}):
    ...     setting("shift", 0.5, 0)
    '--shift 0.5 0'
    """
    name = named(parameter)
    if name.startswith("--"):
        return " ".join([name, *map(str, values)])
    return f"{name}={values[0]}" if len(values) == 1 else f"{name}=({', '.join(map(str, values))})"
