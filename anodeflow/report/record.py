"""What a report is made from: a finished study with all its documents, out of a store or out of an archive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.errors import StoreError
from anodeflow.workflows.studies.registry import StudyKind, kind_of_document, load

if TYPE_CHECKING:
    from maggma.core import Store

    from anodeflow.documents import StudyDoc

#: Names of files that a program reads, as far as an archive may hold them.
_INPUTS = re.compile(r"(INCAR|KPOINTS|POSCAR|POTCAR\.spec)|.+\.(pwi|in|cell|param|py|vasp|json)")
_LONGEST_INPUT_BYTES, _ALL_INPUTS_BYTES = 20_000, 1_000_000
#: GPAW reads no file: what it was given stands in its output, between these words.
_GPAW_OUTPUT, _GPAW_GIVEN = "gpaw.txt", re.compile(r"^Input parameters:.*?(?=^Number of symmetries|\Z)", re.M | re.S)
_LONGEST_GPAW_BYTES = 2_000_000


@dataclass
class StudyRecord:
    """A finished study.

    Parameters
    ----------
    document
        Its last document.
    jobs
        Every job as it is stored, the last one included, each once, sorted by label.
    imported
        What is said of results that came with an archive; None where all were computed here.
    files
        By name of a calculation's folder, the files in it: name and size in bytes.
    inputs
        By ``folder/name``, the text of what a program read, where it is short.
    submitted
        The study file as it was written, where it is known.
    """

    document: StudyDoc
    jobs: list[dict[str, Any]]
    imported: str | None = None
    files: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    submitted: str | None = None

    @property
    def kind(self) -> StudyKind:
        """The kind of study."""
        return kind_of_document(self.document.doc_type)  # type: ignore[attr-defined]

    @property
    def computed(self) -> dict[str, dict[str, Any]]:
        """By fingerprint, the outputs that say what was computed: calculations, bands, segments of dynamics."""
        outputs: dict[str, dict[str, Any]] = {}
        for output in self.outputs():
            if isinstance(output.get("fingerprint"), str) and "engine" in output:
                outputs.setdefault(output["fingerprint"], output)
        return outputs

    def outputs(self, doc_type: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the outputs that are documents, of one class or of all."""
        for job in self.jobs:
            output = job["output"]
            if isinstance(output, dict) and output.get("doc_type") and doc_type in (None, output["doc_type"]):
                yield output

    def add_files(self, folder: str, names: list[tuple[str, int]], read: Callable[[str], bytes]) -> None:
        """Take the files of one calculation.

        Parameters
        ----------
        folder
            Name of its folder.
        names
            Names below it, and sizes in bytes.
        read
            Returns the content of one of them.
        """
        self.files[folder] = names
        for name, size in names:
            last = name.split("/")[-1]
            if _INPUTS.fullmatch(last) and size <= _LONGEST_INPUT_BYTES:
                self._take(f"{folder}/{name}", read(name).decode("utf-8", "replace"))
            elif last == _GPAW_OUTPUT and size <= _LONGEST_GPAW_BYTES:
                given = _GPAW_GIVEN.search(read(name).decode("utf-8", "replace"))
                if given:
                    self._take(f"{folder}/{name}: what it was given", given[0][:_LONGEST_INPUT_BYTES])

    def _take(self, name: str, text: str) -> None:
        """Keep the text of an input, as long as there is room."""
        if sum(map(len, self.inputs.values())) + len(text) <= _ALL_INPUTS_BYTES:
            self.inputs[name] = text


def read_record(study: str, store: Path, imported: Callable[[Store, str], str | None]) -> StudyRecord:
    """Return a finished study, given by its file, its hash, or an archive of it.

    Parameters
    ----------
    study
        A study file, a hash or its first digits, or an archive (.zip).
    store
        Where to look for it if it is not an archive.
    imported
        What to say of imported results of a store, by the hash of the study.

    Returns
    -------
    StudyRecord
        With its documents and the names of its files.

    Raises
    ------
    InputError
        If it has not run, or the archive fails a check.
    StoreError
        If the store is missing, locked or damaged.
    """
    if Path(study).suffix.lower() == ".zip":
        return _from_archive(Path(study))
    from anodeflow.workflows.store import open_documents, store_shown
    from anodeflow.workflows.studies.comparison import disagreements
    from anodeflow.workflows.studies.stored import finished_study

    documents = open_documents(store)
    study_hash = finished_study(documents, study, store_shown(store))
    record = _from_store(documents, study_hash, imported(documents, study_hash))
    record.document.warnings += disagreements(documents, record.document)
    return record


def _from_store(documents: Store, study_hash: str, imported: str | None) -> StudyRecord:
    from anodeflow.workflows.store.archive_files import files_of

    jobs = list(documents.query({"metadata.study_hash": study_hash, "index": 1}))
    record = _record(jobs, imported)
    for job in record.jobs:
        paths = {name.split("/", 2)[2]: path for name, path in files_of(job)}
        if paths:
            folder = Path(job["output"]["directory"]).name
            sizes = [(name, path.stat().st_size) for name, path in paths.items()]
            record.add_files(folder, sizes, lambda name, paths=paths: paths[name].read_bytes())  # type: ignore[misc]
    return record


def _from_archive(file: Path) -> StudyRecord:
    from anodeflow.workflows.store.archive import SUBMITTED, read_archive
    from anodeflow.workflows.store.archive_reading import ArchiveFile

    contents, archived = read_archive(file)
    record = _record([job.content for job in archived if job.content["index"] == 1], None)
    with ArchiveFile(file) as archive:
        record.imported = f"read from archive {archive.sha256()[:12]} (anodeflow {contents.anodeflow})"
        record.submitted = archive.text(SUBMITTED) if SUBMITTED in archive.entries else None
        folders: dict[str, list[tuple[str, int]]] = {}
        for entry in archive.files:
            _, folder, name = entry.split("/", 2)
            folders.setdefault(folder, []).append((name, archive.entries[entry].file_size))
        for folder, names in folders.items():
            record.add_files(folder, names, lambda name, at=folder: b"".join(archive.parts(f"files/{at}/{name}")))  # type: ignore[misc]
    return record


def _record(jobs: list[dict[str, Any]], imported: str | None) -> StudyRecord:
    jobs.sort(key=lambda job: (*map(_numbers_apart, (job["metadata"].get("label"), job["name"])), job["uuid"]))
    last = next((job["output"] for job in jobs if job["metadata"].get("label") == "summary"), None)
    if last is None:
        raise StoreError("the study has no last document", "run it again")
    document = load(kind_of_document(last["doc_type"]).document).model_validate(last)
    return StudyRecord(document, jobs, imported)


def _numbers_apart(text: Any) -> list[tuple[str, int]]:
    """Return a key to sort by in which 9 comes before 11."""
    return [(words, int(digits or -1)) for words, digits in re.findall(r"(\D*)(\d*)", str(text))]
