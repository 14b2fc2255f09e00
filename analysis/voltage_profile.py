"""The voltage of a host against Li metal while it takes up lithium: plateaus, capacities, volumes, from a hull.

Between two phases that are neighbours on the hull both are there, and V = -(dE/dn - mu(Li metal)) is constant (Aydinol
et al., Phys. Rev. B 56, 1354 (1997), doi:10.1103/PhysRevB.56.1354); without the work against pressure.
At 0 K the energies are those of the electrons; at a temperature the free energies of vibrations are added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field
from pymatgen.core import Composition

from anodeflow.analysis.crystal_properties import comparable_crystals
from anodeflow.analysis.stability.hull import Hull
from anodeflow.analysis.stability.phases import Energies, phase_of
from anodeflow.analysis.stability.reactions import products_text
from anodeflow.analysis.stability.window import kinks_against_lithium
from anodeflow.analysis.vibrations import VibrationsDoc
from anodeflow.documents import CalculationDoc, Document, StudyDoc
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.units import A3_PER_CM3_AND_MOL, MAH_PER_MOL


class Plateau(Document):
    """One voltage at which the host takes up lithium."""

    poor: str = Field(description="phases it starts from")
    rich: str = Field(description="phases it becomes")
    voltage_v: float
    lithium_from: float = Field(description="Li per formula unit of the host")
    lithium_to: float
    capacity_mah_per_g: float = Field(description="of this plateau, per gram of host")


class LithiatedDoc(Document):
    """The host with as much lithium as the hull has a kink for."""

    phases: str
    lithium: float = Field(description="Li per formula unit of the host")
    voltage_low_v: float
    voltage_high_v: float | None = Field(description="None: no upper end")
    volume_angstrom3: float = Field(description="per formula unit of the host")
    volume_change_percent: float = Field(description="against the host")
    capacity_mah_per_g: float = Field(description="from the host on, per gram of host")
    capacity_mah_per_g_lithiated: float = Field(description="per gram of host and lithium")
    capacity_mah_per_cm3_host: float
    capacity_mah_per_cm3_lithiated: float
    average_voltage_v: float | None = Field(description="from the host on; None for the host")


class VoltagePhaseDoc(Document):
    """One crystal of a profile."""

    crystal: str
    formula: str = ""
    energy_per_atom_ev: float | None = None
    volume_per_atom_angstrom3: float | None = None
    formation_ev_per_atom: float | None = None
    above_hull_ev_per_atom: float | None = None
    calculation: str | None = None
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None


class WarmProfile(Document):
    """The profile with the vibrations of every phase: harmonic, at the volumes of 0 K."""

    temperature_k: float = Field(description="of the plateaus, K")
    vibrations: list[VibrationsDoc] = Field(description="of every phase")
    zero_point: list[Plateau] = Field(default_factory=list, description="at 0 K, with zero-point energies")
    plateaus: list[Plateau] = Field(default_factory=list, description="at the temperature")
    error: str | None = Field(None, description="why there are no plateaus")


class VoltageStudyDoc(StudyDoc):
    """The end of a voltage study."""

    doc_type: Literal["VoltageStudyDoc"] = Field("VoltageStudyDoc", description="class of the document")
    host: str = Field(description="crystal that takes up lithium")
    energies: Energies = Field("raw", description="raw, or with the anion corrections of the Materials Project")
    phases: list[VoltagePhaseDoc] = Field(description="energy of each crystal, and its height above the hull")
    plateaus: list[Plateau] = Field(default_factory=list, description="from the highest voltage on")
    lithiated: list[LithiatedDoc] = Field(default_factory=list, description="from the host on")
    warm: WarmProfile | None = Field(None, description="with vibrations, where a temperature was asked for")

    @property
    def complete(self) -> bool:
        """Whether there is a profile, and no phase is missing from it."""
        asked = self.warm is None or bool(self.warm.plateaus)
        return bool(self.plateaus) and asked and all(phase.error is None for phase in self.phases)


def capacity_mah_per_g(host: Composition, lithium: float) -> float:
    """Return the charge of so much lithium per formula unit of the host, mAh per gram of host.

    Examples
    --------
    >>> round(capacity_mah_per_g(Composition("Al"), 1.0), 1)
    993.3
    """
    return lithium * MAH_PER_MOL / float(host.weight)


def voltage_phases(calculations: Mapping[str, CalculationDoc | None]) -> list[VoltagePhaseDoc]:
    """Return the phases that relaxations by one engine and card give; ``error`` where one did not converge.

    Raises
    ------
    ReferenceMismatchError
        If engines or cards differ.
    """
    docs = []
    for (name, calculation), crystal in zip(calculations.items(), comparable_crystals(calculations), strict=True):
        fields = ("crystal", "energy_per_atom_ev", "volume_per_atom_angstrom3", "calculation", "warnings", "error")
        doc = VoltagePhaseDoc(**{field: getattr(crystal, field) for field in fields})
        if calculation is not None:
            doc.formula = phase_of(name, calculation.structure.composition, 0.0).formula
        docs.append(doc)
    return docs


def voltage_profile(host: str, docs: Sequence[VoltagePhaseDoc]) -> tuple[list[Plateau], list[LithiatedDoc]]:
    """Return the profile of a host, and write into the phases where they lie.

    Parameters
    ----------
    host
        Name of its crystal.
    docs
        Changed in place; those without an energy are left out. Li metal is among them.

    Returns
    -------
    tuple
        Plateaus, and the host with each amount of lithium, from none on.

    Raises
    ------
    InputError
        If the phases make no hull, the host is not among them, or it takes up no lithium.
    """
    done = {d.crystal: d for d in docs if d.energy_per_atom_ev is not None and d.volume_per_atom_angstrom3 is not None}
    phases = [phase_of(d.crystal, Composition(d.formula), d.energy_per_atom_ev or 0.0) for d in done.values()]
    hull = Hull(phases)
    for name, doc in done.items():
        doc.formation_ev_per_atom = hull.formation_ev_per_atom(name)
        doc.above_hull_ev_per_atom = hull.distance_ev_per_atom(name)
    unit = hull.phase(host).composition
    rest = unit - Composition({"Li": unit["Li"]})
    kinks = [k for k in kinks_against_lithium(hull, unit) if k.lithium > float(unit["Li"]) - 1e-9]
    mixtures = [hull.decomposition(rest + Composition({"Li": k.lithium})) for k in kinks]
    if len(kinks) < 2 or abs(kinks[0].lithium - float(unit["Li"])) > 1e-9:
        raise InputError(f"{host} takes up no lithium in this set of phases", "add the compounds it forms with Li")

    def volume(amounts: Mapping[str, float]) -> float:
        per_atom = {name: doc.volume_per_atom_angstrom3 or 0.0 for name, doc in done.items()}
        return sum(n * hull.phases[name].atoms * per_atom[name] for name, n in amounts.items())

    names = [products_text(amounts, hull.phases) for amounts in mixtures]
    own_volume = (done[host].volume_per_atom_angstrom3 or 0.0) * float(unit.num_atoms)
    lithiated = []
    for kink, name, amounts in zip(kinks, names, mixtures, strict=True):
        added = kink.lithium - kinks[0].lithium
        grams = unit.weight + added * float(Composition("Li").weight)
        spent = sum(k2.low_v * (k3.lithium - k2.lithium) for k2, k3 in pairwise(kinks) if k3.lithium <= kink.lithium)
        charge = added * MAH_PER_MOL
        lithiated.append(
            LithiatedDoc(
                phases=name,
                lithium=kink.lithium,
                voltage_low_v=kink.low_v,
                voltage_high_v=None if kink is kinks[0] else kink.high_v,
                volume_angstrom3=volume(amounts),
                volume_change_percent=100 * (volume(amounts) / own_volume - 1),
                capacity_mah_per_g=capacity_mah_per_g(unit, added),
                capacity_mah_per_g_lithiated=charge / float(grams),
                capacity_mah_per_cm3_host=charge * A3_PER_CM3_AND_MOL / own_volume,
                capacity_mah_per_cm3_lithiated=charge * A3_PER_CM3_AND_MOL / volume(amounts),
                average_voltage_v=spent / added if added > 0 else None,
            )
        )
    plateaus = [
        Plateau(
            poor=names[i],
            rich=names[i + 1],
            voltage_v=before.low_v,
            lithium_from=before.lithium,
            lithium_to=after.lithium,
            capacity_mah_per_g=capacity_mah_per_g(unit, after.lithium - before.lithium),
        )
        for i, (before, after) in enumerate(pairwise(kinks))
    ]
    return plateaus, lithiated


def warm_profile(host: str, phases: Sequence[VoltagePhaseDoc], vibrations: Sequence[VibrationsDoc]) -> WarmProfile:
    """Return the plateaus with the free energies of vibrations in place of energies.

    Parameters
    ----------
    host
        Name of its crystal.
    phases
        As of :func:`voltage_profile`; not changed.
    vibrations
        Of every phase, at one temperature.
    """
    profile = WarmProfile(temperature_k=vibrations[0].temperature_k, vibrations=list(vibrations))
    missing = [doc.error or f"{doc.crystal} has no free energy" for doc in vibrations if not doc.converged]
    if missing:
        profile.error = f"no plateaus at {profile.temperature_k:g} K: {'; '.join(missing)}"
        return profile
    of = {doc.crystal: doc for doc in vibrations}

    def plateaus(free_energy: Callable[[VibrationsDoc], float | None]) -> list[Plateau]:
        shifted = [
            doc.model_copy(
                update={"energy_per_atom_ev": doc.energy_per_atom_ev + (free_energy(of[doc.crystal]) or 0.0)}
            )
            for doc in phases
            if doc.energy_per_atom_ev is not None and doc.crystal in of
        ]
        return voltage_profile(host, shifted)[0]

    try:
        profile.zero_point = plateaus(lambda doc: doc.zero_point_ev_per_atom)
        profile.plateaus = plateaus(lambda doc: doc.free_energy_ev_per_atom)
    except AnodeflowError as error:
        profile.error = str(error)
    return profile


def voltage_study_fields(host: str, calculations: Mapping[str, CalculationDoc | None]) -> dict[str, object]:
    """Return the phases, plateaus, lithiated hosts and warnings of a study.

    Parameters
    ----------
    host
        Name of its crystal.
    calculations
        The relaxation of each crystal.
    """
    warnings: list[str] = []
    phases: list[VoltagePhaseDoc] = []
    plateaus: list[Plateau] = []
    lithiated: list[LithiatedDoc] = []
    try:
        phases = voltage_phases(calculations)
        plateaus, lithiated = voltage_profile(host, phases)
    except AnodeflowError as error:
        warnings.append(str(error))
    warnings += [f"{doc.crystal}: {doc.error}; the profile lacks it" for doc in phases if doc.error]
    return {"phases": phases, "plateaus": plateaus, "lithiated": lithiated, "warnings": warnings}
