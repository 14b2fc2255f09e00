"""Convergence rows of binding energies, with an engine whose energies are known functions of cell and mesh."""

import json
import sys

import pytest
from factories import write_yaml
from jobflow import JobStore
from jobflow.managers.local import run_locally
from maggma.stores import MemoryStore

from anodeflow.analysis.binding_convergence import Value, binding_convergence
from anodeflow.analysis.figures.binding import binding_figure
from anodeflow.cli.output.binding import print_binding
from anodeflow.documents import EngineRecord
from anodeflow.errors import InputError
from anodeflow.report.answers import binding_answer
from anodeflow.workflows.engines import registry
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.binding.tables import TABLES

IMAGES, VACUUM, SPACING = "bulk.min_image_distance_angstrom", "slab.vacuum_angstrom", "kpoints.spacing_per_angstrom"
ALUMINIUM = {"crystal": "Al", "sites": ["i1", "hollow-1"], "surface": {"miller": [1, 1, 1], "supercell": [1, 1]}}
STUDY = {
    "study": "binding-energy",
    "engine": "known",
    "card": "pbe-slab",
    "hosts": [ALUMINIUM | {"environments": ["bulk", "surface"]}],
    "states": ["interstitial"],
    "references": ["neutral_atom"],
    "bulk": {"min_image_distance_angstrom": 5},
    "slab": {"min_thickness_angstrom": 4, "vacuum_angstrom": 10},
}
COHESIVE, IONISATION = 1.586, 5.303  # PBE: published values, which the package has, too


class Known(Engine):
    """An atom has -1 eV; of Li in or on a host E_int is 3 eV/c - 0.1 eV * mesh of the cell with it, W is 4 + 5/c eV."""

    name = "known"
    capabilities = Capabilities(kpoints=True, vacuum_level=True)

    def record(self, elements=()):
        return EngineRecord(name="known", kind="test engine", version="1", hash="k" * 16)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        cell, counted = request.structure, request.structure.composition
        with_li = counted["Li"] == 1 and len(cell) > 1
        energy = -1.0 * len(cell)
        if with_li:
            energy += 3.0 / cell.lattice.c - 0.1 * self.mesh(cell, request.card)[0]
        top = 4.0 + 5.0 / cell.lattice.c
        levels = {"level_ev": 0.0, "level": "Fermi level", "top_ev": top} if with_li and cell.lattice.c > 12 else None
        done = Outcome(cell, energy, True if request.task != "static" else None, None, 0, 0.0)
        done.levels = levels
        return done


def install(patch):
    patch.setitem(sys.modules, "known_engine", sys.modules[__name__])
    patch.setattr(registry, "PROGRAMS", registry.PROGRAMS | {"known": ("known_engine", "Known")})


@pytest.fixture(autouse=True)
def known(monkeypatch):
    install(monkeypatch)


def study_of(folder, vary, **changes):
    return load_study(write_yaml(folder, STUDY | {"vary": vary} | changes))


