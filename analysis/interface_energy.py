"""Interface energies from films of growing thickness on a fixed substrate.

Two equivalent contacts in a periodic cell, the film strained to the substrate and relaxed along the normal:

    2A gamma(n) = E_cell - n_film E_film - n_substrate E_substrate,   gamma(n) = gamma + n sigma

Every film unit pays the strain energy eps = 2A sigma, so the energy of the (coherent) interface is the INTERCEPT
at n = 0 and the slope is strain. Same idea: Lepley & Holzwarth, Phys. Rev. B 92, 214201 (2015),
doi:10.1103/PhysRevB.92.214201.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anodeflow.analysis.comparable import (
    OtherCards,
    check_comparable,
    check_finite,
    check_roles,
    common_area,
    energy_per_unit,
)
from anodeflow.analysis.fits import Interval, fit_line
from anodeflow.analysis.interface_adhesion import fill_adhesion
from anodeflow.analysis.interface_adhesion import work_of_adhesion as work_of_adhesion
from anodeflow.analysis.interface_documents import InterfaceEnergyDoc as InterfaceEnergyDoc
from anodeflow.analysis.interface_documents import InterfaceMember as InterfaceMember
from anodeflow.analysis.interface_documents import InterfacePoint as InterfacePoint
from anodeflow.analysis.interface_documents import PublishedComparison as PublishedComparison
from anodeflow.analysis.interface_documents import StrainCheck as StrainCheck
from anodeflow.analysis.interface_documents import SubstrateConvergence as SubstrateConvergence
from anodeflow.analysis.interface_registries import InterfaceRegistriesDoc
from anodeflow.analysis.interface_uncertainty import (
    other_card_warnings,
    substrate_convergence,
    total,
    uncertainty_parts,
)
from anodeflow.analysis.planes import fit_plane
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

MIN_THICKNESSES = 4
_ONE_CARD = OtherCards()
# Differences of strain energies below this are the convergence of the calculations, eV per unit.
_STRAIN_RESOLUTION_EV = 1e-4

# Gaps of one interface in cells of different thickness agree within this.
_SAME_GAP_ANGSTROM = 0.5

_SLOPE_NOTE = (
    "gamma is the intercept at zero film units; the text of lacss2024 (Nature Communications 2024) calls the slope "
    "the interface energy, but by the algebra the slope is the strain energy of one film unit over 2A"
)


def interface_energy(
    e_cell_ev: float,
    n_film: float,
    e_film_ev_per_unit: float,
    n_substrate: float,
    e_substrate_ev_per_unit: float,
    area_angstrom2: float,
) -> float:
    """Return (E_cell - n_film E_film - n_substrate E_substrate)/(2A) in J/m2, strain of the film included.

    Parameters
    ----------
    e_cell_ev
        Energy of the interface cell, eV.
    n_film, n_substrate
        Formula units of either side in it.
    e_film_ev_per_unit, e_substrate_ev_per_unit
        Energies of the crystals, eV per unit.
    area_angstrom2
        Of the cell, angstrom^2.

    Returns
    -------
    float
        J/m2.

    Raises
    ------
    InputError
        If a number of units or the area is not positive, or an energy is not finite.
    """
    check_finite(e_cell_ev, e_film_ev_per_unit, e_substrate_ev_per_unit)
    if not (n_film > 0 and n_substrate > 0 and area_angstrom2 > 0):
        raise InputError(
            f"a cell of {n_film} film units, {n_substrate} substrate units and {area_angstrom2} angstrom^2",
            "all three must be positive numbers",
        )
    excess = e_cell_ev - n_film * e_film_ev_per_unit - n_substrate * e_substrate_ev_per_unit
    return excess / (2 * area_angstrom2) * EV_PER_A2_TO_J_PER_M2


@dataclass(frozen=True)
class _References:
    """Energies that interface cells are measured against.

    Parameters
    ----------
    film, substrate
        The relaxed crystals; their reduced formulas are the units.
    strained_film
        The film's crystal with the in-plane lattice of the substrate, relaxed along the normal.
    aligned_film, aligned_substrate
        The unstrained crystals in cells with the plane and the mesh of the interface, for engines with k-points.
    """

    film: CalculationDoc
    substrate: CalculationDoc
    strained_film: CalculationDoc | None = None
    aligned_film: CalculationDoc | None = None
    aligned_substrate: CalculationDoc | None = None

    @property
    def calculations(self) -> list[CalculationDoc]:
        """All that there are."""
        every = (self.film, self.substrate, self.strained_film, self.aligned_film, self.aligned_substrate)
        return [doc for doc in every if doc is not None]

    @property
    def aligned(self) -> bool:
        """Whether both crystals were computed in the interface's plane."""
        return self.aligned_film is not None and self.aligned_substrate is not None

    def film_ev_per_unit(self) -> float:
        """Return the energy of the unstrained film's crystal, eV per unit."""
        return energy_per_unit(self.aligned_film or self.film)

    def substrate_ev_per_unit(self) -> float:
        """Return the energy of the substrate's crystal, eV per unit."""
        return energy_per_unit(self.aligned_substrate or self.substrate)

    def strained_ev_per_unit(self) -> float | None:
        """Return the energy of the strained film's crystal, eV per unit."""
        unit = self.film.structure.composition.get_reduced_composition_and_factor()[0]
        return None if self.strained_film is None else energy_per_unit(self.strained_film, unit)


