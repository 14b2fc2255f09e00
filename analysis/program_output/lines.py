"""What readers of lines have in common: blocks of rows, numbers, and a line that cannot be true."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a Fortran program: digits around a point, an exponent with E or D.
NUMBER = rb"([+-]?\d+\.\d*(?:[EeDd][+-]?\d+)?)"
# Longer words are shortened in messages.
_SHOWN = 80


class DamagedLineError(Exception):
    """A line says what cannot be: no number where one belongs, or a number that other lines contradict.

    Attributes
    ----------
    line
        Its number, from 1.
    problem
        What is wrong.
    """

    def __init__(self, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"line {line}: {problem}")


class Numbered:
    """A reader that knows the number of its line, and says it where the line is damaged."""

    def __init__(self) -> None:
        self.line = 0

    def match(self, pattern: re.Pattern[bytes], line: bytes) -> list[float]:
        """Return the numbers that a pattern finds in a line.

        Raises
        ------
        DamagedLineError
            If the line is another one, or a number is not finite.
        """
        match = pattern.fullmatch(line.rstrip())
        if match is None:
            raise self.broken(line, "a number")
        return self.numbers(line, match.groups())

    def numbers(self, line: bytes, words: Sequence[bytes]) -> list[float]:
        """Return words as numbers.

        Raises
        ------
        DamagedLineError
            If one is not finite.
        """
        values = [float(word.replace(b"D", b"e").replace(b"d", b"e")) for word in words]
        if not all(map(math.isfinite, values)):
            raise self.broken(line, "a finite number")
        return values

    def integer(self, pattern: re.Pattern[bytes], line: bytes, expected: str) -> int:
        """Return the integer that a pattern finds in a line; the pattern limits its digits.

        Raises
        ------
        DamagedLineError
            If the line is another one.
        """
        match = pattern.fullmatch(line.rstrip())
        if match is None:
            raise self.broken(line, expected)
        return int(match[1])

    def broken(self, line: bytes, wanted: str) -> DamagedLineError:
        """Return the error of a line that does not hold what it should."""
        shown = " ".join(line.decode("utf-8", errors="replace").split())[:_SHOWN]
        return self.wrong(f"'{shown}' does not hold {wanted}")

    def wrong(self, problem: str) -> DamagedLineError:
        """Return an error of the present line."""
        return DamagedLineError(self.line, problem)
