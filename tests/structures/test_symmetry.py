"""Symmetry kept through noise, and real distortions kept, too."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.errors import StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.symmetry import keep_symmetry


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
