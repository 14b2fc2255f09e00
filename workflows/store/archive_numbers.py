"""Whether the numbers of an archive fit together: what one field claims, others must bear out.

Fingerprints are computed again from geometry, task, charge, card and engine; energies are compared with those of the
steps that led to them and with those in the results that rest on them; engines with what these programs say of
themselves. Whoever makes all of it up consistently is not found out, which is why what was imported stays marked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition

from anodeflow.analysis.binding import PUBLISHED_SHIFTS
from anodeflow.analysis.binding_convergence import judged_rows
from anodeflow.analysis.binding_rows import BindingConvergence
from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.interface_registries import DEFAULT_SEARCH_ENGINE, RegistrySearchDoc
from anodeflow.analysis.migration_documents import BandDoc
from anodeflow.analysis.reference_values import reference_value
from anodeflow.documents import CalculationDoc, CardRecord, ComputedDoc, EngineRecord, StudyDoc
from anodeflow.files import short_digest
from anodeflow.workflows.fingerprints import band_key, fingerprint, run_hash, segment_key
from anodeflow.workflows.store.archive_documents import Archived, UnfitError

Array = NDArray[np.float64]
SAME_EV = 1e-3
_SAME_EV_PER_ANGSTROM = 5e-3
_SAME_ANGSTROM = 0.02
#: A program may compute the ends of a band again, beside the images.
_SAME_END_EV = 0.02
_POTENTIAL = "machine-learning potential"
#: Programs with electrons: kinds, and what their hashes were and are made of. Add to them; old archives hold old ones.
PROGRAMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vasp": (("plane-wave DFT (PAW)", "stand-in for VASP: not DFT"), ("vasp PAW PBE_54",)),
    "castep": (("plane-wave DFT", "stand-in for CASTEP: not DFT"), ("castep 1",)),
    "qe": (("plane-wave DFT",), ("quantum-espresso pw.x 1",)),
    "gpaw": (("plane-wave DFT (PAW)",), ("gpaw plane waves PBE",)),
}
# What a result says of the calculation that it names.
_OF_A_CALCULATION = ("total_energy_ev", "energy_ev", "energy_per_atom_ev", "work_function_ev")
# Numbers in results by which they are told apart from an edited copy.
_HEADLINES = (
    "binding_energy_ev", "ion_binding_energy_ev", "work_function_ev", "gamma_j_per_m2", "forward_ev", "backward_ev",
    "energy_per_atom_ev",
)  # fmt: skip


class _Computed(NamedTuple):
    """What a calculation says that results repeat."""

    energy_ev: float | None
    atoms: int
    work_function_ev: float | None


@dataclass
class NumbersCheck:
    """Takes the documents of an archive one by one, and then says whether they fit together.

    Every method raises UnfitError.
    """

    _calculations: dict[str, list[_Computed]] = field(default_factory=dict)
    _dispersions: dict[str, str | None] = field(default_factory=dict)
    _engines: dict[tuple[str, str], str] = field(default_factory=dict)
    _computed: list[tuple[str, EngineRecord, str | None]] = field(default_factory=list)
    _claims: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _results: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _bands: list[tuple[str, BandDoc]] = field(default_factory=list)
    _searches: set[str] = field(default_factory=set)
    _summary: dict[str, Any] | None = None

    def add(self, name: str, job: Archived) -> None:
        """Check one document by itself, and keep what others will be compared with."""
        doc, output = job.doc, job.content["output"]
        if isinstance(doc, ComputedDoc):
            self._check_computed(f"{name} ('{doc.label}')", doc, job.arrays)
            return
        if doc is None:
            return
        if isinstance(doc, StudyDoc) and job.is_summary:
            self._summary = output
        elif job.content["index"] == 1 or "doc_type" in output:
            self._results.append((f"{name} ('{job.label}')", output))
        claims: Iterable[dict[str, Any]] = _claims_in(output)
        if output.get("doc_type") == "StabilityStudyDoc":
            claims = [_as_computed(claim, EngineRecord.model_validate(output["engine"])) for claim in claims]
        self._claims += [(f"{name} ('{job.label}')", claim) for claim in claims]

    def finish(self) -> None:
        """Compare calculations with the results that rest on them, and everything with the summary."""
        for name, claim in self._claims:
            self._check_claim(name, claim)
        for name, band in self._bands:
            self._check_ends(name, band)
        summary = self._summary
        if summary is None:
            raise UnfitError("it has no summary")
        engine = EngineRecord.model_validate(summary["engine"])
        asked = str(summary.get("settings", {}).get("engine", engine.name)).partition(":")[0]
        if engine.name.partition(":")[0] != asked:
            raise UnfitError(f"the summary names the engine '{engine.name}', its settings '{asked}'")
        try:
            for card in (summary["card"], *(summary.get("cards") or {}).values()):
                self._check_card(CardRecord.model_validate(card))
        except UnfitError as error:
            raise UnfitError(f"the summary: {error}") from None
        cards = [summary["card"]["hash"], *(card["hash"] for card in (summary.get("cards") or {}).values())]
        searching, checking = _search_engines(summary), _check_engines(summary)
        cards += filter(None, [_mapping(_mapping(summary, "check"), "check_card").get("hash")])
        for name, other, family in self._computed:
            if (other.name, other.hash) not in [(engine.name, engine.hash), *checking] and not (
                other.kind == _POTENTIAL and other.name in searching and self._may_search(name, summary)
            ):
                raise UnfitError(
                    f"{name} was computed by {other.name} {other.hash}, the study by {engine.name} {engine.hash}"
                )
            if family is not None and family not in cards:
                raise UnfitError(f"{name} has the card {family}, the study {', '.join(cards)}")
        known = [(part["doc_type"], _headlines(part)) for part in _parts(summary) if "doc_type" in part]
        kinds, rows = {kind for kind, _ in known}, _convergence_rows(summary)
        for name, result in self._results:
            if result["doc_type"] not in kinds or (result["doc_type"], _headlines(result)) in known:
                continue
            if (_varied(result), _headlines(result)) not in rows:
                raise UnfitError(f"{name} has other results than the summary says")
        for curve in _mappings(summary, "convergence"):
            _check_verdict(BindingConvergence.model_validate(curve))

    def _may_search(self, name: str, summary: dict[str, Any]) -> bool:
        """Whether a document is of the search of registries, which a potential does, whoever computes the study."""
        return name in self._searches or summary["study"] == "interface-screening"

    # --- one document

    def _check_computed(self, name: str, doc: ComputedDoc, arrays: dict[str, Any]) -> None:
        try:
            self._check_engine(doc)
            if isinstance(doc, CalculationDoc):
                _check_calculation(doc, arrays)
                work_function = None if doc.levels is None else doc.levels.work_function_ev
                known = _Computed(doc.energy_ev, len(doc.structure), work_function)
                self._calculations.setdefault(doc.fingerprint, []).append(known)
                self._check_card(doc.card)
            elif isinstance(doc, DynamicsSegmentDoc):
                _check_segment(doc, arrays)
            elif isinstance(doc, BandDoc):
                _check_band(doc, arrays)
                self._bands.append((name, doc))
            elif isinstance(doc, RegistrySearchDoc):
                self._searches.add(name)
        except UnfitError as error:
            raise UnfitError(f"{name}: {error}") from None
        family = doc.card.family if isinstance(doc, CalculationDoc | BandDoc) else None
        self._computed.append((name, doc.engine, family))

    def _check_engine(self, doc: ComputedDoc) -> None:
        structure = getattr(doc, "structure", None)
        elements = None if structure is None or not doc.fingerprint else set(structure.symbol_set)
        check_engine(doc.engine, elements)
        known = self._engines.setdefault((doc.engine.hash, doc.engine.model or ""), doc.engine.name)
        if known != doc.engine.name:
            raise UnfitError(f"its engine is '{doc.engine.name}', though '{known}' has the same hash and model")

    def _check_card(self, card: CardRecord) -> None:
        """Refuse a card with and without a correction for dispersion: both would be taken for the same energies."""
        known = self._dispersions.setdefault(card.hash, card.dispersion)
        if known != card.dispersion:
            raise UnfitError(
                f"its card {card.hash} has the dispersion {card.dispersion or 'none'}, elsewhere {known or 'none'}"
            )

    def _check_ends(self, name: str, band: BandDoc) -> None:
        """Compare the energies of a band's ends with those of the relaxations that they are."""
        for end, number in ((band.start, 0), (band.end, -1)):
            known = self._calculations.get(end or "", [])
            energy = band.energies_ev[number] if band.energies_ev else None
            if known and energy is not None and all(abs((k.energy_ev or 0.0) - energy) > _SAME_END_EV for k in known):
                raise UnfitError(f"{name} has an end of {energy:.4f} eV, its relaxation one of {known[0].energy_ev} eV")

    def _check_claim(self, name: str, claim: dict[str, Any]) -> None:
        # where a calculation is named by its label, its fingerprint stands beside it
        rests_on = claim.get("fingerprint") or claim.get("calculation") or claim["rests_on"][0]
        known = self._calculations.get(rests_on)
        if known is None:
            raise UnfitError(f"{name} rests on the calculation {rests_on!r:.40}, which is not in the archive")
        wanted: dict[str, Callable[[float, _Computed], float | None]] = {
            "total_energy_ev": lambda energy, known: energy,
            "energy_ev": lambda energy, known: energy,
            "energy_per_atom_ev": lambda energy, known: energy / known.atoms,
            "atoms": lambda energy, known: known.atoms,
            "work_function_ev": lambda energy, known: known.work_function_ev,
        }
        if claim.get("convention") == "bulk_metal":
            wanted["energy_ev"] = wanted["energy_per_atom_ev"]
        elif claim.get("convention") in PUBLISHED_SHIFTS and claim.get("sources"):
            shift = sum(reference_value(name).value for name in PUBLISHED_SHIFTS[claim["convention"]])
            wanted["energy_ev"] = lambda energy, known: energy / known.atoms + shift
        for key, value_of in wanted.items():
            value = claim.get(key)
            if value is None:
                continue
            values = [v for k in known if k.energy_ev is not None and (v := value_of(k.energy_ev, k)) is not None]
            if not any(abs(value - number) <= SAME_EV for number in values):
                stated = f"{values[0]:.6g}" if values else "none"
                raise UnfitError(f"{name} says {key} = {value:.6g}, the calculation it rests on {stated}")


