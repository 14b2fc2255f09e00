"""Documents of the registries of an interface: what a potential thinks of each, and what the study's engine found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from anodeflow.documents import ComputedDoc, Document, EngineRecord
from anodeflow.units import EV_PER_A2_TO_J_PER_M2

#: Potential that searches registries where a study with electrons names none.
DEFAULT_SEARCH_ENGINE = "sevennet-0"


class ScoredRegistry(Document):
    """One registry as the potential of a search sees it."""

    label: str = Field(description="e.g. 'Li over Cl'")
    shift: tuple[float, float] = Field(description="of the film in fractions of this very cell")
    vector_angstrom: tuple[float, float] = Field(description="from a named atom of the substrate to one of the film")
    fractions: tuple[float, float] = Field(description="the same in the cell of displacements")
    held: bool = Field(description="symmetry holds the film in place")
    stationary: bool = Field(default=True, description="held, or no lower one beside it: not on the slope to another")
    relaxed: bool = Field(default=False, description="atoms relaxed along the normal; else both sides moved as wholes")
    gap_angstrom: float = Field(description="between the outermost nuclei, where the energy is lowest")
    energy_ev: float | None = Field(default=None, description="of the cell; None in a plan")
    above_lowest_j_per_m2: float | None = Field(default=None, description="per area of contact")


class RegistrySearchDoc(ComputedDoc):
    """The registries of one interface, scored with a potential, lowest first."""

    doc_type: Literal["RegistrySearchDoc"] = "RegistrySearchDoc"
    interface: str
    atoms: int
    area_angstrom2: float
    grid_angstrom: float
    registries: list[ScoredRegistry] = Field(default_factory=list)
    evaluations: int = Field(default=0, description="energies and forces that were computed")

    def best(self, count: int) -> list[ScoredRegistry]:
        """Return the lowest registries that are not on the slope to another, at most `count`."""
        return [r for r in self.registries if r.stationary][:count]

    @property
    def refined_by_j_per_m2(self) -> float:
        """By how much looking between the points of the grid lowered the energy; 0 where symmetry holds the lowest."""
        lowest = self.registries[0]
        if lowest.held:
            return 0.0
        around = [r.above_lowest_j_per_m2 for r in self.registries[1:] if r.above_lowest_j_per_m2 is not None]
        return min(around, default=0.0)


class ContactDoc(Document):
    """One contact of a relaxed cell."""

    registry: str
    gap_angstrom: float = Field(description="along the normal, between the outermost nuclei")
    shortest_angstrom: float = Field(description="shortest distance between atoms of the two sides")
    elements: str = Field(description="of that pair, film first: 'Li-Cl'")
    open: bool = Field(default=False, description="the gap is too wide for a contact")


class RegistryEntry(Document):
    """One registry as the study's engine computed it."""

    label: str = Field(description="as it was built")
    calculation: str | None = Field(default=None, description="label of the calculation")
    fingerprint: str | None = None
    shift: tuple[float, float]
    gap_built_angstrom: float
    contacts: list[ContactDoc] = Field(default_factory=list, description="of the relaxed cell")
    energy_ev: float | None = Field(default=None, description="None: not converged")
    above_lowest_j_per_m2: float | None = None
    search_above_lowest_j_per_m2: float | None = Field(default=None, description="the same by the search's potential")
    problems: list[str] = Field(default_factory=list)
    error: str | None = None


class InterfaceRegistriesDoc(Document):
    """The registries that the study's engine computed, in one pair of thicknesses, lowest first."""

    doc_type: Literal["InterfaceRegistriesDoc"] = Field("InterfaceRegistriesDoc", description="class of the document")
    entries: list[RegistryEntry] = Field(
        default_factory=list, description="registries that were computed, lowest first"
    )
    film_layers: int = Field(description="planes of atoms of the film")
    substrate_layers: int = Field(description="planes of atoms of the substrate")
    area_angstrom2: float | None = Field(None, description="of the cell in the plane, Å²")
    search: str | None = Field(default=None, description="fingerprint of the search")
    search_engine: EngineRecord | None = Field(None, description="potential that scored registries")
    scored: list[ScoredRegistry] = Field(default_factory=list, description="all that were scored")
    spread_j_per_m2: float | None = Field(default=None, description="highest minus lowest of the entries")
    uncertainty_j_per_m2: float | None = Field(
        default=None, description="by how much one that was not computed may be lower; None: cannot be told"
    )
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")

    LIMIT_TOLERATED: ClassVar[float] = 0.005  # J/m2: what two registries may differ by and count as equal

    @property
    def lowest(self) -> RegistryEntry | None:
        """The answer."""
        return self.entries[0] if self.entries and self.error is None else None


