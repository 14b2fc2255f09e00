"""POTCAR files: where they are, what their headers say, and whether they suit a card.

Nothing of a POTCAR but a dozen header entries and a digest leaves this module: the licence of VASP forbids it.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pymatgen.core import Element

from anodeflow.errors import EngineError
from anodeflow.files import short_digest
from anodeflow.settings import VaspSettings, expanded
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.vasp.published import ENMAX_EV, SOURCE

# Functional library asked for, and the folder names it has under PMG_VASP_PSP_DIR.
FUNCTIONAL = "PBE_54"
_FOLDERS = ("POT_GGA_PAW_PBE_54", "potpaw_PBE.54", "potpaw_PBE_54", "")
# The header's name of the functional of Perdew, Burke and Ernzerhof.
PBE = "PE"
_LARGEST_BYTES = 50_000_000

# Recommended potentials (VASP Wiki, "Available pseudopotentials", potpaw.54) and the electrons each brings.
_RECOMMENDED: dict[str, tuple[str, int]] = {
    "H": ("H", 1), "Li": ("Li_sv", 3), "Be": ("Be", 2), "B": ("B", 3), "C": ("C", 4), "N": ("N", 5), "O": ("O", 6),
    "F": ("F", 7), "Na": ("Na_pv", 7), "Mg": ("Mg", 2), "Al": ("Al", 3), "Si": ("Si", 4), "P": ("P", 5),
    "S": ("S", 6), "Cl": ("Cl", 7), "K": ("K_sv", 9), "Ca": ("Ca_sv", 10), "Zn": ("Zn", 12), "Ga": ("Ga_d", 13),
    "Ge": ("Ge_d", 14), "As": ("As", 5), "Se": ("Se", 6), "Br": ("Br", 7), "Ag": ("Ag", 11), "In": ("In_d", 13),
    "Sn": ("Sn_d", 14), "Sb": ("Sb", 5), "Te": ("Te", 6), "I": ("I", 7),
}  # fmt: skip
# Electrons of other symbols of the elements above; in spec mode no file says them.
_OTHER_VALENCES = {"Li": 1, "Na": 1, "Mg_pv": 8, "In": 3, "Sn": 4, "Ga": 3, "Ge": 4, "H_h": 1, "S_h": 6, "P_h": 5,
                  "Cl_h": 7, "Na_sv": 9, "K_pv": 7, "Mg_sv": 10}  # fmt: skip


class MissingPotcarError(EngineError):
    """There is no POTCAR for an element; inputs can be written without."""


@dataclass(frozen=True)
class PotcarFile:
    """What is kept of one POTCAR.

    Attributes
    ----------
    symbol
        Such as ``Li_sv``.
    title
        The TITEL entry, by which VASP's own output names the file.
    valence
        ZVAL, electrons.
    enmax_ev, enmin_ev
        Recommended and smallest cutoff, eV.
    functional
        The LEXCH entry, ``PE`` for PBE.
    digest
        First 16 hex digits of the SHA-256 of the file's text.
    known
        Whether pymatgen's table of released files has it.
    """

    path: Path
    symbol: str
    title: str
    element: str
    valence: int
    enmax_ev: float
    enmin_ev: float
    functional: str
    digest: str
    known: bool


def settings_for(card: MethodCard | None, settings: VaspSettings) -> VaspSettings:
    """Return the settings with the potentials that a card names, which go before those of the machine."""
    if card is None or not card.potentials_of:
        return settings
    return settings.model_copy(update={"potentials_of": settings.potentials_of | card.potentials_of})


def potcar_symbol(element: str, settings: VaspSettings) -> str:
    """Return the symbol for an element: the settings' choice, else the recommended one, else the element."""
    return settings.potentials_of.get(element) or _RECOMMENDED.get(element, (element, 0))[0]


def potcar_folder(settings: VaspSettings) -> Path | None:
    """Return the folder of POTCARs: that of the settings, else PMG_VASP_PSP_DIR, else None."""
    if settings.potentials is not None:
        return expanded(settings.potentials)
    named = os.environ.get("PMG_VASP_PSP_DIR")
    return Path(named).expanduser() if named else None


def _paths_to_try(symbol: str, folder: Path) -> list[Path]:
    """Return where a POTCAR may be: pymatgen's layout, or that of VASP's own archive."""
    places = [folder / name for name in _FOLDERS]
    names = [Path(f"POTCAR.{symbol}.gz"), Path(f"POTCAR.{symbol}"), Path(symbol, "POTCAR"), Path(symbol, "POTCAR.gz")]
    return [place / name for place in places for name in names]


def find_potcar(element: str, settings: VaspSettings) -> PotcarFile:
    """Return the POTCAR of an element.

    Raises
    ------
    MissingPotcarError
        If there is none; the paths tried are named.
    EngineError
        If it cannot be used.
    """
    symbol, folder = potcar_symbol(element, settings), potcar_folder(settings)
    if folder is None:
        raise MissingPotcarError(
            f"no folder of POTCARs for {symbol}: neither vasp.potentials in the settings nor PMG_VASP_PSP_DIR is set",
            "set one; anodeflow plan can write inputs with a POTCAR.spec without",
        )
    tried = _paths_to_try(symbol, folder)
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        where = (
            f"{folder / _FOLDERS[0]}/POTCAR.{symbol}(.gz) or {symbol}/POTCAR(.gz), {_FOLDERS[1]} and {folder} itself"
        )
        raise MissingPotcarError(
            f"no POTCAR for {symbol} ({element}): tried {where}",
            "put it there, or name another under potentials_of in the card or the settings (section vasp)",
        )
    try:
        stat = path.stat()
    except OSError as error:
        raise EngineError(f"cannot read the POTCAR '{path}': {error.strerror}", "check it") from None
    file = _read(path, symbol, stat.st_mtime_ns, stat.st_size)
    if file.element != element:
        raise EngineError(f"POTCAR '{path}' is of {file.element}, not of {element}", "correct vasp.potentials_of")
    return file


