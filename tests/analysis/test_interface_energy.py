"""Interface energies: the intercept is the interface, the slope is strain; refusals and comparisons."""

import numpy as np
import pytest
from factories import calculation_doc, card_record, column, engine_record
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anodeflow.analysis.interface_energy import (
    InterfaceEnergyDoc,
    InterfaceMember,
    interface_energy,
    interface_energy_doc,
    work_of_adhesion,
)
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

EDGE = 5.148
AREA = EDGE**2
E_LI, E_LICL, EPS, GAMMA = -1.9, -7.0, 0.012, 0.54
FILMS = (4, 6, 8, 10, 12)


def calculation(energy, composition, *, edge=EDGE, **options):
    return calculation_doc(energy, column(composition, edge), **options)


LITHIUM = calculation(2 * E_LI, {"Li": 2}, label="Li bulk")
CHLORIDE = calculation(4 * E_LICL, {"Li": 4, "Cl": 4}, label="LiCl bulk")
STRAINED = calculation(2 * (E_LI + EPS), {"Li": 2}, label="Li strained")


def cell(n, *, gamma=GAMMA, eps=EPS, n_substrate=12, noise=0.0, equivalent=True, curvature=0.0, **options):
    """Film and substrate with bulk energies, strain of the film, and two contacts of energy gamma."""
    edge = options.get("edge", EDGE)
    energy = n * (E_LI + eps) + n_substrate * E_LICL + 2 * edge**2 * gamma / EV_PER_A2_TO_J_PER_M2
    options.setdefault("label", f"cell {n}")
    return InterfaceMember(
        calculation=calculation(
            energy + noise + curvature * n**2, {"Li": n + n_substrate, "Cl": n_substrate}, **options
        ),
        n_film=n,
        n_substrate=n_substrate,
        area_angstrom2=edge**2,
        film_thickness_angstrom=1.7 * n / 2,
        equivalent_contacts=equivalent,
    )


def surface(crystal, gamma, half_width=None, *, engine="e1", card="c1", error=None):
    return SurfaceEnergyDoc(
        crystal=crystal,
        miller=(1, 0, 0),
        termination=crystal,
        method="single" if half_width is None else "fit",
        gamma_j_per_m2=gamma,
        gamma_ci_j_per_m2=None if half_width is None else (gamma - half_width, gamma + half_width),
        engine=engine_record(engine),
        card=card_record(card),
        error=error,
    )


def document(members=None, **options):
    members = [cell(n) for n in FILMS] if members is None else members
    return interface_energy_doc(members, **{"film_bulk": LITHIUM, "substrate_bulk": CHLORIDE} | options)


def test_one_cell_by_hand():
    # 3 film units of -2 eV, 2 of -5 eV: -16 eV; the cell has -14.4, two contacts of 8 angstrom^2:
    # 1.6/16 = 0.1 eV/angstrom^2
    assert interface_energy(-14.4, 3, -2.0, 2, -5.0, 8.0) == pytest.approx(1.602176634)


@settings(max_examples=40)
@given(st.floats(-0.2, 2.0), st.floats(0.0, 0.2))
def test_gamma_and_strain_of_a_made_up_interface_are_recovered(gamma, eps):
    doc = document([cell(n, gamma=gamma, eps=eps) for n in FILMS])
    assert doc.gamma_j_per_m2 == pytest.approx(gamma, abs=1e-6)
    assert doc.strain_energy_ev_per_unit == pytest.approx(eps, abs=1e-6)
    sigma = eps / (2 * AREA) * EV_PER_A2_TO_J_PER_M2
    assert doc.sigma_j_per_m2_per_unit == pytest.approx(sigma, abs=1e-6)
    for point in doc.members:
        assert point.gamma_j_per_m2 == pytest.approx(gamma + point.n_film * sigma, abs=1e-6)
    assert doc.gamma_sum_j_per_m2 == pytest.approx(2 * gamma, abs=1e-6)


def test_the_intercept_is_the_interface_and_the_slope_is_not():
    doc = document()
    assert doc.gamma_j_per_m2 == pytest.approx(GAMMA)
    # 12 meV * 16.02177 / (2 * 26.502) = 3.627 mJ/m2 per Li
    assert doc.sigma_j_per_m2_per_unit == pytest.approx(0.003627, abs=1e-6)
    assert any("intercept" in note and "slope" in note and "lacss2024" in note for note in doc.notes)


def test_an_unstrained_film_has_no_slope():
    assert document([cell(n, eps=0.0) for n in FILMS]).sigma_j_per_m2_per_unit == pytest.approx(0, abs=1e-9)


