"""Work functions of slabs, and the binding energy of Li+ that follows from them without a charged cell.

In a three-dimensional periodic cell the energy of a charged cell is against the mean potential of that cell, which
differs between codes, pseudopotentials and materials. Outside a neutral slab there is a common zero: the vacuum. When
Li becomes Li+, its electron leaves through the slab to the vacuum level, which costs the work function W:

    E_int(Li+) = E_AB + W(AB) - E_A - E(Li+),   E(Li+) = E(Li) + IE(Li)
               = E_ads(Li, free atom) + W(AB) - IE

for few Li on a large face. It does not depend on the height of the vacuum. For an insulator the highest occupied level
takes the place of the Fermi level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anodeflow.documents import SlabLevels
from anodeflow.errors import InputError

#: Vacuum is where the potential has no slope, over at least this height.
_FLAT_EV_PER_ANGSTROM = 0.02
_LEAST_HEIGHT_ANGSTROM = 2.0
#: So much of a flat layer lies in the half of the vacuum of the face that it belongs to.
_LEAST_SHARED_ANGSTROM = 0.75

Side = Literal["top", "bottom"]


@dataclass(frozen=True)
class PlanarPotential:
    """Potential of an electron, averaged over planes parallel to a slab.

    Parameters
    ----------
    z_angstrom
        Heights of the planes, rising, shape (n,).
    potential_ev
        Shape (n,).
    height_angstrom
        Of the cell, after which the potential repeats.
    """

    z_angstrom: NDArray[np.float64]
    potential_ev: NDArray[np.float64]
    height_angstrom: float

    def __post_init__(self) -> None:
        z, v = np.asarray(self.z_angstrom, dtype=float), np.asarray(self.potential_ev, dtype=float)
        if z.ndim != 1 or z.shape != v.shape or len(z) < 10:
            raise InputError(f"a planar potential of {v.size} values", "give at least 10 planes, one value each")
        if not (np.isfinite(z).all() and np.isfinite(v).all() and (np.diff(z) > 0).all()):
            raise InputError("a planar potential has heights that do not rise, or values that are not finite")
        if not z[-1] - z[0] < self.height_angstrom:
            raise InputError(
                f"planes over {z[-1] - z[0]:.2f} angstrom in a cell of {self.height_angstrom:.2f}",
                "give one period, its end left out",
            )
        object.__setattr__(self, "z_angstrom", z)
        object.__setattr__(self, "potential_ev", v)


@dataclass(frozen=True)
class VacuumLevel:
    """A layer where the potential is flat.

    Parameters
    ----------
    level_ev
        Its mean there.
    spread_ev
        Largest minus smallest value.
    start_angstrom, height_angstrom
        Where it begins, and how high it is; it may cross the end of the cell.
    """

    level_ev: float
    spread_ev: float
    start_angstrom: float
    height_angstrom: float


def vacuum_levels(potential: PlanarPotential) -> dict[Side, VacuumLevel]:
    """Return the vacuum levels over the top and under the bottom of a slab.

    They are the same layer where nothing divides the vacuum, and two where a dipole correction has put its step between
    them.

    Raises
    ------
    InputError
        If there is no flat vacuum.
    """
    layers = _flat_layers(potential)
    if not layers:
        slope = _slope(potential)
        high = potential.potential_ev >= np.quantile(potential.potential_ev, 0.8)
        raise InputError(
            f"the vacuum is not flat: nowhere is the slope below {_FLAT_EV_PER_ANGSTROM} eV/angstrom over "
            f"{_LEAST_HEIGHT_ANGSTROM:g} angstrom (at best {np.abs(slope[high]).min():.3f} at one height)",
            "add a dipole correction to a slab of two different faces, or more vacuum",
        )
    if len(layers) == 1:
        return {"top": layers[0], "bottom": layers[0]}
    first, second = sorted(sorted(layers, key=lambda layer: -layer.height_angstrom)[:2], key=lambda x: x.start_angstrom)
    # between the layers lie the slab, where the potential is deep, and the step of the dipole correction
    between = _lowest_between(potential, first, second)
    around = _lowest_between(potential, second, first)
    # going up, the layer after the slab is over its top
    return {"bottom": first, "top": second} if between < around else {"bottom": second, "top": first}


def slab_levels(
    potential: PlanarPotential,
    vacuum_angstrom: tuple[float, float],
    level_ev: float,
    level: Literal["Fermi level", "highest occupied level"],
) -> SlabLevels:
    """Return the levels of a slab; a face without a flat vacuum has none there, and the top says why.

    Parameters
    ----------
    potential
        Of the slab.
    vacuum_angstrom
        Where the vacuum begins, over the top of the slab, and how high it is.
    level_ev, level
        The level of the electrons that leave first, and what it is.
    """
    try:
        levels = _levels_of_faces(potential, *vacuum_angstrom)
        work_function_ev(levels["top"], level_ev)
    except InputError as error:
        return SlabLevels(level_ev=level_ev, level=level, error=str(error))
    both = levels.values()
    return SlabLevels(
        level_ev=level_ev,
        level=level,
        top_ev=levels["top"].level_ev,
        bottom_ev=levels["bottom"].level_ev if "bottom" in levels else None,
        spread_ev=max(layer.spread_ev for layer in both),
        height_angstrom=min(layer.height_angstrom for layer in both),
    )


def _levels_of_faces(potential: PlanarPotential, start: float, height: float) -> dict[Side, VacuumLevel]:
    """Return the flat layer over the top, and that under the bottom if there is one.

    A layer belongs to the face in whose half of the vacuum it lies; one that joins the faces reaches into both.

    Raises
    ------
    InputError
        If there is none over the top.
    """
    vacuum_levels(potential)  # says what is wrong if there is none at all
    middle = start + height / 2
    faces: dict[Side, VacuumLevel] = {}
    sides: tuple[tuple[Side, float, float], ...] = (("top", start, middle), ("bottom", middle, start + height))
    for side, low, high in sides:
        best = 0.0
        for layer in _flat_layers(potential):
            begin = start + (layer.start_angstrom - start) % potential.height_angstrom
            shared = min(begin + layer.height_angstrom, high) - max(begin, low)
            if shared > max(best, _LEAST_SHARED_ANGSTROM):
                best, faces[side] = shared, layer
    if "top" not in faces:
        raise InputError(
            f"the vacuum over the top is not flat over {_LEAST_HEIGHT_ANGSTROM:g} angstrom",
            "add more vacuum, and a dipole correction to a slab of two different faces",
        )
    return faces


def work_function_ev(level: VacuumLevel, fermi_ev: float) -> float:
    """Return W = V_vacuum - E_Fermi, eV; of an insulator with the highest occupied level.

    Parameters
    ----------
    level
        Over the face through which the electron leaves.
    fermi_ev
        On the scale of the potential.

    Raises
    ------
    InputError
        If it is not finite, or not positive: then potential and level are not on one scale.
    """
    work = level.level_ev - fermi_ev
    if not (math.isfinite(work) and work > 0):
        raise InputError(
            f"vacuum level {level.level_ev:.3f} eV and Fermi level {fermi_ev:.3f} eV: a work function of {work:.3f} eV",
            "take both from one calculation; the potential is that of an electron, high in the vacuum",
        )
    return work


def ion_binding_energy_ev(adsorption_ev: float, work_function: float, ionisation_ev: float) -> float:
    """Return E_int(Li+) = E_ads(Li, free atom) + W - IE, eV per Li; negative is bound.

    Parameters
    ----------
    adsorption_ev
        E_AB - E_A - E(Li), neutral, against the free spin-polarised atom.
    work_function
        Of the slab with Li, eV.
    ionisation_ev
        Of the Li atom, from the same functional as the rest, or from experiment.

    Raises
    ------
    InputError
        If a value is not finite, or the ionisation energy not positive.
    """
    values = (adsorption_ev, work_function, ionisation_ev)
    if not all(map(math.isfinite, values)) or ionisation_ev <= 0:
        raise InputError(f"energies {values} eV give no binding energy of an ion", "look at what they come from")
    return adsorption_ev + work_function - ionisation_ev


def ion_descriptor_ev(d_e_ev: float, work_function_anode: float, work_function_interphase: float) -> float:
    """Return dE(Li+) = dE + W(Y) - W(X), eV, of an anode X and an interphase Y.

    The ionisation energy and the reference of Li drop out. In a cell at rest electrons are shared, and the neutral dE
    says where Li goes; this one compares the two faces apart from each other, each with its own vacuum.

    Parameters
    ----------
    d_e_ev
        Of neutral Li.
    work_function_anode, work_function_interphase
        Of the two slabs with Li, eV.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    values = (d_e_ev, work_function_anode, work_function_interphase)
    if not all(map(math.isfinite, values)):
        raise InputError(f"energies {values} eV give no descriptor of an ion", "look at what they come from")
    return d_e_ev + work_function_interphase - work_function_anode


