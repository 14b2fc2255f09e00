"""From the results of every host of a study to dE, its spread over packings, and the verdicts of convergence rows."""

from __future__ import annotations

from anodeflow.analysis.binding import BindingEnergyDoc, Convention, DescriptorMatrix, PackingSpread
from anodeflow.analysis.binding_convergence import Value, binding_convergence
from anodeflow.analysis.binding_rows import BindingConvergence
from anodeflow.analysis.descriptor import descriptor_matrix, packing_spread
from anodeflow.lithium_states import KINDS, Kind
from anodeflow.structures.packings import packing_name
from anodeflow.workflows.studies.binding.cells import Host
from anodeflow.workflows.studies.binding.rows import Rows


def descriptors_of(
    docs: list[BindingEnergyDoc], anodes: list[str], interphases: list[str], convention: Convention
) -> list[DescriptorMatrix]:
    """Return the dE matrices of a study, one for each environment and kind that has both.

    Parameters
    ----------
    docs
        Its results.
    anodes, interphases
        Rows and columns.
    convention
        The leading Li reference.
    """
    return [
        descriptor_matrix(docs, anodes, interphases, convention, environment, kind)
        for environment in dict.fromkeys(doc.environment for doc in docs)
        for kind in KINDS
        if _have_both(docs, anodes, interphases, environment, kind)
    ]


def packings_of(
    docs: list[BindingEnergyDoc], hosts: list[Host], anodes: list[str], convention: Convention
) -> list[PackingSpread]:
    """Return dE of each anode over the packings of each host that has several.

    Parameters
    ----------
    docs, hosts, anodes
        Results and hosts of a study, and its rows of dE.
    convention
        The leading Li reference.
    """
    return [
        packing_spread(
            docs,
            anodes,
            [packing_name(host.crystal, number) for number in range(1, host.packings + 1)],
            convention,
            environment,
            kind,
        )
        for host in hosts
        if host.packings is not None and anodes
        for environment in dict.fromkeys(doc.environment for doc in docs)
        for kind in KINDS
        if _have_both(docs, anodes, [host.label], environment, kind)
    ]


def convergences_of(
    docs: list[BindingEnergyDoc],
    everything: list[BindingEnergyDoc],
    rows: Rows,
    convention: Convention,
    within_ev: float,
) -> list[BindingConvergence]:
    """Return the convergence rows of each state of a study.

    Parameters
    ----------
    docs, everything
        Its own results, and these with those of the rows.
    rows
        How they were laid out.
    convention, within_ev
        The leading Li reference, and what counts as converged.
    """
    varied = {
        (doc.crystal, doc.environment, doc.li_state, doc.varied.setting, doc.varied.value): doc
        for doc in everything
        if doc.varied is not None
    }
    convergences = []
    for doc in docs:
        own_rows = [r for r in rows.rows if (r.host, r.environment) == (doc.crystal, doc.environment)]
        for setting in dict.fromkeys(r.row.setting for r in own_rows):
            place = (doc.crystal, doc.environment, doc.li_state, setting)
            values = [Value(rows.base[setting], doc, is_base=True)]
            values += [
                Value(r.row.value, varied.get((*place, r.row.value)), same_as=r.same_as)
                for r in own_rows
                if r.row.setting == setting
            ]
            convergences.append(binding_convergence(doc, setting, values, convention, within_ev))
    return convergences


def _have_both(
    docs: list[BindingEnergyDoc], anodes: list[str], interphases: list[str], environment: str, kind: Kind
) -> bool:
    """Return whether an anode and an interphase have results of a kind; added Li is always asked for."""
    with_kind = {doc.crystal for doc in docs if (doc.environment, doc.kind) == (environment, kind)}
    if kind == "added":
        return bool(anodes and interphases and with_kind)
    return bool(with_kind & set(anodes) and with_kind & set(interphases))
