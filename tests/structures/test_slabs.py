"""Slabs: known areas, layers and terminations, and what must hold for every crystal and every index."""

from __future__ import annotations

import itertools
import json
from functools import cache
from random import Random

import numpy as np
import pytest
import spglib
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.surface import SlabGenerator
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.spatial.transform import Rotation

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.cleaving import Cleaver
from anodeflow.structures.slabs import SlabModel, build_slab, list_terminations

CATALOGUE = ["Li", "Al", "LiAl", "Li9Al4", "LiCl", "Li2S", "Li3P"]
MOLECULAR = ["P2S5", "cages", "argyrodite"]

indices = st.tuples(*[st.integers(-2, 2)] * 3).filter(any)
crystals = st.sampled_from(CATALOGUE + MOLECULAR)


@cache
def crystal(name: str) -> Structure:
    return {"cages": cages, "argyrodite": argyrodite}.get(name, lambda: load_crystal(name))()


def cages() -> Structure:
    """Two ideal P4S10 cages related by inversion, turned so that flat planes cut them."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.2
    bridges = [(p + q) * 0.875 for p, q in itertools.combinations(corners, 2)]
    ends = corners * (1 + 1.93 / (1.2 * np.sqrt(3)))
    atoms = np.vstack([corners, bridges, ends])
    atoms = atoms @ Rotation.from_euler("xyz", [20, 35, 50], degrees=True).as_matrix().T
    lattice = Lattice.from_parameters(11.0, 10.5, 10.2, 92, 101, 105)
    frac = lattice.get_fractional_coords(atoms) + np.array([0.20, 0.28, 0.24])
    return Structure(lattice, (["P"] * 4 + ["S"] * 10) * 2, np.vstack([frac, -frac]), to_unit_cell=True)


def argyrodite() -> Structure:
    """Li6PS5Cl with all 24 Li on 24f, so that it is ordered: PS4 tetrahedra in a cubic cell of 52 atoms."""
    coords = [[0.5] * 3, [0.6186] * 3, [0, 0, 0], [0.25] * 3, [0.27, 0, 0]]
    return Structure.from_spacegroup("F-43m", Lattice.cubic(9.86), ["P", "S", "Cl", "S", "Li"], coords)


def lattice_spacing(bulk: Structure, miller: tuple[int, int, int]) -> float:
    """Smallest step of the translation lattice along the normal, by brute force."""
    numbers = [site.specie.Z for site in bulk]
    found = spglib.get_symmetry((bulk.lattice.matrix, bulk.frac_coords, numbers), symprec=0.01)
    moves = [t for w, t in zip(found["rotations"], found["translations"], strict=True) if (w == np.eye(3)).all()]
    normal = bulk.lattice.reciprocal_lattice_crystallographic.get_cartesian_coords(miller)
    normal /= np.linalg.norm(normal)
    cells = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    steps = np.abs(bulk.lattice.get_cartesian_coords((cells[:, None] + np.array(moves)).reshape(-1, 3)) @ normal)
    return float(steps[steps > 1e-4].min())


def primitive_volume(bulk: Structure) -> float:
    numbers = [site.specie.Z for site in bulk]
    return bulk.volume * len(spglib.find_primitive((bulk.lattice.matrix, bulk.frac_coords, numbers))[2]) / len(bulk)


def histogram(structure: Structure) -> np.ndarray:
    """Smooth distribution of the pair distances, one row for each pair of elements."""
    first, second, _, distance = structure.get_neighbor_list(5.0)
    symbols = np.array([site.specie.Z for site in structure])
    pairs = symbols[first] * symbols[second]
    grid = np.arange(1.5, 5.0, 0.1)
    rows = [
        np.exp(-(((distance[pairs == pair, None] - grid) / 0.1) ** 2)).sum(axis=0)
        for pair in np.unique(symbols[:, None] * symbols)
    ]
    return np.array(rows)


def p_coordination(structure: Structure) -> list[int]:
    return sorted(
        sum(n.specie.symbol == "S" for n in structure.get_neighbors(site, 2.4))
        for site in structure
        if site.specie.symbol == "P"
    )


def faces_exchanged(structure: Structure) -> bool:
    numbers = [site.specie.Z for site in structure]
    found = spglib.get_symmetry((structure.lattice.matrix, structure.frac_coords, numbers), symprec=0.01)
    return any(w[2, 2] == -1 for w in found["rotations"])


@pytest.mark.parametrize(
    ("name", "miller", "area", "spacing", "atoms_per_layer"),
    [
        ("Li", (1, 0, 0), 3.44**2, 3.44 / 2, 1),
        ("Li", (1, 1, 0), 3.44**2 / np.sqrt(2), 3.44 / np.sqrt(2), 1),
        ("Al", (1, 0, 0), 4.041**2 / 2, 4.041 / 2, 1),
        ("Al", (1, 1, 1), 4.041**2 * np.sqrt(3) / 4, 4.041 / np.sqrt(3), 1),
        ("Al", (1, 1, 0), 4.041**2 / np.sqrt(2), 4.041 / np.sqrt(8), 1),
        ("LiCl", (1, 0, 0), 5.148**2 / 2, 5.148 / 2, 2),
        ("LiCl", (1, 1, 0), 5.148**2 / np.sqrt(2), 5.148 / np.sqrt(8), 2),
        ("Li2S", (1, 1, 0), 5.729**2 / np.sqrt(2), 5.729 / np.sqrt(8), 3),
        ("LiAl", (1, 1, 0), 6.367**2 / np.sqrt(2), 6.367 / np.sqrt(8), 4),
        ("LiAl", (1, 0, 0), 6.367**2 / 2, 6.367 / 4, 2),
    ],
)
def test_textbook_faces(name: str, miller: tuple, area: float, spacing: float, atoms_per_layer: int) -> None:
    (model,) = list_terminations(crystal(name), miller, layers=7)
    assert model.area_angstrom2 == pytest.approx(area, rel=1e-6)
    assert model.thickness_angstrom == pytest.approx(6 * spacing, rel=1e-6)
    assert len(model.structure) == 7 * atoms_per_layer
    assert model.symmetric
    assert model.stoichiometric
    assert not model.polar
    assert not model.dipole_correction


def test_rock_salt_111_is_polar_with_two_faces() -> None:
    models = list_terminations(crystal("LiCl"), (1, 1, 1))
    assert sorted(model.termination for model in models) == ["Cl/Li", "Li/Cl"]
    assert all(model.polar and not model.symmetric and model.dipole_correction for model in models)
    for model in models:
        top = max(model.structure, key=lambda site: site.coords[2])
        assert top.specie.symbol == model.termination.split("/")[0]


def test_symmetric_slab_of_a_polar_face_gives_up_stoichiometry() -> None:
    model = build_slab(crystal("LiCl"), (1, 1, 1), termination="Li/Cl")
    assert (model.symmetric, model.stoichiometric, model.polar) == (True, False, True)
    assert model.excess == {"Li": 1.0}
    assert model.structure.composition["Li"] == model.structure.composition["Cl"] + 1
    assert model.formula_units == model.structure.composition["Cl"]
    kept = build_slab(crystal("LiCl"), (1, 1, 1), termination="Li/Cl", symmetric_preferred=False)
    assert (kept.symmetric, kept.stoichiometric, kept.excess) == (False, True, {})


def test_antifluorite_111_has_three_faces_and_the_trilayer_comes_first() -> None:
    models = list_terminations(crystal("Li2S"), (1, 1, 1))
    assert [model.termination for model in models] == ["Li/S", "Li/Li", "S/Li"]
    assert [model.polar for model in models] == [False, True, True]
    assert [model.symmetric for model in models] == [True, False, False]


def test_metals_are_never_polar() -> None:
    for miller in [(1, 0, 0), (0, 0, 1), (0, 1, 0)]:
        assert not any(model.polar for model in list_terminations(crystal("Li9Al4"), miller))


def test_polarity_follows_the_charges_given() -> None:
    uncharged = list_terminations(crystal("LiCl"), (1, 1, 1), oxidation_states={"Li": 0, "Cl": 0})
    assert not any(model.polar for model in uncharged)
    decorated = crystal("LiCl").copy()
    decorated.add_oxidation_state_by_element({"Li": 1, "Cl": -1})
    assert all(model.polar for model in list_terminations(decorated, (1, 1, 1)))
    with pytest.raises(InputError, match="neutral"):
        list_terminations(crystal("LiCl"), (1, 1, 1), oxidation_states={"Li": 1, "Cl": -2})
    with pytest.raises(InputError, match="lacks Cl"):
        list_terminations(crystal("LiCl"), (1, 1, 1), oxidation_states={"Li": 1})


def test_index_refers_to_the_cell_passed_in() -> None:
    """(400) of Li9Al4 in the catalogue cell is its b-c plane; pymatgen's standard cell has another one."""
    bulk = crystal("Li9Al4")
    model = build_slab(bulk, (4, 0, 0), min_thickness_angstrom=8)
    assert model.area_angstrom2 == pytest.approx(bulk.lattice.b * bulk.lattice.c)
    assert model.miller == (4, 0, 0)
    assert model.reduced_miller == (1, 0, 0)
    assert model.d_spacing_angstrom == pytest.approx(bulk.lattice.d_hkl((1, 0, 0)) / 4)
    assert "18.950" in model.cell
    assert "107.90" in model.cell
    assert "(4, 0, 0) is cut as (1, 0, 0)" in model.notes[0]
    same = build_slab(bulk, (1, 0, 0), min_thickness_angstrom=8)
    assert np.allclose(same.structure.cart_coords, model.structure.cart_coords)
    primitive = Structure(
        Lattice(crystal("Al").lattice.matrix @ np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2),
        ["Al"],
        [[0] * 3],
    )
    assert build_slab(primitive, (1, 0, 0)).area_angstrom2 == pytest.approx(4.041**2 * np.sqrt(3) / 4)


