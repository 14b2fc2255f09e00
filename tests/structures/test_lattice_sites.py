"""Sites that atoms of a crystal occupy: counted by hand, the same in every cell, refused where they make no sense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import crystal_names, get_entry, load_crystal
from anodeflow.structures.lattice_sites import (
    atom_at,
    check_state,
    occupied_sites,
    remove,
    replace,
    replaced_elements,
    states_of_crystal,
)
from anodeflow.structures.sites import Site

# Wyckoff sites of the catalogue's cells: (number in the cell, first shell)
TEXTBOOK = {
    ("Al", "Al"): [(4, "12 Al")],
    ("Li", "Li"): [(2, "8 Li")],
    ("LiAl", "Li"): [(8, "4 Al, 4 Li")],
    ("LiAl", "Al"): [(8, "4 Al, 4 Li")],
    ("LiCl", "Li"): [(4, "6 Cl")],
    ("Li2S", "Li"): [(8, "4 S")],
    ("Li9Al4", "Li"): [4, 4, 4, 4, 2],
    ("Li9Al4", "Al"): [4, 4],
    ("Li3P", "Li"): [4, 2],
}


@pytest.mark.parametrize(("name", "element"), TEXTBOOK)
def test_inequivalent_sites_are_the_wyckoff_sites(name, element):
    found = occupied_sites(load_crystal(name), element, "held")
    expected = TEXTBOOK[name, element]
    if isinstance(expected[0], tuple):
        assert [(site.multiplicity, site.coordination) for site in found] == expected
    else:
        assert [site.multiplicity for site in found] == expected
    assert [site.label for site in found] == [f"held-{n + 1}" for n in range(len(found))]


@pytest.mark.parametrize("name", ["Al", "Li", "LiAl", "LiCl", "Li2S", "Li3P"])
def test_every_cell_of_a_crystal_has_the_same_sites(name):
    crystal = load_crystal(name)
    element = "Al" if name == "Al" else "Li"
    reference = occupied_sites(crystal, element, "held")
    primitive = crystal.get_primitive_structure()
    for cell in (primitive, crystal * (2, 1, 1), primitive * (2, 2, 2)):
        found = occupied_sites(cell, element, "held")
        share = len(cell) / len(crystal)
        assert [(s.coordination, s.multiplicity / share) for s in found] == [
            (s.coordination, s.multiplicity) for s in reference
        ]
        assert [s.nearest_distance_angstrom for s in found] == pytest.approx(
            [s.nearest_distance_angstrom for s in reference], abs=1e-3
        )


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(["Al", "LiAl", "Li2S", "Li3P"]), shift=st.tuples(*[st.floats(-2, 2)] * 3))
def test_sites_follow_the_crystal(name, shift):
    crystal = load_crystal(name)
    moved = crystal.copy()
    moved.translate_sites(range(len(moved)), shift)
    element = "Al" if name == "Al" else "Li"
    before, after = (occupied_sites(cell, element, "held") for cell in (crystal, moved))
    assert [(s.multiplicity, s.coordination) for s in after] == [(s.multiplicity, s.coordination) for s in before]
    for site in after:
        assert moved[atom_at(moved, site)].specie.symbol == element


def test_states_of_the_substances_of_cycling():
    states = {name: states_of_crystal(load_crystal(name)) for name in ("Al", "Li", "LiAl", "Li9Al4", "LiCl", "P2S5")}
    everything = ("interstitial", "substitution", "held")
    assert states == {
        "Al": ("interstitial", "substitution"),
        "Li": everything,
        "LiAl": everything,
        "Li9Al4": everything,
        "LiCl": ("interstitial", "held"),
        "P2S5": ("interstitial",),
    }
    assert replaced_elements(load_crystal("LiAl")) == ["Al"]
    assert replaced_elements(load_crystal("Li")) == ["Li"]


def test_every_crystal_of_the_catalogue_has_its_states():
    for name in crystal_names():
        if not get_entry(name).structure.is_ordered:
            continue
        crystal = load_crystal(name)
        for state in states_of_crystal(crystal):
            check_state(crystal, state, name)
        if "held" in states_of_crystal(crystal):
            found = occupied_sites(crystal, "Li", "held")
            assert sum(site.multiplicity for site in found) == round(crystal.composition["Li"])


def test_replacing_and_removing_change_one_atom():
    host = load_crystal("Al") * (2, 2, 2)
    site = occupied_sites(host, "Al", "substitution")[0]
    atom = atom_at(host, site)
    replaced, removed = replace(host, site), remove(host, site)
    assert site.label == "sub-Al1"
    assert replaced.composition.as_dict() == {"Al": 31, "Li": 1}
    assert replaced[-1].specie.symbol == "Li"
    np.testing.assert_allclose(replaced[-1].frac_coords, host[atom].frac_coords)
    kept = np.delete(host.frac_coords, atom, axis=0)
    np.testing.assert_allclose(replaced.frac_coords[:-1], kept)
    np.testing.assert_allclose(removed.frac_coords, kept)
    assert len(host) == 32


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("P2S5", "held", "it holds no Li"),
        ("Al", "held", "it holds no Li"),
        ("LiCl", "substitution", "not a metal"),
        ("Al", "adsorbed", "state of a surface"),
    ],
)
def test_a_state_that_a_host_cannot_have_is_refused(name, state, words):
    with pytest.raises(InputError, match=words) as caught:
        check_state(load_crystal(name), state, name)
    assert "states of" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_enumerated_is_refused():
    aluminium = load_crystal("Al")
    with pytest.raises(StructureError, match="Al holds no Li"):
        occupied_sites(aluminium, "Li", "held")
    with pytest.raises(InputError, match="no covalent radius"):
        occupied_sites(aluminium, "Xx", "held")
    primitive = aluminium.get_primitive_structure()
    only = occupied_sites(primitive, "Al", "substitution")[0]
    with pytest.raises(StructureError, match=r"1 of 1 Al makes another phase"):
        replace(primitive, only)
    with pytest.raises(StructureError, match="only atom"):
        remove(primitive, only)
    with pytest.raises(StructureError, match="no atom of the host is at site 'i1'"):
        atom_at(aluminium, Site("i1", "interstitial", (0.25, 0.25, 0.25), 8, 1.75, "4 Al"))
