"""What the studies of lithium in a host share: which cells are kept, which crystals are salts, and the vacuum."""

from __future__ import annotations

from collections.abc import Sequence

from pymatgen.core import Structure

from anodeflow.documents import CardRecord
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.packings import held_by_dispersion
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Task

#: What is said of a result in a cell that was kept.
CELL_KEPT = "held together by dispersion; cell kept"
_ANIONS = {"N", "O", "P", "S", "Se", "F", "Cl", "Br", "I"}


def keeps_cell(crystal: str, card: MethodCard | CardRecord) -> bool:
    """Return whether the cell of a crystal is kept: dispersion holds it together, and the card adds none."""
    return card.dispersion is None and held_by_dispersion(crystal)


def crystal_task(crystal: str, card: MethodCard | CardRecord) -> Task:
    """Return how a crystal is relaxed: its atoms, and its cell unless :func:`keeps_cell`."""
    return "relax" if keeps_cell(crystal, card) else "relax_cell"


def check_given_once(crystals: Sequence[str]) -> None:
    """Refuse a crystal that a study file gives twice.

    Raises
    ------
    ValueError
        For pydantic, which names the field.
    """
    twice = sorted({name for name in crystals if crystals.count(name) > 1})
    if twice:
        raise ValueError(f"crystal {twice[0]} is given twice; give each once")


def computed_cell(given: Structure, cells: str | None) -> Structure:
    """Return the cell of a crystal that is computed: the smallest for ``primitive``, else as it is given."""
    return primitive_cell(given) if cells == "primitive" else given


def is_metal(crystal: Structure) -> bool:
    """Return whether a crystal holds metals alone: its electrons screen a charge, and are a reservoir for one."""
    return all(el.is_metal for el in crystal.composition.elements)


def is_salt(crystal: Structure) -> bool:
    """Return whether a crystal holds an anion (N, O, P, S, Se, halogens): then it is not a metal."""
    return any(el.symbol in _ANIONS for el in crystal.composition)
