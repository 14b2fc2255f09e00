"""Lines and tables of numbers out of text files, compressed or not, with line numbers.

A frame of 256 atoms in XDATCAR's layout, CPU time on one thread: `numpy.loadtxt` 87 us,
`numpy.array(text.split(), float)` 150 us, `numpy.fromstring` 200 us, digits of the fixed layout taken as arrays
80 us. So `numpy.loadtxt` reads the tables; it also counts columns.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from anodeflow.analysis.trajectories.frames import Array, TruncatedFileError, place
from anodeflow.errors import InputError

_MAX_LINE = 1 << 20
MAX_ATOMS = 10_000_000
_MAX_WHOLE = 10**15
# A table in which fewer than one line in so many is written otherwise was damaged there.
FEW = 8
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


class _Unpacked(io.RawIOBase):
    """Unpacked bytes; where the packed ones end too early or are damaged, an end that can be asked about."""

    def __init__(self, packed: Any) -> None:
        self._packed = packed
        self.cut = False
        self.damage = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.cut or self.damage:
            return 0
        try:
            # read1 gives what there is; read would lose it where the end is missing
            data = self._packed.read1(len(buffer))
        except EOFError:
            self.cut = True
            return 0
        except (OSError, zlib.error, lzma.LZMAError) as error:
            self.damage = str(error)
            return 0
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._packed.close()
        super().close()


def packing(path: Path) -> str | None:
    """Return how a file is compressed, by its first bytes: gzip, bzip2, xz or None."""
    with path.open("rb") as file:
        start = file.read(6)
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


class Source:
    """A text file read forward once, unpacked on the way.

    Attributes
    ----------
    line : int
        Number of the line read last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        kind = packing(path)
        self._raw: _Unpacked | None = None
        if kind is None:
            self.size: int | None = path.stat().st_size
            self.file: Any = path.open("rb", buffering=1 << 18)
        else:
            self.size = None
            opener: Any = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}[kind]
            self._raw = _Unpacked(opener(path, "rb"))
            self.file = io.BufferedReader(self._raw, 1 << 18)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def error(self, problem: str, remedy: str = "check the file", line: int | None = None) -> InputError:
        """Return an error that names this file and the line read last.

        Parameters
        ----------
        problem
            What is wrong.
        remedy
            What to do.
        line
            If not the line read last.

        Returns
        -------
        InputError
            To be raised.
        """
        return InputError(f"{place(self.path, line or self.line or None)}: {problem}", remedy)

    def check_end(self) -> None:
        """Refuse bytes that end where the file does not."""
        if self._raw is not None and self._raw.damage:
            raise self.error(f"the compressed file is damaged ({self._raw.damage})", "copy it again")
        if self._raw is not None and self._raw.cut:
            raise TruncatedFileError(self.line, "the compressed file is cut short")

    def read(self, size: int) -> bytes:
        """Read bytes, for readers that count lines themselves."""
        result: bytes = self.file.read(size)
        return result

    def readline(self) -> bytes:
        """Return the next line with its end; empty at the end of the file.

        Raises
        ------
        TruncatedFileError
            If the file ends within the line: a number in it may have lost digits.
        InputError
            If the line has no end in sight.
        """
        line = self.file.readline(_MAX_LINE)
        if line.endswith(b"\n"):
            self.line += 1
            result: bytes = line
            return result
        if len(line) >= _MAX_LINE:
            raise self.error(f"a line of over {_MAX_LINE} characters follows", "this is not a text file of that kind")
        self.check_end()
        if line.strip():
            self.line += 1
            raise TruncatedFileError(self.line, "the last line has no end")
        return b""

    def block(self, count: int, quantity: str) -> bytes:
        """Return the next `count` lines.

        Raises
        ------
        TruncatedFileError
            If there are fewer. What is there is not checked.
        """
        start = self.line
        lines = list(islice(iter(lambda: self.file.readline(_MAX_LINE), b""), count))
        self.line += len(lines)
        if lines and not lines[-1].endswith(b"\n"):
            if len(lines[-1]) >= _MAX_LINE:
                raise self.error("a line without an end", "this is not a text file of that kind")
            self.check_end()
            raise TruncatedFileError(self.line, f"the file ends in {quantity} {len(lines)} of {count}")
        if len(lines) < count:
            self.check_end()
            raise _ShortBlockError(self.line, f"the file ends after {quantity} {len(lines)} of {count}", lines, start)
        return b"".join(lines)

    def table(self, count: int, columns: Sequence[int], quantity: str) -> tuple[Array, bytes]:
        """Return the next `count` lines as numbers; the (count, len(columns)) numbers and the text.

        Parameters
        ----------
        count
            Lines.
        columns
            Places of the numbers in a line.
        quantity
            What they are, for messages.

        Returns
        -------
        tuple
            The numbers, shape (count, len(columns)), and the text.

        Raises
        ------
        InputError
            If something in there is no number or a line has another number of columns.
        TruncatedFileError
            If the file ends before.
        """
        start = self.line
        try:
            text = self.block(count, quantity)
        except _ShortBlockError as short:
            # an end within the table is an early end only if what stands there belongs to a table
            if short.lines:
                numbers(b"".join(short.lines), len(short.lines), columns, self.path, start + 1, quantity)
            raise
        return numbers(text, count, columns, self.path, start + 1, quantity), text

    def plausible(self, atoms: int, bytes_per_atom: int = 6) -> int:
        """Check that this file can hold a number of atoms, and return it; no memory is taken before.

        Raises
        ------
        InputError
            If it is not positive, or over ten million.
        TruncatedFileError
            If the file is too short for one frame.
        """
        if not 0 < atoms <= MAX_ATOMS:
            raise self.error(f"{atoms} atoms are announced", f"from 1 to {MAX_ATOMS} can be read")
        if self.size is not None and atoms * bytes_per_atom > self.size:
            raise TruncatedFileError(
                self.line, f"{atoms} atoms are announced, more than the {self.size} bytes of the file can hold"
            )
        return atoms


