"""What a method card means in GPAW's words: keywords of the calculator, and a script that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.structures.symmetry import centre_of_symmetry
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import D3, NEIGHBOURS_BOHR, PAIRS_BOHR, d3_of
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.engines.gpaw.data_sets import valence_electrons
from anodeflow.workflows.engines.plane_waves.electronic import (
    Electronic,
    electronic,
    electrons,
    moments_of_atoms,
    widest_gap,
)
from anodeflow.workflows.engines.plane_waves.folder import write_files

LOG = "gpaw.txt"
SCF_STEPS = 150
_LONG_ANGSTROM = 20.0
# GPAW's names of the card's smearings; its Methfessel-Paxton of order 0 is the Gaussian one.
_OCCUPATIONS: dict[str, dict[str, Any]] = {
    "gaussian": {"name": "methfessel-paxton", "order": 0},
    "methfessel-paxton": {"name": "methfessel-paxton", "order": 1},
    "fermi-dirac": {"name": "fermi-dirac"},
    "marzari-vanderbilt": {"name": "marzari-vanderbilt"},
}
# GPAW counts the energy criterion per valence electron, and no tighter than makes sense in double precision.
_TIGHTEST_EV_PER_ELECTRON = 1e-8
_LOOSEST_EV_PER_ELECTRON = 5e-4


@dataclass(frozen=True)
class Inputs:
    """The inputs of one calculation.

    Attributes
    ----------
    structure
        The geometry.
    settings
        What the card means for it.
    keywords
        Of GPAW's calculator, as plain numbers and names.
    title
        What the script says of itself.
    dispersion
        The correction that the script adds.
    """

    structure: Structure
    settings: Electronic
    keywords: dict[str, Any]
    title: str
    dispersion: D3 | None = None

    def calculator(self, folder: Path | None = None) -> Any:
        """Return GPAW's calculator, without dispersion; its text goes to the folder, or nowhere."""
        from gpaw import GPAW

        return GPAW(**self.keywords, txt=None if folder is None else str(folder / LOG))

    def write(self, folder: Path) -> list[str]:
        """Write the geometry and a script that computes its energy, forces and stress; return the files' names."""
        lines = "\n".join(f"    {key}={value!r}," for key, value in self.keywords.items())
        imports, added = "", ""
        if self.dispersion is not None:
            imports = "from ase.units import Bohr\nfrom dftd3.ase import DFTD3\n"
            damping = "d3bj" if "a1" in self.dispersion.parameters else "d3zero"
            cutoffs = f'{{"disp2": {PAIRS_BOHR!r} * Bohr, "cn": {NEIGHBOURS_BOHR!r} * Bohr}}'
            added = (
                f"# {self.dispersion.name}, {self.dispersion.source}\n"
                f"atoms.calc = DFTD3(\n    damping={damping!r},\n"
                f"    params_tweaks={dict(self.dispersion.parameters)!r},\n"
                f"    realspace_cutoff={cutoffs},\n).add_calculator(atoms.calc)\n"
            )
        script = (
            f'"""{self.title}"""\n\n'
            f"from ase.io import read\n{imports}from gpaw import GPAW\n\n"
            'atoms = read("start.vasp", format="vasp")\n'
            f'atoms.calc = GPAW(\n{lines}\n    txt="{LOG}",\n)\n{added}'
            "print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())\n"
        )
        return write_files(folder, {"start.vasp": self.structure.to(fmt="poscar"), "gpaw_input.py": script})


def inputs_of(request: Request) -> Inputs:
    """Return the inputs of a calculation.

    Raises
    ------
    InputError, EngineError
        As :func:`electronic`; or if an element has no data set.
    """
    structure, card, task = request.structure, request.card, request.task
    settings = electronic(structure, task, card, request.charge)
    title = f"Card {card.name}; anodeflow relaxes this cell with the task {task}."
    return Inputs(structure, settings, keywords(structure, settings), title, d3_of(card))


def point_inputs(structure: Structure, card: MethodCard, charge: int, like: Structure | None = None) -> Inputs:
    """Return the inputs of one geometry of a band or of dynamics.

    The dipole correction is left out, the same for all geometries, and so is the symmetry, which the first one may have
    and a later one not.

    Parameters
    ----------
    structure, card, charge
        As of a :class:`Request`.
    like
        The first geometry of all, which decides mesh, spin and smearing.

    Raises
    ------
    InputError, EngineError
        As :func:`inputs_of`.
    """
    plain = card.model_copy(update={"dipole_correction": False})
    task: Task = "relax"
    settings = electronic(like or structure, task, plain, charge)
    words = keywords(structure, settings) | {"symmetry": {"point_group": False}}
    return Inputs(structure, settings, words, f"Card {card.name}; one geometry of many.", d3_of(card))


