"""What a method card means for VASP: INCAR, KPOINTS, POSCAR and the order of the atoms in it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.settings import VaspSettings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.engines.plane_waves.electronic import (
    Electronic,
    electronic,
    electrons,
    moments_of_atoms,
    widest_gap,
)
from anodeflow.workflows.engines.plane_waves.folder import write_files
from anodeflow.workflows.engines.vasp.potcar import (
    FUNCTIONAL,
    check_cutoff,
    even_core,
    find_potcar,
    potcar_symbol,
    potcar_texts,
    spec_valence,
)

# ISMEAR; VASP has no cold smearing, and the tetrahedron method gives no forces for metals.
SMEARINGS = {"gaussian": 0, "fermi-dirac": -1, "methfessel-paxton": 1, "none": 0}
# IVDW: damping to zero, and Becke's and Johnson's.
_DISPERSIONS = {"d3-zero": 11, "d3-bj": 12}
# Width where a card wants none: VASP needs one to order the levels.
_NO_WIDTH_EV = 0.01
SCF_STEPS = 120
# Projection in real space changes energies by some meV an atom, which does not cancel between a slab and its bulk.
_REAL_SPACE_ATOMS = 200
# Plain structure relaxations take LATTICE_CONSTRAINTS from this version on (VASP Wiki, revision of 20 November 2023).
CONSTRAINTS_SINCE = (6, 4, 0)
# Tags of the VTST tools, which pymatgen's list of tags does not have.
_VTST_TAGS = {"ICHAIN", "IOPT", "LCLIMB"}
# Tags that decide the energy. Where custodian changed one, the result is not the card's.
DECISIVE = (
    "GGA", "ENCUT", "PREC", "EDIFF", "ISMEAR", "SIGMA", "ISPIN", "NUPDOWN", "NELECT", "LREAL", "LASPH", "LDIPOL",
    "IDIPOL", "ISIF", "ADDGRID", "METAGGA", "LHFCALC", "IVDW", "LDAU",
)  # fmt: skip


@dataclass
class Inputs:
    """The inputs of one calculation.

    Attributes
    ----------
    structure
        The atoms as in the POSCAR, grouped by species.
    order
        ``order[k]`` is the index in the structure given of atom k of the POSCAR.
    symbols
        POTCAR symbols in the order of the POSCAR.
    titles
        TITEL of each POTCAR; empty in spec mode.
    """

    incar: Any
    kpoints: Any
    structure: Structure
    order: np.ndarray
    symbols: list[str]
    settings: Electronic
    potcar: Any = None
    titles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def gamma_only(self) -> bool:
        """Whether the version of VASP for the Gamma point alone will do."""
        return self.settings.mesh == (1, 1, 1)

    @property
    def elements(self) -> list[str]:
        """Elements in the order of the POSCAR."""
        return list(dict.fromkeys(site.specie.symbol for site in self.structure))

    def moved(self, structure: Structure) -> Inputs:
        """Return the same inputs for another geometry of the same atoms, in the order of the structure given first."""
        placed = Structure(
            structure.lattice,
            self.structure.species,
            structure.frac_coords[self.order],
            site_properties=self.structure.site_properties,
        )
        return replace(self, structure=placed)

    def texts(self) -> dict[str, str]:
        """Return the files by name, but for the POTCAR."""
        from pymatgen.io.vasp.inputs import Poscar

        return {
            "INCAR": str(self.incar),
            "KPOINTS": str(self.kpoints),
            "POSCAR": Poscar(_tidy(self.structure), comment=self.structure.formula, sort_structure=False).get_str(
                significant_figures=12
            ),
        }

    def write(self, folder: Path) -> list[str]:
        """Write the files and return their names. A POTCAR.spec (symbols alone) stands in for a missing POTCAR.

        Raises
        ------
        EngineError
            If they cannot be written.
        """
        texts = self.texts()
        if self.potcar is not None:
            texts["POTCAR"] = str(self.potcar)
        else:
            texts["POTCAR.spec"] = "\n".join(self.symbols) + "\n"
        return write_files(folder, texts)


def _tidy(structure: Structure) -> Structure:
    """Return a copy without the noise of the last digits, so that the same cell gives the same file everywhere."""
    return Structure(
        np.round(structure.lattice.matrix, 12) + 0.0,
        structure.species,
        np.round(structure.frac_coords, 12) + 0.0,
        site_properties=structure.site_properties,
    )


def species_order(structure: Structure) -> np.ndarray:
    """Return indices that group the atoms by species, in the order in which species and atoms first come.

    Raises
    ------
    InputError
        If sites are partly occupied.
    """
    if not structure.is_ordered:
        raise InputError(f"{structure.formula} has partly occupied sites", "choose one configuration of it")
    symbols = [site.specie.symbol for site in structure]
    rank = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols))}
    return np.array(sorted(range(len(symbols)), key=lambda i: rank[symbols[i]]), dtype=int)


def inputs_of(request: Request, settings: VaspSettings, *, spec: bool = False) -> Inputs:
    """Return the inputs of a static calculation or a relaxation.

    Parameters
    ----------
    request
        What is to be computed.
    settings
        Of this machine: which POTCARs, and where.
    spec
        Without POTCARs: their symbols alone, and electrons from a table.

    Raises
    ------
    EngineError
        If a POTCAR is missing or does not suit, the card asks for what VASP cannot do, or a tag is wrong.
    InputError
        If the card does not suit the cell.
    """
    structure, task, card = request.structure, request.task, request.card
    electronics = electronic(structure, task, card, request.charge)
    tags = _ionic_tags(structure, task, card)
    if electronics.slab and not electronics.charge:
        tags["LVHAR"] = True  # LOCPOT, of which the vacuum level is read
    return assembled(structure, electronics, tags, card, settings, spec=spec)


def assembled(
    structure: Structure,
    electronics: Electronic,
    tags: dict[str, Any],
    card: MethodCard,
    settings: VaspSettings,
    *,
    spec: bool,
) -> Inputs:
    """Return inputs with the electrons of a card and the tags of a motion.

    Parameters
    ----------
    structure
        The cell.
    electronics
        What the card means for its electrons.
    tags
        Of the motion; they override those of the electrons, and None takes one away.
    card, settings, spec
        As for :func:`inputs_of`, which names the errors, too.
    """
    notes = list(electronics.notes)
    order = species_order(structure)
    elements = list(dict.fromkeys(structure[i].specie.symbol for i in order))
    titles: list[str] = []
    charge = electronics.charge
    if spec:
        valence = _table_valences(elements, settings) if charge else {}
        if charge:
            notes.append("NELECT rests on a table of valences, not on POTCARs: check it against ZVAL of yours")
    else:
        files = {element: find_potcar(element, settings) for element in elements}
        notes += check_cutoff(files, card)
        notes += [f"POTCAR {f.symbol} is unknown to pymatgen: check that it is complete" for f in files.values()
                  if not f.known and not settings.stand_in]  # fmt: skip
        valence = {element: file.valence for element, file in files.items()}
        titles = [file.title for file in files.values()]
    tags = _electronic_tags(structure, electronics, notes) | _dispersion(card) | tags
    tags = {tag: value for tag, value in tags.items() if value is not None} | settings.keys
    if charge:
        tags["NELECT"] = _electrons(structure, valence, charge)
    for element, number in valence.items():
        if not even_core(element, number):
            raise EngineError(
                f"POTCAR of {element} brings {number} electrons, which leaves an odd number in its core",
                "the number of electrons of the cell would be wrongly odd or even; use another POTCAR",
            )
    return _assemble(structure, order, electronics, tags, settings, titles, notes, spec)


def _assemble(
    structure: Structure,
    order: np.ndarray,
    electronics: Electronic,
    tags: dict[str, Any],
    settings: VaspSettings,
    titles: list[str],
    notes: list[str],
    spec: bool,
) -> Inputs:
    moments = moments_of_atoms(structure, electronics)
    frozen = structure.site_properties.get("selective_dynamics")
    properties: dict[str, list[Any]] = {}
    if frozen is not None and any(flags is not None and not np.all(flags) for flags in frozen):
        properties["selective_dynamics"] = [
            [True] * 3 if frozen[i] is None else [bool(x) for x in frozen[i]] for i in order
        ]
    if electronics.spin_polarised:
        properties["magmom"] = [round(moments[i], 4) for i in order]
    grouped = Structure(
        structure.lattice,
        [structure[i].specie.symbol for i in order],
        structure.frac_coords[order],
        site_properties=properties,
    )
    elements = list(dict.fromkeys(site.specie.symbol for site in grouped))
    symbols = {element: potcar_symbol(element, settings) for element in elements}
    incar = _incar(grouped, tags, electronics, symbols)
    check_tags(incar)
    return Inputs(
        incar=incar,
        kpoints=kpoints(electronics),
        structure=grouped,
        order=order,
        symbols=list(symbols.values()),
        settings=electronics,
        potcar=None if spec else potcar_texts(elements, settings),
        titles=titles,
        notes=notes,
    )


def _incar(grouped: Structure, tags: dict[str, Any], electronics: Electronic, symbols: dict[str, str]) -> Any:
    """Return the INCAR by atomate2's generator on a base set of our own; its default one is PBEsol at 680 eV."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that are overridden, which is the point
        from atomate2.vasp.sets.base import VaspInputGenerator

        base = {
            "INCAR": {"MAGMOM": {}} if electronics.spin_polarised else {},
            "KPOINTS": {},
            "POTCAR": symbols,
            "POTCAR_FUNCTIONAL": FUNCTIONAL,
        }
        return VaspInputGenerator(
            structure=grouped,
            config_dict=base,
            user_incar_settings=dict(tags),
            user_kpoints_settings=kpoints(electronics),
            sort_structure=False,
            validate_magmom=False,
            inherit_incar=False,
            auto_ismear=False,
        ).incar


