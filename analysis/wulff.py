"""The equilibrium shape of a crystal of the energies of its faces (Wulff, Z. Kristallogr. 34, 449 (1901))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from pymatgen.core import Lattice

from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SYMPREC_ANGSTROM = 0.01
# Corners closer than this part of the largest surface energy are one.
_SAME = 1e-4


class _Face(Document):
    """One face of the study, and how much of the shape it and its equivalents make up."""

    miller: tuple[int, int, int]
    termination: str
    gamma_j_per_m2: float
    area_fraction: float


class _Polygon(Document):
    """One polygon of the shape."""

    face: int = Field(description="position in `faces`")
    corners: list[tuple[float, float, float]] = Field(description="in order around it; distances are energies, J/m2")


class WulffShapeDoc(Document):
    """The shape of one crystal, of all its faces in the study."""

    crystal: str
    faces: list[_Face] = Field(default_factory=list)
    weighted_surface_energy_j_per_m2: float | None = Field(default=None, description="mean over the area of the shape")
    shape_factor: float | None = Field(default=None, description="area over volume^(2/3); 4.84 for a sphere")
    anisotropy: float | None = Field(default=None, description="standard deviation over mean of gamma, by area")
    polygons: list[_Polygon] = Field(default_factory=list)
    error: str | None = Field(default=None, description="why there is no shape")


def wulff_shapes(
    faces: Mapping[str, Sequence[tuple[int, int, int]]],
    surfaces: Sequence[SurfaceEnergyDoc],
    lattices: Mapping[str, Lattice],
) -> list[WulffShapeDoc]:
    """Return the shape of every crystal with several faces in a study, or why it has none.

    Faces that the symmetry of the lattice connects count as one; of several terminations of a face the lowest counts.

    Parameters
    ----------
    faces
        Every face that the study has, by crystal.
    surfaces
        The energies.
    lattices
        Of the cells that the indices refer to, by crystal; those that were relaxed.

    Returns
    -------
    list of WulffShapeDoc
        Crystals with one face only are left out.
    """
    shapes = []
    for crystal, wanted in faces.items():
        distinct = list(dict.fromkeys(wanted))
        if len(distinct) < 2:
            continue
        lattice = lattices.get(crystal)
        lowest: list[SurfaceEnergyDoc] = []
        missing = []
        for miller in distinct:
            known = [d for d in surfaces if d.crystal == crystal and tuple(d.miller) == tuple(miller) and d.converged]
            lowest += sorted(known, key=lambda d: d.gamma_j_per_m2 or 0.0)[:1]
            missing += [] if known else [f"({''.join(map(str, miller))})"]
        if missing:
            shapes.append(_without(crystal, f"{' and '.join(missing)} has no energy, and could cut the shape"))
        elif lattice is None:
            shapes.append(_without(crystal, "the crystal was not relaxed"))
        else:
            shapes.append(_shape(crystal, lowest, lattice))
    return shapes


def _without(crystal: str, why: str) -> WulffShapeDoc:
    return WulffShapeDoc(crystal=crystal, error=why)


def _shape(crystal: str, docs: Sequence[SurfaceEnergyDoc], lattice: Lattice) -> WulffShapeDoc:
    # Here, because it imports pyplot and plotly.
    from pymatgen.analysis.wulff import WulffShape
    from scipy.spatial import ConvexHull, QhullError

    energies = [float(d.gamma_j_per_m2 or 0.0) for d in docs]
    negative = [d for d, energy in zip(docs, energies, strict=True) if energy <= 0]
    if negative:
        return _without(crystal, f"({''.join(map(str, negative[0].miller))}) has a negative energy")
    try:
        shape = WulffShape(lattice, [tuple(d.miller) for d in docs], energies, symprec=_SYMPREC_ANGSTROM)
        closed = bool((ConvexHull([facet.dual_pt for facet in shape.facets]).equations[:, -1] < -1e-9).all())
    except (QhullError, ValueError, np.linalg.LinAlgError):
        closed = False
    if not closed:
        return _without(crystal, "its faces do not enclose a volume: add others")
    fractions: Mapping[Any, float] = shape.area_fraction_dict
    return WulffShapeDoc(
        crystal=crystal,
        faces=[
            _Face(
                miller=d.miller,
                termination=d.termination,
                gamma_j_per_m2=energy,
                area_fraction=float(fractions[tuple(d.miller)]),
            )
            for d, energy in zip(docs, energies, strict=True)
        ],
        weighted_surface_energy_j_per_m2=float(shape.weighted_surface_energy),
        shape_factor=float(shape.shape_factor),
        anisotropy=float(shape.anisotropy),
        polygons=[
            _Polygon(face=facet.index, corners=_corners(facet.points, facet.normal, max(energies)))
            for facet in shape.facets
            if facet.points
        ],
    )


def _corners(
    triangles: Sequence[Any], normal: NDArray[np.float64], scale: float
) -> list[tuple[float, float, float]]:  # fmt: skip
    """Return the corners of a polygon that triangles make up, in order around its normal."""
    corners: list[NDArray[np.float64]] = []
    for point in np.asarray(triangles, dtype=float).reshape(-1, 3):
        if all(np.linalg.norm(point - other) > _SAME * scale for other in corners):
            corners.append(point)
    middle = np.mean(corners, axis=0)
    first = corners[0] - middle
    second = np.cross(normal, first)
    corners.sort(key=lambda p: float(np.arctan2((p - middle) @ second, (p - middle) @ first)))
    return [(float(x), float(y), float(z)) for x, y, z in corners]
