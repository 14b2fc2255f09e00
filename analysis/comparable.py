"""Which calculations may be combined: settings, face areas, formula units, chemical potentials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Composition, Structure

from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import InputError, ReferenceMismatchError

AREA_TOLERANCE = 1e-3  # relative
_BULK_TOLERANCE_EV = 1e-3  # per formula unit: chemical potentials against the bulk energy


@dataclass(frozen=True)
class OtherCards:
    """What a study computed with another card than the cells whose energy is asked for; None: with the same.

    Attributes
    ----------
    crystals, slabs
        How the cards differ, as text.
    """

    crystals: str | None = None
    slabs: str | None = None

    @property
    def text(self) -> str | None:
        """Both in one line; None where nothing differs."""
        return "; ".join(text for text in (self.crystals, self.slabs) if text) or None


def check_comparable(calculations: Sequence[CalculationDoc], *, varied: bool = False, role: str | None = None) -> None:
    """Refuse calculations whose energies may not be combined.

    Parameters
    ----------
    calculations
        At least one.
    varied
        Accept cards varied from the same one (a crystal with the k-mesh of a slab).
    role
        What they are, in a study with a card for each role.

    Raises
    ------
    ConvergenceError
        If one did not converge.
    ReferenceMismatchError
        If engine or card differ, or one is charged.
    """
    check_functionals({doc.label: doc.engine for doc in calculations})
    check_dispersions({doc.label: doc.card for doc in calculations})
    first = calculations[0]
    for doc in calculations:
        check_finite(doc.converged_energy_ev())
        for field in ("engine", "card"):
            ours, other = getattr(first, field), getattr(doc, field)
            same = ours.family == other.family if varied and field == "card" else ours.hash == other.hash
            if not same:
                mixed = f"mixed cards of one role ({role}): " if role and field == "card" else ""
                raise ReferenceMismatchError(
                    f"{mixed}'{first.label}' has {field} {ours.name} ({ours.hash}), '{doc.label}' {other.name} "
                    f"({other.hash})",
                    "compute all of them with one engine and one card",
                )
        if doc.charge:
            raise ReferenceMismatchError(
                f"'{doc.label}' has charge {doc.charge:+d} e", "surface and interface energies need neutral cells"
            )


def check_functionals(engines: Mapping[str, EngineRecord | None]) -> None:
    """Refuse energies of two functionals, which have no common zero and never give a difference.

    Parameters
    ----------
    engines
        By what each computed; one whose functional is not known is let pass, for its hash tells it from all others.

    Raises
    ------
    ReferenceMismatchError
        If two differ.
    """
    known = [(label, e.name, e.energies_of) for label, e in engines.items() if e is not None and e.energies_of]
    for label, name, functional in known[1:]:
        if functional != known[0][2]:
            raise ReferenceMismatchError(
                f"'{known[0][0]}' is of {known[0][2]} ({known[0][1]}), '{label}' of {functional} ({name}): energies of "
                "two functionals are never combined",
                f"compute all of them with engines of {functional}, or all of {known[0][2]}",
            )


def check_dispersions(cards: Mapping[str, CardRecord | None]) -> None:
    """Refuse energies with and without a correction for dispersion, or with two of them.

    Parameters
    ----------
    cards
        By what was computed with each; None is let pass.

    Raises
    ------
    ReferenceMismatchError
        If two differ.
    """
    known = [(label, card.dispersion) for label, card in cards.items() if card is not None]
    for label, dispersion in known[1:]:
        if dispersion != known[0][1]:
            raise ReferenceMismatchError(
                f"'{known[0][0]}' has dispersion {known[0][1] or 'none'}, '{label}' {dispersion or 'none'}: their "
                "energies are never combined",
                "compute all of them with cards of one 'dispersion'",
            )


def check_roles(cells: Sequence[CalculationDoc], references: Sequence[CalculationDoc], role: str) -> None:
    """Refuse cells and references of a study with a card for each role that may not be combined.

    Within a role every card is the same one, or varied from it; between roles only the engine is the same.

    Parameters
    ----------
    cells, references
        Calculations of the cells whose energy is asked for, and of crystals.
    role
        What the cells are.

    Raises
    ------
    ConvergenceError, ReferenceMismatchError
        See :func:`check_comparable`.
    """
    check_comparable(cells, varied=True, role=role)
    if not references:
        return
    check_comparable(references, varied=True, role="crystal")
    ours, other = cells[0], references[0]
    check_dispersions({doc.label: doc.card for doc in (ours, other)})
    if ours.engine.hash != other.engine.hash:
        raise ReferenceMismatchError(
            f"'{ours.label}' has engine {ours.engine.name} ({ours.engine.hash}), '{other.label}' {other.engine.name} "
            f"({other.engine.hash})",
            "compute all of them with one engine",
        )


def crystals_of_slabs(
    slabs: Sequence[CalculationDoc],
    bulk: CalculationDoc | None,
    aligned: CalculationDoc | None,
    other_card: bool,
    needed: bool,
) -> list[CalculationDoc]:
    """Return the crystals that slabs are measured against, the best one first.

    Parameters
    ----------
    slabs
        All of them.
    bulk, aligned
        The relaxed crystal, and the crystal in the cell of the slabs.
    other_card
        Whether the relaxed crystal has another card than the slabs; then it is used only where nothing else is there
        and an energy of the crystal is needed.
    needed
        Whether it is.

    Raises
    ------
    ConvergenceError, ReferenceMismatchError
        See :func:`check_comparable`.
    """
    if not other_card:
        crystals = [doc for doc in (aligned, bulk) if doc is not None]
        check_comparable([*slabs, *crystals])
        return crystals
    check_roles([*slabs, *([] if aligned is None else [aligned])], [] if bulk is None else [bulk], "slab")
    if aligned is not None:
        return [aligned]
    return [bulk] if needed and bulk is not None else []


def check_in_plane(crystal: CalculationDoc, area_angstrom2: float) -> None:
    """Refuse a crystal whose face is not that of the slabs.

    Raises
    ------
    ReferenceMismatchError
        If the areas differ.
    """
    own = _face_area(crystal.structure)
    if abs(own - area_angstrom2) > AREA_TOLERANCE * area_angstrom2:
        raise ReferenceMismatchError(
            f"'{crystal.label}' has {own:.4f} angstrom^2 in the plane, the slabs {area_angstrom2:.4f}",
            "compute the crystal in the in-plane cell of the slabs",
        )


def common_area(cells: Sequence[tuple[CalculationDoc, float]]) -> float:
    """Return the mean area of cells that must share one, angstrom^2.

    Raises
    ------
    InputError
        If an area is not positive or not that of the calculation's own cell.
    ReferenceMismatchError
        If areas differ by more than one in a thousand.
    """
    areas = [area for _, area in cells]
    for doc, area in cells:
        own = _face_area(doc.structure)
        if not area > 0 or abs(area - own) > AREA_TOLERANCE * own:
            raise InputError(
                f"'{doc.label}' is given {area:g} angstrom^2, its cell has |a x b| = {own:.4f}",
                "give the area of one face of this very cell",
            )
    low, high = min(cells, key=lambda c: c[1]), max(cells, key=lambda c: c[1])
    if high[1] - low[1] > AREA_TOLERANCE * low[1]:
        raise ReferenceMismatchError(
            f"'{low[0].label}' has {low[1]:.4f} angstrom^2, '{high[0].label}' {high[1]:.4f}",
            "keep a and b fixed through the series",
        )
    return math.fsum(areas) / len(areas)


def _face_area(structure: Structure) -> float:
    """Return |a x b| of a cell, angstrom^2."""
    return float(np.linalg.norm(np.cross(*structure.lattice.matrix[:2])))


def energy_per_unit(bulk: CalculationDoc, unit: Composition | None = None) -> float:
    """Return the energy of a crystal per formula unit, eV; the unit is the reduced formula unless given.

    Raises
    ------
    ConvergenceError
        If it did not converge.
    InputError
        If the crystal is not made of these units.
    """
    composition = bulk.structure.composition
    unit = unit or composition.get_reduced_composition_and_factor()[0]
    count = composition.num_atoms / unit.num_atoms
    if not composition.almost_equals(unit * count, rtol=1e-6, atol=1e-6):
        raise InputError(
            f"'{bulk.label}' is {composition.reduced_formula}, not {unit.reduced_formula}",
            "give the bulk calculation of the same crystal",
        )
    return bulk.converged_energy_ev() / count


def common_unit(slabs: Sequence[tuple[CalculationDoc, float, Mapping[str, float]]]) -> Composition:
    """Return the formula unit of a series of slabs: (atoms - excess)/n_units, the same for all.

    Parameters
    ----------
    slabs
        (calculation, formula units, atoms in excess by element).

    Raises
    ------
    InputError
        If the excess differs (another termination) or the atoms do not add up.
    """
    first, _, excess = slabs[0]
    units: list[Composition] = []
    for doc, n_units, left in slabs:
        counts = doc.structure.composition.get_el_amt_dict()
        if not n_units > 0:
            raise InputError(f"'{doc.label}' has {n_units} formula units", "give a positive number")
        if dict(left) != dict(excess):
            raise InputError(
                f"'{doc.label}' has {amounts(left)} in excess, '{first.label}' {amounts(excess)}: two terminations",
                "put them in two studies",
            )
        whole = {k: (n - left.get(k, 0.0)) / n_units for k, n in counts.items()}
        if set(left) - set(counts) or min(whole.values()) < -1e-9 or max(whole.values()) < 1e-9:
            raise InputError(
                f"'{doc.label}' has {amounts(counts)}, its excess is {amounts(left)}", "count the excess again"
            )
        units.append(Composition({k: n for k, n in whole.items() if n > 1e-9}))
        if not units[-1].almost_equals(units[0], rtol=1e-6, atol=1e-6):
            raise InputError(
                f"'{doc.label}' has units of {units[-1].formula}, '{first.label}' of {units[0].formula}",
                "count n_units and excess again",
            )
    return units[0]


def check_potentials(mu: Mapping[str, float], unit: Composition, bulk_ev: float | None) -> float:
    """Sum of the chemical potentials of one unit, eV, which must be the bulk energy.

    Parameters
    ----------
    mu
        Chemical potential of each element, eV per atom.
    unit
        The formula unit.
    bulk_ev
        Energy of the crystal, eV per unit; None leaves it unchecked.

    Returns
    -------
    float
        Of one unit, eV.

    Raises
    ------
    InputError
        If an element has none.
    ReferenceMismatchError
        If the sum misses ``bulk_ev`` by more than 1 meV.
    """
    missing = [e for e in unit.get_el_amt_dict() if e not in mu]
    if missing:
        raise InputError(
            f"no chemical potential of {', '.join(missing)}", f"give all elements of {unit.reduced_formula}"
        )
    total = sum(number * mu[element] for element, number in unit.get_el_amt_dict().items())
    check_finite(total)
    if bulk_ev is not None and abs(total - bulk_ev) > _BULK_TOLERANCE_EV:
        raise ReferenceMismatchError(
            f"chemical potentials add up to {total:.4f} eV per {unit.reduced_formula}, the crystal has {bulk_ev:.4f}",
            "fix one of them by the equilibrium with the crystal, or gamma would grow with the thickness",
        )
    return total


def check_finite(*energies: float) -> None:
    """Refuse energies that are not numbers."""
    if not all(math.isfinite(e) for e in energies):
        raise InputError(f"energies {energies} eV are not all finite", "look at the calculations they come from")


def amounts(atoms: Mapping[str, float]) -> str:
    """Return atoms by element in one line: ``Li1 Cl2``."""
    return " ".join(f"{element}{number:g}" for element, number in atoms.items()) or "nothing"
