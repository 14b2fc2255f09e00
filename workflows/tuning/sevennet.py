"""Fine-tuning by SevenNet's own trainer.

Its loop over epochs, its losses, data loaders, optimiser and checkpoints are used as they are
(``sevenn.scripts.processing_epoch``); what is added looks at the validation errors between epochs, keeps what training
continues from with its digest, and ends in time. Loading a checkpoint is SevenNet's work, too: it unpickles, so a base
model must come from where one trusts, and a checkpoint of the folder is loaded with the digest that it was written with
only. SevenNet: Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sevenn._const as const
import sevenn._keys as KEY  # noqa: N812 - what the package calls it
import torch
from sevenn.atom_graph_data import AtomGraphData
from sevenn.logger import Logger
from sevenn.model_build import build_E3_equivariant_model
from sevenn.scripts.processing_continue import processing_continue_v2
from sevenn.scripts.processing_epoch import processing_epoch_v2
from sevenn.scripts.train import loader_from_config
from sevenn.train.dataload import atoms_to_graph
from sevenn.train.loss import get_loss_functions_from_config
from sevenn.train.optim import optim_dict, scheduler_dict
from sevenn.train.trainer import Trainer
from sevenn.util import load_checkpoint

from anodeflow.analysis.labelled_frames import LabelledCell
from anodeflow.analysis.tuning import Epoch
from anodeflow.errors import InputError
from anodeflow.workflows.tuning.cells import atoms_of
from anodeflow.workflows.tuning.progress import Progress
from anodeflow.workflows.tuning.settings import Tuning

_HUBER_DELTA = 0.01  # with which SevenNet-0 was trained
_KBAR_PER_GPA = 10.0  # stresses are in kbar in its loss
_NO_TIME = "-"
_LOSS, _ENERGY, _FORCE = "TotalLoss", "Energy_RMSE", "Force_RMSE"


def known_elements(model: Path) -> set[str]:
    """Return the elements that a model was trained for.

    Parameters
    ----------
    model
        A checkpoint of SevenNet.

    Raises
    ------
    InputError
        If it is a multi-fidelity model, or cannot be read.
    """
    try:
        config = load_checkpoint(model).config
        species = config[KEY.CHEMICAL_SPECIES]
    except Exception as error:  # whatever its loader raises
        problem = f"'{model}' cannot be tuned: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputError(problem, "name a checkpoint of SevenNet") from None
    if config.get(KEY.USE_MODALITY, False):
        raise InputError(f"'{model}' is a multi-fidelity model", "tune a model of one fidelity, such as sevennet-0")
    return set(species)


def train(
    base: Path,
    cells: dict[str, Sequence[LabelledCell]],
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
    weighted = any(cell.weight != 1 for members in cells.values() for cell in members)
    config = _config(base, tuning, progress.checkpoint, device, weighted)
    # one object for the whole process, as SevenNet has it
    logger = Logger(screen=False)
    logger.screen, logger._filename = False, str(progress.log)
    with progress.until_the_end("SevenNet", tuning.training.epochs), logger:
        _train(config, cells, tuning.seed, progress, tell)


def _train(
    config: dict[str, Any], cells: dict[str, Sequence[LabelledCell]], seed: int, progress: Progress,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    progress.end_if_due()
    states, start = processing_continue_v2(config)
    if start > config[KEY.EPOCH]:
        return
    weighted = config[KEY.USE_WEIGHT]
    loaders = {
        name: loader_from_config(
            config, _graphs(cells[kind], config[KEY.CUTOFF], weighted), is_train=kind == "training"
        )
        for name, kind in (("trainset", "training"), ("validset", "validation"))
    }
    trainer = _WatchedTrainer(build_E3_equivariant_model(config), config, progress, seed, tell)
    weights, optimiser, scheduler = states
    trainer.load_state_dicts(weights, optimiser, scheduler, strict=False)
    processing_epoch_v2(config, trainer, loaders, start, working_dir=str(progress.folder), write_csv=False)
    trainer.take()


def _graphs(cells: Sequence[LabelledCell], cutoff: float, weighted: bool) -> Any:
    """Return cells as SevenNet's graphs; a stress that is not known does not count in its loss."""
    graphs = []
    for cell in cells:
        numbers = atoms_to_graph(atoms_of(cell), cutoff, transfer_info=False, y_from_calc=True)
        graph = AtomGraphData.from_numpy_dict(numbers)
        if weighted:
            graph[KEY.DATA_WEIGHT] = dict.fromkeys(("energy", "force", "stress"), cell.weight)
        graphs.append(graph)
    return graphs