def test_the_interval_of_the_intercept_covers_the_truth_at_the_stated_rate():
    """400 trials with 5 meV of scatter, through the whole document."""
    rng = np.random.default_rng(11)
    members, hits, strain_hits = [cell(n) for n in FILMS], 0, 0
    exact = [m.calculation.energy_ev for m in members]
    for _ in range(400):
        for member, energy, error in zip(members, exact, rng.normal(0, 0.005, len(FILMS)), strict=True):
            member.calculation.energy_ev = energy + error
        doc = document(members, strained_film_bulk=STRAINED)
        hits += doc.gamma_ci_j_per_m2[0] < GAMMA < doc.gamma_ci_j_per_m2[1]
        low, high = doc.strain_energy_ci_ev_per_unit
        strain_hits += low < EPS < high
    low, high = stats.binom.interval(0.999, 400, 0.95)
    assert low <= hits <= high
    assert low <= strain_hits <= high


def test_the_slope_is_compared_with_strained_bulk():
    good = document(strained_film_bulk=STRAINED).strain_check
    assert good.agrees
    assert good.expected_ev_per_unit == pytest.approx(EPS)
    assert good.fitted_ev_per_unit == pytest.approx(EPS)
    assert good.text.startswith("2A sigma = 12.00 meV per Li")
    assert good.text.endswith("they agree")
    other = calculation(2 * (E_LI + 0.030), {"Li": 2}, label="Li strained otherwise")
    doc = document(strained_film_bulk=other)
    assert not doc.strain_check.agrees
    assert doc.strain_check.difference_ev_per_unit == pytest.approx(-0.018)
    assert any("do not agree" in w for w in doc.warnings)


def test_a_missing_strain_check_is_said():
    assert any("none was computed" in w for w in document().warnings)


def test_work_of_adhesion_and_the_published_difference():
    doc = document(gamma_film=surface("Li", 0.465, 0.003), gamma_substrate=surface("LiCl", 0.121, 0.004))
    assert work_of_adhesion(0.465, 0.121, 0.54) == pytest.approx(0.046)
    assert doc.work_of_adhesion_j_per_m2 == pytest.approx(0.046)
    assert doc.work_of_adhesion_half_width_j_per_m2 == pytest.approx(0.005, abs=1e-6)
    assert doc.substrate_minus_interface_j_per_m2 == pytest.approx(-0.419)
    assert doc.film_minus_interface_j_per_m2 == pytest.approx(-0.075)
    (row,) = doc.published
    assert (row.paper, row.published_j_per_m2) == ("lacss2024", -0.42)
    assert row.ours_j_per_m2 == pytest.approx(-0.419)
    assert row.implied_gamma_j_per_m2 == pytest.approx(0.541)


def test_the_published_value_follows_lithium_chloride_also_as_the_film():
    """gamma(LiCl) is the film's when LiCl is the film."""
    members = [
        InterfaceMember(
            calculation=calculation(
                n * E_LICL + 20 * E_LI + 2 * AREA * GAMMA / EV_PER_A2_TO_J_PER_M2,
                {"Li": n + 20, "Cl": n},
                label=f"cell {n}",
            ),
            n_film=n,
            n_substrate=20,
            area_angstrom2=AREA,
        )
        for n in FILMS
    ]
    doc = document(members, film_bulk=CHLORIDE, substrate_bulk=LITHIUM, gamma_film=surface("LiCl", 0.121))
    assert (doc.film, doc.substrate) == ("LiCl", "Li")
    assert doc.published[0].ours_j_per_m2 == pytest.approx(-0.419)
    assert doc.work_of_adhesion_j_per_m2 is None


def test_other_systems_have_no_published_value():
    doc = document(film="Li film", gamma_substrate=surface("LiCl", 0.121))
    assert doc.published == []


def test_a_surface_energy_without_interval_leaves_the_adhesion_without_one():
    doc = document(gamma_film=surface("Li", 0.465), gamma_substrate=surface("LiCl", 0.121, 0.004))
    assert doc.work_of_adhesion_j_per_m2 == pytest.approx(0.046)
    assert doc.work_of_adhesion_half_width_j_per_m2 is None


def test_different_contacts_give_a_sum_only():
    """Contacts of 0.3 and 0.78 J/m2: the cell knows 1.08."""
    members = [cell(n, gamma=(0.3 + 0.78) / 2, equivalent=n != 6) for n in FILMS]
    doc = document(members, gamma_film=surface("Li", 0.465), gamma_substrate=surface("LiCl", 0.121))
    assert doc.gamma_j_per_m2 is None
    assert doc.gamma_ci_j_per_m2 is None
    assert doc.gamma_sum_j_per_m2 == pytest.approx(1.08)
    assert doc.work_of_adhesion_j_per_m2 is None
    assert doc.published == []
    assert any("only the sum" in w for w in doc.warnings)


def test_curvature_is_judged_and_its_intercept_given():
    doc = document([cell(n, curvature=1e-3) for n in FILMS], strained_film_bulk=STRAINED)
    assert doc.fit.linearity.verdict == "curved"
    assert any(f"{GAMMA:.4f} J/m2" in w for w in doc.warnings)
    assert document([cell(n) for n in FILMS[:4]]).fit.linearity.verdict == "cannot be judged"


