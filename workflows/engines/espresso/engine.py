"""Quantum ESPRESSO: pw.x, with pseudopotentials from a folder of UPF files.

Relaxations are pw.x's own: it keeps wavefunctions between steps, which makes a step about half as expensive as a
new start; its verdict is not trusted, but the forces and the stress that it prints are compared with the card.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.files import short_digest
from anodeflow.settings import QeSettings, expanded, load_settings
from anodeflow.units import ASE_BOHR_ANGSTROM, ASE_RYDBERG_EV
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.espresso.calculation import PROGRAM, Calculation
from anodeflow.workflows.engines.espresso.folder import end_orphan, environment
from anodeflow.workflows.engines.espresso.inputs import (
    DENSITY_FACTOR,
    Inputs,
    check_cell,
    check_order,
    density_cutoff_ry,
    dynamics_input,
    inputs_of,
)
from anodeflow.workflows.engines.espresso.pseudopotentials import (
    Pseudopotential,
    fitting_pseudopotentials,
    missing_pseudopotentials,
    pseudopotentials_of,
    too_soft,
)
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.motion.point_calculator import FOLDER, PointCalculator
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.plane_waves.folder import needed, potentials_folder
from anodeflow.workflows.engines.plane_waves.preflight import check_card, problems

# Raise it when the same card comes to mean something else in pw.x's input.
CONVENTION = 1
_BANNER_S = 20.0


class QeEngine(Engine):
    """pw.x of Quantum ESPRESSO (6.5 or later).

    Energies are those at zero smearing width (see
    :meth:`~anodeflow.workflows.engines.espresso.outputs.Step.extrapolated_ev`), eV; the stress in
    ``arrays["stress_gpa"]`` is positive under tension.
    """

    name = "qe"
    cost_uncertainty = "a factor of 3: fitted to processor times of pw.x on one core, steps are typical values"
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, kpoints=True, neb=True, md=True, isolated_atoms=True, files=True,
        inputs=True, vacuum_level=True, dispersion=True,
    )  # fmt: skip

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`; the hash is of the engine, not of pw.x's release, which need not run here."""
        settings = load_settings().qe
        version = pw_version(tuple(settings.command))
        chosen = pseudopotentials_of(elements, settings)
        return EngineRecord(
            name=self.name,
            kind="plane-wave DFT",
            version=f"Quantum ESPRESSO pw.x {version}",
            model=expanded(settings.potentials).name if settings.potentials else None,
            hash=short_digest(f"quantum-espresso pw.x {CONVENTION}"),
            potentials={element: f"{p.path.name} {p.digest}" for element, p in chosen.items()},
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        settings = load_settings().qe
        find_program(settings.command, PROGRAM)
        check_card(card, "pw.x")
        if settings.potentials is None or not expanded(settings.potentials).is_dir():
            raise EngineError(
                "; ".join(missing_pseudopotentials(["the study's elements"], potentials_folder(settings.potentials))),
                "set qe: potentials: in the settings, or ANODEFLOW_QE_POTENTIALS",
            )
        return []

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`; what is there but unfit (several files, another functional, too hard for the
        card's cutoff) is listed too."""
        settings = load_settings().qe
        lines = problems(partial(find_program, settings.command, PROGRAM))
        absent = missing_pseudopotentials(elements, potentials_folder(settings.potentials), settings.potentials_of)
        if absent:
            return lines + absent
        chosen: dict[str, Pseudopotential] = {}
        for element in sorted(set(elements)):
            try:
                chosen |= pseudopotentials_of([element], settings)
            except EngineError as error:
                lines.append(str(error))
        return lines + (too_soft(chosen, card.cutoff_ev / ASE_RYDBERG_EV) if card.cutoff_ev else [])

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """See :meth:`Engine.write_inputs`: ``pw.in``, which names the folder of pseudopotentials; pw.x need not be
        here."""
        chosen = fitting_pseudopotentials(structure.symbol_set, card, load_settings().qe)
        return inputs_of(Request(structure, task, card, charge), chosen).write(directory)

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_point_inputs`."""
        chosen = fitting_pseudopotentials(structure.symbol_set, card, load_settings().qe)
        return inputs_of(Request(structure, "static", card, charge), chosen, like=like or structure).write(directory)

    def write_own_dynamics(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, steps: int | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_own_dynamics`; NVT is stochastic velocity rescaling."""
        chosen = fitting_pseudopotentials(structure.symbol_set, card, load_settings().qe)
        return Inputs(dynamics_input(structure, card, charge, chosen, steps=steps)).write(directory)

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        structure, task = request.structure, request.task
        folder, settings = self._ready(structure, folder)
        check_cell(structure, task, electronic(structure, task, request.card, request.charge))
        return Calculation(request, folder, monitor, settings).run()

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> PointCalculator:
        """See :meth:`Engine.ase_calculator`."""
        folder, settings = self._ready(structure, directory)
        chosen = fitting_pseudopotentials(structure.symbol_set, card, settings)
        end_orphan(folder / FOLDER)

        def point(geometry: Structure, here: Path, before: Path | None, left: float | None) -> Outcome:
            request = Request(geometry, "static", card, charge)
            limited = settings.model_copy(update={"wall_time_s": left})
            return Calculation(
                request, here, None, limited, first=structure, waves_of=before, pseudopotentials=chosen
            ).run()

        notes = electronic(structure, "static", card, charge).notes
        return PointCalculator(
            point, structure, folder / FOLDER, bulky=("out",), notes=notes, wall_time_s=settings.wall_time_s
        )

    def valence_electrons(self, elements: Iterable[str], card: MethodCard | None = None) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`."""
        electrons = {}
        for element, chosen in pseudopotentials_of(elements, load_settings().qe).items():
            if abs(chosen.valence - round(chosen.valence)) > 1e-6:
                raise EngineError(
                    f"pseudopotential '{chosen.path}' has {chosen.valence} valence electrons", "use one of an atom"
                )
            electrons[element] = round(chosen.valence)
        return electrons

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`; the model is :func:`core_seconds`."""
        if card is None or card.cutoff_ev is None:
            return 0.0
        try:
            chosen = pseudopotentials_of(structure.symbol_set, load_settings().qe)
        except EngineError:
            chosen = {}
        return core_seconds(structure, card, chosen)

    def _ready(self, structure: Structure, folder: Path | None) -> tuple[Path, QeSettings]:
        """Return what a run needs, or raise an error with what is not there."""
        here, settings = needed(folder, "pw.x"), load_settings().qe
        find_program(settings.command, PROGRAM)
        check_order(structure)
        return here, settings


@lru_cache(maxsize=8)
def pw_version(command: tuple[str, ...]) -> str:
    """Release of pw.x, from what it prints before it asks for its input; ``unknown`` if it says nothing here.

    Raises
    ------
    EngineError
        If the program is not there.
    """
    find_program(command, PROGRAM)
    words = [word for word in command if Path(word).name.startswith("pw") and Path(word).suffix == ".x"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [os.path.expanduser(words[-1] if words else command[0]), *([] if words else command[1:])],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_BANNER_S,
                check=False,
                env=dict(os.environ) | environment(),
            )
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
    match = re.search(rb"Program PWSCF v\.(\S+)", done.stdout)
    return match.group(1).decode("ascii", errors="replace") if match else "unknown"


# Seconds a band and plane wave, and a point of the density's grid; fitted to processor times of pw.x 6.7 on one core
# of a shared machine: bcc Li 400 and 500 eV (1 and 2.3 s a step), LiCl 345 and 400 eV (1 and 4 s), Li in boxes of 8
# and 11 angstrom with and without spin (5-47 s), a Li slab of 3 atoms (6 s). Within a factor of 2.7 for all; the only
# large cell was Li(100) with 46 atoms (404 s), whose volume was estimated.
BAND_S, DENSITY_S = 1.6e-6, 2.0e-5


def core_seconds(structure: Structure, card: MethodCard, chosen: Mapping[str, Pseudopotential]) -> float:
    """Estimated seconds of one self-consistent calculation with forces on one core; later steps take about half.

    Orbitals on their grid and the density on its own::

        n_spin (BAND_S n_k n_b N_pw log2 N_pw + DENSITY_S N_pw (ecutrho / ecutwfc)^1.5)

    with n_k k-points left by symmetry (one half for Gamma, where orbitals are real), n_b = 0.6 electrons + 4 bands
    and N_pw = V k_max^3 / (6 pi^2) plane waves. Four valence electrons an atom where no pseudopotential is known.

    Raises
    ------
    InputError
        As :func:`electronic`.
    """
    settings = electronic(structure, "static", card)
    cutoff = settings.cutoff_ev / ASE_RYDBERG_EV
    waves = structure.volume * (np.sqrt(cutoff) / ASE_BOHR_ANGSTROM) ** 3 / (6 * np.pi**2)
    ratio = density_cutoff_ry(cutoff, chosen) / cutoff if chosen else DENSITY_FACTOR["US"]
    electrons = sum(chosen[site.specie.symbol].valence if chosen else 4.0 for site in structure)
    points = 0.5
    if settings.mesh != (1, 1, 1):
        points = len(SpacegroupAnalyzer(structure).get_ir_reciprocal_mesh(settings.mesh))
    orbitals = BAND_S * points * (0.6 * electrons + 4) * waves * np.log2(max(waves, 2.0))
    return float((2 if settings.spin_polarised else 1) * (orbitals + DENSITY_S * waves * ratio**1.5))