class _WatchedTrainer(Trainer):  # type: ignore[misc]
    """SevenNet's trainer, which hands over what it has reached between epochs."""

    def __init__(
        self, model: Any, config: dict[str, Any], progress: Progress, seed: int, tell: Callable[[str], None]
    ) -> None:
        super().__init__(
            model, get_loss_functions_from_config(config), optim_dict[config[KEY.OPTIMIZER]], config[KEY.OPTIM_PARAM],
            scheduler_dict[config[KEY.SCHEDULER]], config[KEY.SCHEDULER_PARAM], device=config[KEY.DEVICE],
        )  # fmt: skip
        self._progress, self._seed, self._tell = progress, seed, tell
        self._written: Path | None = None
        self._epoch = progress.epochs[-1].epoch if progress.epochs else 0
        self._errors: dict[str, float] = {}
        self._began = time.monotonic()

    def run_one_epoch(  # type: ignore[override]  # what is left out is for other trainers
        self, loader: Any, is_train: bool = False, error_recorder: Any = None, **options: Any
    ) -> None:
        """See sevenn; before training again, what is done is kept."""
        if is_train:
            self.take()
            # the order of frames depends on the epoch alone, so that a resumed training is the same
            torch.manual_seed(self._seed + self._epoch)
            random.seed(self._seed + self._epoch)
            self._began = time.monotonic()
        super().run_one_epoch(loader, is_train, error_recorder)
        if not is_train:
            self._errors = {name: entry["value"] for name, entry in error_recorder.get_current().items()}

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """See sevenn; without time and chance, so that the same training gives the same file."""
        return super().get_checkpoint_dict() | {"time": _NO_TIME, "hash": self._progress.fingerprint}

    def write_checkpoint(self, path: str, **extra: Any) -> None:
        """See sevenn; only what training continues from is written, without paths of this machine."""
        epoch = int(extra["epoch"])
        if epoch == 0 or Path(path).stem != f"checkpoint_{epoch}":
            return
        config = extra["config"] | {KEY.CONTINUE: const.DEFAULT_TRAINING_CONFIG[KEY.CONTINUE]}
        super().write_checkpoint(path, config=config, epoch=epoch)
        self._written, self._epoch = Path(path), epoch

    def take(self) -> None:
        """Hand over the epoch that is done, if there is one."""
        if self._written is None:
            return
        written, self._written = self._written, None
        errors = self._errors
        epoch = Epoch(
            epoch=self._epoch, loss=errors[_LOSS], energy_ev_per_atom=errors[_ENERGY],
            force_ev_per_angstrom=errors[_FORCE],
        )  # fmt: skip
        self._tell(
            f"epoch {epoch.epoch}: loss {epoch.loss:.4g}, validation energy {1000 * errors[_ENERGY]:.1f} meV/atom, "
            f"force {errors[_FORCE]:.3f} eV/Å"
        )
        self._progress.take(epoch, written, time.monotonic() - self._began)


def _config(
    base: Path, tuning: Tuning, checkpoint: Path | None, device: str, weighted: bool
) -> dict[str, Any]:  # fmt: skip
    """Return what SevenNet calls a config: the base's model, our training and data."""
    training, fresh = tuning.training, checkpoint is None
    defaults: dict[str, Any] = const.DEFAULT_TRAINING_CONFIG
    model = {
        key: value
        for key, value in load_checkpoint(base).config.items()
        if key not in const.DEFAULT_TRAINING_CONFIG and key not in const.DEFAULT_DATA_CONFIG
        and not (key.startswith("load_") and key.endswith("_path"))
    }  # fmt: skip
    return {
        **model,
        **const.DEFAULT_TRAINING_CONFIG,
        **const.DEFAULT_DATA_CONFIG,
        KEY.IS_DDP: False,
        KEY.DEVICE: device,
        KEY.RANDOM_SEED: tuning.seed,
        KEY.EPOCH: training.epochs,
        KEY.PER_EPOCH: 1,
        KEY.LOSS: "huber",
        KEY.LOSS_PARAM: {"delta": _HUBER_DELTA},
        KEY.OPTIMIZER: "adam",
        KEY.OPTIM_PARAM: {"lr": training.learning_rate},
        KEY.SCHEDULER: "exponentiallr",
        KEY.SCHEDULER_PARAM: {"gamma": training.decay},
        KEY.FORCE_WEIGHT: training.force_weight,
        KEY.STRESS_WEIGHT: training.stress_weight / _KBAR_PER_GPA,
        KEY.IS_TRAIN_STRESS: training.stress_weight > 0,
        KEY.USE_WEIGHT: weighted,
        KEY.TRAIN_SHIFT_SCALE: False,
        KEY.TRAIN_DENOMINTAOR: False,
        KEY.ERROR_RECORD: [["Energy", "RMSE"], ["Force", "RMSE"], ["TotalLoss", "None"]],
        KEY.BATCH_SIZE: training.batch_size,
        KEY.CONTINUE: {
            **defaults[KEY.CONTINUE],
            KEY.CHECKPOINT: str(checkpoint or base),
            KEY.RESET_OPTIMIZER: fresh,
            KEY.RESET_SCHEDULER: fresh,
            KEY.RESET_EPOCH: fresh,
        },
    }
