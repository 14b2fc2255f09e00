"""The trajectory file of one segment of dynamics, written frame by frame and cut back to its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anodeflow.analysis.trajectories.compact import CompactTrajectory, TrajectoryWriter
from anodeflow.analysis.trajectories.frames import Frame
from anodeflow.files import atomic_path
from anodeflow.workflows.cards import Dynamics
from anodeflow.workflows.engines.contract import Sample
from anodeflow.workflows.engines.motion.dynamics import kinetic_temperature_k
from anodeflow.workflows.jobs.checkpoint import ROWS, Checkpoint

# Frames that a checkpoint does not know are computed again: the disk need not have them before.
_NEVER = 1_000_000


class SegmentFrames:
    """Writes the frames of one segment and keeps their energies.

    Parameters
    ----------
    path
        The file; frames behind the checkpoint are dropped from one that is there.
    checkpoint
        Where the segment begins or continues.
    dynamics
        How the atoms move.
    metadata
        What else the file says of the run.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint, dynamics: Dynamics, metadata: dict[str, Any]) -> None:
        self._dt = dynamics.timestep_fs
        symbols: Any = checkpoint.state.atoms().symbols
        self._cell, self._species = checkpoint.state.cell, np.array(list(symbols))
        self._rows = [tuple(row) for row in checkpoint.rows]
        if path.exists():
            _cut_back(path, len(self._rows), self._species, metadata)
        self._writer = TrajectoryWriter(path, self._species, metadata=metadata, append=path.exists(), sync_every=_NEVER)

    def append(self, sample: Sample) -> None:
        """See :class:`anodeflow.workflows.engines.contract.FrameSink`."""
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
        """See :class:`anodeflow.workflows.engines.contract.FrameSink`."""
        self._writer.sync()

    def rows(self) -> NDArray[np.float64]:
        """Return the energies of all frames so far, columns :data:`ROWS`."""
        return np.array(self._rows, dtype=float).reshape(len(self._rows), len(ROWS))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _cut_back(path: Path, frames: int, species: NDArray[np.str_], metadata: dict[str, Any]) -> None:
    """Drop the frames behind the checkpoint, which will be computed again."""
    trajectory = CompactTrajectory(path)
    if len(trajectory) <= frames:
        return
    with atomic_path(path) as temporary, TrajectoryWriter(temporary, species, metadata=metadata) as writer:
        for index in range(frames):
            writer.write(trajectory[index])
