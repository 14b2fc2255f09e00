"""Strains and their six components in Voigt's order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Pairs of axes in Voigt's order: xx, yy, zz, yz, xz, xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strain_tensor(mode: int, amplitude: float) -> NDArray[np.float64]:
    """Return the strain of one Voigt component, shape (3, 3); a shear component is the tensor's, half the angle.

    Parameters
    ----------
    mode
        0 to 5: xx, yy, zz, yz, xz, xy.
    amplitude
        Of the component, and of the one below the diagonal.
    """
    strain = np.zeros((3, 3))
    i, j = VOIGT[mode]
    strain[i, j] = strain[j, i] = amplitude
    return strain
