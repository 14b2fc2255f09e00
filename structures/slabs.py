"""Slabs: every termination of a face, cut so that no molecule (PS4, P4S10) is broken.

The crystal is rewritten in its smallest oriented cell (a and b in the plane, one lattice spacing high), built
from the primitive lattice but indexed in the cell that was passed in. Bonded molecules move as wholes, by
their centre of mass; the centres of molecules and lone atoms form planes, and a termination is a gap between
two planes. Gaps that a symmetry operation of the crystal maps on each other count once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.parameters import named, setting
from anodeflow.structures.cleaving import Bonds, Cleaver, coordination_numbers, describe_cell
from anodeflow.structures.defaults import VACUUM_ANGSTROM


def index_text(miller: Sequence[int], between: str) -> str:
    """Return a Miller index, with something between its numbers where digits alone would be misread.

    Examples
    --------
    >>> index_text((1, 0, 0), "_"), index_text((1, -1, 0), "_")
    ('100', '1_-1_0')
    """
    return ("" if all(0 <= n < 10 for n in miller) else between).join(map(str, miller))


def face_text(miller: Sequence[int]) -> str:
    """Return a Miller index as people write it.

    Examples
    --------
    >>> face_text((1, 0, 0)), face_text((1, -1, 0))
    ('(100)', '(1 -1 0)')
    """
    return f"({index_text(miller, ' ')})"


@dataclass
class SlabModel:
    """A slab with everything a study must know about it.

    Attributes
    ----------
    structure : Structure
        Right-handed cell, c along z and perpendicular to the face, the film in the middle of the cell.
    oriented_cell : Structure
        Smallest cell of the crystal with a and b in the face, in the frame of `structure`.
    crystal : str
        Label of the crystal.
    miller, reduced_miller : tuple of int
        The index as written and divided by its greatest common divisor; both refer to `cell`.
    cell : str
        The cell the indices refer to: the one that was passed in, never a standardised one.
    termination : str
        Composition of the uppermost plane and of the plane below it, such as ``"Cl/Li"``.
    termination_index : int
        Position in :func:`list_terminations`.
    shift : float
        Height of the upper cut in the oriented cell, as a fraction of its height (depends on the origin).
    layers : int
        Number of planes of atoms; a whole molecule counts as one point, its centre of mass.
    planes_per_repeat : int
        Planes in one lattice spacing: `layers` divided by it is the number of repeat units.
    d_spacing_angstrom : float
        Spacing of `miller` as written, so that of (400) is a quarter of that of (100).
    thickness_angstrom, vacuum_angstrom : float
        Distance between the outermost nuclei, and the rest of the cell along c.
    area_angstrom2 : float
        Area of one face, ``|a x b|``.
    symmetric : bool
        A symmetry operation of the slab exchanges its two faces.
    polar : bool
        A face carries formal charge (Tasker type III, doi 10.1088/0022-3719/12/22/036). A molecule counts
        with its total charge at its centre. Metals are never polar.
    stoichiometric : bool
        The composition is a multiple of the crystal's formula.
    excess : dict
        Atoms per slab beyond `formula_units`, the largest number of formulas (reduced) that the slab holds.
    formula_units : float
        See `excess`.
    broken_bonds : int
        Molecular bonds cut, counted on both faces by comparing neighbours in the slab and in the crystal.
    corrugated : bool
        No flat plane separates the film from what was taken away: molecules stick out beyond the cut.
    frozen_atoms : int
        Atoms held by selective dynamics.
    notes : list of str
        What a reader should know.
    """

    structure: Structure
    oriented_cell: Structure
    crystal: str
    miller: tuple[int, int, int]
    reduced_miller: tuple[int, int, int]
    cell: str
    termination: str
    termination_index: int
    shift: float
    layers: int
    planes_per_repeat: int
    d_spacing_angstrom: float
    thickness_angstrom: float
    vacuum_angstrom: float
    area_angstrom2: float
    symmetric: bool
    polar: bool
    stoichiometric: bool
    excess: dict[str, float]
    formula_units: float
    broken_bonds: int
    corrugated: bool = False
    frozen_atoms: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def dipole_correction(self) -> bool:
        """Whether a calculation needs a dipole correction: the two faces differ."""
        return not self.symmetric

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the structures, for JSON."""
        summary = {k: value for k, value in vars(self).items() if not isinstance(value, Structure)}
        return {
            **summary,
            "miller": list(self.miller),
            "reduced_miller": list(self.reduced_miller),
            "dipole_correction": self.dipole_correction,
            "formula": self.structure.composition.formula,
            "atoms": len(self.structure),
            "lattice_abc_angstrom": [float(x) for x in self.structure.lattice.abc],
            "lattice_angles_deg": [float(x) for x in self.structure.lattice.angles],
        }


