"""Reading real trajectories of every code: the same numbers as ASE and pymatgen read."""

import bz2
import gzip
import lzma
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from anodeflow.analysis.trajectories import Trajectory, TrajectoryTruncated, convert, open_trajectory
from anodeflow.errors import InputError

DATA = Path(__file__).parent.parent / "data" / "trajectories"
BOHR, HARTREE = 0.529177210903, 27.211386245988


def unpacked(name: str, folder: Path) -> Path:
    """A real file as the code wrote it."""
    source = DATA / name
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(source.suffix, open)
    target = folder / (source.stem if source.suffix in (".gz", ".xz") else source.name)
    with opener(source, "rb") as packed:
        target.write_bytes(packed.read())
    return target


def same_as_ase(trajectory, images, *, rtol=1e-9, atol=1e-9, energies=True):
    frames = list(trajectory)
    assert len(frames) == len(images)
    for frame, atoms in zip(frames, images, strict=True):
        assert list(frame.species) == atoms.get_chemical_symbols()
        np.testing.assert_allclose(frame.positions, atoms.positions, rtol=rtol, atol=atol)
        np.testing.assert_allclose(frame.cell, atoms.cell, rtol=rtol, atol=atol)
        if energies:
            assert frame.energy_ev == pytest.approx(atoms.get_potential_energy(force_consistent=True), rel=1e-7)
            np.testing.assert_allclose(frame.forces, atoms.get_forces(), rtol=1e-6, atol=1e-7)
    return frames


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
            ("x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n1\nDirect configuration= 1\n0 0 ****\n", "line 9.*no finite number"),
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
        assert trajectory.incomplete.line == 2554
        for frame, whole in zip(frames, complete, strict=False):
            assert (frame.positions == whole.positions).all()
            assert frame.energy_ev == whole.energy_ev
        with pytest.raises(InputError, match=r"line 2554.*after 18 complete frames"):
            list(open_trajectory(DATA / "vasprun_truncated.xml.gz", strict=True))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<v>       0.00000000       0.00000000       0.00000000 </v>", "<v> **** 0 0 </v>", "no finite number"),
            ('<i name="e_fr_energy">    -10.61487473', '<i name="e_fr_energy"> NaN', "line .*e_fr_energy is 'NaN"),
            ("</calculation>", "<calculation>", "within the calculation"),
            ("<rc><c>Si</c>", "<rc>", "'1' in the list of atoms is no element"),
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
            ("5.1306064255358503E+000", "*****", r"line 12: '\*\*\*\*\*' is no finite number"),
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
            ("1\n\n3 0 0 0\n", "line 3: '3' is no element symbol"),
            ("2\n\nLi 0 0 0\nLi 0 0 inf\n", "line 4: 'inf' is no finite number"),
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
