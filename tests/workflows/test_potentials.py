"""Potentials by name: what each is of, that no two are the same engine, and that functionals are never mixed."""

import importlib.util
from functools import partial

import numpy as np
import pytest
from factories import box, calculation_doc, engine_record
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.binding import lithium_references
from anodeflow.analysis.comparable import check_comparable, check_functionals
from anodeflow.analysis.stability.documents import stability_phases
from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError, ReferenceMismatchError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.potentials.models import POTENTIALS
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies import load_study

R2SCAN = {"sevennet-mf-0-r2scan", "chgnet-r2scan", "diep-r2scan"}
BUNDLED = [name for name, potential in POTENTIALS.items() if potential.bundled]
WITH_ELECTRONS = ("vasp", "castep", "qe", "gpaw")
record = partial(engine_record, kind="machine-learning potential")
calculation = partial(calculation_doc, structure=box(), energy_ev=-2.0)


def installed(name):
    if importlib.util.find_spec(POTENTIALS[name].package) is None:
        pytest.skip(f"package missing: {POTENTIALS[name].package}")
    return get_engine(name)


def energy(engine, structure):
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = engine.calculator()
    return atoms.get_potential_energy()


@pytest.mark.parametrize("name", BUNDLED)
def test_each_potential_says_what_it_is_of(name):
    made = installed(name).record()
    assert made.functional == made.energies_of == ("r2SCAN" if name in R2SCAN else "PBE")
    assert made.training_data
    assert made.licence in {"MIT", "BSD", "BSD-3-Clause"}
    assert made.functional in made.mode


def test_no_two_potentials_are_the_same_engine():
    there = [name for name in BUNDLED if importlib.util.find_spec(POTENTIALS[name].package)]
    assert len({get_engine(name).record().hash for name in there}) == len(there)


def test_records_of_before_have_the_functional_they_always_had():
    for name in ("sevennet-0", "sevennet-l3i5", "chgnet", *WITH_ELECTRONS):
        before = EngineRecord.model_validate({"name": name, "kind": "any", "version": "1", "hash": "0" * 16})
        assert before.energies_of == "PBE"
        assert {"functional", "training_data", "licence"}.isdisjoint(before.model_dump())
    assert EngineRecord(name="sevennet:mine.pth", kind="any", version="1", hash="0" * 16).energies_of is None


def test_a_model_of_two_fidelities_by_path_is_that_by_name():
    named = installed("sevennet-mf-0-r2scan")
    by_path = get_engine(f"sevennet:{named.model_path}@R2SCAN")
    assert by_path.record().hash == named.record().hash != get_engine(f"sevennet:{named.model_path}").record().hash
    assert by_path.record().functional == "r2SCAN"
    salt = load_crystal("LiCl")
    r2scan = energy(by_path, salt)
    assert r2scan == pytest.approx(energy(named, salt), abs=1e-6)
    # two zeros of energy: nothing may be subtracted across them
    assert abs(r2scan - energy(get_engine("sevennet-mf-0-pbe"), salt)) > 1.0


@pytest.mark.parametrize(
    ("name", "modal", "words"),
    [
        ("sevennet-mf-0-pbe", "", ["modal argument missing", "R2SCAN", "PATH@MODAL"]),
        ("sevennet-mf-0-pbe", "@PBEsol", ["unknown modal", "PATH@MODAL"]),
        ("sevennet-0", "@PBE", ["one fidelity", "PATH alone"]),
    ],
)
def test_a_fidelity_that_a_model_lacks_is_refused_in_one_line(name, modal, words):
    path = installed(name).model_path
    with pytest.raises(EngineError) as error:
        get_engine(f"sevennet:{path}{modal}").calculator()
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_chgnet_of_before_is_that_of_its_package():
    engine = installed("chgnet-0.2.0")
    from chgnet.model import CHGNet

    salt = load_crystal("LiCl")
    own = CHGNet.load(model_name="0.2.0", verbose=False).predict_structure(salt)["e"] * len(salt)
    assert energy(engine, salt) == pytest.approx(float(own), abs=1e-4)


