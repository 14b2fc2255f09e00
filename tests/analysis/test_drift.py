"""Drift and temperature of made-up runs with known answers."""

import numpy as np
import pytest

from anodeflow.analysis.drift import run_checks, statistical_inefficiency
from anodeflow.errors import InputError

TIMES = [2.0 * f for f in range(2000)]


def test_a_known_drift_is_found_within_its_error():
    random = np.random.default_rng(0)
    noise = np.zeros(2000)
    for f in range(1, 2000):  # correlated, as in a run
        noise[f] = 0.95 * noise[f - 1] + random.normal(scale=0.01)
    energy = -500 + 100 * 0.005 * np.array(TIMES) / 1000 + noise
    doc = run_checks(100, TIMES, potential_ev=energy, kinetic_ev=np.zeros(2000))
    assert doc.energy == "total"
    assert doc.length_ps == pytest.approx(3.998)
    error = doc.energy_drift_se_ev_per_atom_ps
    assert abs(doc.energy_drift_ev_per_atom_ps - 0.005) < 3 * error
    # twenty times fewer independent frames than frames: an error that ignored that would be six times smaller
    assert 4e-5 < error < 4e-4
    assert "+5." in doc.warnings[0] or "+4.9" in doc.warnings[0]


def test_temperature_of_the_canonical_ensemble():
    random = np.random.default_rng(1)
    atoms = 64
    temperature = 300 * random.chisquare(3 * atoms, size=2000) / (3 * atoms)
    doc = run_checks(atoms, TIMES, temperatures_k=temperature)
    assert doc.mean_temperature_k == pytest.approx(300, abs=3 * doc.mean_temperature_se_k)
    assert doc.canonical_std_k == pytest.approx(300 * np.sqrt(2 / 192), rel=0.01)
    assert doc.temperature_std_k == pytest.approx(doc.canonical_std_k, rel=0.06)
    assert not doc.warnings
    stiff = run_checks(atoms, TIMES, temperatures_k=300 + (temperature - 300) / 10)
    assert "does not sample" in stiff.warnings[0]


def test_total_energy_uses_the_temperature_where_no_kinetic_energy_is_given():
    k = 8.617333262e-5
    temperature = 300 + 20 * np.sin(np.arange(2000) / 10)
    potential = -10 - 1.5 * 7 * k * temperature
    doc = run_checks(8, TIMES, potential_ev=potential, temperatures_k=temperature)
    assert doc.energy == "total"
    assert doc.energy_scatter_ev_per_atom == pytest.approx(0, abs=1e-12)
    assert run_checks(8, TIMES, potential_ev=potential).energy == "potential"
    assert run_checks(8, TIMES, potential_ev=potential, conserved_ev=potential).energy == "conserved"


def test_gaps_and_missing_times_give_no_number():
    doc = run_checks(8, None, potential_ev=[-1.0] * 30, temperatures_k=[300.0] * 29 + [None])
    assert doc.energy_drift_ev_per_atom_ps is None
    assert doc.mean_temperature_k is None
    with pytest.raises(InputError, match="different lengths"):
        run_checks(8, [0.0, 1.0], potential_ev=[-1.0] * 3)


def test_inefficiency_of_a_correlated_series():
    random = np.random.default_rng(2)
    x = np.zeros(50_000)
    for f in range(1, len(x)):
        x[f] = 0.8 * x[f - 1] + random.normal()
    assert statistical_inefficiency(x) == pytest.approx(1.8 / 0.2, rel=0.15)
    assert statistical_inefficiency(random.normal(size=5000)) == pytest.approx(1, abs=0.2)
    assert statistical_inefficiency(np.ones(10)) == 1.0
