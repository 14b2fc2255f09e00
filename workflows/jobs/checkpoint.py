"""Checkpoints of molecular dynamics: one file that holds all a run needs to continue, and whose it is.

A checkpoint is a numpy ``.npz`` archive without pickled objects: arrays, and a JSON text with the format's version,
the identity of the run, the step and the state of the random numbers. It is written atomically.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anodeflow.errors import InputError, StoreError
from anodeflow.files import atomic_path
from anodeflow.workflows.engines.contract import Array, DynamicsState
from anodeflow.workflows.fingerprints import run_hash as run_hash

FORMAT = "anodeflow-checkpoint"
VERSION = 1
ROWS = ("step", "potential_ev", "kinetic_ev", "conserved_ev")
_THERMOSTAT = "thermostat_"


class CheckpointVersionError(InputError):
    """A checkpoint of another version of the format: it is kept, not replaced."""


@dataclass
class Checkpoint:
    """The state of a run between two steps.

    Attributes
    ----------
    state
        What the integrator needs.
    identity
        What the run is: plain JSON values by name.
    rows
        Of the frames of this segment so far, columns :data:`ROWS`, shape (frames, 4).
    wall_time_s
        Time this segment has taken so far.
    """

    state: DynamicsState
    identity: dict[str, Any]
    rows: Array = field(default_factory=lambda: np.empty((0, len(ROWS))))
    wall_time_s: float = 0.0

    @property
    def digest(self) -> str:
        """SHA-256 of the state alone, bit for bit: equal digests go on to equal trajectories."""
        content = hashlib.sha256()
        state = self.state
        arrays = {"numbers": state.numbers, "cell": state.cell, "positions": state.positions, "momenta": state.momenta}
        for name, values in sorted((arrays | state.thermostat).items()):
            content.update(f"{name} {values.dtype.str} {values.shape} ".encode() + values.tobytes())
        content.update(json.dumps([state.step, state.rng], sort_keys=True).encode())
        return content.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; the file of before is replaced in one step.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    state = checkpoint.state
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "identity": checkpoint.identity,
        "step": state.step,
        "rng": state.rng,
        "wall_time_s": checkpoint.wall_time_s,
        "digest": checkpoint.digest,
    }
    arrays: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8),
        "numbers": state.numbers,
        "cell": state.cell,
        "positions": state.positions,
        "momenta": state.momenta,
        "rows": checkpoint.rows,
    }
    arrays |= {_THERMOSTAT + name: values for name, values in state.thermostat.items()}
    try:
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)
    except OSError as error:
        raise StoreError(
            f"checkpoint '{path}' cannot be written: {error.strerror}", "free space or set ANODEFLOW_RUNS elsewhere"
        ) from None


def load_checkpoint(path: Path, identity: dict[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint and check that it is whole and of this run.

    Parameters
    ----------
    path
        The file.
    identity
        What the run must be; None takes any.

    Raises
    ------
    InputError
        If it is missing, damaged, of another version of the format, or of another run: what differs is named.
    """
    remedy = "remove its folder and run again: the segment is computed from scratch"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta["format"] != FORMAT:
            raise InputError(f"'{path}' is not a checkpoint of anodeflow", "check the path")
        if meta["version"] != VERSION:
            raise CheckpointVersionError(
                f"checkpoint '{path}' has version {meta['version']} of the format, known is {VERSION}",
                "use the version of anodeflow that wrote it",
            )
        if identity is not None and meta["identity"] != identity:
            differing = _differences(meta["identity"], identity)
            raise InputError(f"checkpoint '{path}' is of another run: {differing}", "move its folder away")
        state = DynamicsState(
            int(meta["step"]),
            arrays["numbers"],
            arrays["cell"],
            arrays["positions"],
            arrays["momenta"],
            {n.removeprefix(_THERMOSTAT): values for n, values in arrays.items() if n.startswith(_THERMOSTAT)},
            meta["rng"],
        )
        checkpoint = Checkpoint(state, meta["identity"], arrays["rows"], float(meta["wall_time_s"]))
        if checkpoint.digest != meta["digest"] or state.positions.shape != (len(state.numbers), 3):
            raise InputError(f"checkpoint '{path}' is damaged: its content does not fit its digest", remedy)
    except FileNotFoundError:
        raise InputError(f"no checkpoint '{path}'", "run again: the segment is computed from scratch") from None
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"checkpoint '{path}' is cut short or damaged ({reason})", remedy) from None
    return checkpoint


def _differences(kept: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(kept, dict):
        return "it does not say whose"
    keys = [key for key in wanted | kept if wanted.get(key) != kept.get(key)]
    return ", ".join(f"{key} is {kept.get(key)!r}, not {wanted.get(key)!r}" for key in keys[:3])
