"""VASP's XDATCAR: constant cell, or a header before every configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    Symbols,
    Trajectory,
    TruncatedFileError,
    checked_cell,
)
from anodeflow.analysis.trajectories.text import Digits, Source, is_element, real, whole_number

_CONFIGURATION = re.compile(rb"\s*(Direct|Cartesian)\s+configuration\s*=\s*(\d+|\*+)", re.IGNORECASE)
_EXPONENT = re.compile(rb"\d[eE]")
_OLD = "VASP 4 wrote no element symbols into XDATCAR; add a line with them above the counts, as VASP 5 does"


class XdatcarTrajectory(Trajectory):
    """Positions and cells; the step is the number of the configuration."""

    format = "XDATCAR"

    def _frames(self) -> Iterator[Frame]:
        with Source(self.path) as source:
            line = source.readline()
            if not line:
                return
            name, cell, species = _header(source, line)
            self.metadata.setdefault("title", name)
            stated = _Told()
            index = 0
            while True:
                line = source.readline()
                if not line:
                    return
                match = _CONFIGURATION.match(line)
                if match is None:
                    if index == 0 and not line.strip():
                        raise source.error("a blank line instead of 'Direct configuration='", _OLD)
                    if not line.strip() and _only_blank_lines_follow(source):
                        return
                    cell = _next_header(source, line, species)
                    line = source.readline()
                    match = _CONFIGURATION.match(line)
                    if not line:
                        raise TruncatedFileError(source.line, "the file ends after a header")
                    if match is None:
                        raise source.error(f"'Direct configuration=' expected, found '{_shown(line)}'")
                if match.group(1).lower() != b"direct":
                    raise source.error("Cartesian configurations are not what VASP writes", "convert the file")
                stars = not match.group(2).isdigit()
                step = None if stars else whole_number(match.group(2), source, "the number of the configuration")
                fractional, text = source.table(len(species), (0, 1, 2), "coordinates of atom")
                problems = stated.problems(step, text)
                yield Frame(
                    index, species, fractional @ cell, cell, step=step, source=str(self.path), problems=problems
                )
                index += 1


class _Told:
    """What the configurations so far tell of the next: their numbers and digits are even."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._stride: int | None = None
        self._digits = Digits()

    def problems(self, step: int | None, text: bytes) -> tuple[str, ...]:
        """Return what of a configuration does not fit to those before."""
        problems = []
        if self._digits.odd(text.splitlines()) or ((b"e" in text or b"E" in text) and _EXPONENT.search(text)):
            problems.append("some numbers have other digits than the rest")
        stride = None if step is None or self._before is None else step - self._before
        if stride is not None and self._stride is not None and stride != self._stride:
            problems.append(f"the number of the configuration is not {self._stride} above that of the one before")
        self._stride = stride if self._stride is None else self._stride
        self._before = step
        return tuple(problems)


def _next_header(source: Source, first: bytes, species: Symbols) -> Array:
    """Return the cell of a header that stands before a later configuration; its atoms must be the same."""
    where = source.line
    _, cell, again = _header(source, first)
    if len(again) != len(species) or (again != species).any():
        raise source.error(
            f"a header with other atoms ({len(again)}) than the first ({len(species)})",
            "split the file: a trajectory keeps its atoms",
            line=where,
        )
    return cell


def _shown(line: bytes) -> str:
    return line.decode("latin-1").strip()[:60]


def _only_blank_lines_follow(source: Source) -> bool:
    while line := source.readline():
        if line.strip():
            raise source.error("a blank line between configurations", "check the file", line=source.line - 1)
    return True


def _line(source: Source) -> bytes:
    line = source.readline()
    if not line:
        raise TruncatedFileError(source.line, "the file ends in a header")
    return line


def _vector(source: Source, quantity: str) -> list[float]:
    words = _line(source).split()
    if len(words) != 3:
        raise source.error(
            f"three numbers expected for {quantity}, found '{_shown(b' '.join(words))}'",
            "check that there are as many coordinates as atoms",
        )
    return [real(word, source, quantity) for word in words]


def _header(source: Source, first: bytes) -> tuple[str, Array, Symbols]:
    """Return title, cell in angstrom, symbols."""
    words = _line(source).split()
    if len(words) != 1:
        old = "Konfig" in _shown(first) or len(first.split()) == 3
        raise source.error(
            f"the scale of the cell expected, one number, found '{_shown(b' '.join(words))}'",
            _OLD if old and source.line <= 2 else "check that there are as many coordinates as atoms",
        )
    scale = real(words[0], source, "the scale of the cell")
    vectors: Any = [_vector(source, "a cell vector") for _ in range(3)]
    cell = np.array(vectors)
    volume = abs(float(np.linalg.det(cell)))
    if scale < 0 and volume > 0:
        scale = (-scale / volume) ** (1 / 3)
    cell = checked_cell(scale * cell, source.path, source.line)
    symbols = [word.decode("latin-1").split("/")[0].split("_")[0] for word in _line(source).split()]
    if symbols and all(word.isdigit() for word in symbols):
        raise source.error(f"counts of atoms ('{' '.join(symbols)[:40]}') without element symbols above", _OLD)
    if not symbols or not all(map(is_element, symbols)):
        raise source.error(f"element symbols expected, found '{' '.join(symbols)[:60]}'", _OLD)
    counts = _line(source).split()
    if len(counts) != len(symbols) or not all(count.isdigit() for count in counts):
        raise source.error(
            f"{len(symbols)} counts of atoms expected, found '{_shown(b' '.join(counts))}'",
        )
    numbers = [whole_number(count, source, "a count of atoms") for count in counts]
    source.plausible(sum(numbers))
    species = np.repeat(np.array(symbols), numbers)
    return _shown(first), cell, species
