"""Interface energies from films of growing thickness on a fixed substrate.

Two equivalent contacts in a periodic cell, the film strained to the substrate and relaxed along the normal:

    2A gamma(n) = E_cell - n_film E_film - n_substrate E_substrate,   gamma(n) = gamma + n sigma

Every film unit pays the strain energy eps = 2A sigma, so the energy of the (coherent) interface is the INTERCEPT
at n = 0 and the slope is strain. Same idea: Lepley & Holzwarth, Phys. Rev. B 92, 214201 (2015),
doi:10.1103/PhysRevB.92.214201.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from typing import Any, Literal

from pydantic import Field

from anodeflow.analysis.comparable import check_comparable, check_finite, common_area, energy_per_unit
from anodeflow.analysis.fits import Interval, LineFit, fit_line
from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc, CardRecord, Document, EngineRecord
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

MIN_THICKNESSES = 4
# Differences of strain energies below this are the convergence of the calculations, eV per unit.
_STRAIN_RESOLUTION_EV = 1e-4

_SLOPE_NOTE = (
    "gamma is the intercept at zero film units; the text of lacss2024 (Nature Communications 2024) calls the slope "
    "the interface energy, but by the algebra the slope is the strain energy of one film unit over 2A"
)


class InterfaceMember(Document):
    """One cell of a series: its calculation and what the builder of the interface knew."""

    calculation: CalculationDoc
    n_film: float = Field(description="formula units of the film in the whole cell")
    n_substrate: float = Field(description="formula units of the substrate in the whole cell")
    area_angstrom2: float = Field(description="of one contact")
    film_thickness_angstrom: float | None = None
    equivalent_contacts: bool = Field(default=True, description="a symmetry operation exchanges the two contacts")


class InterfacePoint(Document):
    """One cell in the result."""

    label: str
    calculation: str = Field(description="fingerprint")
    n_film: float
    n_substrate: float
    atoms: int
    film_thickness_angstrom: float | None = None
    energy_ev: float
    gamma_j_per_m2: float = Field(description="strain included; mean of the two contacts")


class StrainCheck(Document):
    """The strain energy of the fit beside that of strained bulk."""

    strained_bulk_ev_per_unit: float
    bulk_ev_per_unit: float
    expected_ev_per_unit: float = Field(description="strained minus unstrained bulk")
    fitted_ev_per_unit: float = Field(description="2A sigma")
    difference_ev_per_unit: float = Field(description="fitted minus expected")
    agrees: bool = Field(description="expected lies in the confidence interval of fitted")
    calculation: str = Field(description="fingerprint of the strained crystal")
    text: str


class PublishedComparison(Document):
    """A published gamma(A) - gamma(A/B) and ours."""

    paper: str
    system: str
    quantity: str
    published_j_per_m2: float
    ours_j_per_m2: float
    implied_gamma_j_per_m2: float = Field(description="interface energy: our gamma(A) minus the published difference")
    surface: str = Field(description="A, whose gamma is ours")
    source: str


class InterfaceEnergyDoc(Document):
    """The energy of one interface, with all it rests on."""

    doc_type: Literal["InterfaceEnergyDoc"] = "InterfaceEnergyDoc"
    film: str
    substrate: str
    contact: str | None = Field(default=None, description="faces and orientation, e.g. 'LiCl(100) || Li(100)'")
    gamma_j_per_m2: float | None = Field(default=None, description="intercept; None if the two contacts differ")
    gamma_ci_j_per_m2: Interval | None = Field(default=None, description="scatter about the line only")
    contacts_equivalent: bool = True
    gamma_sum_j_per_m2: float | None = Field(default=None, description="of both contacts: twice the intercept")
    gamma_sum_ci_j_per_m2: Interval | None = None
    sigma_j_per_m2_per_unit: float | None = Field(default=None, description="slope, per film unit")
    sigma_ci_j_per_m2_per_unit: Interval | None = None
    strain_energy_ev_per_unit: float | None = Field(default=None, description="eps = 2A sigma, eV per film unit")
    strain_energy_ci_ev_per_unit: Interval | None = None
    strain_check: StrainCheck | None = Field(default=None, description="None: no strained bulk was computed")
    strain_percent: float | None = Field(default=None, description="largest in-plane strain of the film")
    confidence_level: float = 0.95
    fit: LineFit | None = Field(default=None, description="gamma(n) in J/m2 against film units")
    members: list[InterfacePoint] = Field(default_factory=list, description="thinnest film first")
    area_angstrom2: float | None = None
    film_bulk_ev_per_unit: float | None = None
    substrate_bulk_ev_per_unit: float | None = None
    gamma_film_j_per_m2: float | None = Field(default=None, description="surface energy of the film material")
    gamma_substrate_j_per_m2: float | None = Field(default=None, description="surface energy of the substrate material")
    work_of_adhesion_j_per_m2: float | None = Field(default=None, description="positive: they adhere")
    work_of_adhesion_half_width_j_per_m2: float | None = Field(default=None, description="the intervals in quadrature")
    film_minus_interface_j_per_m2: float | None = Field(default=None, description="gamma(film) - gamma_AB")
    substrate_minus_interface_j_per_m2: float | None = Field(default=None, description="gamma(substrate) - gamma_AB")
    published: list[PublishedComparison] = Field(default_factory=list)
    shift_per_mev_j_per_m2: float | None = Field(
        default=None, description="change of the intercept if the substrate's bulk energy moves by 1 meV per unit"
    )
    references: list[str] = Field(default_factory=list, description="fingerprints of the bulk calculations")
    engine: EngineRecord | None = None
    card: CardRecord | None = None
    notes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    @property
    def converged(self) -> bool:
        """Whether there is a fit."""
        return self.fit is not None


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


def work_of_adhesion(gamma_a: float, gamma_b: float, gamma_ab: float) -> float:
    """Return W_ad = gamma_A + gamma_B - gamma_AB in J/m2; positive: the two stick together (Dupre).

    Parameters
    ----------
    gamma_a, gamma_b
        Surface energies of the two sides, J/m2.
    gamma_ab
        Interface energy, J/m2.

    Returns
    -------
    float
        J/m2.
    """
    return gamma_a + gamma_b - gamma_ab


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
    strain_percent: float | None = None,
    gamma_film: SurfaceEnergyDoc | None = None,
    gamma_substrate: SurfaceEnergyDoc | None = None,
    level: float = 0.95,
) -> InterfaceEnergyDoc:
    """Make the interface energy from cells with films of different thickness.

    Parameters
    ----------
    members
        At least four thicknesses of the film on one substrate, any order.
    film_bulk, substrate_bulk
        The relaxed crystals, same engine and card; their reduced formulas are the units.
    film, substrate, contact
        Names; the reduced formulas if absent.
    strained_film_bulk
        The film's crystal with the in-plane lattice of the substrate, relaxed along the normal.
    strain_percent
        Largest in-plane strain of the film.
    gamma_film, gamma_substrate
        Surface energies, for the work of adhesion.
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
        Fewer than four thicknesses, or atoms that do not add up.
    """
    bulks = [film_bulk, substrate_bulk] + ([strained_film_bulk] if strained_film_bulk else [])
    surfaces = [s for s in (gamma_film, gamma_substrate) if s is not None]
    sizes = sorted({m.n_film for m in members})
    if len(sizes) < MIN_THICKNESSES:
        raise InputError(
            f"{len(sizes)} film thickness(es) of {sizes} units: the intercept needs {MIN_THICKNESSES}",
            "compute more cells; below that, strain and interface cannot be told apart",
        )
    members = sorted(members, key=lambda m: m.n_film)
    check_comparable([m.calculation for m in members] + bulks)
    area = common_area([(m.calculation, m.area_angstrom2) for m in members])
    e_film, e_substrate = energy_per_unit(film_bulk), energy_per_unit(substrate_bulk)
    _check_atoms(members, film_bulk, substrate_bulk)
    first = members[0].calculation
    _check_surfaces(surfaces, first)
    points = [_point(m, e_film, e_substrate, area) for m in members]
    fit = fit_line([p.n_film for p in points], [p.gamma_j_per_m2 for p in points], level=level)
    to_ev = 2 * area / EV_PER_A2_TO_J_PER_M2
    equivalent = all(m.equivalent_contacts for m in members)
    doc = InterfaceEnergyDoc(
        film=film or film_bulk.structure.composition.reduced_formula,
        substrate=substrate or substrate_bulk.structure.composition.reduced_formula,
        contact=contact,
        gamma_j_per_m2=fit.intercept if equivalent else None,
        gamma_ci_j_per_m2=fit.intercept_ci if equivalent else None,
        contacts_equivalent=equivalent,
        gamma_sum_j_per_m2=2 * fit.intercept,
        gamma_sum_ci_j_per_m2=(2 * fit.intercept_ci[0], 2 * fit.intercept_ci[1]),
        sigma_j_per_m2_per_unit=fit.slope,
        sigma_ci_j_per_m2_per_unit=fit.slope_ci,
        strain_energy_ev_per_unit=fit.slope * to_ev,
        strain_energy_ci_ev_per_unit=(fit.slope_ci[0] * to_ev, fit.slope_ci[1] * to_ev),
        strain_check=_strain_check(fit, to_ev, strained_film_bulk, film_bulk) if strained_film_bulk else None,
        strain_percent=strain_percent,
        confidence_level=level,
        fit=fit,
        members=points,
        area_angstrom2=area,
        film_bulk_ev_per_unit=e_film,
        substrate_bulk_ev_per_unit=e_substrate,
        gamma_film_j_per_m2=gamma_film.gamma_j_per_m2 if gamma_film else None,
        gamma_substrate_j_per_m2=gamma_substrate.gamma_j_per_m2 if gamma_substrate else None,
        shift_per_mev_j_per_m2=1e-3 * max(m.n_substrate for m in members) / to_ev,
        references=[b.fingerprint for b in bulks],
        engine=first.engine,
        card=first.card,
        notes=[_SLOPE_NOTE],
    )
    if equivalent:
        _adhesion(doc, surfaces)
    doc.warnings = _warnings(doc)
    return doc


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


def _check_surfaces(surfaces: Sequence[SurfaceEnergyDoc], first: CalculationDoc) -> None:
    for surface in surfaces:
        if not surface.converged:
            raise ConvergenceError(
                f"{surface.crystal} {surface.miller} has no surface energy: {surface.error or 'no reason recorded'}"
            )
        for field in ("engine", "card"):
            ours, other = getattr(first, field), getattr(surface, field)
            if other is None or ours.hash != other.hash:
                raise ReferenceMismatchError(
                    f"gamma of {surface.crystal} {surface.miller} was computed with {field} "
                    f"{other.name if other else 'unknown'}, the interface with {ours.name}",
                    "compute both with one engine and one card",
                )


def _strain_check(fit: LineFit, to_ev: float, strained: CalculationDoc, bulk: CalculationDoc) -> StrainCheck:
    unit = bulk.structure.composition.get_reduced_composition_and_factor()[0]
    e_strained, e_bulk = energy_per_unit(strained, unit), energy_per_unit(bulk, unit)
    expected, fitted = e_strained - e_bulk, fit.slope * to_ev
    low, high = fit.slope_ci[0] * to_ev, fit.slope_ci[1] * to_ev
    agrees = low - _STRAIN_RESOLUTION_EV <= expected <= high + _STRAIN_RESOLUTION_EV
    return StrainCheck(
        strained_bulk_ev_per_unit=e_strained,
        bulk_ev_per_unit=e_bulk,
        expected_ev_per_unit=expected,
        fitted_ev_per_unit=fitted,
        difference_ev_per_unit=fitted - expected,
        agrees=agrees,
        calculation=strained.fingerprint,
        text=f"2A sigma = {1e3 * fitted:.2f} meV per {unit.reduced_formula} ({1e3 * low:.2f} to {1e3 * high:.2f}), "
        f"strained bulk {1e3 * expected:.2f} meV: {'they agree' if agrees else 'they do not agree'}",
    )


def _adhesion(doc: InterfaceEnergyDoc, surfaces: Sequence[SurfaceEnergyDoc]) -> None:
    """Fill in what needs surface energies."""
    gamma, film, substrate = doc.gamma_j_per_m2, doc.gamma_film_j_per_m2, doc.gamma_substrate_j_per_m2
    if gamma is None:
        return
    if film is not None:
        doc.film_minus_interface_j_per_m2 = film - gamma
    if substrate is not None:
        doc.substrate_minus_interface_j_per_m2 = substrate - gamma
    if film is not None and substrate is not None:
        doc.work_of_adhesion_j_per_m2 = work_of_adhesion(film, substrate, gamma)
        intervals = [doc.gamma_ci_j_per_m2, *(s.gamma_ci_j_per_m2 for s in surfaces)]
        if all(intervals):
            doc.work_of_adhesion_half_width_j_per_m2 = hypot(*((i[1] - i[0]) / 2 for i in intervals if i))
    ours = {doc.film: film, doc.substrate: substrate}
    doc.published = [
        _published(row, ours[a], gamma)
        for row in published_values("gamma_licl_minus_gamma_licl_li")
        for a, b in [row["system"].split("/")]
        if {a, b} == {doc.film, doc.substrate} and ours[a] is not None
    ]


def _published(row: dict[str, Any], gamma_a: float | None, gamma_ab: float) -> PublishedComparison:
    a = gamma_a or 0.0
    surface = row["system"].split("/")[0]
    return PublishedComparison(
        paper=row["paper"],
        system=row["system"],
        quantity=f"gamma({surface}) - gamma({row['system']})",
        published_j_per_m2=row["value"],
        ours_j_per_m2=a - gamma_ab,
        implied_gamma_j_per_m2=a - row["value"],
        surface=surface,
        source=row["source"],
    )


def _warnings(doc: InterfaceEnergyDoc) -> list[str]:
    """Return what a reader of the number should know."""
    warnings = []
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
    if doc.strain_check is None:
        warnings.append("the slope was not compared with strained bulk: none was computed")
    elif not doc.strain_check.agrees:
        warnings.append(f"strain energy: {doc.strain_check.text}")
    if doc.work_of_adhesion_j_per_m2 is not None and doc.work_of_adhesion_j_per_m2 < 0:
        warnings.append("negative work of adhesion: the contact would open into two surfaces")
    if len({p.n_substrate for p in doc.members}) > 1:
        warnings.append(
            "the substrate's thickness changes through the series: its bulk energy then enters the slope too"
        )
    return warnings
