"""What is screened: matches times pairs of terminations of two crystals, and how each cell is built."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.interface_screening import CellCounts, ScreenedInterface
from anodeflow.errors import InputError, StructureError
from anodeflow.parameters import parameters_named
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.interfaces import COMFORTABLE_STRAIN, InterfaceModel, build_interface
from anodeflow.structures.matching import LatticeMatch, lattice_matches
from anodeflow.structures.slabs import SlabModel, list_terminations
from anodeflow.workflows.jobs.calculation import structure_digest
from anodeflow.workflows.jobs.registry_search import APART_ANGSTROM
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import Travelling
from anodeflow.workflows.studies.registries import named_crystal
from anodeflow.yaml_input import Layers, Miller

#: Film and substrate.
Slabs = tuple[SlabModel, SlabModel]
_WIDER_ANGSTROM = (0.0, 0.4, 0.8)


class ScreenedSide(Options):
    """One crystal and its face, with the terminations that are tried."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    miller: Miller = Field(description="index of the face that is joined, in the cell that is given")
    terminations: Literal["all"] | list[int | str] = Field("all", description="of `anodeflow build slab --list`")
    layers: Layers | None = Field(None, ge=2, description="planes of atoms; default: by thickness_angstrom")
    thickness_angstrom: float = Field(10.0, ge=1, le=100, description="least thickness")
    symmetric: bool = Field(False, description="equal faces are preferred, even at the price of stoichiometry")

    @property
    def face(self) -> str:
        """Such as ``LiCl(100)``."""
        return f"{self.crystal}({''.join(map(str, self.miller))})"


class ScreenedPair(Travelling):
    """The two sides and what may be done to match them."""

    film: ScreenedSide
    substrate: ScreenedSide
    matches: int
    max_strain_percent: float
    max_area_angstrom2: float
    max_atoms: int

    @property
    def limits(self) -> dict[str, Any]:
        """Limits of a match."""
        return {
            "max_strain": self.max_strain_percent / 100,
            "max_area_angstrom2": self.max_area_angstrom2,
            "max_atoms": self.max_atoms,
        }


@dataclass(frozen=True)
class Candidate:
    """One match of one pair of terminations.

    Attributes
    ----------
    key : str
        Such as ``"t0-t3-m1"``.
    options : dict
        Of :func:`anodeflow.structures.interface_pairs.interface`, plain values.
    model : InterfaceModel
        The interface, faces apart.
    match : int
        Rank of the match, from 1.
    """

    key: str
    options: dict[str, Any]
    model: InterfaceModel
    match: int

    def described(self) -> dict[str, Any]:
        """Return what a :class:`ScreenedInterface` says of every registry of it."""
        model, match = self.model, self.model.match
        return {
            "candidate": self.key,
            "film_termination": f"{_face(model.film)} {model.film.termination}",
            "substrate_termination": f"{_face(model.substrate)} {model.substrate.termination}",
            "film_termination_index": model.film.termination_index,
            "substrate_termination_index": model.substrate.termination_index,
            "match": self.match,
            "film_vectors": _vectors_text(match.film_matrix),
            "substrate_vectors": _vectors_text(match.substrate_matrix),
            "strain_percent": model.max_strain_percent,
            "counts": counts_of(model),
        }


def counts_of(model: InterfaceModel) -> CellCounts:
    """Return what an interface cell consists of."""
    match = model.match
    excess: dict[str, float] = {}
    for slab, cells in ((model.film, match.film_cells), (model.substrate, match.substrate_cells)):
        for element, amount in slab.excess.items():
            excess[element] = excess.get(element, 0.0) + amount * cells
    return CellCounts(
        atoms=len(model.structure),
        area_angstrom2=model.area_angstrom2,
        n_film=model.n_film_units,
        n_substrate=model.n_substrate_units,
        excess={element: amount for element, amount in sorted(excess.items()) if abs(amount) > 1e-9},
        substrate_cells=match.substrate_cells,
    )


def candidates(pair: ScreenedPair, crystals: Sequence[Structure]) -> tuple[list[Candidate], list[str]]:
    """Build every match of every pair of terminations, and say which pairs have none.

    Parameters
    ----------
    pair
        What the study file says.
    crystals
        Film and substrate.

    Returns
    -------
    candidates, left_out
        Film terminations slowest, matches fastest; and a line for each pair without a match.

    Raises
    ------
    InputError
        A termination that a face does not have, or no pair has a match.
    """
    digests = structure_digest(crystals[0]), structure_digest(crystals[1])
    return _candidates(_Question(pair.model_dump_json(), digests, pair, tuple(crystals)))


@dataclass(frozen=True)
class _Question:
    """What :func:`candidates` is asked; a plan asks the same three times."""

    text: str
    digests: tuple[str, str]
    pair: ScreenedPair = field(compare=False)
    crystals: tuple[Structure, ...] = field(compare=False)


@lru_cache(maxsize=2)
def _candidates(question: _Question) -> tuple[list[Candidate], list[str]]:
    pair = question.pair
    specs = pair.film, pair.substrate
    sides = [named_crystal(c, s.crystal) for c, s in zip(question.crystals, specs, strict=True)]
    chosen = [_terminations(side, spec) for side, spec in zip(sides, specs, strict=True)]
    built: list[Candidate] = []
    left_out, first = [], None
    for film, substrate in product(*chosen):
        slabs, indices = (film, substrate), (film.termination_index, substrate.termination_index)
        try:
            ranked = _matches(slabs, pair)
        except InputError as error:
            first = first or error
            left_out.append(f"terminations {indices[0]} and {indices[1]}: {error}")
            continue
        for rank, (index, match) in enumerate(ranked[: pair.matches], 1):
            model = _built(pair, slabs, match, gap_angstrom=APART_ANGSTROM)
            options = _options(pair, slabs, indices, index)
            built.append(Candidate(f"t{indices[0]}-t{indices[1]}-m{rank}", options, model, rank))
    if not built and first is not None:
        raise first
    return built, left_out


