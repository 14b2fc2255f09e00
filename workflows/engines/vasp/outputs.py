"""What VASP wrote, turned into one outcome; nothing that is cut off, unconverged or not of the card passes as a number.

vasprun.xml gives the numbers. OUTCAR must agree with every energy and with the last geometry, forces and stress, and
must have been finished. The lines of both are read in :mod:`anodeflow.analysis.trajectories`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.trajectories.outcar import OutcarReader, OutcarStep
from anodeflow.analysis.trajectories.vasprun_reader import VasprunReader
from anodeflow.analysis.trajectories.vasprun_steps import VasprunHead, VasprunStep
from anodeflow.errors import EngineError, InputError
from anodeflow.units import KILOBAR_TO_GPA
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import parts
from anodeflow.workflows.engines.contract import Outcome, Reason, Request, Task
from anodeflow.workflows.engines.vasp.inputs import CONSTRAINTS_SINCE, DECISIVE, Inputs

_CHUNK = 1 << 20
# What OUTCAR and vasprun.xml may differ by: OUTCAR has six decimals of energies and forces at least, five of positions.
SAME_ENERGY_EV, SAME_FORCE_EV_PER_ANGSTROM, SAME_PLACE_ANGSTROM, SAME_STRESS_KBAR = 2e-6, 2e-5, 2e-5, 1e-3
# In-plane lattice vectors may not move by more, angstrom.
_RIGID_ANGSTROM = 1e-4
# Stress components that a task relaxes, as index pairs.
_RELAXED_STRESS = {"relax_cell": [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], "relax_c": [(2, 2)]}
# In the order of OUTCAR.
_OUTCAR_STRESS = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]
# Of several reasons the one that comes first here is given.
_GRAVEST = (
    Reason.EXPLODED, Reason.DAMAGED, Reason.FAILED, Reason.ELECTRONS, Reason.OUT_OF_TIME, Reason.STOPPED,
    Reason.NOT_RELAXED,
)  # fmt: skip
_LOOK = "look at vasp.out beside it, and run it again"
_NUMBER = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")

_Problem = tuple[Reason, str]


def version_number(text: str | None) -> tuple[int, int, int] | None:
    """Return (6, 4, 2) of ``vasp.6.4.2``, or None."""
    match = _NUMBER.search(text or "")
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def constraints_unknown(version: str | None) -> bool:
    """Return whether a version of VASP ignores LATTICE_CONSTRAINTS in a relaxation."""
    number = version_number(version)
    return number is not None and number < CONSTRAINTS_SINCE


def too_old(version: str | None) -> EngineError:
    """Return what is said of a VASP that would relax the whole cell where only its height may change."""
    return EngineError(
        f"{version} ignores LATTICE_CONSTRAINTS in a relaxation and would relax the whole cell "
        f"(known from VASP {'.'.join(map(str, CONSTRAINTS_SINCE))} on)",
        "use a newer VASP for cells that relax along z only (interfaces, strained crystals)",
    )


@dataclass
class Run:
    """What was read of a run.

    Attributes
    ----------
    head, steps
        Of vasprun.xml, atoms in the order of the POSCAR; at least one step.
    outcar, outcar_steps
        How OUTCAR says that the run went, and its steps.
    cut_off
        Why there are no further steps in vasprun.xml, if it has no proper end.
    """

    head: VasprunHead
    steps: list[VasprunStep]
    outcar: OutcarReader
    outcar_steps: list[OutcarStep]
    cut_off: str | None = None

    @property
    def program(self) -> str:
        """Name and version of the program."""
        return f"{self.head.program.lower()} {self.head.version}"


class Reader:
    """Reads vasprun.xml and OUTCAR of a folder."""

    def __init__(self, folder: Path) -> None:
        self.file, self._outcar = folder / "vasprun.xml", folder / "OUTCAR"

    def read(self) -> Run:
        """Read both, complete or cut off.

        Raises
        ------
        EngineError
            If there is no vasprun.xml, or it ends before the first ionic step does.
        """
        if not self.file.is_file():
            raise EngineError(f"no '{self.file}': VASP wrote no results", "look at vasp.out and std_err.txt beside it")
        reader = VasprunReader(self.file, strict=False)
        steps: list[Any] = []
        cut_off = None
        try:
            with self.file.open("rb") as handle:
                while data := handle.read(_CHUNK):
                    steps += reader.feed(data)
        except InputError as error:
            cut_off = f"vasprun.xml is damaged ({error.problem})"
        except OSError as error:
            raise EngineError(f"cannot read '{self.file}': {error.strerror}", "check it") from None
        if cut_off is None and not reader.ended:
            cut_off = f"vasprun.xml ends too early, at line {reader.line_of_end}"
        if not steps:
            raise EngineError(f"'{self.file}' holds no complete ionic step ({cut_off or 'it has none'})", _LOOK)
        if steps[-1].forces is None:
            raise EngineError(f"'{self.file}' has no forces in ionic step {len(steps)}", _LOOK)
        outcar = OutcarReader(self._outcar, len(steps[-1].fractional))
        return Run(reader.head, steps, outcar, outcar.read(), cut_off)


def outcome_of(folder: Path, request: Request, inputs: Inputs, *, stand_in: bool) -> Outcome:
    """Return the outcome of the run in a folder, atoms in the order of the structure asked for.

    Parameters
    ----------
    folder
        Holds vasprun.xml and OUTCAR.
    request
        What was asked for: species, order and site properties of its structure come back; the tolerances of its card
        are checked here, whatever VASP says of them.
    inputs
        What was written for it.
    stand_in
        Whether a test program's results are accepted.

    Raises
    ------
    EngineError
        If there is no complete ionic step, or the results are those of another program, cell or POTCAR.
    """
    run = Reader(folder).read()
    check_program(run.head.program, folder / "vasprun.xml", stand_in)
    _check_cell(run, inputs, folder)
    outcome = _numbers(run, request, inputs)
    problems = list(_problems(run, inputs))
    if outcome.energy_ev is None:
        problems.insert(0, (Reason.EXPLODED, f"energy or forces of ionic step {len(run.steps)} are not numbers"))
    else:
        problems += _unconverged(run, outcome, request, inputs, folder)
    if request.task == "relax_c" and outcome.energy_ev is not None:
        moved = run.steps[-1].cell[:2] - request.structure.lattice.matrix[:2]
        if np.abs(moved).max() > _RIGID_ANGSTROM:
            raise too_old(run.program)
    outcome.warnings += _warnings(run, inputs)
    outcome.error = "; ".join(text for _, text in problems) or None
    outcome.reason = _gravest(reason for reason, _ in problems)
    return outcome


def _gravest(reasons: Iterable[Reason]) -> Reason | None:
    """Return the reason that is to be given where there are several; None for none."""
    return min(reasons, key=_GRAVEST.index, default=None)


def _numbers(run: Run, request: Request, inputs: Inputs) -> Outcome:
    """Return the numbers of a run; no energy where one of the last step is none."""
    last, start, task = run.steps[-1], request.structure, request.task
    if last.forces is None:
        raise EngineError("the last ionic step has no forces", _LOOK)
    back = np.argsort(inputs.order)
    forces = last.forces[back]
    strength = np.linalg.norm(np.where(free_components(start), forces, 0.0), axis=1)
    positions = [unwrapped(start, step.cell, step.fractional[back]) for step in run.steps]
    final = Structure(
        last.cell, start.species, positions[-1], coords_are_cartesian=True, site_properties=start.site_properties
    )
    energies = [_energy(step) for step in run.steps]
    finite = math.isfinite(energies[-1]) and bool(np.isfinite(forces).all() and np.isfinite(last.fractional).all())
    outcome = Outcome(
        structure=final if finite else start,
        energy_ev=energies[-1] if finite else None,
        ionic_converged=None if finite or task == "static" else False,
        electronic_converged=electronic_converged(last, inputs),
        ionic_steps=0 if task == "static" else len(run.steps),
        max_force_ev_per_angstrom=float(strength.max()) if finite else None,
        max_stress_gpa=_largest_stress(last, task),
        energy_change_last_step_ev=energies[-1] - energies[-2] if len(energies) > 1 else 0.0,
        arrays={
            "forces_ev_per_angstrom": forces,
            "energies_ev": np.array(energies),
            "positions_angstrom": np.array(positions),
            "cells_angstrom": np.array([step.cell for step in run.steps]),
            "program": run.program,
        },
    )
    outcome.dispersion = parts(request.card, outcome.energy_ev, last.added_ev, run.program)
    if last.stress_kbar is not None:
        # VASP's stress is minus the derivative of the energy by the strain; here, as in ASE, tension is positive.
        outcome.arrays["stress_gpa"] = -last.stress_kbar * KILOBAR_TO_GPA
    return outcome


def _energy(step: VasprunStep) -> float:
    energy = step.energy_sigma0_ev
    return math.nan if energy is None else float(energy)


def _unconverged(run: Run, outcome: Outcome, request: Request, inputs: Inputs, folder: Path) -> Iterator[_Problem]:
    """Yield what of a run with sound numbers did not converge; set whether the ions of the outcome did."""
    last = run.steps[-1]
    if outcome.electronic_converged is False:
        yield (
            Reason.ELECTRONS,
            f"the electrons did not converge in the last ionic step: {last.electronic_steps} iterations, last change "
            f"{last.last_change_ev or 0.0:.1e} eV (EDIFF {inputs.settings.energy_tolerance_ev:g})",
        )
    if request.task != "static":
        yield from _ionic(outcome, run, request.task, request.card, folder)


def _ionic(outcome: Outcome, run: Run, task: Task, card: MethodCard, folder: Path) -> Iterator[_Problem]:
    """Judge the relaxation by its forces and stress; yield what is wrong."""
    force, tolerance = outcome.max_force_ev_per_angstrom or 0.0, card.force_tolerance_ev_per_angstrom
    stress, limit = outcome.max_stress_gpa, card.stress_tolerance_gpa
    relaxed = force <= tolerance * (1 + 1e-6)
    says = f"force {force:.4f} eV/angstrom (tolerance {tolerance})"
    if task in _RELAXED_STRESS:
        if stress is None or not math.isfinite(stress):
            outcome.ionic_converged = False
            yield Reason.DAMAGED, "no stress in vasprun.xml, so the cell cannot be judged"
            return
        relaxed = relaxed and stress <= limit * (1 + 1e-6)
        says += f", stress {stress:.3f} GPa (tolerance {limit})"
    outcome.ionic_converged = relaxed
    if not relaxed and run.outcar.stopped:
        reason = Reason.OUT_OF_TIME if out_of_time(folder) else Reason.STOPPED
        yield reason, f"stopped after {len(run.steps)} steps: {says}"
    elif not relaxed:
        yield Reason.NOT_RELAXED, f"not relaxed after {len(run.steps)} steps: {says}"


def corrections(folder: Path) -> list[dict[str, Any]]:
    """Return what custodian's handlers did, from its log; nothing where there is none that can be read."""
    try:
        log = json.loads((folder / "custodian.json").read_text())
        return [correction for job in log for correction in job.get("corrections", [])]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def out_of_time(folder: Path) -> bool:
    """Return whether custodian stopped VASP because the batch job was nearly over."""
    return any("Walltime" in str(correction.get("errors")) for correction in corrections(folder))


