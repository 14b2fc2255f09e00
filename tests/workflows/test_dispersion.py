"""DFT-D3 as a setting of a card: the correction itself, what engines make of it, what it is never mixed with."""

import importlib.util
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from factories import calculation_doc, card_record, engine_record
from needs import needs_dftd3, needs_gpaw
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.binding import binding_energies, check_published_atom
from anodeflow.analysis.comparable import check_comparable, check_roles
from anodeflow.analysis.comparison import EngineAnswer
from anodeflow.analysis.labelled_frames import check_one_source
from anodeflow.analysis.stability.documents import stability_phases
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, EngineError, InputError, ReferenceMismatchError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows import dispersion
from anodeflow.workflows.cards import KPoints, load_card
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.motion.relax import run_ase
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.card_roles import check_roles as check_roles_of_cards
from anodeflow.workflows.studies.card_roles import plane_wave_card
from anodeflow.workflows.studies.checking.options import Check, check_card

PLAIN, BJ = load_card("embedded"), load_card("embedded-d3-bj")
ZERO = BJ.model_copy(update={"name": "zero", "dispersion": "d3-zero"})


def d3(structure: Structure, card=BJ) -> Atoms:
    """Atoms whose energy is the correction alone."""
    from anodeflow.workflows.engines.motion.dispersion import D3Calculator

    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = D3Calculator(d3_of(card))
    return atoms


@pytest.fixture(scope="module")
def chlorine():
    """A small crystal of molecules, off its symmetry."""
    crystal = load_crystal("Cl2").get_primitive_structure()
    crystal.perturb(0.05)
    return crystal


# --- the card


def test_a_card_without_it_has_the_hash_it_had_and_each_damping_another():
    assert "dispersion" not in PLAIN.record.model_dump()
    assert PLAIN.model_dump(exclude_none=True).keys() == BJ.model_dump(exclude_none=True).keys() - {"dispersion"}
    assert len({card.hash for card in (PLAIN, BJ, ZERO)}) == 3
    assert BJ.record.model_dump()["dispersion"] == "d3-bj"


def test_another_functional_has_no_parameters():
    card = BJ.model_copy(update={"functional": "r2SCAN"})
    with pytest.raises(
        EngineError, match=r"no parameters of d3-bj for functional r2SCAN; functionals with parameters: PBE"
    ):
        d3_of(card)


@needs_dftd3
def test_parameters_and_their_sources_are_those_of_the_package():
    table = tomllib.loads((Path(importlib.util.find_spec("dftd3").origin).parent / "parameters.toml").read_text())
    for card, damping in ((BJ, "bj"), (ZERO, "zero")):
        published = dict(table["parameter"]["pbe"]["d3"][damping])
        correction = d3_of(card)
        assert correction.source == f"doi:{published.pop('doi')}"
        assert published.items() <= dict(correction.parameters).items()
        assert correction.parameters["s9"] == 0.0  # no three-body term


# --- the correction


@needs_dftd3
@pytest.mark.parametrize("card", [BJ, ZERO], ids=["bj", "zero"])
def test_two_far_atoms_attract_by_their_c6(card):
    """-(C6/r^6 + s8 C8/r^8), undamped, of two Cl: C6 of free Cl is 90 to 91 atomic units (doi:10.1063/1.3382344)."""
    bohr, hartree, r = 0.529177, 27.211386, 15.0
    box = Lattice.cubic(400.0)
    pair = Structure(box, ["Cl", "Cl"], [[0, 0, 0], [r * bohr, 0, 0]], coords_are_cartesian=True)
    energy = d3(pair, card).get_potential_energy() / hartree
    c6 = -energy * r**6
    assert 85.0 < c6 < 110.0  # C8 adds a tenth here


@needs_dftd3
def test_energy_is_that_of_the_packages_own_calculator(chlorine):
    from dftd3.ase import DFTD3

    theirs = AseAtomsAdaptor.get_atoms(chlorine, msonable=False)
    cutoffs = {
        "disp2": dispersion.PAIRS_BOHR * 0.5291772105638411,
        "cn": dispersion.NEIGHBOURS_BOHR * 0.5291772105638411,
    }
    for card, damping in ((BJ, "d3bj"), (ZERO, "d3zero")):
        theirs.calc = DFTD3(method="pbe", damping=damping, realspace_cutoff=cutoffs)
        ours = d3(chlorine, card)
        assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-9)
        assert ours.get_forces() == pytest.approx(theirs.get_forces(), abs=1e-9)
        assert ours.get_stress() == pytest.approx(theirs.get_stress(), abs=1e-9)


