"""Interfaces: what must hold for every cell, and shifts, faces and thicknesses that are known by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.catalogue import get_entry, load_crystal
from anodeflow.structures.cleaving import DEFAULT_BONDS, coordination_numbers
from anodeflow.structures.interface_contacts import distances_across
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interface_series import check_series, scan_registry, thickness_series
from anodeflow.structures.interface_sides import SlabSpec, slab_spec
from anodeflow.structures.interfaces import InterfaceModel, build_interface, check_interface
from anodeflow.structures.matching import LatticeMatch, lattice_matches

PAIRS = [
    ("Li", "LiCl"),
    ("Li", "Li9Al4"),
    ("Li9Al4", "LiCl"),
    ("Al", "Li6PS5Cl"),
    ("Li", "Li6PS5Cl"),
    ("Li9Al4", "Li6PS5Cl"),
]


@cache
def named(film: str, substrate: str) -> InterfaceModel:
    return interface(film, substrate)


@cache
def one_by_one(film_layers: int = 5, substrate_layers: int = 4) -> tuple[SlabSpec, SlabSpec, LatticeMatch]:
    """Li(100) on LiCl(100), one cell on one cell, the film stretched by 5.8 %."""
    film, substrate = slab_spec("Li", layers=film_layers), slab_spec("LiCl", layers=substrate_layers)
    return film, substrate, lattice_matches(film.build(), substrate.build(), max_strain=0.06, max_area_angstrom2=15)[0]


def small(film_layers: int = 5, substrate_layers: int = 4, **options) -> InterfaceModel:
    film, substrate, match = one_by_one(film_layers, substrate_layers)
    return build_interface(film.build(), substrate.build(), match, **{"max_strain": 0.06, **options})


@pytest.mark.parametrize(("film", "substrate"), PAIRS)
def test_named_pairs_keep_every_invariant(film, substrate):
    model = named(film, substrate)
    facts, structure, match = check_interface(model), model.structure, model.match
    assert facts["atoms"] == len(structure) == match.atoms <= 500
    assert facts["handedness"] > 0
    assert structure.lattice.alpha == pytest.approx(90)
    assert structure.lattice.beta == pytest.approx(90)
    # composition: so many cells of either slab, and nothing else
    total = model.film.structure.composition * match.film_cells
    total += model.substrate.structure.composition * match.substrate_cells
    assert structure.composition.almost_equals(total)
    units = model.n_film_units * model.film.structure.composition.reduced_composition.num_atoms
    assert len(model.film_indices) == pytest.approx(units)
    assert sorted(model.film_indices + model.substrate_indices) == list(range(len(structure)))
    # area and strain, from the result
    fixed = model.film if model.strained == "substrate" else model.substrate
    cells = match.film_cells if model.strained == "substrate" else match.substrate_cells
    assert model.area_angstrom2 == pytest.approx(cells * fixed.area_angstrom2)
    other = model.substrate_strain if model.strained == "film" else model.film_strain
    assert other.principal_percent == pytest.approx((0, 0), abs=1e-6)
    assert 0 < model.max_strain_percent <= 5
    assert model.max_strain_percent == pytest.approx(abs(match.strain.max_principal_percent))
    # gaps and distances
    assert model.gaps_angstrom == pytest.approx((2.2, 2.2))
    assert model.shortest_contact_angstrom >= 2.2 - 1e-9
    thickness = model.film.thickness_angstrom + model.substrate.thickness_angstrom
    assert structure.lattice.c == pytest.approx(thickness + 4.4)
    assert all(slab.thickness_angstrom >= 10 for slab in (model.film, model.substrate))
    # no molecule is broken, none is bound to the other side
    coordination = coordination_numbers(structure, DEFAULT_BONDS)
    around_p = [int(n) for n, site in zip(coordination, structure, strict=True) if site.specie.symbol == "P"]
    assert set(around_p) <= {4}
    assert bool(around_p) == (substrate == "Li6PS5Cl")
    assert json.loads(json.dumps(model.as_dict()))["strained"] == model.strained


def test_the_softer_side_carries_the_strain():
    assert {pair: named(*pair).strained for pair in PAIRS} == {
        ("Li", "LiCl"): "film",
        ("Li", "Li9Al4"): "film",
        ("Li9Al4", "LiCl"): "substrate",
        ("Al", "Li6PS5Cl"): "substrate",
        ("Li", "Li6PS5Cl"): "film",
        ("Li9Al4", "Li6PS5Cl"): "substrate",
    }
    soft = small(strained="substrate")
    assert any("softer side" in text for text in soft.warnings)
    assert soft.area_angstrom2 == pytest.approx(3.44**2)


def test_distances_inside_each_side_follow_the_strain():
    model = small()
    film = Structure.from_sites([model.structure[n] for n in model.film_indices])
    nearest = np.sort(film.distance_matrix[np.triu_indices(len(film), 1)])[0]
    flat = 5.148 / np.sqrt(2)
    assert nearest == pytest.approx(np.sqrt(flat**2 / 2 + 1.72**2))  # bcc neighbour, stretched in the plane
    substrate = Structure.from_sites([model.structure[n] for n in model.substrate_indices])
    assert np.sort(substrate.distance_matrix[np.triu_indices(len(substrate), 1)])[0] == pytest.approx(5.148 / 2)
    assert model.film_strain.max_principal_percent == pytest.approx(100 * (flat / 3.44 - 1))
    assert model.film_strain.von_mises_percent == pytest.approx(2 / 3 * 100 * (flat / 3.44 - 1))


def test_both_sides_meet_half_way():
    model = small(strained="both")
    assert model.film_strain.max_principal_percent > 0 > model.substrate_strain.max_principal_percent
    assert model.area_angstrom2 == pytest.approx(3.44 * 5.148 / np.sqrt(2))


def test_vacuum_leaves_one_contact():
    model = small(vacuum_angstrom=12.0)
    assert model.contacts == 1
    assert model.gaps_angstrom == pytest.approx((2.2,))
    assert not model.contacts_equivalent
    assert "one contact" in model.contacts_decided_by
    thickness = model.film.thickness_angstrom + model.substrate.thickness_angstrom
    assert model.structure.lattice.c == pytest.approx(thickness + 2.2 + 12.0)


def test_repeat_multiplies_and_shift_moves_the_film():
    one, four, moved = small(), small(repeat=(2, 2)), small(shift=(0.25, 0.5))
    assert len(four.structure) == 4 * len(one.structure)
    assert four.area_angstrom2 == pytest.approx(4 * one.area_angstrom2)
    assert four.shortest_contact_angstrom == pytest.approx(one.shortest_contact_angstrom)
    step = moved.structure.frac_coords - one.structure.frac_coords
    step[one.film_indices] -= [0.25, 0.5, 0]
    assert np.abs(step - np.round(step)).max() < 1e-9


def test_the_upper_face_of_the_film_can_be_put_in_contact():
    # Layers A A' B: the two faces differ by their element.
    bulk = Structure(Lattice.tetragonal(3.6, 8.0), ["Al", "Li", "Li"], [[0, 0, 0.25], [0, 0, 0.5], [0, 0, 0.75]])
    film = SlabSpec(bulk, (0, 0, 1), "toy").build()
    substrate = slab_spec("LiCl", layers=4).build()
    match = lattice_matches(film, substrate, max_area_angstrom2=15)[0]
    faces = {}
    for face in ("lower", "upper"):
        model = build_interface(film, substrate, match, film_face=face, vacuum_angstrom=10.0)
        lowest = min(model.film_indices, key=lambda n: model.structure[n].z)
        faces[face] = model.structure[lowest].specie.symbol
        assert check_interface(model)["handedness"] > 0
    top = film.termination.split("/")[0]
    assert faces["upper"] == top
    assert sorted(faces.values()) == ["Al", "Li"]


def test_a_turned_over_film_keeps_its_distances_and_its_hand():
    """A chiral film of three unlike atoms: the signed volume they span must not change sign."""
    lattice = Lattice([[3.0, 0, 0], [0.8, 4.0, 0], [0, 0, 12.0]])
    bulk = Structure(
        lattice, ["Li", "Al", "S", "Cl"], [[0, 0, 0.1], [0.4, 0.1, 0.3], [0.2, 0.5, 0.5], [0.7, 0.6, 0.72]]
    )
    mirror = Structure(Lattice([[3.0, 0, 0], [-0.8, 4.0, 0], [0, 0, 9.0]]), ["Al", "Al"], [[0, 0, 0.2], [0, 0, 0.5]])
    film, substrate = SlabSpec(bulk, (0, 0, 1), "chiral", layers=4).build(), SlabSpec(mirror, (0, 0, 1), "base").build()
    match = lattice_matches(film, substrate, max_area_angstrom2=13, max_strain=0.01)[0]
    assert match.film_turned_over
    model = build_interface(film, substrate, match, film_face="upper", vacuum_angstrom=10.0)

    def hand(structure: Structure, sites: list[int]) -> float:
        by = {structure[n].specie.symbol: n for n in sites}
        start, volumes = by["Li"], []
        for symbols in ("Al", "S", "Cl"):
            near = structure[start].distance_and_image(structure[by[symbols]])[1]
            end = structure.lattice.get_cartesian_coords(structure[by[symbols]].frac_coords + near)
            volumes.append(end - structure[start].coords)
        return float(np.linalg.det(volumes))

    before = hand(film.structure, list(range(len(film.structure))))
    assert Counter(film.structure.species) == dict.fromkeys(film.structure.species, 1)
    assert hand(model.structure, model.film_indices) == pytest.approx(before)
    with pytest.raises(InputError, match="cannot show its lower face"):
        build_interface(film, substrate, match, vacuum_angstrom=10.0)


def test_contacts_are_equivalent_where_a_symmetry_exchanges_them():
    even = small(4)
    assert even.contacts_equivalent
    assert "symmetry operation" in even.contacts_decided_by
    # Five layers of Li are mirrored, four of LiCl inverted: only half-way shifts bring the centres together.
    odd = small(5)
    assert not odd.contacts_equivalent
    assert "shift=(0.25, 0.25)" in odd.contacts_decided_by
    assert small(5, shift=(0.25, 0.25)).contacts_equivalent
    electrolyte = named("Li", "Li6PS5Cl")
    assert not electrolyte.contacts_equivalent
    assert "Li6PS5Cl shows two different faces" in electrolyte.contacts_decided_by


def test_registry_is_reduced_by_symmetry_and_says_how_it_ranks():
    models = scan_registry(small(4), n=4, gaps=[2.2])
    # Of the 16 points of the square, p4m leaves six: (0,0) (0,1) (0,2) (1,1) (1,2) (2,2) in quarters.
    assert len(models) == 6
    assert all("geometry" in model.ranked_by for model in models)
    distances = [model.shortest_contact_angstrom for model in models]
    assert distances == sorted(distances, reverse=True)
    assert models[-1].shortest_contact_angstrom == pytest.approx(2.2)  # on top
    both = scan_registry(small(4), n=2, gaps=[2.2, 2.4])
    assert {round(m.gaps_angstrom[0], 6) for m in both} == {2.2, 2.4}


def test_equivalent_shifts_have_the_same_distances():
    """The orbits of the scan against the whole grid, by the sorted distances across the contact."""
    model = small(4)

    def fingerprint(shift: tuple[float, float]) -> tuple:
        structure = small(4, shift=shift).structure
        film = np.array(structure.site_properties["side"]) == "film"
        first, second, _, distance = structure.get_neighbor_list(4.5)
        return tuple(np.sort(distance[~film[first] & film[second]]).round(4))

    grid = {fingerprint((i / 4, j / 4)) for i in range(4) for j in range(4)}
    scanned = {fingerprint(m.shift) for m in scan_registry(model, n=4)}
    assert scanned == grid


def test_registry_ranks_by_energies_if_given():
    start = small(4)
    models = scan_registry(start, n=2, energies=lambda s: float(s.distance_matrix.sum()))
    assert [m.score for m in models] == sorted(m.score for m in models)
    assert models[0].ranked_by == "energy (eV per cell)"
    with pytest.raises(ConvergenceError, match="nan"):
        scan_registry(start, n=1, energies=lambda s: float("nan"))
    with pytest.raises(InputError, match="grid of shifts"):
        scan_registry(start, n=0)
    with pytest.raises(StructureError, match="every shift"):
        scan_registry(small(4, vacuum_angstrom=10.0), n=1, gaps=[0.6])


def test_tight_contacts_are_named_with_a_gap_that_ends_them():
    # On top: Li over Li at the gap, where metallic radii ask for 3.04.
    on_top = small(4, shift=(0.5, 0.5))
    assert on_top.contact_elements == ("Li", "Li")
    (note,) = [text for text in on_top.warnings if "touch" in text]
    assert "2.20 angstrom from Li of the substrate, 72.4 % of the 3.04" in note
    assert "gap_angstrom=2.59" in note
    for model in (small(4, gap_angstrom=2.59), small(4, shift=(0.25, 0.25), gap_angstrom=2.5)):
        assert not any("touch" in text for text in model.warnings)
    # The pair that is tightest for its elements is named, not the shortest one: Cl-Li 2.2 is no tight salt bond.
    between = small(4)
    assert (between.contact_elements, between.shortest_contact_angstrom) == (("Cl", "Li"), pytest.approx(2.2))
    assert distances_across(between.structure)["Li", "Li"] == pytest.approx(np.hypot(2.2, 5.148 / 2))
    assert not any("touch" in text for text in between.warnings)


def test_large_cells_have_small_displacement_cells():
    models = scan_registry(named("Li", "LiCl"), n=2)
    assert 2 <= len(models) <= 6
    assert all(np.abs(m.shift).max() < 0.5 for m in models)


@pytest.mark.parametrize("strained", ["film", "substrate"])
def test_thickness_series_has_one_area_and_counts_both_sides(strained):
    film, substrate, match = one_by_one()
    models = thickness_series(
        film, substrate.build(), match, film_layers=[8, 4, 10, 6], strained=strained, max_strain=0.06
    )
    edge = 3.44 if strained == "substrate" else 5.148 / np.sqrt(2)
    assert [m.n_film_units for m in models] == [4, 6, 8, 10]
    assert {m.n_substrate_units for m in models} == {4}
    assert [m.area_angstrom2 for m in models] == pytest.approx([edge**2] * 4, rel=1e-9)
    assert all(m.contacts_equivalent and m.strained == strained for m in models)
    steps = np.diff([m.structure.lattice.c for m in models])
    assert steps == pytest.approx([3.44] * 3)  # two layers of bcc each
    # contact 2, film top to substrate: the same in all cells
    assert {round(m.shortest_contact_angstrom, 6) for m in models} == {2.2}


def test_thickness_series_refuses_what_a_line_cannot_hold():
    film, substrate, match = one_by_one()
    slab = substrate.build()
    with pytest.raises(InputError, match="3 film thicknesses"):
        thickness_series(film, slab, match, film_layers=[4, 6, 8, 8])
    with pytest.raises(InputError, match="at least two"):
        thickness_series(film, slab, match, film_layers=[1, 2, 4, 6])
    with pytest.raises(InputError, match="belongs to neither"):
        thickness_series(film, slab, match, film_layers=[4, 6, 8, 10], strained="both")
    with pytest.raises(StructureError, match=r"use film_layers from \[2, 4, 6, 8, 10\]"):
        thickness_series(film, slab, match, film_layers=[4, 5, 6, 7], max_strain=0.06)
    with pytest.raises(InputError, match="limit is 5 %"):
        thickness_series(film, slab, match, film_layers=[4, 6, 8, 10])
    models = thickness_series(film, slab, match, film_layers=[4, 6, 8, 10], max_strain=0.06)
    with pytest.raises(InputError, match="in-plane cells differ"):
        check_series([*models[:3], small(10, strained="substrate")])


def test_check_finds_tampering():
    model = small(4)
    lost = model.structure.copy()
    lost.remove_sites([0])
    with pytest.raises(StructureError, match="does not have the atoms"):
        check_interface(replace(model, structure=lost))
    wide = model.structure.copy()
    wide.apply_strain([0.01, 0, 0])
    with pytest.raises(StructureError, match="strain is not that of the cell"):
        check_interface(replace(model, structure=wide))
    flipped = Structure(
        Lattice(model.structure.lattice.matrix * [1, 1, -1]),
        model.structure.species,
        model.structure.frac_coords,
        site_properties=model.structure.site_properties,
    )
    with pytest.raises(StructureError, match="left-handed"):
        check_interface(replace(model, structure=flipped))
    close = model.structure.copy()
    close.translate_sites(model.film_indices, [0, 0, -1.5], frac_coords=False)
    with pytest.raises(StructureError, match="overlap"):
        check_interface(replace(model, structure=close))


def test_check_finds_a_broken_tetrahedron():
    model = named("Li", "Li6PS5Cl")
    broken = model.structure.copy()
    first, second, images, _ = broken.get_neighbor_list(2.3)
    symbols = [site.specie.symbol for site in broken]
    bond = next(k for k in range(len(first)) if (symbols[first[k]], symbols[second[k]]) == ("P", "S"))
    phosphorus, sulfur = int(first[bond]), int(second[bond])
    away = broken[sulfur].coords + images[bond] @ broken.lattice.matrix - broken[phosphorus].coords
    broken.translate_sites([sulfur], 0.5 * away / np.linalg.norm(away), frac_coords=False)
    with pytest.raises(StructureError, match="broken"):
        check_interface(replace(model, structure=broken))


def test_refusals():
    film, substrate, match = one_by_one()
    slabs = film.build(), substrate.build()
    with pytest.raises(InputError, match=r"strained by 5\.82 % in a cell of 13\.3"):
        build_interface(*slabs, match)
    with pytest.raises(InputError, match="unknown side"):
        build_interface(*slabs, match, strained="top")
    with pytest.raises(InputError, match="alone has 13"):
        build_interface(*slabs, match, repeat=(9, 9), max_strain=0.06)
    with pytest.raises(InputError, match="1 layer"):
        build_interface(replace(slabs[0], layers=1), slabs[1], match, max_strain=0.06)
    with pytest.raises(InputError, match="another film than LiCl"):
        build_interface(slabs[1], slabs[0], match, max_strain=0.06)
    for name, value in (("gap_angstrom", 0.1), ("vacuum_angstrom", 2.0), ("shift", (0.1,)), ("repeat", (0, 1))):
        with pytest.raises(InputError, match=name.split("_")[0]):
            build_interface(*slabs, match, max_strain=0.06, **{name: value})
    with pytest.raises(InputError, match="film_face"):
        build_interface(*slabs, match, max_strain=0.06, film_face="side")
    with pytest.raises(StructureError, match="partially occupied"):
        interface("Li", get_entry("Li6PS5Cl").structure)
    with pytest.raises(InputError, match="no default face"):
        interface("Li", Structure(Lattice.cubic(4.0), ["Na", "Br"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    with pytest.raises(InputError, match="unknown crystal"):
        interface("Li", "Li9Al5")


def test_any_crystal_or_structure_can_be_named():
    model = interface("LiAl", load_crystal("Li2S"), substrate_miller=(1, 1, 0), max_strain=0.06, max_atoms=600)
    assert model.substrate.crystal == "Li2S"
    other = interface("Li", "Li5.5PS4.5Cl1.5")
    assert other.substrate.crystal == "Li5.5PS4.5Cl1.5"
    assert check_interface(other)["p_coordination"] == [4]
