"""The registry of studies: what it names is there, and fits together."""

import subprocess
import sys

import pytest

from anodeflow.documents import StudyDoc
from anodeflow.errors import InputError
from anodeflow.workflows.studies import registry
from anodeflow.workflows.studies.base import Study


@pytest.mark.parametrize("kind", registry.STUDIES, ids=lambda kind: kind.name)
def test_everything_a_kind_names_is_there(kind):
    study, document = registry.load(kind.study), registry.load(kind.document)
    assert issubclass(study, Study)
    assert study.kind == kind.name
    assert issubclass(document, StudyDoc)
    assert document.model_fields["doc_type"].default == kind.doc_type
    assert registry.study_kind(kind.name) is registry.kind_of_document(kind.doc_type) is kind
    for where in (kind.printer, kind.figure, kind.comparisons):
        assert where is None or callable(registry.load(where))


def test_tables_have_names_of_their_own():
    every = [table.name for kind in registry.STUDIES for table in kind.tables]
    assert len(set(every)) == len(every)
    assert set(every) < set(registry.tables())


def test_the_registry_and_its_tables_import_no_science():
    script = (
        "import sys; from anodeflow.workflows.studies.registry import tables; tables(); "
        "print([m for m in ('numpy', 'pymatgen', 'jobflow', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match=r"unknown study 'alchemy'.*binding-energy"):
        registry.study_kind("alchemy")
    with pytest.raises(InputError, match=r"'GoldDoc'.*SurfaceStudyDoc"):
        registry.kind_of_document("GoldDoc")
