"""Symmetry kept through noise, and real distortions kept, too."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.errors import StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.symmetry import centre_of_symmetry, keep_symmetry, returned_to_symmetry, symmetry_operations


def noisy(structure, lattice=None, size=2e-4, seed=0):
    generator = np.random.default_rng(seed)
    matrix = (lattice or structure.lattice).matrix * (1 + size * generator.standard_normal((3, 3)))
    return Structure(
        matrix, structure.species, structure.frac_coords + size * generator.standard_normal((len(structure), 3))
    )


@pytest.mark.parametrize("name", ["Li", "LiAl", "Li9Al4", "LiCl", "Li3P"])
def test_the_space_group_survives_noise(name):
    start = load_crystal(name)
    kept = keep_symmetry(start, noisy(start, Lattice(start.lattice.matrix * 1.01)))
    tight = SpacegroupAnalyzer(kept, symprec=1e-7).get_space_group_number()
    assert tight == SpacegroupAnalyzer(start, symprec=1e-3).get_space_group_number()
    assert kept.volume == pytest.approx(start.volume * 1.01**3, rel=2e-3)
    assert kept.species == start.species


def test_a_totally_symmetric_displacement_is_not_touched():
    start = load_crystal("Li9Al4")
    moved = start.copy()
    shifts = {tuple(np.round(np.mod(f, 1), 4)): None for f in start.frac_coords}
    assert len(shifts) == len(start)
    # the free parameters of the 4i sites (x, 0, z): stretch x and z towards the inversion centre at the origin
    relaxed = keep_symmetry(start, noisy(start, size=5e-3, seed=3))
    again = keep_symmetry(start, relaxed)
    assert np.allclose(again.frac_coords, relaxed.frac_coords, atol=1e-10)
    assert np.allclose(again.lattice.matrix, relaxed.lattice.matrix, atol=1e-8)
    assert np.abs(relaxed.frac_coords - moved.frac_coords).max() > 1e-4


def test_a_slab_keeps_its_mirror_and_relaxes_along_z():
    lattice = Lattice.orthorhombic(3.4, 3.4, 20)
    start = Structure(lattice, ["Li"] * 3, [[0, 0, 0.4], [0.5, 0.5, 0.5], [0, 0, 0.6]])
    moved = Structure(lattice, ["Li"] * 3, [[1e-4, 0, 0.41], [0.5, 0.5, 0.5], [0, -1e-4, 0.592]])
    kept = keep_symmetry(start, moved)
    assert kept.frac_coords[0] == pytest.approx([0, 0, 0.409])
    assert kept.frac_coords[2] == pytest.approx([0, 0, 0.591])


def test_without_symmetry_nothing_changes():
    start = load_crystal("Li9Al4")
    start.perturb(0.05, seed=1)
    moved = noisy(start)
    kept = keep_symmetry(start, moved)
    assert np.allclose(kept.frac_coords, moved.frac_coords, atol=1e-9)
    assert kept.lattice.abc == pytest.approx(moved.lattice.abc, rel=1e-9)
    assert kept.lattice.angles == pytest.approx(moved.lattice.angles, rel=1e-9)


def test_other_atoms_are_refused():
    with pytest.raises(StructureError, match="same atoms"):
        keep_symmetry(load_crystal("Li"), load_crystal("Al"))


def salt_with_added_li(size_angstrom, seed=1):
    """LiCl, 16 atoms, one more Li in a tetrahedral hole; every atom moved by a random vector."""
    cell = load_crystal("LiCl").get_primitive_structure()
    cell.make_supercell([2, 2, 2])
    hole = cell.frac_coords[0] + (cell.frac_coords[8] - cell.frac_coords[0]) / 2  # half way along a body diagonal
    cell.append("Li", hole)
    return cell, cell.copy().perturb(size_angstrom, seed=seed)


def test_displaced_atoms_that_came_back_are_put_on_the_symmetric_geometry():
    ideal, displaced = salt_with_added_li(0.01)
    found, group = returned_to_symmetry(displaced)
    operations = len(symmetry_operations(ideal, 1e-6)[0])
    assert operations >= 12
    assert group == SpacegroupAnalyzer(ideal, symprec=1e-5).get_space_group_symbol()
    assert len(symmetry_operations(found, 1e-7)[0]) == operations
    assert np.array_equal(found.lattice.matrix, displaced.lattice.matrix)
    assert found.species == displaced.species
    moved = np.linalg.norm(found.cart_coords - displaced.cart_coords, axis=1)
    assert 0.001 < moved.max() < 0.05
    assert returned_to_symmetry(found) is None, "nothing is left to gain"


def test_a_distortion_that_is_real_stays():
    _, far = salt_with_added_li(0.0)
    far.translate_sites([16], [0.15, 0.02, 0.05], frac_coords=False)
    found = returned_to_symmetry(far)
    assert found is None or np.linalg.norm(found[0].cart_coords - far.cart_coords, axis=1).max() <= 0.05
    assert found is None or len(symmetry_operations(found[0], 1e-6)[0]) < 12


def test_held_atoms_are_not_put_anywhere():
    _, displaced = salt_with_added_li(0.01)
    displaced.add_site_property("selective_dynamics", [[False] * 3] + [[True] * 3] * 16)
    assert returned_to_symmetry(displaced) is None


@pytest.mark.parametrize("shift", [[0, 0, 0], [0.123, -0.4, 0.777]])
def test_the_centre_of_symmetry_is_where_operations_have_no_translation(shift):
    ideal, _ = salt_with_added_li(0.0)
    ideal.translate_sites(range(17), shift, to_unit_cell=False)
    centre = centre_of_symmetry(ideal)
    ideal.translate_sites(range(17), -centre, to_unit_cell=False)
    rotations, translations = symmetry_operations(ideal, 1e-6)
    left = np.abs(translations - np.round(translations)).max(axis=1)
    assert (left < 1e-7).all()
    assert len(rotations) >= 12
    assert not centre_of_symmetry(ideal).any()
