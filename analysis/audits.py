"""What an audit of a potential finds: holes at short distances, cells, drift, short dynamics; and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from anodeflow.documents import Document, EngineRecord

#: Where atoms come closer and the energy falls by more than this, there is a hole.
_FALL_EV = 0.1
#: Atoms of a solid do not climb higher than this into a hole, at any temperature of interest.
_REACHABLE_EV = 5.0
#: Displaced atoms in a compressed cell lie above the crystal; lower than this below it is a hole.
_BELOW_EV_PER_ATOM = 0.005
_VOLUME_PERCENT = 10.0
_DRIFT_EV_PER_ATOM_PS = 2e-3
#: Of the sum of covalent radii; nearer atoms have fallen into each other.
_CLOSEST = 0.6


class PairScan(Document):
    """Energies while two atoms approach each other down to 1 angstrom."""

    pair: str
    place: str = Field(description="'in vacuum', or the crystal in which they are neighbours")
    r_angstrom: list[float] = Field(description="falling")
    energy_ev: list[float] = Field(description="from the lowest outside of the repulsive wall")
    hole_angstrom: float | None = Field(None, description="distance below which the energy falls again")
    barrier_ev: float | None = Field(None, description="height of the wall in front of the hole")

    @property
    def reachable(self) -> bool:
        """Whether atoms may get into a hole."""
        return self.barrier_ev is not None and self.barrier_ev < _REACHABLE_EV


class PhaseAudit(Document):
    """One crystal."""

    crystal: str
    atoms: int = Field(description="of the cell that moved")
    volume_change_percent: float | None = Field(None, description="of the relaxed cell, from that of the catalogue")
    lowest_displaced_ev_per_atom: float | None = Field(
        None, description="lowest of cells with displaced atoms, compressed or not, above the relaxed crystal"
    )
    temperature_k: float | None = Field(None, description="mean of the dynamics with a thermostat")
    closest: float | None = Field(None, description="shortest distance of dynamics, over the sum of covalent radii")
    drift_ev_per_atom_ps: float | None = Field(None, description="of the total energy without a thermostat")
    dynamics_ps: float = Field(0.0, description="that were run, half of them without a thermostat")
    problems: list[str] = Field(default_factory=list, description="why it fails")
    unfinished: str | None = Field(None, description="what was not done, and why")


class AuditNumber(Document):
    """A number that a reader can set beside a known one."""

    quantity: str = Field(description="such as 'surface energy'")
    of: str = Field(description="crystal or face")
    unit: str
    value: float | None = None
    known: float | None = Field(None, description="with electrons, PBE, where it is known")
    error: str | None = Field(None, description="why there is no value")


class AuditDoc(Document):
    """An audit of one potential."""

    doc_type: Literal["AuditDoc"] = "AuditDoc"
    fingerprint: str = Field(description="hash of the model and of what was asked")
    engine: EngineRecord
    settings: dict[str, Any] = Field(default_factory=dict)
    scans: list[PairScan] = Field(default_factory=list)
    phases: list[PhaseAudit] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list, description="why it fails")
    remarks: list[str] = Field(default_factory=list, description="what is odd and out of reach")
    unfinished: list[str] = Field(default_factory=list)
    numbers: list[AuditNumber] | None = Field(None, description="to set beside known ones; None: not asked for")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("numbers",)

    @property
    def passed(self) -> bool:
        """Whether everything was looked at, and nothing was found that a study should not rest on."""
        return not (self.problems or self.unfinished)

    @property
    def verdict(self) -> str:
        """The audit in one line."""
        if self.problems:
            return f"FAILED: {len(self.problems)} problems, the first: {self.problems[0]}"
        if self.unfinished:
            return f"nothing wrong so far, but unfinished: {'; '.join(self.unfinished)}"
        return "passed"


def pair_scan(
    pair: str, place: str, r_angstrom: Sequence[float], energies_ev: Sequence[float], wall_angstrom: float
) -> PairScan:
    """Judge a scan: from the well inwards, the energy only rises.

    Parameters
    ----------
    pair, place
        Elements, and where.
    r_angstrom, energies_ev
        Distances, falling, and energies of the cell.
    wall_angstrom
        No well is nearer than this.

    Examples
    --------
    >>> pair_scan("Li-Li", "in vacuum", [3.0, 2.0, 1.5, 1.0], [0.0, 2.0, 4.0, 1.0], 2.0).barrier_ev
    4.0
    """
    energies = np.asarray(energies_ev, dtype=float)
    outside = max(1, int(np.count_nonzero(np.asarray(r_angstrom) >= wall_angstrom)))
    well = int(energies[:outside].argmin())
    energies = energies - energies[well]
    scan = PairScan(pair=pair, place=place, r_angstrom=list(r_angstrom), energy_ev=[float(e) for e in energies])
    wall = np.maximum.accumulate(energies[well:])
    fallen = np.flatnonzero(wall - energies[well:] > _FALL_EV)
    if len(fallen):
        scan.hole_angstrom = float(r_angstrom[well + int(fallen[0])])
        scan.barrier_ev = float(wall[fallen[0]])
    return scan


def judge_phase(phase: PhaseAudit, wanted_k: float) -> None:
    """Fill in the problems of a crystal.

    Parameters
    ----------
    phase
        With its numbers.
    wanted_k
        Temperature of the thermostat.
    """
    change, low, drift = phase.volume_change_percent, phase.lowest_displaced_ev_per_atom, phase.drift_ev_per_atom_ps
    if change is not None and abs(change) > _VOLUME_PERCENT:
        phase.problems.append(f"volume {change:+.1f} %")
    if low is not None and low < -_BELOW_EV_PER_ATOM:
        phase.problems.append(f"displaced atoms lie {-low:.3f} eV/atom below the crystal: a hole")
    if drift is not None and abs(drift) > _DRIFT_EV_PER_ATOM_PS:
        phase.problems.append(f"the total energy drifts by {1000 * drift:+.1f} meV/atom/ps")
    if phase.closest is not None and phase.closest < _CLOSEST:
        phase.problems.append(f"atoms came as near as {phase.closest:.2f} of the sum of their covalent radii")
    if phase.temperature_k is not None and phase.temperature_k > 3 * wanted_k:
        phase.problems.append(f"{phase.temperature_k:.0f} K where {wanted_k:.0f} K were wanted")


def conclude_audit(doc: AuditDoc) -> AuditDoc:
    """Return an audit with its problems and remarks filled in."""
    for scan in doc.scans:
        if scan.hole_angstrom is not None:
            line = f"{scan.pair} {scan.place}: a hole below {scan.hole_angstrom:.2f} Å behind {scan.barrier_ev:.1f} eV"
            (doc.problems if scan.reachable else doc.remarks).append(line)
    for phase in doc.phases:
        doc.problems += [f"{phase.crystal}: {problem}" for problem in phase.problems]
        if phase.unfinished:
            doc.unfinished.append(f"{phase.crystal}: {phase.unfinished}")
    return doc