def check_engine(engine: EngineRecord, elements: set[str] | None) -> None:
    """Refuse an engine's record that is not one of the engine it names.

    Parameters
    ----------
    engine
        The record.
    elements
        Of the cell it computed; None where that is not known.

    Raises
    ------
    UnfitError
        What disagrees.
    """
    if not re.fullmatch(r"[0-9a-f]{16}", engine.hash):
        raise UnfitError(f"the hash of its engine is {engine.hash!r:.40}")
    program = PROGRAMS.get(engine.name)
    if program is None:
        if engine.kind != _POTENTIAL or engine.potentials or engine.stand_in:
            raise UnfitError(f"its engine '{engine.name}' is a potential, its record one of {engine.kind!r:.60}")
        return
    kinds, contents = program
    if engine.kind not in kinds or engine.stand_in != engine.kind.startswith("stand-in"):
        raise UnfitError(f"its engine is '{engine.name}', its kind {engine.kind!r:.60}")
    known = {short_digest(content) for content in contents}
    if not engine.stand_in and engine.hash not in known:
        raise UnfitError(f"its engine is '{engine.name}', its hash {engine.hash} that of another")
    if elements is not None and not engine.stand_in and set(engine.potentials) != elements:
        lacking = ", ".join(sorted(elements ^ set(engine.potentials)))
        raise UnfitError(f"its engine '{engine.name}' and its cell differ in the pseudopotentials of {lacking}")


