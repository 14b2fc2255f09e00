"""Pages of the Python names, written each time the site is built, and the fields of models in them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

from from_models import first_paragraph, plain, write_pages
from pydantic import BaseModel
from sphinx.application import Sphinx

#: What others may build on, by page: packages without what is in folders below them, and single modules.
SHOWN = {
    "Structures": ["anodeflow.structures"],
    "Analysis": ["anodeflow.analysis"],
    "Stability": ["anodeflow.analysis.stability"],
    "Trajectories": [
        "anodeflow.analysis.trajectories.opening", "anodeflow.analysis.trajectories.frames",
        "anodeflow.analysis.trajectories.joined",
    ],
    "Studies": [
        "anodeflow.workflows.studies.base", "anodeflow.workflows.studies.graph",
        "anodeflow.workflows.studies.registry", "anodeflow.workflows.cards",
    ],
    "Engines": [
        "anodeflow.workflows.engines.contract", "anodeflow.workflows.engines.base",
        "anodeflow.workflows.engines.registry", "anodeflow.workflows.engines.motion",
    ],
    "Store": [
        "anodeflow.workflows.store.opening", "anodeflow.workflows.store.reading", "anodeflow.workflows.store.moving",
        "anodeflow.workflows.store.optimade",
    ],
    "Ground": [
        "anodeflow.documents", "anodeflow.errors", "anodeflow.settings", "anodeflow.units",
        "anodeflow.lithium_states",
    ],
}  # fmt: skip


def modules(name: str) -> list[str]:
    """Return a module, or the modules that lie in a package, without those that are private."""
    found = importlib.import_module(name)
    if not hasattr(found, "__path__"):
        return [name]
    inside = [m.name for m in pkgutil.iter_modules(found.__path__, f"{name}.") if not m.ispkg]
    return [module for module in inside if "._" not in module]


def pages() -> dict[str, str]:
    """Return the pages by the names of their files, the list of all first."""
    listed, content = [], {}
    for heading, names in SHOWN.items():
        shown = [module for name in names for module in modules(name)]
        file, sections, rows = f"{heading.lower()}.md", [], []
        for name in shown:
            short = name.removeprefix("anodeflow.")
            rows.append(f"| [`{short}`](#{name}) | {plain(first_paragraph(importlib.import_module(name)))} |")
            sections.append(f"## {plain(short)}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n")
        table = "| module | |\n|---|---|\n" + "\n".join(rows) + "\n"
        listed.append(f"## {heading}\n\n{table}")
        content[file] = f"# {heading}\n\n" + "\n".join(sections)
    tree = "\n".join(content)
    text = (
        "# Python names\n\nModules that other programs may build on; what begins with an underscore may change at any "
        "time. From a study file to its documents it takes [a few lines](../../from-python.md).\n\n"
    )
    return {"index.md": "\n".join([text, *listed, f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n"]), **content}


def _docstring(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Take ``|F|`` for what it is, and add the fields of a model, which have descriptions in place of docstrings."""
    lines[:] = [line if "``" in line else re.sub(r"\|(?=\w)", r"\\|", line) for line in lines]
    if kind in ("data", "attribute", "property"):
        lines.insert(0, "")  # napoleon takes what stands before a colon in the first line for a type
    if kind == "class" and inspect.isclass(thing) and issubclass(thing, BaseModel):
        own = inspect.get_annotations(thing)
        rows = [f"* ``{key}``: {f.description or ''}" for key, f in thing.model_fields.items() if key in own]
        lines += ["", *(row.rstrip(": ") for row in rows), ""] if rows else []


def _no_signature_of_models(app: Sphinx, kind: str, name: str, thing: Any, *_: Any) -> tuple[str, None] | None:
    is_model = kind == "class" and inspect.isclass(thing) and issubclass(thing, BaseModel)
    return ("", None) if is_model else None


def _exists(target: str) -> bool:
    """Return whether a dotted name can be imported, as a module or as what is in one."""
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if part in getattr(found, "model_fields", {}) or part in inspect.get_annotations(found):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def _not_on_a_page(app: Sphinx, environment: Any, node: Any, shown: Any) -> Any:
    """Leave a name of ours that exists without a link, where its module has no page; others are warned of."""
    is_ours = node.get("refdomain") == "py" and node["reftarget"].startswith("anodeflow.")
    return shown if is_ours and _exists(node["reftarget"]) else None


def _on_builder_inited(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "reference" / "api", pages())


def setup(app: Sphinx) -> dict[str, Any]:
    """See Sphinx."""
    app.connect("builder-inited", _on_builder_inited)
    # before napoleon, which is set up earlier, takes the docstring apart
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("autodoc-process-signature", _no_signature_of_models)
    app.connect("missing-reference", _not_on_a_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
