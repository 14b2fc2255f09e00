"""Where a relaxation starts: from the geometry of a cheap engine, then of the engine itself with fewer k-points.

Neither changes what the relaxation ends in within its tolerances, so neither is part of a calculation's fingerprint.
The geometry of the coarser mesh needs a step or two of the finer one; its own steps cost a quarter to an eighth. The
calculation's folder keeps it: one that is killed in its first step, which can take half an hour, begins there again.
A metal has no coarser mesh where that would be too coarse for its forces: see :func:`coarser`.
Atoms that were displaced to begin with, and that the coarser mesh brought back to a symmetric geometry, are put there:
the finer one then needs only the irreducible k-points.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.files import write_atomically
from anodeflow.structures.symmetry import keep_symmetry, returned_to_symmetry
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Monitor, Request
from anodeflow.workflows.engines.plane_waves.electronic import may_hold_metal, vacuum_axes
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.folders import make_folder

# A coarser mesh that saves less than this is not worth a separate relaxation.
_LEAST_SAVING = 3
# Reciprocal lengths without 2 pi. From coarser meshes than this, metals need as many steps of the fine one as without:
# see coarser().
_COARSEST_OF_METALS_PER_ANGSTROM = 0.065
_FILE = "first_geometry.json"


@dataclass
class FirstGeometry:
    """The geometry that a relaxation starts from, and where it comes from.

    Parameters
    ----------
    structure
        The geometry.
    engine
        The cheap engine that relaxed it; None: none did.
    mesh
        The k-mesh with which the engine itself relaxed it; None: it did not.
    notes
        Why a start that was asked for was not to be had.
    space_group
        The symmetry that the coarser mesh came back to from displaced atoms, and that is kept from then on; None: none.
    """

    structure: Structure
    engine: EngineRecord | None = None
    mesh: tuple[int, int, int] | None = None
    notes: list[str] = field(default_factory=list)
    space_group: str | None = None


def first_geometry(
    request: Request,
    engine: Engine,
    folder: Path | None,
    warm_start: str | None,
    coarse_start: bool,
    monitor: Monitor | None = None,
) -> FirstGeometry:
    """Return the geometry to start a relaxation from.

    A relaxation with the coarser mesh has a separate folder beside `folder`, so that a killed one is continued.

    Parameters
    ----------
    request
        The relaxation.
    engine
        Who computes it.
    folder
        Its folder, which does not exist yet; None: it has none.
    warm_start
        Name of the cheap engine; None: none.
    coarse_start
        Whether the engine itself relaxes with a coarser mesh first.
    monitor
        Called after every step of that relaxation; may raise to stop.
    """
    coarse = coarser(request.card, request.structure) if coarse_start and engine.capabilities.kpoints else None
    place = folder if coarse is None or folder is None else folder.with_name(f"{folder.name}-coarse")
    first = FirstGeometry(request.structure)
    if warm_start is not None:
        first = warmed(request, warm_start, place if engine.capabilities.takes_curvatures else None)
    if coarse is not None:
        if place is not None:
            make_folder(place)
        outcome = engine.compute(Request(first.structure, request.task, coarse, request.charge), place, monitor)
        if outcome.converged:
            first.structure = keep_symmetry(request.structure, outcome.structure)
            first.mesh = coarse.kpoint_mesh(request.structure)
            returned = returned_to_symmetry(first.structure) if request.task == "relax" else None
            if returned is not None:
                first.structure, first.space_group = returned
        else:
            first.notes.append(f"no start from a coarser k-mesh: {outcome.error}")
    if folder is not None and (first.engine is not None or first.mesh is not None):
        _keep(first, folder, place)
    return first


def kept_first_geometry(folder: Path | None, structure: Structure) -> FirstGeometry:
    """Return where an earlier attempt in this folder began; `structure` where it left no such thing."""
    try:
        content = json.loads((folder / _FILE).read_text()) if folder is not None else {}
        record = content["engine"]
        return FirstGeometry(
            Structure.from_dict(content["structure"]),
            None if record is None else EngineRecord.model_validate(record),
            content["mesh"] and tuple(content["mesh"]),
            content["notes"],
            content.get("space_group"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return FirstGeometry(structure)


def _keep(first: FirstGeometry, folder: Path, source: Path | None) -> None:
    """Write where a relaxation begins into its folder, with the curvatures that are in the folder `source`."""
    make_folder(folder)
    if source is not None and source != folder:
        from anodeflow.workflows.engines.motion.hessian import FILE, make_symmetric  # see warmed()

        if (source / FILE).is_file():
            shutil.copyfile(source / FILE, folder / FILE)
            if first.space_group is not None:
                make_symmetric(folder, first.structure)
    record = None if first.engine is None else first.engine.model_dump(mode="json")
    content = {
        "structure": first.structure.as_dict(), "engine": record, "mesh": first.mesh, "notes": first.notes,
        "space_group": first.space_group,
    }  # fmt: skip
    write_atomically(folder / _FILE, json.dumps(content), sync=False)


def coarser(card: MethodCard, structure: Structure) -> MethodCard | None:
    """Return the card with half as many k-points along each axis; None where that saves little or misleads.

    A metal is not relaxed with a spacing of more than 0.065 per angstrom. The filled bands of an insulator are summed
    with an error that falls off exponentially with the number of points, a Fermi surface with a power of it: a smearing
    of 0.1 eV is 0.001 per angstrom at the Fermi velocity of Al, a fiftieth of such a spacing, and smooths nothing.
    Measured (GPAW, PBE, that smearing, a card of 0.04 per angstrom): of Al(111), 36 atoms, 4x4x1 halved to 2x2x1,
    0.067, left forces of 0.27 eV per angstrom and 0.68 eV to go in five steps; LiAl at 0.075 left 0.15, Al and Li at
    0.059 and 0.063 left 0.01 to 0.08, insulators at 0.055 to 0.077 at most 0.06, and mostly no step to go.

    Parameters
    ----------
    card
        That of the calculation.
    structure
        Its cell.
    """
    mesh = card.kpoint_mesh(structure)
    empty = vacuum_axes(structure)
    if mesh is None or card.kpoints is None or all(empty):
        return None
    # there is one point along a vacuum, whatever the spacing says
    half = tuple(1 if gap else math.ceil(number / 2) for number, gap in zip(mesh, empty, strict=True))
    periodic = [number for number, gap in zip(mesh, empty, strict=True) if not gap]
    if math.prod(periodic) < _LEAST_SAVING * math.prod(half):
        return None
    if may_hold_metal(structure):
        lengths = structure.lattice.reciprocal_lattice_crystallographic.abc
        spacings = [length / number for length, number, gap in zip(lengths, half, empty, strict=True) if not gap]
        if max(spacings) > _COARSEST_OF_METALS_PER_ANGSTROM:
            return None
    return card.varied("coarse k-mesh", kpoints={"mesh": half, "centre": card.kpoints.centre})


def warmed(request: Request, engine: str, folder: Path | None = None) -> FirstGeometry:
    """Return the geometry that a cheap engine relaxes to.

    Parameters
    ----------
    request
        The expensive relaxation.
    engine
        Name of the cheap engine.
    folder
        Folder of the expensive calculation, where the curvatures of the cheap one are left for its optimiser if the
        cell is fixed and not too large; None for an engine that cannot begin with them.
    """
    structure, card = request.structure, request.card
    cheap = get_engine(engine)
    outcome = cheap.compute(Request(structure, request.task, card))
    if not outcome.converged:
        return FirstGeometry(structure, notes=[f"no warm start: {engine}: {outcome.error}"])
    start = keep_symmetry(structure, outcome.structure)
    if folder is not None and request.task == "relax":
        # Here, because ASE's symmetry and optimisers take a third of a second to import, and a plan needs neither.
        from anodeflow.workflows.engines.motion.hessian import curvatures, write_curvatures
        from anodeflow.workflows.engines.motion.relax import FIRST_CURVATURE_OF_IONS

        matrix = curvatures(start, cheap.ase_calculator(start, card), FIRST_CURVATURE_OF_IONS)
        if matrix is not None:
            make_folder(folder)
            write_curvatures(folder, matrix)
    return FirstGeometry(start, cheap.record(structure.symbol_set))
