"""Structures of a study for the viewer of the page: before and after each calculation."""

from __future__ import annotations

from typing import Any

from anodeflow.report.record import StudyRecord

#: Text of coordinates that one page holds at most; a study may hold hundreds of large cells.
_MOST_BYTES = 1_500_000


def structures_of(record: StudyRecord) -> tuple[list[dict[str, Any]], int]:
    """Return structures by calculation, and how many calculations were left out because the page would be too large.

    Each is ``label``, ``fingerprint`` and ``views``: named POSCAR texts, with the atoms in the order of the
    document, sorted by element.
    """
    shown, left_out, size = [], 0, 0
    for fingerprint, output in record.computed.items():
        views = [
            {"name": name, "poscar": poscar(output[key], str(output.get("label")))}
            for key, name in (("initial_structure", "before"), ("structure", "after"))
            if isinstance(output.get(key), dict) and output[key].get("lattice")
        ]
        if not views:
            continue
        length = sum(len(view["poscar"]) for view in views)
        if size + length > _MOST_BYTES:
            left_out += 1
            continue
        size += length
        shown.append({"label": str(output.get("label")), "fingerprint": fingerprint, "views": views})
    return shown, left_out


def poscar(structure: dict[str, Any], comment: str) -> str:
    """Return a stored structure as POSCAR text, with cartesian coordinates in angstrom to five decimals.

    Parameters
    ----------
    structure
        As a document holds it. Of a site with several species the first one is shown.
    comment
        Its first line.

    Returns
    -------
    str
        Elements in the order in which they appear first.
    """
    sites: dict[str, list[list[float]]] = {}
    for site in structure["sites"]:
        sites.setdefault(str(site["species"][0]["element"]), []).append(site["xyz"])
    rows = [structure["lattice"]["matrix"], *sites.values()]
    lines = [" ".join(comment.split())[:80], "1.0", *(_row(row) for row in rows[0]), " ".join(sites)]
    lines += [" ".join(str(len(atoms)) for atoms in sites.values()), "Cartesian"]
    lines += [_row(atom) for atoms in sites.values() for atom in atoms]
    return "\n".join(lines) + "\n"


def _row(numbers: list[float]) -> str:
    return " ".join(f"{number + 0.0:.5f}".replace("-0.00000", "0.00000") for number in numbers)
