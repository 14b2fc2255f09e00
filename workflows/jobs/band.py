"""One nudged elastic band between two relaxed end points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator
from pymatgen.core import Structure

from anodeflow.analysis.migration_documents import BandDoc
from anodeflow.documents import CalculationDoc, EngineRecord, Reason
from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.migration_paths import (
    EndPoints,
    interpolated_path,
    matched_end_points,
    mirrored_end,
    number_of_images,
)
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.fingerprints import band_key, structure_digest
from anodeflow.workflows.jobs.folders import calculation_folder
from anodeflow.workflows.jobs.kept_band import KEPT_BAND, BandState, KeptBand
from anodeflow.workflows.jobs.recognised import Attempt, Recognised, job_of

if TYPE_CHECKING:
    from jobflow import Job, OutputReference

NO_CLIMB = (
    "engine '{engine}' has no climbing image on this machine: the saddle lies between images, on the fitted curve"
)


class BandOptions(BaseModel):
    """How a band begins and moves."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    images: int | None = None
    climb: bool = True
    displacement_angstrom: float = 0.0
    seed: int = 0
    allow_concerted: bool = False
    charge: int = 0
    warm_start: str | None = None
    #: The two unrelaxed cells, where the end is the start under a symmetry operation.
    mirror: tuple[Structure, Structure] | None = None

    @field_validator("mirror", mode="before")
    @classmethod
    def _structures(cls, value: Any) -> Any:
        if value is None:
            return None
        return tuple(cell if isinstance(cell, Structure) else Structure.from_dict(cell) for cell in value)


