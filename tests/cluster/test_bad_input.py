"""What goes wrong around a study: one clear line each, and nothing submitted twice."""

import os
import subprocess
import sys

import pytest
import yaml
from pretended import SITE, TINY, submit
from ultrasoft import ultrasoft  # noqa: F401 - a fixture

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.cluster import launching, rocket
from anodeflow.workflows.cluster.attempts import tries
from anodeflow.workflows.cluster.launches import last_line
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder


@pytest.fixture
def folder(mongo_server, tmp_path, monkeypatch):
    """Makes cluster folders on a server of their own, in an environment that knows of no other."""

    def make(*options, user="", timeout_s=0.5):
        server = mongo_server(*options)
        place = tmp_path / "c"
        uri = server.uri("x").replace("://", f"://{user}@" if user else "://")
        write_folder(ClusterOptions("slurm", place, uri=uri))
        file = place / "database.yaml"
        file.write_text(file.read_text().replace("timeout_s: 20", f"timeout_s: {timeout_s}"))
        return server, place

    return make


def one_line(command, *arguments, words, status=StoreError.exit_code):
    code, out, err = command(*arguments)
    assert code == status, (arguments, out, err)
    assert words in err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_a_database_that_is_down(folder, command, springs, study_file):
    server, place = folder()
    server.stop()
    for arguments in (["submit", study_file], ["submit", study_file, "--dry-run"], ["status"], ["hpc", "heal"]):
        one_line(command, *arguments, "--folder", place, words="does not answer within 0.5 s")
    one_line(command, "results", "--store", place, words="does not answer within 0.5 s")
    one_line(command, "run", study_file, "--store", place, words="does not answer within 0.5 s")


def test_a_slow_database_takes_a_study_once(folder, command, springs, study_file):
    _, place = folder("--delay", "0.03", timeout_s=5)
    assert command("submit", study_file, "--folder", place)[0] == 0
    one_line(command, "submit", study_file, "--folder", place, words="is there already", status=InputError.exit_code)


def test_a_wrong_password_is_one_line_and_shown_nowhere(folder, command, springs, study_file, monkeypatch):
    _, place = folder("--password", "rosebud", user="tester", timeout_s=5)
    monkeypatch.setenv("ANODEFLOW_DB_PASSWORD", "hunter2")
    for arguments in (["submit", study_file], ["status"], ["hpc", "heal"], ["hpc", "launch"],
                      ["hpc", "fireworks", "lpad", "get_wflows"]):  # fmt: skip
        err = one_line(command, *arguments, "--folder", place, words="refuses user 'tester'")
        assert "hunter2" not in err
    assert rocket.main([str(place), "singleshot", "--fw_id", "1"]) == StoreError.exit_code
    status, out, err = command("hpc", "doctor", "--folder", place)
    assert status == 4
    assert "refuses user 'tester'" in out
    assert "hunter2" not in out + err


