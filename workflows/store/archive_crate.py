"""The description of an archive as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): what other programs can read.

Everything in it comes from the study and its files, so that the same study gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

CRATE = "ro-crate-metadata.json"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_FORMATS = {
    ".json": "application/json", ".yaml": "application/yaml", ".txt": "text/plain", ".xml": "application/xml",
    ".cff": "application/yaml", ".gz": "application/gzip", ".sha256": "text/plain", ".py": "text/x-python",
}  # fmt: skip
_ABOUT = {
    "study.yaml": "the study as it was validated",
    "submitted.yaml": "the study file as it was written",
    "versions.json": "software, engine and method card",
    "CITATION.cff": "how to cite the software",
    "README.txt": "how to check and open this archive",
    "CHECKSUMS.sha256": "SHA-256 of every other file",
}
_NO_DATE = "1970-01-01"


def crate_text(output: dict[str, Any], written: Iterable[tuple[str, str, int]], labels: dict[str, str]) -> str:
    """Return the metadata of an archive as JSON-LD.

    Parameters
    ----------
    output
        The study's last document.
    written
        Name, SHA-256 and size in bytes of every file of the archive but the list of checksums and this one.
    labels
        By name of a document's file, the label of its job.

    Returns
    -------
    str
        The text of ``ro-crate-metadata.json``.
    """
    files = [_file(name, digest, size, labels.get(name)) for name, digest, size in written]
    files.append({"@id": "CHECKSUMS.sha256", "@type": "File", "description": _ABOUT["CHECKSUMS.sha256"],
                  "encodingFormat": "text/plain", "name": "CHECKSUMS.sha256"})  # fmt: skip
    engine, card = output.get("engine") or {}, output.get("card") or {}
    title, date = str(output.get("title") or ""), str(output.get("finished_at") or _NO_DATE)
    software = [
        {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": str(release)}
        for name, release in sorted((output.get("software") or {}).items())
    ]
    program = {
        "@id": "#engine", "@type": "SoftwareApplication", "name": str(engine.get("name", "")),
        "softwareVersion": str(engine.get("version") or ""), "description": str(engine.get("kind") or ""),
    }  # fmt: skip
    results = [file["@id"] for file in files if file["@id"].startswith("documents/")]
    action = {
        "@id": "#computation", "@type": "CreateAction", "name": f"{output.get('study', '')} {title}".strip(),
        "description": f"method card {card.get('name', '')} ({card.get('hash', '')})", "endTime": date,
        "instrument": [{"@id": "#engine"}, *({"@id": entry["@id"]} for entry in software)],
        "object": {"@id": "study.yaml"}, "result": [{"@id": name} for name in results],
    }  # fmt: skip
    root = {
        "@id": "./", "@type": "Dataset", "name": title or f"study {output.get('study_hash', '')}",
        "description": f"A study of anodeflow: {output.get('study', '')}, engine {engine.get('name', '')}, card "
                       f"{card.get('name', '')}. Energies in eV, lengths in angstrom, unless a field says another.",
        "identifier": str(output.get("study_hash", "")), "datePublished": date,
        "license": {"@id": "#license"}, "hasPart": [{"@id": file["@id"]} for file in files],
        "mentions": {"@id": "#computation"},
    }  # fmt: skip
    licence = {
        "@id": "#license", "@type": "CreativeWork", "name": "not stated",
        "description": "The licence of these data is for whoever publishes them to state; that of the software is MIT.",
    }  # fmt: skip
    descriptor = {
        "@id": CRATE, "@type": "CreativeWork", "conformsTo": {"@id": _PROFILE}, "about": {"@id": "./"},
    }  # fmt: skip
    graph = [descriptor, root, licence, action, program, *software, *files]
    return json.dumps({"@context": f"{_PROFILE}/context", "@graph": graph}, indent=1, sort_keys=True)


def _file(name: str, digest: str, size: int, label: str | None) -> dict[str, Any]:
    """Return the entity of one file."""
    end = f".{name.rpartition('.')[2]}" if "." in name else ""
    about = _ABOUT.get(name)
    if about is None and name.startswith("documents/"):
        about = f"document of the job '{label}'" if label else "large arrays of the document of the same number"
    entity = {"@id": name, "@type": "File", "name": label or name.rpartition("/")[2], "contentSize": str(size),
              "encodingFormat": _FORMATS.get(end, "application/octet-stream"), "sha256": digest}  # fmt: skip
    return entity if about is None else entity | {"description": about}
