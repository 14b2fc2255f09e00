"""An ASE calculator over an engine's own single points, for engines whose atoms anodeflow moves.

Every new geometry is one run of the engine's program in a separate folder, started from what the run before left. Of
the folders only the last one stays, and the one of a run that failed, so thousands of steps need the disk of one.
Mesh, spin, smearing and dipole layer are those of the first geometry, for a whole band or run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from pymatgen.core import Structure

from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.workflows.engines.contract import Outcome

FOLDER = "points"
_DIGITS = 6
# Geometry, its new folder, the folder of the geometry before if there is one to start from, and seconds left.
Point = Callable[[Structure, Path, Path | None, float | None], Outcome]


class PointCalculator(Calculator):
    """Energies and forces of one band or run.

    ``energy`` is the one at zero smearing width, as in every document; ``free_energy`` the one whose derivatives the
    forces are, which dynamics conserve.

    Parameters
    ----------
    point
        Computes one geometry. The outcome's ``arrays`` hold ``forces_ev_per_angstrom`` and ``free_energy_ev``.
    like
        The first geometry: atoms and cell.
    folder
        Where the runs' folders are made; what an earlier attempt left in it is removed.
    bulky
        Patterns of what only the next geometry needs of a folder; removed in the end.
    notes
        What a reader of the results must know.
    wall_time_s
        When this process has to be through, counted from here; no geometry is begun that would not be.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE declares it so

    def __init__(
        self,
        point: Point,
        like: Structure,
        folder: Path,
        *,
        bulky: Sequence[str] = (),
        notes: Sequence[str] = (),
        wall_time_s: float | None = None,
    ) -> None:
        super().__init__()
        self.notes = list(notes)
        self._point, self._like, self._bulky = point, like, tuple(bulky)
        self._folder = folder
        self._ends_at = None if wall_time_s is None else time.monotonic() + wall_time_s
        self._longest_s = 0.0
        self._images: dict[int, PointCalculator] = {}
        self._number = 0
        self._last: Path | None = None
        self._before: Path | None = None
        try:
            if self._folder.exists():
                shutil.rmtree(self._folder)
        except OSError as error:
            raise EngineError(f"cannot empty '{self._folder}': {error.strerror}", "remove it") from None

    def for_image(self, number: int) -> PointCalculator:
        """Return the calculator of one image of a band, with separate folders: its last geometry is the nearest one."""
        if number not in self._images:
            folder = self._folder / f"{number:02d}"
            self._images[number] = PointCalculator(
                self._point, self._like, folder, bulky=self._bulky, wall_time_s=self._seconds_left()
            )
        return self._images[number]

    def forget(self) -> None:
        """Start the next geometry from scratch, so that a run that continues from a checkpoint does the same."""
        self.reset()
        self._before = None

    def finish(self) -> None:
        """Remove what only a next geometry would need."""
        for image in self._images.values():
            image.finish()
        for pattern in self._bulky:
            for path in self._folder.glob(f"{'[0-9]' * _DIGITS}/{pattern}"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        self._before = None

    def _seconds_left(self) -> float | None:
        return None if self._ends_at is None else self._ends_at - time.monotonic()

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """See ASE.

        Raises
        ------
        ConvergenceError
            If the electrons did not converge.
        EngineError
            If the program failed otherwise, or there is no time left.
        """
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError("no atoms to compute")
        lattice, species = self._like.lattice, self._like.species
        geometry = Structure(lattice, species, self.atoms.positions, coords_are_cartesian=True)
        left, clock = self._seconds_left(), time.monotonic()
        if left is not None and left < self._longest_s:
            raise EngineError(
                f"out of its wall time after {self._number} geometries in '{self._folder}'", "run it again to continue"
            )
        self._number += 1
        folder = self._folder / f"{self._number:0{_DIGITS}d}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise EngineError(f"cannot make the folder '{folder}': {error.strerror}", "check the disk") from None
        before, self._before = self._before, None
        results = _checked(self._point(geometry, folder, before, left), folder, len(geometry))
        self._longest_s = max(self._longest_s, time.monotonic() - clock)
        if self._last is not None:
            shutil.rmtree(self._last, ignore_errors=True)
        self._last = self._before = folder
        self.results = results


def _checked(outcome: Outcome, folder: Path, atoms: int) -> dict[str, Any]:
    if outcome.electronic_converged is False:
        raise ConvergenceError(
            f"'{folder}': {outcome.error or 'the electrons did not converge'}", "look at its geometry and its output"
        )
    forces = outcome.arrays.get("forces_ev_per_angstrom")
    if not outcome.converged or outcome.energy_ev is None or forces is None:
        raise EngineError(f"'{folder}': {outcome.error or 'no forces in the output'}", "look at its output")
    energy, free = float(outcome.energy_ev), float(outcome.arrays.get("free_energy_ev", outcome.energy_ev))
    forces = np.array(forces, dtype=float)
    if forces.shape != (atoms, 3) or not np.isfinite([energy, free, *forces.flat]).all():
        raise EngineError(f"'{folder}': energy or forces are not numbers", "look at its output")
    return {"energy": energy, "free_energy": free, "forces": forces}
