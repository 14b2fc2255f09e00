"""Strained cells of a crystal, and the elastic moduli their stresses give."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.elasticity import ElasticDoc, elastic_doc, needed_modes
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError
from anodeflow.structures.strains import rotations, strained
from anodeflow.voigt import VOIGT
from anodeflow.workflows.cards import KPoints, MethodCard
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Layout, Result, Setup, Stage, crystal_label

_STEPS = 4
#: Strains that are used where a study file gives none.
STRAINS = (0.005, 0.01)


def elastic_label(crystal: str) -> str:
    """Return the label of the stage of one crystal."""
    return f"{crystal}/elastic"


class StrainedCells(Stage):
    """A relaxed crystal under small strains of both signs, ions relaxed in each."""

    crystal: str
    strains: list[float]

    @classmethod
    def of(cls, crystal: str, strains: list[float]) -> StrainedCells:
        """Return the strained cells of one crystal."""
        return cls(label=elastic_label(crystal), needs=[crystal_label(crystal)], crystal=crystal, strains=strains)

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        structure: Structure = needed[0]
        card = _with_one_mesh(structure, setup)
        steps, cells = [], []
        for mode in needed_modes(rotations(structure)):
            for size in self.strains:
                for amplitude in (size, -size):
                    label = _label(self.crystal, mode, amplitude)
                    steps.append(
                        CalculationStep(
                            label=label, task="relax", structure=strained(structure, mode, amplitude),
                            expected_steps=_STEPS, crystal=self.crystal, role="crystal", card=card, warm=False,
                            stress=True,
                        )
                    )  # fmt: skip
                    cells.append((mode, amplitude, label))
        of = [*self.needs, *(label for *_, label in cells)]
        return Layout(steps, [_Moduli(label=f"{self.label}/result", of=of, crystal=self.crystal, cells=cells)])

    def without_result(self, why: str, docs: list[Any]) -> ElasticDoc:
        """See :meth:`Stage.without_result`."""
        return ElasticDoc(crystal=self.crystal, error=why)


class _Moduli(Result):
    """The moduli of one crystal; an unconverged cell is refused, not left out."""

    crystal: str
    cells: list[tuple[int, float, str]]

    def document(self, docs: Documents) -> ElasticDoc:
        """See :meth:`Result.document`."""
        relaxed: CalculationDoc = docs[crystal_label(self.crystal)]
        calculations = {(mode, amplitude): docs[label] for mode, amplitude, label in self.cells}
        try:
            return elastic_doc(self.crystal, relaxed.structure, rotations(relaxed.structure), calculations)
        except AnodeflowError as error:
            return ElasticDoc(crystal=self.crystal, error=str(error))


def _label(crystal: str, mode: int, amplitude: float) -> str:
    component = "".join("xyz"[axis] for axis in VOIGT[mode])
    return f"{elastic_label(crystal)}/{component} {100 * amplitude:+g} %"


def _with_one_mesh(structure: Structure, setup: Setup) -> MethodCard | None:
    """Return the card with the unstrained crystal's mesh, so that no strain changes it; None where it has none."""
    card = setup.card_of("crystal")
    kpoints = card.kpoints
    engine = get_engine(setup.engine)
    if kpoints is None or kpoints.mesh is not None or not engine.capabilities.kpoints:
        return None
    mesh = engine.mesh(structure, card)
    return card.varied("mesh of the unstrained crystal", kpoints=KPoints(mesh=mesh, centre=kpoints.centre))
