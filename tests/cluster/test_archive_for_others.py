"""A study for programs that do not know anodeflow: the archive as an RO-Crate, structures as OPTIMADE JSON Lines."""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import pytest
from factories import STUDY_HASH
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import export_study, import_study, verify_archive
from anodeflow.workflows.store.optimade import export_optimade, structure_attributes

sys.path.insert(0, str(Path(__file__).parent))
from archives import CRYSTAL, fill, key_of, rewrite

CRATE = "ro-crate-metadata.json"


@pytest.fixture
def store(tmp_path):
    store = open_job_store(tmp_path / "a.sqlite")
    fill(store)
    return store


@pytest.fixture
def archive(store, tmp_path):
    export_study(store, STUDY_HASH, tmp_path / "study.zip", submitted="study: crystal-properties\n")
    return tmp_path / "study.zip"


def graph_of(archive):
    with zipfile.ZipFile(archive) as opened:
        return {entity["@id"]: entity for entity in json.loads(opened.read(CRATE))["@graph"]}


def test_the_archive_is_a_crate(archive):
    graph = graph_of(archive)
    assert graph[CRATE]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert graph[CRATE]["about"] == {"@id": "./"}
    root = graph["./"]
    assert root["name"] == "ä"
    assert {"description", "datePublished", "license", "identifier"} <= root.keys()
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist()) - {CRATE}
        assert {part["@id"] for part in root["hasPart"]} == names
        for name in names - {"CHECKSUMS.sha256"}:
            assert graph[name]["sha256"] == hashlib.sha256(opened.read(name)).hexdigest()
            assert graph[name]["contentSize"] == str(opened.getinfo(name).file_size)
    action = graph["#computation"]
    assert action["object"] == {"@id": "study.yaml"}
    assert graph["documents/00000.json"]["name"] == "Li/crystal"

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else (r for v in value.values() for r in references(v))
        elif isinstance(value, list):
            yield from (r for v in value for r in references(v))

    pointed = {r for entity in graph.values() for r in references(entity) if not r.startswith("https://")}
    assert pointed <= graph.keys()


def test_the_library_of_ro_crate_reads_it(archive, tmp_path):
    library = pytest.importorskip("rocrate.rocrate")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    crate = library.ROCrate(tmp_path / "unpacked")
    assert crate.name == "ä"
    assert crate.root_dataset["identifier"] == STUDY_HASH
    assert len(crate.data_entities) == len(graph_of(archive)["./"]["hasPart"])
    assert all((tmp_path / "unpacked" / entity.id).is_file() for entity in crate.data_entities)


def test_same_bytes_and_old_archives_still_come_in(archive, store, tmp_path):
    again = tmp_path / "again.zip"
    export_study(store, STUDY_HASH, again, submitted="study: crystal-properties\n")
    assert again.read_bytes() == archive.read_bytes()
    old = rewrite(archive, tmp_path / "old.zip", lambda files: files.pop(CRATE), sums=True) or tmp_path / "old.zip"
    target = open_job_store(tmp_path / "b.sqlite")
    assert import_study(old, target) == verify_archive(archive)
    export_study(target, STUDY_HASH, again, submitted="study: crystal-properties\n")
    assert again.read_bytes() == archive.read_bytes()


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_structures_as_optimade(store, tmp_path):
    file = tmp_path / "study.jsonl"
    assert export_optimade(store, STUDY_HASH, file) == 1
    header, info, entry = lines_of(file)
    assert header["x-optimade"]["meta"]["api_version"] == "1.2.0"
    assert (entry["type"], entry["id"]) == ("structures", key_of())
    attributes = entry["attributes"]
    assert attributes["chemical_formula_reduced"] == "Li"
    assert attributes["_anodeflow_energy"] == -1.25
    assert {name for name in attributes if name.startswith("_")} == set(info["properties"])
    assert attributes["last_modified"].endswith("Z")
    positions = attributes["cartesian_site_positions"]
    back = Structure(
        attributes["lattice_vectors"], attributes["species_at_sites"], positions, coords_are_cartesian=True
    )
    assert back.matches(CRYSTAL)
    first = file.read_bytes()
    export_optimade(store, STUDY_HASH, file)
    assert file.read_bytes() == first
    with pytest.raises(InputError, match=r"has no ending \.jsonl"):
        export_optimade(store, STUDY_HASH, tmp_path / "study.json")
    with pytest.raises(StoreError, match="no converged calculation"):
        export_optimade(store, "0" * 16, file)


def test_formulas_as_the_specification_has_them():
    cell = Structure(
        Lattice.cubic(9.0), ["S"] * 10 + ["P"] * 2 + ["Li"] * 12 + ["Cl"] * 2, [[i / 26, 0, 0] for i in range(26)]
    )
    attributes = structure_attributes(cell)
    assert attributes["elements"] == ["Cl", "Li", "P", "S"]
    assert attributes["chemical_formula_reduced"] == "ClLi6PS5"
    assert attributes["chemical_formula_anonymous"] == "A6B5CD"
    assert sum(attributes["elements_ratios"]) == pytest.approx(1)
    assert attributes["nsites"] == len(attributes["species_at_sites"]) == 26


def test_models_of_optimade_accept_it(store, tmp_path):
    models = pytest.importorskip("optimade.models")
    file = tmp_path / "study.jsonl"
    export_optimade(store, STUDY_HASH, file)
    for entry in lines_of(file)[2:]:
        models.StructureResource.model_validate(entry)


def test_the_command(command, store, tmp_path):
    where = ["--store", tmp_path / "a.sqlite"]
    status, out, _ = command("export", STUDY_HASH, "--optimade", tmp_path / "s.jsonl", *where)
    assert (status, "1 structures" in out) == (0, True)
    status, out, _ = command("export", STUDY_HASH, "--optimade", tmp_path / "s.jsonl", "--json", *where)
    assert json.loads(out)["structures"] == 1
    status, _, err = command("export", STUDY_HASH, *where)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
