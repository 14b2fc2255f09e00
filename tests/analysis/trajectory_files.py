"""Real trajectories of the codes, unpacked, and compared with what ASE reads."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent.parent / "data" / "trajectories"


def unpacked(name: str, folder: Path) -> Path:
    """A real file as the code wrote it."""
    source = DATA / name
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(source.suffix, open)
    target = folder / (source.stem if source.suffix in (".gz", ".xz") else source.name)
    with opener(source, "rb") as packed:
        target.write_bytes(packed.read())
    return target


def same_as_ase(trajectory, images, *, rtol=1e-9, atol=1e-9, energies=True):
    frames = list(trajectory)
    assert len(frames) == len(images)
    for frame, atoms in zip(frames, images, strict=True):
        assert list(frame.species) == atoms.get_chemical_symbols()
        np.testing.assert_allclose(frame.positions, atoms.positions, rtol=rtol, atol=atol)
        np.testing.assert_allclose(frame.cell, atoms.cell, rtol=rtol, atol=atol)
        if energies:
            assert frame.energy_ev == pytest.approx(atoms.get_potential_energy(force_consistent=True), rel=1e-7)
            np.testing.assert_allclose(frame.forces, atoms.get_forces(), rtol=1e-6, atol=1e-7)
    return frames
