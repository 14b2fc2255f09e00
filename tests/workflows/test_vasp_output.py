"""Reading what real VASP wrote, whole, unconverged and cut off anywhere."""

import random
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Structure
from vasp_results import CARD, DATA, ENERGIES, as_asked, outcome_of, unpacked

from anodeflow.analysis.trajectories.outcar import OutcarReader
from anodeflow.errors import EngineError
from anodeflow.workflows.engines.contract import Reason
from anodeflow.workflows.engines.vasp.outputs import Reader, unwrapped, version_number


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    made = {}
    for name in ENERGIES:
        folder = unpacked(name, tmp_path_factory.mktemp(name))
        made[name] = (folder, *as_asked(folder))
    return made


def outcome(asked, name, task="relax", card=CARD, folder=None):
    kept, start, inputs = asked[name]
    return outcome_of(folder or kept, start, inputs, task, card)


@pytest.mark.parametrize("name", ENERGIES)
def test_the_energy_is_that_of_sigma_to_zero(asked, name):
    # In files of VASP 5.4 the e_0_energy behind an ionic step is the entropy alone.
    found = outcome(asked, name)
    assert found.energy_ev == pytest.approx(ENERGIES[name], abs=1e-6)
    assert Reader(asked[name][0]).read().outcar.energies_ev[-1] == pytest.approx(ENERGIES[name])
    assert found.arrays["energies_ev"][-1] == found.energy_ev


def test_what_converged_and_what_did_not(asked):
    electrons = outcome(asked, "elec-unconverged")
    assert electrons.electronic_converged is False
    assert not electrons.converged
    assert electrons.reason is Reason.ELECTRONS
    assert "8 iterations" in electrons.error
    ions = outcome(asked, "ionic-unconverged")
    assert ions.electronic_converged is True
    assert ions.ionic_converged is False
    assert "not relaxed after 5 steps" in ions.error
    assert ions.ionic_steps == 5
    assert ions.reason is Reason.NOT_RELAXED
    fine = outcome(asked, "converged", task="static")
    assert fine.converged
    assert (fine.error, fine.reason) == (None, None)
    assert fine.arrays["program"].startswith("vasp 5.4.4")


def test_forces_and_stress_decide_not_vasp(asked):
    found = outcome(asked, "si-relax", task="relax_cell")
    # VASP said that it reached its accuracy; OUTCAR's last stress line (in kB) is here within 0.05 GPa or it is not
    text = (asked["si-relax"][0] / "OUTCAR").read_text()
    assert "reached required accuracy" in text
    last = [float(x) for x in text[text.rindex("  in kB") :].split("\n")[0].split()[2:8]]
    assert found.max_stress_gpa == pytest.approx(max(map(abs, last)) / 10, abs=1e-4)
    assert found.arrays["stress_gpa"][0][0] == pytest.approx(-last[0] / 10, abs=1e-4)
    assert found.ionic_converged == (found.max_stress_gpa <= CARD.stress_tolerance_gpa)
    tight = CARD.model_copy(update={"stress_tolerance_gpa": 1e-3})
    assert outcome(asked, "si-relax", "relax_cell", tight).ionic_converged is False


def test_other_settings_other_atoms_and_other_programs_are_refused(asked, tmp_path):
    folder, start, _ = asked["si-relax"]
    _, inputs = as_asked(folder, ENCUT=400.0, ISMEAR=1)
    found = outcome_of(folder, start, inputs, "relax", CARD)
    assert "ENCUT is 250.0, not 400.0" in found.error
    assert found.reason is Reason.FAILED
    assert not found.converged
    other = replace(inputs, structure=Structure(start.lattice, ["Si", "Ge"], start.frac_coords))
    with pytest.raises(EngineError, match="other atoms"):
        outcome_of(folder, start, other, "relax", CARD)
    text = (folder / "vasprun.xml").read_text().replace('type="string">vasp </i>', 'type="string">pasv </i>', 1)
    (tmp_path / "vasprun.xml").write_text(text)
    with pytest.raises(EngineError, match="written by 'pasv', not by VASP"):
        outcome_of(tmp_path, start, inputs, "relax", CARD)


def test_a_run_that_ended_in_its_first_step_has_no_number(tmp_path, asked):
    unpacked("unfinished", tmp_path)
    with pytest.raises(EngineError, match=r"no complete ionic step .*ends too early, at line"):
        Reader(tmp_path).read()
    with pytest.raises(EngineError, match="no '"):
        Reader(tmp_path / "nothing").read()


def test_stars_are_no_numbers(asked, tmp_path):
    folder, start, inputs = asked["si-relax"]
    text = (folder / "vasprun.xml").read_text()
    at = text.rindex('<i name="e_fr_energy">')
    (tmp_path / "vasprun.xml").write_text(text[:at] + text[at:].replace("-10.61882724", "************", 1))
    (tmp_path / "OUTCAR").write_bytes((folder / "OUTCAR").read_bytes())
    found = outcome_of(tmp_path, start, inputs, "relax", CARD)
    assert found.energy_ev is None
    assert "not numbers" in found.error
    assert found.reason is Reason.EXPLODED


