"""An audit of a potential: what would go wrong in a study, looked for on purpose before it is used.

Pairs of atoms are pushed together to 1 angstrom, in vacuum and in each crystal; atoms of crystals are displaced, and
cells compressed, and nothing may lie below the crystal; cells are relaxed; short dynamics run with and without a
thermostat. Everything ends in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.audits import AuditDoc, PairScan, PhaseAudit, conclude_audit, judge_phase, pair_scan
from anodeflow.documents import EngineRecord
from anodeflow.errors import AnodeflowError, EngineError, InputError
from anodeflow.files import json_sha256
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.close_pairs import (
    FAR,
    NEAREST_ANGSTROM,
    WALL,
    covalent_sum,
    nearest_pairs,
    pairs_in_vacuum,
    pushed_together,
)
from anodeflow.structures.packings import held_by_dispersion
from anodeflow.workflows.cards import Dynamics, load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import DynamicsState, Outcome, Request, Sample, Task
from anodeflow.workflows.engines.motion.dynamics import initial_state, kinetic_temperature_k, propagate
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.audit_interfaces import KnownInterface, asked_interfaces
from anodeflow.workflows.jobs.audit_numbers import audit_numbers

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore
    from maggma.core import Store

_AUDIT = "audit"
#: The phases of anodes, electrolytes and what forms between them.
PHASES = ("Li", "Al", "LiAl", "Li9Al4", "LiCl", "Li2S", "Li3P", "Li6PS5Cl-ordered", "gamma-Li3PS4")

_STEP_ANGSTROM = 0.08
_SMALLEST_CELL_ANGSTROM, _MOST_ATOMS = 5.5, 80
#: Displacements in angstrom and volumes of cells in the hunt for holes; each with three seeds.
_DISPLACED = ((0.2, 1.0), (0.4, 1.0), (0.4, 0.8), (0.6, 0.9))
_SEEDS = 3
_TIMESTEP_FS, _SAMPLE_EVERY = 1.0, 10


class AuditSettings(BaseModel):
    """What is audited, and how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phases: tuple[str, ...] = Field(PHASES, min_length=1)
    temperature_k: float = Field(600.0, ge=1, le=5000)
    picoseconds: float = Field(1.0, ge=0.02, le=1000)
    minutes: float = Field(20.0, gt=0, le=10_000)
    numbers: bool = False
    interfaces: tuple[str, ...] = ()


class _OutOfTimeError(Exception):
    """The time of the audit is over."""


def audit_key(engine: EngineRecord, settings: AuditSettings) -> str:
    """Return what makes two audits the same; how long one may take is not part of it."""
    # audits of before had no numbers, and later ones no interfaces
    left_out = {"minutes"} | {key for key in ("numbers", "interfaces") if not getattr(settings, key)}
    return json_sha256([_AUDIT, engine.hash, settings.model_dump(mode="json", exclude=left_out)])[:32]


def potential_named(name: str) -> Engine:
    """Return an engine without electrons.

    Raises
    ------
    InputError
        If it has electrons, or there is no such engine.
    """
    engine = get_engine(name)
    if engine.capabilities.electrons:
        raise InputError(f"engine '{name}' has electrons: there is nothing to audit", "name a potential or its file")
    return engine


def audited(
    name: str, settings: AuditSettings, report: Callable[[str], None] | None = None,
    interfaces: Sequence[KnownInterface] = (),
) -> AuditDoc:  # fmt: skip
    """Audit a potential.

    Parameters
    ----------
    name
        Of the engine, e.g. ``sevennet:PATH``.
    settings
        What, and how long.
    report
        Told what is looked at.
    interfaces
        Whose energies are computed, too; the settings hold their fingerprints.

    Raises
    ------
    InputError
        If the engine has electrons, or there is no such phase.
    EngineError
        If the engine is not there.
    """
    engine = potential_named(name)
    crystals = {phase: load_crystal(phase) for phase in settings.phases}
    record = engine.record()
    doc = AuditDoc(
        fingerprint=audit_key(record, settings), engine=record, settings=settings.model_dump(mode="json")
    )  # fmt: skip
    tell = report or (lambda text: None)
    auditor = _Auditor(name, settings, time.monotonic() + 60 * settings.minutes)
    elements = sorted({element for crystal in crystals.values() for element in crystal.symbol_set})
    try:
        for a, b in combinations_with_replacement(elements, 2):
            tell(f"{a}-{b} in vacuum")
            doc.scans.append(auditor.dimer(a, b))
    except _OutOfTimeError:
        doc.unfinished.append("pairs in vacuum: out of time")
    except EngineError as error:
        doc.problems.append(f"pairs in vacuum: {error.problem}")
    for phase, crystal in crystals.items():
        tell(phase)
        scans, found_phase = auditor.phase(phase, crystal)
        doc.scans += scans
        doc.phases.append(found_phase)
    if settings.numbers:
        tell("surface, interface and formation energies, elastic moduli")
        auditor.numbers(doc, interfaces)
    return conclude_audit(doc)


