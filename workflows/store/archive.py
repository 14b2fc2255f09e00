"""A study as one file that another person can open, check and continue: a deterministic zip archive.

=====================  ==========================================================================
study.yaml             the study as it was validated; the file itself as ``submitted.yaml`` if known
documents/NNNNN.json   every job's document, one a file; NNNNN.data.json its large arrays
files/CALCULATION/     inputs and outputs of the codes, trajectories, checkpoints, where they are on this machine
versions.json          software, engine, card
CITATION.cff           how to cite the software
ro-crate-metadata.json all of it as an RO-Crate 1.1
CHECKSUMS.sha256       SHA-256 of every other file: ``sha256sum -c CHECKSUMS.sha256``
=====================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from bson import json_util
from jobflow import JobStore

from anodeflow.errors import InputError, StoreError
from anodeflow.files import atomic_path
from anodeflow.workflows.store import archive_files
from anodeflow.workflows.store.archive_crate import CRATE, crate_text
from anodeflow.workflows.store.archive_documents import MARK, Archived, UnfitError, archived
from anodeflow.workflows.store.archive_numbers import NumbersCheck
from anodeflow.workflows.store.archive_reading import CHECKSUMS, DATA_NAME, SETTINGS, VERSIONS, ArchiveFile
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.store.moving import DATA, is_there, put_same, study_blobs, without_mark
from anodeflow.workflows.store.sqlite import SQLiteStore, one_transaction
from anodeflow.yaml_input import read_yaml_text

FORMAT = 1
SUBMITTED = "submitted.yaml"
_EPOCH = (2020, 1, 1, 0, 0, 0)
# Keys that a study file begins with.
_FIRST = ("study", "title", "engine", "card")
_SOFTWARE = ("anodeflow", "jobflow", "maggma", "pymatgen", "ase", "numpy", "scipy")
CITATION = """cff-version: 1.2.0
message: If you use these data, cite the software and the sources named in study.yaml and in the documents.
title: anodeflow
type: software
version: {version}
license: MIT
"""
README = """A study of anodeflow {version}: {documents} documents, {files} files of calculations.

Check it:      sha256sum -c CHECKSUMS.sha256   (or: anodeflow import --check ARCHIVE)
Open it:       anodeflow import ARCHIVE --store results.sqlite
               anodeflow results --store results.sqlite --study {study_hash}