def _check_calculation(doc: CalculationDoc, arrays: dict[str, Any]) -> None:
    start = doc.initial_structure
    if start is None:
        raise UnfitError("it does not hold the geometry it started from")
    computed = fingerprint(start, doc.task, doc.charge, doc.card.hash, doc.engine)
    if computed != doc.fingerprint:
        raise UnfitError(
            f"its fingerprint is {doc.fingerprint!r:.40}, but geometry, task, charge, card and engine give {computed}"
        )
    if start.species_and_occu != doc.structure.species_and_occu:
        raise UnfitError("its atoms are others than those it started from")
    _check_folder(doc.directory, doc.fingerprint)
    _check_convergence(doc)
    atoms, energies = len(doc.structure), _numbers(arrays, "energies_ev")
    forces, positions, cells = (
        _numbers(arrays, key) for key in ("forces_ev_per_angstrom", "positions_angstrom", "cells_angstrom")
    )
    steps = None if energies is None else energies.shape[0] if energies.ndim == 1 else -1
    for key, array, shape in (
        ("energies_ev", energies, (steps,)),
        ("forces_ev_per_angstrom", forces, (atoms, 3)),
        ("positions_angstrom", positions, (steps, atoms, 3)),
        ("cells_angstrom", cells, (steps, 3, 3)),
    ):
        if array is not None and array.shape != shape:
            raise UnfitError(f"its array {key} has the shape {array.shape}, not {shape}")
    _check_dispersion(doc)
    if not doc.converged or doc.energy_ev is None:
        return
    if energies is not None and (not len(energies) or not abs(energies[-1] - doc.energy_ev) <= SAME_EV):
        last = f"{energies[-1]:.6f}" if len(energies) else "none"
        raise UnfitError(f"its energy is {doc.energy_ev:.6f} eV, that of its last step {last} eV")
    if forces is not None and doc.max_force_ev_per_angstrom is not None:
        _check_forces(doc, forces)
    if positions is not None and cells is not None and len(positions):
        _check_last_geometry(doc, positions[-1], cells[-1])


