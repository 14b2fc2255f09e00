"""Convergence rows of binding energies: how far a number moves when one setting of its cells is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anodeflow.analysis.binding import BindingEnergyDoc, Convention
from anodeflow.analysis.binding_rows import BindingConvergence, ConvergenceRow

#: A change of E_int that counts as none where a study does not say.
CONVERGED_WITHIN_EV = 0.02


@dataclass(frozen=True)
class Value:
    """One value of a setting, and what became of it.

    Parameters
    ----------
    value
        Of the setting.
    doc
        The binding energy with it; None where nothing was computed.
    is_base
        Whether it is the study's own value.
    same_as
        The value that gives the same cells.
    """

    value: float
    doc: BindingEnergyDoc | None
    is_base: bool = False
    same_as: float | None = None


def binding_convergence(
    base: BindingEnergyDoc,
    setting: str,
    values: Iterable[Value],
    convention: Convention,
    within_ev: float = CONVERGED_WITHIN_EV,
) -> BindingConvergence:
    """Return the rows of one state and one setting, with their changes and the verdict.

    Parameters
    ----------
    base
        The study's own result.
    setting
        What is varied. Of a spacing of k-points the smallest value is the most accurate, else the largest.
    values
        Every value of it with its result, the study's own among them.
    convention
        The Li reference of the changes.
    within_ev
        What counts as converged.
    """
    ordered = sorted(values, key=lambda v: -v.value if "spacing" in setting else v.value)
    docs = {v.value: v.doc for v in ordered}
    rows = [_row(v, docs[v.value if v.same_as is None else v.same_as]) for v in ordered]
    energies = [row.binding_energy_ev.get(convention) for row in rows]
    ions = [row.ion_binding_energy_ev for row in rows]
    own = next(number for number, row in enumerate(rows) if row.is_base)
    for row, energy, ion in zip(rows, energies, ions, strict=True):
        row.from_base_ev, row.from_finest_ev = _less(energy, energies[own]), _less(energy, energies[-1])
        row.ion_from_base_ev, row.ion_from_finest_ev = _less(ion, ions[own]), _less(ion, ions[-1])
    spread, ion_spread, converged = judged_rows(rows, convention, within_ev)
    return BindingConvergence(
        crystal=base.crystal,
        environment=base.environment,
        state=base.li_state,
        setting=setting,
        convention=convention,
        rows=rows,
        spread_ev=spread,
        ion_spread_ev=ion_spread,
        within_ev=within_ev,
        converged=converged,
    )


def judged_rows(
    rows: Sequence[ConvergenceRow], convention: str, within_ev: float
) -> tuple[float | None, float | None, bool | None]:
    """Return how far E_int and E_int(Li+) move over rows, eV, and whether that is within a limit.

    Parameters
    ----------
    rows
        The most accurate last, the study's own among them.
    convention
        The Li reference of E_int.
    within_ev
        What counts as converged.

    Returns
    -------
    tuple
        None for what is not known.
    """
    own = next(number for number, row in enumerate(rows) if row.is_base)
    ions = [row.ion_binding_energy_ev for row in rows]
    spread, ion_spread = _spread([row.binding_energy_ev.get(convention) for row in rows], own), _spread(ions, own)
    moved = [value for value in (spread, ion_spread) if value is not None]
    # with a work function of some slabs only, neutral Li alone does not decide
    lacks_ion = ion_spread is None and any(ion is not None for ion in ions)
    return spread, ion_spread, None if not moved or lacks_ion else max(moved) <= within_ev


def _row(value: Value, doc: BindingEnergyDoc | None) -> ConvergenceRow:
    shared = {"value": value.value, "is_base": value.is_base, "same_as": value.same_as}
    if doc is None:
        return ConvergenceRow(**shared, model="not built", error="not computed; see the first failure of the run")
    return ConvergenceRow(
        **shared,
        model=doc.model,
        atoms=doc.host_atoms or None,
        best_site=doc.best_site,
        binding_energy_ev=doc.binding_energy_ev,
        work_function_ev=doc.work_function_ev,
        ion_binding_energy_ev=doc.ion_binding_energy_ev,
        notes=[note for site in doc.sites if site.label == doc.best_site for note in site.notes],
        error=doc.error,
    )


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _spread(energies: list[float | None], own: int) -> float | None:
    """Return the largest change from the value in place `own` to those behind it; if it is the last, to any."""
    start = energies[own]
    others = energies[own + 1 :] or energies[:own]
    known = [value for value in others if value is not None]
    return None if start is None or not known else max(abs(value - start) for value in known)


def with_total_error(
    hosts: Iterable[BindingEnergyDoc], convergences: Iterable[BindingConvergence]
) -> list[BindingEnergyDoc]:
    """Return the results of a study with the spread of their convergence rows in their error, added to it.

    Parameters
    ----------
    hosts
        The study's own results.
    convergences
        Of any of them.
    """
    rows = list(convergences)
    results = []
    for doc in hosts:
        own = (doc.crystal, doc.environment, doc.li_state)
        spreads = {
            c.setting: c.spread_ev
            for c in rows
            if (c.crystal, c.environment, c.state) == own and c.spread_ev is not None
        }
        if spreads and doc.numerical_uncertainty_ev is not None:
            total = doc.numerical_uncertainty_ev + sum(spreads.values())
            doc = doc.model_copy(update={"convergence_spread_ev": spreads, "total_error_ev": total})
        results.append(doc)
    return results
