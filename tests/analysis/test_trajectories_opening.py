"""Opening and converting trajectories of any code: packed, under any name, in bounded memory."""

import bz2
import gzip
import lzma
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from trajectory_files import DATA

from anodeflow.analysis.trajectories import Trajectory, convert, open_trajectory
from anodeflow.errors import InputError


class TestOpening:
    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
    def test_compressed_and_under_any_name(self, tmp_path, pack):
        for name in ("si8-md.md", "vasprun_relax.xml", "XDATCAR_drift"):
            path = tmp_path / "renamed"
            path.write_bytes(pack((DATA / name).read_bytes()))
            packed, plain = open_trajectory(path), open_trajectory(DATA / name)
            assert packed.format == plain.format
            for one, other in zip(packed, plain, strict=True):
                assert (one.positions == other.positions).all()

    def test_what_is_no_trajectory(self, tmp_path):
        path = tmp_path / "x"
        cases = {
            b"": "is empty",
            b"\n  \n": "is empty",
            bytes(range(256)) * 40: "not known as a trajectory",
            b"hello\nworld\n": "it starts with 'hello",
            b" vasp.6.2.0 18Jan21\n": "OUTCAR",
            b"Li\n1.0\n3 0 0\n0 3 0\n0 0 3\nLi\n1\nDirect\n0 0 0\n": "POSCAR",
            b"\x1f\x8b\x08": "cut short|cannot be read",
        }
        for content, message in cases.items():
            path.write_bytes(content)
            with pytest.raises(InputError, match=message) as caught:
                list(open_trajectory(path))
            assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="no such file"):
            open_trajectory(tmp_path / "nothing")
        with pytest.raises(InputError, match="is a folder"):
            open_trajectory(tmp_path)

    def test_binary_junk_under_every_known_name(self, tmp_path):
        junk = np.random.default_rng(3).bytes(50_000)
        for name in ("XDATCAR", "vasprun.xml", "a.md", "a.traj", "a.xyz", "vaspout.h5", "a.atraj", "a.dump"):
            (tmp_path / name).write_bytes(junk)
            with pytest.raises(InputError, match="not known as a trajectory"):
                open_trajectory(tmp_path / name)

    def test_one_format_under_the_name_of_another(self, tmp_path):
        shutil.copy(DATA / "si8-md.md", tmp_path / "vasprun.xml")
        assert open_trajectory(tmp_path / "vasprun.xml").format == "CASTEP"
        with pytest.raises(InputError, match=r"XDATCAR|scale of the cell"):
            list(open_trajectory(DATA / "si8-md.md", format="xdatcar"))

    def test_a_damaged_archive(self, tmp_path):
        packed = bytearray((DATA / "XDATCAR_Li6PS5Cl.gz").read_bytes())
        packed[-6] ^= 0xFF  # the sum at the end
        path = tmp_path / "XDATCAR.gz"
        path.write_bytes(packed)
        with pytest.raises(InputError, match="CRC check failed"):
            list(open_trajectory(path))

    def test_slices(self):
        trajectory = open_trajectory(DATA / "vasprun_cell.xml.gz")
        assert [frame.index for frame in trajectory[3:12:4]] == [3, 7, 11]
        assert trajectory[5].energy_ev == [frame.energy_ev for frame in trajectory][5]
        with pytest.raises(InputError, match="random access"):
            trajectory[-3:]
        with pytest.raises(IndexError):
            trajectory[19]
        assert isinstance(trajectory[:2], Trajectory)

    def test_an_iteration_left_early_closes_the_file(self):
        trajectory = open_trajectory(DATA / "vasprun_cell.xml.gz")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            for frame in trajectory:
                if frame.index == 2:
                    break
            assert len(list(trajectory)) == 19


def test_convert(tmp_path):
    source = DATA / "si8-md.md"
    for name in ("x.atraj", "x.extxyz", "x.traj"):
        assert convert(source, tmp_path / name) == 3
        for frame, reference in zip(open_trajectory(tmp_path / name), open_trajectory(source), strict=True):
            np.testing.assert_allclose(frame.positions, reference.positions, atol=5.1e-6)
            np.testing.assert_allclose(frame.velocities, reference.velocities, rtol=1e-5, atol=2e-8)
            np.testing.assert_allclose(frame.forces, reference.forces, rtol=1e-6, atol=1e-7)
            assert frame.energy_ev == pytest.approx(reference.energy_ev, abs=1e-6)
    with pytest.raises(InputError, match="exists already"):
        convert(source, tmp_path / "x.traj")
    with pytest.raises(InputError, match="no trajectory is written"):
        convert(source, tmp_path / "x.doc")
    bad = tmp_path / "bad.xyz"
    bad.write_text("1\n\nLi 0 0 0\n1\n\nLi 0 0 nan\n")
    with pytest.raises(InputError, match="nan"):
        convert(bad, tmp_path / "y.atraj")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.xyz", "x.atraj", "x.extxyz", "x.traj"]


def test_memory_stays_bounded(tmp_path):
    """Ten times the frames, no more memory; 10^9 announced atoms, none at all."""
    rows = "".join(f"  {x:.8f}  {y:.8f}  {z:.8f}\n" for x, y, z in np.random.default_rng(1).random((256, 3)))
    head = "x\n 1.0\n 14 0 0\n 0 14 0\n 0 0 14\n Li\n 256\n"
    code = (
        "import sys\n"
        "from anodeflow.analysis.trajectories import open_trajectory\n"
        "try:\n    n = sum(1 for _ in open_trajectory(sys.argv[1]))\nexcept Exception as e:\n    n = e\n"
        # unlike ru_maxrss, this does not begin with the size of the process that started this one
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], n)"
    )
    peaks = []
    for number in (100, 1000):
        path = tmp_path / "XDATCAR"
        path.write_text(head + "".join(f"Direct configuration= {n:5d}\n{rows}" for n in range(1, number + 1)))
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        peak, frames = done.stdout.split()
        assert int(frames) == number
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 4_000, "kB more for 9.7 MB more"
    path.write_bytes(gzip.compress((head.replace("256", "1000000000") + "Direct configuration= 1\n" + rows).encode()))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) - peaks[0] < 4_000
    assert "1000000000 atoms" in done.stdout
