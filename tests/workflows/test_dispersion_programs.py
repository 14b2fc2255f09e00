"""DFT-D3 in the inputs and outputs of VASP, CASTEP and pw.x."""

import re
from pathlib import Path

import pytest
from factories import lithium_chloride, ultrasoft_card, write_upf_headers
from needs import needs_dftd3
from pymatgen.io.ase import AseAtomsAdaptor
from test_castep_output import asked, lines_of, runs_of
from test_qe_output import DATA as QE_DATA
from ultrasoft import ultrasoft  # noqa: F401 - a fixture
from vasp_results import CARD, as_asked, outcome_of, unpacked

from anodeflow.settings import VaspSettings
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.castep import outputs as castep_outputs
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.espresso import outputs as espresso_outputs
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.engines.vasp.inputs import inputs_of
from anodeflow.workflows.engines.vasp.moving_inputs import md_inputs

LICL = lithium_chloride()
DAMPINGS = ("d3-bj", "d3-zero")


def card(dispersion, name="pbe-bulk"):
    return load_card(name).model_copy(update={"dispersion": dispersion})


# --- inputs


@pytest.mark.parametrize(("dispersion", "version"), [("d3-bj", 4), ("d3-zero", 3)])
def test_pw_in_names_the_damping_and_switches_three_bodies_off(tmp_path, monkeypatch, dispersion, version):
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(write_upf_headers(tmp_path / "potentials")))
    engine = get_engine("qe")
    engine.write_inputs(LICL, "relax_cell", card(dispersion), 0, tmp_path)
    system = (tmp_path / "pw.in").read_text().split("&SYSTEM")[1].split("/")[0]
    assert f"  vdw_corr = 'dft-d3'\n  dftd3_version = {version}\n  dftd3_threebody = .false.\n" in system
    engine.write_inputs(LICL, "relax_cell", card(None), 0, tmp_path)
    assert "vdw_corr" not in (tmp_path / "pw.in").read_text()
    engine.write_own_dynamics(LICL, with_dynamics(card(dispersion)), 0, tmp_path / "own", 10)
    assert "vdw_corr = 'dft-d3'" in (tmp_path / "own" / "pw.in").read_text()


@pytest.mark.parametrize(("dispersion", "scheme"), [("d3-bj", "D3-BJ"), ("d3-zero", "D3")])
def test_param_names_the_scheme(tmp_path, dispersion, scheme):
    engine = get_engine("castep")
    for folder, wanted in ((tmp_path / "a", card(dispersion)), (tmp_path / "b", card(None))):
        folder.mkdir()
        engine.write_inputs(LICL, "relax_cell", wanted, 0, folder)
    words = dict(re.findall(r"^(\w+) *: (.*)$", (tmp_path / "a" / "castep.param").read_text(), re.MULTILINE))
    assert (words["sedc_apply"], words["sedc_scheme"]) == ("true", scheme)
    assert "sedc" not in (tmp_path / "b" / "castep.param").read_text()


@pytest.mark.parametrize(("dispersion", "number"), [("d3-bj", 12), ("d3-zero", 11)])
def test_incar_has_ivdw(dispersion, number):
    for made in (
        inputs_of(Request(LICL, "relax_cell", card(dispersion)), VaspSettings(), spec=True),
        md_inputs(LICL, with_dynamics(card(dispersion)), VaspSettings(), spec=True),
    ):
        assert f"IVDW = {number}" in made.texts()["INCAR"].splitlines()
    assert "IVDW" not in inputs_of(Request(LICL, "relax_cell", card(None)), VaspSettings(), spec=True).texts()["INCAR"]


def with_dynamics(plain):
    """The card with dynamics of a few steps."""
    return plain.model_copy(update={"dynamics": load_card("lacss2024-aimd").dynamics})


def test_all_engines_add_it():
    for name in ("gpaw", "qe", "castep", "vasp", "sevennet-0"):
        assert get_engine(name).capabilities.dispersion


