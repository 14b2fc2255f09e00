"""What VASP wrote, turned into one outcome; nothing that is cut off, unconverged or not of the card passes as a number.

vasprun.xml gives the numbers. OUTCAR must agree with its last energy, and must have been finished.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Outcome, Task
from anodeflow.workflows.engines.vasp.inputs import CONSTRAINTS_SINCE, DECISIVE, VaspInputs

# Energies of OUTCAR and vasprun.xml agree to this, eV.
AGREEMENT_EV = 1e-4
KILOBAR_TO_GPA = 0.1
# In-plane lattice vectors may not move by more, angstrom.
RIGID_ANGSTROM = 1e-4
# Stress components (Voigt order xx yy zz yz xz xy, as index pairs) that a task relaxes.
RELAXED_STRESS = {"relax_cell": [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], "relax_c": [(2, 2)]}

_ENERGY = re.compile(r"energy  without entropy=\s*(\S+)\s+energy\(sigma->0\) =\s*(\S+)")
_VERSION = re.compile(r"^\s*(\S*?)\.?(\d+)\.(\d+)(?:\.(\d+))?\S*\s")
_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass
class Outcar:
    """What is read of an OUTCAR."""

    version: str | None = None
    energies_ev: tuple[float, ...] = ()
    finished: bool = False
    accurate: bool = False
    stopped: bool = False
    lines: int = 0


def read_outcar(path: Path) -> Outcar:
    """Version, energies(sigma->0) of the ionic steps, and how it ended; an empty record where there is no file."""
    found, energies = Outcar(), []
    try:
        with path.open(errors="replace") as handle:
            for number, line in enumerate(handle):
                if number == 0:
                    found.version = line.strip().split(" ")[0] or None
                if "energy  without entropy=" in line:
                    match = _ENERGY.search(line)
                    energies.append(_float(match[2]) if match else math.nan)
                elif "reached required accuracy" in line:
                    found.accurate = True
                elif "soft stop encountered" in line or "hard stop encountered" in line:
                    found.stopped = True
                elif "General timing and accounting" in line:
                    found.finished = True
                found.lines = number + 1
    except OSError:
        return Outcar()
    found.energies_ev = tuple(energies)
    return found


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def version_number(text: str | None) -> tuple[int, int, int] | None:
    """(6, 4, 2) of ``vasp.6.4.2``, or None."""
    match = _NUMBER.search(text or "")
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def constraints_unknown(version: str | None) -> bool:
    """Whether a version of VASP ignores LATTICE_CONSTRAINTS in a relaxation."""
    number = version_number(version)
    return number is not None and number < CONSTRAINTS_SINCE


def too_old(version: str | None) -> EngineError:
    """What is said of a VASP that would relax the whole cell where only its height may change."""
    return EngineError(
        f"{version} ignores LATTICE_CONSTRAINTS in a relaxation and would relax the whole cell "
        f"(known from VASP {'.'.join(map(str, CONSTRAINTS_SINCE))} on)",
        "use a newer VASP for cells that relax along z only (interfaces, strained crystals)",
    )


@dataclass
class IonicStep:
    """One ionic step, atoms in the order of the POSCAR."""

    energy_ev: float
    forces: np.ndarray
    stress_kbar: np.ndarray | None
    lattice: np.ndarray
    frac_coords: np.ndarray
    electronic_steps: int
    last_change_ev: float


@dataclass
class Vasprun:
    """What is read of a vasprun.xml. `cut_off` names the line where it ends too early."""

    program: str
    version: str
    symbols: list[str]
    titles: list[str]
    incar: dict[str, Any]
    parameters: dict[str, Any]
    mesh: tuple[int, ...] | None
    steps: list[IonicStep]
    cut_off: str | None = None


def read_vasprun(path: Path) -> Vasprun:
    """Read a vasprun.xml, whole or cut off.

    Raises
    ------
    EngineError
        If it is not there, is no vasprun.xml, or ends before the first ionic step does.
    """
    from pymatgen.io.vasp.outputs import Vasprun as Reader

    if not path.is_file():
        raise EngineError(f"no '{path}': VASP wrote no results", "look at vasp.out and std_err.txt beside it")
    options = {"parse_dos": False, "parse_eigen": False, "parse_potcar_file": False}
    cut_off = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            try:
                run = Reader(str(path), exception_on_bad_xml=True, **options)
            except SyntaxError as error:  # lxml's, without importing it here
                cut_off = f"vasprun.xml ends too early, at line {error.lineno}"
                run = Reader(str(path), exception_on_bad_xml=False, **options)
            steps = [_step(step) for step in run.ionic_steps]
            if not steps:
                raise IndexError
            kpoints = run.kpoints
            mesh = tuple(int(n) for n in kpoints.kpts[0]) if kpoints is not None and kpoints.num_kpts == 0 else None
            return Vasprun(
                program=str(run.generator.get("program", "")).strip().lower(),
                version=str(run.generator.get("version", "")).strip(),
                symbols=[str(symbol) for symbol in run.atomic_symbols],
                titles=[" ".join(str(title).split()) for title in run.potcar_symbols],
                incar=dict(run.incar),
                parameters=dict(run.parameters),
                mesh=mesh,
                steps=steps,
                cut_off=cut_off,
            )
        except EngineError:
            raise
        except Exception as error:  # pymatgen's reader fails in many ways on files that are cut off or broken
            where = cut_off or f"{type(error).__name__}: {error}"
            raise EngineError(
                f"'{path}' holds no complete ionic step ({where})", "look at vasp.out beside it, and run it again"
            ) from None


def _step(step: dict[str, Any]) -> IonicStep:
    """One ionic step; the entropy is that of its last iteration, VASP 5.4 writes a wrong e_0_energy behind it."""
    iterations = [it for it in step["electronic_steps"] if "e_fr_energy" in it]
    if "e_0_energy" not in iterations[-1]:
        raise KeyError("e_0_energy")
    energy = step["e_fr_energy"] + iterations[-1]["e_0_energy"] - iterations[-1]["e_fr_energy"]
    changes = [b["e_fr_energy"] - a["e_fr_energy"] for a, b in itertools.pairwise(iterations)]
    structure = step["structure"]
    forces = np.asarray(step["forces"], dtype=float)
    if forces.shape != (len(structure), 3):
        raise ValueError(f"forces of shape {forces.shape}")
    stress = step.get("stress")
    return IonicStep(
        energy_ev=float(energy),
        forces=forces,
        stress_kbar=None if stress is None else np.asarray(stress, dtype=float).reshape(3, 3),
        lattice=np.array(structure.lattice.matrix),
        frac_coords=np.array(structure.frac_coords),
        electronic_steps=len(step["electronic_steps"]),
        last_change_ev=abs(float(changes[-1])) if changes else 0.0,
    )


def outcome_of(
    directory: Path, start: Structure, inputs: VaspInputs, task: Task, card: MethodCard, *, stand_in: bool
) -> Outcome:
    """The outcome of the run in a folder, atoms in the order of `start`.

    Parameters
    ----------
    directory
        Holds vasprun.xml and OUTCAR.
    start
        What was asked for; its species, order and site properties come back.
    inputs
        What was written for it.
    task, card
        What was to be done; the tolerances are checked here, whatever VASP says of its own.
    stand_in
        Whether a test program's results are accepted.

    Raises
    ------
    EngineError
        If there is no complete ionic step, or the results are those of another program, cell or POTCAR.
    """
    run = read_vasprun(directory / "vasprun.xml")
    outcar = read_outcar(directory / "OUTCAR")
    check_program(run.program, directory / "vasprun.xml", stand_in)
    _check_cell(run, inputs, directory)
    last = run.steps[-1]
    back = np.argsort(inputs.order)
    forces = last.forces[back]
    free = free_components(start)
    strength = np.linalg.norm(np.where(free, forces, 0.0), axis=1)
    positions = [unwrapped(start, step.lattice, step.frac_coords[back]) for step in run.steps]
    final = Structure(
        last.lattice, start.species, positions[-1], coords_are_cartesian=True, site_properties=start.site_properties
    )
    energies = [step.energy_ev for step in run.steps]
    problems = list(_problems(run, outcar, inputs))
    stress = _largest_stress(last, task)
    finite = math.isfinite(last.energy_ev) and np.isfinite(forces).all() and np.isfinite(last.frac_coords).all()
    outcome = Outcome(
        structure=final if finite else start,
        energy_ev=last.energy_ev if finite else None,
        ionic_converged=None,
        electronic_converged=electronic_converged(last, inputs),
        ionic_steps=0 if task == "static" else len(run.steps),
        max_force_ev_per_angstrom=float(strength.max()) if finite else None,
        max_stress_gpa=stress,
        energy_change_last_step_ev=energies[-1] - energies[-2] if len(energies) > 1 else 0.0,
        arrays={
            "forces_ev_per_angstrom": forces,
            "energies_ev": np.array(energies),
            "positions_angstrom": np.array(positions),
            "cells_angstrom": np.array([step.lattice for step in run.steps]),
            "program": f"{run.program} {run.version}",
        },
    )
    if last.stress_kbar is not None:
        # VASP's stress is minus the derivative of the energy by the strain; here, as in ASE, tension is positive.
        outcome.arrays["stress_gpa"] = -last.stress_kbar * KILOBAR_TO_GPA
    if not finite:
        outcome.ionic_converged = None if task == "static" else False
        problems.insert(0, f"energy or forces of ionic step {len(run.steps)} are no numbers")
    elif outcome.electronic_converged is False:
        problems.append(
            f"the electrons did not converge in the last ionic step: {last.electronic_steps} iterations, last change "
            f"{last.last_change_ev:.1e} eV (EDIFF {inputs.settings.energy_tolerance_ev:g})"
        )
    if task != "static" and finite:
        problems += _ionic(outcome, outcar, task, card, len(run.steps))
    if task == "relax_c" and finite and np.abs(last.lattice[:2] - start.lattice.matrix[:2]).max() > RIGID_ANGSTROM:
        raise too_old(f"{run.program} {run.version}")
    outcome.warnings += _warnings(run, inputs)
    outcome.error = "; ".join(problems) or None
    return outcome


def _ionic(outcome: Outcome, outcar: Outcar, task: Task, card: MethodCard, steps: int) -> Iterator[str]:
    """Judge the relaxation by its forces and stress; what is wrong."""
    force, tolerance = outcome.max_force_ev_per_angstrom or 0.0, card.force_tolerance_ev_per_angstrom
    stress, limit = outcome.max_stress_gpa, card.stress_tolerance_gpa
    relaxed = force <= tolerance * (1 + 1e-6)
    says = f"force {force:.4f} eV/angstrom (tolerance {tolerance})"
    if task in RELAXED_STRESS:
        if stress is None or not math.isfinite(stress):
            outcome.ionic_converged = False
            yield "no stress in vasprun.xml, so the cell cannot be judged"
            return
        relaxed = relaxed and stress <= limit * (1 + 1e-6)
        says += f", stress {stress:.3f} GPa (tolerance {limit})"
    outcome.ionic_converged = relaxed
    if not relaxed:
        yield f"{'stopped' if outcar.stopped else 'not relaxed'} after {steps} steps: {says}"


def _problems(run: Vasprun, outcar: Outcar, inputs: VaspInputs) -> Iterator[str]:
    if run.cut_off is not None:
        yield f"{run.cut_off}; the last complete ionic step is {len(run.steps)}"
    elif not outcar.finished:
        yield f"OUTCAR ends too early, at line {outcar.lines}: VASP did not finish, or the disk is full"
    elif not outcar.energies_ev or not abs(outcar.energies_ev[-1] - run.steps[-1].energy_ev) <= AGREEMENT_EV:
        written = f"{outcar.energies_ev[-1]:.6f}" if outcar.energies_ev else "none"
        yield (
            f"OUTCAR and vasprun.xml disagree in the last energy(sigma->0): {written} and "
            f"{run.steps[-1].energy_ev:.6f} eV"
        )
    changed = changed_tags(run, inputs)
    if changed:
        yield f"not computed with the card's settings: {'; '.join(changed)} (an error handler changed them)"


def _warnings(run: Vasprun, inputs: VaspInputs) -> list[str]:
    earlier = [i + 1 for i, step in enumerate(run.steps[:-1]) if not electronic_converged(step, inputs)]
    if not earlier:
        return []
    named = ", ".join(map(str, earlier[:5])) + (", ..." if len(earlier) > 5 else "")
    return [f"the electrons did not converge in ionic step(s) {named}, before the last one"]


def electronic_converged(step: IonicStep, inputs: VaspInputs) -> bool:
    """Fewer iterations than allowed, and a last change of the energy within EDIFF (a run may be stopped between)."""
    allowed = int(inputs.incar.get("NELM", 60))
    small = step.last_change_ev <= inputs.settings.energy_tolerance_ev * 1.01 + 1e-8
    return step.electronic_steps < allowed and small


def changed_tags(run: Vasprun, inputs: VaspInputs) -> list[str]:
    """Settings that decide the energy and are not what was written for the card."""
    changed = []
    for tag in DECISIVE:
        wanted, used = inputs.incar.get(tag), run.incar.get(tag)
        if tag == "EDIFF" and used is not None and wanted is not None and float(used) <= float(wanted):
            continue  # tighter is no other calculation
        if not _same(wanted, used):
            changed.append(
                f"{tag} is {used if used is not None else 'unset'}, not {wanted if wanted is not None else 'unset'}"
            )
    if run.mesh is not None and run.mesh != tuple(inputs.settings.mesh):
        changed.append(f"k-points {run.mesh}, not {inputs.settings.mesh}")
    return changed


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return bool(one) == bool(other) if not isinstance(one, str) and not isinstance(other, str) else one == other
    try:
        # vasprun.xml has eight decimals
        return math.isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-8)
    except (TypeError, ValueError):
        # vasprun.xml shortens words: 'accura', 'A'
        a, b = str(one).strip().lower(), str(other).strip().lower()
        return bool(a and b) and (a.startswith(b) or b.startswith(a))


def check_program(program: str, file: Path, stand_in: bool) -> None:
    """Whether a vasprun.xml was written by VASP.

    Raises
    ------
    EngineError
        If not, and no stand-in is announced in the settings.
    """
    if program.lower() != "vasp" and not stand_in:
        raise EngineError(
            f"'{file}' was written by '{program or 'an unnamed program'}', not by VASP",
            "set vasp.command to VASP; for a test program behind VASP's files set vasp.stand_in: true",
        )


def _check_cell(run: Vasprun, inputs: VaspInputs, directory: Path) -> None:
    wanted = [site.specie.symbol for site in inputs.structure]
    if run.symbols != wanted:
        cell, asked = _kinds(run.symbols), _kinds(wanted)
        raise EngineError(
            f"'{directory / 'vasprun.xml'}' is of other atoms ({cell}) than asked for ({asked})",
            "remove the folder, and run it again",
        )
    titles = [" ".join(title.split()) for title in inputs.titles]
    if titles and run.titles and run.titles != titles:
        raise EngineError(
            f"'{directory / 'vasprun.xml'}' was computed with POTCARs {', '.join(run.titles)}, not {', '.join(titles)}",
            "remove the folder, and run it again",
        )


def _kinds(symbols: list[str]) -> str:
    return f"{len(symbols)}: {' '.join(dict.fromkeys(symbols))}"


def _largest_stress(step: IonicStep, task: Task) -> float | None:
    if step.stress_kbar is None:
        return None
    pairs = RELAXED_STRESS.get(task)
    stress = step.stress_kbar if pairs is None else np.array([step.stress_kbar[i, j] for i, j in pairs])
    return float(np.abs(stress).max() * KILOBAR_TO_GPA)


def free_components(structure: Structure) -> np.ndarray:
    """(N, 3) booleans: whether an atom may move along a lattice vector, from ``selective_dynamics``."""
    frozen = structure.site_properties.get("selective_dynamics")
    if frozen is None:
        return np.ones((len(structure), 3), dtype=bool)
    return np.array([[True] * 3 if flags is None else list(flags) for flags in frozen], dtype=bool)


def unwrapped(start: Structure, lattice: np.ndarray, frac_coords: np.ndarray) -> np.ndarray:
    """Cartesian positions, each atom in the periodic image nearest to where it started; VASP folds them back."""
    frac = frac_coords - np.round(frac_coords - start.frac_coords)
    positions: np.ndarray = frac @ lattice
    return positions