# long: a third or more of it is documentation
def interface_energy_doc(
    members: Sequence[InterfaceMember],
    *,
    film_bulk: CalculationDoc,
    substrate_bulk: CalculationDoc,
    film: str | None = None,
    substrate: str | None = None,
    contact: str | None = None,
    strained_film_bulk: CalculationDoc | None = None,
    aligned_film_bulk: CalculationDoc | None = None,
    aligned_substrate_bulk: CalculationDoc | None = None,
    strain_percent: float | None = None,
    gamma_film: SurfaceEnergyDoc | None = None,
    gamma_substrate: SurfaceEnergyDoc | None = None,
    gamma_film_strained: SurfaceEnergyDoc | None = None,
    registries: InterfaceRegistriesDoc | None = None,
    other_cards: OtherCards = _ONE_CARD,
    level: float = 0.95,
) -> InterfaceEnergyDoc:
    """Make the interface energy from cells with films, and perhaps substrates, of different thickness.

    Parameters
    ----------
    members
        At least four thicknesses of the film, or one with `strained_film_bulk`; one substrate or several; any order.
    film_bulk, substrate_bulk
        The relaxed crystals, same engine and card; their reduced formulas are the units.
    film, substrate, contact
        Names; the reduced formulas if absent.
    strained_film_bulk
        The film's crystal with the in-plane lattice of the substrate, relaxed along the normal.
    aligned_film_bulk, aligned_substrate_bulk
        The unstrained crystals with the plane and mesh of the interface; both or none are used.
    strain_percent
        Largest in-plane strain of the film.
    gamma_film, gamma_substrate, gamma_film_strained
        Surface energies, for the work of adhesion.
    registries
        What was found of the registry.
    other_cards
        What has another card than the cells, in a study with a card for each role. Then the intercept over both
        thicknesses is free of the crystals' energies, and what is not free of them is flagged.
    level
        Confidence level.

    Returns
    -------
    InterfaceEnergyDoc
        If the two contacts of a cell differ, it holds the sum of their energies and no single one.

    Raises
    ------
    ConvergenceError
        If a calculation did not converge, or a surface energy given has no value.
    ReferenceMismatchError
        If engines, cards, charges or areas differ.
    InputError
        Two or three thicknesses of the film, or atoms that do not add up.
    """
    references = _References(film_bulk, substrate_bulk, strained_film_bulk)
    if aligned_film_bulk is not None and aligned_substrate_bulk is not None:
        references = replace(references, aligned_film=aligned_film_bulk, aligned_substrate=aligned_substrate_bulk)
    strained_surface = gamma_film_strained if gamma_film_strained and gamma_film_strained.converged else None
    surfaces = {"film": gamma_film, "substrate": gamma_substrate, "strained film": strained_surface}
    members = sorted(members, key=lambda m: (m.n_film, m.n_substrate))
    _check_thicknesses(members, references)
    _check_cards([m.calculation for m in members], references, other_cards)
    area = common_area([(m.calculation, m.area_angstrom2) for m in members])
    e_film, e_substrate = references.film_ev_per_unit(), references.substrate_ev_per_unit()
    _check_atoms(members, film_bulk, substrate_bulk)
    first = members[0].calculation
    _check_surfaces([surface for surface in surfaces.values() if surface is not None], first, other_cards)
    doc = InterfaceEnergyDoc(
        film=film or film_bulk.structure.composition.reduced_formula,
        substrate=substrate or substrate_bulk.structure.composition.reduced_formula,
        contact=contact,
        contacts_equivalent=all(m.equivalent_contacts for m in members),
        strain_percent=strain_percent,
        confidence_level=level,
        members=[_point(m, e_film, e_substrate, area) for m in members],
        area_angstrom2=area,
        film_bulk_ev_per_unit=e_film,
        substrate_bulk_ev_per_unit=e_substrate,
        gamma_film_j_per_m2=gamma_film.gamma_j_per_m2 if gamma_film else None,
        gamma_substrate_j_per_m2=gamma_substrate.gamma_j_per_m2 if gamma_substrate else None,
        gamma_film_strained_j_per_m2=strained_surface.gamma_j_per_m2 if strained_surface else None,
        film_strained_surface=gamma_film_strained,
        shift_per_mev_j_per_m2=1e-3 * max(m.n_substrate for m in members) * EV_PER_A2_TO_J_PER_M2 / (2 * area),
        references=[b.fingerprint for b in references.calculations],
        registries=registries,
        contacts=max(members, key=lambda m: m.n_film + m.n_substrate).contacts,
        other_cards=other_cards.text,
        engine=first.engine,
        card=first.card,
        notes=[_SLOPE_NOTE] if len({m.n_film for m in members}) > 1 else [],
    )
    if references.aligned:
        doc.references_aligned = True
    if references.aligned and other_cards.crystals is None:
        doc.film_alignment_ev_per_unit = e_film - energy_per_unit(film_bulk)
        doc.substrate_alignment_ev_per_unit = e_substrate - energy_per_unit(substrate_bulk)
    _fit(doc, references)
    doc.substrate_convergence = substrate_convergence(doc.members)
    if other_cards.crystals is not None and not references.aligned:
        _leave_out_comparisons(doc, other_cards.crystals)
    doc.uncertainty = uncertainty_parts(doc)
    doc.uncertainty_j_per_m2 = total(doc.uncertainty)
    if doc.contacts_equivalent:
        fill_adhesion(doc, surfaces)
    doc.warnings = [*other_card_warnings(doc, other_cards), *_warnings(doc, members)]
    return doc


