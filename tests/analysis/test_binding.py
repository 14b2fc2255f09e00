"""Binding energies: hand-computed numbers, the algebra of references, refusals."""

from functools import partial

import pytest
from factories import calculation_doc, card_record, engine_record
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import (
    BindingEnergyDoc,
    LithiumReference,
    binding_energies,
    binding_energy,
    check_charges,
    lithium_references,
    makov_payne_ev,
)
from anodeflow.analysis.descriptor import descriptor, descriptor_matrix, packing_spread
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError

LITHIUM = Structure(Lattice.cubic(3.44), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])


METAL = LithiumReference(convention="bulk_metal", energy_ev=-1.9, engine_hash="e1", card_hash="c1")


calculation = partial(calculation_doc, structure=LITHIUM)


def host(name, energies, *, references=None, engine="e1", card="c1", charges=None, environment="bulk"):
    references = references or [
        LithiumReference(convention=c, energy_ev=-1.9, engine_hash=engine, card_hash=card) for c in energies
    ]
    return BindingEnergyDoc(
        crystal=name,
        environment=environment,
        model="made up",
        host_formula="Al4",
        host_atoms=4,
        binding_energy_ev=energies,
        references=references,
        charges=charges or {"q_AB": 0, "q_A": 0, "q_B": 0},
        engine=engine_record(engine),
        card=card_record(card),
    )


def test_binding_energy_by_hand():
    # E_AB = -10.5, E_A = -8.0, mu = -1.9: bound by 0.6 eV
    assert binding_energy(-10.5, -8.0, -1.9) == pytest.approx(-0.6)
    # two Li: (-13.0 + 8.0 + 3.8) / 2
    assert binding_energy(-13.0, -8.0, -1.9, n_li=2) == pytest.approx(-0.6)


def test_makov_payne_is_20_43_over_l():
    assert makov_payne_ev(1, 10.0) == pytest.approx(2.043, abs=5e-4)
    assert makov_payne_ev(2, 10.0) == pytest.approx(4 * makov_payne_ev(1, 10.0))
    assert makov_payne_ev(0, 10.0) == 0.0
    with pytest.raises(InputError, match="not positive"):
        makov_payne_ev(1, 0.0)


def test_makov_payne_makes_li_ion_independent_of_the_box():
    # Li+ against the atom, PBE plane waves, boxes of 7, 9, 11, 13 A: raw values spread over 1.3 eV
    raw = {7: 2.393, 9: 3.036, 11: 3.447, 13: 3.731}
    corrected = [energy + makov_payne_ev(1, box) for box, energy in raw.items()]
    assert max(corrected) - min(corrected) < 0.015
    assert corrected[-1] == pytest.approx(5.303, abs=0.002)


@pytest.mark.parametrize(("ab", "a", "b"), [(0, 0, 1), (1, 0, 0), (1, 1, 1)])
def test_unbalanced_charges_are_refused(ab, a, b):
    with pytest.raises(ReferenceMismatchError, match="charges do not balance"):
        check_charges(ab, a, b)


def test_balanced_charges_pass():
    check_charges(1, 0, 1)
    check_charges(0, -1, 1)
    check_charges(2, 0, 1, n_li=2)


def test_conventions_differ_by_the_cohesive_and_spin_energies():
    references = lithium_references(
        calculation(-3.8, label="Li"), ["bulk_metal", "neutral_atom", "neutral_atom_nonspin"]
    )
    e = binding_energies(calculation(-20.0, label="AB"), calculation(-17.0, label="A"), references)
    assert e["bulk_metal"] == pytest.approx(-20 + 17 + 1.9)
    assert e["neutral_atom"] == pytest.approx(e["bulk_metal"] - 1.586)
    assert e["neutral_atom_nonspin"] == pytest.approx(e["neutral_atom"] - 0.281)
    assert all("GPAW" in source for r in references[1:] for source in r.sources)
    assert references[0].sources == []


def test_own_atom_replaces_the_published_cohesive_energy():
    box = Structure(Lattice.cubic(12.0), ["Li"], [[0, 0, 0]])
    made = lithium_references(
        calculation(-3.8, label="Li"),
        ["neutral_atom"],
        {"neutral_atom": calculation(-0.25, label="atom", structure=box)},
    )
    assert made[0].energy_ev == pytest.approx(-0.25)
    assert made[0].rests_on == ["fp-atom"]


def test_ion_reference_is_corrected_and_needs_charged_cells():
    box = Structure(Lattice.cubic(10.0), ["Li"], [[0, 0, 0]])
    ion = lithium_references(
        calculation(-3.8, label="Li"),
        ["ion"],
        {"ion": calculation(3.2, label="ion", charge=1, structure=box)},
    )
    assert ion[0].energy_ev == pytest.approx(3.2 + 2.0428, abs=1e-3)
    with pytest.raises(ReferenceMismatchError, match="charges do not balance"):
        binding_energies(calculation(-20.0), calculation(-17.0), ion)
    e = binding_energies(calculation(-14.0, charge=1), calculation(-17.0), ion)
    assert e["ion"] == pytest.approx(-14.0 + 17.0 - ion[0].energy_ev)


