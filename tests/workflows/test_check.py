"""Results of a study checked by an engine with electrons: springs against springs stiffer by a known factor."""

import json
import re

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from factories import card_record, engine_record, ultrasoft_card, write_yaml
from jobflow import JobStore
from jobflow.managers.local import run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from springs import Springs, crystal
from ultrasoft import ultrasoft  # noqa: F401 - a fixture

from anodeflow.analysis.checks import CheckDoc, CheckedStructure, check_document, slope_through_origin
from anodeflow.analysis.dynamics_study import DynamicsStudyDoc
from anodeflow.analysis.frame_selection import farthest_points, radial_descriptor
from anodeflow.cli.output.studies import print_study, stored_study, write_check_figure, write_figure
from anodeflow.cli.results import rows_of
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.report.figures import check_figure_of
from anodeflow.report.record import StudyRecord
from anodeflow.report.rows import tables_of
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines import registry
from anodeflow.workflows.engines.contract import Capabilities
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.engines.potentials.engine import PotentialEngine
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive_numbers import _check_engines
from anodeflow.workflows.studies import load_study

STIFFER = 1.3
MOVING = {
    "study": "molecular-dynamics", "systems": [{"structure": "cell.cif"}], "seeds": [1, 2], "temperature_k": 300,
    "duration_ps": 0.1, "segment_ps": 0.05, "sample_every": 5, "prerelax": False, "relax_crystals": False,
    "analysis": {"pairs": ["Li-Li"], "r_max_angstrom": 6},
}  # fmt: skip


class WithElectrons(PotentialEngine):
    """A potential that says of itself that it has electrons."""

    capabilities = Capabilities(electrons=True)

    def __init__(self, name="electrons"):
        super().__init__(name)

    def missing(self, elements, card):
        return []


def install(folder, patch, calculators):
    """Make engines of calculators by name; that of `electrons` has electrons."""
    patch.setenv("ANODEFLOW_DEVICE", "cpu")
    patch.setenv("ANODEFLOW_RUNS", str(folder / "runs"))
    for name, make in calculators.items():
        (folder / name).write_text(name)
        patch.setitem(potentials.POTENTIALS, name, potentials.Potential("ase", None, make, 1e-6, "test"))
    engine = WithElectrons(f"electrons:{folder}/electrons")
    engine.name = "electrons"
    real = registry.get_engine
    for name in (
        "engines.registry",
        "studies.checking.options",
        "studies.checking.jobs",
        "jobs.recognised",
        "studies.base",
    ):
        patch.setattr(
            f"anodeflow.workflows.{name}.get_engine", lambda name: engine if name == "electrons" else real(name)
        )  # fmt: skip
    return folder


