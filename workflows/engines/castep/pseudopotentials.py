"""CASTEP's pseudopotentials: which file serves an element, and how many electrons it brings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from anodeflow.errors import EngineError
from anodeflow.settings import CastepSettings
from anodeflow.workflows.engines.plane_waves.folder import potentials_folder

_SUFFIXES = ("usp", "uspcc", "recpot", "upf", "otfg")
# Electrons of the on-the-fly ultrasoft potentials (C19 and its forerunners).
VALENCE = {
    "H": 1, "Li": 3, "B": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Na": 9, "Mg": 10, "Al": 3, "Si": 4, "P": 5, "S": 6,
    "Cl": 7, "Br": 7, "I": 7,
}  # fmt: skip


def pseudopotentials_of(elements: Iterable[str], settings: CastepSettings) -> dict[str, Path]:
    """Return the file of each element; nothing where the on-the-fly potentials are used.

    Raises
    ------
    EngineError
        As :func:`_find_potential`.
    """
    folder = potentials_folder(settings.potentials)
    return {} if folder is None else {element: _find_potential(element, folder) for element in sorted(set(elements))}


def _find_potential(element: str, folder: Path) -> Path:
    """Return the pseudopotential file of one element: ``Li.usp``, ``Li_C19_PBE_OTF.usp``, ``Li_00PBE.usp``, ...

    Raises
    ------
    EngineError
        If there is none, or several and not exactly one has PBE in its name; the folder tried is named.
    """
    if not folder.is_dir():
        raise EngineError(
            f"CASTEP pseudopotentials: '{folder}' is not a folder", "set castep: potentials: in the settings"
        )
    pattern = re.compile(rf"{element}(?:[_.-].*)?\.(?:{'|'.join(_SUFFIXES)})\Z", re.IGNORECASE)
    files = sorted(p for p in folder.iterdir() if pattern.match(p.name) and p.name.startswith(element) and p.is_file())
    chosen = files if len(files) == 1 else [p for p in files if "PBE" in p.name.upper()]
    if len(chosen) == 1:
        return chosen[0]
    if not files:
        raise EngineError(
            f"CASTEP pseudopotential of {element}: no {element}_*.{{{','.join(_SUFFIXES)}}} in '{folder}'",
            "put one there, or name an on-the-fly library in the settings",
        )
    raise EngineError(
        f"CASTEP pseudopotential of {element}: {', '.join(p.name for p in files)} in '{folder}'", "leave one there"
    )
