"""The work function of a face from its slabs, and whether it still changes with their thickness and their vacuum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from anodeflow.documents import CalculationDoc, Document

#: A work function that changes by less than this is converged.
_CONVERGED_EV = 0.05


class WorkFunctionRow(Document):
    """The work function of one slab."""

    label: str = Field(description="of the calculation")
    calculation: str = Field(description="fingerprint")
    layers: int = Field(description="planes of atoms")
    vacuum_angstrom: float = Field(description="over the slab")
    relaxed: bool = Field(description="whether the atoms were relaxed; else as cleaved")
    work_function_ev: float | None = Field(None, description="over the top; None: see `error`")
    bottom_ev: float | None = Field(None, description="under the bottom")
    spread_ev: float | None = Field(None, description="of the potential where the vacuum counts as flat")
    energy_ev: float | None = Field(None, description="of the slab")
    error: str | None = Field(None, description="why there is no work function")


class WorkFunctionDoc(Document):
    """The work function of a face: that of the thickest relaxed slab."""

    work_function_ev: float | None = Field(None, description="of the thickest relaxed slab, over its top")
    level: str = Field("Fermi level", description="what the electron leaves from")
    rows: list[WorkFunctionRow] = Field(default_factory=list, description="thinnest first, then by the vacuum")
    thickness_change_ev: float | None = Field(None, description="between the two thickest relaxed slabs")
    vacuum_change_ev: float | None = Field(None, description="largest minus smallest over the vacuums")
    text: str = Field(description="the same as text")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("thickness_change_ev", "vacuum_change_ev")


def work_function_doc(slabs: Sequence[tuple[CalculationDoc, int, float]]) -> WorkFunctionDoc | None:
    """Return the work function of a face, and how far it is converged.

    Parameters
    ----------
    slabs
        Calculations, planes of atoms, and vacuum in angstrom; relaxed slabs of several thicknesses, and cleaved ones of
        one thickness under several vacuums.

    Returns
    -------
    WorkFunctionDoc or None
        None where no calculation knows its potential: the engine has no electrons, or gives none.
    """
    known = [(doc, layers, vacuum) for doc, layers, vacuum in slabs if doc.converged and doc.levels is not None]
    rows = sorted((_row(*slab) for slab in known), key=lambda row: (not row.relaxed, row.layers, row.vacuum_angstrom))
    if not rows:
        return None
    relaxed = [row for row in rows if row.relaxed and row.work_function_ev is not None]
    cleaved = [row for row in rows if not row.relaxed and row.work_function_ev is not None]
    thickest = max((row.layers for row in cleaved), default=0)
    series = [row.work_function_ev or 0.0 for row in cleaved if row.layers == thickest]
    answer = relaxed[-1] if relaxed else None
    level = next(doc.levels.level for doc, _, _ in known if doc.levels is not None)
    thickness = (
        abs((relaxed[-1].work_function_ev or 0.0) - (relaxed[-2].work_function_ev or 0.0)) if len(relaxed) > 1 else None
    )
    vacuum = max(series) - min(series) if len(series) > 1 else None
    return WorkFunctionDoc(
        work_function_ev=None if answer is None else answer.work_function_ev,
        level=level,
        rows=rows,
        thickness_change_ev=thickness,
        vacuum_change_ev=vacuum,
        text=_text(answer, rows, thickness, vacuum),
    )


def _row(doc: CalculationDoc, layers: int, vacuum_angstrom: float) -> WorkFunctionRow:
    levels = doc.levels
    return WorkFunctionRow(
        label=doc.label,
        calculation=doc.fingerprint,
        layers=layers,
        vacuum_angstrom=vacuum_angstrom,
        relaxed=doc.task != "static",
        work_function_ev=None if levels is None else levels.work_function_ev,
        bottom_ev=None if levels is None or levels.bottom_ev is None else levels.bottom_ev - levels.level_ev,
        spread_ev=None if levels is None else levels.spread_ev,
        energy_ev=doc.energy_ev,
        error=None if levels is None else levels.error,
    )


def _text(
    answer: WorkFunctionRow | None, rows: Sequence[WorkFunctionRow], thickness: float | None, vacuum: float | None
) -> str:
    if answer is None:
        why = next((row.error for row in rows if row.error), "no relaxed slab has its potential")
        return f"no work function: {why}"
    parts = [f"work function {answer.work_function_ev:.3f} eV ({answer.layers} layers)"]
    for compared, change in (("the two thickest slabs", thickness), ("the vacuums", vacuum)):
        if change is None:
            parts.append(f"not known between {compared}: only one was computed")
        else:
            verdict = "converged" if change < _CONVERGED_EV else "not converged"
            parts.append(f"changes by {change:.3f} eV between {compared}: {verdict}")
    return "; ".join(parts)
