"""Potentials of electrons as programs write them, averaged over planes, and the level of their electrons.

Read are VASP's LOCPOT (written with LVHAR), the output of Quantum ESPRESSO's pp.x (filplot, with plot_num = 11) and of
its average.x, CASTEP's formatted potential (write_formatted_potential) and GPAW's .gpw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anodeflow.analysis.vacuum_level import PlanarPotential
from anodeflow.errors import EngineError, InputError
from anodeflow.units import BOHR_ANGSTROM, HARTREE_EV, RYDBERG_EV

_CASTEP_BEGIN = "BEGIN header"
_CASTEP_END = "END header"
# pp.x's number of the potential of ions and electrons without exchange and correlation
_ELECTROSTATIC = 11
# How programs print the level of their electrons; the last of a file counts.
_LEVELS = (
    re.compile(r"E-fermi\s*:\s*(-?\d+\.\d+)"),  # VASP
    re.compile(r"the Fermi energy is\s+(-?\d+\.\d+)\s+ev", re.IGNORECASE),  # pw.x
    re.compile(r"highest occupied(?:, lowest unoccupied)? level \(ev\):\s+(-?\d+\.\d+)", re.IGNORECASE),  # pw.x
    re.compile(r"Fermi energy for spin-degenerate system:\s+(-?\d+\.\d+)\s+eV"),  # CASTEP
    re.compile(r"Fermi energy\s*=\s*(-?\d+\.\d+)\s*eV"),  # CASTEP
    re.compile(r"Fermi level:\s+(-?\d+\.\d+)"),  # GPAW
)


def read_potential(file: Path) -> PlanarPotential:
    """Read the potential of a slab whose normal is the third lattice vector, whatever program wrote it.

    Parameters
    ----------
    file
        LOCPOT, the output of pp.x or average.x, a formatted potential of CASTEP, or a .gpw.

    Raises
    ------
    InputError
        If the file is missing, none of these, or damaged.
    EngineError
        If it is a .gpw and GPAW is not installed.
    """
    if file.suffix == ".gpw":
        return _of_gpaw(file)
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"potential '{file}': {error.strerror}", "give a file that is there") from None
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if rows and {len(row) for row in rows} <= {2, 3}:
        with _readable(file):
            return _of_average(np.array(rows, dtype=float))
    grid = read_grid(file)
    return _planes(grid.values_ev, _height(grid.cell_angstrom))


@dataclass(frozen=True)
class PotentialGrid:
    """Potential of an electron on the grid of a cell.

    Parameters
    ----------
    values_ev
        Along the three lattice vectors, shape (n1, n2, n3).
    cell_angstrom
        Lattice vectors as rows, shape (3, 3).
    """

    values_ev: NDArray[np.float64]
    cell_angstrom: NDArray[np.float64]


def read_grid(file: Path) -> PotentialGrid:
    """Read a potential with all its points.

    Parameters
    ----------
    file
        LOCPOT, the output of pp.x, or a formatted potential of CASTEP.

    Raises
    ------
    InputError
        If the file is missing, none of these, or damaged.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"potential '{file}': {error.strerror}", "give a file that is there") from None
    with _readable(file):
        if _CASTEP_BEGIN in text[:200]:
            return _of_castep(text)
        lines = text.splitlines()
        # of pp.x: a title, then the three sizes of the grid twice, atoms and species
        if len(lines) > 1 and len(lines[1].split()) == 8:
            return _of_pp(lines)
        return _of_vasp(file)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say of which file it is what cannot be read."""
    try:
        yield
    except InputError as error:
        raise error.about(f"potential '{file}'") from None
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(
            f"potential '{file}' cannot be read: {str(error)[:80]}",
            "give LOCPOT, the output of pp.x or average.x, CASTEP's formatted potential or a .gpw",
        ) from None


def read_level(file: Path) -> float:
    """Return the Fermi level, or the highest occupied level, that a program printed last, eV.

    Parameters
    ----------
    file
        OUTCAR, or the output of pw.x, CASTEP or GPAW.

    Raises
    ------
    InputError
        If the file is missing or holds none.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"output '{file}': {error.strerror}", "give a file that is there") from None
    levels = [(match.start(), float(match.group(1))) for pattern in _LEVELS for match in pattern.finditer(text)]
    if not levels:
        raise InputError(f"output '{file}' holds no Fermi level", "give it with --fermi-ev")
    return max(levels)[1]


