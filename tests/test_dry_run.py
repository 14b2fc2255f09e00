"""The dry run: native inputs whole or not at all, what is missing, what it costs."""

import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest
from factories import write_upf_headers
from needs import needs_gpaw
from pymatgen.core import Structure

from anodeflow.workflows.engines.espresso.engine import QeEngine


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("PMG_VASP_PSP_DIR", "")
    file = tmp_path / "study.yaml"
    file.write_text(
        "study: binding-energy\nhosts: [Al]\nreferences: [neutral_atom_nonspin, neutral_atom, bulk_metal]\n"
        "bulk: {min_image_distance_angstrom: 5}\nstates: [interstitial]\n"
    )
    return file


@pytest.mark.parametrize(
    ("engine", "files"),
    [
        ("vasp", {"INCAR", "KPOINTS", "POSCAR"}),
        ("castep", {".cell", ".param"}),
        ("qe", {"pw.in"}),
    ],
)
def test_every_native_input_of_every_calculation(engine, files, study, command, tmp_path, monkeypatch):
    target = tmp_path / "inputs"
    if engine == "qe":
        monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(write_upf_headers(tmp_path / "upf")))
    status, out, err = command("plan", study, "--engine", engine, "--card", "pbe-slab", "--write", target, "--json")
    assert status == 0, err
    plan = json.loads(out)
    assert json.loads((target / "plan.json").read_text())["calculations"] == plan["calculations"]
    folders = sorted(f for f in target.iterdir() if f.is_dir())
    assert len(folders) == plan["calculations"] == len(plan["jobs"])
    for folder in folders:
        names = {f.name for f in folder.iterdir()}
        for wanted in files:
            assert any(name.endswith(wanted) for name in names), (folder.name, names)
    labels = [job["calculation"] for job in plan["jobs"]]
    assert "Li/atom" in labels
    assert "Li/atom without spin" in labels
    assert not list(tmp_path.glob(".plan-*"))
    if engine != "qe":
        assert any(note.startswith("missing:") for note in plan["notes"])


def test_inputs_of_a_displaced_relaxation_hold_the_displaced_atoms_that_a_run_starts_with(study, command, tmp_path):
    target = tmp_path / "inputs"
    status, _, err = command("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--write", target)
    assert status == 0, err
    host, with_li = (Structure.from_file(next(target.glob(f"*{name}*")) / "POSCAR") for name in ("host", "i1"))
    away = [min(atom.distance(site) for site in with_li) for atom in host]
    assert 0.03 < max(away) <= 0.05
    assert min(away) > 0


def test_what_is_missing_is_an_error_before_a_run(study, command, tmp_path):
    study.write_text(study.read_text() + "engine: castep\ncard: cui2026-binding\n")
    status, _, err = command("run", study, "--store", tmp_path / "s.sqlite")
    assert status == 3
    assert "castep" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "s.sqlite").exists() or (tmp_path / "s.sqlite").stat().st_size >= 0


def test_a_folder_with_something_in_it_is_left_alone(study, command, tmp_path):
    target = tmp_path / "inputs"
    target.mkdir()
    (target / "mine").write_text("precious")
    status, _, err = command("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--write", target)
    assert status == 2
    assert "not empty" in err
    assert (target / "mine").read_text() == "precious"


def test_a_potential_has_no_inputs(study, command, tmp_path):
    status, _, err = command("plan", study, "--write", tmp_path / "inputs")
    assert status == 3
    assert "no input files" in err
    assert not (tmp_path / "inputs").exists()


def test_gpaw_that_is_not_installed_is_one_line(study, command, tmp_path, monkeypatch):
    def missing(_):
        raise PackageNotFoundError

    monkeypatch.setattr("anodeflow.workflows.engines.gpaw.engine.version", missing)
    arguments = ("--engine", "gpaw", "--card", "pbe-slab", "--write", tmp_path / "inputs")
    status, _, err = command("plan", study, *arguments)
    assert status == 3
    assert "the package gpaw is not installed" in err
    assert "pip install" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "inputs").exists()


