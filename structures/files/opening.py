"""The text of a structure file: unpacked, decoded, with one kind of line end, and never larger than allowed."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path

from anodeflow.errors import InputError

_MAX_BYTES = 32 << 20
"""Largest structure file, packed or unpacked. A CIF of 20,000 atoms has about 2 MB."""
MAX_ATOMS = 20_000
"""Most atoms in a cell. No engine here takes a tenth of it, and the checks stay within seconds."""

ACCEPTED = "give a CIF, POSCAR, extended XYZ, SHELX .res, pymatgen JSON or LAMMPS data file of one crystal"

_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_XZ_MEMORY_BYTES = 256 << 20
_ARCHIVES = {
    b"PK\x03\x04": "ZIP",
    b"7z\xbc\xaf": "7z",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x1f\x9d": "compress (.Z)",
    b"Rar!": "RAR",
}
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
_LINE_ENDS = dict.fromkeys(map(ord, "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclass(frozen=True)
class StructureText:
    """The content of one structure file.

    Parameters
    ----------
    path
        The file as the user named it.
    name
        Its name without the suffix of a compression, lower case: ``"licl.cif"`` for ``LiCl.CIF.gz``.
    text
        The decoded text; lines end with a single newline.
    """

    path: Path
    name: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines, without their ends."""
        return self.text.split("\n")

    def unreadable(self, reason: str, remedy: str = ACCEPTED) -> InputError:
        """Error: the file cannot be read for `reason`."""
        return InputError(f"structure file {self.path} cannot be read ({shortened(reason)})", remedy)


def shortened(text: str) -> str:
    """A message that quotes a file, its middle left out where it is too long to be read.

    Parameters
    ----------
    text
        Any length.

    Returns
    -------
    str
        At most 300 characters.
    """
    return text if len(text) <= 300 else f"{text[:180]} ... {text[-110:]}"


def open_structure(path: Path) -> StructureText:
    """Read the text of a structure file, packed or not.

    Parameters
    ----------
    path
        The file; gzip, bzip2 and xz are recognised by content.

    Returns
    -------
    StructureText

    Raises
    ------
    InputError
        It is missing, empty, no regular file, too large (unpacked: more than 32 MiB), damaged, or binary.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise InputError(f"structure file {path} {problem}", f"{ACCEPTED}, or a catalogue name")
    try:
        data = _unpacked(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InputError(f"structure file {path} cannot be read ({reason})", "copy it again") from error
    if not data.strip():
        raise InputError(f"structure file {path} is empty", ACCEPTED)
    name = path.name.lower()
    for suffix in _PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return StructureText(path, name, _decoded(data, path))


def _unpacked(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise _too_large(path)
    data = path.read_bytes()
    kind = next((kind for magic, kind in _PACKED.items() if data.startswith(magic)), None)
    if kind == "gzip":
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(_MAX_BYTES + 1)
    elif kind == "bzip2":
        with bz2.open(io.BytesIO(data)) as file:
            data = file.read(_MAX_BYTES + 1)
    elif kind == "xz":
        decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
        data = decompressor.decompress(data, _MAX_BYTES + 1)
        if not decompressor.eof and len(data) <= _MAX_BYTES:
            raise EOFError("the compressed file is cut short")
    if len(data) > _MAX_BYTES:
        raise _too_large(path)
    archive = next((name for magic, name in _ARCHIVES.items() if data.startswith(magic)), None)
    if kind and any(data.startswith(magic) for magic in _PACKED):
        archive = "twice compressed"
    if data[257:262] == b"ustar":
        archive = "tar"
    if archive:
        raise InputError(f"structure file {path} is a {archive} archive", "unpack it and give the file inside")
    return data


def _too_large(path: Path) -> InputError:
    problem = f"structure file {path} holds more than {_MAX_BYTES >> 20} MiB"
    return InputError(problem, "a crystal needs far less; check it")


def _decoded(data: bytes, path: Path) -> str:
    """Text of the bytes: UTF-8 or UTF-16 by its mark, else UTF-8, else Latin-1."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if "\x00" in text:
        raise InputError(f"structure file {path} cannot be read (it is not a text file)", ACCEPTED)
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_LINE_ENDS)
