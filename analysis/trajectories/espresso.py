"""Output of pw.x: static calculations, relaxations and dynamics.

A frame is a geometry with the energy and forces that pw.x printed for it; they follow the geometry. It counts once
what comes after shows that nothing of it is missing. Geometries without energy (the one after the last step, the
repeated final coordinates) are not frames; nor is the repeated self-consistent calculation at the end of vc-relax,
which has another basis. What the lines mean is in :mod:`anodeflow.analysis.program_output.espresso`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from anodeflow.analysis.program_output.espresso import DamagedLineError, Event, PwLines
from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    Symbols,
    Trajectory,
    TruncatedFileError,
    UnconvergedWarning,
    checked_cell,
    place,
)
from anodeflow.analysis.trajectories.text import Source
from anodeflow.errors import InputError
from anodeflow.units import BOHR_ANGSTROM, RYDBERG_EV, RYDBERG_TIME_FS


class EspressoTrajectory(Trajectory):
    """Positions, cells, energies and forces; of dynamics also temperatures, steps and times."""

    format = "pw.x output"

    def _frames(self) -> Iterator[Frame]:
        run = _Run(self)
        with Source(self.path) as source:
            while line := source.readline():
                event = run.feed(line)
                if event == "atoms":
                    source.plausible(run.lines.atoms or 0)
                elif event == "program" and run.index:
                    raise source.error("a second run in the same file", "split the file")
                elif event is not None and not run.lines.final_scf and run.is_over(event):
                    yield from run.frames()
            if run.lines.end != "done":
                raise TruncatedFileError(source.line, run.why_open())
        run.say_what_is_left()


class _Run:
    """What is known of the run while reading."""

    def __init__(self, trajectory: EspressoTrajectory) -> None:
        self.path = trajectory.path
        self.lines = PwLines()
        self.index = 0
        self._unplaced = 0
        self._species: Symbols | None = None
        self._cell: Array | None = None
        self._positions: Array | None = None
        self._coming: Array | None = None
        self._coming_cell: Array | None = None

    def feed(self, line: bytes) -> Event | None:
        """Take one line, and the geometry that it completes."""
        try:
            event = self.lines.feed(line)
        except DamagedLineError as error:
            raise InputError(f"{place(self.path, error.line)}: {error.problem}", "check the file") from None
        if event == "sites":
            self._positions = self._lengths("alat", self.lines.sites)
            self._cell = self._first_cell()
        elif event == "positions":
            self._take_step()
        return event

    def is_over(self, event: Event) -> bool:
        """Return whether nothing more can come for the geometry: all of it has been printed."""
        if event == "positions":
            # of md, not of vc-md, the kinetic energy of the old geometry comes after the new one
            return self.lines.steps is None or self.lines.now.temperature_k is not None
        return event in ("part", "done") or (event == "written" and self._coming is not None)

    def frames(self) -> Iterator[Frame]:
        """Yield the geometry, if anything was computed for it, and go to the next one."""
        now = self.lines.now
        if now.energy is not None or now.forces is not None:
            if self._positions is None or self._cell is None:
                self._unplaced += 1
            else:
                yield self._frame(self._positions, self._cell)
                self.index += 1
        self._positions = self._positions if self._coming is None else self._coming
        self._cell = self._cell if self._coming_cell is None else self._coming_cell
        self._coming = self._coming_cell = None
        self.lines.next_geometry()

    def why_open(self) -> str:
        """Say why the run has no end."""
        lines = self.lines
        if lines.error_message is not None:
            return f"pw.x stopped: {lines.error_message}"
        if lines.block:
            return f"the file ends in the {lines.block}"
        return "'JOB DONE' is missing: the run has not ended"

    def say_what_is_left(self) -> None:
        """Warn of what the frames do not show, or refuse a run that has none for a reason.

        Raises
        ------
        InputError
            If the electrons of the only geometry did not converge, or its atoms are nowhere listed.
        """
        failed, doubt = self.lines.scf_failed_line, self.lines.unsettled()
        if failed is not None:
            text = f"{place(self.path, failed)}: the electrons did not converge, so that geometry is not a frame"
            if not self.index:
                raise InputError(text, "give them more iterations, or another mixing")
            warnings.warn(UnconvergedWarning(text), stacklevel=4)
        if self._unplaced:
            text = f"{self.path}: pw.x did not list the atoms at the start"
            if not self.index:
                raise InputError(f"{text}, so nothing is known of where they are", "give its XML file to another tool")
            warnings.warn(f"{text}: the first geometry is left out", stacklevel=4)
        if doubt is not None:
            warnings.warn(f"{self.path}, {doubt}", stacklevel=4)

    def _take_step(self) -> None:
        coming = self.lines.coming
        if coming is None:
            return
        if self._cell is None:
            self._cell = self._first_cell()
        if coming.cell is not None and coming.cell_unit is not None:
            cell = self._lengths(coming.cell_unit, coming.cell)
            self._coming_cell = None if cell is None else checked_cell(cell, self.path, self.lines.line)
        cell = self._cell if self._coming_cell is None else self._coming_cell
        if coming.unit == "crystal":
            self._coming = None if cell is None else coming.positions @ cell
        else:
            self._coming = self._lengths(coming.unit, coming.positions)

    def _first_cell(self) -> Array | None:
        cell = self._lengths("alat", self.lines.axes)
        return None if cell is None else checked_cell(cell, self.path, self.lines.line)

    def _lengths(self, unit: str, values: Array | None) -> Array | None:
        """Return lengths in angstrom."""
        alat = self.lines.alat_bohr
        if values is None or (unit == "alat" and alat is None):
            return None
        return values * {"angstrom": 1.0, "bohr": BOHR_ANGSTROM, "alat": (alat or 0.0) * BOHR_ANGSTROM}[unit]

    def _frame(self, positions: Array, cell: Array) -> Frame:
        lines, now = self.lines, self.lines.now
        if self._species is None:
            self._species = np.array(lines.symbols)
        step = None if now.iteration is None else now.iteration - 1
        time_fs = None
        if now.time_ps is not None:
            time_fs = now.time_ps * 1e3
        elif step is not None and lines.timestep is not None:
            # the time that pw.x prints is that of the new geometry
            time_fs = step * (lines.timestep * RYDBERG_TIME_FS)
        return Frame(
            self.index,
            self._species,
            positions,
            cell,
            energy_ev=None if now.energy is None else now.energy * RYDBERG_EV,
            kinetic_energy_ev=None if now.kinetic is None else now.kinetic * RYDBERG_EV,
            forces=None if now.forces is None else now.forces * (RYDBERG_EV / BOHR_ANGSTROM),
            temperature_k=now.temperature_k,
            step=step,
            time_fs=time_fs,
            electronic_converged=now.converged,
            source=str(self.path),
        )
