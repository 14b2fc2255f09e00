"""The film's crystal with the in-plane lattice it has in an interface, to compute its strain energy by itself."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.structures.interfaces import InterfaceModel


def strained_film_bulk(model: InterfaceModel) -> Structure:
    """Bulk of the film, strained in the plane as in the interface, unstrained along the normal.

    Relaxing its extent along z gives the elastic energy of the film per formula unit, which the slope of
    gamma(n) must reproduce (Lepley & Holzwarth, Phys. Rev. B 92, 214201 (2015), doi:10.1103/PhysRevB.92.214201).

    Parameters
    ----------
    model
        An interface whose film is strained.

    Returns
    -------
    Structure
        Periodic in three directions; a and b span the interface cell (before any repeat), z is the normal.

    Raises
    ------
    InputError
        The slab carries no oriented bulk cell.
    """
    oriented = getattr(model.film.structure, "oriented_unit_cell", None)
    if oriented is None:
        raise InputError("the film's slab has no oriented bulk cell", "build it with anodeflow.structures.slabs")
    in_plane = np.array(model.match.film_matrix)
    # The film's lattice vectors need not be those of the oriented cell: express one in the other.
    basis = np.linalg.solve(oriented.lattice.matrix[:2, :2].T, np.array(model.match.film_vectors).T).T
    steps = np.rint(in_plane @ basis).astype(int)
    if not np.allclose(in_plane @ basis, steps, atol=1e-3):
        raise InputError("the film's in-plane cell is no multiple of its oriented bulk cell", "report this slab")
    full = np.zeros((3, 3), dtype=int)
    full[:2, :2], full[2, 2] = steps, 1
    if np.linalg.det(full) < 0:
        full[2, 2] = -1
    cell = oriented.make_supercell(full, in_place=False, to_unit_cell=False)
    old, target = cell.lattice.matrix, model.match.common_cell(model.strained)
    new = np.zeros((3, 3))
    new[:2, :2] = target
    # c keeps its height; its lateral part, if any, follows the plane.
    new[2, :2] = np.linalg.solve(old[:2, :2].T, old[2, :2]) @ target
    new[2, 2] = old[2, 2]
    return Structure(Lattice(new), cell.species, cell.frac_coords)
