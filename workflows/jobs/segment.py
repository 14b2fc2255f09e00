"""One segment of molecular dynamics as a jobflow job: continued, recognised if it is done, never doubled."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jobflow import CURRENT_JOB, JobConfig, job
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.trajectories.compact import CompactTrajectory, TrajectoryWriter
from anodeflow.analysis.trajectories.frames import Frame
from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import ConvergenceError, InputError
from anodeflow.settings import places_of_run
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.contract import DynamicsState, Sample
from anodeflow.workflows.engines.external import write_whole
from anodeflow.workflows.engines.motion.dynamics import initial_state, kinetic_temperature_k
from anodeflow.workflows.jobs.calculation import calculation_folder, make_folder, structure_digest
from anodeflow.workflows.jobs.checkpoint import (
    ROWS,
    Checkpoint,
    CheckpointVersionError,
    load_checkpoint,
    run_hash,
    save_checkpoint,
)
from anodeflow.workflows.jobs.folder_lock import alone_in

CHECKPOINT = "checkpoint.npz"
TRAJECTORY = "trajectory.atraj"
# Of the whole run, for an engine whose settings depend on the geometry.
FIRST = "first.json"
# A start with larger forces is not a geometry that a few steps of dynamics would mend.
STRAINED_EV_PER_ANGSTROM = 5.0


class DynamicsRun(BaseModel):
    """What a replica is, apart from its geometry and its length."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dynamics: Dynamics
    seed: int
    equilibration_steps: int
    sample_every: int
    checkpoint_every: int

    def identity(self, geometry: str, card: MethodCard, engine: EngineRecord) -> dict[str, Any]:
        """What decides every step of the run; its duration does not."""
        settings = self.dynamics.model_dump(mode="json", exclude={"duration_ps"}, exclude_none=True)
        return {
            "geometry": geometry,
            "card": dynamics_card(card).hash,
            "engine": engine.hash,
            **({"potentials": engine.potentials} if engine.potentials else {}),
            "seed": self.seed,
            **settings,
            **self.model_dump(include={"equilibration_steps", "sample_every", "checkpoint_every"}),
        }


def dynamics_card(card: MethodCard) -> MethodCard:
    """The card without its own settings of dynamics: a study has taken or overridden these."""
    return card.model_copy(update={"dynamics": None})


