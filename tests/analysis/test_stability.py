"""Hulls, windows and mixing curves: made-up phases with known answers, bare pymatgen beside them, and conservation."""

import math
import time

import pytest
from factories import calculation_doc
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.interface_reactions import GrandPotentialInterfacialReactivity, InterfacialReactivity
from pymatgen.analysis.phase_diagram import GrandPotentialPhaseDiagram, PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element, Lattice, Structure

from anodeflow.analysis.stability.documents import (
    StabilityPhaseDoc,
    StabilityRoles,
    stability_phases,
    stability_results,
)
from anodeflow.analysis.stability.ensembles import argyrodite_entropy
from anodeflow.analysis.stability.hull import Hull
from anodeflow.analysis.stability.mixing import mixing_doc
from anodeflow.analysis.stability.phases import Phase, anion_correction_ev, phase_of
from anodeflow.analysis.stability.window import decomposition_energy_ev_per_atom, window_doc
from anodeflow.errors import InputError, ReferenceMismatchError

EXACT = 1e-9
# Energies of formation, eV per formula unit, against elements of these energies per atom.
ELEMENTS = {"Li": -1.9, "P": -5.4, "S": -4.1, "Cl": -1.8}
FORMED = {
    "Li2S": -4.0, "LiCl": -3.6, "Li3P": -2.7, "LiP": -1.1, "P2S5": -1.3, "Li3PS4": -7.6, "Li6PS5Cl": -15.1,
}  # fmt: skip


def phases(formed=None, elements=None):
    elements = elements or ELEMENTS
    pure = [Phase(name=symbol, formula=symbol, energy_ev=energy) for symbol, energy in elements.items()]
    made = [
        Phase(
            name=formula,
            formula=formula,
            energy_ev=energy + sum(n * elements[e] for e, n in Composition(formula).get_el_amt_dict().items()),
            correction_ev=anion_correction_ev(Composition(formula)),
        )
        for formula, energy in (FORMED if formed is None else formed).items()
    ]
    return [*pure, *made]


def near(value):
    return pytest.approx(value, abs=EXACT)


def test_a_binary_window_by_hand():
    # A + Li -> LiA at 0.8 V, LiA + 2 Li -> Li3A at (1.4 - 0.8)/2 = 0.3 V: LiA lasts from 0.3 to 0.8 V
    hull = Hull(phases({"LiP": -0.8, "Li3P": -1.4}, {"Li": -1.9, "P": -5.4}))
    window = window_doc(hull, "LiP")
    assert (window.reduction_limit_v, window.oxidation_limit_v) == (near(0.3), near(0.8))
    assert (window.reduced_to, window.oxidised_to) == ("Li3P", "P")
    assert window.above_hull_ev_per_atom == near(0.0)
    edges = [(f.voltage_low_v, f.voltage_high_v) for f in window.fields]
    assert edges == [(near(0.0), near(0.3)), (near(0.3), near(0.8)), (near(0.8), None)]
    assert [f.reaction.lithium_taken_up for f in window.fields] == [near(2.0), near(0.0), near(-1.0)]
    # at 0 V: -1.4 + 0.8 eV per LiP, two atoms
    assert window.fields[0].energy_low_ev_per_atom == near(-0.3)
    assert decomposition_energy_ev_per_atom(hull, "LiP", 0.1) == near((-0.6 + 2 * 0.1) / 2)
    assert decomposition_energy_ev_per_atom(hull, "LiP", 0.5) == 0.0
    assert decomposition_energy_ev_per_atom(hull, "LiP", 1.0) == near((0.8 - 1.0) / 2)


def test_the_window_of_a_phase_above_the_hull_is_that_of_what_it_decomposes_to():
    # Li3PS4 + Li2S + LiCl is -15.2 eV: Li6PS5Cl lies 0.1 eV/13 above
    hull = Hull(phases())
    window = window_doc(hull, "Li6PS5Cl")
    assert window.above_hull_ev_per_atom == near(0.1 / 13)
    assert window.decomposes_to.text == "Li6PS5Cl -> Li2S + Li3PS4 + LiCl"
    # Li3PS4 + 5 Li -> P + 4 Li2S: (16 - 7.6)/5 V
    assert window.reduction_limit_v == near(8.4 / 5)
    # Li3PS4 + Li2S -> Li3PS4 + S + 2 Li: 4.0/2 V
    assert window.oxidation_limit_v == near(2.0)
    # the phase itself lies higher: Li6PS5Cl + 5 Li at (23.6 - 15.1)/5 V, and 2 Li less at (15.1 - 11.2)/2 V
    assert window.own_reduction_limit_v == near((20 + 3.6 - 15.1) / 5)
    assert window.own_oxidation_limit_v == near((15.1 - 7.6 - 3.6) / 2)