def test_a_full_disk_of_a_node(cluster, study_file, tmp_path, monkeypatch):
    """A file system of 128 kB: the program's own files do not fit."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here (needs root)")
    try:
        (small / "rest").write_bytes(b"x" * 116 * 1024)
        monkeypatch.setenv("ANODEFLOW_RUNS", str(small / "runs"))
        monkeypatch.setenv("ANODEFLOW_TEST_SCRATCH_KB", "200")
        submit(cluster, study_file)
        cluster.run_all()
        row = cluster.progress()
        assert row.state == "failed"
        assert "No space left on device (on " in row.reasons[0].error
        assert "free space" in row.reasons[0].error
        (small / "rest").unlink()
        monkeypatch.setenv("ANODEFLOW_TEST_SCRATCH_KB", "1")
        assert submit(cluster, study_file, again=True).run_again == row.failed
        cluster.run_all()
        assert cluster.progress().state == "done"
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_another_version_on_the_node(cluster, study_file, capsys):
    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    with pytest.raises(InputError, match=r"sent by anodeflow 9.9, and .* has .*; install the same version in both"):
        cluster.run(job, "9.9")
    (reason,) = cluster.progress().reasons
    assert "sent by anodeflow 9.9" in reason.error
    assert "\n" not in reason.error
    assert cluster.launch().sent == []
    assert f"--sent-by {launching.version('anodeflow')}" in cluster.scripts[job].read_text()


def test_a_node_without_the_python_is_tried_so_often_and_no_more(cluster, study_file):
    """The script ends before anything of ours runs: what it said is the reason."""
    file = cluster.folder.path / "cluster.yaml"
    file.write_text(file.read_text().replace("attempts: 6", "attempts: 3"))
    vars(cluster.folder).pop("settings", None)
    submit(cluster, study_file)
    for expected in ("run again", "run again", "given up"):
        assert cluster.launch().sent
        (job,) = cluster.queue
        place = cluster.scripts[job].parent
        (place / f"queue-{job}.out").write_text("loading\n/opt/python: No such file or directory\n\n")
        cluster.queue.clear()
        (healed,) = cluster.healer.heal()
        assert healed.what == expected
    (reason,) = cluster.progress().reasons
    assert reason.error.startswith("given up after 3 attempts that ended before they began")
    assert ": /opt/python: No such file or directory; correct environment.sh" in reason.error
    assert cluster.launch().sent == []


def test_a_scheduler_that_refuses_costs_no_attempt(cluster, study_file):
    submit(cluster, study_file)
    fw_id = cluster.pad.fireworks.find_one({"state": "READY"})["fw_id"]
    cluster.monkeypatch.setattr("anodeflow.workflows.cluster.scheduler.queued_jobs", lambda _: {})
    cluster.down = True
    for _ in range(3):
        with pytest.raises(Exception, match="invalid partition"):
            cluster.launch()
    assert tries(cluster.pad, fw_id) == 0


def test_a_node_without_the_engine(cluster, tmp_path, ultrasoft, monkeypatch):  # noqa: F811
    """pw.x is on the login node; on the compute node it is not."""
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(ultrasoft))
    file = tmp_path / "qe.yaml"
    file.write_text("study: crystal-properties\nengine: qe\ncard: pbe-bulk\ncrystals: [Li]\n")
    submit(cluster, file)
    monkeypatch.setenv("ANODEFLOW_QE_COMMAND", "no-such-pw.x")
    cluster.run_all()
    reasons = [reason.error for reason in cluster.progress().reasons]
    assert reasons
    for reason in reasons:
        assert "program 'no-such-pw.x' is not on PATH" in reason
        assert "(on " in reason
        assert "\n" not in reason


def test_a_database_that_goes_away_during_a_job_costs_an_attempt_and_no_study(cluster, study_file, monkeypatch):
    from anodeflow.workflows.store.database import DatabaseAway

    def away(*_, **__):
        raise DatabaseAway("the connection to the database broke")

    submit(cluster, study_file)
    cluster.launch()
    (job,) = cluster.queue
    with monkeypatch.context() as broken:
        broken.setattr("anodeflow.workflows.cluster.task.open_job_store", away)
        cluster.run(job)
    assert cluster.progress().failed == 0
    cluster.run_all()
    assert cluster.progress().state == "done"


def test_what_ends_a_job_for_good_and_what_does_not():
    """A failure names its reason; only a lost database without one is another chance."""
    from anodeflow.workflows.cluster.launchpad import was_stopped

    def ended(details, trace=""):
        return was_stopped({"stored_data": {"_exception": {"_details": details, "_stacktrace": trace}}})

    away = "Traceback (most recent call last):\n  raise X\npymongo.errors.AutoReconnect: connection closed\n"
    code = "Traceback:\n  raise JobFailed(str(error), again=isinstance(error, DatabaseAway))\nJobFailed: no engine\n"
    assert ended({"error": "stopped by the scheduler", "stopped": True})
    assert not ended({"error": "the spring broke", "stopped": False}, away)
    assert ended(None, away)
    assert not ended(None, code)


@pytest.mark.parametrize("hours", [-2, 2])
def test_clocks_that_differ(folder, command, springs, study_file, hours):
    _, place = folder("--clock", str(3600 * hours), timeout_s=5)
    assert command("submit", study_file, "--folder", place)[0] == 0
    one_line(command, "submit", study_file, "--folder", place, words="is there already", status=InputError.exit_code)
    # A submission that goes on now was not cut off ten minutes ago, whatever the clocks say.
    from anodeflow.workflows.cluster.folder import ClusterFolder

    ClusterFolder(place).database.open().studies.update_one({}, {"$set": {"state": "submitting"}})
    one_line(command, "submit", study_file, "--folder", place, words="is there already", status=InputError.exit_code)
    _, out, _ = command("hpc", "doctor", "--folder", place)
    assert f"the database's clock is {3600 * hours:+d} s from this machine's" in out


def test_what_a_job_said_last(tmp_path):
    assert last_line(tmp_path) == ""
    assert last_line(tmp_path / "none") == ""
    (tmp_path / "queue-7.out").write_text("a\nslurmstepd: error: Detected 1 oom_kill event\n\n")
    assert last_line(tmp_path) == "slurmstepd: error: Detected 1 oom_kill event"


def test_two_people_at_the_same_moment(folder, study_file):
    """Two processes, as two shells would start them, through the command line."""
    _, place = folder("--delay", "0.01", timeout_s=20)
    code = (
        f"import sys; sys.path.insert(0, {str(SITE)!r}); import sitecustomize; "
        "from anodeflow.cli.main import main; main()"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", code, "submit", study_file, "--folder", place], text=True,
                         env={key: value for key, value in os.environ.items() if value},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    said = [racer.communicate(timeout=300)[1] for racer in racing]
    assert sorted(racer.returncode for racer in racing) == [0, InputError.exit_code], said
    loser = next(text for racer, text in zip(racing, said, strict=True) if racer.returncode)
    assert "is there already" in loser
    assert loser.count("\n") == 1


def test_a_name_that_a_shell_would_read_stays_out_of_it(cluster, tmp_path):
    file = tmp_path / "a 'file'; \"of\" $(mine).yaml"
    file.write_text(yaml.safe_dump(TINY))
    submit(cluster, file)
    cluster.launch()
    ((job, script),) = cluster.scripts.items()
    assert not set("'\"$`") & set(script.read_text().split("cd ", 1)[1])
    assert "mine" not in script.read_text()
    cluster.run(job)
    cluster.run_all()
    assert cluster.progress().state == "done"