def test_ion_without_a_calculation_is_refused():
    with pytest.raises(ReferenceMismatchError, match="holds a charge"):
        lithium_references(calculation(-3.8), ["ion"])


def test_unconverged_never_becomes_a_binding_energy():
    references = lithium_references(calculation(-3.8, label="Li"), ["bulk_metal"])
    with pytest.raises(ConvergenceError, match="not relaxed after 3 steps"):
        binding_energies(calculation(-20.0, converged=False), calculation(-17.0), references)
    with pytest.raises(ConvergenceError):
        binding_energies(calculation(-20.0), calculation(-17.0, converged=False), references)
    with pytest.raises(ConvergenceError):
        lithium_references(calculation(-3.8, converged=False), ["bulk_metal"])


def test_nan_energy_is_refused():
    with pytest.raises(InputError, match="not all finite"):
        binding_energy(float("nan"), -1.0, -1.0)


@pytest.mark.parametrize("change", [{"engine": "e2"}, {"card": "c2"}])
def test_energies_of_different_engines_or_cards_are_not_mixed(change):
    references = lithium_references(calculation(-3.8, label="Li"), ["bulk_metal"])
    with pytest.raises(ReferenceMismatchError, match="different engines or cards"):
        binding_energies(calculation(-20.0, **change), calculation(-17.0), references)


def test_descriptor_sign():
    # Li is bound by 1 eV in the anode and by 0.2 eV in the interphase: it stays in the anode, dE > 0
    assert descriptor(
        host("Al", {"bulk_metal": -1.0}), host("LiCl", {"bulk_metal": -0.2}), "bulk_metal"
    ) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "e2"},
        {"card": "c2"},
        {"charges": {"q_AB": 1, "q_A": 0, "q_B": 1}},
        {"environment": "surface"},
        {"references": [METAL.model_copy(update={"energy_ev": -1.8})]},
        {"references": [METAL.model_copy(update={"box_angstrom": 9.0})]},
    ],
)
def test_descriptor_refuses_different_settings(change):
    with pytest.raises(ReferenceMismatchError, match="differ in"):
        descriptor(host("Al", {"bulk_metal": -1.0}), host("LiCl", {"bulk_metal": 0.2}, **change), "bulk_metal")


def test_descriptor_of_a_host_without_result_is_refused():
    with pytest.raises(ConvergenceError, match="LiCl"):
        descriptor(host("Al", {"bulk_metal": -1.0}), host("LiCl", {}), "bulk_metal")


energy = st.floats(-500, 500, allow_nan=False)


@given(
    mu=energy,
    shift=st.floats(-10, 10),
    cells=st.lists(st.tuples(energy, energy), min_size=2, max_size=5),
)
def test_changing_the_reference_shifts_all_alike_and_leaves_d_e(mu, shift, cells):
    before = [binding_energy(ab, a, mu) for ab, a in cells]
    after = [binding_energy(ab, a, mu + shift) for ab, a in cells]
    for x, y in zip(before, after, strict=True):
        assert y - x == pytest.approx(-shift, abs=1e-9)
    names = [f"H{i}" for i in range(len(cells))]
    docs = [[host(n, {"bulk_metal": e}) for n, e in zip(names, energies, strict=True)] for energies in (before, after)]
    matrices = [descriptor_matrix(d, names, names, "bulk_metal", "bulk").d_e_ev for d in docs]
    for row_b, row_a in zip(*matrices, strict=True):
        assert row_a == pytest.approx(row_b, abs=1e-9)
    # antisymmetric, zero on the diagonal
    for i in range(len(names)):
        assert matrices[0][i][i] == 0
        for j in range(len(names)):
            assert matrices[0][i][j] == pytest.approx(-matrices[0][j][i], abs=1e-9)


def test_d_e_over_packings_is_that_of_each_pair():
    hosts = [host("Al", {"bulk_metal": -1.0}), host("P2S5", {"bulk_metal": -2.0}),
             host("P2S5 packing 2", {"bulk_metal": -2.4}), host("P2S5 packing 3", {})]  # fmt: skip
    names = [doc.crystal for doc in hosts[1:]]
    spread = packing_spread(hosts, ["Al"], names, "bulk_metal", "bulk")
    assert spread.d_e_ev["Al"] == pytest.approx({"P2S5": -1.0, "P2S5 packing 2": -1.4})
    assert spread.mean_ev("Al") == pytest.approx(-1.2)
    assert packing_spread(hosts[1:], ["Al"], names, "bulk_metal", "bulk").d_e_ev == {}


def test_matrix_names_what_it_refuses():
    made = descriptor_matrix(
        [host("Al", {"bulk_metal": -1.0}), host("LiCl", {})], ["Al"], ["LiCl", "Li2S"], "bulk_metal", "bulk"
    )
    assert made.d_e_ev == [[None, None]]
    assert "no bulk result for Li2S" in made.refused[1]