def test_corrections_cancel_in_reduction_and_move_oxidation_by_a_quarter_of_a_volt():
    raw, corrected = (window_doc(Hull(phases(), energies), "Li6PS5Cl") for energies in ("raw", "corrected"))
    assert corrected.reduction_limit_v == near(raw.reduction_limit_v)
    # one S becomes elemental and gives off 2 Li
    assert corrected.oxidation_limit_v == near(raw.oxidation_limit_v + 0.503 / 2)
    assert corrected.above_hull_ev_per_atom == near(raw.above_hull_ev_per_atom)


def test_corrections_are_those_of_the_materials_project():
    assert anion_correction_ev(Composition("Li6PS5Cl")) == near(-5 * 0.503 - 0.614)
    assert anion_correction_ev(Composition("Li3P")) == 0.0
    assert anion_correction_ev(Composition("S8")) == 0.0
    assert anion_correction_ev(Composition("AlCl3")) == near(-3 * 0.614)


def test_a_mixing_curve_by_hand():
    # Li + S with Li2S alone between them: the curve is a triangle with its tip at x(Li) = 2/3, -4.0/3 eV/atom
    hull = Hull(phases({"Li2S": -4.0}, {"Li": -1.9, "S": -4.1}))
    curve = mixing_doc(hull, "Li", "S")
    assert [p.share_of_first for p in curve.points] == [near(1.0), near(2 / 3), near(0.0)]
    assert [p.energy_ev_per_atom for p in curve.points] == [near(0.0), near(-4 / 3), near(0.0)]
    assert (curve.lowest_ev_per_atom, curve.lowest_share_of_first) == (near(-4 / 3), near(2 / 3))
    # with lithium in excess each sulfur becomes Li2S
    assert curve.excess_ev_per_formula == near(-4.0)
    assert curve.excess_reaction.text == "2 Li + S -> Li2S"


def test_with_an_anode_in_excess_the_electrolyte_is_reduced_to_the_end():
    curve = mixing_doc(Hull(phases()), "Li", "Li6PS5Cl")
    # Li6PS5Cl + 8 Li -> 5 Li2S + Li3P + LiCl
    assert curve.excess_reaction.text == "8 Li + Li6PS5Cl -> 5 Li2S + Li3P + LiCl"
    assert curve.excess_ev_per_formula == near(-(5 * 4.0 + 2.7 + 3.6) + 15.1)
    # what it gains by falling apart alone is in the total, not in the mutual part
    assert curve.points[-1].energy_ev_per_atom == near(-0.1 / 13)
    assert curve.mutual_ev_per_atom > curve.lowest_ev_per_atom


def test_two_phases_that_do_not_react_have_a_flat_curve():
    curve = mixing_doc(Hull(phases()), "Li", "LiCl")
    assert [p.energy_ev_per_atom for p in curve.points] == [near(0.0), near(0.0)]
    assert curve.excess_ev_per_formula == near(0.0)


def test_open_to_lithium_an_anode_of_lithium_has_nothing_to_mix():
    hull = Hull(phases(), potential_v=0.1)
    assert mixing_doc(hull, "Li", "Li6PS5Cl").error.startswith("nothing but the exchanged lithium")
    alike = Hull(phases({"LiP": -0.8, "Li3P": -1.4}, {"Li": -1.9, "P": -5.4}), potential_v=0.1)
    assert "differ in lithium alone" in mixing_doc(alike, "LiP", "Li3P").error


@pytest.mark.parametrize("energies", ["raw", "corrected"])
def test_the_same_as_bare_pymatgen(energies):
    made = phases()
    hull = Hull(made, energies)
    entries = [PDEntry(p.composition, p.energy(energies)) for p in made]
    diagram = PhaseDiagram(entries)
    for phase, entry in zip(made, entries, strict=True):
        assert hull.distance_ev_per_atom(phase.name) == near(diagram.get_e_above_hull(entry))
        assert hull.formation_ev_per_atom(phase.name) == near(diagram.get_form_energy_per_atom(entry))
    # voltages: pymatgen gives each step at the low end of its field, counted from the metal
    profile = diagram.get_element_profile(Element("Li"), Composition("Li6PS5Cl"))
    metal = hull.lithium_metal_ev
    theirs = sorted(metal - step["chempot"] for step in profile)
    ours = sorted(f.voltage_low_v for f in window_doc(hull, "Li6PS5Cl").fields)
    assert ours == pytest.approx(theirs, abs=1e-7)
    kinks = InterfacialReactivity(Composition("Li3P"), Composition("Li6PS5Cl"), diagram, norm=True).get_kinks()
    curve = mixing_doc(hull, "Li3P", "Li6PS5Cl")
    shares = {round(p.share_of_first, 7): p.energy_ev_per_atom for p in curve.points}
    for _, share, energy, _, _ in kinks:
        if round(share, 7) in shares:
            assert shares.pop(round(share, 7)) == near(energy)
    assert not shares


