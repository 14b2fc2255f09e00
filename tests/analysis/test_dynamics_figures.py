"""Figures of trajectories: the right data at the right place, files."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.coordination import intact_tetrahedra
from anodeflow.analysis.diffusion import diffusion
from anodeflow.analysis.figures.dynamics import broken_centres
from anodeflow.analysis.figures.pictures import draw_side_view
from anodeflow.analysis.figures.trajectories import diffusion_figure, profile_figure, rdf_figure, tetrahedra_figure
from anodeflow.analysis.profiles import layer_profile
from anodeflow.analysis.rdf import partial_rdf
from anodeflow.errors import InputError

CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
PS4 = ["P", "S", "S", "S", "S"]


def run(breaks=None, frames=60, seed=0):
    random = np.random.default_rng(seed)
    for frame in range(frames):
        lengths = 2.05 + random.normal(scale=0.05, size=(4, 1))
        if breaks is not None and frame >= breaks:
            lengths[0] = 4.0
        yield np.vstack([np.zeros(3), lengths * CORNERS]), 12 * np.eye(3)


def test_rdf_and_coordination_are_those_of_the_document():
    document = partial_rdf(run(), PS4, "P-S", r_max=5.0, bins=100)
    axes, twin = rdf_figure([document]).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 100]
    assert lines[0].get_ydata() == pytest.approx(document.g)
    assert twin.lines[0].get_xdata() == pytest.approx(document.r_upper_angstrom)
    assert twin.lines[0].get_ydata() == pytest.approx(document.running_coordination)
    assert twin.lines[1].get_xydata().tolist() == [[document.first_minimum_angstrom, 4.0]]
    assert "$n$ = 4.00" in axes.texts[0].get_text()
    assert twin.get_ylabel() == "$n(r)$: S around P"


def test_mean_and_spread_of_several_runs():
    times = [10.0 * f for f in range(60)]
    runs = [
        intact_tetrahedra(run(breaks), PS4, cutoff=2.6, times_fs=times, persistence_fs=30) for breaks in (20, 40, None)
    ]
    axes = tetrahedra_figure(runs, ["a", "b", "c"]).axes[0]
    mean = next(line for line in axes.lines if line.get_label() == "mean of 3 runs")
    assert mean.get_ydata()[[0, 30, 59]] == pytest.approx([1, 2 / 3, 1 / 3])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:3] == ["a", "b", "c"]
    assert axes.get_ylabel() == "intact PS$_{4}$ (fraction)"
    with pytest.raises(InputError, match="different pairs"):
        tetrahedra_figure([runs[0], runs[1].model_copy(update={"wanted": 3})])


def test_displacements_and_profiles():
    paths = np.cumsum(np.random.default_rng(0).normal(scale=0.1, size=(30, 800, 3)), axis=1)
    document = diffusion(paths, 2.0, "Li")
    axes = diffusion_figure([document]).axes[0]
    fitted = axes.lines[1].get_xydata()
    slope = (fitted[1, 1] - fitted[0, 1]) / (fitted[1, 0] - fitted[0, 0])
    assert slope / 6 * 0.1 == pytest.approx(document.d_cm2_per_s)
    profile = layer_profile(run(), PS4, bins=12)
    panels = profile_figure(profile).axes
    assert len(panels) == 3
    assert panels[-1].lines[0].get_ydata() == pytest.approx(profile.density_per_angstrom3["P"][-1])


def test_nothing_to_draw():
    for draw in (rdf_figure, tetrahedra_figure, diffusion_figure):
        with pytest.raises(InputError):
            draw([])


def test_a_broken_tetrahedron_is_ringed():
    corners = 2.05 * CORNERS
    coords = [[0, 0, 0], *corners, [7, 7, 7], *(corners + 7)]
    whole = Structure(Lattice.cubic(14), PS4 * 2, coords, coords_are_cartesian=True)
    assert broken_centres(whole, 2.6) == []
    assert broken_centres(whole, None) == []
    apart = whole.copy()
    apart.translate_sites([6], [0.1, 0, 0])  # 1.4 angstrom: beyond the cutoff
    assert broken_centres(apart, 2.6) == [5]
    crowded = whole.copy()
    crowded.append("S", [2.3, 0, 0], coords_are_cartesian=True)
    assert broken_centres(crowded, 2.6) == [0]
    _, axes = plt.subplots()
    draw_side_view(axes, apart, broken_centres(apart, 2.6))
    (ring,) = [patch for patch in axes.patches if patch.get_gid() == "marked"]
    assert ring.center == pytest.approx((7, 7))
