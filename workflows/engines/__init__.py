"""Engines by name."""

from __future__ import annotations

import difflib
from functools import lru_cache

from anodeflow.errors import InputError
from anodeflow.workflows.engines.base import Capabilities, Engine, Outcome
from anodeflow.workflows.engines.potentials import POTENTIALS, PotentialEngine

__all__ = ["Capabilities", "Engine", "Outcome", "engine_names", "get_engine"]


def engine_names() -> list[str]:
    """Names a study may give; ``family:PATH`` where a model file has to be named."""
    return [name if potential.bundled else f"{name}:PATH" for name, potential in POTENTIALS.items()]


@lru_cache(maxsize=8)
def get_engine(name: str) -> Engine:
    """The engine of this name.

    Raises
    ------
    InputError
        If there is none; the nearest names are offered.
    """
    family = name.partition(":")[0]
    if family in POTENTIALS:
        return PotentialEngine(name)
    near = difflib.get_close_matches(name, engine_names(), n=2, cutoff=0.4)
    raise InputError(
        f"unknown engine '{name}'",
        f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(engine_names())}",
    )
