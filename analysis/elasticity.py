"""Elastic constants from the stresses of strained cells, and what follows from them.

Every strain is applied with both signs; the odd part of the response is linear in the strain up to third order, and a
residual stress of the crystal drops out of it. The stresses are rotated by the crystal's point group, and all of them
together are fitted by one stiffness (Le Page and Saxe, Phys. Rev. B 65, 104104 (2002), doi:10.1103/PhysRevB.65.104104).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pymatgen.core import Structure
from pymatgen.core.elasticity import ElasticTensor

from anodeflow.documents import CalculationDoc, Document
from anodeflow.errors import ConvergenceError, InputError
from anodeflow.voigt import VOIGT, strain_tensor

Array = NDArray[np.float64]
#: A larger part of the stress that the fit does not explain, or a larger change with the strain, is told.
_GOOD_FIT = 0.05
_RANK_OF_ALL = 21  # independent components of a stiffness without any symmetry
# Rotations of a relaxed crystal are exact to some 1e-6; what they do not decide must not look decided.
_UNDECIDED = 1e-3
_DIRECTIONS = {"[100]": (1, 0, 0), "[110]": (1, 1, 0), "[111]": (1, 1, 1)}


class ElasticDoc(Document):
    """Elastic moduli of one crystal at 0 K, with relaxed ions."""

    doc_type: Literal["ElasticDoc"] = "ElasticDoc"
    crystal: str
    stiffness_gpa: list[list[float]] | None = Field(
        None, description="C_ij in Voigt's order, (6, 6) GPa, axes by the IEEE standard of 1987"
    )
    bulk_gpa: dict[str, float] = Field(default_factory=dict, description="Voigt, Reuss, Hill")
    shear_gpa: dict[str, float] = Field(default_factory=dict, description="Voigt, Reuss, Hill")
    young_gpa: dict[str, float] = Field(default_factory=dict, description="Voigt, Reuss, Hill: 9KG/(3K+G)")
    poisson_ratio: float | None = Field(None, description="(3K-2G)/(6K+2G), Hill")
    young_by_direction_gpa: dict[str, float] = Field(
        default_factory=dict, description="[100], [110], [111] of the Cartesian axes; smallest and largest of all"
    )
    anisotropy: float | None = Field(None, description="universal index, doi:10.1103/PhysRevLett.101.055504")
    eigenvalues_gpa: list[float] = Field(default_factory=list, description="of the stiffness in Mandel's notation")
    stable: bool | None = Field(None, description="all eigenvalues positive (doi:10.1103/PhysRevB.90.224104)")
    strains: list[float] = Field(default_factory=list)
    strain_modes: list[str] = Field(default_factory=list, description="strains that were computed; symmetry gives all")
    unexplained: float | None = Field(None, description="part of the stress that the fit leaves, root mean square")
    change_with_strain: float | None = Field(
        None, description="largest relative change of K, G or E from the smallest to the largest strain"
    )
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    @property
    def converged(self) -> bool:
        """Whether there is a result."""
        return self.stiffness_gpa is not None


def _rotated_strains(mode: int, operations: Array) -> Array:
    """Return a unit strain under every rotation, shape (n, 3, 3)."""
    rotated: Array = np.einsum("nij,jk,nlk->nil", operations, strain_tensor(mode, 1.0), operations)
    return rotated


def _stiffness_design(strain: Array) -> Array:
    """Return the six rows that lead from the 21 components of a stiffness to the stress of one strain, shape (6, 21).

    The components are those of the upper triangle of C_ij, row by row.
    """
    voigt = [strain[a, b] * (1 if a == b else 2) for a, b in VOIGT]
    rows = np.zeros((6, _RANK_OF_ALL))
    for column, (i, j) in enumerate(zip(*np.triu_indices(6), strict=True)):
        rows[i, column] += voigt[j]
        if i != j:
            rows[j, column] += voigt[i]
    return rows


def needed_modes(operations: Array) -> tuple[int, ...]:
    """Return the fewest Voigt strains whose stresses, rotated by the crystal's symmetry, decide its whole stiffness.

    Parameters
    ----------
    operations
        Rotations of the point group, shape (n, 3, 3).

    Returns
    -------
    tuple of int
        E.g. (0, 3) for a cubic crystal, all six for a triclinic one.
    """
    designs = [
        np.concatenate([_stiffness_design(strain) for strain in _rotated_strains(mode, operations)])
        for mode in range(6)
    ]
    for number in range(1, 6):
        for modes in combinations(range(6), number):
            if np.linalg.matrix_rank(np.concatenate([designs[m] for m in modes]), tol=_UNDECIDED) == _RANK_OF_ALL:
                return modes
    return tuple(range(6))


def fit_stiffness(responses: Sequence[tuple[int, float, Array]], operations: Array) -> tuple[Array, float]:
    """Fit a stiffness to the odd responses of strains.

    Parameters
    ----------
    responses
        Voigt index of each strain, its amplitude, and half the difference of the stresses of both signs, (3, 3) GPa.
    operations
        Rotations of the point group, shape (n, 3, 3).

    Returns
    -------
    stiffness, unexplained
        C_ij, shape (6, 6) GPa; root mean square of what the fit leaves, by that of the stresses.
    """
    design, stresses = [], []
    for mode, amplitude, stress in responses:
        for strain, rotation in zip(_rotated_strains(mode, operations), operations, strict=True):
            design.append(_stiffness_design(amplitude * strain))
            turned = rotation @ stress @ rotation.T
            stresses.append([turned[i, j] for i, j in VOIGT])
    rows, target = np.concatenate(design), np.concatenate(stresses)
    components = np.linalg.lstsq(rows, target, rcond=None)[0]
    stiffness = np.zeros((6, 6))
    stiffness[np.triu_indices(6)] = components
    stiffness = stiffness + stiffness.T - np.diag(np.diag(stiffness))
    left = float(np.linalg.norm(rows @ components - target)) / max(float(np.linalg.norm(target)), 1e-12)
    return stiffness, left


def elastic_doc(
    crystal: str,
    structure: Structure,
    operations: Array,
    calculations: Mapping[tuple[int, float], CalculationDoc | None],
) -> ElasticDoc:
    """Return the moduli of one crystal.

    Parameters
    ----------
    crystal
        Its name.
    structure
        Relaxed, without strain.
    operations
        Rotations of its point group, Cartesian, shape (n, 3, 3).
    calculations
        Of the strained cells by Voigt index and amplitude; both signs of each.

    Raises
    ------
    ConvergenceError
        If one is missing, did not converge, or has no stress.
    InputError
        If an amplitude has one sign only.
    """
    responses = [
        (mode, amplitude, (_stress(calculations, mode, amplitude) - _stress(calculations, mode, -amplitude)) / 2)
        for mode, amplitude in sorted(calculations)
        if amplitude > 0
    ]
    stiffness, unexplained = fit_stiffness(responses, operations)
    amplitudes = sorted({amplitude for _, amplitude, _ in responses})
    doc = ElasticDoc(
        crystal=crystal,
        strains=amplitudes,
        strain_modes=["".join("xyz"[i] for i in VOIGT[mode]) for mode in sorted({mode for mode, *_ in responses})],
        unexplained=unexplained,
    )
    eigenvalues = np.linalg.eigvalsh(_mandel(stiffness))
    doc.eigenvalues_gpa = eigenvalues.tolist()
    doc.stable = bool(eigenvalues[0] > 0)
    tensor = ElasticTensor.from_voigt(stiffness).convert_to_ieee(structure)
    doc.stiffness_gpa = np.asarray(tensor.voigt).tolist()
    if not doc.stable:
        doc.warnings.append(
            f"not stable: the smallest eigenvalue of the stiffness is {eigenvalues[0]:.1f} GPa, so no averages"
        )
        return doc
    doc.bulk_gpa, doc.shear_gpa, doc.young_gpa = averages(stiffness)
    bulk, shear = doc.bulk_gpa["Hill"], doc.shear_gpa["Hill"]
    doc.poisson_ratio = (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear)
    doc.anisotropy = float(tensor.universal_anisotropy)
    doc.young_by_direction_gpa = _by_direction(np.asarray(tensor.voigt))
    if len(amplitudes) > 1:
        first, last = (
            averages(fit_stiffness([r for r in responses if r[1] == amplitude], operations)[0])
            for amplitude in (amplitudes[0], amplitudes[-1])
        )
        doc.change_with_strain = max(abs(b["Hill"] / a["Hill"] - 1) for a, b in zip(first, last, strict=True))
    _judge(doc)
    return doc


def averages(stiffness_gpa: Array) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return bulk, shear and Young's moduli of a polycrystal, each by Voigt, Reuss and Hill, GPa.

    Parameters
    ----------
    stiffness_gpa
        C_ij, shape (6, 6), positive definite (Hill, Proc. Phys. Soc. A 65, 349 (1952),
        doi:10.1088/0370-1298/65/5/307).

    Returns
    -------
    bulk, shear, young
    """
    tensor = ElasticTensor.from_voigt(stiffness_gpa)
    names = {"Voigt": "voigt", "Reuss": "reuss", "Hill": "vrh"}
    bulk = {name: float(getattr(tensor, f"k_{short}")) for name, short in names.items()}
    shear = {name: float(getattr(tensor, f"g_{short}")) for name, short in names.items()}
    young = {name: 9 * bulk[name] * shear[name] / (3 * bulk[name] + shear[name]) for name in bulk}
    return bulk, shear, young


