"""Jobs that several processes look at at once, that get further or not, that are requeued, stopped and resumed."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from pretended import SITE, submit, summary

from anodeflow.errors import EngineError, InputError, RefusedError
from anodeflow.workflows.cluster import healing, launching, scheduler
from anodeflow.workflows.cluster.attempts import in_vain, tries
from anodeflow.workflows.cluster.healing import Healer
from anodeflow.workflows.cluster.holding import resume_study, stop_study, study_of
from anodeflow.workflows.cluster.launches import is_alive, this_process
from anodeflow.workflows.cluster.launchpad import fireworker, set_reservation
from anodeflow.workflows.cluster.scheduler import DELAYED
from anodeflow.workflows.cluster.watching import Watch


def attempts(cluster, number):
    file = cluster.folder.path / "cluster.yaml"
    file.write_text(file.read_text().replace("attempts: 6", f"attempts: {number}"))
    vars(cluster.folder).pop("settings", None)


def state_of(cluster, fw_id):
    return cluster.pad.fireworks.find_one({"fw_id": fw_id})["state"]


def step_and_vanish(cluster, step):
    """A job that starts, reaches a step, and is killed with its node."""
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    launch = cluster.pad.fireworks.find_one({"fw_id": fw_id})["launches"][-1]
    if step is not None:
        cluster.pad.launches.update_one({"launch_id": launch}, {"$set": {"reached": step}})
    return fw_id


# --- two processes at once


def test_a_job_whose_id_comes_after_the_queue_was_read_is_not_lost(cluster, study_file):
    submit(cluster, study_file)
    firework, launch = cluster.pad.reserve_fw(fireworker(cluster.folder), str(cluster.folder.launches))

    def queue():
        answer = dict(cluster.queue)
        set_reservation(cluster.pad, launch, "4711")  # the sender's sbatch returns now
        return answer

    assert Healer(cluster.folder, cluster.pad, queue=queue).heal() == []
    assert state_of(cluster, firework.fw_id) == "RESERVED"
    assert tries(cluster.pad, firework.fw_id) == 1


def test_of_two_that_heal_at_once_one_gives_the_job_back(cluster, study_file, monkeypatch):
    attempts(cluster, 2)  # the other's new attempt is none that this one has lost
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    others = []
    look = healing.in_vain

    def in_between(pad, number, last):
        if not others:  # the other process heals, and sends the job again, before this one changes anything
            others.append(None)
            others.extend(Healer(cluster.folder, cluster.pad, queue=lambda: dict(cluster.queue)).heal())
            cluster.launch()
        return look(pad, number, last)

    monkeypatch.setattr(healing, "in_vain", in_between)
    assert cluster.healer.heal() == []
    assert [action.what for action in others[1:]] == ["run again"]
    assert state_of(cluster, fw_id) == "RESERVED"
    assert len(cluster.scripts) == 2
    assert cluster.launch().sent == []
    cluster.run_all_queued()
    assert tries(cluster.pad, fw_id) == 2


def test_a_reservation_is_left_to_a_sender_that_is_alive(cluster, study_file, monkeypatch):
    submit(cluster, study_file)
    firework, launch = cluster.pad.reserve_fw(fireworker(cluster.folder), str(cluster.folder.launches))
    monkeypatch.setattr(healing, "RESERVED_S", 0.05)
    monkeypatch.setattr(healing, "_SENDER_LIVES", 1000)
    sender = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        alive = this_process_of(sender.pid)
        assert is_alive(alive)
        cluster.pad.launches.update_one({"launch_id": launch}, {"$set": {"sender": alive}})
        assert cluster.healer.heal() == []
        time.sleep(0.1)
        assert cluster.healer.heal() == []
    finally:
        sender.kill()
        sender.wait()
        sender.stdin.close()
    assert is_alive(alive) is False
    (healed,) = cluster.healer.heal()
    assert healed.why == "it was never sent"
    assert state_of(cluster, firework.fw_id) == "READY"


def this_process_of(pid):
    from anodeflow.workflows.cluster.launches import _began

    return f"{this_process().split(':')[0]}:{pid}:{_began(pid)}"


def test_a_launch_names_the_process_that_sends_it(cluster, study_file, monkeypatch):
    submit(cluster, study_file)
    seen = []
    monkeypatch.setattr(scheduler, "send", lambda *_: seen.append(cluster.pad.launches.find_one({})["sender"]) or "7")
    cluster.launch()
    assert seen == [this_process()]


# --- attempts


def test_an_attempt_that_got_further_does_not_count(cluster, study_file):
    attempts(cluster, 2)
    submit(cluster, study_file)
    for step in (3, 7, 7, 8):  # further, further, not further, further
        fw_id = step_and_vanish(cluster, step)
        (healed,) = cluster.healer.heal()
        assert healed.what == "run again", step
    assert in_vain(cluster.pad, fw_id) == 0
    assert cluster.progress().notes == ["Li/crystal: 4 attempts so far"]
    step_and_vanish(cluster, None)
    assert cluster.progress().notes == ["Li/crystal: 4 attempts so far"]
    assert cluster.healer.heal()[0].what == "run again"
    assert cluster.progress().notes == ["Li/crystal: 5 attempts so far, the last 1 got no further"]
    step_and_vanish(cluster, 8)
    (healed,) = cluster.healer.heal()
    assert healed.what == "given up"
    error = cluster.progress().reasons[0].error
    assert error.startswith("given up after 6 attempts, the last 2 that got no further")
    assert "more time or memory" in error
    assert "--again" in error


def test_what_was_given_up_gets_all_its_attempts_when_it_is_submitted_again(cluster, study_file):
    attempts(cluster, 2)
    submit(cluster, study_file)
    for _ in range(2):
        fw_id = step_and_vanish(cluster, None)
        cluster.healer.heal()
    assert state_of(cluster, fw_id) == "FIZZLED"
    submit(cluster, study_file, again=True)
    step_and_vanish(cluster, None)
    assert cluster.healer.heal()[0].what == "run again"


def test_a_job_that_never_began_says_what_to_look_at(cluster, study_file):
    attempts(cluster, 1)
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    (cluster.scripts[job].parent / f"queue-{job}.out").write_text("bash: module: command not found\n\n")
    cluster.queue.clear()
    cluster.healer.heal()
    error = cluster.progress().reasons[0].error
    assert error.startswith("given up after 1 attempts that ended before they began")
    assert "module: command not found" in error
    assert "hpc doctor --job" in error


def test_a_job_notes_how_far_it_is_before_the_end_of_its_time(cluster, study_file, monkeypatch):
    """Stopped twice where one attempt is allowed: both got further, so it is not given up."""
    import threading

    from anodeflow.workflows.cluster import stopping

    attempts(cluster, 1)
    submit(cluster, study_file)
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "3")
    handlers = {number: signal.getsignal(number) for number in stopping.SIGNALS}

    def stop_behind(step):
        while not any(int(f.read_text() or 0) > step for f in (cluster.folder.path / "runs").glob("*/steps")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    try:
        for step in (2, 6):
            stopping.listen()
            cluster.launch()
            (job,) = cluster.queue
            threading.Thread(target=stop_behind, args=(step,), daemon=True).start()
            cluster.run(job)
            assert cluster.progress().failed == 0
    finally:
        stopping.listen()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    reached = [launch["reached"] for launch in cluster.pad.launches.find({"reached": {"$exists": True}})]
    assert len(reached) == 2
    assert reached[1] > reached[0] >= 1
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "0")
    cluster.run_all()
    assert cluster.progress().state == "done"


# --- requeued by the scheduler


@pytest.fixture
def started(monkeypatch):
    """Ids of jobs whose delay was taken away, and that were cancelled; `name` is what the only job is called."""
    asked = {"start": [], "cancel": []}
    monkeypatch.setattr(healing, "name_in_queue", lambda _: asked.get("name"))
    for module in (scheduler, healing):
        monkeypatch.setattr(module, "start_now", asked["start"].append)
        monkeypatch.setattr(module, "cancel", lambda _, job: asked["cancel"].append(job))
    return asked


def requeued(cluster):
    """The only job has stopped in time and put its work back; SLURM keeps it for two minutes."""
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    launch = cluster.pad.launches.find_one({"fw_id": fw_id})
    assert cluster.pad.give_back(fw_id, "RUNNING", launch)
    cluster.queue[job] = DELAYED
    return job, fw_id


def test_a_requeued_job_takes_its_work_up_again_itself(cluster, study_file, started):
    submit(cluster, study_file)
    job, fw_id = requeued(cluster)
    assert cluster.healer.heal() == []
    (sent,) = cluster.launch().sent
    assert f"job {job}" in sent
    assert started == {"start": [job], "cancel": []}
    assert len(cluster.scripts) == 1  # no second job beside it
    cluster.queue[job] = "PENDING"
    assert cluster.healer.heal() == []
    cluster.run(job)
    cluster.run_all()
    assert state_of(cluster, fw_id) == "COMPLETED"
    assert cluster.progress().state == "done"


def test_a_requeued_job_whose_work_is_in_another_is_cancelled(cluster, study_file, started):
    submit(cluster, study_file)
    job, _ = requeued(cluster)
    cluster.queue[job] = "COMPLETING"  # the scheduler has not put it back yet
    assert len(cluster.launch().sent) == 1
    cluster.queue[job] = DELAYED
    assert cluster.healer.heal() == []  # a job of that number, but not this one
    started["name"] = re.search("job-name=(.*)", cluster.scripts[job].read_text()).group(1)
    (healed,) = cluster.healer.heal()
    assert healed.what == "cancelled"
    assert started["cancel"] == [job]
    assert started["start"] == []


# --- stopped by hand


def test_a_study_is_stopped_and_resumed(cluster, study_file, started, command):
    report = submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    done = stop_study(cluster.folder, cluster.pad, report.study_hash)
    assert (done.changed, done.cancelled, started["cancel"]) == (True, 1, [job])
    row = cluster.progress()
    assert row.state == "stopped"
    assert f"anodeflow hpc resume {report.study_hash}" in row.notes[0]
    assert cluster.launch().sent == []
    cluster.run(job)  # it began before it could be cancelled
    assert cluster.progress().done == 0
    assert stop_study(cluster.folder, cluster.pad, report.study_hash).changed is False
    assert study_of(cluster.pad, report.study_hash[:6]) == report.study_hash
    resume_study(cluster.folder, cluster.pad, report.study_hash)
    with pytest.raises(InputError, match="is not stopped"):
        resume_study(cluster.folder, cluster.pad, report.study_hash)
    cluster.queue.clear()
    cluster.run_all()
    assert cluster.progress().state == "done"
    assert summary(cluster, report.study_hash)["hosts"][0]["error"] is None
    with pytest.raises(InputError, match="nothing left to stop"):
        stop_study(cluster.folder, cluster.pad, report.study_hash)
    with pytest.raises(InputError, match="no study 'ffff'"):
        study_of(cluster.pad, "ffff")


def test_jobs_that_a_person_stopped_are_no_attempts(cluster, study_file, started):
    attempts(cluster, 1)
    report = submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    fw_id = cluster.start_and_vanish(job)
    cluster.queue[job] = "RUNNING"
    stop_study(cluster.folder, cluster.pad, report.study_hash)
    assert cluster.progress().state == "stopping"
    cluster.queue.clear()
    (healed,) = cluster.healer.heal()
    assert healed.what == "run again"
    assert cluster.progress().state == "stopped"
    resume_study(cluster.folder, cluster.pad, report.study_hash)
    assert in_vain(cluster.pad, fw_id) == 0


def test_a_study_that_fireworks_own_commands_stopped_is_resumed(cluster, study_file, command):
    report = submit(cluster, study_file)
    folder = cluster.folder.path
    query = f'{{"metadata.study_hash": "{report.study_hash}"}}'
    assert command("hpc", "fireworks", "lpad", "defuse_wflows", "-q", query, "--folder", folder)[0] == 0
    assert cluster.launch().sent == []
    assert "hpc resume" in cluster.progress().notes[0]
    status, out, err = command("hpc", "resume", study_file, "--folder", folder)
    assert status == 0, err
    assert "runs again" in out
    cluster.run_all()
    assert cluster.progress().state == "done"


def test_stop_and_resume_by_command(cluster, study_file, command):
    report = submit(cluster, study_file)
    where = ("--folder", cluster.folder.path)
    status, out, _ = command("hpc", "stop", report.study_hash[:8], *where)
    assert status == 0
    assert f"anodeflow hpc resume {report.study_hash}" in out
    assert command("hpc", "stop", "0123", *where)[0] == 2
    assert "stopped" in command("status", *where)[1]
    assert command("hpc", "resume", report.study_hash, *where)[0] == 0
    assert cluster.progress().state == "due"


# --- watching


def test_what_is_done_and_what_failed_is_said(cluster, study_file, monkeypatch):
    report = submit(cluster, study_file)
    watch = Watch(cluster.folder, cluster.pad)
    assert watch.changes() == []
    cluster.launch()
    (job,) = cluster.queue
    cluster.run(job)
    assert watch.changes() == ["done Li/crystal"]
    monkeypatch.setenv("ANODEFLOW_TEST_BROKEN", "Li")
    cluster.run_all()
    lines = watch.changes()
    assert any(line.startswith("failed Li/bulk/") and "the spring broke" in line for line in lines)
    assert lines[-1].startswith(f"study {report.study_hash} (a 'tiny'")
    assert "is failed" in lines[-1]
    assert [row.study_hash for row in watch.without_result] == [report.study_hash]
    monkeypatch.setenv("ANODEFLOW_TEST_BROKEN", "none")
    submit(cluster, study_file, again=True)
    watch.changes()
    cluster.run_all()
    assert "is done" in watch.changes()[-1]
    assert watch.without_result == []


class Watched:
    """`hpc launch --until-done` in this process, on a cluster whose jobs run as soon as they are sent."""

    def __init__(self, cluster, monkeypatch, command):
        self.cluster, self.command = cluster, command
        once = launching.launch_once

        def launch_once(folder, pad):
            report = once(folder, pad)
            for job in list(cluster.queue):
                cluster.run(job)
            return report

        monkeypatch.setattr(launching, "launch_once", launch_once)
        for name in ("SIGTERM", "SIGHUP"):  # put back what the command sets
            number = getattr(signal, name)
            monkeypatch.setattr(signal, "signal", _keeping(signal.signal, number))

    def run(self):
        arguments = ("hpc", "launch", "--until-done", "--interval", "0.2", "--folder", self.cluster.folder.path)
        return self.command(*arguments)


def _keeping(original, kept):
    return lambda number, handler: None if number == kept else original(number, handler)


@pytest.fixture
def watched(cluster, monkeypatch, command):
    return Watched(cluster, monkeypatch, command)


def test_until_done_says_what_happens_and_when(watched, study_file):
    submit(watched.cluster, study_file)
    status, out, err = watched.run()
    assert status == 0, err
    lines = [line[20:] for line in out.splitlines() if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [a-z]", line)]
    assert lines[0] == "sent Li/crystal (job 1000)"
    assert "done Li/crystal" in lines
    assert lines[-2].startswith("study ")
    assert " is done: " in lines[-2]
    assert lines[-1] == "nothing is due or runs: 1 studies ended, 0 without result"


def test_until_done_ends_with_a_status_if_a_study_failed(watched, study_file, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_TEST_BROKEN", "Li")
    submit(watched.cluster, study_file)
    status, out, err = watched.run()
    assert status == 4
    assert "failed Li/crystal: springs: ERROR in line 7" in out
    assert "has no result: failed" in err


def test_a_watch_survives_whatever_one_round_raises(watched, study_file, monkeypatch):
    submit(watched.cluster, study_file)
    missing = ValueError("Could not find workflow in database: 3")
    surprises = [KeyError("fw_states"), missing, EngineError("squeue failed"), RefusedError("a document over 16 MB")]
    heal = Healer.heal

    def sometimes(healer):
        if surprises:
            raise surprises.pop(0)
        return heal(healer)

    monkeypatch.setattr(Healer, "heal", sometimes)
    status, _, err = watched.run()
    assert status == 0, err
    assert "unexpected KeyError" in err
    assert "unexpected ValueError: Could not find workflow in database: 3; it is tried again" in err
    assert "squeue failed" in err
    assert "a document over 16 MB" in err


def test_a_watch_waits_for_a_database_that_is_away(mongo_server, tmp_path):
    """The command starts before the database does, and names the signal that ends it."""
    from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder

    server = mongo_server()
    write_folder(ClusterOptions("slurm", tmp_path / "c", uri=server.uri("x")))
    file = tmp_path / "c" / "database.yaml"
    file.write_text(file.read_text().replace("timeout_s: 20", "timeout_s: 0.5"))
    server.stop()
    command = ["nohup", sys.executable, "-m", "anodeflow", "hpc", "launch", "--watch", "--interval", "0.3"]
    command += ["--folder", tmp_path / "c"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(SITE)})
    try:
        wait_for(lambda: "does not answer" in (tmp_path / "log").read_text())
        server.start()
        time.sleep(2.0)
        process.send_signal(signal.SIGHUP)  # the end of the session that it was started in
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 143
        assert "ended by SIGTERM" in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_a_watch_does_not_wait_for_what_will_not_pass(mongo_server, tmp_path, command, monkeypatch):
    from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    write_folder(ClusterOptions("slurm", tmp_path / "c", uri=mongo_server().uri("x")))
    file = tmp_path / "c" / "database.yaml"
    file.write_text(file.read_text().replace("user: null", f"user: alice\npassword_file: {tmp_path / 'none'}"))
    status, _, err = command("hpc", "launch", "--watch", "--folder", tmp_path / "c")
    assert status == 6
    assert "no password for user 'alice'" in err


def wait_for(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)
