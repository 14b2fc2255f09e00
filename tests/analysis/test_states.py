"""States of Li: their algebra with every reservoir, what is compared, and what is refused."""

from functools import partial

import pytest
from factories import calculation_doc, card_record, engine_record
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import BindingEnergyDoc, binding_energies, lithium_references
from anodeflow.analysis.descriptor import descriptor, descriptor_matrix, lowest_of_kind
from anodeflow.analysis.lithium_sites import SiteStart, cell_against_crystal, host_result, mesh_warnings
from anodeflow.analysis.reservoirs import reservoir_of
from anodeflow.documents import CalculationDoc
from anodeflow.errors import ConvergenceError, InputError, ReferenceMismatchError
from anodeflow.workflows.store.archive import read_archive

METAL = Structure(Lattice.cubic(3.44), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ALUMINIUM = Structure(Lattice.cubic(4.04), ["Al"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ALLOY = Structure(Lattice.cubic(3.2), ["Li", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
COUNTS = {"Li": 2, "Al": 4, "LiAl": 2}
energy = st.floats(-500, 500, allow_nan=False)
shift = st.floats(-10, 10, allow_nan=False)
metal = partial(calculation_doc, structure=METAL, label="Li/crystal")


def without(structure, atom):
    left = structure.copy()
    left.remove_sites([atom])
    return left


def added(structure, atom=None):
    """The structure with Li between its atoms, or in the place of one."""
    place = (0.25, 0.25, 0.25) if atom is None else structure.frac_coords[atom]
    cell = structure.copy() if atom is None else without(structure, atom)
    return cell.append("Li", place)


def result(state, e_host, e_cell, mu_li=-1.9, *, host=ALUMINIUM, mu_al=None, phase=ALUMINIUM, crystal="Al", **changes):
    """The document of one site in one state, through the function that studies call."""
    atom = {"substitution": len(host) - 1, "held": 0}.get(state)
    place = (0.25, 0.25, 0.25) if atom is None else tuple(host.frac_coords[atom])
    cell = without(host, atom) if state == "held" else added(host, atom)
    removed = None if atom is None else host[atom].specie.symbol
    start = SiteStart(
        label="x1", kind=state, frac_coords=place, multiplicity=1, nearest_distance_angstrom=2.0, coordination="4 Al",
        removed=removed,
    )  # fmt: skip
    lithium = metal(2 * mu_li)
    reservoirs = None
    if state == "substitution":
        in_reservoir = calculation_doc(mu_al * len(phase), phase, label="Al/crystal")
        reservoirs = [reservoir_of("Al", "Al", in_reservoir, lithium)]
    return host_result(
        pristine=calculation_doc(e_host, host, label="host"),
        with_li=[calculation_doc(e_cell, cell, label="with")],
        starts=[start],
        references=lithium_references(lithium, ["bulk_metal", "neutral_atom"]),
        metal=lithium,
        crystal=crystal,
        environment="bulk",
        description="made up",
        charge_mode="neutral",
        state=state,
        reservoirs=reservoirs,
        **changes,
    )


def e_int(doc, convention="bulk_metal"):
    return doc.binding_energy_ev[convention]


def test_each_state_by_hand():
    # E(host) = -14, an added Li: -15.5; mu(Li) = -1.9
    assert e_int(result("interstitial", -14.0, -15.5)) == pytest.approx(-15.5 + 14 + 1.9)
    # Al3Li -12.6, and the Al in its metal at -3.5: E(AB) + mu(Al) - E(A) - mu(Li)
    assert e_int(result("substitution", -14.0, -12.6, mu_al=-3.5)) == pytest.approx(-12.6 - 3.5 + 14 + 1.9)
    # a Li taken out costs E(host - Li) + mu(Li) - E(host) = 0.9 eV: it was held by -0.9 eV
    doc = result("held", -5.6, -2.8, host=ALLOY, crystal="LiAl")
    assert e_int(doc) == pytest.approx(-5.6 + 2.8 + 1.9) == pytest.approx(-0.9)
    assert e_int(doc, "neutral_atom") == pytest.approx(-0.9 - 1.586)


def test_aluminium_holds_lithium_in_the_place_of_an_atom():
    """SevenNet-0, 20 atoms: interstitial +1.91 eV, substitution -0.32 eV; the lowest of the two is where Li goes."""
    docs = [result("interstitial", 0.0, 1.91 - 1.9), result("substitution", 0.0, -0.32 + 3.5 - 1.9, mu_al=-3.5)]
    lowest = lowest_of_kind(docs, "Al", "bulk", "added", "bulk_metal")
    assert lowest.li_state == "substitution"
    assert e_int(lowest) == pytest.approx(-0.32)
    assert lowest.reservoirs[0].text == "Al to Al"


def test_a_reservoir_that_holds_lithium_is_in_equilibrium_with_the_metal():
    alloy = calculation_doc(-5.6, ALLOY, label="LiAl/crystal")
    reservoir = reservoir_of("Al", "LiAl", alloy, metal(-3.8))
    assert reservoir.chemical_potential_ev == pytest.approx(-5.6 + 1.9)
    assert reservoir.rests_on == ["fp-LiAl/crystal", "fp-Li/crystal"]
    assert reservoir.text == "Al to LiAl in equilibrium with bcc Li"
    assert reservoir_of("Li", "Li", metal(-3.8), metal(-3.8)).chemical_potential_ev == pytest.approx(-1.9)


def test_lithium_in_the_place_of_lithium_is_one_atom_more_of_the_metal():
    lithium = metal(-3.8)
    start = SiteStart(
        label="sub-Li1", kind="substitution", frac_coords=(0, 0, 0), multiplicity=2, nearest_distance_angstrom=2.98,
        coordination="8 Li", removed="Li",
    )  # fmt: skip
    doc = host_result(
        pristine=lithium, with_li=[lithium], starts=[start], metal=lithium, crystal="Li", environment="bulk",
        references=lithium_references(lithium, ["bulk_metal", "neutral_atom"]), description="made up",
        charge_mode="neutral", state="substitution", reservoirs=[reservoir_of("Li", "Li", lithium, lithium)],
    )  # fmt: skip
    assert e_int(doc) == pytest.approx(0, abs=1e-12)
    assert e_int(doc, "neutral_atom") == pytest.approx(-1.586)
    assert "by definition 0" in doc.sites[0].notes[0]


@given(e_host=energy, e_cell=energy, mu_li=energy, mu_al=energy, moved=shift)
def test_shifting_a_reservoir_moves_what_it_must(e_host, e_cell, mu_li, mu_al, moved):
    """An added or held Li against its own reservoir: down by the shift; a replaced atom in its: up by the shift."""
    values = {"mu_li": mu_li, "mu_al": mu_al}
    expected = {
        "interstitial": {"mu_li": -moved, "mu_al": 0.0},
        "substitution": {"mu_li": -moved, "mu_al": moved},
        "held": {"mu_li": -moved, "mu_al": 0.0},
    }
    for state, moves in expected.items():
        host = ALLOY if state == "held" else ALUMINIUM
        before = e_int(result(state, e_host, e_cell, host=host, **values))
        for reservoir, by in moves.items():
            after = e_int(result(state, e_host, e_cell, host=host, **values | {reservoir: values[reservoir] + moved}))
            assert after - before == pytest.approx(by, abs=1e-8)


@given(energies=st.lists(st.tuples(energy, energy), min_size=4, max_size=4), mu_li=energy, mu_al=energy, moved=shift)
def test_shifting_the_reservoir_of_lithium_leaves_d_e_alone(energies, mu_li, mu_al, moved):
    def matrices(mu_li):
        docs = [
            result("substitution", *energies[0], mu_li, mu_al=mu_al, crystal="X"),
            result("interstitial", *energies[1], mu_li, crystal="X"),
            result("interstitial", *energies[2], mu_li, crystal="Y"),
            result("held", *energies[3], mu_li, host=ALLOY, crystal="X"),
            result("held", *energies[0], mu_li, host=ALLOY, crystal="Y"),
        ]
        return [descriptor_matrix(docs, ["X"], ["Y"], c, "bulk", kind)
                for c in ("bulk_metal", "neutral_atom") for kind in ("added", "held")]  # fmt: skip

    before, after = matrices(mu_li), matrices(mu_li + moved)
    values = [m.d_e_ev[0][0] for m in before]
    assert [m.d_e_ev[0][0] for m in after] == pytest.approx(values, abs=1e-8)
    assert values[:2] == pytest.approx(values[2:], abs=1e-8)  # nor does the convention matter


@given(energies=st.lists(st.tuples(energy, energy), min_size=2, max_size=2), mu_al=energy, moved=shift)
def test_the_reservoir_of_the_replaced_atom_counts_once_in_d_e(energies, mu_al, moved):
    """Between two substitutions it drops out; between a substitution and an interstitial it stays."""

    def between(mu_al, *states):
        docs = [result(s, *e, mu_al=mu_al) for s, e in zip(states, energies, strict=True)]
        return descriptor(*docs, "bulk_metal")

    same = [between(mu, "substitution", "substitution") for mu in (mu_al, mu_al + moved)]
    assert same[1] == pytest.approx(same[0], abs=1e-8)
    mixed = [between(mu, "substitution", "interstitial") for mu in (mu_al, mu_al + moved)]
    assert mixed[1] - mixed[0] == pytest.approx(-moved, abs=1e-8)


@given(energies=st.lists(energy, min_size=2, max_size=5), e_host=energy)
def test_of_held_lithium_the_one_that_leaves_first_counts(energies, e_host):
    starts = [
        SiteStart(label=f"held-{n}", kind="held", frac_coords=tuple(METAL.frac_coords[0]), multiplicity=1,
                  nearest_distance_angstrom=3.0, coordination="8 Li", removed="Li")
        for n in range(len(energies))
    ]  # fmt: skip
    cells = [calculation_doc(e, without(METAL, 0), label=f"held-{n}") for n, e in enumerate(energies)]
    doc = host_result(
        pristine=calculation_doc(e_host, METAL, label="host"), with_li=cells, starts=starts, metal=metal(-3.8),
        crystal="Li", environment="bulk", references=lithium_references(metal(-3.8), ["bulk_metal"]),
        description="made up", charge_mode="neutral", state="held",
    )  # fmt: skip
    assert e_int(doc) == pytest.approx(e_host - min(energies) + 1.9, abs=1e-8)
    assert all(e_int(doc) >= site.binding_energy_ev["bulk_metal"] - 1e-8 for site in doc.sites)


def test_states_of_different_kinds_are_not_subtracted():
    held = result("held", -5.6, -2.8, host=ALLOY, crystal="LiAl")
    with pytest.raises(ReferenceMismatchError, match=r"kind of state \(added and held\)"):
        descriptor(result("interstitial", -14.0, -15.5), held, "bulk_metal")
    matrix = descriptor_matrix([held, result("interstitial", -14.0, -15.5)], ["Al"], ["LiAl"], "bulk_metal", "bulk")
    assert matrix.d_e_ev == [[None]]
    assert matrix.refused == ["dE(Al, LiAl): no bulk result for LiAl: no added Li was computed"]
    assert matrix.states == {"Al": "interstitial"}


def test_results_of_before_are_of_added_lithium():
    common = {"crystal": "Al", "model": "old", "host_formula": "Al4", "host_atoms": 4, "engine": engine_record(),
              "card": card_record(), "binding_energy_ev": {"bulk_metal": 1.0}}  # fmt: skip
    bulk, surface = (BindingEnergyDoc(environment=e, **common) for e in ("bulk", "surface"))
    assert (bulk.li_state, bulk.kind) == ("interstitial", "added")
    assert (surface.li_state, surface.kind) == ("adsorbed", "added")
    assert "state" not in bulk.model_dump()
    assert "reservoirs" not in bulk.model_dump()


def test_a_substitution_that_changes_the_phase_has_no_energy():
    cell = added(ALUMINIUM, 3)
    cell.translate_sites([0], [0.4, 0, 0])
    start = SiteStart(
        label="sub-Al1", kind="substitution", frac_coords=tuple(ALUMINIUM.frac_coords[3]), multiplicity=4,
        nearest_distance_angstrom=2.86, coordination="12 Al", removed="Al",
    )  # fmt: skip
    lithium = metal(-3.8)
    doc = host_result(
        pristine=calculation_doc(-14.0, ALUMINIUM, label="host"), with_li=[calculation_doc(-13.0, cell, label="with")],
        starts=[start], metal=lithium, crystal="Al", environment="bulk", description="made up", charge_mode="neutral",
        references=lithium_references(lithium, ["bulk_metal"]), state="substitution",
        reservoirs=[reservoir_of("Al", "Al", calculation_doc(-14.0, ALUMINIUM, label="host"), lithium)],
    )  # fmt: skip
    assert doc.binding_energy_ev == {}
    assert "another phase, not Li in the place of Al: a host atom moved 1.6" in doc.error


@pytest.mark.parametrize(
    ("element", "formula", "words"),
    [
        ("Al", {"Li": 2}, "reservoir 'phase' of Al holds no Al"),
        ("Al", {"Al": 1, "Cl": 3}, "holds Cl, too, whose energy is not defined"),
    ],
)
def test_a_phase_that_is_not_a_reservoir_is_refused(element, formula, words):
    species = [e for e, n in formula.items() for _ in range(n)]
    phase = Structure(Lattice.cubic(9), species, [[0.2 * n, 0, 0] for n in range(len(species))])
    with pytest.raises(InputError, match=words) as caught:
        reservoir_of(element, "phase", calculation_doc(-9.0, phase), metal(-3.8))
    assert "\n" not in str(caught.value)


def test_a_reservoir_that_did_not_converge_or_differs_is_refused():
    with pytest.raises(ConvergenceError):
        reservoir_of("Al", "Al", calculation_doc(-14.0, ALUMINIUM, converged=False), metal(-3.8))
    with pytest.raises(ReferenceMismatchError):
        reservoir_of("Al", "Al", calculation_doc(-14.0, ALUMINIUM, card="c2"), metal(-3.8))


def test_energies_of_a_state_need_one_engine_and_card():
    references = lithium_references(metal(-3.8), ["bulk_metal"])
    with pytest.raises(ReferenceMismatchError):
        binding_energies(calculation_doc(-1.0, METAL, engine="e2"), calculation_doc(-2.0, METAL), references, 1, -3.5)


def test_a_cell_without_lithium_that_is_not_as_low_as_its_crystal_is_flagged():
    electrons = partial(calculation_doc, electronic_converged=True)
    crystal, cell = electrons(-14.94, ALUMINIUM), electrons(-45.0, ALUMINIUM.copy().make_supercell([3, 1, 1]))
    assert cell_against_crystal(cell, crystal) == pytest.approx(-0.18)
    (line,) = mesh_warnings(-0.272, 27)
    assert "the cell of 27 atoms lies 0.27 eV below its crystal (-10.1 meV/atom)" in line
    assert mesh_warnings(0.04, 27) == mesh_warnings(None, 27) == []


@pytest.mark.parametrize(
    ("cell", "crystal"),
    [
        ({"electronic_converged": None}, {}),  # a potential has no k-points
        ({"charge": 1}, {}),
        ({"converged": False}, {}),
        ({}, {"converged": False}),
        ({"structure": ALLOY}, {}),
    ],
)
def test_cells_that_are_not_one_crystal_by_electrons_are_not_set_beside_it(cell, crystal):
    docs = [
        calculation_doc(**{"energy_ev": -15.0, "structure": ALUMINIUM, "electronic_converged": True, **changes})
        for changes in (cell, crystal)
    ]
    assert cell_against_crystal(*docs) is None
    assert cell_against_crystal(docs[0], None) is None


def test_the_meshes_of_stored_dft_tell_which_cell_is_off(examples):
    jobs = read_archive(examples / "dft" / "results" / "binding-converge-3.zip")[1]
    docs = {job.doc.label: job.doc for job in jobs if isinstance(job.doc, CalculationDoc)}
    apart = {
        size: cell_against_crystal(docs[f"Al/bulk{size}/host"], docs["Al/crystal"])
        for size in ("", ", images 8 A", ", images 9 A")
    }
    assert apart == {
        "": pytest.approx(-0.075, abs=1e-3),
        ", images 8 A": pytest.approx(-0.272, abs=1e-3),
        ", images 9 A": pytest.approx(-0.080, abs=1e-3),
    }
