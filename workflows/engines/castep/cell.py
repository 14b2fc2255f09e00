"""The ``.cell`` file of CASTEP, and what CASTEP makes of a cell: names of atoms, symmetry, axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import spglib
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.engines.castep.keywords import CELL, SEED, check_keywords
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, moments_of_atoms

_SYMMETRY_ANGSTROM = 1e-4


def cartesian_axis(structure: Structure, axis: int) -> int:
    """The Cartesian direction normal to the slab whose vacuum lies along one lattice vector.

    Raises
    ------
    EngineError
        If the normal is none of x, y and z: CASTEP knows no other direction of a dipole correction.
    """
    matrix = structure.lattice.matrix
    normal = np.cross(matrix[(axis + 1) % 3], matrix[(axis + 2) % 3])
    normal = np.abs(normal / np.linalg.norm(normal))
    best = int(np.argmax(normal))
    if normal[best] < 1.0 - 1e-5:
        raise EngineError(
            f"dipole correction: the normal of the slab {structure.formula} is ({normal[0]:.3f}, {normal[1]:.3f}, "
            f"{normal[2]:.3f}), and CASTEP corrects along x, y or z only",
            "turn the cell so that the surface lies in a Cartesian plane",
        )
    return best


def frozen_components(structure: Structure) -> np.ndarray:
    """Which Cartesian components of which atoms are held, shape (N, 3), from ``selective_dynamics``."""
    free = structure.site_properties.get("selective_dynamics")
    if free is None:
        return np.zeros((len(structure), 3), dtype=bool)
    return np.array([[True] * 3 if row is None else list(row) for row in free], dtype=bool) ^ True


def number_in_species(structure: Structure) -> list[tuple[str, int]]:
    """Symbol and number within its species, from 1, of every atom: the names CASTEP gives them."""
    counts: dict[str, int] = {}
    names = []
    for site in structure:
        symbol = site.specie.symbol
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append((symbol, counts[symbol]))
    return names


def uses_symmetry(structure: Structure, settings: Electronic) -> bool:
    """Whether CASTEP is to use the symmetry of the cell (see the head of this file)."""
    if settings.spin_polarised or any(settings.shifted) or frozen_components(structure).any():
        return False
    cell = (
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [site.specie.Z for site in structure],
    )
    symmetry = spglib.get_symmetry(cell, symprec=_SYMMETRY_ANGSTROM)
    if symmetry is None or len(symmetry["rotations"]) < 2:
        return False
    mesh = np.asarray(settings.mesh)
    unlike = mesh[:, None] != mesh[None, :]
    return not any((np.asarray(rotation) != 0)[unlike].any() for rotation in symmetry["rotations"])


def cell_text(
    structure: Structure,
    task: Task | None,
    settings: Electronic,
    potentials: Mapping[str, str] | None = None,
    library: str | None = None,
    symmetric: bool = True,
) -> str:
    """The ``.cell`` file.

    Parameters
    ----------
    structure
        The geometry; ``selective_dynamics`` becomes constraints on Cartesian components.
    task
        What to do; None for molecular dynamics.
    settings
        What the card means for the cell.
    potentials
        Element: file name. Elements without one take CASTEP's on-the-fly potentials.
    library
        Name of an on-the-fly library.
    symmetric
        Whether what symmetry there is may be used.

    Raises
    ------
    EngineError
        For ``relax_c`` where c is not normal to a and b.
    """
    out = _block("LATTICE_CART", ["ang", *(_row(v) for v in structure.lattice.matrix)])
    moments = moments_of_atoms(structure, settings) if settings.spin_polarised else [0.0] * len(structure)
    atoms = [
        f"{site.specie.symbol:<3}{_row(site.frac_coords)}" + (f" SPIN= {moment:.6f}" if moment else "")
        for site, moment in zip(structure, moments, strict=True)
    ]
    out += _block("POSITIONS_FRAC", atoms)
    entries = {"kpoint_mp_grid": " ".join(map(str, settings.mesh)), "kpoint_mp_offset": _offset(settings)}
    if symmetric and uses_symmetry(structure, settings):
        entries |= {"symmetry_generate": "", "snap_to_symmetry": "", "symmetry_tol": f"{_SYMMETRY_ANGSTROM:g} ang"}
    frozen = frozen_components(structure)
    moves = task != "static"
    if moves and frozen.all():
        entries["fix_all_ions"] = "true"
    elif moves:
        entries["fix_com"] = "false" if frozen.any() else "true"
    if task in ("relax", None):
        entries["fix_all_cell"] = "true"
    check_keywords(entries, CELL, f"{SEED}.cell")
    out += [f"{name.upper()} : {value}" if value else name.upper() for name, value in entries.items()] + [""]
    if task == "relax_c":
        check_c_is_normal(structure)
        out += _block("CELL_CONSTRAINTS", ["0 0 1", "0 0 0"])
    if moves and frozen.any() and not frozen.all():
        out += _block("IONIC_CONSTRAINTS", _constraints(structure, frozen))
    pseudo = [library] if library else []
    pseudo += [f"{element:<3} {file}" for element, file in sorted((potentials or {}).items())]
    if pseudo:
        out += _block("SPECIES_POT", pseudo)
    return "\n".join(out).rstrip() + "\n"


def _block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"%BLOCK {name}", *lines, f"%ENDBLOCK {name}", ""]


def _row(vector: Iterable[float]) -> str:
    return " ".join(f"{0.0 if abs(x) < 5e-13 else x:18.12f}" for x in vector)


def _offset(settings: Electronic) -> str:
    """A mesh with Gamma on it: CASTEP's own one misses it along axes with an even number by half a step."""
    steps = (0.5 / n if settings.gamma_centred and n % 2 == 0 else 0.0 for n in settings.mesh)
    return " ".join(f"{x:.12g}" for x in steps)


def _constraints(structure: Structure, frozen: np.ndarray) -> list[str]:
    lines: list[str] = []
    for (symbol, number), held in zip(number_in_species(structure), frozen, strict=True):
        for axis in np.flatnonzero(held):
            unit = " ".join(f"{float(axis == i):.1f}" for i in range(3))
            lines.append(f"{len(lines) + 1:5d} {symbol:<3}{number:5d}  {unit}")
    return lines


def check_c_is_normal(structure: Structure) -> None:
    """Refuse to relax the cell along z where that is not the length of c alone.

    CASTEP constrains the lengths a, b, c and the angles; a length c at fixed angles is a strain along the normal of
    a and b only if c is parallel to it.

    Raises
    ------
    EngineError
        If c leans by more than 0.01 degrees.
    """
    if max(abs(structure.lattice.alpha - 90.0), abs(structure.lattice.beta - 90.0)) > 0.01:
        raise EngineError(
            f"CASTEP cannot relax the height of {structure.formula} alone: c is not normal to a and b "
            f"(alpha {structure.lattice.alpha:.2f}, beta {structure.lattice.beta:.2f} degrees)",
            "use a cell with c along the normal, or an engine that masks the stress",
        )
