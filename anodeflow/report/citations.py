"""What to cite for the numbers of a study, as BibTeX."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from anodeflow.report.record import StudyRecord

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s;,\"'<>{}\\]+")
_ENTRY_DOI = re.compile(r"doi = \{(.+?)\}")


def bibtex(record: StudyRecord) -> list[tuple[str, str | None]]:
    """Return the BibTeX entries of a study, each with its DOI where it has one.

    They are those of the software, of every engine that computed, of PBE where the card says so, and one for every
    other DOI in the sources of the study.
    """
    engines = [output.get(key) or {} for output in record.computed.values() for key in ("engine", "warm_start")]
    wanted = {"always", *(str(engine.get("name")).split("-")[0].lower() for engine in engines)}
    text = " ".join([*record.document.sources, str(record.document.engine.model)])
    if re.search(r"\bPBE\b", text) and record.document.engine.kind.startswith("plane-wave"):
        wanted.add("PBE")
    entries: list[tuple[str, str | None]] = []
    for block in files("anodeflow.report").joinpath("citations.bib").read_text("utf-8").strip().split("\n\n"):
        condition, _, entry = block.partition("\n")
        if wanted.intersection(condition.removeprefix("% for: ").split()):
            match = _ENTRY_DOI.search(entry)
            entries.append((entry.replace("VERSION", _computed_with(record)), match[1] if match else None))
    known = {doi.lower() for _, doi in entries if doi}
    for doi in dict.fromkeys(dois(record.document.model_dump(mode="json", include={"sources", "settings"}))):
        if doi.lower() not in known:
            key = re.sub(r"\W+", "-", doi)
            entries.append((f"@misc{{{key},\n  doi = {{{doi}}},\n  note = {{a source of this study}}\n}}", doi))
    return entries


def _computed_with(record: StudyRecord) -> str:
    return str(record.document.software.get("anodeflow") or version("anodeflow"))


def dois(value: Any) -> list[str]:
    """Return every DOI in the texts of a value, at any depth, in order."""
    if isinstance(value, dict):
        return [doi for item in value.values() for doi in dois(item)]
    if isinstance(value, list | tuple):
        return [doi for item in value for doi in dois(item)]
    return [doi.rstrip(".)") for doi in _DOI.findall(value)] if isinstance(value, str) else []