def _check_dispersion(doc: CalculationDoc) -> None:
    part = doc.dispersion
    if part is None or doc.energy_ev is None:
        return
    if doc.card.dispersion is None:
        raise UnfitError("it holds a correction for dispersion, and its card has none")
    if not abs(part.electronic_ev + part.energy_ev - doc.energy_ev) <= SAME_EV:
        total = part.electronic_ev + part.energy_ev
        raise UnfitError(f"its energy is {doc.energy_ev:.6f} eV, that of electrons and dispersion {total:.6f} eV")


def _check_convergence(doc: CalculationDoc) -> None:
    bad = doc.energy_ev is None or doc.error or doc.electronic_converged is False or doc.ionic_converged is False
    if doc.converged and bad:
        raise UnfitError("it says that it converged, and also that it did not")


def _check_forces(doc: CalculationDoc, forces: Array) -> None:
    largest = float(np.linalg.norm(forces, axis=1).max())
    stated = cast(float, doc.max_force_ev_per_angstrom)
    frozen = "selective_dynamics" in doc.structure.site_properties
    if stated > largest + _SAME_EV_PER_ANGSTROM or (not frozen and stated < largest - _SAME_EV_PER_ANGSTROM):
        raise UnfitError(f"its largest force is {stated:.4f} eV/angstrom, that of its forces {largest:.4f}")


