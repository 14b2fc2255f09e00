"""Where Li is in a host: its states, and which of them answer the same question."""

from __future__ import annotations

from typing import Literal, get_args

State = Literal["interstitial", "substitution", "held", "adsorbed"]
STATES: tuple[State, ...] = get_args(State)
#: Binding energies of one kind may be subtracted from each other.
Kind = Literal["added", "held"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STATE_TEXT: dict[State, str] = {
    "interstitial": "Li added between the atoms of the crystal",
    "substitution": "Li in the place of an atom, which returns to its reservoir",
    "held": "Li of the crystal: minus the energy of taking one out",
    "adsorbed": "Li added on the surface",
}
KIND_TEXT: dict[Kind, str] = {
    "added": "lowest of the states of an added Li: where a Li atom goes",
    "held": "Li that the crystal holds: how strongly it keeps the one that leaves first",
}


def kind_of(state: State) -> Kind:
    """Return which question a state answers: where an added Li goes, or how strongly a crystal keeps its Li."""
    return "held" if state == "held" else "added"


def state_before_states(environment: str) -> State:
    """Return the state of results that were stored before a state was."""
    return "interstitial" if environment == "bulk" else "adsorbed"
