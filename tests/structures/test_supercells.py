"""Supercells against close-packed lattices known by heart and against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.interstitials import interstitial_sites
from anodeflow.structures.sites import first_shell, insert
from anodeflow.structures.supercells import (
    hermite_normal_forms,
    interstitial_supercell,
    shortest_lattice_vector_angstrom,
    supercell_for,
)


def shortest(structure, matrix):
    return shortest_lattice_vector_angstrom(Lattice(matrix @ structure.lattice.matrix))


def determinant(matrix):
    return round(np.linalg.det(matrix))


@pytest.mark.parametrize(("index", "count"), [(1, 1), (2, 7), (3, 13), (4, 35), (6, 91), (8, 155)])
def test_the_number_of_sublattices(index, count):
    # Table of Hart and Forcade: sum over a b c = index of a^2 b
    forms = hermite_normal_forms(index)
    assert len(forms) == count
    assert {determinant(form) for form in forms} == {index}


@pytest.mark.parametrize(
    ("lattice", "length"),
    [
        (Lattice.cubic(3), 3),
        (Lattice([[3, 0, 0], [30, 4, 0], [300, 40, 5]]), 3),
        (Lattice.hexagonal(3, 2), 2),
        (Lattice([[0, 2, 2], [2, 0, 2], [2, 2, 0]]), 2 * math.sqrt(2)),
        (Lattice([[5, 0, 0], [4.9, 1, 0], [0, 0, 9]]), math.sqrt(1.01)),
    ],
)
def test_shortest_lattice_vectors(lattice, length):
    assert shortest_lattice_vector_angstrom(lattice) == pytest.approx(length)


def test_a_large_cell_stays_as_it_is():
    assert supercell_for(load_crystal("P2S5"), 8.0).tolist() == np.eye(3).tolist()


def test_sublattices_of_the_simple_cubic_lattice():
    # sqrt(2) a needs the face-centred sublattice of 2 cells, sqrt(3) a the body-centred one of 4, 2 a all 8.
    cubic = Structure(Lattice.cubic(4), ["Li"], [[0, 0, 0]])
    for wish, cells in ((4 * math.sqrt(2), 2), (4 * math.sqrt(3), 4), (8, 8)):
        matrix = supercell_for(cubic, wish)
        assert determinant(matrix) == cells
        assert shortest(cubic, matrix) == pytest.approx(wish)


def test_known_cell_of_aluminium():
    primitive = load_crystal("Al").get_primitive_structure()
    matrix = supercell_for(primitive, 8.5)
    assert determinant(matrix) == 27
    assert shortest(primitive, matrix) == pytest.approx(3 * 4.041 / math.sqrt(2))


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.tuples(*[st.floats(2.5, 6)] * 3),
    angles=st.tuples(*[st.floats(65, 115)] * 3),
    wish=st.floats(2, 7),
)
def test_no_smaller_supercell_would_do(lengths, angles, wish):
    host = Structure(Lattice.from_parameters(*lengths, *angles), ["Li"], [[0, 0, 0]])
    matrix = supercell_for(host, wish)
    index = determinant(matrix)
    assert index >= 1
    assert shortest(host, matrix) >= wish - 1e-5
    for smaller in range(1, min(index, 6)):
        for form in hermite_normal_forms(smaller):
            assert shortest(host, form) < wish


def test_brute_force_over_integer_matrices_agrees():
    host = Structure(Lattice.from_parameters(3.1, 3.6, 4.4, 80, 95, 105), ["Li"], [[0, 0, 0]])
    index = determinant(supercell_for(host, 5.0))
    vectors = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if v > (0, 0, 0)])
    for rows in itertools.combinations(range(len(vectors)), 3):
        matrix = vectors[list(rows)]
        if 0 < abs(determinant(matrix)) < index:
            assert shortest(host, matrix) < 5.0


def test_far_images_fall_back_to_a_diagonal_cell_quickly():
    primitive = load_crystal("Al").get_primitive_structure()
    assert shortest(primitive, supercell_for(primitive, 25.0)) >= 25.0


def test_the_atom_limit_names_both_numbers():
    # 2 sqrt(2) a apart: 16 cubic cells in a body- or face-centred arrangement
    with pytest.raises(StructureError, match=r"need 64 atoms of Al, max_atoms is 60"):
        supercell_for(load_crystal("Al"), 11.4, max_atoms=60)
    assert determinant(supercell_for(load_crystal("Al"), 11.4, max_atoms=64)) == 16
    with pytest.raises(InputError):
        supercell_for(load_crystal("Al"), 11.4, max_atoms=0)


@pytest.mark.parametrize("wish", [0.0, -3.0, math.nan, math.inf])
def test_distances_must_be_positive(wish):
    with pytest.raises(InputError):
        supercell_for(load_crystal("Al"), wish)


@pytest.mark.parametrize("matrix", [[2, 1, 1], [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]])
@pytest.mark.parametrize("name", ["Al", "Li2S"])
def test_a_site_is_the_same_place_in_the_supercell(name, matrix):
    host = load_crystal(name)
    for site in interstitial_sites(host):
        supercell, moved = interstitial_supercell(host, site, np.array(matrix))
        cells = round(supercell.volume / host.volume)
        assert len(supercell) == cells * len(host)
        assert moved.multiplicity == cells * site.multiplicity
        nearest, shell = first_shell(supercell, moved.frac_coords)
        assert nearest == pytest.approx(site.nearest_distance_angstrom)
        assert shell == moved.coordination == site.coordination
        assert len(insert(supercell, moved)) == len(supercell) + 1
        # the same point in space, up to a lattice vector of the host
        gap = supercell.lattice.get_cartesian_coords(moved.frac_coords) - host.lattice.get_cartesian_coords(
            site.frac_coords
        )
        steps = host.lattice.get_fractional_coords(gap)
        assert np.abs(steps - np.round(steps)).max() < 1e-6


@pytest.mark.parametrize("matrix", [[[1, 0, 0]], np.eye(3) * 0.5, np.diag([1, 1, -1]), np.zeros((3, 3)), [1, 2]])
def test_matrices_must_make_a_cell(matrix):
    host = load_crystal("Al")
    with pytest.raises(InputError):
        interstitial_supercell(host, interstitial_sites(host)[0], matrix)
