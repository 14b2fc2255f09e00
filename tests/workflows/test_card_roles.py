"""Cards by role, and by default: which cell has which card, what is made of energies of two, what is refused."""

import sys
from pathlib import Path

import pytest
import yaml
from factories import calculation_doc, card_record, column
from jobflow.managers.local import run_locally

from anodeflow.analysis.comparable import check_roles
from anodeflow.cli.reproduce import study_of
from anodeflow.documents import EngineRecord
from anodeflow.errors import ReferenceMismatchError
from anodeflow.workflows.engines import registry
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study

FACES = {"film": {"crystal": "Li", "miller": [1, 0, 0]}, "substrate": {"crystal": "LiCl", "miller": [1, 0, 0]}}
SURFACES = [
    {"crystal": "LiCl", "miller": [1, 0, 0], "layers": [4, 6, 8]},
    {"crystal": "Li", "miller": [1, 0, 0], "layers": [5, 7, 9]},
]
INTERFACE = {
    "study": "interface-energy", "film": FACES["film"] | {"layers": [5, 7, 9, 11]},
    "substrate": FACES["substrate"] | {"layers": [3, 5]}, "surfaces": SURFACES, "shift": [0.5, 0.5],
    "max_strain_percent": 7, "max_area_angstrom2": 30,
}  # fmt: skip
SURFACE = {"study": "surface-energy", "surfaces": SURFACES}
BINDING = {
    "study": "binding-energy", "environments": ["surface"], "references": ["neutral_atom", "bulk_metal"],
    "hosts": [{"crystal": "Li", "surface": {"miller": [1, 0, 0]}}],
    "slab": {"min_thickness_angstrom": 5, "min_lateral_angstrom": 3},
}  # fmt: skip
CARDS = {"card": "lacss2024-surface", "cards": {"crystal": "lacss2024-bulk"}}
CUTOFF_ERROR_EV = 0.02  # an atom, at 400 eV against 600


class Bonds(Engine):
    """Atoms that cost an energy for every neighbour they lack, and less with a smaller cutoff; nothing ever moves."""

    name = "bonds"
    capabilities = Capabilities(electrons=True, kpoints=True, isolated_atoms=True)

    def record(self, elements=()):
        """See :meth:`Engine.record`."""
        return EngineRecord(name=self.name, kind="test engine", version="1", hash="b" * 16, stand_in=True)

    def preflight(self, card):
        """See :meth:`Engine.preflight`."""
        return []

    def seconds_per_step(self, structure, card=None):
        """See :meth:`Engine.seconds_per_step`."""
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        """See :meth:`Engine.compute`."""
        lacking = sum(14 - len(near) for near in request.structure.get_all_neighbors(3.2))
        error = CUTOFF_ERROR_EV * (600 - request.card.cutoff_ev) / 200
        energy = 0.03 * lacking - (2.0 + error) * len(request.structure)
        return Outcome(request.structure, energy, True, True, 1, 0.0)


@pytest.fixture
def bonds(monkeypatch):
    monkeypatch.setitem(sys.modules, "bonds", sys.modules[__name__])
    monkeypatch.setattr(registry, "PROGRAMS", registry.PROGRAMS | {"bonds": ("bonds", "Bonds")})
    registry.get_engine.cache_clear()
    yield
    registry.get_engine.cache_clear()


@pytest.fixture
def written(tmp_path):
    def study(content, **changes):
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(content | {"engine": "vasp"} | changes))
        return load_study(file)

    return study


