"""How much lower a converged relaxation might still end: the numerical part of an uncertainty."""

from __future__ import annotations

import numpy as np

from anodeflow.documents import CalculationDoc

#: Curvature that residual forces are assumed to work against, eV/angstrom^2; that of lithium in its metal and salts.
CURVATURE_EV_PER_ANGSTROM2 = 1.0
#: Share of the steps, counted from the end, over which a relaxation that hardly falls any more is looked at.
_LAST_SHARE = 0.1


def relaxation_uncertainty_ev(doc: CalculationDoc) -> float:
    """Return what a relaxation may still gain, eV: of a single point nothing.

    The sum of what the residual forces may still give, sum |F|^2 / (2 kappa) over the free atoms with
    kappa = 1 eV/angstrom^2, and of how far the energy came down in the last tenth of the steps (at least the last
    step): on a plateau the forces are small and the way is long. Where the document holds no forces, every atom is
    taken to have the largest. It says nothing of the method.

    Examples
    --------
    Two atoms with 0.1 eV/angstrom on each: 2 x 0.1^2 / 2.

    >>> from pymatgen.core import Lattice, Structure
    >>> from anodeflow.documents import CardRecord, EngineRecord
    >>> cell = Structure(Lattice.cubic(5), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> doc = CalculationDoc(fingerprint="", label="", task="relax", structure=cell, converged=True,
    ...     engine=EngineRecord(name="x", kind="x", version="1", model="x", hash="x"),
    ...     card=CardRecord(name="x", hash="x"), max_force_ev_per_angstrom=0.1)
    >>> round(relaxation_uncertainty_ev(doc), 6)
    0.01
    """
    if doc.task == "static":
        return 0.0
    return _of_forces_ev(doc) + _of_plateau_ev(doc)


def _of_forces_ev(doc: CalculationDoc) -> float:
    """Return what the residual forces may still give, eV."""
    free = doc.structure.site_properties.get("selective_dynamics")
    mobile = np.ones((len(doc.structure), 3), dtype=bool) if free is None else np.array(free, dtype=bool)
    forces = (doc.arrays or {}).get("forces_ev_per_angstrom")
    if forces is not None and np.shape(forces) == mobile.shape:
        squared = float((np.asarray(forces, dtype=float)[mobile] ** 2).sum())
    else:
        squared = float(mobile.any(axis=1).sum()) * (doc.max_force_ev_per_angstrom or 0.0) ** 2
    return squared / (2 * CURVATURE_EV_PER_ANGSTROM2)


def _of_plateau_ev(doc: CalculationDoc) -> float:
    """Return how far the energy came down at the end, eV."""
    last = abs(doc.energy_change_last_step_ev or 0.0)
    energies = np.ravel(np.asarray((doc.arrays or {}).get("energies_ev", []), dtype=float))
    steps = int(_LAST_SHARE * len(energies))
    return max(last, float(np.ptp(energies[-steps - 1 :]))) if steps else last
