"""The structures of a study as OPTIMADE JSON Lines: https://specs.optimade.org, version 1.2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from math import gcd
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from jobflow import JobStore
from pymatgen.core import Structure

from anodeflow.documents import CardRecord
from anodeflow.errors import InputError, StoreError
from anodeflow.files import atomic_path

_API_VERSION = "1.2.0"
#: Fields beside those of the specification: type, unit, meaning.
_OWN = {
    "_anodeflow_energy": ("float", "eV", "total energy of the cell"),
    "_anodeflow_label": ("string", None, "what the calculation is of the study"),
    "_anodeflow_task": ("string", None, "static, relax, relax_cell or relax_c"),
    "_anodeflow_charge": ("integer", "e", "charge of the cell"),
    "_anodeflow_max_force": ("float", "eV/angstrom", "largest force on a free atom"),
    "_anodeflow_engine": ("string", None, "program or potential, with its version"),
    "_anodeflow_card": ("string", None, "method card and its hash"),
    "_anodeflow_study": ("string", None, "hash of the study"),
}


def export_optimade(store: JobStore, study_hash: str, file: str | Path) -> int:
    """Write the final geometry of every converged calculation of a study; return how many there are.

    Parameters
    ----------
    store
        An open store.
    study_hash
        Of the study.
    file
        The JSON Lines file; it is written atomically.

    Returns
    -------
    int
        Number of structures.

    Raises
    ------
    InputError
        If the file cannot be written.
    StoreError
        If the study has no converged calculation.
    """
    goal = Path(file)
    if goal.suffix != ".jsonl":
        raise InputError(f"OPTIMADE file '{goal}' has no ending .jsonl", "name it STUDY.jsonl")
    if not goal.resolve().parent.is_dir():
        raise InputError(f"OPTIMADE file '{goal}': folder '{goal.resolve().parent}' does not exist", "make it first")
    entries = list(_entries(store, study_hash))
    if not entries:
        raise StoreError(f"study {study_hash} has no converged calculation", "run it first")
    try:
        with atomic_path(goal) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for content in (_header(), _info(), *entries):
                lines.write(json.dumps(content, sort_keys=True) + "\n")
    except OSError as error:
        raise InputError(f"cannot write '{goal}': {error.strerror}", "choose another folder") from None
    return len(entries)


def _entries(store: JobStore, study_hash: str) -> Iterator[dict[str, Any]]:
    """Yield an entry of the type `structures` for each converged calculation of a study, by label; each result once."""
    wanted = {"metadata.study_hash": study_hash, "output.doc_type": "CalculationDoc", "output.converged": True}
    documents = sorted(store.query(wanted), key=lambda doc: (doc["output"]["label"], doc["output"]["fingerprint"]))
    seen = set()
    for document in documents:
        output = document["output"]
        if output["fingerprint"] in seen:
            continue
        seen.add(output["fingerprint"])
        structure = Structure.from_dict(output["structure"])
        engine, card = output["engine"], output["card"]
        yield {
            "type": "structures",
            "id": output["fingerprint"],
            "attributes": structure_attributes(structure) | {
                "last_modified": _time(document.get("completed_at")),
                "_anodeflow_energy": output["energy_ev"],
                "_anodeflow_label": output["label"],
                "_anodeflow_task": output["task"],
                "_anodeflow_charge": output.get("charge", 0),
                "_anodeflow_max_force": output.get("max_force_ev_per_angstrom"),
                "_anodeflow_engine": f"{engine['name']} ({engine.get('version') or 'version not known'})",
                "_anodeflow_card": f"{CardRecord.model_validate(card).text} ({card['hash']})",
                "_anodeflow_study": study_hash,
            },
        }  # fmt: skip


def structure_attributes(structure: Structure) -> dict[str, Any]:
    """Return the fields that the specification wants of an ordered structure that is periodic in three dimensions."""
    sites = [site.specie.symbol for site in structure]
    elements = sorted(set(sites))
    counts = {element: sites.count(element) for element in elements}
    divisor = reduce(gcd, counts.values())
    numbers = {element: count // divisor for element, count in counts.items()}
    return {
        "immutable_id": None,
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [counts[element] / len(sites) for element in elements],
        "chemical_formula_descriptive": _formula(list(counts.items())),
        "chemical_formula_reduced": _formula(list(numbers.items())),
        "chemical_formula_anonymous": _formula(
            [(_placeholder(place), number) for place, number in enumerate(sorted(numbers.values(), reverse=True))]
        ),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "nsites": len(sites),
        "species": [{"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements],
        "species_at_sites": sites,
        "structure_features": [],
    }


def _formula(parts: list[tuple[str, int]]) -> str:
    return "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in parts)


def _placeholder(place: int) -> str:
    """Return A, B, ..., Z, Aa, Ba, ... as the specification names the elements of an anonymous formula."""
    letters = len(ascii_uppercase)
    return ascii_uppercase[place % letters] + ("" if place < letters else ascii_lowercase[place // letters - 1])


def _time(text: Any) -> str:
    """Return a time as RFC 3339 with seconds, in UTC."""
    try:
        time = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        time = datetime.fromtimestamp(0, UTC)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _header() -> dict[str, Any]:
    return {"x-optimade": {"meta": {"api_version": _API_VERSION}}}


def _info() -> dict[str, Any]:
    """Return the line that describes the fields beside those of the specification."""
    properties = {
        name: {"type": kind, "description": meaning, "sortable": False, **({"unit": unit} if unit else {})}
        for name, (kind, unit, meaning) in _OWN.items()
    }
    return {"type": "info", "id": "structures", "properties": properties}
