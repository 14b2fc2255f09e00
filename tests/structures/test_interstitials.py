"""Holes of textbook lattices; only the crystal decides about them, not how it is written down."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.spatial.transform import Rotation

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import crystal_names, get_entry, load_crystal
from anodeflow.structures.interstitials import contact_limit_angstrom, interstitial_sites
from anodeflow.structures.sites import first_shell, insert


def same(found, expected, cells=1.0):
    """Whether two lists describe the same holes, `found` in a cell so many times larger."""
    return [(s.coordination, round(s.multiplicity / cells, 6)) for s in found] == [
        (s.coordination, s.multiplicity) for s in expected
    ] and [s.nearest_distance_angstrom for s in found] == pytest.approx(
        [s.nearest_distance_angstrom for s in expected], abs=2e-3
    )


TEXTBOOK = {
    "Al": [(4.041 / 2, "6 Al", 4), (4.041 * math.sqrt(3) / 4, "4 Al", 8)],
    "Li": [(3.44 * math.sqrt(5) / 4, "4 Li", 12), (3.44 / 2, "2 Li", 6)],
    "LiCl": [(5.148 * math.sqrt(3) / 4, "4 Cl, 4 Li", 8)],
    "Li2S": [(5.729 * math.sqrt(3) / 4, "8 Li", 4)],
    "LiAl": [(6.367 * math.sqrt(5) / 8, "2 Al, 2 Li", 96)],
    "Li3P": [(7.584 / 4, "2 Li", 2)],
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_holes(name):
    sites = interstitial_sites(load_crystal(name))
    assert len(sites) == len(TEXTBOOK[name])
    for n, (site, (distance, shell, multiplicity)) in enumerate(zip(sites, TEXTBOOK[name], strict=True), start=1):
        assert site.label == f"i{n}"
        assert site.kind == "interstitial"
        assert site.nearest_distance_angstrom == pytest.approx(distance, abs=1e-6)
        assert (site.coordination, site.multiplicity) == (shell, multiplicity)


def test_high_symmetry_coordinates_are_exact():
    octahedral, tetrahedral = interstitial_sites(load_crystal("Al"))
    assert sorted(octahedral.frac_coords) == [0, 0, 0.5]
    assert tetrahedral.frac_coords == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("name", [n for n in crystal_names() if n != "Li6PS5Cl"])
def test_every_catalogue_crystal_has_a_sound_list(name):
    structure = load_crystal(name)
    sites = interstitial_sites(structure)
    assert 1 <= len(sites) <= 50
    sizes = [site.nearest_distance_angstrom for site in sites]
    assert sizes == sorted(sizes, reverse=True) or max(np.diff(sizes)) < 2e-3
    for site in sites:
        filled = insert(structure, site)  # refuses overlaps
        assert first_shell(structure, site.frac_coords)[0] == pytest.approx(site.nearest_distance_angstrom)
        for neighbour in filled.get_neighbors(filled[-1], 2.2):
            if neighbour.index < len(structure):
                limit = contact_limit_angstrom("Li", neighbour.specie.symbol)
                assert neighbour.nn_distance >= limit - 1e-5


@pytest.mark.parametrize("name", ["Li9Al4", "P2S5", "Li2S"])
def test_sites_are_inequivalent_and_multiplicities_fill_the_group(name):
    structure = load_crystal(name)
    sites = interstitial_sites(structure)
    operations = SpacegroupAnalyzer(structure, symprec=0.01).get_space_group_operations()
    for n, site in enumerate(sites):
        images = np.array([op.operate(site.frac_coords) for op in operations])
        distances = structure.lattice.get_all_distances([site.frac_coords], images)[0]
        assert site.multiplicity * np.sum(distances < 0.02) == len(operations)
        for other in sites[:n]:
            # ... nor closer to one another, by any operation, than the merge distance
            assert structure.lattice.get_all_distances([other.frac_coords], images).min() > 0.7 - 1e-6


CELLS = {
    "primitive": lambda s: s.get_primitive_structure(),
    "2x1x1": lambda s: s.make_supercell([2, 1, 1], in_place=False),
    "sheared": lambda s: s.make_supercell([[1, 1, 0], [0, 1, 0], [0, -1, 1]], in_place=False),
    "skew supercell": lambda s: s.make_supercell([[2, 1, 0], [0, 1, 1], [1, 0, 1]], in_place=False),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["Li", "Al", "LiCl", "Li3Al2"])
def test_the_choice_of_cell_does_not_matter(name, cell):
    structure = load_crystal(name)
    other = CELLS[cell](structure)
    expected = interstitial_sites(structure)
    found = interstitial_sites(other)
    assert same(found, expected, cells=other.volume / structure.volume)
    for site in found:
        insert(other, site)


@settings(max_examples=8, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    angles=st.tuples(*[st.floats(0, 2 * math.pi)] * 3),
    name=st.sampled_from(["Al", "Li", "Li2S", "Li3P", "Li9Al4"]),
)
def test_translation_and_rotation_do_not_matter(shift, angles, name):
    structure = load_crystal(name)
    expected = interstitial_sites(structure)
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    moved = Structure(
        Lattice(structure.lattice.matrix @ rotation.T),
        structure.species,
        (structure.frac_coords + np.array(shift)) % 1.0,
    )
    assert same(interstitial_sites(moved), expected)


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(0.97, 1.12))
def test_hole_sizes_scale_with_the_crystal(scale):
    structure = load_crystal("Al")
    scaled = Structure(Lattice(structure.lattice.matrix * scale), structure.species, structure.frac_coords)
    for site, reference in zip(interstitial_sites(scaled), interstitial_sites(structure), strict=True):
        assert site.nearest_distance_angstrom == pytest.approx(scale * reference.nearest_distance_angstrom)


def test_noise_below_symprec_changes_nothing():
    structure = load_crystal("Al")
    expected = interstitial_sites(structure)
    structure.perturb(0.002)
    found = interstitial_sites(structure, symprec=0.02)
    assert [s.multiplicity for s in found] == [s.multiplicity for s in expected]
    assert [s.nearest_distance_angstrom for s in found] == pytest.approx(
        [s.nearest_distance_angstrom for s in expected], abs=0.01
    )


def test_a_larger_wish_keeps_the_larger_hole_only():
    sites = interstitial_sites(load_crystal("Al"), min_distance_angstrom=1.9)
    assert [site.coordination for site in sites] == ["6 Al"]


def test_a_wide_merge_distance_leaves_one_site():
    assert len(interstitial_sites(load_crystal("Al"), merge_distance_angstrom=1.8)) == 1


def test_a_host_without_room_is_refused():
    with pytest.raises(StructureError, match=r"Al has no interstitial site for Li .*3\.00 angstrom from Al"):
        interstitial_sites(load_crystal("Al"), min_distance_angstrom=3.0)


def test_hosts_that_are_no_crystals_are_refused():
    with pytest.raises(StructureError, match="partially occupied"):
        interstitial_sites(get_entry("Li6PS5Cl").structure)
    close = Structure(Lattice.cubic(4), ["Li", "Li"], [[0, 0, 0], [0.1, 0, 0]])
    with pytest.raises(StructureError, match=r"0\.400 angstrom apart"):
        interstitial_sites(close)


@pytest.mark.parametrize(
    "keywords",
    [
        {"min_distance_angstrom": 0.0},
        {"min_distance_angstrom": math.nan},
        {"merge_distance_angstrom": -1.0},
        {"symprec": 0.0},
        {"element": "Xx"},
    ],
)
def test_unusable_wishes_are_refused(keywords):
    with pytest.raises(InputError):
        interstitial_sites(load_crystal("Al"), **keywords)
