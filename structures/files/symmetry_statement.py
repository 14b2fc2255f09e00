"""What a file states about its symmetry, and the settings that agree with all of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pymatgen.core import Lattice

from anodeflow.structures.files.space_groups import (
    Operations,
    Setting,
    settings_of_hall_symbol,
    settings_of_number,
    settings_of_symbol,
)


class SymmetryError(ValueError):
    """The symmetry is not known, or stated in two ways that contradict each other; one line."""


@dataclass(frozen=True)
class SymmetryStatement:
    """The symmetry as a file states it; what is not stated is None or empty.

    Parameters
    ----------
    symbols
        Hermann-Mauguin symbols.
    halls
        Hall symbols.
    numbers
        Numbers in International Tables.
    setting
        Code of the setting, such as ``2``, ``h`` or ``b1``.
    operations
        The listed operations.
    """

    symbols: tuple[str, ...] = ()
    halls: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    setting: str | None = None
    operations: Operations | None = None

    def resolve(self, lattice: Lattice) -> Resolved:
        """The settings that agree with the statement and the cell.

        Parameters
        ----------
        lattice
            The cell.

        Returns
        -------
        Resolved

        Raises
        ------
        SymmetryError
            Nothing known is stated, or two statements contradict each other.
        """
        return self._from_operations(lattice) if self.operations is not None else self._from_names(lattice)

    def _from_operations(self, lattice: Lattice) -> Resolved:
        operations = self.operations
        assert operations is not None  # noqa: S101
        if not operations.is_group():
            raise SymmetryError(
                f"its {len(operations)} symmetry operations do not form a group: some are missing or wrong"
            )
        if not operations.fit(lattice):
            raise SymmetryError("its cell does not have the symmetry of its operations")
        number = operations.number()
        if number is None:
            raise SymmetryError(f"its {len(operations)} symmetry operations are those of no known space group")
        stated: dict[int, str] = {}
        for symbol in self.symbols:
            settings = settings_of_symbol(symbol, self.setting)
            stated |= {setting.number: symbol for setting in settings}
            if [setting.number for setting in settings] == [number] and (":" in symbol or self.setting):
                self._compare(operations, settings[0], symbol)
        for symbol in self.halls:
            hall = settings_of_hall_symbol(symbol)
            if hall is not None:
                stated[hall.number] = symbol
                if hall.number == number:
                    self._compare(operations, hall, symbol)
        stated |= {given: f"number {given}" for given in self.numbers}
        name = f"its {len(operations)} operations"
        others = {given: text for given, text in stated.items() if given != number}
        return Resolved([Setting(number, name, operations)], others)

    def _compare(self, operations: Operations, setting: Setting, symbol: str) -> None:
        """Refuse operations in another setting than the one that a symbol names."""
        if not operations.same_as(setting.operations):
            raise SymmetryError(
                f"its {len(operations)} symmetry operations are not those of {symbol!r}, its own symbol"
            )

    def _from_names(self, lattice: Lattice) -> Resolved:
        possible: list[Setting] = []
        named = ""
        for symbol in self.halls:
            hall = settings_of_hall_symbol(symbol)
            if hall is None:
                raise SymmetryError(f"its Hall symbol {symbol!r} is not known, and it lists no symmetry operations")
            if possible and not possible[0].operations.same_as(hall.operations):
                raise SymmetryError(f"its Hall symbols {', '.join(map(repr, self.halls))} contradict each other")
            possible, named = [hall], f"Hall symbol {symbol!r}"
        for symbol in self.symbols:
            settings = settings_of_symbol(symbol, self.setting)
            if not settings:
                setting = f" in the setting {self.setting!r}" if self.setting else ""
                raise SymmetryError(
                    f"its space group symbol {symbol!r}{setting} is not known, and it lists no symmetry operations"
                )
            if not named:
                possible, named = settings, f"symbol {symbol!r}"
                continue
            both = [
                setting
                for setting in possible
                if any(setting.operations.same_as(other.operations) for other in settings)
            ]
            if not both:
                raise SymmetryError(f"its {named} and its symbol {symbol!r} contradict each other")
            possible = both
        for number in self.numbers:
            if not named:
                settings = settings_of_number(number)
                if not settings:
                    raise SymmetryError(f"its space group number {number} is not one of 1 to 230")
                possible, named = settings, f"number {number}"
            elif not any(setting.number == number for setting in possible):
                raise SymmetryError(f"its {named} and its space group number {number} contradict each other")
            possible = [setting for setting in possible if setting.number == number]
        if not named:
            raise SymmetryError("it states no symmetry: no symbol, no number, no operations")
        fit = [setting for setting in possible if setting.operations.fit(lattice)]
        if not fit:
            raise SymmetryError(f"its cell does not have the symmetry of its {named}")
        if self.symbols and 3 <= fit[0].number <= 15:
            fit = fit[:1]  # a short monoclinic symbol: the unique axis that fits the cell, b before c before a
        return Resolved(fit, named=named)


@dataclass(frozen=True)
class Resolved:
    """The symmetry of a file.

    Parameters
    ----------
    settings
        One; several where origin or axes are left open, and the atoms have to decide.
    unconfirmed
        Stated space groups, by number, that differ from the one of the listed operations: a file may list all
        atoms in P 1 and name the group they have, and then the atoms must have it.
    named
        What names the group.
    """

    settings: list[Setting]
    unconfirmed: dict[int, str] = field(default_factory=dict)
    named: str = ""
