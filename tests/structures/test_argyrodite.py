"""Argyrodites: compositions, the rules of the sites, the Ewald selection."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.argyrodite import (
    ArgyroditeComposition,
    ArgyroditeEnsemble,
    argyrodite_configurations,
    check_argyrodite,
    parse_argyrodite,
)

CASES = {
    "Li6PS5Cl": (4, {"Li": 24, "P": 4, "S": 20, "Cl": 4}),
    "Li5.5PS4.5Cl1.5": (4, {"Li": 22, "P": 4, "S": 18, "Cl": 6}),
    "Li5.4PS4.4Cl1.6": (5, {"Li": 27, "P": 5, "S": 22, "Cl": 8}),
}


@pytest.fixture(scope="module")
def ensembles() -> dict[str, ArgyroditeEnsemble]:
    return {formula: argyrodite_configurations(formula, n=4, seed=3) for formula in CASES}


def distances(structure: Structure, first: str, second: str, cutoff: float) -> np.ndarray:
    """Distances of all pairs (each once per direction), over all periodic images."""
    i, j, _, distance = structure.get_neighbor_list(cutoff)
    symbols = np.array([site.specie.symbol for site in structure])
    return distance[(symbols[i] == first) & (symbols[j] == second)]


def ewald_ev(structure: Structure) -> float:
    charged = structure.copy()
    charged.add_oxidation_state_by_element({"Li": 1, "P": 5, "S": -2, "Cl": -1})
    return EwaldSummation(charged).total_energy


# -- compositions ------------------------------------------------------------------------------------------


@given(x=st.fractions(min_value=1, max_value=2, max_denominator=400), units=st.integers(1, 40))
def test_formula_round_trip(x: Fraction, units: int) -> None:
    composition = ArgyroditeComposition(7 - x, 6 - x, x, "Cl")
    assert parse_argyrodite(composition.formula) == composition
    scaled = f"Li{(7 - x) * units}P{units}S{(6 - x) * units}Cl{x * units}"
    assert parse_argyrodite(scaled) == composition
    assert composition.formula_units_that_fit(400)[0] == x.denominator


@given(text=st.text(alphabet="LiPSClBrO0123456789./() ", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        composition = parse_argyrodite(text)
    except InputError:
        return
    assert composition.lithium + 5 == 2 * composition.sulfur + composition.halogen
    assert composition.sulfur + composition.halogen == 6


@settings(max_examples=50)
@given(
    a=st.fractions(1, 8, max_denominator=20),
    b=st.fractions(1, 8, max_denominator=20),
    c=st.fractions(Fraction(1, 20), 4, max_denominator=20),
)
def test_only_the_one_family_passes(a: Fraction, b: Fraction, c: Fraction) -> None:
    belongs = a == 7 - c and b == 6 - c and 1 <= c <= 2
    if belongs:
        assert parse_argyrodite(f"Li{a}PS{b}Cl{c}").halogen == c
    else:
        with pytest.raises(InputError):
            parse_argyrodite(f"Li{a}PS{b}Cl{c}")


def test_decimals_are_exact() -> None:
    composition = parse_argyrodite("Li5.4PS4.4Cl1.6")
    assert composition.lithium == Fraction(27, 5)
    assert composition.formula == "Li5.4PS4.4Cl1.6"
    assert composition == parse_argyrodite("Li27P5S22Cl8")
    assert composition.formula_units_that_fit() == [5, 10, 15, 20]
    assert composition.counts(20) == {"Li": 108, "P": 20, "S": 88, "Cl": 32}
    assert parse_argyrodite("Li16/3PS13/3Cl5/3").formula_units_that_fit(7) == [3, 6]
    assert parse_argyrodite("Li6PS5Br").halide == "Br"


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("Li6PS5Cl2", ["-1 e per P", "Li5PS4Cl2"]),
        ("Li6PS4.5Cl1.5", ["+0.5 e per P", "Li5.5PS4.5Cl1.5"]),
        ("Li7PS5.5Cl1", ["6.5 S + Cl", "6 (4 in PS4, 2 free)"]),
        ("Li4PS3Cl3", ["3 Cl per P", "2 free-anion sites"]),
        ("Li6.5PS5.5Cl0.5", ["6.5 Li per P", "6 pairs"]),
        ("Li7PS6", ["Li, P, S"]),
        ("Li6PS5Cl0.5Br0.5", ["Cl, Br"]),
        ("Li6SiS5Cl", ["Si"]),
        ("Li6PS5Cl!", ["cannot read"]),
        ("Li6PS5S1Cl", ["cannot read"]),
        ("Li6PS5Cl1/0", ["cannot read"]),
        ("", ["cannot read"]),
    ],
)
def test_refusals(formula: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_argyrodite(formula)
    for word in words:
        assert word in str(caught.value)


def test_a_cell_that_cannot_hold_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"4 formula units.*\[5, 10, 15, 20\]"):
        argyrodite_configurations("Li5.4PS4.4Cl1.6", formula_units=4)
    with pytest.raises(InputError, match="none up to 20"):
        argyrodite_configurations("Li5.333PS4.333Cl1.667")
    with pytest.raises(InputError, match="formula units"):
        parse_argyrodite("Li6PS5Cl").counts(0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"site_inversion": 0.3}, "0, 1/4, 1/2, 3/4, 1"),
        ({"site_inversion": 0.25, "anion_order": "ordered"}, "use one of 0"),
        ({"anion_order": "lowst"}, "lowst"),
        ({"lattice_angstrom": 98.6}, "between 9 and 11"),
        ({"n": 0}, "n >= 1"),
    ],
)
def test_options_without_meaning(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        argyrodite_configurations("Li6PS5Cl", **options)


# -- the rules of the sites --------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", CASES)
def test_crystal_rules(ensembles: dict[str, ArgyroditeEnsemble], formula: str) -> None:
    units, counts = CASES[formula]
    ensemble = ensembles[formula]
    assert len(ensemble.configurations) == 4
    for item in ensemble.configurations:
        s = item.structure
        assert s.is_ordered
        assert dict(Counter(site.specie.symbol for site in s)) == counts
        assert counts["Li"] + 5 * counts["P"] == 2 * counts["S"] + counts["Cl"]
        assert s.volume == pytest.approx(9.860**3 * units / 4)
        assert np.linalg.det(s.lattice.matrix) > 0
        # PS4: 4 S per P at 2.03 Å, no halide
        np.testing.assert_allclose(bonds := distances(s, "P", "S", 2.5), 2.03, atol=0.02)
        assert len(bonds) == 4 * units
        assert len(distances(s, "P", "Cl", 3.5)) == 0
        # no 1.96 Å pair is doubly occupied: the next Li-Li distance of the framework is the 2.2 Å triangle
        assert distances(s, "Li", "Li", 4.0).min() > 2.05
        assert item.checks["pairs_with_one_li"] == counts["Li"]
        assert item.checks["empty_pairs"] == 6 * units - counts["Li"]
        halides = [item.anion_sites[kind]["Cl"] for kind in ("4a", "4d")]
        assert sum(halides) == counts["Cl"]
        assert item.anion_sites["site_inversion"] == halides[1] / units


def test_short_contacts_are_as_few_as_the_cage_allows(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    # A cage is K4: six Li put 6 arrow heads on 4 triangles, (2, 2, 1, 1) at best: two contacts. One vacancy
    # in a cage saves one, two in a cage save two.
    for formula, (units, counts) in CASES.items():
        lowest = ensembles[formula].configurations[0].structure
        vacancies = 6 * units - counts["Li"]
        assert len(distances(lowest, "Li", "Li", 2.4)) // 2 == 2 * units - vacancies


def test_ordered_anions_and_where_4a_is(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    ensemble = ensembles["Li6PS5Cl"]
    assert ensemble.anion_order == "ordered"
    for item in ensemble.configurations:
        assert item.anion_sites == {"4a": {"Cl": 4, "S": 0}, "4d": {"Cl": 0, "S": 4}, "site_inversion": 0.0}
        # 4a lies a/2 from P, 4d sqrt(3)/4 a
        assert distances(item.structure, "P", "Cl", 5.0).min() == pytest.approx(9.860 / 2, abs=1e-3)


def test_five_formula_units_are_compact_and_not_cubic(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    cell = ensembles["Li5.4PS4.4Cl1.6"].cell
    assert cell["atoms"] == 62
    assert min(cell["lengths_angstrom"]) == pytest.approx(9.860)
    assert max(cell["lengths_angstrom"]) < 12.2
    assert round(abs(np.linalg.det(cell["vectors_over_cubic_axes"])) * 4) == 5
    assert ensembles["Li6PS5Cl"].cell["vectors_over_cubic_axes"] == np.eye(3).tolist()


def test_site_inversion() -> None:
    ensemble = argyrodite_configurations("Li6PS5Cl", site_inversion=0.25, n=2)
    assert ensemble.anion_order == "random"
    assert {item.anion_sites["site_inversion"] for item in ensemble.configurations} == {0.25}
    assert ensemble.configurations[0].anion_sites["4a"] == {"Cl": 3, "S": 1}


def test_another_lattice_keeps_ps4_rigid() -> None:
    ensemble = argyrodite_configurations("Li6PS5Br", lattice_angstrom=9.98, n=1, formula_units=1)
    s = ensemble.configurations[0].structure
    assert s.volume == pytest.approx(9.98**3 / 4)
    np.testing.assert_allclose(distances(s, "P", "S", 2.5), 2.03, atol=0.02)


def test_check_finds_a_broken_structure(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    good = ensembles["Li6PS5Cl"].configurations[0].structure
    counts = CASES["Li6PS5Cl"][1]
    assert check_argyrodite(good, counts)["s_per_p"] == [4]
    with pytest.raises(StructureError, match="composition, charge"):
        check_argyrodite(Structure.from_sites(good[1:]), counts)
    mirrored = Structure(good.lattice.matrix * [[1], [1], [-1]], good.species, good.frac_coords)
    with pytest.raises(StructureError, match="handedness"):
        check_argyrodite(mirrored, counts)
    broken = good.copy()
    sulfur = min(range(24, 52), key=lambda k: broken.get_distance(24, k) if k > 27 else 99)
    broken.translate_sites([sulfur], [0.05, 0.05, 0.05])
    with pytest.raises(StructureError, match="PS4"):
        check_argyrodite(broken, counts)


# -- energies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", CASES)
def test_ewald_energies_from_scratch(ensembles: dict[str, ArgyroditeEnsemble], formula: str) -> None:
    units = CASES[formula][0]
    items = ensembles[formula].configurations
    fresh = np.array([ewald_ev(item.structure) for item in items]) / units
    np.testing.assert_allclose([item.ewald_total_ev_per_fu for item in items], fresh, atol=1e-6)
    np.testing.assert_allclose([item.ewald_ev_per_fu for item in items], fresh - fresh.min(), atol=1e-6)
    assert np.all(np.diff(fresh) > -1e-6)
    assert ensembles[formula].spread_ev_per_fu == pytest.approx(np.ptp(fresh), abs=1e-6)
    assert ensembles[formula].unselected_ev_per_fu > 1.0  # a choice at random is far worse


def test_configurations_are_inequivalent(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    matcher = StructureMatcher(ltol=0.01, stol=0.02, angle_tol=0.5, primitive_cell=False, scale=False)
    for ensemble in ensembles.values():
        items = [item.structure for item in ensemble.configurations]
        assert len(matcher.group_structures(items)) == len(items)


def test_lowest_is_a_local_minimum_by_brute_force(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    """Move single Li to the other site of its pair (the mirror position 1.96 Å away): never lower."""
    item = ensembles["Li6PS5Cl"].configurations[0]
    others = ensembles["Li6PS5Cl"].configurations[1].structure
    reference = ewald_ev(item.structure)
    tried = 0
    for i in range(24):
        for site in others[:24]:
            if 1.8 < item.structure[i].distance(site) < 2.05:
                moved = item.structure.copy()
                moved.replace(i, "Li", site.frac_coords)
                assert ewald_ev(moved) > reference + 1e-3
                tried += 1
    assert tried > 0


def test_seed_reproduces_and_the_lowest_energy_does_not_depend_on_it(
    ensembles: dict[str, ArgyroditeEnsemble],
) -> None:
    first = ensembles["Li6PS5Cl"]
    again = argyrodite_configurations("Li6PS5Cl", n=4, seed=3)
    assert json.dumps(again.as_dict(), sort_keys=True) == json.dumps(first.as_dict(), sort_keys=True)
    other = argyrodite_configurations("Li6PS5Cl", n=1, seed=11)
    assert other.configurations[0].seed != first.configurations[0].seed
    assert math.isclose(
        other.configurations[0].ewald_total_ev_per_fu,
        first.configurations[0].ewald_total_ev_per_fu,
        abs_tol=1e-6,
    )


def test_free_anions_are_never_worse_than_ordered_or_random(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    free = argyrodite_configurations("Li5.5PS4.5Cl1.5", anion_order="lowest", n=1)
    drawn = ensembles["Li5.5PS4.5Cl1.5"].configurations[0]
    assert free.configurations[0].ewald_total_ev_per_fu <= drawn.ewald_total_ev_per_fu + 1e-6


def test_engine_ranks_and_must_converge() -> None:
    def energies(structure: Structure) -> float:
        return -ewald_ev(structure)

    ensemble = argyrodite_configurations("Li5.5PS4.5Cl1.5", n=3, energies=energies)
    ewald = [item.ewald_ev_per_fu for item in ensemble.configurations]
    engine = [item.engine_ev_per_fu for item in ensemble.configurations]
    assert ewald == sorted(ewald, reverse=True)
    np.testing.assert_allclose(engine, max(ewald) - np.array(ewald), atol=1e-6)
    assert ensemble.engine_spread_ev_per_fu == pytest.approx(ensemble.spread_ev_per_fu, abs=1e-6)
    with pytest.raises(ConvergenceError):
        argyrodite_configurations("Li6PS5Cl", n=1, energies=lambda _: math.nan, formula_units=1)


def test_one_formula_unit_says_that_it_has_few_configurations() -> None:
    ensemble = argyrodite_configurations("Li6PS5Cl", formula_units=1, n=20)
    assert len(ensemble.configurations) < 20
    assert "distinct" in ensemble.warnings[0]


def test_as_dict_is_json(ensembles: dict[str, ArgyroditeEnsemble]) -> None:
    data = json.loads(json.dumps(ensembles["Li5.4PS4.4Cl1.6"].as_dict()))
    assert data["composition"] == "Li5.4PS4.4Cl1.6"
    assert len(Structure.from_dict(data["configurations"][0]["structure"])) == 62


def test_twenty_formula_units() -> None:
    ensemble = argyrodite_configurations("Li5.4PS4.4Cl1.6", formula_units=20, n=1)
    s = ensemble.configurations[0].structure
    assert len(s) == 248
    assert s.lattice.is_orthogonal
    assert min(s.lattice.abc) == pytest.approx(9.860 * math.sqrt(2.5))
    assert ensemble.configurations[0].ewald_total_ev_per_fu == pytest.approx(ewald_ev(s) / 20, abs=1e-6)
