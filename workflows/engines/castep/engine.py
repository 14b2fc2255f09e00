"""CASTEP: run in a folder of each calculation, its ``.castep`` file watched, and only what is certain taken from it.

Energies are those of CASTEP's estimate at no smearing ("NB est. 0K energy"; with fixed occupations the final energy),
at the card's cutoff and without the finite-basis correction, which CASTEP adds to the enthalpies of cell relaxations.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pymatgen.core import Element, Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.files import short_digest
from anodeflow.settings import CastepSettings, expanded, load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.castep.calculation import PROGRAM, Calculation
from anodeflow.workflows.engines.castep.cell import cartesian_axis, check_c_is_normal
from anodeflow.workflows.engines.castep.inputs import dynamics_inputs, inputs_of, point_inputs
from anodeflow.workflows.engines.castep.pseudopotentials import VALENCE, pseudopotentials_of
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.motion.point_calculator import FOLDER, PointCalculator
from anodeflow.workflows.engines.plane_waves.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.plane_waves.folder import file_digest, needed, potentials_folder
from anodeflow.workflows.engines.plane_waves.preflight import check_card, problems

KIND = "plane-wave DFT"
STAND_IN_KIND = "stand-in for CASTEP: not DFT"
# Raise it when the same card comes to mean something else in CASTEP's input.
CONVENTION = 1


class CastepEngine(Engine):
    """CASTEP 18 or later, also that of Materials Studio.

    The time estimate is good to a factor of 3.
    """

    name = "castep"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True, vacuum_level=True, dispersion=True,
    )  # fmt: skip

    def __init__(self) -> None:
        self._version: str | None = None

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`.

        The version is known once CASTEP has run in this process. The hash does not hold it; that of a stand-in is
        another one.
        """
        settings = load_settings().castep
        files = pseudopotentials_of(elements, settings)
        library = settings.library or "CASTEP's own default"
        return EngineRecord(
            name=self.name,
            kind=STAND_IN_KIND if settings.stand_in else KIND,
            version=f"CASTEP {self._version}" if self._version else "CASTEP, not run yet",
            model=expanded(settings.potentials).name if settings.potentials else f"on-the-fly potentials, {library}",
            hash=short_digest(f"castep {CONVENTION}{' stand-in' * settings.stand_in}"),
            potentials={
                e: f"{files[e].name} {file_digest(files[e])}" if e in files else f"on-the-fly, {library}"
                for e in sorted(set(elements))
            },
            stand_in=settings.stand_in,
            mode="a test program behind CASTEP's files: no result of CASTEP" if settings.stand_in else "full",
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        settings = load_settings().castep
        find_program(settings.command, PROGRAM)
        check_card(card, PROGRAM)
        folder = potentials_folder(settings.potentials)
        if folder is not None and not folder.is_dir():
            raise EngineError(
                f"CASTEP pseudopotentials: '{folder}' is not a folder",
                "correct castep: potentials: in the settings, or leave it out for on-the-fly potentials",
            )
        return (
            [] if "ultrasoft" in card.potentials.lower() else [f"potentials: CASTEP's in place of '{card.potentials}'"]
        )

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """See :meth:`Engine.check`."""
        settings = electronic(structure, task, card, charge)
        if task == "relax_c":
            check_c_is_normal(structure)
        if settings.dipole_axis is not None:
            cartesian_axis(structure, settings.dipole_axis)
        return list(settings.notes)

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        settings = load_settings().castep
        files = (partial(pseudopotentials_of, [element], settings) for element in sorted(set(elements)))
        return problems(partial(find_program, settings.command, PROGRAM), *files)

    def valence_electrons(self, elements: Iterable[str], card: MethodCard | None = None) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`; of the on-the-fly ultrasoft potentials."""
        return {element: VALENCE[element] for element in elements if element in VALENCE}

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`."""
        if card is None or card.cutoff_ev is None:
            return 0.0
        valence = {e: VALENCE.get(e, min(12, Element(e).Z)) for e in structure.symbol_set}
        return plane_wave_seconds(structure, card, valence)

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """See :meth:`Engine.write_inputs`: ``castep.cell`` and ``castep.param``; CASTEP need not be here."""
        return inputs_of(Request(structure, task, card, charge), load_settings().castep).write(directory)

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_point_inputs`."""
        request = Request(structure, "static", card, charge)
        settings = load_settings().castep.model_copy(update={"wall_time_s": None})
        return point_inputs(request, like or structure, settings).write(directory)

    def write_own_dynamics(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, steps: int | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_own_dynamics`."""
        return dynamics_inputs(structure, card, charge, load_settings().castep, steps).write(directory)

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        here, settings = self._ready(folder)
        return self._versioned(Calculation(request, here, monitor, settings).run())

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> PointCalculator:
        """See :meth:`Engine.ase_calculator`."""
        folder, settings = self._ready(directory)

        def point(geometry: Structure, here: Path, before: Path | None, left: float | None) -> Outcome:
            request = Request(geometry, "static", card, charge)
            limited = settings.model_copy(update={"wall_time_s": left})
            return self._versioned(Calculation(request, here, None, limited, first=structure, waves_of=before).run())

        notes = electronic(structure, "static", card, charge).notes
        return PointCalculator(
            point, structure, folder / FOLDER, bulky=("*.check", "*.castep_bin"), notes=notes,
            wall_time_s=settings.wall_time_s,
        )  # fmt: skip

    def _ready(self, folder: Path | None) -> tuple[Path, CastepSettings]:
        """Return what a run needs, or raise an error with what is not there."""
        here, settings = needed(folder, PROGRAM), load_settings().castep
        find_program(settings.command, PROGRAM)
        return here, settings

    def _versioned(self, outcome: Outcome) -> Outcome:
        """Remember the version of CASTEP, which it tells only when it has run."""
        self._version = outcome.arrays["castep_version"]
        return outcome