def _problems(run: Run, inputs: Inputs) -> Iterator[_Problem]:
    outcar = run.outcar
    if run.cut_off is not None:
        yield Reason.DAMAGED, f"{run.cut_off}; the last complete ionic step is {len(run.steps)}"
    elif not outcar.finished:
        yield (
            Reason.DAMAGED,
            f"OUTCAR ends too early, at line {outcar.lines}: VASP did not finish, or the disk is full",
        )
    else:
        disagreement = next(_disagreements(run), None)
        if disagreement is not None:
            yield Reason.DAMAGED, f"OUTCAR and vasprun.xml disagree in {disagreement}"
    for problem in run.steps[-1].problems:
        yield Reason.DAMAGED, f"vasprun.xml contradicts itself in ionic step {len(run.steps)}: {problem}"
    changed = _changed_tags(run, inputs)
    if changed:
        yield (
            Reason.FAILED,
            f"not computed with the card's settings: {'; '.join(changed)} (an error handler changed them)",
        )


def _disagreements(run: Run) -> Iterator[str]:
    """Yield in what OUTCAR and vasprun.xml differ."""
    energies, steps = run.outcar.energies_ev, run.steps
    if not energies or not _close(energies[-1], _energy(steps[-1]), SAME_ENERGY_EV):
        written = f"{energies[-1]:.6f}" if energies else "none"
        yield f"the last energy(sigma->0): {written} and {_energy(steps[-1]):.6f} eV"
    elif len(energies) != len(steps):
        yield f"the number of ionic steps: {len(energies)} and {len(steps)}"
    else:
        for number, (energy, step) in enumerate(zip(energies, steps, strict=True), 1):
            if not _close(energy, _energy(step), SAME_ENERGY_EV):
                yield f"the energy(sigma->0) of ionic step {number}: {energy:.6f} and {_energy(step):.6f} eV"
        if len(run.outcar_steps) == len(steps):
            for number, (from_outcar, step) in enumerate(zip(run.outcar_steps, steps, strict=True), 1):
                yield from (f"the {quantity} of ionic step {number}" for quantity in _apart(from_outcar, step))


