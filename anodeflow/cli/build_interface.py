"""`anodeflow build interface`: two crystals in one cell, the registry found as studies find it.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.build_options import OPTIONS, common_options
from anodeflow.cli.crystal_source import Relaxed, Source, side_of
from anodeflow.cli.options import check_figure_path
from anodeflow.cli.output.build import index_name, interface_text, match_row, print_listing, registry_row
from anodeflow.cli.output.structure_files import Item, checked_folder, write_folder
from anodeflow.errors import ConvergenceError, EngineError, InputError, StructureError
from anodeflow.parameters import parameters_named

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from anodeflow.analysis.interface_registries import RegistrySearchDoc, ScoredRegistry
    from anodeflow.structures.interface_sides import SlabSpec
    from anodeflow.structures.interfaces import InterfaceModel
    from anodeflow.workflows.jobs.registry_search import RegistrySearch

_GAP_ANGSTROM = 2.2


@dataclass(frozen=True)
class _Registry:
    """What was asked of the registry."""

    name: str | None
    shift: tuple[float, float] | None
    scan: bool
    skipped: bool
    engine: str

    def __post_init__(self) -> None:
        ways = {"--registry": self.name, "--shift": self.shift, "--scan": self.scan, "--no-search": self.skipped}
        given = [way for way, value in ways.items() if value not in (None, False)]
        if given in (["--shift", "--no-search"], ["--scan", "--no-search"]):
            return
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} both say where the film stands", "leave out all but one")

    @property
    def searched(self) -> bool:
        """Whether registries are scored with a potential."""
        return not (self.skipped or self.scan or self.shift is not None)


@click.command()
@click.argument("film")
@click.argument("substrate")
@click.option("--film-miller", type=int, nargs=3, metavar="H K L", help="Face of the film; by default the usual one.")
@click.option("--substrate-miller", type=int, nargs=3, metavar="H K L", help="Face of the substrate.")
@click.option("--film-termination", metavar="N|LABEL", default="0", help="Which one of `build slab --list`.")
@click.option("--substrate-termination", metavar="N|LABEL", default="0", help="Likewise.")
@click.option("--max-strain", type=click.FloatRange(0, 20, min_open=True), default=5.0, show_default=True,
              help="Largest principal strain, percent.")  # fmt: skip
@click.option("--max-area", type=float, default=400.0, show_default=True, help="Largest area, square angstrom.")
@click.option("--max-atoms", type=click.IntRange(1), default=500, show_default=True, help="Refuse larger cells.")
@click.option("--strained", type=click.Choice(["film", "substrate", "both"]),
              help="Default: the softer side by published moduli.")  # fmt: skip
@click.option("--registry", metavar="NAME", help="Take this registry, e.g. 'Li over Cl', not the lowest.")
@click.option("--registries", is_flag=True, help="List the registries by name, without energies; write nothing.")
@click.option("--search-engine", metavar="NAME", default="sevennet-0", show_default=True,
              help="Potential that scores the registries.")  # fmt: skip
@click.option("--no-search", is_flag=True, help="Score nothing: take the shift as given, else 0 0.")
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False),
              help="Also draw all registries from above (.png, .pdf, .svg).")  # fmt: skip
@click.option("--gap", type=float,
              help=f"Between the outermost nuclei, angstrom; default: of the search, or {_GAP_ANGSTROM}.")  # fmt: skip
@click.option("--shift", type=float, nargs=2, metavar="X Y",
              help="Move the film, in fractions of the interface cell, in place of a search.")  # fmt: skip
@click.option("--scan", is_flag=True, help="In place of a search: the shift whose closest atoms are farthest apart.")
@click.option("--film-thickness", type=float, help="Least thickness, angstrom; default 10.")
@click.option("--substrate-thickness", type=float, help="Least thickness, angstrom; default 10.")
@click.option("--vacuum", type=float, help="Empty space over the film, angstrom; default: none, two contacts.")
@click.option("--list", "listing", is_flag=True, help="List the lattice matches; write nothing.")
@click.option("--match", "match_number", type=click.IntRange(0), metavar="N", help="Take this one of --list.")
@click.option("--smallest", is_flag=True, help="Take the match of the smallest area, as interface-energy studies do.")
@common_options
def interface(
    film: str, substrate: str, film_miller: tuple[int, int, int] | None,
    substrate_miller: tuple[int, int, int] | None, film_termination: str, substrate_termination: str,
    max_strain: float, max_area: float, max_atoms: int, strained: Any, registry: str | None, registries: bool,
    search_engine: str, no_search: bool, figure: Path | None, gap: float | None, shift: tuple[float, float] | None,
    scan: bool, film_thickness: float | None, substrate_thickness: float | None, vacuum: float | None, listing: bool,
    match_number: int | None, smallest: bool, output: Path | None, force: bool, relaxed: bool, store: Path,
    engine: str, card: str, as_json: bool,
) -> None:  # fmt: skip
    """Stack two crystals in one cell.

    FILM and SUBSTRATE are names of the catalogue, structure files or argyrodite formulas.

    Every registry (which atoms of the one face stand over which of the other) is scored with a potential, and the
    lowest is built at its own gap. That takes minutes and is kept in the results store; --registries lists them at
    once.

    Without --match the match with the fewest atoms is taken among those strained by 2 % or less; if there is
    none, the least strained. --scan ranks by geometry, which is not an energy.

    \b
    anodeflow build interface Li LiCl
    anodeflow build interface Li LiCl --registry "Li over Cl"
    anodeflow build interface Li LiCl --max-strain 7 --smallest --figure registries.png
    anodeflow build interface Al LiCl --list --max-strain 3
    anodeflow build interface Li Li9Al4 --substrate-miller 4 0 0 --match 1 --no-search
    """
    from anodeflow.structures.interface_pairs import interface as named_interface
    from anodeflow.structures.interface_series import scan_registry
    from anodeflow.workflows.studies.registries import built_gap

    asked = _Registry(registry, shift, scan, no_search, search_engine)
    if figure is not None:
        _check_figure(figure, asked)
    place = Relaxed(store, engine, card) if relaxed else None
    with parameters_named(OPTIONS):
        sides = side_of(film, place), side_of(substrate, place)
        limits = {"max_strain": max_strain / 100, "max_area_angstrom2": max_area, "max_atoms": max_atoms}
        terminations = _termination(film_termination), _termination(substrate_termination)
        pair = _Pair(
            sides, (film_miller, substrate_miller), terminations,
            (film_thickness, substrate_thickness), limits | {"strained": strained, "smallest": smallest},
        )  # fmt: skip
        if listing:
            _list_matches(pair, as_json)
            return
        options = pair.options() | ({} if match_number is None else {"match": match_number})
        search = _search(pair, options, asked) if registries or asked.searched else None
        if registries and search is not None:
            _list_registries(search, figure, as_json)
            return
        folder = checked_folder(output, pair.name(match_number) + ("-relaxed" if relaxed else ""), force)
        placing: dict[str, Any] = {"vacuum_angstrom": vacuum, "shift": shift or (0.0, 0.0)}
        placing["gap_angstrom"] = _GAP_ANGSTROM if gap is None else gap
        doc = None
        if search is None:
            model = named_interface(pair.crystals[0], pair.crystals[1], **options, **placing)
        else:
            with suppress(StructureError):  # atoms may overlap here; what makes no sense is said before minutes pass
                _placed(search.model, pair, placing)
            doc = _scored(search, store)
            placing["shift"] = doc.best(1)[0].shift
            if gap is None:
                placing["gap_angstrom"] = built_gap(doc.best(1)[0])
            model = _placed(search.model, pair, placing)
        if scan:
            model = scan_registry(model)[0]
    if figure is not None and search is not None and doc is not None:
        _draw(figure, search, doc.registries, doc.engine.name)
    model = replace(model, structure=model.structure.get_sorted_structure())  # one block an element in the POSCAR
    item = Item(model.structure, pair.name(match_number), *interface_text(model, sides))
    write_folder(folder, force, [item], _summary(model, sides, doc), model.warnings, as_json)
    if doc is not None and not as_json:
        print_listing([registry_row(entry) for entry in doc.registries], as_json=False)


@dataclass(frozen=True)
class _Pair:
    """The two sides, as :func:`anodeflow.structures.interface_pairs.interface` takes them."""

    sides: tuple[Source, Source]
    miller: tuple[tuple[int, int, int] | None, tuple[int, int, int] | None]
    terminations: tuple[int | str, int | str]
    thickness: tuple[float | None, float | None]
    limits: dict[str, Any]

    @property
    def crystals(self) -> tuple[Structure | str, Structure | str]:
        """What the sides are cut from."""
        return self.sides[0].crystal, self.sides[1].crystal

    def specs(self) -> list[SlabSpec]:
        """Return how each side is cut."""
        from anodeflow.structures.interface_sides import MIN_SIDE_ANGSTROM, slab_spec

        return [
            slab_spec(side.crystal, miller, min_thickness_angstrom=thickness or MIN_SIDE_ANGSTROM, termination=n)
            for side, miller, thickness, n in zip(
                self.sides, self.miller, self.thickness, self.terminations, strict=True
            )
        ]

    def options(self) -> dict[str, Any]:
        """Return the options of the builder, those that are set."""
        film, substrate = self.specs()
        given = self.limits | {
            "film_miller": list(film.miller), "substrate_miller": list(substrate.miller),
            "film_layers": film.build().layers, "substrate_layers": substrate.build().layers,
            "film_termination": self.terminations[0], "substrate_termination": self.terminations[1],
        }  # fmt: skip
        return {key: value for key, value in given.items() if value is not None}

    def name(self, match_number: int | None) -> str:
        """Return what the files are called."""
        faces = [
            f"{side.label}-{index_name(spec.miller)}" + (f"-t{n}" if n else "")
            for side, spec, n in zip(self.sides, self.specs(), self.terminations, strict=True)
        ]
        return f"{faces[0]}-{faces[1]}-interface" + ("" if match_number is None else f"-m{match_number}")


def _check_figure(figure: Path, asked: _Registry) -> None:
    check_figure_path(figure)
    if not asked.searched:
        raise InputError("--figure draws the registries of a search", "leave out --shift, --scan and --no-search")


def _termination(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _list_matches(pair: _Pair, as_json: bool) -> None:
    """List the lattice matches, and which of them is taken by default."""
    from anodeflow.structures.interface_pairs import interface as named_interface
    from anodeflow.structures.matching import lattice_matches

    model = named_interface(pair.crystals[0], pair.crystals[1], **pair.options())
    limits = {key: pair.limits[key] for key in ("max_strain", "max_area_angstrom2", "max_atoms")}
    matches = lattice_matches(model.film, model.substrate, strained=model.strained, **limits)
    print_listing([match_row(n, match, match == model.match) for n, match in enumerate(matches)], as_json)


def _search(pair: _Pair, options: dict[str, Any], asked: _Registry) -> RegistrySearch:
    """Return the search of registries, as a study would begin it.

    Raises
    ------
    InputError
        A potential that is not one.
    """
    from anodeflow.workflows.jobs.registry_search import APART_ANGSTROM, RegistrySearch, search_card
    from anodeflow.workflows.studies.registries import named_crystal, search_engine

    film, substrate = (
        named_crystal(spec.bulk, side.label) for spec, side in zip(pair.specs(), pair.sides, strict=True)
    )
    return RegistrySearch(
        card=search_card(), engine=search_engine(asked.engine, None, asked.engine), label="registry search", film=film,
        substrate=substrate, options=options | {"gap_angstrom": APART_ANGSTROM}, only=asked.name,
    )  # fmt: skip


def _placed(model: InterfaceModel, pair: _Pair, placing: dict[str, Any]) -> InterfaceModel:
    """Build an interface again with another shift, gap and vacuum."""
    from anodeflow.structures.interfaces import build_interface

    limits = {key: pair.limits[key] for key in ("max_strain", "max_atoms")}
    return build_interface(model.film, model.substrate, model.match, strained=model.strained, **limits, **placing)


def _list_registries(search: RegistrySearch, figure: Path | None, as_json: bool) -> None:
    """List the registries without energies, the most symmetric first, and draw them."""
    from anodeflow.workflows.jobs.registry_search import unscored

    entries = unscored(search.model, _GAP_ANGSTROM, search.only)
    print_listing([registry_row(entry) for entry in entries], as_json)
    if figure is not None:
        _draw(figure, search, entries, None)


def _scored(search: RegistrySearch, store: Path) -> RegistrySearchDoc:
    """Score the registries, or take what the store holds of this search.

    Raises
    ------
    ConvergenceError
        It found none.
    EngineError
        The potential is not installed.
    """
    from anodeflow.workflows import monitor
    from anodeflow.workflows.jobs.recognised import job_of
    from anodeflow.workflows.jobs.registry_search import expected_evaluations, unscored
    from anodeflow.workflows.store import open_job_store

    listed = unscored(search.model, _GAP_ANGSTROM, search.only)  # refuses a name that the interface does not have
    try:
        search.engine_record()
    except EngineError as error:
        raise EngineError(
            f"registries are scored with {search.engine}: {error.problem}",
            "install it, name another with --search-engine, or leave the search out with --no-search",
        ) from None
    expected = expected_evaluations(len(listed))

    def tell(label: str, evaluation: int, energy_ev: float, max_force: float) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{label}: {evaluation} energies, about {expected} expected", err=True, nl=False)

    click.echo(f"{search.model.name}: {len(listed)} registries, scored with {search.engine}", err=True)
    monitor.listen(tell)
    try:
        response = job_of(search).run(open_job_store(store))
    finally:
        monitor.listen(None)
        if sys.stderr.isatty():
            click.echo("", err=True)
    doc: RegistrySearchDoc = response.output
    if doc.error is not None or not doc.registries:
        raise ConvergenceError(
            f"the search of registries has no result: {doc.error}", "choose one with --shift X Y, or use --no-search"
        )
    return doc


def _summary(model: InterfaceModel, sides: tuple[Source, Source], doc: RegistrySearchDoc | None) -> dict[str, Any]:
    from anodeflow.structures.registry import registries

    search = {} if doc is None else {"registry_search": doc.model_dump(mode="json")}
    return {
        "kind": "interface",
        **model.as_dict(),
        "registries": [vars(registry) for registry in registries(model)],
        **search,
        "source": {"film": sides[0].record, "substrate": sides[1].record},
    }


def _draw(figure: Path, search: RegistrySearch, entries: list[ScoredRegistry], potential: str | None) -> None:
    from anodeflow.analysis.figures.registries import RegistryView, registries_figure
    from anodeflow.analysis.figures.style import save_figure
    from anodeflow.structures.registry import faces_at
    from anodeflow.structures.shifts import with_shift

    views = []
    for entry in entries:
        faces = faces_at(with_shift(search.model, entry.shift))
        views.append(RegistryView(entry, cell=faces.cell, film=faces.film, substrate=faces.substrate))
    save_figure(registries_figure(views, search.model.name, potential), figure)
    click.echo(f"{figure}: {len(views)} registries", err=True)
