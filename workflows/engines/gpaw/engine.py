"""GPAW in plane-wave mode: the open engine whose PAW data sets come from the package registry."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import math
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.settings import load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.motion.relax import run_ase
from anodeflow.workflows.engines.plane_waves.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.plane_waves.electronic import (
    Electronic,
    electronic,
    electrons,
    moments_of_atoms,
    widest_gap,
)

KIND = "plane-wave DFT (PAW)"
LOG = "gpaw.txt"
SCF_STEPS = 150
LONG_ANGSTROM = 20.0
# GPAW's names of the card's smearings; its Methfessel-Paxton of order 0 is the Gaussian one.
OCCUPATIONS: dict[str, dict[str, Any]] = {
    "gaussian": {"name": "methfessel-paxton", "order": 0},
    "methfessel-paxton": {"name": "methfessel-paxton", "order": 1},
    "fermi-dirac": {"name": "fermi-dirac"},
    "marzari-vanderbilt": {"name": "marzari-vanderbilt"},
}
# GPAW counts the energy criterion per valence electron, and no tighter than makes sense in double precision.
TIGHTEST_EV_PER_ELECTRON = 1e-8
LOOSEST_EV_PER_ELECTRON = 5e-4


class GpawEngine(Engine):
    """GPAW, serial in this process or under MPI (``gpaw: {processes: N}`` in the settings)."""

    name = "gpaw"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True, takes_curvatures=True,
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
            hash=hashlib.sha256(b"gpaw plane waves PBE").hexdigest()[:16],
            potentials={e: f"{s['name']} {s['digest']}" for e, s in sets.items()},
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        self.record()
        if card.cutoff_ev is None or card.kpoints is None:
            raise EngineError(
                f"card '{card.name}' has no cutoff or k-points, and gpaw needs both",
                "choose a card for plane waves, such as pbe-slab",
            )
        return [f"potentials: GPAW's own PAW data sets in place of '{card.potentials}'"]

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        if importlib.util.find_spec("gpaw") is None:
            return ["program: the Python package gpaw is not installed"]
        absent = []
        for element in elements:
            try:
                data_set(element)
            except EngineError as error:
                absent.append(str(error.problem))
        return absent

    def valence_electrons(self, elements: Iterable[str]) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`."""
        return {element: int(data_set(element)["valence"]) for element in elements}

    def parameters(self, structure: Structure, settings: Electronic) -> dict[str, Any]:
        """GPAW's keywords for one cell, as plain numbers and names.

        Parameters
        ----------
        structure
            The geometry.
        settings
            What the card means for it.
        """
        number = electrons(structure, self.valence_electrons(structure.symbol_set), settings.charge)
        per_electron = settings.energy_tolerance_ev / max(1, number)
        size = list(settings.mesh)
        keywords: dict[str, Any] = {
            # the estimate of dE/d(cutoff) takes the Pulay part out of the stress
            "mode": {"name": "pw", "ecut": settings.cutoff_ev, "dedecut": "estimate"},
            "xc": settings.functional,
            "kpts": {"size": size, "gamma": True} if settings.gamma_centred else {"size": size},
            "charge": settings.charge,
            "spinpol": settings.spin_polarised,
            "maxiter": SCF_STEPS,
            "convergence": {"energy": min(max(per_electron, TIGHTEST_EV_PER_ELECTRON), LOOSEST_EV_PER_ELECTRON)},
        }
        if settings.spin_polarised:
            keywords["magmoms"] = moments_of_atoms(structure, settings)
        if settings.smearing.kind == "none":
            keywords["occupations"] = {"name": "fermi-dirac", "width": 0.0}
        else:
            keywords["occupations"] = OCCUPATIONS[settings.smearing.kind] | {"width": settings.smearing.width_ev}
        if settings.isolated and settings.spin_polarised and len(structure) == 1:
            # an atom keeps Hund's moment; without this its occupations may wander
            keywords["occupations"]["fixmagmom"] = True
        if max(structure.lattice.abc) > LONG_ANGSTROM and not settings.isolated:
            # charge sloshes along a long cell: a longer memory needs a third fewer iterations
            keywords["mixer"] = {"backend": "pulay", "beta": 0.05, "nmaxold": 8, "weight": 100.0}
        if settings.dipole_axis is not None:
            keywords["poissonsolver"] = {"dipolelayer": ("yz", "xz", "xy")[settings.dipole_axis]}
        return keywords

    def calculator(
        self,
        structure: Structure,
        task: Task,
        card: MethodCard,
        charge: int = 0,
        log: Path | None = None,
        symmetric: bool = True,
    ) -> tuple[Any, Electronic]:
        """An ASE calculator for one cell, and the settings it has.

        Parameters
        ----------
        structure, task, card, charge
            What is to be computed.
        log
            GPAW's text output; None for nothing.
        symmetric
            Whether the symmetry of the first geometry may be used for all that follow.
        """
        self.record(structure.symbol_set)
        settings = electronic(structure, task, card, charge)
        from gpaw import GPAW

        keywords = self.parameters(structure, settings)
        if not symmetric:
            keywords["symmetry"] = {"point_group": False}
        return GPAW(**keywords, txt=None if log is None else str(log)), settings

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> Any:
        """See :meth:`Engine.ase_calculator`; a band goes without the dipole correction, the same for all images."""
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        plain = card.model_copy(update={"dipole_correction": False})
        return self.calculator(structure, "relax", plain, charge, directory and directory / LOG, symmetric=False)[0]

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        structure, task, card, charge = request.structure, request.task, request.card, request.charge
        directory = folder
        processes = load_settings().gpaw.processes
        if processes > 1 and directory is not None:
            from anodeflow.workflows.engines.gpaw.mpi import compute_with_mpi

            return compute_with_mpi(processes, structure, task, card, charge, monitor, directory)
        return self.compute_here(structure, task, card, charge, monitor, directory)

    def compute_here(
        self,
        structure: Structure,
        task: Task,
        card: MethodCard,
        charge: int,
        monitor: Monitor | None,
        directory: Path | None,
        first: bool = True,
    ) -> Outcome:
        """Compute in this process; every process of an MPI run calls it, and only the `first` writes files."""
        calculator, settings = self.calculator(structure, task, card, charge, directory and directory / LOG)
        start, moved = structure, None
        if settings.dipole_axis is not None:
            start, moved = vacuum_at_the_boundary(structure, settings.dipole_axis)
        try:
            outcome = run_ase(start, calculator, task, card, monitor, directory, writes=first)
        except Exception as error:
            if not is_scf_failure(error):
                raise
            outcome = Outcome(
                structure,
                None,
                None if task == "static" else False,
                electronic_converged=False,
                error=f"electrons not converged in {SCF_STEPS} iterations ({_last_lines(directory)})",
            )
        else:
            outcome.electronic_converged = True
        if moved is not None:
            outcome.structure = put_back(outcome.structure, structure, moved)
            if "positions_angstrom" in outcome.arrays:
                outcome.arrays["positions_angstrom"] -= moved @ structure.lattice.matrix
        outcome.warnings = [*settings.notes, *outcome.warnings]
        if settings.spin_polarised and outcome.energy_ev is not None:
            outcome.arrays["magnetic_moment_bohr"] = float(calculator.get_magnetic_moment())
        return outcome

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """A GPAW script that computes the energy, forces and stress of the start geometry, and the geometry."""
        keywords = self.parameters(structure, electronic(structure, task, card, charge))
        purpose = f"anodeflow relaxes this cell with the task {task}"
        return _write_script(structure, keywords, f"Card {card.name}; {purpose}.", directory)

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_point_inputs`; as :meth:`ase_calculator` computes it."""
        plain = card.model_copy(update={"dipole_correction": False})
        keywords = self.parameters(structure, electronic(like or structure, "relax", plain, charge))
        keywords["symmetry"] = {"point_group": False}
        return _write_script(structure, keywords, f"Card {card.name}; one geometry of many.", directory)

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`."""
        return plane_wave_seconds(structure, card, self.valence_electrons(structure.symbol_set))


def _write_script(structure: Structure, keywords: dict[str, Any], title: str, directory: Path) -> list[str]:
    lines = "\n".join(f"    {key}={value!r}," for key, value in keywords.items())
    structure.to(filename=str(directory / "start.vasp"), fmt="poscar")
    (directory / "gpaw_input.py").write_text(
        f'"""{title}"""\n\n'
        "from ase.io import read\nfrom gpaw import GPAW\n\n"
        'atoms = read("start.vasp", format="vasp")\n'
        f'atoms.calc = GPAW(\n{lines}\n    txt="{LOG}",\n)\n'
        "print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())\n"
    )
    return ["start.vasp", "gpaw_input.py"]


def vacuum_at_the_boundary(structure: Structure, axis: int) -> tuple[Structure, np.ndarray]:
    """A slab whose vacuum lies at the cell's boundary, where GPAW puts its dipole layer, not periodic along `axis`.

    Returns
    -------
    structure, moved
        The slab, and what was added to the fractional coordinates, shape (N, 3).
    """
    _, middle = widest_gap(structure, axis)
    along = structure.frac_coords[:, axis]
    moved = np.zeros((len(structure), 3))
    moved[:, axis] = np.mod(np.mod(along, 1.0) - middle, 1.0) - along
    lattice = Lattice(structure.lattice.matrix, pbc=tuple(i != axis for i in range(3)))  # type: ignore[arg-type]
    made = Structure(
        lattice, structure.species, structure.frac_coords + moved, site_properties=structure.site_properties
    )
    return made, moved


def put_back(computed: Structure, start: Structure, moved: np.ndarray) -> Structure:
    """Undo :func:`vacuum_at_the_boundary`."""
    return Structure(
        computed.lattice.matrix,
        computed.species,
        computed.frac_coords - moved,
        site_properties=start.site_properties,
    )


def is_scf_failure(error: Exception) -> bool:
    """Whether GPAW gave up on the electrons; its exception's module has moved between versions."""
    return type(error).__name__ in {"SCFConvergenceError", "KohnShamConvergenceError", "ConvergenceError"}


