"""Trajectories of VASP: the same numbers as ASE and pymatgen read."""

import sys
import warnings

import numpy as np
import pytest
from trajectory_files import DATA, same_as_ase, unpacked

from anodeflow.analysis.trajectories import TrajectoryTruncated, open_trajectory
from anodeflow.errors import InputError


class TestXdatcar:
    def test_like_ase_and_pymatgen(self, tmp_path):
        from ase.io import read
        from pymatgen.io.vasp.outputs import Xdatcar

        path = unpacked("XDATCAR_Li6PS5Cl.gz", tmp_path)
        trajectory = open_trajectory(path)
        frames = same_as_ase(trajectory, read(path, ":", format="vasp-xdatcar"), energies=False)
        assert len(trajectory.species) == 416
        assert {symbol: int((trajectory.species == symbol).sum()) for symbol in ("Li", "P", "S", "Cl")} == {
            "Li": 192,
            "P": 32,
            "S": 160,
            "Cl": 32,
        }
        for frame, structure in zip(frames, Xdatcar(path).structures, strict=True):
            np.testing.assert_allclose(frame.positions, structure.cart_coords, atol=1e-9)
        assert [frame.step for frame in frames] == [1, 2, 3]
        # what is physically in it: the P-S bond of PS4
        phosphorus, sulfur = (frames[0].fractional[frames[0].species == symbol] for symbol in ("P", "S"))
        between = phosphorus[:, None] - sulfur[None]
        nearest = np.linalg.norm((between - np.round(between)) @ frames[0].cell, axis=2).min(axis=1)
        assert nearest.mean() == pytest.approx(2.06, abs=0.05)

    def test_a_cell_that_changes(self, tmp_path):
        head = "npt\n 1.0\n {a} 0 0\n 0 {a} 0\n 0 0 {a}\n Li Cl\n 1 1\n"
        frame = "Direct configuration= {n}\n 0.0 0.0 0.0\n 0.5 0.5 0.25\n"
        text = "".join((head + frame).format(a=5 + 0.1 * n, n=n) for n in range(1, 4))
        path = tmp_path / "XDATCAR"
        path.write_text(text)
        frames = list(open_trajectory(path))
        assert [frame.cell[0, 0] for frame in frames] == pytest.approx([5.1, 5.2, 5.3])
        assert frames[2].positions[1] == pytest.approx([2.65, 2.65, 1.325])

    def test_scale_of_the_cell(self, tmp_path):
        path = tmp_path / "XDATCAR"
        body = "Li\n1\nDirect configuration= 1\n 0.5 0 0\n"
        path.write_text("x\n 4.0\n 1 0 0\n 0 1 0\n 0 0 1\n" + body)
        assert open_trajectory(path).first().positions[0, 0] == pytest.approx(2.0)
        path.write_text("x\n -64.0\n 1 0 0\n 0 1 0\n 0 0 1\n" + body)
        assert open_trajectory(path).first().cell[0, 0] == pytest.approx(4.0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\n8\nDirect configuration= 1\n0 0 0\n", "line 6.*without element symbols"),
            ("  1  1  100\n0.1 1 1 1 1\n 300\n CAR\n Si8\nKonfig= 1\n0 0 0\n", "line 2.*VASP 4"),
            ("x\n1\n4 0 0\n0 4 0\n0 0 0\nLi\n1\nDirect configuration= 1\n0 0 0\n", "line 5.*no volume"),
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1\nDirect configuration= 1\n0 0 nan\n", "line 9.*'nan'"),
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1\nDirect configuration= 1\n0 0 ****\n", "line 9.*not a finite number"),
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n2\nDirect configuration= 1\n0 0 0\n0 0\n", "line 10.*2 columns"),
            (
                "x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n2\nDirect configuration= 1\n0 0 0\nDirect configuration= 2\n0 0 0\n",
                "line 10.*Direct",
            ),
            (
                "x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1\nDirect configuration= 1\n0 0 0\n0 0 0\nDirect configuration= 2\n",
                "line 11.*scale of the cell",
            ),
            (
                "x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1\nDirect configuration= 1\n0 0 0\n"
                "x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n2\nDirect configuration= 2\n0 0 0\n0 0 0\n",
                "line 10.*other atoms",
            ),
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1000000000\nDirect configuration= 1\n0 0 0\n", "line 7.*1000000000 atoms"),
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n9000000\nDirect configuration= 1\n0 0 0\n", "line 7.*9000000 atoms"),
        ],
    )
    def test_bad_files_name_the_line(self, tmp_path, text, message):
        path = tmp_path / "XDATCAR"
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            list(open_trajectory(path))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


