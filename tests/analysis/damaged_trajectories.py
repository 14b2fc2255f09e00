"""What comes of damaged trajectories: frames, warnings or one clear error, held against those of the file as it was."""

import gzip
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutations import mutations, one_line

from anodeflow.analysis.trajectories import open_trajectory
from anodeflow.errors import AnodeflowError

DATA = Path(__file__).parents[1] / "data" / "trajectories"
LONGEST_S = 20.0
FIELDS = ("lattice", "forces")
NUMBERS = ("energy_ev", "kinetic_energy_ev", "time_fs", "step", "electronic_converged")


def read(path, **options):
    """Frames (None: an error) and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frames = list(open_trajectory(path, **options))
        except AnodeflowError as error:
            return None, {one_line(error)}
    return frames, {str(warning.message).removeprefix(str(path)) for warning in caught}


def wrong(frames, right):
    """What of the frames is not right."""
    if len(frames) != len(right):
        whole = all(not wrong([frame], [other]) for frame, other in zip(frames, right, strict=False))
        if len(frames) < len(right) and whole:
            return {"last configurations"}
        return {"steps of a relaxation"} if right[0].time_fs is None and right[0].energy_ev is not None else {"frames"}
    found = set()
    for frame, other in zip(frames, right, strict=True):
        if (frame.species != other.species).any():
            found.add("species")
        moved = frame.fractional - other.fractional
        if np.abs(moved - np.round(moved)).max() > 1e-6:
            found.add("positions")
        for name in FIELDS:
            one, two = getattr(frame, name), getattr(other, name)
            if (one is None) != (two is None) or (one is not None and np.abs(one - two).max() > 1e-6):
                found.add(name)
        for name in NUMBERS:
            one, two = getattr(frame, name), getattr(other, name)
            if one is not None and (two is None or abs(one - two) > 1e-5):
                found.add(name)
    return found


def tried(name, allowed, number, path, **options):
    """How a file came through so many damages: counts of right, flagged, error and said once; nothing else happens.

    Parameters
    ----------
    name
        Of the file.
    allowed
        What it says once, so that nothing in it tells whether it is right; None for no number is not wrong.
    number
        Of damages.
    path
        Where the damaged file is written to.
    **options
        Of the reader.
    """
    data = (DATA / name).read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    path.write_bytes(data)
    right, known = read(path, **options)
    count = Counter()
    for kind, damaged in mutations(data, number, name):
        path.write_bytes(damaged)
        began = time.monotonic()
        frames, told = read(path, **options)
        assert time.monotonic() - began < LONGEST_S
        if frames is None:
            count["error"] += 1
            continue
        mistakes = wrong(frames, right)
        if mistakes and not told - known:
            assert mistakes <= allowed, f"{kind}: {mistakes - allowed} of {name} wrong without a word"
        count["right" if not mistakes else "flagged" if told - known else "said once"] += 1
    return count
