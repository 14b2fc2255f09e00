"""The voltage of a host against Li metal: its crystals with lithium relaxed, and the hull between them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.vibrations import VibrationsDoc
from anodeflow.analysis.voltage_profile import VoltageStudyDoc, voltage_study_fields, warm_profile
from anodeflow.errors import InputError
from anodeflow.structures.displaced_cells import check_phonopy
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, crystal_label, crystal_step
from anodeflow.workflows.studies.lithium import check_given_once, computed_cell
from anodeflow.workflows.studies.vibrations import DisplacedCells, vibrations_label

_LENGTH = 10.0


class VoltageStudy(Study):
    """A voltage study file: its crystals are relaxed as `crystal-properties` does, and compared."""

    kind: ClassVar[str] = "voltage"

    study: Literal["voltage"] = Field(description="the kind of study")
    host: str = Field("Al", description="crystal that takes up lithium")
    crystals: list[str] = Field(
        ["Al", "LiAl", "Li3Al2", "Li9Al4", "Li"], description="the host, what it forms with lithium, and Li metal"
    )
    cells: Literal["primitive", "as given"] = Field("primitive", description="which cell of each crystal is computed")
    vibrations_at_k: float | None = Field(
        None, ge=1, le=1000, description="K: also the profile at this temperature, with harmonic vibrations"
    )
    phonon_length_angstrom: float | None = Field(
        None, ge=4, le=40,
        description=f"least distance of opposite faces of the cells whose atoms are displaced; default {_LENGTH:g}",
    )  # fmt: skip

    @model_validator(mode="after")
    def _host_and_lithium(self) -> VoltageStudy:
        check_given_once(self.crystals)
        if self.host not in self.crystals:
            raise ValueError(f"the host {self.host} is not among the crystals {', '.join(self.crystals)}; add it")
        if self.phonon_length_angstrom is not None and self.vibrations_at_k is None:
            raise ValueError("phonon_length_angstrom is for vibrations; add 'vibrations_at_k: 298', or leave it out")
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
        if self.vibrations_at_k is not None:
            check_phonopy()
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
        return [*super().preflight(), *self.check_cells()]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: a relaxation a crystal, as of crystal-properties, and its displaced cells."""
        card = self.setup.card_of("crystal")
        crystals: list[Entry] = [crystal_step(n, self.computed(n), card) for n in self.crystals]
        if self.vibrations_at_k is None:
            return crystals
        length = self.phonon_length_angstrom or _LENGTH
        return [*crystals, *(DisplacedCells.of(name, self.vibrations_at_k, length) for name in self.crystals)]

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the relaxations, and the free energies."""
        return [entry.label for entry in entries]

    def document(self, results: Documents, record: Record, facts: None) -> VoltageStudyDoc:
        """See :meth:`Study.document`: phases, plateaus and capacities."""
        calculations = {name: results[crystal_label(name)] for name in self.crystals}
        engine = next((c.engine for c in calculations.values() if c is not None), None)
        fields = voltage_study_fields(self.host, calculations)
        document = last_document(VoltageStudyDoc, self, record, engine=engine, host=self.host, **fields)
        if self.vibrations_at_k is not None:
            vibrations = [self._vibrations(name, results, self.vibrations_at_k) for name in self.crystals]
            document.warm = warm_profile(self.host, document.phases, vibrations)
            if document.warm.error and document.warm.error not in document.warnings:
                document.warnings.append(document.warm.error)
        return document

    @staticmethod
    def _vibrations(name: str, results: Documents, temperature_k: float) -> VibrationsDoc:
        missing = VibrationsDoc(crystal=name, temperature_k=temperature_k, error=f"{name}: no vibrations were computed")
        return results[vibrations_label(name)] or missing
