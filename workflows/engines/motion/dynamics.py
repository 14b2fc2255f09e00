"""Molecular dynamics with ASE's integrators, made so that a run can be stopped anywhere and resumed bit for bit.

Everything a step depends on is in :class:`DynamicsState`: positions, momenta, the thermostat's variables, the state
of the random numbers. At every checkpoint the running process itself continues from what it has just written, with a
calculator that has forgotten its neighbour lists. So an interrupted run and an uninterrupted one do the same
arithmetic in the same order.

The centre of mass rests: 3N - 3 degrees of freedom carry the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.workflows.cards import Dynamics
from anodeflow.workflows.engines.contract import Array, DynamicsState, FrameSink, Sample

# What a card leaves open.
FRICTION_PER_PS = 2.0
_EQUILIBRATION_FRICTION_PER_PS = 20.0
_DAMPING_FS = 100.0
_CHAIN_LENGTH = 3
# Beyond these a run has left physics, however hot or reactive it is.
EXPLODED_EV_PER_ANGSTROM = 150.0
_EXPLODED_ANGSTROM_PER_STEP = 1.0
# Instantaneous temperature: this many times the one asked for, and so much more.
EXPLODED_TIMES, EXPLODED_KELVIN = 5.0, 1500.0


class RestingLangevin(LangevinBAOAB):
    """ASE's BAOAB Langevin integrator with the centre of mass at rest, and the heat of the thermostat counted.

    The random and friction step acts on velocities relative to the centre of mass, which samples the 3N - 3 other
    degrees of freedom exactly; ASE's ``FixCom`` cannot be used here, because its ``adjust_forces`` changes forces
    that already add up to zero. With the heat the total energy becomes a conserved quantity
    (doi 10.1103/PhysRevE.75.056707). Scheme: doi 10.1063/1.4802990.
    """

    heat_ev = 0.0

    def _update_accel(self) -> None:
        forces = self.atoms.get_forces(md=True)
        self.accel = forces / self.masses - forces.sum(axis=0) / self.masses.sum()

    def _BAOAB_OU(self, drag_gamma_mod: Any = 0.0) -> None:  # noqa: N802 - ASE's name
        before = self.atoms.get_kinetic_energy()
        velocities = self.atoms.get_velocities() * math.exp(-self.gamma * self.dt)
        velocities += self.BAOAB_prefactor / np.sqrt(self.masses) * self.rng.normal(size=velocities.shape)
        velocities -= (self.masses * velocities).sum(axis=0) / self.masses.sum()
        self.atoms.set_velocities(velocities)
        self.heat_ev += self.atoms.get_kinetic_energy() - before


class RestingNoseHoover(NoseHooverChainNVT):
    """ASE's Nose-Hoover chain, thermostatting 3N - 3 degrees of freedom.

    ASE counts 3N: with the centre of mass at rest that is too hot by 1/(N - 1), 0.5 % for 200 atoms.
    """

    def __init__(self, atoms: Atoms, timestep: float, temperature_K: float, tdamp: float, tchain: int) -> None:
        super().__init__(atoms, timestep, temperature_K=temperature_K, tdamp=tdamp, tchain=tchain)
        self._thermostat = NoseHooverChainThermostat(
            num_atoms_global=len(atoms) - 1,
            masses=self.masses,
            temperature_K=temperature_K,
            tdamp=tdamp,
            tchain=tchain,
        )

    def _get_forces(self) -> np.ndarray:
        forces = super()._get_forces()
        return forces - self.masses * forces.sum(axis=0) / self.masses.sum()

    @property
    def chain(self) -> tuple[Array, Array]:
        """Positions and momenta of the chain, as they are, not copies."""
        return self._thermostat._eta, self._thermostat._p_eta


def thermostat_of(dynamics: Dynamics, equilibration: bool) -> str:
    """``langevin``, ``nose-hoover`` or ``none`` (NVE); equilibration is always Langevin's."""
    if equilibration:
        return "langevin"
    if dynamics.ensemble == "nve":
        return "none"
    return dynamics.thermostat or "langevin"


def equilibrating(dynamics: Dynamics) -> Dynamics:
    """What holds for the steps before time 0: Langevin's thermostat at the same temperature, held hard."""
    return dynamics.model_copy(
        update={
            "ensemble": "nvt",
            "thermostat": "langevin",
            "friction_per_ps": _EQUILIBRATION_FRICTION_PER_PS,
            "damping_fs": None,
            "chain_length": None,
        }
    )