def kpoints(electronics: Electronic) -> Any:
    """Return the KPOINTS file: an automatic mesh, on Gamma or shifted as Monkhorst and Pack have it."""
    from pymatgen.io.vasp.inputs import Kpoints, KpointsSupportedModes

    style = KpointsSupportedModes.Gamma if electronics.gamma_centred else KpointsSupportedModes.Monkhorst
    return Kpoints(f"{'x'.join(map(str, electronics.mesh))} mesh", 0, style, (electronics.mesh,), (0, 0, 0))


def _dispersion(card: MethodCard) -> dict[str, Any]:
    """Return what a card's dispersion is in VASP: DFT-D3, which has no three-body term there.

    Raises
    ------
    EngineError
        If there are no parameters for its functional.
    """
    return {} if d3_of(card) is None else {"IVDW": _DISPERSIONS[str(card.dispersion)]}


def _electronic_tags(structure: Structure, electronics: Electronic, notes: list[str]) -> dict[str, Any]:
    """Return INCAR tags of the electrons.

    Parameters
    ----------
    structure
        The cell.
    electronics
        What the card means for it.
    notes
        Takes what a reader must know.

    Raises
    ------
    EngineError
        If VASP has no such smearing.
    """
    kind, width = electronics.smearing.kind, electronics.smearing.width_ev
    if kind not in SMEARINGS:
        raise EngineError(f"VASP has no {kind} smearing", "use methfessel-paxton or gaussian in the card")
    if kind == "none" or width == 0.0:
        notes.append(f"no smearing asked for: gaussian with {_NO_WIDTH_EV} eV, the least that orders the levels")
        width = _NO_WIDTH_EV
    tags: dict[str, Any] = {
        "GGA": "PE",
        "ENCUT": electronics.cutoff_ev,
        "PREC": "Accurate",
        "EDIFF": electronics.energy_tolerance_ev,
        "ALGO": "Normal",
        "NELM": SCF_STEPS,
        "ISMEAR": SMEARINGS[kind],
        "SIGMA": width,
        "ISPIN": 2 if electronics.spin_polarised else 1,
        "LASPH": True,
        "LREAL": "Auto" if len(structure) > _REAL_SPACE_ATOMS else False,
        "LORBIT": 11,
        "LWAVE": True,
        "LCHARG": False,
    }
    if len(structure) > _REAL_SPACE_ATOMS:
        notes.append(f"LREAL = Auto for {len(structure)} atoms: compare only with cells that have it too")
    axis = electronics.dipole_axis
    if axis is not None:
        tags |= {"LDIPOL": True, "IDIPOL": axis + 1, "DIPOL": dipole_centre(structure, axis)}
    if electronics.isolated:
        # an atom with an open p shell has its lowest energy in a density without the box's symmetry
        tags["ISYM"] = 0
        if electronics.spin_polarised and len(structure) == 1:
            tags["NUPDOWN"] = round(electronics.initial_moment)
    return tags


