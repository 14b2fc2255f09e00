"""The element that a type symbol or a label names."""

from __future__ import annotations

import re
from collections.abc import Collection

from pymatgen.core import Element

_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:\(?(?:[0-9]*\.?[0-9]*[+-]|[+-]?[0-9]+\.?[0-9]*)?\)?)")


def element_of_symbol(text: str) -> str:
    """Element of a type symbol, with or without a charge or number.

    Parameters
    ----------
    text
        Such as ``Li``, ``LI``, ``Li1+``, ``S2-``, ``Cl(-1)`` or ``Li3``.

    Returns
    -------
    str
        Chemical symbol.

    Raises
    ------
    ValueError
        It names no element, or an isotope of hydrogen.
    """
    match = _SYMBOL.fullmatch(text.strip())
    symbol = match[1].capitalize() if match else ""
    if symbol in ("D", "T"):
        raise ValueError(f"{symbol} is an isotope of hydrogen; the codes here compute H, write that")
    if not symbol or not Element.is_valid_symbol(symbol):
        raise ValueError(f"{text.strip()[:20]!r} is not a chemical element")
    return symbol


def element_of_label(text: str, elements: Collection[str] = ()) -> str:
    """Element of the label of an atom, which begins with it.

    Parameters
    ----------
    text
        Such as ``Li1``, ``S2a``, ``Cl_3``, ``Li+`` or ``LI1``.
    elements
        The elements of the crystal, where its formula is stated: they decide whether ``CL1`` is Cl or C and what
        ``Ow`` is, and the formula is compared with the atoms afterwards.

    Returns
    -------
    str
        Chemical symbol.

    Raises
    ------
    ValueError
        It begins with no element, or with one of two.
    """
    letters = re.match(r"[A-Za-z]*", text.strip())[0]  # type: ignore[index]
    one_letter, two_letters = letters[:1].upper(), letters[:2].capitalize()
    possible = [
        name for name in dict.fromkeys((two_letters, one_letter)) if Element.is_valid_symbol(name) or name in ("D", "T")
    ]
    if elements:
        possible = [name for name in possible if name in elements][:1]
    elif letters[1:2].islower() and letters[0].isupper():
        # Written as a symbol is: its second letter belongs to it, and no further small letter may follow.
        possible = [two_letters] if two_letters in possible and not letters[2:3].islower() else []
    if len(possible) != 1:
        reason = f"may be {' or '.join(possible)}" if possible else "names no chemical element"
        raise ValueError(f"the label {text.strip()[:20]!r} {reason}; give type symbols")
    return element_of_symbol(possible[0])


def element_of_number(number: int) -> str:
    """Element of an atomic number.

    Parameters
    ----------
    number
        1 to 118.

    Returns
    -------
    str
        Chemical symbol.

    Raises
    ------
    ValueError
        There is no such element.
    """
    if not 1 <= number <= 118:
        raise ValueError(f"there is no element with the atomic number {number}")
    return str(Element.from_Z(number).symbol)
