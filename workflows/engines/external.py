"""Run somebody's program in a folder: no shell, a clean stop, and an error that names file and line."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from anodeflow.errors import EngineError
from anodeflow.files import write_atomically
from anodeflow.workflows import monitor

POLL_S = 0.5
PATIENCE_S = 60.0


def find_program(command: Sequence[str], program: str) -> Path:
    """The executable of a command line (the first word; that of an MPI launcher is as good).

    Raises
    ------
    EngineError
        If it is not there; the path tried is named.
    """
    if not command:
        raise EngineError(f"no command for {program}", "name one in the settings")
    path = shutil.which(os.path.expanduser(command[0]))
    if path is None:
        raise EngineError(
            f"{program}: program '{command[0]}' is not on PATH ({_path_tried(command[0])})",
            "load its module, or set its command in the settings",
        )
    return Path(path)


def mpi_as_root() -> dict[str, str]:
    """What Open MPI wants to hear before it starts as root (in a container); nothing for anybody else."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {}


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises
    ------
    EngineError
        If it cannot be written.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise EngineError(f"cannot write '{path}': {error.strerror}", "check the folder and the disk") from None


def _path_tried(word: str) -> str:
    return f"tried {word}" if os.sep in word else f"{len(os.get_exec_path())} folders searched"


def run_program(
    command: Sequence[str],
    directory: Path,
    *,
    output: str,
    program: str,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    poll: Callable[[], None] | None = None,
    ask_to_stop: Callable[[], None] | None = None,
    patience_s: float = PATIENCE_S,
) -> int:
    """Run a program to its end; its exit status.

    Parameters
    ----------
    command
        The words of the command line.
    directory
        Where it runs.
    output
        File in `directory` that takes standard output and error.
    program
        Name for messages.
    stdin
        File in `directory` given as standard input.
    environment
        Added to this process's environment.
    poll
        Called twice a second; if it raises, the program is stopped and the exception is passed on. So is
        a stop that was asked for (:func:`anodeflow.workflows.monitor.pulse`).
    ask_to_stop
        How to ask the program for a clean end (a STOP file); else SIGTERM.
    patience_s
        How long it may take to follow before it is killed.

    Raises
    ------
    EngineError
        If the program is missing or cannot be started.
    """
    find_program(command, program)
    with contextlib.ExitStack() as files:
        source = files.enter_context((directory / stdin).open("rb")) if stdin else subprocess.DEVNULL
        sink = files.enter_context((directory / output).open("wb"))
        try:
            process = subprocess.Popen(
                [os.path.expanduser(command[0]), *command[1:]],
                cwd=directory,
                stdin=source,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(os.environ) | dict(environment or {}),
            )
        except OSError as error:
            raise EngineError(f"{program}: cannot start '{command[0]}': {error.strerror}", "check it") from None
        try:
            _follow(process, poll)
        except BaseException:
            if ask_to_stop is not None:
                ask_to_stop()
            else:
                process.terminate()
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
        if poll is not None:
            poll()
        return process.returncode


def _follow(process: subprocess.Popen[bytes], poll: Callable[[], None] | None) -> None:
    """Wait for the end of a program, looking at it and at requests to stop twice a second."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
            return
        monitor.pulse()
        if poll is not None:
            poll()
