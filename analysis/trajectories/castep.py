"""CASTEP's .md and .geom: everything in atomic units, a tag at the end of every line.

The first number of the line of energies is the potential energy (in .geom the total energy), the third of .md the
kinetic energy. A frame ends with a blank line.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    Symbols,
    Trajectory,
    TruncatedFileError,
    checked_cell,
)
from anodeflow.analysis.trajectories.order import Order
from anodeflow.analysis.trajectories.text import MAX_ATOMS, Source, numbers, real
from anodeflow.units import ATOMIC_TIME_FS, BOHR_ANGSTROM, HARTREE_EV, HARTREE_KELVIN

_MAX_HEADER_LINES = 10_000
# tag: (columns in angstrom and eV per atomic unit)
_FACTORS = {
    b"R": BOHR_ANGSTROM,
    b"V": BOHR_ANGSTROM / ATOMIC_TIME_FS,
    b"F": HARTREE_EV / BOHR_ANGSTROM,
}


class CastepTrajectory(Trajectory):
    """Positions, cells, energies and forces; of .md also velocities, temperatures and times."""

    format = "CASTEP"

    def _frames(self) -> Iterator[Frame]:
        with Source(self.path) as source:
            _skip_header(source)
            species: Symbols | None = None
            symbols: list[bytes] = []
            tags: set[bytes] | None = None
            index, order = 0, Order(self.path, "time")
            while True:
                lines, first, ended = _frame_lines(source)
                if not lines:
                    return
                blocks, head = _blocks(lines)
                rows = blocks.get(b"R", [])
                complete = ended or (tags is not None and set(blocks) == tags and _counts_agree(blocks))
                if not complete:
                    raise TruncatedFileError(source.line, f"the file ends within the frame of line {first}")
                if not rows or len(blocks.get(b"h", [])) != 3 or not _counts_agree(blocks):
                    counts = {tag.decode("latin-1"): len(block) for tag, block in blocks.items()}
                    raise source.error(f"the frame has lines {counts}; three of h and as many of R, V and F expected")
                source.plausible(len(rows))
                now = [line.split(maxsplit=1)[0] for _, line in rows]
                if species is None or now != symbols:
                    symbols = now
                    species = np.array([symbol.decode("latin-1").split(":")[0] for symbol in now])
                tags = set(blocks)
                frame = self._frame(source, blocks, head, first, species)
                frame.index = index
                order.check(index, frame.time_fs)
                yield frame
                index += 1

    def _frame(
        self,
        source: Source,
        blocks: dict[bytes, list[tuple[int, bytes]]],
        head: bytes | None,
        first: int,
        species: Symbols,
    ) -> Frame:
        def table(tag: bytes, columns: tuple[int, ...], quantity: str) -> Array | None:
            rows = blocks.get(tag)
            if not rows:
                return None
            text = b"".join(line for _, line in rows)
            return numbers(text, len(rows), columns, self.path, rows[0][0], quantity)

        def words(tag: bytes, expected: int) -> list[float]:
            rows = blocks.get(tag)
            if not rows:
                return []
            words = rows[0][1].rpartition(b"<--")[0].split()[:expected]
            source_line, source.line = source.line, rows[0][0]
            values = [real(word, source, f"'{tag.decode()}'") for word in words]
            source.line = source_line
            return values

        cell = table(b"h", (0, 1, 2), "a cell vector")
        arrays = {
            tag: None if (values := table(tag, (2, 3, 4), f"'{tag.decode()}' of atom")) is None else values * factor
            for tag, factor in _FACTORS.items()
        }
        assert cell is not None  # noqa: S101 - three lines of h were counted
        assert arrays[b"R"] is not None  # noqa: S101
        energies = words(b"E", 3)
        temperature = words(b"T", 1)
        dynamics = b"V" in blocks
        frame = Frame(
            0,
            species,
            arrays[b"R"],
            checked_cell(cell * BOHR_ANGSTROM, self.path, blocks[b"h"][0][0]),
            energy_ev=energies[0] * HARTREE_EV if energies else None,
            kinetic_energy_ev=energies[2] * HARTREE_EV if dynamics and len(energies) == 3 else None,
            forces=arrays[b"F"],
            velocities=arrays[b"V"],
            temperature_k=temperature[0] * HARTREE_KELVIN if temperature else None,
            source=str(self.path),
        )
        if b"c" in blocks:
            frame.step = int(words(b"c", 1)[0])
        elif head is not None:
            frame.time_fs = real(head.strip(), source, f"the time in line {first}") * ATOMIC_TIME_FS
        return frame


def _skip_header(source: Source) -> None:
    for number in range(_MAX_HEADER_LINES):
        line = source.readline()
        if not line:
            raise TruncatedFileError(source.line, "the file ends in its header")
        if number == 0 and b"BEGIN header" not in line:
            raise source.error("'BEGIN header' expected", "this is no .md or .geom of CASTEP")
        if b"END header" in line:
            return
    raise source.error("a header without an end", "this is no .md or .geom of CASTEP")


def _frame_lines(source: Source) -> tuple[list[tuple[int, bytes]], int, bool]:
    """Return the numbered lines up to the next blank one, the number of the first, and whether the blank one came."""
    lines: list[tuple[int, bytes]] = []
    while line := source.readline():
        if line.strip():
            lines.append((source.line, line))
            if len(lines) > 4 * MAX_ATOMS:
                raise source.error("a frame without an end", "check the file")
        elif lines:
            return lines, lines[0][0], True
    return lines, lines[0][0] if lines else source.line, False


def _blocks(lines: list[tuple[int, bytes]]) -> tuple[dict[bytes, list[tuple[int, bytes]]], bytes | None]:
    blocks: dict[bytes, list[tuple[int, bytes]]] = {}
    head = None
    for number, line in lines:
        _, arrow, tag = line.rpartition(b"<--")
        if arrow:
            blocks.setdefault(tag.strip(), []).append((number, line))
        elif head is None:
            head = line
    return blocks, head


def _counts_agree(blocks: dict[bytes, list[tuple[int, bytes]]]) -> bool:
    return len({len(blocks[tag]) for tag in (b"R", b"V", b"F") if tag in blocks}) == 1
