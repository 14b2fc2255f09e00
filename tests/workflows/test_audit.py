"""Audits of potentials: a sound toy passes, a planted hole is caught, and its dynamics are refused."""

import json
import re

import pytest
from factories import one_line, write_yaml
from toy_pairs import Pairs

from anodeflow.analysis.audits import AuditDoc, PhaseAudit, judge_phase, pair_scan
from anodeflow.cli.output.audits import print_audit
from anodeflow.cli.results import rows_of
from anodeflow.errors import EngineError
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.jobs.audit import AuditSettings, audited, keep_audit, refuse_failed, stored_audit
from anodeflow.workflows.store import open_job_store


class WithHole(Pairs):
    hole_ev = 30.0


class Broken(Pairs):
    def calculate(self, *arguments, **options):
        raise RuntimeError("no such element")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Names of engines: sound, with a hole, broken."""
    folder, patch = tmp_path_factory.mktemp("audit"), pytest.MonkeyPatch()
    patch.setenv("ANODEFLOW_DEVICE", "cpu")
    names = []
    for name, calculator in (("sound", Pairs), ("holey", WithHole), ("broken", Broken)):
        (folder / name).write_text(name)
        kind = potentials.Potential("ase", None, lambda path, device, c=calculator: c(), 1e-6, "test")
        patch.setitem(potentials.POTENTIALS, name, kind)
        names.append(f"{name}:{folder}/{name}")
    yield names
    patch.undo()


SETTINGS = AuditSettings(phases=("Al",), picoseconds=0.1, temperature_k=300)


@pytest.fixture(scope="module")
def audits(models):
    return [audited(name, SETTINGS) for name in models[:2]]


def test_a_sound_potential_passes(audits):
    sound, _ = audits
    assert sound.problems == []
    (phase,) = sound.phases
    assert abs(phase.volume_change_percent) < 10
    assert phase.lowest_displaced_ev_per_atom > 0
    assert abs(phase.drift_ev_per_atom_ps) < 2e-3
    assert phase.dynamics_ps == pytest.approx(0.1)
    assert phase.closest > 0.9
    assert [scan.place for scan in sound.scans] == ["in vacuum", "in Al"]
    assert all(scan.r_angstrom[-1] == 1.0 and scan.hole_angstrom is None for scan in sound.scans)


def test_a_planted_hole_is_caught(audits):
    _, holey = audits
    assert not holey.passed
    by_place = {scan.place: scan for scan in holey.scans}
    for place in ("in vacuum", "in Al"):
        assert by_place[place].reachable
        assert 1.75 < by_place[place].hole_angstrom < 1.75 + 4 * 0.2
    assert "Al-Al in vacuum: a hole below" in holey.verdict


def test_dynamics_refuse_a_model_that_failed(models, audits, tmp_path, command, capsys):
    store = open_job_store(tmp_path / "s.sqlite")
    refuse_failed(store, models)  # nothing is known yet
    for document in audits:
        keep_audit(store, document)
    assert stored_audit(store, audits[1].fingerprint) == audits[1]
    refuse_failed(store, [models[0], "chgnet"])
    with pytest.raises(EngineError, match="failed its audit: Al-Al in vacuum") as caught:
        refuse_failed(store, [models[1]])
    assert "--force" in str(caught.value)
    study = write_yaml(tmp_path, {
        "study": "molecular-dynamics", "engine": models[1], "systems": [{"crystal": "Al"}], "duration_ps": 0.02,
        "segment_ps": 0.02,
    })  # fmt: skip
    status, _, err = command("run", study, "--store", tmp_path / "s.sqlite")
    assert status != 0
    assert "failed its audit" in one_line(err)
    # a second audit is the first
    options = ("--phases", "Al", "--picoseconds", "0.1", "--temperature", "300", "--store", tmp_path / "s.sqlite")
    status, out, err = command("audit", models[1], *options, "--json")
    assert status == 4
    assert err == ""
    assert json.loads(out)["passed"] is False
    rows = rows_of(store, "audits")
    assert [row["passed"] for row in rows] in ([False, True], [True, False])
    print_audit(audits[1])
    assert "FAILED" in capsys.readouterr().out


def test_it_ends_in_time_and_says_what_is_left(models):
    document = audited(models[0], SETTINGS.model_copy(update={"minutes": 1e-6}))
    assert not document.passed
    assert not document.problems
    assert document.unfinished[0] == "pairs in vacuum: out of time"
    assert "but unfinished" in document.verdict
    assert AuditDoc.model_validate(document.model_dump(mode="json")) == document


def test_what_breaks_is_a_problem_of_its_phase(models):
    document = audited(models[2], SETTINGS)
    assert "no such element" in document.verdict
    assert [len(phase.problems) for phase in document.phases] == [1]


def test_a_hole_out_of_reach_is_a_remark():
    r = [3.0, 2.5, 2.0, 1.5, 1.0]
    assert pair_scan("A-B", "x", r, [0.1, 0, 3, 30, 40], 2.2).hole_angstrom is None
    far = pair_scan("A-B", "x", r, [0.1, 0, 3, 30, 10], 2.2)
    assert (far.hole_angstrom, far.barrier_ev, far.reachable) == (1.0, 30, False)
    assert pair_scan("A-B", "x", r, [0.1, 0, 3, 2, 10], 2.2).reachable


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("volume_change_percent", -12.0, "volume -12.0 %"),
        ("lowest_displaced_ev_per_atom", -0.2, "0.200 eV/atom below"),
        ("drift_ev_per_atom_ps", 0.01, r"drifts by \+10.0 meV"),
        ("closest", 0.4, "as near as 0.40"),
        ("temperature_k", 5000.0, "5000 K where 600 K"),
    ],
)
def test_each_number_is_judged(field, value, problem):
    phase = PhaseAudit(crystal="Al", atoms=4, **{field: value})
    judge_phase(phase, 600.0)
    assert len(phase.problems) == 1
    assert re.search(problem, phase.problems[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpaw",), "has electrons"),
        (("nothing",), "unknown engine"),
        (("chgnet", "--phases", "Unobtainium"), "Unobtainium"),
        (("chgnet", "--picoseconds", "-1"), "--picoseconds: input should be greater"),
        (("chgnet", "--minutes", "0"), "--minutes"),
    ],
)
def test_what_cannot_be_audited_is_one_line(arguments, message, command, tmp_path):
    pytest.importorskip("chgnet")
    status, _, err = command("audit", *arguments, "--store", tmp_path / "s.sqlite")
    assert status != 0
    assert message in one_line(err)