def _judge(doc: ElasticDoc) -> None:
    if doc.unexplained is not None and doc.unexplained > _GOOD_FIT:
        doc.warnings.append(f"the fit leaves {100 * doc.unexplained:.0f} % of the stress unexplained")
    if doc.change_with_strain is not None and doc.change_with_strain > _GOOD_FIT:
        doc.warnings.append(
            f"the moduli change by {100 * doc.change_with_strain:.0f} % from strain {doc.strains[0]:g} to "
            f"{doc.strains[-1]:g}: not in the linear range, or the stress is not converged"
        )


def _stress(calculations: Mapping[tuple[int, float], CalculationDoc | None], mode: int, amplitude: float) -> Array:
    if (mode, amplitude) not in calculations:
        raise InputError(f"strain {amplitude:g} is computed with one sign only", "compute both signs")
    calculation = calculations[mode, amplitude]
    if calculation is None:
        raise ConvergenceError("a strained cell was not computed", "see the first failure of this run")
    calculation.converged_energy_ev()
    if calculation.stress_gpa is None:
        raise ConvergenceError(f"'{calculation.label}' has no stress", "choose an engine that gives stress")
    return np.asarray(calculation.stress_gpa, dtype=float)


def _mandel(stiffness: Array) -> Array:
    """Return a stiffness in the notation in which its eigenvalues do not depend on the axes."""
    weights = np.array([1, 1, 1, *[np.sqrt(2)] * 3])
    mandel: Array = stiffness * np.outer(weights, weights)
    return mandel


def _young_along(compliance: NDArray[np.floating], direction: NDArray[np.floating]) -> float:
    n = direction / np.linalg.norm(direction)
    along = np.array([n[i] * n[j] for i, j in VOIGT])
    return float(1 / (along @ compliance @ along))


def _by_direction(stiffness: Array) -> dict[str, float]:
    compliance = np.linalg.inv(stiffness)
    moduli = {name: _young_along(compliance, np.array(n, dtype=float)) for name, n in _DIRECTIONS.items()}
    z, turn = np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 2 * np.pi, 181))
    n = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z]).reshape(3, -1)
    along = np.array([n[i] * n[j] for i, j in VOIGT])
    everywhere = 1 / np.einsum("in,ij,jn->n", along, compliance, along)
    return moduli | {"smallest": float(everywhere.min()), "largest": float(everywhere.max())}