def list_terminations(
    bulk: Structure,
    miller: Sequence[int],
    *,
    min_thickness_angstrom: float = 10.0,
    layers: int | None = None,
    vacuum_angstrom: float = VACUUM_ANGSTROM,
    oxidation_states: Mapping[str, float] | None = None,
    bonds: Bonds | None = None,
    crystal: str | None = None,
    max_atoms: int = 400,
) -> list[SlabModel]:
    """Build one slab for every inequivalent upper face.

    Parameters
    ----------
    bulk
        Ordered crystal. `miller` refers to the cell of this structure.
    miller
        Three integers. A common divisor stays in the record and is dropped for the cut: (400) becomes (100).
    min_thickness_angstrom
        Least distance between the outermost nuclei. The slabs are whole repeat units, hence stoichiometric.
    layers
        Take exactly this many planes instead; the lower face is then wherever they end.
    vacuum_angstrom
        Empty space along c, at least 5.
    oxidation_states
        Formal charge of each element, for `polar`. If absent: those written on the sites, else guessed for
        compounds of N, P, O, S, Se and the halogens, else zero.
    bonds
        ``{("P", "S"): 2.4}``: pairs nearer than this (angstrom) stay together. Default
        `anodeflow.structures.cleaving.DEFAULT_BONDS`.
    crystal
        Label; the reduced formula if absent.
    max_atoms
        Refuse larger slabs.

    Returns
    -------
    list of SlabModel
        Fewest broken bonds first, nonpolar, symmetric, stoichiometric, flat; wide gaps before narrow ones.

    Raises
    ------
    InputError
        An index, thickness, vacuum or size that cannot be built.
    StructureError
        A disordered crystal.
    """
    _check_film(layers, min_thickness_angstrom, vacuum_angstrom)
    cleaver = Cleaver(bulk, miller, bonds, oxidation_states, crystal)
    return [model for _, model in _terminations(cleaver, layers, min_thickness_angstrom, vacuum_angstrom, max_atoms)]


