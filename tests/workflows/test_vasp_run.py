"""VASP under custodian, played by a stand-in: steps, rounds, restarts, stops and faults."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from needs import needs_linux
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Reason, Request
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.engines.vasp import process

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from vasp_setup import STAND_IN, environment, use_stand_in

CARD = load_card("lacss2024-bulk").varied("test", kpoints={"mesh": (2, 2, 2)}, relax_cell=False)


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    use_stand_in(monkeypatch, tmp_path)


@pytest.fixture
def fault(monkeypatch):
    def set_it(text, **more):
        monkeypatch.setenv("VASP_STAND_IN_FAULT", text)
        for key, value in more.items():
            monkeypatch.setenv(f"VASP_STAND_IN_{key.upper()}", str(value))

    return set_it


def salt(shift=0.02):
    """LiCl with its species mixed and one atom out of place."""
    a = 5.148
    sites = [("Li", 0, 0, 0), ("Cl", 0.5, 0, 0), ("Li", 0, 0.5, 0.5), ("Cl", 0, 0.5, 0), ("Cl", 0, 0, 0.5),
             ("Li", 0.5, 0, 0.5), ("Cl", 0.5, 0.5, 0.5), ("Li", 0.5, 0.5, 0)]  # fmt: skip
    made = Structure(Lattice.cubic(a), [s[0] for s in sites], [s[1:] for s in sites])
    return made.translate_sites([2], [shift, 0, 0])


def compute(structure, task, folder, card=CARD, monitor=None, charge=0):
    return get_engine("vasp").compute(Request(structure, task, card, charge), folder, monitor)


def by_hand(structure):
    """The stand-in's energy and forces of a structure, atoms in its own order."""
    from vasp_stand_in import morse

    symbols = [s.specie.symbol for s in structure]
    return morse(symbols, structure.frac_coords, structure.lattice.matrix)


def test_a_static_calculation_of_mixed_species(tmp_path):
    start = salt()
    found = compute(start, "static", tmp_path / "a")
    energy, forces, stress = by_hand(start)
    assert found.converged
    assert found.energy_ev == pytest.approx(energy, abs=1e-7)
    assert found.arrays["forces_ev_per_angstrom"] == pytest.approx(forces, abs=1e-6)
    assert found.arrays["stress_gpa"] == pytest.approx(stress * 160.21766208, abs=1e-4)
    assert [s.specie for s in found.structure] == [s.specie for s in start]
    assert found.structure.cart_coords == pytest.approx(start.cart_coords, abs=1e-6)
    assert found.ionic_steps == 0
    assert found.ionic_converged is None


def test_a_relaxation_tells_every_step_and_meets_the_tolerance(tmp_path):
    told = []
    found = compute(salt(), "relax", tmp_path / "a", monitor=lambda *step: told.append(step))
    assert found.converged, found.error
    assert found.max_force_ev_per_angstrom <= CARD.force_tolerance_ev_per_angstrom
    steps = {step: (energy, force) for step, energy, force in told}
    assert sorted(steps) == list(range(found.ionic_steps))
    assert steps[found.ionic_steps - 1][0] == pytest.approx(found.energy_ev, abs=1e-6)
    assert steps[found.ionic_steps - 1][1] == pytest.approx(found.max_force_ev_per_angstrom, abs=1e-4)
    assert np.linalg.norm(by_hand(found.structure)[1], axis=1).max() <= 0.01
    assert found.structure.lattice.matrix == pytest.approx(salt().lattice.matrix)


def test_a_cell_is_started_again_until_it_stays(tmp_path):
    found = compute(salt(0.0).scale_lattice(5.3**3), "relax_cell", tmp_path / "a")
    assert found.converged, found.error
    assert found.structure.lattice.a == pytest.approx(5.148, abs=0.005)
    assert found.max_stress_gpa <= 0.05
    rounds = [p for p in (tmp_path / "a").iterdir() if p.name.startswith("attempt-")]
    assert rounds
    last = (tmp_path / "a" / "OSZICAR").read_text()
    assert last.count("F=") == 1  # the last round began where it ended
    assert found.ionic_steps == sum((p / "OSZICAR").read_text().count("F=") for p in rounds) + 1


def test_a_cell_within_vasps_criterion_but_not_within_the_cards_goes_on(tmp_path):
    from anodeflow.structures.catalogue import load_crystal

    metal = CARD.varied("loose", force_tolerance_ev_per_angstrom=0.03, stress_tolerance_gpa=0.02)
    found = compute(load_crystal("Al").scale_lattice(4.047**3), "relax_cell", tmp_path / "a", metal)
    assert float((tmp_path / "a" / "INCAR").read_text().split("EDIFFG = ")[1].split()[0]) > -0.02
    assert found.converged, found.error
    assert found.max_stress_gpa <= 0.02