# --- outputs


def test_the_correction_in_the_energy_of_pw_x_is_that_of_the_package():
    step = qe_step()
    assert step.dispersion_ev == pytest.approx(-0.03274172 * 13.605693, abs=1e-6)
    wanted = ultrasoft_card(dispersion="d3-bj")
    kept = espresso_outputs.outcome_of([step], Request(QE_CELL, "static", wanted), "gaussian").dispersion
    assert kept["program"] == "pw.x"
    assert kept["energy_ev"] + kept["electronic_ev"] == pytest.approx(step.extrapolated_ev("gaussian"), abs=1e-12)


@needs_dftd3
def test_pw_x_and_the_package_agree_to_1e_7_ev_an_atom():
    """A file of pw.x 6.7; test_pw_x_agrees_with_the_package runs it."""
    assert qe_step().dispersion_ev / len(QE_CELL) == pytest.approx(d3_ev("d3-bj") / len(QE_CELL), abs=1e-7)


@pytest.mark.slow
@needs_dftd3
@pytest.mark.parametrize("dispersion", DAMPINGS)
def test_pw_x_agrees_with_the_package(ultrasoft, monkeypatch, tmp_path, dispersion):  # noqa: F811
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(ultrasoft))
    wanted, plain = ultrasoft_card(dispersion=dispersion), ultrasoft_card()
    with_it, without = (
        get_engine("qe").compute(Request(QE_CELL, "static", chosen, stress=True), made(tmp_path / str(number)))
        for number, chosen in enumerate((wanted, plain))
    )
    expected, atoms = d3_atoms(dispersion), len(QE_CELL)
    assert with_it.dispersion["energy_ev"] / atoms == pytest.approx(d3_ev(dispersion) / atoms, abs=1e-5)
    assert (with_it.energy_ev - without.energy_ev) / atoms == pytest.approx(d3_ev(dispersion) / atoms, abs=1e-5)
    key = "forces_ev_per_angstrom"
    assert with_it.arrays[key] - without.arrays[key] == pytest.approx(expected.get_forces(), abs=1e-4)
    stress = (with_it.arrays["stress_gpa"] - without.arrays["stress_gpa"]) / 160.21766208
    assert stress == pytest.approx(expected.get_stress(voigt=False), abs=1e-5)


QE_CELL = lithium_chloride([0.53, 0.5, 0.5])


def made(folder):
    folder.mkdir()
    return folder


def qe_step():
    """The one geometry of a real file."""
    return espresso_outputs.read_output(QE_DATA / "lithium_chloride_d3.out", QE_CELL, stress=True).last


def d3_atoms(dispersion):
    """Atoms whose energy is the correction alone."""
    from anodeflow.workflows.engines.motion.dispersion import D3Calculator

    atoms = AseAtomsAdaptor.get_atoms(QE_CELL, msonable=False)
    atoms.calc = D3Calculator(d3_of(card(dispersion)))
    return atoms


def d3_ev(dispersion):
    return d3_atoms(dispersion).get_potential_energy()


# the lines of CASTEP below an energy, as in the documentation of ase.io.castep
CORRECTED = """
(SEDC) Total Energy Correction : -0.567289E+00 eV

Dispersion corrected final energy*, Ecor          =  -215.7939135504     eV
Dispersion corrected final free energy* (Ecor-TS) =  -216.0804483161     eV
NB dispersion corrected est. 0K energy* (Ecor-0.5TS) =  -215.9371809332     eV
"""


def castep_lines(below=CORRECTED):
    """A real file, as if it had been computed with dispersion."""
    lines = lines_of("Si2-occ")
    row = max(i for i, line in enumerate(lines) if "NB est. 0K energy" in line)
    text = "".join([*lines[: row + 1], below, *lines[row + 1 :]])
    return text.replace("dispersion correction    : off", "dispersion correction    : on").splitlines(keepends=True)


