"""Phases as the hull sees them: a composition and an energy, raw or with anion corrections."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Literal

from pydantic import Field, field_validator
from pymatgen.analysis.compatibility import MaterialsProject2020Compatibility
from pymatgen.core import Composition
from pymatgen.entries.computed_entries import ComputedEntry

from anodeflow.documents import Document
from anodeflow.errors import InputError

#: ``raw``: as the engine gives them; ``corrected``: with the anion corrections of the Materials Project.
Energies = Literal["raw", "corrected"]

#: Engines whose energies already hold the anion corrections, because their model was trained on corrected ones.
#: CHGNet: B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.
TRAINED_ON_CORRECTED = frozenset({"chgnet", "chgnet-0.2.0"})
#: Functional that the anion corrections were fitted to.
CORRECTED_FUNCTIONAL = "PBE"

CORRECTIONS_SOURCE = (
    "anion corrections: Materials Project 2020, A. Wang et al., Sci. Rep. 11, 15496 (2021),"
    " doi:10.1038/s41598-021-94550-5"
)


class Phase(Document):
    """One phase of a hull.

    Parameters
    ----------
    name
        What reactions call it; unique in a hull.
    formula
        Of one formula unit, e.g. ``Li6PS5Cl``.
    energy_ev
        Of one formula unit, as computed.
    correction_ev
        Anion correction of one formula unit; see :func:`anion_correction_ev`.
    """

    name: str
    formula: str
    energy_ev: float = Field(description="per formula unit, as computed")
    correction_ev: float = Field(0.0, description="anion correction per formula unit")

    @field_validator("energy_ev", "correction_ev")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{value} eV is not a finite energy")
        return value

    @property
    def composition(self) -> Composition:
        """Atoms of one formula unit."""
        return Composition(self.formula)

    @property
    def atoms(self) -> float:
        """Number of atoms of one formula unit."""
        return float(self.composition.num_atoms)

    def energy(self, energies: Energies) -> float:
        """Return the energy of one formula unit, eV."""
        return self.energy_ev + (self.correction_ev if energies == "corrected" else 0.0)


def phase_of(name: str, composition: Composition, energy_per_atom_ev: float, *, corrected: bool = True) -> Phase:
    """Return a phase per reduced formula unit, with its anion correction.

    Parameters
    ----------
    name
        What reactions call it.
    composition
        Of any number of formula units.
    energy_per_atom_ev
        As computed.
    corrected
        Whether the phase has an anion correction: of a functional that they were not fitted to it has none.

    Returns
    -------
    Phase
        Of one formula unit.
    """
    unit = composition.reduced_composition
    return Phase(
        name=name,
        formula=composition.reduced_formula if not unit.is_element else unit.elements[0].symbol,
        energy_ev=energy_per_atom_ev * (1.0 if unit.is_element else float(unit.num_atoms)),
        correction_ev=anion_correction_ev(unit) if corrected else 0.0,
    )


def anion_correction_ev(composition: Composition) -> float:
    """Return the anion correction of the Materials Project, eV: -0.503 for each S, -0.614 for each Cl in a compound.

    Elements have none. The rules are pymatgen's (doi:10.1038/s41598-021-94550-5), without those of GGA+U.
    """
    unit = composition.reduced_composition
    return _correction_of(unit.formula) * float(composition.num_atoms / unit.num_atoms)


@cache
def _correction_of(formula: str) -> float:
    """Return the correction of one formula unit, eV: oxidation states are guessed, which takes a while."""
    entry = ComputedEntry(Composition(formula), 0.0, parameters={"run_type": "GGA", "software": "any"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adjustments = MaterialsProject2020Compatibility(compat_type="GGA", check_potcar=False).get_adjustments(entry)
    return float(sum(adjustment.value for adjustment in adjustments))


def check_phases(phases: list[Phase]) -> None:
    """Refuse a set of phases that makes no hull.

    Raises
    ------
    InputError
        If a name is given twice, there is no lithium, or an element has no crystal.
    """
    names = [phase.name for phase in phases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"phase '{twice[0]}' is given twice", "give each once")
    elements = {element for phase in phases for element in phase.composition.get_el_amt_dict()}
    if "Li" not in elements:
        raise InputError("no phase of the set holds Li", "add Li and what it forms: voltages are against Li metal")
    pure = {phase.composition.elements[0].symbol for phase in phases if phase.composition.is_element}
    missing = sorted(elements - pure)
    if missing:
        raise InputError(
            f"no crystal of the element {', '.join(missing)} has an energy",
            "add it to the phases, or see why it failed",
        )
