"""One segment of molecular dynamics: continued where it was cut off, never doubled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.trajectories.compact import CompactTrajectory
from anodeflow.documents import CalculationDoc, EngineRecord
from anodeflow.errors import ConvergenceError, EngineError, InputError
from anodeflow.files import file_sha256, write_atomically
from anodeflow.settings import places_of_run
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines.contract import DynamicsState
from anodeflow.workflows.engines.motion.dynamics import initial_state, kinetic_temperature_k
from anodeflow.workflows.fingerprints import run_hash, segment_key, structure_digest
from anodeflow.workflows.jobs.checkpoint import (
    ROWS,
    Checkpoint,
    CheckpointVersionError,
    load_checkpoint,
    save_checkpoint,
)
from anodeflow.workflows.jobs.folders import calculation_folder, make_folder
from anodeflow.workflows.jobs.recognised import Attempt, Recognised, job_of
from anodeflow.workflows.jobs.segment_frames import SegmentFrames

if TYPE_CHECKING:
    from jobflow import Job, JobStore, OutputReference

CHECKPOINT = "checkpoint.npz"
TRAJECTORY = "trajectory.atraj"
# Of the whole run, for an engine whose settings depend on the geometry.
_FIRST = "first.json"
# A start with larger forces is not a geometry that a few steps of dynamics would fix.
_STRAINED_EV_PER_ANGSTROM = 5.0
_NO_START = ("a run without a geometry to start from", "see the first failure of this run")


class DynamicsRun(BaseModel):
    """What a replica is, apart from its geometry and its length."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dynamics: Dynamics
    seed: int
    equilibration_steps: int
    sample_every: int
    checkpoint_every: int

    def identity(self, geometry: str, card: MethodCard, engine: EngineRecord) -> dict[str, Any]:
        """Return what decides every step of the run; its duration does not.

        Parameters
        ----------
        geometry
            Digest of the first geometry.
        card
            How accurately; its own settings of dynamics do not count, as a study has taken or overridden these.
        engine
            Who computes.
        """
        settings = self.dynamics.model_dump(mode="json", exclude={"duration_ps"}, exclude_none=True)
        return {
            "geometry": geometry,
            "card": card.model_copy(update={"dynamics": None}).hash,
            "engine": engine.hash,
            **({"potentials": engine.potentials} if engine.potentials else {}),
            "seed": self.seed,
            **settings,
            **self.model_dump(include={"equilibration_steps", "sample_every", "checkpoint_every"}),
        }


def dynamics_segment(
    start: CalculationDoc | Structure | OutputReference | None,
    previous: DynamicsSegmentDoc | OutputReference | None,
    run: DynamicsRun | Mapping[str, Any],
    card: MethodCard | Mapping[str, Any],
    engine: str,
    label: str,
    first_step: int,
    last_step: int,
) -> Job:
    """Return a job whose output is a :class:`DynamicsSegmentDoc`.

    Parameters
    ----------
    start
        Geometry of the first segment: a structure, or the document of its relaxation, or a reference to either.
    previous
        The segment before or a reference to it; None for the first.
    run
        What the run is; a mapping holds fields of :class:`DynamicsRun`.
    card
        How accurately.
    engine
        Name of the engine.
    label
        What a person calls it.
    first_step, last_step
        It begins from the state at the first and ends at the last.
    """
    return job_of(
        Segment(
            card=MethodCard.model_validate(card),
            engine=engine,
            label=label,
            start=cast("CalculationDoc | Structure | None", start),
            previous=cast("DynamicsSegmentDoc | None", previous),
            run=DynamicsRun.model_validate(run),
            first_step=first_step,
            last_step=last_step,
        )
    )


def files_are_whole(doc: DynamicsSegmentDoc) -> bool:
    """Return whether both files of a segment are where it left them, unchanged."""
    folder = Path(doc.directory)
    wanted = ((doc.trajectory, doc.trajectory_sha256), (doc.checkpoint, doc.checkpoint_sha256))
    try:
        return all(file_sha256(folder / name) == digest for name, digest in wanted)
    except OSError:
        return False


