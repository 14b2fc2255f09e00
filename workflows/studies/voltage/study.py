"""The voltage of a host against Li metal: its crystals with lithium relaxed, and the hull between them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.voltage_profile import VoltageStudyDoc, voltage_study_fields
from anodeflow.errors import InputError
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, crystal_label, crystal_step
from anodeflow.workflows.studies.lithium import check_given_once, computed_cell, crystal_task, fixed_cell_notes


class VoltageStudy(Study):
    """A voltage study file: its crystals are relaxed as `crystal-properties` does, and compared."""

    kind: ClassVar[str] = "voltage"

    study: Literal["voltage"] = Field(description="the kind of study")
    host: str = Field("Al", description="crystal that takes up lithium")
    crystals: list[str] = Field(
        ["Al", "LiAl", "Li3Al2", "Li9Al4", "Li"], description="the host, what it forms with lithium, and Li metal"
    )
    cells: Literal["primitive", "as given"] = Field("primitive", description="which cell of each crystal is computed")

    @model_validator(mode="after")
    def _host_and_lithium(self) -> VoltageStudy:
        check_given_once(self.crystals)
        if self.host not in self.crystals:
            raise ValueError(f"the host {self.host} is not among the crystals {', '.join(self.crystals)}; add it")
        return self

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(self.crystals)

    def computed(self, name: str) -> Structure:
        """Return the cell that is computed."""
        return computed_cell(self.crystal(name), self.cells)

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return True

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`.

        Raises
        ------
        AnodeflowError
            If an element has no crystal, or a crystal holds something that neither the host nor lithium is.
        """
        own = {*self.crystal(self.host).symbol_set, "Li"}
        for name in self.crystals:
            others = sorted(set(self.crystal(name).symbol_set) - own)
            if others:
                raise InputError(
                    f"{name} holds {', '.join(others)}, which is neither of the host {self.host} nor Li",
                    "take it off crystals, or choose another host",
                )
        pure = {c.elements[0].symbol for c in (self.crystal(n).composition for n in self.crystals) if c.is_element}
        if own - pure:
            raise InputError(
                f"no crystal of the element {', '.join(sorted(own - pure))} among the crystals", "add it to crystals"
            )
        return [*super().preflight(), *self.check_cells(), *fixed_cell_notes(self.crystals)]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: one relaxation a crystal, the same as in a crystal-properties study."""
        return [crystal_step(n, self.computed(n), task=crystal_task(n)) for n in self.crystals]

    def document(self, results: Documents, record: Record, facts: None) -> VoltageStudyDoc:
        """See :meth:`Study.document`: phases, plateaus and capacities."""
        calculations = {name: results[crystal_label(name)] for name in self.crystals}
        engine = next((c.engine for c in calculations.values() if c is not None), None)
        fields = voltage_study_fields(self.host, calculations)
        return last_document(VoltageStudyDoc, self, record, engine=engine, host=self.host, **fields)
