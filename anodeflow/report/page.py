"""One HTML file of a study: template, data and scripts put together; nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib.resources import files
from typing import Any

from anodeflow.report import answers
from anodeflow.report.citations import bibtex, dois
from anodeflow.report.figures import PageFigure, check_figure_of, figure_of
from anodeflow.report.record import StudyRecord
from anodeflow.report.rows import PageTable, page_table, tables_of
from anodeflow.report.structures import structures_of
from anodeflow.workflows.studies.registry import load

_HERE = files("anodeflow.report")
_OF_CALCULATIONS = (
    "label", "doc_type", "task", "energy_ev", "converged", "ionic_steps", "max_force_ev_per_angstrom",
    "max_stress_gpa", "charge", "wall_time_s", "error",
)  # fmt: skip
# What leaves a script or a comment of HTML, or ends a line of JavaScript.
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def report_page(record: StudyRecord, printed: str) -> str:
    """Return the page of a study.

    Parameters
    ----------
    record
        The study.
    printed
        What the command line prints of it.

    Returns
    -------
    str
        HTML; the same for the same study, whenever it is made.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    figure, (structures, left_out) = figure_of(record), structures_of(record)
    data = _data(figure, structures)
    scripts = [_own_script(name) for name in ("report.js",)]
    if figure.panels:
        scripts.insert(0, _plotly())
    if structures:
        scripts.insert(0, _own_script("3dmol.min.js"))
    context = {
        "record": record,
        "document": record.document,
        "answer": _answer(record),
        "figure": figure,
        "check_figure": check_figure_of(record),
        "tables": tables_of(record),
        "calculations": _calculations(record),
        "calculation_table": _calculation_table(record),
        "structures": structures,
        "structures_left_out": left_out,
        "warnings": _warnings(record),
        "settings": _settings(record),
        "card_settings": _card_settings(record),
        "engines": _engines(record),
        "citations": bibtex(record),
        "dois": dois(record.document.sources),
        "printed": printed,
        "data": script_json(data),
        "scripts": scripts,
        "hashes": " ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        "style": _HERE.joinpath("report.css").read_text("utf-8"),
        "licences": _licences(bool(figure.panels), bool(structures)),
        "has_panels": bool(figure.panels),
    }
    return environment.from_string(_HERE.joinpath("report.html").read_text("utf-8")).render(context)


def _data(figure: PageFigure, structures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page's script draws."""
    from anodeflow.analysis.figures.pictures import ELEMENT_COLOURS

    panels = [{key: panel[key] for key in ("data", "layout")} for panel in figure.panels]
    return {"panels": panels, "structures": structures, "colours": ELEMENT_COLOURS}


def script_json(data: Any) -> str:
    """Return data as JSON that may stand in a ``<script>``: nothing in it ends the element."""
    return json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(item) for item in data] if isinstance(data, list | tuple) else data


def _answer(record: StudyRecord) -> str:
    answer = load(record.kind.answer) if record.kind.answer else answers.any_study
    return str(answer(record.document))


def _calculations(record: StudyRecord) -> list[dict[str, Any]]:
    """Return every calculation with what it rests on, down to the files of its folder."""
    calculations = []
    for fingerprint, output in record.computed.items():
        directory = output.get("directory") or ""
        folder = directory.rstrip("/").split("/")[-1]
        prefix = f"{folder}/"
        calculations.append({
            **{key: output.get(key) for key in (*_OF_CALCULATIONS, "engine", "card", "warm_start", "computer")},
            "label": output.get("label") or fingerprint[:10],
            "fingerprint": fingerprint,
            "directory": directory,
            "started_at": output.get("started_at"),
            "warnings": output.get("warnings") or [],
            "files": record.files.get(folder, []),
            "inputs": {k.removeprefix(prefix): v for k, v in record.inputs.items() if k.startswith(prefix)},
            "has_structure": isinstance(output.get("structure"), dict),
        })  # fmt: skip
    return calculations


def _calculation_table(record: StudyRecord) -> PageTable | None:
    rows = [
        {"calculation": [fingerprint], **{key: output.get(key) for key in _OF_CALCULATIONS if key != "doc_type"}}
        for fingerprint, output in record.computed.items()
    ]
    return page_table("calculations", rows, set(record.computed)) if rows else None


def _warnings(record: StudyRecord) -> list[tuple[str, str]]:
    """Return (whose, warning), each once: of the study, of its results, of its calculations."""
    warnings = [("study", warning) for warning in record.document.warnings]
    for output in record.outputs():
        whose = output.get("label") or output.get("crystal") or output.get("name") or output.get("contact") or "result"
        texts = [*(output.get("warnings") or []), *([output["error"]] if output.get("error") else [])]
        warnings += [(str(whose), str(text)) for text in texts]
    seen: dict[str, str] = {}
    for whose, text in warnings:
        seen.setdefault(text, whose)
    return [(whose, text) for text, whose in seen.items()]


def _settings(record: StudyRecord) -> str:
    from anodeflow.workflows.store.archive import settings_text

    return settings_text(record.document.settings)


def _card_settings(record: StudyRecord) -> str | None:
    """Return the settings of the method card as YAML, where this anodeflow has the same card."""
    import yaml

    from anodeflow.workflows.cards import card_names, load_card

    if record.document.card.name not in card_names():  # never a file that a document names
        return None
    card = load_card(record.document.card.name)
    if card.hash != record.document.card.hash:
        return None
    return str(yaml.safe_dump(card.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True))


def _engines(record: StudyRecord) -> list[dict[str, Any]]:
    """Return every engine that computed, each once, that of the study first."""
    engines = [record.document.engine.model_dump(mode="json")]
    for output in record.computed.values():
        engines += [output[key] for key in ("engine", "warm_start") if output.get(key)]
    kept: dict[str, dict[str, Any]] = {}
    for engine in engines:
        same = kept.setdefault(f"{engine['name']} {engine['hash']}", {**engine, "potentials": {}})
        same["potentials"] |= engine.get("potentials") or {}
    return list(kept.values())


# --- scripts of others, and their licences


def _own_script(name: str) -> str:
    return _closed(_HERE.joinpath(name).read_text("utf-8"))


def _plotly() -> str:
    return _closed(files("plotly").joinpath("package_data/plotly.min.js").read_text("utf-8"))


def _closed(script: str) -> str:
    """Return a script in which nothing ends the element that holds it, and whose lines end as HTML reads them."""
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _licences(plotly: bool, viewer: bool) -> list[tuple[str, str]]:
    licences = []
    if plotly:
        from importlib.metadata import distribution

        text = distribution("plotly").read_text("licenses/LICENSE.txt") or "MIT licence; Copyright Plotly, Inc."
        licences.append(("plotly.js (MIT)", text))
    if viewer:
        licences.append(("3Dmol.js (BSD-3-Clause)", _HERE.joinpath("3dmol-LICENSE.txt").read_text("utf-8")))
    return licences
