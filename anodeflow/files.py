"""Write files atomically, take digests, and read the data files of the package.

Every function raises ``OSError`` as it comes: the caller knows what the file is and says it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; the file moves to ``path`` when the block ends without an error.

    For writers that want a path (figures, archives, trajectories). The name keeps the suffix, by which many choose a
    format. When the block raises, the temporary file is removed and what was at ``path`` stays as it was.

    Parameters
    ----------
    path
        Where the file is to be.
    sync
        Flush it to the disk first, so that not even a power failure leaves an empty file. Leave it out only for
        files that are written often and can be lost, such as the last step of a relaxation.

    Raises
    ------
    OSError
        If it cannot be written or moved.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    goal = Path(os.path.abspath(path))
    temporary = goal.parent / f".{goal.stem[:40]}.{secrets.token_hex(4)}{goal.suffix[:20]}"
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, goal)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: str | Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write a file of text (UTF-8, line ends as they are) or bytes; it is there complete or not at all.

    Parameters
    ----------
    path
        Where the file is to be; one that is there is replaced.
    content
        All of it.
    sync
        See :func:`atomic_path`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with atomic_path(path, sync=sync) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def read_package_yaml(text: str) -> Any:
    """Return the content of a YAML file that belongs to the package, ten times as fast as ``yaml.safe_load``.

    Only for files that nobody else writes: the C parser, which is used where PyYAML has it, is as safe, but a file made
    to nest deeply can stop the process. What a user wrote goes through :mod:`anodeflow.yaml_input`.
    """
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- a safe loader


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, as ``sha256sum`` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(content: str | bytes) -> str:
    """Return the SHA-256 of text (as UTF-8) or bytes.

    Examples
    --------
    >>> sha256("Li")[:8]
    '3d368a0b'
    """
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def short_digest(content: str | bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of text or bytes."""
    return sha256(content)[:16]


def json_sha256(content: Any, *, sort_keys: bool = False) -> str:
    """Return the SHA-256 of content as JSON; digests that are stored say for ever how the keys were ordered."""
    return sha256(json.dumps(content, sort_keys=sort_keys))
