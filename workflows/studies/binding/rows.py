"""Convergence rows: the states of a study once more with one setting changed, one setting at a time.

A row is what the study would be with that setting: its cells are built, relaxed and referred as those of the study, so
that its number is one that a study of its own would give, and its calculations are recognised as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.suggest import did_you_mean
from anodeflow.workflows.cards import KPoints, MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.fingerprints import structure_digest
from anodeflow.workflows.studies.binding.cells import Bulk, Cells, Environment, Host, Slab, build_host
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.graph import CalculationStep, Setup, Travelling, crystal_label
from anodeflow.yaml_input import Written

Setting = Literal[
    "bulk.min_image_distance_angstrom",
    "slab.vacuum_angstrom",
    "slab.min_thickness_angstrom",
    "slab.min_lateral_angstrom",
    "kpoints.spacing_per_angstrom",
]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
SPACING: Setting = "kpoints.spacing_per_angstrom"
_BRIEF: dict[Setting, str] = {
    "bulk.min_image_distance_angstrom": "images {:g} A",
    "slab.vacuum_angstrom": "vacuum {:g} A",
    "slab.min_thickness_angstrom": "thickness {:g} A",
    "slab.min_lateral_angstrom": "lateral {:g} A",
    "kpoints.spacing_per_angstrom": "k-spacing {:g}",
}
#: Models that say which values a setting may have.
_PARTS: dict[str, type[Written]] = {"bulk": Bulk, "slab": Slab, "kpoints": KPoints}


def _checked(given: Any) -> Any:
    """Return what ``vary`` says, smallest value first.

    Raises
    ------
    ValueError
        What is wrong, in a line.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{given!r}; give settings with values: {{slab.vacuum_angstrom: [10, 15, 25]}}")
    if not given:
        raise ValueError(f"names no setting; known: {', '.join(SETTINGS)}")
    return {_known(key): _values(key, values) for key, values in given.items()}


def _known(key: Any) -> str:
    if key not in SETTINGS:
        hint = did_you_mean(str(key), SETTINGS, f"known: {', '.join(SETTINGS)}", most=1, cutoff=0.5)
        raise ValueError(f"'{key}' is not a setting that can be varied; {hint}")
    return str(key)


def _values(key: str, values: Any) -> list[float]:
    if not isinstance(values, list) or any(isinstance(value, bool) for value in values):
        raise ValueError(f"{key} is {values!r}; give a list of values")
    part, _, name = key.partition(".")
    numbers = []
    for value in values:
        try:
            model = _PARTS[part].model_validate({name: value})
        except ValidationError as error:
            raise ValueError(f"{key}: {error.errors()[0]['msg']}, not {value!r}") from None
        if (number := getattr(model, name)) is None:
            raise ValueError(f"{key}: give numbers, not {value!r}")
        numbers.append(float(number))
    if len({f"{number:g}" for number in numbers}) != len(numbers):  # as labels of rows name them
        raise ValueError(f"{key} {values} names one value twice; give each once")
    if len(numbers) < 2:
        raise ValueError(f"{key} {values}: one value shows no convergence; give two or more")
    return sorted(numbers)


#: The values of settings, one varied at a time.
Vary = Annotated[dict[Setting, Annotated[list[float], Field(max_length=8)]], BeforeValidator(_checked)]


class Row(Travelling):
    """One setting at one value other than the study's."""

    setting: Setting
    value: float

    @property
    def text(self) -> str:
        """Such as ``vacuum 15 A``: part of labels, so plain letters."""
        return _BRIEF[self.setting].format(self.value)

    def cells(self, cells: Cells) -> Cells:
        """Return the options of cells with the setting changed."""
        part, _, name = self.setting.partition(".")
        if part == "kpoints":
            return cells
        return cells.model_copy(update={part: getattr(cells, part).model_copy(update={name: self.value})})

    def card(self, setup: Setup, role: Role | None) -> MethodCard | None:
        """Return the card of a role with the setting changed; None where it is not a setting of cards."""
        card = setup.card_of(role)
        if self.setting != SPACING or card.kpoints is None:
            return None
        kpoints = {"spacing_per_angstrom": self.value, "centre": card.kpoints.centre}
        return card.varied(self.text, kpoints=kpoints)

    def crystal(self, name: str) -> str:
        """Return the label of the relaxation of a crystal: with other k-points it is another one."""
        return f"{crystal_label(name)}, {self.text}" if self.setting == SPACING else crystal_label(name)

    def crystal_step(self, step: CalculationStep, setup: Setup) -> CalculationStep:
        """Return the relaxation of a crystal in this row, made of that of the study."""
        return replace(step, label=self.crystal(step.crystal or ""), card=self.card(setup, step.role))


