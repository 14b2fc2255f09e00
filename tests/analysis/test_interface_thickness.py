"""Interface energies of cells in which both thicknesses vary, and the parts of their uncertainty: made-up energies."""

import numpy as np
import pytest
from factories import calculation_doc, card_record, column, engine_record
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anodeflow.analysis.interface_energy import InterfaceMember, interface_energy_doc
from anodeflow.analysis.interface_registries import ContactDoc, RegistryEntry, RegistrySearchDoc, ScoredRegistry
from anodeflow.analysis.interface_registries import ranked_registries as ranked
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.errors import InputError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

EDGE = 5.148
AREA = EDGE**2
TO_J = EV_PER_A2_TO_J_PER_M2 / (2 * AREA)
E_LI, E_LICL, EPS, GAMMA = -1.9, -7.0, 0.012, 0.25
CROSS = [(4, 12), (6, 12), (8, 12), (10, 12), (12, 12), (4, 8), (4, 16)]


def calculation(energy, composition, **options):
    return calculation_doc(energy, column(composition, EDGE), **options)


BULKS = {
    "film_bulk": calculation(2 * E_LI, {"Li": 2}, label="Li bulk"),
    "substrate_bulk": calculation(4 * E_LICL, {"Li": 4, "Cl": 4}, label="LiCl bulk"),
    "strained_film_bulk": calculation(2 * (E_LI + EPS), {"Li": 2}, label="Li strained"),
}


def cell(n, m, *, gamma=GAMMA, eps=EPS, excess=0.0, noise=0.0, gap=2.6, registries=("Li over Cl",) * 2):
    energy = n * (E_LI + eps) + m * (E_LICL + excess) + gamma / TO_J + noise
    contacts = [
        ContactDoc(registry=name, gap_angstrom=gap, shortest_angstrom=gap, elements="Li-Cl", open=gap > 3.5)
        for name in registries
    ]
    return InterfaceMember(
        calculation=calculation(energy, {"Li": n + m, "Cl": m}, label=f"cell {n} {m}"),
        n_film=n, n_substrate=m, area_angstrom2=AREA, film_layers=n // 2, substrate_layers=m // 2, contacts=contacts,
    )  # fmt: skip


def document(members, **options):
    return interface_energy_doc(members, **BULKS | options)


def part(doc, name):
    return next(p for p in doc.uncertainty if p.name == name)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.2, 2), st.floats(0, 0.2), st.floats(-0.1, 0.1))
def test_gamma_and_both_slopes_of_a_made_up_interface_are_recovered(gamma, eps, excess):
    doc = document([cell(n, m, gamma=gamma, eps=eps, excess=excess) for n, m in CROSS])
    assert doc.gamma_j_per_m2 == pytest.approx(gamma, abs=1e-6)
    assert doc.strain_energy_ev_per_unit == pytest.approx(eps, abs=1e-6)
    assert doc.substrate_excess_ev_per_unit == pytest.approx(excess, abs=1e-6)
    assert doc.substrate_convergence.change_j_per_m2 == pytest.approx(4 * excess * TO_J, abs=1e-6)


def test_the_interval_of_the_plane_covers_the_truth_at_the_stated_rate():
    rng, hits = np.random.default_rng(3), 0
    members = [cell(n, m) for n, m in CROSS]
    exact = [member.calculation.energy_ev for member in members]
    for _ in range(300):
        for member, energy, error in zip(members, exact, rng.normal(0, 0.005, len(CROSS)), strict=True):
            member.calculation.energy_ev = energy + error
        low, high = document(members).gamma_ci_j_per_m2
        hits += low < GAMMA < high
    low, high = stats.binom.interval(0.999, 300, 0.95)
    assert low <= hits <= high


def test_the_substrate_is_judged_by_cells_that_differ_in_nothing_else():
    thin = document([cell(n, m, excess=0.02) for n, m in CROSS])
    assert thin.substrate_convergence.converged is False
    assert any("not converged" in w for w in thin.warnings)
    thick = document([cell(n, m, excess=0.0002) for n, m in CROSS])
    assert thick.substrate_convergence.converged is True
    assert not any("converged" in w for w in thick.warnings)
    one = document([cell(n, 12) for n in (4, 6, 8, 10)])
    assert one.substrate_convergence.converged is None
    assert part(one, "thickness").half_width_j_per_m2 is None
    assert any("one thickness of the substrate (6 planes)" in w for w in one.warnings)


def test_a_slope_that_strained_bulk_does_not_give_moves_gamma_by_its_part():
    doc = document([cell(n, 12, eps=EPS + 0.008) for n in (4, 6, 8, 10)])
    # with the slope of strained bulk gamma would be higher by 8 meV times the mean of n, over 2A
    assert part(doc, "slope").half_width_j_per_m2 == pytest.approx(0.008 * 7 * TO_J)
    assert doc.uncertainty_j_per_m2 >= part(doc, "slope").half_width_j_per_m2