def _apart(from_outcar: OutcarStep, step: VasprunStep) -> Iterator[str]:
    """Yield what of one ionic step OUTCAR and vasprun.xml disagree in; rows that cannot be read do not count."""
    readable = np.isfinite(from_outcar.positions).all(axis=1) & np.isfinite(from_outcar.forces).all(axis=1)
    moved = (from_outcar.positions @ np.linalg.inv(step.cell) - step.fractional)[readable]
    if not _close((moved - np.round(moved)) @ step.cell, 0.0, SAME_PLACE_ANGSTROM):
        yield "positions"
    if step.forces is not None and not _close(
        (from_outcar.forces - step.forces)[readable], 0.0, SAME_FORCE_EV_PER_ANGSTROM
    ):
        yield "forces"
    if step.stress_kbar is not None and from_outcar.stress_kbar is not None:
        stress = np.array([step.stress_kbar[i, j] for i, j in _OUTCAR_STRESS])
        if not _close(from_outcar.stress_kbar, stress, SAME_STRESS_KBAR):
            yield "stress"


def _close(value: Any, other: Any, within: float) -> bool:
    """Return whether numbers agree; where both are none they do, and that is told elsewhere."""
    return bool(np.allclose(value, other, rtol=0.0, atol=within, equal_nan=True))


