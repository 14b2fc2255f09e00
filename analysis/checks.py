"""How far a study's engine is from one with electrons, on structures that both computed as single points.

Forces are compared by component. The slope of an engine's forces against those with electrons, through the origin, is
below one for a potential that is too soft (Deng et al., npj Comput. Mater. 2025, doi:10.1038/s41524-024-01500-6).
Structures that the engine itself relaxed say nothing of it, as its forces vanish there: it is fitted to displaced
structures and frames of dynamics. Energies are compared after one shift an element, fitted to all structures; what is
left is the error within one composition, or of reactions between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.environments import PHASES, Environments
from anodeflow.documents import CardRecord, Document, EngineRecord, StudyDoc

Floats = NDArray[np.float64]
Kind = Literal["lowest", "disputed", "displaced", "frame"]

#: Kinds of structures at which the study's engine has forces of their full size.
AWAY_FROM_MINIMA: tuple[Kind, ...] = ("displaced", "frame")
#: A slope nearer to one than this is not remarked upon.
_SLOPE_TOLERANCE = 0.05
#: With fewer structures, the errors of single atoms are what is independent.
_FEWEST_STRUCTURES = 3
#: Half-width of a normal distribution's 95 % interval, in standard errors.
_SIGMAS = 1.96


class CheckedStructure(Document):
    """One structure, and what both engines say of it."""

    label: str
    kind: Kind
    of: str = Field(description="the calculation it is the end of, or the run, seed and step")
    group: str = Field(description="structures of one composition, which compete")
    formula: str
    species: list[str] = Field(description="element of each atom")
    environments: list[str] = Field(description="phase that each atom is like, by its neighbours")
    energy_ev: float | None = Field(None, description="of the cell, by the study's engine")
    check_energy_ev: float | None = Field(None, description="by the engine with electrons")
    error_ev_per_atom: float | None = Field(None, description="difference of the two after a shift of each element")
    forces_ev_per_angstrom: list[list[float]] | None = Field(None, description="(N, 3), by the study's engine")
    check_forces_ev_per_angstrom: list[list[float]] | None = Field(None, description="by the engine with electrons")
    calculations: list[str] = Field(default_factory=list, description="fingerprints of both single points")
    error: str | None = None

    @property
    def compared(self) -> bool:
        """Whether both engines gave an energy."""
        return self.energy_ev is not None and self.check_energy_ev is not None


class ForceErrors(Document):
    """Errors of the forces on some atoms."""

    scope: Literal["all", "element", "environment", "kind"]
    name: str
    atoms: int
    rmse_ev_per_angstrom: float = Field(description="of components")
    rms_ev_per_angstrom: float = Field(description="root mean square of the components with electrons")
    slope: float | None = Field(None, description="of the engine's forces against those with electrons")
    slope_se: float | None = Field(None, description="standard error; structures are independent, atoms if few")
    slope_structures: int = Field(0, description="displaced structures and frames that the slope is fitted to")

    @property
    def slope_half_width(self) -> float | None:
        """Of its 95 % interval."""
        return None if self.slope_se is None else _SIGMAS * self.slope_se

    @property
    def slope_text(self) -> str:
        """Such as ``0.812 ± 0.020``, with the 95 % half-width."""
        if self.slope is None:
            return "–"
        return f"{self.slope:.3f}" + ("" if self.slope_half_width is None else f" ± {self.slope_half_width:.3f}")


class StateDifference(Document):
    """Two states of one composition, by both engines."""

    lower: str = Field(description="by the study's engine")
    higher: str
    difference_ev: float = Field(description="of the cells, by the study's engine")
    check_difference_ev: float = Field(description="by the engine with electrons")

    @property
    def error_ev(self) -> float:
        """Difference by the study's engine minus that with electrons."""
        return self.difference_ev - self.check_difference_ev


