"""Frames of dynamics that differ most from each other: farthest-point sampling of partial radial distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

Floats = NDArray[np.float64]

_REACH_ANGSTROM = 6.0
_BIN_ANGSTROM = 0.1
_WIDTH_ANGSTROM = 0.15


def radial_descriptor(structure: Structure) -> Floats:
    """Return the smoothed number of neighbours by distance of each pair of elements, an atom of the first.

    A fingerprint in the sense of Valle and Oganov (doi:10.1107/S0108767310026395), of neighbours within 6 angstrom and
    weighted by 1/r^2, so that near ones count most. It does not depend on the order of atoms of one element.
    """
    elements = sorted(structure.symbol_set)
    kinds = np.array([elements.index(site.specie.symbol) for site in structure])
    first, second, _, distance = structure.get_neighbor_list(_REACH_ANGSTROM)
    bins = int(_REACH_ANGSTROM / _BIN_ANGSTROM)
    counts = np.zeros((len(elements), len(elements), bins))
    where = np.minimum((distance / _BIN_ANGSTROM).astype(int), bins - 1)
    np.add.at(counts, (kinds[first], kinds[second], where), 1 / np.maximum(distance, _BIN_ANGSTROM) ** 2)
    counts /= np.bincount(kinds, minlength=len(elements))[:, None, None]
    centres = (np.arange(bins) + 0.5) * _BIN_ANGSTROM
    smooth = np.exp(-(((centres[:, None] - centres[None]) / _WIDTH_ANGSTROM) ** 2) / 2)
    result: Floats = (counts @ smooth).ravel()
    return result


def farthest_points(points: Sequence[Floats] | Floats, count: int) -> list[int]:
    """Return indices of points chosen one after the other: first the nearest to the mean, then always the farthest.

    Parameters
    ----------
    points
        Vectors of equal length.
    count
        How many to choose; all if there are fewer.

    Returns
    -------
    list of int
        In the order of choice (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5).

    Examples
    --------
    >>> farthest_points([np.array([x]) for x in (0.0, 4.0, 5.0, 10.0)], 3)
    [2, 0, 3]
    """
    array = np.asarray(points, dtype=float)
    if len(array) == 0 or count < 1:
        return []
    chosen = [int(np.linalg.norm(array - array.mean(axis=0), axis=1).argmin())]
    nearest = np.linalg.norm(array - array[chosen[0]], axis=1)
    while len(chosen) < min(count, len(array)):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(array - array[chosen[-1]], axis=1))
    return chosen
