"""What a study declares: it travels as JSON, labels are identities, and a changed study knows what its file said."""

import json

import pytest
import yaml
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.graph import HostCell, Stage, Step
from anodeflow.workflows.studies.laying_out import jobs_of, plan

SIDES = {
    "film": {"crystal": "Li", "miller": [1, 0, 0]},
    "substrate": {"crystal": "LiCl", "miller": [1, 0, 0]},
}
STUDIES = {
    "binding-energy": {
        "hosts": ["Li", {"crystal": "LiCl", "surface": {"miller": [1, 0, 0]}, "environments": ["bulk", "surface"]}],
        "bulk": {"min_image_distance_angstrom": 6},
        "slab": {"min_thickness_angstrom": 5, "min_lateral_angstrom": 5},
    },
    "crystal-properties": {"crystals": ["Li", "LiCl"], "cells": "primitive"},
    "stability": {"electrolytes": ["LiP"], "anodes": ["Li"], "coatings": [], "phases": ["P"]},
    "voltage": {"crystals": ["Al", "LiAl", "Li"]},
    "surface-energy": {"surfaces": [{"crystal": "LiCl", "miller": [1, 0, 0], "layers": [2, 4, 6]}]},
    "interface-energy": {
        "film": SIDES["film"] | {"layers": [3, 5, 7, 9]},
        "substrate": SIDES["substrate"] | {"layers": 3},
        "max_strain_percent": 9,
        "surfaces": [{"crystal": "Li", "miller": [1, 0, 0], "layers": [5]}],
    },
    "molecular-dynamics": {
        "systems": [{"crystal": "LiCl"}, SIDES | {"min_thickness_angstrom": 5, "max_strain_percent": 9}],
        "relax_crystals": False, "duration_ps": 0.04, "segment_ps": 0.02, "equilibration_ps": 0.02,
    },
    "migration": {
        "paths": ["Li", {"crystal": "Al", "mechanism": "surface", "surface": {"miller": [1, 1, 1]},
                         "max_distance_angstrom": 2}],
        "cell": {"min_image_distance_angstrom": 7, "min_thickness_angstrom": 6},
    },
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    def written(kind, **changes):
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({"study": kind, "engine": "chgnet"} | STUDIES[kind] | changes))
        return load_study(file)

    return written


def travelled(thing):
    """What a job on another machine is given."""
    return json.loads(json.dumps(thing, cls=MontyEncoder), cls=MontyDecoder)


@pytest.mark.parametrize("kind", STUDIES)
def test_everything_declared_travels_as_json_and_arrives_the_same(kind, study):
    loaded = study(kind)
    found = {}
    for entry in loaded.declare():
        if isinstance(entry, Step):
            found[entry.label] = entry.structure
            continue
        arrived = travelled(entry)
        assert type(arrived) is type(entry)
        assert arrived == entry
        needed = [found[label] for label in entry.needs]
        if isinstance(entry, HostCell):
            found[entry.label] = built = arrived.build(needed)
            found[entry.host] = built.structure
            assert travelled(built) == built
        else:
            assert isinstance(entry, Stage)
            for result in arrived.lay_out(needed, travelled(loaded.setup)).results:
                assert travelled(result) == result
            found[entry.label] = foreseen = arrived.foreseen(needed, loaded.setup)
            assert travelled(foreseen) == foreseen
    assert travelled(loaded.setup).card.hash == loaded.method.hash


@pytest.mark.parametrize("kind", STUDIES)
def test_jobs_have_the_labels_of_what_is_declared_and_lean_on_nothing_else(kind, study):
    pytest.importorskip("chgnet")
    loaded = study(kind)
    entries = loaded.declare()
    labels = {label for e in entries for label in ((e.label, e.host) if isinstance(e, HostCell) else (e.label,))}
    jobs, outputs = jobs_of(entries, loaded.setup, loaded.identity)
    assert {job.name for job in jobs} == labels == set(outputs)
    uuids = {job.uuid for job in jobs}
    assert len(uuids) == len(jobs)
    for job in jobs:
        assert set(job.input_uuids) <= uuids
        arrived = travelled(job)
        assert (arrived.uuid, arrived.name, arrived.metadata) == (job.uuid, job.name, job.metadata)
    assert {step.label for step in loaded.planned} & labels == labels - {
        entry.label for entry in entries if not isinstance(entry, Step)
    }