class CheckDoc(Document):
    """Structures of a study computed again by an engine with electrons."""

    doc_type: Literal["CheckDoc"] = Field("CheckDoc", description="class of the document")
    engine: EngineRecord = Field(description="the study's, which is checked")
    card: CardRecord = Field(description="of the study")
    check_engine: EngineRecord = Field(description="the engine with electrons")
    check_card: CardRecord = Field(description="how accurately that one computed")
    disputed_by: EngineRecord | None = Field(None, description="second potential, whose disagreement chose states")
    structures: list[CheckedStructure] = Field(default_factory=list, description="what was computed again")
    shifts_ev: dict[str, float] = Field(default_factory=dict, description="of each element, check minus engine")
    energy_rmse_ev_per_atom: float | None = Field(None, description="after the shifts; None: too few structures")
    energy_freedom: int = Field(0, description="structures beyond the shifts that could be fitted")
    forces: list[ForceErrors] = Field(default_factory=list, description="errors of forces, by kind of atom")
    differences: list[StateDifference] = Field(default_factory=list, description="energy differences by both")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the check")
    error: str | None = Field(None, description="why there is no result")

    def errors_of(self, scope: str, name: str) -> ForceErrors | None:
        """Return the errors of some atoms; None where there are none."""
        return next((e for e in self.forces if (e.scope, e.name) == (scope, name)), None)

    @property
    def text(self) -> str:
        """The check in one line."""
        begin = f"check by {self.check_engine.name}, card {self.check_card.name}"
        every = self.errors_of("all", "all")
        if self.error is not None or every is None:
            return f"{begin}: {self.error or 'no structure has forces of both'}"
        count = sum(structure.compared for structure in self.structures)
        text = f"{begin}, {count} structures: force RMSE {every.rmse_ev_per_angstrom:.3f} eV/Å, slope "
        text += every.slope_text if every.slope is not None else "not known"
        if self.energy_rmse_ev_per_atom is not None:
            text += f", energy RMSE {1000 * self.energy_rmse_ev_per_atom:.1f} meV/atom"
        return text


def check_of(document: StudyDoc) -> CheckDoc | None:
    """Return the check of a study; None for a study without."""
    return None if document.check is None else CheckDoc.model_validate(document.check)


def environments_of(structure: Structure) -> list[str]:
    """Return the phase that each atom is like; see :mod:`~anodeflow.analysis.environments`."""
    labels = Environments([site.specie.symbol for site in structure])
    return [PHASES[n] for n in labels.labels(structure.cart_coords, structure.lattice.matrix)]


def slope_through_origin(x: Floats, y: Floats, clusters: Sequence[Any] | NDArray[Any]) -> tuple[float, float | None]:
    """Fit y = s x.

    Parameters
    ----------
    x, y
        Numbers of equal length.
    clusters
        What each belongs to; errors of one cluster are not independent.

    Returns
    -------
    slope, standard error
        The latter by the sandwich estimator of clusters (Liang and Zeger, doi:10.1093/biomet/73.1.13); None with one.
    """
    names, number = np.unique(np.asarray(clusters), return_inverse=True, axis=0)
    total = float(x @ x)
    slope = float(x @ y) / total
    if len(names) < 2:
        return slope, None
    scores = np.bincount(number.ravel(), weights=x * (y - slope * x))
    variance = float(scores @ scores) / total**2 * len(names) / (len(names) - 1)
    return slope, float(np.sqrt(variance))


def check_document(
    structures: list[CheckedStructure],
    *,
    engine: EngineRecord,
    card: CardRecord,
    check_engine: EngineRecord,
    check_card: CardRecord,
    disputed_by: EngineRecord | None = None,
) -> CheckDoc:
    """Return what structures say that both engines computed.

    Parameters
    ----------
    structures
        With energies and forces where both have them; the errors of energies are filled in.
    engine, card
        Of the study.
    check_engine, check_card
        With electrons.
    disputed_by
        The second potential, if states were chosen by one.
    """
    doc = CheckDoc(
        engine=engine, card=card, check_engine=check_engine, check_card=check_card, disputed_by=disputed_by,
        structures=structures,
    )  # fmt: skip
    doc.warnings += [f"{s.label} ({s.of}): {s.error}" for s in structures if s.error]
    compared = [structure for structure in structures if structure.compared]
    if not compared:
        doc.error = "no structure was computed by both engines"
        return doc
    _align_energies(doc, compared)
    doc.forces = force_errors([s for s in compared if s.forces_ev_per_angstrom is not None])
    doc.differences = _differences(compared)
    doc.warnings += [*_slope_warnings(doc), *_order_warnings(doc), *_spread_warnings(doc, compared)]
    return doc


# --- energies


def _align_energies(doc: CheckDoc, compared: list[CheckedStructure]) -> None:
    """Fit a shift of each element to the energies, and fill in what is left."""
    elements = sorted({element for structure in compared for element in structure.species})
    amounts = np.array([[s.species.count(element) / len(s.species) for element in elements] for s in compared])
    apart = np.array([((s.check_energy_ev or 0.0) - (s.energy_ev or 0.0)) / len(s.species) for s in compared])
    shifts, _, rank, _ = np.linalg.lstsq(amounts, apart, rcond=1e-9)
    doc.shifts_ev = dict(zip(elements, map(float, shifts), strict=True))
    doc.energy_freedom = len(compared) - int(rank)
    if doc.energy_freedom < 1:
        return
    left = amounts @ shifts - apart
    for structure, error in zip(compared, left, strict=True):
        structure.error_ev_per_atom = float(error)
    doc.energy_rmse_ev_per_atom = float(np.sqrt(left @ left / doc.energy_freedom))


