"""Fits of barriers against energies known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anodeflow.analysis.barriers import fit_barrier, path_lengths, slopes_along_path
from anodeflow.errors import ConvergenceError, InputError

HEIGHT, LENGTH = 0.4, 3.0


def line(x):
    """One atom on the x axis, among a second that stays."""
    return np.array([[[value, 0.0, 0.0], [5.0, 5.0, 5.0]] for value in np.atleast_1d(x)])


def cosine(x, height=HEIGHT):
    """E = h/2 (1 - cos(2 pi x / L)): barrier h from 0 to L, and its forces."""
    x = np.asarray(x)
    forces = np.zeros((len(x), 2, 3))
    forces[:, 0, 0] = -height * np.pi / LENGTH * np.sin(2 * np.pi * x / LENGTH)
    return height / 2 * (1 - np.cos(2 * np.pi * x / LENGTH)), forces


@pytest.mark.parametrize("images", [5, 6, 7, 8, 9, 13])
def test_a_cosine_barrier_is_found_within_its_uncertainty(images):
    x = np.linspace(0, LENGTH, images)
    fit = fit_barrier(line(x), *cosine(x))
    assert abs(fit.forward_ev - HEIGHT) <= fit.uncertainty_ev + 1e-12
    assert fit.backward_ev == pytest.approx(fit.forward_ev, abs=1e-9)
    assert fit.path_length_angstrom == pytest.approx(LENGTH)
    assert fit.saddle_angstrom == pytest.approx(LENGTH / 2, abs=0.02)
    assert fit.notes == []


def test_the_fit_beats_the_highest_image_where_none_lies_on_the_saddle():
    x = np.linspace(0, LENGTH, 6)  # even: the saddle lies between the third and the fourth
    energies, forces = cosine(x)
    fit = fit_barrier(line(x), energies, forces)
    assert abs(fit.forward_ev - HEIGHT) < 0.2 * abs(max(energies) - HEIGHT)


@settings(max_examples=50)
@given(
    height=st.floats(0.02, 3.0),
    tilt=st.floats(-0.4, 0.4),
    images=st.integers(5, 12),
    skew=st.floats(-0.15, 0.15),
)
def test_tilted_barriers_with_uneven_images(height, tilt, images, skew):
    even = np.linspace(0, 1, images)
    x = LENGTH * (even + skew * np.sin(np.pi * even) * even * (1 - even) * 4)
    bump = 16 * (x / LENGTH) ** 2 * (1 - x / LENGTH) ** 2  # a quartic double well's barrier
    bump_slope = 32 * (x / LENGTH) * (1 - x / LENGTH) * (1 - 2 * x / LENGTH) / LENGTH
    step = 3 * (x / LENGTH) ** 2 - 2 * (x / LENGTH) ** 3  # from one minimum to the other, flat at both
    step_slope = 6 * (x / LENGTH) * (1 - x / LENGTH) / LENGTH
    drop = tilt * height
    forces = np.zeros((images, 2, 3))
    forces[:, 0, 0] = -(height * bump_slope + drop * step_slope)
    fit = fit_barrier(line(x), height * bump + drop * step, forces)
    fine = np.linspace(0, 1, 20001)
    exact = (height * 16 * fine**2 * (1 - fine) ** 2 + drop * (3 * fine**2 - 2 * fine**3)).max()
    assert abs(fit.forward_ev - exact) <= fit.uncertainty_ev + 1e-9
    assert fit.forward_ev - fit.backward_ev == pytest.approx(drop, abs=1e-9)
    assert fit.reaction_energy_ev == pytest.approx(drop, abs=1e-9)


def test_a_curved_path_has_its_own_length_and_its_own_slopes():
    angle = np.linspace(0, np.pi, 9)
    coords = np.zeros((9, 1, 3))
    coords[:, 0, 0], coords[:, 0, 1] = np.cos(angle), np.sin(angle)
    tangent = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    pull = np.linspace(-1, 1, 9)
    across = 0.3 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    forces = (pull[:, None] * tangent + across)[:, None]
    assert path_lengths(coords)[-1] == pytest.approx(np.pi, rel=0.01)
    assert slopes_along_path(coords, forces) == pytest.approx(-pull, abs=0.03)


def test_forces_left_on_the_saddle_widen_the_uncertainty():
    x = np.linspace(0, LENGTH, 9)
    energies, forces = cosine(x)
    before = fit_barrier(line(x), energies, forces, climbing_image=4).uncertainty_ev
    forces[4, :, 1] = 0.1  # across the path, on both atoms: |F|^2 / 2 kappa = 0.01 eV
    after = fit_barrier(line(x), energies, forces, climbing_image=4).uncertainty_ev
    assert after == pytest.approx(np.hypot(before, 0.01), rel=1e-6)


def test_an_end_that_is_not_at_its_minimum_widens_the_uncertainty():
    x = np.linspace(0, LENGTH, 9)
    energies, forces = cosine(x)
    before = fit_barrier(line(x), energies, forces, climbing_image=4)
    assert before.notes == []
    energies[-1] += 0.07
    after = fit_barrier(line(x), energies, forces, climbing_image=4)
    assert after.uncertainty_ev >= energies[-1] - energies[-2] > 0
    assert "dips 0.0" in after.notes[0]
    assert "below the end" in after.notes[0]
    assert after.uncertainty_ev > before.uncertainty_ev


def test_what_is_no_single_hop_is_said():
    x = np.linspace(0, LENGTH, 9)
    energies, forces = cosine(x)
    twice = 0.2 * (1 - np.cos(4 * np.pi * x / LENGTH))
    slope = 0.8 * np.pi / LENGTH * np.sin(4 * np.pi * x / LENGTH)
    both = np.zeros_like(forces)
    both[:, 0, 0] = -slope
    assert "a minimum between the ends" in fit_barrier(line(x), twice + 0.01, both).notes[0]
    assert "below the end" in " ".join(fit_barrier(line(x), -energies, -forces).notes)
    uphill = np.zeros_like(forces)
    uphill[:, 0, 0] = -0.1
    assert "no saddle" in fit_barrier(line(x), 0.1 * x, uphill).notes[0]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda c, e, f: (c, e[:-1], f), InputError, "8 energies"),
        (lambda c, e, f: (c, e, f[:, :1]), InputError, "forces (9, 1, 3)"),
        (lambda c, e, f: (c[:2], e[:2], f[:2]), InputError, "at least three"),
        (lambda c, e, f: (c[[0, 0, *range(2, 9)]], e, f), InputError, "same place"),
        (lambda c, e, f: (c, np.where(e > 0.3, np.nan, e), f), ConvergenceError, "finite"),
    ],
)
def test_bad_bands_are_refused(change, kind, words):
    x = np.linspace(0, LENGTH, 9)
    with pytest.raises(kind, match=words.replace("(", r"\(").replace(")", r"\)")):
        fit_barrier(*change(line(x), *cosine(x)))
