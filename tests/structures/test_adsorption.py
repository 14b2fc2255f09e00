"""Adsorption sites: textbook lists, heights, symmetry, and the two-sided insertion."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures import adsorption
from anodeflow.structures.adsorption import (
    adsorption_sites,
    contact_distance_angstrom,
    insert_both,
    lower_site,
)
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.sites import insert
from anodeflow.structures.slabs import build_slab, list_terminations

indices = st.tuples(*[st.integers(-2, 2)] * 3).filter(any)
crystals = st.sampled_from(["Li", "Al", "LiAl", "Li9Al4", "LiCl", "Li2S", "Li3P"])


def slab(name: str, miller: tuple, **options: object):
    return build_slab(load_crystal(name), miller, **{"min_thickness_angstrom": 6, **options})


def counts(sites: list) -> tuple[int, int, int]:
    kinds = Counter(site.kind for site in sites)
    return kinds["top"], kinds["bridge"], kinds["hollow"]


@pytest.mark.parametrize(
    ("name", "miller", "expected"),
    [
        ("Al", (1, 1, 1), (1, 1, 2)),  # fcc and hcp hollow
        ("Al", (1, 0, 0), (1, 1, 1)),
        ("Al", (1, 1, 0), (1, 2, 1)),  # short and long bridge
        ("Li", (1, 0, 0), (1, 1, 1)),
        ("Li", (1, 1, 0), (1, 2, 1)),
        ("LiCl", (1, 0, 0), (2, 1, 1)),  # over Li, over Cl, between the two, between two of each
        ("LiAl", (1, 0, 0), (2, 1, 2)),
        ("Li2S", (1, 1, 1), (1, 1, 2)),
    ],
)
def test_textbook_sites(name: str, miller: tuple, expected: tuple) -> None:
    sites = adsorption_sites(slab(name, miller))
    assert counts(sites) == expected
    assert [site.label for site in sites] == [
        f"{kind}-{n + 1}"
        for kind, number in zip(("top", "bridge", "hollow"), expected, strict=True)
        for n in range(number)
    ]


def test_heights_on_al_111_follow_from_touching_spheres() -> None:
    model = slab("Al", (1, 1, 1))
    contact, spacing = 1.52 + 1.43, 4.041 / np.sqrt(2)
    top_atom = model.structure.cart_coords[:, 2].max()
    heights = {
        site.label: site.frac_coords[2] * model.structure.lattice.c - top_atom for site in adsorption_sites(model)
    }
    assert heights["top-1"] == pytest.approx(contact, abs=1e-4)
    assert heights["bridge-1"] == pytest.approx(np.sqrt(contact**2 - spacing**2 / 4), abs=1e-4)
    for hollow in ("hollow-1", "hollow-2"):
        assert heights[hollow] == pytest.approx(np.sqrt(contact**2 - spacing**2 / 3), abs=1e-4)


def test_fcc_and_hcp_hollow_differ_in_what_lies_below() -> None:
    model = slab("Al", (1, 1, 1))
    hollows = [site for site in adsorption_sites(model) if site.kind == "hollow"]
    second = np.sort(np.unique(model.structure.cart_coords[:, 2].round(3)))[-2]
    over_second_layer = []
    for site in hollows:
        atom = model.structure[int(np.argmin(abs(model.structure.cart_coords[:, 2] - second)))]
        step = np.array(site.frac_coords[:2]) - atom.frac_coords[:2]
        over_second_layer.append(bool(np.allclose(step, np.round(step), atol=1e-3)))
        assert site.coordination == "3 Al"
    assert sorted(over_second_layer) == [False, True]


@pytest.mark.parametrize("seed", range(3))
def test_names_of_sites_do_not_hang_on_vacuum_origin_or_order_of_atoms(seed: int) -> None:
    """fcc is hollow-1 and hcp hollow-2, also with the noise of a relaxation."""
    generator = np.random.default_rng(seed)
    for vacuum in (8.0, 13.7, 25.0):
        cell = slab("Al", (1, 1, 1), vacuum_angstrom=vacuum).structure.copy()
        order = generator.permutation(len(cell)).tolist()
        cell = Structure.from_sites([cell[index] for index in order])
        cell.translate_sites(range(len(cell)), [*generator.random(2), 0.0])
        cell = Structure(cell.lattice, cell.species, cell.frac_coords + 1e-6 * generator.normal(size=(len(cell), 3)))
        below = []
        for site in adsorption_sites(cell):
            away = cell.frac_coords - np.array(site.frac_coords)
            away[:, :2] -= np.round(away[:, :2])
            away = away @ cell.lattice.matrix
            under = away[np.hypot(away[:, 0], away[:, 1]) < 0.1, 2]
            below.append((site.label, float(np.abs(under).min()) if len(under) else None))
        depths = dict(below)
        assert depths["hollow-2"] == pytest.approx(4.8, abs=0.1)
        assert depths["hollow-1"] is None or depths["hollow-1"] > 7


def test_contact_distances() -> None:
    assert contact_distance_angstrom("Li", "Al") == pytest.approx(2.95)
    assert contact_distance_angstrom("Li", "Li") == pytest.approx(3.04)
    assert contact_distance_angstrom("Li", "S") == pytest.approx(2.60)
    assert contact_distance_angstrom("Cl", "Li") == contact_distance_angstrom("Li", "Cl") == pytest.approx(2.57)
    assert contact_distance_angstrom("S", "P") == pytest.approx(1.05 + 1.07)
    with pytest.raises(InputError, match="Xx"):
        contact_distance_angstrom("Xx", "Li")


def test_supercell_has_the_same_sites_more_often() -> None:
    single, large = (adsorption_sites(slab("Al", (1, 1, 1), supercell=n)) for n in ((1, 1), (2, 2)))
    assert [site.label for site in single] == [site.label for site in large]
    assert [site.multiplicity * 4 for site in single] == [site.multiplicity for site in large]
    for one, other in zip(single, large, strict=True):
        assert one.nearest_distance_angstrom == pytest.approx(other.nearest_distance_angstrom, abs=1e-4)


def test_a_lopsided_supercell_tells_the_bridges_apart() -> None:
    """In a 3 x 1 cell the rows along a and across it are no longer equivalent, the atoms still are."""
    sites = adsorption_sites(slab("Al", (1, 1, 1), supercell=(3, 1)))
    assert counts(sites) == (1, 2, 2)
    assert sorted(site.multiplicity for site in sites) == [3, 3, 3, 3, 6]


@settings(max_examples=20, deadline=None)
@given(crystals, indices, st.integers(0, 20))
def test_every_site_touches_the_slab(name: str, miller: tuple, choice: int) -> None:
    models = list_terminations(load_crystal(name), miller, min_thickness_angstrom=5, max_atoms=2000)
    model = models[choice % len(models)]
    if len(model.structure) > 80:
        return
    elements = {site.specie.symbol for site in model.structure}
    allowed = [contact_distance_angstrom("Li", element) for element in elements]
    sites = adsorption_sites(model)
    assert sites
    assert len({site.label for site in sites}) == len(sites)
    assert [site.kind for site in sites] == sorted((site.kind for site in sites), key=["top", "bridge", "hollow"].index)
    middle = model.structure.lattice.c / 2
    for site in sites:
        assert min(allowed) - 1e-3 <= site.nearest_distance_angstrom <= max(allowed) + 1e-3
        assert site.frac_coords[2] * model.structure.lattice.c > middle
        filled = insert(model.structure, site)
        assert len(filled) == len(model.structure) + 1
    places = np.array([site.frac_coords for site in sites])
    if len(sites) > 1:
        distances = model.structure.lattice.get_all_distances(places, places)
        assert distances[~np.eye(len(sites), dtype=bool)].min() >= 0.5


@settings(max_examples=20, deadline=None)
@given(crystals, indices)
def test_minima_saddles_and_maxima_balance(name: str, miller: tuple) -> None:
    """On a torus a smooth function has as many saddles as minima and maxima together (Morse)."""
    model = list_terminations(load_crystal(name), miller, min_thickness_angstrom=4, max_atoms=2000)[0]
    if len(model.structure) > 60:
        return
    with pytest.MonkeyPatch.context() as exact:
        exact.setattr(adsorption, "EQUAL_DISTANCE_ANGSTROM", 1e-4)
        exact.setattr(adsorption, "RIGHT_ANGLE_RAD", 1e-4)
        face = adsorption._Face.of(model.structure, "Li")
        candidates = face.candidates()
    places: dict[str, list] = {"top": [], "bridge": [], "hollow": []}
    for kind, point in candidates:
        frac = np.linalg.solve(face.plane.T, point)
        near = [np.linalg.norm((frac - f - np.round(frac - f)) @ face.plane) for f in places[kind]]
        if min(near, default=1.0) > 5e-3:
            places[kind].append(frac)
    assert len(places["top"]) - len(places["bridge"]) + len(places["hollow"]) == 0


def test_multiplicities_on_a_square_face() -> None:
    sites = {site.label: site for site in adsorption_sites(slab("Li", (1, 0, 0)))}
    assert [sites[label].multiplicity for label in ("top-1", "bridge-1", "hollow-1")] == [1, 2, 1]
    assert sites["hollow-1"].coordination == "4 Li"


def test_merging_keeps_the_hollow_and_can_be_turned_off() -> None:
    model = slab("Li9Al4", (0, 0, 1))
    everything = adsorption_sites(model, merge_distance_angstrom=0)
    merged = adsorption_sites(model)
    wide = adsorption_sites(model, merge_distance_angstrom=2.0)
    assert len(everything) >= len(merged) > len(wide)
    assert counts(merged)[2] >= counts(wide)[2] > 0
    coarse = adsorption_sites(slab("Al", (1, 1, 1)), merge_distance_angstrom=1.0)
    assert counts(coarse) == (1, 0, 2)  # the bridge lies 0.82 angstrom from a hollow


def test_two_sides_are_equivalent() -> None:
    for name, miller in [("Al", (1, 1, 1)), ("LiCl", (1, 0, 0)), ("Li9Al4", (0, 0, 1)), ("Li3P", (0, 0, 1))]:
        model = slab(name, miller)
        assert model.symmetric
        both = adsorption_sites(model, sides="both")
        assert [site.label for site in both[1::2]] == [f"{site.label}-lower" for site in both[::2]]
        for upper, lower in zip(both[::2], both[1::2], strict=True):
            assert upper.frac_coords[2] + lower.frac_coords[2] == pytest.approx(1.0, abs=1e-4)
            filled = insert_both(model, upper)
            assert len(filled) == len(model.structure) + 2
            assert np.allclose(filled[-1].frac_coords, lower.frac_coords)
            near = [filled.get_neighbors(filled[i], 3.3) for i in (-1, -2)]
            distances = [sorted(round(n.nn_distance, 2) for n in found) for found in near]
            assert np.allclose(*distances, atol=0.02)
            cell = (filled.lattice.matrix, filled.frac_coords, [site.specie.Z for site in filled])
            rotations = spglib.get_symmetry(cell, symprec=0.01)["rotations"]
            assert any(w[2, 2] == -1 for w in rotations)


def test_unequal_faces_have_no_lower_site() -> None:
    model = slab("LiCl", (1, 1, 1), symmetric_preferred=False)
    sites = adsorption_sites(model)
    with pytest.raises(StructureError, match="differ"):
        insert_both(model, sites[0])
    with pytest.raises(StructureError, match="differ"):
        lower_site(model, sites[0])
    with pytest.raises(StructureError, match="differ"):
        adsorption_sites(model, sides="both")


def test_a_small_relaxation_and_a_film_across_the_boundary_change_nothing() -> None:
    model = slab("LiCl", (1, 0, 0))
    reference = adsorption_sites(model)
    moved = model.structure.copy()
    moved.perturb(0.005, seed=1)
    assert counts(adsorption_sites(moved)) == counts(reference)
    wrapped = model.structure.copy()
    wrapped.translate_sites(list(range(len(wrapped))), [0.1, 0.2, 0.5])
    again = adsorption_sites(wrapped)
    assert [site.label for site in again] == [site.label for site in reference]
    for one, other in zip(reference, again, strict=True):
        assert one.nearest_distance_angstrom == pytest.approx(other.nearest_distance_angstrom, abs=1e-4)


def test_frozen_layers_stay_frozen_under_an_adatom() -> None:
    model = slab("Al", (1, 1, 1), freeze_layers=2)
    filled = insert(model.structure, adsorption_sites(model)[0])
    assert list(filled[-1].properties["selective_dynamics"]) == [True] * 3


def test_refusals() -> None:
    bulk = load_crystal("Al")
    with pytest.raises(StructureError, match="no surface"):
        adsorption_sites(bulk)
    tilted = Structure(Lattice.from_parameters(4, 4, 30, 80, 90, 90), ["Al"], [[0, 0, 0]])
    with pytest.raises(StructureError, match="a x b"):
        adsorption_sites(tilted)
    sieve = Structure(Lattice.from_parameters(20, 20, 20, 90, 90, 90), ["Al"], [[0, 0, 0]])
    with pytest.raises(StructureError, match="hole"):
        adsorption_sites(sieve)
    model = slab("Al", (1, 1, 1))
    with pytest.raises(InputError, match="sides"):
        adsorption_sites(model, sides="bottom")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="merge_distance"):
        adsorption_sites(model, merge_distance_angstrom=-1)
    with pytest.raises(InputError, match="Qq"):
        adsorption_sites(model, element="Qq")
