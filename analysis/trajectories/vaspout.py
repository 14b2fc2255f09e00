"""VASP's vaspout.h5; needs h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anodeflow.analysis.trajectories.frames import Frame, RandomAccessTrajectory, TruncatedFileError, checked_cell
from anodeflow.errors import InputError

_STEPS = "intermediate/ion_dynamics"
_FREE_ENERGY = ("free energy TOTEN", "ion-electron TOTEN")
_KINETIC = ("kinetic energy EKIN",)
# What h5py raises where a file lacks something or is damaged.
_DAMAGED = (KeyError, ValueError, TypeError, OSError, RuntimeError, IndexError, AttributeError, OverflowError)
_TEMPERATURE = ("temperature TEIN",)


class VaspoutTrajectory(RandomAccessTrajectory):
    """Positions, cells, forces, energies; of dynamics kinetic energies and temperatures."""

    format = "vaspout.h5"

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        try:
            import h5py
        except ImportError:
            raise InputError(
                f"{path}: an HDF5 file needs h5py", "pip install h5py, or give vasprun.xml or XDATCAR"
            ) from None
        try:
            self._file: Any = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error})", "it may be cut short") from None
        try:
            self._open()
        except _DAMAGED as error:
            raise InputError(f"{path}: is not a vaspout.h5 of a run with steps ({error})", "check the file") from None

    def _open(self) -> None:
        group = self._file[_STEPS]
        self._positions, self._lattices = group["position_ions"], group["lattice_vectors"]
        self._forces, self._energies = group.get("forces"), group.get("energies")
        self._scale = 1.0
        if "scale" in group:
            self._scale = float(group["scale"][()])
        elif abs(float(np.ravel(self._file.get("results/positions/scale", 1.0))[0]) - 1.0) > 1e-9:
            raise ValueError("whether its cells are scaled by the factor of POSCAR it does not say")
        kinds = self._file.get("results/positions") or self._file["input/poscar"]
        symbols = [_text(symbol).split("_")[0].split("/")[0] for symbol in kinds["ion_types"][()]]
        counts = np.atleast_1d(kinds["number_ion_types"][()]).astype(int)
        shapes = (self._positions.shape, self._lattices.shape)
        atoms = int(counts.sum())
        if self._positions.shape[1:] != (atoms, 3) or self._lattices.shape[1:] != (3, 3):
            raise ValueError(f"arrays of shapes {shapes} for {atoms} atoms")
        self._species = np.repeat(np.array(symbols), counts)
        tags = group.get("energies_tags")
        self._tags = [] if tags is None else [" ".join(_text(tag).split()) for tag in tags[()]]
        self._electrons = group.get("electronic_step_converged")
        incar = self._file.get("input/incar", {})
        for name in ("POTIM", "IBRION", "NSW", "TEBEG", "TEEND"):
            if name in incar:
                self.metadata[name] = float(incar[name][()])
        sizes = [len(data) for data in (self._positions, self._lattices, self._forces) if data is not None]
        self._number = min(sizes)
        self._uneven = max(sizes) != min(sizes)

    def __len__(self) -> int:
        return self._number

    def _end(self) -> TruncatedFileError | None:
        return TruncatedFileError(None, "some arrays have more steps than others") if self._uneven else None

    def _energy(self, index: int, names: tuple[str, ...]) -> float | None:
        for name in names:
            if self._energies is not None and name in self._tags and index < len(self._energies):
                return float(self._energies[index, self._tags.index(name)])
        return None

    def _frame(self, index: int) -> Frame:
        try:
            return self._read(index)
        except _DAMAGED as error:
            raise InputError(f"{self.path}: step {index + 1} cannot be read ({error})", "it is damaged") from None

    def _read(self, index: int) -> Frame:
        assert self._species is not None  # noqa: S101 - set where the file is opened
        cell = checked_cell(self._lattices[index] * self._scale, f"{self.path}, step {index + 1}", None)
        positions = np.asarray(self._positions[index], dtype=float) @ cell
        forces = None if self._forces is None else np.asarray(self._forces[index], dtype=float)
        dynamics = self.metadata.get("IBRION") == 0 and "POTIM" in self.metadata
        return Frame(
            index,
            self._species,
            positions,
            cell,
            energy_ev=self._energy(index, _FREE_ENERGY),
            kinetic_energy_ev=self._energy(index, _KINETIC),
            temperature_k=self._energy(index, _TEMPERATURE),
            forces=forces,
            step=index + 1,
            time_fs=(index + 1) * self.metadata["POTIM"] if dynamics else None,
            electronic_converged=self._converged(index),
            source=str(self.path),
        )

    def _converged(self, index: int) -> bool | None:
        """Tell whether the electrons converged: VASP 6.5 and later count what is left to converge."""
        if self._electrons is None or index >= len(self._electrons):
            return None
        return not np.any(self._electrons[index])


def _text(value: Any) -> str:
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip()
