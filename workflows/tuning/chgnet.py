"""Fine-tuning by CHGNet's own trainer.

Its loop, losses, data sets and optimiser are used as they are (``chgnet.trainer.Trainer``); what is added looks at the
validation errors between epochs, keeps what training continues from with its digest, and ends in time. CHGNet learns
energies per atom on the scale of its base, whose composition model stays as it is.
CHGNet: Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chgnet.data.dataset import StructureData, collate_graphs
from chgnet.model import CHGNet
from chgnet.trainer import Trainer
from pymatgen.core import Element
from torch.utils.data import DataLoader

from anodeflow.analysis.labelled_frames import LabelledCell
from anodeflow.analysis.tuning import Epoch
from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.tuning.progress import Progress
from anodeflow.workflows.tuning.settings import Training, Tuning

# StructureData takes stresses as VASP prints them: kbar, negative under tension.
_VASP_STRESS = -10.0
_MOST_ELEMENTS = 94
# Its scheduler steps ten times an epoch.
_STEPS_AN_EPOCH = 10


def known_elements(model: Path) -> set[str]:
    """Return the elements of MPtrj, for which CHGNet has an embedding.

    Parameters
    ----------
    model
        A file of CHGNet.

    Raises
    ------
    InputError
        If it cannot be read as one.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how many parameters it has
            CHGNet.from_file(str(model))
    except Exception as error:  # whatever its loader raises
        problem = f"'{model}' cannot be tuned: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputError(problem, "name a model file of CHGNet") from None
    return {Element.from_Z(number).symbol for number in range(1, _MOST_ELEMENTS + 1)}


def train(
    base: Path,
    cells: Mapping[str, Sequence[LabelledCell]],
    tuning: Tuning,
    progress: Progress,
    device: str,
    tell: Callable[[str], None],
) -> None:
    """Train, or continue, until the epochs or the patience are over.

    Parameters
    ----------
    base
        The model to tune.
    cells
        ``training`` and ``validation``.
    tuning
        What the file says.
    progress
        Of this training; tells where it continues.
    device
        Of torch.
    tell
        Told how far it is.

    Raises
    ------
    EngineError
        If it diverges or the trainer fails.
    """
    with (
        progress.until_the_end("CHGNet", tuning.training.epochs),
        progress.log.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
    ):
        _train(base, cells, tuning, progress, device, tell)


def _train(
    base: Path,
    cells: Mapping[str, Sequence[LabelledCell]],
    tuning: Tuning,
    progress: Progress,
    device: str,
    tell: Callable[[str], None],
) -> None:
    progress.end_if_due()
    done = progress.epochs[-1].epoch if progress.epochs else 0
    if done >= tuning.training.epochs:
        return
    model = CHGNet.from_file(str(progress.checkpoint or base))
    trainer = _WatchedTrainer(model, tuning.training, progress, tuning.seed, device, tell)
    if progress.checkpoint is not None:
        state = torch.load(progress.checkpoint, map_location="cpu", weights_only=True)
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scheduler.load_state_dict(state["scheduler"])
        trainer.starting_epoch = done
    loaders = [
        DataLoader(
            _graphs(cells[kind], model), batch_size=tuning.training.batch_size, collate_fn=collate_graphs,
            shuffle=kind == "training",
        )
        for kind in ("training", "validation")
    ]  # fmt: skip
    trainer.train(*loaders, save_dir=str(progress.folder))
    if not progress.epochs or progress.epochs[-1].epoch < tuning.training.epochs:
        raise EngineError(
            "the training diverges: an error is not a number", "lower learning_rate, or look at the labels"
        )


def _graphs(cells: Sequence[LabelledCell], model: CHGNet) -> StructureData:
    """Return cells as CHGNet's data set; a stress that is not known is NaN, which its loss leaves out."""
    unknown = np.full((3, 3), np.nan)
    forces: list[Any] = [np.asarray(cell.forces_ev_per_angstrom) for cell in cells]
    stresses: list[Any] = [unknown if c.stress_gpa is None else _VASP_STRESS * c.stress_gpa for c in cells]
    return StructureData(
        [cell.structure for cell in cells],
        [cell.energy_ev / len(cell.structure) for cell in cells],
        forces,
        stresses=stresses,
        graph_converter=model.graph_converter,
        shuffle=False,
    )


class _WatchedTrainer(Trainer):  # type: ignore[misc]
    """CHGNet's trainer, which hands over what it has reached after each epoch."""

    def __init__(
        self, model: CHGNet, training: Training, progress: Progress, seed: int, device: str, tell: Callable[[str], None]
    ) -> None:
        super().__init__(
            model,
            targets="efs" if training.stress_weight > 0 else "ef",
            force_loss_ratio=training.force_weight,
            stress_loss_ratio=training.stress_weight,
            criterion="Huber",
            scheduler="ExponentialLR",
            scheduler_params={"gamma": training.decay ** (1 / _STEPS_AN_EPOCH)},
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            use_device=device,
            print_freq=1000,
        )
        self._weights = {"e": 1.0, "f": training.force_weight, "s": training.stress_weight}
        self._progress, self._seed, self._tell, self._began = progress, seed, tell, time.monotonic()

    def _train(self, train_loader: Any, current_epoch: int, *options: Any) -> dict[str, float]:
        # the order of frames depends on the epoch alone, so that a resumed training is the same
        torch.manual_seed(self._seed + current_epoch)
        self._began = time.monotonic()
        return dict(super()._train(train_loader, current_epoch, *options))

    def save_checkpoint(self, epoch: int, mae_error: dict[str, float], save_dir: str) -> None:
        """See chgnet; what training continues from is written under the number of the epoch, from 1."""
        file = Path(save_dir) / f"checkpoint_{epoch + 1}.pth"
        self.save(filename=str(file))
        done = Epoch(
            epoch=epoch + 1, loss=sum(self._weights[name] * error for name, error in mae_error.items()),
            energy_ev_per_atom=mae_error["e"], force_ev_per_angstrom=mae_error["f"],
        )  # fmt: skip
        self._tell(
            f"epoch {done.epoch}: loss {done.loss:.4g}, validation energy {1000 * mae_error['e']:.1f} meV/atom, "
            f"force {mae_error['f']:.3f} eV/Å (mean absolute errors)"
        )
        self._progress.take(done, file, time.monotonic() - self._began)
