"""From the relaxed Li sites of one host to its binding energy: lowest chosen, all kept, oddities named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.binding import (
    BindingEnergyDoc,
    LithiumReference,
    SiteResult,
    binding_energies,
    makov_payne_ev,
)
from anodeflow.analysis.reference_values import reference_value
from anodeflow.analysis.relaxation_uncertainty import relaxation_uncertainty_ev
from anodeflow.analysis.reservoirs import Reservoir
from anodeflow.analysis.vacuum_level import ion_binding_energy_ev
from anodeflow.documents import CalculationDoc, Document
from anodeflow.lithium_states import State

# Two relaxed sites whose cells agree this well in energy are taken for one minimum.
_SAME_MINIMUM_EV = 0.005
# A host atom that moved further than this means that the host was rebuilt, not only strained.
_RECONSTRUCTED_ANGSTROM = 1.0
# Of an insulator a charged cell has no zero that another one shares.
_NOT_ALIGNED = (
    "charged cell without potential alignment (FNV): its energy is against the mean potential of this very cell, and "
    "dE of two hosts is wrong by the difference of theirs; take Li+ from neutral slabs by their work functions"
)
# A work function that Li moves by more is one of its coverage.
_SAME_WORK_FUNCTION_EV = 0.1
# Li further than this from every host atom has left the surface.
_DESORBED_ANGSTROM = 4.5
# Total energies of one crystal in two cells that differ by more say that its meshes of k-points are too coarse.
_MESHES_EV = 0.05


class SiteStart(Document):
    """Where Li was put, or was: a site, in fractional coordinates of the host cell; and the atom that left it."""

    label: str
    kind: str
    frac_coords: tuple[float, float, float]
    multiplicity: int
    nearest_distance_angstrom: float
    coordination: str
    seed: int = 0
    removed: str | None = None

    @property
    def shell(self) -> str:
        """Neighbours of the site, such as ``8 Li at 2.98 Å``."""
        return f"{self.coordination.replace(', ', ' + ')} at {self.nearest_distance_angstrom:.2f} Å"


def neighbours(structure: Structure, index: int, factor: float = 1.15) -> tuple[float, str]:
    """Return the nearest distance (angstrom) of one atom and its first shell, e.g. ``(2.57, '6 Cl')``.

    The shell holds all atoms within ``factor`` times the nearest distance.

    Parameters
    ----------
    structure
        The cell.
    index
        Of the atom.
    factor
        The shell ends at this many times the nearest distance.

    Returns
    -------
    tuple
        Distance and shell.
    """
    neighbors = structure.get_neighbors(structure[index], 6.0)
    if not neighbors:
        return float("inf"), "none within 6 angstrom"
    nearest = min(n.nn_distance for n in neighbors)
    shell = [n.species_string for n in neighbors if n.nn_distance <= factor * nearest]
    return nearest, " + ".join(f"{shell.count(e)} {e}" for e in sorted(set(shell)))


def _remaining(host: Structure, start: SiteStart) -> Structure:
    """Return the host without the atom that left, if one did; the others keep their order."""
    if start.removed is None:
        return host
    distances = host.lattice.get_all_distances([start.frac_coords], host.frac_coords)[0]
    left = host.copy()
    left.remove_sites([int(distances.argmin())])
    return left


def _host_displacements(start: Structure, end: Structure) -> np.ndarray:
    """Return the displacement length of every atom of the start, angstrom; the common drift is taken out."""
    n_host = len(start)
    if n_host == 0:
        return np.zeros(1)
    shift = end.frac_coords[:n_host] - start.frac_coords
    shift -= np.round(shift)
    cart = end.lattice.get_cartesian_coords(shift)
    result: np.ndarray = np.linalg.norm(cart - np.median(cart, axis=0), axis=1)
    return result


def cell_against_crystal(pristine: CalculationDoc, crystal: CalculationDoc | None) -> float | None:
    """Return the energy of a cell without Li minus that of as many atoms of its relaxed crystal, eV.

    Both are one crystal, so that this is what their meshes of k-points leave. In a metal it may be 10 meV an atom, and
    the cell with Li, which has another symmetry, need not share it.

    Parameters
    ----------
    pristine
        The cell, of a bulk crystal.
    crystal
        Its unit cell, by the same engine and card.

    Returns
    -------
    float or None
        None where there are no electrons, one of the two did not converge, or they are not of one composition.
    """
    if crystal is None or pristine.electronic_converged is None or pristine.charge:
        return None
    if not (pristine.converged and crystal.converged) or pristine.energy_ev is None or crystal.energy_ev is None:
        return None
    ours, unit = pristine.structure.composition, crystal.structure.composition
    if ours.reduced_composition != unit.reduced_composition:
        return None
    return pristine.energy_ev - crystal.energy_ev * ours.num_atoms / unit.num_atoms


def mesh_warnings(apart_ev: float | None, atoms: int) -> list[str]:
    """Return what is to be said of :func:`cell_against_crystal`; nothing where it is small."""
    if apart_ev is None or abs(apart_ev) <= _MESHES_EV:
        return []
    side = "below" if apart_ev < 0 else "above"
    return [
        f"without Li the cell of {atoms} atoms lies {abs(apart_ev):.2f} eV {side} its crystal "
        f"({1000 * apart_ev / atoms:+.1f} meV/atom): meshes of k-points differ, and E_int may be off by as much; "
        "vary kpoints.spacing_per_angstrom and bulk.min_image_distance_angstrom"
    ]


# long: a third or more of it is documentation
def host_result(
    *,
    pristine: CalculationDoc,
    with_li: list[CalculationDoc | None],
    starts: list[SiteStart],
    references: list[LithiumReference],
    metal: CalculationDoc,
    crystal: str,
    environment: Literal["bulk", "surface"],
    description: str,
    charge_mode: str,
    face: str | None = None,
    caveats: list[str] | None = None,
    n_li: int = 1,
    dielectric_constant: float | None = None,
    state: State | None = None,
    reservoirs: list[Reservoir] | None = None,
    other_card: str | None = None,
) -> BindingEnergyDoc:
    """Turn the calculations of one host with Li in one state into its document.

    The lowest site is the answer. Of a held Li it is the lowest cell without it: the Li that leaves first.

    Parameters
    ----------
    pristine
        The host without Li.
    with_li
        Host plus `n_li` Li (the last atoms), one calculation a site; None where it is missing. In state ``held`` the
        host without the Li of the site.
    starts
        The sites, in the same order.
    references
        Li references, all conventions wanted.
    metal
        The bcc Li calculation, for the numerical uncertainty.
    crystal, environment, description, charge_mode, face
        Labels for the document.
    caveats
        What is to be said of the number whatever it is; goes to the warnings.
    n_li
        Li atoms in a cell: two where both faces of a slab carry one.
    dielectric_constant
        Of the host crystal: a charged bulk cell then has its image charges corrected (Makov and Payne, over
        epsilon, for a cube of the cell's volume); None: no correction, and for charged cells a warning.
    state
        Where Li is; None: added, as in results of before.
    reservoirs
        Where the atoms go that Li replaces.
    other_card
        How the cards of the cells and of crystals differ, as text, in a study with a card for each role: E_int against
        a reference of another card is flagged.

    Returns
    -------
    BindingEnergyDoc
        With ``error`` and without a binding energy where no site converged.
    """
    correction, notes = _image_charges(pristine, with_li, environment, dielectric_constant)
    returned = {reservoir.element: reservoir.chemical_potential_ev for reservoir in reservoirs or []}
    energies = _Energies(pristine, references, n_li, correction, state == "held", returned, other_card is not None)
    sites = [_site(energies, doc, start) for doc, start in zip(with_li, starts, strict=True)]
    _mark_same_minima(sites)
    leading = references[0].convention
    done = [s for s in sites if s.status == "converged"]
    sign = -1.0 if state == "held" else 1.0  # the lowest cell without a Li is the one that held it least
    best = min(done, key=lambda s: sign * s.binding_energy_ev[leading], default=None)
    n_host = len(pristine.structure)
    result = BindingEnergyDoc(
        crystal=crystal,
        environment=environment,
        state=state,
        model=description,
        face=face,
        host_formula=pristine.structure.composition.formula,
        host_atoms=n_host,
        n_li=n_li,
        sites=sites,
        references=references,
        reservoirs=reservoirs,
        charges=_charges(pristine, with_li, references),
        charge_mode=charge_mode,
        host_calculation=pristine.fingerprint,
        image_distance_angstrom=_image_distance(pristine.structure, environment),
        image_charge_correction_ev=correction,
        engine=pristine.engine,
        card=pristine.card,
    )
    if best is None:
        result.error = f"none of {len(sites)} sites converged: " + "; ".join(
            f"{s.label}: {s.notes[0] if s.notes else s.status}" for s in sites[:3]
        )
        return result
    result.best_site = best.label
    result.binding_energy_ev = dict(best.binding_energy_ev)
    result.work_function_ev, result.ion_binding_energy_ev = best.work_function_ev, best.ion_binding_energy_ev
    chosen = next(d for d in with_li if d is not None and d.fingerprint == best.calculation)
    result.numerical_uncertainty_ev = float(
        (relaxation_uncertainty_ev(chosen) + relaxation_uncertainty_ev(pristine)) / n_li
        + relaxation_uncertainty_ev(metal) / len(metal.structure)
    )
    bare = pristine.levels
    if result.ion_binding_energy_ev is not None and bare is not None and bare.level == "Fermi level":
        # of an insulator, the highest level of the bare face is not where the electron of Li was
        result.bare_work_function_ev = bare.work_function_ev
    result.warnings = [*_warnings(sites, best), *_of_coverage(result), *notes, *(caveats or [])]
    mixed = [ref.convention for ref in references if ref.card_hash != pristine.card.hash]
    if mixed and other_card is not None:
        result.warnings.append(f"{other_card}: the difference enters E_int against {', '.join(mixed)}")
    return result


@dataclass(frozen=True)
class _Energies:
    """What the energy of a site of one host is made of, besides its calculation.

    Parameters
    ----------
    pristine, references, n_li, correction_ev
        As :func:`host_result` has them.
    held
        Whether a calculation is the host without a Li, instead of one with.
    returned_ev
        Energy in its reservoir of an atom that left, by element.
    other_card
        Whether references may have another card than the cells.
    """

    pristine: CalculationDoc
    references: list[LithiumReference]
    n_li: int
    correction_ev: float
    held: bool
    returned_ev: dict[str, float]
    other_card: bool = False

    def of(self, doc: CalculationDoc, removed: str | None) -> dict[str, float]:
        """Return E_int of one site by convention, eV per Li."""
        if self.held:
            return binding_energies(self.pristine, doc, self.references, other_card=self.other_card)
        returned = 0.0 if removed is None else self.returned_ev[removed]
        energies = binding_energies(
            doc, self.pristine, self.references, self.n_li, returned, other_card=self.other_card
        )
        return {convention: e + self.correction_ev / self.n_li for convention, e in energies.items()}


def _site(energies: _Energies, doc: CalculationDoc | None, start: SiteStart) -> SiteResult:
    site = SiteResult(
        label=start.label,
        kind=start.kind,
        multiplicity=start.multiplicity,
        frac_coords_start=start.frac_coords,
        removed=start.removed,
        status="failed",
    )
    if doc is None:
        site.notes = ["not computed"]
        return site
    site.calculation = doc.fingerprint
    site.ionic_steps = doc.ionic_steps
    if not doc.converged:
        site.status = "failed" if doc.energy_ev is None else "unconverged"
        site.total_energy_ev = doc.energy_ev
        site.notes = [doc.error or "not converged"]
        return site
    site.total_energy_ev = doc.converged_energy_ev()
    pristine = energies.pristine
    if doc.fingerprint == pristine.fingerprint:  # Li in the place of a Li of the metal
        site.status = "converged"
        site.binding_energy_ev = energies.of(doc, start.removed)
        site.coordination_end = start.shell
        site.notes.append("one atom more of the metal: by definition 0 against bcc Li, nothing to compute")
        return site
    remaining = _remaining(pristine.structure, start)
    rebuilt = float(_host_displacements(remaining, doc.structure).max())
    site.host_displacement_angstrom = rebuilt
    if rebuilt > _RECONSTRUCTED_ANGSTROM:
        where = "where Li left" if energies.held else "around Li"
        site.notes.append(f"a host atom moved {rebuilt:.1f} Å: the host was rebuilt {where}")
        if start.kind == "substitution":
            site.notes = [f"another phase, not Li in the place of {start.removed}: a host atom moved {rebuilt:.1f} Å"]
            return site
    site.status = "converged"
    site.binding_energy_ev = energies.of(doc, start.removed)
    _add_ion(site, doc)
    if energies.held:
        site.coordination_end = start.shell
    else:
        _describe_lithium(site, doc.structure, len(remaining), start)
    return site


def _add_ion(site: SiteResult, doc: CalculationDoc) -> None:
    """Add E_int(Li+) by the vacuum level, where the potential of the neutral slab with Li is known."""
    if doc.levels is None or doc.charge:
        return
    if doc.levels.error is not None:
        site.notes.append(f"no work function: {doc.levels.error}")
    site.work_function_ev = doc.levels.work_function_ev
    adsorption = site.binding_energy_ev.get("neutral_atom")
    if site.work_function_ev is not None and adsorption is not None:
        ionisation = reference_value("li_ionisation_energy_pbe").value
        site.ion_binding_energy_ev = ion_binding_energy_ev(adsorption, site.work_function_ev, ionisation)


def _of_coverage(result: BindingEnergyDoc) -> list[str]:
    """Say what E_int(Li+) tends to with few Li on a large face, where Li lowers the work function of the face."""
    with_li, bare, ion = result.work_function_ev, result.bare_work_function_ev, result.ion_binding_energy_ev
    if with_li is None or bare is None or ion is None or abs(bare - with_li) < _SAME_WORK_FUNCTION_EV:
        return []
    return [
        f"E_int(Li+) is of this coverage, where W is {with_li:.2f} eV; with the {bare:.2f} eV of the bare face, "
        f"to which W tends with fewer Li, it would be {ion + bare - with_li:.2f} eV"
    ]


def _describe_lithium(site: SiteResult, end: Structure, index: int, start: SiteStart) -> None:
    """Say where the Li of this index ended."""
    shift = np.asarray(end.frac_coords[index]) - np.asarray(start.frac_coords)
    moved = end.lattice.get_cartesian_coords(shift - np.round(shift))
    nearest, shell = neighbours(end, index)
    x, y, z = (float(f) for f in end.frac_coords[index] % 1.0)
    site.frac_coords_end = (x, y, z)
    site.li_displacement_angstrom = float(np.linalg.norm(moved))
    site.coordination_end = f"{shell} at {nearest:.2f} Å"
    if nearest > _DESORBED_ANGSTROM:
        site.notes.append(f"Li is {nearest:.1f} Å from the host: it left")


def _image_charges(
    pristine: CalculationDoc,
    with_li: list[CalculationDoc | None],
    environment: str,
    dielectric_constant: float | None,
) -> tuple[float, list[str]]:
    """Return the correction of a charged cell for its periodic images, eV, and a note about it."""
    charge = next((doc.charge for doc in with_li if doc is not None), 0)
    if charge == 0:
        return 0.0, []
    if environment == "surface":
        return 0.0, ["charged periodic slab: its energy does not converge with the vacuum, and none of it is corrected"]
    if dielectric_constant is None:
        return 0.0, [
            "charged cell without correction for its periodic images: right for a metal, which screens them; "
            "for an insulator give the host's dielectric_constant",
            _NOT_ALIGNED,
        ]
    edge = pristine.structure.volume ** (1 / 3)
    correction = makov_payne_ev(charge, edge) / dielectric_constant
    return correction, [
        f"image charges corrected by {correction:+.3f} eV (Makov-Payne, cube of {edge:.2f} Å, "
        f"dielectric constant {dielectric_constant:g})",
        _NOT_ALIGNED,
    ]


def _mark_same_minima(sites: list[SiteResult]) -> None:
    seen: list[SiteResult] = []
    for site in sites:
        if site.status != "converged" or site.total_energy_ev is None:
            continue
        for earlier in seen:
            if abs(site.total_energy_ev - (earlier.total_energy_ev or 0.0)) < _SAME_MINIMUM_EV:
                site.same_minimum_as = earlier.label
                break
        else:
            seen.append(site)


def _charges(
    pristine: CalculationDoc, with_li: list[CalculationDoc | None], references: list[LithiumReference]
) -> dict[str, int]:
    q_ab = next((d.charge for d in with_li if d is not None), pristine.charge)
    return {"q_AB": q_ab, "q_A": pristine.charge, "q_B": references[0].charge}


def _image_distance(structure: Structure, environment: str) -> float:
    matrix = structure.lattice.matrix if environment == "bulk" else structure.lattice.matrix[:2]
    steps = np.array(np.meshgrid(*[range(-2, 3)] * len(matrix))).reshape(len(matrix), -1).T
    lengths = np.linalg.norm(steps[np.any(steps, axis=1)] @ matrix, axis=1)
    return float(lengths.min())


def _warnings(sites: list[SiteResult], best: SiteResult) -> list[str]:
    warnings = []
    left_out = [s for s in sites if s.status != "converged"]
    if left_out:
        warnings.append(
            f"{len(left_out)} of {len(sites)} sites did not converge and are left out: "
            + ", ".join(s.label for s in left_out)
        )
    lower = [
        s.label
        for s in left_out
        if s.status == "unconverged"
        and s.removed == best.removed
        and s.total_energy_ev is not None
        and s.total_energy_ev < (best.total_energy_ev or 0.0)
    ]
    if lower:
        warnings.append(f"unconverged site {lower[0]} already lies below the answer: the true lowest may be it")
    warnings += [f"best site {best.label}: {note}" for note in best.notes]
    return warnings
