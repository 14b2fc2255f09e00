"""Displaced cells of a relaxed crystal, and the free energy of its vibrations."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.vibrations import VibrationsDoc, vibrations_doc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError
from anodeflow.structures.displaced_cells import displaced_cells, phonon_repeats, phonons_of
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Layout, Result, Setup, Stage, crystal_label


def vibrations_label(crystal: str) -> str:
    """Return the label of the stage of one crystal."""
    return f"{crystal}/vibrations"


class DisplacedCells(Stage):
    """Supercells of a relaxed crystal with one atom displaced, single points."""

    crystal: str
    temperature_k: float
    min_length_angstrom: float

    @classmethod
    def of(cls, crystal: str, temperature_k: float, min_length_angstrom: float) -> DisplacedCells:
        """Return the displaced cells of one crystal.

        Parameters
        ----------
        crystal
            Its name.
        temperature_k
            At which the free energy is wanted.
        min_length_angstrom
            Least distance of opposite faces of the supercell.
        """
        return cls(
            label=vibrations_label(crystal), needs=[crystal_label(crystal)], crystal=crystal,
            temperature_k=temperature_k, min_length_angstrom=min_length_angstrom,
        )  # fmt: skip

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        structure: Structure = needed[0]
        repeats = phonon_repeats(structure, self.min_length_angstrom)
        steps = [
            CalculationStep(
                label=f"{self.label}/{number}", task="static", structure=cell, expected_steps=1, crystal=self.crystal,
                role="crystal", warm=False,
            )
            for number, cell in enumerate(displaced_cells(structure, repeats), 1)
        ]  # fmt: skip
        labels = [step.label for step in steps]
        result = _Vibrations(
            label=f"{self.label}/result", of=[*self.needs, *labels], crystal=self.crystal, cells=labels,
            repeats=repeats, temperature_k=self.temperature_k,
        )  # fmt: skip
        return Layout(steps, [result])

    def without_result(self, why: str, docs: list[Any]) -> VibrationsDoc:
        """See :meth:`Stage.without_result`."""
        return VibrationsDoc(crystal=self.crystal, temperature_k=self.temperature_k, error=why)


class _Vibrations(Result):
    """The free energy of one crystal; an unconverged cell is refused, not left out."""

    crystal: str
    cells: list[str]
    repeats: tuple[int, int, int]
    temperature_k: float

    def document(self, docs: Documents) -> VibrationsDoc:
        """See :meth:`Result.document`."""
        relaxed: CalculationDoc = docs[crystal_label(self.crystal)]
        try:
            phonons = phonons_of(relaxed.structure, self.repeats)
            return vibrations_doc(self.crystal, phonons, [docs[label] for label in self.cells], self.temperature_k)
        except AnodeflowError as error:
            return VibrationsDoc(crystal=self.crystal, temperature_k=self.temperature_k, error=str(error))
