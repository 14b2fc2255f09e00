"""Which format a trajectory has, by its content first and its name second."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from anodeflow.analysis.trajectories.ase_files import AseTrajectory
from anodeflow.analysis.trajectories.castep import CastepTrajectory
from anodeflow.analysis.trajectories.compact import MAGIC, SUFFIX, CompactTrajectory, compact_frames
from anodeflow.analysis.trajectories.espresso import EspressoTrajectory
from anodeflow.analysis.trajectories.frames import Frame, Trajectory
from anodeflow.analysis.trajectories.lammps import LammpsTrajectory
from anodeflow.analysis.trajectories.text import packing
from anodeflow.analysis.trajectories.vaspout import VaspoutTrajectory
from anodeflow.analysis.trajectories.vasprun import VasprunTrajectory
from anodeflow.analysis.trajectories.xdatcar import XdatcarTrajectory
from anodeflow.analysis.trajectories.xyz import XyzTrajectory
from anodeflow.errors import InputError

_SNIFFED = 1 << 16
READERS: dict[str, Callable[..., Trajectory]] = {
    "compact": CompactTrajectory,
    "xdatcar": XdatcarTrajectory,
    "vasprun": VasprunTrajectory,
    "vaspout": VaspoutTrajectory,
    "castep": CastepTrajectory,
    "espresso": EspressoTrajectory,
    "ase": AseTrajectory,
    "xyz": XyzTrajectory,
    "lammps": LammpsTrajectory,
}
_BINARY = ("compact", "vaspout", "ase")
_KNOWN = (
    "XDATCAR, vasprun.xml, vaspout.h5, CASTEP .md and .geom, pw.x output, ASE .traj, (extended) xyz, "
    f"LAMMPS dumps, and anodeflow's {SUFFIX}"
)
_NAMES = {
    re.compile(r"XDATCAR"): "xdatcar",
    re.compile(r"vasprun.*\.xml"): "vasprun",
    re.compile(r"\.(ext)?xyz\b|\.exyz\b"): "xyz",
    re.compile(r"\.(md|geom)\b"): "castep",
    re.compile(re.escape(SUFFIX) + r"\b"): "compact",
    re.compile(r"\.traj\b"): "ase",
    re.compile(r"\.h5\b"): "vaspout",
}


def open_trajectory(
    path: str | Path,
    *,
    format: str | None = None,
    cell: ArrayLike | None = None,
    types: Mapping[int, str] | None = None,
    strict: bool = False,
) -> Trajectory:
    """Open a trajectory of any code; frames are read as they are asked for.

    Parameters
    ----------
    path
        The file; text formats also compressed (gzip, bzip2, xz).
    format
        One of `READERS`, instead of looking.
    cell
        Cell vectors, angstrom, (3, 3), for xyz files without.
    types
        Elements of the atom types, for LAMMPS dumps without.
    strict
        Whether a file that ends within a frame is an error. Otherwise its complete frames are given, then
        `Trajectory.incomplete` is set and a `TrajectoryTruncated` warning given.

    Returns
    -------
    Trajectory
        Of its frames none is read yet.

    Raises
    ------
    InputError
        If there is no such file, or no trajectory in it; later, while iterating, if something in it is wrong.
    """
    path = Path(path)
    start, packed = _start(path)
    kind = format or _kind(start, path)
    if kind not in READERS:
        raise InputError(f"no trajectory format is called '{format}'", f"known are {', '.join(READERS)}")
    if packed and kind in _BINARY:
        raise InputError(f"{path}: {READERS[kind].__name__} needs the file unpacked", f"unpack it ({packed})")
    options: dict[str, Any] = {"strict": strict}
    if cell is not None:
        if kind != "xyz":
            raise InputError(f"{path}: a cell was given for a format that has its own", "leave cell out")
        options["cell"] = cell
    if types is not None:
        if kind != "lammps":
            raise InputError(f"{path}: types were given for a format that has elements", "leave types out")
        options["types"] = types
    return READERS[kind](path, **options)


def _start(path: Path) -> tuple[bytes, str | None]:
    """Return the first bytes, unpacked, and how they were packed."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder", "name the file in it")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file, and is read more than once", "save it to a file first")
        packed = packing(path)
        opener: Any = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, None: open}[packed]
        with opener(path, "rb") as file:
            start = b""
            try:
                while len(start) < _SNIFFED and (data := file.read(_SNIFFED - len(start) if packed is None else 4096)):
                    start += data
            except EOFError:
                if not start:
                    raise InputError(f"{path}: the compressed file is cut short", "copy it again") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "check the path") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "check the file") from None
    if not start.strip():
        raise InputError(f"{path}: the file is empty", "check that the run wrote any step")
    return start, packed


