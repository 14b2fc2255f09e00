"""One nudged elastic band as a jobflow job: recognised if it is done already, continued if it was cut off."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jobflow import CURRENT_JOB, Job, JobConfig, OnMissing, job
from pymatgen.core import Structure

from anodeflow.analysis.migration_documents import BandDoc
from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import AnodeflowError, ConvergenceError, EngineError, InputError, StructureError
from anodeflow.structures.migration_paths import (
    EndPoints,
    interpolated_path,
    matched_end_points,
    mirrored_end,
    number_of_images,
)
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.jobs.calculation import calculation_folder, make_folder, structure_digest
from anodeflow.workflows.jobs.folder_lock import alone_in

KEPT_BAND = "band.json"
NO_CLIMB = (
    "engine '{engine}' has no climbing image on this machine: the saddle lies between images, on the fitted curve"
)


def band_job(
    start: Any,
    end: Any,
    options: dict[str, Any],
    card: dict[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
) -> Job:
    """A job whose output is a :class:`BandDoc`.

    Parameters
    ----------
    start, end
        Relaxed end points (:class:`CalculationDoc`) or references to them; `end` None for a mirrored end.
    options
        ``images`` (number or None), ``climb``, ``displacement_angstrom``, ``seed``, ``allow_concerted``, ``charge``;
        ``mirror``: the two unrelaxed cells, where the end is the start under a symmetry operation.
    card, engine, label, crystal
        As for :func:`anodeflow.workflows.jobs.calculation.calculate`.
    """
    made = calculate_band(start, end, options, card, engine, label, crystal)
    made.name = label
    made.update_metadata({"kind": "calculation", "label": label})
    return made


@job(data="arrays", config=JobConfig(expose_store=True, on_missing_references=OnMissing.NONE))
def calculate_band(
    start: CalculationDoc | None,
    end: CalculationDoc | None,
    options: dict[str, Any],
    card: dict[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
) -> BandDoc:
    """Relax a band between two relaxed end points, or hand out the finished one with the same fingerprint.

    A band that does not converge, slides, or whose end points do not fit, ends in a document with ``converged``
    False; only a missing or broken engine raises.
    """
    method = MethodCard.model_validate(card)
    who = get_engine(engine)
    asked, options = options.get("climb", True), climbing_if_possible(options, who)
    known: dict[str, Any] = {
        "label": label,
        "crystal": crystal,
        "start": start.fingerprint if start else None,
        "end": end.fingerprint if end else None,
        "mirrored": bool(options.get("mirror")),
        "charge": options.get("charge", 0),
        "climb": options.get("climb", True),
        "card": CardRecord(name=method.name, hash=method.hash, base_hash=method.base_hash),
    }
    try:
        ends = end_points(start, end, options)
        count = _images(ends, options)
        path = interpolated_path(
            ends,
            count,
            displacement_angstrom=options.get("displacement_angstrom", 0.0),
            seed=options.get("seed", 0),
        )
    except (InputError, ConvergenceError) as error:
        return BandDoc(fingerprint="", engine=who.record(), error=str(error), **known)
    known |= {"images": count, "hop_angstrom": ends.hop_angstrom}
    record = who.record(path[0].symbol_set)
    key = band_fingerprint(ends, count, options, method.hash, record)
    earlier = earlier_band(CURRENT_JOB.store, key)
    if earlier is not None and is_settled_band(earlier, method):
        return earlier
    folder = calculation_folder(label, key)
    with alone_in(folder) as waited:
        if waited:
            earlier = earlier_band(CURRENT_JOB.store, key)
            if earlier is not None and is_settled_band(earlier, method):
                return earlier
        notes = list(ends.notes)
        if asked and not options["climb"]:
            notes.append(NO_CLIMB.format(engine=engine))
        kept, warm = KeptBand(folder / KEPT_BAND, key), options.get("warm_start")
        return _computed(path, who, method, known, key, earlier, warm, notes, kept)


def _computed(
    path: Sequence[Structure],
    who: Engine,
    method: MethodCard,
    known: dict[str, Any],
    key: str,
    earlier: BandDoc | None,
    warm_start: str | None,
    notes: list[str],
    kept: KeptBand,
) -> BandDoc:
    """The band itself, from where an earlier attempt ended."""
    steps, climbing, coords = _go_on(earlier, kept, path)
    if coords is not None:
        path = [_moved(path[0], positions) for positions in coords]
        notes.append(f"went on at step {steps} of an earlier attempt")
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    warm: EngineRecord | None = None
    if warm_start is not None and coords is None:
        path, warm, words = warmed_band(path, method, warm_start, climb=known["climb"])
        notes += words
    band = who.neb(
        path,
        method,
        known["charge"],
        climb=known["climb"],
        steps_before=steps,
        climbing=climbing,
        monitor=lambda step, energy, force: monitor.report(known["label"], step, energy, force),
        keep=kept.write,
        directory=kept.file.parent,
    )
    kept.remove()
    record = who.record(path[0].symbol_set)  # a program tells its version only when it has run
    highest = int(np.argmax(band.energies_ev)) if band.energies_ev else 0
    return BandDoc(
        **known,
        fingerprint=key,
        structure=band.images[highest],
        converged=band.converged,
        electronic_converged=band.electronic_converged,
        steps=band.steps,
        energies_ev=band.energies_ev,
        residuals_ev_per_angstrom=band.residuals_ev_per_angstrom,
        climbing_image=band.climbing_image,
        engine=record,
        warm_start=warm,
        wall_time_s=time.perf_counter() - clock,
        started_at=began,
        computer=platform.node(),
        warnings=[*notes, *band.warnings],
        error=band.error,
        arrays={
            "coords_angstrom": np.array([image.cart_coords for image in band.images]),
            "forces_ev_per_angstrom": band.forces_ev_per_angstrom,
            "cell_angstrom": band.images[0].lattice.matrix,
            "species": [site.specie.symbol for site in band.images[0]],
        },
    )


def warmed_band(
    path: Sequence[Structure], card: MethodCard, engine: str, *, climb: bool = True
) -> tuple[Sequence[Structure], EngineRecord | None, list[str]]:
    """The band that a cheap engine relaxes a path to, between the same ends, to start a dear one from.

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


