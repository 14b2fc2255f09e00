"""Lines of a ``.castep`` file: a run that is still going, was killed, or is one of several in the file.

The package castep-outputs reads far more of these files, but only whole ones: a truncated file gives nothing (no
geometry to continue from), and its errors name no line. It serves the tests as the second opinion.

CASTEP prints most things twice: an energy in the table of cycles and below it, a lattice and its reciprocal, a largest
force and all forces, a stress and its pressure, the last geometry and the final one. A file in which they differ was
damaged: :class:`CastepLines` raises :class:`DamagedLineError`.
"""

from anodeflow.analysis.program_output.castep.reader import CastepLines
from anodeflow.analysis.program_output.castep.runs import Evaluation, Iteration, Run, Vectors
from anodeflow.analysis.program_output.lines import DamagedLineError

__all__ = ["CastepLines", "DamagedLineError", "Evaluation", "Iteration", "Run", "Vectors"]