def segment_fingerprint(run: str, first_step: int, last_step: int) -> str:
    """What makes two segments the same."""
    return hashlib.sha256(json.dumps([run, first_step, last_step]).encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_are_whole(doc: DynamicsSegmentDoc) -> bool:
    """Whether both files of a segment are where it left them, unchanged."""
    folder = Path(doc.directory)
    wanted = ((doc.trajectory, doc.trajectory_sha256), (doc.checkpoint, doc.checkpoint_sha256))
    try:
        return all(file_sha256(folder / name) == digest for name, digest in wanted)
    except OSError:
        return False


def find_segment(store: Any, fingerprint: str) -> DynamicsSegmentDoc | None:
    """The finished segment with this fingerprint whose files are whole, or None."""
    if store is None:
        return None
    found = store.query_one(
        {"output.fingerprint": fingerprint, "output.doc_type": "DynamicsSegmentDoc", "output.converged": True},
        properties=["output"],
        sort={"completed_at": -1},
        load=True,
    )
    if found is None:
        return None
    doc = DynamicsSegmentDoc.model_validate(found["output"])
    for folder in places_of_run(doc.directory):
        here = doc.model_copy(update={"directory": str(folder)})
        if files_are_whole(here):
            return here
    return None


def _identity(
    start: CalculationDoc | Structure | None, previous: DynamicsSegmentDoc | None, run: DynamicsRun,
    card: MethodCard, engine: EngineRecord,
) -> dict[str, Any]:  # fmt: skip
    if previous is None:
        if start is None:
            raise InputError("a run without a geometry to start from", "see the first failure of this run")
        return run.identity(structure_digest(_geometry(start)), card, engine)
    identity = run.identity(previous.identity["geometry"], card, engine)
    if run_hash(identity) != previous.run:
        raise InputError(
            f"segment '{previous.label}' is of another run: {previous.run} instead of {run_hash(identity)}",
            "start both with the same study file",
        )
    return identity


def _elements(start: CalculationDoc | Structure | None, previous: DynamicsSegmentDoc | None) -> tuple[str, ...]:
    """Elements of the run, whose pseudopotentials belong to the record of an engine with electrons."""
    known = previous or start
    structure = known if isinstance(known, Structure) or known is None else known.structure
    return () if structure is None else tuple(structure.symbol_set)


def _geometry(start: CalculationDoc | Structure) -> Structure:
    if isinstance(start, Structure):
        return start
    largest = start.max_force_ev_per_angstrom
    if start.energy_ev is None or largest is None or largest > STRAINED_EV_PER_ANGSTROM:
        raise ConvergenceError(
            f"'{start.label}' is no geometry to start from ({start.error or f'force {largest} eV/angstrom'})",
            "look at the structure: atoms may be too close",
        )
    return start.structure


def is_finished(
    store: Any, start: Any, previous: Any, run: dict[str, Any], card: dict[str, Any], engine: str, label: str,
    first_step: int, last_step: int,
) -> bool:  # fmt: skip
    """Whether the segment with these arguments is in the store, and its files are whole."""
    try:
        method, record = MethodCard.model_validate(card), get_engine(engine).record(_elements(start, previous))
        identity = _identity(start, previous, DynamicsRun.model_validate(run), method, record)
    except (InputError, ConvergenceError):
        return False
    return find_segment(store, segment_fingerprint(run_hash(identity), first_step, last_step)) is not None


@job(data="arrays", config=JobConfig(expose_store=True))
def dynamics_segment(
    start: CalculationDoc | Structure | None,
    previous: DynamicsSegmentDoc | None,
    run: dict[str, Any],
    card: dict[str, Any],
    engine: str,
    label: str,
    first_step: int,
    last_step: int,
) -> DynamicsSegmentDoc:
    """Run one segment, go on within it, or hand out the finished one.

    Parameters
    ----------
    start
        Geometry of the first segment: a structure, or the document of its relaxation.
    previous
        The segment before; None for the first.
    run
        A :class:`DynamicsRun`, as a plain mapping.
    card, engine
        Method card, as a plain mapping, and name of the engine.
    label
        What a person calls it.
    first_step, last_step
        It begins from the state at the first and ends at the last.

    Raises
    ------
    ConvergenceError
        If the dynamics explode; what was written stays.
    InputError
        If a checkpoint is damaged or belongs to another run.
    """
    wanted, method = DynamicsRun.model_validate(run), MethodCard.model_validate(card)
    identity = _identity(start, previous, wanted, method, get_engine(engine).record(_elements(start, previous)))
    key = segment_fingerprint(run_hash(identity), first_step, last_step)
    finished = find_segment(CURRENT_JOB.store, key)
    if finished is not None:
        return finished
    folder = calculation_folder(label, key)
    with alone_in(folder) as waited:
        finished = find_segment(CURRENT_JOB.store, key) if waited else None
        if finished is not None:
            return finished
        make_folder(folder)
        return _computed(start, previous, wanted, method, engine, identity, key, label, first_step, last_step, folder)


def _computed(
    start: CalculationDoc | Structure | None, previous: DynamicsSegmentDoc | None, wanted: DynamicsRun,
    method: MethodCard, engine: str, identity: dict[str, Any], key: str, label: str, first_step: int, last_step: int,
    folder: Path,
) -> DynamicsSegmentDoc:  # fmt: skip
    """Run a segment in its folder, from where an earlier attempt got."""
    who, name = get_engine(engine), run_hash(identity)
    record = who.record(_elements(start, previous))
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    notes: list[str] = []
    checkpoint = _continued(folder, identity, first_step, last_step, wanted, notes)
    fresh = checkpoint is None
    if checkpoint is None:
        for file in (TRAJECTORY, CHECKPOINT):
            (folder / file).unlink(missing_ok=True)
        checkpoint = _begun(start, previous, identity, wanted, first_step)
    spent = checkpoint.wall_time_s
    begun_at = checkpoint.state.step
    sink = Segment(folder / TRAJECTORY, checkpoint, wanted, record, name, first_step)

    first = None
    if who.capabilities.electrons:
        first = _first_geometry(start, previous)
        write_whole(folder / FIRST, json.dumps(first.as_dict()))

    def save(state: DynamicsState) -> None:
        wall = spent + time.perf_counter() - clock
        save_checkpoint(Checkpoint(state, identity, sink.rows(), wall), folder / CHECKPOINT)

    last = checkpoint.state
    try:
        if begun_at < last_step:
            last = who.dynamics(
                checkpoint.state,
                method,
                wanted.dynamics,
                directory=folder,
                notes=notes,
                first=first,
                last_step=last_step,
                sample_every=wanted.sample_every,
                checkpoint_every=wanted.checkpoint_every,
                sink=sink,
                save=save,
                report=lambda step, energy, force: monitor.report(label, step, energy, force),
                include_start=fresh and previous is None,
            )
    finally:
        sink.close()
    record = who.record(_elements(start, previous))  # a program tells its version only when it has run
    if not fresh:
        notes.append(f"continued at step {begun_at} of an earlier attempt")
    wall = spent + time.perf_counter() - clock if begun_at < last_step else spent
    rows = sink.rows()
    temperatures = kinetic_temperature_k(rows[:, 2], len(last.numbers))
    end = Checkpoint(last, identity)
    return DynamicsSegmentDoc(
        fingerprint=key,
        run=name,
        identity=identity,
        label=label,
        seed=wanted.seed,
        phase="equilibration" if first_step < 0 else "production",
        first_step=first_step,
        last_step=last_step,
        timestep_fs=wanted.dynamics.timestep_fs,
        sample_every=wanted.sample_every,
        frames=len(rows),
        mean_temperature_k=float(temperatures.mean()),
        temperature_std_k=float(temperatures.std()),
        drift_mev_per_atom_per_ps=drift(rows, wanted.dynamics.timestep_fs, len(last.numbers)),
        structure=_structure(last),
        directory=str(folder),
        trajectory=TRAJECTORY,
        trajectory_sha256=file_sha256(folder / TRAJECTORY),
        checkpoint=CHECKPOINT,
        checkpoint_sha256=file_sha256(folder / CHECKPOINT),
        checkpoint_digest=end.digest,
        engine=record,
        card=CardRecord(name=method.name, hash=method.hash),
        wall_time_s=wall,
        steps_per_hour=(last_step - first_step) / wall * 3600 if wall else 0.0,
        started_at=started,
        computer=platform.node(),
        warnings=notes,
        arrays={column: rows[:, n].astype(int if column == "step" else float) for n, column in enumerate(ROWS)},
    )


_decorated: Any = dynamics_segment
# The local runner asks this before it starts a worker.
_decorated.original.is_finished = is_finished


def drift(rows: NDArray[np.float64], timestep_fs: float, atoms: int) -> float | None:
    """Slope of the conserved quantity in meV per atom and ps, by least squares.

    0 for fewer than three frames, None where the engine gives no such quantity (NaN).
    """
    if not np.isfinite(rows[:, 3]).all():
        return None
    if len(rows) < 3:
        return 0.0
    times = rows[:, 0] * timestep_fs / 1000
    return float(np.polyfit(times - times.mean(), rows[:, 3] - rows[0, 3], 1)[0] / atoms * 1000)


def _structure(state: DynamicsState) -> Structure:
    structure: Structure = AseAtomsAdaptor.get_structure(state.atoms())
    return Structure(structure.lattice, structure.species, structure.frac_coords, to_unit_cell=True)


def _first_geometry(start: CalculationDoc | Structure | None, previous: DynamicsSegmentDoc | None) -> Structure:
    """The geometry the run began with, handed on from segment to segment.

    Raises
    ------
    InputError
        If the file of it is damaged.
    """
    if previous is None and start is not None:
        found = _geometry(start)
        return Structure(found.lattice, found.species, found.frac_coords)
    if previous is None:
        raise InputError("a run without a geometry to start from", "see the first failure of this run")
    file = Path(previous.directory) / FIRST
    try:
        return Structure.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return previous.structure  # the cell and its atoms are the same, and so are the settings but in odd cases
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{file}' cannot be read: {error}", f"remove '{previous.directory}' and run again") from None


def _begun(
    start: CalculationDoc | Structure | None, previous: DynamicsSegmentDoc | None, identity: dict[str, Any],
    run: DynamicsRun, first_step: int,
) -> Checkpoint:  # fmt: skip
    """The state a segment starts from: new velocities, or the last state of the segment before."""
    if previous is not None:
        found = load_checkpoint(Path(previous.directory) / previous.checkpoint, identity)
        if found.state.step != first_step or found.digest != previous.checkpoint_digest:
            raise InputError(
                f"checkpoint of '{previous.label}' is at step {found.state.step} with digest {found.digest[:12]}, "
                f"expected {first_step} and {previous.checkpoint_digest[:12]}",
                f"remove '{previous.directory}' and run again",
            )
        return Checkpoint(found.state, identity)
    if start is None:
        raise InputError("a run without a geometry to start from", "see the first failure of this run")
    atoms: Atoms = AseAtomsAdaptor.get_atoms(_geometry(start), msonable=False)
    return Checkpoint(initial_state(atoms, run.dynamics.temperature_k, run.seed, first_step), identity)


def _continued(
    folder: Path, identity: dict[str, Any], first_step: int, last_step: int, run: DynamicsRun, notes: list[str]
) -> Checkpoint | None:
    """Where a killed attempt can go on; None to start the segment anew.

    Raises
    ------
    InputError
        If the folder holds another run.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        found = load_checkpoint(file)
    except CheckpointVersionError:
        raise
    except InputError as error:
        notes.append(f"started anew: {error.problem}")
        return None
    load_checkpoint(file, identity)
    step = found.state.step
    wanted = [int(row[0]) for row in found.rows]
    try:
        have = CompactTrajectory(folder / TRAJECTORY).steps()
    except (InputError, OSError) as error:
        have, problem = [], str(error)
    else:
        problem = f"it holds frames {have[:1]} to {have[-1:]}, the checkpoint is at step {step}"
    if not first_step < step <= last_step or have[: len(wanted)] != wanted:
        notes.append(f"started anew: the trajectory of the earlier attempt does not fit its checkpoint: {problem}")
        return None
    return found


class Segment:
    """Writes the frames of one segment and keeps their energies."""

    def __init__(
        self, path: Path, checkpoint: Checkpoint, run: DynamicsRun, engine: EngineRecord, name: str, first_step: int
    ) -> None:
        self._dt = run.dynamics.timestep_fs
        atoms = checkpoint.state.atoms()
        self._cell, self._species = checkpoint.state.cell, np.array(atoms.get_chemical_symbols())
        self._rows = [tuple(row) for row in checkpoint.rows]
        metadata = {
            "run": name,
            "engine": f"{engine.name} {engine.hash}",
            "card_hash": checkpoint.identity["card"],
            "seed": run.seed,
            "timestep_fs": self._dt,
            "steps_between_frames": run.sample_every,
            "temperature_k": run.dynamics.temperature_k,
            "ensemble": run.dynamics.ensemble,
            "first_step": first_step,
        }
        if path.exists():
            _shortened(path, len(self._rows), self._species, metadata)
        self._writer = TrajectoryWriter(
            path, self._species, metadata=metadata, append=path.exists(), sync_every=1_000_000
        )

    def append(self, sample: Sample) -> None:
        """See :class:`anodeflow.workflows.engines.motion.dynamics.FrameSink`."""
        self._writer.write(
            Frame(
                len(self._rows),
                self._species,
                sample.positions,
                self._cell,
                energy_ev=sample.potential_ev,
                kinetic_energy_ev=sample.kinetic_ev,
                temperature_k=float(kinetic_temperature_k(sample.kinetic_ev, len(self._species))),
                step=sample.step,
                time_fs=sample.step * self._dt,
            )
        )
        self._rows.append((sample.step, sample.potential_ev, sample.kinetic_ev, sample.conserved_ev))

    def flush(self) -> None:
        """See :class:`anodeflow.workflows.engines.motion.dynamics.FrameSink`."""
        self._writer.sync()

    def rows(self) -> NDArray[np.float64]:
        """Energies of all frames so far, columns :data:`ROWS`."""
        return np.array(self._rows, dtype=float).reshape(len(self._rows), len(ROWS))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _shortened(path: Path, frames: int, species: NDArray[np.str_], metadata: dict[str, Any]) -> None:
    """Drop the frames behind the checkpoint, which will be computed again."""
    trajectory = CompactTrajectory(path)
    if len(trajectory) <= frames:
        return
    temporary = path.with_name(f".{path.name}.shortened")
    temporary.unlink(missing_ok=True)
    with TrajectoryWriter(temporary, species, metadata=metadata) as writer:
        for index in range(frames):
            writer.write(trajectory[index])
    temporary.replace(path)