def run(study):
    """Run a study and return the last output of each of its jobs."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    outputs = run_locally(study.flow(), store=store, ensure_success=True, log=False)
    return [out[max(out)].output for out in outputs.values()]


def of_type(outputs, doc_type):
    return [out for out in outputs if getattr(out, "doc_type", None) == doc_type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that varies images, vacuum and k-points: itself, its notes, its last document, its calculations."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        vary = {IMAGES: [5, 5.1, 8], VACUUM: [25, 10, 15], SPACING: [0.05, 0.04, 0.03]}
        study = study_of(tmp_path_factory.mktemp("rows"), vary)
        notes, outputs = study.preflight(), run(study)
    (document,) = of_type(outputs, "BindingStudyDoc")
    return study, notes, document, of_type(outputs, "CalculationDoc")


def convergence(document, where, setting):
    return next(c for c in document.convergence if (c.where, c.setting) == (where, setting))


def test_rows_are_what_their_cells_say(finished):
    """E_int and E_int(Li+) of every vacuum by hand."""
    _, _, document, calculations = finished
    rows = convergence(document, "Al/surface", VACUUM).rows
    assert [row.value for row in rows] == [10, 15, 25]
    assert [row.is_base for row in rows] == [True, False, False]
    thickness = None
    for row in rows:
        label = "Al/surface/hollow-1" if row.is_base else f"Al/surface, vacuum {row.value:g} A/hollow-1"
        cell = next(doc for doc in calculations if doc.label == label)
        c = cell.structure.lattice.c
        thickness = thickness or c - row.value
        assert c - row.value == pytest.approx(thickness)
        mesh = Known().mesh(cell.structure, finished[0].method)
        expected = -1 + 3 / c - 0.1 * mesh[0] - (-1 + COHESIVE)
        assert row.binding_energy_ev["neutral_atom"] == pytest.approx(expected)
        assert row.work_function_ev == pytest.approx(4 + 5 / c)
        assert row.ion_binding_energy_ev == pytest.approx(expected + 4 + 5 / c - IONISATION)
    assert rows[-1].from_finest_ev == rows[0].from_base_ev == 0
    assert (
        rows[0].from_finest_ev == -rows[-1].from_base_ev == pytest.approx(3 / (thickness + 10) - 3 / (thickness + 25))
    )


def test_the_verdict_takes_neutral_lithium_and_the_ion(finished):
    _, _, document, _ = finished
    of_vacuum = convergence(document, "Al/surface", VACUUM)
    assert of_vacuum.spread_ev == pytest.approx(abs(of_vacuum.rows[0].from_finest_ev))
    assert of_vacuum.ion_spread_ev == pytest.approx(8 / 3 * of_vacuum.spread_ev)
    assert of_vacuum.converged is False
    assert f"Al/surface, {VACUUM}: {of_vacuum.verdict}" in document.warnings
    # of k-points the smallest spacing is the finest; a coarser one than the study's own does not count
    of_mesh = convergence(document, "Al/bulk, interstitial", SPACING)
    assert [row.value for row in of_mesh.rows] == [0.05, 0.04, 0.03]
    assert of_mesh.spread_ev == pytest.approx(abs(of_mesh.rows[-1].from_base_ev))


def test_neutral_lithium_alone_does_not_decide_where_some_slabs_have_no_work_function(finished):
    _, _, document, _ = finished
    docs = [doc.model_copy(update={"work_function_ev": None, "ion_binding_energy_ev": None}) for doc in document.hosts]
    surface = next(doc for doc in docs if doc.environment == "surface")
    known = surface.model_copy(update={"ion_binding_energy_ev": 0.5})
    values = [Value(10, surface, is_base=True), Value(15, known), Value(25, known)]
    unknown = binding_convergence(surface, VACUUM, values, "neutral_atom")
    assert (unknown.spread_ev, unknown.ion_spread_ev, unknown.converged) == (0, None, None)
    assert "not known whether converged" in unknown.verdict
    assert "Li+ has no number at 10, whose slab has no work function" in unknown.verdict
    # of an engine that has no levels at all, it does
    values = [Value(10, surface, is_base=True), Value(15, surface)]
    assert binding_convergence(surface, VACUUM, values, "neutral_atom").converged is True
    values = [Value(10, surface, is_base=True), Value(15, None)]
    alone = binding_convergence(surface, VACUUM, values, "neutral_atom")
    assert (alone.converged, alone.rows[1].error) == (None, "not computed; see the first failure of the run")
    assert "fewer than two values" in alone.verdict


def test_the_error_of_a_number_holds_its_rows(finished):
    _, _, document, _ = finished
    for host in document.hosts:
        spreads = {c.setting: c.spread_ev for c in document.convergence if c.where == host.where}
        assert host.convergence_spread_ev == spreads
        assert host.total_error_ev == pytest.approx(host.numerical_uncertainty_ev + sum(spreads.values()))
        assert host.varied is None


def test_a_value_that_gives_the_same_cell_is_not_computed(finished):
    study, notes, document, calculations = finished
    rows = convergence(document, "Al/bulk, interstitial", IMAGES).rows
    assert [row.same_as for row in rows] == [None, 5, None]
    assert rows[1].binding_energy_ev == rows[0].binding_energy_ev
    assert f"vary: {IMAGES} 5.1 gives Al/bulk the cells and k-points of 5: not computed again" in notes
    labels = [step.label for step in study.planned]
    assert len(labels) == len(set(labels))
    assert set(labels) == {doc.label for doc in calculations}
    assert not any("5.1" in label for label in labels)
    # the crystals of a row with other k-points are relaxed with these, those of other rows are the study's
    assert [label for label in labels if label.startswith("Al/crystal")] == [
        "Al/crystal", "Al/crystal, k-spacing 0.03", "Al/crystal, k-spacing 0.05"
    ]  # fmt: skip


def test_a_row_is_the_study_with_that_setting(finished, tmp_path):
    """The fingerprints are those of a study of its own: what one computed, the other recognises."""
    *_, computed = finished
    other = study_of(tmp_path, {VACUUM: [15, 20]}, slab=STUDY["slab"] | {"vacuum_angstrom": 15})
    keys = {doc.label: doc.fingerprint for doc in of_type(run(other), "CalculationDoc")}
    row = next(doc for doc in computed if doc.label == "Al/surface, vacuum 15 A/hollow-1")
    assert keys["Al/surface/hollow-1"] == row.fingerprint


def test_tables_figure_and_answer(finished, capsys):
    *_, document, _ = finished
    print_binding(document)
    out = capsys.readouterr().out
    assert "± with rows" in out
    assert "not converged within 0.02 eV" in out
    content = json.loads(document.model_dump_json())
    rows = next(table for table in TABLES if table.name == "convergence").rows(content)
    assert len(rows) == sum(len(c.rows) for c in document.convergence)
    assert {row["setting"] for row in rows} == {IMAGES, VACUUM, SPACING}
    assert [table.sometimes for table in TABLES if table.name in ("binding", "sites")] == [("varied",)] * 2
    assert "Convergence: Al/bulk" in binding_answer(document)
    figure = binding_figure(document)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "distance of images (Å)", "spacing of k-points (1/Å)", "vacuum (Å)"
    ]  # fmt: skip
    assert document.complete


def test_without_vary_nothing_changes(tmp_path):
    plain = load_study(write_yaml(tmp_path, STUDY))
    assert "vary" not in plain.hashed_settings()
    assert study_of(tmp_path, {VACUUM: [10, 15]}).hash != plain.hash


@pytest.mark.parametrize(
    ("vary", "changes", "words"),
    [
        ({"slab.vacuum": [10, 15]}, {}, "not a setting that can be varied; did you mean slab.vacuum_angstrom?"),
        ({VACUUM: [10]}, {}, "one value shows no convergence"),
        ({VACUUM: 10}, {}, "give a list of values"),
        ({VACUUM: [10, 10.0]}, {}, "names one value twice"),
        ({VACUUM: [10, 2]}, {}, "greater than or equal to 5, not 2"),
        ({VACUUM: [10, None]}, {}, "give numbers, not None"),
        ({}, {}, "vary: names no setting"),
        ([VACUUM], {}, "give settings with values"),
        ({VACUUM: [10, 15]}, {"hosts": ["Al"]}, "matters in the environment surface"),
        ({IMAGES: [5, 8]}, {"hosts": [ALUMINIUM | {"environments": ["surface"]}]}, "matters in the environment bulk"),
        ({IMAGES: [5, 5.1]}, {}, "all of 5, 5.1 give the same cells"),
        ({"slab.min_lateral_angstrom": [5, 9]}, {}, "give the same cells"),
        ({SPACING: [0.04, 0.03]}, {"card": "embedded"}, "embedded has no one spacing of k-points"),
        (None, {"converged_within_ev": 0.01}, "converged_within_ev is for convergence rows"),
    ],
)
def test_bad_input_is_one_line(vary, changes, words, tmp_path):
    with pytest.raises(InputError) as caught:
        study_of(tmp_path, vary, **changes).preflight()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_k_points_of_an_engine_without_any(tmp_path, monkeypatch):
    monkeypatch.setattr(Known, "capabilities", Capabilities())
    with pytest.raises(InputError, match="engine 'known' has no k-points"):
        study_of(tmp_path, {SPACING: [0.04, 0.03]}).preflight()