@needs_dftd3
def test_neither_a_shift_nor_a_larger_cell_changes_the_energy_of_an_atom(chlorine):
    energy = d3(chlorine).get_potential_energy() / len(chlorine)
    moved = chlorine.copy()
    moved.translate_sites(range(len(moved)), [0.31, 0.17, 0.73])
    assert d3(moved).get_potential_energy() / len(moved) == pytest.approx(energy, abs=1e-10)
    large = chlorine.make_supercell([2, 1, 1], in_place=False)
    assert d3(large).get_potential_energy() / len(large) == pytest.approx(energy, abs=1e-10)


@needs_dftd3
@pytest.mark.parametrize("card", [BJ, ZERO], ids=["bj", "zero"])
def test_forces_and_stress_are_slopes_of_the_energy(chlorine, card):
    atoms, h = d3(chlorine, card), 1e-4
    force, stress = atoms.get_forces()[0, 1], atoms.get_stress(voigt=False)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 1] += sign * h
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=1e-6)
    for i, j in ((0, 0), (0, 2)):
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        # pairs that cross the last distance, 50 angstrom, change the energy in steps of 1e-9 eV
        assert stress[i, j] == pytest.approx((energies[0] - energies[1]) / (2 * h) / atoms.get_volume(), abs=3e-5)


@needs_dftd3
def test_a_slab_without_images_for_its_electrons_has_the_correction_of_the_periodic_cell(chlorine):
    atoms = d3(chlorine)
    energy = atoms.get_potential_energy()
    atoms.pbc = (True, True, False)
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-12)


# --- added to a calculator


def pairs() -> LennardJones:
    """A pair potential of argon."""
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=True)


@needs_dftd3
def test_both_parts_of_the_energy_are_kept_when_a_relaxation_goes_on(tmp_path):
    from anodeflow.workflows.engines.motion.dispersion import with_dispersion

    argon = Structure(Lattice.from_parameters(3.6, 3.7, 3.9, 62, 59, 60), ["Ar"], [[0, 0, 0]])

    class KilledError(Exception):
        pass

    def stop(step, energy, force):
        if step == 2:
            raise KilledError

    card = BJ.model_copy(update={"force_tolerance_ev_per_angstrom": 0.05, "stress_tolerance_gpa": 0.5})

    def relax(folder, monitor=None):
        folder.mkdir(exist_ok=True)
        return run_ase(argon, with_dispersion(pairs(), card), "relax_cell", card, monitor, folder)

    with pytest.raises(KilledError):
        relax(tmp_path / "a", stop)
    resumed, straight = relax(tmp_path / "a"), relax(tmp_path / "b")
    for outcome in (resumed, straight):
        assert outcome.converged
        kept, end = outcome.dispersion, AseAtomsAdaptor.get_atoms(outcome.structure, msonable=False)
        end.calc = pairs()
        assert kept["electronic_ev"] == pytest.approx(end.get_potential_energy(), abs=1e-9)
        assert kept["energy_ev"] == pytest.approx(d3(outcome.structure).get_potential_energy(), abs=1e-9)
        assert kept["energy_ev"] + kept["electronic_ev"] == pytest.approx(outcome.energy_ev, abs=1e-12)
        assert kept["method"] == "PBE-D3(BJ)"
    assert resumed.warnings == ["continued at step 2 after an interruption"]
    assert resumed.energy_ev == pytest.approx(straight.energy_ev, abs=0.01)
    # with the same cell, the correction makes it smaller
    without = run_ase(argon, pairs(), "relax_cell", card.model_copy(update={"dispersion": None}))
    assert without.dispersion is None
    assert straight.structure.volume < without.structure.volume