def module_machine(tmp_path_factory, calculators):
    patch = pytest.MonkeyPatch()
    yield install(tmp_path_factory.mktemp("check"), patch, calculators)
    patch.undo()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Engines of springs; `electrons` is stiffer."""
    yield from module_machine(
        tmp_path_factory,
        {"springs": lambda path, device: Springs(), "electrons": lambda path, device: Springs(k=3.0 * STIFFER)},
    )


@pytest.fixture(scope="module")
def moved(machine):
    """A study of dynamics with its check: study, last document, store."""
    crystal("Li").to(machine / "cell.cif")
    study = study_of(machine, MOVING, {"frames": 4})
    study.preflight()
    return study, *run(study)


def study_of(folder, data, check, name="study.yaml"):
    check = {"engine": "electrons", "card": "pbe-bulk"} | check
    return load_study(write_yaml(folder, data | {"engine": f"springs:{folder}/springs", "check": check}, name))


def run(study, store=None):
    store = store or JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    run_locally(study.flow(), store=store, ensure_success=True, log=False)
    return store.query_one({"metadata.label": "summary"}, sort={"completed_at": -1})["output"], store


def test_the_slope_of_frames_is_that_of_the_springs(moved):
    study, output, store = moved
    planned = [step.label for step in study.planned]
    doc = CheckDoc.model_validate(output["check"])
    labels = {d["name"] for d in store.query({"output.doc_type": "CalculationDoc"})}
    assert {label for label in planned if label.startswith("check/")} == labels
    assert len(labels) == 8
    every = doc.errors_of("all", "all")
    assert every.slope == pytest.approx(1 / STIFFER, abs=1e-6)
    assert every.slope_se == pytest.approx(0, abs=1e-6)
    assert every.slope_structures == 4
    assert every.rmse_ev_per_angstrom == pytest.approx(every.rms_ev_per_angstrom * (1 - 1 / STIFFER), rel=1e-5)
    assert doc.errors_of("element", "Li").atoms == doc.errors_of("environment", "metal").atoms == 4 * 27
    # E = k d^2 / 2: what is left of 0.3 E after the mean
    energies = np.array([s.energy_ev for s in doc.structures]) / 27
    assert doc.energy_rmse_ev_per_atom == pytest.approx((STIFFER - 1) * energies.std(ddof=1), rel=1e-4)
    assert any("too soft" in warning for warning in output["warnings"])
    # the frames are different ones, of both seeds
    assert len({s.of for s in doc.structures}) == 4
    assert {s.of.split(",")[0] for s in doc.structures} <= {"cell/seed 1", "cell/seed 2"}
    assert DynamicsStudyDoc.model_validate(output).check == output["check"]
    json.dumps(output["check"])


def test_it_is_printed_drawn_listed_and_reported(moved, tmp_path, capsys):
    _, output, store = moved
    document = DynamicsStudyDoc.model_validate(output)
    print_study(document, as_json=False)
    printed = capsys.readouterr().out
    assert "check by electrons, card pbe-bulk, 4 structures" in printed
    assert "too soft" in printed
    rows = rows_of(store, "checks")
    assert {row["forces_on"] for row in rows} == {"all", "Li", "metal", "frame"}
    assert all(row["slope"] == pytest.approx(1 / STIFFER, abs=1e-6) for row in rows)
    record = StudyRecord(document, list(store.query({"index": 1})))
    assert "checks" in [table.name for table in tables_of(record)]
    assert "with electrons: electrons" in check_figure_of(record).caption
    write_figure(document, tmp_path / "f.svg")
    # the line below the figure may be broken anywhere
    assert "slope 0.769" in " ".join(re.sub(r"<[^>]*>", " ", (tmp_path / "f.svg").read_text()).split())
    with pytest.raises(InputError, match="has no check"):
        write_check_figure(document.model_copy(update={"check": None}), tmp_path / "d.png")


# --- states: sites of Li in a host whose ranking the engines do not share


class Sites(Calculator):
    """Li in a crystal of Al has the energy of its site; nothing relaxes. The order is that of `ranks`."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, well):
        super().__init__()
        self.well = well

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        lithium = atoms.numbers == 3
        near = [d for d in atoms.get_all_distances(mic=True)[lithium].ravel() if d > 0.1] if len(atoms) > 1 else []
        nearest = min(near, default=9.0)
        energy = -2.0 * len(atoms) + self.well * (nearest - 2.0) ** 2 * lithium.sum()
        zeros = np.zeros((len(atoms), 3))
        self.results = {"energy": energy, "free_energy": energy, "forces": zeros, "stress": np.zeros(6)}


