"""What is known of a tuned potential: its base, data, split, settings, and its errors before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from anodeflow.analysis.checks import CheckedStructure, ForceErrors, environments_of, force_errors
from anodeflow.analysis.labelled_frames import Floats, LabelledCell, LabelledFrame
from anodeflow.documents import CardRecord, Document, EngineRecord

#: Energy (eV), forces (eV/angstrom, shape (N, 3)) and stress (GPa, shape (3, 3); None where there is none).
Prediction = tuple[float, Floats, Floats | None]
Set = Literal["training", "validation", "test", "replay"]
#: Below it the reader is told that a data set says little.
_FEW_FRAMES, _FEW_SYSTEMS = 100, 5
#: A slope of forces further from one than this is remarked upon.
_SLOPE_TOLERANCE = 0.05
#: Largest forces in dynamics of a few hundred kelvin are above this, those of relaxations below.
_WARM_EV_PER_ANGSTROM = 1.0
#: A cell whose largest force is smaller than this is taken to be at a minimum.
_AWAY_EV_PER_ANGSTROM = 0.1


class TunedFrames(Document):
    """The frames of one calculation in the data set."""

    label: str = Field(description="of the calculation")
    fingerprint: str = Field(description="of the calculation")
    system: str = Field(description="what the data set is split by")
    set: Set = Field(description="which part of the split")
    formula: str
    digests: list[str] = Field(description="hash of geometry and labels of each frame")


class SetErrors(Document):
    """Errors of a model on one part of the data set."""

    set: Set
    model: Literal["before", "after"]
    frames: int
    energy_rmse_ev_per_atom: float = Field(description="with the references fitted to the training frames")
    stress_rmse_gpa: float | None = Field(None, description="of components, where stresses are known")
    forces: list[ForceErrors] = Field(default_factory=list, description="by element and environment")

    @property
    def all_forces(self) -> ForceErrors:
        """Of all atoms."""
        return next(errors for errors in self.forces if errors.scope == "all")


class Epoch(Document):
    """One pass over the training frames."""

    epoch: int
    loss: float = Field(description="on the validation frames, in the trainer's own units")
    energy_ev_per_atom: float | None = Field(None, description="error on the validation frames, by the trainer")
    force_ev_per_angstrom: float | None = Field(None, description="error on the validation frames, by the trainer")


class TunedModelDoc(Document):
    """The card of a tuned potential; it lies beside the model file."""

    doc_type: Literal["TunedModelDoc"] = "TunedModelDoc"
    fingerprint: str = Field(description="hash of base, data and settings: what makes two trainings the same")
    title: str = ""
    base: EngineRecord = Field(description="the model that was tuned")
    engine: EngineRecord = Field(description="what computed the labels")
    card: CardRecord = Field(description="how accurately")
    family: str = Field(description="name that the model is used by: FAMILY:PATH")
    model: str = Field(description="file name of the model, beside this card")
    model_sha256: str = Field(description="of the model file; its first 16 digits are in every fingerprint")
    functional: str | None = Field(None, description="whose energies it gives")
    licence: str | None = Field(None, description="of the base model's weights, which bounds this one's")
    settings: dict[str, Any] = Field(default_factory=dict, description="the tuning file, validated")
    software: dict[str, str] = Field(default_factory=dict, description="versions of packages")
    data: list[TunedFrames] = Field(default_factory=list)
    left_out: dict[str, int] = Field(default_factory=dict, description="calculations that gave no frame, and why")
    references_ev: dict[str, float] = Field(
        default_factory=dict, description="label minus model, of one atom of each element, fitted to its crystals"
    )
    replay: dict[str, int] = Field(default_factory=dict, description="frames with the base model's labels, by crystal")
    epochs: list[Epoch] = Field(default_factory=list, description="as the trainer says")
    best_epoch: int = Field(0, description="whose weights these are")
    stopped: str = Field("", description="why the training ended")
    errors: list[SetErrors] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    seconds: float = Field(0.0, description="of training, this run and those before")
    finished_at: str | None = None

    def errors_of(self, part: str, model: str) -> SetErrors | None:
        """Return the errors on one part; None where it is empty."""
        return next((e for e in self.errors if (e.set, e.model) == (part, model)), None)


def set_errors(
    part: Set, model: Literal["before", "after"], cells: Sequence[LabelledCell], predictions: Sequence[Prediction]
) -> SetErrors:
    """Compare predictions of a model with labels.

    Parameters
    ----------
    part, model
        What is compared.
    cells
        With labels on the model's scale.
    predictions
        Energy (eV), forces (eV/angstrom) and stress (GPa) of each.

    Returns
    -------
    SetErrors
        The slope is that of the model's forces against the labels, of all cells that are not at a minimum: there forces
        vanish and say nothing of it.
    """
    checked, energies, stresses = [], [], []
    for cell, (energy, forces, stress) in zip(cells, predictions, strict=True):
        energies.append((energy - cell.energy_ev) / len(cell.structure))
        if stress is not None and cell.stress_gpa is not None:
            stresses.append(np.asarray(stress - cell.stress_gpa).ravel())
        largest = float(np.linalg.norm(cell.forces_ev_per_angstrom, axis=1).max())
        checked.append(
            CheckedStructure(
                label=cell.name, kind="frame" if largest > _AWAY_EV_PER_ANGSTROM else "lowest", of=cell.name,
                group=cell.system,
                formula=cell.structure.composition.formula,
                species=[site.specie.symbol for site in cell.structure], environments=environments_of(cell.structure),
                forces_ev_per_angstrom=np.asarray(forces).tolist(),
                check_forces_ev_per_angstrom=np.asarray(cell.forces_ev_per_angstrom).tolist(),
            )
        )  # fmt: skip
    return SetErrors(
        set=part, model=model, frames=len(cells), energy_rmse_ev_per_atom=_rms(energies),
        stress_rmse_gpa=_rms(np.concatenate(stresses)) if stresses else None,
        forces=[errors for errors in force_errors(checked) if errors.scope != "kind"],
    )  # fmt: skip


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def missing_labels(trained: Sequence[LabelledFrame]) -> list[str]:
    """Return what a data set lacks for a potential that is used beyond it, one line each.

    Parameters
    ----------
    trained
        Frames to train on.
    """
    lines = []
    systems = {frame.system for frame in trained}
    if len(trained) < _FEW_FRAMES or len(systems) < _FEW_SYSTEMS:
        lines.append(
            f"{len(trained)} frames of {len(systems)} systems are few ({_FEW_FRAMES} of {_FEW_SYSTEMS} at least): the "
            "model will know these systems, and little beyond them"
        )
    largest = max(float(np.linalg.norm(frame.forces_ev_per_angstrom, axis=1).max()) for frame in trained)
    if largest < _WARM_EV_PER_ANGSTROM:
        lines.append(
            f"no force is larger than {largest:.2f} eV/Å: displaced cells and frames of dynamics are missing, which "
            "`check: {frames: 20, displaced: 3}` in a study by this potential labels"
        )
    if all(frame.stress_gpa is None for frame in trained):
        lines.append("no frame has a stress: cells and moduli are those of the base model at best")
    return lines


def tuning_warnings(doc: TunedModelDoc, trained: Sequence[LabelledFrame]) -> list[str]:
    """Return what must be known of a tuned model: what its data lack, no gain on the test systems, wrong slopes.

    Parameters
    ----------
    doc
        With its errors.
    trained
        Frames that it was trained on.
    """
    lines = missing_labels(trained)
    before, after = doc.errors_of("test", "before"), doc.errors_of("test", "after")
    if before is None or after is None:
        return lines
    if after.all_forces.rmse_ev_per_angstrom >= before.all_forces.rmse_ev_per_angstrom:
        lines.append(
            f"forces of the test systems are not better than before: {after.all_forces.rmse_ev_per_angstrom:.3f} "
            f"against {before.all_forces.rmse_ev_per_angstrom:.3f} eV/Å"
        )
    slope = after.all_forces.slope
    if slope is not None and abs(1 - slope) > _SLOPE_TOLERANCE:
        lines.append(f"the slope of forces of the test systems is {after.all_forces.slope_text}, not 0.95 to 1.05")
    return lines
