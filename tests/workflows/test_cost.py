"""What a plan counts on: displaced atoms have no symmetry, and a coarse start brings them back to it."""

import json

import pytest
import yaml
from factories import write_yaml
from jobflow.managers.local import run_locally

from anodeflow.documents import EngineRecord
from anodeflow.settings import VARIABLE_OF_TRUST
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome
from anodeflow.workflows.engines.gpaw.engine import GpawEngine
from anodeflow.workflows.engines.motion.hessian import MOST_ATOMS
from anodeflow.workflows.engines.plane_waves.cost import irreducible_points
from anodeflow.workflows.jobs.first_geometry import coarser
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.cost import MOST_ATOMS_WITH_CURVATURES, Cost, expected_steps
from anodeflow.workflows.studies.graph import CalculationStep, Setup

CARD = load_card("pbe-slab")
COARSE = Setup(engine="gpaw", card=CARD, warm_start="sevennet-0", coarse_start=True)


def lithium_in(crystal, displaced=0.05):
    """Li in the middle of a tetrahedron of a rock salt or a face-centred metal."""
    cell = load_crystal(crystal)
    cell.append("Li", [0.25, 0.25, 0.25])
    return CalculationStep(
        label=f"{crystal}/bulk/i1", task="relax", structure=cell, expected_steps=40, displacement_angstrom=displaced
    )


def test_the_last_steps_after_a_coarse_start_have_the_k_points_of_the_symmetric_site():
    step, engine = lithium_in("LiCl"), GpawEngine()
    less = coarser(CARD, step.structure)
    mesh, fewer = CARD.kpoint_mesh(step.structure), less.kpoint_mesh(step.structure)
    assert (mesh, fewer) == ((5, 5, 5), (3, 3, 3))
    assert [irreducible_points(step.structure, mesh), irreducible_points(step.start, mesh)] == [10, 63]
    assert irreducible_points(step.start, fewer) == 14
    all_fine, symmetric, coarse = (
        engine.seconds_per_step(*of) for of in ((step.start, CARD), (step.structure, CARD), (step.start, less))
    )
    cost = Cost(step, COARSE, CARD, engine)
    assert cost.begins_coarse
    assert cost.counts_on_symmetry
    assert cost.seconds(4) == pytest.approx(5 * coarse + 3 * symmetric)
    assert cost.seconds_without_symmetry(4) == pytest.approx(5 * coarse + 3 * all_fine)


def test_without_a_coarse_start_every_step_of_displaced_atoms_has_all_k_points():
    engine = GpawEngine()
    wide = CARD.varied("wide", kpoints={"spacing_per_angstrom": 0.05})  # 5 of a metal's k-points would be 3: too few
    for step, setup in (
        (lithium_in("LiCl"), Setup(engine="gpaw", card=CARD)),
        (lithium_in("Al"), COARSE.model_copy(update={"card": wide})),
    ):
        cost = Cost(step, setup, setup.card, engine)
        assert not cost.begins_coarse
        assert not cost.counts_on_symmetry
        assert cost.seconds(4) == pytest.approx(5 * engine.seconds_per_step(step.start, setup.card))
        assert cost.seconds(4) > 5 * 2 * engine.seconds_per_step(step.structure, setup.card)


def test_atoms_that_are_not_displaced_keep_their_symmetry_throughout():
    step, engine = lithium_in("LiCl", displaced=0.0), GpawEngine()
    cost = Cost(step, COARSE, CARD, engine)
    assert cost.begins_coarse
    assert not cost.counts_on_symmetry
    assert cost.seconds(4) == cost.seconds_without_symmetry(4)


def test_curvatures_of_a_potential_leave_a_tenth_of_the_steps():
    step, engine = lithium_in("LiCl"), GpawEngine()
    assert expected_steps(step, Setup(engine="gpaw", card=CARD), engine) == 40
    assert expected_steps(step, COARSE, engine) == 4
    large = CalculationStep(label="large", task="relax", structure=step.structure * (3, 3, 3), expected_steps=40)
    assert expected_steps(large, COARSE, engine) == 16
    cell = CalculationStep(label="cell", task="relax_cell", structure=step.structure, expected_steps=40)
    assert expected_steps(cell, COARSE, engine) == 16
    assert MOST_ATOMS_WITH_CURVATURES == MOST_ATOMS