WELLS = {"springs": 0.5, "second": 0.4, "electrons": -0.5}
BINDING = {
    "study": "binding-energy", "hosts": ["Al"], "references": ["bulk_metal"], "displacement_angstrom": 0,
    "bulk": {"min_image_distance_angstrom": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    """Engines with energies by site: `electrons` has the opposite order."""
    yield from module_machine(
        tmp_path_factory,
        {name: lambda path, device, well=well: Sites(well) for name, well in WELLS.items()},
    )


def test_states_are_ranked_again_and_a_reversed_order_is_said(wells):
    study = study_of(wells, BINDING, {"lowest": 2, "displaced": 0})
    output, store = run(study)
    doc = CheckDoc.model_validate(output["check"])
    sites = {site["label"]: site for host in output["hosts"] for site in host["sites"]}
    lowest = sorted(sites.values(), key=lambda site: site["total_energy_ev"])
    for structure in doc.structures:
        assert structure.kind == "lowest"
        assert structure.of.split("/")[-1] in sites
        assert structure.energy_ev == pytest.approx(sites[structure.of.split("/")[-1]]["total_energy_ev"])
    groups = {structure.group for structure in doc.structures}
    assert all(sum(s.group == group for s in doc.structures) <= 2 for group in groups)
    assert lowest[0]["label"] in {s.of.split("/")[-1] for s in doc.structures}
    (pair, *_) = doc.differences
    assert pair.check_difference_ev == pytest.approx(-pair.difference_ev)
    assert any("error is larger than the difference" in text for text in output["warnings"])
    # a second run computes nothing, and a study without the check shares every calculation
    docs = store.query({"output.doc_type": "CalculationDoc"})
    before = {d["output"]["fingerprint"]: d["output"]["started_at"] for d in docs}
    again, _ = run(study, store)
    assert again["check"] == output["check"]
    plain = load_study(write_yaml(wells, BINDING | {"engine": study.engine}, "plain.yaml"))
    assert plain.hash != study.hash
    run(plain, store)
    docs = store.query({"output.doc_type": "CalculationDoc"})
    assert {d["output"]["fingerprint"]: d["output"]["started_at"] for d in docs} == before


def test_a_second_potential_disputes_states(wells):
    study = study_of(wells, BINDING, {"disputed": 1, "disputed_by": f"second:{wells}/second", "displaced": 1}, "d.yaml")
    study.preflight()
    planned = {step.label for step in study.planned}
    output, store = run(study)
    doc = CheckDoc.model_validate(output["check"])
    assert {structure.kind for structure in doc.structures} == {"disputed", "displaced"}
    assert doc.disputed_by.name.startswith("second:")
    # the second potential has other energies where Li is far from its neighbours
    states = {d["name"]: d["output"]["energy_ev"] for d in store.query({"output.doc_type": "CalculationDoc"})}
    assert planned == set(states)
    ends = " by the second potential"
    second = {name.removesuffix(ends)[6:]: energy for name, energy in states.items() if name.endswith(ends)}
    groups = {s.of: s.group for s in doc.structures if s.kind == "disputed"}
    for of in groups:
        rivals = [name for name in second if name[: name.rfind("/") + 2] == of[: of.rfind("/") + 2]]
        apart = {name: second[name] - states[name] for name in rivals}
        middle = np.median(list(apart.values()))
        assert abs(apart[of] - middle) == pytest.approx(max(abs(value - middle) for value in apart.values()))
    assert all("displaced by 0.1" in s.of for s in doc.structures if s.kind == "displaced")


def test_what_cannot_be_computed_with_electrons_is_said(wells, monkeypatch):
    def broken(self, atoms=None, properties=None, system_changes=all_changes):
        if self.well < 0:
            raise RuntimeError("no convergence")
        return calculate(self, atoms, properties, system_changes)

    calculate = Sites.calculate
    monkeypatch.setattr(Sites, "calculate", broken)
    study = study_of(wells, BINDING, {"lowest": 1, "seed": 3}, "broken.yaml")
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    run_locally(study.flow(), store=store, log=False)
    output = store.query_one({"metadata.label": "summary"}, sort={"completed_at": -1})["output"]
    doc = CheckDoc.model_validate(output["check"])
    assert doc.error == "no structure was computed by both engines"
    assert all(structure.error for structure in doc.structures)
    assert output["hosts"][0]["binding_energy_ev"]  # the result itself is there
    assert any("computed by both engines" in text for text in output["warnings"])


PLAIN = {"study": "binding-energy", "hosts": ["Al"], "references": ["bulk_metal"]}
CRYSTALS = {"study": "crystal-properties", "crystals": ["Al"]}


@pytest.mark.parametrize(
    ("data", "check", "message"),
    [
        (PLAIN, {"lowest": 1, "engine": "springs:{folder}/springs"}, "is that of the study"),
        (PLAIN, {"lowest": 1, "engine": "second:{folder}/second"}, "has no electrons; name gpaw"),
        (PLAIN, {"lowest": 1, "engine": "gpwa"}, "unknown engine 'gpwa'"),
        (PLAIN, {"lowest": 1, "card": "embedded"}, "says nothing of electrons"),
        (PLAIN, {"lowest": 1, "card": "nothing"}, "nothing"),
        (PLAIN, {}, "nothing is checked"),
        (PLAIN, {"frames": 2}, "a study of binding-energy has no dynamics"),
        (PLAIN, {"lowest": 50}, "lowest 50 of each composition, and the study has"),
        (PLAIN, {"lowest": 1, "disputed": 50}, "lowest 1 and disputed 50"),
        (PLAIN, {"lowest": 1, "disputed_by": "second:{folder}/second"}, "say how many"),
        (PLAIN, {"disputed": 1, "disputed_by": "springs:{folder}/springs"}, "is the engine of the study"),
        (PLAIN, {"disputed": 1, "disputed_by": "electrons"}, "has electrons; name a potential"),
        (PLAIN, {"disputed": 1, "disputed_by": "second:{folder}/nothing"}, "no model file"),
        (PLAIN, {"lowest": -1}, "lowest"),
        (PLAIN, {"lowest": 1, "sample": 3}, "sample"),
        (PLAIN, {"lowest": 1, "displacement_angstrom": 3}, "displacement_angstrom"),
        (MOVING | {"systems": [{"crystal": "LiCl"}]}, {"lowest": 1}, "no states to compare; check frames: N"),
        (MOVING | {"systems": [{"crystal": "LiCl"}]}, {"frames": 23}, "frames: 23, and LiCl has 22"),
    ],
)
def test_a_check_that_cannot_be_made_is_one_line(wells, data, check, message):
    check = {k: v.format(folder=wells) if isinstance(v, str) else v for k, v in check.items()}
    with pytest.raises(AnodeflowError, match=re.escape(message)) as caught:
        study_of(wells, data, check, "bad.yaml").preflight()
    assert "\n" not in str(caught.value)


def test_the_card_of_a_check_is_beside_the_study_and_part_of_its_hash(wells):
    card = load_card("pbe-bulk").model_dump(mode="json") | {"name": "mine"}
    study = study_of(wells, CRYSTALS, {"lowest": 1}, "a.yaml")
    write_yaml(wells, card, "mine.yaml")
    other = study_of(wells, CRYSTALS, {"lowest": 1, "card": "mine.yaml"}, "b.yaml")
    assert {s.card.name for s in other.planned if s.engine == "electrons"} == {"mine"}
    finer = card | {"cutoff_ev": card["cutoff_ev"] + 100}
    write_yaml(wells, finer, "mine.yaml")
    assert (
        len({study.hash, other.hash, study_of(wells, CRYSTALS, {"lowest": 1, "card": "mine.yaml"}, "b.yaml").hash}) == 3
    )


def test_a_checked_study_travels_in_an_archive(wells, tmp_path, command):
    study = study_of(wells, CRYSTALS, {"lowest": 1, "displaced": 0}, "archived.yaml")
    place, other = tmp_path / "s.sqlite", tmp_path / "other.sqlite"
    output, _ = run(study, open_job_store(place))
    archive = tmp_path / "a.zip"
    assert command("export", study.hash, "-o", archive, "--no-files", "--store", place)[0] == 0
    status, _, err = command("import", archive, "--store", other)
    assert status == 0, err
    again = stored_study(open_job_store(other), study.hash)
    assert again.check == output["check"]
    # computed by an engine that the study does not name
    for settings in ({"check": {"engine": "gpaw"}}, {"check": "electrons"}, {}):
        summary = output | {"settings": settings}
        assert _check_engines(summary) == []
    assert _check_engines(output) == [("electrons", output["check"]["check_engine"]["hash"])]


# --- arithmetic


def test_what_is_left_of_energies_does_not_know_the_elements_references():
    shifts = {"Li": 0.3, "Cl": -1.2}
    structures = []
    for number, (lithium, chlorine, error) in enumerate([(4, 4, 0.02), (4, 4, -0.02), (8, 4, 0.0), (2, 0, 0.0)]):
        species = ["Li"] * lithium + ["Cl"] * chlorine
        energy = -3.0 * len(species)
        structures.append(CheckedStructure(
            label=f"check/lowest {number}", kind="lowest", of=f"s{number}", group=f"{lithium} {chlorine}", formula="",
            species=species, environments=["metal"] * len(species), energy_ev=energy,
            check_energy_ev=energy + sum(shifts[e] for e in species) - error * len(species),
        ))  # fmt: skip
    record, card = engine_record("a"), card_record()
    doc = check_document(structures, engine=record, card=card, check_engine=engine_record("b"), check_card=card)
    assert doc.energy_freedom == 2
    assert doc.shifts_ev == pytest.approx(shifts)
    assert [s.error_ev_per_atom for s in doc.structures] == pytest.approx([0.02, -0.02, 0, 0], abs=1e-9)
    assert doc.energy_rmse_ev_per_atom == pytest.approx(0.02)
    (pair,) = doc.differences
    assert pair.difference_ev == 0
    assert pair.check_difference_ev == pytest.approx(0.04 * 8)
    assert any("error is larger than the difference" in text for text in doc.warnings)
    assert doc.text.endswith("no structure has forces of both")


def test_the_slope_and_its_error():
    rng = np.random.default_rng(1)
    x, clusters = rng.normal(size=3000), np.repeat(np.arange(300), 10)
    y = 0.8 * x + 0.1 * rng.normal(size=3000)
    slope, error = slope_through_origin(x, y, clusters)
    assert error == pytest.approx(0.1 / np.sqrt(3000), rel=0.2)
    assert slope == pytest.approx(0.8, abs=4 * error)
    # noise that a cluster shares counts once a cluster
    shared = 0.8 * x + np.repeat(0.1 * rng.normal(size=300), 10) * np.sign(x)
    assert slope_through_origin(x, shared, clusters)[1] > 2 * error
    assert slope_through_origin(np.ones(3), np.ones(3), [0, 0, 0]) == (1.0, None)


def test_frames_are_planned_without_the_symmetry_of_their_crystal(machine):
    study = study_of(machine, MOVING | {"systems": [{"crystal": "LiCl"}]}, {"frames": 2})
    planned = [step for step in study.planned if step.label.startswith("check/frame")]
    assert len(planned) == 4
    assert {len(SpacegroupAnalyzer(step.structure).get_symmetry_operations()) for step in planned} == {1}


def test_frames_are_chosen_for_variety():
    def cell(edge):
        return crystal("Li").copy().apply_strain(edge, inplace=False)

    edges = [0.0, 0.001, 0.002, 0.1, 0.003, -0.1]
    points = [radial_descriptor(cell(edge)) for edge in edges]
    assert set(farthest_points(points, 3)) >= {3, 5}
    assert len(set(farthest_points(points, 10))) == 6
    assert farthest_points(points, 3) == farthest_points(points, 3)
    assert farthest_points([], 3) == []
    shuffled = Structure.from_sites(list(cell(0.05))[::-1])
    assert np.allclose(radial_descriptor(shuffled), radial_descriptor(cell(0.05)))


# --- for real


@pytest.mark.slow
def test_pw_checks_a_potential_on_frames_of_lithium_chloride(ultrasoft, tmp_path, monkeypatch):  # noqa: F811
    """Eight atoms at 600 K: CHGNet's forces are of the size of pw.x's, and point the same way."""
    pytest.importorskip("chgnet")
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(ultrasoft))
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    write_yaml(tmp_path, ultrasoft_card().model_dump(mode="json"), "card.yaml")
    data = MOVING | {
        "engine": "chgnet", "systems": [{"crystal": "LiCl"}], "seeds": [1], "temperature_k": 600,
        "check": {"engine": "qe", "card": "card.yaml", "frames": 3},
    }  # fmt: skip
    study = load_study(write_yaml(tmp_path, data))
    study.preflight()
    output, _ = run(study)
    doc = CheckDoc.model_validate(output["check"])
    assert doc.error is None
    assert doc.check_engine.potentials.keys() == {"Li", "Cl"}
    every = doc.errors_of("all", "all")
    assert every.rms_ev_per_angstrom > 0.1
    assert every.rmse_ev_per_angstrom < 0.5 * every.rms_ev_per_angstrom
    assert 0.6 < every.slope < 1.2
    assert {errors.name for errors in doc.forces if errors.scope == "environment"} == {"LiCl"}
    assert doc.energy_rmse_ev_per_atom < 0.02
    print(doc.text)