@lru_cache(maxsize=128)
def data_set(element: str) -> dict[str, Any]:
    """File, digest and valence of the PBE data set of one element.

    Raises
    ------
    EngineError
        If there is none or it cannot be read; the folders tried are named.
    """
    if importlib.util.find_spec("gpaw") is None:
        raise EngineError("engine 'gpaw': the package gpaw is not installed", "see docs/engines.md")
    from gpaw import setup_paths

    tried = []
    for folder in setup_paths:
        for name in (f"{element}.PBE.gz", f"{element}.PBE"):
            file = Path(str(folder)) / name
            tried.append(str(folder))
            if not file.is_file():
                continue
            content = file.read_bytes()
            try:
                text = gzip.decompress(content) if name.endswith(".gz") else content
                atom = ElementTree.fromstring(text).find("atom")  # noqa: S314 - a data file of the installation
                valence = float(atom.attrib["valence"]) if atom is not None else math.nan
            except (OSError, EOFError, KeyError, TypeError, ValueError, ElementTree.ParseError) as error:
                raise EngineError(f"PAW data set '{file}' cannot be read: {error}", "install gpaw-data again") from None
            return {
                "file": str(file),
                "name": name.removesuffix(".gz"),
                "digest": hashlib.sha256(content).hexdigest()[:16],
                "valence": round(valence),
            }
    folders = ", ".join(dict.fromkeys(tried)) or "no folder at all"
    raise EngineError(f"no PBE data set of {element} (tried {folders})", "pip install gpaw-data")


def _last_lines(directory: Path | None) -> str:
    file = None if directory is None else directory / LOG
    if file is None or not file.is_file():
        return "no log"
    return f"see {file}"
