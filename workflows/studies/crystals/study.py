"""Properties of crystals: relaxed cells, formation energies, voltages. The first thing to trust a set-up by."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from jobflow import Flow, JobConfig, OnMissing, job
from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.crystal_properties import CrystalStudyDoc, crystal_doc, formation_energies, voltages
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.studies.base import PlannedCalculation, Study, origin
from anodeflow.workflows.studies.binding.cells import catalogue_fixes_cell

SETTLED = JobConfig(on_missing_references=OnMissing.NONE)


class CrystalStudy(Study):
    """A study file of crystals: each is relaxed (cell and atoms), unless the catalogue fixes its cell."""

    kind: ClassVar[str] = "crystal-properties"

    study: Literal["crystal-properties"]
    crystals: list[str] = Field(min_length=1)
    cells: Literal["primitive"] | None = Field(
        None, description="primitive: compute the smallest cell, report it in the catalogue's setting; None: as given"
    )

    @model_validator(mode="after")
    def _once(self) -> CrystalStudy:
        twice = sorted({c for c in self.crystals if self.crystals.count(c) > 1})
        if twice:
            raise ValueError(f"crystal {twice[0]} is given twice; give each once")
        return self

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(self.crystals)

    def task(self, name: str) -> Task:
        """Whether the cell is relaxed, or only the atoms."""
        return "relax" if catalogue_fixes_cell(name) else "relax_cell"

    def computed(self, name: str) -> Structure:
        """The cell that is computed."""
        given = self.crystal(name)
        return primitive_cell(given) if self.cells == "primitive" else given

    def setting(self, name: str) -> list[list[float]]:
        """The given cell's vectors in those of the computed one, whole numbers, shape (3, 3)."""
        given, computed = (c.lattice for c in (self.crystal(name), self.computed(name)))
        return np.round(computed.get_fractional_coords(given.matrix)).tolist()

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        fixed = [name for name in self.crystals if self.task(name) == "relax"]
        notes = [f"{name}: cell kept as given (dispersion-bound crystal)" for name in fixed]
        return [*super().preflight(), *self.check_cells(), *notes]

    def _plan(self) -> list[PlannedCalculation]:
        return [
            PlannedCalculation(
                label=f"{name}/crystal", task=self.task(name), structure=self.computed(name), expected_steps=8
            )
            for name in self.crystals
        ]

    def flow(self) -> Flow:
        """One relaxation a crystal, then the summary."""
        jobs = [
            self.identify(
                self.maker(self.task(name)).make(self.computed(name), f"{name}/crystal", name), f"{name}/crystal"
            )
            for name in self.crystals
        ]
        summary = summarise(
            [made.output for made in jobs],
            self.crystals,
            self.engine,
            self.card_record(),
            self.model_dump(mode="json"),
            self.hash,
            self.sources(),
            None if self.cells is None else [self.setting(name) for name in self.crystals],
        )
        self.identify(summary, "summary")
        return Flow([*jobs, summary], output=summary.output, name=self.title or self.kind)


@job(config=SETTLED)
def summarise(
    calculations: list[CalculationDoc | None],
    names: list[str],
    engine: str,
    card: dict[str, str],
    settings: dict[str, Any],
    study_hash: str,
    notes: list[str],
    cells: list[list[list[float]]] | None = None,
) -> CrystalStudyDoc:
    """All crystals of a study, and what follows from them together."""
    docs = [
        crystal_doc(name, calculation, None if cells is None else cells[number])
        for number, (name, calculation) in enumerate(zip(names, calculations, strict=True))
    ]
    done = {name: calculation for name, calculation in zip(names, calculations, strict=True) if calculation is not None}
    warnings = [f"{d.crystal}: {w}" for d in docs for w in ([d.error] if d.error else d.warnings)]
    steps = []
    try:
        formation_energies(docs, done)
        steps = voltages(docs)
    except AnodeflowError as error:
        warnings.append(str(error))
    return CrystalStudyDoc(
        **origin(CrystalStudy.kind, study_hash, settings, notes),
        engine=next((c.engine for c in done.values()), None) or get_engine(engine).record(),
        card=CardRecord.model_validate(card),
        crystals=docs,
        voltages=steps,
        warnings=warnings,
    )
