"""Input files of CASTEP: what a method card and a cell become in ``.cell`` and ``.param``.

Choices that a reader may wonder about:

- ``ELEC_ENERGY_TOL`` is counted per atom by CASTEP, a card's tolerance per cell: it is divided by the number of atoms.
- ``FINITE_BASIS_CORR`` is on only where the cell is relaxed, for the stress; energies are taken without it, so that
  those of relaxed and of fixed cells may be subtracted.
- Symmetry is used only where the atoms have it to 1e-4 angstrom, nothing is frozen or spin-polarised and the k-mesh has
  it too; CASTEP's own default tolerance (0.01 angstrom) would make displaced atoms equivalent.
- The mesh is written as numbers, never as a spacing, so that every engine has the same one.
- The smearing width is passed on unchanged. CASTEP's help does not define it; that it is the divisor of the energies in
  the occupation function, like VASP's SIGMA, is an assumption.
- Convergence of a relaxation asks also for energy and displacement; these follow the force tolerance in the
  proportions of Materials Studio's "fine" (1e-5 eV per atom and 0.001 angstrom at 0.03 eV/angstrom).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import spglib
from pymatgen.core import Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.castep.keywords import CELL, PARAM, check_keywords
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.external import write_whole
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, moments_of_atoms

SEED = "castep"
TASKS = {"static": "SinglePoint"} | dict.fromkeys(("relax", "relax_cell", "relax_c"), "GeometryOptimization")
SCHEMES = {
    "gaussian": "Gaussian",
    "fermi-dirac": "FermiDirac",
    "methfessel-paxton": "HermitePolynomials",
    "marzari-vanderbilt": "ColdSmearing",
}
# Double precision carries no less (total energies of 1e3 to 1e5 eV), and no force needs more.
TIGHTEST_EV_PER_ATOM = 1e-9
LOOSEST_EV_PER_ATOM = 1e-5
ENERGY_PER_FORCE = 1e-5 / 0.03
DISPLACEMENT_PER_FORCE = 0.001 / 0.03
# Of one geometry of a band or of dynamics.
POINT_EV_PER_ATOM = 1e-7
SYMMETRY_ANGSTROM = 1e-4
SCF_CYCLES = 200
# Between Li (13) and Al (76): CASTEP's own guess, 500 GPa, makes the first steps of soft cells tiny.
MODULUS_GPA = 50.0
# Part of the wall time after which CASTEP is to end by itself.
RUN_TIME_SHARE = 0.95
SUFFIXES = ("usp", "uspcc", "recpot", "upf", "otfg")


def param_entries(
    structure: Structure, task: Task, card: MethodCard, settings: Electronic, wall_time_s: float | None = None
) -> dict[str, str]:
    """Keywords of the ``.param`` file.

    Parameters
    ----------
    structure
        The geometry.
    task, card
        What to do, how accurately.
    settings
        What the card means for the cell.
    wall_time_s
        Time the job is given, s.
    """
    cell_is_free = task in ("relax_cell", "relax_c")
    entries = {
        "task": TASKS[task],
        "xc_functional": settings.functional,
        "cut_off_energy": f"{settings.cutoff_ev:.6g} eV",
        "finite_basis_corr": "automatic" if cell_is_free else "none",
    }
    entries |= _electrons(structure, settings)
    if task != "static":
        force = card.force_tolerance_ev_per_angstrom
        entries |= {
            "geom_method": "LBFGS",
            "geom_max_iter": str(card.max_steps),
            "geom_force_tol": f"{force:.6g} eV/ang",
            "geom_energy_tol": f"{force * ENERGY_PER_FORCE:.3g} eV",
            "geom_disp_tol": f"{force * DISPLACEMENT_PER_FORCE:.3g} ang",
        }
    if cell_is_free:
        entries |= {
            "geom_stress_tol": f"{card.stress_tolerance_gpa:.6g} GPa",
            "geom_modulus_est": f"{MODULUS_GPA:.6g} GPa",
            "calculate_stress": "true",
        }
    entries |= _running(wall_time_s)
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def point_entries(
    structure: Structure, card: MethodCard, settings: Electronic, before: str | None, wall_time_s: float | None
) -> dict[str, str]:
    """Keywords of the ``.param`` file of one geometry of a band or of dynamics.

    Parameters
    ----------
    structure, card, settings, wall_time_s
        As for :func:`param_entries`; `settings` are those of the first geometry of all.
    before
        Checkpoint of the geometry before, in the same folder: electrons start from it.
    """
    # forces need better electrons than energies, the more so when these start from those of other places
    tight = min(settings.energy_tolerance_ev, POINT_EV_PER_ATOM * len(structure))
    entries = param_entries(structure, "static", card, replace(settings, energy_tolerance_ev=tight), wall_time_s)
    entries["write_checkpoint"] = "all"
    if before is not None:
        entries["reuse"] = before
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def dynamics_entries(
    structure: Structure, card: MethodCard, settings: Electronic, wall_time_s: float | None = None
) -> dict[str, str]:
    """Keywords of the ``.param`` file of a molecular-dynamics run.

    Raises
    ------
    InputError
        If the card has no dynamics.
    """
    run = card.dynamics
    if run is None:
        raise InputError(f"card '{card.name}' has no dynamics", "add it, or choose another card")
    entries = {
        "task": "MolecularDynamics",
        "xc_functional": settings.functional,
        "cut_off_energy": f"{settings.cutoff_ev:.6g} eV",
        "finite_basis_corr": "none",
    }
    entries |= _electrons(structure, settings)
    entries |= {
        "md_ensemble": run.ensemble.upper(),
        "md_temperature": f"{run.temperature_k:.6g} K",
        "md_delta_t": f"{run.timestep_fs:.6g} fs",
        "md_num_iter": str(max(1, round(run.duration_ps * 1000.0 / run.timestep_fs))),
    }
    if run.ensemble == "nvt":
        entries |= _thermostat(run)
    entries |= _running(wall_time_s)
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def _thermostat(run: object) -> dict[str, str]:
    kind = getattr(run, "thermostat", None) or "langevin"
    if kind == "langevin":
        friction = getattr(run, "friction_per_ps", None)
        damping = {} if friction is None else {"md_ion_t": f"{1000.0 / friction:.6g} fs"}
        return {"md_thermostat": "langevin", **damping}
    entries = {"md_thermostat": "nose-hoover"}
    if getattr(run, "damping_fs", None) is not None:
        entries["md_ion_t"] = f"{run.damping_fs:.6g} fs"  # type: ignore[attr-defined]
    if getattr(run, "chain_length", None) is not None:
        entries["md_nhc_length"] = str(run.chain_length)  # type: ignore[attr-defined]
    return entries


def _electrons(structure: Structure, settings: Electronic) -> dict[str, str]:
    per_atom = settings.energy_tolerance_ev / len(structure)
    entries = {
        "charge": f"{settings.charge:d}",
        "spin_polarized": "true" if settings.spin_polarised else "false",
    }
    if settings.spin_polarised:
        entries["spin"] = f"{settings.initial_moment:.6g}"
    if settings.smearing.kind == "none":
        entries["fix_occupancy"] = "true"
    else:
        if settings.smearing.width_ev <= 0.0:
            raise InputError(
                f"smearing {settings.smearing.kind} of width {settings.smearing.width_ev} eV: CASTEP needs a width",
                "give width_ev, or smearing: {kind: none}",
            )
        entries |= {
            "fix_occupancy": "false",
            "smearing_scheme": SCHEMES[settings.smearing.kind],
            "smearing_width": f"{settings.smearing.width_ev:.6g} eV",
        }
        if settings.spin_polarised and settings.isolated and len(structure) == 1:
            # an atom keeps Hund's moment; without this its occupations may wander
            entries["spin_fix"] = "-1"
    entries |= {
        "metals_method": "dm",
        "mixing_scheme": "Pulay",
        "max_scf_cycles": str(SCF_CYCLES),
        "elec_energy_tol": f"{min(max(per_atom, TIGHTEST_EV_PER_ATOM), LOOSEST_EV_PER_ATOM):.3g} eV",
    }
    if settings.dipole_axis is not None:
        entries |= {
            "dipole_correction": "self consistent",
            "dipole_dir": "xyz"[cartesian_axis(structure, settings.dipole_axis)],
        }
    return entries


def _running(wall_time_s: float | None) -> dict[str, str]:
    # A restart takes the geometry from the .castep file, so wavefunctions need not be kept.
    entries = {"popn_calculate": "false", "write_checkpoint": "minimal", "num_dump_cycles": "0"}
    if wall_time_s is not None:
        entries["run_time"] = str(max(1, int(RUN_TIME_SHARE * wall_time_s)))
    return entries


def cartesian_axis(structure: Structure, axis: int) -> int:
    """The Cartesian direction normal to the slab whose vacuum lies along one lattice vector.

    Raises
    ------
    EngineError
        If the normal is none of x, y and z: CASTEP knows no other direction of a dipole correction.
    """
    matrix = structure.lattice.matrix
    normal = np.cross(matrix[(axis + 1) % 3], matrix[(axis + 2) % 3])
    normal = np.abs(normal / np.linalg.norm(normal))
    best = int(np.argmax(normal))
    if normal[best] < 1.0 - 1e-5:
        raise EngineError(
            f"dipole correction: the normal of the slab {structure.formula} is ({normal[0]:.3f}, {normal[1]:.3f}, "
            f"{normal[2]:.3f}), and CASTEP corrects along x, y or z only",
            "turn the cell so that the surface lies in a Cartesian plane",
        )
    return best


def frozen_components(structure: Structure) -> np.ndarray:
    """Which Cartesian components of which atoms are held, shape (N, 3), from ``selective_dynamics``."""
    free = structure.site_properties.get("selective_dynamics")
    if free is None:
        return np.zeros((len(structure), 3), dtype=bool)
    return np.array([[True] * 3 if row is None else list(row) for row in free], dtype=bool) ^ True


def number_in_species(structure: Structure) -> list[tuple[str, int]]:
    """Symbol and number within its species, from 1, of every atom: the names CASTEP gives them."""
    counts: dict[str, int] = {}
    names = []
    for site in structure:
        symbol = site.specie.symbol
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append((symbol, counts[symbol]))
    return names


def uses_symmetry(structure: Structure, settings: Electronic) -> bool:
    """Whether CASTEP is to use the symmetry of the cell (see the head of this file)."""
    if settings.spin_polarised or any(settings.shifted) or frozen_components(structure).any():
        return False
    cell = (
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [site.specie.Z for site in structure],
    )
    found = spglib.get_symmetry(cell, symprec=SYMMETRY_ANGSTROM)
    if found is None or len(found["rotations"]) < 2:
        return False
    mesh = np.asarray(settings.mesh)
    unlike = mesh[:, None] != mesh[None, :]
    return not any((np.asarray(rotation) != 0)[unlike].any() for rotation in found["rotations"])


def cell_text(
    structure: Structure,
    task: Task | None,
    settings: Electronic,
    potentials: Mapping[str, str] | None = None,
    library: str | None = None,
    symmetric: bool = True,
) -> str:
    """The ``.cell`` file.

    Parameters
    ----------
    structure
        The geometry; ``selective_dynamics`` becomes constraints on Cartesian components.
    task
        What to do; None for molecular dynamics.
    settings
        What the card means for the cell.
    potentials
        Element: file name. Elements without one take CASTEP's on-the-fly potentials.
    library
        Name of an on-the-fly library.
    symmetric
        Whether what symmetry there is may be used.

    Raises
    ------
    EngineError
        For ``relax_c`` where c is not normal to a and b.
    """
    out = _block("LATTICE_CART", ["ang", *(_row(v) for v in structure.lattice.matrix)])
    moments = moments_of_atoms(structure, settings) if settings.spin_polarised else [0.0] * len(structure)
    atoms = [
        f"{site.specie.symbol:<3}{_row(site.frac_coords)}" + (f" SPIN= {moment:.6f}" if moment else "")
        for site, moment in zip(structure, moments, strict=True)
    ]
    out += _block("POSITIONS_FRAC", atoms)
    entries = {"kpoint_mp_grid": " ".join(map(str, settings.mesh)), "kpoint_mp_offset": _offset(settings)}
    if symmetric and uses_symmetry(structure, settings):
        entries |= {"symmetry_generate": "", "snap_to_symmetry": "", "symmetry_tol": f"{SYMMETRY_ANGSTROM:g} ang"}
    frozen = frozen_components(structure)
    moves = task != "static"
    if moves and frozen.all():
        entries["fix_all_ions"] = "true"
    elif moves:
        entries["fix_com"] = "false" if frozen.any() else "true"
    if task in ("relax", None):
        entries["fix_all_cell"] = "true"
    check_keywords(entries, CELL, f"{SEED}.cell")
    out += [f"{name.upper()} : {value}" if value else name.upper() for name, value in entries.items()] + [""]
    if task == "relax_c":
        check_c_is_normal(structure)
        out += _block("CELL_CONSTRAINTS", ["0 0 1", "0 0 0"])
    if moves and frozen.any() and not frozen.all():
        out += _block("IONIC_CONSTRAINTS", _constraints(structure, frozen))
    pseudo = [library] if library else []
    pseudo += [f"{element:<3} {file}" for element, file in sorted((potentials or {}).items())]
    if pseudo:
        out += _block("SPECIES_POT", pseudo)
    return "\n".join(out).rstrip() + "\n"


def _block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"%BLOCK {name}", *lines, f"%ENDBLOCK {name}", ""]


def _row(vector: Iterable[float]) -> str:
    return " ".join(f"{0.0 if abs(x) < 5e-13 else x:18.12f}" for x in vector)


def _offset(settings: Electronic) -> str:
    """A mesh with Gamma on it: CASTEP's own one misses it along axes with an even number by half a step."""
    steps = (0.5 / n if settings.gamma_centred and n % 2 == 0 else 0.0 for n in settings.mesh)
    return " ".join(f"{x:.12g}" for x in steps)


