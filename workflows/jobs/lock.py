"""One process at a time computes what has one fingerprint: two studies may need the same result at the same moment."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from anodeflow.workflows import monitor
from anodeflow.workflows.jobs.folders import runs_folder
from anodeflow.workflows.store.connection import on_network_file_system

_LOCKS = ".locks"
# The first wait for another process, which doubles up to the longest: the other may take hours.
LOOK_AGAIN_S, LONGEST_WAIT_S = 0.1, 2.0
# How often the file may go between opening and locking it before nothing is held.
_MOST_VANISHED = 1000


@contextmanager
def alone(key: str) -> Iterator[bool]:
    """Hold a fingerprint that no other process computes; True where one had to be waited for.

    The lock is a file in the folder of runs, and ends with its process, however that ends. Where a file system knows
    no locks, or nothing can be written, nothing is held.

    Parameters
    ----------
    key
        Fingerprint of the calculation.

    Raises
    ------
    StopRequested
        If the run is to stop while this waits.
    """
    folder = runs_folder() / _LOCKS
    handle, waited = _held(folder / key)
    if handle is None:
        yield waited
        return
    with handle:
        try:
            yield waited
        finally:
            if not _on_network(folder.parent):
                _remove(folder / key)


def _held(file: Path) -> tuple[IO[bytes] | None, bool]:
    """Return the locked file, None where there can be none, and whether another process had it."""
    waited, vanished, pause_s = False, 0, LOOK_AGAIN_S
    while vanished < _MOST_VANISHED:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = file.open("ab")
        except (FileNotFoundError, FileExistsError):  # another process took the empty folder away in between
            vanished += 1
            continue
        except OSError:  # the calculation says in better words that it cannot write there
            return None, waited
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            handle.close()
            monitor.pulse()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_WAIT_S)
            continue
        except OSError as error:
            if error.errno != errno.ESTALE:
                return handle, waited
            handle.close()
            vanished += 1
            continue
        if _is_there(handle, file):
            return handle, waited
        handle.close()
        vanished += 1
    return None, waited


def _is_there(handle: IO[bytes], file: Path) -> bool:
    """Whether this is the file of that name: the process that held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), file.stat())
    except OSError:
        return False


def _remove(file: Path) -> None:
    """Remove a held lock, and the folders of locks and of runs if they are empty now."""
    with suppress(OSError):
        file.unlink()
        file.parent.rmdir()
        file.parent.parent.rmdir()


@cache
def _on_network(folder: Path) -> bool:
    # Another computer may still see a removed file for some seconds, and take it for its lock.
    return on_network_file_system(str(folder))