@pytest.fixture
def document(written, tmp_path, bonds):
    def run(content, **changes):
        store = open_job_store(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
        study = written(content, engine="bonds", **changes)
        run_locally(study.flow(), store=store, ensure_success=True, log=False)
        last = store.query_one({"metadata.study_hash": study.hash, "metadata.label": "summary"}, load=True)
        return registry_document(last["output"])

    return run


def registry_document(output):
    from anodeflow.workflows.studies.registry import kind_of_document, load

    return load(kind_of_document(output["doc_type"]).document).model_validate(output)


def cards_of(study):
    return {step.label: study.card_of(step).name for step in study.planned}


def test_every_cell_of_an_interface_has_the_card_of_its_role(written, bonds):
    cards = {"crystal": "lacss2024-bulk", "slab": "pbe-bulk"}
    cards = cards_of(written(INTERFACE, engine="bonds", card="pbe-slab", cards=cards))
    assert cards["Li/crystal"] == cards["LiCl/crystal"] == "lacss2024-bulk"
    assert cards["LiCl(100)/4 layers/cleaved"] == cards["Li(100)/9 layers"] == "pbe-bulk"
    assert cards["interface/5 layers"] == "pbe-slab"
    # without a plane of its own the strained crystal is compared with crystals
    assert cards["Li/strained"] == "lacss2024-bulk"


def test_isolated_lithium_has_the_card_of_the_slabs_it_is_subtracted_from(written):
    cards = cards_of(written(BINDING, **CARDS))
    assert cards["Li/crystal"] == "lacss2024-bulk"
    assert cards["Li/surface/host"] == "lacss2024-surface"
    assert cards["Li/atom"].startswith("lacss2024-surface")
    bulk = written(BINDING | {"environments": ["bulk"], "states": ["interstitial"]}, **CARDS)
    assert set(cards_of(bulk).values()) == {"lacss2024-bulk", "lacss2024-bulk (isolated atom)"}


def test_a_card_for_each_role_needs_no_other(written, bonds):
    study = written(SURFACE, engine="bonds", cards={"crystal": "lacss2024-bulk", "slab": "pbe-slab"})
    assert study.method.name == "pbe-slab"
    assert set(cards_of(study).values()) == {"lacss2024-bulk", "pbe-slab"}


def test_hashes_change_where_something_else_is_computed_and_only_there(written):
    plain, by_role = (written(SURFACE, card="lacss2024-surface", **more) for more in ({}, {"cards": CARDS["cards"]}))
    assert plain.hash != by_role.hash
    same = written(SURFACE, card="lacss2024-surface", cards={"slab": "lacss2024-surface"})
    assert same.hash == plain.hash
    potential, with_cards = (written(SURFACE, engine="sevennet-0", **c) for c in ({"card": CARDS["card"]}, CARDS))
    assert potential.hash == with_cards.hash  # to a potential both cards are the same
    assert cards_of(with_cards) == cards_of(potential)
    assert any("cards by role are for engines with electrons" in note for note in with_cards.notes_on_cards())


def test_another_card_replaces_those_of_all_roles(written):
    assert set(cards_of(written(SURFACE, **CARDS).with_changes(card="pbe-slab")).values()) == {"pbe-slab"}


def test_a_fit_over_thickness_is_free_of_the_crystals_card(document):
    one, two = document(SURFACE, card="lacss2024-surface"), document(SURFACE, **CARDS)
    assert one.cards is None
    assert two.cards_text == "lacss2024-surface; crystal: lacss2024-bulk"
    for plain, by_role in zip(one.surfaces, two.surfaces, strict=True):
        assert by_role.gamma_j_per_m2 == pytest.approx(plain.gamma_j_per_m2, abs=1e-9)
        assert by_role.bulk_ev_per_unit == by_role.fit.bulk_ev_per_unit  # single slabs, too
        assert by_role.references == []
        assert any("lacss2024-bulk (600 eV, 12x12x12)" in w and "slabs alone" in w for w in by_role.warnings)
        assert plain.other_card is None


def test_a_single_slab_against_a_crystal_of_another_card_is_flagged(document):
    single = {"study": "surface-energy", "surfaces": [{"crystal": "Li", "miller": [1, 0, 0], "layers": [7]}]}
    plain, by_role = (document(single, **c).surfaces[0] for c in ({"card": "lacss2024-surface"}, CARDS))
    error = -7 * CUTOFF_ERROR_EV / (2 * plain.area_angstrom2) * 16.02176634
    assert by_role.gamma_j_per_m2 - plain.gamma_j_per_m2 == pytest.approx(error)
    assert any("enters gamma once for every formula unit" in w for w in by_role.warnings)


def test_the_intercept_over_both_thicknesses_is_free_of_the_crystals_card(document):
    plain = document(INTERFACE, card="lacss2024-surface", cards={"crystal": "lacss2024-surface"}).interface
    by_role = document(INTERFACE, **CARDS).interface
    assert plain.error is None
    assert by_role.gamma_j_per_m2 == pytest.approx(plain.gamma_j_per_m2, abs=1e-6)
    assert by_role.strain_energy_ev_per_unit - plain.strain_energy_ev_per_unit == pytest.approx(-CUTOFF_ERROR_EV)
    assert any("free of the crystals' energies" in w for w in by_role.warnings)
    assert by_role.strain_check is None
    assert by_role.substrate_convergence.converged is None
    assert by_role.work_of_adhesion_j_per_m2 == pytest.approx(plain.work_of_adhesion_j_per_m2, abs=1e-6)
    one = INTERFACE | {"substrate": FACES["substrate"] | {"layers": 5}}
    flagged = document(one, **CARDS).interface
    assert any("enters gamma once for every unit of the substrate" in w for w in flagged.warnings)


@pytest.mark.slow
def test_references_in_the_interfaces_plane_have_its_card(document):
    content = {key: value for key, value in INTERFACE.items() if key not in ("shift", "surfaces")}
    cards = {"card": "pbe-slab", "cards": {"crystal": "lacss2024-bulk"}}
    study = content | cards | {"registry": "Li over Cl"}
    pytest.importorskip("sevenn")
    doc = document(study).interface
    assert doc.references_aligned
    assert doc.film_alignment_ev_per_unit is None
    assert doc.strain_check is not None
    assert any("crystals in the interface's plane, with its card" in w for w in doc.warnings)


def test_adsorption_against_a_metal_of_another_card_is_flagged(document):
    plain, by_role = (document(BINDING, **c).hosts[0] for c in ({"card": "lacss2024-surface"}, CARDS))
    assert by_role.binding_energy_ev["neutral_atom"] == pytest.approx(plain.binding_energy_ev["neutral_atom"])
    difference = by_role.binding_energy_ev["bulk_metal"] - plain.binding_energy_ev["bulk_metal"]
    assert difference == pytest.approx(-CUTOFF_ERROR_EV)
    (flag,) = [w for w in by_role.warnings if "the difference enters E_int against bulk_metal" in w]
    assert "lacss2024-bulk (600 eV" in flag


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"slab": ["pbe-slab", "lacss2024-surface"]}, "mixed cards of one role"),
        ({"slabs": "pbe-slab"}, "slab"),
        ({"crystal": "no-such-card"}, "unknown method card"),
        ({"crystal": "embedded"}, "has no cutoff_ev"),
        ({"crystal": "lacss2024-bulk"}, "has the potential Li_sv of Li, crystal Li"),
    ],
)
def test_bad_cards_by_role_are_one_line(cards, words, written, command, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SURFACE | {"card": "pbe-slab", "cards": cards}))
    status, _, err = command("plan", tmp_path / "study.yaml", "--engine", "vasp")
    assert status != 0
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_mixed_cards_of_one_role_are_refused():
    cells = [calculation_doc(-1.0, column({"Li": 1}, 3.0), label=f"slab {c}", card=card_record(c)) for c in ("a", "b")]
    with pytest.raises(ReferenceMismatchError, match=r"mixed cards of one role \(slab\): 'slab a' has card"):
        check_roles(cells, [], "slab")


