"""Opening an archive that a stranger made: bounded in size and memory, every fault one line that names the file.

What is read first is cheap: the list of files, their names, sizes and ratios. Nothing is unpacked beyond what the list
says, and no JSON is parsed that would take much more memory than it took to pack.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from bson import json_util
from bson.errors import BSONError

from anodeflow.errors import InputError
from anodeflow.files import file_sha256
from anodeflow.workflows.store.archive_files import is_file_of_calculation

CHECKSUMS, VERSIONS, SETTINGS = "CHECKSUMS.sha256", "versions.json", "study.yaml"
NAMES = re.compile(r"(study\.yaml|submitted\.yaml|versions\.json|CITATION\.cff|CHECKSUMS\.sha256|README\.txt|"
                   r"ro-crate-metadata\.json|"
                   r"documents/\d{5,7}(\.data)?\.json)")  # fmt: skip
DATA_NAME = ".data.json"
LARGEST_FILE, LARGEST_ARCHIVE = 2 * 2**30, 50 * 2**30
# Of a document, of its arrays, and of what describes the archive.
LARGEST_DOCUMENT, LARGEST_DATA, LARGEST_TEXT = 32 * 2**20, 256 * 2**20, 16 * 2**20
_MOST_FILES = 100_000
_LARGEST_LIST = 12 * 2**20
# Text of codes and JSON packs by 4 to 10; a file of one repeated byte by 1000.
MOST_RATIO, RATIO_FROM_BYTES = 100, 2**20
MOST_RATIO_OF_ALL, ALL_FROM_BYTES = 50, 10 * 2**20
# Values of JSON: a number of an array takes about 8 packed bytes, and 50 in memory.
VALUES_AT_LEAST, VALUES_PER_PACKED_BYTE = 1_000_000, 1
_PACKED_BY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of the two records at the end of a zip file: signature, and where they say how long the list of files is.
_ENDS = ((b"PK\x05\x06", 12, "<I"), (b"PK\x06\x06", 40, "<Q"))
_END_BYTES = 2**16 + 200
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OverflowError)
_OPTIONS = json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=False, tzinfo=None)


def refuse(file: str | Path, why: str) -> NoReturn:
    """Raise the error that an archive cannot be used.

    Raises
    ------
    InputError
        Always.
    """
    raise InputError(f"archive '{file}' cannot be used: {why}", "get it again from where it came") from None


class ArchiveFile:
    """An archive that is open for reading; use it as a context manager.

    Parameters
    ----------
    file
        The archive.

    Raises
    ------
    InputError
        From every method and at the end of the context: what is wrong with the archive.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)

    def __enter__(self) -> ArchiveFile:
        if not self.file.is_file():
            raise InputError(f"no archive '{self.file}'", "check the path")
        try:
            self._refuse_a_long_list()
            self.archive = zipfile.ZipFile(self.file)
        except (*_BROKEN, OSError, ValueError) as error:
            self.refuse(f"it is truncated or not a zip file ({error})")
        try:
            self.entries = {entry.filename: entry for entry in self.archive.infolist()}
            self._check_list()
        except BaseException:
            self.archive.close()
            raise
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self.archive.close()
        if isinstance(error, _BROKEN):
            self.refuse(f"it is damaged ({error})")

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that the archive cannot be used."""
        refuse(self.file, why)

    @property
    def names(self) -> list[str]:
        """Names of all files, in the order of the archive."""
        return list(self.entries)

    @property
    def documents(self) -> list[str]:
        """Names of the documents, without those of their arrays."""
        return sorted(n for n in self.entries if n.startswith("documents/") and not n.endswith(DATA_NAME))

    @property
    def files(self) -> list[str]:
        """Names of the files of calculations."""
        return sorted(filter(is_file_of_calculation, self.entries))

    def sha256(self) -> str:
        """Return the SHA-256 of the archive itself."""
        return file_sha256(self.file)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of one of its files."""
        digest = hashlib.sha256()
        for part in self.parts(name):
            digest.update(part)
        return digest.hexdigest()

    def parts(self, name: str) -> Iterator[bytes]:
        """Yield the content of one of its files, piece by piece."""
        with self.archive.open(name) as source:
            while part := source.read(1 << 20):
                yield part

    def text(self, name: str) -> str:
        """Return one of its text files."""
        try:
            return self.archive.read(name).decode()
        except UnicodeDecodeError:
            self.refuse(f"{name} is not text")

    def json(self, name: str) -> Any:
        """Return the content of one of its JSON files."""
        text = self.archive.read(name)
        values = sum(text.count(sign) for sign in (b",", b"[", b"{"))
        if values > VALUES_AT_LEAST + VALUES_PER_PACKED_BYTE * self.entries[name].compress_size:
            self.refuse(f"{name} holds {values:.2g} values in {self.entries[name].compress_size} packed bytes")
        try:
            return json.loads(text.decode(), object_pairs_hook=_without_repeats)
        except (ValueError, TypeError, KeyError, RecursionError, ArithmeticError, BSONError) as error:
            self.refuse(f"{name} is not JSON ({str(error)[:120]})")

    # --- the list of files

    def _refuse_a_long_list(self) -> None:
        size = self.file.stat().st_size
        with self.file.open("rb") as source:
            source.seek(max(0, size - _END_BYTES))
            tail = source.read()
        for signature, offset, kind in _ENDS:
            place = tail.rfind(signature)
            piece = tail[place + offset : place + offset + struct.calcsize(kind)]
            if place >= 0 and len(piece) == struct.calcsize(kind):
                length = struct.unpack(kind, piece)[0]
                if _LARGEST_LIST < length < 2**32 - 1 or length > size:
                    self.refuse(f"its list of files has {length} bytes, more than any study's or than the archive")

    def _check_list(self) -> None:
        entries, size = self.archive.infolist(), self.file.stat().st_size
        if len(self.entries) != len(entries):
            self.refuse("it holds two files of one name")
        if len({name.lower() for name in self.entries}) != len(entries):
            self.refuse("it holds two files whose names differ in small and capital letters only")
        total = sum(entry.file_size for entry in entries)
        if len(entries) > _MOST_FILES or total > LARGEST_ARCHIVE:
            self.refuse("it is larger than any study")
        for entry in entries:
            self._check_entry(entry)
        if total > ALL_FROM_BYTES + MOST_RATIO_OF_ALL * size:
            self.refuse(f"{size} bytes would unpack to {total}")
        for needed in (CHECKSUMS, VERSIONS, SETTINGS):
            if needed not in self.entries:
                self.refuse(f"it lacks {needed}")

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        name, shown = entry.filename, repr(entry.filename[:80])
        if not NAMES.fullmatch(name) and not is_file_of_calculation(name):
            self.refuse(f"it holds a file that does not belong there: {shown}")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            self.refuse(f"{shown} is a link or another special file")
        if entry.flag_bits & 1:
            self.refuse(f"{shown} is encrypted")
        if entry.compress_type not in _PACKED_BY:
            self.refuse(f"{shown} is packed in a way that anodeflow does not use ({entry.compress_type})")
        largest = _largest(name)
        if entry.file_size > largest:
            self.refuse(f"{name} is larger than {largest >> 20} MB")
        if entry.file_size > RATIO_FROM_BYTES and entry.file_size > MOST_RATIO * entry.compress_size:
            self.refuse(f"{name} would unpack from {entry.compress_size} to {entry.file_size} bytes")


def _largest(name: str) -> int:
    if is_file_of_calculation(name):
        return LARGEST_FILE
    if name.startswith("documents/"):
        return LARGEST_DATA if name.endswith(DATA_NAME) else LARGEST_DOCUMENT
    return LARGEST_TEXT


def _without_repeats(pairs: list[tuple[str, Any]]) -> Any:
    """Refuse a key that stands twice: two readers would see two documents."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return json_util.object_hook(content, _OPTIONS)