def castep_outcome(lines, dispersion):
    structure, task, wanted = asked("Si2-occ")
    request = Request(structure, task, wanted.model_copy(update={"dispersion": dispersion}))
    run = runs_of(lines)[-1]
    run.settings["using functional"] = "Perdew Burke Ernzerhof"
    assert castep_outputs.mismatch(run, request) is None
    return castep_outputs.outcome_of(run, request, Path("x.castep"))


def test_castep_corrects_the_energy_at_no_smearing():
    plain, corrected = castep_outcome(lines_of("Si2-occ"), None), castep_outcome(castep_lines(), "d3-bj")
    assert corrected.energy_ev == pytest.approx(-215.9371809332, abs=1e-9)
    assert corrected.energy_ev - plain.energy_ev == pytest.approx(-0.567289, abs=1e-9)
    assert corrected.dispersion["energy_ev"] == pytest.approx(-0.567289, abs=1e-9)
    assert corrected.dispersion["electronic_ev"] == pytest.approx(plain.energy_ev, abs=1e-9)
    assert plain.dispersion is None


def test_castep_files_with_and_without_it_do_not_pass_for_each_other():
    structure, task, wanted = asked("Si2-occ")
    asks = Request(structure, task, wanted.model_copy(update={"dispersion": "d3-bj"}))
    for lines, request, why in (
        (lines_of("Si2-occ"), asks, "dispersion off, where d3-bj was asked for"),
        (castep_lines(), Request(structure, task, wanted), "dispersion on, where none was asked for"),
    ):
        run = runs_of(lines)[-1]
        run.settings["using functional"] = "Perdew Burke Ernzerhof"
        assert castep_outputs.mismatch(run, request) == why


def test_a_castep_energy_that_lacks_it_is_no_result():
    outcome = castep_outcome(castep_lines(below=""), "d3-bj")
    assert outcome.energy_ev is None
    assert "no energy with dispersion" in outcome.error
    with pytest.raises(castep_outputs.CastepFileError, match="two dispersion-corrected energies"):
        runs_of(castep_lines(below=CORRECTED + CORRECTED))


def test_vasp_keeps_what_was_added_to_the_last_electronic_step(tmp_path):
    """A real run, whose energies behind the ionic step are moved as VASP moves them with IVDW."""
    folder, shift = unpacked("converged", tmp_path), -0.25
    start, inputs = as_asked(folder, IVDW=12)
    plain = outcome_of(folder, start, as_asked(folder)[1], "static", CARD)
    assert "IVDW" in outcome_of(folder, start, inputs, "static", CARD).error  # not computed as asked
    file, outcar = folder / "vasprun.xml", folder / "OUTCAR"
    text = file.read_text()
    head, _, last = text.rpartition("</scstep>")
    last = re.sub(
        r'(<i name="e_(?:fr|wo_entrp|0)_(?:energy)?">|<i name="e_wo_entrp">) *(\S+)',
        lambda found: f"{found[1]} {float(found[2]) + shift:.8f}",
        last,
    )
    head = head.replace("<incar>", '<incar>\n  <i type="int" name="IVDW">12</i>', 1)
    file.write_text(f"{head}</scstep>{last}")
    moved = [
        re.sub(r"(energy\(sigma->0\) = *)(\S+)", lambda found: f"{found[1]}{float(found[2]) + shift:.8f}", line)
        if "without entropy= " in line or "without entropy =" in line
        else line
        for line in outcar.read_text().splitlines(keepends=True)
    ]
    outcar.write_text("".join(moved))
    wanted = CARD.model_copy(update={"dispersion": "d3-bj"})
    outcome = outcome_of(folder, start, inputs, "static", wanted)
    assert outcome.energy_ev == pytest.approx(plain.energy_ev + shift, abs=1e-7)
    assert outcome.dispersion["energy_ev"] == pytest.approx(shift, abs=1e-7)
    assert outcome.dispersion["electronic_ev"] == pytest.approx(plain.energy_ev, abs=1e-7)