@pytest.mark.parametrize(
    "part", ["surface", "interface", "adsorption", pytest.param("aimd", marks=pytest.mark.slow), "moduli"]
)
def test_every_part_of_the_paper_has_complete_inputs_for_vasp(part, tmp_path, monkeypatch):
    from anodeflow.cli.plan import _write_inputs

    for name in ("ANODEFLOW_VASP_POTENTIALS", "PMG_VASP_PSP_DIR", "ANODEFLOW_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    study = study_of("lacss2024", part, "vasp", None).as_dry_run()
    study.preflight()
    if part == "aimd":  # the segments of a run differ in nothing that is written but their number
        study = type(study).model_validate(study.model_dump(exclude_unset=True) | {"seeds": [1], "duration_ps": 1.0})
    _write_inputs(study, tmp_path / "inputs", {})
    folders = [folder for folder in (tmp_path / "inputs").iterdir() if folder.is_dir()]
    computed = [step for step in study.planned if study.engine_of(step).capabilities.inputs]
    assert len([f for f in folders if (f / "INCAR").is_file()]) == len(computed)
    for folder in folders:
        names = {file.name for file in folder.iterdir()}
        assert {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"} <= names or names == {"NOTE"}, folder.name
        if "INCAR" in names:
            assert "Li_sv" not in (folder / "POTCAR.spec").read_text() or part == "moduli"


def test_the_papers_crystals_have_600_ev_and_its_slabs_400(monkeypatch):
    study = study_of("lacss2024", "interface", "vasp", None)
    cutoffs = {step.label: (study.card_of(step).cutoff_ev, study.card_of(step).kpoints.mesh) for step in study.planned
               if step.engine is None}  # fmt: skip
    assert cutoffs["Li/crystal"] == cutoffs["LiCl/crystal"] == cutoffs["Li/strained"] == (600, (12, 12, 12))
    others = {value for label, value in cutoffs.items() if label.split("/")[0] not in ("Li", "LiCl")}
    assert others == {(400, (3, 1, 1))}


ROOT = Path(__file__).parents[2]
DEFAULTS = {
    "examples/binding-energy.yaml": "pbe-slab",  # Li on surfaces, too: one card for all that is subtracted
    "examples/migration.yaml": "pbe-slab",
    "examples/voltage.yaml": "pbe-bulk",
    "examples/molecular-dynamics.yaml": "lacss2024-aimd",
    "workflows/papers/lacss2024-moduli.yaml": "pbe-bulk",
    "workflows/papers/wu2025-voltage.yaml": "pbe-bulk",
    "workflows/papers/wu2025-window.yaml": "pbe-bulk",
}


@pytest.mark.parametrize("engine", ["vasp", "castep", "qe", "gpaw"])
def test_one_word_is_enough_to_change_the_engine(engine):
    for file, card in DEFAULTS.items():
        study = load_study(ROOT / file)
        written = study.method
        assert study.with_changes(engine=engine).method.name == card, file
        assert written.cutoff_ev is None or written.name == card
        assert load_study(ROOT / file).hash  # as it was: the golden hashes say so


def test_a_study_of_the_default_card_says_so_in_its_document(document):
    doc = document(SURFACE)
    assert doc.card.name == "pbe-slab"
    assert all(surface.card.name == "pbe-slab" for surface in doc.surfaces)
    said = "card 'embedded' says nothing of electrons: bonds has the default pbe-slab (400 eV, 0.04 per angstrom)"
    assert any(source.startswith(said) for source in doc.sources)