def test_standardised_cell_would_turn_li9al4() -> None:
    standard = SpacegroupAnalyzer(crystal("Li9Al4")).get_conventional_standard_structure()
    assert standard.lattice.a == pytest.approx(18.69, abs=0.02)
    given, turned = (build_slab(bulk, (0, 0, 1)) for bulk in (crystal("Li9Al4"), standard))
    other = [build_slab(bulk, (1, 0, 0)) for bulk in (crystal("Li9Al4"), standard)]
    assert not (
        given.area_angstrom2 == pytest.approx(turned.area_angstrom2)
        and other[0].area_angstrom2 == pytest.approx(other[1].area_angstrom2)
    )


def test_pymatgen_alone_would_miss_a_face_and_double_a_cell() -> None:
    """Why SlabGenerator is not used for the cutting."""
    generator = SlabGenerator(crystal("LiCl"), (1, 1, 1), 10, 15)
    assert len(generator.get_slabs()) == 1
    bulk = load_crystal("Li").get_primitive_structure()
    doubled = SlabGenerator(bulk, (2, 1, 1), 10, 15, primitive=False).oriented_unit_cell
    area = np.linalg.norm(np.cross(*doubled.lattice.matrix[:2]))
    assert area == pytest.approx(2 * list_terminations(bulk, (2, 1, 1))[0].area_angstrom2)


