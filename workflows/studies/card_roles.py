"""Cards by role: one card for crystals, one for slabs, one for interfaces, in one study.

A paper may relax its crystals with another cutoff and mesh than its slabs. A study names such cards under ``cards``;
the role of every calculation is declared with it (:class:`~anodeflow.workflows.studies.graph.Step`). What is made of
energies of two roles is flagged by those who make it: :meth:`~anodeflow.workflows.studies.graph.Setup.unlike` says how
their cards differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from anodeflow.documents import Dispersion
from anodeflow.errors import InputError
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.yaml_input import Written

#: What a cell is. Strained crystals and supercells of a crystal are crystals; a slab has a vacuum.
Role = Literal["crystal", "slab", "interface"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Cards that engines with electrons are given where a study's card is for potentials.
PLANE_WAVES_OF_CRYSTALS, PLANE_WAVES_OF_SLABS = "pbe-bulk", "pbe-slab"
_PLURAL: dict[Role, str] = {"crystal": "crystals", "slab": "slabs", "interface": "interfaces"}


class Cards(Written):
    """Names or paths of the cards of each role; a role without one has the study's ``card``."""

    crystal: str | None = Field(None, description="card of crystals")
    slab: str | None = Field(None, description="card of slabs and of what is on them")
    interface: str | None = Field(None, description="card of interfaces")

    @field_validator("*", mode="before")
    @classmethod
    def _one_a_role(cls, value: Any) -> Any:
        if isinstance(value, list | tuple | dict):
            raise ValueError("mixed cards of one role: name one card for each of crystal, slab and interface")
        return value

    def named(self) -> dict[Role, str]:
        """Return the cards that are named, the most special role first."""
        return {role: name for role in reversed(ROLES) if (name := getattr(self, role)) is not None}


def check_roles(cards: Mapping[str, MethodCard], engine: Engine, elements: Iterable[str]) -> None:
    """Refuse cards of one study whose energies have nothing to do with each other.

    Parameters
    ----------
    cards
        By role; ``study`` for the rest.
    engine
        To which potentials that a card names may mean something.
    elements
        Of the study.

    Raises
    ------
    InputError
        If a card says nothing of electrons, or functionals or potentials differ.
    """
    elements = list(elements)
    (first, card_of_first), *_ = cards.items()
    potentials = engine.named_potentials(elements, card_of_first)
    for role, card in cards.items():
        if card.cutoff_ev is None:
            raise InputError(
                f"cards by role: card '{card.name}' of {role} has no cutoff_ev", "name a card for plane waves: pbe-bulk"
            )
        if card.functional != card_of_first.functional:
            raise InputError(
                f"cards by role: {first} has the functional {card_of_first.functional}, {role} {card.functional}",
                "use one functional in a study",
            )
        if card.dispersion != card_of_first.dispersion:
            raise InputError(
                f"cards by role: {first} has dispersion {card_of_first.dispersion or 'none'}, {role} "
                f"{card.dispersion or 'none'}: their energies are never combined",
                "give all cards of a study the same 'dispersion'",
            )
        for element, symbol in engine.named_potentials(elements, card).items():
            if potentials.get(element) != symbol:
                raise InputError(
                    f"cards by role: {first} has the potential {potentials.get(element)} of {element}, {role} "
                    f"{symbol}: total energies have the zero of their potentials",
                    "name the same potentials_of in both cards",
                )


def plane_wave_card(only_crystals: bool, dispersion: Dispersion | None = None) -> MethodCard:
    """Return the default card of engines with electrons.

    Parameters
    ----------
    only_crystals
        Whether there is no vacuum and no interface.
    dispersion
        The correction of the card whose place it takes, which stays.
    """
    card = load_card(PLANE_WAVES_OF_CRYSTALS if only_crystals else PLANE_WAVES_OF_SLABS)
    if dispersion is None:
        return card
    return card.model_copy(update={"name": f"{card.name}-{dispersion}", "dispersion": dispersion})


def for_electrons(card: MethodCard) -> bool:
    """Return whether a card says anything of electrons; one that does not is a card for potentials."""
    return card.cutoff_ev is not None or card.kpoints is not None


def differ(role: Role, card: MethodCard, other: Role, other_card: MethodCard) -> str:
    """Return how the cards of two roles differ, as text.

    Parameters
    ----------
    role, card
        The first role.
    other, other_card
        The second.
    """
    return f"{_PLURAL[role]} have card {brief(card)}, {_PLURAL[other]} {brief(other_card)}"


def brief(card: MethodCard) -> str:
    """Return the name of a card with its cutoff and k-points."""
    cutoff = [] if card.cutoff_ev is None else [f"{card.cutoff_ev:g} eV"]
    mesh = []
    if card.kpoints is not None:
        kpoints = card.kpoints
        mesh = ["x".join(map(str, kpoints.mesh)) if kpoints.mesh else f"{kpoints.spacing_per_angstrom:g} per angstrom"]
    inside = ", ".join([*cutoff, *mesh])
    return f"{card.name} ({inside})" if inside else card.name
