"""The documents of migration barriers: a band, the barrier of a hop, the end of a study."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.barriers import BarrierFit, fit_barrier
from anodeflow.analysis.comparable import check_dispersions, check_functionals
from anodeflow.analysis.master_equation import HopDiffusionDoc, JumpDoc, WeighedJump, hop_diffusion
from anodeflow.documents import CalculationDoc, CardRecord, ComputedDoc, Document, EngineRecord, StudyDoc
from anodeflow.errors import AnodeflowError, ConvergenceError, ReferenceMismatchError

#: Energies of the two ends of a symmetric hop may differ by this much before a warning.
_SYMMETRIC_EV = 5e-3
#: A path that goes further below its end than this, and than half the barrier, has no end there.
_DIP_EV = 0.02
#: Temperatures at which diffusion by hops is given.
_DIFFUSION_K = (300.0, 600.0, 900.0)
#: Beyond this the highest image may as well be a saddle of something else.
_SUSPICIOUS_EV = 3.0


class BandDoc(ComputedDoc):
    """The end of a nudged elastic band calculation."""

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (
        "reason", "directory", "end_digests", "displacement_angstrom", "seed",
    )  # fmt: skip

    doc_type: Literal["BandDoc"] = "BandDoc"
    fingerprint: str = Field(description="hash of the end points, the number of images, card, charge and engine")
    crystal: str | None = None
    start: str | None = Field(None, description="fingerprint of the start's relaxation")
    end: str | None = Field(None, description="fingerprint of the end's relaxation")
    end_digests: tuple[str, str] | None = Field(None, description="hashes of the geometry of both ends, made to fit")
    displacement_angstrom: float | None = Field(None, description="by which the path was disturbed at the beginning")
    seed: int | None = Field(None, description="of the random numbers of the displacement")
    mirrored: bool = Field(False, description="the end is the start under a symmetry operation of the cell")
    structure: Structure | None = Field(None, description="geometry of the highest image; None if there is no band")
    charge: int = 0
    images: int = Field(0, description="images between the ends")
    climb: bool = True
    electronic_converged: bool | None = None
    steps: int = 0
    energies_ev: list[float] = Field(default_factory=list, description="of every image, ends included")
    residuals_ev_per_angstrom: list[float] = Field(
        default_factory=list, description="largest force across the path of each image between the ends"
    )
    climbing_image: int | None = None
    hop_angstrom: float | None = Field(None, description="displacement of the atom that hops, end points relaxed")
    warm_start: EngineRecord | None = Field(None, description="whose band it started from")
    arrays: dict[str, Any] | None = Field(
        None,
        description="coords (images, N, 3) angstrom, unfolded; forces (images, N, 3) eV/angstrom; cell; species",
    )


class MigrationBarrierDoc(Document):
    """The barrier of one hop, and everything it rests on."""

    doc_type: Literal["MigrationBarrierDoc"] = Field("MigrationBarrierDoc", description="class of the document")
    crystal: str = Field(description="crystal, face or interface that Li moves in")
    mechanism: str = Field(description="what moves")
    hop: str = Field("", description="label of the hop")
    start_site: str = Field("", description="label of the site where the hop begins")
    end_site: str = Field("", description="label of the site where the hop ends")
    model: str = Field("", description="the cell, as text")
    atoms: int = Field(0, description="of the cell")
    distance_angstrom: float | None = Field(None, description="straight, between the ideal sites")
    multiplicity: int | None = Field(None, description="equivalent hops that leave one start site")
    multiplicity_back: int | None = Field(None, description="equivalent hops that leave one end site")
    symmetric: bool = Field(False, description="start and end are equivalent, so both barriers are equal")
    converged: bool = Field(False, description="the band converged")
    forward_ev: float | None = Field(None, description="barrier from the start to the end, eV")
    backward_ev: float | None = Field(None, description="barrier from the end to the start, eV")
    uncertainty_ev: float | None = Field(None, description="numerical: fit and residual forces")
    reaction_energy_ev: float | None = Field(None, description="end minus start")
    path_length_angstrom: float | None = Field(None, description="along the path, all atoms")
    fit: BarrierFit | None = Field(None, description="curve through the images")
    images: int = Field(0, description="between start and end")
    climbing_image: int | None = Field(None, description="number of the image that climbed")
    max_residual_ev_per_angstrom: float | None = Field(None, description="largest force left across the path")
    charge: int = Field(0, description="of the cell, e")
    charge_mode: str = Field("neutral", description="as text; says so if an ion was asked for and not run")
    jumps: list[JumpDoc] | None = Field(
        None, description="of the vacancy or the added atom, all that are equivalent, start to end; None: not known"
    )
    place: str | None = Field(None, description="of a hop across a contact: between which planes, and how far sideways")
    rests_on: dict[str, str] = Field(default_factory=dict, description="fingerprints: crystal, host, start, end, band")
    engine: EngineRecord | None = Field(None, description="what computed")
    card: CardRecord | None = Field(None, description="how accurately")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("jumps", "place")


class LandscapeDoc(Document):
    """The hops across one contact, side by side."""

    crystal: str = Field(description="the two sides, such as `LiAl(110) || Li2S(110)`")
    hops: list[str] = Field(default_factory=list, description="that have barriers, the lowest forward one first")
    without: list[str] = Field(default_factory=list, description="that have none")
    easiest: str | None = Field(None, description="the first of `hops`")
    text: str = Field(description="the same as text, and which hop a paper most likely shows")


class MigrationStudyDoc(StudyDoc):
    """The end of a migration study."""

    doc_type: Literal["MigrationStudyDoc"] = "MigrationStudyDoc"
    barriers: list[MigrationBarrierDoc]
    diffusion: list[HopDiffusionDoc] | None = Field(None, description="of each path, by its hops alone")

    landscapes: list[LandscapeDoc] | None = Field(None, description="of each contact of which several hops are known")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (*StudyDoc.LEFT_OUT_IF_NONE, "diffusion", "landscapes")

    @property
    def complete(self) -> bool:
        """Whether every hop has a barrier."""
        return bool(self.barriers) and all(barrier.converged for barrier in self.barriers)


def barrier_doc(
    band: BandDoc | None,
    start: CalculationDoc | None,
    end: CalculationDoc | None,
    *,
    facts: dict[str, Any],
    rests_on: dict[str, str],
    caveats: list[str],
) -> MigrationBarrierDoc:
    """Return the barrier of a hop from its band and end points; unconverged ones give no number.

    Parameters
    ----------
    band, start, end
        The calculations; `end` is None for a mirrored end, any is None if it could not be done.
    facts
        Fields of the document that are known beforehand.
    rests_on
        Fingerprints of crystal and host.
    caveats
        Warnings that hold whatever the result.

    Returns
    -------
    MigrationBarrierDoc
        With an error where there is no barrier.
    """
    calculations = {"start": start, "end": end, "band": band}
    result = MigrationBarrierDoc(
        **facts,
        rests_on=rests_on | {name: doc.fingerprint for name, doc in calculations.items() if doc is not None},
        warnings=list(caveats),
    )
    if band is None:
        result.error = "the band was not computed; see the first failure of this run"
        return result
    result.engine, result.card = band.engine, band.card
    result.images, result.climbing_image, result.charge = band.images, band.climbing_image, band.charge
    result.max_residual_ev_per_angstrom = max(band.residuals_ev_per_angstrom, default=None)
    result.warnings += band.warnings
    result.symmetric = result.symmetric or band.mirrored
    try:
        _check_same_settings(band, start, end)
        if not band.converged or band.arrays is None:
            raise ConvergenceError(band.error or "the band did not converge")
        fit = fit_barrier(
            band.arrays["coords_angstrom"],
            band.energies_ev,
            band.arrays["forces_ev_per_angstrom"],
            climbing_image=band.climbing_image,
        )
        result.fit = fit
        _check_path(fit)
    except AnodeflowError as error:
        result.error = str(error)
        return result
    result.converged = True
    result.forward_ev, result.backward_ev = fit.forward_ev, fit.backward_ev
    result.uncertainty_ev, result.reaction_energy_ev = fit.uncertainty_ev, fit.reaction_energy_ev
    result.path_length_angstrom = fit.path_length_angstrom
    result.warnings += fit.notes
    if result.symmetric and abs(fit.reaction_energy_ev) > _SYMMETRIC_EV:
        result.warnings.append(
            f"the ends are equivalent but differ by {abs(fit.reaction_energy_ev):.3f} eV: the cell breaks the symmetry "
            "or an end sits in another minimum"
        )
    if fit.forward_ev > _SUSPICIOUS_EV:
        result.warnings.append(f"{fit.forward_ev:.1f} eV is not a path an atom takes: look at the images")
    return result


def _check_path(fit: BarrierFit) -> None:
    """Refuse a converged band that is not a hop over one saddle between two minima."""
    remedy = "look at the images; use a larger cell, a tighter force tolerance, or compute the parts of the path"
    if not fit.has_saddle:
        raise ConvergenceError(f"no barrier: {'; '.join(fit.notes)}", remedy)
    if fit.dip_ev > max(_DIP_EV, 0.5 * min(fit.forward_ev, fit.backward_ev)):
        raise ConvergenceError(
            f"no barrier: the path goes {fit.dip_ev:.3f} eV below one of its ends, which is not a minimum of this path",
            remedy,
        )


def _check_same_settings(band: BandDoc, start: CalculationDoc | None, end: CalculationDoc | None) -> None:
    for doc in (start, end):
        if doc is None:
            continue
        doc.converged_energy_ev()
        check_functionals({doc.label: doc.engine, "the band": band.engine})
        check_dispersions({doc.label: doc.card, "the band": band.card})
        if (doc.engine.hash, doc.card.family, doc.charge) != (band.engine.hash, band.card.family, band.charge):
            raise ReferenceMismatchError(
                f"'{doc.label}' and the band differ in engine, card or charge",
                "relax the end points with the settings of the band",
            )


def diffusion_by_hops(barriers: list[MigrationBarrierDoc]) -> list[HopDiffusionDoc]:
    """Return D of one carrier of each path whose hops are known with all that are equivalent.

    Parameters
    ----------
    barriers
        Of a study; those without a number leave their path without D.
    """
    paths: dict[tuple[str, str], list[MigrationBarrierDoc]] = {}
    for doc in barriers:
        if doc.jumps:
            paths.setdefault((doc.crystal, doc.mechanism), []).append(doc)
    docs = []
    for (crystal, mechanism), hops in paths.items():
        carrier = "one vacancy of Li" if mechanism == "vacancy" else "one added Li"
        path = HopDiffusionDoc(crystal=crystal, mechanism=mechanism, carrier=carrier, hops=[hop.hop for hop in hops])
        docs.append(path)
        lacking = [hop.hop for hop in hops if not hop.converged]
        if lacking:
            path.error = f"no barrier of {', '.join(lacking)}, so no D"
            continue
        try:
            hop_diffusion(path, [jump for hop in hops for jump in _weighed(hop)], _DIFFUSION_K)
        except AnodeflowError as error:
            path.error = str(error)
    return docs


def _weighed(hop: MigrationBarrierDoc) -> list[WeighedJump]:
    """Return the jumps of a hop with their barriers, both ways; a symmetric one holds both already."""
    forward, backward = hop.forward_ev or 0.0, hop.backward_ev or 0.0
    if hop.symmetric:
        mean = (forward + backward) / 2
        return [WeighedJump(jump=jump, barrier_ev=mean) for jump in hop.jumps or []]
    ways = []
    for jump in hop.jumps or []:
        x, y, z = jump.vector_angstrom
        back = JumpDoc(origin=jump.target, target=jump.origin, vector_angstrom=(-x, -y, -z))
        ways += [WeighedJump(jump=jump, barrier_ev=forward), WeighedJump(jump=back, barrier_ev=backward)]
    return ways


def landscapes(barriers: list[MigrationBarrierDoc]) -> list[LandscapeDoc]:
    """Return the hops across each contact side by side, for contacts of which the study has several.

    A paper that shows one path across an interface shows the easiest it found: the lowest barrier forward is the one
    to set beside it.

    Parameters
    ----------
    barriers
        Of a study.
    """
    contacts: dict[str, list[MigrationBarrierDoc]] = {}
    for doc in barriers:
        if doc.mechanism == "interface" and doc.hop:
            contacts.setdefault(doc.crystal, []).append(doc)
    return [_landscape(name, hops) for name, hops in contacts.items() if len(hops) > 1]


def _landscape(contact: str, hops: list[MigrationBarrierDoc]) -> LandscapeDoc:
    done = sorted((doc for doc in hops if doc.converged), key=lambda doc: (doc.forward_ev or 0.0, doc.hop))
    without = [doc.hop for doc in hops if not doc.converged]
    none = f"; no barrier of {', '.join(without)}" if without else ""
    if not done:
        return LandscapeDoc(crystal=contact, without=without, text=f"{contact}: no hop across it has a barrier{none}")
    parts = [f"{doc.hop} {doc.forward_ev:.3f} eV in, {doc.backward_ev:.3f} eV back" for doc in done]
    first = done[0]
    where = "" if first.place is None else f" ({first.place})"
    text = (
        f"{contact}, landscape along the contact: {'; '.join(parts)}{none}. Easiest is {first.hop}{where}: of these "
        "the most likely one where a paper shows a single path without saying which"
    )
    if without:
        text += ", unless one without a barrier is easier"
    return LandscapeDoc(crystal=contact, hops=[doc.hop for doc in done], without=without, easiest=first.hop, text=text)
