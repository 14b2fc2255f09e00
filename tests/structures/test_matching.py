"""Lattice matching: coincidences known by hand, strain by hand, brute force, and pymatgen's search."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.interfaces.zsl import ZSLGenerator

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.matching import LatticeMatch, in_plane_strain, lattice_matches
from anodeflow.structures.plane_lattices import displacement_cell, lattice_symmetry, supercell_points
from anodeflow.structures.slabs import build_slab

SQUARE = np.eye(2)
HEXAGON = np.array([[1.0, 0.0], [-0.5, np.sqrt(0.75)]])


def turned(vectors: np.ndarray, degrees: float) -> np.ndarray:
    """Row vectors turned about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(vectors) @ np.array([[c, s], [-s, c]])


def invariants(film_cell: np.ndarray, substrate_cell: np.ndarray) -> tuple[float, float]:
    """Principal stretches from one cell to the other, whatever their orientation."""
    metrics = film_cell @ film_cell.T, substrate_cell @ substrate_cell.T
    return tuple(np.sqrt(np.sort(np.linalg.eigvals(np.linalg.solve(*metrics)).real)).round(6).tolist())


def signature(match: LatticeMatch) -> tuple:
    """What does not depend on how a match is written down."""
    return (match.film_cells, match.substrate_cells, *invariants(*match.unstrained_cells()))


def close(found: set[tuple], wanted: tuple) -> bool:
    return any(f[:2] == wanted[:2] and np.allclose(f[2:], wanted[2:], atol=3e-6) for f in found)


@pytest.mark.parametrize("vectors", [3.5 * SQUARE, 4.1 * HEXAGON, np.array([[3.0, 0.0], [0.7, 5.1]])])
def test_identical_lattices_match_one_to_one_without_strain(vectors):
    best = lattice_matches(vectors, turned(vectors, 17.0), max_area_angstrom2=60)[0]
    assert (best.film_cells, best.substrate_cells) == (1, 1)
    assert best.strain.principal_percent == pytest.approx((0, 0), abs=1e-8)
    assert best.area_angstrom2 == pytest.approx(abs(np.linalg.det(vectors)))
    assert not best.film_turned_over


def test_square_on_square_root_two_turns_by_45_degrees():
    best = lattice_matches(4.0 * SQUARE, 4.0 * np.sqrt(2) * SQUARE, max_area_angstrom2=40)[0]
    assert (best.film_cells, best.substrate_cells) == (2, 1)
    assert best.strain.max_principal_percent == pytest.approx(0, abs=1e-8)
    assert abs(best.rotation_deg) == pytest.approx(45)
    assert best.area_angstrom2 == pytest.approx(32)


@pytest.mark.parametrize(
    ("multiple", "angle"),
    [(3, 30.0), (7, np.degrees(np.arctan(np.sqrt(3) / 5))), (13, np.degrees(np.arctan(np.sqrt(3) / 7)))],
)
def test_hexagonal_coincidences_have_their_angles(multiple, angle):
    best = lattice_matches(2.5 * HEXAGON, 2.5 * np.sqrt(multiple) * HEXAGON, max_area_angstrom2=80, max_strain=1e-4)[0]
    assert (best.film_cells, best.substrate_cells) == (multiple, 1)
    assert abs(best.rotation_deg) == pytest.approx(angle, abs=1e-4)


def test_seven_sigma_coincidence_of_two_equal_hexagonal_layers():
    found = lattice_matches(2.46 * HEXAGON, 2.46 * HEXAGON, max_area_angstrom2=80, max_strain=1e-4)
    turns = {m.film_cells: round(abs(m.rotation_deg), 2) for m in found}
    assert turns == {1: 0.0, 7: 21.79, 13: 27.8}  # sigma 1, 7, 13; 19 lies above 80 square angstrom


