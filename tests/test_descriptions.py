"""Every key that a person may write, and every field that a query may name, says what it is."""

import re
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from anodeflow.cli.query_fields import query_fields
from anodeflow.settings import INTERNAL_VARIABLES, OTHER_VARIABLES, VARIABLES, Settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.studies.registry import STUDIES, load, tables
from anodeflow.workflows.tuning.settings import Tuning

ROOT = Path(__file__).parent.parent


def models(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in typing.get_args(annotation):
        yield from models(part)


@pytest.mark.parametrize(
    "root", [*(kind.name for kind in STUDIES), "card", "settings", "tuning"], ids=lambda name: f"keys of {name}"
)
def test_keys_are_described(root):
    others = {"card": MethodCard, "settings": Settings, "tuning": Tuning}
    model = others.get(root) or next(load(kind.study) for kind in STUDIES if kind.name == root)
    for part in models(model):
        without = [name for name, field in part.model_fields.items() if not field.description]
        assert not without, f"{part.__name__}: {without}"
        assert part.__doc__


@pytest.mark.parametrize("name", list(tables()))
def test_fields_of_queries_are_described(name):
    assert [field for field, text in query_fields(tables()[name]).items() if not text] == []


def test_environment_variables_are_listed():
    sources = [p for room in ("anodeflow", "structures", "analysis", "workflows") for p in (ROOT / room).rglob("*.py")]
    text = "\n".join(path.read_text() for path in [*sources, *(ROOT / "hpc_templates").iterdir()] if path.is_file())
    named = set(re.findall(r"\bANODEFLOW_[A-Z_]*[A-Z]\b", text))
    options = set(re.findall(r'envvar="(ANODEFLOW_[A-Z_]+)"', text))
    assert named == {*VARIABLES, *OTHER_VARIABLES, *INTERNAL_VARIABLES, *options}
