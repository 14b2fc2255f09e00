"""What a stability study ends in: its phases, the windows of its electrolytes, the mixing curves of its interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from pydantic import Field
from pymatgen.core import Composition

from anodeflow.analysis.cell_beside import CellBeside
from anodeflow.analysis.crystal_properties import comparable_crystals
from anodeflow.analysis.stability.ensembles import EnsembleDoc, ensemble_doc
from anodeflow.analysis.stability.hull import Hull
from anodeflow.analysis.stability.mixing import MixingDoc, mixing_doc
from anodeflow.analysis.stability.phases import (
    CORRECTED_FUNCTIONAL,
    TRAINED_ON_CORRECTED,
    Energies,
    anion_correction_ev,
    phase_of,
)
from anodeflow.analysis.stability.window import WindowDoc, decomposition_energy_ev_per_atom, window_doc
from anodeflow.documents import CalculationDoc, CardRecord, Document, EngineRecord, StudyDoc
from anodeflow.errors import InputError

_BOTH: tuple[Energies, ...] = get_args(Energies)


class StabilityPhaseDoc(Document):
    """One phase of the set: its energy and where it lies, raw and with anion corrections."""

    crystal: str
    formula: str = ""
    energy_per_atom_ev: float | None = Field(None, description="raw: without anion correction")
    correction_per_atom_ev: float | None = None
    formation_ev_per_atom: dict[str, float] = Field(default_factory=dict, description="by kind of energies")
    above_hull_ev_per_atom: dict[str, float] = Field(default_factory=dict, description="by kind of energies")
    began_with: CellBeside | None = Field(None, description="of a cell relaxed with dispersion: where it began")
    calculation: str | None = Field(None, description="fingerprint")
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("began_with",)


class PotentialDoc(Document):
    """What an electrolyte does by itself at a fixed potential, whatever anode keeps it there."""

    electrolyte: str
    energies: Energies
    potential_v: float
    energy_ev_per_atom: float
    energy_ev_per_formula: float


class StabilityResults(Document):
    """What follows from the phases of a set, raw before corrected."""

    windows: list[WindowDoc] = Field(
        default_factory=list, description="potentials between which an electrolyte is stable"
    )
    at_potentials: list[PotentialDoc] = Field(
        default_factory=list, description="phases at equilibrium with lithium at a potential"
    )
    mixing: list[MixingDoc] = Field(default_factory=list, description="what two phases react to")
    ensembles: list[EnsembleDoc] = Field(
        default_factory=list, description="spread of the configurations of an argyrodite"
    )


class StabilityStudyDoc(StabilityResults, StudyDoc):
    """The end of a stability study."""

    doc_type: Literal["StabilityStudyDoc"] = Field("StabilityStudyDoc", description="class of the document")
    phases: list[StabilityPhaseDoc] = Field(description="energy of each crystal, and its height above the hull")
    engine_corrects: bool = Field(
        False, description="the engine's model was trained on corrected energies: raw ones are made by subtraction"
    )

    @property
    def complete(self) -> bool:
        """Whether every phase has an energy, and every electrolyte was compared with the hull."""
        return bool(self.windows) and all(p.error is None for p in self.phases)


class StabilityRoles(Document):
    """Which phases of a set are looked at.

    Parameters
    ----------
    electrolytes
        Whose windows are wanted.
    ensembles
        Of electrolytes that are disordered: what the study file calls each, and its configurations; the lowest one is
        mixed.
    temperature_k
        Of the entropy of ensembles.
    anodes
        Mixed with each electrolyte and coating.
    coatings
        Mixed with each electrolyte.
    potentials_v
        At which lithium is exchanged, besides the closed mixtures.
    """

    electrolytes: list[str]
    ensembles: dict[str, list[str]] = Field(default_factory=dict)
    temperature_k: float | None = None
    anodes: list[str] = Field(default_factory=list)
    coatings: list[str] = Field(default_factory=list)
    potentials_v: list[float] = Field(default_factory=list)

    def pairs(self, electrolytes: Sequence[str]) -> list[tuple[str, str]]:
        """Return what is mixed with what, each pair once."""
        pairs = [(a, b) for a in self.anodes for b in (*electrolytes, *self.coatings)]
        pairs += [(c, e) for c in self.coatings for e in electrolytes]
        return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


def stability_phases(calculations: dict[str, CalculationDoc | None]) -> list[StabilityPhaseDoc]:
    """Return the phases that relaxations by one engine and card give; ``error`` where one did not converge.

    Raises
    ------
    ReferenceMismatchError
        If engines or cards differ.
    """
    docs = []
    for (name, calculation), crystal in zip(calculations.items(), comparable_crystals(calculations), strict=True):
        doc = StabilityPhaseDoc(
            crystal=name,
            formula=crystal.formula,
            began_with=crystal.began_with,
            calculation=crystal.calculation,
            warnings=crystal.warnings,
            error=crystal.error,
        )
        if calculation is not None and crystal.energy_per_atom_ev is not None:
            composition = calculation.structure.composition
            applies = corrections_apply(calculation.engine, calculation.card)
            doc.formula = phase_of(name, composition, 0.0).formula
            doc.energy_per_atom_ev = crystal.energy_per_atom_ev - held_correction_ev(composition, calculation.engine)
            doc.correction_per_atom_ev = _correction_per_atom_ev(composition) if applies else 0.0
        docs.append(doc)
    return docs


def _correction_per_atom_ev(composition: Composition) -> float:
    return anion_correction_ev(composition) / float(composition.num_atoms)


def held_correction_ev(composition: Composition, engine: EngineRecord) -> float:
    """Return the anion correction that an engine's energies hold already, eV/atom: it is taken off for raw ones."""
    holds = trained_on_corrected(engine.name) and _of_pbe(engine)
    return _correction_per_atom_ev(composition) if holds else 0.0


