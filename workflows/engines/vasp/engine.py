"""VASP: inputs through atomate2, runs under custodian, results judged by the card's tolerances.

The licence of VASP covers program and POTCARs; neither comes with this package. Without them inputs can be written
(with a ``POTCAR.spec``), and results of others read.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Element, Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError, InputError
from anodeflow.files import short_digest
from anodeflow.settings import VaspSettings, load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine, write_note
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.plane_waves.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.plane_waves.preflight import check_card, problems
from anodeflow.workflows.engines.vasp.inputs import CONSTRAINTS_SINCE, SMEARINGS, inputs_of
from anodeflow.workflows.engines.vasp.moving_inputs import md_inputs, neb_inputs, write_band
from anodeflow.workflows.engines.vasp.potcar import (
    FUNCTIONAL,
    MissingPotcarError,
    find_potcar,
    potcar_folder,
    potcar_symbol,
    published_cutoff_notes,
    settings_for,
    spec_valence,
)

if TYPE_CHECKING:
    from anodeflow.workflows.cards import Dynamics
    from anodeflow.workflows.engines.contract import Band, DynamicsState

KIND = "plane-wave DFT (PAW)"
STAND_IN_KIND = "stand-in for VASP: not DFT"
CONTINUED = (
    "task dynamics, continued: VASP moves the atoms. A run takes CONTCAR of the segment before as its POSCAR, in place "
    "of the start that is here.\n"
)
BAND = (
    "task neb: VASP moves the images, {climbs}. First the two ends in their own folders, then the band: a run makes "
    "the path between relaxed ends, and starts the climbing once the forces are small.\n"
)


class VaspEngine(Engine):
    """VASP behind the command of the settings, or (``stand_in: true``) a test program behind its files."""

    name = "vasp"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True, vacuum_level=True, dispersion=True,
    )  # fmt: skip

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`. POTCARs that cannot be found are left out; :meth:`missing` names them."""
        return self._record(elements, load_settings().vasp)

    def record_with(self, card: MethodCard, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record_with`: with the potentials that the card names."""
        return self._record(elements, _settings(card))

    def _record(self, elements: Iterable[str], settings: VaspSettings) -> EngineRecord:
        potentials = {}
        for element in sorted(set(elements)):
            with contextlib.suppress(EngineError):
                file = find_potcar(element, settings)
                potentials[element] = f"{file.symbol} {file.digest}"
        content = f"vasp PAW {FUNCTIONAL}"
        if settings.stand_in:
            content = f"stand-in behind the files of vasp: {' '.join(settings.command)}"
        return EngineRecord(
            name=self.name,
            kind=STAND_IN_KIND if settings.stand_in else KIND,
            version=f"as named in the OUTCAR of each calculation; command {settings.command[0]}",
            model=f"POTCAR library {FUNCTIONAL}",
            hash=short_digest(content),
            potentials=potentials,
            stand_in=settings.stand_in,
            mode="a test program in place of VASP: nothing of the card but its tolerances"
            if settings.stand_in
            else "full",
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        settings = load_settings().vasp
        check_card(card, "VASP")
        if card.smearing is not None and card.smearing.kind not in SMEARINGS:
            raise EngineError(f"VASP has no {card.smearing.kind} smearing", "choose methfessel-paxton or gaussian")
        find_program(settings.command, "vasp")
        if potcar_folder(settings) is None:
            raise EngineError(
                "no folder of POTCARs: neither vasp.potentials in the settings nor PMG_VASP_PSP_DIR is set",
                "set one",
            )
        notes = []
        if settings.stand_in:
            notes.append("vasp.stand_in is set: these are results of a test program, not of VASP and not of DFT")
        if "PAW" not in card.potentials:
            notes.append(f"potentials: VASP's PAW data sets in place of '{card.potentials}'")
        if card.stress_tolerance_gpa < 0.005:
            notes.append("VASP's stress carries noise of some hundredths of a GPa at usual cutoffs")
        return notes

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """See :meth:`Engine.check`."""
        notes = super().check(structure, task, card, charge)
        notes += published_cutoff_notes(structure.symbol_set, _settings(card), card)
        if task == "relax_c":
            notes.append(
                "cells relaxed along z only need LATTICE_CONSTRAINTS, known from VASP "
                f"{'.'.join(map(str, CONSTRAINTS_SINCE))} on; an older one is stopped at once"
            )
        return notes

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        settings = _settings(card)
        programs, potcars = partial(find_program, settings.command, "vasp"), partial(find_potcar, settings=settings)
        return problems(programs, *(partial(potcars, element) for element in elements))

    def named_potentials(self, elements: Iterable[str], card: MethodCard) -> dict[str, str]:
        """See :meth:`Engine.named_potentials`."""
        return {element: potcar_symbol(element, _settings(card)) for element in sorted(set(elements))}

    def valence_electrons(self, elements: Iterable[str], card: MethodCard | None = None) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`; of the POTCARs, else of the table of recommended symbols."""
        settings = _settings(card)
        numbers = {}
        for element in elements:
            try:
                numbers[element] = find_potcar(element, settings).valence
            except EngineError:
                number = spec_valence(element, settings)
                if number is None:
                    raise EngineError(
                        f"electrons of POTCAR {potcar_symbol(element, settings)} are not known without the file",
                        "set vasp.potentials to a folder of POTCARs",
                    ) from None
                numbers[element] = number
        return numbers

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`; right within a factor of three."""
        settings = _settings(card)
        valence = {e: spec_valence(e, settings) or min(12, Element(e).Z) for e in structure.symbol_set}
        return plane_wave_seconds(structure, card, valence)

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """See :meth:`Engine.write_inputs`; a POTCAR.spec where a POTCAR is missing."""
        request = Request(structure, task, card, charge)
        return inputs_of(request, _settings(card), spec=_without_potcars(structure, card)).write(directory)

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
        """See :meth:`Engine.write_dynamics_inputs`: VASP moves the atoms."""
        if charge:
            raise InputError("molecular dynamics of a charged cell are not written", "use a neutral cell")
        settings = _settings(card)
        energies = steps if continued else steps + 1
        inputs = md_inputs(structure, card, settings, spec=_without_potcars(structure, card), steps=energies)
        names = inputs.write(directory)
        return [*names, write_note(directory, CONTINUED)] if continued else names

    def write_band_inputs(
        self, images: Sequence[Structure], card: MethodCard, charge: int, directory: Path, *, climb: bool = True
    ) -> list[str]:
        """See :meth:`Engine.write_band_inputs`: VASP moves the images; the ends are written as statics."""
        settings, spec = _settings(card), _without_potcars(images[0], card)
        inputs = neb_inputs(images, card, charge, settings, spec=spec, climbing=climb and settings.vtst)
        names = write_band(inputs, images, directory)
        for number in (0, len(images) - 1):
            folder = directory / f"{number:02d}"
            end = inputs_of(Request(images[number], "static", card, charge), settings, spec=spec).write(folder)
            names += [f"{folder.name}/{name}" for name in end if name != "POSCAR"]
        climbs = "the highest image climbs" if climb and settings.vtst else "no image climbs"
        return [*names, write_note(directory, BAND.format(climbs=climbs))]

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        from anodeflow.workflows.engines.vasp.calculation import Calculation  # custodian, which plans do not need

        with _own(folder) as place:
            return Calculation(request, place, monitor, _settings(request.card)).run()

    def climbs(self) -> bool:
        """See :meth:`Engine.climbs`."""
        return load_settings().vasp.vtst

    def neb(
        self,
        images: Sequence[Structure],
        card: MethodCard,
        charge: int = 0,
        *,
        directory: Path | None = None,
        **options: Any,
    ) -> Band:
        """See :meth:`Engine.neb`; VASP moves the images, with its own optimiser and springs."""
        from anodeflow.workflows.engines.vasp.band import VaspBand

        with _own(directory) as place:
            return VaspBand(images, card, charge, place, _settings(card), **options).run()

    def dynamics(
        self,
        state: DynamicsState,
        card: MethodCard,
        dynamics: Dynamics,
        *,
        directory: Path,
        notes: list[str],
        **options: Any,
    ) -> DynamicsState:
        """See :meth:`Engine.dynamics`; VASP integrates, with its own thermostats."""
        from anodeflow.workflows.engines.vasp.dynamics import VaspDynamics

        settings = _settings(card)
        return VaspDynamics(state, card, dynamics, settings, directory=directory, notes=notes, **options).run()


@contextlib.contextmanager
def _own(folder: Path | None) -> Iterator[Path]:
    """Yield the folder of a calculation: the one given, or a temporary one."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="anodeflow-vasp-") as temporary:
        yield Path(temporary)


def _settings(card: MethodCard | None) -> VaspSettings:
    """Return the settings of this machine with the potentials that a card names."""
    return settings_for(card, load_settings().vasp)


def _without_potcars(structure: Structure, card: MethodCard) -> bool:
    """Return whether inputs have to do without POTCARs, because one is missing.

    Raises
    ------
    EngineError
        If a POTCAR that is there cannot be used.
    """
    settings = _settings(card)
    try:
        for element in structure.symbol_set:
            find_potcar(element, settings)
    except MissingPotcarError:
        return True
    return False
