"""Crystals against what is known of them: lattice parameters, formation energies, voltages against Li metal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.analysis.cell_beside import CellBeside, cell_beside
from anodeflow.analysis.comparable import check_comparable
from anodeflow.analysis.elasticity import ElasticDoc
from anodeflow.analysis.reference_values import published_values
from anodeflow.documents import CalculationDoc, Document, StudyDoc
from anodeflow.errors import AnodeflowError, ReferenceMismatchError

# Of one structure type are crystals that differ by less.
_LENGTHS_APART, _DEGREES_APART, _ATOMS_APART = 0.2, 5.0, 0.3


class CrystalDoc(Document):
    """One relaxed crystal."""

    doc_type: Literal["CrystalDoc"] = "CrystalDoc"
    crystal: str
    formula: str
    cell_angstrom: tuple[float, float, float] | None = Field(None, description="a, b, c in the setting of the start")
    angles_degree: tuple[float, float, float] | None = None
    volume_per_atom_angstrom3: float | None = None
    space_group: str | None = Field(None, description="of the relaxed crystal, symprec 0.01 angstrom")
    energy_per_atom_ev: float | None = None
    formation_energy_ev_per_atom: float | None = Field(
        None, description="against the crystals of the elements in the same study"
    )
    max_stress_gpa: float | None = None
    max_force_ev_per_angstrom: float | None = None
    began_with: CellBeside | None = Field(None, description="of a cell relaxed with dispersion: where it began")
    calculation: str | None = None
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("began_with",)

    @property
    def converged(self) -> bool:
        """Whether there is an energy."""
        return self.energy_per_atom_ev is not None


class VoltageStep(Document):
    """The average voltage of lithiating one compound to the next, against Li metal.

    V = -[E(Li_y M) - E(Li_x M) - (y - x) E(Li)] / (y - x), energies per M, at 0 K and without the work against
    pressure (Aydinol et al., Phys. Rev. B 56, 1354 (1997), doi:10.1103/PhysRevB.56.1354).
    """

    poor: str
    rich: str
    li_per_host_atom: tuple[float, float]
    voltage_v: float


class CrystalStudyDoc(StudyDoc):
    """The end of a crystal-properties study."""

    doc_type: Literal["CrystalStudyDoc"] = Field("CrystalStudyDoc", description="class of the document")
    crystals: list[CrystalDoc] = Field(description="a result for each crystal")
    voltages: list[VoltageStep] = Field(
        default_factory=list, description="of the crystals in the order given, against Li metal"
    )
    elastic: list[ElasticDoc] = Field(default_factory=list, description="where the study asked for moduli")

    @property
    def complete(self) -> bool:
        """Whether every crystal converged, and has its moduli where they were asked for."""
        return all(crystal.converged for crystal in self.crystals) and all(doc.converged for doc in self.elastic)


def crystal_doc(
    label: str, calculation: CalculationDoc | None, setting: Sequence[Sequence[float]] | None = None
) -> CrystalDoc:
    """Return what one relaxation says of a crystal; ``error`` where it did not converge.

    Parameters
    ----------
    label
        Name of the crystal.
    calculation
        Its relaxation.
    setting
        Vectors of the cell to report in those of the computed one, shape (3, 3); None: the computed cell.

    Returns
    -------
    CrystalDoc
        Cell, energy and space group.
    """
    if calculation is None:
        return CrystalDoc(crystal=label, formula="", error="not computed; see the first failure of the run")
    structure = calculation.structure
    doc = CrystalDoc(
        crystal=label,
        formula=structure.composition.reduced_formula,
        calculation=calculation.fingerprint,
        max_stress_gpa=calculation.max_stress_gpa,
        max_force_ev_per_angstrom=calculation.max_force_ev_per_angstrom,
        warnings=list(calculation.warnings),
    )
    try:
        doc.energy_per_atom_ev = calculation.energy_per_atom_ev
    except AnodeflowError as error:
        doc.error = str(error)
        return doc
    matrix = structure.lattice.matrix
    cell = Lattice(matrix if setting is None else np.asarray(setting) @ matrix)
    doc.cell_angstrom = _three(cell.abc)
    doc.angles_degree = _three(cell.angles)
    doc.volume_per_atom_angstrom3 = structure.volume / len(structure)
    doc.space_group = _space_group(structure)
    start = calculation.initial_structure
    doc.began_with = cell_beside(calculation, setting)
    doc.warnings += [] if doc.began_with is None else doc.began_with.warnings
    if start is not None and _space_group(start) != doc.space_group:
        doc.warnings.append(f"space group changed from {_space_group(start)} to {doc.space_group}")
    # a document of others may have begun in another cell
    left = None
    if start is not None and len(start) == len(structure):
        left = left_structure_type(start, structure)
    if left is not None:
        doc.warnings.append(f"left its structure type: {left}")
    return doc


def left_structure_type(start: Structure, end: Structure) -> str | None:
    """Return how far a relaxed crystal is from the structure it began with; None where it is still the same type.

    The limits are those of pymatgen's ``StructureMatcher``: lengths 20 % apart when both are of one volume, angles 5
    degrees, an atom 0.3 of the edge of the volume of an atom from its place. The space group does not tell: a crystal
    in P1 may turn into any other, and one that keeps its group may move its atoms along it.

    Parameters
    ----------
    start, end
        The same atoms in the same order.
    """
    lengths = np.divide(end.lattice.abc, start.lattice.abc) / (end.volume / start.volume) ** (1 / 3)
    angles = np.subtract(end.lattice.angles, start.lattice.angles)
    moved = end.frac_coords - start.frac_coords
    moved -= np.round(moved)
    apart = np.linalg.norm((moved - moved.mean(axis=0)) @ end.lattice.matrix, axis=1)
    if np.abs(lengths - 1).max() > _LENGTHS_APART:
        return (
            f"a length of its cell changed by {100 * (lengths - 1)[np.abs(lengths - 1).argmax()]:+.0f} % at one volume"
        )
    if np.abs(angles).max() > _DEGREES_APART:
        return f"an angle of its cell changed by {angles[np.abs(angles).argmax()]:+.1f} degrees"
    if apart.max() > _ATOMS_APART * (end.volume / len(end)) ** (1 / 3):
        return f"{end[int(apart.argmax())].specie.symbol} moved by {apart.max():.2f} Å"
    return None


def comparable_crystals(calculations: Mapping[str, CalculationDoc | None]) -> list[CrystalDoc]:
    """Return what each relaxation says of its crystal, of one engine and card.

    Raises
    ------
    ReferenceMismatchError
        If engines or cards of those that converged differ.
    """
    converged = [c for c in calculations.values() if c is not None and c.converged]
    if converged:
        check_comparable(converged)
    return [crystal_doc(name, calculation) for name, calculation in calculations.items()]


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    a, b, c = values
    return float(a), float(b), float(c)


def _space_group(structure: Structure) -> str:
    finder = SpacegroupAnalyzer(structure, symprec=0.01)
    return f"{finder.get_space_group_symbol()} ({finder.get_space_group_number()})"


def formation_energies(docs: list[CrystalDoc], calculations: dict[str, CalculationDoc]) -> None:
    """Fill in formation energies: E/N - sum_i x_i mu_i, mu_i the energy per atom of the crystal of element i.

    Parameters
    ----------
    docs
        Changed in place; those whose elements are not all among them keep None.
    calculations
        By name of the crystal.

    Raises
    ------
    ReferenceMismatchError
        If the calculations do not share engine and card.
    """
    done = [calculations[d.crystal] for d in docs if d.converged]
    if not done:
        return
    check_comparable(done)
    mu = {
        calculation.structure.composition.elements[0].symbol: calculation.energy_per_atom_ev
        for calculation in done
        if len(calculation.structure.composition.elements) == 1
    }
    for doc in docs:
        if not doc.converged or doc.energy_per_atom_ev is None:
            continue
        fractions = Composition(doc.formula).fractional_composition.get_el_amt_dict()
        if all(element in mu for element in fractions):
            doc.formation_energy_ev_per_atom = doc.energy_per_atom_ev - sum(
                x * mu[element] for element, x in fractions.items()
            )


def voltages(docs: list[CrystalDoc]) -> list[VoltageStep]:
    """Return voltages between consecutive compounds Li_x M of one host element M, from x = 0 on.

    Raises
    ------
    ReferenceMismatchError
        If formation energies are missing for two of the compounds' elements.
    """
    hosts: dict[str, list[tuple[float, CrystalDoc]]] = {}
    for doc in docs:
        amounts = Composition(doc.formula).get_el_amt_dict() if doc.formula else {}
        others = [e for e in amounts if e != "Li"]
        if len(others) == 1 and doc.formation_energy_ev_per_atom is not None:
            hosts.setdefault(others[0], []).append((amounts.get("Li", 0.0) / amounts[others[0]], doc))
    steps = []
    for compounds in hosts.values():
        compounds.sort(key=lambda pair: pair[0])
        for (x, poor), (y, rich) in pairwise(compounds):
            if y - x < 1e-9:
                raise ReferenceMismatchError(
                    f"{poor.crystal} and {rich.crystal} have the same composition", "put polymorphs into two studies"
                )
            below, above = ((1 + z) * (d.formation_energy_ev_per_atom or 0.0) for z, d in ((x, poor), (y, rich)))
            steps.append(
                VoltageStep(
                    poor=poor.crystal, rich=rich.crystal, li_per_host_atom=(x, y), voltage_v=-(above - below) / (y - x)
                )
            )
    return steps


def known_lattice(crystal: str) -> dict[str, float]:
    """Return reference PBE lattice parameters of a catalogue crystal, angstrom, by axis; empty where none is known."""
    return {row["axis"]: row["value"] for row in published_values("lattice_parameter") if row["system"] == crystal}


def known_formation_energy(crystal: str) -> float | None:
    """Return reference PBE formation energy, eV/atom, or None."""
    rows = [row for row in published_values("formation_energy") if row["system"] == crystal]
    return rows[0]["value"] if rows else None


def known_sources(crystals: Iterable[str]) -> list[str]:
    """Return where the reference values of crystals are from: each source once, with its crystals before it."""
    wanted = set(crystals)
    sources: dict[str, list[str]] = {}
    for quantity in ("lattice_parameter", "formation_energy"):
        for row in published_values(quantity):
            if row["system"] in wanted:
                sources.setdefault(row["source"], []).append(row["system"])
    return [f"{', '.join(dict.fromkeys(names))}: {source}" for source, names in sources.items()]