def test_half_a_card_for_plane_waves_leaves_nothing_behind(study, command, tmp_path):
    card = "name: half\nfunctional: PBE\npotentials: any\nkpoints: {spacing_per_angstrom: 0.04}\n"
    (tmp_path / "half.yaml").write_text(card + "force_tolerance_ev_per_angstrom: 0.03\nrelax_cell: false\n")
    arguments = ("--engine", "vasp", "--card", tmp_path / "half.yaml", "--write", tmp_path / "inputs")
    status, _, err = command("plan", study, *arguments)
    assert status == 2
    assert "cutoff_ev" in err
    assert not (tmp_path / "inputs").exists()
    assert not list(tmp_path.glob(".plan-*"))


def test_a_card_for_potentials_gives_way_to_the_default_of_plane_waves_and_says_so(study, command, tmp_path):
    status, out, err = command("plan", study, "--engine", "castep", "--write", tmp_path / "inputs", "--json")
    assert status == 0, err
    plan = json.loads(out)
    assert plan["card"]["name"] == "pbe-bulk"  # Li in the crystal alone
    assert any("card 'embedded' says nothing of electrons: castep has the default pbe-bulk" in n for n in plan["notes"])


def test_costs_are_counted(study, command):
    status, out, _ = command("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--json")
    assert status == 0
    jobs = {job["calculation"]: job for job in json.loads(out)["jobs"]}
    crystal = jobs["Al/crystal"]
    assert crystal["electrons"] == 12
    # V k^3/(6 pi^2) with V = 4.041^3 A^3 (catalogue), k = sqrt(2 * 400 eV) in atomic units = 10.246 per angstrom
    assert crystal["plane_waves"] == pytest.approx(66.0 * 10.246**3 / 59.2176, rel=0.02)
    assert crystal["expected_core_seconds"] > 0


def test_bands_and_dynamics_are_noted_where_there_is_no_native_input(study, command, tmp_path):
    study.write_text("study: migration\npaths: [{crystal: LiCl, mechanism: vacancy}]\n"
                     "cell: {min_image_distance_angstrom: 8}\n")  # fmt: skip
    status, _, err = command("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--write", tmp_path / "inputs")
    assert status == 0, err
    notes = list((tmp_path / "inputs").glob("*/NOTE"))
    assert notes
    assert all("neb" in note.read_text() for note in notes)


BAND = (
    "study: migration\npaths: [{crystal: LiCl, mechanism: vacancy}]\nimages: 3\n"
    "cell: {min_image_distance_angstrom: 8}\n"
)
DYNAMICS = (
    "study: molecular-dynamics\nsystems: [{crystal: LiCl}]\nduration_ps: 0.04\nsegment_ps: 0.02\n"
    "equilibration_ps: 0.02\nprerelax: false\n"
)


single_points = pytest.mark.parametrize(
    ("engine", "file"),
    [("qe", "pw.in"), ("castep", "castep.cell"), pytest.param("gpaw", "gpaw_input.py", marks=needs_gpaw)],
)


@pytest.fixture
def pseudopotentials(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(write_upf_headers(tmp_path / "upf")))


@pytest.mark.usefixtures("pseudopotentials")
@single_points
def test_bands_have_the_input_of_every_image(engine, file, study, command, tmp_path):
    study.write_text(BAND)
    target = tmp_path / "inputs"
    status, _, err = command("plan", study, "--engine", engine, "--card", "pbe-slab", "--write", target)
    assert status == 0, err
    folder = next(target.glob("*band"))
    assert sorted(f.name for f in folder.iterdir()) == ["00", "01", "02", "03", "04", "NOTE"]
    texts = [(folder / f"{n:02d}" / file).read_text() for n in range(5)]
    if engine != "gpaw":  # whose script reads its geometry from a file
        assert len(set(texts)) == 5
    note = (folder / "NOTE").read_text()
    assert "climbing image" in note
    assert f"anodeflow moves the images, {engine} gives energy and forces" in note


