"""The errors a user can meet: one root, a handful of children, one line each."""

from __future__ import annotations

import errno
import re
from typing import Self


class AnodeflowError(Exception):
    """Root of every error that anodeflow raises on purpose.

    Parameters
    ----------
    problem
        What is wrong, with the value that is wrong and the file it stands in.
    remedy
        What to do about it.

    Attributes
    ----------
    exit_code : int
        The exit status the command line ends with.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = " ".join(str(problem).split())
        self.remedy = " ".join(str(remedy).split())
        super().__init__(f"{self.problem}; {self.remedy}" if self.remedy else self.problem)

    def about(self, subject: str) -> Self:
        """Return the same error with what it is about in front."""
        return type(self)(f"{subject}: {self.problem}", self.remedy)

    def __reduce__(self) -> tuple:
        return (type(self), (self.problem, self.remedy))


class InputError(AnodeflowError):
    """Something the user wrote (a study, a card, a structure file, an option) cannot be used."""

    exit_code = 2


class StructureError(InputError):
    """A structure breaks a rule of physics or of the catalogue (distances, symmetry, charge, sites)."""


class EngineError(AnodeflowError):
    """An engine is missing, refuses the card, or failed while computing."""

    exit_code = 3


class ConvergenceError(AnodeflowError):
    """A calculation did not converge, so no number may be made of it."""

    exit_code = 4


class ReferenceMismatchError(AnodeflowError):
    """Energies with different charges, references or settings were to be combined."""

    exit_code = 5


class StoreError(AnodeflowError):
    """The results store cannot be read or written."""

    exit_code = 6


class RefusedError(StoreError):
    """The database refuses the user or a document: it will not help to try again."""


# What torch, CUDA, numpy and C++ libraries say, each in its own class.
_NO_MEMORY = re.compile(
    r"out of memory|(can.?t|cannot|unable to|failed to) allocate|not enough memory|bad_alloc", re.IGNORECASE
)


def out_of_memory(error: BaseException) -> EngineError | None:
    """Return what to tell of an error that means that the memory was not enough; None of any other."""
    full = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not full and not (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return None
    reason = " ".join(str(error).split())[:200]
    return EngineError(
        f"the memory of this machine is not enough{f' ({reason})' if reason else ''}",
        "use fewer workers (--workers 1), a smaller cell, or a machine or device with more memory",
    )