def build_slab(
    bulk: Structure,
    miller: Sequence[int],
    *,
    termination: int | str = 0,
    min_thickness_angstrom: float = 10.0,
    layers: int | None = None,
    vacuum_angstrom: float = VACUUM_ANGSTROM,
    symmetric_preferred: bool = True,
    supercell: tuple[int, int] = (1, 1),
    min_lateral_angstrom: float | None = None,
    freeze_layers: int = 0,
    oxidation_states: Mapping[str, float] | None = None,
    bonds: Bonds | None = None,
    crystal: str | None = None,
    max_atoms: int = 400,
) -> SlabModel:
    """Build one slab.

    Parameters
    ----------
    bulk, miller, min_thickness_angstrom, layers, vacuum_angstrom, oxidation_states, bonds, crystal, max_atoms
        As in :func:`list_terminations`.
    termination
        Position or label in :func:`list_terminations` (called with the same arguments): the upper face.
    symmetric_preferred
        Without `layers`: if the stoichiometric slab has two different faces and another number of planes
        makes them equal, take that, at the cost of the stoichiometry (see `SlabModel.excess`).
    supercell
        Repeats along a and b.
    min_lateral_angstrom
        Repeat along a and b until the cell is this wide in both directions; `supercell` must then be (1, 1).
    freeze_layers
        Lowest planes to hold still, written as ``selective_dynamics``.

    Returns
    -------
    SlabModel

    Raises
    ------
    InputError, StructureError
        As in :func:`list_terminations`, for an unknown termination (the message lists those there are), and for a slab
        of fewer atoms than one formula.
    """
    _check_film(layers, min_thickness_angstrom, vacuum_angstrom)
    cleaver = Cleaver(bulk, miller, bonds, oxidation_states, crystal)
    terminations = _terminations(cleaver, layers, min_thickness_angstrom, vacuum_angstrom, max_atoms)
    cut, candidate = terminations[_find_termination([model for _, model in terminations], termination)]
    count = candidate.layers
    if layers is None and symmetric_preferred:
        count = cleaver.symmetric_count(cut, count, min_thickness_angstrom)
    if not 0 <= freeze_layers < count:
        raise InputError(
            f"{named('freeze_layers')} is {freeze_layers} in a slab of {count} layers", f"use 0 to {count - 1}"
        )
    repeats = _lateral_repeats(candidate.structure, supercell, min_lateral_angstrom)
    _check_size(cleaver, cut, count, repeats, max_atoms)
    model = _model(cleaver, cut, count, vacuum_angstrom, repeats, freeze_layers)
    model.termination, model.termination_index = candidate.termination, candidate.termination_index
    if not model.formula_units > 0:
        raise InputError(
            f"{count} layers of {cleaver.crystal} {cleaver.miller} hold {model.structure.composition.formula}, "
            f"not one {cleaver.formula.reduced_formula}",
            f"ask for more layers: a repeat of the crystal has {cleaver.planes_per_repeat}",
        )
    return model


def _check_film(layers: int | None, min_thickness_angstrom: float, vacuum_angstrom: float) -> None:
    if layers is not None and (not isinstance(layers, Integral) or layers < 2):
        raise InputError(
            f"{named('layers')} is {layers}: a film needs at least two", f"use {setting('layers', 2)} or more"
        )
    if layers is None and not 0 < min_thickness_angstrom < np.inf:
        raise InputError(
            f"{named('min_thickness_angstrom')} is {min_thickness_angstrom}", "use a positive thickness, such as 10"
        )
    if not 5.0 <= vacuum_angstrom < np.inf:
        raise InputError(
            f"{named('vacuum_angstrom')} is {vacuum_angstrom}: the two faces would touch", "use at least 5, better 15"
        )


def _number(models: list[SlabModel]) -> None:
    """Number the terminations and make their labels unique."""
    totals = Counter(model.termination for model in models)
    seen: Counter[str] = Counter()
    for index, model in enumerate(models):
        label = model.termination
        seen[label] += 1
        model.termination_index = index
        if totals[label] > 1:
            model.termination = f"{label}#{seen[label]}"


def _find_termination(models: list[SlabModel], termination: int | str) -> int:
    labels = [model.termination for model in models]
    if isinstance(termination, Integral) and not isinstance(termination, bool) and 0 <= termination < len(labels):
        return int(termination)
    if termination in labels:
        return labels.index(str(termination))
    listing = ", ".join(f"{index} {label!r}" for index, label in enumerate(labels))
    raise InputError(f"no termination {termination!r} of {models[0].crystal} {models[0].miller}", f"use {listing}")


def _lateral_repeats(slab: Structure, supercell: Sequence[int], min_lateral_angstrom: float | None) -> tuple[int, int]:
    if len(supercell) != 2 or any(not isinstance(n, Integral) or n < 1 for n in supercell):
        raise InputError(f"supercell is {supercell!r}", "use two positive integers, such as (2, 2)")
    if min_lateral_angstrom is None:
        return int(supercell[0]), int(supercell[1])
    if tuple(supercell) != (1, 1):
        raise InputError("supercell and min_lateral_angstrom are both set", "give one of them")
    a, b = slab.lattice.matrix[:2]
    area = np.linalg.norm(np.cross(a, b))
    widths = area / np.linalg.norm(b), area / np.linalg.norm(a)
    n, m = (max(1, ceil(min_lateral_angstrom / width - 1e-6)) for width in widths)
    return n, m