def test_strain_by_hand():
    strain = in_plane_strain([[4.0, 0.0], [0.0, 5.0]], [[4.2, 0.0], [0.0, 4.9]])
    assert strain.tensor == (pytest.approx((0.05, 0)), pytest.approx((0, -0.02)))
    assert strain.principal_percent == pytest.approx((-2, 5))
    assert strain.max_principal_percent == pytest.approx(5)
    # deviator of (5, -2, 0): (4, -3, -1), sqrt(2/3 * 26)
    assert strain.von_mises_percent == pytest.approx(np.sqrt(2 / 3 * 26))
    shear = in_plane_strain(np.eye(2), [[1.0, 0.0], [0.02, 1.0]])
    assert shear.principal_percent == pytest.approx((-1, 1), rel=0.02)
    biaxial = in_plane_strain(3.44 * SQUARE, turned(1.03 * 3.44 * SQUARE, 25))
    assert biaxial.von_mises_percent == pytest.approx(2.0)
    assert biaxial.tensor[0][1] == pytest.approx(0, abs=1e-12)


def test_the_strained_side_is_named_and_measured_against_itself():
    film, substrate = 4.0 * SQUARE, 4.1 * SQUARE
    values = {
        side: lattice_matches(film, substrate, max_area_angstrom2=17.0, strained=side)[0]
        for side in ("film", "substrate", "both")
    }
    assert values["film"].strain.max_principal_percent == pytest.approx(2.5)
    assert values["substrate"].strain.max_principal_percent == pytest.approx(100 * (4.0 / 4.1 - 1))
    assert values["both"].strain.max_principal_percent == pytest.approx(100 * (np.sqrt(4.1 / 4.0) - 1))
    assert [values[s].area_angstrom2 for s in values] == pytest.approx([4.1**2, 16.0, 4.0 * 4.1])
    for side, match in values.items():
        assert match.strained == side
        assert np.linalg.det(match.common_cell()) == pytest.approx(match.area_angstrom2)


def test_both_sides_share_a_shear_equally():
    match = lattice_matches([[4.0, 0], [0.0, 5.0]], [[4.1, 0], [0.15, 4.9]], max_area_angstrom2=21, strained="both")[0]
    strains = [in_plane_strain(cell, match.common_cell()) for cell in match.unstrained_cells()]
    stretches = [1 + np.array(s.principal_percent) / 100 for s in strains]
    assert stretches[0] * stretches[1][::-1] == pytest.approx([1, 1])


def test_order_is_strain_then_area_and_limits_hold():
    found = lattice_matches(3.44 * SQUARE, 4.041 * HEXAGON, max_area_angstrom2=200, max_strain=0.04)
    keys = [(round(abs(m.strain.max_principal_percent), 3), round(m.area_angstrom2, 3)) for m in found]
    assert keys == sorted(keys)
    assert max(k[0] for k in keys) <= 4.0
    assert max(k[1] for k in keys) <= 200
    for match in found:
        strain = in_plane_strain(match.unstrained_cells()[0], match.common_cell())
        assert strain.principal_percent == pytest.approx(match.strain.principal_percent)
        assert np.linalg.det(match.substrate_matrix) > 0
        assert not match.film_turned_over


def test_no_duplicates_and_no_supercells_of_smaller_matches():
    only = lattice_matches(4.0 * SQUARE, 4.0 * SQUARE, max_area_angstrom2=70, max_strain=1e-3)
    assert [m.film_cells for m in only if m.rotation_deg == 0] == [1]
    every = lattice_matches(4.0 * SQUARE, 4.0 * SQUARE, max_area_angstrom2=70, max_strain=1e-3, primitive_only=False)
    # the sublattices of the square lattice that no symmetry connects: 1, 2, 2 and 3 + 4 of index 1, 2, 3, 4
    counts = [sum(m.film_cells == n and m.rotation_deg == 0 for m in every) for n in (1, 2, 3)]
    assert counts == [1, 2, 2]


LATTICES = {
    "square": 3.44 * SQUARE,
    "rectangle": np.diag([4.471, 5.368]),
    "hexagon": 2.857 * HEXAGON,
    "oblique": np.array([[3.1, 0.0], [0.8, 4.0]]),
    "oblique2": np.array([[3.3, 0.0], [-0.6, 3.6]]),
    "rhombic": np.array([[3.0, 1.3], [-3.0, 1.3]])[::-1] @ np.diag([-1, 1]),
}


