"""Guess what a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.5) -> list[str]:
    """Return the known words that are most like one, the likeliest first.

    Parameters
    ----------
    word
        What was written.
    known
        What it may have been.
    most
        How many to return at most.
    cutoff
        The likeness a word must have, from 0 (none) to 1 (the same).

    Returns
    -------
    list of str
        At most `most`; empty if nothing is like it.

    Examples
    --------
    >>> nearest("vsap", ["vasp", "castep", "gpaw"])
    ['vasp']
    """
    return difflib.get_close_matches(word, list(known), n=most, cutoff=cutoff)


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str | None = None, *, most: int = 3, cutoff: float = 0.5
) -> str:
    """Return the remedy for a misspelt word.

    Parameters
    ----------
    word
        What was written.
    known
        What may stand there.
    otherwise
        What to say when nothing is like it; all known words by default.
    most, cutoff
        See :func:`nearest`.

    Returns
    -------
    str
        To be given as the remedy of an error.

    Examples
    --------
    >>> did_you_mean("vsap", ["vasp", "castep", "gpaw"])
    'did you mean vasp?'
    >>> did_you_mean("x", ["vasp", "gpaw"])
    'known: vasp, gpaw'
    """
    known = list(known)
    near = nearest(word, known, most=most, cutoff=cutoff)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if otherwise is None else otherwise