def _slope(potential: PlanarPotential) -> NDArray[np.float64]:
    """Return dV/dz at every plane, eV/angstrom, across the end of the cell, too."""
    z, v = potential.z_angstrom, potential.potential_ev
    around = np.concatenate([[z[-1] - potential.height_angstrom], z, [z[0] + potential.height_angstrom]])
    slope: NDArray[np.float64] = np.gradient(np.concatenate([[v[-1]], v, [v[0]]]), around)[1:-1]
    return slope


def _flat_layers(potential: PlanarPotential) -> list[VacuumLevel]:
    """Return the layers without slope that are high enough, and higher in energy than the mean of the cell."""
    flat = np.abs(_slope(potential)) <= _FLAT_EV_PER_ANGSTROM
    z, v, height = potential.z_angstrom, potential.potential_ev, potential.height_angstrom
    if flat.all() or not flat.any():
        return []
    # begin where it is not flat, so that no layer is cut by the end of the cell
    order = np.roll(np.arange(len(z)), -int(np.flatnonzero(~flat)[0]))
    layers, run = [], []
    for plane in [*order, order[0]]:
        if flat[plane]:
            run.append(plane)
            continue
        if run:
            values = v[run]
            tall = float((z[run[-1]] - z[run[0]]) % height)
            if tall >= _LEAST_HEIGHT_ANGSTROM and values.mean() > v.mean():
                level = VacuumLevel(float(values.mean()), float(np.ptp(values)), float(z[run[0]]), tall)
                layers.append(level)
        run = []
    return layers


def _lowest_between(potential: PlanarPotential, below: VacuumLevel, above: VacuumLevel) -> float:
    """Return the lowest potential from the end of one layer up to the start of the next."""
    height = potential.height_angstrom
    start = below.start_angstrom + below.height_angstrom
    reach = (above.start_angstrom - start) % height
    inside = (potential.z_angstrom - start) % height <= reach
    return float(potential.potential_ev[inside].min())
