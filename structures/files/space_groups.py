"""Symmetry as a structure file states it: symbols, numbers and lists of operations, turned into operations.

Symbols are resolved by gemmi's table; the operations of its rows are compared with spglib's database of the 530
Hall settings, so that two tables made apart from each other must agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Lattice

DENOMINATOR = gemmi.Op.DEN
"""Translations are whole numbers of 1/24 of a lattice vector."""
MAX_OPERATIONS = 1000
_METRIC_TOLERANCE = 4e-3
"""How far a symmetry operation may change a length, as a fraction, or the cosine of an angle."""


@dataclass(frozen=True)
class Operations:
    """The operations of one space group in one setting, without the translations of the lattice.

    Parameters
    ----------
    rotations
        Integers, shape (n, 3, 3), acting on columns of fractional coordinates.
    translations
        In 24ths of the lattice vectors, 0 to 23, shape (n, 3).
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.int64]

    @classmethod
    def of(cls, operations: Iterable[gemmi.Op]) -> Operations:
        """Return the distinct operations of a list of gemmi's, in its order.

        Raises
        ------
        ValueError
            If one is not a symmetry of a lattice.
        """
        distinct: dict[bytes, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for operation in operations:
            rotation, rest = np.divmod(np.array(operation.rot, dtype=np.int64), DENOMINATOR)
            if rest.any() or abs(round(np.linalg.det(rotation))) != 1 or abs(rotation).max() > 1:
                raise ValueError(f"'{operation.triplet()}' is not a symmetry operation")
            translation = np.array(operation.tran, dtype=np.int64) % DENOMINATOR
            distinct.setdefault(rotation.tobytes() + translation.tobytes(), (rotation, translation))
        rotations, translations = zip(*distinct.values(), strict=True)
        return cls(np.array(rotations), np.array(translations))

    def __len__(self) -> int:
        """Number of operations."""
        return len(self.rotations)

    @property
    def codes(self) -> NDArray[np.int64]:
        """One number for each operation, equal for equal operations."""
        return _codes(self.rotations, self.translations)

    def same_as(self, other: Operations) -> bool:
        """Whether both hold the same operations, in whatever order."""
        return len(self) == len(other) and set(self.codes.tolist()) == set(other.codes.tolist())

    def is_group(self) -> bool:
        """Whether the product of any two is one of them, and the identity is there."""
        products = np.einsum("aij,bjk->abik", self.rotations, self.rotations).reshape(-1, 3, 3)
        shifts = np.einsum("aij,bj->abi", self.rotations, self.translations) + self.translations[:, None]
        codes = _codes(products, shifts.reshape(-1, 3) % DENOMINATOR)
        identity = _codes(np.eye(3, dtype=np.int64)[None], np.zeros((1, 3), dtype=np.int64))
        return bool(np.isin(codes, self.codes).all() and identity[0] in self.codes)

    def fit(self, lattice: Lattice) -> bool:
        """Whether every operation keeps the lengths and angles of the cell."""
        metric = lattice.metric_tensor
        images = np.einsum("nji,jk,nkl->nil", self.rotations, metric, self.rotations)
        scale = np.outer(lattice.abc, lattice.abc)
        return bool((abs(images - metric) <= _METRIC_TOLERANCE * scale).all())

    def number(self) -> int | None:
        """Number of the space group in International Tables, None if it cannot be found."""
        group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(text) for text in self.as_xyz()]))
        if group is not None:
            return int(group.number)
        kind = spglib.get_spacegroup_type_from_symmetry(self.rotations, self.translations / DENOMINATOR)
        return None if kind is None else int(kind.number)

    def as_xyz(self) -> list[str]:
        """The operations as a CIF writes them, such as ``-x,y+1/2,z``."""
        texts = []
        for rotation, translation in zip(self.rotations, self.translations, strict=True):
            operation = gemmi.Op()
            operation.rot = (rotation * DENOMINATOR).tolist()
            operation.tran = translation.tolist()
            texts.append(operation.triplet())
        return texts


def _codes(rotations: NDArray[np.int64], translations: NDArray[np.int64]) -> NDArray[np.int64]:
    # Entries outside -1..1 (a product of two list entries that form no group) still give distinct numbers.
    digits = np.concatenate([rotations.reshape(-1, 9) + 12, translations], axis=1)
    return digits @ (25 ** np.arange(12, dtype=np.int64))


@dataclass(frozen=True)
class Setting:
    """One space group in one setting: which axes, which origin.

    Parameters
    ----------
    number
        Number in International Tables.
    symbol
        Extended Hermann-Mauguin symbol, such as ``"F d -3 m:2"``.
    operations
        Its operations.
    """

    number: int
    symbol: str
    operations: Operations

    @property
    def hall_number(self) -> int | None:
        """Number among spglib's 530 settings that has the same operations, None if none has."""
        settings = _hall_settings(self.number)
        return next((hall for hall, operations in settings.items() if operations.same_as(self.operations)), None)


