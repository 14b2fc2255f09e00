"""Energy barriers from the images of a band: a fit through energies and forces along the path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are imported when they are first used
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from anodeflow.analysis.relaxation_uncertainty import CURVATURE_EV_PER_ANGSTROM2
from anodeflow.documents import Document
from anodeflow.errors import ConvergenceError, InputError

#: A dip or bump smaller than this between images is noise.
_NOISE_EV = 2e-3


class BarrierFit(Document):
    """Barrier heights with their numerical uncertainty."""

    forward_ev: float = Field(description="highest point of the fit above the start")
    backward_ev: float = Field(description="highest point of the fit above the end")
    reaction_energy_ev: float = Field(description="end minus start")
    uncertainty_ev: float = Field(description="of the barriers, from the variants of the fit and the residual forces")
    saddle_angstrom: float = Field(description="where the highest point lies along the path")
    path_length_angstrom: float = Field(description="along the path, all atoms")
    path_angstrom: list[float] = Field(description="position of each image along the path")
    energies_ev: list[float] = Field(description="of each image, relative to the start")
    slopes_ev_per_angstrom: list[float] = Field(description="minus the force along the path, at each image")
    variants_ev: dict[str, float] = Field(
        default_factory=dict, description="forward barrier by other ways through the same images"
    )
    dip_ev: float = Field(0.0, description="how far the path goes below an end on its side of the saddle")
    notes: list[str] = Field(default_factory=list, description="what is odd about the path")

    @property
    def has_saddle(self) -> bool:
        """Whether the highest point lies between the ends."""
        return 0.0 < self.saddle_angstrom < self.path_length_angstrom

    def curve(self, points: int = 400) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions along the path (angstrom) and fitted energies (eV), each of shape (points,)."""
        fit = scipy.interpolate.CubicHermiteSpline(self.path_angstrom, self.energies_ev, self.slopes_ev_per_angstrom)
        grid = np.linspace(0.0, self.path_length_angstrom, points)
        return grid, np.asarray(fit(grid))


def path_lengths(coords: ArrayLike) -> NDArray[np.float64]:
    """Return the the distance of each image from the first along the band, angstrom.

    Parameters
    ----------
    coords
        Cartesian coordinates of all images, unfolded, shape (images, N, 3).

    Raises
    ------
    InputError
        Fewer than three images, or two in one place.
    """
    points = np.asarray(coords, dtype=float)
    if points.ndim != 3 or len(points) < 3:
        raise InputError(f"a band of shape {points.shape}", "give at least three images of the same atoms")
    steps = np.linalg.norm(np.diff(points.reshape(len(points), -1), axis=0), axis=1)
    if not np.isfinite(steps).all() or steps.min() <= 1e-6:
        raise InputError("two images of the band are in the same place", "look at the end points")
    return np.concatenate([[0.0], np.cumsum(steps)])


def slopes_along_path(coords: ArrayLike, forces: ArrayLike) -> NDArray[np.float64]:
    """Return dE/ds at each image, eV/angstrom: forces projected on the derivative of a cubic spline through the band.

    Parameters
    ----------
    coords
        Shape (images, N, 3), angstrom.
    forces
        Shape (images, N, 3), eV/angstrom.
    """
    points = np.asarray(coords, dtype=float)
    lengths = path_lengths(points)
    flat = points.reshape(len(points), -1)
    tangents = scipy.interpolate.CubicSpline(lengths, flat, bc_type="not-a-knot" if len(flat) > 3 else "natural")(
        lengths, 1
    )
    result: NDArray[np.float64] = -np.einsum(
        "ij,ij->i", np.asarray(forces, dtype=float).reshape(len(points), -1), tangents
    )
    return result


