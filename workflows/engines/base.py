"""What every engine offers, whoever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.contract import Band, Capabilities, DynamicsState, Monitor, Outcome, Request, Task

if TYPE_CHECKING:
    from anodeflow.workflows.cards import Dynamics

NOTE = "NOTE"
# The folder beside those inputs with an engine's own dynamics.
_OWN_DYNAMICS = "own-dynamics"
_OWN_NOTE = (
    "{folder} holds dynamics of the engine itself with the same ensemble, for those who want to run it by hand; its "
    "trajectory can be read with `anodeflow analyse`.\n"
)
_BAND_NOTE = (
    "task neb, {springs}: anodeflow moves the images, {engine} gives energy and forces of each.\n"
    "The inputs are those of the start of the band; a run makes the path between relaxed ends, and the later inputs in "
    "the same way.\n"
)
_DYNAMICS_NOTE = (
    "task dynamics, {steps} steps of {timestep} fs, {ensemble}, {temperature} K, velocities {velocities}: anodeflow "
    "moves the atoms, {engine} gives energy and forces.\n"
    "The input is that of the first geometry; a run makes those of the later ones in the same way.\n"
)


class Engine(ABC):
    """What computes energies and forces: a program or a potential. An engine knows nothing of studies."""

    name: str
    capabilities: Capabilities
    # how sure seconds_per_step is, as text, and what it rests on
    cost_uncertainty: str = "a factor of 2: steps are typical values, times per atom were measured on one server core"

    @abstractmethod
    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """Name, version and model hash, without loading the model.

        Parameters
        ----------
        elements
            Whose pseudopotentials are to be recorded; nothing for an engine without.

        Raises
        ------
        EngineError
            If the program or model is not there.
        """

    def record_with(self, card: MethodCard, elements: Iterable[str] = ()) -> EngineRecord:
        """The record of calculations with a card, which may name potentials; see :meth:`record`."""
        return self.record(elements)

    @abstractmethod
    def preflight(self, card: MethodCard) -> list[str]:
        """Check that calculations can be run; what the card asks for and will not be honoured comes back.

        Raises
        ------
        EngineError
            If a calculation could not be run at all.
        """

    def check_dispersion(self, card: MethodCard) -> None:
        """Check that the correction for dispersion that a card asks for can be added.

        Raises
        ------
        EngineError
            If this engine adds none, or there are no parameters for the functional.
        """
        if card.dispersion is None:
            return
        if not self.capabilities.dispersion:
            raise EngineError(
                f"engine '{self.name}' adds no dispersion, and card '{card.name}' asks for {card.dispersion}",
                "use gpaw, qe, castep, vasp or a potential of PBE, or a card without 'dispersion'",
            )
        d3_of(card)

    @abstractmethod
    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """Run one calculation.

        Parameters
        ----------
        request
            What to compute.
        folder
            Of this calculation alone, for engines with ``capabilities.files``. It may hold what an earlier, killed
            attempt left; the engine continues from there.
        monitor
            Called after every ionic step; may raise to stop.
        """

    @abstractmethod
    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """Estimated time of one energy and force evaluation on one thread, s."""

    def dynamics_share(self) -> float:
        """What a step of dynamics takes of that time."""
        return 1.0

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> Any:
        """An ASE calculator for any geometry of these atoms in this cell.

        Raises
        ------
        EngineError
            If the engine has none.
        """
        raise EngineError(
            f"engine '{self.name}' has no calculator for bands or dynamics", "use a potential, gpaw, qe or castep"
        )

    def dynamics_calculator(
        self, state: DynamicsState, card: MethodCard, directory: Path, first: Structure | None = None
    ) -> Any:
        """Return the ASE calculator that drives molecular dynamics: energies and forces, no stress.

        Parameters
        ----------
        state
            Atoms and cell.
        card
            Cutoff, k-points and spin for an engine with electrons.
        directory
            Where an engine with files leaves them.
        first
            The first geometry of the run, which decides mesh and spin for all of it; that of the state if None.

        Raises
        ------
        EngineError
            If the engine runs no molecular dynamics.
        """
        from pymatgen.io.ase import AseAtomsAdaptor

        if not self.capabilities.md:
            raise EngineError(
                f"engine '{self.name}' runs no molecular dynamics here", "use a potential, gpaw, qe or castep"
            )
        return self.ase_calculator(first or AseAtomsAdaptor.get_structure(state.atoms()), card, 0, directory)

    def climbs(self) -> bool:
        """Whether the highest image of this engine's bands can climb to the saddle."""
        return self.capabilities.neb

    def neb(
        self,
        images: Sequence[Structure],
        card: MethodCard,
        charge: int = 0,
        *,
        directory: Path | None = None,
        **options: Any,
    ) -> Band:
        """Relax a nudged elastic band, ends included in `images`; the options are those of
        :func:`anodeflow.workflows.engines.motion.band.run_neb`. An engine with a band of its own overrides this.
        """  # fmt: skip
        from anodeflow.workflows.engines.motion.band import run_neb

        calculator = self.ase_calculator(images[0], card, charge, directory)
        try:
            band = run_neb(images, calculator, card, **options)
        finally:
            finish_points(calculator)
        if self.capabilities.electrons and band.energies_ev:
            band.electronic_converged = True  # else it would have no energies
        band.warnings = [*getattr(calculator, "notes", ()), *band.warnings]
        return band

    def dynamics(
        self,
        state: DynamicsState,
        card: MethodCard,
        dynamics: Dynamics,
        *,
        directory: Path,
        notes: list[str],
        first: Structure | None = None,
        **options: Any,
    ) -> DynamicsState:
        """Move a state of molecular dynamics to a later step; the state there.

        Here with ASE's integrators and this engine's forces. An engine with dynamics of its own overrides this.

        Parameters
        ----------
        state
            Where to start.
        card, dynamics
            How accurately, and how the atoms move.
        directory
            Of this segment; it may hold what an earlier attempt left.
        notes
            Takes what a reader of the segment must know.
        first
            The first geometry of the run, which decides mesh and spin for all of it; that of the state if None.
        **options
            ``last_step``, ``sample_every``, ``checkpoint_every``, ``sink``, ``save``, ``report`` and ``include_start``
            of :func:`anodeflow.workflows.engines.motion.dynamics.propagate`, which names the errors, too.
        """
        from anodeflow.workflows.engines.motion.dynamics import propagate

        calculator = self.dynamics_calculator(state, card, directory, first)
        notes += getattr(calculator, "notes", ())
        try:
            return propagate(state, calculator, dynamics, **options)
        finally:
            finish_points(calculator)

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """Whether one cell can be computed with the card; what is worth saying of it comes back.

        Raises
        ------
        InputError
            For k-points along the vacuum, an odd number of electrons that nothing can hold, and the like.
        """
        if not self.capabilities.electrons:
            return []
        from anodeflow.workflows.engines.plane_waves.electronic import electronic

        return list(electronic(structure, task, card, charge).notes)

    def mesh(self, structure: Structure, card: MethodCard) -> tuple[int, int, int] | None:
        """The k-point mesh of one cell: the card's, and one point along a vacuum."""
        if not self.capabilities.electrons:
            return card.kpoint_mesh(structure)
        from anodeflow.workflows.engines.plane_waves.electronic import electronic

        return electronic(structure, "static", card).mesh

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """What is not there and will be needed: programs, pseudopotentials; each with the path tried."""
        return []

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """Write the native inputs of one calculation; names of the files.

        Raises
        ------
        EngineError
            If the engine has no input files.
        """
        raise EngineError(f"engine '{self.name}' has no input files to write", "choose vasp, castep, qe or gpaw")

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """Write the native input of one energy with forces, as bands and dynamics ask for; names of the files.

        Parameters
        ----------
        like
            The first geometry of the band or of the run, which decides mesh, spin and smearing for all of them.

        Raises
        ------
        EngineError
            If the engine has no input files.
        """
        return self.write_inputs(structure, "static", card, charge, directory)

    def write_band_inputs(
        self, images: Sequence[Structure], card: MethodCard, charge: int, directory: Path, *, climb: bool = True
    ) -> list[str]:
        """Write the native inputs of a nudged elastic band; names of the files.

        Here for an engine whose images anodeflow moves: one energy with forces for each image, in ``00``, ``01``, ...,
        and a NOTE that says so. An engine with a band of its own overrides this.

        Parameters
        ----------
        images
            The start of the band, ends included.
        card
            How accurately.
        charge
            Charge of the cell, e.
        directory
            An empty folder.
        climb
            Whether the highest image climbs.

        Raises
        ------
        EngineError
            If the engine has no input files.
        """
        names = []
        for number, image in enumerate(images):
            folder = directory / f"{number:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            written = self.write_point_inputs(image, card, charge, folder, like=images[0])
            names += [f"{folder.name}/{name}" for name in written]
        springs = "climbing image" if climb else "no climbing"
        return [*names, write_note(directory, _BAND_NOTE.format(springs=springs, engine=self.name))]

    def write_dynamics_inputs(
        self,
        structure: Structure,
        card: MethodCard,
        charge: int,
        directory: Path,
        *,
        steps: int,
        continued: bool = False,
    ) -> list[str]:
        """Write the native inputs of one segment of molecular dynamics; names of the files.

        Here for an engine whose atoms anodeflow moves: the energy with forces of the first geometry, and a NOTE that
        says so. An engine with dynamics of its own overrides this.

        Parameters
        ----------
        structure
            Where the segment starts, as far as that is known before it is run.
        card
            How accurately; ``card.dynamics`` is what holds for this segment, thermostat of an equilibration included.
        charge
            Charge of the cell, e.
        directory
            An empty folder.
        steps
            Of this segment.
        continued
            Whether it starts with the velocities of the segment before.

        Raises
        ------
        InputError
            If the card has no dynamics.
        EngineError
            If the engine has no input files.
        """
        move = card.dynamics
        if move is None:
            raise InputError(f"card '{card.name}' has no dynamics", "add it, or choose another card")
        names = self.write_point_inputs(structure, card, charge, directory, like=structure)
        thermostat = f" ({move.thermostat or 'langevin'})" if move.ensemble == "nvt" else ""
        text = _DYNAMICS_NOTE.format(
            ensemble=f"{move.ensemble.upper()}{thermostat}", steps=steps, timestep=f"{move.timestep_fs:g}",
            temperature=f"{move.temperature_k:g}", engine=self.name,
            velocities="those of the segment before" if continued else "drawn at this temperature",
        )  # fmt: skip
        own = self.write_own_dynamics(structure, card, charge, directory / _OWN_DYNAMICS, steps)
        names += [f"{_OWN_DYNAMICS}/{name}" for name in own]
        return [*names, write_note(directory, text + (_OWN_NOTE.format(folder=_OWN_DYNAMICS) if own else ""))]

    def write_own_dynamics(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, steps: int | None = None
    ) -> list[str]:
        """Write the inputs of the engine's own dynamics, which anodeflow does not run; nothing for one without.

        Parameters
        ----------
        steps
            None: the duration of ``card.dynamics``.

        Raises
        ------
        InputError
            If the card has no dynamics.
        """
        return []

    def named_potentials(self, elements: Iterable[str], card: MethodCard) -> dict[str, str]:
        """Names of the potentials that a card means for elements; empty for an engine to which cards name none.

        Parameters
        ----------
        elements, card
            Of which, and how accurately.
        """
        return {}

    def valence_electrons(self, elements: Iterable[str], card: MethodCard | None = None) -> dict[str, int]:
        """Electrons an atom of each element brings; empty for an engine without electrons.

        Parameters
        ----------
        elements
            Of the cell.
        card
            It may name potentials.
        """
        return {}


def finish_points(calculator: Any) -> None:
    """Let a calculator that keeps files for its next geometry know that there is none."""
    finish = getattr(calculator, "finish", None)
    if finish is not None:
        finish()


def write_note(directory: Path, text: str) -> str:
    """Write what a reader of a folder of inputs must know; name of the file."""
    (directory / NOTE).write_text(text, encoding="utf-8")
    return NOTE