def test_only_the_height_changes(tmp_path):
    start = salt(0.0)
    start.scale_lattice(5.0**3)
    found = compute(start, "relax_c", tmp_path / "a")
    assert found.converged, found.error
    assert found.structure.lattice.matrix[:2] == pytest.approx(start.lattice.matrix[:2], abs=1e-6)
    assert found.structure.lattice.c > 5.1
    assert abs(by_hand(found.structure)[2][2, 2]) * 160.2 <= 0.05


def test_an_old_vasp_is_stopped_before_it_relaxes_the_whole_cell(tmp_path, fault):
    fault("", version="6.3.2", delay=0.5)
    start = salt(0.0)
    start.scale_lattice(5.0**3)
    with pytest.raises(EngineError, match=r"vasp\.6\.3\.2 ignores LATTICE_CONSTRAINTS"):
        compute(start, "relax_c", tmp_path / "a")


def test_frozen_atoms_stay_and_do_not_count(tmp_path):
    start = salt()
    start.add_site_property("selective_dynamics", [[i not in (0, 2)] * 3 for i in range(8)])
    found = compute(start, "relax", tmp_path / "a")
    assert found.converged, found.error
    assert found.structure[2].coords == pytest.approx(start[2].coords, abs=1e-7)
    forces = np.linalg.norm(found.arrays["forces_ev_per_angstrom"], axis=1)
    assert forces[2] > 0.02 > 0.01 >= found.max_force_ev_per_angstrom


def test_steps_end_at_the_limit_and_go_on_later(tmp_path):
    short = CARD.model_copy(update={"max_steps": 3})
    found = compute(salt(), "relax", tmp_path / "a", short)
    assert found.ionic_steps == 3
    assert not found.converged
    assert "not relaxed after 3 steps" in found.error
    assert found.reason is Reason.NOT_RELAXED
    again = compute(salt(), "relax", tmp_path / "a", short)  # nothing is left to do
    assert again.ionic_steps == 3
    assert again.energy_ev == found.energy_ev
    more = compute(salt(), "relax", tmp_path / "a")
    assert more.converged
    assert more.energy_ev < found.energy_ev
    assert more.ionic_steps > 3


def test_a_killed_run_goes_on_from_where_it_was(tmp_path, fault, monkeypatch):
    fault("kill@4")
    dead = compute(salt(), "relax", tmp_path / "a")
    assert not dead.converged
    assert dead.error
    assert dead.reason is Reason.FAILED
    monkeypatch.delenv("VASP_STAND_IN_FAULT")
    found = compute(salt(), "relax", tmp_path / "a")
    assert found.converged, found.error
    whole = compute(salt(), "relax", tmp_path / "b")
    assert found.energy_ev == pytest.approx(whole.energy_ev, abs=1e-3)
    steps = [(p / "OSZICAR").read_text().count("F=") for p in (tmp_path / "a").glob("attempt-*")]
    assert found.ionic_steps == sum(steps) + (tmp_path / "a" / "OSZICAR").read_text().count("F=")
    assert sum(steps) >= 4
    assert "runs of VASP" in " ".join(found.warnings)


def test_a_finished_folder_is_read_not_run(tmp_path, fault):
    found = compute(salt(), "relax", tmp_path / "a")
    fault("licence")
    again = compute(salt(), "relax", tmp_path / "a")
    assert (again.energy_ev, again.ionic_steps) == (found.energy_ev, found.ionic_steps)
    with pytest.raises(EngineError, match="licence"):  # another geometry is another calculation
        compute(salt(0.03), "relax", tmp_path / "a")


def test_a_stop_is_followed_within_a_step(tmp_path, fault):
    fault("", delay=0.6)

    class Stop(Exception):  # noqa: N818
        pass

    def monitor(step, energy, force):
        if step == 1:
            raise Stop

    with pytest.raises(Stop):
        compute(salt(), "relax", tmp_path / "a", monitor=monitor)
    text = (tmp_path / "a" / "OUTCAR").read_text()
    assert "soft stop encountered" in text
    assert 2 <= (tmp_path / "a" / "OSZICAR").read_text().count("F=") <= 4
    fault("", delay=0)
    assert compute(salt(), "relax", tmp_path / "a").converged