@pytest.mark.usefixtures("pseudopotentials")
@single_points
def test_dynamics_have_the_input_of_their_first_geometry(engine, file, study, command, tmp_path):
    study.write_text(DYNAMICS)
    target = tmp_path / "inputs"
    status, _, err = command("plan", study, "--engine", engine, "--card", "pbe-slab", "--write", target)
    assert status == 0, err
    notes = [file.read_text() for file in sorted(target.glob("*/NOTE"))]
    assert len(notes) == len(list(target.glob("*seed*"))) == 3
    assert all("10 steps of 2 fs, NVT (langevin), 300 K" in note for note in notes)
    assert ["those of the segment before" in note for note in notes] == [False, True, True]
    assert all((folder / file).is_file() for folder in target.glob("*seed*"))
    if engine == "castep":
        own = (next(target.glob("*equilibration")) / "own-dynamics" / "castep.param").read_text()
        values = dict(line.replace(" ", "").split(":") for line in own.splitlines() if ":" in line)
        assert values["task"] == "MolecularDynamics"
        assert values["md_ion_t"] == "50fs"  # an equilibration is held harder
        assert values["md_num_iter"] == "10"
    if engine == "qe":
        own = (next(target.glob("*segment_1")) / "own-dynamics" / "pw.in").read_text()
        assert "calculation = 'md'" in own
        assert "nstep = 10\n" in own


@pytest.mark.parametrize(("text", "words"), [(BAND, "no nudged elastic band"), (DYNAMICS, "no molecular dynamics")])
def test_an_engine_that_cannot_says_so_before_anything_is_planned(text, words, study, command, monkeypatch):
    monkeypatch.setattr(QeEngine, "capabilities", replace(QeEngine.capabilities, neb=False, md=False))
    study.write_text(text)
    status, _, err = command("plan", study, "--engine", "qe", "--card", "pbe-slab")
    assert status == 3
    assert words in err
    assert "use one that does" in err
    assert len(err.strip().splitlines()) == 1


def test_dynamics_of_a_charged_cell_are_refused(study, command):
    study.write_text(DYNAMICS + "charge: 1\n")
    status, _, err = command("plan", study, "--engine", "castep", "--card", "pbe-slab")
    assert status == 2
    assert "charge" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("vtst", ["true", "false"])
def test_vasp_moves_bands_itself(vtst, study, command, tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_VASP_VTST", vtst)
    study.write_text("study: migration\nimages: 1\npaths: [{crystal: LiCl, mechanism: vacancy}]\n"
                     "cell: {min_image_distance_angstrom: 8}\n")  # fmt: skip
    arguments = ("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--write", tmp_path / "inputs", "--json")
    status, out, err = command(*arguments)
    assert status == 0, err
    assert any("no climbing image" in note for note in json.loads(out)["notes"]) == (vtst == "false")
    band = next(f for f in (tmp_path / "inputs").iterdir() if f.name.endswith("band"))
    tags = (band / "INCAR").read_text()
    assert ("LCLIMB = True" in tags) == (vtst == "true")
    assert "IMAGES = 1" in tags
    assert {f.name for f in band.iterdir()} == {"00", "01", "02", "INCAR", "KPOINTS", "POTCAR.spec", "NOTE"}
    assert "NSW = 0" in (band / "00" / "INCAR").read_text()
    assert {f.name for f in (band / "01").iterdir()} == {"POSCAR"}
    assert "relaxed ends" in (band / "NOTE").read_text()


def test_vasp_moves_atoms_itself(study, command, tmp_path):
    study.write_text("study: molecular-dynamics\nsystems: [{crystal: LiCl}]\nduration_ps: 0.2\nsegment_ps: 0.1\n"
                     "equilibration_ps: 0.1\nthermostat: nose-hoover\n")  # fmt: skip
    status, _, err = command("plan", study, "--engine", "vasp", "--card", "pbe-slab", "--write", tmp_path / "inputs")
    assert status == 0, err
    segments = sorted(f for f in (tmp_path / "inputs").iterdir() if "seed" in f.name)
    tags = [(folder / "INCAR").read_text() for folder in segments]
    assert ["MDALGO = 3" in text for text in tags] == [True, False, False]
    assert "LANGEVIN_GAMMA = 20.0 20.0" in tags[0]
    assert [text.split("NSW = ")[1].split()[0] for text in tags] == ["51", "50", "50"]
    assert [(folder / "NOTE").exists() for folder in segments] == [False, True, True]


def test_missing_pseudopotentials_are_listed_and_the_plan_goes_on(study, command):
    status, out, err = command("plan", study, "--engine", "qe", "--card", "pbe-slab", "--json")
    assert status == 0, err
    plan = json.loads(out)
    assert any(note.startswith("missing:") and "pseudopotential" in note for note in plan["notes"])
    assert plan["study_hash"] is None
    assert len(plan["jobs"]) == plan["calculations"]
