"""Energies, forces and stresses of every ionic step, from the text that GPAW prints.

A document holds the forces of the last step; those of the steps before stand in the text only, with five decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ENERGY = re.compile(r"^ *Extrapolated: +(-?\d+\.\d+) *$", re.M)
_TABLE = re.compile(r"^(Forces +# eV/Ang|Stress tensor +# eV/Ang\^3)\n\|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", re.M)


@dataclass(frozen=True)
class PrintedStep:
    """One ionic step.

    Attributes
    ----------
    energy_ev
        Extrapolated to zero smearing, six decimals.
    forces_ev_per_angstrom
        Shape (N, 3), five decimals.
    stress_ev_per_angstrom3
        Shape (3, 3), positive under tension; None where it was not computed.
    """

    energy_ev: float
    forces_ev_per_angstrom: NDArray[np.float64]
    stress_ev_per_angstrom3: NDArray[np.float64] | None = None


def printed_steps(text: str) -> Iterator[PrintedStep]:
    """Yield the ionic steps of GPAW's text that have forces; what is cut off or damaged is left out.

    Examples
    --------
    >>> table = "Forces  # eV/Ang\\n|x|y|z|\\n|---|---|---|\\n| 0.1 | 0.0 | 0.0 |  # Li   0\\n"
    >>> step = f"  Extrapolated:  -1.500000\\n{table}"
    >>> [(s.energy_ev, s.forces_ev_per_angstrom.tolist()) for s in printed_steps(step)]
    [(-1.5, [[0.1, 0.0, 0.0]])]
    """
    energies = list(_ENERGY.finditer(text))
    for energy, following in zip(energies, [*energies[1:], None], strict=False):
        tables: dict[str, NDArray[np.float64] | None] = {}
        for match in _TABLE.finditer(text, energy.end(), following.start() if following else len(text)):
            tables.setdefault(match[1].split()[0], _numbers(match[2]))
        forces, stress = tables.get("Forces"), tables.get("Stress")
        if forces is not None:
            yield PrintedStep(float(energy[1]), forces, stress if stress is None or len(stress) == 3 else None)


def _numbers(rows: str) -> NDArray[np.float64] | None:
    """Return rows of three numbers; None where a row has others, or one is not finite."""
    try:
        values = np.array([[float(cell) for cell in row.split("|")[1:4]] for row in rows.strip().split("\n")])
    except ValueError:
        return None
    return values if values.ndim == 2 and values.shape[1] == 3 and np.isfinite(values).all() else None