def band_job(
    start: CalculationDoc | OutputReference | None,
    end: CalculationDoc | OutputReference | None,
    options: BandOptions | Mapping[str, Any],
    card: MethodCard | Mapping[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
) -> Job:
    """Return a job whose output is a :class:`BandDoc`.

    Parameters
    ----------
    start, end
        Relaxed end points or references to them; `end` None for a mirrored end.
    options
        How it begins and moves; a mapping holds fields of :class:`BandOptions`.
    card
        How accurately.
    engine
        Name of the engine.
    label
        What a person calls it.
    crystal
        Catalogue name of the host.
    """
    return job_of(
        BandCalculation(
            card=MethodCard.model_validate(card),
            engine=engine,
            label=label,
            start=cast("CalculationDoc | None", start),
            end=cast("CalculationDoc | None", end),
            options=BandOptions.model_validate(options),
            crystal=crystal,
        )
    )


class _Asked(TypedDict):
    """What a document says of the band that was asked for, whether or not it could be computed."""

    crystal: str | None
    start: str | None
    end: str | None
    mirrored: bool
    charge: int
    climb: bool


@dataclass(frozen=True, eq=False)
class BandCalculation(Recognised[BandDoc]):
    """The relaxation of a band.

    Parameters
    ----------
    card, engine, label
        See :class:`Recognised`.
    start, end
        Relaxed end points; `end` None for a mirrored end.
    options
        How it begins and moves.
    crystal
        Catalogue name of the host.
    """

    start: CalculationDoc | None
    end: CalculationDoc | None
    options: BandOptions
    crystal: str | None = None

    document = BandDoc
    continued: ClassVar = {}
    takes_missing = True

    # --- the path

    @cached_property
    def climbs(self) -> bool:
        """Whether the highest image climbs: asked for, and possible with the engine; without it is another band."""
        return self.options.climb and self._engine.climbs()

    @cached_property
    def ends(self) -> EndPoints:
        """The two relaxed ends, checked and made to fit.

        Raises
        ------
        ConvergenceError, StructureError
            An end was not computed, did not converge, or does not fit the other.
        """
        start, end, options = self.start, self.end, self.options
        if start is None or (end is None and options.mirror is None):
            raise ConvergenceError("an end point was not computed", "see the first failure of this run")
        for doc in (start, end):
            if doc is not None:
                doc.converged_energy_ev()
        if end is not None:
            last: Structure | None = end.structure
        elif options.mirror is not None:
            last = mirrored_end(*options.mirror, start.structure)
        if last is None:
            raise StructureError("no symmetry operation of the cell takes the start to the end", "report this hop")
        return matched_end_points(start.structure, last, allow_concerted=options.allow_concerted)

    @cached_property
    def path(self) -> list[Structure]:
        """The band to start from, ends included; errors are those of the ends."""
        return list(
            interpolated_path(
                self.ends,
                self.images,
                displacement_angstrom=self.options.displacement_angstrom,
                seed=self.options.seed,
            )
        )

    @property
    def images(self) -> int:
        """Images between the ends."""
        return int(self.options.images or number_of_images(self.ends.path_angstrom))

    # --- what makes it recognised

    @property
    def end_digests(self) -> tuple[str, str]:
        """Hashes of the geometry of both ends."""
        return structure_digest(self.ends.start), structure_digest(self.ends.end)

    @cached_property
    def key(self) -> str:
        """See :class:`Recognised`: end points, start of the path, climbing, charge, card and engine."""
        return band_key(
            self.end_digests,
            self.images,
            self.climbs,
            self.options.displacement_angstrom,
            self.options.seed,
            self.options.charge,
            self.card.hash,
            self.engine_record(),
        )

    @property
    def elements(self) -> tuple[str, ...]:
        """See :class:`Recognised`."""
        return tuple(self.path[0].symbol_set)

    @property
    def atoms(self) -> int | None:
        """See :class:`Recognised`."""
        return len(self.start.structure) if isinstance(self.start, CalculationDoc) else None

    def is_settled(self, doc: BandDoc) -> bool:
        """Return whether it is converged, has gone bad, or was already given as many steps as allowed."""
        return doc.converged or not doc.energies_ev or doc.steps >= self.card.max_steps or went_bad(doc)

    def refusal(self) -> BandDoc | None:
        """Return the document of a band whose end points are missing or do not fit."""
        try:
            _ = self.path
        except (InputError, ConvergenceError) as error:
            lost = isinstance(error, ConvergenceError)
            return BandDoc(
                fingerprint="",
                label=self.label,
                engine=self._engine.record(),
                card=self.card.record,
                error=str(error),
                reason=Reason.MISSING_INPUT if lost else Reason.BAD_PATH,
                **self._asked(),
            )
        return None

    def _asked(self) -> _Asked:
        return {
            "crystal": self.crystal,
            "start": self.start.fingerprint if self.start else None,
            "end": self.end.fingerprint if self.end else None,
            "mirrored": self.options.mirror is not None,
            "charge": self.options.charge,
            "climb": self.climbs,
        }

    # --- computing it

    def compute(self, attempt: Attempt[BandDoc]) -> BandDoc:
        """See :class:`Recognised`; a band that does not converge or slides ends in a document."""
        folder = calculation_folder(self.label, self.key)
        kept = KeptBand(folder / KEPT_BAND, self.key)
        notes = list(self.ends.notes)
        if self.options.climb and not self.climbs:
            notes.append(NO_CLIMB.format(engine=self.engine))
        path: Sequence[Structure] = self.path
        state = self._left(attempt.earlier, kept)
        warm: EngineRecord | None = None
        if state is not None:
            path = [_moved(path[0], positions) for positions in state.coords_angstrom]
            notes.append(f"continued at step {state.steps} of an earlier attempt")
        elif self.options.warm_start is not None:
            path, warm, warnings = warmed_band(path, self.card, self.options.warm_start, climb=self.climbs)
            notes += warnings
        band = self._engine.neb(
            path,
            self.card,
            self.options.charge,
            climb=self.climbs,
            steps_before=state.steps if state else 0,
            climbing=state.climbing if state else False,
            monitor=lambda step, energy, force: monitor.report(self.label, step, energy, force),
            keep=kept.write,
            directory=folder,
        )
        kept.remove()
        highest = int(np.argmax(band.energies_ev)) if band.energies_ev else 0
        return BandDoc(
            **self.provenance(attempt),
            **self._asked(),
            end_digests=self.end_digests,
            displacement_angstrom=self.options.displacement_angstrom,
            seed=self.options.seed,
            images=self.images,
            hop_angstrom=self.ends.hop_angstrom,
            structure=band.images[highest],
            converged=band.converged,
            electronic_converged=band.electronic_converged,
            steps=band.steps,
            energies_ev=band.energies_ev,
            residuals_ev_per_angstrom=band.residuals_ev_per_angstrom,
            climbing_image=band.climbing_image,
            warm_start=warm,
            warnings=[*notes, *band.warnings],
            error=band.error,
            reason=band.reason,
            arrays={
                "coords_angstrom": np.array([image.cart_coords for image in band.images]),
                "forces_ev_per_angstrom": band.forces_ev_per_angstrom,
                "cell_angstrom": band.images[0].lattice.matrix,
                "species": [site.specie.symbol for site in band.images[0]],
            },
        )

    def _left(self, earlier: BandDoc | None, kept: KeptBand) -> BandState | None:
        """Return where an earlier attempt got; None where there is nothing to continue from."""
        shape = (len(self.path), len(self.path[0]), 3)
        state = kept.read(shape)
        if state is not None:
            return state
        coords = None if earlier is None or earlier.arrays is None else earlier.arrays.get("coords_angstrom")
        if earlier is None or coords is None or np.shape(coords) != shape:
            return None
        return BandState(earlier.steps, earlier.climbing_image is not None, np.asarray(coords, dtype=float))


def went_bad(doc: BandDoc) -> bool:
    """Return whether a band left its path or every sane range, so that more steps would not help.

    Documents of before hold no reason. In these alone the text of the error decides: it says "band not relaxed after"
    where more steps may help.
    """
    if doc.reason is not None:
        return doc.reason in (Reason.BAD_PATH, Reason.EXPLODED)
    return doc.error is not None and "band not relaxed after" not in doc.error


def warmed_band(
    path: Sequence[Structure], card: MethodCard, engine: str, *, climb: bool = True
) -> tuple[Sequence[Structure], EngineRecord | None, list[str]]:
    """Return the band that a cheap engine relaxes a path to, between the same ends, to start an expensive one from.

    Parameters
    ----------
    path
        The path, ends included.
    card
        Of the expensive band.
    engine
        Name of the cheap engine.
    climb
        Whether the expensive band's highest image climbs.

    Returns
    -------
    path, record, notes
        The path as it was and no record where the cheap engine failed; the notes say why.
    """
    cheap = get_engine(engine)
    band = cheap.neb(path, card, climb=climb and cheap.climbs())
    if not band.converged:
        return path, None, [f"no warm start: {engine}: {band.error}"]
    return [path[0], *band.images[1:-1], path[-1]], cheap.record(path[0].symbol_set), []


def _moved(like: Structure, coords: NDArray[np.float64]) -> Structure:
    return Structure(
        like.lattice,
        like.species,
        np.asarray(coords),
        coords_are_cartesian=True,
        site_properties=like.site_properties or None,
    )