def test_one_label_stands_for_one_thing(study, tmp_path):
    surface = STUDIES["surface-energy"]["surfaces"][0]
    twice = study("surface-energy", surfaces=[surface, dict(surface, layers=[*surface["layers"]], miller=[1, 0, 0])])
    assert len(twice.planned) == len(study("surface-energy").planned)
    other = study("surface-energy", surfaces=[surface, surface | {"layers": [2, 4, 8], "miller": [1, 0, 0]}])
    with pytest.raises(InputError, match=r"two different parts of the study are called 'LiCl\(100\)/slabs'"):
        plan(other.declare(), other.setup)
    # a file whose name is that of the metal, which every binding study has
    Structure.from_spacegroup("Fm-3m", [[4.3, 0, 0], [0, 4.3, 0], [0, 0, 4.3]], ["Li"], [[0, 0, 0]]).to(
        tmp_path / "Li.cif"
    )
    with pytest.raises(InputError, match="'Li/crystal'"):
        study("binding-energy", hosts=["Li.cif"]).planned  # noqa: B018 - a property that is evaluated


def test_a_study_with_changes_knows_what_its_file_said(study):
    loaded = study("surface-energy", max_atoms=400)
    changed = loaded.with_changes(engine="sevennet-0", card=None)
    assert changed.model_fields_set == loaded.model_fields_set == {"study", "engine", "surfaces", "max_atoms"}
    assert (changed.engine, loaded.engine) == ("sevennet-0", "chgnet")
    assert loaded.with_changes(engine=None) is loaded


def test_the_vacuum_is_that_of_the_study_then_of_the_card_then_the_default(study, tmp_path):
    card = load_card("embedded").model_dump(mode="json", exclude={"vacuum_angstrom"}, exclude_none=True)
    (tmp_path / "none.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "ten.yaml").write_text(yaml.safe_dump(card | {"vacuum_angstrom": 10}))
    for name, default in (("none.yaml", (15, 12)), ("ten.yaml", (10, 10))):
        assert study("surface-energy", card=name).vacuum == study("interface-energy", card=name).vacuum == default[0]
        assert study("binding-energy", card=name).cells.slab.vacuum_angstrom == default[1]
    assert study("surface-energy", card="ten.yaml", vacuum_angstrom=20).vacuum == 20


def test_a_slab_under_several_vacuums_is_planned_for_engines_that_give_its_levels(study):
    plain = study("surface-energy")
    several = study("surface-energy", vacuums_angstrom=[10, plain.vacuum, 25])
    labels = {step.label for step in several.planned} - {step.label for step in plain.planned}
    assert labels == {f"LiCl(100)/6 layers/cleaved, vacuum {vacuum}" for vacuum in (10, 25)}
    heights = {step.label: step.structure.lattice.c for step in several.planned}
    tall, flat = (heights[f"LiCl(100)/6 layers/cleaved, vacuum {vacuum}"] for vacuum in (25, 10))
    assert tall - flat == pytest.approx(15)
    assert several.hash != plain.hash
    with pytest.raises(EngineError, match="engine 'chgnet' gives no vacuum level"):
        several.preflight()
    with pytest.raises(InputError, match="names one twice"):
        study("surface-energy", vacuums_angstrom=[10, 10])


def test_slabs_whose_energy_would_need_chemical_potentials_are_refused_early(study):
    face = {"crystal": "LiCl", "miller": [1, 1, 1], "termination": "Cl/Li", "symmetric": True}
    refused = r"LiCl\(111\): 5 layers have Cl1 beyond whole formulas, so gamma needs chemical potentials; .* of 2"
    with pytest.raises(InputError, match=refused):
        study("surface-energy", surfaces=[face | {"layers": [5, 7, 9]}]).preflight()
    potentials = {"chemical_potentials_ev": {"Li": -2.0, "Cl": -5.0}}
    study("surface-energy", surfaces=[face | potentials | {"layers": [5, 7, 9]}]).preflight()
    with pytest.raises(
        InputError, match=r"7 layers have Cl1 beyond whole formulas, 6 layers nothing: two terminations"
    ):
        study("surface-energy", surfaces=[face | potentials | {"layers": [6, 7, 8]}]).preflight()