def _planes(values: NDArray[np.float64], height: float) -> PlanarPotential:
    """Return the average over the first two axes of a grid; `height` is the distance of the cell's faces, angstrom."""
    average = values.mean(axis=(0, 1))
    return PlanarPotential(np.arange(len(average)) * height / len(average), average, height)


def _height(matrix: NDArray[np.float64]) -> float:
    """Return the distance between the faces that the first two vectors span."""
    return float(abs(np.linalg.det(matrix)) / np.linalg.norm(np.cross(matrix[0], matrix[1])))


def _of_vasp(file: Path) -> PotentialGrid:
    from pymatgen.io.vasp import Locpot

    locpot = Locpot.from_file(str(file))
    return PotentialGrid(np.asarray(locpot.data["total"]), np.asarray(locpot.structure.lattice.matrix))


def _of_pp(lines: list[str]) -> PotentialGrid:
    """Read what pp.x writes to `filplot`: a header, then values in Rydberg, the first index fastest."""
    sizes = [int(word) for word in lines[1].split()]
    stored, shape, (atoms, species) = sizes[:3], sizes[3:6], sizes[6:]
    ibrav, bohr = int(lines[2].split()[0]), float(lines[2].split()[1])
    if ibrav != 0:
        raise InputError(f"its cell is given by ibrav {ibrav}", "give pw.x the lattice vectors, ibrav = 0")
    vectors = np.array([line.split() for line in lines[3:6]], dtype=float)
    kind = int(lines[6].split()[-1])
    if kind != _ELECTROSTATIC:
        raise InputError(f"it holds plot_num {kind}", f"run pp.x with plot_num = {_ELECTROSTATIC}")
    values = np.array(" ".join(lines[7 + atoms + species :]).split(), dtype=float)
    wanted = stored[0] * stored[1] * shape[2]
    if len(values) != wanted:
        raise InputError(f"it holds {len(values)} of {wanted} points", "the file is cut off")
    grid = values.reshape(stored[0], stored[1], shape[2], order="F")[: shape[0], : shape[1]]
    return PotentialGrid(grid * RYDBERG_EV, vectors * bohr * BOHR_ANGSTROM)


def _of_average(rows: NDArray[np.float64]) -> PlanarPotential:
    """Columns of average.x: height in Bohr, planar average and macroscopic average in Rydberg."""
    z = rows[:, 0] * BOHR_ANGSTROM
    step = float(np.median(np.diff(z)))
    return PlanarPotential(z, rows[:, 1] * RYDBERG_EV, float(z[-1] - z[0] + step))


def _of_castep(text: str) -> PotentialGrid:
    """Read header, then lines ``i j k V`` in Hartree; of two spins the mean, which are the same in the vacuum."""
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if _CASTEP_END in line), None)
    if end is None:
        raise InputError("its header has no end", "the file may be cut off")
    if "potential" not in lines[end].lower() and "pot" not in lines[end].lower():
        raise InputError(f"it holds no potential ({lines[end].strip()[:60]})", "write_formatted_potential : true")
    rows = [re.findall(r"-?\d+\.\d+", line)[:3] for line in lines[:end]]
    matrix = np.array([row for row in rows if len(row) == 3][:3], dtype=float)
    shape = next(tuple(map(int, line.split()[:3])) for line in lines[:end] if "FFT grid" in line)
    data = np.array([line.split() for line in lines[end + 1 :] if line.strip()], dtype=float)
    if data.shape[0] != np.prod(shape):
        raise InputError(f"it holds {data.shape[0]} of {int(np.prod(shape))} points", "the file is cut off")
    values = np.full(shape, np.nan)
    i, j, k = (data[:, :3].astype(int) - 1).T
    values[i, j, k] = data[:, 3:].mean(axis=1) * HARTREE_EV
    return PotentialGrid(values, matrix)


def _of_gpaw(file: Path) -> PlanarPotential:
    try:
        from gpaw import GPAW
    except ImportError:
        raise EngineError(f"'{file}' needs GPAW, which is not installed", "pip install 'anodeflow[gpaw]'") from None
    if not file.is_file():
        raise InputError(f"potential '{file}': No such file or directory", "give a file that is there")
    calculator: Any = GPAW(str(file), txt=None)
    cell = np.asarray(calculator.get_atoms().cell)
    return _planes(np.asarray(calculator.get_electrostatic_potential()), _height(cell))