def _constraints(structure: Structure, frozen: np.ndarray) -> list[str]:
    lines: list[str] = []
    for (symbol, number), held in zip(number_in_species(structure), frozen, strict=True):
        for axis in np.flatnonzero(held):
            unit = " ".join(f"{float(axis == i):.1f}" for i in range(3))
            lines.append(f"{len(lines) + 1:5d} {symbol:<3}{number:5d}  {unit}")
    return lines


def check_c_is_normal(structure: Structure) -> None:
    """Refuse to relax the cell along z where that is not the length of c alone.

    CASTEP constrains the lengths a, b, c and the angles; a length c at fixed angles is a strain along the normal of
    a and b only if c is parallel to it.

    Raises
    ------
    EngineError
        If c leans by more than 0.01 degrees.
    """
    if max(abs(structure.lattice.alpha - 90.0), abs(structure.lattice.beta - 90.0)) > 0.01:
        raise EngineError(
            f"CASTEP cannot relax the height of {structure.formula} alone: c is not normal to a and b "
            f"(alpha {structure.lattice.alpha:.2f}, beta {structure.lattice.beta:.2f} degrees)",
            "use a cell with c along the normal, or an engine that masks the stress",
        )


def param_text(entries: Mapping[str, str], title: str) -> str:
    """The ``.param`` file."""
    width = max(map(len, entries))
    return "\n".join([f"# {title}", *(f"{name:<{width}} : {value}" for name, value in entries.items())]) + "\n"


