"""What many tests make: each function has a value for everything that its caller does not care about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pymatgen.core import Lattice, Structure

from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.workflows.cards import MethodCard

STUDY_HASH = "0123456789abcdef"
VALENCE_ELECTRONS = {"Li": 3, "Al": 3, "P": 5, "S": 6, "Cl": 7}
# Primitive cells at round lattice constants: what pw.x is given in the tests.
LI = Structure([[-1.7, 1.7, 1.7], [1.7, -1.7, 1.7], [1.7, 1.7, -1.7]], ["Li"], [[0, 0, 0]])
LICL_CELL = [[0, 2.574, 2.574], [2.574, 0, 2.574], [2.574, 2.574, 0]]


# Structures


def box(edge_angstrom: float = 12.0, element: str = "Li") -> Structure:
    """Return one atom in the middle of a cube."""
    return Structure(Lattice.cubic(edge_angstrom), [element], [[0.5, 0.5, 0.5]])


def column(composition: Mapping[str, int], edge_angstrom: float) -> Structure:
    """Return atoms one above the other in a cell of 60 angstrom: for energies that do not look at places."""
    species = [element for element, number in composition.items() for _ in range(int(number))]
    coords = [[0.0, 0.0, (i + 0.5) / len(species)] for i in range(len(species))]
    return Structure(Lattice.orthorhombic(edge_angstrom, edge_angstrom, 60.0), species, coords)


def lithium_chloride(chlorine: Iterable[float] = (0.5, 0.5, 0.5)) -> Structure:
    """Return the primitive cell of LiCl with its Cl at these fractional coordinates."""
    return Structure(LICL_CELL, ["Li", "Cl"], [[0, 0, 0], list(chlorine)])


# Documents


def engine_record(key: str = "e1", **changes: Any) -> EngineRecord:
    """Return the record of an engine that does not exist; ``key`` is its hash."""
    return EngineRecord(**{"name": f"engine {key}", "kind": "made up", "version": "0", "hash": key} | changes)


def card_record(key: str = "c1", **changes: Any) -> CardRecord:
    """Return the record of a card that does not exist; ``key`` is its hash."""
    return CardRecord(**{"name": f"card {key}", "hash": key} | changes)


def calculation_doc(
    energy_ev: float | None, structure: Structure, *, label: str = "x", engine: str | EngineRecord = "e1",
    card: str | CardRecord = "c1", converged: bool = True, **changes: Any,
) -> CalculationDoc:  # fmt: skip
    """Return the document of a relaxation, by default a converged one."""
    fields = {
        "fingerprint": f"fp-{label}",
        "label": label,
        "task": "relax",
        "energy_ev": energy_ev,
        "structure": structure,
        "converged": converged,
        "engine": engine_record(engine) if isinstance(engine, str) else engine,
        "card": card_record(card) if isinstance(card, str) else card,
        "error": None if converged else "not relaxed after 3 steps",
    }
    return CalculationDoc(**fields | changes)


def finished_job(number: int, label: str, output: Mapping[str, Any], study_hash: str = STUDY_HASH) -> dict[str, Any]:
    """Return a finished job of a binding study as the store keeps it."""
    return {
        "uuid": f"{study_hash}-{number}",
        "index": 1,
        "name": label,
        "metadata": {"study_hash": study_hash, "label": label, "study": "binding-energy"},
        "output": dict(output),
        "completed_at": f"2026-01-01T00:00:{number % 60:02d}",
    }


def numbers_of(documents: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the key ``n`` of made-up documents, in their order."""
    return [document["n"] for document in documents]


# Cards and files


def ultrasoft_card(**changes: Any) -> MethodCard:
    """Return a cheap card for pw.x and the ultrasoft pseudopotentials of ``ultrasoft.py``."""
    fields = {
        "name": "test",
        "functional": "PBE",
        "potentials": "ultrasoft",
        "cutoff_ev": 345,
        "kpoints": {"mesh": (2, 2, 2)},
        "smearing": {"kind": "gaussian", "width_ev": 0.1},
        "energy_tolerance_ev": 1e-5,
        "force_tolerance_ev_per_angstrom": 0.05,
        "stress_tolerance_gpa": 0.3,
        "relax_cell": True,
    }
    return MethodCard.model_validate(fields | changes)


def upf_header(element: str, **changes: Any) -> str:
    """Return a pseudopotential that is a header and nothing behind it: enough for an input."""
    known = {"element": element, "pseudo_type": "US", "relativistic": "scalar", "functional": "PBE"}
    known |= {"z_valence": VALENCE_ELECTRONS[element], "wfc_cutoff": 20.0, "rho_cutoff": 150.0}
    inside = " ".join(f'{key}="{value}"' for key, value in (known | changes).items())
    return f'<UPF version="2.0.1">\n<PP_HEADER {inside}/>\n<PP_MESH/>\n</UPF>\n'


def write_upf_headers(folder: Path) -> Path:
    """Write a pseudopotential of every element into a new folder; return that."""
    folder.mkdir()
    for element in VALENCE_ELECTRONS:
        (folder / f"{element}.upf").write_text(upf_header(element))
    return folder


def write_yaml(folder: Path, data: Mapping[str, Any], name: str = "study.yaml") -> Path:
    """Write a study, a card or settings; return the file."""
    file = folder / name
    file.write_text(yaml.safe_dump(dict(data)))
    return file


# What a command printed


def one_line(err: str) -> str:
    """Return the one error line of a command, beside which there are notes at most."""
    lines = [line for line in err.strip().splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]