def fit_barrier(
    coords: ArrayLike,
    energies_ev: Sequence[float],
    forces_ev_per_angstrom: ArrayLike,
    *,
    climbing_image: int | None = None,
) -> BarrierFit:
    """Fit the energy along a converged band.

    A cubic Hermite curve goes through every energy with the slope that the forces give (as in Henkelman & Jonsson,
    J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224); its highest point is the barrier. The uncertainty adds, in
    quadrature,

    - how far other ways through the same images come from it: a spline through the energies alone, the forces alone
      integrated along the path, and every other image alone (left out where the highest image climbed, as it lies on
      the saddle itself; then the highest image's own energy is the third variant);
    - what the residual force may still give on the way down, |F|^2/(2 kappa) with kappa = 1 eV/angstrom^2: for the
      highest image the force across the path, for the worse end point all of it, summed over the atoms;
    - how far the curve dips below an end on its side of the saddle: by so much that end is not at its minimum.

    It says nothing of the method.

    Parameters
    ----------
    coords
        Cartesian coordinates, unfolded, shape (images, N, 3), angstrom; ends included.
    energies_ev
        One an image.
    forces_ev_per_angstrom
        Shape (images, N, 3).
    climbing_image
        Index of the image that climbed to the saddle.

    Returns
    -------
    BarrierFit
        The curve, the barriers and their uncertainty.

    Raises
    ------
    InputError
        Shapes that do not fit.
    ConvergenceError
        Energies or forces are not finite.
    """
    points = np.asarray(coords, dtype=float)
    energies = np.asarray(energies_ev, dtype=float)
    forces = np.asarray(forces_ev_per_angstrom, dtype=float)
    if forces.shape != points.shape or energies.shape != (len(points),):
        raise InputError(
            f"{len(energies)} energies and forces {forces.shape} for images {points.shape}", "give one for each image"
        )
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        raise ConvergenceError("an energy or force of the band is not a finite number", "compute the band again")
    lengths = path_lengths(points)
    slopes = slopes_along_path(points, forces)
    relative = energies - energies[0]
    place, top = _highest(scipy.interpolate.CubicHermiteSpline(lengths, relative, slopes))
    variants = _variants(lengths, relative, slopes, climbing_image)
    spread = max((abs(value - top) for value in variants.values()), default=0.0)
    squared = np.einsum("ijk,ijk->i", forces, forces)
    saddle = int(np.argmax(relative[1:-1])) + 1
    across = max(0.0, squared[saddle] - slopes[saddle] ** 2)
    downhill = np.array([across, max(squared[0], squared[-1])]) / (2 * CURVATURE_EV_PER_ANGSTROM2)
    missed = max(_below_the_ends(scipy.interpolate.CubicHermiteSpline(lengths, relative, slopes)))
    return BarrierFit(
        forward_ev=top,
        backward_ev=top - float(relative[-1]),
        reaction_energy_ev=float(relative[-1]),
        uncertainty_ev=float(np.sqrt(spread**2 + missed**2 + (downhill**2).sum())),
        saddle_angstrom=place,
        path_length_angstrom=float(lengths[-1]),
        path_angstrom=lengths.tolist(),
        energies_ev=relative.tolist(),
        slopes_ev_per_angstrom=slopes.tolist(),
        variants_ev=variants,
        dip_ev=missed,
        notes=_notes(lengths, relative, slopes, place),
    )


def _highest(fit: scipy.interpolate.CubicSpline | scipy.interpolate.CubicHermiteSpline) -> tuple[float, float]:
    """Place and height of the highest point of a piecewise cubic curve, its ends included."""
    ends = [fit.x[0], fit.x[-1]]
    inner = [x for x in np.atleast_1d(fit.derivative().roots(extrapolate=False)) if np.isfinite(x)]
    places = np.array([*ends, *inner, *fit.x])
    heights = fit(places)
    best = int(np.argmax(heights))
    return float(places[best]), float(heights[best])


def _variants(
    lengths: NDArray[np.float64], energies: NDArray[np.float64], slopes: NDArray[np.float64], climbing: int | None
) -> dict[str, float]:
    flat = ((1, 0.0), (1, 0.0))  # both ends are minima
    barriers = {"energies alone": _highest(scipy.interpolate.CubicSpline(lengths, energies, bc_type=flat))[1]}
    if climbing is not None:
        barriers["climbing image"] = float(energies[climbing])
        return barriers
    # integrated from both ends, so that neither end's error is carried over the whole path
    work = scipy.interpolate.CubicSpline(lengths, slopes, bc_type="natural").antiderivative()(lengths)
    off = energies[-1] - work[-1]
    barriers["forces alone"] = _highest(
        scipy.interpolate.CubicHermiteSpline(lengths, work + off * lengths / lengths[-1], slopes)
    )[1]
    if len(lengths) >= 5 and len(lengths) % 2:
        thin = slice(None, None, 2)
        barriers["every other image"] = _highest(
            scipy.interpolate.CubicHermiteSpline(lengths[thin], energies[thin], slopes[thin])
        )[1]
    return barriers


def _below_the_ends(fit: scipy.interpolate.CubicHermiteSpline) -> list[float]:
    """Return how far the curve goes below the start before its highest point, and below the end after it, eV."""
    grid = np.linspace(fit.x[0], fit.x[-1], 20 * len(fit.x) + 1)
    heights = np.asarray(fit(grid))
    top = int(np.argmax(heights))
    return [
        max(0.0, float(heights[0] - heights[: top + 1].min())),
        max(0.0, float(heights[-1] - heights[top:].min())),
    ]


def _notes(
    lengths: NDArray[np.float64], energies: NDArray[np.float64], slopes: NDArray[np.float64], place: float
) -> list[str]:
    notes = []
    if place in (lengths[0], lengths[-1]):
        notes.append("the energy has no maximum between the ends: there is no saddle on this path")
    depths = _below_the_ends(scipy.interpolate.CubicHermiteSpline(lengths, energies, slopes))
    for name, depth in zip(("start", "end"), depths, strict=True):
        if depth > _NOISE_EV:
            notes.append(
                f"the path dips {depth:.3f} eV below the {name}: that end is not at its minimum, or the path is more "
                "than one hop"
            )
    dips = [n for n in range(1, len(energies) - 1) if energies[n] < min(energies[n - 1], energies[n + 1]) - _NOISE_EV]
    if dips and max(depths) <= _NOISE_EV:
        notes.append(f"a minimum between the ends, near image {dips[0]}: the highest of several saddles is given")
    return notes