@pytest.mark.parametrize("volts", [0.0, 0.33, 1.2, 2.5])
def test_open_to_lithium_the_same_as_bare_pymatgen(volts):
    made = phases()
    hull = Hull(made, potential_v=volts)
    entries = [PDEntry(p.composition, p.energy_ev) for p in made]
    grand = GrandPotentialPhaseDiagram(entries, {Element("Li"): -1.9 - volts})
    reactivity = GrandPotentialInterfacialReactivity(
        Composition("Li3P"), Composition("Li6PS5Cl"), grand, PhaseDiagram(entries), include_no_mixing_energy=True,
        norm=True, use_hull_energy=False,
    )  # fmt: skip
    deepest = min(energy for _, _, energy, _, _ in reactivity.get_kinks())
    assert mixing_doc(hull, "Li3P", "Li6PS5Cl").lowest_ev_per_atom == near(deepest)
    # the decomposition in a window's fields is that of the open hull
    phase = hull.phase("Li6PS5Cl")
    change = hull.energy(phase.composition) - hull.own_energy(phase)
    assert decomposition_energy_ev_per_atom(Hull(made), "Li6PS5Cl", volts) == near(change / 13)


@settings(max_examples=40, deadline=None)
@given(
    formed=st.lists(st.floats(-0.8, 0.1), min_size=len(FORMED), max_size=len(FORMED)),
    volts=st.one_of(st.none(), st.floats(0, 3)),
)
def test_every_printed_reaction_conserves_every_element(formed, volts):
    made = phases({f: e * Composition(f).num_atoms for f, e in zip(FORMED, formed, strict=True)})
    hull, by_name = Hull(made), {p.name: p for p in made}
    window = window_doc(hull, "Li6PS5Cl")
    curves = [mixing_doc(Hull(made, potential_v=volts), a, "Li6PS5Cl") for a in ("Li", "LiP", "Li2S")]
    reactions = [f.reaction for f in window.fields] + [p.reaction for c in curves for p in c.points]
    reactions += [window.decomposes_to] if window.decomposes_to else []
    assert reactions
    for reaction in reactions:
        for element in ELEMENTS:
            left, right = (
                math.fsum(n * by_name[name].composition[element] for name, n in side.items())
                for side in (reaction.reactants, reaction.products)
            )
            taken = reaction.lithium_taken_up if element == "Li" else 0.0
            assert left + taken == pytest.approx(right, abs=1e-6)
    # no reaction costs energy, voltages rise, and the fields join
    edges = [(f.voltage_low_v, f.voltage_high_v) for f in window.fields]
    assert all(low < (math.inf if high is None else high) for low, high in edges)
    assert [high for _, high in edges[:-1]] == [low for low, _ in edges[1:]]
    assert edges[0][0] == 0.0
    assert edges[-1][1] is None
    assert all(f.energy_low_ev_per_atom < 1e-8 for f in window.fields)
    assert all(p.energy_ev_per_atom < 1e-8 for c in curves for p in c.points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: [p for p in made if p.name != "Cl"], "no crystal of the element Cl"),
        (lambda made: [p for p in made if "Li" not in p.formula], "no phase of the set holds Li"),
        (lambda made: [*made, made[0]], "'Li' is given twice"),
    ],
)
def test_sets_that_make_no_hull_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Hull(change(phases()))


def test_what_is_not_in_the_set_is_refused():
    hull = Hull(phases())
    with pytest.raises(InputError, match="'Li2O' is not in the set"):
        window_doc(hull, "Li2O")
    with pytest.raises(InputError, match="holds O"):
        hull.decomposition(Composition("Li2O"))
    with pytest.raises(InputError, match="no window"):
        window_doc(hull, "Li")


def test_an_energy_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a finite energy"):
        Phase(name="Li", formula="Li", energy_ev=math.nan)


def calculation(name, energy_per_atom, **changes):
    composition = Composition(name)
    species = [s for s, n in composition.get_el_amt_dict().items() for _ in range(int(n))]
    coords = [[0.1 + 0.8 * i / len(species), 0.3, 0.5] for i in range(len(species))]
    structure = Structure(Lattice.cubic(20), species, coords)
    return calculation_doc(
        energy_per_atom * len(structure), structure, label=f"{name}/crystal", task="relax_cell", **changes
    )


def test_phases_of_two_engines_are_refused():
    with pytest.raises(ReferenceMismatchError, match="e2"):
        stability_phases({"Li": calculation("Li", -1.9), "P": calculation("P", -5.4, engine="e2")})
    with pytest.raises(ReferenceMismatchError, match="c2"):
        stability_phases({"Li": calculation("Li", -1.9), "P": calculation("P", -5.4, card="c2")})


