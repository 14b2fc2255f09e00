"""From the lines of a ``.castep`` file to an outcome: which energy belongs to which geometry, and is it converged.

What the lines mean is in :mod:`anodeflow.analysis.program_output.castep`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.analysis.program_output.castep import CastepLines, DamagedLineError, Evaluation, Run, Vectors
from anodeflow.errors import EngineError
from anodeflow.workflows.dispersion import parts
from anodeflow.workflows.engines.castep.cell import frozen_components, number_in_species
from anodeflow.workflows.engines.contract import Outcome, Reason, Request, Task
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, electronic

Array = NDArray[np.float64]

# CASTEP prints forces to 5, coordinates to 6 and lattice vectors to 7 decimals.
_FORCE_DIGIT = 5e-6
_PLACE_DIGIT = 2e-6
_CELL_DIGIT = 2e-5
_SAME_CUTOFF_EV = 0.01
# A start may be snapped to its symmetry by this much, angstrom.
_SNAPPED_ANGSTROM = 1e-3
# Worth a remark, eV per atom
_LARGE_CORRECTION_EV = 1e-3
_FUNCTIONALS = {"PBE": "Perdew Burke Ernzerhof"}
# A setting whose value is "Semi-empirical dispersion correction    : off".
_DISPERSION = "DFT+D"
_CELL_TASKS = ("relax_cell", "relax_c")


class CastepFileError(EngineError):
    """A ``.castep`` file says something that cannot be."""


class Reader:
    """Takes the lines of one file as they come.

    Parameters
    ----------
    name
        Of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines = CastepLines()

    @property
    def runs(self) -> list[Run]:
        """Return all runs of the file so far, in order; the last one is the newest."""
        return self._lines.runs

    @property
    def lines(self) -> int:
        """Return how many lines were taken."""
        return self._lines.line

    def feed(self, line: bytes) -> None:
        """Take one line.

        Raises
        ------
        CastepFileError
            If it makes no sense where it stands; file and line are named.
        """
        try:
            self._lines.feed(line)
        except DamagedLineError as error:
            raise CastepFileError(
                f"{self._name}, line {error.line}: {error.problem}",
                "the file is damaged, or two programs wrote to it; run the calculation again in an empty folder",
            ) from None


def read_castep(path: Path, lines: Iterable[bytes] | None = None) -> list[Run]:
    """Return all runs of a ``.castep`` file, in order; the last one is the newest. A line without its end is left out.

    Parameters
    ----------
    path
        The file.
    lines
        Its lines, if they are at hand already.

    Raises
    ------
    CastepFileError
        If the file cannot be read, is none of CASTEP's, or contradicts itself; file and line are named.
    """
    reader = Reader(str(path))
    try:
        with contextlib.ExitStack() as stack:
            for line in stack.enter_context(path.open("rb")) if lines is None else lines:
                if line.endswith(b"\n"):
                    reader.feed(line)
    except OSError as error:
        raise CastepFileError(f"cannot read '{path}': {error.strerror}", "check the file") from None
    if not reader.runs:
        raise CastepFileError(f"'{path}' holds no CASTEP run ({reader.lines} lines, no banner)", "look at its folder")
    return reader.runs