def _check_size(cleaver: Cleaver, cut: int, count: int, repeats: tuple[int, int], max_atoms: int) -> None:
    """Refuse a slab with too many atoms."""
    whole, rest = divmod(count, cleaver.planes_per_repeat)  # counted, not built: the count may be any number
    atoms = (
        (whole * len(cleaver.species) + sum(len(plane) for plane, _ in cleaver.stack(cut, rest)))
        * repeats[0]
        * repeats[1]
    )
    if atoms > max_atoms:
        fitting = int(max_atoms / atoms * count)
        fewer = f"ask for {fitting} layers, or " if fitting >= 2 else ""
        raise InputError(
            f"the slab {cleaver.crystal} {cleaver.miller} of {count} layers, repeated "
            f"{repeats[0]} x {repeats[1]}, has {atoms} atoms, more than {setting('max_atoms', max_atoms)}",
            f"{fewer}repeat the cell less, or raise {named('max_atoms')}",
        )


def _terminations(
    cleaver: Cleaver,
    layers: int | None,
    min_thickness_angstrom: float,
    vacuum_angstrom: float,
    max_atoms: int,
) -> list[tuple[int, SlabModel]]:
    """Return the upper cut and the slab of each inequivalent upper face, best first."""
    terminations = []
    for cut in range(cleaver.planes_per_repeat):
        if min(cleaver.image(cut, sign, shift) for sign, shift in cleaver.operations if sign > 0) < cut:
            continue
        count = int(layers) if layers is not None else cleaver.whole_count(cut, min_thickness_angstrom)
        _check_size(cleaver, cut, count, (1, 1), max_atoms)
        terminations.append((cut, _model(cleaver, cut, count, vacuum_angstrom)))
    terminations.sort(key=lambda pair: _rank(cleaver, *pair))
    _number([model for _, model in terminations])
    return terminations


def _rank(cleaver: Cleaver, cut: int, model: SlabModel) -> tuple[Any, ...]:
    below = [(cut - n) % cleaver.planes_per_repeat for n in range(cleaver.planes_per_repeat)]
    return (
        model.broken_bonds / model.area_angstrom2,
        model.polar,
        not model.symmetric,
        not model.stoichiometric,
        model.corrugated,
        *((-round(cleaver.clearance(n), 3), cleaver.plane_formula(n)) for n in below),
        # Faces alike in all of that: by their distances, so that the order does not hang on the origin.
        *_distance_sums(model.structure),
    )


def _distance_sums(structure: Structure) -> list[float]:
    """Return sum and sum of squares of the distances below 5 angstrom for each pair of elements."""
    first, second, _, distance = structure.get_neighbor_list(5.0)
    numbers = np.array([site.specie.Z for site in structure])
    pairs = numbers[first] * numbers[second]
    inside = 5.0 - distance  # falls to zero: no jump at the cutoff
    return [
        round(float((inside[pairs == pair] ** power).sum()), 2)
        for pair in np.unique(numbers[:, None] * numbers)
        for power in (1, 2)
    ]


