"""A cell that was relaxed with dispersion, beside the one that it began with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from pymatgen.core import Lattice

from anodeflow.documents import CalculationDoc, Document

Three = tuple[float, float, float]
# A volume further from the one it began with is warned of.
_VOLUME_APART = 0.05


class CellBeside(Document):
    """The cell that a relaxation with dispersion began with, for a crystal of the catalogue the known one."""

    cell_angstrom: Three = Field(description="a, b, c that it began with")
    angles_degree: Three = Field(description="alpha, beta, gamma that it began with")
    volume_change: float = Field(description="relative, from that cell to the relaxed one")
    density_g_per_cm3: float = Field(description="of that cell")
    relaxed_density_g_per_cm3: float = Field(description="of the relaxed cell")

    @property
    def text(self) -> str:
        """Both in one line."""
        lengths = "  ".join(f"{x:.3f}" for x in self.cell_angstrom)
        return (
            f"began with {lengths} Å and {self.density_g_per_cm3:.3f} g/cm³, relaxed with dispersion to "
            f"{self.relaxed_density_g_per_cm3:.3f} g/cm³ (volume {100 * self.volume_change:+.1f} %)"
        )

    @property
    def warnings(self) -> list[str]:
        """A warning where the volume is far from the one that the relaxation began with; else none."""
        if abs(self.volume_change) <= _VOLUME_APART:
            return []
        return [
            f"with dispersion its volume is {100 * self.volume_change:+.1f} % from the one it began with, "
            f"more than {100 * _VOLUME_APART:g} %"
        ]


def cell_beside(
    calculation: CalculationDoc | None, setting: Sequence[Sequence[float]] | None = None
) -> CellBeside | None:
    """Return the cell that a relaxation began with; None without dispersion, and where the cell was kept.

    Parameters
    ----------
    calculation
        The relaxation; None where it was not computed.
    setting
        Vectors of the cell to report in those of the computed one, shape (3, 3); None: the computed cell.
    """
    if calculation is None or calculation.card.dispersion is None or calculation.task != "relax_cell":
        return None
    start, end = calculation.initial_structure, calculation.structure
    if start is None or not calculation.converged:
        return None
    matrix = start.lattice.matrix
    cell = Lattice(matrix if setting is None else np.asarray(setting) @ matrix)
    (a, b, c), (alpha, beta, gamma) = cell.abc, cell.angles
    return CellBeside(
        cell_angstrom=(float(a), float(b), float(c)),
        angles_degree=(float(alpha), float(beta), float(gamma)),
        volume_change=end.volume / len(end) / (start.volume / len(start)) - 1,
        density_g_per_cm3=float(start.density),
        relaxed_density_g_per_cm3=float(end.density),
    )
