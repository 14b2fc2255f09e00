"""Engines by name."""

from __future__ import annotations

import importlib
from functools import lru_cache

from anodeflow.errors import InputError
from anodeflow.suggest import did_you_mean
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.potentials.engine import PotentialEngine
from anodeflow.workflows.engines.potentials.models import POTENTIALS

# Engines with electrons, loaded when they are asked for: name, module and class.
PROGRAMS = {
    "vasp": ("anodeflow.workflows.engines.vasp.engine", "VaspEngine"),
    "castep": ("anodeflow.workflows.engines.castep.engine", "CastepEngine"),
    "qe": ("anodeflow.workflows.engines.espresso.engine", "QeEngine"),
    "gpaw": ("anodeflow.workflows.engines.gpaw.engine", "GpawEngine"),
}


def engine_names() -> list[str]:
    """Names a study may give; ``family:PATH`` where a model file has to be named, ``@MODAL`` left out."""
    names = []
    for name, potential in POTENTIALS.items():
        names += [name] if potential.bundled else []
        names += [] if potential.bundled and not potential.by_path else [f"{name}:PATH"]
    return [*names, *PROGRAMS]


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
    if name in PROGRAMS:
        module, kind = PROGRAMS[name]
        engine: Engine = getattr(importlib.import_module(module), kind)()
        return engine
    raise InputError(f"unknown engine '{name}'", did_you_mean(name, engine_names(), most=2, cutoff=0.4))
