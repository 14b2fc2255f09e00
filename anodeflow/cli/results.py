"""The results store as rows of a table."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from jobflow import JobStore

from anodeflow.errors import InputError

_DOC_TYPES = {
    "binding": "BindingEnergyDoc",
    "sites": "BindingEnergyDoc",
    "descriptor": "BindingStudyDoc",
    "surfaces": "SurfaceEnergyDoc",
    "interfaces": "InterfaceEnergyDoc",
    "barriers": "MigrationBarrierDoc",
    "calculations": "CalculationDoc",
}

OPERATORS = {
    "$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex",
    "$options", "$elemMatch", "$size", "$all", "$type", "$mod",
}  # fmt: skip


def study_hash_of(study: str) -> str:
    """The hash of a study given by its file or by the hash itself."""
    if Path(study).suffix in {".yaml", ".yml"} or Path(study).exists():
        from anodeflow.workflows.studies import load_study

        return load_study(study).hash
    return study


def rows_of(
    store: JobStore,
    what: str,
    *,
    crystal: str | None = None,
    environment: str | None = None,
    engine: str | None = None,
    card: str | None = None,
    study_hash: str | None = None,
    tag: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    converged: bool | None = None,
    query: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of one kind (binding, sites, descriptor, calculations, studies), newest first.

    Each row is flat but for its notes, so ``pandas.DataFrame(rows_of(store, "binding"))`` is a table.

    Parameters
    ----------
    store
        An open store.
    what
        Which kind.
    crystal, environment, engine, card, study_hash
        Only these; of descriptors, those with this crystal on either side.
    tag
        Only of studies that were submitted with this tag.
    since, until
        Only what was finished in between, by the clock of the machine that computed it.
    converged
        Only what did, or did not, converge.
    query
        A Mongo-style filter on the stored documents, as JSON.
    limit
        At most so many rows.

    Raises
    ------
    InputError
        If ``query`` is not a JSON object.
    """
    # A host's document also stands under the job that asked for it (index 2): count it once.
    criteria: dict[str, Any] = {"index": 1}
    criteria |= {"metadata.label": "summary"} if what == "studies" else {"output.doc_type": _DOC_TYPES[what]}
    wanted = {"output.engine.name": engine, "output.card.name": card}
    if what in ("binding", "sites", "calculations", "surfaces", "barriers"):
        wanted["output.crystal"] = crystal
    if what in ("binding", "sites"):
        wanted["output.environment"] = environment
    wanted["metadata.tags"] = tag
    if converged is not None:
        criteria |= _convergence(what, converged)
    criteria |= {key: value for key, value in wanted.items() if value is not None}
    if since is not None or until is not None:
        # Times are stored as text, which sorts as they do.
        limits = {"$gte": since, "$lt": until}
        criteria["completed_at"] = {key: value.isoformat() for key, value in limits.items() if value is not None}
    if study_hash is not None:
        known = study_hash_of(study_hash)
        criteria["metadata.study_hash"] = known if len(known) == 16 else {"$regex": f"^{_hex(known)}"}
    if query is not None:
        criteria = {"$and": [criteria, _filter(query)]}
    # One document may give many rows, and some of them are left out below.
    fields: Any = _FIELDS.get(what)
    at_once = 0 if what in _BY_ROW and converged is not None else limit or 0
    try:
        documents = list(store.query(criteria, fields, sort={"completed_at": -1}, limit=at_once))
    except (TypeError, ValueError, AttributeError, re.error, RecursionError) as error:
        if query is None:
            raise
        raise InputError(f"--query cannot be used: {error}", "check the operators and their values") from None
    rows = [row for doc in documents for row in _ROWS[what](doc)]
    if converged is not None and what in _BY_ROW:
        rows = [row for row in rows if (row[_BY_ROW[what]] in (True, "converged")) is converged]
    if what == "descriptor":
        rows = [
            row
            for row in rows
            if (environment is None or row["environment"] == environment)
            and (crystal is None or crystal in (row["anode"], row["interphase"]))
        ]
    return rows[:limit] if limit else rows


# Kinds that say in a column of each row whether it converged.
_BY_ROW = {"sites": "status", "barriers": "converged"}


def _convergence(what: str, converged: bool) -> dict[str, Any]:
    """Criteria of documents that did, or did not, converge."""
    if what == "calculations":
        return {"output.converged": converged}
    if what in _BY_ROW:
        return {}
    if what in ("descriptor", "studies"):
        raise InputError(f"--converged says nothing of --what {what}", "ask for binding, sites or calculations")
    return {"output.error": None if converged else {"$ne": None}}


def _hex(text: str) -> str:
    if not text or any(c not in "0123456789abcdef" for c in text):
        raise InputError(f"study '{text}' is neither a file nor a hash", "see anodeflow results --what studies")
    return text


