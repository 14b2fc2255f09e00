"""pw.x for real, at cutoffs far too small for results."""

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from factories import LI, lithium_chloride, ultrasoft_card
from jobflow import Flow
from needs import needs_proc
from pymatgen.core import Lattice, Structure
from ultrasoft import ultrasoft  # noqa: F401 - a fixture

from anodeflow.documents import CalculationDoc
from anodeflow.errors import EngineError
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.espresso import calculation as qe_run
from anodeflow.workflows.engines.espresso import folder as qe_folder
from anodeflow.workflows.engines.espresso.engine import QeEngine, core_seconds, pw_version
from anodeflow.workflows.engines.espresso.inputs import ScfOptions
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.local.runner import LocalRunner
from anodeflow.workflows.monitor import StopRequested
from anodeflow.workflows.store import open_job_store

LICL = lithium_chloride()
MOVED = lithium_chloride([0.53, 0.5, 0.5])


card = partial(ultrasoft_card, force_tolerance_ev_per_angstrom=0.02)


@pytest.fixture
def engine(ultrasoft, monkeypatch):  # noqa: F811
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(ultrasoft))
    return QeEngine()


def test_record(engine):
    record = engine.record(["Li", "Cl"])
    assert record.kind == "plane-wave DFT"
    assert record.version.startswith("Quantum ESPRESSO pw.x ")
    assert set(record.potentials) == {"Li", "Cl"}
    assert record.potentials["Li"].startswith("Li.us.UPF ")
    assert engine.preflight(card()) == []
    assert engine.missing(["Li", "Cl"], card()) == []
    assert engine.valence_electrons(["Li", "Cl"]) == {"Cl": 7, "Li": 3}


def test_release_of_a_program_that_says_nothing_is_unknown():
    assert pw_version((sys.executable, "-c", "pass")) == "unknown"


def test_relaxation_of_ions(engine, tmp_path):
    """Cl pulled off its site goes back to it; every step is told; a second call has nothing to do."""
    told = []
    outcome = engine.compute(Request(MOVED, "relax", card()), tmp_path, lambda *step: told.append(step))
    assert outcome.converged, outcome.error
    assert outcome.max_force_ev_per_angstrom <= 0.02
    between = outcome.structure.get_distance(0, 1)
    assert between == pytest.approx(2.574, abs=0.03)
    assert [t[0] for t in told] == list(range(outcome.ionic_steps + 1))
    energies = outcome.arrays["energies_ev"]
    np.testing.assert_allclose([t[1] for t in told], energies)
    assert energies[-1] < energies[0]
    assert outcome.energy_ev == energies[-1]
    again = QeEngine().compute(Request(outcome.structure, "static", card()), _made(tmp_path / "static"))
    assert again.energy_ev == pytest.approx(outcome.energy_ev, abs=1e-4)


def test_energy_of_the_ion_and_its_smearing(engine, tmp_path):
    """Li+ has two electrons in one level: no entropy, no moment."""
    outcome = engine.compute(Request(Structure(Lattice.cubic(6.5), ["Li"], [[0.5] * 3]), "static", card(), 1), tmp_path)
    assert outcome.converged, outcome.error
    assert "tot_charge = 1.0" in (tmp_path / "pw.in").read_text()
    assert outcome.max_force_ev_per_angstrom < 1e-3


def test_electrons_that_do_not_converge_are_tried_otherwise(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(qe_run, "LADDER", (ScfOptions(0.7, max_iterations=3), ScfOptions(0.3)))
    outcome = engine.compute(Request(LICL, "static", card()), tmp_path)
    assert outcome.converged, outcome.error
    assert any("mixing_beta 0.7" in w and "tried again with mixing_beta 0.3" in w for w in outcome.warnings)
    monkeypatch.setattr(qe_run, "LADDER", (ScfOptions(0.7, max_iterations=3), ScfOptions(0.3, max_iterations=2)))
    outcome = engine.compute(Request(LICL, "static", card()), _made(tmp_path / "never"))
    assert not outcome.converged
    assert outcome.electronic_converged is False
    assert outcome.energy_ev is None
    assert "did not converge" in outcome.error


@pytest.mark.slow
def test_step_limit(engine, tmp_path):
    outcome = engine.compute(Request(MOVED, "relax", card(max_steps=2)), tmp_path)
    assert not outcome.converged
    assert outcome.ionic_converged is False
    assert outcome.ionic_steps == 2
    assert "not relaxed after 2 steps" in outcome.error
    # what calculate() does next: the rest of the steps, from there
    rest = engine.compute(Request(outcome.structure, "relax", card(max_steps=60)), tmp_path)
    assert rest.converged, rest.error
    assert rest.structure.get_distance(0, 1) == pytest.approx(2.574, abs=0.03)


def test_a_stop_is_followed_and_resumed(engine, tmp_path):
    def stop(step, energy, force):
        if step == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        engine.compute(Request(MOVED, "relax", card()), tmp_path, stop)
    assert "Program stopped by user request" in (tmp_path / "pw.out").read_text()
    told = []
    outcome = engine.compute(Request(MOVED, "relax", card()), tmp_path, lambda *s: told.append(s[0]))
    assert outcome.converged, outcome.error
    assert told[0] in (3, 4)
    assert outcome.ionic_steps == told[-1]
    assert any("continued after" in w for w in outcome.warnings)
    assert outcome.structure.get_distance(0, 1) == pytest.approx(2.574, abs=0.03)


@pytest.mark.slow
@needs_proc
def test_a_killed_program_goes_on_to_the_same_energy(engine, tmp_path):
    whole = engine.compute(Request(MOVED, "relax", card()), _made(tmp_path / "whole"))

    def kill(step, energy, force):
        if step == 2:
            for pid in qe_folder.programs_in(tmp_path / "killed"):
                os.kill(pid, signal.SIGKILL)

    killed = engine.compute(Request(MOVED, "relax", card()), _made(tmp_path / "killed"), kill)
    assert not killed.converged
    assert "SIGKILL" in killed.error
    assert killed.energy_ev in killed.arrays["energies_ev"]
    outcome = engine.compute(Request(MOVED, "relax", card()), tmp_path / "killed")
    assert outcome.converged, outcome.error
    assert outcome.energy_ev == pytest.approx(whole.energy_ev, abs=1e-3)
    assert outcome.ionic_steps >= killed.ionic_steps


@pytest.mark.slow
@needs_proc
def test_a_program_left_by_a_killed_parent_is_stopped(engine, tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_qe as t\n"
        "t.QeEngine().compute(t.Request(t.MOVED, 'relax', t.card()), Path(sys.argv[2]), lambda *s: print(s, flush=1))"
    )
    here = str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", script, here, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{Path(here).parent}"},
    )
    assert child.stdout.readline().startswith(b"(0,")
    child.kill()
    child.wait()
    outcome = engine.compute(Request(MOVED, "relax", card()), tmp_path)
    assert not qe_folder.programs_in(tmp_path)
    assert outcome.converged, outcome.error
    assert outcome.structure.get_distance(0, 1) == pytest.approx(2.574, abs=0.03)


