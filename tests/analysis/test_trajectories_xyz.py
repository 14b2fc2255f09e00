"""Trajectories in extended XYZ, of LAMMPS and of ASE: the same numbers as ASE reads."""

import numpy as np
import pytest
from trajectory_files import DATA, same_as_ase, unpacked

from anodeflow.analysis.trajectories import open_trajectory
from anodeflow.errors import InputError


class TestXyz:
    def test_like_ase(self, tmp_path):
        from ase import units
        from ase.io import read

        path = unpacked("LiPS.exyz.xz", tmp_path)
        images = read(path, ":", format="extxyz")
        frames = same_as_ase(open_trajectory(path), images)
        for frame, atoms in zip(frames, images, strict=True):
            np.testing.assert_allclose(frame.velocities, atoms.get_velocities() * units.fs, rtol=1e-9)

    def test_columns_in_any_order(self, tmp_path):
        path = tmp_path / "x.extxyz"
        path.write_text(
            "2\nLattice='4 0 0 0 4 0 0 0 4' Properties=id:I:1:force:R:3:pos:R:3:species:S:1:tag:S:1 "
            "energy=-1.5 step=7\n"
            "1 0.1 0.2 0.3 1 2 3 Li a\n2 -0.1 -0.2 -0.3 0.5 0.5 0.5 Cl b\n"
        )
        frame = open_trajectory(path).first()
        assert list(frame.species) == ["Li", "Cl"]
        assert frame.positions.tolist() == [[1, 2, 3], [0.5, 0.5, 0.5]]
        assert frame.forces[0].tolist() == [0.1, 0.2, 0.3]
        assert (frame.energy_ev, frame.step) == (-1.5, 7)

    def test_plain_xyz_says_when_a_cell_is_needed(self, tmp_path):
        path = tmp_path / "x.xyz"
        path.write_text("1\nhello\nLi 1 2 3\n1\n\nLi 1 2 3.5\n")
        frames = list(open_trajectory(path))
        assert frames[1].positions[0, 2] == 3.5
        with pytest.raises(InputError, match=r"frame 1 has no cell.*cell="):
            frames[1].cell  # noqa: B018
        frames = list(open_trajectory(path, cell=np.diag([4, 5, 6])))
        assert frames[0].fractional[0] == pytest.approx([0.25, 0.4, 0.5])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1\n\nLi 0 0 0\n2\n\nLi 0 0 0\nLi 1 1 1\n", "frame 1 has 2 atoms, the first 1"),
            ("2\n\nLi 0 0 0\nCl 1 1 1\n2\n\nCl 0 0 0\nLi 1 1 1\n", "atom 1 is Cl in frame 1 and Li"),
            ("2\n\nLi 0 0 0\n1\n\nLi 0 0 0\n", "line 4: 1 columns"),
            ("1\n\nLi 0 0 0\nLi 1 1 1\n", "line 4: a number of atoms expected"),
            ("1000000000\n\nLi 0 0 0\n", "line 1: 1000000000 atoms"),
            ("1\nLattice='1 0 0 0 1 0 0 0'\nLi 0 0 0\n", "line 2: Lattice has 8 numbers"),
            ("1\nProperties=species:S:1:pos:R:2\nLi 0 0\n", "line 2: Properties has pos:R:2"),
            ("1\nProperties=species:S:1:pos:R:3:x:R:999999999\nLi 0 0 0\n", "line 2: Properties has '999999999'"),
            ("1\n\n3 0 0 0\n", "line 3: '3' is not an element symbol"),
            ("2\n\nLi 0 0 0\nLi 0 0 inf\n", "line 4: 'inf' is not a finite number"),
            ("2\n\nLi 0 0 0\nLi 0 0\n", "line 4: 3 columns"),
        ],
    )
    def test_bad_files_name_the_line(self, tmp_path, text, message):
        path = tmp_path / "x.xyz"
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            list(open_trajectory(path))


class TestLammps:
    def test_real_dump(self):
        trajectory = open_trajectory(DATA / "lammps_drift.dump", types={1: "Al", 2: "Li"})
        frames = list(trajectory)
        assert [frame.step for frame in frames] == [0, 1, 2, 3]
        assert list(trajectory.species) == ["Al"] + ["Li"] * 8
        assert frames[1].positions[2] == pytest.approx([7.3, 2.3, 2.3])
        with pytest.raises(InputError, match=r"line 9: a dump without elements.*types"):
            list(open_trajectory(DATA / "lammps_drift.dump"))

    def test_triclinic_unsorted_and_units(self, tmp_path):
        path = tmp_path / "x.dump"
        head = "ITEM: UNITS\n{units}\nITEM: TIMESTEP\n5\nITEM: NUMBER OF ATOMS\n2\n"
        body = (
            "ITEM: BOX BOUNDS xy xz yz pp pp pp\n-0.5 5.0 1.0\n0 4 -0.5\n0 3 0.0\n"
            "ITEM: ATOMS id element xu yu zu fx fy fz vx vy vz\n"
            "2 Cl 1 1 1 0.1 0 0 2 0 0\n1 Li 0.5 0.25 12 0 0.2 0 0 0 0\n"
        )
        path.write_text(head.format(units="metal") + body)
        frame = open_trajectory(path).first()
        assert list(frame.species) == ["Li", "Cl"]
        # bounds of a tilted box reach over the tilt: x from 0 to 4
        assert frame.cell.tolist() == [[4, 0, 0], [1, 4, 0], [-0.5, 0, 3]]
        assert frame.positions[0].tolist() == [0.5, 0.25, 12]
        assert frame.forces[1, 0] == 0.1
        assert frame.velocities[1, 0] == pytest.approx(0.002)
        path.write_text(head.format(units="real") + body)
        assert open_trajectory(path).first().forces is None
        path.write_text(head.format(units="lj") + body)
        with pytest.raises(InputError, match="units 'lj'"):
            open_trajectory(path).first()


def test_ase_trajectory(tmp_path):
    from ase import Atoms, units
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import read, write

    same_as_ase(open_trajectory(DATA / "ase_drift.traj"), read(DATA / "ase_drift.traj", ":"), energies=False)
    images = []
    for step in range(5):
        atoms = Atoms("LiCl", [[0.1 * step, 0, 0], [2, 2, 2]], cell=[5, 5, 5], pbc=True)
        atoms.set_velocities(np.full((2, 3), 0.01 * step) / units.fs)
        atoms.calc = SinglePointCalculator(atoms, energy=-step, free_energy=-step, forces=np.full((2, 3), step))
        images.append(atoms)
    path = tmp_path / "x.traj"
    write(path, images)
    trajectory = open_trajectory(path)
    assert len(trajectory) == 5
    same_as_ase(trajectory, images)
    assert trajectory[-1].velocities[0, 0] == pytest.approx(0.04)
    assert [frame.index for frame in trajectory[::-2]] == [4, 2, 0]
