"""Two processes never compute in one folder, and a killed one does not keep it."""

import subprocess
import sys
import threading
import time

from anodeflow.workflows.jobs import folder_lock
from anodeflow.workflows.jobs.folder_lock import alone_in

HOLD = (
    "import sys, time; from pathlib import Path; from anodeflow.workflows.jobs.folder_lock import alone_in\n"
    "with alone_in(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


def test_a_killed_process_frees_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "LOOK_AGAIN_S", 0.05)
    folder = tmp_path / "runs" / "Li_crystal-0123456789"
    other = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    killed = []

    def kill():
        time.sleep(0.5)
        killed.append(time.monotonic())
        other.kill()

    threading.Thread(target=kill).start()
    with alone_in(folder) as waited:
        assert waited
        assert killed
    other.wait()
    other.stdout.close()
    with alone_in(folder) as waited:
        assert not waited
    assert not folder.exists()  # its own files are the engine's business


def test_what_needs_no_lock(tmp_path):
    with alone_in(None) as waited:
        assert not waited
    (tmp_path / "runs").write_text("a file where the folder should be")
    with alone_in(tmp_path / "runs" / "Li") as waited:
        assert not waited
    with alone_in(tmp_path / "a"), alone_in(tmp_path / "b") as waited:
        assert not waited
