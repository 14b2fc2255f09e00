"""Pseudopotential files in the UPF format: what their headers say, and which file serves an element.

Only the header is read, never with an XML parser: a file of version 2 may hold text that no parser accepts, and
nothing of a file but a dozen fields is of interest here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

from pymatgen.core import Element

from anodeflow.errors import EngineError
from anodeflow.settings import QeSettings
from anodeflow.units import ASE_RYDBERG_EV, RYDBERG_EV
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.plane_waves.folder import file_digest, file_stamp, potentials_folder

Kind = Literal["NC", "US", "PAW"]

# What headers write for the functional of Perdew, Burke and Ernzerhof, after normalising.
_PBE_NAMES = {"PBE", "SLA PW PBE PBE", "SLA PW PBX PBC", "SLA PW PBE PBE PBE", "SLA PW PBX PBC PBE"}
_KINDS: dict[str, Kind] = {"NC": "NC", "SL": "NC", "NCPP": "NC", "US": "US", "USPP": "US", "PAW": "PAW"}
# Headers stand at the front; comments before them reach some hundred kilobytes at most.
_LARGEST_HEADER = 4_000_000
_TAIL = 4096
_SUFFIXES = {".upf"}

# Attributes may hold '>' inside their quotes.
_HEADER_V2 = re.compile(r"<PP_HEADER\b((?:[^\"'>]|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_HEADER_V1 = re.compile(r"<PP_HEADER>(.*?)</PP_HEADER>", re.DOTALL)
_SUGGESTED = re.compile(r"Suggested minimum cutoff for (wavefunctions|charge density):\s*([0-9.]+)\s*Ry")


@dataclass(frozen=True)
class Pseudopotential:
    """What the header of one UPF file says.

    Attributes
    ----------
    functional
        ``PBE`` whatever the spelling of the header; any other as written.
    kind
        Norm-conserving, ultrasoft or projector augmented wave.
    valence
        Electrons the atom brings.
    cutoff_ry, density_cutoff_ry
        Suggested minimum for wavefunctions and for the charge density, Ry; None where the header gives none.
    relativistic
        ``no``, ``scalar``, ``full`` or ``unknown``.
    core_correction
        Whether there is a nonlinear core correction.
    """

    path: Path
    element: str
    functional: str
    kind: Kind
    valence: float
    cutoff_ry: float | None
    density_cutoff_ry: float | None
    relativistic: str
    core_correction: bool

    @property
    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of the file."""
        return file_digest(self.path)

    @property
    def needs_augmentation(self) -> bool:
        """Whether the density needs more plane waves than four times the cutoff of the wavefunctions."""
        return self.kind != "NC"


def read_header(path: Path) -> Pseudopotential:
    """Read the header of a UPF file, version 1 or 2.

    Raises
    ------
    EngineError
        If the file cannot be read, is no UPF file, is cut off, or its header lacks or garbles a field.
    """
    return _read_header(path, *file_stamp(path))


@lru_cache(maxsize=2048)
def _read_header(path: Path, _modified: int, size: int) -> Pseudopotential:
    if not path.is_file():
        raise EngineError(f"pseudopotential '{path}' is not a file", "name a UPF file")
    try:
        with path.open("rb") as handle:
            head = _front(handle)
            handle.seek(max(0, size - _TAIL))
            tail = handle.read(_TAIL).decode("utf-8", errors="replace")
    except OSError as error:
        raise EngineError(f"pseudopotential '{path}': {error.strerror}", "check the file") from None
    modern = re.search(r"<UPF\s+version\s*=\s*[\"']2\.", head)
    if modern:
        if "</UPF>" not in tail:
            raise EngineError(f"pseudopotential '{path}' is cut off: it does not end in </UPF>", "copy it again")
        return _version_2(path, head)
    if "<PP_HEADER>" in head:
        if not tail.rstrip().endswith(">"):
            raise EngineError(f"pseudopotential '{path}' is cut off: no closing tag at its end", "copy it again")
        return _version_1(path, head)
    raise EngineError(f"'{path}' has no UPF header (versions 1 and 2 are read)", "convert it with upfconv.x")


def _front(handle: IO[bytes]) -> str:
    """The file up to the end of its header, or as much as a header may take."""
    data = b""
    while len(data) < _LARGEST_HEADER:
        more = handle.read(1 << 16)
        data += more
        if not more or re.search(rb"</PP_HEADER>|<PP_MESH", data[-(1 << 16) - 16 :]):
            break
    return data.decode("utf-8", errors="replace")