def _ionic_tags(structure: Structure, task: Task, card: MethodCard) -> dict[str, Any]:
    """Return INCAR tags of the motion of ions and cell.

    Parameters
    ----------
    structure, task, card
        Of the request.

    Raises
    ------
    InputError
        If only the height of a cell is to relax whose first two vectors do not lie in the plane.
    """
    if task == "static":
        return {"NSW": 0, "IBRION": -1, "ISIF": 2, "LWAVE": False}
    optimiser = (card.optimiser or "").lower()
    tags: dict[str, Any] = {
        "NSW": card.max_steps,
        # the conjugate gradients find their way from afar; RMM-DIIS only where a card asks for it
        "IBRION": 1 if "quasi-newton" in optimiser or "diis" in optimiser else 2,
        "ISIF": 2 if task == "relax" else 3,
        "EDIFFG": -card.force_tolerance_ev_per_angstrom,
        "NELMIN": 5,
    }
    if task == "relax_c":
        matrix = structure.lattice.matrix
        if np.abs(matrix[:2, 2]).max() > 1e-6:
            raise InputError(
                f"the first two lattice vectors of {structure.formula} do not lie in the plane z = 0",
                "turn the cell; only its extent along z is relaxed",
            )
        tags["LATTICE_CONSTRAINTS"] = [False, False, True]
    return tags


