"""Interfaces screened with a potential and the best of them computed: energies, adhesion, order.

Two contacts in a periodic cell, the film strained to the substrate; where the contacts differ, both numbers are the
mean of the two:

    2A gamma = E_cell - n_film E_film(strained) - n_substrate E_substrate - sum_i excess_i mu_i
    2A W     = E(film alone, strained) + E(substrate alone) - E_cell

The strain of the film is taken off, so that matches can be compared; W needs no chemical potential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, Literal

from pydantic import Field

from anodeflow.analysis.comparable import check_finite
from anodeflow.analysis.interface_registries import ContactDoc
from anodeflow.analysis.strained_side import StrainedSideDoc
from anodeflow.documents import CardRecord, Document, EngineRecord, StudyDoc
from anodeflow.errors import InputError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2


class CellCounts(Document):
    """What an interface cell consists of."""

    atoms: int
    area_angstrom2: float = Field(description="of one contact")
    n_film: float = Field(description="formula units of the film")
    n_substrate: float = Field(description="formula units of the substrate")
    excess: dict[str, float] = Field(default_factory=dict, description="atoms beyond whole formula units, by element")
    substrate_cells: int = Field(description="cells of the substrate's slab in the plane")


class ScreenedInterface(Document):
    """One registry of one match and one pair of terminations."""

    candidate: str = Field(description="e.g. 't0-t3-m1': terminations of film and substrate, match")
    film_termination: str
    substrate_termination: str
    film_termination_index: int
    substrate_termination_index: int
    match: int = Field(description="rank of the match, from 1")
    film_vectors: str = Field(description="supercell of the film in its own cells")
    substrate_vectors: str = Field(description="supercell of the substrate in its own cells")
    strain_percent: float = Field(description="largest principal strain of the film")
    contacts_equivalent: bool = Field(default=True, description="a symmetry operation exchanges the two contacts")
    counts: CellCounts
    registry: str = Field(description="e.g. 'Li over Cl'")
    shift: tuple[float, float]
    gap_angstrom: float
    energy_ev: float | None = None
    gamma_j_per_m2: float | None = Field(
        default=None, description="strain taken off; mean of the contacts if they differ"
    )
    gamma_range_j_per_m2: tuple[float, float] | None = Field(
        default=None, description="over the chemical potentials, where there are several and stoichiometry is off"
    )
    strain_j_per_m2: float | None = Field(default=None, description="strain energy of the film over 2A")
    adhesion_j_per_m2: float | None = Field(default=None, description="positive: the sides adhere")
    contacts: list[ContactDoc] = Field(default_factory=list, description="of a cell that an engine relaxed")
    calculations: list[str] = Field(default_factory=list, description="fingerprints: of the cell first")
    screened_rank: int | None = Field(default=None, description="of one that was computed: its place in the screening")
    problems: list[str] = Field(default_factory=list)
    error: str | None = None

    @property
    def name(self) -> str:
        """Terminations, match and registry."""
        return f"{self.film_termination} | {self.substrate_termination}, match {self.match}, {self.registry}"


class ScreenedInterfacesDoc(Document):
    """All that was screened, lowest interface energy first."""

    doc_type: Literal["ScreenedInterfacesDoc"] = Field("ScreenedInterfacesDoc", description="class of the document")
    entries: list[ScreenedInterface] = Field(
        default_factory=list, description="interfaces that were scored, lowest first"
    )
    candidates: int = Field(default=0, description="pairs of terminations times matches")
    chemical_potentials_ev: dict[str, list[float]] = Field(default_factory=dict, description="eV per atom, by element")
    engine: EngineRecord | None = Field(None, description="what computed")
    card: CardRecord | None = Field(None, description="how accurately")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")


class ScreeningStudyDoc(StudyDoc):
    """The end of an interface-screening study."""

    doc_type: Literal["ScreeningStudyDoc"] = Field("ScreeningStudyDoc", description="class of the document")
    film: str = Field(description="face of the strained side")
    substrate: str = Field(description="face of the side that keeps its lattice")
    screened: ScreenedInterfacesDoc = Field(description="interfaces that the potential scored")
    best: ScreenedInterfacesDoc = Field(description="interfaces that the study's engine computed")
    strained_side: StrainedSideDoc | None = Field(
        None, description="by which moduli the film was chosen; None: the study file says which side it is"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (*StudyDoc.LEFT_OUT_IF_NONE, "strained_side")

    @property
    def complete(self) -> bool:
        """Whether the best interfaces have energies."""
        return bool(self.best.entries) and all(entry.gamma_j_per_m2 is not None for entry in self.best.entries)


def fill_energies(
    entry: ScreenedInterface,
    *,
    e_cell_ev: float,
    e_film_ev_per_unit: float,
    e_strained_ev_per_unit: float,
    e_substrate_ev_per_unit: float,
    slabs_ev: tuple[float, float] | None,
    chemical_potentials_ev: Mapping[str, Sequence[float]],
) -> None:
    """Fill in interface energy, strain and work of adhesion.

    Parameters
    ----------
    entry
        With its counts.
    e_cell_ev
        Energy of the interface cell.
    e_film_ev_per_unit, e_strained_ev_per_unit, e_substrate_ev_per_unit
        Energies of the crystals per formula unit; the film's also strained as in the cell.
    slabs_ev
        Energies of the film alone, strained in the interface's plane, and of one cell of the substrate's slab; None
        where one is missing.
    chemical_potentials_ev
        By element, eV per atom; several values are a range, and the first is the one that is ranked by.

    Raises
    ------
    InputError
        An atom in excess has no chemical potential, or an energy is not finite.
    """
    counts, missing = entry.counts, sorted(set(entry.counts.excess) - set(chemical_potentials_ev))
    if missing:
        amount = ", ".join(f"{counts.excess[element]:+g} {element}" for element in missing)
        raise InputError(
            f"{entry.candidate} is not stoichiometric ({amount})",
            f"name a phase: reservoirs: {{{missing[0]}: CRYSTAL}}",
        )
    given = [e_cell_ev, e_film_ev_per_unit, e_strained_ev_per_unit, e_substrate_ev_per_unit, *(slabs_ev or ())]
    for value in given:
        check_finite(value)
    per_area = EV_PER_A2_TO_J_PER_M2 / (2 * counts.area_angstrom2)
    base = e_cell_ev - counts.n_film * e_strained_ev_per_unit - counts.n_substrate * e_substrate_ev_per_unit
    elements = sorted(counts.excess)
    values = [
        (base - sum(counts.excess[element] * mu for element, mu in zip(elements, potentials, strict=True))) * per_area
        for potentials in product(*(chemical_potentials_ev[element] for element in elements))
    ]
    entry.energy_ev = e_cell_ev
    entry.gamma_j_per_m2 = values[0]
    entry.gamma_range_j_per_m2 = (min(values), max(values)) if len(values) > 1 else None
    entry.strain_j_per_m2 = counts.n_film * (e_strained_ev_per_unit - e_film_ev_per_unit) * per_area
    if entry.gamma_j_per_m2 < 0 and not counts.excess:
        entry.problems.append("gamma is negative: the sides react, which is not the energy of a contact")
    if slabs_ev is not None:
        apart = slabs_ev[0] + counts.substrate_cells * slabs_ev[1]
        entry.adhesion_j_per_m2 = (apart - e_cell_ev) * per_area


def ranked_interfaces(entries: Sequence[ScreenedInterface]) -> list[ScreenedInterface]:
    """Return interfaces by interface energy, lowest first; those without one last, in the order given.

    Energies within 1e-6 J/m2 are equal: then the higher work of adhesion goes first, then the order of terminations,
    matches and names.
    """
    energetic = [entry for entry in entries if entry.gamma_j_per_m2 is not None]
    rest = [entry for entry in entries if entry.gamma_j_per_m2 is None]

    def order(entry: ScreenedInterface) -> tuple[float | str, ...]:
        indices = entry.film_termination_index, entry.substrate_termination_index, entry.match
        energies = round(entry.gamma_j_per_m2 or 0.0, 6), -round(entry.adhesion_j_per_m2 or 0.0, 6)
        return *energies, *indices, entry.registry

    return [*sorted(energetic, key=order), *rest]
