"""Surface energies: conversion by hand, a made-up crystal recovered, coverage of the interval, refusals."""

import numpy as np
import pytest
from factories import calculation_doc, column
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants, stats

from anodeflow.analysis.surface_energy import (
    SlabMember,
    SurfaceEnergyDoc,
    fiorentini_methfessel,
    surface_energy,
    surface_energy_doc,
)
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

EDGE = 5.148
AREA = EDGE**2
E_BULK, GAMMA = -7.0, 0.121


def calculation(energy, composition, *, edge=EDGE, **options):
    return calculation_doc(energy, column(composition, edge), **options)


BULK = calculation(4 * E_BULK, {"Li": 4, "Cl": 4}, label="LiCl bulk")


def slab(n, *, gamma=GAMMA, bulk=E_BULK, excess=None, mu=None, noise=0.0, symmetric=True, unrelaxed=None, **options):
    """A slab of n LiCl (4 a layer) with an energy that obeys E = n E_b + sum excess mu + 2A gamma."""
    excess = excess or {}
    edge = options.get("edge", EDGE)
    composition = {e: n + excess.get(e, 0) for e in ("Li", "Cl")}
    base = n * bulk + sum(number * mu[e] for e, number in excess.items()) if mu else n * bulk
    options.setdefault("label", f"LiCl {n}")

    def energy(g):
        return base + 2 * edge**2 * g / EV_PER_A2_TO_J_PER_M2 + noise

    return SlabMember(
        calculation=calculation(energy(gamma), composition, **options),
        layers=n // 4,
        n_units=n,
        excess=excess,
        thickness_angstrom=EDGE / 2 * (n // 4 - 1),
        area_angstrom2=edge**2,
        symmetric=symmetric,
        unrelaxed=calculation(energy(unrelaxed), composition, label=f"static {n}") if unrelaxed else None,
    )


def document(members, **options):
    return surface_energy_doc(members, **{"crystal": "LiCl", "miller": (1, 0, 0), "termination": "LiCl"} | options)


def test_unit_conversion_by_hand():
    assert pytest.approx(constants.e / 1e-20, rel=1e-9) == EV_PER_A2_TO_J_PER_M2
    # 2 eV above the bulk, two faces of 10 angstrom^2: 0.1 eV/angstrom^2
    assert surface_energy(-78.0, 8, -10.0, 10.0) == pytest.approx(1.602176634)


def test_lithium_chloride_by_hand():
    # two faces of 26.502 angstrom^2 at 0.121 J/m2 cost 2 * 26.502 * 0.121 / 16.02177 = 0.40030 eV
    assert pytest.approx(0.40030, abs=1e-5) == 2 * AREA * GAMMA / EV_PER_A2_TO_J_PER_M2
    assert surface_energy(16 * E_BULK + 0.40030, 16, E_BULK, AREA) == pytest.approx(0.121, abs=1e-5)


@pytest.mark.parametrize("numbers", [(-1.0, 0, -1.0, 1.0), (-1.0, 1, -1.0, 0.0), (float("nan"), 1, -1.0, 1.0)])
def test_what_is_no_slab_is_refused(numbers):
    with pytest.raises(InputError):
        surface_energy(*numbers)


@given(st.floats(-0.5, 3.0), st.floats(-50, -1), st.floats(5, 200))
def test_the_fit_recovers_a_made_up_crystal(gamma, bulk, area):
    slabs = [(n, n * bulk + 2 * area * gamma / EV_PER_A2_TO_J_PER_M2) for n in (4, 6, 8, 12)]
    fit = fiorentini_methfessel(slabs, area, bulk_ev_per_unit=bulk)
    assert fit.gamma_j_per_m2 == pytest.approx(gamma, abs=1e-6)
    assert fit.bulk_ev_per_unit == pytest.approx(bulk, abs=1e-9)
    assert fit.spread_j_per_m2 < 1e-6
    assert fit.bulk_agrees


def test_a_wrong_bulk_energy_drifts_single_slabs_but_not_the_fit():
    # 10 meV per unit too low: a slab of n units is off by n * 0.01 eV / (2A) * 16.02 = n * 0.0030227 J/m2
    wrong = calculation(4 * (E_BULK - 0.01), {"Li": 4, "Cl": 4}, label="bulk")
    doc = document([slab(n) for n in (8, 16, 24)], bulk=wrong)
    assert doc.gamma_j_per_m2 == pytest.approx(GAMMA, abs=1e-9)
    assert [m.gamma_j_per_m2 - GAMMA for m in doc.members] == pytest.approx([0.0030227 * n for n in (8, 16, 24)], 1e-4)
    assert doc.fit.bulk_difference_ev_per_unit == pytest.approx(0.01)
    assert doc.fit.bulk_agrees is False
    assert any("+10.00 meV" in w for w in doc.warnings)


def test_the_interval_covers_the_truth_at_the_stated_rate():
    rng = np.random.default_rng(7)
    sizes, hits = (8, 12, 16, 20, 24), 0
    surface = 2 * AREA * GAMMA / EV_PER_A2_TO_J_PER_M2
    for _ in range(400):
        slabs = [(n, n * E_BULK + surface + e) for n, e in zip(sizes, rng.normal(0, 0.005, 5), strict=True)]
        low, high = fiorentini_methfessel(slabs, AREA).gamma_ci_j_per_m2
        hits += low < GAMMA < high
    low, high = stats.binom.interval(0.999, 400, 0.95)
    assert low <= hits <= high


def test_convergence_lists_the_fits_over_the_thickest_slabs():
    members = [slab(8, noise=0.2), slab(16), slab(24), slab(32)]
    doc = document(members, bulk=BULK)
    assert [(s.n_slabs, s.thinnest_n_units) for s in doc.fit.convergence] == [(4, 8), (3, 16), (2, 24)]
    assert [s.gamma_j_per_m2 for s in doc.fit.convergence[1:]] == pytest.approx([GAMMA, GAMMA])
    assert doc.fit.convergence[-1].gamma_ci_j_per_m2 is None
    # noise of 0.2 eV on the thinnest of four: intercept moves by 0.2 (1/4 + 20 * 12 / 320) = 0.2 eV
    assert doc.fit.spread_j_per_m2 == pytest.approx(0.2 / (2 * AREA) * EV_PER_A2_TO_J_PER_M2)
    assert any("not converged with thickness" in w for w in doc.warnings)


def aligned(energy=2 * E_BULK, edge=EDGE):
    return calculation(energy, {"Li": 2, "Cl": 2}, label="LiCl in the cell of the slabs", edge=edge)


def test_scatter_moves_a_fit_where_single_slabs_against_their_own_crystal_have_converged():
    # +-20 meV in turn, like the levels of a thin metal: a single slab is off by 0.02 / (2A) * 16.02 = 6.05 mJ/m2
    members = [slab(n, noise=s) for n, s in ((8, 0.02), (16, -0.02), (24, 0.02), (32, -0.02), (40, 0.02))]
    off = 0.02 / (2 * AREA) * EV_PER_A2_TO_J_PER_M2
    doc = document(members, bulk=BULK, aligned_bulk=aligned(2 * E_BULK))
    found = doc.thickness
    assert off == pytest.approx(0.006045, abs=1e-6)
    assert (found.judged_by, found.layers) == ("single slabs", [6, 8, 10])
    assert found.gamma_j_per_m2 == pytest.approx(GAMMA + off / 3)
    assert found.spread_j_per_m2 == pytest.approx(2 * off)
    # 12 mJ/m2 are more than 5 % of 0.121
    assert not found.converged
    assert any(w.startswith("not converged with thickness: slabs of 6, 8, 10 layers") for w in doc.warnings)
    calm = document([slab(n, noise=s / 5) for n, s in ((8, 0.2), (16, -0.02), (24, 0.02), (32, -0.02), (40, 0.02))],
                    aligned_bulk=aligned(2 * E_BULK))  # fmt: skip
    assert calm.fit.spread_j_per_m2 > 0.01
    assert calm.thickness.converged
    assert next(w for w in calm.warnings if "thickness" in w).endswith(calm.thickness.text)


def test_the_crystal_in_the_slabs_cell_is_the_reference_of_single_slabs():
    other_mesh = calculation(4 * (E_BULK - 0.01), {"Li": 4, "Cl": 4}, label="LiCl bulk")
    doc = document([slab(n) for n in (8, 16, 24)], bulk=other_mesh, aligned_bulk=aligned())
    assert [m.gamma_j_per_m2 for m in doc.members] == pytest.approx([GAMMA] * 3)
    assert doc.reference.startswith("bulk energy from 'LiCl in the cell of the slabs'")
    assert doc.references == ["fp-LiCl in the cell of the slabs", "fp-LiCl bulk"]
    assert doc.thickness.converged


def test_single_slabs_that_drift_have_not_converged():
    # 1 meV per unit: 8 units more are 2.4 mJ/m2 more, less than 5 % of gamma, but it goes on for ever
    doc = document([slab(n) for n in (8, 16, 24)], aligned_bulk=aligned(2 * (E_BULK - 0.001)))
    assert doc.thickness.spread_j_per_m2 < doc.thickness.tolerance_j_per_m2
    assert not doc.thickness.converged
    assert "drift" in doc.thickness.text


def test_a_crystal_in_another_cell_is_no_reference_of_single_slabs():
    with pytest.raises(ReferenceMismatchError, match=r"in-plane cell of the slabs"):
        document([slab(n) for n in (8, 16, 24)], aligned_bulk=aligned(edge=EDGE * 1.01))


def test_without_a_crystal_in_their_cell_the_fit_tells_of_convergence():
    doc = document([slab(n) for n in (8, 16, 24)], bulk=BULK)
    assert (doc.thickness.judged_by, doc.thickness.converged) == ("fit", True)
    assert document([slab(8)], bulk=BULK, method="single").thickness is None


def test_the_document_says_what_it_rests_on():
    doc = document([slab(24), slab(8), slab(16)], bulk=BULK, cell="conventional, a = 5.148")
    assert [m.n_units for m in doc.members] == [8, 16, 24]
    assert [m.atoms for m in doc.members] == [16, 32, 48]
    assert doc.members[0].calculation == "fp-LiCl 8"
    assert doc.references == ["fp-LiCl bulk"]
    assert doc.reference.startswith("bulk energy from 'LiCl bulk'")
    assert (doc.unit_formula, doc.bulk_ev_per_unit) == ("LiCl", pytest.approx(E_BULK))
    assert doc.converged
    assert doc.warnings == []
    assert SurfaceEnergyDoc.model_validate_json(doc.model_dump_json()) == doc


def test_without_a_bulk_calculation_the_slope_is_the_reference():
    doc = document([slab(n) for n in (8, 16, 24)])
    assert doc.reference == "bulk energy from the slope of the fit"
    assert doc.members[1].gamma_j_per_m2 == pytest.approx(GAMMA)


@settings(max_examples=25)
@given(st.floats(0.05, 1.0), st.floats(0.0, 0.5))
def test_relaxation_energy_is_the_difference_to_the_cleaved_slab(gamma, released):
    doc = document([slab(n, gamma=gamma, unrelaxed=gamma + released) for n in (8, 16, 24)], bulk=BULK)
    assert doc.gamma_unrelaxed_j_per_m2 - doc.gamma_j_per_m2 == pytest.approx(released, abs=1e-6)


def test_the_unrelaxed_value_of_the_thickest_slab_serves_alone():
    doc = document([slab(8), slab(16, unrelaxed=0.158), slab(24)], bulk=BULK)
    assert doc.gamma_unrelaxed_j_per_m2 == pytest.approx(0.158)


def test_relaxation_cannot_raise_the_energy():
    doc = document([slab(8), slab(16), slab(24, unrelaxed=0.1)], bulk=BULK)
    assert any("went wrong" in w for w in doc.warnings)


def test_a_single_slab_has_no_interval_and_says_so():
    doc = document([slab(8), slab(16)], bulk=BULK, method="single")
    assert doc.gamma_j_per_m2 == pytest.approx(GAMMA)
    assert doc.gamma_ci_j_per_m2 is None
    assert any("no confidence interval" in w for w in doc.warnings)


def test_different_faces_give_a_mean():
    doc = document([slab(8), slab(16, symmetric=False), slab(24)], bulk=BULK)
    assert doc.faces == "the mean of two different faces"


def test_a_negative_surface_energy_is_noticed():
    assert any("cleave by itself" in w for w in document([slab(n, gamma=-0.1) for n in (8, 16, 24)]).warnings)


MU = {"Li": -2.0, "Cl": -5.0}


@pytest.mark.parametrize("bulk", [None, BULK])
@pytest.mark.parametrize("method", ["fit", "single"])
def test_a_nonstoichiometric_slab_with_chemical_potentials(bulk, method):
    """gamma = (E - sum n_i mu_i)/(2A), the sum over all atoms."""
    members = [slab(n, excess={"Cl": 4}, mu=MU) for n in (8, 16, 24)]
    doc = document(members, bulk=bulk, chemical_potentials_ev=MU, method=method)
    thick = members[-1].calculation
    by_hand = (thick.energy_ev - 24 * MU["Li"] - 28 * MU["Cl"]) / (2 * AREA) * EV_PER_A2_TO_J_PER_M2
    assert by_hand == pytest.approx(GAMMA)
    assert doc.gamma_j_per_m2 == pytest.approx(by_hand)
    assert doc.members[-1].gamma_j_per_m2 == pytest.approx(by_hand)
    assert not doc.stoichiometric
    assert doc.reference.startswith("chemical potentials Cl -5.0000 eV, Li -2.0000 eV")
    assert any("holds for the chemical potentials" in w for w in doc.warnings)


def test_gamma_falls_with_the_chemical_potential_of_the_excess():
    """d gamma / d mu_Cl = -excess/(2A) along the line of equilibrium with the crystal."""
    members = [slab(n, excess={"Cl": 4}, mu=MU) for n in (8, 16, 24)]
    moved = document(members, chemical_potentials_ev={"Li": -2.5, "Cl": -4.5})
    assert moved.gamma_j_per_m2 - GAMMA == pytest.approx(-4 * 0.5 / (2 * AREA) * EV_PER_A2_TO_J_PER_M2)


THREE = (8, 16, 24)


@pytest.mark.parametrize(
    ("error", "words", "members", "options"),
    [
        (InputError, "a fit needs 3", [slab(8), slab(16)], {}),
        (InputError, "a fit needs 3", [slab(8), slab(16), slab(16)], {}),
        (InputError, "no slab", [], {}),
        (InputError, "gives no bulk energy", [slab(8)], {"method": "single"}),
        (ConvergenceError, "'LiCl 16' did not converge", [slab(8), slab(16, converged=False), slab(24)], {}),
        (
            ReferenceMismatchError,
            "LiCl 8. has 26.5019 angstrom.*LiCl 16. 26.5549",
            [slab(8), slab(16, edge=EDGE * 1.001), slab(24)],
            {},
        ),
        (ReferenceMismatchError, "has engine engine e1", [slab(8), slab(16, engine="e2"), slab(24)], {}),
        (ReferenceMismatchError, "has card card c1", [slab(8), slab(16), slab(24, card="c2")], {}),
        (ReferenceMismatchError, "charge \\+1", [slab(8), slab(16, charge=1), slab(24)], {}),
        (
            ReferenceMismatchError,
            "card c9",
            [slab(n) for n in THREE],
            {"bulk": calculation(-7.0, {"Li": 1, "Cl": 1}, card="c9")},
        ),
        (InputError, "not LiCl", [slab(n) for n in THREE], {"bulk": calculation(-2.0, {"Li": 1})}),
        (InputError, "Cl4 beyond LiCl", [slab(n, excess={"Cl": 4}) for n in THREE], {}),
        (InputError, "two terminations", [slab(8), slab(16, excess={"Cl": 4}), slab(24)], {}),
        (
            InputError,
            "no chemical potential of Cl",
            [slab(n, excess={"Cl": 4}) for n in THREE],
            {"chemical_potentials_ev": {"Li": -2.0}},
        ),
        (
            ReferenceMismatchError,
            "add up to -7.5",
            [slab(n, excess={"Cl": 4}) for n in THREE],
            {"chemical_potentials_ev": {"Li": -2.5, "Cl": -5.0}, "bulk": BULK},
        ),
    ],
)
def test_refusals(error, words, members, options):
    with pytest.raises(error, match=words) as caught:
        document(members, **options)
    assert "\n" not in str(caught.value)


def test_an_unconverged_bulk_or_static_calculation_is_refused_too():
    bad = calculation(-28.0, {"Li": 4, "Cl": 4}, label="bad bulk", converged=False)
    with pytest.raises(ConvergenceError, match="bad bulk"):
        document([slab(n) for n in THREE], bulk=bad)
    member = slab(8)
    member.unrelaxed = calculation(-50.0, {"Li": 8, "Cl": 8}, label="bad static", converged=False)
    with pytest.raises(ConvergenceError, match="bad static"):
        document([member, slab(16), slab(24)])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("n_units", 7, "count n_units"),
        ("n_units", 0, "positive"),
        ("area_angstrom2", AREA * 2, "its cell has"),
    ],
)
def test_a_record_that_contradicts_its_calculation_is_refused(field, value, words):
    wrong = slab(16)
    setattr(wrong, field, value)
    with pytest.raises(InputError, match=words):
        document([slab(8), wrong, slab(24)])
