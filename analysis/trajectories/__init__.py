"""Reading trajectories of any code in linear time and bounded memory.

`open_trajectory` finds out what a file is and gives a `Trajectory`, which yields `Frame` after `Frame`; units are
angstrom, eV, fs and K whatever the code. `TrajectoryWriter` writes the compact format with random access.
"""

from anodeflow.analysis.trajectories.compact import CompactTrajectory, TrajectoryWriter, compact_frames
from anodeflow.analysis.trajectories.frames import (
    Frame,
    RandomAccessTrajectory,
    Trajectory,
    TrajectoryTruncated,
    UnwrapWarning,
    unwrapped,
    wrapped,
)
from anodeflow.analysis.trajectories.joined import JoinedTrajectory, join_trajectories
from anodeflow.analysis.trajectories.opening import convert, open_trajectory

__all__ = [
    "CompactTrajectory",
    "Frame",
    "JoinedTrajectory",
    "RandomAccessTrajectory",
    "Trajectory",
    "TrajectoryTruncated",
    "TrajectoryWriter",
    "UnwrapWarning",
    "compact_frames",
    "convert",
    "join_trajectories",
    "open_trajectory",
    "unwrapped",
    "wrapped",
]
