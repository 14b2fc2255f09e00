"""The levels of a slab that a plane-wave code has computed: its vacuum levels, and where its electrons leave from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.analysis.vacuum_level import PlanarPotential, slab_levels
from anodeflow.structures.supercells import face_distances_angstrom
from anodeflow.workflows.engines.contract import Outcome
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, widest_gap
from anodeflow.workflows.monitor import StopRequested

#: A slab whose levels are this far apart is an insulator, and its smeared Fermi level lies anywhere between.
_GAP_EV = 0.5

_Level = Literal["Fermi level", "highest occupied level"]


def leaving_level(fermi_ev: float, occupied_ev: float, empty_ev: float) -> tuple[float, _Level]:
    """Return the level that the electrons leave from, and which it is.

    Parameters
    ----------
    fermi_ev
        The Fermi level.
    occupied_ev, empty_ev
        Highest level below it and lowest above.
    """
    if empty_ev - occupied_ev > _GAP_EV:
        return occupied_ev, "highest occupied level"
    return fermi_ev, "Fermi level"


def leaving_level_of(fermi_ev: float, levels_ev: Iterable[float]) -> tuple[float, _Level]:
    """Return the same from the levels of all k-points and spins; with none the Fermi level.

    Parameters
    ----------
    fermi_ev
        The Fermi level.
    levels_ev
        Of the electrons, in any order.
    """
    known = np.asarray(list(levels_ev), dtype=float)
    below, above = known[known <= fermi_ev], known[known > fermi_ev]
    if not len(below):
        return fermi_ev, "Fermi level"
    return leaving_level(fermi_ev, float(below.max()), float(above.min()) if len(above) else np.inf)


def levels_on_grid(
    values_ev: NDArray[np.float64], structure: Structure, axis: int, level_ev: float, level: _Level
) -> dict[str, Any]:
    """Return the fields of :class:`~anodeflow.documents.SlabLevels` of a slab.

    Parameters
    ----------
    values_ev
        Its potential along the three lattice vectors, shape (n1, n2, n3).
    structure
        The slab where that potential is.
    axis
        Of the vacuum.
    level_ev, level
        Where the electrons leave from, and which level it is.
    """
    average = values_ev.mean(axis=tuple(other for other in range(3) if other != axis))
    height = face_distances_angstrom(structure.lattice)[axis]
    potential = PlanarPotential(np.arange(len(average)) * height / len(average), average, height)
    gap, middle = widest_gap(structure, axis)
    return slab_levels(potential, ((middle - gap / 2) * height, gap * height), level_ev, level).model_dump()


def add_levels(outcome: Outcome, settings: Electronic, read: Callable[[int], dict[str, Any]]) -> None:
    """Add the levels of a converged neutral slab to its outcome; a potential that cannot be had is a warning.

    Hours of relaxation are not lost for the potential of their end.

    Parameters
    ----------
    outcome
        Of a calculation.
    settings
        What the card meant for its cell.
    read
        Returns the fields of :class:`~anodeflow.documents.SlabLevels`, given the axis of the vacuum.
    """
    if not (settings.slab and outcome.converged and not settings.charge):
        return
    try:
        outcome.levels = read(settings.vacuum.index(True))
    except StopRequested:
        raise
    except Exception as error:
        outcome.warnings.append(f"no vacuum level: {error}")
