"""What some tests need and a machine may lack; the reason of a skip says how to get it."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

needs_gpaw = pytest.mark.skipif(
    importlib.util.find_spec("gpaw") is None, reason="needs the package gpaw (pip install -e '.[gpaw]')"
)
needs_dftd3 = pytest.mark.skipif(
    importlib.util.find_spec("dftd3") is None, reason="needs the package dftd3 (pip install -e '.[dispersion]')"
)
needs_mpiexec = pytest.mark.skipif(shutil.which("mpiexec") is None, reason="needs mpiexec (Debian: openmpi-bin)")
needs_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs Linux, which ends children with their parent"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_BROWSER_PACKAGES = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or bool(_BROWSER_PACKAGES),
    reason="needs the program chromium (Debian: chromium)"
    if CHROMIUM is None
    else f"needs the package {' and '.join(_BROWSER_PACKAGES)} (pip install -e '.[browser]')",
)