def ranked_registries(
    entries: Sequence[RegistryEntry],
    search: RegistrySearchDoc,
    *,
    film_layers: int,
    substrate_layers: int,
    area_angstrom2: float,
) -> InterfaceRegistriesDoc:
    """Rank registries by the energies of the study's engine.

    Parameters
    ----------
    entries
        What was computed, any order.
    search
        What they were chosen from.
    film_layers, substrate_layers
        Planes in these cells.
    area_angstrom2
        Of one contact.

    Returns
    -------
    InterfaceRegistriesDoc
        With `error` if none converged.
    """
    shared = {
        "film_layers": film_layers,
        "substrate_layers": substrate_layers,
        "area_angstrom2": area_angstrom2,
        "search": search.fingerprint,
        "search_engine": search.engine,
        "scored": search.registries,
    }
    converged = sorted((e for e in entries if e.energy_ev is not None), key=lambda e: (e.energy_ev or 0.0, e.label))
    rest = [e for e in entries if e.energy_ev is None]
    if not converged:
        reason = rest[0].error if rest else "none was computed"
        return InterfaceRegistriesDoc(entries=rest, error=f"no registry has an energy: {reason}", **shared)
    per_area = EV_PER_A2_TO_J_PER_M2 / (2 * area_angstrom2)
    lowest = converged[0].energy_ev or 0.0
    for entry in converged:
        entry.above_lowest_j_per_m2 = ((entry.energy_ev or 0.0) - lowest) * per_area
    doc = InterfaceRegistriesDoc(entries=[*converged, *rest], **shared)
    doc.spread_j_per_m2 = converged[-1].above_lowest_j_per_m2
    doc.uncertainty_j_per_m2 = _left_open(doc, search)
    doc.warnings = [f"registry {e.label} is left out: {e.error}" for e in rest]
    first, by_search = converged[0], min(converged, key=lambda e: e.search_above_lowest_j_per_m2 or 0.0)
    if first is not by_search and (by_search.above_lowest_j_per_m2 or 0.0) > doc.LIMIT_TOLERATED:
        doc.warnings.append(
            f"{search.engine.name} puts {by_search.label} lowest, the study's engine {first.label}: other registries "
            "that were not computed may be lower still"
        )
    return doc


def _left_open(doc: InterfaceRegistriesDoc, search: RegistrySearchDoc) -> float | None:
    """Return by how much a registry that was not computed may be lower than the lowest computed, J/m2.

    Relative energies of the search's potential are wrong by as much as those of the registries computed twice; a
    registry that the search puts higher than that above the lowest cannot be the lowest.
    """
    computed = [e for e in doc.entries if e.energy_ev is not None and e.search_above_lowest_j_per_m2 is not None]
    built = {e.shift for e in doc.entries}
    others = [
        r.above_lowest_j_per_m2
        for r in search.registries
        if r.stationary and r.shift not in built and r.above_lowest_j_per_m2 is not None
    ]
    grid = search.refined_by_j_per_m2
    if not others:
        return grid
    if len(computed) < 2:
        return None
    base = computed[0]
    error = max(
        abs(
            (e.above_lowest_j_per_m2 or 0.0)
            - ((e.search_above_lowest_j_per_m2 or 0.0) - (base.search_above_lowest_j_per_m2 or 0.0))
        )
        for e in computed
    )
    nearest = min(others) - (base.search_above_lowest_j_per_m2 or 0.0)
    return max(grid, error - nearest, 0.0)
