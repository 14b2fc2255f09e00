"""Ultrasoft PBE pseudopotentials of Li, Al, P, S and Cl for tests, made by ld1.x in about a second each.

Not for results: neither logarithmic derivatives nor ghosts were looked at. At 500 eV they give the lattice parameters
of bcc Li, fcc Al, LiCl and Li2S within 0.2 % of all-electron PBE.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Recipe:
    """Reference state and pseudised orbitals: (label, n, l, occupation, energy Ry, rc, rc ultrasoft)."""

    charge: int
    configuration: str
    local_radius: float
    core_radius: float | None
    orbitals: tuple[tuple[str, int, int, float, float, float, float], ...]


def _third_row(charge: int, p: int, local: float, core: float, s_rc: tuple[float, float], d_rc: tuple[float, float]):
    return Recipe(
        charge,
        f"[Ne] 3s2 3p{p} 3d-2",
        local,
        core,
        (
            ("3S", 1, 0, 2.0, 0.0, *s_rc),
            ("3S", 1, 0, 0.0, 4.0, *s_rc),
            ("3P", 2, 1, float(p), 0.0, *s_rc),
            ("3P", 2, 1, 0.0, 3.0, *s_rc),
            ("3D", 3, 2, 0.0, 0.2, *d_rc),
        ),
    )


RECIPES = {
    "Li": Recipe(
        3,
        "1s2 2s1 2p0",
        1.6,
        None,
        (
            ("1S", 1, 0, 2.0, 0.0, 1.0, 1.7),
            ("2S", 2, 0, 1.0, 0.0, 1.0, 1.7),
            ("2P", 2, 1, 0.0, 0.0, 1.4, 2.0),
            ("2P", 2, 1, 0.0, 1.5, 1.4, 2.0),
        ),
    ),
    "Al": _third_row(13, 1, 1.9, 1.6, (1.6, 2.0), (1.7, 2.0)),
    "P": _third_row(15, 3, 1.7, 1.2, (1.4, 1.8), (1.5, 1.8)),
    "S": _third_row(16, 4, 1.6, 1.1, (1.3, 1.7), (1.4, 1.7)),
    "Cl": _third_row(17, 5, 1.6, 1.0, (1.3, 1.65), (1.4, 1.65)),
}


def make_ultrasoft(folder: Path, elements: Iterable[str] = tuple(RECIPES), suggested_ry: float | None = 25.0) -> Path:
    """Make ``<element>.us.UPF`` in a folder.

    Parameters
    ----------
    folder
        Must exist.
    elements
        Whose.
    suggested_ry
        Written into the header as the minimum cutoff, since ld1.x's own estimate (27-44 Ry) would refuse the small
        cutoffs of tests; None keeps ld1.x's.
    """
    for element in elements:
        recipe = RECIPES[element]
        core = "" if recipe.core_radius is None else f"nlcc=.true., new_core_ps=.true., rcore={recipe.core_radius},"
        text = (
            f"&input title='{element}', zed={recipe.charge}., rel=1, config='{recipe.configuration}', iswitch=3, "
            "dft='PBE' /\n"
            f"&inputp lpaw=.false., pseudotype=3, file_pseudopw='{element}.us.UPF', author='tests', lloc=-1, "
            f"rcloc={recipe.local_radius}, which_augfun='PSQ', rmatch_augfun_nc=.true., {core} tm=.true. /\n"
            f"{len(recipe.orbitals)}\n"
        )
        text += "".join("{} {} {} {:.2f} {:.2f} {:.2f} {:.2f} 0.0\n".format(*o) for o in recipe.orbitals)
        done = subprocess.run(
            ["ld1.x"], input=text, text=True, capture_output=True, cwd=folder, check=False, timeout=120
        )
        made = folder / f"{element}.us.UPF"
        if not made.is_file() or "</UPF>" not in made.read_text()[-200:]:
            raise RuntimeError(f"ld1.x made no {made.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
        if suggested_ry is not None:
            content = made.read_text()
            content = re.sub(r'wfc_cutoff="[^"]*"', f'wfc_cutoff="{suggested_ry}"', content)
            content = re.sub(r'rho_cutoff="[^"]*"', f'rho_cutoff="{8 * suggested_ry}"', content)
            made.write_text(content)
    for rest in ("ld1.wfc", "ld1ps.wfc", "ld1.test", "vx.pot"):
        (folder / rest).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="session")
def ultrasoft(tmp_path_factory) -> Path:
    """A folder with the five files; import this name into a test file to use it."""
    for program in ("ld1.x", "pw.x"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} of Quantum ESPRESSO is not installed")
    return make_ultrasoft(tmp_path_factory.mktemp("ultrasoft"))
