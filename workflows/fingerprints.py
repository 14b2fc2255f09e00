"""What makes two calculations the same: hashes of geometry, task, charge, card and engine.

Pure functions, which whoever computes and whoever checks what others computed share.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.files import json_sha256


def structure_digest(structure: Structure) -> str:
    """Return a hash of cell, species, positions (to 1e-5 angstrom), and frozen degrees of freedom."""
    data: list[Any] = [
        np.round(structure.lattice.matrix, 5).tolist(),
        [str(s) for s in structure.species_and_occu],
        np.round(np.mod(np.round(structure.frac_coords, 7), 1.0), 6).tolist(),
    ]
    frozen = structure.site_properties.get("selective_dynamics")
    if frozen is not None and not np.all(frozen):
        data.append(np.asarray(frozen, dtype=bool).tolist())
    return json_sha256(data)[:16]


def fingerprint(structure: Structure, task: str, charge: int, card_hash: str, engine: EngineRecord) -> str:
    """Return what makes two calculations the same.

    Parameters
    ----------
    structure, task, charge
        What is computed.
    card_hash
        How accurately.
    engine
        By whom, its pseudopotentials included.
    """
    return _with_engine([structure_digest(structure), task, charge, card_hash], engine)


def band_key(
    ends: tuple[str, str],
    images: int,
    climbs: bool,
    displacement_angstrom: float,
    seed: int,
    charge: int,
    card_hash: str,
    engine: EngineRecord,
) -> str:
    """Return what makes two nudged elastic bands the same.

    Parameters
    ----------
    ends
        :func:`structure_digest` of both relaxed ends, made to fit.
    images
        Between the ends.
    climbs
        Whether the highest image climbs.
    displacement_angstrom, seed
        By how much the path is disturbed before it is relaxed, and with which random numbers.
    charge
        Of the cell, e.
    card_hash
        How accurately.
    engine
        By whom, its pseudopotentials included.
    """
    return _with_engine(["band", *ends, images, climbs, displacement_angstrom, seed, charge, card_hash], engine)


def _with_engine(content: list[Any], engine: EngineRecord) -> str:
    potentials = [dict(sorted(engine.potentials.items()))] if engine.potentials else []
    return json_sha256([*content, engine.hash, *potentials])[:32]


def run_hash(identity: dict[str, Any]) -> str:
    """Return what makes two runs of dynamics the same: geometry, card, engine, seed, ensemble and intervals."""
    return json_sha256(identity, sort_keys=True)[:32]


def segment_key(run: str, first_step: int, last_step: int) -> str:
    """Return the fingerprint of a segment of a run of dynamics.

    Parameters
    ----------
    run
        Hash of the run.
    first_step, last_step
        It begins from the state at the first and ends at the last.
    """
    return json_sha256([run, first_step, last_step])[:32]


def search_key(
    film: Structure,
    substrate: Structure,
    options: dict[str, Any],
    only: str | None,
    card_hash: str,
    engine: EngineRecord,
) -> str:
    """Return what makes two searches of registries the same.

    Parameters
    ----------
    film, substrate
        The two crystals.
    options
        How they are put together.
    only
        Label of the only registry to be scored, None for all.
    card_hash
        How accurately.
    engine
        The potential.
    """
    how = json.dumps(options, sort_keys=True, default=str)
    content = ["registry search", structure_digest(film), structure_digest(substrate), how, only, card_hash]
    return _with_engine(content, engine)
