"""How far a training is: its epochs, the digest of what it continues from, and when it ends."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anodeflow.analysis.tuning import Epoch
from anodeflow.errors import EngineError, StoreError
from anodeflow.files import atomic_path, file_sha256, write_atomically

_FILE = "progress.json"
#: A validation loss this many times the first one is not going to come back.
_DIVERGED = 20.0


class EndedError(Exception):
    """The training has ended as it should; the text says why."""


class Progress:
    """The state of one training, in its folder.

    Parameters
    ----------
    folder
        Of the training alone.
    fingerprint
        Of base, data and settings; a folder of another training is refused.
    patience
        Epochs without a lower validation loss, after which it ends.

    Raises
    ------
    StoreError
        If the folder holds another training, or what it would continue from was changed.
    """

    def __init__(self, folder: Path, fingerprint: str, patience: int) -> None:
        self.folder, self.fingerprint, self._patience = folder, fingerprint, patience
        self.epochs: list[Epoch] = []
        self.stopped = ""
        self.seconds = 0.0
        self._checkpoint: Path | None = None
        self._digests: dict[str, str] = {}
        if (folder / _FILE).is_file():
            self._read()

    @property
    def log(self) -> Path:
        """Where the trainer prints."""
        return self.folder / "trainer.log"

    @property
    def checkpoint(self) -> Path | None:
        """Where training continues from; None at the beginning."""
        return self._checkpoint

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss; 0 before the first."""
        return min(self.epochs, key=lambda e: e.loss).epoch if self.epochs else 0

    @property
    def best(self) -> Path:
        """The weights of that epoch."""
        return self.folder / f"best_{self.best_epoch}.pth"

    def take(self, epoch: Epoch, checkpoint: Path, seconds: float) -> None:
        """Keep an epoch that is done.

        Parameters
        ----------
        epoch
            What the trainer says of it.
        checkpoint
            What the next one continues from. What is no longer needed is removed when the epoch is noted, so that a
            process that is killed at any moment leaves one that can be continued.
        seconds
            That it took.

        Raises
        ------
        EngineError
            If the training diverges.
        EndedError
            If it has not become better for as long as its patience lasts.
        """
        first = self.epochs[0].loss if self.epochs else epoch.loss
        if not math.isfinite(epoch.loss) or epoch.loss > _DIVERGED * first:
            raise EngineError(
                f"the training diverges: validation loss {epoch.loss:.3g} in epoch {epoch.epoch}, {first:.3g} in the "
                "first",
                "lower learning_rate, or look at the labels; start again in another --folder",
            )
        needed = {checkpoint, *([self._checkpoint] if self._checkpoint else []), self.best}
        self.epochs.append(epoch)
        self.seconds += seconds
        if self.best_epoch == epoch.epoch:
            with atomic_path(self.best) as temporary:
                shutil.copyfile(checkpoint, temporary)
        self._checkpoint = checkpoint
        self._digests = {path.name: file_sha256(path) for path in (checkpoint, self.best)}
        self._write()
        for file in needed - {checkpoint, self.best}:
            file.unlink(missing_ok=True)
        self.end_if_due()

    def end_if_due(self) -> None:
        """Raise EndedError where the patience is over."""
        waited = self.epochs[-1].epoch - self.best_epoch if self.epochs else 0
        if waited >= self._patience:
            raise EndedError(f"no lower validation loss for {waited} epochs")

    def end(self, why: str) -> None:
        """Note why the training ended."""
        self.stopped = why
        self._write()

    @contextmanager
    def until_the_end(self, trainer: str, epochs: int) -> Iterator[None]:
        """Note why a training ended that ran in this context.

        Parameters
        ----------
        trainer
            Name of the package that trains.
        epochs
            After which it is over.

        Raises
        ------
        EngineError
            If it diverges or the trainer fails.
        """
        try:
            yield
        except EndedError as ended:
            self.end(str(ended))
        except EngineError:
            raise
        except Exception as error:  # whatever the trainer raises
            problem = f"{trainer}'s trainer failed: {type(error).__name__}: {error}"
            raise EngineError(problem, f"see {self.log}") from error
        else:
            self.end(f"{epochs} epochs are over")

    def _write(self) -> None:
        content = {
            "fingerprint": self.fingerprint, "seconds": round(self.seconds, 1), "stopped": self.stopped,
            "checkpoint": None if self._checkpoint is None else self._checkpoint.name, "sha256": self._digests,
            "epochs": [epoch.model_dump(mode="json") for epoch in self.epochs],
        }  # fmt: skip
        write_atomically(self.folder / _FILE, json.dumps(content, indent=1))

    def _read(self) -> None:
        file = self.folder / _FILE
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            epochs = [Epoch.model_validate(epoch) for epoch in content["epochs"]]
            fingerprint, name, digests = content["fingerprint"], content["checkpoint"], dict(content["sha256"])
            self.seconds, self.stopped = float(content["seconds"]), str(content["stopped"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"'{file}' cannot be read: {error}", "remove the folder to train again") from None
        if fingerprint != self.fingerprint:
            raise StoreError(
                f"'{self.folder}' holds another training: base, data or settings differ", "name another --folder"
            )
        for part, digest in digests.items():
            path = self.folder / Path(part).name
            if not path.is_file() or file_sha256(path) != digest:
                raise StoreError(f"'{path}' is missing or was changed", "remove the folder to train again")
        self.epochs, self._digests = epochs, digests
        self._checkpoint = None if name is None else self.folder / Path(str(name)).name