def test_an_unconverged_phase_is_no_entry():
    docs = stability_phases({"Li": calculation("Li", -1.9), "P": calculation("P", -5.4, converged=False), "S": None})
    assert [doc.energy_per_atom_ev for doc in docs] == [-1.9, None, None]
    assert "did not converge" in docs[1].error
    with pytest.raises(InputError, match="no phase of the set holds Li"):
        stability_results(docs[1:], StabilityRoles(electrolytes=["P"]))


def test_an_engine_trained_on_corrected_energies_is_not_corrected_twice():
    from factories import engine_record

    chgnet = calculation("Li2S", -4.5, engine=engine_record(name="chgnet"))
    (doc,) = stability_phases({"Li2S": chgnet})
    assert doc.correction_per_atom_ev == near(-0.503 / 3)
    assert doc.energy_per_atom_ev == near(-4.5 + 0.503 / 3)
    phase = phase_of("Li2S", Composition("Li2S"), doc.energy_per_atom_ev)
    assert phase.energy("corrected") == near(3 * -4.5)


def test_the_entropy_of_an_argyrodite_by_hand():
    # Li6PS5Cl: six Li on six pairs (2^6), S and Cl on two sites each half the time (2 ln 2)
    assert argyrodite_entropy(Composition("Li6PS5Cl")) == near(8 * math.log(2))
    assert argyrodite_entropy(Composition("Li24P4S20Cl4")) == near(32 * math.log(2))
    # Li5PS4Cl2: both free sites are Cl; five Li on six pairs: 2^5 times six choices in the limit of many cells
    choice = -(5 / 6 * math.log(5 / 6) + 1 / 6 * math.log(1 / 6))
    assert argyrodite_entropy(Composition("Li5PS4Cl2")) == near(5 * math.log(2) + 6 * choice)
    with pytest.raises(InputError, match="not an argyrodite"):
        argyrodite_entropy(Composition("Li3P"))


def test_an_ensemble_is_ranked_and_its_lowest_configuration_is_mixed():
    docs = [
        StabilityPhaseDoc(crystal=p.name, formula=p.formula, energy_per_atom_ev=p.energy_ev / p.atoms) for p in phases()
    ]
    pure = next(doc for doc in docs if doc.crystal == "Li6PS5Cl")
    for name, above in (("high", 0.05), ("low", 0.01)):
        docs.append(pure.model_copy(update={"crystal": name, "energy_per_atom_ev": pure.energy_per_atom_ev + above}))
    roles = StabilityRoles(electrolytes=[], ensembles={"argyrodite": ["high", "low"]}, anodes=["Li"], temperature_k=300)
    results = stability_results(docs, roles)
    raw, corrected = results.ensembles
    assert raw.configurations == ["low", "high"]
    assert raw.above_hull_ev_per_atom == [near(0.1 / 13 + 0.01), near(0.1 / 13 + 0.05)]
    assert (raw.spread_ev_per_atom, raw.mean_ev_per_atom) == (near(0.04), near(0.1 / 13 + 0.03))
    assert raw.entropy_ev_per_atom == near(300 * 8.617333262e-5 * 8 * math.log(2) / 13)
    assert corrected.above_hull_ev_per_atom == pytest.approx(raw.above_hull_ev_per_atom, abs=EXACT)
    assert {curve.second for curve in results.mixing} == {"low"}
    assert len(results.windows) == 4


def test_two_hundred_phases_take_less_than_five_seconds():
    import random

    rng = random.Random(7)
    docs = [
        StabilityPhaseDoc(crystal=e, formula=e, energy_per_atom_ev=-2.0, correction_per_atom_ev=0.0)
        for e in ("Li", "Al", "P", "S", "Cl")
    ]
    formulas = set()
    while len(docs) < 200:
        counts = {e: rng.choice((0, 0, 1, 2, 3, 4, 6)) for e in ("Li", "Al", "P", "S", "Cl")}
        formula = Composition(counts).reduced_formula if sum(counts.values()) else ""
        if formula and len(Composition(formula)) > 1 and formula not in formulas:
            formulas.add(formula)
            energy = -2.5 - 0.3 * rng.random()
            docs.append(StabilityPhaseDoc(crystal=formula, formula=formula, energy_per_atom_ev=energy))
    lithiated = next(d.crystal for d in docs[5:] if "Li" in d.formula and len(Composition(d.formula)) == 4)
    start = time.process_time()
    results = stability_results(docs, StabilityRoles(electrolytes=[lithiated], anodes=["Li", "Al"], potentials_v=[0.3]))
    assert time.process_time() - start < 5
    assert len(results.windows) == 2
    assert len(results.mixing) == 8
