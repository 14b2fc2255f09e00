"""DFT-D3 as an ASE calculator, and the sum of it and an engine's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import SumCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from anodeflow.units import ASE_BOHR_ANGSTROM, ASE_RYDBERG_EV
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import D3, NEIGHBOURS_BOHR, PAIRS_BOHR, d3_of, need_package

_HARTREE_EV = 2 * ASE_RYDBERG_EV


class D3Calculator(Calculator):
    """DFT-D3 of a cell that repeats along all its vectors, by the package ``dftd3`` (simple-dftd3).

    The package's own calculator follows ``pbc``: a slab whose electrons GPAW computes without images along the vacuum
    would have another correction there than in every other engine.

    Parameters
    ----------
    correction
        Its parameters.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ASE declares it so

    def __init__(self, correction: D3) -> None:
        from dftd3.interface import RationalDampingParam, ZeroDampingParam

        super().__init__()
        damping = RationalDampingParam if "a1" in correction.parameters else ZeroDampingParam
        self._damping = damping(**correction.parameters)

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """See ASE."""
        from dftd3.interface import DispersionModel

        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError("no atoms to compute")
        model = DispersionModel(
            self.atoms.numbers,
            self.atoms.positions / ASE_BOHR_ANGSTROM,
            self.atoms.cell.array / ASE_BOHR_ANGSTROM,
            np.ones(3, dtype=bool),
        )
        model.set_realspace_cutoff(disp2=PAIRS_BOHR, disp3=NEIGHBOURS_BOHR, cn=NEIGHBOURS_BOHR)
        computed = model.get_dispersion(self._damping, grad=True)
        energy = float(computed["energy"]) * _HARTREE_EV
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": -computed["gradient"] * (_HARTREE_EV / ASE_BOHR_ANGSTROM),
            "stress": full_3x3_to_voigt_6_stress(computed["virial"] * (_HARTREE_EV / self.atoms.get_volume())),
        }


class _WithDispersion(SumCalculator):
    """Energies, forces and stress of a calculator and of a correction.

    Attributes
    ----------
    calculator, correction
        The two.
    """

    def __init__(self, calculator: Any, correction: D3Calculator) -> None:
        super().__init__([calculator, correction])
        self.calculator, self.correction = calculator, correction

    def forget(self) -> None:
        """Forget the last geometry, as does the calculator whose energies are corrected."""
        self.atoms, self.results = None, {}
        forget = getattr(self.calculator, "forget", None) or getattr(self.calculator, "reset", None)
        if forget is not None:
            forget()


def with_dispersion(calculator: Any, card: MethodCard) -> Any:
    """Return a calculator with the correction that a card asks for; the same one where it asks for none.

    Raises
    ------
    EngineError
        If there are no parameters for its functional, or the package is not installed.
    """
    correction = d3_of(card)
    if correction is None:
        return calculator
    need_package(card)
    return _WithDispersion(calculator, D3Calculator(correction))


def dispersion_ev(calculator: Any) -> float | None:
    """Return the correction in the last energy of a calculator, eV; None for one without."""
    if not isinstance(calculator, _WithDispersion):
        return None
    return float(calculator.correction.results["energy"])