def test_the_plan_says_what_its_estimate_counts_on(command, tmp_path):
    study = tmp_path / "study.yaml"
    host = {"crystal": "LiCl", "environments": ["bulk"], "sites": ["i1"]}
    content = {"study": "binding-energy", "engine": "gpaw", "card": "pbe-slab", "coarse_start": True, "hosts": [host],
               "bulk": {"min_image_distance_angstrom": 5}, "references": ["bulk_metal"]}  # fmt: skip
    study.write_text(yaml.safe_dump(content))
    status, out, err = command("plan", study, "--json")
    assert status == 0, err
    without, counted = (note for note in json.loads(out)["notes"] if "coarse_start" in note)
    assert without.startswith("Li/crystal: no coarse_start; ")
    assert counted.startswith(
        "LiCl/bulk/i1: displaced; the last steps are counted with the k-points of the symmetric site, if"
    )
    assert "if none does, all calculations take about" in counted


class Swelling(Engine):
    """Crystals are larger by a hundredth than in the catalogue; nothing else moves, and a step costs 100 s."""

    name = "swelling"
    capabilities = Capabilities()

    def record(self, elements=()):
        return EngineRecord(name="swelling", kind="test engine", version="1", hash="s" * 16, stand_in=True)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 100.0

    def compute(self, request, folder=None, monitor=None):
        cell = request.structure
        if request.task == "relax_cell":
            cell = cell.copy().scale_lattice(1.03 * cell.volume)
        return Outcome(cell, -1.0 * len(cell), True, True, 1, 0.0)


@pytest.fixture
def swelling(monkeypatch):
    for name in ("engines.registry", "jobs.recognised", "studies.base"):
        monkeypatch.setattr(f"anodeflow.workflows.{name}.get_engine", lambda name: Swelling())


@pytest.mark.usefixtures("swelling")
def test_a_plan_with_a_store_counts_what_is_left_in_cells_of_the_relaxed_crystals(command, monkeypatch, tmp_path):
    def written(*hosts):
        return write_yaml(tmp_path, {
            "study": "binding-energy", "engine": "swelling", "card": "embedded", "references": ["bulk_metal"],
            "hosts": [{"crystal": host, "environments": ["bulk"], "sites": ["i1"]} for host in hosts],
            "bulk": {"min_image_distance_angstrom": 5},
        }, f"{'-'.join(hosts)}.yaml")  # fmt: skip

    def planned(study, *arguments):
        status, out, err = command("plan", study, "--workers", 1, *arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    place = tmp_path / "store.sqlite"
    first, both = written("LiCl"), written("LiCl", "Al")
    store = open_job_store(place)
    run_locally(load_study(first).flow(), store=store, ensure_success=True, log=False)
    store.close()

    done = planned(first, "--store", place)
    assert done["stored"] == done["calculations"] == 4
    assert done["expected_core_hours"] == 0
    rest = planned(both, "--store", place)  # another study, which shares four calculations with the first
    left = [job["calculation"] for job in rest["jobs"] if not job["stored"]]
    assert left == ["Al/crystal", "Al/bulk/host", "Al/bulk/i1"]
    fresh = planned(both)
    assert "stored" not in fresh
    seconds = {job["calculation"]: job["expected_core_seconds"] for job in fresh["jobs"]}
    assert rest["expected_core_hours"] == pytest.approx(sum(seconds[label] for label in left) / 3600, abs=1e-3)
    status, out, err = command("plan", both, "--store", place)
    assert status == 0, err
    assert "7 calculations with swelling, card embedded, 4 of them in the store: about" in " ".join(out.split())

    store = open_job_store(place)
    jobs = [{k: v for k, v in job.items() if k != "_id"} for job in store.docs_store.query()]
    for job in jobs:
        job["metadata"]["imported"] = {"archive": "first.zip", "archive_sha256": "0" * 64}
    store.docs_store.update(jobs, key=["uuid", "index"])
    store.close()
    monkeypatch.setenv(VARIABLE_OF_TRUST, "false")
    untrusted = planned(both, "--store", place)
    assert untrusted["stored"] == 0
    assert "imported study are not used; --trust would use those" in " ".join(untrusted["notes"])
    trusted = planned(both, "--store", place, "--trust")
    assert trusted["stored"] == 4
    assert "imported study are used" in " ".join(trusted["notes"])

    status, _, err = command("plan", both, "--store", tmp_path / "none.sqlite")
    assert status == 6
    assert "no store at" in err
    assert not (tmp_path / "none.sqlite").exists()
