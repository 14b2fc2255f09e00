"""Figures of surface and interface energies: the right data at the right place, labels, files."""

import numpy as np
import pytest
from factories import card_record, engine_record
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.image import imread

from anodeflow.analysis.figures.interface import interface_energy_figure
from anodeflow.analysis.figures.style import (
    footer_lines,
    formula_label,
    miller_label,
    save_figure,
    write_footer,
)
from anodeflow.analysis.figures.surfaces import surface_energy_figure
from anodeflow.analysis.fits import confidence_band, fit_line
from anodeflow.analysis.interface_energy import InterfaceEnergyDoc, InterfacePoint, PublishedComparison, StrainCheck
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc, SurfaceMember
from anodeflow.errors import InputError

ENGINE = engine_record(name="sevennet")
CARD = card_record(name="lacss2024-surface")
SIZES, GAMMAS = [4, 6, 8, 10], [0.555, 0.561, 0.571, 0.575]


def interface(gammas=GAMMAS, **changes):
    fit = fit_line(SIZES, gammas)
    return InterfaceEnergyDoc(
        **{
            "film": "Li",
            "substrate": "LiCl",
            "contact": "LiCl(100) || Li(100)",
            "gamma_j_per_m2": fit.intercept,
            "gamma_ci_j_per_m2": fit.intercept_ci,
            "strain_energy_ev_per_unit": 0.012,
            "strain_energy_ci_ev_per_unit": (0.010, 0.014),
            "fit": fit,
            "members": [
                InterfacePoint(
                    label="x", calculation="x", n_film=n, n_substrate=12, atoms=30, energy_ev=-1, gamma_j_per_m2=g
                )
                for n, g in zip(SIZES, gammas, strict=True)
            ],
            "engine": ENGINE,
            "card": CARD,
        }
        | changes
    )


PUBLISHED = PublishedComparison(
    paper="lacss2024",
    system="LiCl/Li",
    quantity="gamma(LiCl) - gamma(LiCl/Li)",
    published_j_per_m2=-0.42,
    ours_j_per_m2=-0.41,
    implied_gamma_j_per_m2=0.541,
    surface="LiCl",
    source="Supplementary Table 1",
)


def surface(crystal="LiCl", miller=(1, 0, 0), gamma=0.121, half_width=0.004, **changes):
    return SurfaceEnergyDoc(
        **{
            "crystal": crystal,
            "miller": miller,
            "termination": crystal,
            "method": "fit",
            "gamma_j_per_m2": gamma,
            "gamma_ci_j_per_m2": None if half_width is None else (gamma - half_width, gamma + half_width),
            "members": [
                SurfaceMember(
                    label="x",
                    calculation="x",
                    layers=k,
                    n_units=4 * k,
                    atoms=8 * k,
                    thickness_angstrom=2.574 * (k - 1),
                    symmetric=True,
                    energy_ev=-1,
                    gamma_j_per_m2=gamma + 0.001 * k,
                    gamma_unrelaxed_j_per_m2=gamma + 0.04,
                )
                for k in (4, 6, 8)
            ],
            "engine": ENGINE,
            "card": CARD,
        }
        | changes
    )


def drawn(axes, marker):
    """Data of the lines with this marker."""
    return [line.get_xydata() for line in axes.lines if line.get_marker() == marker]


def words(figure):
    """Everything written on a figure."""
    legend = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    texts = [t.get_text() for t in figure.axes[0].texts]
    axes = figure.axes[0]
    return " | ".join([axes.get_xlabel(), axes.get_ylabel(), figure.get_supxlabel(), *legend, *texts])


def test_interface_points_line_and_intercept_are_where_the_document_says():
    doc = interface()
    axes = interface_energy_figure(doc).axes[0]
    (points,) = drawn(axes, "o")
    assert points == pytest.approx(np.column_stack([SIZES, GAMMAS]))
    (intercept,) = drawn(axes, "D")
    assert intercept == pytest.approx(np.array([[0.0, doc.gamma_j_per_m2]]))
    (bar,) = axes.containers[0].lines[2][0].get_segments()
    assert bar == pytest.approx(np.array([[0, doc.gamma_ci_j_per_m2[0]], [0, doc.gamma_ci_j_per_m2[1]]]))
    solid, dashed = (line for line in axes.lines if len(line.get_xdata()) > 10)
    for line in (solid, dashed):
        assert line.get_ydata() == pytest.approx(doc.fit.predict(line.get_xdata()))
    assert solid.get_xdata().min() >= 4 > dashed.get_xdata().max()


def test_the_band_is_the_one_of_the_fit():
    doc = interface()
    axes = interface_energy_figure(doc).axes[0]
    corners = axes.collections[0].get_paths()[0].vertices
    lower, upper = confidence_band(doc.fit, 0.0)
    at_zero = corners[corners[:, 0] == 0][:, 1]
    assert (at_zero.min(), at_zero.max()) == pytest.approx((float(lower), float(upper)))


def test_interface_labels_units_engine_and_card():
    check = StrainCheck(
        strained_bulk_ev_per_unit=-1.888, bulk_ev_per_unit=-1.9, expected_ev_per_unit=0.012,
        fitted_ev_per_unit=0.0123, difference_ev_per_unit=0.0003, agrees=True, calculation="x", text="",
    )  # fmt: skip
    text = words(interface_energy_figure(interface(strain_check=check, strain_percent=-2.1)))
    for part in (
        "number of Li units", "LiCl/Li (J m$^{-2}$)", "95 % confidence", "sevennet", "card lacss2024-surface",
        "LiCl(100) || Li(100)", "12.00 ± 2.00 meV per Li", "strained bulk: 12.00 meV", "strained by −2.1 %",
    ):  # fmt: skip
        assert part in text
    assert "published" not in text