def _check_cards(cells: list[CalculationDoc], references: _References, other: OtherCards) -> None:
    """Refuse cells and crystals that may not be combined."""
    if other.crystals is None:
        check_comparable([*cells, *references.calculations], varied=True)
        return
    relaxed = [references.film, references.substrate]
    rest = [doc for doc in references.calculations if not any(doc is crystal for crystal in relaxed)]
    if references.aligned:
        check_roles([*cells, *rest], relaxed, "interface")
    else:
        check_roles(cells, [*relaxed, *rest], "interface")


def _leave_out_comparisons(doc: InterfaceEnergyDoc, cards: str) -> None:
    """Take away what compares cells with crystals of another card."""
    doc.strain_check = None
    layers = doc.substrate_convergence.layers if doc.substrate_convergence else []
    text = f"the thickness of the substrate was not judged: {cards}, and their difference grows with it"
    doc.substrate_convergence = SubstrateConvergence(converged=None, layers=layers, text=text)


def _check_thicknesses(members: Sequence[InterfaceMember], references: _References) -> None:
    """Refuse films from which strain and interface cannot be told apart."""
    sizes = sorted({m.n_film for m in members})
    if len(sizes) >= MIN_THICKNESSES or (len(sizes) == 1 and references.strained_film is not None):
        return
    raise InputError(
        f"{len(sizes)} film thickness(es) of {sizes} units: the intercept needs {MIN_THICKNESSES}",
        "compute more cells; below that, strain and interface cannot be told apart"
        + (" without the strained crystal" if len(sizes) == 1 else ""),
    )


