"""Documents stored before modules were rearranged: every kind is still read, as the class and with the content it had.

A stored document names the module and class that wrote it. The files under tests/golden/documents are jobs' documents
as a store of version 0.1.0 holds them, each with its large data; they are never written again.
"""

import json
from pathlib import Path

import pytest
from jobflow import OutputReference
from monty.json import MontyDecoder, jsanitize

from anodeflow.workflows.store import open_job_store

GOLDEN = Path(__file__).parent / "golden" / "documents"
# Where each class was when the files were written. Classes may move; these names must go on leading to them.
WRITTEN_BY = {
    "CalculationDoc": "anodeflow.analysis.documents",
    "BandDoc": "anodeflow.analysis.migration_documents",
    "DynamicsSegmentDoc": "anodeflow.analysis.dynamics_runs",
    "BindingEnergyDoc": "anodeflow.analysis.binding",
    "SurfaceEnergyDoc": "anodeflow.analysis.surface_energy",
    "InterfaceEnergyDoc": "anodeflow.analysis.interface_energy",
    "MigrationBarrierDoc": "anodeflow.analysis.migration_documents",
    "DynamicsSystemDoc": "anodeflow.analysis.dynamics_study",
    "BindingStudyDoc": "anodeflow.analysis.binding",
    "SurfaceStudyDoc": "anodeflow.analysis.study_documents",
    "InterfaceStudyDoc": "anodeflow.analysis.study_documents",
    "CrystalStudyDoc": "anodeflow.analysis.crystal_properties",
    "MigrationStudyDoc": "anodeflow.analysis.migration_documents",
    "DynamicsStudyDoc": "anodeflow.analysis.dynamics_study",
}
# Fields that were added since: read from an older document, they hold these.
ADDED = {"CalculationDoc": {"stress_gpa": None}, "CrystalStudyDoc": {"elastic": []}}
WITH_DATA = {"CalculationDoc", "BandDoc", "DynamicsSegmentDoc"}


@pytest.fixture(params=WRITTEN_BY)
def stored(request):
    """Name of a class, and a job's document with its large data as they are in a store."""
    content = json.loads((GOLDEN / f"{request.param}.json").read_text())
    return request.param, content["document"], content["data"]


def expected(document):
    """Content of a document as it is read today."""
    return plain(document["output"] | ADDED.get(document["output"]["@class"], {}))


def plain(value):
    """Content without the names of who wrote it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in ("@module", "@version")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def test_the_files_name_the_modules_of_that_time(stored):
    name, document, data = stored
    assert document["output"]["@class"] == name
    assert document["output"]["@module"] == WRITTEN_BY[name]
    assert bool(data) == (name in WITH_DATA)


def test_it_is_decoded_to_its_class_with_its_content(stored):
    name, document, _ = stored
    found = MontyDecoder().process_decoded(document["output"])
    assert type(found).__name__ == name
    assert type(found).__module__.startswith("anodeflow.")
    again = jsanitize(found, strict=True, enum_values=True)
    assert plain(again) == expected(document)


def test_it_is_validated_to_the_same_content(stored):
    _, document, _ = stored
    found = MontyDecoder().process_decoded(document["output"])
    validated = type(found).model_validate(document["output"])
    assert type(validated) is type(found)
    assert plain(jsanitize(validated, strict=True, enum_values=True)) == expected(document)


def test_a_job_that_refers_to_it_gets_it_from_the_store(stored, tmp_path):
    name, document, data = stored
    store = open_job_store(tmp_path / "store.sqlite")
    store.docs_store.update([document], ["uuid", "index"])
    if data:
        store.additional_stores["data"].update(data, ["blob_uuid"])
    found = OutputReference(document["uuid"]).resolve(store)
    assert type(found).__name__ == name
    content = plain(jsanitize(found, strict=True, enum_values=True))
    if data:
        assert content.pop("arrays") == plain(data[0]["data"])
    assert content == {key: value for key, value in expected(document).items() if key != "arrays" or not data}
