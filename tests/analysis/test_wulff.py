"""Wulff shapes: cubes, octahedra and what lies between, by hand."""

import numpy as np
import pytest
from factories import card_record, engine_record, write_yaml
from pymatgen.core import Lattice

from anodeflow.analysis.figures.surfaces import surface_energy_figure
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.analysis.wulff import wulff_shapes
from anodeflow.workflows.studies import load_study

CUBIC = {"LiCl": Lattice.cubic(5.148)}


def surface(miller, gamma, termination="flat", crystal="LiCl"):
    return SurfaceEnergyDoc(
        crystal=crystal, miller=miller, termination=termination, method="single", gamma_j_per_m2=gamma,
        engine=engine_record(), card=card_record(),
    )  # fmt: skip


def shape_of(energies, lattices=CUBIC):
    docs = [surface(miller, gamma) for miller, gamma in energies.items()]
    (shape,) = wulff_shapes({"LiCl": list(energies)}, docs, lattices)
    return shape


def test_a_cube_that_no_other_face_cuts():
    shape = shape_of({(1, 0, 0): 0.12, (1, 1, 1): 0.5})
    assert [face.area_fraction for face in shape.faces] == pytest.approx([1, 0])
    assert shape.weighted_surface_energy_j_per_m2 == pytest.approx(0.12)
    assert shape.shape_factor == pytest.approx(6)  # area 6 a^2 over volume^(2/3) = a^2
    assert len(shape.polygons) == 6
    assert {len(polygon.corners) for polygon in shape.polygons} == {4}
    assert np.abs([p.corners for p in shape.polygons]).ravel() == pytest.approx([0.12] * 72)


def test_an_octahedron_and_a_truncated_one():
    octahedron = shape_of({(1, 0, 0): 1.0, (1, 1, 1): 0.5})
    assert octahedron.faces[1].area_fraction == pytest.approx(1)
    # area 2 sqrt(3) s^2 over (sqrt(2)/3 s^3)^(2/3)
    assert octahedron.shape_factor == pytest.approx(2 * np.sqrt(3) / (np.sqrt(2) / 3) ** (2 / 3))
    # gamma(111) = sqrt(3)/2 gamma(100) cuts the corners of the cube down to the middles of its edges: a cuboctahedron
    both = shape_of({(1, 0, 0): 1.0, (1, 1, 1): 2 / np.sqrt(3)})
    squares, triangles = 6.0, 8 * np.sqrt(3) / 4
    assert both.faces[0].area_fraction == pytest.approx(squares / (squares + triangles))
    weighted = (squares + triangles * 2 / np.sqrt(3)) / (squares + triangles)
    assert both.weighted_surface_energy_j_per_m2 == pytest.approx(weighted)
    assert sorted(len(p.corners) for p in both.polygons) == [3] * 8 + [4] * 6


def test_neither_the_order_of_faces_nor_an_equivalent_index_matters():
    first = shape_of({(1, 0, 0): 0.12, (1, 1, 0): 0.15})
    other = shape_of({(0, 1, -1): 0.15, (0, 0, -1): 0.12})
    assert first.faces[0].area_fraction == pytest.approx(other.faces[1].area_fraction)
    assert first.shape_factor == pytest.approx(other.shape_factor)
    assert 0.1 < first.faces[0].area_fraction < 0.9


def test_the_lowest_of_several_terminations_counts():
    faces = {"LiCl": [(1, 0, 0), (1, 1, 1), (1, 1, 1)]}
    docs = [surface((1, 0, 0), 0.12), surface((1, 1, 1), 0.5, "Cl"), surface((1, 1, 1), 0.13, "Li")]
    (shape,) = wulff_shapes(faces, docs, CUBIC)
    assert [face.termination for face in shape.faces] == ["flat", "Li"]


@pytest.mark.parametrize(
    ("faces", "docs", "lattices", "why"),
    [
        ([(1, 0, 0), (1, 1, 1)], [surface((1, 0, 0), 0.1)], CUBIC, "(111) has no energy"),
        ([(1, 0, 0), (1, 1, 1)], [surface((1, 0, 0), 0.1), surface((1, 1, 1), -0.1)], CUBIC, "(111) has a negative"),
        ([(1, 0, 0), (1, 1, 1)], [surface((1, 0, 0), 0.1), surface((1, 1, 1), 0.1)], {}, "was not relaxed"),
        (
            [(1, 0, 0), (0, 1, 0)],
            [surface((1, 0, 0), 0.1), surface((0, 1, 0), 0.1)],
            {"LiCl": Lattice.orthorhombic(4, 5, 6)},
            "do not enclose a volume",
        ),
    ],
)
def test_what_has_no_shape_says_why(faces, docs, lattices, why):
    (shape,) = wulff_shapes({"LiCl": faces}, docs, lattices)
    assert why in shape.error
    assert not shape.polygons


def test_one_face_makes_no_shape():
    assert wulff_shapes({"LiCl": [(1, 0, 0)]}, [surface((1, 0, 0), 0.1)], CUBIC) == []


def test_it_is_drawn_under_the_energies():
    docs = [surface((1, 0, 0), 0.12), surface((1, 1, 0), 0.15)]
    shape = shape_of({(1, 0, 0): 0.12, (1, 1, 0): 0.15})
    figure = surface_energy_figure(docs, [shape])
    assert len(figure.axes) == 2
    drawn = [patch for patch in figure.axes[1].patches if patch.get_gid() == "wulff-face"]
    assert 0 < len(drawn) < len(shape.polygons)


def test_the_last_document_of_a_study_needs_the_crystals_that_have_several_faces(tmp_path):
    several = [{"crystal": "LiCl", "layers": [n], "miller": miller} for n, miller in ((4, [1, 0, 0]), (5, [1, 1, 0]))]
    data = {"study": "surface-energy", "surfaces": [*several, {"crystal": "Li", "miller": [1, 0, 0], "layers": [5]}]}
    study = load_study(write_yaml(tmp_path, data))
    needed = study.summarised(study.declare())
    assert [label for label in needed if label.endswith("/crystal")] == ["LiCl/crystal"]
