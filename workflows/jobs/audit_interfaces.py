"""Interface energies of an audit: cells of archives that an engine with electrons relaxed, again by a potential."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pymatgen.core import Structure

from anodeflow.analysis.interface_documents import InterfaceEnergyDoc, InterfacePoint
from anodeflow.analysis.interface_energy import interface_energy
from anodeflow.analysis.interface_registries import InterfaceRegistriesDoc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import InputError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Outcome, Request
from anodeflow.workflows.engines.registry import PROGRAMS
from anodeflow.workflows.jobs.audit_numbers import Asked, computed, energy_per_unit
from anodeflow.workflows.store.archive import read_archive


class KnownInterface(BaseModel):
    """One cell whose interface energy an archive knows.

    Attributes
    ----------
    name
        Registry, planes and engine, as text.
    fingerprint
        Of its calculation.
    structure
        As that engine relaxed it.
    film, substrate
        Names of the crystals.
    n_film, n_substrate
        Formula units of either in the cell.
    area_angstrom2
        Of the cell in the plane, which stays.
    gamma_j_per_m2
        By that engine, strain included.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    fingerprint: str
    structure: Structure
    film: str
    substrate: str
    n_film: float
    n_substrate: float
    area_angstrom2: float
    gamma_j_per_m2: float


def known_interfaces(archives: Sequence[Path]) -> list[KnownInterface]:
    """Return the interfaces of archives: the thinnest film on each thickness of the substrate, and each registry.

    Parameters
    ----------
    archives
        Of interface-energy studies with electrons.

    Raises
    ------
    InputError
        If one is damaged, holds no interface energy by an engine with electrons, or energies with dispersion.
    """
    interfaces: dict[str, KnownInterface] = {}
    for file in archives:
        cells = list(_of(file))
        if not cells:
            raise InputError(
                f"'{file}' holds no interface energy with electrons",
                "name an archive of such an interface-energy study",
            )
        interfaces |= {cell.fingerprint: cell for cell in cells}
    return list(interfaces.values())


def check_phases_of(interfaces: Sequence[KnownInterface], phases: Sequence[str]) -> None:
    """Refuse interfaces whose crystals are not audited: their energies count from those of the crystals.

    Parameters
    ----------
    interfaces
        From :func:`known_interfaces`.
    phases
        That are audited.

    Raises
    ------
    InputError
        With the first crystal that is missing.
    """
    for known in interfaces:
        lacking = [name for name in (known.film, known.substrate) if name not in phases]
        if lacking:
            raise InputError(
                f"interface '{known.name}' counts from {lacking[0]}, which is not among the phases {', '.join(phases)}",
                f"add {lacking[0]} to --phases, or leave --interfaces out",
            )


def _of(file: Path) -> Iterator[KnownInterface]:
    jobs = [job.doc for job in read_archive(file)[1]]
    cells = {doc.fingerprint: doc for doc in jobs if isinstance(doc, CalculationDoc) and doc.engine.name in PROGRAMS}
    with_it = next((doc.card for doc in cells.values() if doc.card.dispersion is not None), None)
    if with_it is not None:
        raise InputError(
            f"'{file}' has energies with dispersion (card {with_it.text}), those of an audit are without",
            "name an archive of energies without dispersion",
        )
    registries = [doc for doc in jobs if isinstance(doc, InterfaceRegistriesDoc) and doc.lowest is not None]
    for doc in jobs:
        if not isinstance(doc, InterfaceEnergyDoc) or not doc.members:
            continue
        thinnest = min(member.n_film for member in doc.members)
        for member in doc.members:
            ranked = [r for r in registries if r.lowest is not None and r.lowest.fingerprint == member.calculation]
            if member.n_film == thinnest or ranked:
                yield from _cells(doc, member, member.calculation, member.gamma_j_per_m2, "", cells)
            for entry in ranked[0].entries if ranked else ():
                above = entry.above_lowest_j_per_m2
                if above and entry.fingerprint is not None:
                    yield from _cells(doc, member, entry.fingerprint, member.gamma_j_per_m2 + above, entry.label, cells)


def _cells(
    doc: InterfaceEnergyDoc, member: InterfacePoint, fingerprint: str, gamma: float, registry: str,
    cells: Mapping[str, CalculationDoc],
) -> Iterator[KnownInterface]:  # fmt: skip
    calculation = cells.get(fingerprint)
    if calculation is None:
        return
    registry = registry or (member.contacts[0].registry if member.contacts else doc.contact or "")
    planes = f"{member.film_layers} on {member.substrate_layers} planes" if member.film_layers else ""
    of = f"{doc.film}/{doc.substrate}"
    yield KnownInterface(
        name=", ".join(filter(None, [of, registry, planes, f"by {calculation.engine.name}"])), fingerprint=fingerprint,
        structure=calculation.structure, film=doc.film, substrate=doc.substrate, n_film=member.n_film,
        n_substrate=member.n_substrate, area_angstrom2=doc.area_angstrom2 or 0.0, gamma_j_per_m2=gamma,
    )  # fmt: skip


def asked_interfaces(
    interfaces: Sequence[KnownInterface], engine: Engine, card: MethodCard, relaxed: Mapping[str, Outcome]
) -> Iterator[Asked]:
    """Yield the interface energies to compute, atoms and height relaxed from the archive's geometry.

    Parameters
    ----------
    interfaces
        From :func:`known_interfaces`; those whose crystals are not among the relaxed ones are left out.
    engine, card
        The engine that is audited, and how accurately.
    relaxed
        Its relaxed crystals by name.
    """
    for known in interfaces:
        if known.film in relaxed and known.substrate in relaxed:
            compute = partial(_gamma, known, engine, card, relaxed)
            yield "interface energy", known.name, "J/m²", known.gamma_j_per_m2, compute


def _gamma(known: KnownInterface, engine: Engine, card: MethodCard, relaxed: Mapping[str, Outcome]) -> float:
    outcome = computed(engine, Request(known.structure, "relax_c", card))
    return interface_energy(
        outcome.energy_ev or 0.0, known.n_film, energy_per_unit(relaxed[known.film]), known.n_substrate,
        energy_per_unit(relaxed[known.substrate]), known.area_angstrom2,
    )  # fmt: skip
