"""One process at a time in the folder of a calculation: two studies may need the same one at the same moment."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKS = ".locks"
LOOK_AGAIN_S = 1.0
# How long after it left the folder the other one's document is in the store.
WRITTEN_AFTER_S = 3.0


@contextmanager
def alone_in(directory: Path | None) -> Iterator[bool]:
    """Hold a folder that no other process computes in; True where one had to be waited for: its result is stored now.

    The lock ends with its process, however that ends. Where a file system knows no locks, nothing is held.

    Parameters
    ----------
    directory
        The folder, which need not be there; None for a calculation without files.
    """
    if directory is None:
        yield False
        return
    try:
        (directory.parent / LOCKS).mkdir(parents=True, exist_ok=True)
        handle = (directory.parent / LOCKS / directory.name).open("w")
    except OSError:  # the calculation says in better words that it cannot write there
        yield False
        return
    with handle:
        waited = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                time.sleep(LOOK_AGAIN_S)
                continue
            except OSError:
                pass
            break
        if waited:
            time.sleep(WRITTEN_AFTER_S)
        yield waited
