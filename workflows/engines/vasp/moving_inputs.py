"""Inputs of what VASP moves: molecular dynamics, and nudged elastic bands with their folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.files import write_atomically
from anodeflow.settings import VaspSettings
from anodeflow.units import BOLTZMANN_EV_PER_K, EV_TO_AMU_A2_PER_FS2
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines.motion.dynamics import FRICTION_PER_PS
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.vasp.inputs import Inputs, assembled

# Dynamics bear the error of projecting in real space in smaller cells than energies do.
_REAL_SPACE_ATOMS_MD = 30
_SPRING_EV_PER_ANGSTROM2 = 5


def vasp_md_tags(structure: Structure, card: MethodCard, *, steps: int | None = None) -> dict[str, Any]:
    """Return INCAR tags of molecular dynamics, besides those of the electrons; None takes one of these away.

    Parameters
    ----------
    structure
        The cell.
    card
        Has ``dynamics``: ensemble, time step, duration, temperature, thermostat (Langevin where it says none).
    steps
        Energies to compute, the one of the start included; default: the steps of the whole duration.

    Raises
    ------
    InputError
        If the card has no dynamics.
    """
    dynamics: Dynamics | None = card.dynamics
    if dynamics is None:
        raise InputError(f"card '{card.name}' has no dynamics", "choose one for molecular dynamics")
    tags: dict[str, Any] = {
        "PREC": "Normal",
        "ALGO": "Fast",
        "LREAL": "Auto" if len(structure) > _REAL_SPACE_ATOMS_MD else False,
        "LWAVE": False,
        "LORBIT": None,
        "NELMIN": 4,
        "MAXMIX": 40,
        "IBRION": 0,
        "NSW": steps or math.ceil(dynamics.duration_ps * 1000.0 / dynamics.timestep_fs - 1e-9),
        "POTIM": dynamics.timestep_fs,
        "TEBEG": dynamics.temperature_k,
        "TEEND": dynamics.temperature_k,
        "ISIF": 2,
        "ISYM": 0,
        "NBLOCK": 1,
    }
    if dynamics.ensemble == "nve":
        return tags | {"MDALGO": 2, "SMASS": -3}
    if (dynamics.thermostat or "langevin") == "langevin":
        friction = dynamics.friction_per_ps or FRICTION_PER_PS
        return tags | {"MDALGO": 3, "LANGEVIN_GAMMA": [friction] * len(structure.symbol_set)}
    return tags | {"MDALGO": 2, "SMASS": _nose_mass(structure, dynamics) if dynamics.damping_fs else 0}


def _nose_mass(structure: Structure, dynamics: Dynamics) -> float:
    """Return SMASS of a Nose thermostat that swings with a period of ``damping_fs``.

    Q = 2 g k T (period/2 pi)^2 with g = 3N - 3 (Nose, J. Chem. Phys. 81, 511 (1984), doi:10.1063/1.447334), in amu and
    over the square of the first lattice vector, in whose lengths VASP counts. SMASS = 0 is VASP's own choice, a period
    of 40 steps.
    """
    kinetic = 2 * (3 * len(structure) - 3) * BOLTZMANN_EV_PER_K * dynamics.temperature_k
    period = (dynamics.damping_fs or 0.0) / (2 * math.pi)
    return round(kinetic * EV_TO_AMU_A2_PER_FS2 * (period / structure.lattice.a) ** 2, 6)


def md_inputs(
    structure: Structure, card: MethodCard, settings: VaspSettings, *, spec: bool, steps: int | None = None
) -> Inputs:
    """Return inputs of molecular dynamics; parameters and errors as of :func:`vasp_md_tags` and :func:`inputs_of`."""
    tags = vasp_md_tags(structure, card, steps=steps)
    return assembled(structure, electronic(structure, "static", card), tags, card, settings, spec=spec)


def with_velocities(poscar: str, velocities: np.ndarray) -> str:
    """Return a POSCAR with velocities (N, 3) in angstrom/fs, atoms in its order."""
    return poscar + "\n" + "".join(" ".join(f"{x:23.15E}" for x in row) + "\n" for row in velocities)


def vasp_neb_tags(
    card: MethodCard,
    *,
    images: int,
    climbing: bool = True,
    vtst: bool = True,
    spring_ev_per_angstrom2: int = _SPRING_EV_PER_ANGSTROM2,
) -> dict[str, Any]:
    """Return INCAR tags of a nudged elastic band, besides those of the electrons.

    Parameters
    ----------
    card
        Force tolerance and step limit.
    images
        Images between the end points.
    climbing
        Whether the highest image climbs; only with `vtst`.
    vtst
        Whether VASP was built with the VTST tools (G. Henkelman's group).
    spring_ev_per_angstrom2
        Spring constant, eV/angstrom^2.

    Raises
    ------
    InputError
        For no images, or a climbing image without VTST.
    """
    if images < 1:
        raise InputError(f"a band has at least one image between its ends, not {images}", "give images >= 1")
    if climbing and not vtst:
        raise InputError("a climbing image needs VASP with the VTST tools", "set climbing to false, or build VTST in")
    tags: dict[str, Any] = {
        "IMAGES": images,
        "SPRING": -spring_ev_per_angstrom2,
        "NSW": card.max_steps,
        "ISIF": 2,
        "EDIFFG": -card.force_tolerance_ev_per_angstrom,
        "NELMIN": 5,
        "ISYM": 0,
    }
    if vtst:
        return tags | {"ICHAIN": 0, "LCLIMB": climbing, "IOPT": 1, "IBRION": 3, "POTIM": 0}
    return tags | {"IBRION": 1, "POTIM": 0.3}


def neb_inputs(
    images: Sequence[Structure], card: MethodCard, charge: int, settings: VaspSettings, *, spec: bool, climbing: bool
) -> Inputs:
    """Return inputs of a band; k-points, spin and NELECT are those of its first image.

    Parameters
    ----------
    images
        Of the band, ends included.
    card
        How accurately.
    charge
        Of the cell, e.
    settings
        Of this machine.
    spec
        Without POTCARs.
    climbing
        Whether the highest image climbs.

    Raises
    ------
    InputError
        If there is no image between the ends, or images differ in their atoms.
    """
    if len(images) < 3:
        raise InputError(f"a band has two ends and at least one image between, not {len(images)} in all", "add one")
    first = [site.specie.symbol for site in images[0]]
    for number, image in enumerate(images):
        if [site.specie.symbol for site in image] != first:
            raise InputError(
                f"image {number} of the band has other atoms, or another order, than image 0", "correct it"
            )
    tags = vasp_neb_tags(card, images=len(images) - 2, climbing=climbing, vtst=settings.vtst)
    electronics = electronic(images[0], "relax", card, charge)
    return assembled(images[0], electronics, tags, card, settings, spec=spec)


def write_band(inputs: Inputs, images: Sequence[Structure], directory: Path) -> list[str]:
    """Write the inputs of a band and the POSCAR of every image in its folder; return the names of the files."""
    names = inputs.write(directory)
    (directory / "POSCAR").unlink()
    names.remove("POSCAR")
    for number, image in enumerate(images):
        folder = directory / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "POSCAR", inputs.moved(image).texts()["POSCAR"])
        names.append(f"{number:02d}/POSCAR")
    return names