@pytest.mark.parametrize("why", [Reason.OUT_OF_TIME, Reason.STOPPED])
def test_a_batch_job_that_is_nearly_over_and_a_stop_by_hand_are_told_apart(tmp_path, fault, monkeypatch, why):
    fault("", delay=0.3)
    monkeypatch.setattr(process, "_HANDLERS_EVERY_S", 0.25)
    # custodian stops VASP 300 s before the end
    limit = {"wall_time_s": 301} if why is Reason.OUT_OF_TIME else {}
    for name, value in environment(tmp_path, **limit).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUSTODIAN_WALLTIME_START", raising=False)
    folder = tmp_path / "a"

    def monitor(step, energy, force):
        if why is Reason.STOPPED and step == 1:
            (folder / "STOPCAR").write_text("LSTOP = .TRUE.\n")

    found = compute(salt(), "relax", folder, monitor=monitor)
    assert "stopped after" in found.error
    assert found.reason is why
    fault("", delay=0)
    assert compute(salt(), "relax", folder, CARD).ionic_steps > found.ionic_steps


def test_a_licence_error_names_file_and_line(tmp_path, fault):
    fault("licence")
    with pytest.raises(EngineError, match=r"std_err\.txt:1: VASP licence: no licence file") as caught:
        compute(salt(), "static", tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_missing_program(tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_VASP_COMMAND", "no-such-vasp --fast")
    with pytest.raises(EngineError, match="'no-such-vasp' is not on PATH"):
        compute(salt(), "static", tmp_path / "a")


def test_a_crash_in_a_later_step_is_flagged_with_its_reason(tmp_path, fault):
    fault("crash@3")
    found = compute(salt(), "relax", tmp_path / "a")
    assert not found.converged
    assert found.ionic_steps == 2
    assert "ends too early" in found.error
    assert "std_err.txt:1: forrtl" in found.error
    assert found.reason is Reason.FAILED


def test_a_crash_in_the_first_step_gives_no_number(tmp_path, fault):
    fault("crash@1")
    found = compute(salt(), "relax", tmp_path / "a")
    assert found.energy_ev is None
    assert "before the first ionic step" in found.error
    assert found.reason is Reason.FAILED


def test_stars_give_no_number(tmp_path, fault):
    fault("nan@1")
    found = compute(salt(), "static", tmp_path / "a")
    assert found.energy_ev is None
    assert not found.converged
    assert "not numbers" in found.error
    assert found.reason is Reason.EXPLODED


def test_electrons_that_never_converge(tmp_path, fault):
    fault("nelm")
    found = compute(salt(), "static", tmp_path / "a")
    assert found.electronic_converged is False
    assert not found.converged
    assert "the electrons did not converge" in found.error
    assert found.reason is Reason.ELECTRONS


@pytest.mark.parametrize("once", ["nelm@once", "zbrent@once"])
def test_custodian_mends_what_it_can_and_it_is_written_down(tmp_path, fault, once):
    fault(once)
    found = compute(salt(), "relax", tmp_path / "a")
    assert found.converged, found.error
    assert any(w.startswith("custodian: ") for w in found.warnings)
    whole = compute(salt(), "relax", tmp_path / "b")
    assert found.energy_ev == pytest.approx(whole.energy_ev, abs=1e-3)


def test_a_stand_in_is_not_taken_for_vasp(tmp_path, monkeypatch):
    for name, value in environment(tmp_path, stand_in=False).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match="written by 'vasp-stand-in', not by VASP"):
        compute(salt(), "static", tmp_path / "a")
    monkeypatch.setenv("VASP_STAND_IN_PROGRAM", "vasp")
    assert compute(salt(), "static", tmp_path / "b").converged


def test_the_gamma_version_runs_where_one_point_is_enough(tmp_path, monkeypatch):
    marked = tmp_path / "gamma.py"
    marked.write_text(
        f"#!{sys.executable}\nopen('gamma', 'w')\nexec(compile(open({str(STAND_IN)!r}).read(), 'x', 'exec'))\n"
    )
    marked.chmod(0o755)
    for name, value in environment(tmp_path, gamma_command=[str(marked)]).items():
        monkeypatch.setenv(name, value)
    one = CARD.varied("gamma", kpoints={"mesh": (1, 1, 1)})
    assert compute(salt(), "static", tmp_path / "a", one).converged
    assert (tmp_path / "a" / "gamma").exists()
    assert compute(salt(), "static", tmp_path / "b").converged
    assert not (tmp_path / "b" / "gamma").exists()


@pytest.mark.slow
@needs_linux
def test_vasp_ends_with_the_process_that_started_it(tmp_path, fault):
    fault("hang@2")
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "import test_vasp_run as t\n"
        "t.compute(t.salt(), 'relax', Path(sys.argv[1]))"
    )
    here = Path(__file__).parent
    folders = [str(here), str(here.parent), str(STAND_IN.parent)]
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a"), *folders])
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "CONTCAR").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True, text=True, check=False)
    children = [int(pid) for pid in found.stdout.split()]
    assert children
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while any(os.path.exists(f"/proc/{pid}") for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
