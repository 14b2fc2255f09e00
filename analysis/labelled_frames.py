"""Geometries with energies and forces by an engine with electrons, to tune a potential to and to test it with.

What was computed for one system (a slab at several thicknesses, a relaxation with its steps) resembles each other so
much that a model which learned some of it knows the rest: a data set is split by system, never by frame.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import InputError
from anodeflow.files import json_sha256
from anodeflow.units import ASE_EV_PER_A3_TO_GPA

Floats = NDArray[np.float64]
SETS = ("training", "validation", "test")

#: Energies of a document and of a printed text that belong to one step differ by less, eV.
_SAME_STEP_EV = 5e-6
#: Frames of equal formula whose energies, volumes and forces differ by less are one geometry under two names.
_SAME_EV_PER_ATOM, _SAME_VOLUME, _SAME_FORCE = 1e-5, 1e-5, 1e-3
#: An atom without another one within this distance is a free atom, which no potential of crystals describes.
_ALONE_ANGSTROM = 4.5


@dataclass(frozen=True)
class LabelledFrame:
    """One geometry with its labels.

    Attributes
    ----------
    structure
        The geometry.
    energy_ev
        Of the cell.
    forces_ev_per_angstrom
        Shape (N, 3).
    stress_gpa
        Shape (3, 3), positive under tension; None where it was not computed.
    label, fingerprint
        Of the calculation.
    step
        Of its relaxation; the last one has what the document says.
    system
        What it is split by.
    engine, card
        What computed it.
    """

    structure: Structure
    energy_ev: float
    forces_ev_per_angstrom: Floats
    stress_gpa: Floats | None
    label: str
    fingerprint: str
    step: int
    system: str
    engine: EngineRecord
    card: CardRecord

    @property
    def digest(self) -> str:
        """First 16 digits of the hash of geometry and labels."""
        content = [
            np.round(self.structure.lattice.matrix, 6).tolist(),
            [site.specie.symbol for site in self.structure],
            np.round(self.structure.cart_coords, 6).tolist(),
            round(self.energy_ev, 6),
            np.round(self.forces_ev_per_angstrom, 6).tolist(),
        ]
        return json_sha256(content)[:16]


def frames_of(
    doc: CalculationDoc, system: str, printed: Iterable[tuple[float, Floats, Floats | None]] = ()
) -> list[LabelledFrame]:
    """Return the steps of a calculation that have energy and forces.

    Parameters
    ----------
    doc
        With its arrays.
    system
        See :func:`system_of`.
    printed
        Energy (eV), forces (eV/angstrom) and stress (GPa) of steps that the program printed, in their order.

    Returns
    -------
    list
        The last step has the labels of the document; earlier ones are there where they were printed. Empty where the
        electrons did not converge, the cell is charged, or an atom is alone.
    """
    forces = (doc.arrays or {}).get("forces_ev_per_angstrom")
    if doc.energy_ev is None or forces is None or doc.electronic_converged is False or doc.charge:
        return []
    stress = None if doc.stress_gpa is None else np.asarray(doc.stress_gpa, dtype=float)
    last = _step_count(doc) - 1
    steps = [
        *_earlier_steps(doc, printed),
        (last, doc.structure, doc.energy_ev, np.asarray(forces, dtype=float), stress),
    ]
    if _has_a_free_atom(doc.structure):
        return []
    return [
        LabelledFrame(
            structure=structure.copy(site_properties={}), energy_ev=float(energy), forces_ev_per_angstrom=force,
            stress_gpa=tension, label=doc.label, fingerprint=doc.fingerprint, step=step, system=system,
            engine=doc.engine, card=doc.card,
        )
        for step, structure, energy, force, tension in steps
        if np.shape(force) == (len(structure), 3)
    ]  # fmt: skip


def _step_count(doc: CalculationDoc) -> int:
    return len((doc.arrays or {}).get("energies_ev", [0]))


def _earlier_steps(
    doc: CalculationDoc, printed: Iterable[tuple[float, Floats, Floats | None]]
) -> Iterable[tuple[int, Structure, float, Floats, Floats | None]]:
    """Yield the steps before the last one, geometries from the document, forces as they were printed."""
    arrays = doc.arrays or {}
    energies = np.asarray(arrays.get("energies_ev", []), dtype=float)
    positions, cells = (arrays.get(name) for name in ("positions_angstrom", "cells_angstrom"))
    if positions is None or cells is None:
        return
    left = list(printed)
    for step, energy in enumerate(energies[:-1]):
        place = next((n for n, entry in enumerate(left) if abs(entry[0] - energy) < _SAME_STEP_EV), None)
        if place is None:
            continue
        _, forces, stress = left[place]
        del left[: place + 1]
        geometry = Structure(cells[step], doc.structure.species, positions[step], coords_are_cartesian=True)
        yield step, geometry, float(energy), forces, stress


def _has_a_free_atom(structure: Structure) -> bool:
    first: NDArray[np.intp] = structure.get_neighbor_list(_ALONE_ANGSTROM)[0]
    return len(np.unique(first)) < len(structure)


def spread_evenly(frames: Sequence[LabelledFrame], most: int | None) -> list[LabelledFrame]:
    """Return some of the steps of a relaxation, which resemble each other more and more.

    Parameters
    ----------
    frames
        In their order.
    most
        How many at most, the last one always and the first one if there are two; None for all.
    """
    if most is None or len(frames) <= most:
        return list(frames)
    wanted = np.linspace(len(frames) - 1, 0, most).round().astype(int)
    return [frames[number] for number in sorted(wanted.tolist())]


def named_system(label: str, named: Mapping[str, Sequence[str]]) -> str | None:
    """Return the first system with a pattern that fits a label; None where none does.

    Parameters
    ----------
    label
        Of a calculation.
    named
        Patterns (``*``) by the name of their system.

    Examples
    --------
    >>> named_system("interface/registry 1", {"over Cl": ["interface/reg*1"]})
    'over Cl'
    """
    return next((n for n, patterns in named.items() if any(fnmatchcase(label, p) for p in patterns)), None)


def system_of(label: str, elements: Iterable[str]) -> str:
    """Return what a calculation is split by: the first part of its label, and its elements where that says too little.

    Parameters
    ----------
    label
        Such as ``Li(100)/5 layers``.
    elements
        Of the calculation.

    Examples
    --------
    >>> system_of("Li(100)/5 layers", ["Li"])
    'Li(100)'
    >>> system_of("LiCl(100)/crystal in the cell of the slabs", ["Li", "Cl"])
    'LiCl'
    >>> system_of("interface/registry 2", ["Li", "Cl"])
    'interface of Cl, Li'
    """
    head, _, rest = label.partition("/")
    if rest.startswith("crystal"):  # also in the cell of a face's slabs
        return head.partition("(")[0]
    head = head.removesuffix(" strained")
    return f"{head} of {', '.join(sorted(elements))}" if head == "interface" else head


# --- what must not be mixed


def check_one_source(frames: Sequence[LabelledFrame], functional: str | None, base: str) -> None:
    """Refuse labels that have no common zero of energy.

    Parameters
    ----------
    frames
        At least one.
    functional
        Of the model that is tuned; None where it does not say.
    base
        Its name.

    Raises
    ------
    InputError
        If there are several engines or cards, or the labels are of another functional than the model.
    """
    sources = {
        "engine": Counter(f"{frame.engine.name} ({frame.engine.hash})" for frame in frames),
        "card": Counter(f"{frame.card.name} ({frame.card.family})" for frame in frames),
    }
    for kind, counts in sources.items():
        if len(counts) > 1:
            shown = ", ".join(f"{name}: {count}" for name, count in counts.most_common())
            raise InputError(
                f"the frames are of {len(counts)} {kind}s ({shown})",
                f"their energies have no common zero: choose one with '{kind}: ...', or other data",
            )
    if frames[0].card.dispersion is not None:
        raise InputError(
            f"the frames hold dispersion ({frames[0].card.dispersion}), which a model tuned on them would learn",
            "tune on frames without it: the card of a study adds it to a potential",
        )
    of = frames[0].engine.energies_of
    if functional is not None and of is not None and of != functional:
        raise InputError(
            f"the frames are of {of}, and '{base}' is of {functional}", "tune a model of the same functional"
        )


# --- the split


def split_systems(
    systems: Iterable[str], test: Sequence[str], validation: Sequence[str] | float, seed: int
) -> dict[str, str]:
    """Return the set that each system belongs to.

    Parameters
    ----------
    systems
        All there are.
    test
        Names or patterns (``*``) of those that are never trained on.
    validation
        Names or patterns of those that decide when training stops, or the share of what is left that chance picks.
    seed
        Of that chance.

    Returns
    -------
    dict
        By name of the system, ``training``, ``validation`` or ``test``.

    Raises
    ------
    InputError
        If a pattern fits no system, a system is in two sets, or nothing is left to train on.
    """
    known = sorted(set(systems))
    asked = {"test": _fitting(known, test, "test")}
    if not isinstance(validation, float):
        asked["validation"] = _fitting(known, validation, "validation")
        both = sorted(asked["test"] & asked["validation"])
        if both:
            raise InputError(f"system '{both[0]}' is in test and in validation", "name it once")
    else:
        left = [name for name in known if name not in asked["test"]]
        number = min(max(1, round(validation * len(left))), max(0, len(left) - 1))
        asked["validation"] = set(random.Random(seed).sample(left, number))  # noqa: S311 - no secret
    of = {name: next((kind for kind, names in asked.items() if name in names), "training") for name in known}
    if "training" not in of.values():
        raise InputError(f"no system is left to train on: there are {', '.join(known)}", "test fewer, or add data")
    if "validation" not in of.values():
        raise InputError(
            f"no system is left to validate with: there are {', '.join(known)}", "test fewer, or name 'systems'"
        )
    return of


def _fitting(known: Sequence[str], patterns: Sequence[str], key: str) -> set[str]:
    fitting: set[str] = set()
    for pattern in patterns:
        names = {name for name in known if fnmatchcase(name, pattern)}
        if not names:
            raise InputError(f"{key}: no system is called '{pattern}'", f"there are {', '.join(known)}")
        fitting |= names
    return fitting


def check_no_twins(frames: Mapping[str, Sequence[LabelledFrame]]) -> None:
    """Refuse a system of one set whose geometry another set holds under another name.

    Parameters
    ----------
    frames
        By set.

    Raises
    ------
    InputError
        With both names.
    """
    seen: dict[str, list[tuple[str, LabelledFrame]]] = {}
    for kind, members in frames.items():
        for frame in members:
            same_formula = seen.setdefault(frame.structure.composition.formula, [])
            twin = next((f for other, f in same_formula if other != kind and _is_twin(f, frame)), None)
            if twin is not None:
                other = next(o for o, f in same_formula if f is twin)
                raise InputError(
                    f"system '{frame.system}' ({kind}) holds a geometry of '{twin.system}' ({other}): "
                    f"{frame.label}, {twin.label}",
                    "put both into one set, or exclude one of the calculations",
                )
            same_formula.append((kind, frame))


def _is_twin(a: LabelledFrame, b: LabelledFrame) -> bool:
    if abs(a.energy_ev - b.energy_ev) > _SAME_EV_PER_ATOM * len(a.structure):
        return False
    if abs(a.structure.volume / b.structure.volume - 1) > _SAME_VOLUME:
        return False
    sizes = (np.sort(np.linalg.norm(f.forces_ev_per_angstrom, axis=1)) for f in (a, b))
    first, second = sizes
    return bool(np.abs(first - second).max() < _SAME_FORCE)


# --- the zero of energy


def amounts(structures: Iterable[Structure], elements: Sequence[str]) -> Floats:
    """Return how many atoms of each element each cell has, shape (cells, elements)."""
    return np.array([[s.composition[element] for element in elements] for s in structures], dtype=float)


def reference_frames(frames: Sequence[LabelledFrame]) -> list[int]:
    """Return the numbers of the frames that the zeros of energy are fitted to.

    These are the crystals, if they hold every element: what a potential gets wrong at surfaces and interfaces is to be
    learned, not to be taken for another zero. Otherwise all frames.

    Parameters
    ----------
    frames
        Those to train on.
    """
    crystals = [number for number, frame in enumerate(frames) if frame.label.partition("/")[2].startswith("crystal")]
    covered = {str(element) for number in crystals for element in frames[number].structure.symbol_set}
    every = {str(element) for frame in frames for element in frame.structure.symbol_set}
    return crystals if covered == every else list(range(len(frames)))


def energy_references(structures: Sequence[Structure], apart_ev: Sequence[float]) -> dict[str, float]:
    """Fit what one atom of each element adds to the difference of two total energies.

    Energies by electrons count from other zeros than those of a potential. Least squares per atom; where the frames do
    not tell two elements apart (only one compound of them), the smallest numbers that fit are taken: differences
    between cells of the data set are the same.

    Parameters
    ----------
    structures
        Cells.
    apart_ev
        Energy with electrons minus energy by the potential, of each.

    Returns
    -------
    dict
        By element, eV per atom.

    Examples
    --------
    >>> cell = Structure([[3, 0, 0], [0, 3, 0], [0, 0, 3]], ["Li"], [[0, 0, 0]])
    >>> energy_references([cell], [0.5])
    {'Li': 0.5}
    """
    elements = sorted({str(element) for structure in structures for element in structure.symbol_set})
    counts = amounts(structures, elements)
    atoms = counts.sum(axis=1)
    shifts, *_ = np.linalg.lstsq(counts / atoms[:, None], np.asarray(apart_ev, dtype=float) / atoms, rcond=1e-9)
    return {element: round(float(shift), 9) for element, shift in zip(elements, shifts, strict=True)}


@dataclass(frozen=True)
class LabelledCell:
    """One cell as a potential learns it, with an energy on the potential's scale.

    Attributes
    ----------
    name, system
        Of the calculation and step, and what it is split by.
    structure
        The geometry.
    energy_ev
        Of the cell.
    forces_ev_per_angstrom
        Shape (N, 3).
    stress_gpa
        Shape (3, 3), positive under tension; None where it is not known.
    weight
        In the loss.
    """

    name: str
    system: str
    structure: Structure
    energy_ev: float
    forces_ev_per_angstrom: Floats
    stress_gpa: Floats | None
    weight: float = 1.0


def shifted(frame: LabelledFrame, references_ev: Mapping[str, float]) -> LabelledCell:
    """Return a frame on the scale of the potential.

    Parameters
    ----------
    frame
        With labels as they were computed.
    references_ev
        See :func:`energy_references`.
    """
    energy = frame.energy_ev - sum(references_ev[site.specie.symbol] for site in frame.structure)
    return LabelledCell(
        f"{frame.label}, step {frame.step}", frame.system, frame.structure, energy, frame.forces_ev_per_angstrom,
        frame.stress_gpa,
    )  # fmt: skip


def stress_gpa(ev_per_angstrom3: Floats | None) -> Floats | None:
    """Return a stress in GPa."""
    return None if ev_per_angstrom3 is None else np.asarray(ev_per_angstrom3 * ASE_EV_PER_A3_TO_GPA, dtype=float)
