"""End points of hops: built, mended, refused; the path between them."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.migration import lithium_hops
from anodeflow.structures.migration_paths import (
    band_problem,
    hop_cells,
    interpolated_path,
    matched_end_points,
    mirrored_end,
    number_of_images,
)
from anodeflow.structures.sites import shortest_contact
from anodeflow.structures.supercells import supercell_for


def ends_of(name="LiCl", mechanism="vacancy", size=7.5):
    host = primitive_cell(load_crystal(name))
    hop = lithium_hops(host, mechanism, max_distance_angstrom=4.0)[0]
    return hop, *hop_cells(host, hop, supercell_for(host, size))


def mic(structure, frac_a, frac_b):
    return np.array([structure.lattice.get_all_distances(a[None], b[None])[0, 0]
                     for a, b in zip(frac_a, frac_b, strict=True)])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mechanism"), [("Li", "vacancy"), ("LiCl", "vacancy"), ("Li2S", "vacancy"), ("Al", "interstitial")]
)
def test_one_atom_moves_by_the_hop(name, mechanism):
    hop, start, end = ends_of(name, mechanism)
    assert start.composition == end.composition
    moved = mic(start, start.frac_coords, end.frac_coords)
    assert (moved > 1e-6).sum() == 1
    ends = matched_end_points(start, end)
    assert ends.hop_angstrom == pytest.approx(hop.distance_angstrom)
    assert ends.path_angstrom == pytest.approx(hop.distance_angstrom)
    assert start[ends.mover].specie.symbol == "Li"


def test_hops_into_one_vacancy_share_their_start():
    host = primitive_cell(load_crystal("Li3P"))
    hops = [h for h in lithium_hops(host, "vacancy") if h.end_site == "Li2"]
    matrix = supercell_for(host, 8.1)
    starts = [hop_cells(host, hop, matrix)[0] for hop in hops]
    assert len(starts) > 2
    for other in starts[1:]:
        assert np.allclose(starts[0].frac_coords, other.frac_coords)


def test_too_small_a_cell_is_refused():
    host = primitive_cell(load_crystal("LiCl"))
    hop = lithium_hops(host, "vacancy")[0]
    with pytest.raises(StructureError, match=r"3.64 angstrom long in a cell whose images are 3.64.*at least 7.5"):
        hop_cells(host, hop)


@pytest.mark.parametrize("name", ["Li", "LiCl", "Li2S"])
def test_the_mirrored_end_is_the_same_crystal_turned(name):
    _, start, end = ends_of(name)
    relaxed = start.copy()
    relaxed.perturb(0.08, seed=5)
    mirrored = mirrored_end(start, end, relaxed)
    before = np.sort(relaxed.distance_matrix, axis=None)
    assert np.allclose(np.sort(mirrored.distance_matrix, axis=None), before, atol=1e-6)
    assert mic(end, mirrored.frac_coords, end.frac_coords).max() < 0.081
    ends = matched_end_points(relaxed, mirrored)
    assert ends.hop_angstrom == pytest.approx(ends_of(name)[0].distance_angstrom, abs=0.2)


def test_ends_that_no_operation_joins():
    hop, start, end = ends_of("Al", "interstitial")
    assert not hop.symmetric
    assert mirrored_end(start, end, start) is None


# --- what a user may bring -----------------------------------------------------------------------


def shuffled(structure, order):
    return Structure(structure.lattice, [structure.species[i] for i in order], structure.frac_coords[order])


def test_atoms_that_swapped_places_or_crossed_the_boundary_are_put_back():
    _, start, end = ends_of()
    order = np.random.default_rng(1).permutation(len(end))
    mixed = shuffled(end, order)
    mixed.translate_sites([0, 3], [1, -1, 0], to_unit_cell=False)
    ends = matched_end_points(start, mixed)
    assert "put back into the order" in ends.notes[0]
    assert ends.crossed >= 1
    assert ends.path_angstrom == pytest.approx(3.64, abs=0.01)
    assert np.linalg.norm(ends.end.cart_coords - ends.start.cart_coords, axis=1).max() < 3.65


def test_a_common_drift_is_taken_out():
    _, start, end = ends_of()
    drifted = end.copy()
    drifted.translate_sites(range(len(end)), [0.2, -0.1, 0.3], frac_coords=False)
    ends = matched_end_points(start, drifted)
    assert "drift of 0.37" in ends.notes[0]
    assert ends.path_angstrom == pytest.approx(3.64, abs=0.01)
    held = start.copy(site_properties={"selective_dynamics": [[False] * 3] + [[True] * 3] * (len(start) - 1)})
    assert matched_end_points(held, drifted).path_angstrom > 4


def without(structure, index):
    changed = structure.copy()
    changed.remove_sites([index])
    return changed


def strained(structure):
    changed = structure.copy()
    changed.apply_strain(0.01)
    return changed


def second_hop(start, end):
    """Another Li moves 1.5 angstrom as well."""
    changed = end.copy()
    mover = int(np.argmax(mic(start, start.frac_coords, end.frac_coords)))
    other = next(i for i, s in enumerate(end) if s.specie.symbol == "Cl" and i != mover)
    changed.translate_sites([other], [0, 0, 2.0], frac_coords=False)
    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, e: without(e, 0), ["different compositions", "Cl"]),
        (lambda s, e: strained(e), ["different cells"]),
        (lambda s, e: s, ["identical", "0.000"]),
        (second_hop, ["2 atoms move", "two hops at once", "Cl"]),
    ],
)
def test_bad_end_points(change, words):
    _, start, end = ends_of()
    with pytest.raises(StructureError) as caught:
        matched_end_points(start, change(start, end))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_two_movers_may_be_allowed():
    _, start, end = ends_of()
    assert matched_end_points(start, second_hop(start, end), allow_concerted=True).hop_angstrom > 2


def test_an_order_that_fits_twice_is_refused():
    # three Li in a row, 1 angstrom apart: which one came from where cannot be told
    lattice = Lattice.orthorhombic(12, 6, 6)
    start = Structure(lattice, ["Li"] * 4, [[0, 0, 0], [0.08, 0, 0], [0.16, 0, 0], [0.5, 0.5, 0.5]])
    end = Structure(lattice, ["Li"] * 4, [[0.5, 0.5, 0.9], [0.04, 0, 0], [0.12, 0, 0], [0.2, 0, 0]])
    with pytest.raises(StructureError, match="fits two"):
        matched_end_points(start, end)


# --- the path ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "images"), [(0.5, 3), (1.6, 3), (2.98, 5), (3.64, 7), (20.0, 11)])
def test_images_follow_the_length_and_are_odd(length, images):
    assert number_of_images(length) == images


def test_the_path_keeps_clear_of_neighbours_and_spacing():
    _, start, end = ends_of("LiCl")
    ends = matched_end_points(start, end)
    path = interpolated_path(ends, 7)
    straight = [ends.start.cart_coords + t * (ends.end.cart_coords - ends.start.cart_coords)
                for t in np.linspace(0, 1, 9)]  # fmt: skip
    middle = Structure(start.lattice, start.species, straight[4], coords_are_cartesian=True)
    assert shortest_contact(path[4])[0] > shortest_contact(middle)[0] + 0.05
    assert band_problem([image.cart_coords for image in path]) is None
    assert np.allclose(path[0].cart_coords, ends.start.cart_coords)
    assert np.allclose(path[-1].cart_coords, ends.end.cart_coords)


def test_a_bent_path_is_reproducible_and_frozen_atoms_stay():
    _, start, end = ends_of("Li2S")
    flags = [[i > 5] * 3 for i in range(len(start))]
    ends = matched_end_points(start.copy(site_properties={"selective_dynamics": flags}), end)
    first, again = (interpolated_path(ends, 3, displacement_angstrom=0.1, seed=4) for _ in range(2))
    other = interpolated_path(ends, 3, displacement_angstrom=0.1, seed=5)
    assert np.array_equal(first[2].cart_coords, again[2].cart_coords)
    assert not np.allclose(first[2].cart_coords, other[2].cart_coords, atol=0.01)
    mover = ends.mover
    still = [i for i in range(6) if i != mover]
    assert np.allclose(first[2].cart_coords[still], ends.start.cart_coords[still], atol=1e-9)


@pytest.mark.parametrize("images", [0, 52])
def test_absurd_numbers_of_images(images):
    _, start, end = ends_of()
    with pytest.raises(InputError, match=f"{images} images"):
        interpolated_path(matched_end_points(start, end), images)


def test_bands_that_slid_or_folded_are_seen():
    even = np.linspace(0, 1, 7)[:, None, None] * np.array([[3.0, 0, 0]])
    assert band_problem(even) is None
    slid = even.copy()
    slid[3] = slid[2] + 0.01
    assert "slid: images 2 and 3" in band_problem(slid)
    folded = even.copy()
    folded[3] = folded[1] + [[0, 0.05, 0]]
    assert "folded" in band_problem(folded)
    assert "no distance" in band_problem(even * 0)