@lru_cache(maxsize=530)
def _hall_type(hall_number: int) -> spglib.SpaceGroupType:
    group_type = spglib.get_spacegroup_type(hall_number)
    if group_type is None:
        raise ValueError(f"there is no Hall number {hall_number}")
    return group_type


@lru_cache(maxsize=230)
def _hall_settings(number: int) -> dict[int, Operations]:
    """spglib's settings of one space group, by Hall number."""
    settings = {}
    for hall in range(1, 531):
        if _hall_type(hall).number == number:
            symmetry = spglib.get_symmetry_from_database(hall) or {}
            translations = np.rint(symmetry["translations"] * DENOMINATOR).astype(np.int64) % DENOMINATOR
            settings[hall] = Operations(symmetry["rotations"].astype(np.int64), translations)
    return settings


def operations_of_hall_number(hall_number: int) -> Operations:
    """Operations of one of the 530 Hall settings, from spglib's database.

    Parameters
    ----------
    hall_number
        1 to 530.

    Returns
    -------
    Operations
    """
    return _hall_settings(_hall_type(hall_number).number)[hall_number]


def settings_of_hall_symbol(symbol: str) -> Setting | None:
    """The setting that a Hall symbol names.

    Parameters
    ----------
    symbol
        Such as ``"-F 4 2 3"``; underscores stand for blanks.

    Returns
    -------
    Setting or None
        None if it is not a Hall symbol.
    """
    text = " ".join(symbol.replace("_", " ").split())
    if not re.fullmatch(r"-?[A-Za-z][-0-9a-zA-Z'\"*=^ ().,+/]{0,60}", text):
        return None
    try:
        operations = Operations.of(gemmi.symops_from_hall(text))
    except (RuntimeError, ValueError):
        return None
    number = operations.number()
    return None if number is None or not operations.is_group() else Setting(number, f"Hall {text}", operations)


def settings_of_number(number: int) -> list[Setting]:
    """Every setting of a space group that International Tables list.

    Parameters
    ----------
    number
        1 to 230.

    Returns
    -------
    list of Setting
        The standard one first; one per Hall number.
    """
    return [setting for setting in _table() if setting.number == number and setting.hall_number is not None]


def settings_of_symbol(symbol: str, extension: str | None = None) -> list[Setting]:
    """The settings that a Hermann-Mauguin symbol may mean.

    Parameters
    ----------
    symbol
        In any common spelling: ``"F m -3 m"``, ``"Fm3m"``, ``"P 2_1/c"``, ``"F d -3 m :2"``, ``"F d 3 m Z"``,
        ``"R -3 m H"``, ``"P 21/n 21/m 21/a"``.
    extension
        Setting or origin stated elsewhere in the file: ``"1"``, ``"2"``, ``"H"``, ``"R"``, ``"b1"``, ``"-cba"``.

    Returns
    -------
    list of Setting
        Empty for an unknown symbol; several where the symbol leaves origin or axes open.
    """
    base, own = _without_extension(_cleaned(symbol))
    if base is None:
        return []
    rows = _rows_of(base)
    for code in (own, extension):
        if code:
            rows = [(group, setting) for group, setting in rows if _matches(group, code)]
    return [setting for _, setting in rows]


