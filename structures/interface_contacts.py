"""Where two sides of an interface meet: gaps, distances across, and the symmetry that exchanges the contacts.

Structures carry the site property ``side``, ``"substrate"`` or ``"film"``, as those of
:func:`anodeflow.structures.interfaces.build_interface`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.parameters import setting
from anodeflow.structures.adsorption import contact_distance_angstrom
from anodeflow.structures.cleaving import SYMPREC_ANGSTROM
from anodeflow.structures.sites import element_symbols
from anodeflow.structures.slabs import SlabModel

#: Atoms across closer than this times the distance at which they touch repel strongly before any relaxation.
TIGHT_FACTOR = 0.85


def gaps(structure: Structure, vacuum_angstrom: float | None) -> tuple[float, ...]:
    """Return distances along z between the outermost nuclei: one with vacuum, else two."""
    heights, film = structure.cart_coords[:, 2], np.array(structure.site_properties["side"]) == "film"
    first = float(heights[film].min() - heights[~film].max())
    second = float(structure.lattice.c - heights[film].max() + heights[~film].min())
    return (first, second) if vacuum_angstrom is None else (first,)


def distances_across(structure: Structure) -> dict[tuple[str, str], float]:
    """Return the shortest distance across, angstrom, for each pair of elements (the substrate's first) within reach."""
    film = np.array(structure.site_properties["side"]) == "film"
    symbols = element_symbols(structure)
    radius = 4.0
    while True:
        first, second, _, distance = structure.get_neighbor_list(radius)
        shortest: dict[tuple[str, str], float] = {}
        for n in np.flatnonzero(~film[first] & film[second]):
            pair = symbols[first[n]], symbols[second[n]]
            shortest[pair] = min(float(distance[n]), shortest.get(pair, np.inf))
        if shortest:
            return shortest
        radius *= 1.5


def tight_contacts(distances: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Return pairs of :func:`distances_across` that are too close, tightest first, with the distance of touching."""
    touching = {pair: contact_distance_angstrom(*pair) for pair in distances}
    ratios = {pair: length / touching[pair] for pair, length in distances.items()}
    return {pair: touching[pair] for pair in sorted(ratios, key=lambda p: ratios[p]) if ratios[pair] < TIGHT_FACTOR}


def contacts_equivalent(
    structure: Structure,
    film: SlabModel,
    substrate: SlabModel,
    vacuum_angstrom: float | None,
    shift: Sequence[float],
) -> tuple[bool, str]:
    """Tell whether a symmetry operation of the cell exchanges the two contacts, and how that was decided or why not.

    Parameters
    ----------
    structure
        The interface.
    film, substrate
        Its slabs.
    vacuum_angstrom
        None in a periodic cell.
    shift
        Of the film, in fractions of the cell.

    Returns
    -------
    tuple
        Whether they are, and why.
    """
    if vacuum_angstrom is not None:
        return False, "there is one contact, the other faces meet vacuum"
    if (_operations(structure)[0][:, 2, 2] == -1).any():
        how = f"a symmetry operation of the cell (spglib, {SYMPREC_ANGSTROM} angstrom) exchanges the two contacts"
        return True, how
    sides = (("film", film), ("substrate", substrate))
    named = [f"the {side} {slab.crystal} shows two different faces" for side, slab in sides if not slab.symmetric]
    if named:
        return False, " and ".join(named)
    centred = [t / 2 for w, t, flips in symmetry_moves(structure) if flips and (w == -np.eye(2)).all()]
    hint = ""
    if centred:
        x, y = np.round((centred[0] + np.asarray(shift)) % 1.0, 6)
        hint = f" ({setting('shift', f'{x:g}', f'{y:g}')} has one)"
    return False, f"both slabs are symmetric, but at this shift no operation exchanges the contacts{hint}"


def _operations(structure: Structure) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Return symmetry operations that keep film and substrate apart."""
    numbers = [site.specie.Z + 200 * (site.properties["side"] == "film") for site in structure]
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers)
    operations = spglib.get_symmetry(cell, symprec=SYMPREC_ANGSTROM)
    if operations is None:
        return np.eye(3, dtype=int)[None], np.zeros((1, 3))
    return operations["rotations"], operations["translations"]


def symmetry_moves(structure: Structure) -> list[tuple[NDArray[np.int_], NDArray[np.float64], bool]]:
    """Return what symmetry does to a shift s of the film: to W s + t, and whether it exchanges the two contacts.

    An operation {W|t1} of the substrate takes the film, which has {W|t2} and is shifted by s, to a film shifted
    by W s + t1 - t2.
    """
    moves = []
    for side in ("film", "substrate"):
        sites = [site for site in structure if site.properties["side"] == side]
        rotations, translations = _operations(Structure.from_sites(sites))
        moves.append({r.tobytes(): (r, t) for r, t in zip(rotations, translations, strict=True)})
    film, substrate = moves
    shared = [(r, substrate[key][1] - t) for key, (r, t) in film.items() if key in substrate]
    return [(r[:2, :2], t[:2], bool(r[2, 2] == -1)) for r, t in shared]
