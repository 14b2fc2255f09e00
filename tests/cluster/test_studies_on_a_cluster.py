"""Studies through submission, queue, compute node and store, with a scheduler that only pretends to be one."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from datetime import datetime

import pytest
import yaml
from pretended import SITE, TINY, submit, summary

from anodeflow.errors import EngineError, InputError, StoreError
from anodeflow.workflows.cluster import folder as folders
from anodeflow.workflows.cluster import healing, launching, scheduler, stopping
from anodeflow.workflows.cluster.attempts import tries
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.progress import of_database
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder
from anodeflow.workflows.cluster.submission import submit_study
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study


def test_a_study_goes_from_its_file_to_its_result(cluster, study_file):
    report = submit(cluster, study_file, tags=["paper-1"])
    assert report.submitted
    assert report.already_finished == 0
    assert cluster.progress().state == "due"
    cluster.run_all()
    row = cluster.progress()
    assert (row.state, row.running, row.waiting, row.failed) == ("done", 0, 0, 0)
    assert row.core_hours > 0
    document = summary(cluster, report.study_hash)
    assert document["hosts"][0]["binding_energy_ev"]["bulk_metal"] is not None
    store = open_job_store(cluster.folder.store)
    calculations = list(store.query({"output.doc_type": "CalculationDoc", "metadata.tags": "paper-1"}))
    assert len(calculations) == len(report.planned)
    # What a person put into the title stays out of every script.
    text = "".join(script.read_text() for script in cluster.scripts.values())
    assert "reboot" not in text
    assert "#SBATCH --signal=B:INT@120" in text
    # The sites of Li, made on the compute node, ask for the time of their size as the others do.
    assert text.count("#SBATCH --time=00:30:00") >= len(report.planned)
    with pytest.raises(InputError, match="is finished"):
        submit(cluster, study_file)
    # Another study that shares calculations finds them done.
    study_file.write_text(yaml.safe_dump(TINY | {"hosts": ["Li", "LiCl"]}))
    other = submit(cluster, study_file, dry_run=True)
    assert other.already_finished == 1
    assert any(("has changed since it was submitted as" in note and "hosts" not in note) or "LiCl" in note
               for note in other.notes)  # fmt: skip
    assert not other.submitted


def test_a_study_is_submitted_once(cluster, study_file, command):
    submit(cluster, study_file)
    with pytest.raises(InputError, match=r"is there already: submitted on .* by"):
        submit(cluster, study_file)
    assert any("would be refused" in note for note in submit(cluster, study_file, dry_run=True).notes)
    status, _, err = command("submit", study_file, "--folder", cluster.folder.path)
    assert status == 2
    assert "is there already" in err
    assert cluster.pad.workflows.count_documents({}) == 1


def race(folder, file, results):
    sys.path.insert(0, str(SITE))
    from anodeflow.workflows.engines import registry as engines

    engines.PROGRAMS["springs"] = ("springs_engine", "SpringsEngine")
    try:
        submit_study(load_study(file), file, ClusterFolder(folder))
        results.put("won")
    except InputError:
        results.put("refused")


def test_of_several_at_once_one_wins(cluster, study_file):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racers = [context.Process(target=race, args=(cluster.folder.path, study_file, results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert sorted(results.get(timeout=60) for _ in racers) == ["refused"] * 3 + ["won"]
    for racer in racers:
        racer.join()
    assert cluster.pad.workflows.count_documents({}) == 1


def test_a_submission_that_was_cut_off_is_taken_over(cluster, study_file):
    submit(cluster, study_file)
    # As if the process had been killed between its fireworks and its workflow.
    database = cluster.folder.database.open()
    database.workflows.delete_many({})
    database.studies.update_one({}, {"$set": {"state": "submitting"}})
    with pytest.raises(InputError, match="is there already"):
        submit(cluster, study_file)
    database.studies.update_one({}, {"$set": {"submitted_at": datetime(2026, 1, 1)}})
    assert submit(cluster, study_file).submitted
    assert database.fireworks.count_documents({}) == len(database.workflows.find_one({})["nodes"])


def test_what_fails_while_it_is_submitted_leaves_nothing(cluster, study_file, monkeypatch):
    from anodeflow.workflows.cluster import submission

    def full(pad, *_):
        pad.fireworks.insert_one({"fw_id": 1, "spec": {"study_hash": load_study(study_file).hash}})
        raise StoreError("the database cannot grow: its disk is full")

    monkeypatch.setattr(submission, "_add", full)
    with pytest.raises(StoreError, match="disk is full"):
        submit(cluster, study_file)
    assert cluster.pad.fireworks.count_documents({}) == 0
    monkeypatch.undo()
    assert cluster.folder.database.open().studies.count_documents({}) == 0


def test_failures_are_one_line_and_run_again(cluster, study_file, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_TEST_BROKEN", "Li")
    report = submit(cluster, study_file)
    cluster.run_all()
    row = cluster.progress()
    assert row.state == "failed"
    assert row.failed >= 1
    assert row.reasons[0].error.startswith("springs: ERROR in line 7 of springs.out: the spring broke")
    assert "(on " in row.reasons[0].error
    assert all("Traceback" not in reason.error and "\n" not in reason.error for reason in row.reasons)
    monkeypatch.setenv("ANODEFLOW_TEST_BROKEN", "none")
    assert submit(cluster, study_file, again=True).run_again == row.failed
    cluster.run_all()
    assert cluster.progress().state == "done"
    assert summary(cluster, report.study_hash)["hosts"][0]["error"] is None


def test_a_killed_job_goes_back_to_the_queue(cluster, study_file):
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    assert cluster.progress().running == 1
    (healed,) = cluster.healer.heal()
    assert healed.what == "run again"
    assert f"does not know job {job} any more" in healed.why
    assert cluster.healer.heal() == []
    assert cluster.pad.fireworks.find_one({"fw_id": fw_id})["state"] == "READY"
    cluster.run_all()
    assert cluster.progress().state == "done"
    assert tries(cluster.pad, fw_id) == 2


def test_a_job_that_waits_or_runs_is_left_alone(cluster, study_file):
    submit(cluster, study_file)
    cluster.launch()
    assert cluster.healer.heal() == []
    (job,) = cluster.queue
    cluster.start_and_vanish(job)
    cluster.queue[job] = "RUNNING"
    assert cluster.healer.heal() == []
    cluster.down = True  # a scheduler that does not answer is not an empty queue
    with pytest.raises(EngineError, match="cannot contact"):
        cluster.healer.heal()
    assert cluster.pad.fireworks.count_documents({"state": "RUNNING"}) == 1
    cluster.down, cluster.queue = False, {}
    cluster.pad.launches.update_many({}, {"$set": {"fworker.name": "another-cluster"}})
    assert cluster.healer.heal() == []


def test_a_queued_job_that_was_cancelled_is_sent_again(cluster, study_file):
    submit(cluster, study_file)
    cluster.launch()
    cluster.queue.clear()
    (healed,) = cluster.healer.heal()
    assert healed.what == "run again"
    assert cluster.launch().sent


def test_a_job_that_always_dies_is_given_up(cluster, study_file):
    file = cluster.folder.path / "cluster.yaml"
    file.write_text(file.read_text().replace("attempts: 6", "attempts: 2"))
    vars(cluster.folder).pop("settings", None)
    submit(cluster, study_file)
    for expected in ("run again", "given up"):
        cluster.launch()
        (job,) = cluster.queue
        cluster.start_and_vanish(job)
        (healed,) = cluster.healer.heal()
        assert healed.what == expected
    assert "given up after 2 attempts that got no further" in cluster.progress().reasons[0].error


def test_the_end_of_the_time_is_clean_and_the_next_job_goes_on(cluster, study_file, monkeypatch):
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "3")
    handlers = {one: signal.getsignal(one) for one in stopping.SIGNALS}
    stopping.listen()

    def after_some_steps():
        while not any(int(f.read_text() or 0) > 3 for f in (cluster.folder.path / "runs").glob("*/steps")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=after_some_steps, daemon=True).start()
    try:
        cluster.run(job)
    finally:
        stopping.listen()
        for one, handler in handlers.items():
            signal.signal(one, handler)
    fw_id = cluster.pad.fireworks.find_one({"name": "Li/crystal"})["fw_id"]
    found = cluster.pad.fireworks.find_one({"fw_id": fw_id})
    assert found["state"] == "READY"
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "0")
    cluster.run_all()
    assert cluster.progress().state == "done"
    (starts,) = (cluster.folder.path / "runs").glob("Li_crystal-*/starts")
    first, second = map(int, starts.read_text().split())
    assert first == 0
    assert second > 0


def test_a_requeued_job_frees_what_its_first_start_left(cluster, study_file):
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    cluster.start_and_vanish(job)
    cluster.queue[job] = "PENDING"  # the scheduler starts the same script again
    cluster.run(job)
    cluster.run_all()
    assert cluster.progress().state == "done"


def test_a_job_whose_work_was_given_to_another_does_nothing(cluster, study_file):
    submit(cluster, study_file)
    cluster.launch()
    (old,) = cluster.queue
    cluster.queue.clear()
    cluster.healer.heal()
    cluster.launch()
    (new,) = cluster.queue
    cluster.run(old)  # forgotten by the scheduler for a while, and here after all
    assert cluster.pad.fireworks.count_documents({"state": "RESERVED"}) == 1
    cluster.run(new)
    cluster.run(old)
    assert cluster.pad.fireworks.count_documents({"name": "Li/crystal", "state": "COMPLETED"}) == 1


def test_a_reservation_that_was_never_sent_is_freed(cluster, study_file, monkeypatch):
    submit(cluster, study_file)
    from anodeflow.workflows.cluster.launchpad import fireworker

    cluster.pad.reserve_fw(fireworker(cluster.folder), str(study_file.parent))
    assert cluster.healer.heal() == []
    monkeypatch.setattr(healing, "RESERVED_S", 0.0)
    (healed,) = cluster.healer.heal()
    assert healed.why == "it was never sent"


def test_a_workflow_cut_off_in_the_middle_of_a_change_is_mended(cluster, study_file, monkeypatch):
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    before = cluster.pad.workflows.find_one({})
    cluster.run(job)
    # As if the process had been killed between writing its job and writing the workflow, the lock in its hand.
    cluster.pad.workflows.replace_one({"_id": before["_id"]}, before | {"locked": True})
    children = [f["fw_id"] for f in cluster.pad.fireworks.find({"state": "READY"})]
    cluster.pad.fireworks.update_many({"fw_id": {"$in": children}}, {"$set": {"state": "WAITING"}})
    monkeypatch.setattr(healing, "SETTLE_S", 0.0)
    monkeypatch.setattr(healing, "LOCK_S", 0.3)
    cluster.queue[job] = "RUNNING"  # alive, and only slow: it is left alone
    assert cluster.healer.heal() == []
    del cluster.queue[job]
    assert any(one.what == "recorded" for one in cluster.healer.heal())
    cluster.run_all()
    assert cluster.progress().state == "done"


def test_a_scheduler_that_refuses_leaves_the_job_due(cluster, study_file):
    submit(cluster, study_file)
    original, cluster.down = cluster.queued, True
    scheduler.queued_jobs = lambda _: {}
    with pytest.raises(EngineError, match="invalid partition"):
        cluster.launch()
    assert cluster.pad.fireworks.count_documents({"state": "READY"}) == 1
    cluster.down, scheduler.queued_jobs = False, original
    assert cluster.launch().sent


def test_the_queue_is_not_overfilled(cluster, study_file):
    cluster.queue = {str(n): "PENDING" for n in range(100)}
    submit(cluster, study_file)
    report = cluster.launch()
    assert report.full
    assert report.sent == []


def test_resources_from_the_database_are_checked_before_they_get_into_a_script(cluster, study_file):
    submit(cluster, study_file)
    evil = {"$set": {"spec._queueadapter.walltime": "01:00:00\nreboot"}}
    cluster.pad.fireworks.update_many({"spec.kind": "calculation"}, evil)
    with pytest.raises(EngineError, match="asks for walltime"):
        cluster.launch()


@pytest.mark.parametrize(
    ("name", "plain"), [("Li2S/bulk/i1", "Li2S-bulk-i1"), ("a b'; rm -rf \"$HOME\"", "a-b-rm--rf-HOME"), ("7", "job-7"),
                        ("", "job"), ("ü" * 200, "job")]
)  # fmt: skip
def test_job_names(name, plain):
    assert launching.job_name(name) == plain


def test_status_of_many_calculations_is_quick(cluster, study_file):
    submit(cluster, study_file)
    database = cluster.folder.database.open()
    record, workflow = database.studies.find_one({}), database.workflows.find_one({})
    for number in range(100):
        name = f"{number:016x}"
        database.studies.insert_one(record | {"_id": name})
        states = {str(n): "COMPLETED" for n in range(1000)}
        new = {k: v for k, v in workflow.items() if k != "_id"} | {
            "metadata": {"study_hash": name},
            "fw_states": states,
        }
        database.workflows.insert_one(new)
    clock = time.perf_counter()
    rows = of_database(cluster.folder.database)
    seconds = time.perf_counter() - clock
    assert sum(row.done for row in rows) == 100_000
    assert seconds < 10.0  # 1 s on an idle machine with this test server, which is far slower than MongoDB


def test_status_says_when_the_file_changed(cluster, study_file, command):
    submit(cluster, study_file)
    study_file.write_text(study_file.read_text() + "# later\n")
    status, out, _ = command("status", "--folder", cluster.folder.path, "--json")
    assert status == 0
    (row,) = json.loads(out)
    assert any("has changed since" in note for note in row["notes"])
    assert "tiny" in command("status", "--folder", cluster.folder.path)[1]


def test_tags_and_times():
    with pytest.raises(ValueError, match="not a time"):
        folders.walltime_seconds("12:00:0")
    assert folders.walltime_seconds("1-02:03:04") == 93784
    assert folders.walltime_text(93784) == "26:03:04"


def test_a_database_that_is_down_is_one_line(mongo_server, tmp_path, command, study_file, springs):
    server = mongo_server()
    write_folder(ClusterOptions("slurm", tmp_path / "c", uri=server.uri("x")))
    file = tmp_path / "c" / "database.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 0.5"))
    server.stop()
    for arguments in (["status"], ["hpc", "heal"], ["hpc", "launch"]):
        status, _, err = command(*arguments, "--folder", tmp_path / "c")
        assert status == StoreError.exit_code
        assert "does not answer within 0.5 s" in err
        assert err.count("\n") == 1


def test_a_job_that_ends_while_the_healer_looks_is_not_run_again(cluster, study_file, monkeypatch):
    """Its process is there when the job is read, and gone, with everything done, when it is looked for."""
    from fireworks.core.firework import FWAction

    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    launch_id = cluster.pad.fireworks.find_one({"fw_id": fw_id})["launches"][-1]

    def ended(launch, queue):
        cluster.pad.complete_launch(launch_id, FWAction())
        return "its process ended silently"

    monkeypatch.setattr(cluster.healer, "_why_lost", ended)
    assert cluster.healer.heal() == []
    assert cluster.pad.fireworks.find_one({"fw_id": fw_id})["state"] == "COMPLETED"
    assert tries(cluster.pad, fw_id) == 1