class TestVasprun:
    def test_like_ase(self, tmp_path):
        from ase.io import read

        # pymatgen cannot read this one: a parameter is '******'
        path = unpacked("vasprun_cell.xml.gz", tmp_path)
        frames = same_as_ase(open_trajectory(path), read(path, ":", format="vasp-xml"))
        assert len(frames) == 19
        assert not np.allclose(frames[0].cell, frames[-1].cell)

    def test_like_ase_and_pymatgen(self, tmp_path):
        from ase.io import read
        from pymatgen.io.vasp.outputs import Vasprun

        path = unpacked("vasprun_relax.xml", tmp_path)
        frames = same_as_ase(open_trajectory(path), read(path, ":", format="vasp-xml"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        for frame, step in zip(frames, run.ionic_steps, strict=True):
            np.testing.assert_allclose(frame.positions, step["structure"].cart_coords, atol=1e-9)
            np.testing.assert_allclose(frame.forces, step["forces"], atol=1e-9)
            assert frame.energy_ev == step["e_fr_energy"]
            assert frame.electronic_converged is (len(step["electronic_steps"]) < run.parameters["NELM"])
        assert all(frame.time_fs is None for frame in frames), "a relaxation has no time"

    def test_unconverged_electrons_are_flagged(self, tmp_path):
        path = unpacked("vasprun_relax.xml", tmp_path)
        text = path.read_text()
        steps = text.split("<calculation>")[1].count("<scstep>")
        path.write_text(text.replace('name="NELM">   200<', f'name="NELM">   {steps}<'))
        assert open_trajectory(path).first().electronic_converged is False

    def test_a_run_that_was_cut(self, tmp_path):
        trajectory = open_trajectory(DATA / "vasprun_truncated.xml.gz")
        with pytest.warns(TrajectoryTruncated):
            frames = list(trajectory)
        complete = list(open_trajectory(DATA / "vasprun_cell.xml.gz"))
        assert len(frames) == 18
        assert trajectory.incomplete.line == 2555  # the last one of the file
        for frame, whole in zip(frames, complete, strict=False):
            assert (frame.positions == whole.positions).all()
            assert frame.energy_ev == whole.energy_ev
        with pytest.raises(InputError, match=r"line 2555.*after 18 complete frames"):
            list(open_trajectory(DATA / "vasprun_truncated.xml.gz", strict=True))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<v>       0.00000000       0.00000000       0.00000000 </v>", "<v> **** 0 0 </v>", "not a finite number"),
            ('<i name="e_fr_energy">    -10.61487473', '<i name="e_fr_energy"> NaN', "line .*e_fr_energy is 'NaN"),
            ("</calculation>", "<calculation>", "within the calculation"),
            ("<rc><c>Si</c>", "<rc>", "'1' in the list of atoms is not an element"),
        ],
    )
    def test_bad_files(self, tmp_path, old, new, message):
        path = unpacked("vasprun_relax.xml", tmp_path)
        head, mark, tail = path.read_text().partition("<calculation>")
        where = head if old.startswith("<rc>") else tail
        # of energies the last one: those before are of the electronic steps
        changed = new.join(where.rsplit(old, 1)) if "energy" in old else where.replace(old, new)
        assert changed != where
        path.write_text(changed + mark + tail if where is head else head + mark + changed)
        with pytest.raises(InputError, match=message):
            list(open_trajectory(path))

    def test_nothing_is_expanded(self, tmp_path):
        path = unpacked("vasprun_relax.xml", tmp_path)
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        text = path.read_text()
        path.write_text(text.replace("<modeling>", bomb + "<modeling>", 1))
        assert len(list(open_trajectory(path))) == 3


def vaspout(path, steps=4, *, forces=None):
    h5py = pytest.importorskip("h5py", reason="vaspout.h5 needs h5py")
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        group = file.create_group("intermediate/ion_dynamics")
        group["position_ions"] = rng.random((steps, 3, 3))
        group["lattice_vectors"] = np.tile(np.diag([4.0, 5.0, 6.0]), (steps, 1, 1))
        group["forces"] = rng.random((forces or steps, 3, 3))
        # the names as VASP 6 pads them
        group["energies_tags"] = np.array(
            [b"ion-electron   TOTEN  ", b"kinetic energy EKIN   ", b"temperature    TEIN    "]
        )
        group["energies"] = np.array([[-10.0 - n, 0.1, 300.0 + n] for n in range(steps)])
        file["results/positions/ion_types"] = np.array([b"Li_sv", b"Cl"])
        file["results/positions/number_ion_types"] = [2, 1]
        file["results/positions/scale"] = 1.0
        file["input/incar/POTIM"], file["input/incar/IBRION"] = 2.0, 0
    return path


def test_vaspout(tmp_path):
    trajectory = open_trajectory(vaspout(tmp_path / "vaspout.h5"))
    assert len(trajectory) == 4
    assert list(trajectory.species) == ["Li", "Li", "Cl"]
    frame = trajectory[2]
    assert (frame.energy_ev, frame.temperature_k, frame.time_fs, frame.step) == (-12.0, 302.0, 6.0, 3)
    assert frame.positions[0] == pytest.approx(frame.fractional[0] * [4, 5, 6])
    trajectory = open_trajectory(vaspout(tmp_path / "two.h5", forces=2))
    with pytest.warns(TrajectoryTruncated):
        assert len(list(trajectory)) == 2


def test_hdf5_without_h5py_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "vaspout.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match=r"needs h5py; pip install h5py"):
        open_trajectory(path)
