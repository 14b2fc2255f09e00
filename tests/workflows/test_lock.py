"""Two processes never compute the same thing at once, and a killed one does not keep it locked."""

import os
import subprocess
import sys
import threading
import time

import pytest

from anodeflow.workflows import monitor
from anodeflow.workflows.jobs import lock
from anodeflow.workflows.jobs.lock import alone

KEY = "0123456789abcdef0123456789abcdef"
HOLD = (
    "import sys, time; from anodeflow.workflows.jobs.lock import alone\n"
    f"with alone('{KEY}'): print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def other(runs):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_process_frees_its_lock(other, runs, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_AGAIN_S", 0.05)
    killed = []

    def kill():
        time.sleep(0.5)
        killed.append(time.monotonic())
        other.kill()

    threading.Thread(target=kill).start()
    with alone(KEY) as waited:
        assert waited
        assert killed
    with alone(KEY) as waited:
        assert not waited


def test_nothing_is_left_behind(runs):
    with alone(KEY), alone("another"):
        assert len(list((runs / ".locks").iterdir())) == 2
    assert not runs.exists()
    (runs / "Li_crystal-0123456789").mkdir(parents=True)
    with alone(KEY):
        pass
    assert [folder.name for folder in runs.iterdir()] == ["Li_crystal-0123456789"]


def test_on_a_network_file_system_the_file_stays(runs, monkeypatch):
    """Another computer may see a removed file for some seconds, and would hold that."""
    monkeypatch.setattr(lock, "_on_network", lambda folder: True)
    with alone(KEY):
        pass
    assert (runs / ".locks" / KEY).is_file()
    with alone(KEY) as waited:
        assert not waited


def test_who_waits_can_be_stopped(other, monkeypatch):
    def stop():
        raise monitor.StopRequested

    monitor.listen(None, stop)
    try:
        with pytest.raises(monitor.StopRequested), alone(KEY):
            pytest.fail("two processes hold one lock")
    finally:
        monitor.listen(None)


def test_what_cannot_be_locked_is_computed_without(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file where the folder should be")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    with alone(KEY) as waited:
        assert not waited


def test_never_two_at_once_though_files_come_and_go(runs, monkeypatch):
    """A lock is removed by whoever held it, while others wait for it or make it anew."""
    monkeypatch.setattr(lock, "LOOK_AGAIN_S", 0.001)
    monkeypatch.setattr(lock, "LONGEST_WAIT_S", 0.001)
    inside, most, times = [], [], 40

    def worker():
        for _ in range(times):
            with alone(KEY):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 4 * times
    assert max(most) == 1
    assert not os.path.exists(runs)
