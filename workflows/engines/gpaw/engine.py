"""GPAW in plane-wave mode: the open engine whose PAW data sets come from the package registry."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.files import short_digest
from anodeflow.settings import load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import missing_package
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.gpaw.calculation import Calculation
from anodeflow.workflows.engines.gpaw.data_sets import data_set, valence_electrons
from anodeflow.workflows.engines.gpaw.inputs import inputs_of, point_inputs
from anodeflow.workflows.engines.plane_waves.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.plane_waves.preflight import check_card, problems

KIND = "plane-wave DFT (PAW)"


# Electrons of the data sets of gpaw-data 1.2, where they are not here.
_USUAL_VALENCE = {"Li": 1, "Al": 3, "P": 5, "S": 6, "Cl": 7}


class GpawEngine(Engine):
    """GPAW, serial in this process or under MPI (``gpaw: {processes: N}`` in the settings)."""

    name = "gpaw"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True, takes_curvatures=True, vacuum_level=True, dispersion=True,
    )  # fmt: skip

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`."""
        try:
            number = version("gpaw")
        except PackageNotFoundError:
            raise EngineError(
                "engine 'gpaw': the package gpaw is not installed",
                "pip install 'anodeflow[gpaw]' (needs libxc, BLAS and FFTW; see docs/engines.md)",
            ) from None
        try:
            data = version("gpaw-data")
        except PackageNotFoundError:
            data = "unknown"
        sets = {element: data_set(element) for element in sorted(set(elements))}
        return EngineRecord(
            name=self.name,
            kind=KIND,
            version=f"gpaw {number}",
            model=f"gpaw-data {data}, PBE",
            hash=short_digest("gpaw plane waves PBE"),
            potentials={e: f"{s['name']} {s['digest']}" for e, s in sets.items()},
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        self.record()
        check_card(card, "GPAW")
        return [f"potentials: GPAW's own PAW data sets in place of '{card.potentials}'"]

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        if importlib.util.find_spec("gpaw") is None:
            return ["program: the Python package gpaw is not installed", *missing_package(card)]
        return missing_package(card) + problems(*(partial(data_set, element) for element in elements))

    def valence_electrons(self, elements: Iterable[str], card: MethodCard | None = None) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`."""
        return {element: valence_electrons(element) for element in elements}

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`."""
        if importlib.util.find_spec("gpaw") is None:  # a plan lists that, and what the study would cost
            return plane_wave_seconds(structure, card, {e: _USUAL_VALENCE.get(e, 8) for e in structure.symbol_set})
        return plane_wave_seconds(structure, card, self.valence_electrons(structure.symbol_set))

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """Write a GPAW script that computes energy, forces and stress of the start geometry, and the geometry."""
        return inputs_of(Request(structure, task, card, charge)).write(directory)

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_point_inputs`; as :meth:`ase_calculator` computes it."""
        return point_inputs(structure, card, charge, like).write(directory)

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        self.record(request.structure.symbol_set)
        return Calculation(request, folder, monitor, load_settings().gpaw).run()

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> Any:
        """See :meth:`Engine.ase_calculator`; without the dipole correction, the same for all images of a band."""
        self.record(structure.symbol_set)
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        from anodeflow.workflows.engines.motion.dispersion import with_dispersion  # ASE, which plans do not need

        return with_dispersion(point_inputs(structure, card, charge).calculator(directory), card)
