"""Distances against geometry done by hand; inserting an atom changes nothing else."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.sites import (
    Site,
    covalent_radius_angstrom,
    first_shell,
    frac_in_cell,
    insert,
    overlap_distance_angstrom,
    shortest_contact,
    worst_overlap,
)

OCTAHEDRAL = Site("i1", "interstitial", (0.5, 0.5, 0.5), 4, 4.041 / 2, "6 Al")


def test_a_site_survives_json():
    assert Site.from_dict(json.loads(json.dumps(OCTAHEDRAL.as_dict()))) == OCTAHEDRAL


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "corner"},
        {"frac_coords": (0, 0)},
        {"frac_coords": (0, 0, math.nan)},
        {"frac_coords": ("a", 0, 0)},
        {"multiplicity": 0},
        {"nearest_distance_angstrom": -1},
        {"nearest_distance_angstrom": math.nan},
        {"extra": 1},
    ],
)
def test_unusable_sites_are_refused(change):
    with pytest.raises(InputError):
        Site.from_dict({**OCTAHEDRAL.as_dict(), **change})
    with pytest.raises(InputError):
        Site.from_dict({"label": "i1"})


@pytest.mark.parametrize(
    ("name", "point", "distance", "shell"),
    [
        ("Al", (0.5, 0.5, 0.5), 4.041 / 2, "6 Al"),
        ("Al", (0.25, 0.25, 0.25), 4.041 * math.sqrt(3) / 4, "4 Al"),
        ("Li", (0.5, 0.25, 0), 3.44 * math.sqrt(5) / 4, "4 Li"),
        ("Li", (0.5, 0, 0), 3.44 / 2, "2 Li"),
        ("LiCl", (0.25, 0.25, 0.25), 5.148 * math.sqrt(3) / 4, "4 Cl, 4 Li"),
        ("Li2S", (0.5, 0.5, 0.5), 5.729 * math.sqrt(3) / 4, "8 Li"),
    ],
)
def test_shells_of_known_holes(name, point, distance, shell):
    nearest, coordination = first_shell(load_crystal(name), point)
    assert nearest == pytest.approx(distance, abs=1e-6)
    assert coordination == shell


def test_shell_of_a_nearly_empty_cell_is_still_found():
    host = Structure(Lattice.cubic(30), ["Li"], [[0, 0, 0]])
    assert first_shell(host, (0.5, 0.5, 0.5)) == (pytest.approx(15 * math.sqrt(3)), "8 Li")


def test_the_new_atom_is_last_and_the_host_unchanged():
    host = load_crystal("Al")
    before = host.copy()
    filled = insert(host, OCTAHEDRAL)
    assert host == before
    assert [site.specie.symbol for site in filled] == ["Al"] * 4 + ["Li"]
    assert list(filled[:4]) == list(host)
    assert filled[-1].distance(filled[0]) >= 4.041 / 2 - 1e-9
    assert filled.lattice == host.lattice


def test_site_properties_survive():
    host = load_crystal("Al")
    host.add_site_property("selective_dynamics", [[False] * 3] * 4)
    host.add_site_property("layer", [1, 2, 3, 4])
    filled = insert(host, OCTAHEDRAL)
    assert filled.site_properties["selective_dynamics"] == [[False] * 3] * 4 + [[True] * 3]
    assert filled.site_properties["layer"] == [1, 2, 3, 4, None]


def test_a_site_inside_an_atom_names_atom_and_distance():
    site = Site("bad", "interstitial", (0.98, 0, 0), 1, 0.0, "1 Al")
    with pytest.raises(StructureError, match=r"inside an atom: Li would lie 0\.081 angstrom from Al \(atom 1\)"):
        insert(load_crystal("Al"), site)
    with pytest.raises(StructureError, match="inside an atom"):  # the middle of an Al-Al bond, 1.43 angstrom
        insert(load_crystal("Al"), Site("bond", "interstitial", (0.25, 0.25, 0), 1, 1.43, "2 Al"))


def test_elements_must_exist():
    with pytest.raises(InputError, match="'Xx'"):
        insert(load_crystal("Al"), OCTAHEDRAL, element="Xx")


@given(
    x=st.floats(0, 1, exclude_max=True),
    y=st.floats(0, 1, exclude_max=True),
    z=st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=40, deadline=None)
def test_insert_refuses_exactly_what_overlaps(x, y, z):
    host = load_crystal("LiCl")
    site = Site("s", "interstitial", (x, y, z), 1, 0.0, "")
    limits = [
        (host.lattice.get_distance_and_image(site.frac_coords, atom.frac_coords)[0], atom.specie.symbol)
        for atom in host
    ]
    overlaps = any(distance < overlap_distance_angstrom("Li", symbol) for distance, symbol in limits)
    try:
        filled = insert(host, site)
    except StructureError:
        assert overlaps
    else:
        assert not overlaps
        assert worst_overlap(filled) is None


def test_overlap_distances():
    assert overlap_distance_angstrom("Li", "S") == pytest.approx(0.6 * (1.28 + 1.05))
    assert overlap_distance_angstrom("H", "H") == 0.7
    assert covalent_radius_angstrom("Al") == pytest.approx(1.21)


def test_the_worst_overlap_is_the_worst_relative_to_its_limit():
    cell = Lattice.cubic(10)
    host = Structure(cell, ["H", "H", "Li", "Li"], [[0, 0, 0], [0.065, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.58]])
    assert worst_overlap(host) == (pytest.approx(0.8), 2, 3)  # 0.52 of its limit; H-H 0.93
    assert worst_overlap(load_crystal("P2S5")) is None


def test_an_atom_alone_meets_its_own_image():
    assert shortest_contact(Structure(Lattice.cubic(7), ["Li"], [[0, 0, 0]])) == (pytest.approx(7), 0, 0)


def test_coordinates_are_folded_without_noise():
    cell = Lattice.cubic(4)
    folded = frac_in_cell(cell, cell.get_cartesian_coords([[1 - 1e-12, -1e-12, 1.25]]))
    assert folded.tolist() == [[0.0, 0.0, pytest.approx(0.25)]]
