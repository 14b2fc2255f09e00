"""Trajectories of CASTEP and Quantum ESPRESSO: the same numbers as ASE reads."""

import gzip

import numpy as np
import pytest
from trajectory_files import DATA, unpacked

from anodeflow.analysis.trajectories import TrajectoryTruncated, open_trajectory
from anodeflow.errors import InputError


class TestCastep:
    @pytest.mark.parametrize("name", ["si8-md.md", "si8-npt.md"])
    def test_like_ase(self, name):
        from ase import units
        from ase.io import iread

        path = DATA / name
        images = list(iread(path, format="castep-md"))
        # ASE takes CODATA 2002
        frames = list(open_trajectory(path))
        assert len(frames) == len(images)
        for frame, atoms in zip(frames, images, strict=False):
            np.testing.assert_allclose(frame.positions, atoms.positions, rtol=1e-7)
            np.testing.assert_allclose(frame.cell, atoms.cell, rtol=1e-7)
            np.testing.assert_allclose(frame.forces, atoms.get_forces(), rtol=1e-6)
            assert frame.energy_ev == pytest.approx(atoms.calc.results["free_energy"], rel=1e-7)
            np.testing.assert_allclose(frame.velocities, atoms.get_velocities() * units.fs, rtol=1e-6)
            assert frame.time_fs == pytest.approx(atoms.info["time"] / units.fs, rel=1e-6)

    def test_temperature_and_kinetic_energy_agree_with_the_velocities(self):
        for frame in open_trajectory(DATA / "si8-md.md"):
            mass_ev_fs2 = 28.0855 * 103.642697  # u in eV fs^2/angstrom^2
            kinetic = 0.5 * mass_ev_fs2 * (frame.velocities**2).sum()
            assert frame.kinetic_energy_ev == pytest.approx(kinetic, rel=1e-4)
            # no thermostat, no motion of the centre of mass: 3N - 3 degrees of freedom
            assert frame.temperature_k == pytest.approx(2 * kinetic / (3 * 8 - 3) / 8.617333e-5, rel=0.15)
        assert [round(frame.time_fs, 6) for frame in open_trajectory(DATA / "si8-md.md")] == [0, 2, 4]

    def test_geom(self, tmp_path):
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write

        images = []
        for shift in (0.0, 0.1):
            atoms = Atoms("LiCl", [[shift, 0, 0], [2.5, 2.5, 2.5]], cell=[5, 5, 6], pbc=True)
            atoms.calc = SinglePointCalculator(
                atoms, free_energy=-3.5 - shift, energy=-3.5 - shift, forces=np.full((2, 3), shift), stress=np.zeros(6)
            )
            images.append(atoms)
        path = tmp_path / "x.geom"
        write(path, images, format="castep-geom")
        frames = list(open_trajectory(path))
        assert [frame.step for frame in frames] == [0, 1]
        assert frames[1].positions[0, 0] == pytest.approx(0.1, rel=1e-7)
        assert frames[1].energy_ev == pytest.approx(-3.6, rel=1e-7)
        assert frames[1].forces[1, 2] == pytest.approx(0.1, rel=1e-6)
        assert frames[0].temperature_k is None

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("5.1306064255358503E+000", "*****", r"line 12: '\*\*\*\*\*' is not a finite number"),
            (" Si              2 ", " Ge              2 ", "atom 2 is Si in frame 1 and Ge"),
            ("  <-- h\n", "\n", "'h': 2"),
            ("-3.1437669498903556E+001", "NaN", "line 6: 'E' is 'NaN'"),
        ],
    )
    def test_bad_files(self, tmp_path, old, new, message):
        path = tmp_path / "x.md"
        text = (DATA / "si8-md.md").read_text()
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            list(open_trajectory(path))


class TestEspresso:
    @pytest.mark.parametrize(
        "name",
        ["pw_relax.out.gz", "pw_vcrelax.out.gz", "pw_vcrelax_crystal.out.gz", "pw_vcmd.out.gz", "pw_md_bohr.out.gz"],
    )
    def test_like_ase(self, tmp_path, name):
        from ase.io import read

        path = unpacked(name, tmp_path)
        images = [atoms for atoms in read(path, ":", format="espresso-out") if atoms.calc is not None]
        images = [atoms for atoms in images if "energy" in atoms.calc.results]
        frames = list(open_trajectory(path))
        if name == "pw_vcrelax.out.gz":
            images = images[:2]  # the third is the calculation in the basis of the final cell
        assert len(frames) == len(images)
        for frame, atoms in zip(frames, images, strict=True):
            assert list(frame.species) == atoms.get_chemical_symbols()
            # the first cell is printed with six digits, and ASE takes alat with four
            np.testing.assert_allclose(frame.cell, atoms.cell, atol=3e-5)
            np.testing.assert_allclose(frame.positions, atoms.positions, atol=3e-5)
            assert frame.energy_ev == pytest.approx(atoms.get_potential_energy(), rel=1e-7)
            np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-6)
            assert frame.electronic_converged is True

    def test_all_units_are_the_same_run(self):
        runs = {
            unit: list(open_trajectory(DATA / f"pw_md_{unit}.out.gz"))
            for unit in ("alat", "bohr", "angstrom", "crystal")
        }
        cell = [[5.13, 0, 0], [0.3, 5.33, 0], [0.1, -0.2, 5.03]]  # of the input
        for frames in runs.values():
            assert len(frames) == 4
            for frame, reference in zip(frames, runs["angstrom"], strict=True):
                np.testing.assert_allclose(frame.cell, cell, atol=1e-5)
                np.testing.assert_allclose(frame.positions, reference.positions, atol=1e-5)
                assert frame.energy_ev == pytest.approx(reference.energy_ev, abs=1e-6)

    def test_dynamics_belong_to_their_geometry(self):
        frames = list(open_trajectory(DATA / "pw_md_300K.out.gz"))
        assert [frame.temperature_k for frame in frames] == pytest.approx([300, 341.858, 448.512, 405.351], abs=1e-3)
        assert [frame.step for frame in frames] == [0, 1, 2, 3]
        # 40 Rydberg atomic units of time
        assert [frame.time_fs for frame in frames] == pytest.approx([0, 1.93511, 3.87022, 5.80532], abs=1e-4)
        # Verlet: the second difference of positions is the acceleration that the forces give
        middle = frames[1]
        second = frames[0].positions - 2 * middle.positions + frames[2].positions
        masses = np.array([6.94, 35.45]) * 103.642697
        np.testing.assert_allclose(second, middle.forces / masses[:, None] * 1.93511**2, atol=2e-5)

    def test_a_killed_run_and_a_bad_one(self, tmp_path):
        text = gzip.decompress((DATA / "pw_md_bohr.out.gz").read_bytes()).decode()
        path = tmp_path / "pw.out"
        path.write_text(text[: text.index("Entering Dynamics:    iteration =     3")])
        trajectory = open_trajectory(path)
        with pytest.warns(TrajectoryTruncated, match="JOB DONE"):
            assert len(list(trajectory)) == 2
        path.write_text(text.replace("ATOMIC_POSITIONS (bohr)", "ATOMIC_POSITIONS (furlong)"))
        with pytest.raises(InputError, match="unit 'furlong'"):
            list(open_trajectory(path))
        path.write_text(text + text)
        with pytest.raises(InputError, match="second run"):
            list(open_trajectory(path))
        path.write_text(text.replace("number of atoms/cell      =            2", "number of atoms/cell = 1000000000"))
        with pytest.raises(InputError, match="1000000000 atoms"):
            list(open_trajectory(path))
