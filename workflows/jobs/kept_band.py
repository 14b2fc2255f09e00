"""The last images of a running band, in a small file that a later attempt continues from."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anodeflow.files import write_atomically
from anodeflow.workflows.jobs.folders import make_folder

KEPT_BAND = "band.json"


class BandState(NamedTuple):
    """Where a band is between two steps.

    Attributes
    ----------
    steps
        Optimiser steps made so far.
    climbing
        Whether the highest image climbs already.
    coords_angstrom
        Of all images, shape (images, N, 3), unfolded.
    """

    steps: int
    climbing: bool
    coords_angstrom: NDArray[np.float64]


class KeptBand:
    """The file of one band.

    Parameters
    ----------
    file
        Where.
    key
        Fingerprint of the band; a file of another band is not read.
    """

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key

    def write(self, step: int, climbing: bool, coords: NDArray[np.float64]) -> None:
        """Keep one step."""
        if not self.file.parent.is_dir():
            make_folder(self.file.parent)
        content = {
            "fingerprint": self.key,
            "step": step,
            "climbing": climbing,
            "coords_angstrom": np.asarray(coords).tolist(),
        }
        # Written after every step: the disk need not have it before the next one.
        write_atomically(self.file, json.dumps(content), sync=False)

    def read(self, shape: tuple[int, ...]) -> BandState | None:
        """Return the last step that was kept; None where there is no sound file of this band."""
        try:
            content = json.loads(self.file.read_text())
            coords = np.asarray(content["coords_angstrom"], dtype=float)
            if content["fingerprint"] != self.key or coords.shape != shape or not np.isfinite(coords).all():
                return None
            return BandState(int(content["step"]), bool(content["climbing"]), coords)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Remove the file: nothing is left to continue from. Its folder and that of all runs go, too, if empty."""
        self.file.unlink(missing_ok=True)
        with suppress(OSError):
            self.file.parent.rmdir()
            self.file.parent.parent.rmdir()