def test_a_calculator_is_left_alone_by_a_card_without_it():
    from anodeflow.workflows.engines.motion.dispersion import with_dispersion

    calculator = pairs()
    assert with_dispersion(calculator, PLAIN) is calculator


def test_a_missing_package_is_one_line_and_part_of_the_plan(monkeypatch):
    from anodeflow.workflows.engines.motion.dispersion import with_dispersion

    monkeypatch.setattr(dispersion, "PACKAGE", "no_such_package")
    with pytest.raises(EngineError, match=r"needs the Python package no_such_package; pip install 'anodeflow\[disp"):
        with_dispersion(pairs(), BJ)
    for name in ("sevennet-0", "gpaw"):
        assert any("no_such_package" in line for line in get_engine(name).missing([], BJ))
        assert not any("no_such_package" in line for line in get_engine(name).missing([], PLAIN))


# --- engines


def test_engines_that_cannot_say_so_in_one_line(monkeypatch):
    engine = get_engine("sevennet-0")
    engine.check_dispersion(PLAIN)
    monkeypatch.setattr(type(engine), "capabilities", engine.capabilities.__class__())
    with pytest.raises(EngineError, match="engine 'sevennet-0' adds no dispersion, and card 'embedded-d3-bj' asks for"):
        engine.check_dispersion(BJ)


@pytest.mark.parametrize(
    ("name", "of"),
    [("chgnet-r2scan", "r2SCAN"), ("sevennet:mine.pth", "a functional that it does not state")],
)
def test_a_potential_of_another_functional_is_refused(monkeypatch, name, of):
    engine = get_engine(name)
    functional = "r2SCAN" if of == "r2SCAN" else None
    monkeypatch.setattr(engine, "record", lambda elements=(): engine_record(functional=functional))
    with pytest.raises(EngineError, match=f"'{name}' is of {of}: d3-bj of card 'embedded-d3-bj' is PBE's"):
        engine.check_dispersion(BJ)
    engine.check_dispersion(PLAIN)


def test_the_record_of_a_potential_says_what_is_added_and_keeps_its_hash(monkeypatch):
    engine = get_engine("sevennet-0")
    bare = engine_record(mode="full")
    monkeypatch.setattr(engine, "record", lambda elements=(): bare)
    assert engine.record_with(PLAIN) == bare
    made = engine.record_with(BJ)
    assert made.hash == bare.hash
    assert "PBE-D3(BJ) (doi:10.1002/jcc.21759) is added" in made.mode


@pytest.mark.slow
@needs_gpaw
@needs_dftd3
def test_gpaw_adds_it_and_keeps_both_parts(tmp_path):
    crystal = load_crystal("Li").get_primitive_structure()
    changes = {"cutoff_ev": 200.0, "kpoints": KPoints(mesh=(2, 2, 2)), "energy_tolerance_ev": 1e-4}
    card = load_card("pbe-bulk-d3-bj").model_copy(update=changes)
    plain = card.model_copy(update={"dispersion": None})
    gpaw = get_engine("gpaw")
    request = Request(crystal, "static", card, stress=True)
    with_it = gpaw.compute(request, tmp_path)
    without = gpaw.compute(Request(crystal, "static", plain, stress=True))
    added = d3(crystal)
    assert with_it.energy_ev - without.energy_ev == pytest.approx(added.get_potential_energy(), abs=1e-6)
    assert with_it.dispersion["electronic_ev"] == pytest.approx(without.energy_ev, abs=1e-6)
    stress = (with_it.arrays["stress_gpa"] - without.arrays["stress_gpa"]) / 160.21766208
    assert stress == pytest.approx(added.get_stress(voigt=False), abs=1e-5)
    gpaw.write_inputs(crystal, "static", card, 0, tmp_path)
    script = (tmp_path / "gpaw_input.py").read_text()
    assert "DFTD3(\n    damping='d3bj'," in script
    for word in ("'s8': 0.7875", "'s9': 0.0", "doi:10.1002/jcc.21759"):
        assert word in script
    compile(script, "gpaw_input.py", "exec")


# --- never mixed


def one(label, dispersion=None, **changes) -> CalculationDoc:
    """A calculation whose card has this correction."""
    card = card_record("c1", dispersion=dispersion)
    return calculation_doc(-1.0, load_crystal("Li"), label=label, card=card, **changes)