def _fit(doc: InterfaceEnergyDoc, references: _References) -> None:
    """Fill in gamma and the slopes: from a plane, a line, or the strained crystal where the film has one thickness."""
    points, area, level = doc.members, doc.area_angstrom2 or 0.0, doc.confidence_level
    to_ev = 2 * area / EV_PER_A2_TO_J_PER_M2
    strained = references.strained_ev_per_unit()
    if len({p.n_film for p in points}) == 1:
        thickest = max(points, key=lambda p: p.n_substrate)
        eps = (strained or 0.0) - references.film_ev_per_unit()
        _set_gamma(doc, thickest.gamma_j_per_m2 - thickest.n_film * eps / to_ev, None)
        doc.sigma_j_per_m2_per_unit, doc.strain_energy_ev_per_unit = eps / to_ev, eps
        return
    films, substrates = [p.n_film for p in points], [p.n_substrate for p in points]
    gammas, sigma_substrate = [p.gamma_j_per_m2 for p in points], 0.0
    if len(set(substrates)) > 1:
        doc.plane = fit_plane(films, substrates, gammas, level=level)
        sigma_substrate = doc.plane.slope_y
        doc.sigma_substrate_j_per_m2_per_unit = sigma_substrate
        doc.substrate_excess_ev_per_unit = sigma_substrate * to_ev
    # with several substrates: the same plane, seen along the other axis
    reduced = [gamma - m * sigma_substrate for gamma, m in zip(gammas, substrates, strict=True)]
    doc.fit = fit_line(films, reduced, level=level)
    intercept_ci = doc.plane.intercept_ci if doc.plane else doc.fit.intercept_ci
    slope, slope_ci = doc.fit.slope, doc.plane.slope_x_ci if doc.plane else doc.fit.slope_ci
    _set_gamma(doc, doc.fit.intercept, intercept_ci)
    doc.sigma_j_per_m2_per_unit, doc.sigma_ci_j_per_m2_per_unit = slope, slope_ci
    doc.strain_energy_ev_per_unit = slope * to_ev
    doc.strain_energy_ci_ev_per_unit = (slope_ci[0] * to_ev, slope_ci[1] * to_ev)
    if strained is not None and references.strained_film is not None:
        doc.strain_check = _strain_check(doc, strained, references)


def _set_gamma(doc: InterfaceEnergyDoc, gamma: float, interval: Interval | None) -> None:
    """Fill in the energy of the interface; only that of both contacts together where they differ."""
    doc.gamma_sum_j_per_m2 = 2 * gamma
    doc.gamma_sum_ci_j_per_m2 = None if interval is None else (2 * interval[0], 2 * interval[1])
    if doc.contacts_equivalent:
        doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2 = gamma, interval


def _point(m: InterfaceMember, e_film: float, e_substrate: float, area: float) -> InterfacePoint:
    energy = m.calculation.converged_energy_ev()
    return InterfacePoint(
        label=m.calculation.label,
        calculation=m.calculation.fingerprint,
        n_film=m.n_film,
        n_substrate=m.n_substrate,
        atoms=len(m.calculation.structure),
        film_thickness_angstrom=m.film_thickness_angstrom,
        energy_ev=energy,
        gamma_j_per_m2=interface_energy(energy, m.n_film, e_film, m.n_substrate, e_substrate, area),
        film_layers=m.film_layers,
        substrate_layers=m.substrate_layers,
        contacts=m.contacts,
    )


def _check_atoms(members: Sequence[InterfaceMember], film_bulk: CalculationDoc, substrate_bulk: CalculationDoc) -> None:
    """Refuse a cell whose atoms are not those of its units."""
    a, b = (d.structure.composition.get_reduced_composition_and_factor()[0] for d in (film_bulk, substrate_bulk))
    for m in members:
        if not (m.n_film > 0 and m.n_substrate > 0):
            raise InputError(
                f"'{m.calculation.label}' has {m.n_film:g} film and {m.n_substrate:g} substrate units",
                "both must be positive",
            )
        expected = a * m.n_film + b * m.n_substrate
        if not m.calculation.structure.composition.almost_equals(expected, rtol=1e-6, atol=1e-6):
            raise InputError(
                f"'{m.calculation.label}' has {m.calculation.structure.composition.formula}, {m.n_film:g} "
                f"{a.reduced_formula} and {m.n_substrate:g} {b.reduced_formula} would be {expected.formula}",
                "count the units again; a contact that is not stoichiometric has no energy without chemical potentials",
            )


def _check_surfaces(surfaces: Sequence[SurfaceEnergyDoc], first: CalculationDoc, other: OtherCards) -> None:
    for surface in surfaces:
        if not surface.converged:
            raise ConvergenceError(
                f"{surface.crystal} {surface.miller} has no surface energy: {surface.error or 'no reason recorded'}"
            )
        for field in ("engine",) if other.slabs else ("engine", "card"):
            ours, of_surface = getattr(first, field), getattr(surface, field)
            if of_surface is None or ours.hash != of_surface.hash:
                raise ReferenceMismatchError(
                    f"gamma of {surface.crystal} {surface.miller} was computed with {field} "
                    f"{of_surface.name if of_surface else 'unknown'}, the interface with {ours.name}",
                    "compute both with one engine and one card",
                )


