"""The reference of the site is written from the models: nothing is left out, and text of programs stays what it is."""

import importlib
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from pydantic import BaseModel, Field

from anodeflow.workflows.studies.registry import STUDIES, load

EXTENSIONS = Path(__file__).parent.parent / "docs" / "_extensions"


def extension(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    return importlib.import_module(name)


@pytest.fixture
def from_models(monkeypatch):
    pytest.importorskip("sphinx", reason="the package sphinx is not installed (pip install -e '.[docs]')")
    return extension("from_models", monkeypatch)


@pytest.fixture
def type_text(monkeypatch):
    return extension("key_types", monkeypatch).type_text


class Part(BaseModel):
    """A part."""


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str | None, "text"),
        (Annotated[float, Field(ge=0.5, le=5)], "number from 0.5 to 5"),
        (Annotated[int, Field(ge=2)] | None, "whole number of at least 2"),
        (list[Annotated[int, Field(ge=1, le=9)]], "list of whole numbers from 1 to 9"),
        (tuple[int, int, int], "list of 3 whole numbers"),
        (Literal["a", "b"], "`a` or `b`"),
        (dict[str, float], "mapping of names to numbers"),
        (list[Part], "list of mappings"),
        (bool, "true or false"),
    ],
)
def test_types_are_said_in_plain_words(type_text, annotation, words):
    assert type_text(annotation) == words


def test_a_type_without_words_is_an_error(type_text):
    with pytest.raises(TypeError, match="no words for the type"):
        type_text(complex)


def test_every_key_is_in_the_reference(from_models):
    pages = from_models.pages()
    for kind in STUDIES:
        text = pages[f"study-{kind.name}.md"] + pages["studies.md"]
        for model in (load(kind.study), *from_models.nested(load(kind.study))):
            missing = [key for key in model.model_fields if f"`{key}`\n: " not in text]
            assert not missing, f"{kind.name}: {missing}"


def test_every_option_is_in_the_reference(from_models):
    text = from_models.command_line_page()
    for path, command in from_models.commands():
        assert f"# anodeflow {path}\n" in text
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert any(name in text for name in option.opts), (path, option.opts)


def test_text_of_a_program_looks_the_same_on_a_page(from_models):
    assert from_models.plain("E_Li of `a_b`, {x} <y> $gt") == r"E\_Li of `a_b`, \{x\} \<y\> \$gt"
    assert from_models.plain("See :class:`~a.b.Study`.") == "See `a.b.Study`."


def test_links_out_of_the_folder_lead_to_pages_of_the_site(monkeypatch):
    pytest.importorskip("sphinx", reason="the package sphinx is not installed (pip install -e '.[docs]')")
    links = extension("links_to_the_tree", monkeypatch).links_of_the_site
    docs = EXTENSIONS.parent
    assert links("[a](../CONTRIBUTING.md)", "engines", docs) == "[a](contributing.md)"
    assert links("[a](../../README.md)", "tutorials/own-cif", docs) == "[a](../index.md)"
    assert links("[examples](../examples/dft)", "engines", docs) == "`examples`"
    assert links("[a](../examples/voltage.yaml)", "voltage", docs) == "[a](../examples/voltage.yaml)"
    assert links("[a](../engines.md)", "tutorials/own-cif", docs) == "[a](../engines.md)"
    with pytest.raises(ValueError, match="no 'gone"):
        links("[a](../gone.md)", "engines", docs)
