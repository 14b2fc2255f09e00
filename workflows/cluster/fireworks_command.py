"""FireWorks' own commands on the database of a cluster folder, with the password that its files must not hold."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launchpad import open_launchpad


def run_fireworks(folder: ClusterFolder, command: str, arguments: list[str]) -> int:
    """Run ``lpad`` or ``qlaunch``; the exit status.

    Parameters
    ----------
    folder
        The cluster folder.
    command
        ``lpad`` or ``qlaunch``.
    arguments
        Of the command.
    """
    pad = open_launchpad(folder)
    # Here, because FireWorks reads its settings when it is imported, and prints which it found.
    with contextlib.redirect_stdout(sys.stderr):
        from fireworks.core.launchpad import LaunchPad
        from fireworks.scripts import lpad_run, qlaunch_run

    def opened(*_: Any, **__: Any) -> Any:
        return pad

    original = LaunchPad.from_file
    LaunchPad.from_file = opened  # both commands open their database this way
    try:
        run = lpad_run.lpad if command == "lpad" else qlaunch_run.qlaunch
        return int(run(["-c", str(folder.path), *arguments] if command == "qlaunch" else
                       ["-l", str(folder.path / "my_launchpad.yaml"), *arguments]) or 0)  # fmt: skip
    finally:
        LaunchPad.from_file = original