@pytest.mark.parametrize("file", ["vasprun.xml", "OUTCAR"])
@pytest.mark.parametrize("name", ["converged", "si-relax"])
def test_cut_off_anywhere_it_is_an_error_or_says_so(asked, tmp_path, name, file):
    folder = asked[name][0]
    whole = outcome(asked, name)
    known = [*whole.arrays["energies_ev"]]
    for other in ("vasprun.xml", "OUTCAR"):
        (tmp_path / other).write_bytes((folder / other).read_bytes())
    data = (folder / file).read_bytes()
    # nothing behind these places says anything of the result
    end = data.rindex(b"</modeling>") if file == "vasprun.xml" else data.rindex(b"General timing and accounting")
    chance, said = random.Random(name + file), []
    for place in sorted(chance.sample(range(end), 60)):
        (tmp_path / file).write_bytes(data[:place])
        try:
            found = outcome(asked, name, folder=tmp_path)
        except EngineError as error:
            said.append(str(error))
            continue
        assert not found.converged, place
        assert "too early" in found.error
        assert found.reason is Reason.DAMAGED
        assert any(abs(found.energy_ev - energy) < 1e-9 for energy in known), place
    assert not any("\n" in text for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["vasprun.xml", "OUTCAR"])
@pytest.mark.parametrize("name", [*ENERGIES, "unfinished"])
def test_cut_off_at_two_hundred_places(asked, tmp_path, name, file):
    source = asked.get(name, asked["converged"])
    unpacked(name, tmp_path)
    known = [] if name == "unfinished" else list(outcome(asked, name).arrays["energies_ev"])
    data = (tmp_path / file).read_bytes()
    mark = b"</modeling>" if file == "vasprun.xml" else b"General timing and accounting"
    end, said = data.rindex(mark) if mark in data else len(data), []
    for place in sorted(random.Random(name + file).sample(range(end), 200)):
        (tmp_path / file).write_bytes(data[:place])
        try:
            found = outcome_of(tmp_path, source[1], source[2], "relax", CARD)
        except EngineError as error:
            said.append(str(error))
            continue
        assert not found.converged
        assert any(abs(found.energy_ev - energy) < 1e-9 for energy in known), place
    assert not any("\n" in text for text in said)


@pytest.mark.parametrize(
    ("text", "number"),
    [("vasp.6.4.2", (6, 4, 2)), ("vasp.5.4.4.18Apr17-6-g9f103f2a35", (5, 4, 4)), ("6.3", (6, 3, 0)), (None, None)],
)
def test_versions(text, number):
    assert version_number(text) == number


def test_atoms_come_back_in_the_image_they_started_from():
    start = Structure(np.eye(3) * 10, ["Li", "Li"], [[-0.01, 0.5, 0.99], [1.02, 0.5, 0.01]])
    folded = np.mod(start.frac_coords + 0.02, 1.0)
    assert unwrapped(start, np.eye(3) * 10, folded) == pytest.approx((start.frac_coords + 0.02) * 10)


def test_stars_among_unused_parameters_do_not_make_a_finished_run_incomplete(tmp_path):
    text = (DATA / "odd-parameter" / "vasprun.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text)
    row = " ".join(["0.00000"] * 6)
    (tmp_path / "OUTCAR").write_text(
        f" vasp.5.4.1 made up\n POSITION      TOTAL-FORCE (eV/Angst)\n {'-' * 80}\n {row}\n 1.72 1.72 1.72 0 0 0\n"
        f" {'-' * 80}\n  energy  without entropy=      -3.80000000  energy(sigma->0) =      -3.80000000\n"
        " General timing and accounting informations for this job:\n"
    )
    start, inputs = as_asked(tmp_path)
    found = outcome_of(tmp_path, start, inputs, "static", CARD)
    assert found.converged, found.error
    assert found.energy_ev == pytest.approx(-3.8)
    assert any("KINTER is '******' in line 37" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("-10.61671452  energy(sigma->0) =      -10.61671452", "-10.61671452  energy(sigma->0) =      -10.71671452",
         "energy(sigma->0) of ionic step 2"),
        ("    1.35000      1.35000      1.35000  ", "    1.45000      1.35000      1.35000  ", "the positions of"),
        ("  in kB     -12.26905", "  in kB     -11.26905", "the stress of ionic step 2"),
    ],
)  # fmt: skip
def test_outcar_and_vasprun_must_agree_in_every_step(asked, tmp_path, old, new, words):
    folder = asked["si-relax"][0]
    (tmp_path / "vasprun.xml").write_bytes((folder / "vasprun.xml").read_bytes())
    text = (folder / "OUTCAR").read_text()
    (tmp_path / "OUTCAR").write_text(text.replace(old, new))
    assert old in text
    found = outcome(asked, "si-relax", folder=tmp_path)
    assert words in found.error
    assert found.reason is Reason.DAMAGED
    assert not found.converged


def test_an_energy_must_lie_between_those_with_and_without_entropy(tmp_path):
    unpacked("ionic-unconverged", tmp_path)
    reader = OutcarReader(tmp_path / "OUTCAR", 3)
    steps = reader.read()
    assert all(step.sound for step in steps)
    assert len(steps) == len(reader.energies_ev) == 5
    text = (tmp_path / "OUTCAR").read_text().replace("energy(sigma->0) =      -10.53701997", "energy(sigma->0) = -11.5")
    (tmp_path / "OUTCAR").write_text(text)
    assert [step.sound for step in OutcarReader(tmp_path / "OUTCAR", 3).read()] == [True] * 4 + [False]