def _warnings(run: Run, inputs: Inputs) -> list[str]:
    lines = []
    earlier = [i + 1 for i, step in enumerate(run.steps[:-1]) if not electronic_converged(step, inputs)]
    if earlier:
        named = ", ".join(map(str, earlier[:5])) + (", ..." if len(earlier) > 5 else "")
        lines.append(f"the electrons did not converge in ionic step(s) {named}, before the last one")
    odd = [str(i + 1) for i, step in enumerate(run.steps[:-1]) if step.problems]
    if odd:
        lines.append(f"vasprun.xml contradicts itself in ionic step(s) {', '.join(odd[:5])}, before the last one")
    if run.head.odd:
        lines.append(f"values in vasprun.xml that are none, and are not used: {', '.join(run.head.odd[:5])}")
    return lines


def electronic_converged(step: VasprunStep, inputs: Inputs) -> bool:
    """Return whether the electrons of a step converged, by the limit and the tolerance that were asked for."""
    tolerance = inputs.settings.energy_tolerance_ev
    return step.electrons_converged(int(inputs.incar.get("NELM", 60)), tolerance) is not False


def _changed_tags(run: Run, inputs: Inputs) -> list[str]:
    """Return the settings that decide the energy and are not what was written for the card."""
    changed = []
    for tag in DECISIVE:
        wanted, used = inputs.incar.get(tag), run.head.incar.get(tag)
        if tag == "EDIFF" and wanted is not None and isinstance(used, int | float) and used <= float(wanted):
            continue  # tighter is not another calculation
        if not _same(wanted, used):
            changed.append(
                f"{tag} is {used if used is not None else 'unset'}, not {wanted if wanted is not None else 'unset'}"
            )
    if run.head.mesh is not None and run.head.mesh != tuple(inputs.settings.mesh):
        changed.append(f"k-points {run.head.mesh}, not {inputs.settings.mesh}")
    return changed