def cell_of(
    pair: ScreenedPair, crystals: Sequence[Structure], entry: ScreenedInterface, gap_angstrom: float
) -> InterfaceModel:
    """Build the cell of a screened interface, of crystals that another engine may have relaxed.

    Parameters
    ----------
    pair, crystals
        As of :func:`candidates`.
    entry
        What was screened.
    gap_angstrom
        Distance of the faces.

    Raises
    ------
    StructureError
        These crystals do not have its terminations or its match.
    """
    sides = [named_crystal(c, s.crystal) for c, s in zip(crystals, (pair.film, pair.substrate), strict=True)]
    indices = entry.film_termination_index, entry.substrate_termination_index
    slabs = _slab(sides[0], pair.film, indices[0]), _slab(sides[1], pair.substrate, indices[1])
    wanted = entry.film_termination, entry.substrate_termination
    for slab, name in zip(slabs, wanted, strict=True):
        if f"{_face(slab)} {slab.termination}" != name:
            raise StructureError(
                f"the crystals relaxed by the study's engine have {slab.termination} where {name} was screened",
                "screen with search_engine set to an engine that agrees better, or name the terminations",
            )
    for _, match in _matches(slabs, pair):
        if (_vectors_text(match.film_matrix), _vectors_text(match.substrate_matrix)) == (
            entry.film_vectors, entry.substrate_vectors,
        ):  # fmt: skip
            return _without_overlap(pair, slabs, match, entry.shift, gap_angstrom)
    raise StructureError(
        f"the crystals relaxed by the study's engine do not match as {entry.candidate} does within "
        f"{pair.max_strain_percent:g} %",
        "raise max_strain_percent a little",
    )


def _without_overlap(
    pair: ScreenedPair, slabs: Slabs, match: LatticeMatch, shift: Sequence[float], gap_angstrom: float
) -> InterfaceModel:
    """Build a cell at a gap, or wider: atoms that relaxed out of each other's way overlap where they were cut."""
    for wider in _WIDER_ANGSTROM:
        with suppress(StructureError):
            return _built(pair, slabs, match, shift=shift, gap_angstrom=gap_angstrom + wider)
    return _built(pair, slabs, match, shift=shift, gap_angstrom=APART_ANGSTROM)


def _built(pair: ScreenedPair, slabs: Slabs, match: LatticeMatch, **placing: Any) -> InterfaceModel:
    """Build a cell as :func:`anodeflow.structures.interface_pairs.interface` does of the options of its candidate."""
    limits: dict[str, Any] = {"max_strain": pair.max_strain_percent / 100, "max_atoms": pair.max_atoms}
    return build_interface(slabs[0], slabs[1], match, **limits, **placing)


def _vectors_text(matrix: Sequence[Sequence[int]]) -> str:
    """Return the two supercell vectors of a side in its own cells: ``3 1, 0 2``."""
    return ", ".join(" ".join(str(int(n)) for n in row) for row in matrix)


def _terminations(crystal: Structure, side: ScreenedSide) -> list[SlabModel]:
    """Return the slabs of the terminations that are tried.

    Raises
    ------
    InputError
        One that the face does not have.
    """
    wanted: Sequence[int | str] = range(0)
    if side.terminations == "all":
        options: dict[str, Any] = {"layers": side.layers, "min_thickness_angstrom": side.thickness_angstrom}
        wanted = range(len(list_terminations(crystal, side.miller, crystal=side.crystal, **options)))
    else:
        wanted = side.terminations
    slabs = [_slab(crystal, side, termination) for termination in wanted]
    if len({slab.termination_index for slab in slabs}) < len(slabs):
        raise InputError(f"{side.face}: a termination is given twice in {side.terminations}", "give each once")
    return slabs


def _slab(crystal: Structure, side: ScreenedSide, termination: int | str) -> SlabModel:
    spec = slab_spec(
        crystal,
        side.miller,
        layers=side.layers,
        min_thickness_angstrom=side.thickness_angstrom,
        termination=termination,
        symmetric=side.symmetric,
    )
    return spec.build()


def _matches(slabs: Slabs, pair: ScreenedPair) -> list[tuple[int, LatticeMatch]]:
    """Return matches with their place in the builder's list: little strained ones by atoms, then the others by strain.

    Raises
    ------
    InputError
        There is none.
    """
    with parameters_named({"max_strain": "max_strain_percent"}):
        listed = list(enumerate(lattice_matches(*slabs, strained="film", **pair.limits)))
    little = [m for m in listed if abs(m[1].strain.max_principal_percent) <= 100 * COMFORTABLE_STRAIN]
    return [*sorted(little, key=lambda m: (m[1].atoms or 0, m[0])), *(m for m in listed if m not in little)]


def _options(pair: ScreenedPair, slabs: Slabs, terminations: tuple[int, int], match: int) -> dict[str, Any]:
    return {
        "film_miller": list(pair.film.miller),
        "substrate_miller": list(pair.substrate.miller),
        "film_layers": slabs[0].layers,
        "substrate_layers": slabs[1].layers,
        "film_termination": terminations[0],
        "substrate_termination": terminations[1],
        "film_symmetric": pair.film.symmetric,
        "substrate_symmetric": pair.substrate.symmetric,
        "strained": "film",
        "match": match,
        "gap_angstrom": APART_ANGSTROM,
        **pair.limits,
    }


def _face(slab: SlabModel) -> str:
    return f"{slab.crystal}({''.join(map(str, slab.miller))})"
