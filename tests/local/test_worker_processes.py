"""Worker processes import nothing from the folder they run in, end with their parent, and compute nothing twice."""

import json
import queue
import time

import pytest
from monty.json import MontyEncoder
from needs import needs_proc
from processes import children, lifetime_s
from runs import began, start

from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.local import runner
from anodeflow.workflows.local.messages import Done, Step
from anodeflow.workflows.store import open_job_store

# A process that was killed leaves at once what it holds; a loaded machine takes a while to see it.
SLACK_S = 3.0


@needs_proc
@pytest.mark.parametrize("moment", ["in a step", "in a program", "at the start"])
def test_no_worker_outlives_a_killed_parent(folder, monkeypatch, moment):
    """Within two seconds, though the step that is being made would take minutes."""
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "12000")
    if moment == "in a program":
        monkeypatch.setenv("ANODEFLOW_TEST_PROGRAM", "sleep 600")
    process = start(folder, "--workers", "2")
    if moment == "at the start":
        deadline = time.monotonic() + 60
        while not children(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
    else:
        began(folder)
    workers = children(process.pid)
    assert workers
    programs, deadline = [], time.monotonic() + (60 if moment == "in a program" else 0)
    while not programs and time.monotonic() <= deadline:
        programs = [pid for worker in workers for pid in children(worker)]
    assert bool(programs) == (moment == "in a program")
    process.kill()
    process.communicate()
    assert lifetime_s(workers + programs) < 2.0 + SLACK_S


def test_nothing_beside_a_study_is_imported(folder):
    stray = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n1 / 0\n"
    for name in ("queue", "chgnet", "ase", "torch", "jobflow", "numpy"):
        (folder / f"{name}.py").write_text(stray)
    done = start(folder)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert json.loads(out)["hosts"][0]["binding_energy_ev"]
    assert not list(folder.glob("*.ran"))


def test_two_runs_of_one_study_compute_nothing_twice(folder, monkeypatch):
    """Also with an engine that has no folder of its own, which two processes could not meet in."""
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "1")
    both = [start(folder, "--workers", "2"), start(folder, "--workers", "2")]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    computed = (folder / "computed").read_text().splitlines()
    assert len(computed) == len(set(computed))
    counts = [err.strip().splitlines()[-1].split() for _, err in ends]
    assert sum(int(words[0]) for words in counts) == len(computed)
    assert {int(words[0]) + int(words[3]) for words in counts} == {len(computed)}
    energies = [json.loads(out)["hosts"][0]["binding_energy_ev"] for out, _ in ends]
    assert energies[0] == energies[1]
    assert not (folder / "anodeflow-runs").exists()


def test_a_worker_says_when_it_found_a_result(folder):
    inbox = queue.Queue()
    store = open_job_store(folder / "s.sqlite")
    card = load_card("embedded").model_dump(mode="json")
    made = CalculationMaker(task="relax", card=card, engine="folderless").make(load_crystal("Li"), "Li")
    worker = runner._Worker(str(folder / "s.sqlite"), 1, inbox)
    try:
        said = []
        for _ in range(2):
            worker.send(json.dumps(made, cls=MontyEncoder))
            while isinstance(message := inbox.get(timeout=120)[1], Step):
                pass
            said.append(message)
    finally:
        worker.end()
    assert said == [Done(reused=False), Done(reused=True)]
    assert store.count() == 1
