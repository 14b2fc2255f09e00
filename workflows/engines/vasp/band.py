"""A nudged elastic band that VASP moves: its ends first, then the images in their folders, judged by their forces.

VASP's own criterion for a relaxed band counts springs as forces and is not used; energies, positions and forces are
read from every image's OUTCAR as the steps come, and VASP is stopped once the forces across the path are small.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.trajectories.outcar import OutcarReader, OutcarStep
from anodeflow.errors import EngineError, InputError
from anodeflow.files import json_sha256
from anodeflow.settings import VaspSettings
from anodeflow.structures.migration_paths import band_problem
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Band, Keeper, Monitor, Reason, Request
from anodeflow.workflows.engines.motion.band import CLIMB_BELOW_EV_PER_ANGSTROM, forces_across
from anodeflow.workflows.engines.motion.relax import EXPLODED_EV_PER_ANGSTROM
from anodeflow.workflows.engines.vasp.attempts import OUTPUTS, Progress, continued, put_aside
from anodeflow.workflows.engines.vasp.calculation import (
    HEARTBEAT_S,
    MAX_ROUNDS,
    Calculation,
    geometry_digest,
    signature,
    vasp_command,
    words,
)
from anodeflow.workflows.engines.vasp.moving_inputs import neb_inputs, write_band
from anodeflow.workflows.engines.vasp.outputs import free_components, unwrapped
from anodeflow.workflows.engines.vasp.process import ask_to_stop, largest_force, run_under_custodian, telling_line
from anodeflow.workflows.monitor import pulse

# Images that VASP left further from those handed over belong to another band.
_NEAR_ANGSTROM = 1.0
# A step is begun only if this many of the slowest so far, and so much for the ending, still fit into the batch job.
STEPS_IN_RESERVE, SECONDS_IN_RESERVE = 2.0, 60.0
NO_CLIMB = "VASP without the VTST tools (vasp.vtst in the settings): no image climbs"


class VaspBand:
    """One band in its folder.

    Parameters
    ----------
    images, card, charge, climb, steps_before, climbing, monitor, keep
        As for :func:`anodeflow.workflows.engines.motion.band.run_neb`.
    directory
        Of this band alone; it may hold what an earlier attempt left.
    settings
        Of this machine.
    """

    def __init__(
        self,
        images: Sequence[Structure],
        card: MethodCard,
        charge: int,
        directory: Path,
        settings: VaspSettings,
        *,
        climb: bool = True,
        steps_before: int = 0,
        climbing: bool = False,
        monitor: Monitor | None = None,
        keep: Keeper | None = None,
    ) -> None:
        self.images, self.card, self.charge = list(images), card, charge
        self.directory, self.settings = directory, settings
        self.climb, self.climbing = climb and settings.vtst, climbing and settings.vtst
        self.monitor, self.keep = monitor, keep
        self.band = Band(list(images), steps=steps_before)
        if climb and not settings.vtst:
            self.band.warnings.append(NO_CLIMB)
        self.inputs = neb_inputs(images, card, charge, settings, spec=False, climbing=False)
        self.band.warnings += self.inputs.notes
        self.free = free_components(images[0])
        self.folders = [directory / f"{number:02d}" for number in range(len(images))]
        self.inner = self.folders[1:-1]
        self.ends: list[OutcarStep] = []
        ends = [geometry_digest(images[0]), geometry_digest(images[-1])]
        self.progress = Progress(signature(self.inputs), json_sha256(ends)[:16])

    def run(self) -> Band:
        """Continue with what is in the folder, or start.

        Raises
        ------
        EngineError
            If VASP cannot be started, or fails before the first step of the band is complete.
        """
        if not self._ends():
            return self.band
        self._take_over()
        for climbs in (False, True) if self.climb and not self.climbing else (self.climb,):
            last = climbs or not self.climb
            met = self._stage(climbs, last)
            self.band.converged = met and last
            if not met:
                break
        return self.band

    def _ends(self) -> bool:
        """Compute the two ends in their folders; return whether both have sound energies."""
        for number in (0, len(self.images) - 1):
            tell = None if self.monitor is None else self._tell_of_an_end
            request = Request(self.images[number], "static", self.card, self.charge)
            calculation = Calculation(request, self.folders[number], tell, self.settings)
            if calculation.inputs.settings.mesh != self.inputs.settings.mesh:
                raise InputError(
                    f"end {number} of the band has k-points {calculation.inputs.settings.mesh}, the band "
                    f"{self.inputs.settings.mesh}",
                    "name the mesh in the card",
                )
            outcome = calculation.run()
            where = self.folders[number].name
            if outcome.energy_ev is None:
                raise EngineError(f"end point {where} of a band: {outcome.error}", "see its folder, and run it again")
            if not outcome.converged:
                self.band.electronic_converged = outcome.electronic_converged
                self.band.error, self.band.reason = f"end point {where}: {outcome.error}", outcome.reason
                return False
            forces = np.where(self.free, outcome.arrays["forces_ev_per_angstrom"], 0.0)
            self.ends.append(OutcarStep(outcome.energy_ev, self.images[number].cart_coords, forces, True))
        return True

    def _tell_of_an_end(self, _step: int, energy_ev: float, force: float) -> None:
        if self.monitor is not None:
            self.monitor(self.band.steps, energy_ev, force)

    def _take_over(self) -> None:
        """Continue from the images that an earlier attempt left, where they are those of this band."""
        earlier = Progress.load(self.directory)
        same = earlier is not None and (earlier.signature, earlier.start) == (
            self.progress.signature,
            self.progress.start,
        )
        if earlier is not None and same:
            self.progress.attempts = earlier.attempts
            left = [
                continued(folder, image, self.inputs, "relax")
                for folder, image in zip(self.inner, self.images[1:-1], strict=True)
            ]
            moved = [
                np.linalg.norm(structure.cart_coords - image.cart_coords, axis=1).max()
                for structure, image in zip(left, self.images[1:-1], strict=True)
                if structure is not None
            ]
            if len(moved) == len(self.inner) and max(moved) < _NEAR_ANGSTROM:
                self.images[1:-1] = [structure for structure in left if structure is not None]
        elif not same:
            for folder in self.inner:
                (folder / "WAVECAR").unlink(missing_ok=True)
        self.put_aside("attempt" if same else "other")

    def put_aside(self, name: str = "attempt") -> None:
        """Move what an earlier start of VASP on the images wrote to a separate folder."""
        if any((folder / file).exists() for folder in self.inner for file in OUTPUTS if file != "POSCAR"):
            self.progress.attempts += 1
            put_aside(self.directory, self.progress.attempts, name, images=self.inner)

    def _stage(self, climbs: bool, last: bool) -> bool:
        """Run one stage, in rounds of VASP; return whether its tolerance is met. The first only has to come near."""
        tolerance = self.card.force_tolerance_ev_per_angstrom
        wanted = tolerance if last else max(3 * tolerance, CLIMB_BELOW_EV_PER_ANGSTROM)
        own, end = wanted, None
        for _ in range(MAX_ROUNDS):
            if self.band.steps >= self.card.max_steps:
                break
            attempt = _Attempt(self, climbs, wanted)
            end = attempt.run(own)
            self.images[1:-1] = self.band.images[1:-1]
            if attempt.problem is not None:
                self.band.reason, self.band.error = attempt.problem
                return False
            if attempt.met:
                return True
            if end is not None:
                break
            own *= 0.3  # VASP's own criterion was met before the forces across the path were small
        largest = max(self.band.residuals_ev_per_angstrom, default=math.nan)
        if end is None and self.band.steps < self.card.max_steps:
            end = Reason.NOT_RELAXED, f"VASP ended {MAX_ROUNDS} times by its own criterion"
        self.band.reason = Reason.NOT_RELAXED if end is None else end[0]
        self.band.error = (
            f"band not relaxed after {self.band.steps} steps: force {largest:.3f} eV/angstrom across the path "
            f"(tolerance {tolerance}){'' if end is None else f'; {end[1]}'}"
        )
        return False

    def take(self, steps: Sequence[OutcarStep], climbs: bool) -> None:
        """Put one step of all images between the ends into the band."""
        take_step(self.band, self.images, self.ends, steps, self.inputs.order, climbs)


def take_step(
    band: Band,
    images: Sequence[Structure],
    ends: Sequence[OutcarStep],
    steps: Sequence[OutcarStep],
    order: np.ndarray,
    climbs: bool,
) -> None:
    """Put one step of all images into a band: energies, forces, geometries and the forces across the path.

    Parameters
    ----------
    band
        Takes them.
    images
        The band before, ends included: says which atoms are free, and on which side of the boundary each is.
    ends
        Energies and forces of the two ends, atoms in the order of `images`.
    steps
        Of the images between, atoms in the order of the POSCAR.
    order
        ``order[k]`` is the index in `images` of atom k of the POSCAR.
    climbs
        Whether the highest image climbs.
    """
    first, lattice = images[0], images[0].lattice
    free, back = free_components(first), np.argsort(order)
    every = [ends[0]]
    for image, step in zip(images[1:-1], steps, strict=True):
        placed = unwrapped(image, lattice.matrix, lattice.get_fractional_coords(step.positions[back]))
        every.append(replace(step, positions=placed, forces=np.where(free, step.forces[back], 0.0)))
    every.append(ends[1])
    energies, coords = [s.energy_ev for s in every], [s.positions for s in every]
    highest = 1 + int(np.argmax(energies[1:-1])) if climbs else None
    band.energies_ev, band.forces_ev_per_angstrom = energies, np.array([s.forces for s in every])
    band.residuals_ev_per_angstrom = forces_across(coords, energies, band.forces_ev_per_angstrom, highest)
    band.climbing_image = highest
    band.electronic_converged = all(s.electrons_converged for s in every)
    band.images = [
        Structure(
            lattice, first.species, placed, coords_are_cartesian=True, site_properties=first.site_properties or None
        )
        for placed in coords
    ]


class _Attempt:
    """One start of VASP on the images of a band."""

    def __init__(self, whole: VaspBand, climbs: bool, wanted: float) -> None:
        self.whole, self.climbs, self.wanted = whole, climbs, wanted
        self.met, self.out_of_time = False, False
        self.problem: tuple[Reason, str] | None = None
        self.tails = [OutcarReader(folder / "OUTCAR", len(whole.images[0])) for folder in whole.inner]
        self.pending: list[list[OutcarStep]] = [[] for _ in whole.inner]
        self.began = self.told = self.stepped = time.monotonic()
        self.slowest = 0.0

    def run(self, own_tolerance: float) -> tuple[Reason, str] | None:
        """Run VASP to its end; return why it ended, where that was neither its own criterion nor the wanted one."""
        whole = self.whole
        whole.put_aside()
        left = whole.card.model_copy(update={"max_steps": whole.card.max_steps - whole.band.steps})
        inputs = neb_inputs(whole.images, left, whole.charge, whole.settings, spec=False, climbing=self.climbs)
        inputs.incar["EDIFFG"] = -own_tolerance
        write_band(inputs, whole.images, whole.directory)
        for folder in (whole.directory, *whole.inner):
            (folder / "STOPCAR").unlink(missing_ok=True)
        whole.progress.save(whole.directory)
        command = vasp_command(whole.settings, inputs.gamma_only, images=len(whole.inner))
        failure = run_under_custodian(whole.directory, command, poll=self.poll, images=whole.inner)
        self.poll()
        steps = sum(tail.complete for tail in self.tails)
        if failure is not None:
            if not whole.band.energies_ev:
                raise EngineError(
                    f"VASP failed before the first step of a band was complete: {telling_line(whole.directory)}",
                    f"look into '{whole.directory}', and run it again",
                )
            return Reason.FAILED, f"VASP or custodian gave up: {words(failure)}; {telling_line(whole.directory)}"
        if not steps:
            raise EngineError(
                f"VASP wrote no step of a band ({telling_line(whole.directory)})", f"look into '{whole.directory}'"
            )
        cut = [tail.path.parent.name for tail in self.tails if not tail.finished]
        if cut and not self.met:
            return Reason.DAMAGED, f"OUTCAR of image {', '.join(cut)} ends too early; {telling_line(whole.directory)}"
        if whole.band.electronic_converged is False:
            return Reason.ELECTRONS, "the electrons of an image did not converge in the last step"
        return (Reason.OUT_OF_TIME, "the time of the batch job was nearly over") if self.out_of_time else None

    def poll(self) -> None:
        """Take what is new; stop VASP where nothing is left to do."""
        for tail, waiting in zip(self.tails, self.pending, strict=True):
            waiting += tail.read()
        while all(self.pending):
            self._step([waiting.pop(0) for waiting in self.pending])
        self._beat()
        self._look_at_the_clock()

    def _step(self, steps: list[OutcarStep]) -> None:
        whole, band, now = self.whole, self.whole.band, time.monotonic()
        self.slowest, self.stepped = max(self.slowest, now - self.stepped), now
        band.steps += 1
        if self.met or self.problem is not None:
            return  # made while VASP followed the request to stop
        for number, step in enumerate(steps, 1):
            force = largest_force(step.forces, np.ones_like(step.forces, dtype=bool))
            if not math.isfinite(step.energy_ev) or not force <= EXPLODED_EV_PER_ANGSTROM:
                self.problem = (
                    Reason.EXPLODED,
                    f"the forces exploded at step {band.steps}, image {number}: energy {step.energy_ev:.6g} eV, force "
                    f"{force:.3g} eV/angstrom",
                )
                band.energies_ev = []
                ask_to_stop(whole.directory, *whole.inner)
                return
            if not step.sound:
                file = whole.inner[number - 1] / "OUTCAR"
                self.problem = Reason.DAMAGED, f"'{file}' contradicts itself in the energy of step {band.steps}"
                ask_to_stop(whole.directory, *whole.inner)
                return
        whole.take(steps, self.climbs)
        coords = np.array([image.cart_coords for image in band.images])
        if whole.keep is not None:
            whole.keep(band.steps, self.climbs, coords)
        slid = band_problem(list(coords))
        if slid:
            self.problem = Reason.BAD_PATH, f"step {band.steps}: {slid}"
        self.met = not slid and bool(band.electronic_converged) and max(band.residuals_ev_per_angstrom) <= self.wanted
        if self.problem is not None or self.met:
            ask_to_stop(whole.directory, *whole.inner)
        self._tell()

    def _tell(self) -> None:
        self.told, band = time.monotonic(), self.whole.band
        if self.whole.monitor is None or not band.energies_ev:
            pulse()
        else:
            self.whole.monitor(band.steps, max(band.energies_ev), max(band.residuals_ev_per_angstrom))

    def _beat(self) -> None:
        if time.monotonic() - self.told > HEARTBEAT_S:
            self._tell()

    def _look_at_the_clock(self) -> None:
        limit = self.whole.settings.wall_time_s
        if limit is None or self.out_of_time or not self.slowest:
            return
        left = limit - (time.monotonic() - self.began)
        if left < STEPS_IN_RESERVE * self.slowest + SECONDS_IN_RESERVE:
            self.out_of_time = True
            ask_to_stop(self.whole.directory, *self.whole.inner)