def keywords(structure: Structure, settings: Electronic) -> dict[str, Any]:
    """Return GPAW's keywords for one cell, as plain numbers and names.

    Parameters
    ----------
    structure
        The geometry.
    settings
        What the card means for it.
    """
    number = electrons(structure, {e: valence_electrons(e) for e in structure.symbol_set}, settings.charge)
    per_electron = settings.energy_tolerance_ev / max(1, number)
    size = list(settings.mesh)
    words: dict[str, Any] = {
        # the estimate of dE/d(cutoff) takes the Pulay part out of the stress
        "mode": {"name": "pw", "ecut": settings.cutoff_ev, "dedecut": "estimate"},
        "xc": settings.functional,
        "kpts": {"size": size, "gamma": True} if settings.gamma_centred else {"size": size},
        "charge": settings.charge,
        "spinpol": settings.spin_polarised,
        "maxiter": SCF_STEPS,
        "convergence": {"energy": min(max(per_electron, _TIGHTEST_EV_PER_ELECTRON), _LOOSEST_EV_PER_ELECTRON)},
    }
    if settings.spin_polarised:
        words["magmoms"] = moments_of_atoms(structure, settings)
    if settings.smearing.kind == "none":
        words["occupations"] = {"name": "fermi-dirac", "width": 0.0}
    else:
        words["occupations"] = _OCCUPATIONS[settings.smearing.kind] | {"width": settings.smearing.width_ev}
    if settings.isolated and settings.spin_polarised and len(structure) == 1:
        # an atom keeps Hund's moment; without this its occupations may wander
        words["occupations"]["fixmagmom"] = True
    if max(structure.lattice.abc) > _LONG_ANGSTROM and not settings.isolated:
        # charge sloshes along a long cell: a longer memory needs a third fewer iterations
        words["mixer"] = {"backend": "pulay", "beta": 0.05, "nmaxold": 8, "weight": 100.0}
    if settings.dipole_axis is not None:
        words["poissonsolver"] = {"dipolelayer": ("yz", "xz", "xy")[settings.dipole_axis]}
    return words


def moved_for_gpaw(structure: Structure, dipole_axis: int | None) -> tuple[Structure, np.ndarray | None]:
    """Return the cell with its atoms where GPAW makes the most of it.

    The vacuum of a slab with a dipole layer goes to the boundary. The centre of symmetry goes to the origin: GPAW uses
    operations without translations only.

    Parameters
    ----------
    structure
        The cell.
    dipole_axis
        Along which the dipole layer lies; None: there is none.

    Returns
    -------
    structure, moved
        The cell, and what was added to the fractional coordinates, shape (N, 3); None where nothing was moved.
    """
    centre = centre_of_symmetry(structure)
    if dipole_axis is not None:
        centre[dipole_axis] = 0.0  # its vacuum decides
        cell, moved = vacuum_at_the_boundary(structure, dipole_axis)
    elif not centre.any():
        return structure, None
    else:
        cell, moved = structure.copy(), np.zeros((len(structure), 3))
    if centre.any():
        cell.translate_sites(range(len(cell)), -centre, to_unit_cell=False)
    return cell, moved - centre


def vacuum_at_the_boundary(structure: Structure, axis: int) -> tuple[Structure, np.ndarray]:
    """Return a slab whose vacuum lies at the cell's boundary, where GPAW puts its dipole layer.

    Along `axis` the new cell is not periodic.

    Returns
    -------
    structure, moved
        The slab, and what was added to the fractional coordinates, shape (N, 3).
    """
    _, middle = widest_gap(structure, axis)
    along = structure.frac_coords[:, axis]
    moved = np.zeros((len(structure), 3))
    moved[:, axis] = np.mod(np.mod(along, 1.0) - middle, 1.0) - along
    lattice = Lattice(structure.lattice.matrix, pbc=tuple(i != axis for i in range(3)))  # type: ignore[arg-type]
    slab = Structure(
        lattice, structure.species, structure.frac_coords + moved, site_properties=structure.site_properties
    )
    return slab, moved


def put_back(computed: Structure, start: Structure, moved: np.ndarray) -> Structure:
    """Undo :func:`moved_for_gpaw`."""
    return Structure(
        computed.lattice.matrix,
        computed.species,
        computed.frac_coords - moved,
        site_properties=start.site_properties,
    )
