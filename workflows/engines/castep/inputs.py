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

import shutil
from dataclasses import dataclass
from pathlib import Path

from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.settings import CastepSettings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.castep.cell import cell_text
from anodeflow.workflows.engines.castep.keywords import SEED
from anodeflow.workflows.engines.castep.param import dynamics_entries, param_entries, param_text, point_entries
from anodeflow.workflows.engines.castep.pseudopotentials import pseudopotentials_of
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, electronic
from anodeflow.workflows.engines.plane_waves.folder import write_files


@dataclass(frozen=True)
class Inputs:
    """The inputs of one calculation.

    Attributes
    ----------
    cell, param
        Texts of the two files.
    potentials
        Files of pseudopotentials that CASTEP looks for beside them.
    """

    cell: str
    param: str
    potentials: tuple[Path, ...] = ()

    def write(self, folder: Path) -> list[str]:
        """Write the two files; return their names."""
        return write_files(folder, {f"{SEED}.cell": self.cell, f"{SEED}.param": self.param})

    def place_potentials(self, folder: Path) -> None:
        """Make the pseudopotentials visible in the folder.

        Raises
        ------
        EngineError
            If that cannot be done.
        """
        for potential in self.potentials:
            here = folder / potential.name
            try:
                if here.is_symlink() or here.exists():
                    here.unlink()
                try:
                    here.symlink_to(potential)
                except OSError:
                    shutil.copyfile(potential, here)
            except OSError as error:
                raise EngineError(
                    f"cannot place '{potential.name}' in '{folder}': {error.strerror}", "check it"
                ) from None


def inputs_of(request: Request, settings: CastepSettings) -> Inputs:
    """Return the inputs of a static calculation or a relaxation.

    Raises
    ------
    InputError, EngineError
        If the card does not fit the cell, or a pseudopotential is missing.
    """
    structure, task, card = request.structure, request.task, request.card
    meaning = electronic(structure, task, card, request.charge)
    entries = param_entries(structure, task, card, meaning, settings.wall_time_s) | _own(settings)
    return _inputs(structure, task, meaning, settings, param_text(entries, f"{task}, card {card.name}"))


def point_inputs(request: Request, first: Structure, settings: CastepSettings, before: str | None = None) -> Inputs:
    """Return the inputs of one geometry of a band or of dynamics.

    Parameters
    ----------
    request
        The geometry; a static calculation.
    first
        The first geometry of all, which decides mesh, spin and smearing.
    settings
        Of the machine.
    before
        Checkpoint of the geometry before, in the same folder.

    Raises
    ------
    InputError, EngineError
        As :func:`inputs_of`.
    """
    card = request.card
    meaning = electronic(first, "static", card, request.charge)
    entries = point_entries(request.structure, card, meaning, before, settings.wall_time_s) | _own(settings)
    text = param_text(entries, f"energy and forces of one geometry, card {card.name}")
    return _inputs(request.structure, "static", meaning, settings, text, symmetric=False)


def dynamics_inputs(
    structure: Structure, card: MethodCard, charge: int, settings: CastepSettings, steps: int | None = None
) -> Inputs:
    """Return the inputs of CASTEP's own molecular dynamics.

    Parameters
    ----------
    structure, card, charge
        As of a :class:`Request`; the card has dynamics.
    settings
        Of the machine.
    steps
        None: the duration of the card's dynamics.

    Raises
    ------
    InputError, EngineError
        As :func:`inputs_of`; or if the card has no dynamics.
    """
    meaning = electronic(structure, "static", card, charge)
    entries = dynamics_entries(structure, card, meaning, settings.wall_time_s) | _own(settings)
    if steps is not None:
        entries["md_num_iter"] = str(steps)
    return _inputs(structure, None, meaning, settings, param_text(entries, f"molecular dynamics, card {card.name}"))


def _own(settings: CastepSettings) -> dict[str, str]:
    """Return the machine's own keywords."""
    return {key: str(value) for key, value in settings.keys.items()}


def _inputs(
    structure: Structure,
    task: Task | None,
    meaning: Electronic,
    settings: CastepSettings,
    param: str,
    symmetric: bool = True,
) -> Inputs:
    files = pseudopotentials_of(structure.symbol_set, settings)
    names = {element: file.name for element, file in files.items()}
    cell = cell_text(structure, task, meaning, names, settings.library, symmetric=symmetric)
    return Inputs(cell, param, tuple(files.values()))
