"""ASE's .traj, through ASE's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Frame,
    RandomAccessTrajectory,
    Symbols,
    TruncatedFileError,
    checked_cell,
)
from anodeflow.errors import InputError


class AseTrajectory(RandomAccessTrajectory):
    """Positions, cells, energies, forces and velocities; all in the file, any frame at once."""

    format = "ASE trajectory"

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        from ase.io.trajectory import TrajectoryReader

        try:
            self._reader: Any = TrajectoryReader(path)
            self.metadata.update(self._reader.description or {})
        except Exception as error:
            raise InputError(
                f"{path}: ASE cannot read it ({type(error).__name__}: {error})", "it may be cut short or damaged"
            ) from None
        self._number = len(self._reader)
        self._numbers: Any = None
        self._last_symbols: Symbols = np.array([], dtype=str)
        self._bad_end: TruncatedFileError | None = None
        # frames are written one behind the other: only the last ones can be cut off
        while self._number and not self._readable(self._number - 1):
            self._number -= 1
            self._bad_end = TruncatedFileError(None, f"the file ends within frame {self._number}")
        if self._number == 0:
            raise InputError(f"{path}: holds no complete frame", "check that the run wrote any")

    def __del__(self) -> None:
        reader = getattr(self, "_reader", None)
        if reader is not None:
            reader.close()

    def _symbols(self, atoms: Any) -> Symbols:
        if self._numbers is None or not np.array_equal(atoms.numbers, self._numbers):
            self._numbers = atoms.numbers.copy()
            self._last_symbols = np.array(atoms.get_chemical_symbols())
        return self._last_symbols

    def _readable(self, index: int) -> bool:
        try:
            self._frame(index)
        except InputError:
            return False
        return True

    def __len__(self) -> int:
        return self._number

    def _end(self) -> TruncatedFileError | None:
        return self._bad_end

    def _frame(self, index: int) -> Frame:
        from ase import units

        try:
            atoms = self._reader[index]
        except Exception as error:
            raise InputError(
                f"{self.path}: frame {index} cannot be read ({type(error).__name__}: {error})", "it is damaged"
            ) from None
        lattice = None
        if np.asarray(atoms.cell).any():
            lattice = checked_cell(np.array(atoms.cell), f"{self.path}, frame {index}", None)
        frame = Frame(
            index,
            self._symbols(atoms),
            atoms.get_positions(),
            lattice,
            velocities=atoms.get_velocities() * units.fs if atoms.has("momenta") else None,
            source=str(self.path),
        )
        results = atoms.calc.results if atoms.calc is not None else {}
        energy = results.get("free_energy", results.get("energy"))
        if energy is not None and np.isfinite(energy):
            frame.energy_ev = float(energy)
        if "forces" in results:
            frame.forces = np.array(results["forces"], dtype=float)
        return frame
