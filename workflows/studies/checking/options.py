"""What a study file may say under ``check``, and what of it can be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.card_roles import for_electrons, plane_wave_card
from anodeflow.yaml_input import Seed, Written

if TYPE_CHECKING:
    from anodeflow.workflows.studies.base import Study


class Check(Written):
    """Structures of a study that an engine with electrons computes again, as single points.

    Parameters
    ----------
    engine, card
        With electrons; the card may be the path of a file.
    lowest
        Lowest states of each composition.
    disputed
        Further states of each composition: those that a second potential orders differently, or else those whose
        energies are closest to another's.
    disputed_by
        The second potential.
    frames
        Frames of dynamics of each system, chosen for variety.
    displaced, displacement_angstrom, seed
        Copies of the lowest state of each composition in which every atom is moved by a random vector of at most this
        length: at a minimum of the potential its forces vanish, and say nothing of their slope.
    """

    engine: str = Field(description="engine with electrons: gpaw, qe, castep or vasp")
    card: str | None = Field(None, description="card of the check; default: the one for plane waves of such cells")
    lowest: int = Field(0, ge=0, le=100, description="lowest states of each composition")
    disputed: int = Field(0, ge=0, le=100, description="further states, whose order is least sure")
    disputed_by: str | None = Field(None, description="potential whose disagreement chooses the disputed states")
    frames: int = Field(0, ge=0, le=1000, description="frames of dynamics of each system")
    displaced: int = Field(1, ge=0, le=20, description="displaced copies of the lowest state of each composition")
    displacement_angstrom: float = Field(0.1, ge=0.01, le=0.5, description="how far atoms of a copy are moved at most")
    seed: Seed = Field(0, description="of the random vectors of displaced copies")

    @model_validator(mode="after")
    def _something_is_asked(self) -> Check:
        if not (self.lowest or self.disputed or self.frames):
            raise ValueError("nothing is checked: give lowest, disputed or frames")
        if self.disputed_by is not None and not self.disputed:
            raise ValueError("disputed_by chooses disputed states: say how many, e.g. disputed: 2")
        return self

    @property
    def states(self) -> int:
        """States of each composition."""
        return self.lowest + self.disputed


def check_card(study: Study, check: Check) -> MethodCard:
    """Return the card of the check.

    Parameters
    ----------
    study, check
        Relative paths are beside the file of the study.

    Raises
    ------
    InputError
        If it says nothing of electrons, or its dispersion is not the study's.
    """
    default = plane_wave_card(study.only_crystals(), study.method.dispersion)
    card = default if check.card is None else load_card(study.beside(check.card))
    if not for_electrons(card):
        raise InputError(f"check: card '{card.name}' says nothing of electrons", f"name one that does: {default.name}")
    if card.dispersion != study.method.dispersion:
        raise InputError(
            f"check: card '{card.name}' has dispersion {card.dispersion or 'none'}, the study's card "
            f"'{study.method.name}' {study.method.dispersion or 'none'}: they are never compared",
            "name a card with the same 'dispersion'",
        )
    return card


def identity_of(study: Study, check: Check) -> dict[str, Any]:
    """Return what the hash of a study holds of its check besides the settings.

    Parameters
    ----------
    study, check
        What is to be hashed.
    """
    card = check_card(study, check)
    record = get_engine(check.engine).record_with(card, study.elements())
    second = None if check.disputed_by is None else get_engine(check.disputed_by).record().hash
    return {"card": card.hash, "engine": record.hash, "potentials": record.potentials, "disputed_by": second}


def check_engines(study: Study, check: Check, dry: bool) -> list[str]:
    """Refuse engines that cannot check the study; return notes.

    Parameters
    ----------
    study, check
        Which, and by which.
    dry
        Nothing is computed: what is missing is a note.

    Raises
    ------
    InputError
        If the engine has no electrons or is that of the study, or the second potential is not another potential.
    EngineError
        If one is not there.
    """
    engine = get_engine(check.engine)
    if check.engine == study.engine:
        raise InputError(f"check: engine '{check.engine}' is that of the study", "name another, with electrons")
    if not engine.capabilities.electrons:
        raise InputError(f"check: engine '{check.engine}' has no electrons", "name gpaw, qe, castep or vasp")
    card = check_card(study, check)
    engine.check_dispersion(card)
    missing = [f"{item} (for the check)" for item in engine.missing(study.elements(), card)]
    if check.disputed_by is not None:
        missing += _second_potential(study, check.disputed_by, card)
    if missing and not dry:
        raise EngineError(f"check: {'; '.join(missing)}", "supply it, or leave the check out")
    notes = [f"missing: {item}" for item in missing]
    if not missing:
        notes += [f"check: {note}" for note in engine.preflight(card)]
    return notes


def _second_potential(study: Study, name: str, card: MethodCard) -> list[str]:
    second: Engine = get_engine(name)
    if second.capabilities.electrons:
        raise InputError(f"check: disputed_by: '{name}' has electrons", "name a potential: it computes every state")
    if name == study.engine:
        raise InputError(f"check: disputed_by: '{name}' is the engine of the study", "name another potential")
    second.check_dispersion(study.method)
    return [f"{item} (it disputes states)" for item in second.missing(study.elements(), card)]


def check_counts(check: Check, states: Mapping[str, int], frames: Mapping[str, int], kind: str) -> None:
    """Refuse to check more than a study has.

    Parameters
    ----------
    check
        What is asked.
    states
        Planned states of each composition.
    frames
        Planned frames of each system.
    kind
        Of the study.

    Raises
    ------
    InputError
        With how many there are.
    """
    if check.frames and not frames:
        raise InputError(f"check: frames: {check.frames}, and a study of {kind} has no dynamics", "leave frames out")
    if check.states and not states:
        raise InputError(
            f"check: a study of {kind} has no states to compare", "check frames: N" if frames else "leave the check out"
        )
    if states and check.states > max(states.values()):
        most = max(states, key=lambda name: states[name])
        asked = f"lowest {check.lowest} and disputed {check.disputed}" if check.disputed else f"lowest {check.lowest}"
        raise InputError(
            f"check: {asked} of each composition, and the study has {states[most]} at most ({most})", "ask for fewer"
        )
    for name, count in frames.items():
        if check.frames > count:
            raise InputError(f"check: frames: {check.frames}, and {name} has {count}", "ask for fewer")