def dipole_centre(structure: Structure, axis: int) -> list[float]:
    """Return the centre of the slab in fractions of the cell: opposite to the middle of its vacuum."""
    centre = [0.5, 0.5, 0.5]
    centre[axis] = round((widest_gap(structure, axis)[1] + 0.5) % 1.0, 4)
    return centre


def _table_valences(elements: Sequence[str], settings: VaspSettings) -> dict[str, int]:
    """Return the electrons each element brings, from the table.

    Raises
    ------
    EngineError
        If the table does not have one.
    """
    numbers = {element: spec_valence(element, settings) for element in elements}
    unknown = [potcar_symbol(e, settings) for e, number in numbers.items() if number is None]
    if unknown:
        raise EngineError(
            f"a charged cell needs the electrons of POTCAR {', '.join(unknown)}, which no table here has",
            "set vasp.potentials to a folder of POTCARs",
        )
    return {element: number for element, number in numbers.items() if number is not None}


def _electrons(structure: Structure, valence: dict[str, int], charge: int) -> int:
    number = electrons(structure, valence, charge)
    if number < 1:
        raise InputError(
            f"{structure.composition.formula} with charge {charge:+d} has {number} valence electrons",
            "VASP needs at least one; use a POTCAR with more of them, such as Li_sv",
        )
    return number


def check_tags(incar: Any) -> None:
    """Check that every tag and value is one that VASP knows.

    Raises
    ------
    EngineError
        If one is not; pymatgen only warns of it, and VASP does not even do that.
    """
    known = type(incar)({tag: value for tag, value in incar.items() if tag not in _VTST_TAGS})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        known.check_params()
    problems = [re.sub(r"\s+", " ", str(w.message)) for w in caught if "INCAR" in w.category.__name__.upper()]
    if problems:
        raise EngineError(f"INCAR: {'; '.join(problems)}", "this is a mistake in the input writer; please report it")