@pytest.mark.parametrize(("film", "substrate"), [p for p in product(LATTICES, LATTICES) if p[0] <= p[1]])
def test_brute_force_finds_no_other_match(film, substrate):
    """All integer matrices with entries up to 4 on the substrate side, all Hermite forms on the film side."""
    f, s = (
        LATTICES[name] * np.sign(np.linalg.det(LATTICES[name])) ** np.array([[0], [1]]) for name in (film, substrate)
    )
    areas = [abs(np.linalg.det(v)) for v in (f, s)]
    limit, top = 0.05, 4.2 * max(areas)
    matrices = np.array(list(product(range(-4, 5), repeat=4))).reshape(-1, 2, 2)
    sizes = np.abs(np.round(np.linalg.det(matrices))).astype(int)
    wanted = set()
    for i in range(1, int(top / areas[0]) + 1):
        forms = [np.array([[i // r, q], [0, r]]) for r in range(1, i + 1) if i % r == 0 for q in range(r)]
        for form in forms:
            own = form @ f
            others = matrices[(sizes > 0) & (sizes * areas[1] <= top * (1 + 1e-9))]
            cells = others @ s
            ratio = np.linalg.solve(own @ own.T, cells @ cells.transpose(0, 2, 1))
            values = np.sqrt(np.maximum(np.sort(np.linalg.eigvals(ratio).real, axis=1), 0))
            for k in np.flatnonzero((np.abs(values - 1) <= limit).all(axis=1)):
                j = abs(round(float(np.linalg.det(others[k]))))
                wanted.add((i, j, *values[k].round(6).tolist()))
    try:
        matches = lattice_matches(f, s, max_area_angstrom2=top, max_strain=limit, primitive_only=False)
    except InputError:
        matches = []
    found = {signature(m) for m in matches}
    assert all(close(found, w) for w in wanted)
    assert all(abs(stretch - 1) <= limit + 1e-6 for match in found for stretch in match[2:])


def test_two_oblique_lattices_also_match_with_the_film_turned_over():
    vectors = np.array([[3.0, 0.0], [0.8, 4.0]])
    mirrored = np.array([[3.0, 0.0], [-0.8, 4.0]])
    best = lattice_matches(vectors, mirrored, max_area_angstrom2=13, max_strain=0.01)[0]
    assert best.film_turned_over
    assert best.strain.max_principal_percent == pytest.approx(0, abs=1e-6)
    assert np.linalg.det(best.common_cell()) == pytest.approx(12)


@pytest.mark.parametrize(
    ("film", "substrate", "area"),
    [
        ("square", "rectangle", 150),
        ("hexagon", "square", 120),
        ("hexagon", "rectangle", 250),
        ("oblique", "oblique2", 90),
    ],
)
def test_every_match_of_zur_and_mcgill_is_found(film, substrate, area):
    f, s = (np.column_stack([LATTICES[name], [0, 0]]) for name in (film, substrate))
    found = lattice_matches(f, s, max_area_angstrom2=area, max_strain=0.06, primitive_only=False)
    ours = {signature(m) for m in found}
    theirs = list(ZSLGenerator(max_area=area, bidirectional=True)(f, s))
    assert theirs
    for match in theirs:
        cells = [np.array(v)[:, :2] for v in (match.film_sl_vectors, match.substrate_sl_vectors)]
        counts = [round(abs(np.linalg.det(c) / np.linalg.det(v[:, :2]))) for c, v in zip(cells, (f, s), strict=True)]
        stretches = invariants(*cells)
        if max(abs(x - 1) for x in stretches) <= 0.06 and counts[1] * abs(np.linalg.det(s[:, :2])) <= area:
            assert close(ours, (*counts, *stretches))
    assert len({signature(m) for m in found}) <= len(found)


@settings(max_examples=25, deadline=None)
@given(st.floats(2.5, 6), st.floats(2.5, 6), st.floats(60, 120), st.floats(0, 360))
def test_a_turn_of_the_axes_or_another_basis_changes_nothing(a, b, gamma, angle):
    cell = np.array([[a, 0.0], [b * np.cos(np.radians(gamma)), b * np.sin(np.radians(gamma))]])
    substrate = np.diag([4.471, 5.368])
    options = {"max_area_angstrom2": 75.0, "max_strain": 0.06}
    results = []
    for film in (cell, turned(np.array([[1, 0], [1, 1]]) @ cell, angle)):
        try:
            results.append(sorted(signature(m) for m in lattice_matches(film, substrate, **options)))
        except InputError:
            results.append([])
    assert np.allclose(np.array(results[0]), np.array(results[1]), atol=1e-5)


def test_point_groups_have_their_orders():
    orders = {name: len(lattice_symmetry(v @ v.T)) for name, v in LATTICES.items()}
    assert orders == {"square": 8, "rectangle": 4, "hexagon": 12, "oblique": 2, "oblique2": 2, "rhombic": 4}


def test_displacement_cell_of_commensurate_squares():
    # 3x3 on 2x2: together the vectors 1/3 and 1/2 generate 1/6.
    cell = displacement_cell(np.diag([3, 3]), np.diag([2, 2]), 10 * SQUARE)
    assert abs(np.linalg.det(cell)) == pytest.approx(1 / 36)
    assert len(supercell_points(np.array([[2, -1], [1, 3]]))) == 7


def test_atoms_areas_and_json_of_slabs():
    film = build_slab(load_crystal("Li"), (1, 0, 0), layers=4)
    substrate = build_slab(load_crystal("LiCl"), (1, 0, 0), layers=4)
    found = lattice_matches(film, substrate, max_area_angstrom2=150)
    for match in found:
        assert match.atoms == 4 * match.film_cells + 8 * match.substrate_cells
        assert match.area_angstrom2 == pytest.approx(match.substrate_cells * substrate.area_angstrom2)
    assert json.loads(json.dumps(found[0].as_dict()))["strained"] == "film"
    oriented = lattice_matches(film, substrate, max_area_angstrom2=150, equivalence="slabs")
    assert len(oriented) >= len(found)


@pytest.mark.parametrize("strained", ["film", "substrate", "both"])
def test_the_match_named_by_a_refusal_is_the_least_strained_of_all(strained):
    options = {"max_area_angstrom2": 150, "strained": strained}
    best = lattice_matches(3.44 * SQUARE, 4.041 * HEXAGON, max_strain=0.2, **options)[0].strain.max_principal_percent
    assert 0.01 < abs(best) < 20
    with pytest.raises(InputError, match=rf"the best has {abs(best):.3g} % strain"):
        lattice_matches(3.44 * SQUARE, 4.041 * HEXAGON, max_strain=1e-9, **options)


def test_refusals_say_what_would_work():
    film = build_slab(load_crystal("Li"), (1, 0, 0), layers=4)
    substrate = build_slab(load_crystal("LiCl"), (1, 0, 0), layers=4)
    with pytest.raises(InputError, match=r"best has 5\.82 % strain on 13\.3 square angstrom"):
        lattice_matches(film, substrate, max_area_angstrom2=20)
    with pytest.raises(InputError, match=r"0\.01 % strain up to 400 .*: the best has 0\.197 % strain on 344\.5"):
        lattice_matches(film, substrate, max_strain=1e-4)
    with pytest.raises(InputError, match=r"nor is one within 20 %"):
        lattice_matches(film, substrate, max_area_angstrom2=5)
    with pytest.raises(InputError, match=r"best has 5\.82 % strain.*raise max_area_mismatch"):
        lattice_matches(film, substrate, max_area_angstrom2=20, max_strain=0.06, max_area_mismatch=0.01)
    with pytest.raises(InputError, match=r"smallest has \d+"):
        lattice_matches(film, substrate, max_atoms=20)
    with pytest.raises(InputError, match="unknown side 'left'"):
        lattice_matches(film, substrate, strained="left")
    with pytest.raises(InputError, match=r"max_strain is 0\.5"):
        lattice_matches(film, substrate, max_strain=0.5)
    with pytest.raises(InputError, match="max_area"):
        lattice_matches(film, substrate, max_area_angstrom2=1e6)
    with pytest.raises(InputError, match="needs two slabs"):
        lattice_matches(SQUARE, SQUARE, equivalence="slabs")
    with pytest.raises(StructureError, match="left-handed"):
        lattice_matches(np.array([[0.0, 3.0], [3.0, 0.0]]), 3 * SQUARE)
    with pytest.raises(StructureError, match="span no area"):
        lattice_matches(np.array([[3.0, 0.0], [6.0, 0.0]]), 3 * SQUARE)
