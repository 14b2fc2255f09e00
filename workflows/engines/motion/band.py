"""Nudged elastic bands with any ASE calculator, stopped by the card's force tolerance.

Improved tangent: Henkelman & Jonsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224. Climbing image:
Henkelman, Uberuaga & Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672. ASE's own stopping rule counts
the springs as forces; here the forces across the path decide, and on the climbing image the whole force.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.structures.migration_paths import band_problem
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Band, Keeper, Monitor, Reason
from anodeflow.workflows.engines.motion.relax import EXPLODED_EV_PER_ANGSTROM, ExplodedError

_SPRING_EV_PER_ANGSTROM2 = 1.0
#: The highest image climbs once no force across the path is larger than this, or three times the card's tolerance.
CLIMB_BELOW_EV_PER_ANGSTROM = 0.2
#: LBFGS needs 40-60 % of FIRE's steps on the hops of these crystals; where it makes no progress for so many steps,
#: FIRE continues from its best band, slowly but surely.
_PATIENCE_STEPS = 25


class _Image(Calculator):
    """One image's own memory of a calculator that all images share."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE declares it so

    def __init__(self, shared: Any) -> None:
        super().__init__()
        self.shared = shared

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError("no atoms to compute")
        bare = self.atoms.copy()
        bare.set_constraint()
        self.results = {
            "energy": float(self.shared.get_potential_energy(bare)),
            "forces": np.array(self.shared.get_forces(bare)),
        }


def run_neb(
    images: Sequence[Structure],
    calculator: Any,
    card: MethodCard,
    *,
    climb: bool = True,
    steps_before: int = 0,
    climbing: bool = False,
    monitor: Monitor | None = None,
    keep: Keeper | None = None,
    optimiser: type[Optimizer] = LBFGS,
    spring_ev_per_angstrom2: float = _SPRING_EV_PER_ANGSTROM2,
) -> Band:
    """Relax a band.

    Parameters
    ----------
    images
        The band to start from, ends included; the ends are relaxed already. ``selective_dynamics`` is honoured.
    calculator
        Any ASE calculator with energy and forces; one with ``for_image`` gives every image its own.
    card
        Gives the force tolerance (eV/angstrom) and the limit of optimiser steps.
    climb
        Let the highest image climb to the saddle.
    steps_before
        Steps of an earlier attempt that `images` come from; they count towards the limit.
    climbing
        The earlier attempt was climbing already.
    monitor
        Called after every step with (step, highest energy, largest residual); may raise to stop.
    keep
        Called after every step with what a later attempt can continue from.
    optimiser
        Of ASE; one that needs no energy. FIRE takes over where it makes no progress.
    spring_ev_per_angstrom2
        Spring constant, eV/angstrom^2.

    Returns
    -------
    Band
        ``converged`` is True only when every image meets the tolerance and, with `climb`, the highest one climbed.
        Where the electrons of an image did not converge it has no energies.

    Raises
    ------
    EngineError
        The calculator failed.
    """
    atoms: list[Atoms] = [AseAtomsAdaptor.get_atoms(image, msonable=False) for image in images]
    for moving, image in zip(atoms, images, strict=True):
        moving.positions = image.cart_coords
    band = Band(list(images), steps=steps_before)
    progress = _Progress(band, atoms, card, monitor, keep)
    try:
        progress.attach(calculator)
        neb = NEB(atoms, k=spring_ev_per_angstrom2, climb=climbing, method="improvedtangent")
        for climbs in (False, True) if climb and not climbing else (climb,):
            neb.climb = climbs
            if not progress.run(neb, optimiser, climbs, last=climbs or not climb):
                break
    except ExplodedError as error:
        return progress.without_energies(f"the forces exploded at {error}", Reason.EXPLODED)
    except ConvergenceError as error:
        band.electronic_converged = False
        return progress.without_energies(f"step {band.steps}: {error}", Reason.ELECTRONS)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise EngineError(
            f"the calculator failed at step {band.steps} of a band: {error}", "check elements and geometry"
        ) from error
    progress.finish()
    return band