def mismatch(run: Run, request: Request, like: Structure | None = None) -> str | None:
    """Return in what a run differs from what was asked for; None if in nothing.

    CASTEP echoes its settings, so that a file of another calculation cannot pass for this one.

    Parameters
    ----------
    run
        The last run of the file.
    request
        What was asked for.
    like
        The geometry that decided the settings, where it is not that of the request.
    """
    structure, task, charge = request.structure, request.task, request.charge
    settings = electronic(like or structure, task, request.card, charge)
    expected = Counter(site.specie.symbol for site in structure)
    printed = Counter(symbol for symbol, _ in _any_places(run))
    if printed and printed != expected:
        return f"atoms {_formula(printed)}, where {_formula(expected)} was asked for"
    if run.mesh is not None and run.mesh != tuple(settings.mesh):
        return f"k-mesh {run.mesh}, where {tuple(settings.mesh)} was asked for"
    kind = "single point energy" if task == "static" else "geometry optimization"
    checks: list[tuple[str, str | float]] = [
        ("type of calculation", kind),
        ("using functional", _FUNCTIONALS[settings.functional]),
        ("plane wave basis set cut-off", settings.cutoff_ev),
        ("net charge of system", float(charge)),
        ("spin treatment", "spin-polarized" if settings.spin_polarised else "non-spin-polarized"),
    ]
    if settings.smearing.kind != "none":
        checks.append(("smearing width", settings.smearing.width_ev))
    for name, wanted in checks:
        echoed = run.settings.get(name)
        if echoed is not None and not _agree(echoed, wanted):
            return f"{name} {echoed}, where {wanted} was asked for"
    added = run.settings.get(_DISPERSION, "")
    if added and added.endswith("on") != (request.card.dispersion is not None):
        return f"dispersion {added.rpartition(' ')[2]}, where {request.card.dispersion or 'none'} was asked for"
    corrected = run.settings.get("periodic dipole correction", "NONE").upper() != "NONE"
    if run.settings and corrected != (settings.dipole_axis is not None):
        return f"{'a' if corrected else 'no'} dipole correction, where it was {'not ' * corrected}asked for"
    return None


def _agree(echoed: str, wanted: str | float) -> bool:
    if isinstance(wanted, str):
        return echoed == wanted
    try:
        return abs(float(echoed.split()[0]) - wanted) <= 1e-3 * abs(wanted) + 1e-6
    except ValueError:
        return False


def _any_places(run: Run) -> Vectors:
    return run.evaluations[-1].fractional if run.evaluations else {}


def _formula(counts: Counter[str]) -> str:
    return " ".join(f"{symbol}{number}" for symbol, number in sorted(counts.items()))


def geometry_of(run: Run, structure: Structure, task: Task) -> Structure:
    """The last accepted geometry of a relaxation, or the start where no step was accepted."""
    if task == "static" or not run.iterations:
        return structure
    return placed(run.iterations[-1].evaluation, structure, task)


def placed(evaluation: Evaluation, start: Structure, task: Task) -> Structure:
    """A geometry of CASTEP's in our order of atoms, with the start's site properties.

    CASTEP groups atoms by species; its names (symbol and number within the species) lead back. Each atom comes as the
    periodic image next to its start; what was held fixed keeps every digit of the start.
    """
    old = start.frac_coords
    new = np.array([evaluation.fractional[atom] for atom in number_in_species(start)])
    new += np.round(old - new)
    new = np.where(np.abs(new - old) <= _PLACE_DIGIT / 4, old, new)
    held = frozen_components(start).all(axis=1)
    new[held] = old[held]
    matrix = evaluation.matrix if task in _CELL_TASKS else start.lattice.matrix
    return Structure(matrix, start.species, new, site_properties=start.site_properties)


def outcome_of(run: Run, request: Request, file: Path, like: Structure | None = None) -> Outcome:
    """Return what a run gave.

    Parameters
    ----------
    run
        The last run of the file.
    request
        What was asked for.
    file
        For messages.
    like
        The geometry that decided the settings, where it is not that of the request.

    Returns
    -------
    Outcome
        With ``error`` and ``reason`` set wherever anything needed for a converged result is missing from the file.
    """
    structure, task, card = request.structure, request.task, request.card
    settings = electronic(like or structure, task, card, request.charge)
    outcome = Outcome(structure, None, None if task == "static" else False, None)
    outcome.warnings = _remarks(run, structure)
    outcome.arrays = {"castep_version": run.version, "castep_potentials": dict(run.potentials)}
    where = f"'{file.name}' (run from line {run.line})"
    evaluation = _deciding(run, task, outcome, settings, where)
    if evaluation is None:
        return outcome
    broken = _broken_geometry(evaluation, structure, task)
    if broken:
        _fail(outcome, f"{where}: {broken}", Reason.DAMAGED)
        return outcome
    outcome.structure = structure if task == "static" else placed(evaluation, structure, task)
    if card.dispersion is not None and evaluation.dispersion_ev is None:
        _fail(outcome, f"{where}, line {evaluation.line}: no energy with dispersion", Reason.DAMAGED)
        outcome.ionic_converged = None if task == "static" else False
        return outcome
    outcome.energy_ev = evaluation.total_ev
    outcome.dispersion = parts(card, outcome.energy_ev, evaluation.dispersion_ev, f"CASTEP {run.version}")
    if like is not None:
        outcome.arrays["free_energy_ev"] = evaluation.variational_ev
    outcome.electronic_converged = evaluation.scf_converged
    _add_forces(run, evaluation, request, outcome, where)
    _add_path(run, structure, task, outcome)
    if not evaluation.scf_converged:
        cycles = run.settings.get("max. number of SCF cycles", "the")
        _fail(outcome, f"{where}: electrons not converged in {cycles} cycles", Reason.ELECTRONS)
        if task != "static":
            outcome.ionic_converged = False
    return outcome


