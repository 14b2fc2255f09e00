"""The option that names the elements of LAMMPS' atom types."""

from __future__ import annotations

from anodeflow.errors import InputError


def types_of(text: str) -> dict[int, str]:
    """Read the elements of LAMMPS' atom types: ``Li,Cl`` in their order, or ``1=Li,2=Cl``.

    Raises
    ------
    InputError
        If something is not an element, or a type has two.
    """
    from pymatgen.core import Element

    types: dict[int, str] = {}
    for position, part in enumerate(text.split(","), start=1):
        number, separator, symbol = part.strip().rpartition("=")
        if separator and not (number.strip().isdecimal() and len(number.strip()) < 6):
            raise InputError(f"--types {text!r:.60}: {part!r:.20} is not type=element", "write 1=Li,2=Cl or Li,Cl")
        kind = int(number) if separator else position
        if not Element.is_valid_symbol(symbol.strip()) or kind in types:
            raise InputError(
                f"--types {text!r:.60}: {part.strip()!r:.20} is not an element, or its type is named twice",
                "name each atom type once by a chemical symbol, such as Li,Cl",
            )
        types[kind] = symbol.strip()
    return types
