from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from morse import scrambled

from anodeflow.errors import ConvergenceError, InputError
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.interfaces import build_interface
from anodeflow.structures.matching import lattice_matches
from anodeflow.structures.registry import (
    candidate_shifts,
    contact_gap,
    contact_problems,
    registries,
    registry_at,
    search_registry,
)
from anodeflow.structures.shifts import displacement_lattice, with_shift

EDGE = 5.148 / np.sqrt(2)


def one_by_one(film="Li", substrate="LiCl", shift=(0.0, 0.0), film_layers=5, **options):
    """Li(100) on LiCl(100), one cell of each."""
    film, substrate = slab_spec(film, (1, 0, 0), layers=film_layers), slab_spec(substrate, (1, 0, 0), layers=5)
    film, substrate = film.build(), substrate.build()
    matches = lattice_matches(film, substrate, max_strain=0.07, max_area_angstrom2=30, strained="film")
    match = min(matches, key=lambda m: m.area_angstrom2)
    return build_interface(film, substrate, match, max_strain=0.07, shift=shift, **options)


def landscape(model):
    """Energy of a known landscape, one term a contact, lowest with Li over Cl (-0.2 eV)."""

    def score(structure):
        whole = replace(model, structure=structure)
        energy = 0.0
        for contact in (1, 2):
            x, y = np.asarray(registry_at(whole, contact).fractions) * 2 * np.pi
            energy -= 0.05 * (np.cos(x) + np.cos(y))
        return energy, structure

    return score


def test_the_three_high_symmetry_registries_are_found_whatever_the_origin():
    named = set()
    for shift in ((0.0, 0.0), (0.3, 0.1), (0.5, 0.5)):
        model = one_by_one(shift=shift)
        cells = [with_shift(model, s) for s in candidate_shifts(model, grid_angstrom=20)]
        named.add(tuple(sorted({registry_at(cell).label for cell in cells})))
        special = sorted(registry_at(cell).label for cell in cells)[:3]
        assert len(cells) == 3, special
    assert named == {("Li over Cl", "Li over Li", "Li over hollow of 4 (Cl, Li)")}


@settings(max_examples=4, deadline=None, phases=(Phase.generate,))
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_the_search_does_not_depend_on_origin_or_order(seed, x, y):
    plain = one_by_one()
    ours = one_by_one(scrambled("Li", seed), scrambled("LiCl", seed + 1), shift=(x, y))
    expected = search_registry(plain, landscape(plain), refine=False)
    found = search_registry(ours, landscape(ours), refine=False)
    assert [f.registry.label for f in found] == [e.registry.label for e in expected]
    assert [f.energy_ev for f in found] == pytest.approx([e.energy_ev for e in expected], abs=1e-6)
    assert found[0].registry.label == "Li over Cl"
    assert found[0].energy_ev == pytest.approx(-0.2, abs=1e-6)


def test_refinement_finds_a_minimum_between_the_grid_points():
    model = one_by_one()
    best = (0.13, 0.31)  # away from every special point, fractions of the cell

    def score(structure):
        x, y = np.asarray(registry_at(replace(model, structure=structure)).fractions)
        away = min(
            np.hypot(*((np.array(p) - best + 0.5) % 1.0 - 0.5))
            for p in ((x, y), (-x, y), (x, -y), (-x, -y), (y, x), (-y, x), (y, -x), (-y, -x))
        )
        return away**2, structure

    coarse = search_registry(model, score, refine=False)[0].energy_ev
    fine = search_registry(model, score)[0].energy_ev
    assert fine <= coarse
    assert np.sqrt(fine) * EDGE < 0.25 * np.sqrt(2)  # within the finest step


def test_both_contacts_are_named_and_differing_ones_are_said():
    same = one_by_one()
    assert len({r.label for r in registries(same)}) == 1
    assert contact_problems(same, same.structure) == []
    even = one_by_one(film_layers=6)  # the upper face of a film of six planes stands half a cell further
    first, second = registries(even)
    assert {first.label, second.label} == {"Li over Li", "Li over Cl"}
    assert any("differ" in text for text in contact_problems(even, even.structure))


def test_an_open_contact_is_no_contact():
    model = one_by_one(gap_angstrom=4.1)
    assert [text for text in contact_problems(model, model.structure) if "4.10 angstrom is not a contact" in text]
    assert contact_gap(model, model.structure) == pytest.approx(4.1)
    assert contact_gap(model, model.structure, 2) == pytest.approx(4.1)


def test_gap_of_a_relaxed_cell_survives_the_boundary():
    model = one_by_one(gap_angstrom=2.6)
    moved = model.structure.copy()
    moved.translate_sites(range(len(moved)), [0, 0, 0.4])  # everything across the boundary of the cell
    assert contact_gap(model, moved) == pytest.approx(2.6)
    assert contact_gap(model, moved, 2) == pytest.approx(2.6)


def test_larger_cells_search_the_cell_of_displacements_only():
    model = interface("Li", "LiCl")
    cell = displacement_lattice(model)
    area = abs(np.linalg.det(cell)) * model.area_angstrom2
    assert area < 3.5  # square angstrom, against 12 of one cell of the film
    assert 1 <= len(candidate_shifts(model)) <= 6


def test_what_makes_no_search_is_refused():
    model = one_by_one()
    with pytest.raises(InputError, match="grid_angstrom is 0"):
        candidate_shifts(model, grid_angstrom=0)
    with pytest.raises(InputError, match="at most 3 are tried"):
        candidate_shifts(model, most=3)
    with pytest.raises(InputError, match="no gap"):
        search_registry(model, landscape(model), gaps_angstrom=())
    with pytest.raises(ConvergenceError, match="is nan"):
        search_registry(model, lambda s: (float("nan"), s))
    with pytest.raises(InputError, match="contacts 1 to 2"):
        registry_at(model, 3)
