"""Structures as pymatgen and the Materials Project write them in JSON.

Only a Structure is made, field by field: pymatgen's own decoder imports whatever module a file names.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.structures.files.elements import element_of_symbol
from anodeflow.structures.files.expansion import FULL_OCCUPANCY
from anodeflow.structures.files.opening import MAX_ATOMS, StructureText

_STATED_ANGSTROM = 0.05
"""How far the two forms of one position, or the two forms of the cell, may be apart."""
_WHERE = ("structure", "final_structure", "relaxed_structure")


def read_pymatgen_json(source: StructureText) -> Structure:
    """Read the structure of a JSON file: a pymatgen Structure, or a document that holds one as ``structure``.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    Structure
        With partial occupancies where the file has them; without oxidation states and properties.

    Raises
    ------
    InputError
        It is not JSON, holds no Structure or several, or one with a value that is not usable.
    """
    try:
        document = json.loads(source.text)
    except ValueError as error:
        raise source.unreadable(f"not JSON: {error}"[:200]) from None
    return _structure(source, _found(source, document))


def _found(source: StructureText, document: Any) -> dict[str, Any]:
    """The one dictionary of a Structure in a document."""
    if isinstance(document, list):
        if len(document) != 1:
            raise InputError(f"structure file {source.path} holds {len(document)} structures", "keep one")
        return _found(source, document[0])
    if not isinstance(document, dict):
        raise source.unreadable("it holds no pymatgen Structure")
    if "lattice" in document and "sites" in document:
        kind = document.get("@class", "Structure")
        if kind not in ("Structure", "IStructure", "SymmetrizedStructure"):
            raise source.unreadable(f"it holds a {str(kind)[:40]!r}, not a Structure")
        return document
    held = [document[key] for key in _WHERE if isinstance(document.get(key), dict)]
    if not held and isinstance(document.get("data"), (list, dict)):
        return _found(source, document["data"])
    if len(held) != 1:
        raise source.unreadable("it holds no pymatgen Structure" if not held else "it holds several structures")
    return _found(source, held[0])


def _structure(source: StructureText, data: dict[str, Any]) -> Structure:
    cell = data["lattice"]
    matrix = _floats(cell.get("matrix") if isinstance(cell, dict) else None, (3, 3))
    sites = data["sites"]
    if matrix is None or not abs(np.linalg.det(matrix)) > 1e-3:
        raise source.unreadable("its lattice has no matrix of three vectors")
    if cell.get("pbc", [True] * 3) not in ([True] * 3, (True,) * 3):
        raise source.unreadable(f"its lattice is periodic along {cell['pbc']}, not in three directions")
    if not isinstance(sites, list) or not 0 < len(sites) <= MAX_ATOMS:
        raise source.unreadable(f"it has no list of 1 to {MAX_ATOMS} sites")
    lattice = Lattice(matrix)
    for name in ("a", "b", "c", "alpha", "beta", "gamma", "volume"):
        stated = cell.get(name)
        if isinstance(stated, (int, float)) and not math.isclose(stated, getattr(lattice, name), rel_tol=5e-3):
            raise source.unreadable(
                f"its lattice states {name} {stated:g}, the vectors make {getattr(lattice, name):g}"
            )
    species, coords = [], []
    for n, site in enumerate(sites, start=1):
        held = site.get("species") if isinstance(site, dict) else None
        abc = _floats(site.get("abc"), (3,)) if isinstance(site, dict) else None
        xyz = _floats(site.get("xyz"), (3,)) if isinstance(site, dict) else None
        if xyz is not None and "abc" not in site:
            abc = lattice.get_fractional_coords(xyz)
        if abc is None or not isinstance(held, list) or not held:
            raise source.unreadable(f"site {n} has no position or no species")
        if xyz is not None and np.linalg.norm(lattice.get_cartesian_coords(abc) - xyz) > _STATED_ANGSTROM:
            raise source.unreadable(f"site {n} has two positions, abc and xyz, that differ")
        species.append(_species(source, n, held))
        coords.append(abc)
    return Structure(lattice, species, np.array(coords))


def _species(source: StructureText, n: int, held: list[Any]) -> dict[str, float]:
    species: dict[str, float] = {}
    for item in held:
        name = item.get("element") if isinstance(item, dict) else None
        occupancy = _floats(item.get("occu", 1), ()) if isinstance(item, dict) else None
        if not isinstance(name, str) or occupancy is None or not 0 < occupancy <= FULL_OCCUPANCY:
            raise source.unreadable(f"site {n} has the species {json.dumps(item)[:80]}")
        try:
            element = element_of_symbol(name)
        except ValueError as error:
            raise source.unreadable(f"site {n}: {error}") from None
        species[element] = species.get(element, 0.0) + float(occupancy)
    total = sum(species.values())
    if total > FULL_OCCUPANCY:
        raise source.unreadable(f"site {n} is occupied {total:.4g} times")
    return {element: amount / max(total, 1.0) for element, amount in species.items()}


def _floats(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of finite numbers of this shape, None if the value is not one."""
    try:
        array = np.array(value, dtype=float) if not isinstance(value, (str, bool, dict)) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array is not None and array.shape == shape and np.isfinite(array).all() else None