def _same(value: Any, other: Any) -> bool:
    if value is None or other is None or isinstance(value, bool) or isinstance(other, bool):
        return (
            bool(value) == bool(other) if not isinstance(value, str) and not isinstance(other, str) else value == other
        )
    try:
        # vasprun.xml has eight decimals
        return math.isclose(float(value), float(other), rel_tol=1e-6, abs_tol=1e-8)
    except (TypeError, ValueError):
        # vasprun.xml shortens words: 'accura', 'A'
        a, b = str(value).strip().lower(), str(other).strip().lower()
        return bool(a and b) and (a.startswith(b) or b.startswith(a))


def check_program(program: str, file: Path, stand_in: bool) -> None:
    """Check that a vasprun.xml was written by VASP.

    Parameters
    ----------
    program
        What the file names.
    file
        For the message.
    stand_in
        Whether the settings announce a test program.

    Raises
    ------
    EngineError
        If it was not, and no stand-in is announced.
    """
    if program.lower() != "vasp" and not stand_in:
        raise EngineError(
            f"'{file}' was written by '{program or 'an unnamed program'}', not by VASP",
            "set vasp.command to VASP; for a test program behind VASP's files set vasp.stand_in: true",
        )


def _check_cell(run: Run, inputs: Inputs, folder: Path) -> None:
    wanted = [site.specie.symbol for site in inputs.structure]
    symbols = [] if run.head.species is None else [str(symbol) for symbol in run.head.species]
    if symbols != wanted:
        cell, asked = _kinds(symbols), _kinds(wanted)
        raise EngineError(
            f"'{folder / 'vasprun.xml'}' is of other atoms ({cell}) than asked for ({asked})",
            "remove the folder, and run it again",
        )
    titles = [" ".join(title.split()) for title in inputs.titles]
    if titles and run.head.titles and run.head.titles != titles:
        raise EngineError(
            f"'{folder / 'vasprun.xml'}' was computed with POTCARs {', '.join(run.head.titles)}, not "
            f"{', '.join(titles)}",
            "remove the folder, and run it again",
        )


def _kinds(symbols: list[str]) -> str:
    return f"{len(symbols)}: {' '.join(dict.fromkeys(symbols))}"


def _largest_stress(step: VasprunStep, task: Task) -> float | None:
    if step.stress_kbar is None:
        return None
    pairs = _RELAXED_STRESS.get(task)
    stress = step.stress_kbar if pairs is None else np.array([step.stress_kbar[i, j] for i, j in pairs])
    return float(np.abs(stress).max() * KILOBAR_TO_GPA)


def free_components(structure: Structure) -> np.ndarray:
    """Return (N, 3) booleans: whether an atom may move along a lattice vector, from ``selective_dynamics``."""
    frozen = structure.site_properties.get("selective_dynamics")
    if frozen is None:
        return np.ones((len(structure), 3), dtype=bool)
    return np.array([[True] * 3 if flags is None else list(flags) for flags in frozen], dtype=bool)


def unwrapped(start: Structure, lattice: np.ndarray, frac_coords: np.ndarray) -> np.ndarray:
    """Return Cartesian positions, each atom in the periodic image nearest to where it started; VASP folds them back."""
    frac = frac_coords - np.round(frac_coords - start.frac_coords)
    positions: np.ndarray = frac @ lattice
    return positions