def test_the_weight_of_the_substrate_is_told():
    # 12 units * 1 meV * 16.02177 / (2 * 26.502) = 3.627 mJ/m2, and the intercept moves by that
    doc = document()
    moved = document(substrate_bulk=calculation(4 * (E_LICL - 1e-3), {"Li": 4, "Cl": 4}, label="LiCl lower"))
    assert doc.shift_per_mev_j_per_m2 == pytest.approx(0.003627, abs=1e-6)
    assert moved.gamma_j_per_m2 - doc.gamma_j_per_m2 == pytest.approx(doc.shift_per_mev_j_per_m2)
    assert moved.sigma_j_per_m2_per_unit == pytest.approx(doc.sigma_j_per_m2_per_unit)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([cell(n, gamma=-0.1) for n in FILMS], "would mix"),
        ([cell(n, eps=-0.01) for n in FILMS], "slope is negative"),
        ([cell(n) for n in FILMS], "one thickness of the substrate"),
    ],
)
def test_oddities_are_warned_of(members, words):
    assert any(words in w for w in document(members).warnings)


def test_a_contact_that_opens_is_warned_of():
    doc = document(gamma_film=surface("Li", 0.3), gamma_substrate=surface("LiCl", 0.1))
    assert any("negative work of adhesion" in w for w in doc.warnings)


def test_the_document_says_what_it_rests_on_and_survives_json():
    doc = document([cell(n) for n in reversed(FILMS)], strained_film_bulk=STRAINED, contact="LiCl(100) || Li(100)")
    assert [p.n_film for p in doc.members] == list(FILMS)
    assert doc.members[0].calculation == "fp-cell 4"
    assert doc.references == ["fp-Li bulk", "fp-LiCl bulk", "fp-Li strained"]
    assert [w for w in doc.warnings if "one thickness of the substrate" not in w] == []
    assert doc.converged
    assert InterfaceEnergyDoc.model_validate_json(doc.model_dump_json()) == doc


SOUND = [cell(n) for n in FILMS[:-1]]


@pytest.mark.parametrize(
    ("error", "words", "members", "options"),
    [
        (InputError, "the intercept needs 4", [cell(n) for n in (4, 6, 8)], {}),
        (InputError, "the intercept needs 4", [cell(n) for n in (4, 6, 8, 8)], {}),
        (InputError, "the intercept needs 4", [], {}),
        (ConvergenceError, "'cell 12' did not converge", [*SOUND, cell(12, converged=False)], {}),
        (ReferenceMismatchError, "cell 12. 26.55", [*SOUND, cell(12, edge=EDGE * 1.001)], {}),
        (ReferenceMismatchError, "engine e2", [*SOUND, cell(12, engine="e2")], {}),
        (ReferenceMismatchError, "card c2", [*SOUND, cell(12, card="c2")], {}),
        (ReferenceMismatchError, "charge -1", [*SOUND, cell(12, charge=-1)], {}),
        (ReferenceMismatchError, "card c9", SOUND, {"film_bulk": calculation(-1.9, {"Li": 1}, card="c9")}),
        (InputError, "would be", SOUND, {"film_bulk": calculation(-3.0, {"Al": 1})}),
        (InputError, "not Li", SOUND, {"strained_film_bulk": calculation(-3.0, {"Al": 1})}),
        (
            ConvergenceError,
            "'stretched' did not",
            SOUND,
            {"strained_film_bulk": calculation(-1.9, {"Li": 1}, label="stretched", converged=False)},
        ),
        (
            ConvergenceError,
            "no surface energy: it failed",
            SOUND,
            {"gamma_film": surface("Li", None, error="it failed")},
        ),
        (ReferenceMismatchError, "engine e2", SOUND, {"gamma_film": surface("Li", 0.4, engine="e2")}),
        (ReferenceMismatchError, "card c2", SOUND, {"gamma_substrate": surface("LiCl", 0.1, card="c2")}),
    ],
)
def test_refusals(error, words, members, options):
    with pytest.raises(error, match=words) as caught:
        document(members, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("n_film", 13, "would be"), ("n_film", -1, "positive"), ("area_angstrom2", 2 * AREA, "its cell has")],
)
def test_a_record_that_contradicts_its_calculation_is_refused(field, value, words):
    wrong = cell(12)
    setattr(wrong, field, value)
    with pytest.raises(InputError, match=words):
        document([*SOUND, wrong])


@pytest.mark.parametrize("numbers", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0)])
def test_what_is_no_cell_is_refused(numbers):
    n_film, n_substrate, area = numbers
    with pytest.raises(InputError):
        interface_energy(-1.0, n_film, -1.0, n_substrate, -1.0, area)
