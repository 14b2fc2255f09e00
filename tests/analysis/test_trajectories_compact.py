"""The compact format: what goes in comes out, writers may be killed, segments join."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anodeflow.analysis.trajectories import (
    Frame,
    TrajectoryTruncated,
    TrajectoryWriter,
    UnwrapWarning,
    join_trajectories,
    open_trajectory,
    unwrapped,
    wrapped,
)
from anodeflow.errors import InputError, ReferenceMismatchError, StoreError

SPECIES = ["Li", "Li", "P", "S", "S"]
CELL = np.array([[8.0, 0, 0], [1.0, 9.0, 0], [0, -2.0, 10.0]])
METADATA = {
    "timestep_fs": 2.0,
    "steps_between_frames": 10,
    "engine": {"name": "sevennet", "hash": "0123"},
    "card_hash": "c",
    "study_hash": "s",
    "seed": 7,
}


def frame(step, seed=0, **values):
    """A frame that follows from its step alone, as in a deterministic run."""
    start = np.random.default_rng(seed).random((5, 3)) * 8
    positions = start + 0.01 * step * np.linspace(-1, 1, 15).reshape(5, 3)
    return Frame(0, np.array(SPECIES), positions, CELL, step=step, time_fs=2.0 * step, **values)


def write(path, steps, **options):
    with TrajectoryWriter(path, SPECIES, metadata=METADATA, **options) as writer:
        for step in steps:
            writer.write(frame(step, energy_ev=-0.1 * step, temperature_k=300.0 + step))
    return path


class TestRoundTrip:
    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.floats(-2e4, 2e4), min_size=15, max_size=15),
        st.one_of(st.none(), st.floats(-1e6, 1e6)),
        st.one_of(st.none(), st.integers(-(2**60), 2**60)),
        st.one_of(st.none(), st.booleans()),
    )
    def test_positions_within_half_the_resolution_and_the_rest_exact(
        self, tmp_path_factory, numbers, energy, step, good
    ):
        path = tmp_path_factory.mktemp("x") / "x.atraj"
        given_ = Frame(
            0,
            np.array(SPECIES),
            np.array(numbers).reshape(5, 3),
            CELL,
            energy_ev=energy,
            kinetic_energy_ev=energy,
            temperature_k=energy,
            time_fs=energy,
            step=step,
            electronic_converged=good,
        )
        with TrajectoryWriter(path, SPECIES) as writer:
            writer.write(given_)
        back = open_trajectory(path)[0]
        assert np.abs(back.positions - given_.positions).max() <= 5.001e-6
        assert (back.cell == CELL).all()
        for name in ("energy_ev", "kinetic_energy_ev", "temperature_k", "time_fs", "step", "electronic_converged"):
            assert getattr(back, name) == getattr(given_, name)
        assert back.forces is None
        assert back.velocities is None

    def test_fields_metadata_and_random_access(self, tmp_path):
        path = tmp_path / "x.atraj"
        rng = np.random.default_rng(5)
        velocities, forces = rng.normal(size=(2, 40, 5, 3))
        with TrajectoryWriter(path, SPECIES, fields=["forces", "velocities"], metadata=METADATA) as writer:
            for step in range(40):
                writer.write(frame(step, velocities=velocities[step], forces=forces[step]))
        trajectory = open_trajectory(path)
        assert trajectory.metadata == METADATA
        assert list(trajectory.species) == SPECIES
        assert len(trajectory) == 40
        for index in (39, 0, 17, -1):
            got = trajectory[index]
            np.testing.assert_allclose(got.velocities, velocities[index], rtol=1e-6)
            np.testing.assert_allclose(got.forces, forces[index], rtol=1e-6)
            assert got.step == index % 40
        assert [got.step for got in trajectory[30:5:-10]] == [30, 20, 10]
        assert len(trajectory[::3]) == 14
        with pytest.raises(IndexError):
            trajectory[40]
        # 12 bytes an atom and field, 120 a frame
        assert path.stat().st_size == pytest.approx(40 * (120 + 3 * 12 * 5), abs=512)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"positions": np.full((5, 3), np.nan)}, "positions are of shape .* not finite"),
            ({"positions": np.zeros((4, 3))}, "positions"),
            ({"positions": np.full((5, 3), 3e4)}, "30000 angstrom away"),
            ({"energy_ev": float("inf")}, "energy_ev is inf"),
            ({"species": np.array(["Li", "Li", "P", "S", "Cl"])}, "other atoms"),
            ({"velocities": None}, "velocities are missing"),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, tmp_path, change, message):
        path = tmp_path / "x.atraj"
        with TrajectoryWriter(path, SPECIES, fields=["velocities"]) as writer:
            good = frame(0, velocities=np.zeros((5, 3)))
            writer.write(good)
            bad = frame(1, velocities=np.zeros((5, 3)))
            for name, value in change.items():
                setattr(bad, name, value)
            with pytest.raises(InputError, match=message):
                writer.write(bad)
            writer.write(good)
        assert len(open_trajectory(path)) == 2

    def test_writers_do_not_meet(self, tmp_path):
        path = tmp_path / "x.atraj"
        with TrajectoryWriter(path, SPECIES) as writer:
            with pytest.raises(InputError, match="another process writes it"):
                TrajectoryWriter(path, SPECIES, append=True)
            with pytest.raises(InputError, match="exists already"):
                TrajectoryWriter(path, SPECIES)
            writer.write(frame(0))
            # a reader sees what is there so far
            assert len(open_trajectory(path)) == 1
        with pytest.raises(StoreError, match="is closed"):
            writer.write(frame(1))
        with pytest.raises(InputError, match="other atoms, fields or metadata"):
            TrajectoryWriter(path, SPECIES[::-1], append=True)
        with pytest.raises(InputError, match="other atoms, fields or metadata"):
            TrajectoryWriter(path, SPECIES, metadata={"seed": 1}, append=True)
        with pytest.raises(StoreError, match="cannot be written"):
            TrajectoryWriter(tmp_path / "no" / "folder.atraj", SPECIES)

    def test_full_disk(self, tmp_path, monkeypatch):
        path = tmp_path / "x.atraj"
        writer = TrajectoryWriter(path, SPECIES)
        writer.write(frame(0))
        true = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda file, data, at: true(file, data[:50], at))
        with pytest.raises(StoreError, match="frame 1 cannot be written"):
            writer.write(frame(1))
        monkeypatch.undo()
        writer.write(frame(1))
        writer.close()
        assert [got.step for got in open_trajectory(path)] == [0, 1]

    def test_empty_and_torn_files(self, tmp_path):
        path = tmp_path / "x.atraj"
        TrajectoryWriter(path, SPECIES).close()
        with pytest.raises(InputError, match="holds no frame"):
            list(open_trajectory(path))
        path.unlink()
        write(path, range(3))
        with path.open("ab") as file:
            file.write(b"x" * 20)
        trajectory = open_trajectory(path)
        with pytest.warns(TrajectoryTruncated, match="within frame 3"):
            assert [got.step for got in trajectory] == [0, 1, 2]
        with TrajectoryWriter(path, SPECIES, metadata=METADATA, append=True) as writer:
            assert writer.frames == 3
            writer.write(frame(3))
        trajectory = open_trajectory(path)
        assert [got.step for got in trajectory] == [0, 1, 2, 3]
        assert trajectory.incomplete is None

    def test_a_header_that_announces_too_much(self, tmp_path):
        import json
        import struct
        import zlib

        text = json.dumps(
            {"atoms": 10**9, "species": [["Li", 10**9]], "fields": [], "resolution_angstrom": 1e-5, "metadata": {}}
        ).encode()
        path = tmp_path / "x.atraj"
        path.write_bytes(struct.pack("<8s3I", b"ANODETRJ", 1, len(text), zlib.crc32(text)) + text)
        with pytest.raises(InputError, match="announces 1000000000 atoms"):
            open_trajectory(path)
        path.write_bytes(struct.pack("<8s3I", b"ANODETRJ", 1, 2**32 - 1, 0) + text)
        with pytest.raises(InputError, match="cut short or damaged"):
            open_trajectory(path)
        path.write_bytes(struct.pack("<8s3I", b"ANODETRJ", 9, len(text), zlib.crc32(text)) + text)
        with pytest.raises(InputError, match="version 9"):
            open_trajectory(path)


def test_a_killed_writer_leaves_whole_frames(tmp_path):
    """SIGKILL at any moment: everything that `write` returned from is there, and the file can be continued."""
    code = (
        "import sys, itertools; sys.path.insert(0, sys.argv[2])\n"
        "from test_trajectories_compact import frame, SPECIES, METADATA\n"
        "from anodeflow.analysis.trajectories import TrajectoryWriter\n"
        "w = TrajectoryWriter(sys.argv[1], SPECIES, metadata=METADATA, append=True)\n"
        "for step in itertools.count(w.frames):\n"
        "    w.write(frame(step)); print(step, flush=True)\n"
    )
    path = tmp_path / "x.atraj"
    written = 0
    for wait in (0.02, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", code, path, os.path.dirname(__file__)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        last = [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")][-1:]
        process.wait()
        process.stdout.close()
        steps = [got.step for got in open_trajectory(path)]
        assert steps == list(range(len(steps)))
        assert len(steps) > max(written, int(last[0]) if last else 0)
        written = len(steps)


class TestJoin:
    def test_the_later_segment_counts_where_they_overlap(self, tmp_path):
        # the first run was killed at step 90, the second went on from the state at 60
        one, two = write(tmp_path / "1.atraj", range(0, 100, 10)), write(tmp_path / "2.atraj", range(60, 150, 10))
        joined = join_trajectories([open_trajectory(one), open_trajectory(two)])
        assert [got.step for got in joined] == list(range(0, 150, 10))
        assert [got.index for got in joined] == list(range(15))
        assert [got.source for got in joined] == [str(one)] * 6 + [str(two)] * 9
        assert len(joined) == 15
        assert [joined[n].step for n in (0, 5, 6, 14, -1)] == [0, 50, 60, 140, 140]
        assert [got.step for got in joined[4:8]] == [40, 50, 60, 70]
        np.testing.assert_allclose(joined[6].positions, frame(60).positions, atol=1e-5)

    def test_end_to_start_and_without_overlap(self, tmp_path):
        paths = [
            write(tmp_path / "1.atraj", range(0, 51, 10)),
            write(tmp_path / "2.atraj", range(50, 101, 10)),
            write(tmp_path / "3.atraj", range(110, 151, 10)),
        ]
        joined = join_trajectories([open_trajectory(path) for path in paths])
        assert [got.step for got in joined] == list(range(0, 160, 10))

    def test_gaps_name_the_missing_steps(self, tmp_path):
        one, two = write(tmp_path / "1.atraj", range(0, 51, 10)), write(tmp_path / "2.atraj", range(90, 121, 10))
        with pytest.raises(InputError, match=r"steps 60 to 80 are missing between step 50 .*1.atraj.*2.atraj"):
            join_trajectories([open_trajectory(one), open_trajectory(two)])
        three = write(tmp_path / "3.atraj", [0, 10, 20, 40, 50])
        with pytest.raises(InputError, match="step 30 is missing"):
            join_trajectories([open_trajectory(three)])
        four = write(tmp_path / "4.atraj", range(55, 100, 10))
        with pytest.raises(InputError, match="step 55 follows step 50"):
            join_trajectories([open_trajectory(one), open_trajectory(four)])
        with pytest.raises(InputError, match="begins with step 0"):
            join_trajectories([open_trajectory(two), open_trajectory(one)])

    def test_segments_of_different_runs(self, tmp_path):
        one = write(tmp_path / "1.atraj", range(0, 51, 10))
        with TrajectoryWriter(tmp_path / "2.atraj", SPECIES, metadata=METADATA) as writer:
            for step in range(50, 100, 10):
                writer.write(frame(step, seed=1))
        joined = join_trajectories([open_trajectory(one), open_trajectory(tmp_path / "2.atraj")])
        with pytest.raises(InputError, match=r"step 50 differs between .*1.atraj and .*2.atraj: atom \d by"):
            list(joined)
        with TrajectoryWriter(tmp_path / "3.atraj", SPECIES, metadata={**METADATA, "card_hash": "d"}) as writer:
            writer.write(frame(60))
        with pytest.raises(ReferenceMismatchError, match=r"card_hash of .*3.atraj is d, of .* c"):
            join_trajectories([open_trajectory(one), open_trajectory(tmp_path / "3.atraj")])

    def test_codes_that_count_every_run_from_the_start(self, tmp_path):
        head = "x\n 1.0\n 8 0 0\n 0 8 0\n 0 0 8\n Li\n 1\n"
        for name, x in (("1", range(4)), ("2", range(4, 8))):
            frames = (f"Direct configuration= {n}\n {0.01 * a:.4f} 0 0\n" for n, a in enumerate(x, start=1))
            (tmp_path / name).write_text(head + "".join(frames))
        segments = [open_trajectory(tmp_path / name) for name in ("1", "2")]
        with pytest.raises(InputError, match="first_steps"):
            join_trajectories(segments)
        joined = join_trajectories(segments, first_steps=[0, 4])
        assert [got.step for got in joined] == list(range(1, 9))
        assert [round(got.positions[0, 0], 6) for got in joined] == [round(0.08 * n, 6) for n in range(8)]
        with pytest.raises(InputError, match="step 5 is missing"):
            list(join_trajectories(segments, first_steps=[0, 5]))


class TestWrapping:
    def walk(self, step_length, number=200):
        rng = np.random.default_rng(2)
        moves = rng.normal(size=(number, 5, 3))
        moves *= step_length / np.linalg.norm(moves, axis=2, keepdims=True)
        true = np.cumsum(moves, axis=0) + rng.random((5, 3)) @ CELL
        return [Frame(n, np.array(SPECIES), positions, CELL, source="walk") for n, positions in enumerate(true)]

    def test_unwrapping_undoes_wrapping(self):
        true = self.walk(1.5)
        inside = list(wrapped(true))
        assert max(f.fractional.max() for f in inside) < 1.0
        assert min(f.fractional.min() for f in inside) > -1e-12
        back = list(unwrapped(inside))
        offset = back[0].positions - true[0].positions
        for got, expected in zip(back, true, strict=True):
            np.testing.assert_allclose(got.positions - offset, expected.positions, atol=1e-9)
        # far outside the cell by then
        assert np.abs(back[-1].fractional - back[0].fractional).max() > 1

    def test_unwrapped_input_stays_bit_by_bit(self):
        true = self.walk(0.5)
        for got, expected in zip(unwrapped(true), true, strict=True):
            assert (got.positions == expected.positions).all()

    def test_moves_that_are_too_long(self):
        # heights of the cell: 10 along c; a and b nearly 8 and 9
        def two(move):
            start = np.zeros((1, 3))
            return [Frame(n, np.array(["Li"]), start + n * np.array(move), np.diag([8.0, 9, 10])) for n in (0, 1)]

        list(unwrapped(two([1.9, 0, 0])))
        with pytest.warns(UnwrapWarning, match=r"atom 1 \(Li\) moved 3.00 angstrom"):
            list(unwrapped(two([3.0, 0, 0])))
        with pytest.warns(UnwrapWarning):  # 5 is taken for -3
            assert list(unwrapped(two([5.0, 0, 0])))[1].positions[0, 0] == pytest.approx(-3)
        with pytest.raises(InputError, match=r"moved 4.24 angstrom .* half the height of the cell \(8.00"):
            list(unwrapped(two([3.0, 3.0, 0])))

    def test_a_cell_that_breathes(self):
        frames = []
        for n in range(30):
            cell = np.diag([8.0, 8, 8]) * (1 + 0.01 * np.sin(n))
            frames.append(Frame(n, np.array(["Li"]), (np.array([[0.05 * n, 0, 0]]) % 1.0) @ cell, cell))
        back = list(unwrapped(frames))
        assert [f.fractional[0, 0] for f in back] == pytest.approx([0.05 * n for n in range(30)])

    def test_no_cell(self):
        with pytest.raises(InputError, match="has no cell"):
            list(unwrapped([Frame(0, np.array(["Li"]), np.zeros((1, 3)))]))