class _Progress:
    """Steps of one band, and what is known after each."""

    def __init__(
        self, band: Band, atoms: list[Atoms], card: MethodCard, monitor: Monitor | None, keep: Keeper | None
    ) -> None:
        self.band, self.atoms, self.card, self.monitor, self.keep = band, atoms, card, monitor, keep
        self.tolerance = card.force_tolerance_ev_per_angstrom

    def attach(self, calculator: Any) -> None:
        """Give every image its calculator; the ends, which rest, are computed once."""
        of_image = getattr(calculator, "for_image", None)
        for number, image in enumerate(self.atoms):
            image.calc = _Image(of_image(number) if of_image else calculator)
            if number in (0, len(self.atoms) - 1):
                energy, forces = image.get_potential_energy(), image.get_forces(apply_constraint=False)
                self.sane(energy, image.get_forces(), number)
                image.calc = SinglePointCalculator(image, energy=energy, forces=forces)

    def without_energies(self, error: str, reason: Reason) -> Band:
        """Return the band as it failed: what there is of its energies is not a result."""
        band = self.band
        band.error, band.reason = error, reason
        band.converged, band.energies_ev = False, []
        return band

    def run(self, neb: NEB, optimiser: type[Optimizer], climbs: bool, last: bool) -> bool:
        """One stage; True when its tolerance is met. The first, without climbing, only has to come near."""
        wanted = self.tolerance if last else max(3 * self.tolerance, CLIMB_BELOW_EV_PER_ANGSTROM)
        for kind in dict.fromkeys((optimiser, FIRE)):
            verdict = self._relax(neb, kind, climbs, wanted)
            if verdict is not None:
                self.band.converged = verdict and last
                return verdict
        self.band.reason = Reason.NOT_RELAXED
        self.band.error = (
            f"band not relaxed after {self.band.steps} steps: force {max(self.band.residuals_ev_per_angstrom):.3f} "
            f"eV/angstrom across the path (tolerance {self.tolerance})"
        )
        return False

    def _relax(self, neb: NEB, optimiser: type[Optimizer], climbs: bool, wanted: float) -> bool | None:
        """True when the residual is met, False when the band has gone bad, None when the optimiser came to an end."""
        left = self.card.max_steps - self.band.steps
        best, best_step, best_positions = math.inf, self.band.steps, neb.get_positions()
        band: Any = neb  # ASE's optimisers take a band as well as atoms
        for number, _ in enumerate(optimiser(band, logfile=os.devnull).irun(fmax=0.0, steps=max(0, left))):
            self.band.steps += number > 0
            residual = self.measure(neb, climbs)
            coords = np.array([a.positions for a in self.atoms])
            if self.keep is not None:
                self.keep(self.band.steps, climbs, coords)
            if self.monitor is not None:
                self.monitor(self.band.steps, max(self.band.energies_ev), residual)
            problem = band_problem(list(coords))
            if problem:
                self.band.error, self.band.reason = f"step {self.band.steps}: {problem}", Reason.BAD_PATH
                return False
            if residual <= wanted:
                return True
            if residual < best:
                best, best_step, best_positions = residual, self.band.steps, neb.get_positions()
            elif self.band.steps - best_step >= _PATIENCE_STEPS and optimiser is not FIRE:
                neb.set_positions(best_positions)
                return None
        return None

    def measure(self, neb: NEB, climbs: bool) -> float:
        """Energies, forces and residuals of the band as it is; the largest residual, eV/angstrom."""
        neb.get_forces()
        energies = [float(a.get_potential_energy()) for a in self.atoms]
        forces = np.array([a.get_forces() for a in self.atoms])
        for number, energy in enumerate(energies):
            self.sane(energy, forces[number], number)
        highest = 1 + int(np.argmax(energies[1:-1]))
        residuals = forces_across([a.positions for a in self.atoms], energies, forces, highest if climbs else None)
        self.band.energies_ev, self.band.forces_ev_per_angstrom = energies, forces
        self.band.residuals_ev_per_angstrom = residuals
        self.band.climbing_image = highest if climbs else None
        return max(residuals)

    def sane(self, energy: float, forces: NDArray[np.float64], number: int) -> None:
        """Refuse energies and forces no band of a sane structure has."""
        largest = float(np.linalg.norm(forces, axis=1).max())
        if not math.isfinite(energy) or not math.isfinite(largest) or largest > EXPLODED_EV_PER_ANGSTROM:
            raise ExplodedError(
                f"step {self.band.steps}, image {number}: energy {energy:.6g} eV, force {largest:.3g} eV/angstrom"
            )

    def finish(self) -> None:
        """Put the last geometries into the band, and say what a reader must know."""
        first = self.band.images[0]
        self.band.images = [
            Structure(
                first.lattice,
                first.species,
                a.positions,
                coords_are_cartesian=True,
                site_properties=first.site_properties or None,
            )
            for a in self.atoms
        ]


def forces_across(
    coords: Sequence[NDArray[np.float64]],
    energies: Sequence[float],
    forces: NDArray[np.float64],
    climbing: int | None,
) -> list[float]:
    """Largest force across the path on an atom of each image between the ends, eV/angstrom.

    Parameters
    ----------
    coords, energies
        As for :func:`improved_tangent`.
    forces
        Of all images, (images, N, 3), on free atoms only.
    climbing
        Index of the climbing image, whose whole force counts; None where none climbs.
    """
    residuals = []
    for number in range(1, len(energies) - 1):
        force = forces[number]
        if number != climbing:
            tangent = improved_tangent(coords, energies, number)
            force = force - np.vdot(force, tangent) * tangent
        residuals.append(float(np.linalg.norm(force, axis=1).max()))
    return residuals


def improved_tangent(
    coords: Sequence[NDArray[np.float64]], energies: Sequence[float], number: int
) -> NDArray[np.float64]:
    """Unit tangent of the path at one image (Henkelman & Jonsson 2000, equations 8 to 11).

    Parameters
    ----------
    coords
        Cartesian coordinates of all images, unfolded, each (N, 3).
    energies
        Their energies, eV.
    number
        Which image; neither end.
    """
    before, here, after = coords[number - 1], coords[number], coords[number + 1]
    low, mid, high = energies[number - 1], energies[number], energies[number + 1]
    ahead, behind = after - here, here - before
    if high > mid > low:
        tangent = ahead
    elif high < mid < low:
        tangent = behind
    else:
        larger, smaller = max(abs(high - mid), abs(low - mid)), min(abs(high - mid), abs(low - mid))
        tangent = ahead * larger + behind * smaller if high > low else ahead * smaller + behind * larger
    length = np.linalg.norm(tangent)
    return tangent / length if length > 0 else tangent