def _kind(start: bytes, path: Path) -> str:
    by_content = _content(start, path)
    if by_content is not None:
        return by_content
    for pattern, kind in _NAMES.items():
        if pattern.search(path.name):
            if kind in _BINARY or b"\0" in start:
                break
            return kind
    shown = repr(start[:40].decode("latin-1"))
    raise InputError(f"{path}: not known as a trajectory; it starts with {shown}", f"known are {_KNOWN}")


def _content(start: bytes, path: Path) -> str | None:
    if start.startswith(MAGIC):
        return "compact"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "vaspout"
    if start.startswith(b"- of Ulm"):
        return "ase"
    if b"<modeling>" in start[:4096]:
        return "vasprun"
    if b"\0" in start:
        return None
    if start.lstrip().startswith(b"ITEM:"):
        return "lammps"
    if b"BEGIN header" in start[:200]:
        return "castep"
    if b"Program PWSCF" in start:
        return "espresso"
    lines = start.split(b"\n")
    words = [line.split() for line in lines[:6]]
    if re.match(rb"\s*vasp\.\d", start):
        raise InputError(f"{path}: an OUTCAR", "give vasprun.xml, vaspout.h5 or XDATCAR of the same run")
    if re.search(rb"^\s*Direct configuration\s*=|^\s*Konfig\s*=", start, re.MULTILINE | re.IGNORECASE):
        return "xdatcar"
    if len(words[0]) == 1 and words[0][0].isdigit():
        return "xyz"
    if len(words) > 4 and len(words[1]) == 1 and all(len(row) == 3 for row in words[2:5]):
        if "XDATCAR" in path.name or (len(lines) > 8 and not re.match(rb"\s*[DCKdcks]", lines[7])):
            return "xdatcar"
        raise InputError(f"{path}: one structure (POSCAR), no trajectory", "give XDATCAR or vasprun.xml")
    return None


def convert(
    source: str | Path | Trajectory | Sequence[Trajectory],
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> int:
    """Write a trajectory in another format; how many frames were written.

    Parameters
    ----------
    source
        A file or a trajectory, or a selection of one.
    target
        A file that does not exist: with the ending of the compact format, .extxyz (or .xyz), or .traj. It appears
        when it is complete.
    metadata
        Added to that of the source; for the compact format.

    Returns
    -------
    int
        Frames written.

    Raises
    ------
    InputError
        If the target exists or its ending is not known, or the source is bad. Of a source that is cut short the
        complete frames are written, with a `TrajectoryTruncated` warning; open it with ``strict`` to have it refused.
    """
    target = Path(target)
    trajectory = open_trajectory(source) if isinstance(source, str | Path) else source
    if not isinstance(trajectory, Trajectory):
        raise InputError("convert takes one trajectory", "join segments first with join_trajectories")
    if target.exists():
        raise InputError(f"{target}: exists already", "remove it or choose another name")
    known = (SUFFIX, ".extxyz", ".xyz", ".traj")
    if target.suffix not in known:
        raise InputError(f"{target}: no trajectory is written with this ending", f"known are {', '.join(known)}")
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        if target.suffix == SUFFIX:
            details = {key: value for key, value in trajectory.metadata.items() if _is_json(value)}
            number = compact_frames(iter(trajectory), temporary, metadata={**details, **(metadata or {})})
        else:
            number = _with_ase(trajectory, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return number


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | dict | list)


def _with_ase(trajectory: Trajectory, path: Path) -> int:
    from ase.io import write
    from ase.io.trajectory import TrajectoryWriter as AseWriter

    number = 0
    if path.suffix == ".traj":
        with AseWriter(path) as writer:
            for frame in trajectory:
                writer.write(_atoms(frame))
                number += 1
        return number
    with path.open("w") as file:
        for frame in trajectory:
            write(file, _atoms(frame), format="extxyz")
            number += 1
    return number


def _atoms(frame: Frame) -> Any:
    from ase import Atoms, units
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(list(frame.species), frame.positions, cell=frame.lattice, pbc=frame.lattice is not None)
    if frame.velocities is not None:
        atoms.set_velocities(frame.velocities / units.fs)
    if frame.step is not None:
        atoms.info["step"] = frame.step
    results = {"energy": frame.energy_ev, "forces": frame.forces}
    results = {name: value for name, value in results.items() if value is not None}
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
