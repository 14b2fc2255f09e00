"""Whether the frames of a trajectory come in the order of time."""

from __future__ import annotations

import warnings
from pathlib import Path


class Order:
    """Warn, once, of a frame that is not later than the one before: a block that is there twice, or out of place."""

    def __init__(self, path: Path, quantity: str) -> None:
        self._path, self._quantity = path, quantity
        self._before: float | None = None
        self._told = False

    def check(self, index: int, value: float | None) -> None:
        """Compare the step or time of a frame with that of the one before.

        Parameters
        ----------
        index
            Of the frame.
        value
            Its step or time; None where it has none.
        """
        before, self._before = self._before, value
        if self._told or value is None or before is None or value > before:
            return
        self._told = True
        warnings.warn(
            f"{self._path}: frame {index} has {self._quantity} {value:g} after {before:g}: frames are there twice or "
            "out of order, so distances in time between them mean nothing",
            stacklevel=5,
        )
