"""Work of adhesion, and an interface energy beside published differences."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot
from typing import Any

from anodeflow.analysis.interface_documents import InterfaceEnergyDoc, PublishedComparison
from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc


def work_of_adhesion(gamma_a: float, gamma_b: float, gamma_ab: float) -> float:
    """Return W_ad = gamma_A + gamma_B - gamma_AB in J/m2; positive: the two stick together (Dupre).

    Parameters
    ----------
    gamma_a, gamma_b
        Surface energies of the two sides, J/m2.
    gamma_ab
        Interface energy, J/m2.

    Returns
    -------
    float
        J/m2.
    """
    return gamma_a + gamma_b - gamma_ab


def fill_adhesion(doc: InterfaceEnergyDoc, surfaces: Mapping[str, SurfaceEnergyDoc | None]) -> None:
    """Fill in what needs surface energies.

    Parameters
    ----------
    doc
        With gamma and the surface energies.
    surfaces
        Their documents, of ``film``, ``substrate`` and ``strained film``, for the intervals.
    """
    gamma, film, substrate = doc.gamma_j_per_m2, doc.gamma_film_j_per_m2, doc.gamma_substrate_j_per_m2
    if gamma is None:
        return
    if film is not None:
        doc.film_minus_interface_j_per_m2 = film - gamma
    if substrate is not None:
        doc.substrate_minus_interface_j_per_m2 = substrate - gamma
    if film is not None and substrate is not None:
        strained = doc.gamma_film_strained_j_per_m2
        doc.work_of_adhesion_j_per_m2 = work_of_adhesion(film if strained is None else strained, substrate, gamma)
        used = [surfaces.get("film" if strained is None else "strained film"), surfaces.get("substrate")]
        if strained is not None:
            doc.work_of_adhesion_unstrained_j_per_m2 = work_of_adhesion(film, substrate, gamma)
        intervals = [doc.gamma_ci_j_per_m2, *(s.gamma_ci_j_per_m2 for s in used if s is not None)]
        if all(intervals):
            doc.work_of_adhesion_half_width_j_per_m2 = hypot(*((i[1] - i[0]) / 2 for i in intervals if i))
    ours = {doc.film: film, doc.substrate: substrate}
    doc.published = [
        _published(row, ours[a], gamma)
        for row in published_values("gamma_licl_minus_gamma_licl_li")
        for a, b in [row["system"].split("/")]
        if {a, b} == {doc.film, doc.substrate} and ours[a] is not None
    ]


def _published(row: dict[str, Any], gamma_a: float | None, gamma_ab: float) -> PublishedComparison:
    a = gamma_a or 0.0
    surface = row["system"].split("/")[0]
    return PublishedComparison(
        paper=row["paper"],
        system=row["system"],
        quantity=f"gamma({surface}) - gamma({row['system']})",
        published_j_per_m2=row["value"],
        ours_j_per_m2=a - gamma_ab,
        implied_gamma_j_per_m2=a - row["value"],
        surface=surface,
        source=row["source"],
    )