def test_energies_with_and_without_it_are_never_combined():
    for check in (check_comparable, lambda docs: check_roles(docs[:1], docs[1:], "slab")):
        check([one("a", "d3-bj"), one("b", "d3-bj")])
        with pytest.raises(
            ReferenceMismatchError, match="'a' has dispersion d3-bj, 'b' none: their energies are never"
        ):
            check([one("a", "d3-bj"), one("b")])
        with pytest.raises(ReferenceMismatchError, match="'a' has dispersion d3-zero, 'b' d3-bj"):
            check([one("a", "d3-zero"), one("b", "d3-bj")])


def test_neither_a_binding_energy_nor_frames_mix_them():
    with pytest.raises(ReferenceMismatchError, match="'AB' has dispersion d3-bj, 'A' none"):
        binding_energies(one("AB", "d3-bj"), one("A"), [])
    frame = SimpleNamespace(engine=engine_record("r", name="gpaw"), card=card_record(dispersion="d3-bj"))
    with pytest.raises(InputError, match=r"the frames hold dispersion .* tuned on them would learn"):
        check_one_source([frame], "PBE", "sevennet-0")


def test_cards_of_all_roles_and_of_the_check_agree():
    gpaw, bulk, slab = get_engine("gpaw"), load_card("pbe-bulk-d3-bj"), load_card("pbe-slab")
    check_roles_of_cards({"crystal": bulk, "slab": load_card("pbe-slab-d3-bj")}, gpaw, ["Li"])
    with pytest.raises(InputError, match="crystal has dispersion d3-bj, slab none"):
        check_roles_of_cards({"crystal": bulk, "slab": slab}, gpaw, ["Li"])
    study = SimpleNamespace(method=BJ, only_crystals=lambda: True, beside=lambda name: name)
    assert check_card(study, Check(engine="gpaw", lowest=1)).hash == bulk.hash
    with pytest.raises(InputError, match="card 'pbe-slab' has dispersion none, the study's card 'embedded-d3-bj'"):
        check_card(study, Check(engine="gpaw", card="pbe-slab", lowest=1))


@pytest.mark.parametrize("crystals_only", [True, False])
def test_one_word_changes_the_engine_and_keeps_the_correction(crystals_only):
    name = "pbe-bulk" if crystals_only else "pbe-slab"
    assert plane_wave_card(crystals_only) == load_card(name)
    swapped = plane_wave_card(crystals_only, "d3-bj")
    assert (swapped.name, swapped.hash) == (f"{name}-d3-bj", load_card(f"{name}-d3-bj").hash)
    # of another card, not one varied from it, with which it could be combined
    assert plane_wave_card(crystals_only, "d3-zero").record.family not in (load_card(name).hash, swapped.hash)


def test_engines_are_not_spread_over_a_correction():
    answers = [
        EngineAnswer(
            label="x", engine=engine_record(functional="PBE"), card=card_record(dispersion=damping), study_hash="s"
        )
        for damping in (None, "d3-bj", "d3-zero")
    ]
    assert [answer.functional for answer in answers] == ["PBE", "PBE-D3(BJ)", "PBE-D3(0)"]


def test_published_differences_and_corrections_of_pbe_are_not_added_to_it():
    with pytest.raises(ReferenceMismatchError, match="without dispersion; the card has d3-bj"):
        check_published_atom(engine_record(functional="PBE"), "neutral_atom", "d3-bj")
    sulfide = load_crystal("Li2S")
    for name, raw in (("sevennet-0", -1.0), ("chgnet", -1.0 + 0.503 / 3)):
        doc = calculation_doc(
            -float(len(sulfide)), sulfide, engine=engine_record(name=name), card=card_record(dispersion="d3-bj")
        )
        (phase,) = stability_phases({"Li2S": doc})
        assert phase.correction_per_atom_ev == 0.0
        assert phase.energy_per_atom_ev == pytest.approx(raw, abs=1e-3)


def test_errors_are_one_line():
    with pytest.raises(AnodeflowError) as caught:
        check_comparable([one("a", "d3-bj"), one("b")])
    assert "\n" not in str(caught.value)