def _version_2(path: Path, text: str) -> Pseudopotential:
    match = _HEADER_V2.search(text)
    if match is None:
        raise EngineError(f"pseudopotential '{path}' has no complete <PP_HEADER ...>", "copy it again")
    line = text.count("\n", 0, match.start()) + 1
    fields = {m.group(1).lower(): (m.group(2) or m.group(3) or "").strip() for m in _ATTRIBUTE.finditer(match.group(1))}

    def need(name: str) -> str:
        if name not in fields:
            raise EngineError(f"{path}:{line}: header has no '{name}'", "use a complete UPF file")
        return fields[name]

    kind = "PAW" if _is_true(fields.get("is_paw")) else fields.get("pseudo_type", "")
    relativistic = fields.get("relativistic", "").lower()
    return _checked(
        path,
        line,
        element=need("element"),
        functional=need("functional"),
        kind=kind,
        valence=need("z_valence"),
        cutoff=fields.get("wfc_cutoff"),
        density=fields.get("rho_cutoff"),
        relativistic="full" if _is_true(fields.get("has_so")) else relativistic,
        core=_is_true(fields.get("core_correction")),
        comments=text[: match.start()],
    )


def _version_1(path: Path, text: str) -> Pseudopotential:
    match = _HEADER_V1.search(text)
    if match is None:
        raise EngineError(f"pseudopotential '{path}': <PP_HEADER> is not closed", "copy it again")
    line = text.count("\n", 0, match.start()) + 1
    rows = [row.split() for row in match.group(1).strip().splitlines()]
    if len(rows) < 8 or any(not row for row in rows[:8]):
        raise EngineError(f"{path}:{line}: header has {len(rows)} lines, version 1 has at least 8", "copy it again")
    functional = [word for word in rows[4] if not word.lower().startswith(("exchange", "functional"))]
    # Four names, and often the short name once more.
    names = functional[:4]
    comments = text[: match.start()]
    relativistic = "unknown"
    if re.search(r"Fully[- ]Relativistic", comments, re.IGNORECASE) or "<PP_ADDINFO>" in text:
        relativistic = "full"
    elif re.search(r"Scalar[- ]Relativistic", comments, re.IGNORECASE):
        relativistic = "scalar"
    elif re.search(r"Non[- ]?Relativistic", comments, re.IGNORECASE):
        relativistic = "no"
    cutoffs = rows[7]
    return _checked(
        path,
        line,
        element=rows[1][0],
        functional=" ".join(names),
        kind=rows[2][0],
        valence=rows[5][0],
        cutoff=cutoffs[0] if len(cutoffs) > 1 else None,
        density=cutoffs[1] if len(cutoffs) > 1 else None,
        relativistic=relativistic,
        core=_is_true(rows[3][0]),
        comments=comments,
    )


def _checked(
    path: Path,
    line: int,
    *,
    element: str,
    functional: str,
    kind: str,
    valence: str,
    cutoff: str | None,
    density: str | None,
    relativistic: str,
    core: bool,
    comments: str,
) -> Pseudopotential:
    where = f"{path}:{line}"
    symbol = element.strip().capitalize()
    if not Element.is_valid_symbol(symbol):
        raise EngineError(f"{where}: '{element[:20]}' is not an element", "use a complete UPF file")
    if kind.upper() not in _KINDS:
        raise EngineError(
            f"{where}: pseudopotential type '{kind[:20]}' is not norm-conserving, ultrasoft or PAW", "use another file"
        )
    electrons = _number(valence, where, "z_valence")
    if not 0 < electrons <= 120:
        raise EngineError(f"{where}: z_valence {valence[:30]} is not a number of electrons", "use another file")
    suggested = {name: float(value.rstrip(".")) for name, value in _SUGGESTED.findall(comments)}
    wave = _number(cutoff, where, "wfc_cutoff") if cutoff else 0.0
    dense = _number(density, where, "rho_cutoff") if density else 0.0
    words = " ".join(re.split(r"[\s+\-,]+", functional.strip().upper()))
    return Pseudopotential(
        path=path,
        element=symbol,
        functional="PBE" if words in _PBE_NAMES else words,
        kind=_KINDS[kind.upper()],
        valence=electrons,
        cutoff_ry=wave if wave > 0 else suggested.get("wavefunctions") or None,
        density_cutoff_ry=dense if dense > 0 else suggested.get("charge density") or None,
        relativistic=relativistic if relativistic in ("no", "scalar", "full") else "unknown",
        core_correction=core,
    )


def _number(text: str, where: str, name: str) -> float:
    try:
        value = float(re.sub(r"[dD]", "e", text.strip(), count=1))
    except ValueError:
        raise EngineError(f"{where}: {name} is '{text[:30]}', not a number", "use a complete UPF file") from None
    if not math.isfinite(value) or abs(value) > 1e6:
        raise EngineError(f"{where}: {name} is {text[:30]}", "use a complete UPF file")
    return value


def _is_true(text: str | None) -> bool:
    return (text or "").strip().strip(".").lower() in ("t", "true", "1")


def choose_pseudopotentials(
    elements: Iterable[str], folder: Path | None, named: Mapping[str, str] | None = None, functional: str = "PBE"
) -> dict[str, Pseudopotential]:
    """The file of each element.

    Parameters
    ----------
    elements
        Symbols.
    folder
        Where the UPF files are.
    named
        File name of an element, for a folder that holds several files of it.
    functional
        The one all of them must be made with.

    Raises
    ------
    EngineError
        If the folder is missing, or an element has no file, several, or one of another functional.
    """
    wanted = sorted(set(elements))
    absent = missing_pseudopotentials(wanted, folder, named)
    if absent or folder is None:
        raise EngineError("; ".join(absent), "put UPF files there, or set potentials and potentials_of in the settings")
    return {element: _choose(element, folder, (named or {}).get(element), functional) for element in wanted}


