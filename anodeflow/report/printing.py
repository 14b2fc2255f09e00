"""A report on paper: its page printed to PDF by a Chromium that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from anodeflow.errors import InputError
from anodeflow.files import write_atomically

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_LONGEST_S = 300


def chromium() -> str:
    """Return the program that prints.

    Raises
    ------
    InputError
        If none is on PATH.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise InputError(
            f"--pdf needs Chromium, and none of {', '.join(_PROGRAMS)} is on PATH",
            "install one (Debian: chromium), or print the .html from a browser",
        )
    return program


def print_to_pdf(program: str, page: Path, file: Path) -> None:
    """Print a page, without a network.

    Parameters
    ----------
    program
        As :func:`chromium` gives it.
    page
        The .html.
    file
        The .pdf; it appears atomically.

    Raises
    ------
    InputError
        If the program fails, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="anodeflow-pdf-") as folder:
        printed = Path(folder) / "page.pdf"
        # Chromium's sandbox refuses root; the page is ours and its policy lets nothing be loaded.
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        arguments = [
            program, "--headless", *as_root, "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--no-pdf-header-footer", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={printed}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
            raise InputError(f"{program} printed nothing: {reason}", "print the .html from a browser") from None
        if done.returncode or not printed.is_file():
            message = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise InputError(f"{program} printed nothing: {message}", "print the .html from a browser")
        content = printed.read_bytes()
    try:
        write_atomically(file, content)
    except OSError as error:
        raise InputError(f"cannot write '{file}': {error.strerror}", "choose another folder") from None
