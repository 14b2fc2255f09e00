"""One tuning from its file to a model with a card: data set, references, replay, training, errors before and after."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anodeflow.analysis.labelled_frames import (
    SETS,
    LabelledCell,
    energy_references,
    reference_frames,
    shifted,
)
from anodeflow.analysis.tuning import (
    SetErrors,
    TunedFrames,
    TunedModelDoc,
    missing_labels,
    set_errors,
    tuning_warnings,
)
from anodeflow.errors import InputError, StoreError
from anodeflow.files import atomic_path, file_sha256, json_sha256, write_atomically
from anodeflow.workflows.engines.potentials.engine import PotentialEngine
from anodeflow.workflows.engines.potentials.tuned import CARD
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.lock import alone
from anodeflow.workflows.tuning.cells import predicted, write_cells
from anodeflow.workflows.tuning.data_set import DataSet, data_set
from anodeflow.workflows.tuning.progress import Progress
from anodeflow.workflows.tuning.replay import PAIRS, replayed_cells, replayed_crystals, wall_weight
from anodeflow.workflows.tuning.settings import Tuning

MODEL, SETTINGS = "model.pth", "tuning.json"
_SOFTWARE = ("anodeflow", "sevenn", "chgnet", "torch", "numpy")
_PARTS: tuple[Literal["test", "validation", "training"], ...] = ("test", "validation", "training")
_CONVENTION = 2  # raised when the same file means another training


@dataclass
class PreparedTuning:
    """Everything that is known before training.

    Parameters
    ----------
    tuning
        The file.
    base
        The engine that is tuned.
    data
        Its data set.
    """

    tuning: Tuning
    base: PotentialEngine
    data: DataSet

    @property
    def family(self) -> str:
        """Name that the tuned model is used by."""
        return _FAMILIES[self.base.package]

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the model: base, data, settings."""
        frames = {kind: [frame.digest for frame in self.data.frames[kind]] for kind in SETS}
        return json_sha256([_CONVENTION, self.base.record().hash, frames, self.tuning.hashed()], sort_keys=True)[:16]

    def summary(self) -> dict[str, Any]:
        """Return what is known of the data, for a person and as JSON."""
        first = self.data.all()[0]
        systems = []
        for kind in reversed(SETS):
            members = self.data.frames[kind]
            for system in sorted({frame.system for frame in members}):
                frames = [frame for frame in members if frame.system == system]
                systems.append(
                    {
                        "system": system, "set": kind,
                        "elements": "-".join(sorted({str(e) for f in frames for e in f.structure.symbol_set})),
                        "calculations": len({frame.fingerprint for frame in frames}), "frames": len(frames),
                        "atoms": sum(len(frame.structure) for frame in frames),
                        "with_stress": sum(frame.stress_gpa is not None for frame in frames),
                        "largest_force_ev_per_angstrom": max(
                            float(np.linalg.norm(f.forces_ev_per_angstrom, axis=1).max()) for f in frames
                        ),
                    }
                )  # fmt: skip
        replay = self.tuning.replay
        more = replay.pushed + replay.compressed
        return {
            "base": self.base.name, "engine": first.engine.name, "card": first.card.name,
            "fingerprint": self.fingerprint, "frames": len(self.data.all()), "systems": systems,
            "left_out": self.data.left_out, "replay": dict.fromkeys(replay.crystals, replay.frames + more)
            | {slab.label: replay.frames for slab in replay.slabs},
            "replay_weight": replay.weight, "replay_pair_distances": replay.pair_distances if replay.crystals else 0,
            "missing": missing_labels(self.data.frames["training"]),
        }  # fmt: skip


#: Package of a potential: the family by which a file of it is named.
_FAMILIES = {"sevenn": "sevennet", "chgnet": "chgnet"}
#: CHGNet 0.2.0 has other last layers than what a file is taken for.
_NOT_TUNED = ("chgnet-0.2.0",)