def test_the_published_value_is_drawn_if_there_is_one():
    figure = interface_energy_figure(interface(published=[PUBLISHED]))
    marks = [line for line in figure.axes[0].lines if "lacss2024" in line.get_label()]
    assert [list(line.get_ydata()) for line in marks] == [[0.541, 0.541]]
    assert "lacss2024: −0.42 J m$^{-2}$" in words(figure)
    assert r"published $\gamma$(LiCl)" in words(figure)


def test_different_contacts_are_called_a_mean():
    doc = interface(contacts_equivalent=False, gamma_j_per_m2=None, gamma_ci_j_per_m2=None)
    text = words(interface_energy_figure(doc))
    assert "LiCl/Li, mean" in text
    assert "only their sum" in text


@pytest.mark.parametrize("gammas", [GAMMAS, GAMMAS[::-1]])
def test_text_does_not_lie_on_points(gammas):
    figure = interface_energy_figure(interface(gammas, published=[PUBLISHED]))
    axes = figure.axes[0]
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in axes.texts] + [axes.get_legend().get_window_extent()]
    for x, y in axes.transData.transform(np.column_stack([SIZES, gammas])):
        assert not any(box.contains(x, y) for box in boxes)
    assert not boxes[0].overlaps(boxes[1])


def test_surface_points_and_fit_are_where_the_document_says():
    doc = surface()
    axes = surface_energy_figure([doc]).axes[0]
    relaxed, unrelaxed = drawn(axes, "o")
    assert relaxed == pytest.approx(np.array([[7.722, 0.125], [12.870, 0.127], [18.018, 0.129]]))
    assert unrelaxed[:, 1] == pytest.approx([0.161] * 3)
    (line,) = drawn(axes, "None")
    assert line[:, 1] == pytest.approx([0.121, 0.121])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.117, 0.125))


def test_surface_labels_engine_and_card():
    other = surface("Li9Al4", (4, 0, 0), 0.6, None, card=card_record("c2", name="other"))
    text = words(surface_energy_figure([surface(), other]))
    for part in (
        "slab thickness (Å)", "(J m$^{-2}$)", "LiCl(100)  0.1210 ± 0.0040", "Li$_{9}$Al$_{4}$(400)  0.600",
        "open: unrelaxed", "95 % confidence", "card lacss2024-surface", "card other",
    ):  # fmt: skip
        assert part in text


def test_every_surface_has_its_own_colour_and_marker():
    axes = surface_energy_figure([surface(gamma=0.1 * k) for k in range(1, 7)]).axes[0]
    filled = [line for line in axes.lines if line.get_marker() != "None" and line.get_mfc() != "white"]
    assert len({to_hex(line.get_color()) for line in filled}) == 6
    assert len({line.get_marker() for line in filled}) == 6


def test_surfaces_without_a_value_are_left_out():
    failed = surface("Li2S", gamma_j_per_m2=None, error="it failed")
    assert "Li$_2$S" not in words(surface_energy_figure([surface(), failed]))
    with pytest.raises(InputError, match="no surface energy"):
        surface_energy_figure([failed])
    with pytest.raises(InputError, match="7 surfaces"):
        surface_energy_figure([surface()] * 7)
    with pytest.raises(InputError, match="no fit to draw: it failed"):
        interface_energy_figure(interface(fit=None, error="it failed"))
    with pytest.raises(InputError, match="no fit to draw: one thickness of Li, and the figure"):
        interface_energy_figure(interface(fit=None, members=interface().members[:1]))


@pytest.mark.parametrize(
    ("miller", "label"),
    [((1, 0, 0), "(100)"), ((1, -1, 0), r"(1$\overline{1}$0)"), ((10, 0, -1), r"(10 0 $\overline{1}$)")],
)
def test_miller_label(miller, label):
    assert miller_label(miller) == label


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_saved_whole(tmp_path, suffix):
    for name, figure in (
        ("interface", interface_energy_figure(interface(published=[PUBLISHED]))),
        ("surface", surface_energy_figure([surface(), surface("Al", (1, 1, 1), 0.8)])),
    ):
        path = tmp_path / f"{name}{suffix}"
        save_figure(figure, path)
        assert path.stat().st_size > 10_000
        if suffix == ".png":
            height, width, _ = imread(path).shape
            assert width > 500  # one column
            assert 0.6 < height / width < 1.1


def test_the_style_does_not_leak():
    before = plt.rcParams["font.size"]
    interface_energy_figure(interface())
    assert plt.rcParams["font.size"] == before


def test_faces_have_overbars_and_signs_of_a_name_stay_signs():
    assert formula_label("LiCl(1-10) || Li9Al4(100)") == r"LiCl(1$\overline{1}$0) || Li$_{9}$Al$_{4}$(100)"
    assert formula_label("LiCl(1 -1 0)") == r"LiCl(1$\overline{1}$0)"
    name = "Lösung $_{2}$ <b>"
    figure = plt.figure()
    text = figure.text(0, 0, formula_label(name))
    plain = figure.text(0, 0, name, parse_math=False)
    assert text.get_window_extent().width == plain.get_window_extent().width
    plt.close(figure)


def test_a_footer_is_no_wider_than_its_figure():
    words = "engine (a potential, 1.2.3), card of a long name, study 0123456789abcdef"
    figure = plt.figure(figsize=(2, 1))
    write_footer(figure, r"$\gamma$ of a \$ sign", words)
    assert len(figure.get_supxlabel().splitlines()) > 2
    assert footer_lines(figure) == [r"$\gamma$ of a \$ sign", words]
    assert figure._supxlabel.get_window_extent().width <= figure.bbox.width
    plt.close(figure)