@dataclass(frozen=True, eq=False)
class Segment(Recognised[DynamicsSegmentDoc]):
    """A segment of a run.

    Parameters
    ----------
    card, engine, label
        See :class:`Recognised`.
    start
        Geometry of the first segment: a structure, or the document of its relaxation; None for a later one.
    previous
        The segment before; None for the first.
    run
        What the run is.
    first_step, last_step
        It begins from the state at the first and ends at the last.
    """

    start: CalculationDoc | Structure | None
    previous: DynamicsSegmentDoc | None
    run: DynamicsRun
    first_step: int
    last_step: int

    document = DynamicsSegmentDoc

    # --- what makes it recognised

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides every step of the run.

        Raises
        ------
        InputError, ConvergenceError
            If there is no geometry to start from, or the segment before is of another run.
        """
        engine = self.engine_record()
        if self.previous is None:
            return self.run.identity(structure_digest(self._geometry), self.card, engine)
        identity = self.run.identity(self.previous.identity["geometry"], self.card, engine)
        if run_hash(identity) != self.previous.run:
            raise InputError(
                f"segment '{self.previous.label}' is of another run: {self.previous.run} instead of "
                f"{run_hash(identity)}",
                "start both with the same study file",
            )
        return identity

    @cached_property
    def key(self) -> str:
        """See :class:`Recognised`: the run and the steps."""
        return segment_key(run_hash(self.identity), self.first_step, self.last_step)

    @property
    def elements(self) -> tuple[str, ...]:
        """See :class:`Recognised`."""
        known = self.previous or self.start
        structure = known if isinstance(known, Structure) or known is None else known.structure
        return () if structure is None else tuple(structure.symbol_set)

    @property
    def atoms(self) -> int | None:
        """See :class:`Recognised`."""
        known = self.previous or self.start
        if isinstance(known, DynamicsSegmentDoc | CalculationDoc):
            return len(known.structure)
        return len(known) if isinstance(known, Structure) else None

    def find(self, store: JobStore | None) -> DynamicsSegmentDoc | None:
        """Return the finished segment if its files are whole, where it ran or where its archive was unpacked."""
        doc = super().find(store)
        if doc is None:
            return None
        places = (doc.model_copy(update={"directory": str(folder)}) for folder in places_of_run(doc.directory))
        return next((here for here in places if files_are_whole(here)), None)

    def is_settled(self, doc: DynamicsSegmentDoc) -> bool:
        """Return True: only finished segments are stored."""
        return True

    @property
    def _geometry(self) -> Structure:
        """The geometry of a first segment."""
        start = self.start
        if start is None:
            raise InputError(*_NO_START)
        if isinstance(start, Structure):
            return start
        largest = start.max_force_ev_per_angstrom
        if start.energy_ev is None or largest is None or largest > _STRAINED_EV_PER_ANGSTROM:
            raise ConvergenceError(
                f"'{start.label}' is not a geometry to start from ({start.error or f'force {largest} eV/angstrom'})",
                "look at the structure: atoms may be too close",
            )
        return start.structure

    # --- computing it

    def compute(self, attempt: Attempt[DynamicsSegmentDoc]) -> DynamicsSegmentDoc:
        """See :class:`Recognised`.

        Raises
        ------
        ConvergenceError
            If the dynamics explode; what was written stays.
        InputError
            If a checkpoint is damaged or belongs to another run.
        """
        folder = calculation_folder(self.label, self.key)
        make_folder(folder)
        notes: list[str] = []
        checkpoint = self._left(folder, notes)
        fresh = checkpoint is None
        if checkpoint is None:
            for file in (TRAJECTORY, CHECKPOINT):
                (folder / file).unlink(missing_ok=True)
            checkpoint = self._begun()
        frames = SegmentFrames(folder / TRAJECTORY, checkpoint, self.run.dynamics, self._metadata())
        try:
            last = self._moved(checkpoint, fresh, folder, frames, attempt, notes)
        finally:
            frames.close()
        if not fresh:
            notes.append(f"continued at step {checkpoint.state.step} of an earlier attempt")
        made_steps = checkpoint.state.step < self.last_step
        return self._document(attempt, last, frames.rows(), folder, notes,
                              checkpoint.wall_time_s + (attempt.seconds() if made_steps else 0.0))  # fmt: skip

    def _moved(
        self,
        checkpoint: Checkpoint,
        fresh: bool,
        folder: Path,
        frames: SegmentFrames,
        attempt: Attempt[DynamicsSegmentDoc],
        notes: list[str],
    ) -> DynamicsState:
        """Return the state at the last step."""
        first = self._first_geometry() if self._engine.capabilities.electrons else None
        if first is not None:
            _write(folder / _FIRST, json.dumps(first.as_dict()))

        def save(state: DynamicsState) -> None:
            seconds = checkpoint.wall_time_s + attempt.seconds()
            save_checkpoint(Checkpoint(state, self.identity, frames.rows(), seconds), folder / CHECKPOINT)

        if checkpoint.state.step >= self.last_step:
            return checkpoint.state
        return self._engine.dynamics(
            checkpoint.state,
            self.card,
            self.run.dynamics,
            directory=folder,
            notes=notes,
            first=first,
            last_step=self.last_step,
            sample_every=self.run.sample_every,
            checkpoint_every=self.run.checkpoint_every,
            sink=frames,
            save=save,
            report=lambda step, energy, force: monitor.report(self.label, step, energy, force),
            include_start=fresh and self.previous is None,
        )

    def _document(
        self,
        attempt: Attempt[DynamicsSegmentDoc],
        last: DynamicsState,
        rows: NDArray[np.float64],
        folder: Path,
        notes: list[str],
        seconds: float,
    ) -> DynamicsSegmentDoc:
        temperatures = kinetic_temperature_k(rows[:, 2], len(last.numbers))
        provenance = self.provenance(attempt)
        provenance["wall_time_s"] = seconds
        return DynamicsSegmentDoc(
            **provenance,
            run=run_hash(self.identity),
            identity=self.identity,
            seed=self.run.seed,
            phase="equilibration" if self.first_step < 0 else "production",
            first_step=self.first_step,
            last_step=self.last_step,
            timestep_fs=self.run.dynamics.timestep_fs,
            sample_every=self.run.sample_every,
            frames=len(rows),
            mean_temperature_k=float(temperatures.mean()),
            temperature_std_k=float(temperatures.std()),
            drift_mev_per_atom_per_ps=drift(rows, self.run.dynamics.timestep_fs, len(last.numbers)),
            structure=_structure(last),
            directory=str(folder),
            trajectory=TRAJECTORY,
            trajectory_sha256=file_sha256(folder / TRAJECTORY),
            checkpoint=CHECKPOINT,
            checkpoint_sha256=file_sha256(folder / CHECKPOINT),
            checkpoint_digest=Checkpoint(last, self.identity).digest,
            steps_per_hour=(self.last_step - self.first_step) / seconds * 3600 if seconds else 0.0,
            warnings=notes,
            arrays={column: rows[:, n].astype(int if column == "step" else float) for n, column in enumerate(ROWS)},
        )

    def _metadata(self) -> dict[str, Any]:
        """Return what the trajectory file says of its run."""
        engine, moving = self.engine_record(), self.run.dynamics
        return {
            "run": run_hash(self.identity),
            "engine": f"{engine.name} {engine.hash}",
            "card_hash": self.identity["card"],
            "seed": self.run.seed,
            "timestep_fs": moving.timestep_fs,
            "steps_between_frames": self.run.sample_every,
            "temperature_k": moving.temperature_k,
            "ensemble": moving.ensemble,
            "first_step": self.first_step,
        }

    def _first_geometry(self) -> Structure:
        """Return the geometry the run began with, handed on from segment to segment.

        Raises
        ------
        InputError
            If the file of it is damaged.
        """
        previous = self.previous
        if previous is None:
            geometry = self._geometry
            return Structure(geometry.lattice, geometry.species, geometry.frac_coords)
        file = Path(previous.directory) / _FIRST
        try:
            return Structure.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return previous.structure  # the cell and its atoms are the same, and so are the settings but in odd cases
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"'{file}' cannot be read: {error}", f"remove '{previous.directory}' and run again"
            ) from None

    def _begun(self) -> Checkpoint:
        """Return the state the segment starts from: new velocities, or the last state of the segment before."""
        previous, run = self.previous, self.run
        if previous is None:
            atoms: Atoms = AseAtomsAdaptor.get_atoms(self._geometry, msonable=False)
            return Checkpoint(
                initial_state(atoms, run.dynamics.temperature_k, run.seed, self.first_step), self.identity
            )
        checkpoint = load_checkpoint(Path(previous.directory) / previous.checkpoint, self.identity)
        if checkpoint.state.step != self.first_step or checkpoint.digest != previous.checkpoint_digest:
            raise InputError(
                f"checkpoint of '{previous.label}' is at step {checkpoint.state.step} with digest "
                f"{checkpoint.digest[:12]}, expected {self.first_step} and {previous.checkpoint_digest[:12]}",
                f"remove '{previous.directory}' and run again",
            )
        return Checkpoint(checkpoint.state, self.identity)

    def _left(self, folder: Path, notes: list[str]) -> Checkpoint | None:
        """Return where a killed attempt can continue; None to start the segment from scratch.

        Raises
        ------
        InputError
            If the folder holds another run.
        """
        file = folder / CHECKPOINT
        if not file.exists():
            return None
        try:
            checkpoint = load_checkpoint(file)
        except CheckpointVersionError:
            raise
        except InputError as error:
            notes.append(f"started from scratch: {error.problem}")
            return None
        load_checkpoint(file, self.identity)
        step = checkpoint.state.step
        wanted = [int(row[0]) for row in checkpoint.rows]
        try:
            have = CompactTrajectory(folder / TRAJECTORY).steps()
        except (InputError, OSError) as error:
            have, problem = [], str(error)
        else:
            problem = f"it holds frames {have[:1]} to {have[-1:]}, the checkpoint is at step {step}"
        if not self.first_step < step <= self.last_step or have[: len(wanted)] != wanted:
            notes.append(
                f"started from scratch: the trajectory of the earlier attempt does not fit its checkpoint: {problem}"
            )
            return None
        return checkpoint


def drift(rows: NDArray[np.float64], timestep_fs: float, atoms: int) -> float | None:
    """Return the slope of the conserved quantity in meV per atom and ps, by least squares.

    0 for fewer than three frames, None where the engine gives no such quantity (NaN).

    Parameters
    ----------
    rows
        Of all frames, columns :data:`ROWS`.
    timestep_fs
        Of one step.
    atoms
        Of the cell.
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


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise EngineError(f"cannot write '{path}': {error.strerror}", "check the folder and the disk") from None
