"""Atoms too close to each other, where positions may be partly occupied."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from anodeflow.structures.files.expansion import FULL_OCCUPANCY
from anodeflow.structures.sites import element_symbols, overlap_distance_angstrom


def overlap_of(structure: Structure) -> str | None:
    """The two atoms that overlap most.

    Parameters
    ----------
    structure
        Ordered or disordered; two positions that hold at most one atom between them do not overlap.

    Returns
    -------
    str or None
        One line, None if no two atoms overlap.
    """
    symbols = element_symbols(structure)
    kinds = sorted(set(symbols))
    limits = np.array([[overlap_distance_angstrom(kind, other) for other in kinds] for kind in kinds])
    index = np.array([kinds.index(symbol) for symbol in symbols])
    occupancies = np.array([site.species.num_atoms for site in structure])
    first, second, _, distance = structure.get_neighbor_list(float(limits.max()), exclude_self=True)
    ratio = distance / limits[index[first], index[second]]
    ratio[occupancies[first] + occupancies[second] <= FULL_OCCUPANCY] = 1.0
    if not len(ratio) or ratio.min() >= 1.0 - 1e-9:
        return None
    n = int(ratio.argmin())
    i, j = sorted((int(first[n]), int(second[n])))
    return f"atoms {i + 1} ({symbols[i]}) and {j + 1} ({symbols[j]}) are only {distance[n]:.3f} angstrom apart"