def _cleaned(symbol: str) -> str:
    """A symbol in ASCII, without markup, without its number in brackets."""
    text = re.sub(r"</?su[bp]>|[$~{}]", "", symbol)
    text = re.sub(r"\\(?:bar|overline)\s*(\d)", r"-\1", text)
    text = re.sub("(\\d)[\u0304\u0305]", r"-\1", text)  # a bar over the digit
    text = text.translate(str.maketrans("\u2212\u2013\u2010\u2011", "----"))
    text = text.translate(str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086", "0123456"))
    text = re.sub(r"\s*\(?\s*(?:no\.?|nr\.?|#)\s*\d{1,3}\s*\)?\s*$", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+\(\s*\d{1,3}\s*\)\s*$", "", text)  # Fm-3m (225)
    text = re.sub(r"(\d)\s*\((\d)\)", r"\1\2", text)  # 6(3)
    text = re.sub(r"(?<=\d)_(?=\d)", "", text).replace("_", " ")
    text = re.sub(r"(?<=[2346]) 1/", "1/", text)  # 2 1/c
    return " ".join(text.split())


_EXTENSIONS = (
    (re.compile(r"(.*?)\s*:\s*([-\w]+)$"), None),
    (re.compile(r"(.*?)\s*\(?\s*origin(?:\s+choice|\s+at)?\s*[:=]?\s*([12])\s*\)?$", re.IGNORECASE), None),
    (re.compile(r"(.*\S)\s+\(?o([12])\)?$", re.IGNORECASE), None),
    (re.compile(r"(.*\S)\s+()S$"), "1"),  # ICSD: origin as in International Tables, first choice
    (re.compile(r"(.*\S)\s+()Z$"), "2"),  # ICSD: origin at the centre of symmetry
    (re.compile(r"(R.*\S)\s*\(?([HhRr])\)?$"), None),
)


def _without_extension(text: str) -> tuple[str | None, str | None]:
    """Symbol and extension; the symbol is None where it is none."""
    if not re.fullmatch(r"[A-Za-z][-A-Za-z0-9/ :()=]{0,40}", text):
        return None, None
    for pattern, meaning in _EXTENSIONS:
        match = pattern.fullmatch(text)
        if match:
            return match[1].strip(), (meaning or match[2]).lower()
    return text, None


def _matches(group: gemmi.SpaceGroup, code: str) -> bool:
    """Whether a row of gemmi's table has the setting of an extension such as ``2``, ``h``, ``b1`` or ``2-cba``."""
    origin = group.ext.strip("\0").lower()
    axes = group.qualifier.strip().lower()
    return code.lower() in {origin, axes, origin + axes, axes + origin} - {""}


@lru_cache(maxsize=1)
def _rows() -> tuple[tuple[gemmi.SpaceGroup, Setting], ...]:
    rows = []
    for group in gemmi.spacegroup_table():
        if re.fullmatch(r"[A-Z]( -?[1-6abcdemn/]+){1,3}", group.hm):  # not gemmi's own names such as "I 2 3a"
            rows.append((group, Setting(group.number, group.xhm(), Operations.of(group.operations()))))
    return tuple(rows)


def _table() -> Iterable[Setting]:
    return (setting for _, setting in _rows())


def _rows_of(base: str) -> list[tuple[gemmi.SpaceGroup, Setting]]:
    """Rows of the table that a symbol without extension may mean, the most usual axes first."""
    letter, *tokens = base.lower().split() if " " in base else [base[0].lower(), base[1:].lower()]
    if len(tokens) == 1:  # "F m-3m" is written like "Fm-3m"
        base = base.replace(" ", "")
    short = [row for row in _rows() if 3 <= row[0].number <= 15 and _short(row[0].hm) == (letter, *tokens)]
    if short:
        # A short monoclinic symbol leaves the unique axis open; b is meant where the cell does not say otherwise.
        listed = [row for row in short if row[1].hall_number is not None] or short
        return sorted(listed, key=lambda row: "bca".index(row[0].qualifier.strip("-")[:1] or "b"))
    group = gemmi.find_spacegroup_by_name(base)
    if group is not None and _same_tokens(base, group):
        rows = [row for row in _rows() if row[0].number == group.number and row[0].hm == group.hm]
        return [row for row in rows if letter != "h" or row[0].ext == "H"]
    halls = _full_symbols().get(_packed(base), [])
    halls = [hall for hall in halls if " " not in base or _spaced(hall) == _spaced_tokens(base)]
    return [row for row in _rows() if row[1].hall_number in halls] if halls else []


def _short(hm: str) -> tuple[str, ...]:
    letter, *tokens = hm.lower().split()
    return letter, *(part for part in tokens if part != "1")


def _same_tokens(base: str, group: gemmi.SpaceGroup) -> bool:
    """Whether a symbol is written like the one found: gemmi ignores blanks, and 'P 31 2' is not 'P 3 1 2'."""
    if " " not in base:
        return True
    given, of_group = base.lower().split(), group.hm.lower().split()
    if given[0] == "h":
        given[0] = "r"
    if group.number in (39, 41, 64, 67, 68):  # e stands for two glide planes in one
        given, of_group = ([re.sub("[abce]", "e", token) for token in tokens] for tokens in (given, of_group))
    if group.number >= 195:
        given, of_group = ([token.removeprefix("-") for token in tokens] for tokens in (given, of_group))
    return given == of_group


def _packed(symbol: str) -> str:
    return re.sub(r"[\s_]", "", symbol).lower()


def _spaced_tokens(symbol: str) -> list[str]:
    return symbol.replace("_", "").lower().split()


def _spaced(hall_number: int) -> list[str]:
    return _spaced_tokens(_hall_type(hall_number).international_full)


@lru_cache(maxsize=1)
def _full_symbols() -> dict[str, list[int]]:
    """Hall numbers by full symbol, such as ``P 21/n 21/m 21/a`` for P n m a."""
    symbols: dict[str, list[int]] = {}
    for hall in range(1, 531):
        symbols.setdefault(_packed(_hall_type(hall).international_full), []).append(hall)
    return symbols


def fitting(settings: Sequence[Setting], lattice: Lattice) -> list[Setting]:
    """The settings whose operations keep the cell.

    Parameters
    ----------
    settings
        Candidates.
    lattice
        The cell.

    Returns
    -------
    list of Setting
    """
    return [setting for setting in settings if setting.operations.fit(lattice)]
