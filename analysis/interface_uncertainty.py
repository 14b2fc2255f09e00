"""How sure an interface energy is: fit, slope, thickness and registry, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import numpy as np

from anodeflow.analysis.comparable import OtherCards
from anodeflow.analysis.interface_documents import (
    InterfaceEnergyDoc,
    InterfacePoint,
    SubstrateConvergence,
    UncertaintyPart,
)
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

#: gamma may change by this from the second thickest substrate to the thickest before it is called unconverged.
CONVERGED_J_PER_M2 = 0.01


def substrate_convergence(points: Sequence[InterfacePoint]) -> SubstrateConvergence:
    """Judge the thickness of the substrate by cells that differ in nothing else.

    Parameters
    ----------
    points
        All cells; those with the thinnest film are compared.
    """
    thinnest = min(p.n_film for p in points)
    compared = sorted((p for p in points if p.n_film == thinnest), key=lambda p: p.n_substrate)
    layers = [p.substrate_layers or round(p.n_substrate) for p in compared]
    if len(compared) < 2:
        text = f"one thickness of the substrate ({layers[0]} planes): nothing is known of its convergence"
        return SubstrateConvergence(converged=None, layers=layers, text=text)
    before, last = compared[-2:]
    change = last.gamma_j_per_m2 - before.gamma_j_per_m2
    converged = abs(change) <= CONVERGED_J_PER_M2
    text = (
        f"gamma changes by {change:+.4f} J/m2 from {layers[-2]} to {layers[-1]} planes of the substrate: "
        f"{'converged' if converged else 'not converged'} (within {CONVERGED_J_PER_M2:g})"
    )
    return SubstrateConvergence(converged=converged, layers=layers, change_j_per_m2=change, text=text)


def uncertainty_parts(doc: InterfaceEnergyDoc) -> list[UncertaintyPart]:
    """Return what limits gamma, each as half a width in J/m2.

    Parameters
    ----------
    doc
        With members, fit, strain check, substrate convergence and registries filled in.
    """
    return [_of_fit(doc), _of_slope(doc), _of_thickness(doc), _of_registry(doc)]


def other_card_warnings(doc: InterfaceEnergyDoc, other: OtherCards) -> list[str]:
    """Return what is to be said of energies of two cards.

    Parameters
    ----------
    doc
        With its fit.
    other
        How the cards differ.
    """
    warnings = []
    if other.crystals is not None and doc.references_aligned:
        warnings.append(f"{other.crystals}: gamma is against crystals in the interface's plane, with its card")
    elif other.crystals is not None and doc.plane is not None:
        warnings.append(
            f"{other.crystals}: gamma, the intercept over both thicknesses, is free of the crystals' energies; gamma "
            "of single cells and both slopes are not, and are not compared with strained bulk"
        )
    elif other.crystals is not None:
        warnings.append(
            f"{other.crystals}: the difference of the cards enters gamma once for every unit of the substrate; give "
            "two thicknesses of it or more, whose fit is free of it"
        )
    if other.slabs is not None and doc.work_of_adhesion_j_per_m2 is not None:
        warnings.append(f"{other.slabs}: the work of adhesion is of energies of both")
    return warnings


def total(parts: Sequence[UncertaintyPart]) -> float | None:
    """Return the known parts in quadrature; None if none is known."""
    known = [p.half_width_j_per_m2 for p in parts if p.half_width_j_per_m2 is not None]
    return hypot(*known) if known else None


def _of_fit(doc: InterfaceEnergyDoc) -> UncertaintyPart:
    interval = doc.gamma_sum_ci_j_per_m2
    if interval is None:
        return UncertaintyPart(name="fit", text="no fit: one thickness of the film")
    half = (interval[1] - interval[0]) / 4
    cells = f"{len(doc.members)} cells about the {'plane' if doc.plane else 'line'}"
    return UncertaintyPart(
        name="fit", half_width_j_per_m2=half, text=f"scatter of {cells}, {100 * doc.confidence_level:g} %"
    )


def _of_slope(doc: InterfaceEnergyDoc) -> UncertaintyPart:
    """Return what the intercept would change by if the slope were that of strained bulk."""
    check = doc.strain_check
    if doc.fit is None or doc.area_angstrom2 is None:
        return UncertaintyPart(name="slope", text="no slope: the strain is that of the strained crystal")
    if check is None:
        text = "no strained crystal to compare the slope with"
        return UncertaintyPart(name="slope", text=f"not compared: {doc.other_cards}" if doc.other_cards else text)
    sigma = check.expected_ev_per_unit / (2 * doc.area_angstrom2) * EV_PER_A2_TO_J_PER_M2
    rest = [p.gamma_j_per_m2 - sigma * p.n_film for p in doc.members]
    substrates = [p.n_substrate for p in doc.members]
    fixed = float(np.polyfit(substrates, rest, 1)[1]) if doc.plane is not None else float(np.mean(rest))
    text = (
        f"slope {1e3 * check.fitted_ev_per_unit:.2f} against {1e3 * check.expected_ev_per_unit:.2f} meV per unit of "
        f"strained bulk, with which gamma is {fixed:.4f}"
    )
    return UncertaintyPart(name="slope", half_width_j_per_m2=abs(doc.fit.intercept - fixed), text=text)


def _of_thickness(doc: InterfaceEnergyDoc) -> UncertaintyPart:
    judged = doc.substrate_convergence
    if judged is None or judged.change_j_per_m2 is None:
        return UncertaintyPart(name="thickness", text=judged.text if judged else "not judged")
    return UncertaintyPart(name="thickness", half_width_j_per_m2=abs(judged.change_j_per_m2), text=judged.text)


def _of_registry(doc: InterfaceEnergyDoc) -> UncertaintyPart:
    registries = doc.registries
    if registries is None:
        return UncertaintyPart(name="registry", text="one registry was given, no other was computed")
    computed = [entry for entry in registries.entries if entry.energy_ev is not None]
    text = f"{len(computed)} registries computed of {len(registries.scored)} scored"
    if registries.uncertainty_j_per_m2 is None:
        return UncertaintyPart(name="registry", text=f"{text}: the order of the others is the potential's")
    return UncertaintyPart(name="registry", half_width_j_per_m2=registries.uncertainty_j_per_m2, text=text)
