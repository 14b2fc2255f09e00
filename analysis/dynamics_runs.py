"""What a molecular-dynamics run leaves in the store, segment by segment."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_serializer
from pymatgen.core import Structure

from anodeflow.documents import ComputedDoc


class DynamicsSegmentDoc(ComputedDoc):
    """One piece of a run: where it began and ended, and the files that hold its frames and its last state."""

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("reason", "error", "warm_start")

    doc_type: Literal["DynamicsSegmentDoc"] = "DynamicsSegmentDoc"
    fingerprint: str = Field(description="hash of the run and the steps")
    run: str = Field(description="hash of the identity")
    identity: dict[str, Any] = Field(description="geometry, card, engine, seed, ensemble, intervals")
    seed: int
    phase: Literal["equilibration", "production"]
    first_step: int = Field(description="state it began from; negative in equilibration")
    last_step: int
    timestep_fs: float
    sample_every: int = Field(description="steps between frames")
    frames: int
    converged: bool = Field(True, description="it ended in order")
    mean_temperature_k: float
    temperature_std_k: float
    drift_mev_per_atom_per_ps: float | None = Field(
        description="slope of the conserved quantity, heat of Langevin included; None: the engine gives none"
    )
    structure: Structure = Field(description="at the last step, wrapped")
    directory: str
    trajectory: str = Field(description="file name")
    trajectory_sha256: str
    checkpoint: str = Field(description="file name")
    checkpoint_sha256: str
    checkpoint_digest: str = Field(description="SHA-256 of the last state, bit for bit")
    wall_time_s: float
    steps_per_hour: float
    arrays: dict[str, Any] | None = Field(
        None, description="per frame: step, potential_ev, kinetic_ev, conserved_ev (NaN: not given); stored apart"
    )

    @field_serializer("structure", when_used="json")
    def _as_dictionary(self, structure: Structure | None) -> dict[str, Any] | None:
        return None if structure is None else structure.as_dict()

    @property
    def duration_ps(self) -> float:
        """Length of the segment."""
        return (self.last_step - self.first_step) * self.timestep_fs / 1000