def _fail(outcome: Outcome, error: str, reason: Reason) -> None:
    outcome.error, outcome.reason = error, reason


def _deciding(run: Run, task: Task, outcome: Outcome, settings: Electronic, where: str) -> Evaluation | None:
    """The ground state whose energy is the result; where there is none, ``outcome.error`` says why."""
    if not run.evaluations:
        _fail(outcome, f"{where} holds no energy", Reason.FAILED)
        return None
    if task == "static" or run.nothing_to_relax:
        if not run.finished:
            _fail(outcome, f"{where} ends before its end", Reason.FAILED)
            return None
        evaluation: Evaluation | None = run.evaluations[-1]
        if task != "static":
            outcome.ionic_converged = True
    elif run.relaxed and run.finished:
        outcome.ionic_converged = True
        evaluation = run.final_evaluation()
        if evaluation is None:
            _fail(outcome, f"{where}: no energy belongs to the final configuration", Reason.DAMAGED)
    else:
        evaluation = run.final_evaluation() or (run.iterations[-1].evaluation if run.iterations else None)
        _fail(outcome, *_why_not_relaxed(run, where))
    if evaluation is not None and (unfit := _unfit(evaluation, settings)):
        _fail(outcome, f"{where}, line {evaluation.line}: {unfit}", Reason.DAMAGED)
        outcome.ionic_converged = None if task == "static" else False
        return None
    if evaluation is None and task != "static":
        outcome.ionic_converged = False
    return evaluation


def _why_not_relaxed(run: Run, where: str) -> tuple[str, Reason]:
    steps = run.iterations[-1].number if run.iterations else 0
    if run.relaxed is False:
        table = run.iterations[-1].table if run.iterations else {}
        open_ones = [
            f"{name} {value:.3g} (tolerance {limit:.3g})" for name, (value, limit, ok) in table.items() if not ok
        ]
        left = ", ".join(open_ones) or "no reason given"
        return f"not relaxed after {steps} steps: {left}", Reason.NOT_RELAXED
    if run.finished:
        why = f"CASTEP ended after {steps} steps, before the relaxation did (run time used up, or told to stop)"
        return why, Reason.OUT_OF_TIME
    return f"{where} ends after {steps} steps, before the run does", Reason.FAILED


def _unfit(evaluation: Evaluation, settings: Electronic) -> str | None:
    if evaluation.cutoff_ev is not None and abs(evaluation.cutoff_ev - settings.cutoff_ev) > _SAME_CUTOFF_EV:
        return f"the energy is at a cutoff of {evaluation.cutoff_ev:g} eV, not {settings.cutoff_ev:g} eV"
    if settings.smearing.kind != "none" and evaluation.zero_ev is None:
        return "the energy at no smearing is missing"
    return None


def _broken_geometry(evaluation: Evaluation, structure: Structure, task: Task) -> str | None:
    names = number_in_species(structure)
    if set(names) != set(evaluation.fractional):
        return f"{len(evaluation.fractional)} atoms or other ones, where {len(names)} were asked for"
    if task not in _CELL_TASKS:
        apart = float(np.abs(evaluation.matrix - structure.lattice.matrix).max())
        if apart > _CELL_DIGIT + _SNAPPED_ANGSTROM:
            return f"the cell is another one (a component differs by {apart:.4f} angstrom)"
    if task == "static":
        places = np.array([evaluation.fractional[name] for name in names])
        apart = places - structure.frac_coords
        moved = np.linalg.norm((apart - np.round(apart)) @ structure.lattice.matrix, axis=1).max()
        if moved > _SNAPPED_ANGSTROM + _PLACE_DIGIT * max(structure.lattice.abc):
            return f"an atom stands {moved:.4f} angstrom from where it was put"
    return None


