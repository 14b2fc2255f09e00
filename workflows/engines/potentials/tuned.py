"""The card beside a tuned model file: what it learned, and under which licence its base came."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from anodeflow.files import file_sha256

CARD = "card.json"
_LARGEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class TunedRecord:
    """What a card says of its model.

    Attributes
    ----------
    functional
        Whose energies it gives; None where its base did not say.
    training_data
        In one line.
    licence
        Of the base model's weights.
    """

    functional: str | None
    training_data: str
    licence: str | None


def tuned_record(model: Path) -> TunedRecord | None:
    """Return what the card beside a model says; None where there is none, or it is of another file.

    Parameters
    ----------
    model
        The model file.
    """
    card = model.parent / CARD
    try:
        if not card.is_file() or card.stat().st_size > _LARGEST_BYTES:
            return None
        content = json.loads(card.read_text(encoding="utf-8"))
        if content["doc_type"] != "TunedModelDoc" or content["model_sha256"] != file_sha256(model):
            return None
        frames = sum(len(entry["digests"]) for entry in content["data"] if entry["set"] == "training")
        functional, licence = content["functional"], content["licence"]
        text = (
            f"{content['base'].get('training_data') or content['base']['name']}; then {frames} frames by "
            f"{content['engine']['name']}, card {content['card']['name']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TunedRecord(None if functional is None else str(functional), text, None if licence is None else str(licence))
