"""Surface energies from slabs: one by one, and as the intercept of a fit over thicknesses.

A slab of N formula units with two faces of area A: E(N) = N E_b + 2A gamma. A bulk energy from another cell and
k-mesh differs from E_b of the slabs by a little, times N; the fit takes E_b from the slabs themselves
(Fiorentini & Methfessel, J. Phys. Condens. Matter 8, 6525 (1996), doi:10.1088/0953-8984/8/36/005). In a metal the
slabs scatter, and the slope of a few of them takes that up; there the crystal in the slabs' own in-plane cell and mesh
is the better E_b (Sun & Ceder, Surf. Sci. 617, 53 (2013), doi:10.1016/j.susc.2013.05.016), and tells of convergence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from anodeflow.analysis.comparable import (
    amounts,
    check_finite,
    check_in_plane,
    check_potentials,
    common_area,
    common_unit,
    crystals_of_slabs,
    energy_per_unit,
)
from anodeflow.analysis.fits import Interval, LineFit, fit_line
from anodeflow.analysis.work_functions import WorkFunctionDoc
from anodeflow.documents import CalculationDoc, CardRecord, Document, EngineRecord
from anodeflow.errors import InputError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

MIN_THICKNESSES = 3
# Fits over fewer, thicker slabs may move gamma by this much before it is called unconverged.
CONVERGED_RELATIVE, CONVERGED_J_PER_M2 = 0.05, 0.005

Method = Literal["fit", "single"]
_KEPT_SLABS = 3


class SlabMember(Document):
    """One slab of a series: its calculation and what the builder of the slab knew."""

    calculation: CalculationDoc
    layers: int
    n_units: float = Field(description="whole formula units in the slab")
    excess: dict[str, float] = Field(default_factory=dict, description="atoms beyond n_units, by element")
    thickness_angstrom: float = Field(description="between the outermost nuclei")
    area_angstrom2: float = Field(description="of one face")
    symmetric: bool = Field(default=True, description="the two faces are equivalent")
    unrelaxed: CalculationDoc | None = Field(default=None, description="static calculation of the cleaved slab")


class SurfaceMember(Document):
    """One slab in the result."""

    label: str
    calculation: str = Field(description="fingerprint")
    layers: int
    n_units: float
    atoms: int
    thickness_angstrom: float
    symmetric: bool
    excess: dict[str, float] = Field(default_factory=dict)
    energy_ev: float
    gamma_j_per_m2: float = Field(description="of this slab alone")
    gamma_unrelaxed_j_per_m2: float | None = None
    unrelaxed_calculation: str | None = Field(default=None, description="fingerprint")


class ThicknessStep(Document):
    """The fit over the thickest members only."""

    n_slabs: int
    thinnest_n_units: float
    gamma_j_per_m2: float
    gamma_ci_j_per_m2: Interval | None = Field(default=None, description="None for two thicknesses")


class SlabFit(Document):
    """E(N) = 2A gamma + N E_b."""

    gamma_j_per_m2: float = Field(description="from the intercept")
    gamma_ci_j_per_m2: Interval = Field(description="scatter about the line; says nothing of the method's error")
    bulk_ev_per_unit: float = Field(description="slope: bulk energy of the slabs themselves")
    bulk_ci_ev_per_unit: Interval = Field(description="its confidence interval")
    given_bulk_ev_per_unit: float | None = Field(default=None, description="from a calculation of the crystal")
    bulk_difference_ev_per_unit: float | None = Field(default=None, description="slope minus the given one")
    bulk_agrees: bool | None = Field(default=None, description="the given one lies in the interval of the slope")
    area_angstrom2: float = Field(description="of the cell in the plane, Å²")
    convergence: list[ThicknessStep] = Field(description="all slabs first, then without the thinnest, ...")
    spread_j_per_m2: float = Field(description="largest minus smallest gamma of `convergence`")
    line: LineFit = Field(description="E in eV against N")


class ThicknessConvergence(Document):
    """Whether gamma still changes with the number of planes, and what it is where it does not."""

    converged: bool = Field(description="gamma changes no more with thickness")
    judged_by: Literal["single slabs", "fit"] = Field(description="what was compared")
    gamma_j_per_m2: float = Field(description="mean of the thickest slabs, or the fit over all")
    spread_j_per_m2: float = Field(description="largest minus smallest of what was compared")
    tolerance_j_per_m2: float = Field(description="largest spread that counts as converged")
    layers: list[int] = Field(description="slabs compared")
    text: str = Field(description="the same as text")


class SurfaceEnergyDoc(Document):
    """The energy of one face of one crystal, with all it rests on."""

    doc_type: Literal["SurfaceEnergyDoc"] = Field("SurfaceEnergyDoc", description="class of the document")
    crystal: str = Field(description="what the slabs are cut from")
    miller: tuple[int, int, int] = Field(description="index of the face")
    cell: str | None = Field(default=None, description="the cell that the index refers to")
    termination: str = Field(description="label of the termination")
    method: Method = Field(description="fit over thicknesses, or the thickest slab alone")
    gamma_j_per_m2: float | None = Field(default=None, description="relaxed; the mean of the two faces")
    gamma_ci_j_per_m2: Interval | None = Field(default=None, description="None without a fit")
    gamma_unrelaxed_j_per_m2: float | None = Field(default=None, description="of the cleaved slab, by the same method")
    confidence_level: float = Field(0.95, description="of the intervals")
    fit: SlabFit | None = Field(None, description="over thicknesses, where there are three")
    thickness: ThicknessConvergence | None = Field(default=None, description="None for fewer than three slabs")
    members: list[SurfaceMember] = Field(default_factory=list, description="thinnest first")
    area_angstrom2: float | None = Field(None, description="of the cell in the plane, Å²")
    faces: str = Field(default="two equivalent faces", description="what gamma is the energy of")
    stoichiometric: bool = Field(True, description="slabs hold whole formula units only")
    chemical_potentials_ev: dict[str, float] | None = Field(
        None, description="of atoms beyond whole formula units, eV per atom"
    )
    bulk_ev_per_unit: float | None = Field(default=None, description="the bulk energy of the single-slab values")
    unit_formula: str | None = Field(None, description="the formula unit that N counts")
    reference: str = Field(default="", description="what gamma is measured against, as text")
    references: list[str] = Field(default_factory=list, description="fingerprints of the bulk calculations")
    other_card: str | None = Field(None, description="how the crystal's card differs from the slabs'; None: not at all")
    engine: EngineRecord | None = Field(None, description="what computed")
    card: CardRecord | None = Field(None, description="how accurately")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")
    work_function: WorkFunctionDoc | None = Field(None, description="of the face, where the engine gives it")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("other_card", "work_function")

    @property
    def converged(self) -> bool:
        """Whether there is a surface energy."""
        return self.gamma_j_per_m2 is not None


def surface_energy(e_slab_ev: float, n_units: float, e_bulk_ev_per_unit: float, area_angstrom2: float) -> float:
    """Return (E_slab - n E_bulk)/(2A) in J/m2, of a slab with two faces.

    Parameters
    ----------
    e_slab_ev
        Energy of the slab, eV.
    n_units
        Formula units in it.
    e_bulk_ev_per_unit
        Energy of the crystal, eV per unit.
    area_angstrom2
        Of one face, angstrom^2.

    Returns
    -------
    float
        J/m2.

    Raises
    ------
    InputError
        If n or the area is not positive, or an energy is not finite.
    """
    check_finite(e_slab_ev, e_bulk_ev_per_unit)
    if not n_units > 0 or not area_angstrom2 > 0:
        raise InputError(
            f"a slab of {n_units} formula units and {area_angstrom2} angstrom^2", "both must be positive numbers"
        )
    return (e_slab_ev - n_units * e_bulk_ev_per_unit) / (2 * area_angstrom2) * EV_PER_A2_TO_J_PER_M2


def fiorentini_methfessel(
    slabs: Sequence[tuple[float, float]],
    area_angstrom2: float,
    *,
    bulk_ev_per_unit: float | None = None,
    level: float = 0.95,
) -> SlabFit:
    """Fit E(N) = 2A gamma + N E_b over thicknesses (doi:10.1088/0953-8984/8/36/005).

    Parameters
    ----------
    slabs
        (formula units, energy in eV) of at least three thicknesses, one face area.
    area_angstrom2
        Of one face.
    bulk_ev_per_unit
        Energy of the crystal per formula unit, to compare with the slope; gamma does not use it.
    level
        Confidence level of the intervals.

    Returns
    -------
    SlabFit

    Raises
    ------
    InputError
        Fewer than three thicknesses, or numbers that are not finite or not positive.
    """
    slabs = sorted(slabs)
    sizes = sorted({n for n, _ in slabs})
    if len(sizes) < MIN_THICKNESSES:
        raise InputError(
            f"{len(sizes)} thickness(es) of {sizes} formula units: a fit needs {MIN_THICKNESSES}",
            "compute thicker slabs, or take method='single', which has no confidence interval",
        )
    if not area_angstrom2 > 0:
        raise InputError(f"area {area_angstrom2} angstrom^2", "give a positive number")
    per_area = EV_PER_A2_TO_J_PER_M2 / (2 * area_angstrom2)
    steps = []
    for thinnest in sizes[:-1]:
        subset = [(n, e) for n, e in slabs if n >= thinnest]
        interval = None
        if len(subset) > 2:
            part = fit_line(*zip(*subset, strict=True), level=level)
            intercept, interval = part.intercept, _scaled(part.intercept_ci, per_area)
        else:
            (n1, e1), (n2, e2) = subset
            intercept = e1 - n1 * (e2 - e1) / (n2 - n1)
        steps.append(
            ThicknessStep(
                n_slabs=len(subset),
                thinnest_n_units=thinnest,
                gamma_j_per_m2=intercept * per_area,
                gamma_ci_j_per_m2=interval,
            )
        )
    line = fit_line(*zip(*slabs, strict=True), level=level)
    difference = agrees = None
    if bulk_ev_per_unit is not None:
        difference = line.slope - bulk_ev_per_unit
        # Rounding of total energies, so that a perfect line agrees with its own slope.
        slack = 1e-12 * max(abs(e) for _, e in slabs)
        agrees = line.slope_ci[0] - slack <= bulk_ev_per_unit <= line.slope_ci[1] + slack
    gammas = [s.gamma_j_per_m2 for s in steps]
    return SlabFit(
        gamma_j_per_m2=line.intercept * per_area,
        gamma_ci_j_per_m2=_scaled(line.intercept_ci, per_area),
        bulk_ev_per_unit=line.slope,
        bulk_ci_ev_per_unit=line.slope_ci,
        given_bulk_ev_per_unit=bulk_ev_per_unit,
        bulk_difference_ev_per_unit=difference,
        bulk_agrees=agrees,
        area_angstrom2=area_angstrom2,
        convergence=steps,
        spread_j_per_m2=max(gammas) - min(gammas),
        line=line,
    )


# long: a third or more of it is documentation
def surface_energy_doc(
    members: Sequence[SlabMember],
    *,
    crystal: str,
    miller: tuple[int, int, int],
    termination: str,
    cell: str | None = None,
    bulk: CalculationDoc | None = None,
    aligned_bulk: CalculationDoc | None = None,
    chemical_potentials_ev: Mapping[str, float] | None = None,
    method: Method = "fit",
    level: float = 0.95,
    other_card: str | None = None,
) -> SurfaceEnergyDoc:
    """Make the surface energy of one face from its slabs.

    Parameters
    ----------
    members
        The slabs, same face, termination and area, any order.
    crystal, miller, termination, cell
        What the face is; ``cell`` says which cell the index refers to.
    bulk
        The relaxed crystal, same engine and card. Needed for ``method="single"`` of a stoichiometric slab;
        with a fit it is compared with the slope.
    aligned_bulk
        The crystal again, in a cell with the a and b (and so the k-mesh) of the slabs. If given, the single-slab
        values rest on it and not on `bulk`, and it is they that tell whether gamma converges with thickness.
    chemical_potentials_ev
        eV per atom of every element, needed for slabs with an excess: gamma = (E - sum n_i mu_i)/(2A). They
        must add up to the bulk energy, otherwise gamma would grow with the thickness.
    method
        "fit" or, without a confidence interval, "single".
    level
        Confidence level.
    other_card
        How the card of `bulk` differs from that of the slabs, as text, in a study with a card for each role; then a fit
        does without it, and a single slab is flagged.

    Returns
    -------
    SurfaceEnergyDoc

    Raises
    ------
    ConvergenceError
        If a calculation did not converge; the message names it.
    ReferenceMismatchError
        If engines, cards, charges or areas differ, or chemical potentials miss the bulk energy.
    InputError
        Too few thicknesses, a non-stoichiometric slab without chemical potentials, slabs with different
        excess, or atoms that do not add up.
    """
    if not members:
        raise InputError(f"no slab of {crystal} {miller}", "give at least one")
    members = sorted(members, key=lambda m: (m.n_units, m.thickness_angstrom))
    unrelaxed = [m.unrelaxed for m in members if m.unrelaxed is not None]
    slabs = [m.calculation for m in members] + unrelaxed
    bulks = crystals_of_slabs(slabs, bulk, aligned_bulk, other_card is not None, method == "single")
    area = common_area([(m.calculation, m.area_angstrom2) for m in members])
    unit = common_unit([(m.calculation, m.n_units, m.excess) for m in members])
    excess = members[0].excess
    bulk_ev = energy_per_unit(bulks[0], unit) if bulks else None
    mu = dict(chemical_potentials_ev) if chemical_potentials_ev is not None else None
    shift, source = 0.0, "bulk energy from the slope of the fit"
    if aligned_bulk is not None:
        check_in_plane(aligned_bulk, area)
    if bulks:
        source = f"bulk energy from '{bulks[0].label}'"
    if excess and mu is None:
        raise InputError(
            f"the {termination} slabs of {crystal} {miller} have {amounts(excess)} beyond {unit.reduced_formula}",
            "give chemical_potentials_ev of its elements, or build a stoichiometric slab",
        )
    if mu is not None:
        bulk_ev = check_potentials(mu, unit, bulk_ev if other_card is None or aligned_bulk else None)
        shift = sum(number * mu[element] for element, number in excess.items())
        source = "chemical potentials " + ", ".join(f"{k} {mu[k]:.4f} eV" for k in sorted(mu))
    energies = [m.calculation.converged_energy_ev() - shift for m in members]
    fit = None
    if method == "fit":
        points = [(m.n_units, e) for m, e in zip(members, energies, strict=True)]
        fit = fiorentini_methfessel(points, area, bulk_ev_per_unit=bulk_ev, level=level)
        bulk_ev = fit.bulk_ev_per_unit if bulk_ev is None else bulk_ev
    elif bulk_ev is None:
        raise InputError("a single slab gives no bulk energy", "give the bulk calculation, or use method='fit'")
    rows = [_row(m, e, shift, bulk_ev, area) for m, e in zip(members, energies, strict=True)]
    doc = SurfaceEnergyDoc(
        crystal=crystal,
        miller=miller,
        cell=cell,
        termination=termination,
        method=method,
        gamma_j_per_m2=fit.gamma_j_per_m2 if fit else rows[-1].gamma_j_per_m2,
        gamma_ci_j_per_m2=fit.gamma_ci_j_per_m2 if fit else None,
        gamma_unrelaxed_j_per_m2=_unrelaxed(members, rows, area, shift, method, level),
        confidence_level=level,
        fit=fit,
        members=rows,
        area_angstrom2=area,
        faces="two equivalent faces" if all(m.symmetric for m in members) else "the mean of two different faces",
        stoichiometric=not excess,
        chemical_potentials_ev=mu,
        bulk_ev_per_unit=bulk_ev,
        unit_formula=unit.reduced_formula,
        reference=source + ("; gamma itself from the fit" if fit and bulk_ev != fit.bulk_ev_per_unit else ""),
        references=[b.fingerprint for b in bulks],
        other_card=other_card,
        engine=members[0].calculation.engine,
        card=members[0].calculation.card,
    )
    doc.thickness = _thickness(doc, aligned_bulk is not None)
    doc.warnings = _warnings(doc)
    return doc


def _row(m: SlabMember, energy_ev: float, shift_ev: float, bulk_ev: float, area: float) -> SurfaceMember:
    static = m.unrelaxed
    return SurfaceMember(
        label=m.calculation.label,
        calculation=m.calculation.fingerprint,
        layers=m.layers,
        n_units=m.n_units,
        atoms=len(m.calculation.structure),
        thickness_angstrom=m.thickness_angstrom,
        symmetric=m.symmetric,
        excess=m.excess,
        energy_ev=m.calculation.converged_energy_ev(),
        gamma_j_per_m2=surface_energy(energy_ev, m.n_units, bulk_ev, area),
        gamma_unrelaxed_j_per_m2=None
        if static is None
        else surface_energy(static.converged_energy_ev() - shift_ev, m.n_units, bulk_ev, area),
        unrelaxed_calculation=static.fingerprint if static else None,
    )


def _unrelaxed(
    members: Sequence[SlabMember],
    rows: Sequence[SurfaceMember],
    area: float,
    shift_ev: float,
    method: Method,
    level: float,
) -> float | None:
    """Return gamma of the cleaved slabs: by the fit if enough of them were computed, else of the thickest."""
    points = [(m.n_units, m.unrelaxed.converged_energy_ev() - shift_ev) for m in members if m.unrelaxed]
    if method == "fit" and len({n for n, _ in points}) >= MIN_THICKNESSES:
        return fiorentini_methfessel(points, area, level=level).gamma_j_per_m2
    return next((r.gamma_unrelaxed_j_per_m2 for r in reversed(rows) if r.gamma_unrelaxed_j_per_m2 is not None), None)


def _tolerance(gamma: float) -> float:
    return max(CONVERGED_RELATIVE * abs(gamma), CONVERGED_J_PER_M2)


def _thickness(doc: SurfaceEnergyDoc, aligned: bool) -> ThicknessConvergence | None:
    """Judge by the thickest single slabs where the bulk has their mesh, else by the fit without the thin ones."""
    fit = doc.fit
    if fit is None:
        return None
    if aligned:
        kept = doc.members[-_KEPT_SLABS:]
        gammas = [m.gamma_j_per_m2 for m in kept]
        gamma, spread, by = sum(gammas) / len(gammas), max(gammas) - min(gammas), "single slabs"
    else:
        kept, gamma, spread, by = doc.members, fit.gamma_j_per_m2, fit.spread_j_per_m2, "fit"
    tolerance = _tolerance(gamma)
    drifts = aligned and fit.bulk_agrees is False
    converged = spread <= tolerance and not drifts
    layers = [m.layers for m in kept]
    verdict = "converged with thickness" if converged else "not converged with thickness"
    if aligned:
        text = (
            f"{verdict}: slabs of {', '.join(map(str, layers))} layers, each against the crystal in their cell, "
            f"average {gamma:.4f} J/m2 and differ by {spread:.4f}"
        )
        if drifts:
            text += "; they drift with the number of layers"
    else:
        text = f"{verdict}: gamma moves by {spread:.4f} J/m2 when thin slabs are left out"
    return ThicknessConvergence(
        converged=converged,
        judged_by=by,
        gamma_j_per_m2=gamma,
        spread_j_per_m2=spread,
        tolerance_j_per_m2=tolerance,
        layers=layers,
        text=text,
    )


def _warnings(doc: SurfaceEnergyDoc) -> list[str]:
    """Return what a reader of the number should know."""
    warnings = []
    gamma, fit = doc.gamma_j_per_m2 or 0.0, doc.fit
    if gamma <= 0:
        warnings.append(
            f"gamma = {gamma:.4f} J/m2 is not positive: the crystal would cleave by itself; check the bulk energy"
        )
    if doc.faces != "two equivalent faces":
        warnings.append("the two faces of a slab differ: gamma is the mean of two surface energies")
    if doc.other_card is not None and doc.method == "fit":
        warnings.append(
            f"{doc.other_card}: gamma rests on the slabs alone, the energy of the relaxed crystal is not used"
        )
    elif doc.other_card is not None and doc.references:
        warnings.append(
            f"{doc.other_card}: the crystal's energy is of another card than the slab's, and their difference enters "
            "gamma once for every formula unit; give three thicknesses or more for a fit, which needs no crystal"
        )
    if doc.method == "single":
        warnings.append("from one slab: no confidence interval, and an error of the bulk energy enters times n")
    if not doc.stoichiometric:
        warnings.append("not stoichiometric: gamma holds for the chemical potentials given and no others")
    settled = doc.thickness
    if settled and not settled.converged:
        warnings.append(settled.text)
    elif settled and fit and fit.spread_j_per_m2 > _tolerance(gamma):
        warnings.append(
            f"the fit moves by {fit.spread_j_per_m2:.4f} J/m2 when thin slabs are left out: its slope takes up their "
            f"scatter. But {settled.text}"
        )
    if fit and fit.bulk_agrees is False:
        warnings.append(
            f"the slope is {1e3 * (fit.bulk_difference_ev_per_unit or 0.0):+.2f} meV per {doc.unit_formula} off "
            "the bulk energy given: single-slab values drift with thickness, the fit does not"
        )
    if fit and fit.line.linearity.verdict == "curved":
        warnings.append(f"E(N): {fit.line.linearity.text}")
    warnings += [
        f"'{r.label}' is higher relaxed than unrelaxed: the relaxation went wrong"
        for r in doc.members
        if r.gamma_unrelaxed_j_per_m2 is not None and r.gamma_j_per_m2 > r.gamma_unrelaxed_j_per_m2 + 1e-6
    ]
    return warnings


def _scaled(interval: Interval, factor: float) -> Interval:
    return interval[0] * factor, interval[1] * factor