class _ShortBlockError(TruncatedFileError):
    """A block of lines that the file does not hold to its end."""

    def __init__(self, line: int, problem: str, lines: list[bytes], start: int) -> None:
        super().__init__(line, problem)
        self.lines, self.start = lines, start


def numbers(text: bytes, count: int, columns: Sequence[int], path: Path, first_line: int, quantity: str) -> Array:
    """Return a table of numbers out of `count` lines of text.

    Parameters
    ----------
    text
        The lines, each with its end.
    count
        How many there are.
    columns
        Which columns, from 0.
    path, first_line, quantity
        For messages.

    Returns
    -------
    (count, len(columns)) array

    Raises
    ------
    InputError
        If a line has too few columns or another number of them than the first, or something is not a number.
    """
    lines = text.splitlines()
    width = len(lines[0].split())
    everything = list(columns) == list(range(width))
    values = None
    # loadtxt compares the lengths of lines only where it reads all of them
    if everything or len(text.split()) == width * count:
        with suppress(ValueError, IndexError):
            values = np.loadtxt(
                lines, usecols=None if everything else columns, comments=None, ndmin=2, encoding="latin-1"
            )
    if values is None or values.shape != (count, len(columns)) or not np.isfinite(values).all():
        raise _fault(lines, columns, path, first_line, quantity)
    return values


def _fault(lines: list[bytes], columns: Sequence[int], path: Path, first_line: int, quantity: str) -> InputError:
    width = len(lines[0].split())
    for number, line in enumerate(lines, start=first_line):
        words = line.split()
        shown = line.decode("latin-1").strip()[:60]
        at = place(path, number)
        if len(words) != width or len(words) <= max(columns):
            needed = max(width, max(columns) + 1)
            return InputError(
                f"{at}: {len(words)} columns where {quantity} should have {needed}: '{shown}'", "check it"
            )
        for column in columns:
            try:
                fine = np.isfinite(float(words[column]))
            except ValueError:
                fine = False
            if not fine:
                word = words[column].decode("latin-1")[:30]
                return InputError(
                    f"{at}: '{word}' is not a finite number ({quantity}: '{shown}')", "the run went wrong there"
                )
    return InputError(f"{place(path, first_line)}: {quantity} cannot be read", "check the file")


def real(word: bytes, source: Source, quantity: str) -> float:
    """Return one finite number.

    Parameters
    ----------
    word
        The number as it stands in the file.
    source
        The file.
    quantity
        What it is, for the message.

    Returns
    -------
    float
        Finite.

    Raises
    ------
    InputError
        If it is none.
    """
    value = number(word)
    if not math.isfinite(value):
        raise source.error(f"{quantity} is '{word.decode('latin-1')[:30]}', no finite number")
    return value


def number(word: bytes) -> float:
    """Return a number as programs write it; NaN for anything else, such as stars or the underscores of Python."""
    try:
        value = math.nan if b"_" in word else float(word)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def whole_number(word: bytes, source: Source, quantity: str, most: int = _MAX_WHOLE) -> int:
    """Return a count or the number of a step.

    Parameters
    ----------
    word
        The digits.
    source, quantity
        For messages.
    most
        The largest that makes sense.

    Returns
    -------
    int
        Not negative.

    Raises
    ------
    InputError
        If it is not a whole number from 0 to `most`.
    """
    digits = word.strip().lstrip(b"0") or word.strip()[:1]
    if not digits.isdigit() or len(digits) > len(str(most)) or int(digits) > most:
        shown = word.decode("latin-1").strip()[:30]
        raise source.error(f"{quantity} is '{shown}', not a whole number from 0 to {most}")
    return int(digits)


def is_element(symbol: str) -> bool:
    """Return whether this is the symbol of an element."""
    return symbol in atomic_numbers and symbol != "X"


def uneven(lines: Sequence[bytes]) -> int:
    """Return how many lines of a table have numbers with other decimals than most, as where a digit was lost.

    Tables of programs have lines of one width; only those of another width are looked at.
    """
    if len(set(map(len, lines))) == 1:
        return 0
    usual = Counter(map(len, lines)).most_common(1)[0][0]
    kind = next(_decimals(line) for line in lines if len(line) == usual)
    if len(kind) > 1:
        return len(lines)
    return sum(1 for line in lines if len(line) != usual and _decimals(line) != kind)


def _decimals(line: bytes) -> set[int]:
    return {len(word.partition(b".")[2]) for word in line.split() if b"." in word}


class Digits:
    """Whether the tables of one file are written with the same digits everywhere; one that is not lost some."""

    def __init__(self) -> None:
        self._regular: bool | None = None

    def odd(self, lines: Sequence[bytes]) -> bool:
        """Return whether a table has numbers with other digits than itself or those before."""
        number = uneven(lines)
        if 0 < number <= max(1, len(lines) // FEW):
            return True
        before, self._regular = self._regular, number == 0
        return before is not None and before != self._regular and len(lines) < 2 * FEW