def prepare(tuning: Tuning) -> PreparedTuning:
    """Collect the data of a tuning and refuse what cannot be trained.

    Parameters
    ----------
    tuning
        What the file says.

    Raises
    ------
    InputError
        See :func:`~anodeflow.workflows.tuning.data_set.data_set`; or if the model has electrons, cannot be tuned here,
        or is of other elements.
    """
    engine = get_engine(tuning.tune)
    if not isinstance(engine, PotentialEngine) or engine.package not in _FAMILIES or engine.name in _NOT_TUNED:
        raise InputError(
            f"'{tuning.tune}' cannot be tuned here", "tune sevennet-0, sevennet-l3i5, chgnet, or a file of them"
        )
    data = data_set(tuning, engine.record())
    known = _trainer(engine).known_elements(engine.model_path)
    elements = data.elements | {e for crystal in replayed_crystals(tuning).values() for e in crystal.symbol_set}
    if not elements <= known:
        raise InputError(
            f"'{tuning.tune}' is a model for {', '.join(sorted(known))}, and the data hold "
            f"{', '.join(sorted(elements - known))}",
            "tune a model that knows these elements, or leave them out of data and replay",
        )
    if tuning.replay.weight != 1 and engine.package == "chgnet":
        raise InputError(
            f"replay: weight: {tuning.replay.weight:g}, and CHGNet's trainer weighs all cells alike",
            "leave weight out, and change how many cells are replayed",
        )
    return PreparedTuning(tuning, engine, data)


def _trainer(engine: PotentialEngine) -> Any:
    """Return the module that trains with the potential's own package."""
    return importlib.import_module({"sevenn": "anodeflow.workflows.tuning.sevennet",
                                    "chgnet": "anodeflow.workflows.tuning.chgnet"}[engine.package])  # fmt: skip


def run_tuning(prepared: PreparedTuning, folder: Path, tell: Callable[[str], None]) -> TunedModelDoc:
    """Tune, or continue in the same folder; return the card of the model.

    Parameters
    ----------
    prepared
        From :func:`prepare`.
    folder
        Of this tuning alone; made if it is not there.
    tell
        Told how far it is.

    Raises
    ------
    EngineError
        If the training diverges or fails.
    StoreError
        If the folder holds another training.
    InputError
        If it holds something else, or cannot be written.
    """
    folder = _own_folder(folder)
    with alone(json_sha256(["tuning", str(folder)])[:32]):
        progress = Progress(folder, prepared.fingerprint, prepared.tuning.training.patience)
        if progress.stopped and (folder / CARD).is_file():
            document, model = _read_card(folder / CARD), folder / MODEL
            if model.is_file() and file_sha256(model) == document.model_sha256:
                return document
        return _run(prepared, folder, progress, tell)


def _run(prepared: PreparedTuning, folder: Path, progress: Progress, tell: Callable[[str], None]) -> TunedModelDoc:
    """Train in a folder that no other process uses, measure, and write the card."""
    tuning, base = prepared.tuning, prepared.base
    write_atomically(folder / SETTINGS, json.dumps(tuning.model_dump(mode="json"), indent=1))
    frames = prepared.data.frames
    structures = {kind: [frame.structure for frame in frames[kind]] for kind in SETS}
    tell(f"{base.name}: {sum(map(len, frames.values()))} frames and the crystals to replay, by the base model")
    before = {kind: predicted(base.calculator(), structures[kind]) for kind in SETS}
    chosen = reference_frames(frames["training"])
    references = energy_references(
        [structures["training"][number] for number in chosen],
        [frames["training"][number].energy_ev - before["training"][number][0] for number in chosen],
    )
    cells = {kind: [shifted(frame, references) for frame in frames[kind]] for kind in SETS}
    replayed = _replayed(prepared)
    # energies of pairs at 1 angstrom would be all that a validation sees
    learned = [cell for name, members in replayed.items() for cell in (members if name == PAIRS else members[:-1])]
    kept = [members[-1] for name, members in replayed.items() if name != PAIRS]
    trained = {"training": cells["training"] + learned, "validation": cells["validation"] + kept}
    for kind, labelled in (trained | {"test": cells["test"]}).items():
        write_cells(folder / f"{kind}.extxyz", labelled)
    tell(f"training on {len(trained['training'])} cells, validating with {len(trained['validation'])}")
    _trainer(base).train(base.model_path, trained, tuning, progress, base.device(), tell)
    with atomic_path(folder / MODEL) as temporary:
        shutil.copyfile(progress.best, temporary)
    tell("errors of the tuned model")
    tuned = PotentialEngine(f"{prepared.family}:{folder / MODEL}").calculator()
    errors = []
    for part in _PARTS:
        errors.append(set_errors(part, "before", cells[part], before[part]))
        errors.append(set_errors(part, "after", cells[part], predicted(tuned, structures[part])))
    if kept:
        errors.append(set_errors("replay", "after", kept, predicted(tuned, [cell.structure for cell in kept])))
    counts = {name: len(members) for name, members in replayed.items()}
    document = _document(prepared, progress, references, counts, errors)
    write_atomically(folder / CARD, document.model_dump_json(indent=1))
    return document