def _strain_check(doc: InterfaceEnergyDoc, e_strained: float, references: _References) -> StrainCheck:
    bulk = references.aligned_film or references.film
    unit = references.film.structure.composition.get_reduced_composition_and_factor()[0]
    e_bulk = references.film_ev_per_unit()
    expected, fitted = e_strained - e_bulk, doc.strain_energy_ev_per_unit or 0.0
    low, high = doc.strain_energy_ci_ev_per_unit or (fitted, fitted)
    agrees = low - _STRAIN_RESOLUTION_EV <= expected <= high + _STRAIN_RESOLUTION_EV
    calculation = references.strained_film or bulk
    return StrainCheck(
        strained_bulk_ev_per_unit=e_strained,
        bulk_ev_per_unit=e_bulk,
        expected_ev_per_unit=expected,
        fitted_ev_per_unit=fitted,
        difference_ev_per_unit=fitted - expected,
        agrees=agrees,
        calculation=calculation.fingerprint,
        text=f"2A sigma = {1e3 * fitted:.2f} meV per {unit.reduced_formula} ({1e3 * low:.2f} to {1e3 * high:.2f}), "
        f"strained bulk {1e3 * expected:.2f} meV: {'they agree' if agrees else 'they do not agree'}",
    )


def _warnings(doc: InterfaceEnergyDoc, members: Sequence[InterfaceMember]) -> list[str]:
    """Return what a reader of the number should know."""
    warnings = []
    wide = [contact.gap_angstrom for m in members for contact in m.contacts if contact.open]
    if wide:
        warnings.append(
            f"{len(wide)} contacts are open: gaps of {min(wide):.2f} to {max(wide):.2f} angstrom are not contacts, and "
            "gamma is that of two surfaces"
        )
    gaps = [contact.gap_angstrom for m in members for contact in m.contacts]
    if gaps and max(gaps) - min(gaps) > _SAME_GAP_ANGSTROM:
        warnings.append(
            f"gaps from {min(gaps):.2f} to {max(gaps):.2f} angstrom: the cells of this series are not one interface"
        )
    unlike = [m for m in members if len({contact.registry for contact in m.contacts}) > 1]
    if unlike:
        names = " and ".join(contact.registry for contact in unlike[0].contacts)
        warnings.append(f"the contacts differ in {len(unlike)} cells: {names} ({unlike[0].calculation.label})")
    judged = doc.substrate_convergence
    if judged is not None and not judged.converged:
        warnings.append(judged.text)
    if doc.fit is None:
        warnings.append(
            f"one thickness of the film ({members[0].film_layers or members[0].n_film:g} planes): no fit; its strain "
            "energy is that of the strained crystal"
        )
    if doc.registries is not None:
        warnings += doc.registries.warnings
    if not doc.contacts_equivalent:
        warnings.append(
            "the two contacts of the cell differ: only the sum of two interface energies is known, "
            "and no work of adhesion"
        )
    elif doc.gamma_j_per_m2 is not None and doc.gamma_j_per_m2 <= 0:
        warnings.append(
            f"gamma = {doc.gamma_j_per_m2:.4f} J/m2 is not positive: the two would mix; check the bulk energies"
        )
    if doc.sigma_ci_j_per_m2_per_unit is not None and doc.sigma_ci_j_per_m2_per_unit[1] < 0:
        warnings.append("the slope is negative: no film gains energy by strain; check the bulk energy of the film")
    if doc.fit and doc.fit.linearity.verdict == "curved":
        intercept = doc.fit.linearity.quadratic_intercept or 0.0
        warnings.append(
            f"gamma(n): {doc.fit.linearity.text}; with a quadratic term the intercept is {intercept:.4f} J/m2"
        )
    if doc.strain_check is None and doc.fit is not None and doc.other_cards is None:
        warnings.append("the slope was not compared with strained bulk: none was computed")
    elif doc.strain_check is not None and not doc.strain_check.agrees:
        warnings.append(f"strain energy: {doc.strain_check.text}")
    if doc.work_of_adhesion_j_per_m2 is not None and doc.gamma_film_strained_j_per_m2 is None:
        why = doc.film_strained_surface.error if doc.film_strained_surface else "its strained slabs were not computed"
        warnings.append(f"the work of adhesion is with the surface energy of the unstrained film: {why}")
    if doc.work_of_adhesion_j_per_m2 is not None and doc.work_of_adhesion_j_per_m2 < 0:
        warnings.append("negative work of adhesion: the contact would open into two surfaces")
    return warnings