def corrections_apply(engine: EngineRecord, card: CardRecord) -> bool:
    """Return whether anion corrections, which were fitted to PBE without dispersion, may be added to energies."""
    return _of_pbe(engine) and card.dispersion is None


def _of_pbe(engine: EngineRecord) -> bool:
    return engine.energies_of in (None, CORRECTED_FUNCTIONAL)


def trained_on_corrected(engine: str) -> bool:
    """Return whether the energies of an engine hold the anion corrections already."""
    return engine.partition(":")[0] in TRAINED_ON_CORRECTED


def stability_results(docs: Sequence[StabilityPhaseDoc], roles: StabilityRoles) -> StabilityResults:
    """Return windows and mixing curves of phases, and write into the phases where they lie.

    Parameters
    ----------
    docs
        Changed in place; those without an energy are left out.
    roles
        What is wanted.

    Returns
    -------
    StabilityResults
        Raw and corrected.

    Raises
    ------
    InputError
        If the phases make no hull.
    """
    phases = [
        phase_of(
            doc.crystal, Composition(doc.formula), doc.energy_per_atom_ev, corrected=doc.correction_per_atom_ev != 0
        )
        for doc in docs
        if doc.energy_per_atom_ev is not None
    ]
    by_name = {doc.crystal: doc for doc in docs}
    wanted = StabilityResults()
    for energies in _BOTH:
        closed = Hull(phases, energies)
        for phase in phases:
            doc = by_name[phase.name]
            doc.formation_ev_per_atom[energies] = closed.formation_ev_per_atom(phase.name)
            doc.above_hull_ev_per_atom[energies] = closed.distance_ev_per_atom(phase.name)
        shown = [*roles.electrolytes, *(name for names in roles.ensembles.values() for name in names)]
        wanted.windows += [_window(closed, name) for name in shown]
        ensembles = _ensembles(closed, roles)
        wanted.ensembles += ensembles
        # of an ensemble the lowest stands for all
        mixed = [*roles.electrolytes, *(ensemble.configurations[0] for ensemble in ensembles)]
        known = [name for name in mixed if name in closed.phases]
        wanted.at_potentials += [_at(closed, name, volts) for volts in roles.potentials_v for name in known]
        for hull in (closed, *(Hull(phases, energies, volts) for volts in roles.potentials_v)):
            wanted.mixing += [_mixing(hull, first, second) for first, second in roles.pairs(mixed)]
    return wanted


def _ensembles(hull: Hull, roles: StabilityRoles) -> list[EnsembleDoc]:
    """Return the ensembles of which at least one configuration has an energy."""
    docs = []
    for electrolyte, names in roles.ensembles.items():
        above = [(name, hull.distance_ev_per_atom(name)) for name in names if name in hull.phases]
        if above:
            formula = hull.phases[above[0][0]].formula
            docs.append(ensemble_doc(electrolyte, hull.energies, above, formula, roles.temperature_k))
    return docs


def _at(hull: Hull, name: str, potential_v: float) -> PotentialDoc:
    energy = decomposition_energy_ev_per_atom(hull, name, potential_v)
    return PotentialDoc(
        electrolyte=name,
        energies=hull.energies,
        potential_v=potential_v,
        energy_ev_per_atom=energy,
        energy_ev_per_formula=energy * hull.phase(name).atoms,
    )


def _window(hull: Hull, name: str) -> WindowDoc:
    try:
        return window_doc(hull, name)
    except InputError as error:
        return WindowDoc(electrolyte=name, formula="", energies=hull.energies, error=str(error))


def _mixing(hull: Hull, first: str, second: str) -> MixingDoc:
    try:
        return mixing_doc(hull, first, second)
    except InputError as error:
        return MixingDoc(
            first=first, second=second, energies=hull.energies, potential_v=hull.potential_v, error=str(error)
        )
