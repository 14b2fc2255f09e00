"""Properties of crystals: relaxed cells, formation energies, voltages. The first thing to trust a set-up by."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.crystal_properties import CrystalStudyDoc, crystal_doc, formation_energies, voltages
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.structures.strains import LARGEST_STRAIN
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.crystals.elastic import STRAINS, StrainedCells, elastic_label
from anodeflow.workflows.studies.graph import Documents, Entry, Travelling, crystal_label, crystal_step
from anodeflow.workflows.studies.lithium import CELL_KEPT, check_given_once, computed_cell, keeps_cell


class CrystalStudy(Study):
    """A study file of crystals: each is relaxed (cell and atoms), unless the catalogue fixes its cell."""

    kind: ClassVar[str] = "crystal-properties"

    study: Literal["crystal-properties"] = Field(description="the kind of study")
    crystals: list[str] = Field(min_length=1, description="names of the catalogue, or structure files")
    cells: Literal["primitive"] | None = Field(
        None, description="primitive: compute the smallest cell, report it in the catalogue's setting; None: as given"
    )
    elastic: bool | None = Field(None, description="elastic moduli, too, from strained cells")
    strains: list[float] | None = Field(
        None, min_length=1, max_length=4,
        description=f"sizes of the strains, each applied with both signs; default {list(STRAINS)}",
    )  # fmt: skip

    @model_validator(mode="after")
    def _once(self) -> CrystalStudy:
        check_given_once(self.crystals)
        return self

    @model_validator(mode="after")
    def _strains_are_small(self) -> CrystalStudy:
        if self.strains is None:
            return self
        if not self.elastic:
            raise ValueError("strains are for elastic moduli; add 'elastic: true', or leave them out")
        wrong = [strain for strain in self.strains if not 0.001 <= strain <= LARGEST_STRAIN]
        if wrong or len(set(self.strains)) != len(self.strains):
            raise ValueError(f"strains {self.strains}: give different ones between 0.001 and {LARGEST_STRAIN:g}")
        return self

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(self.crystals)

    def computed(self, name: str) -> Structure:
        """Return the cell that is computed."""
        return computed_cell(self.crystal(name), self.cells)

    def setting(self, name: str) -> list[list[float]]:
        """Return the given cell's vectors in those of the computed one, whole numbers, shape (3, 3)."""
        given, computed = (c.lattice for c in (self.crystal(name), self.computed(name)))
        return np.round(computed.get_fractional_coords(given.matrix)).tolist()

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return True

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        if self.elastic and not self.loaded_engine.capabilities.stress:
            raise InputError(f"engine '{self.engine}' gives no stress, so no elastic moduli", "choose another engine")
        return [*super().preflight(), *self.check_cells()]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: one relaxation a crystal, and its strained cells where they are asked for."""
        card = self.setup.card_of("crystal")
        crystals = [crystal_step(name, self.computed(name), card) for name in self.crystals]
        if not self.elastic:
            return [*crystals]
        return [*crystals, *(StrainedCells.of(name, self.strains or list(STRAINS)) for name in self.crystals)]

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the relaxations, and the moduli."""
        return [entry.label for entry in entries]

    def facts(self) -> _CatalogueSettings | None:
        """See :meth:`Study.facts`: the catalogue's setting of each crystal, where another cell was computed."""
        return (
            None if self.cells is None else _CatalogueSettings(matrices=[self.setting(name) for name in self.crystals])
        )

    def document(self, results: Documents, record: Record, facts: _CatalogueSettings | None) -> CrystalStudyDoc:
        """See :meth:`Study.document`: all crystals, and what follows from them together."""
        calculations = {name: results[crystal_label(name)] for name in self.crystals}
        docs = [
            crystal_doc(name, calculation, None if facts is None else facts.matrices[number])
            for number, (name, calculation) in enumerate(calculations.items())
        ]
        for doc in docs:
            if doc.converged and keeps_cell(doc.crystal, record.setup.card_of("crystal")):
                doc.warnings.append(CELL_KEPT)
        done = {name: calculation for name, calculation in calculations.items() if calculation is not None}
        moduli = [results[elastic_label(name)] for name in self.crystals] if self.elastic else []
        elastic = [doc for doc in moduli if doc is not None]
        warnings = [f"{d.crystal}: {w}" for d in [*docs, *elastic] for w in ([d.error] if d.error else d.warnings)]
        steps = []
        try:
            formation_energies(docs, done)
            steps = voltages(docs)
        except AnodeflowError as error:
            warnings.append(str(error))
        engine = next((calculation.engine for calculation in done.values()), None)
        return last_document(
            CrystalStudyDoc,
            self,
            record,
            engine=engine,
            crystals=docs,
            voltages=steps,
            elastic=elastic,
            warnings=warnings,
        )


class _CatalogueSettings(Travelling):
    """The cell of each crystal as given, in vectors of the computed one, whole numbers, shape (3, 3) each."""

    matrices: list[list[list[float]]]
