"""Values from elsewhere, each with its unit and source (``reference_values.yaml``)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

from anodeflow.errors import InputError
from anodeflow.files import read_package_yaml


class ReferenceValue(BaseModel):
    """A number computed or published elsewhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    unit: str
    spread: float
    what: str
    source: str

    def cite(self) -> str:
        """Return one line: the value, its unit and where it comes from."""
        return f"{self.what}: {self.value:g} ± {self.spread:g} {self.unit} [{self.source}]"


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = read_package_yaml(
        files("anodeflow.analysis").joinpath("reference_values.yaml").read_text("utf-8")
    )
    return data


def reference_value(name: str) -> ReferenceValue:
    """Look up one value by name.

    Raises
    ------
    InputError
        If there is no such value.
    """
    entry = _data().get(name)
    if not isinstance(entry, dict):
        raise InputError(f"no reference value '{name}'", "see analysis/reference_values.yaml")
    return ReferenceValue(name=name, **entry)


def published_values(quantity: str) -> list[dict[str, Any]]:
    """Return all values of one quantity that results are set beside, as rows (paper, system, value, unit, source).

    ``paper`` is the paper that printed it; of what no paper printed it begins with ``reference``.
    """
    return [dict(row) for row in _data()["published"] if row["quantity"] == quantity]


def is_reference(paper: str) -> bool:
    """Return whether a value is a reference (ours, or a database's), not printed by the paper that is compared."""
    return paper.startswith("reference")
