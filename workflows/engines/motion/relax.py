"""Relaxations with any ASE calculator, stopped by the card's force and stress tolerances.

ASE's own stopping rule mixes forces and cell gradients into one number, and atomate2's relaxer has neither
a stress tolerance nor a way to report steps or to stop between them; hence these few lines.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import GoodOldQuasiNewton
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.errors import EngineError
from anodeflow.files import write_atomically
from anodeflow.units import ASE_EV_PER_A3_TO_GPA
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import parts
from anodeflow.workflows.engines.contract import Monitor, Outcome, Reason, Task
from anodeflow.workflows.engines.motion.dispersion import dispersion_ev
from anodeflow.workflows.engines.motion.hessian import read_curvatures

# A force no relaxation of a sane structure meets; beyond it the potential is outside its domain.
EXPLODED_EV_PER_ANGSTROM = 200.0

# The optimiser's first guess of every curvature, eV/angstrom^2: where the cell moves, 5 needs a half to a third of the
# steps of ASE's 20 for metals, salts and interfaces of the catalogue, and BFGS needs more than either. Ions in a fixed
# cell gain as much, but a band of LiCl between ends relaxed so did not converge in 250 steps, and does with 20.
_FIRST_CURVATURE = 5.0
FIRST_CURVATURE_OF_IONS = 20.0
# First length of a step (over all coordinates, angstrom) where the curvatures are known; ASE's is made for a guess.
_FIRST_RADIUS_ANGSTROM = 0.1
# Elastic constant of a typical crystal of the catalogue: 50 GPa.
_TYPICAL_MODULUS_EV_PER_ANGSTROM3 = 0.3

# Stress components (Voigt) that a task relaxes.
CELL_COMPONENTS: dict[str, list[int]] = {"relax_cell": [0, 1, 2, 3, 4, 5], "relax_c": [2]}


class ExplodedError(Exception):
    """Energy or forces left every sane range."""


def _cell_scale_angstrom(volume_angstrom3: float) -> float:
    """What a strain is multiplied with to become a coordinate as stiff as those of the atoms.

    The energy grows with the strain as V C/2, with a coordinate x = f * strain as V C/(2 f^2): f is such that the
    second is the optimiser's first guess. ASE's own factor, the number of atoms, makes large cells of soft metals a
    hundred times too stiff.
    """
    return math.sqrt(volume_angstrom3 * _TYPICAL_MODULUS_EV_PER_ANGSTROM3 / _FIRST_CURVATURE)


def run_ase(
    structure: Structure,
    calculator: Calculator,
    task: Task,
    card: MethodCard,
    monitor: Monitor | None = None,
    directory: Path | None = None,
    writes: bool = True,
    stress: bool = False,
) -> Outcome:
    """Compute a static energy, or relax ions (``relax``), ions and cell (``relax_cell``) or ions and the cell's
    extent along z (``relax_c``, for interfaces and strained crystals: the in-plane lattice stays).

    Parameters
    ----------
    structure
        Start geometry; ``selective_dynamics`` is honoured.
    calculator
        Any ASE calculator with energy, forces and, for ``relax_cell``, stress.
    task
        What to do.
    card
        Gives the tolerances (eV/angstrom, GPa) and the step limit.
    monitor
        Called after every step; may raise to stop.
    directory
        Where the geometry of the last step is kept, so that a killed relaxation continues from it. Curvatures left
        there (:mod:`~anodeflow.workflows.engines.motion.hessian`) are what the optimiser of ions in a fixed cell
        begins with.
    writes
        Whether this process keeps it: one of several that compute together does.
    stress
        Whether ``arrays["stress_gpa"]`` is wanted, the stress at the end, positive under tension; it is there in any
        case where the cell moves.

    Returns
    -------
    Outcome
        ``ionic_converged`` is False when the step limit was hit, and ``error`` says so.
    """
    relaxation = _Relaxation(structure, calculator, task, card, monitor, directory, writes, stress)
    try:
        return relaxation.run()
    except ExplodedError as error:
        return relaxation.exploded(error)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise EngineError(
            f"the calculator failed at step {len(relaxation.energies)}: {error}", "check elements and geometry"
        ) from error


class _Relaxation:
    """Steps of one relaxation, or the one of a static calculation; parameters as of :func:`run_ase`."""

    def __init__(
        self,
        structure: Structure,
        calculator: Calculator,
        task: Task,
        card: MethodCard,
        monitor: Monitor | None,
        directory: Path | None,
        writes: bool,
        stress: bool,
    ) -> None:
        self.structure, self.task, self.card, self.monitor = structure, task, card, monitor
        self.directory, self.writes = directory, writes
        self.moves_cell = task in CELL_COMPONENTS
        self.wants_stress = stress or self.moves_cell
        self.checkpoint = None if directory is None or task == "static" else Checkpoint(directory)
        begin, self.steps_before = structure, 0
        if self.checkpoint is not None:
            begin, self.steps_before = self.checkpoint.read(structure)
        self.atoms: Atoms = AseAtomsAdaptor.get_atoms(begin, msonable=False)
        self.atoms.calc = calculator
        self.energies: list[float] = []
        self.positions: list[np.ndarray] = []
        self.cells: list[np.ndarray] = []
        self.outcome = Outcome(structure, None, None if task == "static" else False, None)

    def run(self) -> Outcome:
        """Go to the end; the outcome."""
        if self.task == "static":
            self._observe()
        else:
            self._relax()
        if self.checkpoint is not None and self.writes:
            self.checkpoint.remove()
        return self._finished()

    def _observe(self) -> bool:
        """Record one step; True when the tolerances are met."""
        atoms, card, outcome = self.atoms, self.card, self.outcome
        energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
        largest = float(np.linalg.norm(forces, axis=1).max())
        if not math.isfinite(energy) or not math.isfinite(largest) or largest > EXPLODED_EV_PER_ANGSTROM:
            culprit = int(np.nanargmax(np.linalg.norm(forces, axis=1))) if np.isfinite(forces).any() else 0
            raise ExplodedError(
                f"step {len(self.energies)}: energy {energy:.6g} eV, force {largest:.3g} eV/angstrom on atom "
                f"{culprit} ({atoms.symbols[culprit]})"
            )
        self.energies.append(energy)
        self.positions.append(atoms.get_positions())
        self.cells.append(atoms.cell.array.copy())
        outcome.max_force_ev_per_angstrom = largest
        done = largest <= card.force_tolerance_ev_per_angstrom
        if self.moves_cell:
            stress = atoms.get_stress(voigt=True)[CELL_COMPONENTS[self.task]]
            outcome.max_stress_gpa = float(np.abs(stress).max() * ASE_EV_PER_A3_TO_GPA)
            done = done and outcome.max_stress_gpa <= card.stress_tolerance_gpa
        step = self.steps_before + len(self.energies) - 1
        if self.checkpoint is not None and self.writes:
            self.checkpoint.write(atoms, step)
        if self.monitor is not None:
            self.monitor(step, energy, largest)
        return done

    def _relax(self) -> None:
        card, outcome = self.card, self.outcome
        # fmax = 0: the tolerances of the card decide, not ASE's rule.
        for _ in self._optimiser().irun(fmax=0.0, steps=max(0, card.max_steps - self.steps_before)):
            if self._observe():
                outcome.ionic_converged = True
                return
        stress = (
            f", stress {outcome.max_stress_gpa:.3f} GPa (tolerance {card.stress_tolerance_gpa})"
            if self.moves_cell
            else ""
        )
        outcome.reason = Reason.NOT_RELAXED
        outcome.error = (
            f"not relaxed after {card.max_steps} steps: force {outcome.max_force_ev_per_angstrom:.3f} "
            f"eV/angstrom (tolerance {card.force_tolerance_ev_per_angstrom}){stress}"
        )

    def _optimiser(self) -> GoodOldQuasiNewton:
        target: Any = self.atoms
        if self.moves_cell:
            free = np.isin(range(6), CELL_COMPONENTS[self.task])
            scale = _cell_scale_angstrom(self.atoms.get_volume())
            target = FrechetCellFilter(self.atoms, mask=free, exp_cell_factor=scale)
        curvature = _FIRST_CURVATURE if self.moves_cell else FIRST_CURVATURE_OF_IONS
        optimiser = GoodOldQuasiNewton(target, logfile=os.devnull, diagonal=curvature)
        if self.directory is not None and self.task == "relax":
            known = read_curvatures(self.directory, 3 * len(self.atoms))
            if known is not None:
                optimiser.set_hessian(known)  # its own argument for this is ignored
                optimiser.radius = _FIRST_RADIUS_ANGSTROM
        return optimiser

    def exploded(self, error: ExplodedError) -> Outcome:
        """Return the outcome of a geometry that left every sane range."""
        outcome = self.outcome
        outcome.error, outcome.reason = f"the forces exploded at {error}", Reason.EXPLODED
        outcome.ionic_converged = None if self.task == "static" else False
        outcome.ionic_steps = self.steps_before + max(0, len(self.energies) - 1)
        return outcome

    def _finished(self) -> Outcome:
        outcome, energies = self.outcome, self.energies
        if self.steps_before:
            outcome.warnings.append(f"continued at step {self.steps_before} after an interruption")
        outcome.energy_ev = energies[-1]
        outcome.dispersion = parts(self.card, outcome.energy_ev, dispersion_ev(self.atoms.calc))
        outcome.ionic_steps = self.steps_before + len(energies) - 1
        outcome.energy_change_last_step_ev = energies[-1] - energies[-2] if len(energies) > 1 else 0.0
        outcome.structure = _final_structure(self.structure, self.atoms)
        outcome.arrays = {
            "forces_ev_per_angstrom": self.atoms.get_forces(apply_constraint=False),
            "energies_ev": np.asarray(energies),
            "positions_angstrom": np.asarray(self.positions),
            "cells_angstrom": np.asarray(self.cells),
        }
        if self.wants_stress:
            outcome.arrays["stress_gpa"] = (
                self.atoms.get_stress(voigt=False, apply_constraint=False) * ASE_EV_PER_A3_TO_GPA
            )
        return outcome


class Checkpoint:
    """The geometry of the last step of a relaxation, in a small file that is written atomically.

    Parameters
    ----------
    directory
        Folder of this calculation alone.
    """

    def __init__(self, directory: Path) -> None:
        self.file = directory / "last_step.json"

    def write(self, atoms: Atoms, step: int) -> None:
        """Keep one step."""
        content = {"step": step, "cell": atoms.cell.array.tolist(), "positions": atoms.get_positions().tolist()}
        write_atomically(self.file, json.dumps(content), sync=False)

    def read(self, start: Structure) -> tuple[Structure, int]:
        """The last geometry and its step, or the start and 0."""
        try:
            content = json.loads(self.file.read_text())
            kept = Structure(
                Lattice(content["cell"], pbc=start.lattice.pbc),
                start.species,
                content["positions"],
                coords_are_cartesian=True,
                site_properties=start.site_properties,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return start, 0
        return kept, int(content["step"])

    def remove(self) -> None:
        """Remove the file: nothing is left to continue from."""
        self.file.unlink(missing_ok=True)


def _final_structure(start: Structure, atoms: Atoms) -> Structure:
    """The relaxed geometry, with species, site properties and atom order of the start."""
    return Structure(
        atoms.cell.array,
        start.species,
        atoms.get_positions(),
        coords_are_cartesian=True,
        site_properties=start.site_properties,
    )
