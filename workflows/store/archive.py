"""A study as one file that another person can open, check and go on with: a deterministic zip archive.

=====================  ==========================================================================
study.yaml             the study as it was validated; the file itself as ``submitted.yaml`` if known
documents/NNNNN.json   every job's document, one a file; NNNNN.data.json its large arrays
files/CALCULATION/     inputs and outputs of the codes, trajectories, checkpoints, where they are on this machine
versions.json          software, engine, card
CITATION.cff           how to cite the software
CHECKSUMS.sha256       SHA-256 of every other file: ``sha256sum -c CHECKSUMS.sha256``
=====================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import yaml
from bson import json_util
from jobflow import JobStore

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store import archive_files
from anodeflow.workflows.store.moving import DATA, put_same, study_blobs

FORMAT = 1
CHECKSUMS, VERSIONS = "CHECKSUMS.sha256", "versions.json"
LARGEST_FILE, LARGEST_ARCHIVE = 2 * 2**30, 50 * 2**30
MOST_FILES = 500_000
EPOCH = (2020, 1, 1, 0, 0, 0)
NAMES = re.compile(r"(study\.yaml|submitted\.yaml|versions\.json|CITATION\.cff|CHECKSUMS\.sha256|README\.txt|"
                   r"documents/\d{5,7}(\.data)?\.json)")  # fmt: skip
SOFTWARE = ("anodeflow", "jobflow", "maggma", "pymatgen", "ase", "numpy", "scipy")
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
        The archive; it appears whole or not at all.
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
        {"metadata.study_hash": study_hash, "metadata.label": "summary", "index": 1}, properties=["output"]
    )
    if last is None:
        raise StoreError(
            f"no finished study {study_hash} in {store.docs_store.name}", "run it first, or check the hash"
        )
    output = last["output"]
    handle, temporary = tempfile.mkstemp(dir=goal.resolve().parent, prefix=f".{goal.name}.")
    try:
        with os.fdopen(handle, "wb") as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            contents = _write(archive, store, study_hash, output, keys, submitted, files)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, goal)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return contents


def _place(document: dict[str, Any]) -> tuple[bool, str, int, str]:
    metadata = document["metadata"]
    return metadata.get("label") == "summary", str(metadata.get("label")), document["index"], document["uuid"]


def _write(
    archive: zipfile.ZipFile,
    store: JobStore,
    study_hash: str,
    output: dict[str, Any],
    keys: list[tuple[str, int]],
    submitted: str | None,
    with_files: bool,
) -> ArchiveContents:
    sums: list[str] = []

    def add(name: str, source: BinaryIO) -> None:
        entry, digest = zipfile.ZipInfo(name, EPOCH), hashlib.sha256()
        entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o100644 << 16, 3
        with archive.open(entry, "w", force_zip64=True) as sink:
            while part := source.read(1 << 20):
                digest.update(part)
                sink.write(part)
        sums.append(f"{digest.hexdigest()}  {name}\n")

    def add_text(name: str, text: str) -> None:
        add(name, io.BytesIO(text.encode()))

    count = 0
    files: dict[str, Path] = {}
    for number, (uuid, index) in enumerate(keys):
        found = store.docs_store.query_one({"uuid": uuid, "index": index})
        if found is None:
            raise StoreError(f"the document {uuid} has gone while study {study_hash} was exported", "export it again")
        add_text(f"documents/{number:05d}.json", _text({k: v for k, v in found.items() if k != "_id"}))
        large = sorted(study_blobs(store, [(uuid, index)]), key=lambda blob: str(blob["blob_uuid"]))
        if large:
            add_text(f"documents/{number:05d}.data.json", _text(large))
        count += len(large)
        if with_files:
            files |= dict(archive_files.files_of(found))
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
    add_text("study.yaml", yaml.safe_dump(output.get("settings", {}), sort_keys=False, allow_unicode=True))
    if submitted is not None:
        add_text("submitted.yaml", submitted)
    add_text("CITATION.cff", CITATION.format(version=version("anodeflow")))
    versions = {
        "format": FORMAT, **vars(contents), "engine": output.get("engine"), "card": output.get("card"),
        "computed_with": output.get("software"), "exported_with": {name: _version(name) for name in SOFTWARE},
    }  # fmt: skip
    add_text(VERSIONS, json.dumps(versions, indent=1, sort_keys=True))
    add_text(CHECKSUMS, "".join(sums))
    return contents


def _text(value: Any) -> str:
    return json_util.dumps(value, sort_keys=True, json_options=json_util.RELAXED_JSON_OPTIONS)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def verify_archive(file: str | Path) -> ArchiveContents:
    """Check an archive: names, sizes, every checksum, the number of documents and what they refer to.

    Raises
    ------
    InputError
        If it is no archive of a study, truncated, changed, or not safe to open; the reason is named.
    """
    with _opened(file) as archive:
        contents, _ = _checked(archive, Path(file))
    return contents


def import_study(file: str | Path, store: Any) -> ArchiveContents:
    """Put the study of an archive into a store, after every check; what is there already stays.

    Files of its calculations go to the folder of runs, where they are found again.

    Raises
    ------
    InputError
        As for `verify_archive`.
    StoreError
        If the store holds other documents under the same identities.
    """
    path = Path(file)
    with _opened(path) as archive:
        contents, names = _checked(archive, path)
        for name in sorted(n for n in names if n.endswith(".data.json")):
            for blob in _json(archive, name, path):
                put_same(store.additional_stores[DATA], blob, ("blob_uuid",))
        for name in sorted(n for n in names if n.startswith("documents/") and not n.endswith(".data.json")):
            put_same(store.docs_store, _json(archive, name, path), ("uuid", "index"))
        archive_files.unpack(archive, sorted(n for n in names if n.startswith(f"{archive_files.FOLDER}/")))
    return contents


def _refuse(file: Path, why: str) -> NoReturn:
    raise InputError(f"archive '{file}' cannot be used: {why}", "get it anew from where it came") from None


class _opened:  # noqa: N801 - used as a function
    """A zip file; whatever is wrong with it becomes one line."""

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)

    def __enter__(self) -> zipfile.ZipFile:
        if not self.file.is_file():
            raise InputError(f"no archive '{self.file}'", "check the path")
        try:
            self.archive = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            _refuse(self.file, f"it is truncated or no zip file ({error})")
        return self.archive

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self.archive.close()
        broken = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
        if isinstance(error, broken):
            _refuse(self.file, f"it is damaged ({error})")


def _checked(archive: zipfile.ZipFile, file: Path) -> tuple[ArchiveContents, list[str]]:
    names = [entry.filename for entry in archive.infolist()]
    if len(set(names)) != len(names):
        _refuse(file, "it holds two files of one name")
    if len(names) > MOST_FILES or sum(entry.file_size for entry in archive.infolist()) > LARGEST_ARCHIVE:
        _refuse(file, "it is larger than any study")
    for entry in archive.infolist():
        if not NAMES.fullmatch(entry.filename) and not _is_file(entry.filename):
            _refuse(file, f"it holds a file that does not belong there: {entry.filename[:80]!r}")
        if entry.file_size > LARGEST_FILE:
            _refuse(file, f"{entry.filename} is larger than {LARGEST_FILE >> 30} GB")
    for needed in (CHECKSUMS, VERSIONS, "study.yaml"):
        if needed not in names:
            _refuse(file, f"it lacks {needed}")
    lines = [line.partition("  ") for line in archive.read(CHECKSUMS).decode(errors="replace").splitlines()]
    sums = {name: digest for digest, _, name in lines}
    if set(sums) != set(names) - {CHECKSUMS}:
        odd = sorted(set(sums) ^ (set(names) - {CHECKSUMS}))[0]
        _refuse(file, f"{odd} is in the list of checksums or in the archive, not in both")
    for name, wanted in sums.items():
        if _digest(archive, name) != wanted:
            _refuse(file, f"{name} was changed: its checksum is another")
    versions = _json(archive, VERSIONS, file)
    if versions.get("format") != FORMAT:
        _refuse(file, f"it has format {versions.get('format')}, this anodeflow knows format {FORMAT}; update anodeflow")
    documents = [n for n in names if n.startswith("documents/") and not n.endswith(".data.json")]
    versions.setdefault("files", 0)
    try:
        contents = ArchiveContents(**{key: versions[key] for key in ArchiveContents.__dataclass_fields__})
    except KeyError as error:
        _refuse(file, f"{VERSIONS} lacks {error}")
    if len(documents) != contents.documents:
        _refuse(file, f"it holds {len(documents)} of {contents.documents} documents")
    kept = sum(map(_is_file, names))
    if kept != contents.files:
        _refuse(file, f"it holds {kept} of {contents.files} files")
    folders = set()
    for name in documents:
        document = _json(archive, name, file)
        if document.get("metadata", {}).get("study_hash") != contents.study_hash:
            _refuse(file, f"{name} is of another study")
        folders.add(archive_files.folder_name(document))
    for name in filter(_is_file, names):
        if name.split("/")[1] not in folders:
            _refuse(file, f"{name} is of no calculation of this study")
    return contents, names


def _is_file(name: str) -> bool:
    """Whether an archive's entry is a file of a calculation that may be unpacked."""
    return bool(archive_files.NAMES.fullmatch(name) and archive_files.WHOLE_NAMES.fullmatch(name.split("/")[-1]))


def _digest(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    for part in _parts(archive, name):
        digest.update(part)
    return digest.hexdigest()


def _parts(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as source:
        while part := source.read(1 << 20):
            yield part


def _json(archive: zipfile.ZipFile, name: str, file: Path) -> Any:
    try:
        return json_util.loads(archive.read(name).decode(), json_options=_OPTIONS)
    except (ValueError, TypeError, RecursionError) as error:
        _refuse(file, f"{name} is not JSON ({error})")


_OPTIONS = json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=False, tzinfo=None)
