"""The crystal in the in-plane cell of a slab or of an interface: what their energies are measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
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
        The oriented cell is not one of the slab's own a and b.
    """
    oriented = model.oriented_cell
    a, b, _ = oriented.lattice.matrix
    if not np.allclose([a, b], model.structure.lattice.matrix[:2], atol=_UPRIGHT_TOLERANCE_ANGSTROM):
        raise InputError("the slab is repeated in the plane", "give the smallest slab of this face")
    return _upright(oriented, max_repeats)


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

    """
    match = model.match
    return _in_cell(model.film, match.film_matrix, match.film_vectors, match.common_cell(model.strained))


@dataclass(frozen=True)
class _AlignedCrystals:
    """The two crystals of an interface in upright cells over its plane, so that one mesh suits all.

    Attributes
    ----------
    strained_film : Structure
        With the interface's a and b, unstrained along the normal.
    film : Structure
        The same cell without strain.
    substrate : Structure
        With the interface's a and b.
    """

    strained_film: Structure
    film: Structure
    substrate: Structure


def aligned_crystals(model: InterfaceModel, *, max_repeats: int = 12) -> _AlignedCrystals | None:
    """Return both crystals in cells with the in-plane lattice of an interface, the film's also without strain.

    Parameters
    ----------
    model
        An interface whose film is strained, not repeated in the plane.
    max_repeats
        Lattice planes stacked at most until the stacking vector stands upright.

    Returns
    -------
    _AlignedCrystals or None
        None if a stacking repeats only after more planes than that.

    Raises
    ------
    InputError
        The film is not the side that is strained.
    """
    if model.strained != "film":
        raise InputError(f"the {model.strained} carries the strain", "strain the film")
    match, common = model.match, model.match.common_cell(model.strained)
    own = match.unstrained_cells()[0]
    cells = (
        _in_cell(model.film, match.film_matrix, match.film_vectors, common),
        _in_cell(model.film, match.film_matrix, match.film_vectors, own),
        _in_cell(model.substrate, match.substrate_matrix, match.substrate_vectors, common),
    )
    upright = [_upright(cell, max_repeats) for cell in cells]
    strained, film, substrate = upright
    if strained is None or film is None or substrate is None:
        return None
    return _AlignedCrystals(strained, film, substrate)


def strained_film_slab(model: InterfaceModel, vacuum_angstrom: float) -> Structure:
    """Return the film of an interface by itself, strained as it is there, with vacuum in place of the substrate.

    Parameters
    ----------
    model
        The interface.
    vacuum_angstrom
        Between the slab and its image.
    """
    matrix, chosen = model.structure.lattice.matrix.copy(), model.film_indices
    matrix[2] = (0, 0, model.film.thickness_angstrom + vacuum_angstrom)
    positions = model.structure.cart_coords[chosen]
    positions[:, 2] += vacuum_angstrom / 2 - positions[:, 2].min()
    species = [model.structure[n].specie for n in chosen]
    return Structure(Lattice(matrix), species, positions, coords_are_cartesian=True, to_unit_cell=True)


def _in_cell(slab: SlabModel, matrix: ArrayLike, vectors: ArrayLike, target: NDArray[np.float64]) -> Structure:
    """Return the bulk of a slab with a supercell of its plane deformed to `target`; heights stay."""
    oriented = slab.oriented_cell
    in_plane = np.array(matrix)
    # The slab's lattice vectors need not be those of the oriented cell: express one in the other.
    basis = np.linalg.solve(oriented.lattice.matrix[:2, :2].T, np.array(vectors).T).T
    steps = np.rint(in_plane @ basis).astype(int)
    if not np.allclose(in_plane @ basis, steps, atol=1e-3):
        raise InputError("the slab's in-plane cell is not a multiple of its oriented bulk cell", "report this slab")
    full = np.zeros((3, 3), dtype=int)
    full[:2, :2], full[2, 2] = steps, 1
    if np.linalg.det(full) < 0:
        full[2, 2] = -1
    cell = oriented.make_supercell(full, in_place=False, to_unit_cell=False)
    old = cell.lattice.matrix
    new = np.zeros((3, 3))
    new[:2, :2] = target
    # c keeps its height; its lateral part, if any, follows the plane.
    new[2, :2] = np.linalg.solve(old[:2, :2].T, old[2, :2]) @ target
    new[2, 2] = old[2, 2]
    return Structure(Lattice(new), cell.species, cell.frac_coords)


def _upright(cell: Structure, max_repeats: int) -> Structure | None:
    """Stack a cell until its c stands upright; None if that takes more than `max_repeats`."""
    a, b, c = cell.lattice.matrix
    plane = np.array([a[:2], b[:2]])
    for count in range(1, max_repeats + 1):
        back = np.rint(np.linalg.solve(plane.T, count * c[:2])).astype(int)
        if np.linalg.norm(count * c[:2] - back @ plane) < _UPRIGHT_TOLERANCE_ANGSTROM:
            return cell.make_supercell([[1, 0, 0], [0, 1, 0], [-back[0], -back[1], count]], in_place=False)
    return None
