"""Classes of stored documents that have moved to another module: documents written before are still read."""

from __future__ import annotations

from monty.json import MSONable

#: Old module: new module. Stored documents name their class by the old one.
MOVED_MODULES = {"anodeflow.analysis.documents": "anodeflow.documents"}
#: Classes in them that a stored document may name.
MOVED_CLASSES = {
    "anodeflow.analysis.documents": ("CalculationDoc", "CardRecord", "Document", "EngineRecord", "StudyDoc")
}


def redirect_old_names() -> None:
    """Tell monty's decoder where the classes of old documents are now."""
    for old, new in MOVED_MODULES.items():
        known = MSONable.REDIRECT.setdefault(old, {})
        for name in MOVED_CLASSES[old]:
            known[name] = {"@module": new, "@class": name}