def climbing_if_possible(options: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """The options of a band, without a climbing image where the engine has none: that is another band."""
    return options | {"climb": options.get("climb", True) and engine.climbs()}


def _moved(like: Structure, coords: Any) -> Structure:
    return Structure(
        like.lattice,
        like.species,
        np.asarray(coords),
        coords_are_cartesian=True,
        site_properties=like.site_properties or None,
    )


def end_points(start: CalculationDoc | None, end: CalculationDoc | None, options: dict[str, Any]) -> EndPoints:
    """The two relaxed ends of a hop, checked and made to fit.

    Raises
    ------
    ConvergenceError, StructureError
        An end was not computed, did not converge, or does not fit the other.
    """
    if start is None or (end is None and not options.get("mirror")):
        raise ConvergenceError("an end point was not computed", "see the first failure of this run")
    for doc in (start, end):
        if doc is not None:
            doc.converged_energy_ev()
    if end is None:
        first, second = (_structure(s) for s in options["mirror"])
        last = mirrored_end(first, second, start.structure)
        if last is None:
            raise StructureError("no symmetry operation of the cell takes the start to the end", "report this hop")
    else:
        last = end.structure
    return matched_end_points(start.structure, last, allow_concerted=options.get("allow_concerted", False))


def _structure(value: Any) -> Structure:
    return value if isinstance(value, Structure) else Structure.from_dict(value)


def _images(ends: EndPoints, options: dict[str, Any]) -> int:
    return int(options.get("images") or number_of_images(ends.path_angstrom))


def band_fingerprint(
    ends: EndPoints, images: int, options: dict[str, Any], card_hash: str, engine: EngineRecord
) -> str:
    """What makes two bands the same: end points, start of the path, climbing, charge, card and engine."""
    content: list[Any] = [
        "band",
        structure_digest(ends.start),
        structure_digest(ends.end),
        images,
        options.get("climb", True),
        options.get("displacement_angstrom", 0.0),
        options.get("seed", 0),
        options.get("charge", 0),
        card_hash,
        engine.hash,
    ]
    if engine.potentials:
        content.append(dict(sorted(engine.potentials.items())))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def earlier_band(store: Any, key: str) -> BandDoc | None:
    """What the store holds of a band: the converged one, else the newest unconverged one, else None."""
    if store is None:
        return None
    for converged in (True, False):
        found = store.query_one(
            {"output.fingerprint": key, "output.doc_type": "BandDoc", "output.converged": converged},
            properties=["output"],
            sort={"completed_at": -1},
            load=True,
        )
        if found is not None:
            return BandDoc.model_validate(found["output"])
    return None


def is_settled_band(doc: BandDoc, card: MethodCard) -> bool:
    """Whether computing again could change nothing: converged, gone bad, or already given as many steps as allowed."""
    return doc.converged or not doc.energies_ev or doc.steps >= card.max_steps or _went_bad(doc)


def _went_bad(doc: BandDoc) -> bool:
    return bool(doc.error) and "band not relaxed after" not in str(doc.error)


def band_is_finished(
    store: Any,
    start: CalculationDoc | None,
    end: CalculationDoc | None,
    options: dict[str, Any],
    card: dict[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
) -> bool:
    """Whether :func:`calculate_band` with these arguments would compute nothing."""
    method = MethodCard.model_validate(card)
    options = climbing_if_possible(options, get_engine(engine))
    try:
        ends = end_points(start, end, options)
        record = get_engine(engine).record(ends.start.symbol_set)
    except EngineError:
        return False
    except AnodeflowError:
        return True  # it says so at once
    earlier = earlier_band(store, band_fingerprint(ends, _images(ends, options), options, method.hash, record))
    return earlier is not None and is_settled_band(earlier, method)


def _go_on(earlier: BandDoc | None, kept: KeptBand, path: Sequence[Structure]) -> tuple[int, bool, Any]:
    """Steps, whether it was climbing, and coordinates of an earlier attempt; the last is None where there is none."""
    shape = (len(path), len(path[0]), 3)
    found = kept.read(shape)
    if found is not None:
        return found
    coords = None if earlier is None or earlier.arrays is None else earlier.arrays.get("coords_angstrom")
    if earlier is None or coords is None or np.shape(coords) != shape:
        return 0, False, None
    return earlier.steps, earlier.climbing_image is not None, np.asarray(coords)


class KeptBand:
    """The last images of a running band, in a small file that is whole or not there.

    Parameters
    ----------
    file
        Where.
    key
        Fingerprint of the band; a file of another band is not read.
    """

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key

    def write(self, step: int, climbing: bool, coords: Any) -> None:
        """Keep one step."""
        if not self.file.parent.is_dir():
            make_folder(self.file.parent)
        content = {
            "fingerprint": self.key,
            "step": step,
            "climbing": climbing,
            "coords_angstrom": np.asarray(coords).tolist(),
        }
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(content))
        os.replace(temporary, self.file)

    def read(self, shape: tuple[int, ...]) -> tuple[int, bool, Any] | None:
        """Step, climbing and coordinates; None where there is no sound file of this band."""
        try:
            content = json.loads(self.file.read_text())
            coords = np.asarray(content["coords_angstrom"], dtype=float)
            if content["fingerprint"] != self.key or coords.shape != shape or not np.isfinite(coords).all():
                return None
            return int(content["step"]), bool(content["climbing"]), coords
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Nothing is left to go on from; the folder goes, too, if it is empty."""
        self.file.unlink(missing_ok=True)
        for folder in (self.file.parent, self.file.parent.parent):
            try:
                folder.rmdir()
            except OSError:
                return


# The local runner asks whether a job has to be computed at all.
calculate_band.original.is_finished = band_is_finished  # type: ignore[attr-defined]
