"""VASP's vasprun.xml, as long as it may be.

The file is searched for the few elements that make a frame instead of being parsed as XML: of 1,000 steps of
256 atoms (34 MB) this takes half the time of `xml.etree.ElementTree.iterparse` with cleared elements
(`benchmarks/trajectory_reading.py`), counts lines, and survives what makes real files ill-formed: a run that
was killed, and characters that are not allowed in XML. Nothing is expanded, so there is no entity to fear.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    Symbols,
    Trajectory,
    TruncatedFileError,
    checked_cell,
    place,
)
from anodeflow.analysis.trajectories.text import Source, numbers
from anodeflow.errors import InputError

CHUNK = 1 << 18
# the longest element that is taken as a whole: forces of ten million atoms are not read from XML
MAX_ELEMENT = 1 << 28
LONGEST_MATCH = 400

_HEAD = re.compile(rb'<calculation>|<atominfo>|<i [^<>]*name="(POTIM|NELM|IBRION|NSW|TEBEG|TEEND)"[^<>]*>([^<]*)</i>')
_STEP = re.compile(
    rb'<scstep>|<structure[ >]|<varray name="forces" *>|<energy>|</calculation>|<calculation>|</modeling>'
)
_SCF_END = re.compile(rb"</scstep>")
_NEXT = re.compile(rb"<calculation>|</modeling>")
_VALUE = re.compile(rb'<i name="([^"]+)">([^<]*)</i>')
_SYMBOL = re.compile(r"[A-Z][a-z]?$")
_ATOM = re.compile(rb"<rc><c>([^<]*)</c>")
_GENERATOR = re.compile(rb'<i name="(program|version)" type="string">([^<]*)</i>')
_BEGIN, _END = b"<calculation>", b"</calculation>"


class _Scanner:
    """Forward search in a file, with what lies behind forgotten."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.buffer = b""
        self.start = 0

    def _more(self) -> bool:
        data = self.source.read(CHUNK)
        self.buffer = self.buffer[self.start :] + data
        self.start = 0
        if not data:
            self.source.check_end()
        return bool(data)

    def _pass(self, to: int) -> None:
        self.source.line += self.buffer.count(b"\n", self.start, to)
        self.start = to

    def find(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Go behind the next match; None at the end of the file."""
        while (match := pattern.search(self.buffer, self.start)) is None:
            # what is looked for may lie across the edge
            self._pass(max(self.start, len(self.buffer) - LONGEST_MATCH))
            if not self._more():
                return None
        self._pass(match.end())
        return match

    def until(self, end: bytes, what: str) -> tuple[bytes, int]:
        """The text up to `end`, and the number of its first line; go behind.

        Raises
        ------
        TruncatedFileError
            If `end` does not come.
        """
        first = self.source.line + 1
        checked = self.start
        while (found := self.buffer.find(end, checked)) < 0:
            if len(self.buffer) - self.start > MAX_ELEMENT:
                raise self.source.error(f"{what} of over {MAX_ELEMENT} characters", "this cannot be read")
            kept = len(self.buffer) - self.start
            if not self._more():
                raise TruncatedFileError(self.source.line + self.buffer.count(b"\n") + 1, f"the file ends in {what}")
            checked = max(0, kept - len(end))
        text = self.buffer[self.start : found]
        self._pass(found + len(end))
        return text, first


class VasprunTrajectory(Trajectory):
    """Positions, cells, forces, free energies and, of dynamics, kinetic energies.

    The outer energies of a step count: those of the electronic steps lack dispersion corrections. Steps with as
    many electronic steps as NELM allows have `electronic_converged` False.
    """

    format = "vasprun.xml"

    def _frames(self) -> Iterator[Frame]:
        with Source(self.path) as source:
            scanner = _Scanner(source)
            species = self._head(scanner)
            nelm = self.metadata.get("NELM")
            dynamics = self.metadata.get("IBRION") == 0
            timestep = self.metadata.get("POTIM")
            index = 0
            while True:
                frame = self._calculation(scanner, species, nelm)
                frame.index, frame.step = index, index + 1
                if dynamics and timestep is not None:
                    frame.time_fs = timestep * (index + 1)
                yield frame
                index += 1
                match = scanner.find(_NEXT)
                if match is None:
                    raise TruncatedFileError(source.line, "</modeling> is missing: the run has not ended")
                if match.group() == b"</modeling>":
                    return

    def _head(self, scanner: _Scanner) -> Symbols:
        species: Symbols | None = None
        while True:
            match = scanner.find(_HEAD)
            if match is None:
                raise TruncatedFileError(scanner.source.line, "the file ends before the first calculation")
            if match.group() == b"<calculation>":
                break
            if match.group() == b"<atominfo>":
                text, line = scanner.until(b"</atominfo>", "the list of atoms")
                species = _species(text, scanner.source, line)
            elif match.group(1) is not None:
                name, text = match.group(1).decode(), match.group(2).strip()
                # the first one is INCAR's; among the parameters, response functions have an NELM of their own
                if name in self.metadata:
                    continue
                try:
                    self.metadata[name] = float(text) if name in ("POTIM", "TEBEG", "TEEND") else int(text)
                except ValueError:
                    raise scanner.source.error(f"{name} is '{text.decode('latin-1')}', no number") from None
        if species is None:
            raise scanner.source.error("no list of atoms before the first calculation", "check the file")
        return species

    def _calculation(self, scanner: _Scanner, species: Symbols, nelm: int | None) -> Frame:
        """One step; the opening tag lies behind."""
        source = scanner.source
        began = source.line
        steps = 0
        positions = cell = forces = None
        energies: dict[str, float] = {}
        while True:
            match = scanner.find(_STEP)
            if match is None:
                raise TruncatedFileError(source.line, f"the file ends in the calculation of line {began}")
            tag = match.group()
            if tag == b"<scstep>":
                steps += 1
                if scanner.find(_SCF_END) is None:
                    raise TruncatedFileError(source.line, f"the file ends in the calculation of line {began}")
            elif tag.startswith(b"<structure"):
                text, line = scanner.until(b"</structure>", "a structure")
                cell = checked_cell(self._array(text, b"basis", 3, line), self.path, line)
                positions = self._array(text, b"positions", len(species), line) @ cell
            elif tag.startswith(b"<varray"):
                text, line = scanner.until(b"</varray>", "the forces")
                forces = self._vectors(text, len(species), line, "forces")
            elif tag == b"<energy>":
                text, line = scanner.until(b"</energy>", "the energies")
                energies = self._energies(text, line)
            elif tag == b"</calculation>":
                break
            else:
                raise source.error(f"'{tag.decode()}' within the calculation of line {began}", "check the file")
        if positions is None or cell is None:
            raise InputError(f"{place(self.path, began)}: a calculation without a structure", "check the file")
        return Frame(
            0,
            species,
            positions,
            cell,
            energy_ev=energies.get("e_fr_energy"),
            kinetic_energy_ev=energies.get("kinetic"),
            forces=forces,
            electronic_converged=steps < nelm if nelm and steps else None,
            source=str(self.path),
        )

    def _array(self, text: bytes, name: bytes, count: int, line: int) -> Array:
        start = text.find(b'<varray name="' + name + b'"')
        begin = text.find(b">", start) + 1
        end = text.find(b"</varray>", begin)
        if start < 0 or end < 0:
            raise InputError(f"{place(self.path, line)}: a structure without {name.decode()}", "check the file")
        return self._vectors(text[begin:end], count, line + text.count(b"\n", 0, begin), name.decode())

    def _vectors(self, text: bytes, count: int, line: int, what: str) -> Array:
        plain = text.replace(b"<v>", b"   ").replace(b"</v>", b"    ")
        rows = [row for row in plain.split(b"\n") if row.strip()]
        if len(rows) != count:
            raise InputError(f"{place(self.path, line)}: {len(rows)} {what} for {count} atoms", "check the file")
        first = line + (0 if text[: text.find(b"<v>")].count(b"\n") == 0 else 1)
        values = numbers(b"\n".join(rows) + b"\n", count, (0, 1, 2), self.path, first, what)
        if len(rows[0].split()) != 3:
            raise InputError(f"{place(self.path, first)}: {what} with {len(rows[0].split())} components", "check it")
        return values

    def _energies(self, text: bytes, line: int) -> dict[str, float]:
        energies = {}
        for match in _VALUE.finditer(text):
            word = match.group(2).strip()
            try:
                value = float(word)
            except ValueError:
                value = float("nan")
            if not np.isfinite(value):
                at = place(self.path, line + text.count(b"\n", 0, match.start()))
                raise InputError(
                    f"{at}: {match.group(1).decode('latin-1')} is '{word.decode('latin-1')[:30]}', no finite number",
                    "the run went wrong there",
                )
            energies[match.group(1).decode("latin-1")] = value
        return energies


class _Piece(Source):
    """A part of a file that is in memory already."""

    def __init__(self, path: Path, text: bytes, line: int) -> None:
        self.path, self.line = path, line
        self._raw = None
        self.file = io.BytesIO(text)


class GrowingVasprun:
    """The steps of a vasprun.xml that is still being written, as they come; each is whole.

    Attributes
    ----------
    program, version : str
        What wrote the file; empty until its head is there.
    species : (N,) array of str or None
        Chemical symbols in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program = self.version = ""
        self.species: Symbols | None = None
        self._reader = VasprunTrajectory(path)
        self._offset = self._lines = self._made = 0
        self._rest = b""

    def read(self) -> list[tuple[Frame, dict[str, float]]]:
        """Steps that have come since, each with all the energies that the file gives it, by name, eV.

        Raises
        ------
        InputError
            If something in a step is no number.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                self._rest += file.read()
                self._offset = file.tell()
        except OSError:
            return []
        if self.species is None and not self._head():
            return []
        found = []
        while (end := self._rest.find(_END)) >= 0:
            begin = self._rest.find(_BEGIN) + len(_BEGIN)
            line = self._lines + self._rest.count(b"\n", 0, begin)
            text = self._rest[begin : end + len(_END)]
            frame = self._reader._calculation(
                _Scanner(_Piece(self.path, text, line)), self._known(), self._reader.metadata.get("NELM")
            )
            frame.index, frame.step = self._made, self._made + 1
            last = text.rfind(b"<energy>")
            found.append((frame, self._reader._energies(text[last:], line + text.count(b"\n", 0, last))))
            self._made += 1
            self._forget(end + len(_END))
        return found

    def _known(self) -> Symbols:
        if self.species is None:
            raise InputError(f"{self.path}: no list of atoms before the first calculation", "check the file")
        return self.species

    def _head(self) -> bool:
        end = self._rest.find(_BEGIN)
        if end < 0:
            return False
        for name, value in _GENERATOR.findall(self._rest[:end])[:2]:
            setattr(self, name.decode(), value.decode("latin-1").strip())
        self.species = self._reader._head(_Scanner(_Piece(self.path, self._rest[: end + len(_BEGIN)], 0)))
        self._forget(end)
        return True

    def _forget(self, until: int) -> None:
        self._lines += self._rest.count(b"\n", 0, until)
        self._rest = self._rest[until:]


def _species(text: bytes, source: Source, line: int) -> Symbols:
    atoms = text[text.find(b'<array name="atoms"') : text.find(b'<array name="atomtypes"')]
    symbols = [symbol.decode("latin-1").strip() for symbol in _ATOM.findall(atoms)]
    if not symbols:
        raise InputError(f"{place(source.path, line)}: no symbols in the list of atoms", "check the file")
    # some versions of VASP write 'r' for Zr
    symbols = [{"r": "Zr"}.get(symbol, symbol) for symbol in symbols]
    for symbol in set(symbols):
        if not _SYMBOL.match(symbol):
            at = place(source.path, line)
            raise InputError(f"{at}: '{symbol[:20]}' in the list of atoms is no element", "check the file")
    return np.array(symbols)