def _model(
    cleaver: Cleaver,
    cut: int,
    count: int,
    vacuum_angstrom: float,
    repeats: tuple[int, int] = (1, 1),
    freeze_layers: int = 0,
) -> SlabModel:
    """Return the slab of `count` planes below the gap `cut`."""
    stack = cleaver.stack(cut, count)
    atoms = np.concatenate([plane for plane, _ in stack])
    coords = np.concatenate([cleaver.coords[plane] + repeat * cleaver.lattice[2] for plane, repeat in stack])
    frozen = np.concatenate([np.full(len(plane), n < freeze_layers) for n, (plane, _) in enumerate(stack)])
    slab = _slab(cleaver, cut, atoms, coords, frozen if freeze_layers else None, vacuum_angstrom, repeats)
    thickness = float(np.ptp(coords[:, 2]))
    formula_units, excess = _excess(slab.composition, cleaver.formula)
    notes = []
    if cleaver.miller != cleaver.reduced:
        notes.append(f"{cleaver.miller} is cut as {cleaver.reduced}: a common divisor does not turn the plane")
    broken = int(cleaver.coordination[atoms].sum()) * repeats[0] * repeats[1]
    broken -= int(coordination_numbers(slab, cleaver.bonds).sum())
    if excess:
        notes.append("not stoichiometric: a surface energy needs chemical potentials")
    if broken:
        notes.append("bonds are cut because the bonded network has no end along the normal")
    return SlabModel(
        structure=slab,
        oriented_cell=cleaver.cell,
        crystal=cleaver.crystal,
        miller=cleaver.miller,
        reduced_miller=cleaver.reduced,
        cell=describe_cell(cleaver.bulk.lattice),
        termination=f"{cleaver.plane_formula(cut)}/{cleaver.plane_formula(cut - 1)}",
        termination_index=0,
        shift=float(cleaver.cuts[cut]),
        layers=count,
        planes_per_repeat=cleaver.planes_per_repeat,
        d_spacing_angstrom=float(cleaver.bulk.lattice.d_hkl(cleaver.miller)),
        thickness_angstrom=thickness,
        vacuum_angstrom=float(slab.lattice.c) - thickness,
        area_angstrom2=float(np.linalg.norm(np.cross(*slab.lattice.matrix[:2]))),
        symmetric=cleaver.is_symmetric(cut, count),
        polar=cleaver.is_polar(cut) or cleaver.is_polar(cut - count),
        stoichiometric=not excess,
        excess=excess,
        formula_units=formula_units,
        broken_bonds=broken,
        corrugated=min(cleaver.clearance(cut), cleaver.clearance(cut - count)) < 0,
        frozen_atoms=int(frozen.sum()) * repeats[0] * repeats[1],
        notes=notes,
    )


def _slab(
    cleaver: Cleaver,
    cut: int,
    atoms: NDArray[np.intp],
    coords: NDArray[np.float64],
    frozen: NDArray[np.bool_] | None,
    vacuum_angstrom: float,
    repeats: tuple[int, int],
) -> Structure:
    middle, thickness = (coords[:, 2].max() + coords[:, 2].min()) / 2, np.ptp(coords[:, 2])
    lattice = cleaver.lattice.copy()
    lattice[2] = 0.0, 0.0, thickness + vacuum_angstrom
    coords = coords + np.array([0.0, 0.0, lattice[2, 2] / 2 - middle])
    species = [cleaver.species[atom] for atom in atoms]
    order = sorted(range(len(atoms)), key=lambda i: (species[i].X, species[i].symbol, *coords[i, ::-1].round(4)))
    properties = None
    if frozen is not None:
        properties = {"selective_dynamics": [[not frozen[i]] * 3 for i in order]}
    plain = Structure(
        Lattice(lattice),
        [species[i] for i in order],
        coords[order],
        coords_are_cartesian=True,
        to_unit_cell=True,
        site_properties=properties,
    )
    plain.make_supercell([*repeats, 1])
    return plain


def _excess(composition: Composition, formula: Composition) -> tuple[float, dict[str, float]]:
    """Return whole formulas in a composition, and what is left over."""
    amounts = composition.get_el_amt_dict()
    units = min(amounts.get(element.symbol, 0.0) / number for element, number in formula.items())
    left = {element.symbol: amounts.get(element.symbol, 0.0) - units * number for element, number in formula.items()}
    return float(units), {symbol: float(n) for symbol, n in left.items() if n > 1e-8}
