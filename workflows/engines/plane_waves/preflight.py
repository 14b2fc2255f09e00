"""What every plane-wave engine checks before anything is run."""

from __future__ import annotations

from collections.abc import Callable

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard


def check_card(card: MethodCard, program: str) -> None:
    """Refuse a card that says too little for plane waves, or asks for a functional that is not set up.

    Raises
    ------
    EngineError
        If it has no cutoff, no k-points, or another functional than PBE.
    """
    for name in ("cutoff_ev", "kpoints"):
        if getattr(card, name) is None:
            raise EngineError(
                f"card '{card.name}' has no {name}, which {program} needs",
                "choose a card for plane waves, such as pbe-slab",
            )
    if card.functional != "PBE":
        raise EngineError(f"card '{card.name}' asks for functional {card.functional}", "only PBE is set up")


def problems(*checks: Callable[[], object]) -> list[str]:
    """Return what is wrong with what several checks look at, each problem once; empty where nothing is.

    Parameters
    ----------
    *checks
        Functions that raise EngineError.
    """
    lines = []
    for check in checks:
        try:
            check()
        except EngineError as error:
            lines.append(error.problem)
    return list(dict.fromkeys(lines))
