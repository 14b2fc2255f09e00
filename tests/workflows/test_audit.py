"""Audits of potentials: a sound toy passes, a planted hole is caught, and its dynamics are refused."""

import json
import re

import numpy as np
import pytest
from factories import one_line, write_yaml
from toy_pairs import Pairs

from anodeflow.analysis.audits import AuditDoc, AuditNumber, PhaseAudit, judge_phase, pair_scan
from anodeflow.analysis.interface_documents import InterfaceEnergyDoc
from anodeflow.cli.output.audits import print_audit, print_both
from anodeflow.cli.results import rows_of
from anodeflow.documents import CalculationDoc
from anodeflow.errors import EngineError
from anodeflow.files import json_sha256
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Outcome, Request
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.audit import AuditSettings, audit_key, audited, keep_audit, refuse_failed, stored_audit
from anodeflow.workflows.jobs.audit_interfaces import asked_interfaces, known_interfaces
from anodeflow.workflows.jobs.audit_numbers import audit_numbers
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import read_archive


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
    # a shorter audit that finds nothing does not clear it
    shorter = {"fingerprint": "0" * 32, "problems": [], "engine": audits[1].engine}
    keep_audit(store, audits[0].model_copy(update=shorter))
    with pytest.raises(EngineError, match="failed its audit: Al-Al in vacuum"):
        refuse_failed(store, [models[1]])
    store.docs_store.remove_docs({"uuid": "0" * 32})
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


def test_numbers_are_those_of_the_surface(models):
    engine, card = (
        get_engine(models[0]),
        load_card("embedded").model_copy(update={"force_tolerance_ev_per_angstrom": 1e-3}),
    )
    relaxed = engine.compute(Request(load_crystal("Al"), "relax_cell", card))
    numbers = {(n.quantity, n.of): n for n in audit_numbers(engine, card, {"Al": relaxed}, lambda: None)}
    assert set(numbers) == {("surface energy", "Al(111)"), ("bulk modulus", "Al"), ("shear modulus", "Al")}
    # energies of compressed and expanded crystals say the same of the bulk modulus
    energies, volumes = [], relaxed.structure.volume * np.array([0.99, 1.0, 1.01])
    for volume in volumes:
        cell = relaxed.structure.copy()
        cell.scale_lattice(volume)
        energies.append(engine.compute(Request(cell, "static", card)).energy_ev)
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / (volumes[1] - volumes[0]) ** 2
    assert numbers["bulk modulus", "Al"].value == pytest.approx(160.2177 * volumes[1] * curvature, rel=0.03)
    assert 0.1 < numbers["surface energy", "Al(111)"].value < 3
    # in an audit a number that cannot be had is a problem, and two audits are one table
    broken = [n.error for n in audit_numbers(get_engine(models[2]), card, {"Al": relaxed}, lambda: None)]
    assert all("no such element" in error for error in broken)


def test_an_audit_without_numbers_keeps_its_key(models):
    record = get_engine(models[0]).record()
    before = AuditSettings().model_dump(mode="json", exclude={"minutes", "numbers", "interfaces"})
    assert audit_key(record, AuditSettings()) == json_sha256(["audit", record.hash, before])[:32]
    assert audit_key(record, AuditSettings(numbers=True)) != audit_key(record, AuditSettings())


class TheArchive:
    """An engine that gives the energies of an archive."""

    def __init__(self, file):
        jobs = [job.doc for job in read_archive(file)[1]]
        self.energies = [(d.structure, d.energy_ev) for d in jobs if isinstance(d, CalculationDoc)]
        self.result = next(d for d in jobs if isinstance(d, InterfaceEnergyDoc))

    def compute(self, request):
        energy = next(energy for structure, energy in self.energies if structure is request.structure)
        return Outcome(request.structure, energy, True, True)

    def crystal(self, name, per_unit):
        cell = load_crystal(name)
        units = len(cell) / cell.composition.reduced_composition.num_atoms
        return Outcome(cell, units * per_unit, True, True)