def _filter(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--query is not JSON: {error}", """e.g. '{"output.energy_ev": {"$lt": -100}}'""") from None
    if not isinstance(found, dict):
        raise InputError(f"--query is a {type(found).__name__}, not an object", 'e.g. \'{"name": "summary"}\'')
    _check_operators(found)
    return found


def _check_operators(part: Any) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            if key.startswith("$") and key not in OPERATORS:
                raise InputError(f"--query: unknown operator '{key}'", f"known: {', '.join(sorted(OPERATORS))}")
            _check_operators(value)
    elif isinstance(part, list):
        for item in part:
            _check_operators(item)


def _common(doc: dict[str, Any]) -> dict[str, Any]:
    output = doc["output"]
    engine = output.get("engine") or {}
    card = output.get("card") or {}
    return {
        "engine": f"{engine['name']} (STAND-IN)" if engine.get("stand_in") else engine.get("name"),
        "engine_kind": engine.get("kind"),
        "card": card.get("name"),
        "study_hash": doc.get("metadata", {}).get("study_hash"),
        "completed_at": doc.get("completed_at"),
    }


def _binding_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    energies = {f"binding_energy_ev_{name}": value for name, value in out["binding_energy_ev"].items()}
    converged = sum(site["status"] == "converged" for site in out["sites"])
    return [
        {
            "crystal": out["crystal"],
            "environment": out["environment"],
            **energies,
            "numerical_uncertainty_ev": out["numerical_uncertainty_ev"],
            "best_site": out["best_site"],
            "sites_converged": converged,
            "sites": len(out["sites"]),
            "model": out["model"],
            "charge_mode": out["charge_mode"],
            "error": out["error"],
            "warnings": out["warnings"],
            **_common(doc),
        }
    ]


def _site_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    return [
        {
            "crystal": out["crystal"],
            "environment": out["environment"],
            "site": site["label"],
            "status": site["status"],
            **{f"binding_energy_ev_{name}": value for name, value in site["binding_energy_ev"].items()},
            "coordination_end": site["coordination_end"],
            "li_displacement_angstrom": site["li_displacement_angstrom"],
            "same_minimum_as": site["same_minimum_as"],
            "calculation": site["calculation"],
            "notes": site["notes"],
            **_common(doc),
        }
        for site in out["sites"]
    ]


def _descriptor_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "anode": anode,
            "interphase": interphase,
            "environment": matrix["environment"],
            "d_e_ev": matrix["d_e_ev"][i][j],
            **_common(doc),
        }
        for matrix in doc["output"]["descriptors"]
        for i, anode in enumerate(matrix["anodes"])
        for j, interphase in enumerate(matrix["interphases"])
    ]


_OF_CALCULATIONS = (
    "label", "crystal", "task", "energy_ev", "converged", "ionic_steps", "max_force_ev_per_angstrom",
    "max_stress_gpa", "charge", "wall_time_s", "fingerprint", "error",
)  # fmt: skip
# What is read of a document where the whole would be much; of its atoms only their number.
_FIELDS = {
    "calculations": [
        *(f"output.{key}" for key in (*_OF_CALCULATIONS, "engine.name", "engine.kind", "engine.stand_in", "card.name")),
        "output.structure.sites.label",
        "metadata.study_hash",
        "completed_at",
    ]
}


def _calculation_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    return [{**{key: out[key] for key in _OF_CALCULATIONS}, "atoms": len(out["structure"]["sites"]), **_common(doc)}]


def _study_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    return [
        {
            "study": out["study"],
            "title": out["title"],
            "warnings": len(out["warnings"]),
            **_common(doc),
        }
    ]


def _surface_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    keys = ("crystal", "termination", "method", "gamma_j_per_m2", "gamma_ci_j_per_m2", "gamma_unrelaxed_j_per_m2",
            "area_angstrom2", "reference", "error", "warnings")  # fmt: skip
    shown = {key: out[key] for key in keys}
    shown["thickness"] = (out.get("thickness") or {}).get("text")  # older documents have no verdict
    return [{**shown, "face": "".join(map(str, out["miller"])), **_common(doc)}]


def _interface_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    out = doc["output"]
    left_out = {"members", "fit", "references", "engine", "card", "doc_type"}
    return [{**{key: value for key, value in out.items() if key not in left_out}, **_common(doc)}]


def _barrier_rows(doc: dict[str, Any]) -> list[dict[str, Any]]:
    from anodeflow.cli.output.migration import barrier_row

    return [{**barrier_row(doc["output"]), **_common(doc)}]


_ROWS = {
    "barriers": _barrier_rows,
    "surfaces": _surface_rows,
    "interfaces": _interface_rows,
    "binding": _binding_rows,
    "sites": _site_rows,
    "descriptor": _descriptor_rows,
    "calculations": _calculation_rows,
    "studies": _study_rows,
}
