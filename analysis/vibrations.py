"""Free energy of a harmonic crystal at the volume of 0 K, from the forces on displaced atoms.

F = sum_i [h nu_i / 2 + k T ln(1 - exp(-h nu_i / k T))] over the modes of a mesh of wave vectors, by phonopy (Togo and
Tanaka, Scr. Mater. 108, 1 (2015), doi:10.1016/j.scriptamat.2015.07.021). Thermal expansion and electrons are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from anodeflow.documents import CalculationDoc, Document
from anodeflow.errors import ConvergenceError, StructureError
from anodeflow.units import EV_TO_KJ_PER_MOL, GAS_CONSTANT_J_PER_MOL_K

if TYPE_CHECKING:
    from phonopy import Phonopy

#: A mode below this, in THz (imaginary ones count as negative), says that the crystal is not a minimum.
_SOFTEST_THZ = -0.1
#: Of the mesh of wave vectors: length, in angstrom, that one step of it stands for.
_MESH_LENGTH_ANGSTROM = 100.0
_MOVED_ANGSTROM = 1e-4


class VibrationsDoc(Document):
    """Vibrations of one crystal."""

    doc_type: Literal["VibrationsDoc"] = "VibrationsDoc"
    crystal: str
    temperature_k: float
    free_energy_ev_per_atom: float | None = Field(None, description="of vibrations at the temperature")
    zero_point_ev_per_atom: float | None = Field(None, description="the same at 0 K")
    entropy_k_per_atom: float | None = Field(None, description="of vibrations, in units of Boltzmann's constant")
    lowest_thz: float | None = Field(None, description="lowest frequency of the mesh; negative: imaginary")
    highest_thz: float | None = None
    repeats: tuple[int, int, int] | None = Field(None, description="of the computed cell's vectors")
    atoms: int | None = Field(None, description="of the supercell")
    displaced_cells: int = 0
    displacement_angstrom: float | None = None
    calculations: list[str] = Field(default_factory=list, description="fingerprints")
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    @property
    def converged(self) -> bool:
        """Whether there is a result."""
        return self.free_energy_ev_per_atom is not None


def vibrations_doc(
    crystal: str, phonons: Phonopy, calculations: Sequence[CalculationDoc | None], temperature_k: float
) -> VibrationsDoc:
    """Return the free energy of a crystal's vibrations.

    Parameters
    ----------
    crystal
        Its name.
    phonons
        Phonopy's model of the relaxed crystal, whose forces are set here.
    calculations
        Single points of supercells with one displaced atom.
    temperature_k
        At which the free energy is wanted.

    Returns
    -------
    VibrationsDoc
        Without a free energy where a mode is imaginary.

    Raises
    ------
    ConvergenceError
        If a supercell was not computed, or its forces are missing.
    StructureError
        If a supercell is not the crystal with one atom displaced.
    """
    done = [c for c in calculations if c is not None and c.converged]
    if len(done) < len(calculations) or not done:
        raise ConvergenceError(
            f"{crystal}: {len(calculations) - len(done)} of {len(calculations)} displaced cells did not converge",
            "see anodeflow results --what calculations",
        )
    moved = [_displacement(crystal, phonons, calculation) for calculation in done]
    data: Any = {"natom": len(phonons.supercell), "first_atoms": moved}
    phonons.dataset = data
    phonons.produce_force_constants(show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False)
    phonons.run_mesh(_MESH_LENGTH_ANGSTROM)
    mesh: Any = phonons.get_mesh_dict()
    frequencies = np.asarray(mesh["frequencies"])
    doc = VibrationsDoc(
        crystal=crystal,
        temperature_k=temperature_k,
        lowest_thz=float(frequencies.min()),
        highest_thz=float(frequencies.max()),
        repeats=_repeats(phonons),
        atoms=len(phonons.supercell),
        displaced_cells=len(done),
        displacement_angstrom=float(np.linalg.norm(moved[0]["displacement"])),
        calculations=[calculation.fingerprint for calculation in done],
    )
    if frequencies.min() < _SOFTEST_THZ:
        doc.error = (
            f"{crystal}: a mode at {frequencies.min():.2f} THz is imaginary, so the crystal is not a minimum with this "
            "engine in this cell; no free energy"
        )
        return doc
    phonons.run_thermal_properties(temperatures=[0.0, temperature_k], exclude_gamma_acoustic=True)
    thermal = phonons.get_thermal_properties_dict()
    atoms = len(phonons.primitive)
    zero, warm = (float(value) / EV_TO_KJ_PER_MOL / atoms for value in thermal["free_energy"])
    doc.zero_point_ev_per_atom, doc.free_energy_ev_per_atom = zero, warm
    doc.entropy_k_per_atom = float(thermal["entropy"][1]) / GAS_CONSTANT_J_PER_MOL_K / atoms
    return doc


def _repeats(phonons: Phonopy) -> tuple[int, int, int]:
    a, b, c = (int(n) for n in np.diag(phonons.supercell_matrix))
    return a, b, c


def _displacement(crystal: str, phonons: Phonopy, calculation: CalculationDoc) -> dict[str, Any]:
    """Return which atom is displaced, how far, and the forces; read off the computed geometry itself."""
    forces = (calculation.arrays or {}).get("forces_ev_per_angstrom")
    if forces is None:
        raise ConvergenceError(
            f"{crystal}: {calculation.label} has no forces in the store", "run the study again where its files are"
        )
    cell, structure = phonons.supercell, calculation.structure
    if len(structure) != len(cell) or [s.specie.symbol for s in structure] != list(cell.symbols):
        raise StructureError(f"{crystal}: {calculation.label} has other atoms than its supercell", "report this")
    apart = structure.frac_coords - cell.scaled_positions
    vectors = (apart - np.round(apart)) @ cell.cell
    lengths = np.linalg.norm(vectors, axis=1)
    atoms = np.flatnonzero(lengths > _MOVED_ANGSTROM)
    if len(atoms) != 1:
        raise StructureError(f"{crystal}: in {calculation.label} {len(atoms)} atoms are displaced", "report this")
    (atom,) = atoms
    return {
        "number": int(atom),
        "displacement": vectors[atom],
        "forces": np.asarray(forces, dtype=float).reshape(-1, 3),
    }