def test_one_film_has_its_strain_from_the_strained_crystal_and_a_flag():
    doc = document([cell(6, 12), cell(6, 16)])
    assert doc.gamma_j_per_m2 == pytest.approx(GAMMA)
    assert doc.fit is None
    assert doc.gamma_ci_j_per_m2 is None
    assert any("one thickness of the film (3 planes)" in w for w in doc.warnings)
    with pytest.raises(InputError, match="the intercept needs 4"):
        document([cell(6, 12)], strained_film_bulk=None)
    with pytest.raises(InputError, match="2 film thickness"):
        document([cell(6, 12), cell(8, 12)])


def test_aligned_crystals_are_the_references_where_both_are_there():
    shifted = {
        "aligned_film_bulk": calculation(2 * (E_LI - 0.004), {"Li": 2}, label="Li aligned"),
        "aligned_substrate_bulk": calculation(2 * (E_LICL + 0.002), {"Li": 2, "Cl": 2}, label="LiCl aligned"),
    }
    members = [cell(n, m) for n, m in CROSS]
    doc = document(members, **shifted)
    assert doc.references_aligned
    assert doc.film_alignment_ev_per_unit == pytest.approx(-0.004)
    assert doc.substrate_alignment_ev_per_unit == pytest.approx(0.002)
    # a plane takes up both, so gamma stays
    assert doc.gamma_j_per_m2 == pytest.approx(GAMMA)
    assert doc.strain_energy_ev_per_unit == pytest.approx(EPS + 0.004)
    assert document(members, aligned_film_bulk=shifted["aligned_film_bulk"]).references_aligned is None


def surface(gamma, termination="Li"):
    return SurfaceEnergyDoc(
        crystal="Li", miller=(1, 0, 0), termination=termination, method="fit", gamma_j_per_m2=gamma,
        gamma_ci_j_per_m2=(gamma - 0.01, gamma + 0.01), engine=engine_record("e1"), card=card_record("c1"),
    )  # fmt: skip


def test_adhesion_is_that_of_the_film_as_strained():
    members = [cell(n, m) for n, m in CROSS]
    free = {"gamma_film": surface(0.46), "gamma_substrate": surface(0.12)}
    doc = document(members, gamma_film_strained=surface(0.50), **free)
    assert doc.work_of_adhesion_j_per_m2 == pytest.approx(0.50 + 0.12 - GAMMA)
    assert doc.work_of_adhesion_unstrained_j_per_m2 == pytest.approx(0.46 + 0.12 - GAMMA)
    without = document(members, **free)
    assert without.work_of_adhesion_j_per_m2 == pytest.approx(0.46 + 0.12 - GAMMA)
    assert any("unstrained film" in w for w in without.warnings)


def test_open_contacts_and_contacts_that_differ_are_flagged():
    assert any("14 contacts are open" in w for w in document([cell(n, m, gap=4.1) for n, m in CROSS]).warnings)
    apart = [cell(n, m, gap=2.6 if n > 4 else 3.4) for n, m in CROSS]
    assert any("not one interface" in w for w in document(apart).warnings)
    unlike = [cell(n, m, registries=("Li over Cl", "Li over Li")) for n, m in CROSS]
    assert any("Li over Cl and Li over Li" in w for w in document(unlike).warnings)


def scored(*energies):
    return RegistrySearchDoc(
        fingerprint="s", label="search", converged=True, engine=engine_record("e2"), card=card_record("c2"),
        interface="Li/LiCl", atoms=15, area_angstrom2=AREA, grid_angstrom=1.0,
        registries=[
            ScoredRegistry(
                label=f"r{n}", shift=(n / 10, 0), vector_angstrom=(0, 0), fractions=(0, 0), held=True,
                gap_angstrom=2.5, energy_ev=energy, above_lowest_j_per_m2=(energy - energies[0]) * TO_J,
            )
            for n, energy in enumerate(energies)
        ],
    )  # fmt: skip


def entries(search, energies):
    return [
        RegistryEntry(label=r.label, shift=r.shift, gap_built_angstrom=2.5, energy_ev=energy,
                      search_above_lowest_j_per_m2=r.above_lowest_j_per_m2)
        for r, energy in zip(search.registries, energies, strict=False)
    ]  # fmt: skip


def test_the_engine_decides_which_registry_is_lowest_and_its_word_bounds_the_rest():
    layers = {"film_layers": 5, "substrate_layers": 5, "area_angstrom2": AREA}
    search = scored(-10.0, -9.9, -9.8)
    doc = ranked(entries(search, [-20.0, -20.3, -19.9]), search, **layers)
    assert doc.lowest.label == "r1"
    assert doc.spread_j_per_m2 == pytest.approx(0.4 * TO_J)
    assert doc.uncertainty_j_per_m2 == 0  # all were computed
    assert any("puts r0 lowest" in w for w in doc.warnings)
    # two of three: relative energies of the potential are wrong by up to 0.4 eV, the third is 0.1 eV above the lowest
    doc = ranked(entries(search, [-20.0, -20.3]), search, **layers)
    assert doc.uncertainty_j_per_m2 == pytest.approx((0.4 - 0.1) * TO_J)
    assert ranked(entries(search, [-20.0]), search, **layers).uncertainty_j_per_m2 is None
    assert "no registry has an energy" in ranked(entries(search, [None]), search, **layers).error
