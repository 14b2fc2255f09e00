"""The data set of a tuning: calculations with electrons out of stores and archives, as frames, split by system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from anodeflow.analysis.checks import CheckDoc, CheckedStructure
from anodeflow.analysis.labelled_frames import (
    SETS,
    LabelledFrame,
    check_no_twins,
    check_one_source,
    frames_of,
    named_system,
    split_systems,
    spread_evenly,
    stress_gpa,
    system_of,
)
from anodeflow.analysis.program_output.gpaw import printed_steps
from anodeflow.documents import CalculationDoc, EngineRecord
from anodeflow.errors import InputError
from anodeflow.workflows.engines.registry import PROGRAMS
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import read_archive
from anodeflow.workflows.store.archive_files import FOLDER, find_folder, folder_name
from anodeflow.workflows.store.archive_reading import ArchiveFile
from anodeflow.workflows.tuning.settings import DataSource, Tuning

#: With fewer training frames nothing can be learned that is more than chance.
_FEWEST_FRAMES = 10
_TEXT, _LARGEST_TEXT = "gpaw.txt", 64 * 2**20
_FREE = "no forces, charged, or a free atom"

#: A calculation, what GPAW wrote of it, and what it is in a check, if it is of one.
Labelled = tuple[CalculationDoc, str, CheckedStructure | None]


@dataclass
class DataSet:
    """Labelled frames by set, and what was left out.

    Parameters
    ----------
    frames
        By set: training, validation, test.
    left_out
        By reason, how many calculations gave no frame.
    """

    frames: dict[str, list[LabelledFrame]]
    left_out: dict[str, int] = field(default_factory=dict)

    def all(self) -> list[LabelledFrame]:
        """Return every frame."""
        return [frame for kind in SETS for frame in self.frames[kind]]

    @property
    def elements(self) -> set[str]:
        """Of all frames."""
        return {str(element) for frame in self.all() for element in frame.structure.symbol_set}


def data_set(tuning: Tuning, base: EngineRecord) -> DataSet:
    """Collect and split the frames of a tuning.

    Parameters
    ----------
    tuning
        What the file says.
    base
        Record of the model that is tuned.

    Raises
    ------
    InputError
        If frames are mixed or few, electrons did not converge, a test system is trained on, or a pattern fits no label.
    StoreError
        If a store cannot be read.
    """
    frames: list[LabelledFrame] = []
    left_out: dict[str, int] = {}
    unconverged: list[str] = []
    seen: set[str] = set()
    labels: set[str] = set()
    for doc, text, checked in _calculations(tuning):
        labels.add(doc.label)
        reason = _why_not(tuning, doc)
        if reason is None and doc.fingerprint in seen:
            reason = "named twice"
        if reason is None:
            seen.add(doc.fingerprint)
            if doc.electronic_converged is False:
                unconverged.append(doc.label)
                continue
            system = named_system(doc.label, tuning.systems) or _system_of(doc, checked)
            printed = ((s.energy_ev, s.forces_ev_per_angstrom, stress_gpa(s.stress_ev_per_angstrom3))
                       for s in printed_steps(text))  # fmt: skip
            found_frames = spread_evenly(frames_of(doc, system, printed), tuning.steps)
            frames += found_frames
            reason = None if found_frames else _FREE
        if reason is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
    _check_patterns(tuning, labels)
    if unconverged:
        raise InputError(
            f"the electrons of {len(unconverged)} calculations did not converge, the first: '{unconverged[0]}'",
            "an unconverged energy is not a label: compute it again, or list it under 'exclude'",
        )
    if not frames:
        reasons = (
            "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no calculation with electrons"
        )
        raise InputError(f"the data hold no frame: {reasons}", "see anodeflow results --what calculations")
    check_one_source(frames, base.functional, base.name)
    return _split(tuning, frames, left_out)


def _system_of(doc: CalculationDoc, checked: CheckedStructure | None) -> str:
    if checked is not None and checked.kind == "frame":
        return checked.group
    return system_of(doc.label if checked is None else checked.of, map(str, doc.structure.symbol_set))


def _check_patterns(tuning: Tuning, labels: set[str]) -> None:
    """Refuse patterns that fit no calculation of the data: what they were to leave out or to name is trained on."""
    if not labels:  # refused by what reads the frames
        return
    written = [("exclude", pattern) for pattern in tuning.exclude]
    written += [(f"systems, {name}", pattern) for name, patterns in tuning.systems.items() for pattern in patterns]
    for key, pattern in written:
        if not any(fnmatchcase(label, pattern) for label in labels):
            raise InputError(
                f"{key}: '{pattern}' fits no calculation of the data",
                f"correct it or leave it out; labels look like '{min(labels)}'",
            )


def _split(tuning: Tuning, frames: list[LabelledFrame], left_out: dict[str, int]) -> DataSet:
    of = split_systems((frame.system for frame in frames), tuning.test, tuning.validation, tuning.seed)
    by_set = {kind: [frame for frame in frames if of[frame.system] == kind] for kind in SETS}
    if len(by_set["training"]) < _FEWEST_FRAMES:
        raise InputError(
            f"{len(by_set['training'])} frames to train on ({', '.join(sorted(n for n in of if of[n] == 'training'))})",
            f"give {_FEWEST_FRAMES} at least: more data, or fewer systems in test and validation",
        )
    check_no_twins(by_set)
    data = DataSet(by_set, left_out)
    known = {str(element) for frame in by_set["training"] for element in frame.structure.symbol_set}
    strange = next((f for f in data.all() if not {str(e) for e in f.structure.symbol_set} <= known), None)
    if strange is not None:
        missing = sorted({str(e) for e in strange.structure.symbol_set} - known)
        raise InputError(
            f"system '{strange.system}' holds {', '.join(missing)}, which no training frame has",
            "its zero of energy cannot be fitted: train on a system with it",
        )
    return data


def _why_not(tuning: Tuning, doc: CalculationDoc) -> str | None:
    """Return why a calculation is not asked for; None where it is."""
    if doc.engine.stand_in:
        return "by a stand-in"
    if tuning.engine is not None and doc.engine.name != tuning.engine:
        return f"not by {tuning.engine}"
    if tuning.card is not None and tuning.card not in (doc.card.name, doc.card.family):
        return f"not with card {tuning.card}"
    if any(fnmatchcase(doc.label, pattern) for pattern in tuning.exclude):
        return "excluded"
    return None


# --- where they are


def _calculations(tuning: Tuning) -> Iterator[Labelled]:
    """Yield calculations by engines with electrons, with the text that GPAW wrote; empty where there is none.

    What a check computed is called by what it checked, too: ``check/frame 1`` says nothing of what moved.
    """
    for source in tuning.data:
        yield from (_of_archive if source.archive is not None else _of_store)(tuning, source)


def _called_by(doc: CalculationDoc, text: str, checked: Mapping[str, CheckedStructure]) -> Labelled:
    structure = checked.get(doc.fingerprint)
    label = doc.label if structure is None else f"{doc.label} of {structure.of}"
    return doc.model_copy(update={"label": label}), text, structure


def _checked(checks: Iterable[CheckDoc]) -> dict[str, CheckedStructure]:
    """Return what checks computed, by fingerprint."""
    return {key: structure for check in checks for structure in check.structures for key in structure.calculations}


def _of_archive(tuning: Tuning, source: DataSource) -> Iterator[Labelled]:
    file = tuning.beside(source.archive or "")
    _, jobs = read_archive(file)
    checked = _checked(job.doc for job in jobs if isinstance(job.doc, CheckDoc))
    with ArchiveFile(file) as archive:
        texts = set(archive.files)
        for job in jobs:
            if not isinstance(job.doc, CalculationDoc) or job.doc.engine.name not in PROGRAMS:
                continue
            name = f"{FOLDER}/{folder_name(job.content)}/{_TEXT}"
            usable = name in texts and archive.entries[name].file_size <= _LARGEST_TEXT
            text = b"".join(archive.parts(name)).decode("utf-8", "replace") if usable else ""
            yield _called_by(job.doc.model_copy(update={"arrays": job.arrays}), text, checked)


def _of_store(tuning: Tuning, source: DataSource) -> Iterator[Labelled]:
    place = source.store or ""
    store = open_job_store(place if "://" in place else tuning.beside(place), must_exist=True, read_only=True)
    of_study: dict[str, Any] = {}
    if source.study is not None:
        hashes = [h for h in store.docs_store.distinct("metadata.study_hash") if str(h).startswith(source.study)]
        if len(hashes) != 1:
            raise InputError(
                f"{len(hashes)} studies of '{place}' begin with '{source.study}'",
                "see anodeflow results --what studies",
            )
        of_study = {"metadata.study_hash": hashes[0]}
    checks = store.query({"output.doc_type": "CheckDoc", **of_study})
    checked = _checked([CheckDoc.model_validate(job["output"]) for job in checks])
    asked = {"output.doc_type": "CalculationDoc", "output.engine.name": {"$in": list(PROGRAMS)}, **of_study}
    for job in store.query(asked, load=True):
        folder = find_folder(job)
        file = None if folder is None else Path(folder) / _TEXT
        usable = file is not None and file.is_file() and file.stat().st_size <= _LARGEST_TEXT
        text = file.read_text(errors="replace") if file and usable else ""
        yield _called_by(CalculationDoc.model_validate(job["output"]), text, checked)