class HostRow(Travelling):
    """A row of one host in one environment; it may give the very cells of another value."""

    host: str
    environment: Environment
    row: Row
    same_as: float | None = None


class Rows(Travelling):
    """The rows of a study, and its own values of what is varied."""

    base: dict[Setting, float]
    rows: list[HostRow]

    def of(self, host: str, environment: Environment) -> list[Row]:
        """Return the rows that are computed for a host."""
        return [r.row for r in self.rows if (r.host, r.environment) == (host, environment) and r.same_as is None]


def environments_varied(setting: Setting) -> tuple[Environment, ...]:
    """Return where a setting matters."""
    part = setting.partition(".")[0]
    return ("bulk",) if part == "bulk" else ("surface",) if part == "slab" else ("bulk", "surface")


def base_values(vary: Iterable[Setting], cells: Cells, setup: Setup, engine: Engine) -> dict[Setting, float]:
    """Return the study's own values of what it varies.

    Parameters
    ----------
    vary
        The settings.
    cells, setup, engine
        Of the study.

    Raises
    ------
    InputError
        If there is no one value, or the engine has no such setting.
    """
    values: dict[Setting, float] = {}
    for setting in vary:
        part, _, name = setting.partition(".")
        if part != "kpoints":
            values[setting] = getattr(getattr(cells, part), name)
            continue
        if not engine.capabilities.kpoints:
            raise InputError(
                f"vary: {setting}: engine '{engine.name}' has no k-points", "leave it out, or use gpaw or qe"
            )
        cards = [setup.card_of("crystal"), setup.card_of("slab")]
        spacings = {None if card.kpoints is None else card.kpoints.spacing_per_angstrom for card in cards}
        spacing = next(iter(spacings))
        if len(spacings) > 1 or spacing is None:
            names = " and ".join(dict.fromkeys(card.name for card in cards))
            raise InputError(
                f"vary: {setting}: {names} {'have' if len(spacings) > 1 else 'has'} no one spacing of k-points",
                "use a card with kpoints: {spacing_per_angstrom: ...} for all cells",
            )
        values[setting] = spacing
    return values


def host_rows(
    host: Host, environment: Environment, values: dict[Setting, list[float]], base: dict[Setting, float],
    crystals: dict[str, Structure], cells: Cells, setup: Setup, engine: Engine,
) -> list[HostRow]:  # fmt: skip
    """Return the rows of one host in one environment, those that give the cells of another value marked.

    Parameters
    ----------
    host, environment
        Which.
    values, base
        What is varied, and the study's own values.
    crystals
        The crystals that enter its energies, its own under its label; as the catalogue has them.
    cells, setup, engine
        Of the study.

    Raises
    ------
    InputError, StructureError
        If a cell cannot be built.
    """
    rows = []
    for setting, listed in values.items():
        if environment not in environments_varied(setting):
            continue
        seen: dict[Any, float] = {}
        for value in [base[setting], *(v for v in listed if v != base[setting])]:
            row = Row(setting=setting, value=value)
            if setting == SPACING:
                role: Role = "slab" if environment == "surface" else "crystal"
                built = build_host(crystals[host.label], host, environment, cells).structure
                cards = {part: row.card(setup, part) or setup.card_of(part) for part in ("crystal", role)}
                key: Any = tuple(engine.mesh(c, cards["crystal"]) for c in crystals.values())
                key = (*key, engine.mesh(built, cards[role]))
            else:
                built = build_host(crystals[host.label], host, environment, row.cells(cells)).structure
                key = structure_digest(built)
            same = seen.setdefault(key, value)
            if value != base[setting]:
                rows.append(
                    HostRow(host=host.label, environment=environment, row=row, same_as=None if same == value else same)
                )
    return rows


def check_rows(rows: Rows, settings: list[Setting]) -> list[str]:
    """Refuse settings whose values all give the same cells; return which values are not computed again.

    Parameters
    ----------
    rows
        As they are laid out.
    settings
        What the study varies.

    Raises
    ------
    InputError
        What is wrong.
    """
    for setting in settings:
        rows_of_setting = [row for row in rows.rows if row.row.setting == setting]
        if all(row.same_as is not None for row in rows_of_setting):
            values = ", ".join(
                f"{value:g}" for value in sorted({rows.base[setting], *(r.row.value for r in rows_of_setting)})
            )
            raise InputError(
                f"vary: {setting}: all of {values} give the same cells and k-points", "give values that differ more"
            )
    return [
        f"vary: {r.row.setting} {r.row.value:g} gives {r.host}/{r.environment} the cells and k-points of "
        f"{r.same_as:g}: not computed again"
        for r in rows.rows
        if r.same_as is not None
    ]