def initial_state(atoms: Atoms, temperature_k: float, seed: int, step: int) -> DynamicsState:
    """Velocities from the Maxwell-Boltzmann distribution, without motion of the centre of mass.

    Parameters
    ----------
    atoms
        The geometry.
    temperature_k
        Temperature of the distribution.
    seed
        Decides velocities and everything random after them.
    step
        Number of the first step: minus the steps of equilibration.
    """
    rng = np.random.default_rng(seed)
    moving = atoms.copy()
    moving.set_constraint()
    thermalize_momenta(moving, temperature_k, rng=rng)
    momenta, masses = moving.get_momenta(), moving.get_masses()[:, None]
    momenta -= masses * momenta.sum(axis=0) / masses.sum()
    return DynamicsState(
        step, moving.numbers.astype(np.int64), moving.cell.array.copy(), moving.get_positions(), momenta,
        rng=dict(rng.bit_generator.state),
    )  # fmt: skip


def kinetic_temperature_k(kinetic_ev: float | Array, atoms: int) -> Any:
    """Temperature of a kinetic energy, 3N - 3 degrees of freedom."""
    return 2 * kinetic_ev / ((3 * atoms - 3) * units.kB)


class Propagator:
    """Moves one state forward.

    Parameters
    ----------
    calculator
        Any ASE calculator with energies and forces.
    dynamics
        Ensemble, time step, temperature, thermostat.
    state
        Where to start.
    """

    def __init__(self, calculator: Any, dynamics: Dynamics, state: DynamicsState) -> None:
        self._calculator, self._dynamics = calculator, dynamics
        self._names = [str(s) for s in state.atoms().symbols]
        self.load(state)

    def load(self, state: DynamicsState) -> None:
        """Go on from a state, with a calculator that remembers nothing."""
        wanted = self._dynamics
        self.step, self._kind = state.step, thermostat_of(wanted, state.step < 0)
        # ASE resets a calculator at every new geometry; one with a longer memory has a name for losing that
        reset = getattr(self._calculator, "forget", None) or getattr(self._calculator, "reset", None)
        if reset is not None:
            reset()
        self.atoms = state.atoms()
        self.atoms.calc = self._calculator
        self._rng = np.random.default_rng()
        if state.rng:
            self._rng.bit_generator.state = state.rng
        timestep = wanted.timestep_fs * units.fs
        thermostat = state.thermostat
        self._integrator: Any
        if self._kind == "langevin":
            friction = _EQUILIBRATION_FRICTION_PER_PS if state.step < 0 else (wanted.friction_per_ps or FRICTION_PER_PS)
            decay = 1000 * units.fs / friction
            langevin = RestingLangevin(
                self.atoms, timestep, temperature_K=wanted.temperature_k, T_tau=decay, rng=self._rng
            )
            langevin.heat_ev = float(thermostat.get("heat", np.zeros(1))[0])
            self._integrator = langevin
        elif self._kind == "nose-hoover":
            damping = (wanted.damping_fs or _DAMPING_FS) * units.fs
            chain = wanted.chain_length or _CHAIN_LENGTH
            nose = RestingNoseHoover(self.atoms, timestep, wanted.temperature_k, damping, chain)
            for own, saved in zip(nose.chain, ("eta", "p_eta"), strict=True):
                if saved in thermostat:
                    own[:] = thermostat[saved]
            self._integrator = nose
        else:
            self._integrator = VelocityVerlet(self.atoms, timestep)
        self._before = self.atoms.get_positions()

    def state(self) -> DynamicsState:
        """Where it is, as copies."""
        thermostat: dict[str, Array] = {}
        if isinstance(self._integrator, RestingLangevin):
            thermostat = {"heat": np.array([self._integrator.heat_ev])}
        elif isinstance(self._integrator, RestingNoseHoover):
            eta, p_eta = self._integrator.chain
            thermostat = {"eta": eta.copy(), "p_eta": p_eta.copy()}
        if self.step == 0 and self._kind != thermostat_of(self._dynamics, False):
            thermostat = {}  # equilibration ends here
        return DynamicsState(
            self.step, self.atoms.numbers.astype(np.int64), self.atoms.cell.array.copy(), self.atoms.get_positions(),
            self.atoms.get_momenta(), thermostat, dict(self._rng.bit_generator.state),
        )  # fmt: skip

    def sample(self) -> Sample:
        """Positions and energies as they are now."""
        potential, kinetic = float(self.atoms.get_potential_energy()), float(self.atoms.get_kinetic_energy())
        # forces are derivatives of the free energy of smeared electrons
        free = getattr(self._calculator, "results", {}).get("free_energy")
        conserved = (potential if free is None else float(free)) + kinetic
        if isinstance(self._integrator, RestingLangevin):
            conserved -= self._integrator.heat_ev
        elif isinstance(self._integrator, RestingNoseHoover):
            conserved += self._integrator._thermostat.get_thermostat_energy()
        return Sample(self.step, self.atoms.get_positions(), potential, kinetic, conserved)

    def advance(self) -> float:
        """One step; the largest force, eV/angstrom.

        Raises
        ------
        ConvergenceError
            If an atom moves, or is pushed, as none does: step and atom are named.
        EngineError
            If the calculator fails.
        """
        try:
            self._integrator.step()
            forces = self.atoms.get_forces(md=True)
        except (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError) as error:
            self._refuse_motion()  # atoms that are far away are the usual reason
            raise EngineError(
                f"the calculator failed at step {self.step + 1}: {error}", "check elements and geometry"
            ) from error
        self.step += 1
        squared = np.einsum("ij,ij->i", forces, forces)
        largest = math.sqrt(squared.max()) if np.isfinite(squared).all() else math.nan
        if not largest <= EXPLODED_EV_PER_ANGSTROM:
            worst = int(np.argmax(np.where(np.isfinite(squared), squared, np.inf)))
            self._explode(worst, f"the force on it is {math.sqrt(squared[worst]):.3g} eV/angstrom")
        self._refuse_motion()
        return largest

    def _refuse_motion(self) -> None:
        now = self.atoms.get_positions()
        moved = now - self._before
        squared = np.einsum("ij,ij->i", moved, moved)
        if not squared.max() <= _EXPLODED_ANGSTROM_PER_STEP**2:
            worst = int(np.argmax(np.where(np.isfinite(squared), squared, np.inf)))
            self._explode(worst, f"it moves {math.sqrt(squared[worst]):.3g} angstrom in one step")
        self._before = now
        temperature = kinetic_temperature_k(self.atoms.get_kinetic_energy(), len(now))
        limit = EXPLODED_TIMES * self._dynamics.temperature_k + EXPLODED_KELVIN
        if not temperature <= limit:
            momenta = self.atoms.get_momenta()
            kinetic = np.einsum("ij,ij->i", momenta, momenta) / (2 * self.atoms.get_masses())
            worst = int(np.argmax(kinetic))
            self._explode(worst, f"the cell has {temperature:.0f} K, this atom alone {kinetic[worst]:.3g} eV")

    def _explode(self, atom: int, why: str) -> None:
        raise ConvergenceError(
            f"the dynamics exploded at step {self.step}: atom {atom + 1} ({self._names[atom]}): {why}",
            f"shorten timestep_fs (now {self._dynamics.timestep_fs:g}), or relax the geometry better first",
        )


