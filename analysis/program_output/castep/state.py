"""What is known of a ``.castep`` file while its lines are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from anodeflow.analysis.program_output.castep.runs import Evaluation, Run, Vectors
from anodeflow.analysis.program_output.lines import Array, Numbered

Row = Callable[["State", bytes], None]

_REAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?")
_NO_FINITE = re.compile(rb"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


class State(Numbered):
    """What is known of the file.

    Attributes
    ----------
    line
        Number of lines taken.
    runs
        All runs of the file, the last one being read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.begin()

    @property
    def run(self) -> Run:
        """Return the run that is being read."""
        return self.runs[-1]

    def begin(self, version: str | None = None) -> None:
        """Forget what was read of the run before; with a version, begin a new one."""
        if version is not None:
            self.runs.append(Run(self.line, version))
        # a block: what it is, who takes its rows, and the rows so far
        self.block = ""
        self.row: Row | None = None
        self.rows: list[bytes] = []
        # the parameters at the start
        self.section: str | None = None
        self.seen_sections: set[str] = set()
        self.reading_potentials = False
        # the geometry, and which parts of it were printed for the present trial, and for the first one
        self.matrix: Array | None = None
        self.fractional: Vectors = {}
        self.parts: set[str] | None = None
        self.usual_parts: set[str] | None = None
        self.in_final = False
        # the electrons: last cycle, its energy and what that is good to, and the ground state that must agree with it
        self.cutoff: float | None = None
        self.cycle: int | None = None
        self.cycle_ev: tuple[float, float] | None = None
        self.disputed: Evaluation | None = None
        self.scf_failed = False
        # ground states since the last accepted step
        self.pending: list[Evaluation] = []

    def open_block(self, name: str, row: Row) -> None:
        """Give the following lines to a function, until it closes the block."""
        self.block, self.row, self.rows = name, row, []

    def close_block(self) -> list[bytes]:
        """Return the rows of the block."""
        self.block, self.row = "", None
        return self.rows

    def number(self, word: bytes, quantity: str) -> float:
        """Return a word as a finite number.

        Raises
        ------
        DamagedLineError
            If it is none.
        """
        shown = word.decode("utf-8", errors="replace")[:60]
        if _REAL.fullmatch(word) is None:
            if _NO_FINITE.fullmatch(word):
                raise self.wrong(f"{quantity} is {shown}")
            raise self.wrong(f"{quantity} is '{shown}', no number")
        value = float(word.replace(b"D", b"e").replace(b"d", b"e"))
        if not math.isfinite(value):
            raise self.wrong(f"{quantity} is {shown}")
        return value

    def electron_volts(self, text: bytes, quantity: str) -> float:
        """Return an energy with its unit, eV.

        Raises
        ------
        DamagedLineError
            If it is none, or in another unit.
        """
        text = text.strip()
        if not text.endswith(b"eV"):
            shown = text.decode("utf-8", errors="replace")[:60]
            raise self.wrong(f"{quantity} is '{shown}', which is not in eV")
        return self.number(text.removesuffix(b"eV").strip(), quantity)

    def triple(self, words: Sequence[bytes], quantity: str) -> list[float]:
        """Return three words as numbers.

        Raises
        ------
        DamagedLineError
            If there are more or fewer, or one is not a number.
        """
        if len(words) != 3:
            raise self.wrong(f"{quantity} has {len(words)} numbers in place of 3")
        return [self.number(word, quantity) for word in words]

    def latest(self, kind: str) -> Evaluation:
        """Return the newest ground state.

        Raises
        ------
        DamagedLineError
            If there is none.
        """
        if not self.run.evaluations:
            raise self.wrong(f"a {kind} energy before any energy")
        return self.run.evaluations[-1]
