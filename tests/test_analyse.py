"""`anodeflow analyse`: on files made elsewhere, and what a person can get wrong."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from factories import one_line

from anodeflow.analysis.trajectories import convert
from anodeflow.cli.analyse import parse_frames, parse_tetrahedra
from anodeflow.cli.output.console import print_json
from anodeflow.errors import InputError

REAL = Path(__file__).parent / "data" / "trajectories" / "XDATCAR_Li6PS5Cl.gz"


@pytest.fixture
def run_file(tmp_path):
    """An extended XYZ file: four Li that walk among eight P at rest, 60 frames."""
    random = np.random.default_rng(0)
    cell = 12 * np.eye(3)
    home = random.random((12, 3)) @ cell
    frames = []
    for _ in range(60):
        home[:4] += random.normal(scale=0.4, size=(4, 3))
        frames.append(Atoms("Li4P8", positions=home % 12, cell=cell, pbc=True))
    file = tmp_path / "run.extxyz"
    write(file, frames)
    return file


def test_real_trajectory_of_vasp_as_json(command):
    status, out, _ = command("analyse", REAL, "--pair", "P-S", "--pair", "Li-Cl", "--tetrahedra", "P-S:4", "--json")
    assert status == 0
    doc = json.loads(out)
    assert doc["elements"] == {"Li": 192, "Cl": 32, "S": 160, "P": 32}
    assert [d["pair"] for d in doc["rdf"]] == ["P-S", "Li-Cl"]
    first = doc["rdf"][0]
    assert 2.03 < first["first_peak_angstrom"] < 2.09
    assert first["coordination_number"] == 4.0
    assert (first["centres"], first["neighbours"]) == (32, 160)
    assert doc["tetrahedra"][0]["intact_fraction"] == [1.0] * doc["frames"]
    assert doc["tetrahedra"][0]["last_distribution"] == {"4": 1.0}


def test_table_figure_and_csv(command, run_file, tmp_path):
    figure, table = tmp_path / "f.png", tmp_path / "c.csv"
    status, out, err = command(
        "analyse", run_file, "--pair", "Li-P", "--r-max", "15", "--width", "0.5", "--msd", "Li", "--timestep-fs", "2",
        "--profile", "c", "--slices", "12", "--tetrahedra", "P-P:4:4.0", "--figure", figure, "--csv", table,
    )  # fmt: skip
    assert status == 0, err
    assert "P around Li" in out
    assert "cm2/s" in out
    assert figure.stat().st_size > 20_000
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    quantities = [row["quantity"] for row in rows]
    assert quantities.count("g") == quantities.count("running_coordination") == 30
    assert quantities.count("msd_angstrom2") == 31
    density = [float(r["y"]) for r in rows if r["of"].startswith("P frames 0:")]
    assert sum(density) * 144 == pytest.approx(8)  # one slice: 1 angstrom of 144 angstrom^2
    assert {p.name for p in tmp_path.iterdir()} == {"run.extxyz", "f.png", "c.csv"}


def test_selected_frames_keep_their_time(command, run_file):
    status, out, _ = command(
        "analyse", run_file, "--frames", "0:60:2", "--msd", "Li", "--timestep-fs", "2", "--fit-fs", 8, 40, "--json"
    )
    assert status == 0
    doc = json.loads(out)
    assert (doc["frames"], doc["timestep_fs"], doc["selection"]) == (30, 4.0, "0:60:2")
    assert doc["diffusion"][0]["lag_fs"][:3] == [0.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pair", "P-S"], ["no S in the trajectory", "Li, P"]),
        (["--pair", "P"], ["'P' is not a pair"]),
        (["--pair", "Li-P", "--r-max", "1e6"], ["r_max", "use at most"]),
        (["--pair", "Li-P", "--r-max", "-3"], ["--r-max -3"]),
        (["--pair", "Li-P", "--r-max", "1e300"], ["r_max is 1e+300", "between 0.01"]),
        (["--pair", "Li-P", "--r-max", "1e-12"], ["r_max is 1e-12", "between 0.01"]),
        (["--tetrahedra", "P-Li:4:1e300"], ["1e+300"]),
        (["--msd", "Li", "--timestep-fs", "1", "--fit-fs", "nan", "10"], ["--fit-fs nan 10"]),
        (["--msd", "Li", "--timestep-fs", "1", "--fit-fs", "-5", "10"], ["--fit-fs -5 10"]),
        (["--pair", "Li-P", "--frames", "99999999999999999999999:"], ["no file has that many frames"]),
        (["--pair", "Li-P", "--csv", "run.extxyz"], ["run.extxyz", "would be lost"]),
        (["--pair", "Li-P", "--width", "0.3"], ["not a multiple"]),
        (["--pair", "Li-P", "--bins", "10", "--width", "0.1"], ["give one of them"]),
        (["--msd", "Li"], ["time between frames", "--timestep-fs"]),
        (["--msd", "Al", "--timestep-fs", "1"], ["no Al"]),
        (["--msd", "Li", "--timestep-fs", "1", "--frames", "0:10"], ["10 frames are too few"]),
        (["--pair", "Li-P", "--frames", "100:"], ["no frame"]),
        (["--pair", "Li-P", "--frames", "x"], ["START:STOP:STEP"]),
        (["--tetrahedra", "P-Li:four"], ["A-B:N:CUTOFF"]),
        (["--profile", "w"], ["unknown axis 'w'"]),
        (["--figure", "f.png"], ["nothing to draw"]),
        (["--pair", "Li-P", "--figure", "f.gif"], ["no known ending"]),
        (["--pair", "Li-P", "--csv", "/no/such/c.csv"], ["/no/such"]),
        (["--pair", "Li-P", "--format", "nothing"], ["nothing"]),
    ],
)
def test_what_a_person_can_get_wrong(command, run_file, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("analyse", run_file, *options)
    assert status == 2
    assert out == ""
    line = one_line(err)
    for word in words:
        assert word in line
    assert [p.name for p in tmp_path.iterdir()] == ["run.extxyz"]


def test_a_pipe_is_refused_and_does_not_hang(command, tmp_path):
    os.mkfifo(tmp_path / "XDATCAR")
    status, _, err = command("analyse", tmp_path / "XDATCAR", "--pair", "P-S")
    assert status == 2
    assert "not a regular file" in one_line(err)


def test_no_digits_left_and_cells_said_to_be_open(command, run_file):
    text = run_file.read_text()
    assert 'pbc="T T T"' in text
    run_file.write_text(text.replace('pbc="T T T"', 'pbc="F F F"'))
    status, out, _ = command("analyse", run_file, "--pair", "Li-P", "--json")
    assert status == 0
    assert any("taken as periodic" in note for note in json.loads(out)["warnings"])
    line = next(line for line in text.splitlines() if line.startswith("P"))
    run_file.write_text(text.replace(line, "P 1e17 0 0", 1))
    status, _, err = command("analyse", run_file, "--pair", "Li-P")
    assert status == 2
    assert "1.e+17" in one_line(err)


def test_json_is_json_whatever_the_numbers(capsys):
    print_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": {"c": None}}


@pytest.mark.parametrize("frames", [None, "1:"])
def test_a_cut_file_is_said_to_be_cut_whichever_frames_are_taken(command, run_file, tmp_path, frames):
    convert(run_file, tmp_path / "run.atraj")
    whole = (tmp_path / "run.atraj").read_bytes()
    (tmp_path / "run.atraj").write_bytes(whole[: 2 * len(whole) // 3])
    options = [] if frames is None else ["--frames", frames]
    status, out, _ = command("analyse", tmp_path / "run.atraj", "--pair", "Li-P", "--json", *options)
    assert status == 0
    assert json.loads(out)["truncated"]


def test_no_file_no_cell_and_a_changing_number_of_atoms(command, tmp_path):
    status, _, err = command("analyse", tmp_path / "none.xyz", "--pair", "P-S")
    assert status == 2
    assert "none.xyz" in one_line(err)
    molecule = tmp_path / "molecule.xyz"
    molecule.write_text("2\n\nP 0 0 0\nS 0 0 2\n")
    status, _, err = command("analyse", molecule, "--pair", "P-S")
    assert status == 2
    assert "no cell" in one_line(err)
    changing = tmp_path / "changing.extxyz"
    write(changing, [Atoms("PS", cell=[9, 9, 9], pbc=True), Atoms("PSS", cell=[9, 9, 9], pbc=True)])
    status, _, err = command("analyse", changing, "--pair", "P-S")
    assert status == 2
    assert "atoms" in one_line(err)


def test_options_as_text():
    assert parse_frames("1000:") == slice(1000, None)
    assert parse_frames("0:50:5") == slice(0, 50, 5)
    with pytest.raises(InputError, match="at least 1"):
        parse_frames("0:50:0")
    asked = parse_tetrahedra("P-S:3:2.6")
    assert (asked.pair, asked.wanted, asked.cutoff) == ("P-S", 3, 2.6)


@pytest.mark.parametrize("types", ["Li,Cl", "1=Li,2=Cl", " 2 = Cl , 1 = Li "])
def test_a_dump_of_lammps_without_elements_has_its_types_named(types, command):
    dump = REAL.parent / "types_only.dump"
    status, out, _ = command("analyse", dump, "--types", types, "--pair", "Li-Cl", "--r-max", "4", "--json")
    assert status == 0
    doc = json.loads(out)
    assert doc["elements"] == {"Li": 4, "Cl": 4}
    assert doc["rdf"][0]["coordination_number"] == pytest.approx(6)


@pytest.mark.parametrize(
    ("types", "reason"),
    [(None, "--types Li,Cl"), ("Li,Xy", "'Xy' is not an element"), ("1=Li,1=Cl", "named twice"), ("Li", "type 2"),
     ("x=Li,2=Cl", "is not type=element"), ("", "is not an element")],
)  # fmt: skip
def test_types_that_do_not_fit_are_refused(types, reason, command):
    option = [] if types is None else ["--types", types]
    status, _, err = command("analyse", REAL.parent / "types_only.dump", *option, "--pair", "Li-Cl")
    assert status == 2
    assert reason in one_line(err)


def test_types_of_a_file_with_elements_are_refused(command):
    status, _, err = command("analyse", REAL, "--types", "Li,Cl", "--pair", "Li-Cl")
    assert status == 2
    assert "has elements" in one_line(err)
