"""Input files of pw.x: what a card and a cell mean in Quantum ESPRESSO's words.

Widths of smearing functions have the same meaning as in a card (sigma of VASP), so only the unit changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Element, Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.units import ASE_BOHR_ANGSTROM, ASE_RYDBERG_EV, RYDBERG_TIME_FS
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.engines.espresso.pseudopotentials import Pseudopotential
from anodeflow.workflows.engines.plane_waves.electronic import Electronic, electronic, moments_of_atoms, widest_gap
from anodeflow.workflows.engines.plane_waves.folder import write_files

PREFIX = "anodeflow"
CALCULATIONS: dict[Task, str] = {"static": "scf", "relax": "relax", "relax_cell": "vc-relax", "relax_c": "vc-relax"}
SMEARINGS = {
    "gaussian": "gaussian",
    "fermi-dirac": "fermi-dirac",
    "methfessel-paxton": "methfessel-paxton",
    "marzari-vanderbilt": "marzari-vanderbilt",
}
# Density cutoff over wavefunction cutoff.
DENSITY_FACTOR = {"NC": 4.0, "US": 8.0, "PAW": 8.0}
# Of pw.x: 3 damps to zero, 4 is Becke's and Johnson's damping.
_D3_VERSIONS = {"d3-zero": 3, "d3-bj": 4}
# pw.x keeps file and folder names in 256 characters.
_LONGEST_PATH = 240
# a and b of a cell whose height alone is relaxed lie in the xy plane to this, angstrom.
_IN_PLANE_ANGSTROM = 1e-5


@dataclass(frozen=True)
class ScfOptions:
    """How the electronic ground state is sought; nothing of it changes the ground state."""

    mixing_beta: float = 0.7
    local_tf: bool = False
    diagonalization: str = "david"
    max_iterations: int = 100

    def __str__(self) -> str:
        mode = "local-TF" if self.local_tf else "plain"
        return f"mixing_beta {self.mixing_beta}, {mode} mixing, {self.diagonalization}"


@dataclass(frozen=True)
class Inputs:
    """The input of one run of pw.x."""

    text: str

    def write(self, folder: Path, stem: str = "pw") -> list[str]:
        """Write the file; return its name."""
        return write_files(folder, {f"{stem}.in": self.text})


def inputs_of(request: Request, pseudopotentials: Mapping[str, Pseudopotential], **options: Any) -> Inputs:
    """Return the input of one task; the options are those of :func:`pw_input`."""
    text = pw_input(
        request.structure,
        request.task,
        request.card,
        request.charge,
        pseudopotentials,
        stress=request.stress,
        **options,
    )
    return Inputs(text)


def density_cutoff_ry(cutoff_ry: float, pseudopotentials: Mapping[str, Pseudopotential]) -> float:
    """Cutoff of the charge density, Ry.

    Four times that of the wavefunctions for norm-conserving files, where it is exact; eight times, or the largest
    that a header suggests, as soon as there is an augmentation charge.
    """
    suggested = [p.density_cutoff_ry or 0.0 for p in pseudopotentials.values() if p.needs_augmentation]
    factor = max(DENSITY_FACTOR[p.kind] for p in pseudopotentials.values())
    return max([factor * cutoff_ry, *suggested])


def dipole_position(structure: Structure, axis: int) -> tuple[float, float]:
    """Where the saw-tooth potential falls: ``emaxpos`` and ``eopreg`` in units of the lattice vector, mid-vacuum."""
    gap, middle = widest_gap(structure, axis)
    width = min(0.05, 0.3 * gap)
    return (middle - width / 2) % 1.0, width


def check_order(structure: Structure) -> None:
    """Refuse a structure with partly occupied sites.

    Raises
    ------
    InputError
        If there is one.
    """
    if not structure.is_ordered:
        raise InputError(f"{structure.composition.formula} has partly occupied sites", "order it first")


def check_cell(structure: Structure, task: Task, settings: Electronic) -> None:
    """Refuse a cell that a task cannot be done with.

    Raises
    ------
    EngineError
        If only the height is to be relaxed and a or b leave the xy plane (pw.x frees the z component of c alone,
        so the height would shear), or if the cell of a slab with a dipole correction is to be relaxed (pw.x has
        no stress there).
    """
    if task == "relax_c" and np.abs(structure.lattice.matrix[:2, 2]).max() > _IN_PLANE_ANGSTROM:
        raise EngineError(
            f"{structure.formula}: a and b of the cell do not lie in the xy plane, so its height along z cannot be "
            "relaxed alone",
            "turn the cell until a and b have no z component",
        )
    if task in ("relax_cell", "relax_c") and settings.dipole_axis is not None:
        raise EngineError(
            f"{structure.formula} is a slab with a dipole correction: its cell cannot be relaxed",
            "relax the ions only (the vacuum is not part of the crystal)",
        )


def pw_input(
    structure: Structure,
    task: Task,
    card: MethodCard,
    charge: int,
    pseudopotentials: Mapping[str, Pseudopotential],
    *,
    options: ScfOptions | None = None,
    max_seconds: float | None = None,
    max_steps: int | None = None,
    like: Structure | None = None,
    waves: bool = False,
    stress: bool = False,
) -> str:
    """Input of pw.x for one task.

    Parameters
    ----------
    structure
        The geometry; ``selective_dynamics`` becomes ``if_pos``.
    task
        What to do. ``relax_c`` frees the z component of c (``cell_dofree = 'z'``): a and b stay, and a c that
        leans keeps its x and y.
    card, charge
        How accurately, and the charge of the cell, e.
    pseudopotentials
        The file of each element; all in one folder.
    options
        How the ground state is sought.
    max_seconds
        After which pw.x stops by itself.
    max_steps
        Ionic steps allowed; that of the card if None.
    like
        For one geometry of a band or of dynamics, the first one of all: it decides mesh, spin, smearing and the place
        of the dipole layer, and no symmetry is used. The electrons converge as far as forces need it.
    waves
        Start from the wave functions in the output folder. The density starts from the atoms all the same: the one of
        the geometry before would leave its mark on the forces (measured: 10 times pw.x's own correction), and dynamics
        would drift.
    stress
        The stress is wanted, though the cell does not move.

    Raises
    ------
    EngineError, InputError
        As :func:`check_order`, :func:`check_cell` and :func:`electronic`; or if a path is too long or holds a blank.
    """
    check_order(structure)
    settings = electronic(like or structure, task, card, charge)
    check_cell(structure, task, settings)
    control = _control(task, card, _folder(pseudopotentials), max_seconds)
    if stress:
        control["tstress"] = True
    if task != "static":
        control["nstep"] = (card.max_steps if max_steps is None else max_steps) + 1
    if settings.dipole_axis is not None:
        control |= {"tefield": True, "dipfield": True}
    conv_thr = settings.energy_tolerance_ev / ASE_RYDBERG_EV
    if task != "static" or like is not None:
        # The error of forces goes with the root of it.
        conv_thr = min(conv_thr, 2e-9 * max(5, len(structure)))
    system = _system(structure, settings, pseudopotentials, like) | _dispersion(card)
    if like is not None:
        system["nosym"] = True
    electrons = _electrons(options or ScfOptions(), conv_thr) | ({"startingwfc": "file"} if waves else {})
    sections = [("CONTROL", control), ("SYSTEM", system), ("ELECTRONS", electrons)]
    if task != "static":
        # upscale 1: the threshold of the electrons stays what was chosen.
        sections.append(("IONS", {"ion_dynamics": "bfgs", "upscale": 1.0}))
    if task in ("relax_cell", "relax_c"):
        cell: dict[str, object] = {
            "cell_dynamics": "bfgs",
            # Half, because the last calculation has another basis than the steps before it.
            "press_conv_thr": 0.5 * 10.0 * card.stress_tolerance_gpa,
        }
        if task == "relax_c":
            cell["cell_dofree"] = "z"
        sections.append(("CELL", cell))
    return _text(sections, structure, settings, pseudopotentials)


def dynamics_input(
    structure: Structure,
    card: MethodCard,
    charge: int,
    pseudopotentials: Mapping[str, Pseudopotential],
    *,
    steps: int | None = None,
    max_seconds: float | None = None,
) -> str:
    """Input of pw.x for molecular dynamics with the card's ``dynamics``.

    ``nvt`` is stochastic velocity rescaling with a time constant of 100 steps (doi:10.1063/1.2408420);
    ``nve`` starts at the card's temperature.

    Raises
    ------
    InputError
        If the card has no dynamics.
    """
    if card.dynamics is None:
        raise InputError(f"card '{card.name}' has no dynamics", "choose a card for molecular dynamics")
    check_order(structure)
    settings = electronic(structure, "static", card, charge)
    control = _control("static", card, _folder(pseudopotentials), max_seconds) | {
        "calculation": "md",
        "nstep": steps or round(1000 * card.dynamics.duration_ps / card.dynamics.timestep_fs),
        "dt": card.dynamics.timestep_fs / RYDBERG_TIME_FS,
    }
    if settings.dipole_axis is not None:
        control |= {"tefield": True, "dipfield": True}
    system = _system(structure, settings, pseudopotentials) | _dispersion(card) | {"nosym": True}
    ions: dict[str, object] = {"ion_dynamics": "verlet", "tempw": card.dynamics.temperature_k}
    ions |= {"ion_temperature": "svr", "nraise": 100} if card.dynamics.ensemble == "nvt" else {
        "ion_temperature": "initial"
    }  # fmt: skip
    # Verlet needs forces better than energies: an error of the electrons would heat the ions.
    conv_thr = min(settings.energy_tolerance_ev / ASE_RYDBERG_EV, 1e-8 * len(structure))
    sections = [
        ("CONTROL", control),
        ("SYSTEM", system),
        ("ELECTRONS", _electrons(ScfOptions(), conv_thr)),
        ("IONS", ions),
    ]
    return _text(sections, structure, settings, pseudopotentials)


def _folder(pseudopotentials: Mapping[str, Pseudopotential]) -> Path:
    folders = {p.path.parent for p in pseudopotentials.values()}
    folder = folders.pop()
    text = str(folder)
    if len(text) > _LONGEST_PATH or not text.isprintable():
        raise EngineError(f"folder of pseudopotentials '{text}' cannot be given to pw.x", "give it a shorter path")
    for chosen in pseudopotentials.values():
        if len(chosen.path.name.split()) != 1 or len(chosen.path.name) > 80:
            raise EngineError(f"pw.x cannot read a file named '{chosen.path.name}'", "rename it without blanks")
    return folder


def _control(task: Task, card: MethodCard, folder: Path, max_seconds: float | None) -> dict[str, object]:
    control: dict[str, object] = {
        "calculation": CALCULATIONS[task],
        "prefix": PREFIX,
        "outdir": "./out",
        "pseudo_dir": str(folder),
        "restart_mode": "from_scratch",
        "disk_io": "low",
        "tprnfor": True,
    }
    if max_seconds is not None:
        control["max_seconds"] = float(max_seconds)
    if task in ("relax_cell", "relax_c"):
        control["tstress"] = True
    if task != "static":
        # pw.x compares components, the card the length of the force on an atom.
        control["forc_conv_thr"] = (
            card.force_tolerance_ev_per_angstrom / (ASE_RYDBERG_EV / ASE_BOHR_ANGSTROM) / math.sqrt(3.0)
        )
        # Forces and stress decide; this one only must not stand in the way.
        control["etot_conv_thr"] = 1e-3
    return control


def _system(
    structure: Structure,
    settings: Electronic,
    pseudopotentials: Mapping[str, Pseudopotential],
    like: Structure | None = None,
) -> dict[str, object]:
    cutoff = settings.cutoff_ev / ASE_RYDBERG_EV
    species = _species(structure)
    system: dict[str, object] = {
        "ibrav": 0,
        "nat": len(structure),
        "ntyp": len(species),
        "ecutwfc": cutoff,
        "ecutrho": density_cutoff_ry(cutoff, {e: pseudopotentials[e] for e in species}),
        "tot_charge": float(settings.charge),
    }
    fixed = settings.smearing.kind == "none" or settings.smearing.width_ev == 0.0
    if fixed:
        system["occupations"] = "fixed"
    else:
        system["occupations"] = "smearing"
        system["smearing"] = SMEARINGS[settings.smearing.kind]
        system["degauss"] = settings.smearing.width_ev / ASE_RYDBERG_EV
    if settings.spin_polarised:
        system["nspin"] = 2
        if fixed or (settings.isolated and len(structure) == 1):
            system["tot_magnetization"] = float(settings.initial_moment)
        else:
            moments = moments_of_atoms(structure, settings)
            for number, element in enumerate(species, start=1):
                of_element = [m for m, site in zip(moments, structure, strict=True) if site.specie.symbol == element]
                share = sum(of_element) / len(of_element) / pseudopotentials[element].valence
                system[f"starting_magnetization({number})"] = max(-1.0, min(1.0, share))
    if settings.dipole_axis is not None:
        start, width = dipole_position(like or structure, settings.dipole_axis)
        system |= {"edir": settings.dipole_axis + 1, "emaxpos": start, "eopreg": width, "eamp": 0.0}
    return system


def _dispersion(card: MethodCard) -> dict[str, object]:
    """Return what a card's dispersion is in pw.x, whose parameters go by the functional of the pseudopotentials.

    Its three-body term, which is on by default, is not part of what the parameters were fitted with.

    Raises
    ------
    EngineError
        If there are no parameters for its functional.
    """
    if d3_of(card) is None:
        return {}
    return {"vdw_corr": "dft-d3", "dftd3_version": _D3_VERSIONS[str(card.dispersion)], "dftd3_threebody": False}


def _electrons(options: ScfOptions, conv_thr: float) -> dict[str, object]:
    electrons: dict[str, object] = {
        "conv_thr": conv_thr,
        "electron_maxstep": options.max_iterations,
        "mixing_beta": options.mixing_beta,
        "diagonalization": options.diagonalization,
    }
    if options.local_tf:
        electrons["mixing_mode"] = "local-TF"
    return electrons


def _species(structure: Structure) -> list[str]:
    return list(dict.fromkeys(site.specie.symbol for site in structure))


def _text(
    sections: list[tuple[str, dict[str, object]]],
    structure: Structure,
    settings: Electronic,
    pseudopotentials: Mapping[str, Pseudopotential],
) -> str:
    lines = []
    for name, values in sections:
        lines.append(f"&{name}")
        lines += [f"  {key} = {_fortran(value)}" for key, value in values.items()]
        lines.append("/")
    lines.append("ATOMIC_SPECIES")
    lines += [
        f"{element} {float(Element(element).atomic_mass):.5f} {pseudopotentials[element].path.name}"
        for element in _species(structure)
    ]
    lines.append("CELL_PARAMETERS angstrom")
    lines += ["{:.14f} {:.14f} {:.14f}".format(*row) for row in structure.lattice.matrix]
    lines.append("ATOMIC_POSITIONS crystal")
    free = np.asarray(structure.site_properties.get("selective_dynamics", True), dtype=bool)
    for i, site in enumerate(structure):
        line = "{} {:.16f} {:.16f} {:.16f}".format(site.specie.symbol, *site.frac_coords)
        if not free.all():
            line += "".join(f" {int(component)}" for component in free[i])
        lines.append(line)
    if settings.mesh == (1, 1, 1):
        lines.append("K_POINTS gamma")
    else:
        lines.append("K_POINTS automatic")
        lines.append(" ".join(str(int(n)) for n in (*settings.mesh, *settings.shifted)))
    return "\n".join(lines) + "\n"


def _fortran(value: object) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = f"{value:.10g}"
        return text if any(c in text for c in ".e") else text + ".0"
    return "'" + str(value).replace("'", "''") + "'"