@pytest.mark.parametrize("name", MOLECULAR)
@pytest.mark.parametrize("miller", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (2, -1, 1)])
def test_molecules_stay_whole(name: str, miller: tuple) -> None:
    expected = set(p_coordination(crystal(name)))
    models = list_terminations(crystal(name), miller, min_thickness_angstrom=5, max_atoms=1000)
    assert models
    for model in models:
        assert model.broken_bonds == 0
        assert set(p_coordination(model.structure)) == expected == {4}


def test_a_flat_cut_would_break_the_cages() -> None:
    models = list_terminations(crystal("cages"), (1, 1, 1), bonds={})
    assert any(set(p_coordination(model.structure)) != {4} for model in models)
    assert any(model.corrugated for model in list_terminations(crystal("argyrodite"), (1, 1, 1), max_atoms=1000))


def test_endless_network_is_cut_and_counted() -> None:
    models = list_terminations(crystal("LiCl"), (1, 0, 0), bonds={("Li", "Cl"): 2.7})
    assert models[0].broken_bonds == 4  # two Li and two Cl lose one neighbour each
    assert "no end" in models[0].notes[-1]
    large = build_slab(crystal("LiCl"), (1, 0, 0), bonds={("Cl", "Li"): 2.7}, supercell=(2, 2))
    assert large.broken_bonds == 16