def test_interfaces_of_an_archive_are_asked_and_known(examples, models):
    file = examples / "dft" / "results" / "interface.zip"
    known = known_interfaces([file])
    of = "Li/LiCl, Li over"
    assert [k.name for k in known] == [
        f"{of} Cl, 5 on 3 planes, by gpaw", f"{of} Cl, 5 on 5 planes, by gpaw",
        f"{of} hollow of 4 (Cl, Li), 5 on 5 planes, by gpaw", f"{of} Li, 5 on 5 planes, by gpaw",
        f"{of} Cl, 5 on 7 planes, by gpaw",
    ]  # fmt: skip
    archive = TheArchive(file)
    archive.energies = [(k.structure, e) for k in known for s, e in archive.energies if s == k.structure]
    crystals = {
        "Li": archive.crystal("Li", archive.result.film_bulk_ev_per_unit),
        "LiCl": archive.crystal("LiCl", archive.result.substrate_bulk_ev_per_unit),
    }
    # the engine of the archive gives what the archive knows
    asked = list(asked_interfaces(known, archive, load_card("embedded"), crystals))
    assert [compute() for *_, compute in asked] == pytest.approx([known for *_, known, _ in asked], abs=1e-3)
    assert list(asked_interfaces(known, archive, load_card("embedded"), {"Li": crystals["Li"]})) == []
    record = get_engine(models[0]).record()
    numbers, both = AuditSettings(numbers=True), AuditSettings(numbers=True, interfaces=("a",))
    assert audit_key(record, numbers) != audit_key(record, both)


def test_an_archive_without_interfaces_is_refused(examples, command):
    file = examples / "dft" / "results" / "surfaces.zip"
    status, _, err = command("audit", "sevennet-0", "--numbers", "--interfaces", file)
    assert (status, "holds no interface energy with electrons" in one_line(err)) == (2, True)
    status, _, err = command("audit", "sevennet-0", "--interfaces", file)
    assert (status, "add --numbers" in one_line(err)) == (2, True)


def test_an_interface_whose_crystal_is_not_audited_is_refused(examples, models, command, tmp_path):
    file = examples / "dft" / "results" / "interface.zip"
    options = ("--numbers", "--interfaces", file, "--phases", "Li,Al", "--store", tmp_path / "s.sqlite")
    status, _, err = command("audit", models[0], *options)
    assert (status, "counts from LiCl, which is not among the phases Li, Al" in one_line(err)) == (2, True)
    assert not (tmp_path / "s.sqlite").exists()


def test_two_audits_are_one_table(audits, capsys):
    sound, holey = (document.model_copy(deep=True) for document in audits)
    for document, value in ((sound, 1.0), (holey, 2.0)):
        document.numbers = [AuditNumber(quantity="surface energy", of="Al(111)", unit="J/m²", value=value, known=1.5)]
    print_both(sound, holey)
    printed = capsys.readouterr().out
    assert re.search(r"surface energy \(J/m²\)\s+Al\(111\)\s+1.000\s+2.000\s+1.500", printed)
    assert re.search(r"within reach\s+all pairs\s+0\s+2\s+0", printed)
    # the models of this file say of no functional
    assert printed.count("does not say of which functional") == 2
    for document, functional in ((sound, "PBE"), (holey, "r2SCAN")):
        document.engine = document.engine.model_copy(update={"functional": functional})
    print_both(sound, holey)
    printed = capsys.readouterr().out
    assert printed.count("of r2SCAN, known values of PBE") == 1
    assert "of PBE, known" not in printed


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
        (("chgnet", "--temperature", "0"), "--temperature: input should be greater"),
        (("chgnet", "--phases", ", "), "--phases ', ' names no crystal"),
    ],
)
def test_what_cannot_be_audited_is_one_line(arguments, message, command, tmp_path):
    pytest.importorskip("chgnet")
    status, _, err = command("audit", *arguments, "--store", tmp_path / "s.sqlite")
    assert status != 0
    assert message in one_line(err)
    assert not (tmp_path / "s.sqlite").exists()