def write_files(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Write text files, each whole or not at all; their names.

    Raises
    ------
    EngineError
        If the folder cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"cannot write '{directory}': {error.strerror}", "check the folder") from None
    for name, text in files.items():
        write_whole(directory / name, text)
    return list(files)


def find_potential(element: str, folder: Path) -> Path:
    """The pseudopotential file of one element: ``Li.usp``, ``Li_C19_PBE_OTF.usp``, ``Li_00PBE.usp``, ...

    Raises
    ------
    EngineError
        If there is none, or several and not exactly one has PBE in its name; the folder tried is named.
    """
    if not folder.is_dir():
        raise EngineError(
            f"CASTEP pseudopotentials: '{folder}' is no folder", "set castep: potentials: in the settings"
        )
    pattern = re.compile(rf"{element}(?:[_.-].*)?\.(?:{'|'.join(SUFFIXES)})\Z", re.IGNORECASE)
    found = sorted(p for p in folder.iterdir() if pattern.match(p.name) and p.name.startswith(element) and p.is_file())
    chosen = found if len(found) == 1 else [p for p in found if "PBE" in p.name.upper()]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise EngineError(
            f"CASTEP pseudopotential of {element}: no {element}_*.{{{','.join(SUFFIXES)}}} in '{folder}'",
            "put one there, or name an on-the-fly library in the settings",
        )
    raise EngineError(
        f"CASTEP pseudopotential of {element}: {', '.join(p.name for p in found)} in '{folder}'", "leave one there"
    )
