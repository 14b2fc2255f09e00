"""The crystal in the in-plane cell of a slab: same a and b, same mesh in the plane, same density."""

import math

import numpy as np
import pytest

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.oriented_bulk import crystal_in_slab_cell
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.cards import load_card

FACES = [
    ("Li", (1, 0, 0)),
    ("Li", (1, 1, 0)),
    ("LiCl", (1, 0, 0)),
    ("Al", (1, 1, 1)),
    ("Li2S", (1, 1, 1)),
    ("Li3P", (0, 0, 1)),
]


@pytest.mark.parametrize(("name", "miller"), FACES)
def test_same_plane_same_mesh_same_density(name, miller):
    crystal = load_crystal(name)
    slab = build_slab(crystal, miller, layers=6, vacuum_angstrom=12)
    cell = crystal_in_slab_cell(slab)
    assert np.allclose(cell.lattice.matrix[:2], slab.structure.lattice.matrix[:2])
    assert np.allclose(cell.lattice.matrix[2, :2], 0, atol=1e-6)
    assert cell.volume / len(cell) == pytest.approx(crystal.volume / len(crystal))
    assert cell.composition.reduced_formula == crystal.composition.reduced_formula
    shortest = [min(s.get_distance(0, j, jimage=None) for j in range(1, len(s))) for s in (crystal * 2, cell * 2)]
    assert shortest[0] == pytest.approx(shortest[1])
    card = load_card("cui2026-binding").varied("x", kpoints={"spacing_per_angstrom": 0.03})
    assert card.kpoint_mesh(cell)[:2] == card.kpoint_mesh(slab.structure)[:2]


def test_two_planes_of_lithium_by_hand():
    # bcc along [100]: the smallest oriented cell leans by half a cell, two of them are the cube
    cell = crystal_in_slab_cell(build_slab(load_crystal("Li"), (1, 0, 0), layers=5, vacuum_angstrom=12))
    assert len(cell) == 2
    assert cell.lattice.abc == pytest.approx(load_crystal("Li").lattice.abc)
    # rock salt along [100]: a square of half the area, one cube high
    cell = crystal_in_slab_cell(build_slab(load_crystal("LiCl"), (1, 0, 0), layers=4, vacuum_angstrom=12))
    edge = load_crystal("LiCl").lattice.a
    assert len(cell) == 4
    assert cell.lattice.abc == pytest.approx((edge / math.sqrt(2), edge / math.sqrt(2), edge))


def test_a_stacking_that_never_stands_upright_gives_none():
    # monoclinic, (100): c* and c differ by 17.9 degrees, which no few repeats make good
    assert crystal_in_slab_cell(build_slab(load_crystal("Li9Al4"), (1, 0, 0), layers=13, vacuum_angstrom=12)) is None


def test_a_slab_repeated_in_the_plane_is_refused():
    slab = build_slab(load_crystal("Li"), (1, 0, 0), layers=5, vacuum_angstrom=12, supercell=(2, 2))
    with pytest.raises(InputError, match="repeated in the plane"):
        crystal_in_slab_cell(slab)