def _differences(compared: list[CheckedStructure]) -> list[StateDifference]:
    """Return every state of a group against the lowest by the study's engine."""
    differences = []
    states = sorted((s for s in compared if s.kind in ("lowest", "disputed")), key=lambda s: s.group)
    for _, group in groupby(states, key=lambda s: s.group):
        first, *others = sorted(group, key=lambda s: s.energy_ev or 0.0)
        differences += [
            StateDifference(
                lower=first.of,
                higher=other.of,
                difference_ev=(other.energy_ev or 0.0) - (first.energy_ev or 0.0),
                check_difference_ev=(other.check_energy_ev or 0.0) - (first.check_energy_ev or 0.0),
            )
            for other in others
        ]
    return differences


# --- forces


def force_errors(structures: Sequence[CheckedStructure]) -> list[ForceErrors]:
    """Return the errors of forces of all atoms, by element, by environment and by kind of structure.

    Parameters
    ----------
    structures
        With forces of both engines.
    """
    if not structures:
        return []
    by_engine = np.concatenate([np.asarray(s.forces_ev_per_angstrom, dtype=float) for s in structures])
    by_check = np.concatenate([np.asarray(s.check_forces_ev_per_angstrom, dtype=float) for s in structures])
    counts = [len(s.species) for s in structures]
    number = np.repeat(np.arange(len(structures)), counts)
    away = np.repeat([s.kind in AWAY_FROM_MINIMA for s in structures], counts)
    scopes: list[tuple[Literal["all", "element", "environment", "kind"], list[str]]] = [
        ("all", ["all"] * len(number)),
        ("element", [element for s in structures for element in s.species]),
        ("environment", [phase for s in structures for phase in s.environments]),
        ("kind", [s.kind for s in structures for _ in s.species]),
    ]
    errors = []
    for scope, names in scopes:
        for name in sorted(set(names)):
            chosen = np.array(names) == name
            errors.append(_errors_of(scope, name, by_engine[chosen], by_check[chosen], number[chosen], away[chosen]))
    return errors


def _errors_of(
    scope: Literal["all", "element", "environment", "kind"], name: str, by_engine: Floats, by_check: Floats,
    structures: NDArray[np.intp], away: NDArray[np.bool_],
) -> ForceErrors:  # fmt: skip
    errors = ForceErrors(
        scope=scope,
        name=name,
        atoms=len(by_engine),
        rmse_ev_per_angstrom=float(np.sqrt(np.mean((by_engine - by_check) ** 2))),
        rms_ev_per_angstrom=float(np.sqrt(np.mean(by_check**2))),
    )
    if away.any() and np.abs(by_check[away]).max() > 0:
        used = structures[away]
        errors.slope_structures = len(set(used.tolist()))
        own = used if errors.slope_structures >= _FEWEST_STRUCTURES else np.arange(len(used))
        errors.slope, errors.slope_se = slope_through_origin(
            by_check[away].ravel(), by_engine[away].ravel(), np.repeat(own, 3)
        )
    return errors


# --- what a reader must know


def _slope_warnings(doc: CheckDoc) -> list[str]:
    every = doc.errors_of("all", "all")
    if every is None or every.slope is None:
        return []
    off, sure = 1 - every.slope, every.slope_half_width or 0.0
    if abs(off) <= max(_SLOPE_TOLERANCE, sure):
        return []
    soft = "soft" if off > 0 else "stiff"
    return [
        f"{doc.engine.name} is too {soft}: its forces are {every.slope_text} of those by {doc.check_engine.name} "
        f"({every.slope_structures} structures)"
    ]


def _order_warnings(doc: CheckDoc) -> list[str]:
    lines = []
    for pair in doc.differences:
        if abs(pair.error_ev) > abs(pair.difference_ev):
            lines.append(
                f"the error is larger than the difference: {pair.higher} lies {pair.difference_ev:.3f} eV above "
                f"{pair.lower} by {doc.engine.name}, {pair.check_difference_ev:+.3f} eV by {doc.check_engine.name}"
            )
    return lines


def _spread_warnings(doc: CheckDoc, compared: list[CheckedStructure]) -> list[str]:
    """Say where energies of frames differ by less than their error."""
    lines = []
    frames = sorted((s for s in compared if s.kind == "frame"), key=lambda s: s.group)
    for group, members in groupby(frames, key=lambda s: s.group):
        listed = list(members)
        energies = np.array([(s.energy_ev or 0.0) / len(s.species) for s in listed])
        apart = energies - [(s.check_energy_ev or 0.0) / len(s.species) for s in listed]
        if len(listed) >= _FEWEST_STRUCTURES and apart.std() > energies.std():
            lines.append(
                f"the error is larger than the difference: energies of the frames of {group} differ by "
                f"{1000 * energies.std():.1f} meV/atom, their error is {1000 * apart.std():.1f} meV/atom"
            )
    return lines
