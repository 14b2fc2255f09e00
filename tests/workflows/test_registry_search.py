"""The search of registries with a made-up energy model: it does not depend on origins, orders or signs of zeros."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from morse import Morse, scrambled
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.interface_sides import softer_by_publication
from anodeflow.workflows.jobs import recognised
from anodeflow.workflows.jobs.registry_search import APART_ANGSTROM, RegistrySearch, search_card, unscored
from anodeflow.workflows.studies.registries import built_gap, named_crystal, search_engine

OPTIONS = {
    "film_miller": [1, 0, 0], "substrate_miller": [1, 0, 0], "film_layers": 5, "substrate_layers": 5, "smallest": True,
    "strained": "film", "max_strain": 0.07, "max_area_angstrom2": 30.0, "gap_angstrom": APART_ANGSTROM,
}  # fmt: skip


@pytest.fixture(autouse=True)
def morse(monkeypatch):
    monkeypatch.setattr(recognised, "get_engine", lambda name: Morse())


def search(film="Li", substrate="LiCl", **options):
    film, substrate = (named_crystal(load_crystal(c) if isinstance(c, str) else c, n) for c, n in
                       ((film, "Li"), (substrate, "LiCl")))  # fmt: skip
    return RegistrySearch(
        card=search_card(), engine="morse", label="search", film=film, substrate=substrate, options=OPTIONS, **options
    )


@pytest.fixture(scope="module")
def plain():
    patch = pytest.MonkeyPatch()
    patch.setattr(recognised, "get_engine", lambda name: Morse())
    yield search(rigid=True).result(None)
    patch.undo()


def test_an_argyrodite_keeps_all_of_its_formula_and_is_known_by_it():
    named = named_crystal(load_crystal("LiCl"), "Li5.5PS4.5Cl1.5")
    assert named.properties["crystal"] == "Li5.5PS4.5Cl1.5"  # ".5" is no suffix of a file
    assert softer_by_publication("Li9Al4", named.properties["crystal"])[0] == "substrate"


def test_every_registry_is_scored_and_the_lowest_is_first(plain):
    assert plain.converged
    # of this model: over a hollow Li has two Cl at one side each, over Li four further away, over Cl one
    assert [r.label for r in plain.best(3)] == ["Li over hollow of 4 (Cl, Li)", "Li over Li", "Li over Cl"]
    assert {r.label for r in plain.registries if r.held} == {
        "Li over Cl", "Li over Li", "Li over hollow of 4 (Cl, Li)"
    }  # fmt: skip
    energies = [r.above_lowest_j_per_m2 for r in plain.registries]
    assert energies == sorted(energies)
    assert energies[0] == 0
    # what lies on the slope to another is not one of the best
    assert [r.held for r in plain.best(3)] == [True] * 3
    assert plain.evaluations > len(plain.registries)


@settings(max_examples=3, deadline=None, phases=(Phase.generate,))
@given(st.integers(0, 2**31))
def test_it_does_not_depend_on_origin_order_or_the_sign_of_zero(plain, seed):
    other = search(scrambled("Li", seed), scrambled("LiCl", seed + 1), rigid=True).result(None)
    assert [r.label for r in other.best(3)] == [r.label for r in plain.best(3)]
    assert [r.energy_ev for r in other.best(3)] == pytest.approx([r.energy_ev for r in plain.best(3)], abs=1e-3)
    assert [built_gap(r) for r in other.best(3)] == pytest.approx([built_gap(r) for r in plain.best(3)])


def test_a_plan_lists_the_same_registries_without_energies(plain):
    listed = unscored(search().model, 2.5)
    assert {r.label for r in listed} == {r.label for r in plain.registries}
    assert sum(r.stationary for r in listed) == 3
    assert all(r.energy_ev is None for r in listed)


def test_one_registry_by_name(plain):
    one = search(only="Li over Li", rigid=True).result(None)
    assert [r.label for r in one.registries] == ["Li over Li"]
    with pytest.raises(InputError, match="no registry 'Li over S'; it has 'Li over Cl'"):
        unscored(search().model, 2.5, "Li over S")
    assert "no registry 'Li over S'" in search(only="Li over S", rigid=True).result(None).error


def test_what_makes_two_searches_the_same():
    keys = {search().key, search(rigid=True).key, search(only="Li over Cl").key}
    assert len(keys) == 3
    assert search().key == search().key


def test_the_potential_is_the_one_at_hand():
    assert search_engine("chgnet", None, None) == "chgnet"
    assert search_engine("gpaw", "chgnet", None) == "chgnet"
    assert search_engine("vasp", None, None) == "sevennet-0"
    assert search_engine("vasp", "chgnet", "sevennet-0") == "sevennet-0"
    with pytest.raises(InputError, match="gpaw has electrons"):
        search_engine("vasp", None, "gpaw")


def test_a_slab_is_no_crystal():
    slab = Structure(
        np.diag([3.44, 3.44, 15.0]), ["Li"] * 2, [[0, 0, 1], [1.72, 1.72, 2.72]], coords_are_cartesian=True
    )
    with pytest.raises(InputError, match=r"empty layer of 13\.3 angstrom"):
        named_crystal(slab, "slab.cif")