def propagate(
    state: DynamicsState,
    calculator: Any,
    dynamics: Dynamics,
    *,
    last_step: int,
    sample_every: int,
    checkpoint_every: int,
    sink: FrameSink,
    save: Callable[[DynamicsState], None],
    report: Callable[[int, float, float], None] | None = None,
    include_start: bool = False,
) -> DynamicsState:
    """Run from a state to a step, with frames and checkpoints at multiples of their intervals.

    The state itself gives a frame only with ``include_start``, for the very first of a run: two calls one after the
    other give every frame once. At a checkpoint first the frames are put on disk, then ``save`` is called.

    Parameters
    ----------
    state
        Where to start.
    calculator, dynamics
        As for :class:`Propagator`.
    last_step
        Number of the last step; always ends with a checkpoint.
    sample_every, checkpoint_every
        Steps between frames and between checkpoints.
    sink, save
        Who takes frames and checkpoints.
    report
        Called after every step with step, potential energy in eV and largest force in eV/angstrom; may raise to stop.
    include_start
        Make a frame of the state itself.

    Raises
    ------
    ConvergenceError, EngineError
        As :meth:`Propagator.advance`.
    """
    if state.step >= last_step:
        return state
    mover = Propagator(calculator, dynamics, state)
    if include_start:
        sink.append(mover.sample())
    while mover.step < last_step:
        largest = mover.advance()
        if mover.step % sample_every == 0:
            sink.append(mover.sample())
        if mover.step % checkpoint_every == 0 or mover.step == last_step:
            state = mover.state()
            sink.flush()
            save(state)
            if mover.step < last_step:
                mover.load(state)
        if report is not None:
            report(mover.step, float(mover.atoms.get_potential_energy()), largest)
    return state
