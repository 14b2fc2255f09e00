"""The answer of a study in a few sentences, one function a kind; the registry names them (``StudyKind.answer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anodeflow.analysis.binding import BindingStudyDoc
    from anodeflow.analysis.crystal_properties import CrystalStudyDoc
    from anodeflow.analysis.dynamics_study import DynamicsStudyDoc
    from anodeflow.analysis.interface_screening import ScreeningStudyDoc
    from anodeflow.analysis.migration_documents import MigrationStudyDoc
    from anodeflow.analysis.study_documents import InterfaceStudyDoc, SurfaceStudyDoc
    from anodeflow.documents import StudyDoc

_MOST = 6


def any_study(document: StudyDoc) -> str:
    """Say whether the study has all its results."""
    return "Everything that was asked for has a result." if document.complete else _missing()


def _missing() -> str:
    return "Not everything that was asked for has a result; the warnings below say why."


def _minus(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _interval(value: float, limits: tuple[float, float] | None, unit: str) -> str:
    text = f"{value:.3f} {unit}".replace("-", "−")
    return text if limits is None else f"{text} (95 % interval {limits[0]:.3f} to {limits[1]:.3f})".replace("-", "−")


def _listed(parts: list[str]) -> str:
    more = len(parts) - _MOST
    return "; ".join(parts[:_MOST]) + (f"; and {more} more in the tables" if more > 0 else "")


def binding_answer(document: BindingStudyDoc) -> str:
    """Say where Li is bound how strongly, and the largest dE."""
    from anodeflow.analysis.binding import CONVENTION_TEXT

    convention = document.conventions[0]
    hosts = sorted((h for h in document.hosts if h.converged), key=lambda h: h.binding_energy_ev[convention])
    if not hosts:
        return "No host has a binding energy. " + _missing()
    parts = [
        f"{_minus(h.binding_energy_ev[convention])} eV/Li {'in' if h.environment == 'bulk' else 'on'} "
        f"{h.crystal}{h.face or ''} (site {h.best_site})"
        for h in hosts
    ]
    text = f"Binding energy of Li at its lowest site, strongest first: {_listed(parts)}. "
    text += f"Reference: {CONVENTION_TEXT[convention]}; negative is bound."
    pairs = [
        (value, anode, interphase, m.environment)
        for m in document.descriptors
        for anode, row in zip(m.anodes, m.d_e_ev, strict=True)
        for interphase, value in zip(m.interphases, row, strict=True)
        if value is not None
    ]
    if pairs:
        value, anode, interphase, where = max(pairs)
        pair = f"{_minus(value, 2)} eV for {anode} and {interphase} ({where})"
        text += f" Largest dE = E_int(interphase) − E_int(anode): {pair}."
    verdicts = [f"{c.where}, {c.setting}: {c.verdict}" for c in document.convergence or []]
    if verdicts:
        text += f" Convergence: {_listed(verdicts)}."
    return text if document.complete else f"{text} {_missing()}"


def crystal_answer(document: CrystalStudyDoc) -> str:
    """Say the formation energies and voltages."""
    done = [c for c in document.crystals if c.converged]
    text = f"{len(done)} of {len(document.crystals)} crystals are relaxed."
    energies = [
        f"{c.crystal} {_minus(c.formation_energy_ev_per_atom)}"
        for c in sorted(done, key=lambda c: c.formation_energy_ev_per_atom or 0.0)
        if c.formation_energy_ev_per_atom
    ]
    if energies:
        text += f" Formation energies at 0 K, eV/atom: {_listed(energies)}."
    steps = [f"{s.voltage_v:.3f} V from {s.poor} to {s.rich}" for s in document.voltages]
    if steps:
        text += f" Average voltages against Li metal: {_listed(steps)}."
    moduli = [f"{e.crystal} {e.young_gpa['Hill']:.0f} GPa" for e in document.elastic if "Hill" in e.young_gpa]
    if moduli:
        text += f" Young moduli (Hill average): {_listed(moduli)}."
    return text if document.complete else f"{text} {_missing()}"


def surface_answer(document: SurfaceStudyDoc) -> str:
    """Say the surface energies, lowest first."""
    from anodeflow.structures.slabs import face_text

    done = sorted((s for s in document.surfaces if s.converged), key=lambda s: s.gamma_j_per_m2 or 0.0)
    parts = [
        f"{s.crystal}{face_text(s.miller)}, {s.termination}: "
        f"{_interval(s.gamma_j_per_m2 or 0.0, s.gamma_ci_j_per_m2, 'J/m²')}"
        for s in done
    ]
    text = f"Surface energies, lowest first: {_listed(parts)}." if parts else "No surface has an energy."
    return text if document.complete else f"{text} {_missing()}"


def interface_answer(document: InterfaceStudyDoc) -> str:
    """Say the interface energy, the strain and the work of adhesion."""
    doc = document.interface
    name = doc.contact or f"{doc.film} on {doc.substrate}"
    if doc.gamma_j_per_m2 is not None:
        text = f"Interface energy of {name}: {_interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2, 'J/m²')}."
    elif doc.gamma_sum_j_per_m2 is not None:
        both = _interval(doc.gamma_sum_j_per_m2, doc.gamma_sum_ci_j_per_m2, "J/m²")
        text = f"The two contacts of {name} differ; their energies add to {both}."
    else:
        text = f"No interface energy of {name}."
    if doc.strain_percent is not None:
        text += f" Largest strain of the film: {_minus(doc.strain_percent, 2)} %."
    if doc.work_of_adhesion_j_per_m2 is not None:
        text += f" Work of adhesion: {_minus(doc.work_of_adhesion_j_per_m2)} J/m² (positive: they adhere)."
    return text if document.complete else f"{text} {_missing()}"


def screening_answer(document: ScreeningStudyDoc) -> str:
    """Say which interface is lowest, and how many were tried."""
    by_engine = [entry for entry in document.best.entries if entry.gamma_j_per_m2 is not None]
    entries = by_engine or [entry for entry in document.screened.entries if entry.gamma_j_per_m2 is not None]
    if not entries:
        return "No interface has an energy. " + _missing()
    first = entries[0]
    adhesion = "" if first.adhesion_j_per_m2 is None else f", work of adhesion {first.adhesion_j_per_m2:.3f} J/m²"
    text = (
        f"Lowest of {document.screened.candidates} candidates: {first.name}, {first.gamma_j_per_m2:.3f} J/m²{adhesion}."
    )
    return text if document.complete else f"{text} {_missing()}"


def dynamics_answer(document: DynamicsStudyDoc) -> str:
    """Say how far each system ran and what became of its PS4."""
    parts = []
    for system in document.systems:
        if system.error:
            parts.append(f"{system.name}: no result")
            continue
        text = f"{system.name}: {len(system.replicas)} seeds"
        if system.intact_ps4_before is not None and system.intact_ps4_after is not None:
            spread = system.intact_ps4_after_spread
            text += f", intact PS4 {system.intact_ps4_before:.2f} before and {system.intact_ps4_after:.2f}"
            text += (f" ± {spread:.2f}" if spread is not None else "") + " after"
        parts.append(text)
    wanted = document.dynamics
    temperatures = ", ".join(f"{t:g}" for t in wanted.get("temperatures_k") or [wanted["temperature_k"]])
    laws = [law for law in document.arrhenius or [] if law.activation_ev is not None]
    parts += [f"{law.system}: activation energy of Li {law.activation_ev:.3f} eV" for law in laws]
    text = f"Dynamics at {temperatures} K, {wanted['duration_ps']:g} ps wanted. {_listed(parts)}."
    return text if document.complete else f"{text} {_missing()}"


def migration_answer(document: MigrationStudyDoc) -> str:
    """Say the barriers, lowest first."""
    done = sorted((b for b in document.barriers if b.converged), key=lambda b: b.forward_ev or 0.0)
    parts = [
        f"{b.crystal} ({b.mechanism}, {b.hop}): {b.forward_ev:.3f} eV forward, {b.backward_ev:.3f} eV back"
        for b in done
        if b.forward_ev is not None and b.backward_ev is not None
    ]
    text = f"Migration barriers, lowest first: {_listed(parts)}." if parts else "No hop has a barrier."
    text = " ".join([text, *(f"{landscape.text}." for landscape in document.landscapes or [])])
    return text if document.complete else f"{text} {_missing()}"
