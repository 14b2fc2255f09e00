"""Keys of studies that came after studies were first stored: unset, they are not part of a study's hash."""

from __future__ import annotations

from typing import Any

# Settings added after studies were first stored: where a study does not use one, its hash stays what it was.
_LATER = {
    "warm_start", "dielectric_constant", "sites", "atom_box_angstrom", "cells", "states", "reservoirs", "registries",
    "registry", "search_engine", "shift", "elastic", "strains", "temperatures_k", "landscape", "check",
    "vacuums_angstrom", "vibrations_at_k", "phonon_length_angstrom", "packings", "coarse_start", "vary",
    "converged_within_ev",
}  # fmt: skip


def without_unset(settings: Any) -> Any:
    """Return a study's settings without those of :data:`_LATER` that are None, at every depth."""
    if isinstance(settings, dict):
        return {k: without_unset(v) for k, v in settings.items() if not (k in _LATER and v is None)}
    if isinstance(settings, list):
        return [without_unset(item) for item in settings]
    return settings
