"""GPAW's PAW data sets: which file of the installation serves an element."""

from __future__ import annotations

import gzip
import importlib.util
import math
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from anodeflow.errors import EngineError
from anodeflow.files import short_digest


@lru_cache(maxsize=128)
def data_set(element: str) -> dict[str, Any]:
    """Return file, digest and valence of the PBE data set of one element.

    Raises
    ------
    EngineError
        If there is none or it cannot be read; the folders tried are named.
    """
    if importlib.util.find_spec("gpaw") is None:
        raise EngineError(
            "engine 'gpaw': the package gpaw is not installed", "pip install 'anodeflow[gpaw]', see docs/engines.md"
        )
    from gpaw import setup_paths

    tried = []
    for folder in setup_paths:
        for name in (f"{element}.PBE.gz", f"{element}.PBE"):
            file = Path(str(folder)) / name
            tried.append(str(folder))
            if not file.is_file():
                continue
            content = file.read_bytes()
            try:
                text = gzip.decompress(content) if name.endswith(".gz") else content
                atom = ElementTree.fromstring(text).find("atom")  # noqa: S314 - a data file of the installation
                valence = float(atom.attrib["valence"]) if atom is not None else math.nan
            except (OSError, EOFError, KeyError, TypeError, ValueError, ElementTree.ParseError) as error:
                raise EngineError(f"PAW data set '{file}' cannot be read: {error}", "install gpaw-data again") from None
            return {
                "file": str(file),
                "name": name.removesuffix(".gz"),
                "digest": short_digest(content),
                "valence": round(valence),
            }
    folders = ", ".join(dict.fromkeys(tried)) or "no folder at all"
    raise EngineError(f"no PBE data set of {element} (tried {folders})", "pip install gpaw-data")


def valence_electrons(element: str) -> int:
    """Return the electrons that an atom brings with its data set."""
    return int(data_set(element)["valence"])
