"""Every kind of study from its file to its document with VASP's engine, a stand-in behind it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factories import write_yaml

from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from vasp_setup import environment

CARD = {
    "name": "tiny", "functional": "PBE", "potentials": "PAW", "cutoff_ev": 400, "relax_cell": True,
    "kpoints": {"spacing_per_angstrom": 0.2}, "spin": "auto", "smearing": {"kind": "gaussian", "width_ev": 0.1},
    "energy_tolerance_ev": 1e-4, "force_tolerance_ev_per_angstrom": 0.03, "stress_tolerance_gpa": 0.05,
    "max_steps": 150, "vacuum_angstrom": 10,
}  # fmt: skip
SURFACES = [{"crystal": "LiCl", "miller": [1, 0, 0], "layers": [2, 3, 4]}]
STUDIES = {
    "surface-energy": {"study": "surface-energy", "surfaces": SURFACES, "vacuum_angstrom": 10},
    "interface-energy": {
        "study": "interface-energy",
        "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": [3, 5, 7, 9]},
        "substrate": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3},
        "max_strain_percent": 12, "max_area_angstrom2": 30, "gap_angstrom": 2.7,
    },
    "binding-energy": {
        "study": "binding-energy", "hosts": ["Li", "LiCl"], "environments": ["bulk"], "anodes": ["Li"],
        "interphases": ["LiCl"], "references": ["bulk_metal"], "bulk": {"min_image_distance_angstrom": 5.0},
    },
    "crystal-properties": {"study": "crystal-properties", "crystals": ["LiCl", "Al"]},
    "migration": {
        "study": "migration", "paths": [{"crystal": "LiAl", "mechanism": "vacancy", "max_distance_angstrom": 3.2}],
        "cell": {"min_image_distance_angstrom": 6}, "images": 3,
    },
    "molecular-dynamics": {
        "study": "molecular-dynamics", "systems": [{"crystal": "LiCl"}], "duration_ps": 0.04, "segment_ps": 0.02,
        "equilibration_ps": 0.01, "sample_every": 5, "timestep_fs": 1.0, "temperature_k": 300, "ensemble": "nvt",
        "thermostat": "nose-hoover", "analysis": {"pairs": ["Li-Cl"], "r_max_angstrom": 5},
    },
}  # fmt: skip


def test_the_crystal_in_the_slabs_cell_is_computed_where_the_mesh_follows_a_spacing(tmp_path):
    wanted = "LiCl(100)/crystal in the cell of the slabs"

    def labels(engine, kpoints, surfaces=SURFACES):
        write_yaml(tmp_path, CARD | {"kpoints": kpoints}, "card.yaml")
        changes = {"engine": engine, "card": "card.yaml", "surfaces": surfaces}
        return [
            c.label for c in load_study(write_yaml(tmp_path, STUDIES["surface-energy"] | changes)).as_dry_run().planned
        ]

    by_spacing = {"spacing_per_angstrom": 0.2}
    assert labels("vasp", by_spacing)[-1] == wanted
    assert wanted not in labels("vasp", {"mesh": [3, 3, 1]})  # one point along the normal
    assert wanted not in labels("sevennet-0", by_spacing)  # no k-points, no difference
    assert wanted not in labels("vasp", by_spacing, [SURFACES[0] | {"layers": [4]}])


@pytest.fixture
def run(tmp_path, anodeflow):
    """Run a study in a folder of its own: the process."""

    def started(study, **stand_in):
        write_yaml(tmp_path, CARD, "tiny.yaml")
        write_yaml(tmp_path, study | {"engine": "vasp", "card": "tiny.yaml"})
        surroundings = dict(os.environ) | environment(tmp_path, vtst=True) | stand_in
        return anodeflow("run", "study.yaml", "--json", cwd=tmp_path, env=surroundings)

    return started


def calculations(folder):
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True, read_only=True)
    return [d["output"] for d in store.query({"output.doc_type": "CalculationDoc"})]


@pytest.mark.parametrize(
    "kind",
    ["crystal-properties", *(pytest.param(k, marks=pytest.mark.slow) for k in STUDIES if k != "crystal-properties")],
)
def test_a_study_from_file_to_document(kind, run, tmp_path):
    done = run(STUDIES[kind])
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["engine"]["stand_in"] is True
    assert document["engine"]["kind"] == "stand-in for VASP: not DFT"
    made = calculations(tmp_path)
    assert made
    for doc in made:
        assert doc["engine"]["stand_in"] is True
        assert doc["converged"], doc["error"]
        assert doc["electronic_converged"] is True
        assert set(doc["engine"]["potentials"]) == {s["species"][0]["element"] for s in doc["structure"]["sites"]}
        folder = Path(doc["directory"])
        assert (folder / "OUTCAR").is_file()
        assert folder.parent == tmp_path / "runs"
    for file in tmp_path.glob("anodeflow.sqlite*"):  # no text of a POTCAR
        data = file.read_bytes()
        assert b"made up" not in data
        assert b"PSCTR" not in data
    match kind:
        case "surface-energy":
            surface = document["surfaces"][0]
            assert surface["gamma_j_per_m2"] > 0
            assert surface["reference"].startswith("bulk energy from 'LiCl(100)/crystal in the cell of the slabs'")
            assert surface["thickness"]["judged_by"] == "single slabs"
            again = run(STUDIES[kind])
            assert again.returncode == 0
            assert "0 calculations computed" in again.stderr
        case "interface-energy":
            assert len(document["interface"]["members"]) == 4
            assert document["interface"]["gamma_j_per_m2"] is not None
        case "binding-energy":
            assert {h["crystal"] for h in document["hosts"]} == {"Li", "LiCl"}
            assert all("bulk_metal" in h["binding_energy_ev"] for h in document["hosts"])
        case "crystal-properties":
            assert [c["crystal"] for c in document["crystals"]] == ["LiCl", "Al"]
        case "migration":
            barrier = document["barriers"][0]
            assert barrier["converged"]
            assert barrier["climbing_image"] == 2
            assert barrier["forward_ev"] == pytest.approx(barrier["backward_ev"], abs=1e-3)
            assert 0.1 < barrier["forward_ev"] < 0.6
            folder = next((tmp_path / "runs").glob("LiAl_vacancy_Li1-Li1_band-*"))
            assert {f"{n:02d}" for n in range(5)} <= {f.name for f in folder.iterdir()}
        case "molecular-dynamics":
            replica = document["systems"][0]["replicas"][0]
            assert replica["time_ps"] == pytest.approx([n * 0.005 - 0.01 for n in range(11)])
            assert replica["checks"]["energy"] == "conserved"
            runs = list((tmp_path / "runs").glob("LiCl_seed_1_*"))
            assert len(runs) == 3
            assert all((run / "CONTCAR").is_file() and (run / "trajectory.atraj").is_file() for run in runs)
    refused(tmp_path, kind)


DRAWN = {"surface-energy", "interface-energy", "binding-energy", "migration", "molecular-dynamics"}


def refused(folder, kind):
    """Nothing that a stand-in computed is drawn."""
    if kind not in DRAWN:
        return
    surroundings = dict(os.environ) | environment(folder, vtst=True)
    drawn = subprocess.run(
        [sys.executable, "-m", "anodeflow", "run", "study.yaml", "--figure", "f.png"], capture_output=True, text=True,
        cwd=folder, env=surroundings, check=False,
    )  # fmt: skip
    assert drawn.returncode != 0, drawn.stdout
    assert "stand-in" in drawn.stderr
    assert not (folder / "f.png").exists()


def test_a_licence_error_stops_the_study_with_one_line(run):
    done = run(STUDIES["surface-energy"], VASP_STAND_IN_FAULT="licence")
    assert done.returncode == 3
    lines = [line for line in done.stderr.strip().splitlines() if "licence" in line]
    assert lines
    assert "std_err.txt:1" in lines[-1]
    assert "Traceback" not in done.stderr
