"""Segments: killed anywhere they go on without a lost or doubled frame; foreign and broken checkpoints are refused."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from springs import Springs, crystal

from anodeflow.analysis.trajectories.compact import CompactTrajectory
from anodeflow.analysis.trajectories.joined import join_trajectories
from anodeflow.documents import CalculationDoc
from anodeflow.errors import ConvergenceError, InputError
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import Dynamics, load_card
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs import lock, recognised
from anodeflow.workflows.jobs.checkpoint import load_checkpoint, run_hash, save_checkpoint
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.jobs.segment import DynamicsRun, Segment, dynamics_segment, files_are_whole

CARD = load_card("lacss2024-aimd").model_dump(mode="json")
STEPS, EVERY, CHECKPOINT, SEGMENTS = 60, 5, 20, 3


@pytest.fixture
def engine(tmp_path, monkeypatch) -> str:
    model = tmp_path / "model"
    model.write_text("springs")
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    kind = potentials.Potential("ase", None, lambda path, device: Springs(q=8.0), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    return f"springs:{model}"


def settings(seed=1, thermostat="langevin", **changes) -> dict:
    moving = Dynamics(ensemble="nvt", timestep_fs=2, duration_ps=1, temperature_k=300, thermostat=thermostat)
    fields = {"dynamics": moving, "seed": seed, "equilibration_steps": 0, "sample_every": EVERY,
              "checkpoint_every": CHECKPOINT} | changes  # fmt: skip
    return DynamicsRun(**fields).model_dump(mode="json")


def segment(*arguments):
    return recognised_of(dynamics_segment(*arguments)).result(None)


def is_finished(store, *arguments):
    return recognised_of(dynamics_segment(*arguments)).is_finished(store)


def chain(engine, number=SEGMENTS, run=None):
    docs = []
    for k in range(number):
        docs.append(
            segment(
                None if docs else crystal(), docs[-1] if docs else None, run or settings(), CARD, engine,
                f"test/segment {k + 1}", k * STEPS, (k + 1) * STEPS,
            )
        )  # fmt: skip
    return docs


def frames(docs) -> list[tuple[int, bytes, float, float]]:
    joined = join_trajectories([CompactTrajectory(Path(d.directory) / d.trajectory) for d in docs], strict=True)
    return [(f.step, f.positions.tobytes(), f.energy_ev, f.kinetic_energy_ev) for f in joined]


def test_a_run_is_its_segments(engine):
    docs = chain(engine)
    found = frames(docs)
    assert [f[0] for f in found] == list(range(0, SEGMENTS * STEPS + 1, EVERY))
    assert sum(d.frames for d in docs) == len(found)
    assert len({d.run for d in docs}) == 1
    assert len({d.fingerprint for d in docs}) == SEGMENTS
    assert all(files_are_whole(d) for d in docs)
    assert docs[0].duration_ps == pytest.approx(0.12)
    assert docs[-1].mean_temperature_k == pytest.approx(300, abs=200)
    for doc in docs:
        begun = doc.first_step if doc.first_step else -1  # the very first frame belongs to the first segment
        assert doc.arrays["step"].tolist() == [s for s, *_ in found if begun < s <= doc.last_step]
        end = load_checkpoint(Path(doc.directory) / doc.checkpoint)
        assert end.digest == doc.checkpoint_digest
        assert end.state.step == doc.last_step


@pytest.mark.parametrize("thermostat", ["langevin", "nose-hoover"])
def test_segments_of_any_length_and_one_long_run_are_the_same_trajectory(engine, thermostat):
    run = settings(thermostat=thermostat)
    pieces = frames(chain(engine, run=run))
    whole = segment(crystal(), None, run, CARD, engine, "whole", 0, SEGMENTS * STEPS)
    assert frames([whole]) == pieces


def killed(engine, runs, rng) -> bool:
    """Run the chain in a child that is killed at a random moment; whether the kill came before its end."""
    child = os.fork()
    if child == 0:
        try:
            chain(engine)
        finally:
            os._exit(0)

    def states():
        return {(f, f.stat().st_mtime_ns) for f in runs.glob("*/checkpoint.npz")}

    seen, wanted, deadline = states(), rng.integers(0, 3), time.monotonic() + 60
    writes = 0
    while writes < wanted and time.monotonic() < deadline and not os.waitpid(child, os.WNOHANG)[0]:
        now = states()
        writes, seen = writes + bool(now - seen), now
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.06))
    try:
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1] != 0
    except (ProcessLookupError, ChildProcessError):
        return False


def test_killed_at_random_moments_nothing_is_lost_or_doubled(engine, tmp_path, monkeypatch):
    uninterrupted = chain(engine)
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "killed"))

    class Slow(Springs):
        def calculate(self, *arguments, **named):
            time.sleep(0.002)
            super().calculate(*arguments, **named)

    kind = potentials.Potential("ase", None, lambda path, device: Slow(q=8.0), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    get_engine.cache_clear()
    rng, runs = np.random.default_rng(7), tmp_path / "killed"
    kills = sum(killed(engine, runs, rng) for _ in range(6))
    assert kills >= 3
    docs = chain(engine)
    assert any("continued at step" in note for d in docs for note in d.warnings)
    assert frames(docs) == frames(uninterrupted)
    assert [d.checkpoint_digest for d in docs] == [d.checkpoint_digest for d in uninterrupted]
    for one, other in zip(docs, uninterrupted, strict=True):
        for column in one.arrays:
            assert np.array_equal(one.arrays[column], other.arrays[column])


def test_a_stop_between_steps_goes_on_from_the_last_checkpoint(engine, tmp_path, monkeypatch):
    whole = frames(chain(engine, 1))
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "stopped"))

    def stop(label, step, energy, force):
        if step == 47:
            raise monitor.StopRequested

    monitor.listen(stop)
    try:
        with pytest.raises(monitor.StopRequested):
            chain(engine, 1)
    finally:
        monitor.listen(None)
    docs = chain(engine, 1)
    assert docs[0].warnings == ["continued at step 40 of an earlier attempt"]
    assert frames(docs) == whole


class FakeStore:
    def __init__(self, docs):
        self.docs = docs

    def query_one(self, criteria, **options):
        found = [d for d in self.docs if d.fingerprint == criteria["output.fingerprint"]]
        return {"output": found[0].model_dump()} if found else None


def test_finished_segments_are_recognised_until_their_files_change(engine):
    docs = chain(engine, 2)
    store = FakeStore(docs)
    second = (None, docs[0], settings(), CARD, engine, "test/segment 2", STEPS, 2 * STEPS)
    assert is_finished(store, *second)
    assert not is_finished(store, None, docs[0], settings(), CARD, engine, "any label", STEPS, 3 * STEPS)
    assert not is_finished(store, None, docs[0], settings(seed=2), CARD, engine, "any label", STEPS, 2 * STEPS)
    longer = settings(dynamics=Dynamics(ensemble="nvt", timestep_fs=2, duration_ps=50, temperature_k=300,
                                        thermostat="langevin"))  # fmt: skip
    assert is_finished(store, None, docs[0], longer, CARD, engine, "any label", STEPS, 2 * STEPS)
    before = frames(docs)
    path = Path(docs[1].directory) / docs[1].trajectory
    path.write_bytes(path.read_bytes()[:-100])
    assert not is_finished(store, *second)
    again = segment(*second)
    assert "started from scratch" in again.warnings[0]
    assert frames([docs[0], again]) == before


def test_a_broken_checkpoint_of_its_own_is_computed_again(engine):
    docs = chain(engine, 2)
    before = frames(docs)
    path = Path(docs[1].directory) / docs[1].checkpoint
    path.write_bytes(path.read_bytes()[:500])
    again = chain(engine, 2)
    assert "cut short or damaged" in again[1].warnings[0]
    assert frames(again) == before


def test_the_checkpoint_before_must_be_whole_and_of_the_same_run(engine):
    first = chain(engine, 1)[0]
    path = Path(first.directory) / first.checkpoint
    following = (None, first, settings(), CARD, engine, "x", STEPS, 2 * STEPS)
    with pytest.raises(InputError, match="another run"):
        segment(None, first, settings(seed=2), CARD, engine, "x", STEPS, 2 * STEPS)
    with pytest.raises(InputError, match="another run"):
        segment(None, first, settings(), load_card("embedded").model_dump(mode="json"), engine, "x", STEPS, 2 * STEPS)
    with pytest.raises(InputError, match="at step 60"):
        segment(None, first, settings(), CARD, engine, "x", 2 * STEPS, 3 * STEPS)
    whole = path.read_bytes()
    for length in (0, 10, 500, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut short or damaged.*run again") as caught:
            segment(*following)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        segment(*following)


def test_checkpoints_say_what_differs(engine, tmp_path):
    first = chain(engine, 1)[0]
    path = Path(first.directory) / first.checkpoint
    found = load_checkpoint(path, first.identity)
    assert run_hash(found.identity) == first.run
    with pytest.raises(InputError, match="seed is 1, not 3"):
        load_checkpoint(path, first.identity | {"seed": 3})
    copy = tmp_path / "copy.npz"
    save_checkpoint(found, copy)
    assert load_checkpoint(copy).digest == found.digest
    with np.load(copy, allow_pickle=False) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    arrays["meta"] = np.frombuffer(json.dumps(meta | {"version": 9}).encode(), dtype=np.uint8)
    np.savez(copy, **arrays)
    with pytest.raises(InputError, match="version 9"):
        load_checkpoint(copy)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    arrays["positions"] = arrays["positions"] + 1e-12
    np.savez(copy, **arrays)
    with pytest.raises(InputError, match="does not fit its digest"):
        load_checkpoint(copy)
    np.save(copy.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(copy.with_suffix(".npy"))


def test_an_explosion_keeps_what_was_before(engine, monkeypatch):
    class Breaking(Springs):
        calls = 0

        def calculate(self, *arguments, **named):
            super().calculate(*arguments, **named)
            Breaking.calls += 1
            if Breaking.calls > 50:
                self.results["forces"][3] = np.nan

    kind = potentials.Potential("ase", None, lambda path, device: Breaking(), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    get_engine.cache_clear()
    with pytest.raises(ConvergenceError, match=r"step 4\d: atom 4 \(Al\)"):
        chain(engine, 1)
    folder = next(Path(os.environ["ANODEFLOW_RUNS"]).glob("[!.]*"))
    assert load_checkpoint(folder / "checkpoint.npz").state.step == 40


def test_a_start_that_was_not_relaxed_enough_is_refused(engine):

    record = get_engine(engine).record()
    doc = CalculationDoc(
        fingerprint="a", label="cell/start", task="relax", energy_ev=-1.0, structure=crystal(), converged=False,
        max_force_ev_per_angstrom=40.0, engine=record, card={"name": "c", "hash": "h"}, error="not relaxed",
    )  # fmt: skip
    with pytest.raises(ConvergenceError, match="not a geometry to start from"):
        segment(doc, None, settings(), CARD, engine, "x", 0, STEPS)
    near = doc.model_copy(update={"max_force_ev_per_angstrom": 0.3})
    assert segment(near, None, settings(), CARD, engine, "x", 0, STEPS).converged


def test_a_segment_that_another_process_computes_is_waited_for(engine, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(recognised, "WRITTEN_AFTER_S", 0.1)
    (done,) = chain(engine, 1)
    before = Path(done.directory, done.trajectory).stat()
    held, free = threading.Event(), threading.Event()

    def other_process():
        with lock.alone(done.fingerprint):
            held.set()
            free.wait(20)

    thread = threading.Thread(target=other_process)
    thread.start()
    assert held.wait(20)
    stored = [None, done]  # nothing when this one begins, the other one's when it has left
    monkeypatch.setattr(Segment, "find", lambda self, store: stored.pop(0))
    threading.Timer(0.3, free.set).start()
    (again,) = chain(engine, 1)
    thread.join()
    assert again is done
    assert not stored
    assert Path(done.directory, done.trajectory).stat() == before
