"""Places for an adatom on a slab: top, bridge and hollow, one of each symmetry-equivalent set.

Seen from above, the distance to the nearest surface atom has minima (the atoms: top), saddles (bridge) and
maxima (hollow). They are read off the Delaunay triangulation of the surface atoms. The adatom is then lowered
until it touches the slab.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Structure
from scipy.spatial import Delaunay, QhullError, cKDTree

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.cleaving import primitive_cell, symmetry
from anodeflow.structures.sites import (
    Site,
    SiteKind,
    covalent_radius_angstrom,
    element_symbols,
    first_shell,
    frac_in_cell,
    insert,
)
from anodeflow.structures.slabs import SlabModel

#: Radii of cations in sixfold coordination, angstrom (Shannon, doi 10.1107/S0567739476001551).
_CATION_RADII_ANGSTROM = {"Li": 0.76, "Na": 1.02, "K": 1.38, "Mg": 0.72, "Ca": 1.00, "Al": 0.535, "Zn": 0.74}

#: Radii of anions in sixfold coordination, angstrom (same source). P is the mean Li-P distance to the five
#: nearest Li in Li3P, 2.49, less the radius of Li.
_ANION_RADII_ANGSTROM = {
    "N": 1.46, "O": 1.40, "F": 1.33, "P": 1.73, "S": 1.84, "Cl": 1.81, "Se": 1.98, "Br": 1.96, "I": 2.20,
}  # fmt: skip

#: Slabs that were relaxed keep their symmetry only to about this.
SYMPREC_ANGSTROM = 0.05

#: Two sites this close are one.
_SAME_SITE_ANGSTROM = 0.5

#: Lateral merging distance on a face that at most two rotations or reflections keep.
_LOW_SYMMETRY_MERGE_ANGSTROM = 1.0

#: Atoms this much farther than the nearest ones count as equally far.
EQUAL_DISTANCE_ANGSTROM = 0.05

#: A triangle this close to a right angle has its centre on an edge: a bridge, not a hollow.
RIGHT_ANGLE_RAD = 0.02

_MIN_VACUUM_ANGSTROM = 5.0
# Heights nearer than this are one, and how fast an atom below the surface counts less with its distance.
_SAME_HEIGHT_ANGSTROM = 1e-3
_DEPTH_PER_ANGSTROM = 6.0
KINDS: tuple[SiteKind, ...] = ("top", "bridge", "hollow")


def contact_distance_angstrom(adatom: str, host: str) -> float:
    """Return the distance at which an adatom touches an atom of the slab.

    Parameters
    ----------
    adatom, host
        Chemical symbols.

    Returns
    -------
    float
        Two metals: the sum of the metallic radii, in a salt too, where the two repel (Li on Li 3.04). A metal
        on N, P, O, S, Se or a halogen: the sum of the ionic radii (Li on S 2.60). Anything else: the sum of
        the covalent radii.

    Raises
    ------
    InputError
        An unknown element.
    """
    covalent = covalent_radius_angstrom(adatom) + covalent_radius_angstrom(host)
    if Element(adatom).is_metal and Element(host).is_metal:
        metallic = float(Element(adatom).metallic_radius or 0) + float(Element(host).metallic_radius or 0)
        return metallic if math.isfinite(metallic) and metallic > 1.0 else covalent
    for cation, anion in ((adatom, host), (host, adatom)):
        if cation in _CATION_RADII_ANGSTROM and anion in _ANION_RADII_ANGSTROM:
            return _CATION_RADII_ANGSTROM[cation] + _ANION_RADII_ANGSTROM[anion]
    return covalent


def adsorption_sites(
    slab: SlabModel | Structure,
    *,
    element: str = "Li",
    sides: Literal["top", "both"] = "top",
    merge_distance_angstrom: float | None = None,
) -> list[Site]:
    """Find the inequivalent adsorption sites of the upper face.

    Parameters
    ----------
    slab
        A slab with c perpendicular to the face and at least 5 angstrom of vacuum.
    element
        The adatom.
    sides
        ``"both"``: after each site also its equivalent on the lower face, labelled ``"top-1-lower"``.
    merge_distance_angstrom
        Of sites closer than this, measured along the face, only the hollow (else the bridge) is kept. By
        default 1.0 on a face of low symmetry (at most two rotations or reflections keep it), where the sites
        would be many, and 0 elsewhere: on Al(111) bridge and hollow are 0.82 apart. Sites within 0.5 angstrom
        in space are always merged.

    Returns
    -------
    list of Site
        Top, then bridge, then hollow; each from the lowest adatom up. Coordinates refer to the cell of the
        slab. An adatom straight above a deep atom, held by three others, is in a hollow.

    Raises
    ------
    StructureError
        No surface: a tilted c axis, no vacuum, a hole through the slab. ``sides="both"`` with unequal faces.
    InputError
        An unknown element or side, or a negative distance.
    """
    if sides not in ("top", "both"):
        raise InputError(f"sides is {sides!r}", "use 'top' or 'both'")
    if merge_distance_angstrom is not None and not merge_distance_angstrom >= 0:
        raise InputError(f"merge_distance_angstrom is {merge_distance_angstrom}", "use 0 or more")
    structure = slab.structure if isinstance(slab, SlabModel) else slab
    face = _Face.of(structure, element)
    if merge_distance_angstrom is None:
        merge_distance_angstrom = _LOW_SYMMETRY_MERGE_ANGSTROM if face.point_group_order <= 2 else 0.0
    by_kind: dict[SiteKind, list[tuple[Site, float]]] = {kind: [] for kind in KINDS}
    taken = np.empty((0, 3))
    for kind, point in sorted(face.candidates(), key=lambda pair: -KINDS.index(pair[0])):
        height = face.touching_height(point)
        orbit = face.orbit(np.array([*point, height]))
        lateral, spatial = face.distances(orbit[:1], taken)
        if np.any(lateral < merge_distance_angstrom) or np.any(spatial < _SAME_SITE_ANGSTROM):
            continue
        taken = np.vstack([taken, orbit])
        frac = frac_in_cell(structure.lattice, orbit @ face.axes)
        best = min(frac.round(6).tolist(), key=lambda f: (f[0] + f[1], f[0]))
        nearest, shell = first_shell(structure, best)
        multiplicity = face.count_distinct(orbit)
        if kind == "top" and sum(int(part.split()[0]) for part in shell.split(", ")) >= 3:
            kind = "hollow"
        by_kind[kind].append((Site(kind, kind, tuple(best), multiplicity, nearest, shell), height))
    sites = []
    for kind in KINDS:
        sites += [replace(site, label=f"{kind}-{n}") for n, site in enumerate(face.ordered(by_kind[kind]), start=1)]
    if not sites:
        raise StructureError(
            f"no surface site for {element} on {structure.composition.reduced_formula}",
            "check that the atoms form one film",
        )
    if sides == "both":
        return [place for site in sites for place in (site, lower_site(structure, site))]
    return sites


def lower_site(slab: SlabModel | Structure, site: Site) -> Site:
    """Return the equivalent on the lower face of a site on the upper face.

    Parameters
    ----------
    slab
        A slab with two equivalent faces.
    site
        A site from :func:`adsorption_sites`.

    Returns
    -------
    Site
        Its image under the inversion of the slab, else under the operation moving it least along the face.

    Raises
    ------
    StructureError
        No symmetry operation exchanges the two faces.
    """
    structure = slab.structure if isinstance(slab, SlabModel) else slab
    images = []
    for rotation, translation in zip(*symmetry(structure, SYMPREC_ANGSTROM), strict=True):
        if rotation[2].tolist() == [0, 0, -1]:
            frac = rotation @ np.array(site.frac_coords) + translation
            step = frac - np.array(site.frac_coords)
            step[:2] -= np.round(step[:2])
            moved = structure.lattice.get_cartesian_coords([step[0], step[1], 0.0])
            no_inversion = bool((rotation != -np.eye(3)).any())
            images.append((no_inversion, round(float(np.linalg.norm(moved)), 3), (frac % 1.0).round(6).tolist()))
    if not images:
        raise StructureError(
            f"the two faces of the slab of {structure.composition.reduced_formula} differ",
            "put the adatom on one side and use a dipole correction, or build a symmetric slab",
        )
    return replace(site, label=f"{site.label}-lower", frac_coords=tuple(min(images)[2]))


def insert_both(slab: SlabModel | Structure, site: Site, element: str = "Li") -> Structure:
    """Put an adatom at a site of the upper face and one at its equivalent on the lower face.

    Parameters
    ----------
    slab
        A slab with two equivalent faces.
    site
        A site from :func:`adsorption_sites`.
    element
        The adatom.

    Returns
    -------
    Structure
        The slab with two atoms appended: upper, lower.

    Raises
    ------
    StructureError
        The two faces differ, or an adatom would overlap with the slab.
    """
    structure = slab.structure if isinstance(slab, SlabModel) else slab
    return insert(insert(structure, site, element), lower_site(structure, site), element)


@dataclass
class _Face:
    """The upper face of a slab, in a frame with z along its outward normal.

    Attributes
    ----------
    axes : ndarray, shape (3, 3)
        The frame's axes as rows, in the frame of the structure.
    plane : ndarray, shape (2, 2)
        The in-plane lattice vectors as rows, in this frame.
    coords, radii : ndarray
        Every atom and its images around the cell, and the distance at which each touches the adatom.
    in_cell : ndarray of bool
        Which of them are in the cell.
    operations : list of (ndarray, ndarray)
        Rotation and translation along the face, for fractional coordinates.
    point_group_order : int
        Number of rotations and reflections that keep the face, whatever the supercell.
    """

    axes: NDArray[np.float64]
    plane: NDArray[np.float64]
    coords: NDArray[np.float64]
    radii: NDArray[np.float64]
    in_cell: NDArray[np.bool_]
    operations: list[tuple[NDArray[np.int_], NDArray[np.float64]]]
    point_group_order: int

    @classmethod
    def of(cls, structure: Structure, element: str) -> _Face:
        """Look at a slab from above."""
        a, b, c = structure.lattice.matrix
        normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
        if np.linalg.norm(c - (c @ normal) * normal) > 1e-3 or c @ normal < 0:
            raise StructureError(
                f"c of the slab of {structure.composition.reduced_formula} is not along a x b",
                "build the slab with build_slab",
            )
        along = a / np.linalg.norm(a)
        axes = np.array([along, np.cross(normal, along), normal])
        frac = structure.frac_coords % 1.0
        heights = np.sort(frac[:, 2])
        gaps = np.diff([*heights, heights[0] + 1.0])
        if gaps.max() * structure.lattice.c < _MIN_VACUUM_ANGSTROM:
            raise StructureError(
                f"the widest gap along c in {structure.composition.reduced_formula} is"
                f" {gaps.max() * structure.lattice.c:.2f} angstrom: there is no surface",
                f"leave a vacuum of at least {_MIN_VACUUM_ANGSTROM:.0f} angstrom",
            )
        top = heights[int(np.argmax(gaps))]
        frac[:, 2] -= np.where(frac[:, 2] > top + 1e-9, 1.0, 0.0)
        coords = frac @ structure.lattice.matrix @ axes.T
        radii = np.array([contact_distance_angstrom(element, symbol) for symbol in element_symbols(structure)])
        plane = (structure.lattice.matrix[:2] @ axes.T)[:, :2]
        widths = abs(np.linalg.det(plane)) / np.linalg.norm(plane[::-1], axis=1)
        # Three cells, or three contact distances, of images on each side.
        reach = [max(3, math.ceil(3 * radii.max() / width)) for width in widths]
        steps = [(i, j) for i in range(-reach[0], reach[0] + 1) for j in range(-reach[1], reach[1] + 1)]
        shifts = np.hstack([np.array(steps) @ plane, np.zeros((len(steps), 1))])
        operations = [
            (rotation[:2, :2], translation[:2])
            for rotation, translation in zip(*symmetry(structure, SYMPREC_ANGSTROM), strict=True)
            if rotation[2].tolist() == [0, 0, 1] and not rotation[:2, 2].any()
        ]
        return cls(
            axes=axes,
            plane=plane,
            coords=(coords[None] + shifts[:, None]).reshape(-1, 3),
            radii=np.tile(radii, len(steps)),
            in_cell=np.repeat([step == (0, 0) for step in steps], len(coords)),
            operations=operations,
            point_group_order=_point_group_order(structure, normal),
        )

    def touching_height(self, point: NDArray[np.float64]) -> float:
        """Return the height at which an adatom coming down over a point touches the slab."""
        lateral2 = np.sum((self.coords[:, :2] - point) ** 2, axis=1)
        below = lateral2 < self.radii**2
        if not below.any():
            raise StructureError("there is a hole through the slab", "build a thicker slab")
        return float(np.max(self.coords[below, 2] + np.sqrt(self.radii[below] ** 2 - lateral2[below])))

    @cached_property
    def _exposed(self) -> NDArray[np.bool_]:
        """Return atoms of the cell that an adatom coming straight down on them touches first."""
        exposed = self.in_cell.copy()
        for index in np.flatnonzero(self.in_cell):
            highest = self.coords[index, 2] + self.radii[index]
            exposed[index] = self.touching_height(self.coords[index, :2]) < highest + EQUAL_DISTANCE_ANGSTROM
        return exposed

    @cached_property
    def _surface(self) -> NDArray[np.bool_]:
        """Return these atoms and their images."""
        return np.tile(self._exposed[self.in_cell], len(self.in_cell) // int(self.in_cell.sum()))

    def ordered(self, sites: list[tuple[Site, float]]) -> list[Site]:
        """Return sites of one kind, given with their heights, from the lowest up; names must not hang on the cell.

        Of equally high ones with the same neighbours, as the two hollows of a close-packed face, the one farther from
        the atoms below the surface is first, fcc before hcp: vacuum, origin or order of the atoms must not decide.
        """
        hidden = self.coords[~self._surface]
        group, previous, keys = 0, -np.inf, []
        for number, (site, height) in sorted(enumerate(sites), key=lambda item: item[1][1]):
            group += height - previous > _SAME_HEIGHT_ANGSTROM
            previous = height
            depth = round(self._depth(site, height, hidden), 2)
            keys.append((group, site.coordination, -depth, number))
        return [sites[key[-1]][0] for key in sorted(keys)]

    def _depth(self, site: Site, height: float, hidden: NDArray[np.float64]) -> float:
        """Return the distance of a site to the nearest hidden atoms, smoothly counted; infinite without any."""
        if not len(hidden):
            return float("inf")
        lateral = (np.array(site.frac_coords[:2]) @ self.plane)[None]
        away = np.hstack([hidden[:, :2] - lateral, hidden[:, 2:] - height])
        distances = np.linalg.norm(away, axis=1)
        nearest = distances.min()
        return float(nearest - np.log(np.exp(-_DEPTH_PER_ANGSTROM * (distances - nearest)).sum()) / _DEPTH_PER_ANGSTROM)

    def candidates(self) -> list[tuple[SiteKind, NDArray[np.float64]]]:
        """Return kind and lateral position of every top, bridge and hollow of the cell, equivalent ones included."""
        points, home = self.coords[self._surface][:, :2], self._exposed[self._surface]
        tree = cKDTree(points)
        sites: list[tuple[SiteKind, NDArray[np.float64]]] = [("top", point) for point in points[home]]
        try:
            triangles = Delaunay(points).simplices
        except QhullError as error:
            raise StructureError(f"the surface atoms span no plane: {error}", "build a wider slab") from error
        edges = {tuple(sorted(edge)) for t in triangles for edge in ((t[0], t[1]), (t[1], t[2]), (t[0], t[2]))}
        ends = points[np.array(list(edges))]
        middles, halves = ends.mean(axis=1), np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) / 2
        home_edges = self._are_home(middles)
        for middle, half in zip(middles[home_edges], halves[home_edges], strict=True):
            if len(tree.query_ball_point(middle, half + EQUAL_DISTANCE_ANGSTROM)) == 2:
                sites.append(("bridge", middle))
        corners, centres = _circumcentres(points[triangles])
        home_centres = self._are_home(centres)
        for corner, centre in zip(corners[home_centres], centres[home_centres], strict=True):
            radius = np.linalg.norm(corner - centre)
            around = points[tree.query_ball_point(centre, radius + EQUAL_DISTANCE_ANGSTROM)] - centre
            angles = np.sort(np.arctan2(around[:, 1], around[:, 0]))
            if np.diff([*angles, angles[0] + 2 * np.pi]).max() < np.pi - RIGHT_ANGLE_RAD:
                sites.append(("hollow", centre))
        return sites

    def _are_home(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points, shape (n, 2), lie in the cell or at its edge."""
        frac = np.linalg.solve(self.plane.T, points.T).T
        return np.asarray(((frac > -1e-6) & (frac < 1.0 - 1e-6)).all(axis=1))

    def orbit(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return images of a point, shape (3,), under the symmetry of the face, shape (operations, 3)."""
        frac = np.linalg.solve(self.plane.T, point[:2])
        images = np.array([(rotation @ frac + translation) % 1.0 for rotation, translation in self.operations])
        return np.hstack([images @ self.plane, np.full((len(images), 1), point[2])])

    def distances(
        self, points: NDArray[np.float64], others: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shortest distances along the face and in space, each of shape (points, others)."""
        step = points[:, None] - others[None]
        steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        frac = np.linalg.solve(self.plane.T, step[..., :2].reshape(-1, 2).T).T
        frac -= np.round(frac)
        lateral2 = np.min([np.sum(((frac + s) @ self.plane) ** 2, axis=1) for s in steps], axis=0)
        lateral2 = lateral2.reshape(step.shape[:2])
        return np.sqrt(lateral2), np.sqrt(lateral2 + step[..., 2] ** 2)

    def count_distinct(self, orbit: NDArray[np.float64]) -> int:
        """Return the number of different points among the images of one."""
        lateral, _ = self.distances(orbit, orbit)
        result: int = round(sum(1.0 / np.sum(row < 2 * EQUAL_DISTANCE_ANGSTROM) for row in lateral))
        return result


def _point_group_order(structure: Structure, normal: NDArray[np.float64]) -> int:
    """Return the number of rotations and reflections of the primitive slab that keep the normal."""
    primitive = primitive_cell(structure, SYMPREC_ANGSTROM)
    climb = primitive.lattice.get_fractional_coords(normal)
    turns, _ = symmetry(primitive, SYMPREC_ANGSTROM)
    return len({turn.tobytes() for turn in turns if np.allclose(turn @ climb, climb, atol=1e-3)})


def _circumcentres(triangles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first corner and centre of the circle through three points of the plane, each of shape (n, 2).

    Triangles, shape (m, 3, 2), whose points lie on a line are left out.
    """
    sides = triangles[:, 1:] - triangles[:, :1]
    flat = np.abs(np.linalg.det(sides)) < 1e-4
    corners, sides = triangles[~flat, 0], sides[~flat]
    squares = np.sum(sides**2, axis=2)
    return corners, corners + np.linalg.solve(2 * sides, squares[..., None])[..., 0]
