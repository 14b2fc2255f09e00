"""Whether a run is sound: drift of its energy, mean and spread of its temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from anodeflow.analysis.pair_distances import Floats
from anodeflow.documents import Document
from anodeflow.errors import InputError
from anodeflow.units import BOLTZMANN_EV_PER_K

BLOCKS = 10
# Customary bound for a run at constant energy.
_LARGE_DRIFT_EV_PER_ATOM_PS = 1e-3


class RunChecksDoc(Document):
    """Drift and temperature of a run."""

    doc_type: Literal["RunChecksDoc"] = "RunChecksDoc"
    frames: int
    atoms: int
    length_ps: float | None = None
    energy: Literal["total", "potential", "conserved"] | None = Field(
        None, description="which energy drifts: total = potential + kinetic; potential: no kinetic energy is known"
    )
    energy_drift_ev_per_atom_ps: float | None = Field(None, description="slope of a line through the energy")
    energy_drift_se_ev_per_atom_ps: float | None = Field(
        None, description="standard error, for as many independent points as the residuals' correlation leaves"
    )
    energy_scatter_ev_per_atom: float | None = Field(None, description="standard deviation about the line")
    mean_temperature_k: float | None = None
    mean_temperature_se_k: float | None = Field(None, description="standard error by blocks")
    temperature_std_k: float | None = None
    canonical_std_k: float | None = Field(None, description="sqrt(2 / (3 N)) T, that of the canonical ensemble")
    temperature_drift_k_per_ps: float | None = None
    temperature_drift_se_k_per_ps: float | None = None
    warnings: list[str] = Field(default_factory=list)


# long: a third or more of it is documentation
def run_checks(
    atoms: int,
    times_fs: Sequence[float] | None,
    *,
    potential_ev: Sequence[float | None] | None = None,
    kinetic_ev: Sequence[float | None] | None = None,
    conserved_ev: Sequence[float | None] | None = None,
    temperatures_k: Sequence[float | None] | None = None,
) -> RunChecksDoc:
    """Return the drift of the energy and statistics of the temperature.

    Parameters
    ----------
    atoms
        Number of atoms, N.
    times_fs
        Time of each frame; None: not known, then no drift is given.
    potential_ev, kinetic_ev, conserved_ev
        Energies of each frame, eV. The conserved quantity of a thermostat is used where it is given; otherwise
        potential plus kinetic energy. Where the kinetic energy is not given, it follows from the temperature:
        3/2 (N - 1) k T.
    temperatures_k
        Of each frame, K. It follows from the kinetic energy where it is not given.

    Returns
    -------
    RunChecksDoc
        None where something was not given.

    Raises
    ------
    InputError
        If series differ in length.
    """
    potential, kinetic = _series(potential_ev), _series(kinetic_ev)
    conserved, temperature = _series(conserved_ev), _series(temperatures_k)
    times = None if times_fs is None else np.asarray(times_fs, dtype=float)
    lengths = {len(s) for s in (potential, kinetic, conserved, temperature, times) if s is not None}
    if len(lengths) > 1:
        raise InputError(f"series of different lengths: {sorted(lengths)}", "give one value for each frame")
    frames = lengths.pop() if lengths else 0
    freedom = 1.5 * max(atoms - 1, 1) * BOLTZMANN_EV_PER_K
    if temperature is None and kinetic is not None:
        temperature = kinetic / freedom
    elif kinetic is None and temperature is not None:
        kinetic = temperature * freedom
    document = RunChecksDoc(frames=frames, atoms=atoms)
    energy = conserved
    document.energy = "conserved" if conserved is not None else None
    if energy is None and potential is not None:
        energy = potential if kinetic is None else potential + kinetic
        document.energy = "potential" if kinetic is None else "total"
    ps = None if times is None or frames < 2 else (times - times[0]) / 1000
    if ps is not None:
        document.length_ps = float(ps[-1])
    if energy is not None and ps is not None and frames >= 4 and ps[-1] > 0:
        slope, error, scatter = _line(ps, energy / atoms)
        document.energy_drift_ev_per_atom_ps, document.energy_drift_se_ev_per_atom_ps = slope, error
        document.energy_scatter_ev_per_atom = scatter
        if document.energy != "potential" and abs(slope) > max(_LARGE_DRIFT_EV_PER_ATOM_PS, 2 * error):
            document.warnings.append(
                f"the {document.energy} energy drifts by {1000 * slope:+.2f} meV per atom and ps; in a run at constant "
                "energy that is too much (with a thermostat only the conserved quantity has to stay)"
            )
    if temperature is not None and frames >= 2:
        mean, spread = float(temperature.mean()), float(temperature.std(ddof=1))
        expected = float(np.sqrt(2 / (3 * atoms)) * mean)
        document.mean_temperature_k, document.temperature_std_k = mean, spread
        document.canonical_std_k = expected
        if frames >= 2 * BLOCKS:
            blocks = np.array([block.mean() for block in np.array_split(temperature, BLOCKS)])
            document.mean_temperature_se_k = float(blocks.std(ddof=1) / np.sqrt(BLOCKS))
        if ps is not None and frames >= 4 and ps[-1] > 0:
            slope, error, _ = _line(ps, temperature)
            document.temperature_drift_k_per_ps, document.temperature_drift_se_k_per_ps = slope, error
        if expected > 0 and frames >= 2 * BLOCKS and not 0.5 <= spread / expected <= 1.5:
            document.warnings.append(
                f"the temperature spreads by {spread:.1f} K, the canonical ensemble by {expected:.1f} K: the "
                "thermostat does not sample it, or the run is not in equilibrium"
            )
    return document


def _series(values: Sequence[float | None] | None) -> Floats | None:
    """Return values as an array, or None if one is missing."""
    if values is None or not len(values) or any(value is None for value in values):
        return None
    return np.asarray(values, dtype=float)


def _line(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Return slope, its standard error with correlated residuals, and their standard deviation."""
    dx, dy = x - x.mean(), y - y.mean()
    sxx = float(dx @ dx)
    slope = float(dx @ dy) / sxx
    residuals = dy - slope * dx
    rss = float(residuals @ residuals)
    inefficiency = statistical_inefficiency(residuals)
    independent = len(x) / inefficiency
    variance = rss / len(x) * independent / max(independent - 2, 1.0)
    return slope, float(np.sqrt(variance * inefficiency / sxx)), float(np.sqrt(rss / max(len(x) - 2, 1)))


def statistical_inefficiency(series: Floats) -> float:
    """Return frames per independent frame: 1 + 2 sum of the autocorrelation up to its first zero (at least 1).

    J. D. Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), doi:10.1021/ct0502864.
    """
    centred = np.asarray(series, dtype=float) - np.mean(series)
    variance = float(centred @ centred)
    if variance <= 0:
        return 1.0
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n] / variance
    ends = np.flatnonzero(correlation <= 0)
    stop = int(ends[0]) if len(ends) else n
    return max(1.0, 1.0 + 2.0 * float(correlation[1:stop].sum()))
