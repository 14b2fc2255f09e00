"""The crystal in the in-plane cell of a slab or of an interface: what their energies are measured against."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.slabs import SlabModel

_UPRIGHT_TOLERANCE_ANGSTROM = 1e-3


def crystal_in_slab_cell(model: SlabModel, *, max_repeats: int = 12) -> Structure | None:
    """Return the crystal with the slab's a and b and a c along the normal.

    With it bulk and slabs have one k-mesh in the plane, whatever the spacing; its energy lets single slabs converge
    with thickness, where a bulk energy from another mesh lets them drift (Sun & Ceder, Surf. Sci. 617, 53 (2013),
    doi:10.1016/j.susc.2013.05.016).

    Parameters
    ----------
    model
        A slab of one crystal, not repeated in the plane.
    max_repeats
        Lattice planes stacked at most until the stacking vector stands upright.

    Returns
    -------
    Structure or None
        None if the stacking repeats only after more planes than that.

    Raises
    ------
    InputError
        The slab carries no oriented bulk cell, or not one of its own a and b.
    """
    oriented = _oriented(model)
    a, b, c = oriented.lattice.matrix
    if not np.allclose([a, b], model.structure.lattice.matrix[:2], atol=_UPRIGHT_TOLERANCE_ANGSTROM):
        raise InputError("the slab is repeated in the plane", "give the smallest slab of this face")
    for count in range(1, max_repeats + 1):
        back = np.rint(np.linalg.solve(np.array([a[:2], b[:2]]).T, count * c[:2])).astype(int)
        if np.linalg.norm(count * c[:2] - back @ np.array([a[:2], b[:2]])) < _UPRIGHT_TOLERANCE_ANGSTROM:
            return oriented.make_supercell([[1, 0, 0], [0, 1, 0], [-back[0], -back[1], count]], in_place=False)
    return None


def strained_film_bulk(model: InterfaceModel) -> Structure:
    """Return the bulk of the film, strained in the plane as in the interface, unstrained along the normal.

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
    oriented = _oriented(model.film)
    in_plane = np.array(model.match.film_matrix)
    # The film's lattice vectors need not be those of the oriented cell: express one in the other.
    basis = np.linalg.solve(oriented.lattice.matrix[:2, :2].T, np.array(model.match.film_vectors).T).T
    steps = np.rint(in_plane @ basis).astype(int)
    if not np.allclose(in_plane @ basis, steps, atol=1e-3):
        raise InputError("the film's in-plane cell is not a multiple of its oriented bulk cell", "report this slab")
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


def _oriented(model: SlabModel) -> Structure:
    cell = getattr(model.structure, "oriented_unit_cell", None)
    if cell is None:
        raise InputError("the slab has no oriented bulk cell", "build it with anodeflow.structures.slabs")
    return Structure(cell.lattice, cell.species, cell.frac_coords)