@pytest.mark.slow
def test_wall_time(engine, tmp_path, monkeypatch):
    """pw.x stops by itself; what it reached is marked as no result, and a later call goes on."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("qe: {wall_time_s: 20.5}\n")
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(settings))
    outcome = engine.compute(Request(MOVED, "relax", card(force_tolerance_ev_per_angstrom=1e-4)), _made(tmp_path / "x"))
    assert not outcome.converged
    assert "wall time" in outcome.error
    monkeypatch.delenv("ANODEFLOW_SETTINGS")
    outcome = engine.compute(Request(MOVED, "relax", card()), tmp_path / "x")
    assert outcome.converged, outcome.error


def test_an_absurd_pseudopotential_is_the_words_of_pw(engine, tmp_path, monkeypatch):
    broken = _made(tmp_path / "broken")
    text = (Path(os.environ["ANODEFLOW_QE_POTENTIALS"]) / "Li.us.UPF").read_text()
    at = text.index("<PP_MESH")
    (broken / "Li.UPF").write_text(text[:at] + "</UPF>\n")
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(broken))
    outcome, message = None, ""
    try:
        outcome = engine.compute(Request(LI, "static", card()), _made(tmp_path / "run"))
    except EngineError as error:
        message = str(error)
    assert "pw.out:" in (message or outcome.error)


def test_core_seconds_grow_with_the_cell():
    small = core_seconds(LICL, card(), {})
    large = core_seconds(LICL * (2, 2, 2), card(), {})
    assert 0 < small < large < 600 * small


@pytest.mark.slow
def test_relaxation_of_a_cell_ends_with_the_basis_of_that_cell(engine, tmp_path):
    method = card(cutoff_ev=500, kpoints={"mesh": (4, 4, 4)}, smearing={"kind": "methfessel-paxton", "width_ev": 0.2})
    outcome = engine.compute(Request(LI, "relax_cell", method), tmp_path)
    assert outcome.converged, outcome.error
    assert outcome.max_stress_gpa <= 0.3
    edge = outcome.structure.volume * 2
    assert edge ** (1 / 3) == pytest.approx(3.44, abs=0.05)
    static = engine.compute(Request(outcome.structure, "static", method), _made(tmp_path / "static"))
    assert static.energy_ev == pytest.approx(outcome.energy_ev, abs=1e-3)


@pytest.mark.slow
def test_relaxation_of_the_height_keeps_a_and_b(engine, tmp_path):
    start = Structure(Lattice.tetragonal(3.60, 5.3), ["Li", "Cl"] * 2, [[0] * 3, [0.5, 0.5, 0], [0.5] * 3, [0, 0, 0.5]])
    outcome = engine.compute(Request(start, "relax_c", card(stress_tolerance_gpa=1.0)), tmp_path)
    assert outcome.converged, outcome.error
    np.testing.assert_allclose(outcome.structure.lattice.matrix[:2], start.lattice.matrix[:2], atol=1e-7)
    assert abs(outcome.structure.lattice.matrix[2, 2] - 5.3) > 1e-3
    assert outcome.max_stress_gpa <= 1.0


class _Nobody:
    def running(self, label):
        pass

    def step(self, label, step, energy_ev, max_force):
        pass

    def done(self, label, reused):
        pass

    def failed(self, label, reason):
        pass


@pytest.mark.slow
def test_the_whole_chain(engine, tmp_path, monkeypatch):
    """A job, a worker process, pw.x, a document in the store; the second time nothing is computed."""
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "store.sql"
    maker = CalculationMaker(task="relax", card=card().model_dump(mode="json"), engine="qe")
    for again in (False, True):
        flow = Flow([maker.make(MOVED, "LiCl/moved", "LiCl")])
        with open_job_store(path) as store:
            report = LocalRunner(flow, store, path, 1, 1, _Nobody()).run()
            assert report.failed == {}
            assert (report.computed, report.reused) == ((0, 1) if again else (1, 0))
            document = CalculationDoc.model_validate(
                store.query_one({"output.label": "LiCl/moved"}, load=True)["output"]
            )
    assert document.converged
    assert document.engine.potentials["Cl"].startswith("Cl.us.UPF ")
    assert np.shape(document.arrays["forces_ev_per_angstrom"]) == (2, 3)
    assert (Path(document.directory) / "pw.out").is_file()


def _made(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
