"""A compact trajectory file that survives its writer: any frame at once, appended frame by frame.

Layout, little-endian. A header: 8 bytes ``ANODETRJ``, version, length of the JSON text, its CRC-32 (three uint32),
the JSON text, spaces up to a multiple of 64 bytes. Then records of one size, so that frame i starts at
``header + i * record``: CRC-32 of the rest of the record and flags (uint32), step (int64), time in fs, energy and
kinetic energy in eV, temperature in K, cell in angstrom (9), all float64; positions as (N, 3) int32 in units of
1e-5 angstrom; then, if the header says so, velocities in angstrom/fs and forces in eV/angstrom as float32.

Positions are so kept within 5e-6 angstrom anywhere within 21,000 angstrom of the origin, wrapped or unwrapped as
they were given (float32 would lose digits with the distance). It is a format for analysis: to continue a run, keep
the engine's own double precision state.

A frame is written by one call and checked by its sum, so a killed writer leaves whole frames and at most one torn
one, which readers report and the next writer removes.

Why an own format: ASE's .traj keeps doubles, has no sums against damage, no step numbers, and takes twice the
space and three times the time to read (`benchmarks/trajectory_reading.py`: 1,000 frames of 256 atoms, 6 against
3 MB, 0.13 against 0.04 s). HDF5 (h5py, H5MD), NetCDF and zarr would be new dependencies. By their documentation, an
HDF5 file whose writer was killed may be lost as a whole unless opened for single-writer access; XTC keeps
0.01 angstrom by default, no energies and no metadata; zarr writes a file a chunk. None of these was measured.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    RandomAccessTrajectory,
    Symbols,
    TruncatedFileError,
    checked_cell,
)
from anodeflow.analysis.trajectories.text import MAX_ATOMS
from anodeflow.errors import InputError, StoreError

MAGIC = b"ANODETRJ"
VERSION = 1
SUFFIX = ".atraj"
RESOLUTION_ANGSTROM = 1e-5
_MAX_HEADER = 1 << 26

_PREFIX = struct.Struct("<8s3I")
# sum, flags, step, time, energy, kinetic energy, temperature, cell
_RECORD = struct.Struct("<2Iq4d9d")
_STEP, _TIME, _ENERGY, _KINETIC, _TEMPERATURE, _CELL, _CONVERGED, _UNCONVERGED = (1 << bit for bit in range(8))
_OPTIONAL = ("velocities", "forces")


def _record_bytes(atoms: int, fields: Sequence[str]) -> int:
    return _RECORD.size + 12 * atoms * (1 + len(fields))


def _header_bytes(species: Symbols, fields: Sequence[str], metadata: Mapping[str, Any]) -> bytes:
    document = {
        "atoms": len(species),
        "species": [[str(symbol), len(list(same))] for symbol, same in groupby(species)],
        "fields": list(fields),
        "resolution_angstrom": RESOLUTION_ANGSTROM,
        "metadata": dict(metadata),
    }
    try:
        text = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"the metadata of a trajectory cannot be stored ({error})", "give JSON values") from None
    return (_PREFIX.pack(MAGIC, VERSION, len(text), zlib.crc32(text)) + text).ljust(
        -(-(_PREFIX.size + len(text)) // 64) * 64
    )


class _Header:
    """What the head of a file says; checked before any memory is taken."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_PREFIX.size)
        if not start.startswith(MAGIC):
            raise InputError(f"{path}: does not start with {MAGIC.decode()}", "this is another format")
        if len(start) < _PREFIX.size:
            raise InputError(f"{path}: is cut short in its header", "no frame is left")
        _, version, length, checksum = _PREFIX.unpack(start)
        if version != VERSION:
            raise InputError(f"{path}: version {version} of the format, known is {VERSION}", "update anodeflow")
        if length > min(size, _MAX_HEADER):
            raise InputError(f"{path}: is cut short or damaged in its header", "no frame is left")
        text = file.read(length)
        if len(text) < length or zlib.crc32(text) != checksum:
            raise InputError(f"{path}: its header is damaged", "copy it again")
        try:
            document = json.loads(text)
            self.atoms = int(document["atoms"])
            self.fields = [str(name) for name in document["fields"]]
            runs = [(str(symbol), int(count)) for symbol, count in document["species"]]
            self.metadata: dict[str, Any] = dict(document["metadata"])
            self.resolution = float(document["resolution_angstrom"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: its header cannot be read ({error})", "copy it again") from None
        counts = [count for _, count in runs]
        if not 0 < self.atoms <= MAX_ATOMS or sum(counts) != self.atoms or min(counts) <= 0:
            raise InputError(f"{path}: its header announces {self.atoms} atoms, {sum(counts)} symbols", "copy it again")
        if not set(self.fields) <= set(_OPTIONAL) or not 0 < self.resolution <= 1e-4:
            raise InputError(f"{path}: its header announces fields {self.fields}", "update anodeflow")
        self.species: Symbols = np.repeat(np.array([symbol for symbol, _ in runs]), counts)
        self.size = -(-(_PREFIX.size + length) // 64) * 64
        self.record = _record_bytes(self.atoms, self.fields)


class CompactTrajectory(RandomAccessTrajectory):
    """Frames of anodeflow's own format; any frame at once, also while another process still writes.

    `metadata` is what the writer was given. The number of frames is that at the time of opening.
    """

    format = "anodeflow trajectory"

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        self._file = path.open("rb", buffering=0)
        try:
            head = _Header(path, self._file)
            self.metadata = head.metadata
            self._head, self._species = head, head.species
            bytes_of_frames = max(0, os.fstat(self._file.fileno()).st_size - head.size)
            self._number, rest = divmod(bytes_of_frames, head.record)
            self._bad_end: TruncatedFileError | None = None
            if rest:
                self._bad_end = TruncatedFileError(None, f"the file ends within frame {self._number}")
            elif self._number and self._read(self._number - 1) is None:
                self._number -= 1
                self._bad_end = TruncatedFileError(None, f"frame {self._number}, the last one, is damaged")
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        result: int = self._number
        return result

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def _end(self) -> TruncatedFileError | None:
        if self._number == 0 and self._bad_end is None:
            raise InputError(f"{self.path}: holds no frame", "check that the run wrote any")
        return self._bad_end

    def _read(self, index: int) -> bytes | None:
        """Return a record, or None if its sum is wrong."""
        head = self._head
        record = os.pread(self._file.fileno(), head.record, head.size + index * head.record)
        if len(record) < head.record or zlib.crc32(memoryview(record)[4:]) != int.from_bytes(record[:4], "little"):
            return None
        return record

    def steps(self) -> list[int | None]:
        """Return step numbers of all frames; sums are not checked."""
        steps: list[int | None] = []
        for index in range(self._number):
            start = os.pread(self._file.fileno(), 16, self._head.size + index * self._head.record)
            _, flags, step = struct.unpack("<2Iq", start)
            steps.append(step if flags & _STEP else None)
        return steps

    def _frame(self, index: int) -> Frame:
        record = self._read(index)
        if record is None:
            raise InputError(f"{self.path}: frame {index} is damaged (wrong sum)", "copy the file again")
        _, flags, step, time_fs, energy, kinetic, temperature, *cell = _RECORD.unpack_from(record)
        atoms = self._head.atoms
        at = _RECORD.size
        whole = np.frombuffer(record, "<i4", 3 * atoms, at).reshape(atoms, 3)
        frame = Frame(
            index,
            self._head.species,
            whole * self._head.resolution,
            checked_cell(np.array(cell), f"{self.path}, frame {index}", None) if flags & _CELL else None,
            energy_ev=energy if flags & _ENERGY else None,
            kinetic_energy_ev=kinetic if flags & _KINETIC else None,
            temperature_k=temperature if flags & _TEMPERATURE else None,
            step=step if flags & _STEP else None,
            time_fs=time_fs if flags & _TIME else None,
            electronic_converged=True if flags & _CONVERGED else False if flags & _UNCONVERGED else None,
            source=str(self.path),
        )
        for name in self._head.fields:
            at += 12 * atoms
            values = np.frombuffer(record, "<f4", 3 * atoms, at).reshape(atoms, 3).astype(np.float64)
            if np.isfinite(values).all():
                setattr(frame, name, values)
        return frame


class TrajectoryWriter:
    """Writes frames one behind the other into a compact trajectory file.

    Parameters
    ----------
    path
        The file; made with its header at once.
    species
        Chemical symbols, (N,).
    fields
        Which of velocities and forces to keep.
    metadata
        JSON values: timestep_fs, steps_between_frames, engine, card_hash, study_hash, seed and the like.
    append
        Go on behind the frames of an existing file, whose torn last frame is removed. Atoms, fields and metadata
        must be the same. Without, an existing file is an error.
    sync_every
        After how many frames the disk is waited for. A frame is safe from the end of this process once `write`
        returns, and from a power cut after the next such wait.

    Raises
    ------
    InputError
        If the file exists (or is not the same run), or is being written.
    StoreError
        If it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        species: Sequence[str] | Symbols,
        *,
        fields: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        append: bool = False,
        sync_every: int = 100,
    ) -> None:
        self.path = Path(path)
        self.species: Symbols = np.array([str(symbol) for symbol in species])
        self.fields = [name for name in _OPTIONAL if name in fields]
        if not 0 < len(self.species) <= MAX_ATOMS or set(fields) - set(_OPTIONAL):
            raise InputError(
                f"{self.path}: {len(self.species)} atoms with fields {list(fields)}",
                f"at least one atom, and of the fields {', '.join(_OPTIONAL)}",
            )
        self._sync_every = max(1, sync_every)
        self._unsynced = 0
        self._record = _record_bytes(len(self.species), self.fields)
        header = _header_bytes(self.species, self.fields, metadata or {})
        self._file = self._continue(header) if append and self.path.exists() else self._begin(header)

    def _begin(self, header: bytes) -> BinaryIO:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(header)
            try:
                # unlike a rename, a link never replaces what another run has written
                os.link(temporary, self.path)
            finally:
                temporary.unlink()
        except FileExistsError:
            raise InputError(
                f"{self.path}: exists already", "remove it, or write with append=True to add frames at its end"
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror})", "check folder and quota") from None
        return self._continue(header)

    def _continue(self, header: bytes) -> BinaryIO:
        try:
            file = self.path.open("r+b", buffering=0)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror})", "check its rights") from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.path}: another process writes it", "wait for its end") from None
            except OSError:
                pass  # a file system without locks
            kept = _Header(self.path, file)
            wanted = json.loads(header[_PREFIX.size :])
            same = (kept.fields, kept.metadata) == (wanted["fields"], wanted["metadata"])
            if not same or not np.array_equal(kept.species, self.species):
                raise InputError(
                    f"{self.path}: was begun for other atoms, fields or metadata", "write to another file and join them"
                )
            end = os.fstat(file.fileno()).st_size
            number = max(0, end - kept.size) // kept.record
            while number:
                last = os.pread(file.fileno(), kept.record, kept.size + (number - 1) * kept.record)
                if zlib.crc32(memoryview(last)[4:]) == int.from_bytes(last[:4], "little"):
                    break
                number -= 1
            self.frames = number
            self._end = kept.size + number * kept.record
            if end > self._end:
                os.ftruncate(file.fileno(), self._end)
            return file
        except BaseException:
            file.close()
            raise

    def write(self, frame: Frame) -> None:
        """Append one frame.

        Raises
        ------
        InputError
            If it has other atoms, lacks a field, or holds something that is not a finite number or too far away.
        StoreError
            If it cannot be written; the file then ends with the frame before.
        """
        if self._file.closed:
            raise StoreError(f"{self.path}: is closed", "open another writer with append=True")
        if len(frame.species) != len(self.species) or (frame.species != self.species).any():
            raise InputError(f"{self.path}: frame {frame.index} has other atoms", "a trajectory keeps its atoms")
        record = self._packed(frame)
        try:
            written = os.pwrite(self._file.fileno(), record, self._end)
            if written < len(record):
                raise OSError(28, f"only {written} of {len(record)} bytes were taken")
            self._unsynced += 1
            if self._unsynced >= self._sync_every:
                self.sync()
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._end)
            raise StoreError(
                f"{self.path}: frame {self.frames} cannot be written ({error.strerror})", "check space and quota"
            ) from None
        self._end += len(record)
        self.frames += 1

    def _packed(self, frame: Frame) -> bytes:
        flags = 0
        values = [0.0] * 4
        names = ("time_fs", "energy_ev", "kinetic_energy_ev", "temperature_k")
        for place, (name, flag) in enumerate(zip(names, (_TIME, _ENERGY, _KINETIC, _TEMPERATURE), strict=True)):
            value = getattr(frame, name)
            if value is None:
                continue
            if not np.isfinite(value):
                raise InputError(f"{self.path}: frame {frame.index}: {name} is {value}", "give None for no value")
            values[place] = float(value)
            flags |= flag
        cell = np.zeros((3, 3)) if frame.lattice is None else np.asarray(frame.lattice, dtype=float)
        flags |= 0 if frame.lattice is None else _CELL
        flags |= 0 if frame.step is None else _STEP
        if frame.electronic_converged is not None:
            flags |= _CONVERGED if frame.electronic_converged else _UNCONVERGED
        whole = np.round(self._array(frame, "positions") / RESOLUTION_ANGSTROM)
        if not np.isfinite(cell).all() or np.abs(whole).max() > np.iinfo(np.int32).max:
            far = np.abs(whole).max() * RESOLUTION_ANGSTROM
            raise InputError(
                f"{self.path}: frame {frame.index}: an atom {far:.0f} angstrom away or a cell without numbers",
                "up to 21474 angstrom can be kept",
            )
        parts = [whole.astype("<i4").tobytes()]
        parts += [self._array(frame, name).astype("<f4").tobytes() for name in self.fields]
        start = _RECORD.pack(0, flags, frame.step or 0, *values, *cell.ravel())
        body = start[4:] + b"".join(parts)
        return zlib.crc32(body).to_bytes(4, "little") + body

    def _array(self, frame: Frame, name: str) -> Array:
        given = getattr(frame, name)
        values = np.full((0, 3), np.nan) if given is None else np.asarray(given, dtype=float)
        if values.shape != (len(self.species), 3) or not np.isfinite(values).all():
            shown = "missing" if given is None else f"of shape {values.shape}, or not finite"
            raise InputError(f"{self.path}: frame {frame.index}: {name} are {shown}", "give finite (N, 3) arrays")
        return values

    def sync(self) -> None:
        """Wait until the disk has everything."""
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Wait for the disk and end."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compact_frames(frames: Sequence[Frame] | Iterator[Frame], path: str | Path, **options: Any) -> int:
    """Write frames into a new compact file; how many.

    Parameters
    ----------
    frames
        At least one.
    path
        A file that does not exist.
    options
        Those of `TrajectoryWriter`; by default velocities and forces are kept where the first frame has them.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError(f"{path}: no frame to write", "check the source")
    present = [name for name in _OPTIONAL if getattr(first, name) is not None]
    with TrajectoryWriter(path, first.species, **{"fields": present, **options}) as writer:
        writer.write(first)
        for frame in iterator:
            writer.write(frame)
        result: int = writer.frames
        return result