@settings(max_examples=30, deadline=None)
@given(crystals, indices)
def test_every_termination(name: str, miller: tuple[int, int, int]) -> None:
    bulk = crystal(name)
    models = list_terminations(bulk, miller, min_thickness_angstrom=6, vacuum_angstrom=12, max_atoms=3000)
    area = primitive_volume(bulk) / lattice_spacing(bulk, miller)
    shortest = bulk.distance_matrix[~np.eye(len(bulk), dtype=bool)].min(initial=2.0)
    assert len({model.termination for model in models}) == len(models)
    ranks = [(model.polar, not model.symmetric) for model in models]
    assert ranks == sorted(ranks)
    for model in models:
        lattice = model.structure.lattice
        assert model.area_angstrom2 == pytest.approx(area, rel=1e-4)
        assert np.linalg.det(lattice.matrix) > 0
        assert lattice.alpha == pytest.approx(90)
        assert lattice.beta == pytest.approx(90)
        assert 90 - 1e-6 <= lattice.gamma <= 120 + 1e-6
        heights = model.structure.cart_coords[:, 2]
        assert np.ptp(heights) == pytest.approx(model.thickness_angstrom)
        assert heights.max() + heights.min() == pytest.approx(lattice.c)
        assert model.thickness_angstrom >= 6 - 1e-6
        assert model.thickness_angstrom + model.vacuum_angstrom == pytest.approx(lattice.c)
        assert model.vacuum_angstrom == pytest.approx(12)
        assert model.stoichiometric
        assert model.excess == {}
        assert model.structure.composition.reduced_formula == bulk.composition.reduced_formula
        assert model.layers % model.planes_per_repeat == 0
        assert model.broken_bonds == 0
        assert model.symmetric == faces_exchanged(model.structure)
        contacts = model.structure.get_neighbor_list(2.0)[3]
        assert contacts.min(initial=2.0) >= min(2.0, shortest) - 1e-3
        if len(model.structure) > 1:
            density = len(model.structure) / (model.area_angstrom2 * model.layers / model.planes_per_repeat)
            assert density / lattice_spacing(bulk, miller) == pytest.approx(len(bulk) / bulk.volume, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(crystals, indices)
def test_opposite_index_gives_the_same_films_upside_down(name: str, miller: tuple[int, int, int]) -> None:
    opposite = tuple(-n for n in miller)
    films = [
        sorted(
            (
                (round(model.thickness_angstrom, 3), model.symmetric, model.polar, histogram(model.structure))
                for model in list_terminations(crystal(name), index, min_thickness_angstrom=4, max_atoms=3000)
            ),
            key=lambda film: (film[:3], film[3].round(2).tolist()),
        )
        for index in (miller, opposite)
    ]
    assert len(films[0]) == len(films[1])
    for one, other in zip(*films, strict=True):
        assert one[:3] == other[:3]
        assert np.allclose(one[3], other[3], atol=0.05)


@settings(max_examples=15, deadline=None)
@example("LiAl", (1, 2, 2), (0.0, 0.0, 0.875), Random(0))
@given(crystals, indices, st.tuples(*[st.floats(0, 1)] * 3), st.randoms())
def test_origin_and_order_of_atoms_do_not_matter(name: str, miller: tuple, shift: tuple, random: object) -> None:
    bulk = crystal(name)
    order = list(range(len(bulk)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = Structure.from_sites([bulk[i] for i in order])
    moved.translate_sites(list(range(len(moved))), shift)
    here, there = (list_terminations(b, miller, min_thickness_angstrom=4, max_atoms=3000) for b in (bulk, moved))
    assert [m.termination for m in here] == [m.termination for m in there]
    for one, other in zip(here, there, strict=True):
        assert (one.layers, one.symmetric, one.polar) == (other.layers, other.symmetric, other.polar)
        assert one.thickness_angstrom == pytest.approx(other.thickness_angstrom, abs=1e-6)
        assert np.allclose(histogram(one.structure), histogram(other.structure), atol=1e-3)


def test_supercell_and_least_width() -> None:
    single = build_slab(crystal("Al"), (1, 1, 1), layers=4)
    large = build_slab(crystal("Al"), (1, 1, 1), layers=4, supercell=(2, 3))
    assert len(large.structure) == 6 * len(single.structure)
    assert large.area_angstrom2 == pytest.approx(6 * single.area_angstrom2)
    wide = build_slab(crystal("Al"), (1, 1, 1), layers=4, min_lateral_angstrom=9.0)
    a, b = wide.structure.lattice.matrix[:2]
    widths = wide.area_angstrom2 / np.linalg.norm(a), wide.area_angstrom2 / np.linalg.norm(b)
    assert min(widths) >= 9.0
    assert max(widths) < 9.0 + 4.041 / np.sqrt(2)


def test_frozen_layers_are_the_lowest() -> None:
    model = build_slab(crystal("LiCl"), (1, 0, 0), layers=4, freeze_layers=2, supercell=(2, 1))
    free = np.array(model.structure.site_properties["selective_dynamics"])[:, 0]
    heights = model.structure.cart_coords[:, 2]
    assert model.frozen_atoms == (~free).sum() == 8
    assert heights[~free].max() < heights[free].min()
    assert "selective_dynamics" not in build_slab(crystal("LiCl"), (1, 0, 0)).structure.site_properties


def test_layers_count_planes_and_may_end_anywhere() -> None:
    model = build_slab(crystal("LiCl"), (1, 1, 1), layers=7, termination="Cl/Li")
    assert model.layers == 7
    assert model.excess == {"Cl": 1.0}
    assert model.symmetric
    assert any("chemical potential" in note for note in model.notes)


def test_summary_is_json_and_structure_is_grouped_by_element() -> None:
    model = build_slab(crystal("Li9Al4"), (0, 0, 1), termination=1, supercell=(1, 2))
    assert isinstance(model, SlabModel)
    summary = json.loads(json.dumps(model.as_dict()))
    assert summary["termination"] == model.termination
    assert summary["dipole_correction"] is model.dipole_correction
    assert summary["atoms"] == len(model.structure)
    assert len([symbol for symbol, _ in itertools.groupby(s.specie.symbol for s in model.structure)]) == 2


def test_the_edges_of_a_face_are_vectors_of_the_crystal_in_its_plane() -> None:
    bulk = crystal("Li3P")
    slab = build_slab(bulk, (1, 0, 1))
    a, b = slab.structure.lattice.matrix[:2]
    assert np.allclose(slab.oriented_cell.lattice.matrix[:2], [a, b])
    near = itertools.product(range(-2, 3), repeat=3)
    in_plane = [v @ bulk.lattice.matrix for v in map(np.array, near) if v @ np.array([1, 0, 1]) == 0]
    lengths = [np.linalg.norm(v) for v in in_plane]
    for edge in (a, b):
        assert np.isclose(lengths, np.linalg.norm(edge)).any()
    areas = [np.linalg.norm(np.cross(u, v)) for u, v in itertools.combinations(in_plane, 2)]
    assert np.isclose(np.linalg.norm(np.cross(a, b)), min(area for area in areas if area > 1e-6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"miller": (0, 0, 0)}, "names no plane"),
        ({"miller": (1, 0.5, 0)}, "three integers"),
        ({"miller": (1, 0)}, "three integers"),
        ({"miller": (0, 0, 0, 1)}, "leave out the third"),
        ({"layers": 1}, "at least two"),
        ({"min_thickness_angstrom": -3.0}, "positive thickness"),
        ({"min_thickness_angstrom": float("nan")}, "positive thickness"),
        ({"vacuum_angstrom": 4.9}, "at least 5"),
        ({"vacuum_angstrom": float("inf")}, "at least 5"),
        ({"termination": "Cl/Cl"}, "use 0 'LiCl/LiCl'"),
        ({"termination": 3}, "use 0 'LiCl/LiCl'"),
        ({"supercell": (0, 1)}, "positive integers"),
        ({"supercell": (2, 2), "min_lateral_angstrom": 9.0}, "give one"),
        ({"freeze_layers": 99}, "use 0 to"),
        ({"supercell": (20, 20)}, "max_atoms=400"),
        ({"min_thickness_angstrom": 1e6}, "max_atoms=400"),
    ],
)
def test_refusals(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_slab(crystal("LiCl"), **{"miller": (1, 0, 0), **options})


def test_disordered_crystal_is_refused() -> None:
    bulk = Structure(Lattice.cubic(4), [{"Li": 0.5}], [[0, 0, 0]])
    with pytest.raises(StructureError, match="ordered configuration"):
        list_terminations(bulk, (1, 0, 0))


def test_planes_partition_the_oriented_cell() -> None:
    cleaver = Cleaver(crystal("argyrodite"), (1, 1, 0), None, None, None)
    assert sorted(np.concatenate(cleaver.planes)) == list(range(len(cleaver.species)))
    assert np.all((cleaver.cuts >= 0) & (cleaver.cuts < 1))
    rows = Cleaver(crystal("LiAl"), (1, 0, 0), None, None, None)
    assert sum(rows.clearance(n) for n in range(rows.planes_per_repeat)) == pytest.approx(6.367 / 2)


def test_a_slab_without_one_whole_formula_is_refused() -> None:
    with pytest.raises(InputError, match=r"2 layers of AlCl3 \(0, 0, 1\) hold Cl6, not one AlCl3; .* has 3"):
        build_slab(crystal("AlCl3"), (0, 0, 1), layers=2, crystal="AlCl3")
