"""Pictures of structures: atoms at their places, edges and molecules completed, one scale in both views."""

import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.image import imread
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.figures.pictures import (
    ELEMENT_COLOURS,
    _scene,
    drawn_radius_angstrom,
    element_colour,
    structure_picture,
)
from anodeflow.analysis.figures.style import save_figure
from anodeflow.structures.catalogue import load_crystal


def cube(edge=10.0):
    return Structure(Lattice.cubic(edge), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_an_atom_at_a_corner_is_drawn_at_all_eight():
    scene = _scene(cube(), bonds=True)
    corners = scene.points[[s == "Li" for s in scene.symbols]]
    assert sorted(map(tuple, corners)) == [(x, y, z) for x in (0, 10) for y in (0, 10) for z in (0, 10)]
    assert scene.symbols.count("Cl") == 1
    assert scene.inside.all()
    assert len(scene.edges) == 12


def test_an_atom_just_below_the_upper_edge_is_drawn_below_the_lower_one():
    scene = _scene(Structure(Lattice.cubic(10), ["Li"], [[0.999, 0.5, 0.5]]), bonds=False)
    assert sorted(scene.points[:, 0].round(3)) == [-0.01, 9.99]


def test_a_narrow_cell_is_repeated_and_the_repeats_are_not_of_the_cell():
    structure = Structure(Lattice.orthorhombic(3, 9, 20), ["Al"], [[0.5, 0.5, 0.5]])
    scene = _scene(structure, bonds=False)
    assert sorted(scene.points[:, 0].round(6)) == [-1.5, 1.5, 4.5]
    assert scene.inside.tolist().count(True) == 1


def test_a_molecule_cut_by_the_cell_is_completed():
    crystal = load_crystal("P2S5")
    scene = _scene(crystal, bonds=True)
    inside = {n for n, flag in enumerate(scene.inside) if flag}
    neighbours = dict.fromkeys(inside, 0)
    for i, j in scene.bonds:
        assert {scene.symbols[i], scene.symbols[j]} == {"P", "S"}
        assert 1.85 < np.linalg.norm(scene.points[i] - scene.points[j]) < 2.4
        for n in (i, j):
            if n in neighbours:
                neighbours[n] += 1
    # P4S10: P has four S, S has one or two P
    assert {neighbours[n] for n in inside if scene.symbols[n] == "P"} == {4}
    assert {neighbours[n] for n in inside if scene.symbols[n] == "S"} == {1, 2}
    assert not _scene(crystal, bonds=False).bonds


def test_both_views_have_one_scale_and_the_bar_has_its_length():
    figure = structure_picture(load_crystal("Li2S"), title="x", lines=["a line"])
    top, side = figure.axes
    width, height = figure.get_size_inches()
    scales = []
    for axes in (top, side):
        box = axes.get_position()
        scales += [box.width * width / np.ptp(axes.get_xlim()), box.height * height / np.ptp(axes.get_ylim())]
    assert np.allclose(scales, scales[0])
    bar = next(artist for artist in figure.get_children() if artist.get_gid() == "scale-bar")
    text = next(t.get_text() for t in figure.texts if t.get_text().endswith(" Å"))
    assert np.ptp(bar.get_xdata()) * width / scales[0] == pytest.approx(float(text.split()[0]))


def test_the_cell_lies_inside_the_picture_and_atoms_have_their_places():
    structure = cube()
    figure = structure_picture(structure, title="x", lines=[])
    for axes, (x, y) in zip(figure.axes, [(0, 1), (0, 2)], strict=True):
        assert axes.get_xlim()[0] < 0 < 10 < axes.get_xlim()[1]
        patches = next(c for c in axes.collections if isinstance(c, PatchCollection))
        extents = [path.get_extents() for path in patches.get_paths()]
        centres = {(round(e.x0 + e.width / 2, 3), round(e.y0 + e.height / 2, 3)) for e in extents}
        wanted = {tuple(structure.cart_coords[1][[x, y]].round(3)), (0.0, 0.0), (10.0, 10.0)}
        assert wanted <= centres


def test_title_lines_elements_and_marks_are_written():
    structure = cube()
    structure.add_site_property("selective_dynamics", [[False] * 3, [True] * 3])
    structure.add_site_property("side", ["substrate", "film"])
    figure = structure_picture(structure, title="Li$_2$S", lines=["thickness 1 Å", "costs $5 and_more $", "w " * 200])
    texts = [t.get_text() for t in figure.texts]
    assert "Li$_2$S" in texts
    assert {"thickness 1 Å", "costs $5 and_more $"} <= set(texts)
    assert sum(t.startswith("w w") for t in texts) > 1
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["Li", "Cl", "frozen"]
    assert {t.get_text() for t in figure.axes[1].texts} == {"substrate", "film"}


def test_elements_keep_their_colours_and_are_told_apart():
    colours = [np.array(element_colour(symbol)) for symbol in ELEMENT_COLOURS]
    for n, a in enumerate(colours):
        assert all(np.abs(a - b).max() > 0.1 for b in colours[:n])
    assert element_colour("Zr") == element_colour("Zr")
    assert drawn_radius_angstrom("Li") > drawn_radius_angstrom("P") > drawn_radius_angstrom("C")


def test_a_picture_is_written(tmp_path):
    file = tmp_path / "x.png"
    save_figure(structure_picture(load_crystal("LiCl"), title="LiCl", lines=["a = 5.1 Å"]), file)
    image = imread(file)
    assert image.shape[0] > 500
    assert 0.05 < (image[..., :3].min(axis=2) < 0.9).mean() < 0.9
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