Without anodeflow: documents/*.json are plain JSON; 'output' holds the result, with units in the names of its fields.
"""


@dataclass(frozen=True)
class ArchiveContents:
    """What an archive holds."""

    study_hash: str
    study: str
    title: str
    documents: int
    blobs: int
    anodeflow: str
    files: int = 0


def export_study(
    store: JobStore, study_hash: str, file: str | Path, *, submitted: str | None = None, files: bool = True
) -> ArchiveContents:
    """Write a finished study to one archive; the same store and files give the same bytes.

    Parameters
    ----------
    store
        An open store.
    study_hash
        Of the study.
    file
        The archive; it is written atomically.
    submitted
        The study file as it was written, if it is known.
    files
        Whether what the codes wrote goes with it, where it is on this machine.

    Raises
    ------
    StoreError
        If the store has no such finished study.
    InputError
        If the archive cannot be written.
    """
    goal = Path(file)
    if goal.suffix != ".zip":
        raise InputError(f"archive '{goal}' has no ending .zip", "name it STUDY.zip")
    if not goal.resolve().parent.is_dir():
        raise InputError(f"archive '{goal}': folder '{goal.resolve().parent}' does not exist", "make it first")
    # By label: the order of documents must not depend on the store.
    wanted = store.docs_store.query({"metadata.study_hash": study_hash}, properties=["uuid", "index", "metadata"])
    keys = [(d["uuid"], d["index"]) for d in sorted(wanted, key=_place)]
    last = store.docs_store.query_one(
        {"metadata.study_hash": study_hash, "metadata.label": SUMMARY, "index": 1}, properties=["output"]
    )
    if last is None:
        raise StoreError(
            f"no finished study {study_hash} in {store.docs_store.name}", "run it first, or check the hash"
        )
    output = last["output"]
    try:
        with atomic_path(goal) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            return _write(archive, store, study_hash, output, keys, submitted, files)
    except OSError as error:
        raise InputError(f"cannot write archive '{goal}': {error.strerror}", "choose another folder") from None


def _place(document: dict[str, Any]) -> tuple[bool, str, int, str]:
    metadata = document["metadata"]
    return metadata.get("label") == SUMMARY, str(metadata.get("label")), document["index"], document["uuid"]


def _write(
    archive: zipfile.ZipFile,
    store: JobStore,
    study_hash: str,
    output: dict[str, Any],
    keys: list[tuple[str, int]],
    submitted: str | None,
    with_files: bool,
) -> ArchiveContents:
    written: list[tuple[str, str, int]] = []
    labels: dict[str, str] = {}

    def add(name: str, source: BinaryIO) -> None:
        size, entry, digest = 0, zipfile.ZipInfo(name, _EPOCH), hashlib.sha256()
        entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o100644 << 16, 3
        with archive.open(entry, "w", force_zip64=True) as sink:
            while part := source.read(1 << 20):
                digest.update(part)
                sink.write(part)
                size += len(part)
        written.append((name, digest.hexdigest(), size))

    def add_text(name: str, text: str) -> None:
        add(name, io.BytesIO(text.encode()))

    count = 0
    files: dict[str, Path] = {}
    for number, (uuid, index) in enumerate(keys):
        document = store.docs_store.query_one({"uuid": uuid, "index": index})
        if document is None:
            raise StoreError(f"the document {uuid} has gone while study {study_hash} was exported", "export it again")
        labels[f"documents/{number:05d}.json"] = str(document.get("metadata", {}).get("label"))
        add_text(f"documents/{number:05d}.json", _text(without_mark({k: v for k, v in document.items() if k != "_id"})))
        large = sorted(study_blobs(store, [(uuid, index)]), key=lambda blob: str(blob["blob_uuid"]))
        if large:
            add_text(f"documents/{number:05d}.data.json", _text(large))
        count += len(large)
        if with_files:
            files |= dict(archive_files.files_of(document))
    for name, path in sorted(files.items()):
        with path.open("rb") as source:
            add(name, source)
    contents = ArchiveContents(
        study_hash, output["study"], output.get("title", ""), len(keys), count, version("anodeflow"),
        len(files),
    )  # fmt: skip
    readme = README.format(
        version=version("anodeflow"), documents=contents.documents, files=contents.files, study_hash=study_hash
    )
    add_text("README.txt", readme)
    add_text(SETTINGS, settings_text(output.get("settings", {})))
    if submitted is not None:
        add_text(SUBMITTED, submitted)
    add_text("CITATION.cff", CITATION.format(version=version("anodeflow")))
    versions = {
        "format": FORMAT, **vars(contents), "engine": output.get("engine"), "card": output.get("card"),
        "computed_with": output.get("software"), "exported_with": {name: _version(name) for name in _SOFTWARE},
    }  # fmt: skip
    add_text(VERSIONS, json.dumps(versions, indent=1, sort_keys=True))
    add_text(CRATE, crate_text(output, list(written), labels))
    add_text(CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest, _ in written))
    return contents


def settings_text(settings: dict[str, Any]) -> str:
    """Return settings of a study as YAML: the same text whatever order a store keeps keys in."""
    first = {key: settings[key] for key in _FIRST if key in settings}
    rest = {key: settings[key] for key in sorted(settings) if key not in first}
    parts = [{key: _ordered(value)} for key, value in (first | rest).items()]
    return "".join(yaml.safe_dump(part, sort_keys=False, allow_unicode=True) for part in parts) or "{}\n"


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    return json_util.dumps(value, sort_keys=True, json_options=json_util.RELAXED_JSON_OPTIONS)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def verify_archive(file: str | Path) -> ArchiveContents:
    """Check an archive: names, sizes, every checksum, every document by its schema, and whether its numbers agree.

    Raises
    ------
    InputError
        If it is not an archive of a study, truncated, changed, not safe to open, or its documents contradict each
        other; the reason is named.
    """
    with ArchiveFile(file) as archive:
        return _checked(archive, None)


def read_archive(file: str | Path) -> tuple[ArchiveContents, list[Archived]]:
    """Check an archive as `verify_archive` does, and return its jobs; no store is needed.

    Raises
    ------
    InputError
        As for `verify_archive`.
    """
    jobs: list[Archived] = []
    with ArchiveFile(file) as archive:
        contents = _checked(archive, jobs.append)
    return contents, jobs


def import_study(file: str | Path, store: Any) -> ArchiveContents:
    """Put the study of an archive into a store, after every check; what is there already stays.

    Every document is marked as imported. Files of its calculations go to the folder of imported runs, where they are
    found again. In an embedded store all of it appears in one transaction; on a server the summary comes last, and
    what was written is taken back if something fails.

    Raises
    ------
    InputError
        As for `verify_archive`.
    StoreError
        If the store holds other documents under the same identities.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with ArchiveFile(file) as archive:
        contents = _checked(archive, None)
        arriving = Arrival(store)
        mark = {"archive_sha256": archive.sha256(), "at": now, "anodeflow": contents.anodeflow}
        # Read again: a study may be larger than memory should hold twice.
        _checked(archive, lambda job: arriving.add(job, mark))
        written = archive_files.unpack(archive, archive.files)
        try:
            arriving.write()
        except BaseException:
            archive_files.take_back(written)
            raise
    return contents


def _checked(archive: ArchiveFile, take: Callable[[Archived], None] | None) -> ArchiveContents:
    """Return what an archive holds, after every check; hand out every document that passed its own."""
    sums = _checked_sums(archive)
    contents, versions = _contents(archive)
    numbers, summary = NumbersCheck(), None
    seen: set[tuple[str, Any]] = set()
    folders: dict[str, Archived] = {}
    lonely = {n for n in archive.names if n.endswith(DATA_NAME)} - {_data_of(n) for n in archive.documents}
    if lonely:
        archive.refuse(f"{sorted(lonely)[0]} is of no document")
    blobs = 0
    for name in archive.documents:
        data = archive.json(_data_of(name)) if _data_of(name) in archive.entries else []
        try:
            job = archived(archive.json(name), data, contents.study_hash)
            numbers.add(name, job)
        except UnfitError as error:
            why = str(error)
            archive.refuse(why if why.startswith(name) else f"{name}: {why}")
        identities = [(job.content["uuid"], job.content["index"]), *(("blob", blob["blob_uuid"]) for blob in job.blobs)]
        if seen.intersection(identities):
            archive.refuse(f"{name}: another document has the same identity")
        seen.update(identities)
        blobs += len(job.blobs)
        if job.is_summary and job.content["index"] == 1:
            if summary is not None:
                archive.refuse(f"{name}: it is a second summary")
            summary = job.content["output"]
        folder = archive_files.folder_name(job.content)
        if folder is not None:
            folders[folder] = job
        if take is not None:
            take(job)
    try:
        numbers.finish()
    except UnfitError as error:
        archive.refuse(str(error))
    if blobs != contents.blobs:
        archive.refuse(f"it holds {blobs} of {contents.blobs} sets of arrays")
    _check_summary(archive, contents, versions, summary or {})
    for name in archive.files:
        if name.split("/")[1] not in folders:
            archive.refuse(f"{name} is of no calculation of this study")
    for folder, job in folders.items():
        for file, digest in archive_files.digests_named(job.content):
            stored = sums.get(f"{archive_files.FOLDER}/{folder}/{file}")
            if stored is not None and stored != digest:
                archive.refuse(f"{file} of '{job.label}' is not the one that its document names")
    return contents


def _data_of(name: str) -> str:
    return name.removesuffix(".json") + DATA_NAME


def _checked_sums(archive: ArchiveFile) -> dict[str, str]:
    """Return the checksums that an archive lists, after computing each."""
    lines = [line.partition("  ") for line in archive.text(CHECKSUMS).splitlines()]
    sums = {name: digest for digest, _, name in lines}
    names = set(archive.names) - {CHECKSUMS}
    if set(sums) != names or len(lines) != len(sums):
        odd = sorted(set(sums) ^ names)
        archive.refuse(f"{odd[0] if odd else CHECKSUMS} is in the list of checksums or in the archive, not in both")
    for name, wanted in sums.items():
        if archive.digest(name) != wanted:
            archive.refuse(f"{name} was changed: its checksum is another")
    return sums


def _contents(archive: ArchiveFile) -> tuple[ArchiveContents, dict[str, Any]]:
    """Return what an archive says it holds, after counting."""
    versions = archive.json(VERSIONS)
    if not isinstance(versions, dict):
        archive.refuse(f"{VERSIONS} is not an object")
    if versions.get("format") != FORMAT or isinstance(versions["format"], bool):
        known = f"this anodeflow knows format {FORMAT}; update anodeflow"
        archive.refuse(f"it has format {versions.get('format')!r:.40}, {known}")
    versions.setdefault("files", 0)
    try:
        contents = ArchiveContents(**{key: versions[key] for key in ArchiveContents.__dataclass_fields__})
    except KeyError as error:
        archive.refuse(f"{VERSIONS} lacks {error}")
    for key in ArchiveContents.__dataclass_fields__:
        kind = int if key in ("documents", "blobs", "files") else str
        if type(versions[key]) is not kind or (kind is str and not versions[key].isprintable()):
            archive.refuse(f"{VERSIONS} says {key} = {versions[key]!r:.40}")
    if not re.fullmatch(r"[0-9a-f]{16}", contents.study_hash):
        archive.refuse(f"the hash of its study is {contents.study_hash!r:.40}")
    if len(archive.documents) != contents.documents:
        archive.refuse(f"it holds {len(archive.documents)} of {contents.documents} documents")
    if len(archive.files) != contents.files:
        archive.refuse(f"it holds {len(archive.files)} of {contents.files} files")
    return contents, versions


def _check_summary(
    archive: ArchiveFile, contents: ArchiveContents, versions: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Refuse an archive whose description is not that of its last document."""
    expected: dict[str, Any] = {"study": contents.study, "title": contents.title, "study_hash": contents.study_hash}
    expected |= {key: versions.get(key) for key in ("engine", "card")}
    for key, value in expected.items():
        if summary.get(key, "" if key == "title" else None) != value:
            archive.refuse(f"{VERSIONS} and the summary differ in '{key}'")
    settings = read_yaml_text(archive.text(SETTINGS), f"{SETTINGS} of archive '{archive.file}'")
    if settings != summary.get("settings", {}):
        differing = sorted(key for key in settings | summary.get("settings", {})
                           if settings.get(key) != summary.get("settings", {}).get(key))  # fmt: skip
        archive.refuse(f"{SETTINGS} and the summary differ in '{differing[0] if differing else '?'}'")


class Arrival:
    """Documents on their way from an archive into a store.

    Parameters
    ----------
    store
        An open store.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self._new: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = []

    def add(self, job: Archived, mark: dict[str, Any]) -> None:
        """Take one job, marked as imported, unless the store holds the same one.

        Raises
        ------
        StoreError
            If the store holds another one under its identity.
        """
        content = job.content
        output = content["output"] if isinstance(content["output"], dict) else {}
        own = mark | {"computer": output.get("computer")}
        marked = {**content, "metadata": {**content["metadata"], MARK: own}}
        wanted = [(self.store.additional_stores[DATA], blob, ("blob_uuid",)) for blob in job.blobs]
        for place, document, key in [*wanted, (self.store.docs_store, marked, ("uuid", "index"))]:
            if not is_there(place, document, key):
                self._new.append((place, document, key))

    def write(self) -> None:
        """Write everything that was taken: in one transaction where the store knows one.

        Raises
        ------
        StoreError
            If it cannot be written, or does not read back the same.
        """
        stores = (self.store.docs_store, *self.store.additional_stores.values())
        if all(isinstance(store, SQLiteStore) for store in stores):
            with one_transaction(*stores):
                for place, document, key in self._new:
                    place.update([document], list(key))
            return
        # Arrays, then documents, then the summary: who sees it may take the study for complete.
        order = sorted(self._new, key=lambda item: (item[2] != ("blob_uuid",),
                                                    item[1].get("metadata", {}).get("label") == SUMMARY))  # fmt: skip
        done: list[tuple[Any, dict[str, Any]]] = []
        try:
            for place, document, key in order:
                done.append((place, {name: document[name] for name in key}))
                put_same(place, document, key)
        except BaseException:
            for place, identity in reversed(done):
                place.remove_docs(identity)
            raise
