"""Many jobs on four workers of a real SLURM, killed in every way, the database and the launcher once.

What is asserted: every study ends, nothing is lost, nothing is counted twice, and every job that was killed runs
again within a minute, by the times that the database and the jobs themselves noted. 28 calculations, two of them longer
than the longest time of a job, and 8 kills, two of each kind, take three to five minutes on two cores.
ANODEFLOW_TEST_STUDIES=15 ANODEFLOW_TEST_FAULTS=20 make it 210 calculations, a quarter of an hour.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import yaml
from conftest import MongoServer, started_slurm
from slurm_user import PATIENCE_S, Cluster, check_result

STUDIES = int(os.environ.get("ANODEFLOW_TEST_STUDIES", "2"))
FAULTS = int(os.environ.get("ANODEFLOW_TEST_FAULTS", "8"))
# Minutes that a job gets; more on a machine that is overloaded.
MINUTES = int(os.environ.get("ANODEFLOW_TEST_MINUTES", "1"))
# The longest time from a kill to the next start, seconds; at most two jobs wait for the four workers, so that this is
# the time to notice and to send again, not that of a queue. The times are printed.
WITHIN_S = float(os.environ.get("ANODEFLOW_TEST_WITHIN", "60"))
# What a job takes to start on two cores that do nothing else, seconds.
USUAL_START_S = 5.0
# Studies with a calculation that takes longer than the longest time of a job.
TOO_LONG = min(2, STUDIES)
KINDS = ("kill -9", "scancel", "requeued", "scancel, no warning")

pytestmark = pytest.mark.slow


@pytest.fixture
def database(tmp_path):
    """A test database whose contents survive kill -9."""
    server = MongoServer("--journal", str(tmp_path / "journal.bson"))
    yield server
    server.stop()


@pytest.fixture
def cluster(tmp_path, database):
    with started_slurm(tmp_path, cpus=2) as slurm:
        cluster = Cluster(slurm, tmp_path, database.uri("faults"), walltime=f"00:{MINUTES:02d}:00")
        cluster.change("cluster.yaml", ("attempts: 6", "attempts: 40"), ("stop_before_s: 120", "stop_before_s: 10"),
                       ("max_in_queue: 100", "max_in_queue: 6"))  # fmt: skip
        cluster.change("database.yaml", ("timeout_s: 20", "timeout_s: 10"))
        cluster.environment |= {"ANODEFLOW_TEST_SECONDS": "1.5", "ANODEFLOW_TEST_SLOW": f"Li2S_bulk_i1:{65 * MINUTES}"}
        yield cluster


def submit_all(cluster):
    """Submit the studies, each with a card of its own, so that none shares a calculation: labels by hash."""
    code = (
        "import json, sys\nfrom pathlib import Path\n"
        "from anodeflow.workflows.cluster.folder import find_folder\n"
        "from anodeflow.workflows.cluster.submission import submit_study\n"
        "from anodeflow.workflows.studies import load_study\n"
        "for file in sys.argv[1:]:\n"
        "    report = submit_study(load_study(file), Path(file), find_folder())\n"
        "    print(json.dumps([report.study_hash, [planned.label for planned in report.planned]]))\n"
    )
    files = []
    for number in range(STUDIES):
        name = f"{'slow' if number < TOO_LONG else 'card'}-{number}"
        card = {"name": name, "functional": "PBE", "potentials": "none", "relax_cell": True,
                "force_tolerance_ev_per_angstrom": 0.03 + 0.001 * number}  # fmt: skip
        (cluster.place / f"{name}.yaml").write_text(yaml.safe_dump(card))
        study = {
            "study": "binding-energy", "title": name, "engine": "springs", "card": f"{name}.yaml",
            "hosts": ["Li", "Al", "LiCl", "Li2S"], "references": ["bulk_metal"],
            "bulk": {"min_image_distance_angstrom": 5.0}, "states": ["interstitial"],
        }  # fmt: skip
        files.append(f"study-{number}.yaml")
        (cluster.place / files[-1]).write_text(yaml.safe_dump(study))
    done = subprocess.run(
        [sys.executable, "-c", code, *files], env=cluster.environment, cwd=cluster.place, capture_output=True,
        text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def fw_id_of(pid):
    """Which firework a process on a node runs; None where it is gone, or runs light jobs."""
    with suppress(OSError, ValueError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        return int(words[words.index("--fw_id") + 1])
    return None


def fw_id_of_job(cluster, job):
    """Which firework a job of the queue is for; None where it is gone."""
    script = re.search(r"Command=(\S+)", cluster.slurm.ask("scontrol", "show", "job", job))
    return script and int(re.search(r"--fw_id (\d+)", Path(script.group(1)).read_text()).group(1))


def kill_one(cluster, kind, dice, jobs, killed):
    """Kill a job, one that was not killed before if there is one; its firework, or None where there was none."""
    if kind == "kill -9":
        running = {pid: fw_id_of(pid) for pid in cluster.rockets()}
    else:
        running = {job: fw_id_of_job(cluster, job) for job, state in jobs.items() if state == "RUNNING"}
    running = {name: fw_id for name, fw_id in running.items() if fw_id is not None}
    fresh = {name: fw_id for name, fw_id in running.items() if fw_id not in killed}
    if not running:
        return None
    name, fw_id = dice.choice(list((fresh or running).items()))
    if kind == "kill -9":
        with suppress(ProcessLookupError):
            os.kill(name, signal.SIGKILL)
            return fw_id
        return None
    command = {
        "scancel": ["scancel", name],
        "scancel, no warning": ["scancel", "--signal=KILL", "--full", name],
        "requeued": ["scontrol", "requeue", name],
    }[kind]
    cluster.slurm.ask(*command)
    return fw_id


def seconds(text):
    return datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp()


def last_launch(pad, fw_id):
    found = list(pad.launches.find({"fw_id": fw_id}, {"launch_id": 1}))
    return max((one["launch_id"] for one in found), default=0)


def starts_of(pad, fw_id, after):
    """When the launches of a firework behind this one started to run."""
    launches = pad.launches.find({"fw_id": fw_id, "launch_id": {"$gt": after}}, {"state_history": 1})
    return sorted(seconds(h["created_on"]) for one in launches for h in one["state_history"] if h["state"] == "RUNNING")


def test_many_jobs_many_faults_and_a_restart_of_the_database(cluster, database, monkeypatch):
    clock = time.monotonic()
    studies = submit_all(cluster)
    calculations = sum(map(len, studies.values()))
    assert calculations >= 14 * STUDIES
    print(f"\n{len(studies)} studies, {calculations} calculations; submitted in {time.monotonic() - clock:.0f} s")
    dice = random.Random(20)
    waiting = [KINDS[number % len(KINDS)] for number in range(FAULTS)]
    dice.shuffle(waiting)
    waiting.insert(FAULTS // 2, "database")
    waiting.insert(FAULTS // 4, "launcher")
    faults = []
    pad = cluster.folder.database.open()
    launcher, healer = cluster.launcher(), cluster.start("hpc", "heal", "--watch", "--interval", "5")
    next_fault = time.monotonic() + 5.0
    try:
        while launcher.poll() is None:
            assert time.monotonic() - clock < 2 * PATIENCE_S, (cluster.place / "launch.log").read_text()[-3000:]
            time.sleep(0.5)
            if time.monotonic() < next_fault or not waiting:
                continue
            kind, when, fw_id = waiting[0], time.time(), None
            if kind == "database":
                database.stop()
                time.sleep(3.0)
                database.start()
            elif kind == "launcher":
                launcher.kill()
                launcher.wait()
                launcher = cluster.launcher()
            else:
                fw_id = kill_one(cluster, kind, dice, cluster.slurm.jobs(), {one[2] for one in faults})
                if fw_id is None:
                    continue
                # What SLURM requeues before it began starts in the same launch; all others need a new one.
                launch = last_launch(pad, fw_id) - (kind == "requeued")
                faults.append((kind, when, fw_id, launch))
            waiting.pop(0)
            next_fault = time.monotonic() + dice.uniform(2.0, 6.0)
    finally:
        for process in (launcher, healer):
            process.kill()
            process.wait()
    log = (cluster.place / "launch.log").read_text()
    assert launcher.returncode == 0, f"status {launcher.returncode}:\n{log[-3000:]}"
    assert "unexpected" not in log
    assert "nothing is due or runs" in log
    assert not waiting, f"the jobs were over before the faults: {waiting}"
    assert "Traceback" not in log
    print({kind: sum(one[0] == kind for one in faults) for kind in KINDS}, "and launcher and database once")
    print(f"all jobs over after {time.monotonic() - clock:.0f} s")

    rows = json.loads(cluster.run("status", "--json"))
    assert [(r["state"], r["failed"], r["running"], r["waiting"]) for r in rows] == [("done", 0, 0, 0)] * STUDIES, rows
    for study_hash, planned in studies.items():
        check_result(cluster, study_hash, planned, monkeypatch)
    # One launch of each job counts; those before it are archived.
    for one in pad.fireworks.find({}, {"state": 1, "launches": 1, "name": 1}):
        assert one["state"] == "COMPLETED"
        assert len(one["launches"]) == 1, one["name"]
    again = times_to_the_next_start(pad, faults) + times_to_go_on(cluster)
    for kind, took in again:
        print(f"{kind}: runs again after {took:.1f} s")
    assert sum(kind == "out of time" for kind, _ in again) >= TOO_LONG
    assert sum(kind in KINDS for kind, _ in again) >= FAULTS // 2
    # A machine that is shared takes longer to start any job: then in proportion to the jobs that nobody disturbed.
    start = usual_start(pad)
    print(f"a job starts {start:.1f} s after it was taken for the queue")
    assert max(took for _, took in again) < WITHIN_S * max(1.0, start / USUAL_START_S)


def usual_start(pad):
    """The median time from when a job is taken for the queue to when its calculation runs, s."""
    times = []
    for launch in pad.launches.find({}, {"state_history": 1}):
        when = {entry["state"]: seconds(entry["created_on"]) for entry in launch["state_history"]}
        if "RESERVED" in when and "RUNNING" in when:
            times.append(when["RUNNING"] - when["RESERVED"])
    return median(times)


def times_to_the_next_start(pad, faults):
    """Seconds from every kill to the next start of its job.

    Left out are those that had ended in time, and those that were killed once more before they started.
    """
    found = []
    for kind, when, fw_id, launch in faults:
        later = [start for start in starts_of(pad, fw_id, launch) if start > when]
        again = [other for _, other, number, _ in faults if number == fw_id and other > when]
        if later and not any(other < later[0] for other in again):
            found.append((kind, later[0] - when))
    return found


def times_to_go_on(cluster):
    """Seconds from every stop at the end of a job's time to when the calculation went on."""
    found = []
    for file in (cluster.folder.path / "runs").glob("Li2S_bulk_i1*/times"):
        events = [line.split() for line in file.read_text().splitlines()]
        if len(events) > 2:  # of the long ones
            found += [("out of time", float(after[1]) - float(before[1]))
                      for before, after in pairwise(events) if before[0] == "stop"]  # fmt: skip
    return found