def _check_last_geometry(doc: CalculationDoc, positions: Array, cell: Array) -> None:
    lattice = doc.structure.lattice
    if np.abs(cell - lattice.matrix).max() > _SAME_ANGSTROM:
        raise UnfitError("its cell is not that of its last step")
    apart = lattice.get_fractional_coords(positions) - doc.structure.frac_coords
    apart -= np.round(apart)
    if np.linalg.norm(apart @ lattice.matrix, axis=1).max() > _SAME_ANGSTROM:
        raise UnfitError("its atoms are not where its last step left them")


def _check_segment(doc: DynamicsSegmentDoc, arrays: dict[str, Any]) -> None:
    identity = doc.identity
    if run_hash(identity) != doc.run:
        raise UnfitError(f"its run is {doc.run!r:.40}, but its identity gives {run_hash(identity)}")
    computed = segment_key(doc.run, doc.first_step, doc.last_step)
    if computed != doc.fingerprint:
        raise UnfitError(f"its fingerprint is {doc.fingerprint!r:.40}, but its run and steps give {computed}")
    stated = {"engine": doc.engine.hash, "seed": doc.seed, "timestep_fs": doc.timestep_fs,
            "sample_every": doc.sample_every, "potentials": doc.engine.potentials or None}  # fmt: skip
    for key, value in stated.items():
        if identity.get(key) != value:
            raise UnfitError(f"its {key} is {value!r:.60}, that of its run {identity.get(key)!r:.60}")
    _check_folder(doc.directory, doc.fingerprint)
    for name in (doc.trajectory, doc.checkpoint):
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,60}", name):
            raise UnfitError(f"it names the file {name!r:.60}")
    for key in ("step", "potential_ev", "kinetic_ev", "conserved_ev"):
        array = _numbers(arrays, key)
        if array is None or array.shape != (doc.frames,):
            raise UnfitError(f"its array {key} does not hold one value for each of its {doc.frames} frames")
    steps = np.asarray(arrays["step"])
    if len(steps) and (
        (np.diff(steps) <= 0).any() or steps[0] < doc.first_step or steps[-1] > doc.last_step
    ):  # the first frame of a run is its start
        raise UnfitError(f"its frames are not steps between {doc.first_step} and {doc.last_step}")


def _check_band(doc: BandDoc, arrays: dict[str, Any]) -> None:
    if doc.end_digests is not None and doc.displacement_angstrom is not None and doc.seed is not None:
        disturbed = (doc.displacement_angstrom, doc.seed)
        computed = band_key(doc.end_digests, doc.images, doc.climb, *disturbed, doc.charge, doc.card.hash, doc.engine)
        if computed != doc.fingerprint:
            raise UnfitError(f"its fingerprint is {doc.fingerprint!r:.40}, but ends, card and engine give {computed}")
    if not doc.energies_ev:
        if doc.converged:
            raise UnfitError("it says that it converged, and holds no energies")
        return
    images = doc.images + 2
    if len(doc.energies_ev) != images or (doc.climbing_image or 0) >= images:
        raise UnfitError(f"it holds {len(doc.energies_ev)} energies of {images} images")
    atoms = 0 if doc.structure is None else len(doc.structure)
    for key in ("coords_angstrom", "forces_ev_per_angstrom"):
        array = _numbers(arrays, key)
        if array is not None and array.shape != (images, atoms, 3):
            raise UnfitError(f"its array {key} has the shape {array.shape}, not {(images, atoms, 3)}")
    if doc.directory is not None:
        _check_folder(doc.directory, doc.fingerprint)


def _check_folder(directory: str | None, key: str) -> None:
    """Refuse a folder that is named after another calculation: its files would be taken for this one's."""
    name = PurePosixPath(directory or "").name
    if re.fullmatch(r".+-[0-9a-f]{10}", name) and not name.endswith(f"-{key[:10]}"):
        raise UnfitError(f"its folder {name!r:.80} is that of another calculation")