@lru_cache(maxsize=128)
def _read(path: Path, symbol: str, _changed: int, size: int) -> PotcarFile:
    if size > _LARGEST_BYTES:
        raise EngineError(f"'{path}' is not a POTCAR of one element: {size} bytes", "check the file")
    single = _read_single(path)
    values: dict[str, Any] = single.keywords
    try:
        numbers = [float(values[key]) for key in ("ZVAL", "ENMAX", "ENMIN")]
        functional, title, element = str(values["LEXCH"]).strip(), str(values["TITEL"]).strip(), single.element
        if not all(math.isfinite(n) and n > 0 for n in numbers):
            raise ValueError(f"ZVAL, ENMAX, ENMIN are {numbers}")
        if abs(numbers[0] - round(numbers[0])) > 1e-6:
            raise ValueError(f"ZVAL is {numbers[0]}, not a whole number")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise EngineError(
            f"POTCAR '{path}' has no usable header: {type(error).__name__}: {error}", "check it"
        ) from None
    if functional.upper() != PBE:
        raise EngineError(
            f"POTCAR '{path}' was made for another functional: LEXCH = {functional}, not {PBE} (PBE)",
            f"use the {FUNCTIONAL} files",
        )
    if not values.get("LPAW", False):
        raise EngineError(f"POTCAR '{path}' is not a PAW data set (LPAW)", f"use the {FUNCTIONAL} files")
    digest = short_digest(single.data.strip())
    known = bool(single.is_valid)
    return PotcarFile(path, symbol, title, element, round(numbers[0]), numbers[1], numbers[2], PBE, digest, known)


def _read_single(path: Path) -> Any:
    """Return a POTCAR of one element as pymatgen's ``PotcarSingle``.

    Raises
    ------
    EngineError
        If it cannot be read.
    """
    from pymatgen.io.vasp.inputs import PotcarSingle

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            single = PotcarSingle.from_file(str(path))
    except (OSError, EOFError) as error:
        raise EngineError(f"cannot read the POTCAR '{path}': {error}", "check the file") from None
    except Exception as error:  # whatever pymatgen's reader meets in a broken file
        raise EngineError(
            f"'{path}' is not a POTCAR that can be read: {type(error).__name__}", "get the file again"
        ) from None
    if "END of PSCTR-controll parameters" not in single.data:
        raise EngineError(f"POTCAR '{path}' is cut off in its header", "get the file again")
    return single


def potcar_texts(elements: Iterable[str], settings: VaspSettings) -> Any:
    """Return pymatgen's ``Potcar`` of the elements in the order given, to be written beside a POSCAR."""
    from pymatgen.io.vasp.inputs import Potcar

    potcar = Potcar()
    potcar.functional = FUNCTIONAL
    for element in elements:
        potcar.append(_read_single(find_potcar(element, settings).path))
    return potcar


def spec_valence(element: str, settings: VaspSettings) -> int | None:
    """Return the electrons an element brings, from the table of recommended symbols; None where it is not known."""
    symbol = potcar_symbol(element, settings)
    recommended = _RECOMMENDED.get(element)
    if recommended is not None and recommended[0] == symbol:
        return recommended[1]
    return _OTHER_VALENCES.get(symbol)


def check_cutoff(files: Mapping[str, PotcarFile], card: MethodCard) -> list[str]:
    """Return notes on a card's cutoff below ENMAX.

    Raises
    ------
    EngineError
        If it is below ENMIN: such a calculation is wrong, not merely coarse.
    """
    notes = []
    for file in files.values():
        if card.cutoff_ev is None:
            continue
        if card.cutoff_ev < file.enmin_ev:
            raise EngineError(
                f"card '{card.name}' has a cutoff of {card.cutoff_ev:g} eV, and POTCAR {file.symbol} needs at least "
                f"{file.enmin_ev:g} (ENMIN; {file.enmax_ev:g} recommended)",
                f"raise the cutoff, or name a softer potential under vasp.potentials_of, e.g. {file.element}: "
                f"{file.element}",
            )
        if card.cutoff_ev < file.enmax_ev:
            notes.append(
                f"cutoff {card.cutoff_ev:g} eV of card '{card.name}' is below ENMAX of POTCAR {file.symbol} "
                f"({file.enmax_ev:g} eV): not converged"
            )
    return notes


def published_cutoff_notes(elements: Iterable[str], settings: VaspSettings, card: MethodCard) -> list[str]:
    """Return notes on a card's cutoff below what is published of the potentials, for elements without a POTCAR here.

    Parameters
    ----------
    elements
        Of the cell.
    settings
        With the card's potentials.
    card
        Its cutoff is compared.
    """
    notes = []
    for element in sorted(set(elements)):
        symbol = potcar_symbol(element, settings)
        published = ENMAX_EV.get(symbol)
        if card.cutoff_ev is None or published is None or card.cutoff_ev >= published:
            continue
        try:
            find_potcar(element, settings)  # its own header decides, when the inputs are made
        except MissingPotcarError:
            notes.append(
                f"cutoff {card.cutoff_ev:g} eV of card '{card.name}' is below ENMAX of {symbol} ({published:g} eV, "
                f"{SOURCE}): not converged; name a softer potential under potentials_of in the card, or raise cutoff_ev"
            )
        except EngineError:
            continue
    return notes


def even_core(element: str, valence: int) -> bool:
    """Return whether valence and atomic number agree on odd or even; cores are closed shells but for 4f elements."""
    number = Element(element).Z
    return number > 56 or (number - valence) % 2 == 0
