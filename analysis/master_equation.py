"""Diffusion by hops: the exact D of one carrier on a periodic network of sites, from the barriers of a study.

Rates are nu exp(-E/kT). With the stationary occupations p, which obey detailed balance, D is the mean squared jump over
two, less what is lost where jumps are undone:

    D = 1/2 sum_ij p_i w_ij d_ij d_ij + b^T omega^+ b,   b_i = sqrt(p_i) sum_j w_ij d_ij

with omega the symmetrised rate matrix (D. R. Trinkle, Phil. Mag. 96, 2714 (2016), doi:10.1080/14786435.2016.1212175).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from anodeflow.documents import Document
from anodeflow.errors import InputError
from anodeflow.units import BOLTZMANN_EV_PER_K

Floats = NDArray[np.float64]

#: Attempts per ps where nothing else is known: vibrations of Li are near 10 THz.
_ATTEMPTS_PER_PS = 10.0
_ANGSTROM2_PER_PS_TO_CM2_PER_S = 1e-4
_BALANCE = 1e-6
_STEP_K = 1.0
_NOTHING = 1e-9


class JumpDoc(Document):
    """One directed jump of a carrier in the cell of its host."""

    origin: int = Field(description="number of the site it leaves")
    target: int
    vector_angstrom: tuple[float, float, float]


class WeighedJump(Document):
    """A jump with its barrier."""

    jump: JumpDoc
    barrier_ev: float


class HopDiffusionDoc(Document):
    """Diffusion of one carrier by the hops of a study."""

    crystal: str
    mechanism: str
    carrier: str = Field(description="what the coefficient is of: one vacancy, or one added Li")
    hops: list[str] = Field(description="hops that the network is made of")
    sites: int = 0
    attempts_per_ps: float = Field(_ATTEMPTS_PER_PS, description="assumed, the same for all hops")
    temperatures_k: list[float] = Field(default_factory=list)
    d_cm2_per_s: list[float] = Field(default_factory=list, description="a third of the trace, by temperature")
    d_tensor_cm2_per_s: list[list[list[float]]] = Field(default_factory=list, description="by temperature")
    correlation_factor: list[float] = Field(default_factory=list, description="D over that of jumps without memory")
    activation_ev: float | None = Field(None, description="-d ln D / d(1/kT) at the first temperature")
    error: str | None = None


def rate_matrix(
    sites: int, jumps: Sequence[WeighedJump], temperature_k: float, attempts_per_ps: float = _ATTEMPTS_PER_PS
) -> tuple[list[float], Floats]:
    """Return the rate of each jump, 1/ps, and the stationary occupation of each site.

    Parameters
    ----------
    sites
        How many there are.
    jumps
        All of them, both directions.
    temperature_k, attempts_per_ps
        Of the rates.

    Returns
    -------
    tuple
        Rates, and occupations that sum to 1.

    Raises
    ------
    InputError
        If forward and backward barriers contradict each other around a ring of sites.
    """
    lowest = min(jump.barrier_ev for jump in jumps)
    weights = [float(np.exp(-(j.barrier_ev - lowest) / (BOLTZMANN_EV_PER_K * temperature_k))) for j in jumps]
    generator = np.zeros((sites, sites))
    for jump, weight in zip(jumps, weights, strict=True):
        generator[jump.jump.origin, jump.jump.target] += weight
        generator[jump.jump.origin, jump.jump.origin] -= weight
    occupation = _stationary(generator)
    flow = occupation[:, None] * generator
    if np.abs(flow - flow.T).max() > _BALANCE * max(float(np.abs(flow).max()), 1e-300):
        raise InputError(
            "forward and backward barriers contradict each other around a ring of sites",
            "relax the ends tighter, so that equal sites have equal energies",
        )
    scale = attempts_per_ps * float(np.exp(-lowest / (BOLTZMANN_EV_PER_K * temperature_k)))
    return [weight * scale for weight in weights], occupation


def _stationary(generator: Floats) -> Floats:
    """Return the occupation of each site; parts of a network that is not connected share by their sites."""
    sites = len(generator)
    occupation = np.zeros(sites)
    unseen = set(range(sites))
    linked = (generator > 0) | (generator > 0).T
    while unseen:
        part, waiting = set(), [unseen.pop()]
        while waiting:
            site = waiting.pop()
            part.add(site)
            waiting += [n for n in np.flatnonzero(linked[site]).tolist() if n in unseen]
            unseen -= set(waiting)
        chosen = sorted(part)
        block = generator[np.ix_(chosen, chosen)]
        system = np.vstack([block.T, np.ones(len(chosen))])
        solution = np.linalg.lstsq(system, np.append(np.zeros(len(chosen)), 1.0), rcond=None)[0]
        occupation[chosen] = solution * len(chosen) / sites
    return occupation


def diffusion_tensor(
    sites: int, jumps: Sequence[WeighedJump], temperature_k: float, attempts_per_ps: float = _ATTEMPTS_PER_PS
) -> tuple[Floats, float]:
    """Return D of one carrier, cm^2/s, shape (3, 3), and the factor by which undone jumps lower its trace.

    Parameters
    ----------
    sites, jumps, temperature_k, attempts_per_ps
        See :func:`rate_matrix`.

    Returns
    -------
    tuple
        The tensor and the correlation factor.

    Raises
    ------
    InputError
        As :func:`rate_matrix`, or if there is no jump.
    """
    if not jumps:
        raise InputError("no jump, so nothing diffuses", "compute at least one hop")
    rates, occupation = rate_matrix(sites, jumps, temperature_k, attempts_per_ps)
    root = np.sqrt(occupation)
    bare, bias = np.zeros((3, 3)), np.zeros((sites, 3))
    symmetrised = np.zeros((sites, sites))
    for jump, rate in zip(jumps, rates, strict=True):
        i, j, way = jump.jump.origin, jump.jump.target, np.array(jump.jump.vector_angstrom)
        bare += 0.5 * occupation[i] * rate * np.outer(way, way)
        bias[i] += root[i] * rate * way
        symmetrised[i, j] += root[i] * rate / root[j]
        symmetrised[i, i] -= rate
    symmetrised = (symmetrised + symmetrised.T) / 2
    tensor = bare + bias.T @ np.linalg.pinv(symmetrised, rcond=1e-10, hermitian=True) @ bias
    factor = float(np.trace(tensor) / np.trace(bare))
    return tensor * _ANGSTROM2_PER_PS_TO_CM2_PER_S, max(0.0, factor)


def hop_diffusion(doc: HopDiffusionDoc, jumps: Sequence[WeighedJump], temperatures_k: Sequence[float]) -> None:
    """Add D at some temperatures, and its activation energy at the first.

    Parameters
    ----------
    doc
        Changed in place; an error where the network leads nowhere.
    jumps
        All of them, both directions.
    temperatures_k
        In any order.
    """
    doc.sites = 1 + max(max(jump.jump.origin, jump.jump.target) for jump in jumps)
    traces = []
    for temperature in temperatures_k:
        tensor, factor = diffusion_tensor(doc.sites, jumps, temperature, doc.attempts_per_ps)
        if factor < _NOTHING:
            doc.error = "the hops of the study do not connect one cell with the next: nothing diffuses by them alone"
            return
        traces.append(float(np.trace(tensor)) / 3)
        doc.temperatures_k.append(temperature)
        doc.d_tensor_cm2_per_s.append(tensor.tolist())
        doc.correlation_factor.append(factor)
    doc.d_cm2_per_s = traces
    first = temperatures_k[0]
    logs = [
        float(np.log(np.trace(diffusion_tensor(doc.sites, jumps, first + shift, doc.attempts_per_ps)[0])))
        for shift in (-_STEP_K, _STEP_K)
    ]
    inverse = [1 / (BOLTZMANN_EV_PER_K * (first + shift)) for shift in (-_STEP_K, _STEP_K)]
    doc.activation_ev = -(logs[1] - logs[0]) / (inverse[1] - inverse[0])
