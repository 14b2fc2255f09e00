"""What a method card means for one cell: k-mesh, spin, smearing, dipole correction, charge.

Every plane-wave engine asks here, so that all of them compute the same thing; each then says it in its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase.data import ground_state_magnetic_moments
from pymatgen.core import Element, Structure

from anodeflow.errors import InputError
from anodeflow.structures.supercells import face_distances_angstrom
from anodeflow.workflows.cards import MethodCard, Smearing
from anodeflow.workflows.engines.contract import Task

# An empty layer this thick is vacuum, not the gap between molecules.
VACUUM_ANGSTROM = 6.0
# Coarser than this along a periodic direction is worth naming,
_COARSE_SPACING_PER_ANGSTROM = 0.06
# than this, and no metal is converged,
_UNCONVERGED_SPACING_PER_ANGSTROM = 0.10
# than that, and nothing is: only what a paper states is computed.
_WRONG_SPACING_PER_ANGSTROM = 0.30
# More than these, and there may be a metal: see may_hold_metal().
_ELECTRONS_OF_AN_ADDED_ATOM = 3
# Where a card leaves the smearing open.
METAL = Smearing(kind="methfessel-paxton", width_ev=0.1)
_INSULATOR = Smearing(kind="gaussian", width_ev=0.05)


@dataclass(frozen=True)
class Electronic:
    """Settings of one electronic-structure calculation, in terms that belong to no engine."""

    cutoff_ev: float
    mesh: tuple[int, int, int]
    gamma_centred: bool
    spin_polarised: bool
    # of the cell, Bohr magnetons; only with spin
    initial_moment: float
    smearing: Smearing
    energy_tolerance_ev: float
    charge: int
    # axis 0, 1 or 2 that carries a dipole correction
    dipole_axis: int | None
    vacuum: tuple[bool, bool, bool]
    functional: str
    notes: list[str] = field(default_factory=list)

    @property
    def isolated(self) -> bool:
        """Vacuum on all sides: an atom, ion or molecule."""
        return all(self.vacuum)

    @property
    def slab(self) -> bool:
        """Vacuum along exactly one axis."""
        return sum(self.vacuum) == 1

    @property
    def shifted(self) -> tuple[bool, bool, bool]:
        """Axes along which the mesh is moved off Gamma by half a step (Monkhorst-Pack, even numbers)."""
        a, b, c = (not self.gamma_centred and n % 2 == 0 for n in self.mesh)
        return a, b, c


def vacuum_axes(structure: Structure) -> tuple[bool, bool, bool]:
    """Along which lattice vectors there is an empty layer of at least :data:`VACUUM_ANGSTROM`."""
    empty = []
    for axis, height in enumerate(face_distances_angstrom(structure.lattice)):
        gap, _ = widest_gap(structure, axis)
        empty.append(bool(gap * height >= VACUUM_ANGSTROM))
    return empty[0], empty[1], empty[2]


def widest_gap(structure: Structure, axis: int) -> tuple[float, float]:
    """Width and middle of the widest layer without atoms along one axis, in fractions of the lattice vector.

    The middle lies between 0 and 1.5: it is not folded back into the cell.
    """
    at = np.sort(np.mod(structure.frac_coords[:, axis], 1.0))
    gaps = np.diff(np.append(at, at[0] + 1.0))
    widest = int(gaps.argmax())
    return float(gaps[widest]), float(at[widest] + gaps[widest] / 2)


def _is_metallic(structure: Structure) -> bool:
    """Whether only metals are present; a mixed cell (metal on salt) is treated like an insulator with smearing."""
    return all(Element(e).is_metal for e in structure.symbol_set)


def may_hold_metal(structure: Structure) -> bool:
    """Return whether a cell may hold a metal: no other elements, or more electrons than its anions take up.

    An atom that is added to a salt brings three at most (Al); an interface with a metal brings many.
    """
    if _is_metallic(structure):
        return True
    free = sum(_valence_electrons(site.specie.symbol) for site in structure)
    return free > _ELECTRONS_OF_AN_ADDED_ATOM


def _valence_electrons(element: str) -> int:
    """Return the electrons that a metal gives up, or minus those that an anion takes up."""
    states = Element(element).common_oxidation_states or (1 if Element(element).is_metal else 0,)
    return max(*states, 0) if Element(element).is_metal else min(*states, 0)


def odd_electrons(structure: Structure, charge: int) -> bool:
    """Whether the number of electrons is odd; cores are closed shells, so atomic numbers decide."""
    return (sum(site.specie.Z for site in structure) - charge) % 2 == 1


def electronic(structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> Electronic:
    """Settle what the card leaves to the cell.

    Parameters
    ----------
    structure
        The geometry.
    task
        What will be done with it.
    card
        How accurately.
    charge
        Charge of the cell, e.

    Raises
    ------
    InputError
        If the card has no cutoff or k-points, puts k-points along the vacuum, or asks for an odd number of
        electrons without spin and without smearing.
    """
    if card.cutoff_ev is None:
        raise InputError(
            f"card '{card.name}' has no cutoff_ev, and an engine with electrons needs one",
            "choose a card for plane waves, such as pbe-slab",
        )
    if card.functional != "PBE":
        raise InputError(f"card '{card.name}' asks for functional {card.functional}", "only PBE is set up")
    vacuum = vacuum_axes(structure)
    notes: list[str] = []
    mesh = _mesh(structure, card, vacuum, notes)
    smearing = card.smearing or (METAL if _is_metallic(structure) and not all(vacuum) else _INSULATOR)
    odd = odd_electrons(structure, charge)
    polarised = card.spin == "collinear" or (card.spin in (None, "auto") and odd)
    if odd and not polarised and smearing.kind == "none":
        raise InputError(
            f"{structure.composition.formula} with charge {charge:+d} has an odd number of electrons, "
            f"and card '{card.name}' has neither spin nor smearing",
            "set spin: auto, or a smearing",
        )
    dipole = None
    if card.dipole_correction and sum(vacuum) == 1:
        if charge:
            notes.append("no dipole correction: it is not defined for a charged slab")
        else:
            dipole = vacuum.index(True)
    if charge and any(vacuum) and not all(vacuum):
        notes.append(
            f"a periodic slab of charge {charge:+d} e does not converge with the vacuum: its energy grows with the "
            "cell's height and is not a binding energy of an ion"
        )
    return Electronic(
        cutoff_ev=card.cutoff_ev,
        mesh=mesh,
        gamma_centred=card.kpoints is None or card.kpoints.centre == "gamma" or mesh == (1, 1, 1),
        spin_polarised=polarised,
        initial_moment=_moment(structure, charge, all(vacuum), odd) if polarised else 0.0,
        smearing=smearing,
        energy_tolerance_ev=card.energy_tolerance_ev or 1e-5,
        charge=charge,
        dipole_axis=dipole,
        vacuum=vacuum,
        functional=card.functional,
        notes=notes,
    )


def _mesh(
    structure: Structure, card: MethodCard, vacuum: tuple[bool, bool, bool], notes: list[str]
) -> tuple[int, int, int]:
    if all(vacuum):
        return (1, 1, 1)
    mesh = card.kpoint_mesh(structure)
    if mesh is None or card.kpoints is None:
        raise InputError(f"card '{card.name}' has no kpoints", "choose a card for plane waves, such as pbe-slab")
    if card.kpoints.mesh is None:
        a, b, c = (1 if empty else n for n, empty in zip(mesh, vacuum, strict=True))
        mesh = (a, b, c)
    lengths = structure.lattice.reciprocal_lattice_crystallographic.abc
    for name, number, length, empty in zip("abc", mesh, lengths, vacuum, strict=True):
        if empty and number > 1:
            raise InputError(
                f"card '{card.name}' puts {number} k-points along {name}, which is vacuum in {structure.formula}",
                "one is right there; use a card with kpoints: {spacing_per_angstrom: ...} or a mesh for slabs",
            )
        spacing = length / number
        if not empty and spacing > _WRONG_SPACING_PER_ANGSTROM and card.code is None:
            raise InputError(
                f"card '{card.name}' gives {number} k-point along {name} of {structure.formula}: "
                f"a spacing of {spacing:.2f} per angstrom",
                "use a card with kpoints: {spacing_per_angstrom: ...}",
            )
        if not empty and spacing > _COARSE_SPACING_PER_ANGSTROM:
            notes.append(f"{number} k-point(s) along {name}: {_coarse(structure, card, spacing)}")
    return mesh


def _coarse(structure: Structure, card: MethodCard, spacing: float) -> str:
    """Return what is to be said of a spacing that is coarse, and whose it is."""
    text = f"a spacing of {spacing:.3f} per angstrom (2 pi not included) is coarse"
    if spacing > _UNCONVERGED_SPACING_PER_ANGSTROM:
        metal = "unconverged in this metal" if _is_metallic(structure) else "unconverged where the cell holds a metal"
        text += f": above {_UNCONVERGED_SPACING_PER_ANGSTROM:.2f}, {metal}"
    stated = card.code is not None and card.kpoints is not None and card.kpoints.mesh is not None
    return f"{text}; the mesh is the paper's (card '{card.name}')" if stated else text


def _moment(structure: Structure, charge: int, isolated: bool, odd: bool) -> float:
    """Moment to start from: Hund's rule for an isolated atom, else one unpaired electron where there must be one."""
    if isolated and len(structure) == 1:
        remaining = structure[0].specie.Z - charge
        return float(ground_state_magnetic_moments[remaining]) if remaining > 0 else 0.0
    return 1.0 if odd else 0.0


def moments_of_atoms(structure: Structure, settings: Electronic) -> list[float]:
    """Initial moment of every atom, Bohr magnetons; they add up to that of the cell."""
    return [settings.initial_moment / len(structure)] * len(structure)


def electrons(structure: Structure, valence: Mapping[str, int], charge: int) -> int:
    """Valence electrons of a cell.

    Raises
    ------
    InputError
        If an element is missing from `valence`.
    """
    unknown = sorted(set(structure.symbol_set) - set(valence))
    if unknown:
        raise InputError(f"number of valence electrons of {', '.join(unknown)} is not known", "name a pseudopotential")
    return sum(valence[site.specie.symbol] for site in structure) - charge
