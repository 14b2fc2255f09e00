"""Lines of pw.x: what it printed of each geometry, in its own units, and whether that agrees with itself.

pw.x prints most things twice: an energy and its terms, forces and their length, a stress in two units, a cell and its
volume, the last geometry and the final one. A file in which they differ was damaged, and nothing in it can be trusted:
:class:`PwLines` raises :class:`DamagedLineError`. Only complete lines and complete blocks count, so that a file cut off
anywhere gives fewer geometries, never a wrong number.
"""

from anodeflow.analysis.program_output.espresso.reader import PwLines
from anodeflow.analysis.program_output.espresso.state import End, Event, Geometry, Printed
from anodeflow.analysis.program_output.lines import DamagedLineError

__all__ = ["DamagedLineError", "End", "Event", "Geometry", "Printed", "PwLines"]
