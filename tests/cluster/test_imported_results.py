"""What was imported stays marked, and another study uses it only when it is asked to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from archives import summary
from factories import STUDY_HASH, finished_job
from pretended import TINY, submit

from anodeflow.cli.results import rows_of
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.store import imported_by_study, open_job_store
from anodeflow.workflows.store.archive import export_study, import_study
from anodeflow.workflows.store.moving import move_study

OTHER = "fedcba9876543210"
CRYSTALS = Path(__file__).parents[2] / "examples" / "dft" / "results" / "crystals.zip"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Make a job of a study that computes a crystal of springs."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "workflows"))
    from springs import Springs, crystal

    from anodeflow.workflows.engines.potentials import models as potentials

    sys.path.pop(0)
    model = tmp_path / "model"
    model.write_text("springs")
    kind = potentials.Potential("ase", None, lambda path, device: Springs(), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    card = load_card("embedded").model_dump(mode="json")

    def of_study(study_hash):
        job = CalculationMaker(task="static", card=card, engine=f"springs:{model}").make(crystal(), "Al/crystal")
        job.update_metadata({"study_hash": study_hash, "study": "test"})
        return job

    return of_study


@pytest.fixture
def archive(asked, tmp_path):
    store = open_job_store(tmp_path / "a.sqlite")
    done = asked(STUDY_HASH).run(store).output
    last = finished_job(9, "summary", summary(engine=done.engine, card=done.card, crystals=[]))
    store.docs_store.update([last], ["uuid", "index"])
    export_study(store, STUDY_HASH, tmp_path / "study.zip")
    return tmp_path / "study.zip"


def test_another_study_uses_it_only_if_asked(archive, asked, tmp_path, monkeypatch):
    store = open_job_store(tmp_path / "b.sqlite")
    import_study(archive, store)
    assert recognised_of(asked(STUDY_HASH)).is_finished(store)
    assert not recognised_of(asked(OTHER)).is_finished(store)
    monkeypatch.setenv("ANODEFLOW_TRUST_IMPORTED", "true")
    assert recognised_of(asked(OTHER)).is_finished(store)


def test_the_mark_stays_whoever_uses_it(archive, asked, tmp_path, monkeypatch):
    store = open_job_store(tmp_path / "b.sqlite")
    import_study(archive, store)
    mark = imported_by_study(store)[STUDY_HASH][0]
    assert len(mark["archive_sha256"]) == 64
    asked(STUDY_HASH).run(store)  # hands out the imported document, and stores it under a new job
    monkeypatch.setenv("ANODEFLOW_TRUST_IMPORTED", "true")
    asked(OTHER).run(store)
    monkeypatch.delenv("ANODEFLOW_TRUST_IMPORTED")
    jobs = list(store.query({"output.doc_type": "CalculationDoc"}))
    assert len(jobs) == 3
    assert all(job["metadata"]["imported"]["archive_sha256"] == mark["archive_sha256"] for job in jobs)
    assert {row["imported"] for row in rows_of(store, "calculations")} == {mark["archive_sha256"][:12]}


def test_what_is_computed_here_is_not_marked(archive, asked, tmp_path):
    store = open_job_store(tmp_path / "b.sqlite")
    import_study(archive, store)
    asked(OTHER).run(store)
    found = store.query_one({"metadata.study_hash": OTHER})
    assert "imported" not in found["metadata"]
    assert recognised_of(asked("0" * 16)).is_finished(store)  # a third study uses what was computed here


def test_a_study_that_is_here_already_stays_as_it_is(archive, asked, tmp_path):
    store = open_job_store(tmp_path / "a.sqlite")
    import_study(archive, store)
    assert imported_by_study(store) == {}


def test_the_mark_moves_with_a_study_to_another_store(archive, tmp_path):
    store, other = open_job_store(tmp_path / "b.sqlite"), open_job_store(tmp_path / "c.sqlite")
    import_study(archive, store)
    move_study(store, other, STUDY_HASH)
    assert imported_by_study(other) == imported_by_study(store)


def test_tables_and_figures_say_so(tmp_path, command):
    store = tmp_path / "store.sqlite"
    assert command("import", CRYSTALS, "--store", store)[0] == 0
    study = next(iter(imported_by_study(open_job_store(store))))
    status, out, _ = command("results", "--what", "calculations", "--store", store)
    assert status == 0
    assert "imported" in out
    status, out, _ = command("figure", study, "-o", tmp_path / "crystals.svg", "--store", store)
    assert status == 0
    assert "imported from archive" in (tmp_path / "crystals.svg").read_text()


@pytest.mark.parametrize("step", ["files", "documents"])
def test_a_failure_in_the_middle_leaves_nothing(step, tmp_path, monkeypatch):
    from anodeflow.workflows.store import archive_files
    from anodeflow.workflows.store.archive import Arrival

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(*((archive_files, "unpack") if step == "files" else (Arrival, "write")), fails)
    store = open_job_store(tmp_path / "b.sqlite")
    with pytest.raises(KeyboardInterrupt):
        import_study(CRYSTALS.with_name("adsorption-li9al4.zip"), store)
    assert store.count() == store.additional_stores["data"].count() == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "runs" in path.parts]


KILLED = """
import os, signal, sys
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study
from anodeflow.workflows.store.table import Table

put, left = Table.put, [int(sys.argv[3])]

def deadly(*arguments):
    put(*arguments)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Table.put = deadly
import_study(sys.argv[1], open_job_store(sys.argv[2]))
"""


@pytest.mark.parametrize("after", [1, 7, 9])
def test_an_import_that_is_killed_leaves_no_document_and_is_done_again(after, tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    place = tmp_path / "store.sqlite"
    open_job_store(place)
    done = subprocess.run([sys.executable, "-c", KILLED, CRYSTALS, place, str(after)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    store = open_job_store(place)
    assert store.count() == store.additional_stores["data"].count() == 0
    assert import_study(CRYSTALS, store).documents == store.count() == 6


def test_a_submitted_study_uses_it_only_if_asked_and_so_do_the_jobs_made_on_the_nodes(cluster, study_file, command):
    first = submit(cluster, study_file)
    cluster.run_all()
    store = open_job_store(cluster.folder.store)
    mark = {"archive_sha256": "a" * 64, "anodeflow": "0.1.0", "at": "2026-01-01T00:00:00", "computer": "elsewhere"}
    for job in store.query({"metadata.study_hash": first.study_hash}, load=True):
        store.update([job | {"metadata": job["metadata"] | {"imported": mark}}])
    study_file.write_text(yaml.safe_dump(TINY | {"hosts": ["Li", "LiCl"]}))
    assert submit(cluster, study_file, dry_run=True).already_finished == 0
    status, out, err = command("submit", study_file, "--folder", cluster.folder.path, "--trust")
    assert status == 0, err
    assert "1 of them finished in the store" in out
    os.environ.pop("ANODEFLOW_TRUST_IMPORTED", None)  # that of the command, not of the nodes
    cluster.run_all()
    specs = [fw["spec"] for fw in cluster.pad.fireworks.find({"spec.study_hash": {"$ne": first.study_hash}})]
    assert specs
    assert all(spec["trust_imported"] for spec in specs)
    used = store.query({"metadata.imported.archive_sha256": "a" * 64, "metadata.study_hash": {"$ne": first.study_hash}})
    assert len(list(used)) >= 2  # the crystal, and cells with Li that the nodes asked for
    status, _, err = command("submit", study_file, "--folder", cluster.folder.path, "--trust", "--again")
    assert status == 2
    assert "--trust" in err
