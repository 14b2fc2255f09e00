"""The grammar of VASP's vasprun.xml, for results and trajectories alike: its head, and one ionic step after the other.

The file is searched for the few elements that make a step instead of being parsed as XML: of 1,000 steps of
256 atoms (34 MB) this takes half the time of `xml.etree.ElementTree.iterparse` with cleared elements
(`benchmarks/trajectory_reading.py`), counts lines, and survives what makes real files ill-formed: a run that
was killed, and characters that are not allowed in XML. Nothing is expanded, so there is no entity to fear.

Steps of a machine-learned force field stand between the ``<calculation>`` elements, or alone: a bare ``<structure>``
begins each (https://www.vasp.at/wiki/index.php/ML_LMLFF).
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anodeflow.analysis.trajectories.frames import Array, Symbols, checked_cell, place
from anodeflow.analysis.trajectories.text import Digits, is_element, number, numbers
from anodeflow.analysis.trajectories.vasprun_steps import (
    ITEM,
    Value,
    VasprunHead,
    VasprunStep,
    cell_problem,
    contradictions,
    typed,
    values_of,
)
from anodeflow.errors import InputError

# the longest element that is taken as a whole: forces of ten million atoms are not read from XML
_MAX_ELEMENT = 1 << 28
_LONGEST_MATCH = 400
_MAX_ODD = 20

# What is read whole, up to its end; the rest only opens or closes.
_WHOLE = "generator|incar|kpoints|parameters|atominfo|structure|scstep|varray|energy"
_TOKEN = re.compile(rf"<(?:({_WHOLE})\b([^<>]*)|(calculation|/calculation|/modeling)\s*)>".encode())
# What may not stand in an element: its end is missing then.
_NEIGHBOURS = re.compile(rb"<(?:structure|scstep|/?calculation|/modeling)\b")
_NAME = re.compile(rb'name="([^"]*)"')
_DIVISIONS = re.compile(rb'<v [^<>]*name="divisions"[^<>]*>([^<]*)</v>')
_COUNTED = re.compile(rb"<atoms>([^<]*)</atoms>")
_ATOM = re.compile(rb"<rc><c>([^<]*)</c>")
_KIND = re.compile(rb"<rc><c>([^<]*)</c><c>([^<]*)</c><c>[^<]*</c><c>[^<]*</c><c>([^<]*)</c></rc>")
_WHAT = {
    "structure": "a structure",
    "varray": "a table",
    "energy": "the energies",
    "scstep": "an electronic step",
    "atominfo": "the list of atoms",
}


@dataclass(eq=False)
class _Element:
    """An element that was read whole; `line` is that of its first character behind the tag."""

    kind: str
    attributes: bytes
    text: bytes
    line: int

    @property
    def name(self) -> str | None:
        match = _NAME.search(self.attributes)
        return match[1].decode("latin-1") if match else None


class VasprunReader:
    """Reads a vasprun.xml piece by piece: one that is complete, or one that is still being written.

    Attributes
    ----------
    path
        For messages.
    head
        What stands before the first step; complete once a step has come.
    line
        Number of the line that reading has reached.
    ended
        Whether ``</modeling>`` was read.

    Parameters
    ----------
    strict
        Whether a number of a step that is none is an error; else it is NaN.
    """

    def __init__(self, path: Path, *, strict: bool = True) -> None:
        self.path, self.strict = path, strict
        self.head = VasprunHead()
        self.line = 0
        self.ended = False
        self.final: tuple[Array, Array] | None = None
        self._buffer = bytearray()
        self._at = self._searched = self._made = 0
        self._open: str | None = None
        self._last: tuple[bytes, Array] | None = None
        self._digits: dict[str, Digits] = {}
        self._before: VasprunStep | None = None
        self._step: _Building | None = None
        self._inside = False

    @property
    def line_of_end(self) -> int:
        """Number of the last line of what was read."""
        return self.line + self._buffer.count(b"\n", self._at) + (not self._buffer.endswith(b"\n"))

    @property
    def unfinished(self) -> str:
        """What the file ends in, if it ends here."""
        if self._open is not None:
            return f"the file ends in {_WHAT.get(self._open, f'<{self._open}>')}"
        if self._inside and self._step is not None:
            return f"the file ends in the calculation of line {self._step.line}"
        if not self._made:
            return "the file ends before the first calculation"
        return "</modeling> is missing: the run has not ended"

    def feed(self, data: bytes) -> Iterator[VasprunStep]:
        """Take more of the file; the steps that are complete now.

        Raises
        ------
        InputError
            If the file contradicts its grammar, or, where `strict`, something in a step is not a number.
        """
        hole = data.find(b"\0")
        if hole >= 0:
            yield from self.feed(data[:hole])
            line = self.line_of_end
            raise self._error("zero bytes: a part of the file was never written, or is lost", "copy it again", line)
        del self._buffer[: self._at]
        self._searched -= self._at
        self._at = 0
        self._buffer += data
        while not self.ended and (item := self._next()) is not None:
            step = self._element(item) if isinstance(item, _Element) else self._tag(item)
            if step is not None:
                yield step
        if self.ended and self._buffer.find(b"<modeling>", self._at) >= 0:
            raise self._error("a second run begins in the same file", "split the file there")

    def _pass(self, to: int) -> None:
        self.line += self._buffer.count(b"\n", self._at, to)
        self._at = to

    def _next(self) -> _Element | str | None:
        """Return the next element that matters, or tag that opens or closes one; None where more is needed."""
        match = _TOKEN.search(self._buffer, self._at)
        if match is None:
            self._open = None
            # what is looked for may lie across the edge
            self._pass(max(self._at, len(self._buffer) - _LONGEST_MATCH))
            return None
        start, end = match.span()
        if match[3] is not None:
            tag = bytes(match[3]).decode()
            self._pass(end)
            return tag
        kind, attributes = bytes(match[1]), bytes(match[2])
        if attributes.endswith(b"/"):
            self._pass(end)
            return self._next()
        self._pass(start)
        closing = self._buffer.find(b"</" + kind + b">", max(end, self._searched))
        self._open = kind.decode()
        part = _WHAT.get(self._open, f"<{self._open}>")
        if closing < 0:
            if len(self._buffer) - end > _MAX_ELEMENT:
                raise self._error(f"{part} of over {_MAX_ELEMENT} characters", "this cannot be read")
            self._searched = max(end, len(self._buffer) - len(kind) - 3)
            return None
        text = bytes(self._buffer[end:closing])
        self._searched, self._open = 0, None
        line = self.line + 1 + self._buffer.count(b"\n", start, end)
        if _NEIGHBOURS.search(text) or re.search(rb"<" + kind + rb"\b", text):
            raise self._error(f"{part} has no end", "the file is damaged there", line)
        self._pass(closing + len(kind) + 3)
        return _Element(kind.decode(), attributes, text, line)

    def _error(self, problem: str, remedy: str = "check the file", line: int | None = None) -> InputError:
        return InputError(f"{place(self.path, line or self.line + 1)}: {problem}", remedy)

    # --- what the tags and elements mean ---------------------------------------------------------------

    def _tag(self, tag: str) -> VasprunStep | None:
        pending = None if self._inside else self._close()
        if tag == "calculation":
            if self._inside:
                began = self._step.line if self._step else self.line
                raise self._error(f"'<calculation>' within the calculation of line {began}")
            self._known()
            self._inside, self._step = True, _Building(self.line + 1, learned=False)
        elif tag == "/calculation":
            if not self._inside:
                raise self._error("'</calculation>' without its beginning", "the file is damaged there")
            self._inside = False
            return self._close()
        else:
            if self._inside:
                began = self._step.line if self._step else self.line
                raise self._error(f"'</modeling>' within the calculation of line {began}")
            self.ended = True
        return pending

    def _element(self, element: _Element) -> VasprunStep | None:
        kind, step = element.kind, self._step
        if kind == "structure":
            return self._structure(element)
        if kind == "varray":
            if element.name in ("forces", "stress"):
                self._building(element).table(element, self)
        elif kind == "energy":
            self._building(element).energy(element, self)
        elif kind == "scstep":
            if step is None or not self._inside:
                raise self._error("an electronic step outside of a calculation", "the file is damaged", element.line)
            step.electronic_steps += 1
            step.iterations.append(element.text)
        elif not self._made and step is None:
            self._of_head(element)
        return None

    def _building(self, element: _Element) -> _Building:
        if self._step is None:
            part = "energies" if element.kind == "energy" else str(element.name or element.kind)
            raise self._error(f"{part} outside of a step", "the file is damaged there", element.line)
        return self._step

    def _structure(self, element: _Element) -> VasprunStep | None:
        """Take a structure: the start or the end if it has a name, else that of a step, which it may begin."""
        name, problems = element.name, []  # type: ignore[var-annotated]
        if name == "initialpos":
            self.head.initial = self._geometry(element, problems)
        elif name == "finalpos" and self._made:
            # the end of dynamics is the geometry of the next step
            self.final = None if self.head.dynamics else self._geometry(element, problems)
        if name is not None:
            return None
        geometry = self._geometry(element, problems)
        pending = None
        if not self._inside:
            pending, self._step = self._close(), _Building(element.line, learned=True)
        step = self._building(element)
        if step.geometry is not None:
            raise self._error(f"a second structure in the calculation of line {step.line}", "check it", element.line)
        step.geometry, step.problems = geometry, [*step.problems, *problems]
        return pending

    def _close(self) -> VasprunStep | None:
        """Return the step that ends here, checked."""
        building, self._step = self._step, None
        if building is None:
            return None
        if building.geometry is None:
            raise InputError(f"{place(self.path, building.line)}: a calculation without a structure", "check the file")
        self._made += 1
        cell, fractional = building.geometry
        step = VasprunStep(
            self._made, building.line, building.learned, cell, fractional, building.forces, building.stress,
            building.energies, building.electronic_steps, [values_of(text) for text in building.iterations],
            building.problems,
        )  # fmt: skip
        step.problems += contradictions(step, self._before, self.head)
        self._before = step
        return step

    def _of_head(self, element: _Element) -> None:
        head, kind = self.head, element.kind
        if kind == "generator" and not head.program:
            values = self._tags(element)
            head.program, head.version = (str(values.get(name, "")).strip() for name in ("program", "version"))
        elif kind == "incar" and not head.incar:
            head.incar = self._tags(element, keep_odd=True)
        elif kind == "parameters" and not head.parameters:
            head.parameters = self._tags(element)
        elif kind == "kpoints" and head.mesh is None:
            match = _DIVISIONS.search(element.text)
            words = match[1].split() if match else []
            if len(words) == 3 and all(word.isdigit() and len(word) < 10 for word in words):
                head.mesh = tuple(int(word) for word in words)
        elif kind == "atominfo" and head.species is None:
            head.species, head.titles = self._atoms(element)

    def _tags(self, element: _Element, *, keep_odd: bool = False) -> dict[str, Value]:
        """Return the first value of every tag: among the parameters, response functions have a separate NELM."""
        tags: dict[str, Value] = {}
        for match in ITEM.finditer(element.text):
            name, text = match[2].decode("latin-1").strip(), match[4].decode("latin-1").strip()
            if name in tags:
                continue
            value = typed((match[1] or match[3] or b"").decode("latin-1"), text)
            if value is not None:
                tags[name] = value
                continue
            line = element.line + element.text.count(b"\n", 0, match.start())
            if len(self.head.odd) < _MAX_ODD:
                self.head.odd.append(f"{name} is '{text[:30]}' in line {line}")
            if keep_odd:
                tags[name] = text[:30]
        return tags

    def _atoms(self, element: _Element) -> tuple[Symbols, list[str]]:
        """Return symbols and POTCARs; the list of atoms, their number and the table of kinds must agree."""
        text, line = element.text, element.line
        start, middle = text.find(b'<array name="atoms"'), text.find(b'<array name="atomtypes"')
        symbols = [_symbol(word) for word in _ATOM.findall(text[max(start, 0) : middle if middle > start else None])]
        if not symbols:
            raise self._error("no symbols in the list of atoms", line=line)
        for symbol in set(symbols):
            if not is_element(symbol):
                raise self._error(f"'{symbol[:20]}' in the list of atoms is not an element", line=line)
        counted = _COUNTED.search(text)
        if counted is not None and counted[1].strip() != str(len(symbols)).encode():
            announced = counted[1].decode("latin-1").strip()[:20]
            raise self._error(f"{len(symbols)} atoms in the list where '{announced}' are announced", line=line)
        kinds = [(count.strip(), _symbol(word), title) for count, word, title in _KIND.findall(text[max(middle, 0) :])]
        if kinds:
            by_kind: dict[str, int] = {}
            for count, symbol, _ in kinds:
                if not count.isdigit() or len(count) > 9:
                    raise self._error(f"'{count.decode('latin-1')[:20]}' atoms of {symbol[:20]}", line=line)
                by_kind[symbol] = by_kind.get(symbol, 0) + int(count)
            listed = {symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}
            if by_kind != listed:
                raise self._error(
                    f"the list of atoms ({_counts(listed)}) and the table of their kinds ({_counts(by_kind)}) disagree",
                    "the file is damaged there",
                    line,
                )
        return np.array(symbols), [" ".join(title.decode("latin-1").split()) for _, _, title in kinds]

    def _known(self) -> Symbols:
        if self.head.species is None:
            raise self._error("no list of atoms before the first calculation")
        return self.head.species

    def _geometry(self, element: _Element, problems: list[str]) -> tuple[Array, Array]:
        """Return cell and fractional coordinates; what is odd about their digits is added to `problems`."""
        crystal, closing, rest = element.text.partition(b"</crystal>")
        if not closing:
            raise self._error("a structure without a cell", line=element.line)
        line = element.line + crystal.count(b"\n")
        text, first = self._within(rest, b"positions", line)
        coords = self.vectors(text, len(self._known()), first, "positions", problems)
        return self._cell(crystal, element.line), coords

    def _cell(self, text: bytes, line: int) -> Array:
        """Return the cell, which must agree with the volume and the reciprocal cell beside it.

        Raises
        ------
        InputError
            If it does not, or is not a cell.
        """
        if self._last is not None and self._last[0] == text:
            return self._last[1]
        basis, first = self._within(text, b"basis", line)
        cell = checked_cell(self.vectors(basis, 3, first, "basis", [], strict=True), self.path, first)
        problem = cell_problem(cell, text)
        if problem:
            raise self._error(problem, "the file is damaged there", line)
        self._last = text, cell
        return cell

    def _within(self, text: bytes, name: bytes, line: int) -> tuple[bytes, int]:
        start = text.find(b'<varray name="' + name + b'"')
        begin = text.find(b">", start) + 1
        end = text.find(b"</varray>", begin)
        if start < 0 or end < 0:
            raise self._error(f"a structure without {name.decode()}", line=line)
        return text[begin:end], line + text.count(b"\n", 0, begin)

    def vectors(
        self, text: bytes, count: int, line: int, quantity: str, problems: list[str], *, strict: bool | None = None
    ) -> Array:
        """Return the (count, 3) numbers of the ``<v>`` elements in a text.

        Parameters
        ----------
        text
            What stands in a ``<varray>``.
        count
            How many vectors there must be.
        line
            Number of the first line of the text.
        what
            For messages.
        problems
            Takes what is odd about the digits.
        strict
            As of the reader.

        Returns
        -------
        ndarray
            Shape (count, 3).

        Raises
        ------
        InputError
            If there are more or fewer, or something is not a number; where not `strict`, that becomes NaN.
        """
        plain = text.replace(b"<v>", b"   ").replace(b"</v>", b"    ")
        rows = [row for row in plain.split(b"\n") if row.strip()]
        if len(rows) != count:
            raise self._error(f"{len(rows)} {quantity} for {count} atoms", line=line)
        first = line + (0 if text[: text.find(b"<v>")].count(b"\n") == 0 else 1)
        if self._digits.setdefault(quantity, Digits()).odd(rows):
            problems.append(f"some {quantity} have other digits than the rest")
        if len(rows[0].split()) != 3:
            raise self._error(f"{quantity} with {len(rows[0].split())} components", "check it", first)
        try:
            return numbers(b"\n".join(rows) + b"\n", count, (0, 1, 2), self.path, first, quantity)
        except InputError:
            if self.strict if strict is None else strict:
                raise
            return np.array([_row(row) for row in rows])

    def energies(self, text: bytes, line: int) -> dict[str, float]:
        """Return the energies of an ``<energy>``, by name, eV.

        Raises
        ------
        InputError
            If one is not a number and the reader is strict; else it is NaN.
        """
        values = values_of(text)
        for name, value in values.items():
            if self.strict and not math.isfinite(value):
                at = text.find(f'name="{name}"'.encode("latin-1"))
                word = text[text.find(b">", at) + 1 :].split(b"<")[0].strip()
                raise self._error(
                    f"{name} is '{word.decode('latin-1')[:30]}', no finite number",
                    "the run went wrong there",
                    line + text.count(b"\n", 0, at),
                )
        return values


@dataclass(eq=False)
class _Building:
    """A step of which more may come."""

    line: int
    learned: bool
    geometry: tuple[Array, Array] | None = None
    forces: Array | None = None
    stress: Array | None = None
    energies: dict[str, float] = field(default_factory=dict)
    electronic_steps: int = 0
    iterations: deque[bytes] = field(default_factory=lambda: deque(maxlen=2))
    problems: list[str] = field(default_factory=list)

    def table(self, element: _Element, reader: VasprunReader) -> None:
        forces = element.name == "forces"
        if (self.forces if forces else self.stress) is not None:
            raise reader._error(f"a second table of {element.name} in the step of line {self.line}", line=element.line)
        count = len(reader._known()) if forces else 3
        values = reader.vectors(element.text, count, element.line, str(element.name), self.problems)
        if forces:
            self.forces = values
        else:
            self.stress = values

    def energy(self, element: _Element, reader: VasprunReader) -> None:
        if self.energies:
            raise reader._error(f"second energies in the step of line {self.line}", line=element.line)
        self.energies = reader.energies(element.text, element.line)


def _row(text: bytes) -> list[float]:
    values = [number(word) for word in text.split()]
    return values if len(values) == 3 else [math.nan] * 3


def _symbol(word: bytes) -> str:
    # some versions of VASP write 'r' for Zr and 'X' for Xe
    text = word.decode("latin-1").strip()
    return {"r": "Zr", "X": "Xe"}.get(text, text)


def _counts(counts: Mapping[str, Any]) -> str:
    return " ".join(f"{symbol}{count}" for symbol, count in counts.items())[:60]
