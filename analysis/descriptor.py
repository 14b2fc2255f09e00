"""The descriptor dE(X, Y) = E_int(Y) - E_int(X): subtracted where everything but the host is the same, else refused."""

from __future__ import annotations

from typing import Any, Literal

from anodeflow.analysis.binding import BindingEnergyDoc, Convention, DescriptorMatrix, PackingSpread
from anodeflow.analysis.comparable import check_dispersions, check_functionals
from anodeflow.analysis.vacuum_level import ion_descriptor_ev
from anodeflow.errors import ConvergenceError, ReferenceMismatchError
from anodeflow.lithium_states import Kind


def descriptor(anode: BindingEnergyDoc, interphase: BindingEnergyDoc, convention: Convention) -> float:
    """Return dE(X, Y) = E_int(Y) - E_int(X), eV: large and positive means Li stays in the anode X.

    The reference cancels only if everything else is the same, so anything else is refused
    (doi:10.1039/D6SC03781J).

    Parameters
    ----------
    anode, interphase
        Hosts X and Y.
    convention
        The Li reference; any one, for it drops out.

    Returns
    -------
    float
        dE, eV.

    Raises
    ------
    ConvergenceError
        If one of the two has no binding energy.
    ReferenceMismatchError
        If functional, engine, card, charges, environment, the kind of state or the Li reference differ.
    """
    for doc in (anode, interphase):
        if not doc.converged:
            raise ConvergenceError(f"{doc.where}: no binding energy ({doc.error or 'no site converged'})")
    check_functionals({doc.where: doc.engine for doc in (anode, interphase)})
    check_dispersions({doc.where: doc.card for doc in (anode, interphase)})
    differing = [
        f"{name} ({a} and {b})" for name, a, b in zip(_KEY_NAMES, _key(anode), _key(interphase), strict=True) if a != b
    ]
    references = [r for d in (anode, interphase) for r in d.references if r.convention == convention]
    if len(references) != 2:
        differing.append(f"reference '{convention}', which is missing")
    elif (references[0].energy_ev, references[0].box_angstrom) != (
        references[1].energy_ev,
        references[1].box_angstrom,
    ):
        differing.append("energy or box of the Li reference")
    if differing:
        raise ReferenceMismatchError(
            f"dE({anode.crystal}, {interphase.crystal}) would subtract results that differ in {', '.join(differing)}",
            "compute both in one study",
        )
    return interphase.binding_energy_ev[convention] - anode.binding_energy_ev[convention]


_KEY_NAMES = ("engine", "card", "charges", "charge mode", "environment", "kind of state", "number of Li")


def _key(doc: BindingEnergyDoc) -> tuple[Any, ...]:
    return (
        doc.engine and doc.engine.hash,
        doc.card and doc.card.hash,
        tuple(sorted(doc.charges.items())),
        doc.charge_mode,
        doc.environment,
        doc.kind,
        doc.n_li,
    )


def lowest_of_kind(
    hosts: list[BindingEnergyDoc], crystal: str, environment: str, kind: Kind, convention: Convention
) -> BindingEnergyDoc:
    """Return the document of a host whose state is the lowest of one kind.

    Parameters
    ----------
    hosts
        All that there are.
    crystal, environment
        Which host, and where Li is.
    kind
        Of the states.
    convention
        The Li reference; any one, for all states of one host are shifted alike.

    Raises
    ------
    ConvergenceError
        If there is none with a binding energy.
    """
    docs = [d for d in hosts if (d.crystal, d.environment, d.kind) == (crystal, environment, kind)]
    done = [d for d in docs if convention in d.binding_energy_ev]
    if done:
        return min(done, key=lambda d: d.binding_energy_ev[convention])
    if docs:
        return docs[0]
    why = f"no {kind} Li was computed"
    raise ConvergenceError(f"no {environment} result for {crystal}: {why}")


def descriptor_matrix(
    hosts: list[BindingEnergyDoc],
    anodes: list[str],
    interphases: list[str],
    convention: Convention,
    environment: Literal["bulk", "surface"],
    kind: Kind = "added",
) -> DescriptorMatrix:
    """Return dE of every pair that can be subtracted, and the others with the reason.

    Parameters
    ----------
    hosts
        Every host of the study.
    anodes, interphases
        Names of X, the rows, and of Y, the columns.
    convention
        The Li reference.
    environment
        Where Li is.
    kind
        Of the states: of each host the lowest is taken.

    Returns
    -------
    DescriptorMatrix
        None where a pair cannot be subtracted.
    """
    lowest: dict[str, BindingEnergyDoc] = {}
    missing: dict[str, str] = {}
    for name in [*anodes, *interphases]:
        try:
            lowest[name] = lowest_of_kind(hosts, name, environment, kind, convention)
        except ConvergenceError as error:
            missing[name] = str(error)
    rows: list[list[float | None]] = []
    refused = []
    for x in anodes:
        row: list[float | None] = []
        for y in interphases:
            try:
                absent = [missing[name] for name in (x, y) if name in missing]
                if absent:
                    raise ConvergenceError(absent[0])
                row.append(descriptor(lowest[x], lowest[y], convention))
            except (ConvergenceError, ReferenceMismatchError) as error:
                row.append(None)
                refused.append(f"dE({x}, {y}): {error}")
        rows.append(row)
    return DescriptorMatrix(
        environment=environment,
        convention=convention,
        anodes=anodes,
        interphases=interphases,
        d_e_ev=rows,
        refused=refused,
        kind=kind,
        states={name: doc.li_state for name, doc in lowest.items() if doc.converged},
        d_e_ion_ev=_of_ions(lowest, anodes, interphases, rows),
    )


def packing_spread(
    hosts: list[BindingEnergyDoc],
    anodes: list[str],
    packings: list[str],
    convention: Convention,
    environment: Literal["bulk", "surface"],
    kind: Kind = "added",
) -> PackingSpread:
    """Return dE of every anode and every packing of one crystal; of each host the lowest state counts.

    Parameters
    ----------
    hosts
        Every host of the study.
    anodes, packings
        Names of X, and of the packings of Y, the crystal's own first.
    convention, environment, kind
        As of :func:`descriptor_matrix`.
    """
    matrix = descriptor_matrix(hosts, anodes, packings, convention, environment, kind)
    rows = {
        anode: {name: value for name, value in zip(packings, row, strict=True) if value is not None}
        for anode, row in zip(anodes, matrix.d_e_ev, strict=True)
    }
    return PackingSpread(
        crystal=packings[0],
        packings=packings,
        environment=environment,
        kind=kind,
        convention=convention,
        d_e_ev={anode: values for anode, values in rows.items() if values},
    )


def _of_ions(
    lowest: dict[str, BindingEnergyDoc], anodes: list[str], interphases: list[str], rows: list[list[float | None]]
) -> list[list[float | None]] | None:
    """Return dE(Li+) of the pairs of a matrix whose slabs have work functions; None if there is no such pair."""
    work = {name: doc.work_function_ev for name, doc in lowest.items()}
    ions: list[list[float | None]] = []
    for x, row in zip(anodes, rows, strict=True):
        ions.append([])
        for y, d_e in zip(interphases, row, strict=True):
            of_x, of_y = work.get(x), work.get(y)
            known = d_e is not None and of_x is not None and of_y is not None
            ions[-1].append(ion_descriptor_ev(d_e or 0.0, of_x or 0.0, of_y or 0.0) if known else None)
    return ions if any(value is not None for row in ions for value in row) else None