@pytest.mark.parametrize("name", ["chgnet-0.2.0", "chgnet-r2scan"])
def test_fast_forces_are_those_of_the_package_for_every_chgnet(name):
    own = installed(name).calculator()
    from anodeflow.workflows.engines.potentials.chgnet_forces import LeanCHGNet

    structure = load_crystal("Li3P").copy()
    structure.remove_oxidation_states()
    structure.perturb(0.1, seed=4)
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    lean = LeanCHGNet(own.model)
    own.calculate(atoms, ["energy", "forces"], task="ef")
    lean.calculate(atoms, ["energy", "forces"])
    assert lean.results["energy"] == pytest.approx(own.results["energy"], abs=1e-5 * len(atoms))
    assert np.abs(lean.results["forces"] - own.results["forces"]).max() < 1e-4


def test_the_extra_potential_runs_where_it_is_installed():
    engine = installed("diep-r2scan")
    atoms = AseAtomsAdaptor.get_atoms(load_crystal("LiCl"), msonable=False)
    atoms.calc = engine.calculator()
    assert np.abs(atoms.get_forces()).max() < 1e-2
    assert np.abs(atoms.get_stress()).max() < 0.02  # eV/angstrom^3; in GPa it would be a hundred times more


def test_what_is_missing_names_the_extra_to_install():
    if importlib.util.find_spec("diep") is not None:
        pytest.skip("the package is there")
    with pytest.raises(EngineError, match=r"anodeflow\[diep\]"):
        get_engine("diep-r2scan").record()


def test_energies_of_two_functionals_are_refused_wherever_they_meet():
    pbe = calculation(label="Li/crystal", engine=record("e1", name="chgnet"))
    other = calculation(label="LiCl/crystal", engine=record("e2", name="chgnet-r2scan", functional="r2SCAN"))
    with pytest.raises(ReferenceMismatchError, match=r"of PBE .chgnet.*of r2SCAN .chgnet-r2scan.*never combined"):
        check_comparable([pbe, other])
    check_functionals({"a": pbe.engine, "b": record("e3", name="sevennet:mine.pth"), "c": None})


def test_a_published_difference_of_pbe_is_not_added_to_r2scan():
    metal = calculation(
        label="Li/crystal",
        engine=record("e2", name="chgnet-r2scan", functional="r2SCAN"),
    )
    assert lithium_references(metal, ["bulk_metal"])[0].energy_ev == -2.0
    with pytest.raises(ReferenceMismatchError, match=r"references: .bulk_metal."):
        lithium_references(metal, ["neutral_atom"])


def test_a_binding_study_of_r2scan_refuses_the_published_atom_before_it_runs(tmp_path):
    installed("chgnet-r2scan")
    study = tmp_path / "study.yaml"
    text = "study: binding-energy\nengine: chgnet-r2scan\nhosts: [LiAl]\nstates: [held]\n"
    study.write_text(text)
    with pytest.raises(ReferenceMismatchError, match=r"'neutral_atom'.*is of r2SCAN"):
        load_study(study).preflight()
    study.write_text(text + "references: [bulk_metal]\n")
    assert any("is of r2SCAN, card 'embedded' says PBE" in note for note in load_study(study).preflight())


def test_anion_corrections_of_pbe_are_not_added_to_r2scan():
    sulfide = load_crystal("Li2S")
    for name, functional, correction in (("sevennet-0", None, -0.503 / 3), ("chgnet-r2scan", "r2SCAN", 0.0)):
        doc = calculation(structure=sulfide, engine=record(name=name, functional=functional))
        (phase,) = stability_phases({"Li2S": doc})
        assert phase.correction_per_atom_ev == pytest.approx(correction, abs=1e-3)


def test_a_card_of_another_functional_is_noted():
    installed("sevennet-0")
    card = load_card("embedded")
    assert get_engine("sevennet-0").preflight(card) == []
    other = card.model_copy(update={"functional": "r2SCAN"})
    assert get_engine("sevennet-0").preflight(other) == ["engine 'sevennet-0' is of PBE, card 'embedded' says r2SCAN"]