def _read_card(card: Path) -> TunedModelDoc:
    try:
        return TunedModelDoc.model_validate_json(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"'{card}' cannot be read: {str(error).splitlines()[0]}", "remove it: it is written again"
        ) from None


def _own_folder(folder: Path) -> Path:
    """Return the folder, made; refuse one that holds something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = any(folder.iterdir()) and not (folder / SETTINGS).is_file()
    except OSError as error:
        raise InputError(f"cannot use the folder '{folder}': {error.strerror}", "name another --folder") from None
    if strange:
        raise InputError(f"the folder '{folder}' holds something else", "name an empty --folder")
    return folder.resolve()


def _replayed(prepared: PreparedTuning) -> dict[str, list[LabelledCell]]:
    """Return the cells to replay with the labels of the base model, by crystal."""
    labels_of = partial(predicted, prepared.base.calculator())
    replay = prepared.tuning.replay
    replayed = {}
    for name, cells in replayed_cells(prepared.tuning, labels_of).items():
        near = len(cells) if name == PAIRS else len(cells) - replay.frames
        labels = labels_of(cells)
        weights = [
            replay.weight * (wall_weight(forces) if n < near else 1.0) for n, (_, forces, _) in enumerate(labels)
        ]
        replayed[name] = [
            LabelledCell(f"{name}, replayed {number}", name, cell, *known, weight)
            for number, (cell, known, weight) in enumerate(zip(cells, labels, weights, strict=True), start=1)
        ]
    return replayed


def _document(
    prepared: PreparedTuning, progress: Progress, references_ev: dict[str, float], replay: dict[str, int],
    errors: Sequence[SetErrors],
) -> TunedModelDoc:  # fmt: skip
    base, first = prepared.base.record(), prepared.data.all()[0]
    document = TunedModelDoc(
        fingerprint=prepared.fingerprint, title=prepared.tuning.title, base=base, engine=first.engine, card=first.card,
        family=prepared.family, model=MODEL, model_sha256=file_sha256(progress.folder / MODEL),
        functional=base.functional or first.engine.energies_of, licence=base.licence,
        settings=prepared.tuning.model_dump(mode="json"), software=_versions(), data=_data(prepared.data),
        left_out=prepared.data.left_out, references_ev=references_ev, replay=replay, epochs=progress.epochs,
        best_epoch=progress.best_epoch, stopped=progress.stopped, errors=list(errors), seconds=progress.seconds,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    document.warnings = tuning_warnings(document, prepared.data.frames["training"])
    return document


def _versions() -> dict[str, str]:
    versions = {}
    for name in _SOFTWARE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _data(data: DataSet) -> list[TunedFrames]:
    entries: dict[str, TunedFrames] = {}
    for kind in SETS:
        for frame in data.frames[kind]:
            entry = entries.setdefault(
                frame.fingerprint,
                TunedFrames(
                    label=frame.label, fingerprint=frame.fingerprint, system=frame.system, set=kind,  # type: ignore[arg-type]
                    formula=frame.structure.composition.formula, digests=[],
                ),
            )  # fmt: skip
            entry.digests.append(frame.digest)
    return list(entries.values())