def missing_pseudopotentials(
    elements: Iterable[str], folder: Path | None, named: Mapping[str, str] | None = None
) -> list[str]:
    """One line for every element without a file, with the path tried."""
    wanted = sorted(set(elements))
    if folder is None:
        return [
            f"no folder of pseudopotentials for {', '.join(wanted)} (neither qe: potentials: in the settings nor "
            "ANODEFLOW_QE_POTENTIALS)"
        ]
    if not folder.is_dir():
        return [f"no folder '{folder}' with pseudopotentials for {', '.join(wanted)}"]
    lines = []
    for element in wanted:
        name = (named or {}).get(element)
        if name is not None:
            if not (folder / name).is_file():
                lines.append(f"pseudopotential of {element}: no file '{folder / name}'")
        elif not any(_good_or_suspect(element, folder)):
            lines.append(f"pseudopotential of {element}: no UPF file of it in '{folder}'")
    return lines


def _choose(element: str, folder: Path, name: str | None, functional: str) -> Pseudopotential:
    if name is not None:
        chosen = read_header(folder / name)
        if chosen.element != element:
            raise EngineError(
                f"'{chosen.path}' named for {element} is a pseudopotential of {chosen.element}",
                "correct potentials_of in the settings",
            )
        return _fit(chosen, functional)
    good, bad = _good_or_suspect(element, folder)
    fitting = [p for p in good if p.functional == functional and p.relativistic != "full"]
    if len(fitting) + len(bad) == 1:
        if bad:
            raise bad[0]
        return fitting[0]
    if not fitting and not bad:
        return _fit(good[0], functional)
    files = [p.path.name for p in fitting] + [f"unreadable: {e.problem}" for e in bad]
    raise EngineError(
        f"{len(files)} pseudopotentials of {element} in '{folder}': {', '.join(files)}",
        f"name one in the settings: qe: potentials_of: {{{element}: {files[0]}}}",
    )


def _fit(chosen: Pseudopotential, functional: str) -> Pseudopotential:
    if chosen.functional != functional:
        raise EngineError(
            f"pseudopotential '{chosen.path}' is made with functional {chosen.functional}, the card asks for "
            f"{functional}",
            f"use a {functional} file",
        )
    if chosen.relativistic == "full":
        raise EngineError(
            f"pseudopotential '{chosen.path}' is fully relativistic (spin-orbit)", "use a scalar-relativistic file"
        )
    return chosen


def _good_or_suspect(element: str, folder: Path) -> tuple[list[Pseudopotential], list[EngineError]]:
    """Readable files of an element, and what is wrong with the files that only their names give to it."""
    good, bad = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        try:
            header = read_header(path)
        except EngineError as error:
            if re.match(rf"{element}(?![a-z])", path.name, re.IGNORECASE):
                bad.append(error)
            continue
        if header.element == element:
            good.append(header)
    return good, bad


def too_soft(chosen: Mapping[str, Pseudopotential], cutoff_ry: float) -> list[str]:
    """A line for every pseudopotential whose suggested minimum is above a cutoff (Ry)."""
    return [
        f"pseudopotential '{p.path.name}' of {element} needs at least {p.cutoff_ry:.4g} Ry "
        f"({p.cutoff_ry * RYDBERG_EV:.0f} eV), the card gives {cutoff_ry:.4g} Ry ({cutoff_ry * RYDBERG_EV:.0f} eV)"
        for element, p in sorted(chosen.items())
        if p.cutoff_ry is not None and p.cutoff_ry > cutoff_ry * (1 + 1e-6)
    ]


def pseudopotentials_of(elements: Iterable[str], settings: QeSettings) -> dict[str, Pseudopotential]:
    """Return the file of each element as the settings name it; nothing for no element.

    Raises
    ------
    EngineError
        As :func:`choose_pseudopotentials`.
    """
    wanted = sorted(set(elements))
    if not wanted:
        return {}
    return choose_pseudopotentials(wanted, potentials_folder(settings.potentials), settings.potentials_of)


def fitting_pseudopotentials(
    elements: Iterable[str], card: MethodCard, settings: QeSettings
) -> dict[str, Pseudopotential]:
    """Return the file of each element, fit for the cutoff of a card.

    Parameters
    ----------
    elements
        Symbols.
    card
        Gives the cutoff.
    settings
        Name the folder, and the file of an element where it holds several.

    Raises
    ------
    EngineError
        As :func:`choose_pseudopotentials`; or if a file needs a higher cutoff.
    """
    chosen = pseudopotentials_of(elements, settings)
    hard = [] if card.cutoff_ev is None else too_soft(chosen, card.cutoff_ev / ASE_RYDBERG_EV)
    if hard:
        raise EngineError("; ".join(hard), f"raise cutoff_ev of card '{card.name}', or use softer pseudopotentials")
    return chosen
