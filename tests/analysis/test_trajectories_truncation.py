"""Files cut anywhere: the frames that come out are the first true ones, to the last digit."""

import gzip
import lzma
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from anodeflow.analysis.trajectories import compact_frames, open_trajectory
from anodeflow.errors import InputError

DATA = Path(__file__).parent.parent / "data" / "trajectories"
REAL = sorted(path.name for path in DATA.iterdir() if path.name != "README.md")
PLACES = 200
FIELDS = ("positions", "lattice", "forces", "velocities")
NUMBERS = ("energy_ev", "kinetic_energy_ev", "temperature_k", "step", "time_fs", "electronic_converged")


def identical(frame, other):
    for name in FIELDS:
        one, two = getattr(frame, name), getattr(other, name)
        assert (one is None) == (two is None), name
        assert one is None or (one == two).all(), name
    assert [getattr(frame, name) for name in NUMBERS] == [getattr(other, name) for name in NUMBERS]
    assert (frame.species == other.species).all()


def read(path):
    """Frames of a cut file, and what was said of its end; an error in one line counts as no frame."""
    types = {"types": {1: "Al", 2: "Li"}} if "dump" in path.name else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trajectory = open_trajectory(path, **types)
            return list(trajectory), trajectory.incomplete
        except InputError as error:
            said = error
    assert "\n" not in str(said)
    assert str(path) in str(said)
    return [], said


def places(size, rng):
    """Random places, and those around the end, where a number loses its last digits."""
    return sorted({*rng.integers(0, size, PLACES).tolist(), *range(max(0, size - 12), size)})


@pytest.mark.parametrize("name", REAL)
def test_every_real_file_cut_at_random(tmp_path, name):
    content = (DATA / name).read_bytes()
    content = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(Path(name).suffix, bytes)(content)
    path = tmp_path / Path(name).name.removesuffix(".gz").removesuffix(".xz")
    path.write_bytes(content)
    complete, _ = read(path)
    assert complete
    rng = np.random.default_rng(len(content))
    # the large one: fewer, so that the test stays quick
    some = places(len(content), rng)[:: 8 if len(content) > 300_000 else 1]
    said = 0
    for place in some:
        path.write_bytes(content[:place])
        frames, end = read(path)
        assert len(frames) <= len(complete)
        for frame, true in zip(frames, complete, strict=False):
            identical(frame, true)
        said += end is not None
    # only a cut between two frames can look like an end
    assert said >= 0.98 * len(some) or name.startswith("pw_vcrelax.")


@pytest.mark.parametrize("name", ["XDATCAR_Li6PS5Cl.gz", "vasprun_cell.xml.gz", "LiPS.exyz.xz"])
def test_cut_archives(tmp_path, name):
    content = (DATA / name).read_bytes()
    complete, _ = read(DATA / name)
    path = tmp_path / name
    for place in np.random.default_rng(0).integers(0, len(content), 25):
        path.write_bytes(content[:place])
        frames, end = read(path)
        assert end is not None
        assert len(frames) < len(complete) or "</modeling>" in str(end)
        for frame, true in zip(frames, complete, strict=False):
            identical(frame, true)


def test_what_was_packed_before_the_cut_is_read(tmp_path):
    """Of a long file cut in its packed bytes only what the packer itself holds back may be lost."""
    text = gzip.decompress((DATA / "XDATCAR_Li6PS5Cl.gz").read_bytes()).split(b"Direct configuration=")
    whole = text[0] + b"".join(
        b"Direct configuration= %6d\n" % (n + 1) + text[1 + n % 3].split(b"\n", 1)[1] for n in range(60)
    )
    packed = gzip.compress(whole)
    place = 2 * len(packed) // 3
    (tmp_path / "XDATCAR.gz").write_bytes(packed[:place])
    left = zlib.decompressobj(wbits=31).decompress(packed[:place])
    frames, end = read(tmp_path / "XDATCAR.gz")
    assert end is not None
    assert len(frames) == left.count(b"Direct configuration=") - 1


def test_cut_compact_file(tmp_path):
    path = tmp_path / "x.atraj"
    compact_frames(iter(open_trajectory(DATA / "si8-md.md")), path)
    content = path.read_bytes()
    complete, _ = read(path)
    for place in places(len(content), np.random.default_rng(0)):
        path.write_bytes(content[:place])
        frames, _ = read(path)
        assert len(frames) == max(0, (place - 192) // ((len(content) - 192) // 3)) if place > 192 else not frames
        for frame, true in zip(frames, complete, strict=False):
            identical(frame, true)


def test_one_changed_byte_of_a_compact_file_is_found(tmp_path):
    path = tmp_path / "x.atraj"
    compact_frames(iter(open_trajectory(DATA / "si8-md.md")), path)
    content = path.read_bytes()
    complete, _ = read(path)
    for place in np.random.default_rng(1).integers(0, len(content), 200):
        changed = bytearray(content)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        frames, end = read(path)
        # spaces that fill the header are the only bytes that say nothing
        assert end is not None or content[place : place + 1] == b" "
        for frame, true in zip(frames, complete, strict=False):
            identical(frame, true)