def _add_forces(run: Run, evaluation: Evaluation, request: Request, outcome: Outcome, where: str) -> None:
    """Add forces and stress, and whether they meet the card's tolerances: CASTEP's verdict alone is not taken."""
    task = request.task
    final = task != "static" and run.relaxed is not None and run.final_enthalpy_ev is not None
    forces = run.final_forces if final and run.final_forces is not None else evaluation.forces
    stress = run.final_stress_gpa if final and run.final_stress_gpa is not None else evaluation.stress_gpa
    if forces:
        names = number_in_species(request.structure)
        outcome.arrays["forces_ev_per_angstrom"] = ordered = np.array([forces[name] for name in names])
        free = np.where(frozen_components(request.structure), 0.0, ordered)
        outcome.max_force_ev_per_angstrom = float(np.linalg.norm(free, axis=1).max())
    if stress is not None:
        outcome.arrays["stress_gpa"] = stress
        outcome.max_stress_gpa = _relaxed_stress_gpa(stress, outcome.structure, task)
    if outcome.ionic_converged:
        missed = _shortfall(outcome, request, bool(forces))
        if missed is not None:
            outcome.ionic_converged = False
            _fail(outcome, f"{where}: {missed[0]}", missed[1])


def _relaxed_stress_gpa(stress: Array, structure: Structure, task: Task) -> float | None:
    """Return the largest component of a stress among those that a task relaxes, GPa."""
    if task not in _CELL_TASKS:
        return None
    if task == "relax_cell":
        return float(np.abs(stress).max())
    a, b = structure.lattice.matrix[:2]
    normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    return float(abs(normal @ stress @ normal))


def _shortfall(outcome: Outcome, request: Request, has_forces: bool) -> tuple[str, Reason] | None:
    """Return what a relaxed geometry lacks or misses, and which kind of fault that is."""
    card, force, stress = request.card, outcome.max_force_ev_per_angstrom, outcome.max_stress_gpa
    if request.task in _CELL_TASKS:
        if stress is None:
            return "no stress of the final configuration", Reason.DAMAGED
        if stress > card.stress_tolerance_gpa + 1e-6:
            text = f"stress {stress:.4f} GPa (tolerance {card.stress_tolerance_gpa}), though CASTEP is content"
            return text, Reason.NOT_RELAXED
    if not has_forces and not frozen_components(request.structure).all():
        return "no forces of the final configuration", Reason.DAMAGED
    limit = card.force_tolerance_ev_per_angstrom
    if force is not None and force > limit + 2 * _FORCE_DIGIT:
        return f"force {force:.4f} eV/angstrom (tolerance {limit}), though CASTEP is content", Reason.NOT_RELAXED
    return None


def _add_path(run: Run, structure: Structure, task: Task, outcome: Outcome) -> None:
    """The accepted steps of a relaxation."""
    steps = [iteration.evaluation for iteration in run.iterations]
    if not steps:
        return
    outcome.ionic_steps = run.iterations[-1].number
    if len(steps) > 1:
        outcome.energy_change_last_step_ev = steps[-1].total_ev - steps[-2].total_ev
    numbers = [iteration.number for iteration in run.iterations]
    if numbers != list(range(len(numbers))):
        outcome.warnings.append(f"of steps 0 to {numbers[-1]} the file holds {len(numbers)}: the path is left out")
        return
    path = [placed(step, structure, task) for step in steps]
    outcome.arrays |= {
        "energies_ev": np.array([step.total_ev for step in steps]),
        "positions_angstrom": np.array([geometry.cart_coords for geometry in path]),
        "cells_angstrom": np.array([geometry.lattice.matrix for geometry in path]),
    }


def _remarks(run: Run, structure: Structure) -> list[str]:
    notes = [f"CASTEP: {text}" for text in run.warnings[:5]]
    if run.corrections_ev and abs(run.corrections_ev[-1]) > _LARGE_CORRECTION_EV * len(structure):
        notes.append(
            f"finite-basis correction of {run.corrections_ev[-1]:.4f} eV is not in the energy: the cutoff is low for "
            "relaxing this cell"
        )
    return notes
