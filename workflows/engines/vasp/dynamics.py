"""Molecular dynamics that VASP itself runs: frames as they come, and checkpoints around its CONTCAR.

VASP computes forces at x(k), moves the atoms, and writes x(k + 1) with its velocities and thermostat into CONTCAR. So
the state after step k is x(k) with the text of that CONTCAR, which becomes the POSCAR of the next start: steps follow
each other without an energy computed twice. Continuing is exact to the digits of a CONTCAR, and a Langevin thermostat
draws new random numbers: the same ensemble, not the same trajectory bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units
from custodian.vasp.handlers import WalltimeHandler
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.trajectories.frames import Frame
from anodeflow.analysis.trajectories.vasprun import GrowingVasprun
from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.files import write_atomically
from anodeflow.settings import VaspSettings
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines.contract import Array, DynamicsState, FrameSink, Sample
from anodeflow.workflows.engines.motion.dynamics import (
    EXPLODED_EV_PER_ANGSTROM,
    EXPLODED_KELVIN,
    EXPLODED_TIMES,
    equilibrating,
    kinetic_temperature_k,
    thermostat_of,
)
from anodeflow.workflows.engines.vasp.attempts import OUTPUTS, put_aside
from anodeflow.workflows.engines.vasp.calculation import HEARTBEAT_S, vasp_command, words
from anodeflow.workflows.engines.vasp.moving_inputs import md_inputs, with_velocities
from anodeflow.workflows.engines.vasp.outputs import check_program
from anodeflow.workflows.engines.vasp.process import run_under_custodian, telling_line
from anodeflow.workflows.monitor import pulse

# Name under which a state carries the CONTCAR, as bytes.
CONTCAR = "contcar"
# A step of DFT takes longer; the point is not to write a file for every step of a fast one.
CHECKPOINT_S = 2.0
# RANDOM_SEED takes numbers up to 900 million.
_LARGEST_SEED = 900_000_000
_NO_CONSERVED = "VASP prints no conserved quantity for its Langevin thermostat: no drift is given"
_NO_CHAIN = "VASP's Nose-Hoover thermostat is a single one: chain_length is not honoured"
CONTINUED = "VASP continued from a CONTCAR: exact to its digits, not bit for bit"


@dataclass(frozen=True)
class Contcar:
    """What a CONTCAR of molecular dynamics says, atoms in its order."""

    frac_coords: Array
    velocities: Array
    end_of_velocities: int

    @classmethod
    def parsed(cls, text: str, atoms: int) -> Contcar | None:
        """Read it; return None where it is not complete. Velocities are in angstrom/fs."""
        lines = text.splitlines()
        try:
            at = 7 + (lines[7].strip()[:1].upper() == "S")
            if lines[at].strip()[:1].upper() != "D" or sum(map(int, lines[6].split())) != atoms:
                return None
            coords = _table(lines[at + 1 : at + 1 + atoms], atoms)
            at += 1 + atoms
            if lines[at].startswith("Lattice velocities"):
                at += 8
            velocities = _table(lines[at + 1 : at + 1 + atoms], atoms)
        except (IndexError, ValueError):
            return None
        whole = text.count("\n") > at + atoms and np.isfinite(coords).all() and np.isfinite(velocities).all()
        return cls(coords, velocities, at + 1 + atoms) if whole else None


def _table(lines: list[str], count: int) -> Array:
    if len(lines) != count:
        raise ValueError("too short")
    return np.array([[float(word) for word in line.split()[:3]] for line in lines], dtype=float).reshape(count, 3)


class VaspDynamics:
    """One start of VASP on a segment; the arguments are those of :meth:`Engine.dynamics`."""

    def __init__(
        self,
        state: DynamicsState,
        card: MethodCard,
        dynamics: Dynamics,
        settings: VaspSettings,
        *,
        directory: Path,
        notes: list[str],
        first: Structure | None = None,
        last_step: int,
        sample_every: int,
        checkpoint_every: int,
        sink: FrameSink,
        save: Callable[[DynamicsState], None],
        report: Callable[[int, float, float], None] | None = None,
        include_start: bool = False,
    ) -> None:
        self.state, self.dynamics, self.settings, self.directory = state, dynamics, settings, directory
        self.last_step, self.every, self.notes = last_step, sample_every, notes
        self.sink, self.save, self.report, self.include_start = sink, save, report, include_start
        self.now = equilibrating(dynamics) if state.step < 0 else dynamics
        self.kind = thermostat_of(dynamics, state.step < 0)
        atoms = state.atoms()
        self.masses, self.names = atoms.get_masses()[:, None], [str(s) for s in atoms.symbols]
        self.lattice = Lattice(state.cell)
        self.contcar = bytes(state.thermostat[CONTCAR]).decode() if CONTCAR in state.thermostat else None
        self.step = state.step if self.contcar else state.step - 1
        here = AseAtomsAdaptor.get_structure(atoms)
        self.inputs = md_inputs(
            first or here, card.model_copy(update={"dynamics": self.now}), settings, spec=False,
            steps=last_step - self.step,
        ).moved(here)  # fmt: skip
        self.back = np.argsort(self.inputs.order)
        self.rng = np.random.default_rng()
        if state.rng:
            self.rng.bit_generator.state = state.rng
        self.tail = GrowingVasprun(directory / "vasprun.xml")
        self.frac = self.lattice.get_fractional_coords(state.positions)
        self.before = self.frac
        self.last: tuple[float, float] | None = None
        self.unconverged = self.odd = 0
        self.told = self.saved = time.monotonic()

    def run(self) -> DynamicsState:
        """Run to the last step.

        Raises
        ------
        ConvergenceError
            If the dynamics explode.
        EngineError
            If VASP cannot be started, fails, or ends early; what it made is kept, and the next start continues from it.
        """
        if any((self.directory / name).exists() for name in OUTPUTS):
            put_aside(self.directory, 1)
        self._write()
        command = vasp_command(self.settings, self.inputs.gamma_only)
        limit = self.settings.wall_time_s
        using = [WalltimeHandler(wall_time=limit)] if limit else []
        failure = run_under_custodian(self.directory, command, using=using, poll=self.poll)
        self.poll()
        state, complete = self._state(), self.step == self.last_step
        if state is not None and not (complete and failure is None) and not self._fits(state):
            state = None
        if state is not None:
            self._keep(state)
        if not complete or state is None:
            why = words(failure) if failure is not None else "it was asked to stop, or its time was nearly over"
            raise EngineError(
                f"VASP ended at step {self.step} of {self.last_step}; {why}; {telling_line(self.directory)}",
                "run it again: it continues from its last checkpoint",
            )
        self._say()
        return state

    def _write(self) -> None:
        self.inputs.incar["RANDOM_SEED"] = [int(self.rng.integers(1, _LARGEST_SEED)), 0, 0]
        self.inputs.write(self.directory)
        if self.contcar is None:
            velocities = (self.state.momenta / self.masses * units.fs)[self.inputs.order]
            self.contcar = with_velocities(self.inputs.texts()["POSCAR"], velocities)
        write_atomically(self.directory / "POSCAR", self.contcar)
        (self.directory / "STOPCAR").unlink(missing_ok=True)

    def poll(self) -> None:
        """Take the steps that have come, and keep the state behind the last of them now and then."""
        fresh = self.tail.read()
        for frame, energies in fresh:
            self._take(frame, energies)
        if fresh and time.monotonic() - self.saved > CHECKPOINT_S:
            state = self._state()
            if state is not None and self._fits(state):
                self._keep(state)
        if fresh or time.monotonic() - self.told > HEARTBEAT_S:
            self.told = time.monotonic()
            if self.report is None or self.last is None:
                pulse()
            else:
                self.report(self.step, *self.last)

    def _take(self, frame: Frame, energies: dict[str, float]) -> None:
        if self.tail.species is not None and frame.index == 0:
            check_program(self.tail.program, self.tail.path, self.settings.stand_in)
            wanted = [site.specie.symbol for site in self.inputs.structure]
            if list(self.tail.species) != wanted:
                raise EngineError(f"'{self.tail.path}' is of other atoms than asked for", "remove the folder")
        if frame.forces is None or "kinetic" not in energies:
            raise EngineError(
                f"'{self.tail.path}' has no forces or no kinetic energy in step {frame.step}", "is it another run?"
            )
        self.step += 1
        frac = self.lattice.get_fractional_coords(frame.positions[self.back])
        self.before, self.frac = self.frac, frac - np.round(frac - self.frac)
        potential, kinetic = energies["e_fr_energy"], energies["kinetic"]
        force = float(np.linalg.norm(frame.forces, axis=1).max())
        self._refuse(frame.forces[self.back], kinetic)
        self.last = potential, force
        self.unconverged += frame.electronic_converged is False
        self.odd += bool(frame.problems)
        if (self.step % self.every == 0 and self.step > self.state.step) or (
            self.include_start and self.step == self.state.step
        ):
            conserved = math.nan
            if self.kind == "none":
                conserved = potential + kinetic
            elif self.kind == "nose-hoover":
                conserved = energies.get("total", math.nan)
            self.sink.append(Sample(self.step, self.positions, potential, kinetic, conserved))

    @property
    def positions(self) -> Array:
        """Of the last step, unwrapped, angstrom."""
        placed: Array = self.frac @ self.lattice.matrix
        return placed

    def _refuse(self, forces: Array, kinetic: float) -> None:
        strength = np.linalg.norm(forces, axis=1)
        worst = int(np.argmax(strength))
        kelvins = kinetic_temperature_k(kinetic, len(self.names))
        why = ""
        if not strength[worst] <= EXPLODED_EV_PER_ANGSTROM:
            why = f"atom {worst} ({self.names[worst]}): the force on it is {strength[worst]:.3g} eV/angstrom"
        elif not kelvins <= EXPLODED_TIMES * self.now.temperature_k + EXPLODED_KELVIN:
            why = f"the cell has {kelvins:.0f} K"
        if why:
            raise ConvergenceError(
                f"the dynamics exploded at step {self.step}: {why}",
                f"shorten timestep_fs (now {self.now.timestep_fs:g}), or relax the geometry better first",
            )

    def _state(self) -> DynamicsState | None:
        """Return the state behind the last step, around CONTCAR as it is; None where that is not complete."""
        try:
            text = (self.directory / "CONTCAR").read_text(errors="replace")
        except OSError:
            return None
        contcar = Contcar.parsed(text, len(self.names))
        if contcar is None or self.last is None:
            return None
        if self.step == 0 and self.kind != thermostat_of(self.dynamics, False):
            # another ensemble cannot read this thermostat's lines
            text = "\n".join(text.splitlines()[: contcar.end_of_velocities]) + "\n"
        return DynamicsState(
            self.step, self.state.numbers, self.state.cell, self.positions,
            contcar.velocities[self.back] * self.masses / units.fs,
            {CONTCAR: np.frombuffer(text.encode(), dtype=np.uint8)}, dict(self.rng.bit_generator.state),
        )  # fmt: skip

    def _fits(self, state: DynamicsState) -> bool:
        """Return whether CONTCAR is that of the step read last: VASP may be between the two files, or a step ahead.

        From x(k), a CONTCAR of this step is one step of its velocities away, that of the step before none, that of
        the step after two.
        """
        contcar = Contcar.parsed(bytes(state.thermostat[CONTCAR]).decode(), len(self.names))
        if contcar is None:
            return False
        coords = contcar.frac_coords[self.back]
        moved = (coords - self.frac - np.round(coords - self.frac)) @ self.lattice.matrix
        expected = contcar.velocities[self.back] * self.now.timestep_fs
        length = float(np.vdot(expected, expected))
        return length > 0 and 0.5 < float(np.vdot(moved, expected)) / length < 1.5

    def _keep(self, state: DynamicsState) -> None:
        self.sink.flush()
        self.save(state)
        self.saved = time.monotonic()

    def _say(self) -> None:
        """Note what a reader of the segment must know."""
        if CONTCAR in self.state.thermostat:
            self.notes.append(CONTINUED)
        if self.kind == "langevin" and self.state.step >= 0:
            self.notes.append(_NO_CONSERVED)
        if self.kind == "nose-hoover" and (self.now.chain_length or 1) > 1:
            self.notes.append(_NO_CHAIN)
        if self.unconverged:
            self.notes.append(f"the electrons did not converge in {self.unconverged} steps")
        if self.odd:
            self.notes.append(f"'{self.tail.path}' contradicts itself in {self.odd} steps")
        self.notes += self.inputs.notes