class _Auditor:
    """One potential, and the time that is left."""

    def __init__(self, name: str, settings: AuditSettings, deadline: float) -> None:
        self._engine, self._settings, self._deadline = get_engine(name), settings, deadline
        self._card = load_card("embedded")
        self._relaxed: dict[str, Outcome] = {}

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _OutOfTimeError

    def _energy(self, structure: Structure) -> float:
        """Return an energy, however large the forces are, which a calculation would refuse."""
        self._check_time()
        atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
        atoms.calc = self._engine.ase_calculator(structure, self._card)
        try:
            energy = float(atoms.get_potential_energy())
        except Exception as error:  # whatever a library may raise is a finding
            raise EngineError(f"no energy of {structure.composition.formula}: {error}", "look at the model") from None
        if not np.isfinite(energy):
            raise EngineError(f"the energy of {structure.composition.formula} is {energy}", "look at the model")
        return energy

    def numbers(self, doc: AuditDoc, interfaces: Sequence[KnownInterface]) -> None:
        """Fill in what can be set beside known numbers."""
        doc.numbers = []
        more = asked_interfaces(interfaces, self._engine, self._card, self._relaxed)
        try:
            for number in audit_numbers(self._engine, self._card, self._relaxed, self._check_time, more):
                doc.numbers.append(number)
                if number.error is not None:
                    doc.problems.append(f"{number.quantity} of {number.of}: {number.error}")
        except _OutOfTimeError:
            doc.unfinished.append("surface, interface and formation energies, elastic moduli: out of time")

    # --- pairs

    def dimer(self, a: str, b: str) -> PairScan:
        """Scan two atoms in a box."""
        r = _distances(FAR * covalent_sum(a, b))
        energies = [self._energy(pairs_in_vacuum(a, b, [distance])) for distance in r]
        return pair_scan(f"{a}-{b}", "in vacuum", r, energies, WALL * covalent_sum(a, b))

    def _neighbours(self, phase: str, cell: Structure) -> Iterator[PairScan]:
        """Scan the nearest pair of each two elements of a crystal; both atoms move."""
        for pair in nearest_pairs(cell):
            r = _distances(pair.distance_angstrom)
            energies = [self._energy(pushed_together(cell, pair, near)) for near in r]
            wall = WALL * covalent_sum(*pair.elements)
            yield pair_scan("-".join(pair.elements), f"in {phase}", r, energies, wall)

    # --- crystals

    def phase(self, name: str, crystal: Structure) -> tuple[list[PairScan], PhaseAudit]:
        """Audit one crystal; what goes wrong is a problem of it."""
        cell = _enlarged(crystal)
        audit = PhaseAudit(crystal=name, atoms=len(cell))
        scans: list[PairScan] = []
        try:
            self._check_time()
            task: Task = "relax" if held_by_dispersion(name) else "relax_cell"  # its card adds no dispersion
            outcome = self._engine.compute(Request(crystal, task, self._card))
            if not outcome.converged:
                audit.problems.append(f"it does not relax: {outcome.error}")
                return scans, audit
            self._relaxed[name] = outcome
            audit.volume_change_percent = 100 * (outcome.structure.volume / crystal.volume - 1)
            cell = _enlarged(outcome.structure)
            scans += list(self._neighbours(name, cell))
            self._hunt(cell, audit)
            self._move(cell, audit)
        except _OutOfTimeError:
            audit.unfinished = f"out of time after {audit.dynamics_ps:g} ps of dynamics"
        except AnodeflowError as error:
            audit.problems.append(str(error))
        except Exception as error:  # whatever a library may raise is a finding
            audit.problems.append(f"{type(error).__name__}: {error}")
        judge_phase(audit, self._settings.temperature_k)
        return scans, audit

    def _hunt(self, cell: Structure, audit: PhaseAudit) -> None:
        """Displace all atoms, and compress the cell."""
        rest = self._energy(cell)
        lowest = np.inf
        for displacement, volume in _DISPLACED:
            for seed in range(_SEEDS):
                moved = cell.copy().perturb(displacement, 0.0, seed=seed)
                moved.scale_lattice(volume * cell.volume)
                lowest = min(lowest, (self._energy(moved) - rest) / len(cell))
        audit.lowest_displaced_ev_per_atom = float(lowest)

    def _move(self, cell: Structure, audit: PhaseAudit) -> None:
        """Run dynamics, the first half with a thermostat."""
        atoms: Atoms = AseAtomsAdaptor.get_atoms(cell, msonable=False)
        half = max(10, round(500 * self._settings.picoseconds / _TIMESTEP_FS))
        state = initial_state(atoms, self._settings.temperature_k, 1, 0)
        warm = _Frames(self._check_time)
        shared: dict[str, Any] = {
            "timestep_fs": _TIMESTEP_FS, "temperature_k": self._settings.temperature_k,
            "duration_ps": self._settings.picoseconds,
        }  # fmt: skip
        free = _Frames(self._check_time)
        try:
            state = self._propagate(state, Dynamics(ensemble="nvt", friction_per_ps=5.0, **shared), half, warm)
            state = self._propagate(state, Dynamics(ensemble="nve", **shared), 2 * half, free)
        finally:
            samples = [*warm.samples, *free.samples]
            audit.dynamics_ps = len(samples) * _SAMPLE_EVERY * _TIMESTEP_FS / 1000
            audit.closest = min((_closest(cell, sample.positions) for sample in samples), default=None)
        kinetic = np.array([sample.kinetic_ev for sample in warm.samples[len(warm.samples) // 2 :]])
        audit.temperature_k = float(kinetic_temperature_k(kinetic, len(cell)).mean())
        times = np.array([sample.step for sample in free.samples]) * _TIMESTEP_FS / 1000
        total = np.array([sample.potential_ev + sample.kinetic_ev for sample in free.samples]) / len(cell)
        if len(times) > 2:
            audit.drift_ev_per_atom_ps = float(np.polyfit(times, total, 1)[0])

    def _propagate(self, state: DynamicsState, dynamics: Dynamics, last_step: int, frames: _Frames) -> DynamicsState:
        calculator = self._engine.ase_calculator(AseAtomsAdaptor.get_structure(state.atoms()), self._card)
        return propagate(
            state, calculator, dynamics, last_step=last_step, sample_every=_SAMPLE_EVERY, checkpoint_every=last_step,
            sink=frames, save=lambda state: None,
        )  # fmt: skip


class _Frames:
    """Keeps the frames of a run, and ends it in time."""

    def __init__(self, check_time: Callable[[], None]) -> None:
        self.samples: list[Sample] = []
        self._check_time = check_time

    def append(self, sample: Sample) -> None:
        self.samples.append(sample)
        self._check_time()

    def flush(self) -> None:
        pass


def _distances(start: float) -> list[float]:
    """Return falling distances from this one to the nearest."""
    count = max(3, int(np.ceil((start - NEAREST_ANGSTROM) / _STEP_ANGSTROM)) + 1)
    return [float(r) for r in np.linspace(start, NEAREST_ANGSTROM, count)]


def _enlarged(crystal: Structure) -> Structure:
    """Return a crystal repeated along its short vectors, as far as atoms are few."""
    repeats = [max(1, int(np.ceil(_SMALLEST_CELL_ANGSTROM / length))) for length in crystal.lattice.abc]
    if len(crystal) * int(np.prod(repeats)) > _MOST_ATOMS:
        return crystal.copy()
    return crystal.copy().make_supercell(repeats)


def _closest(cell: Structure, positions: np.ndarray) -> float:
    """Return the shortest distance over the sum of covalent radii."""
    frame = Structure(cell.lattice, cell.species, positions, coords_are_cartesian=True)
    first, second, _, distance = frame.get_neighbor_list(4.0)
    symbols = [site.specie.symbol for site in frame]
    pairs = zip(first, second, distance, strict=True)
    ratios = [r / covalent_sum(symbols[int(i)], symbols[int(j)]) for i, j, r in pairs]
    return float(min(ratios, default=9.9))


# --- the store


def stored_audit(store: JobStore | Store, key: str) -> AuditDoc | None:
    """Return the audit with this fingerprint of a store; None where it has none."""
    wanted = {"output.doc_type": "AuditDoc", "output.fingerprint": key}
    job = store.query_one(wanted, ["output"], sort={"completed_at": -1})
    return None if job is None else AuditDoc.model_validate(job["output"])


def keep_audit(store: JobStore, document: AuditDoc) -> None:
    """Put an audit into a store, in the place of an earlier one that was asked the same."""
    job = {
        "uuid": document.fingerprint,
        "index": 1,
        "name": _AUDIT,
        "metadata": {"kind": _AUDIT, "label": _AUDIT},
        "output": document.model_dump(mode="json"),
        "completed_at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
    }
    store.docs_store.update([job], ["uuid", "index"])


def refuse_failed(store: JobStore | Store, engines: Sequence[str]) -> None:
    """Refuse model files of the user that failed an audit; another one of fewer phases or shorter does not clear them.

    Parameters
    ----------
    store
        Where the audit may be.
    engines
        Names of engines.

    Raises
    ------
    EngineError
        With the first problem.
    """
    for name in engines:
        if ":" not in name:
            continue
        wanted = {"output.doc_type": "AuditDoc", "output.engine.hash": get_engine(name).record().hash}
        audits = store.query(wanted, ["output.problems"], sort={"completed_at": -1})
        problem = next((problem for job in audits for problem in job["output"]["problems"]), None)
        if problem is not None:
            raise EngineError(
                f"the model of '{name}' failed its audit: {problem}",
                f"see anodeflow audit {name}; --force runs dynamics with it all the same",
            )