def _numbers(arrays: dict[str, Any], key: str) -> Array | None:
    """Return an array of numbers; None where there is none."""
    given = arrays.get(key)
    if given is None:
        return None
    if isinstance(given, dict):  # as monty writes a numpy array
        given = given.get("data")
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, OverflowError):
        raise UnfitError(f"its array {key} has no shape") from None
    if array.dtype.kind not in "fi" and array.size:
        raise UnfitError(f"its array {key} holds something else than numbers")
    return array.astype(float)


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_engines(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and hashes of the engines that check the study, if they are those that its settings name."""
    check, asked = _mapping(summary, "check"), _mapping(_mapping(summary, "settings"), "check")
    engines = ((_mapping(check, "check_engine"), "engine"), (_mapping(check, "disputed_by"), "disputed_by"))
    return [
        (record["name"], record.get("hash", "")) for record, key in engines if record.get("name", "") == asked.get(key)
    ]


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _mappings(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = content.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _search_engines(summary: dict[str, Any]) -> set[str]:
    """Return the names of potentials that may have searched registries: those named, or the one taken where none is."""
    settings = summary.get("settings", {})
    named = {part.get("search_engine") for part in _parts(settings)} | {settings.get("warm_start")}
    return {str(name) for name in named if name} | {DEFAULT_SEARCH_ENGINE}


def _claims_in(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a result that say what energy a calculation has."""
    for part in _parts(output):
        rests_on = part.get("rests_on")
        of_lithium = isinstance(rests_on, list) and len(rests_on) == 1 and "convention" in part
        if of_lithium and not part.get("charge"):  # not of an ion, whose energy is corrected
            yield part
        if isinstance(part.get("calculation"), str) and any(part.get(key) is not None for key in _OF_A_CALCULATION):
            yield part
        if isinstance(part.get("host_calculation"), str) and part.get("bare_work_function_ev") is not None:
            yield {"calculation": part["host_calculation"], "work_function_ev": part["bare_work_function_ev"]}


def _as_computed(phase: dict[str, Any], engine: EngineRecord) -> dict[str, Any]:
    """Return a phase of a hull with its energy as the engine gave it, with the corrections that it holds."""
    from anodeflow.analysis.stability.documents import held_correction_ev  # pymatgen's corrections take a second

    energy = phase.get("energy_per_atom_ev")
    if energy is None:
        return phase
    try:
        held = held_correction_ev(Composition(phase["formula"]), engine)
    except (ValueError, KeyError):
        raise UnfitError(f"its phase {phase.get('crystal')!r:.40} has the formula {phase['formula']!r:.40}") from None
    return phase | {"energy_per_atom_ev": energy + held}


def _varied(result: dict[str, Any]) -> tuple[Any, ...]:
    varied = _mapping(result, "varied")
    return result.get("crystal"), varied.get("setting"), varied.get("value")


def _convergence_rows(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what a summary says of results with one setting varied: whose, which, its value, and the numbers."""
    return [
        ((curve.get("crystal"), curve.get("setting"), row.get("value")), _headlines(row))
        for curve in _mappings(summary, "convergence")
        for row in _mappings(curve, "rows")
    ]


def _check_verdict(curve: BindingConvergence) -> None:
    """Refuse a verdict on convergence that is not that of its rows."""
    if not any(row.is_base for row in curve.rows):
        raise UnfitError(f"the summary: no row of {curve.where}, {curve.setting} is the study's own")
    of_rows, stated = judged_rows(curve.rows, curve.convention, curve.within_ev), (curve.spread_ev, curve.ion_spread_ev)
    if (*map(_rounded, stated), curve.converged) != (*map(_rounded, of_rows[:2]), of_rows[2]):
        raise UnfitError(f"the summary: {curve.where}, {curve.setting} is '{curve.verdict}', which its rows are not")


def _headlines(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(_rounded(result.get(key)) for key in _HEADLINES)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((key, _rounded(item)) for key, item in value.items()))
    return round(value, 9) if isinstance(value, float) and math.isfinite(value) else value
